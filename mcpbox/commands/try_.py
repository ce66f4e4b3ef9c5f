"""``mcpbox try``: a real server called through the sandbox, then the sandbox attacked from inside."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from mcpbox import probe, sandbox
from mcpbox.errors import McpboxError
from mcpbox.shown import plain
from mcpbox.walls import Result, Server, Walls


def run(command: Sequence[str], backend: str) -> int:
    """0 if the server answered and nothing got out, 1 otherwise."""
    chosen = sandbox.choose(backend)
    answered = not command or _call(command, chosen)
    click.echo(f"Attacking the {chosen} sandbox from inside, each attempt first outside of it.\n")
    click.echo(f"{'attempt':<44}{'outside':<12}{'inside':<10}")
    results: list[Result] = []
    with Walls(chosen) as walls:
        for result in walls.results():
            if not results or results[-1].category != result.category:
                click.secho(result.category, bold=True)
            results.append(result)
            _show(result)
    escaped = [result for result in results if result.inside != "blocked"]
    controlled = [result for result in results if result.outside == "allowed"]
    held = sum(result.inside == "blocked" for result in controlled)
    click.echo(f"\n{held} of {len(controlled)} attempts that work outside were blocked inside.")
    if others := len(results) - len(controlled):
        blocked = len(results) - len(escaped) - held
        click.echo(f"Of {others} more, which an ordinary user cannot make outside either, {blocked} were blocked.")
    for result in escaped:
        click.secho(f"NOT BLOCKED: {result.title} ({result.inside})", fg="red")
        click.echo(f"  {plain(result.detail, 78)}")
    return 0 if answered and not escaped else 1


def _call(command: Sequence[str], backend: str) -> bool:
    """Start the user's server in the sandbox and show what it says."""
    words = [sys.executable, "-m", "mcpbox", "wrap", "--backend", backend, "--host", "mcpbox-try", "--", *command]
    server = Server(words, dict(os.environ))
    try:
        answer = server.initialize()
        if not answer or "result" not in answer:
            reason = (answer or {}).get("error", {}).get("message", "no answer")
            raise McpboxError(f"the server did not start: {plain(reason, 500)}")
        info = answer["result"].get("serverInfo", {})
        title = plain(f"{info.get('name', 'The server')} {info.get('version', '')}", 40)
        click.echo(f"{title} answers from its {backend} sandbox.")
        listed = (server.request("tools/list", {}) or {}).get("result", {}).get("tools", [])
        names = plain(", ".join(str(tool["name"]) for tool in listed), 56)
        click.echo(f"It offers {len(listed)} tools: {names}")
        name, arguments = _harmless(listed)
        if name:
            result = (server.request("tools/call", {"name": name, "arguments": arguments}) or {}).get("result", {})
            text = next((part.get("text", "") for part in result.get("content", []) if part.get("type") == "text"), "")
            click.echo(plain(f"{name} says: {text or result}", 78))
        click.echo()
        return True
    finally:
        server.close()


def _harmless(tools: Sequence[dict[str, object]]) -> tuple[str, dict[str, str]]:
    """A tool to call: an echo, or one that needs no argument and says that it only reads."""
    for tool in tools:
        if tool["name"] == "echo":
            return "echo", {"message": "hello from the sandbox"}
    for tool in tools:
        schema, hints = tool.get("inputSchema"), tool.get("annotations")
        if isinstance(schema, dict) and not schema.get("required") and isinstance(hints, dict):
            if hints.get("readOnlyHint"):
                return str(tool["name"]), {}
    return "", {}


def _show(result: Result) -> None:
    colours = {"blocked": "green", "allowed": "red"}
    if not (outside := result.outside):
        outside = "needs root" if "root" in probe.NO_CONTROL[result.name] else "no control"
    inside = click.style(result.inside, fg=colours.get(result.inside, "yellow"))
    click.echo(f"  {result.title:<42}{outside:<12}{inside}")
