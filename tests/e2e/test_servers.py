"""Published servers under the official client: the same answers through mcpbox as without it."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from conftest import ORDINARY, Runner, docker_groups
from mcp import ClientSession, StdioServerParameters, types
from mcp.client.stdio import stdio_client

NODE = "node"
OPEN = '[messages]\nsampling = "allow"\nelicitation = "allow"\nroots = "allow"\n'
VOLATILE = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.+Z-]+|[0-9a-f]{8}-[0-9a-f-]{27}|\d+:\d\d:\d\d [AP]M|[0-9a-f]{40}")

Steps = Callable[[ClientSession], Awaitable[list[Any]]]


def server(cache: Path, name: str) -> list[str]:
    return [NODE, str(cache / f"servers/node_modules/@modelcontextprotocol/server-{name}/dist/index.js")]


async def sampled(_context: Any, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
    text = types.TextContent(type="text", text=f"sampled {len(params.messages)}")
    return types.CreateMessageResult(role="assistant", content=text, model="tests")


async def elicited(_context: Any, _params: Any) -> types.ElicitResult:
    return types.ElicitResult(action="decline")


CALLBACKS: dict[str, Any] = {"sampling_callback": sampled, "elicitation_callback": elicited}


def as_data(value: Any) -> Any:
    """A result as plain data, without what differs from run to run."""
    text = value.model_dump_json(exclude_none=True) if hasattr(value, "model_dump_json") else json.dumps(value)
    return json.loads(VOLATILE.sub("X", text))


def answers(words: Sequence[str], env: dict[str, str], steps: Steps) -> list[Any]:
    async def run() -> list[Any]:
        with anyio.fail_after(60), open(os.devnull, "w") as quiet:
            parameters = StdioServerParameters(command=words[0], args=list(words[1:]), env=env)
            async with (
                stdio_client(parameters, errlog=quiet) as (read, write),
                ClientSession(read, write, **CALLBACKS) as session,
            ):
                start = await session.initialize()
                return [as_data(start), *map(as_data, await steps(session))]

    return anyio.run(run)


def setpriv(runner: Runner, words: Sequence[str], as_user: int | None = None) -> list[str]:
    """The words as the runner's user, or ``as_user``."""
    uid = runner.uid if as_user is None else as_user
    if uid == os.geteuid():
        return list(words)
    groups = ",".join(map(str, docker_groups()))
    return [
        "setpriv",
        f"--reuid={uid}",
        f"--regid={uid}",
        f"--groups={groups}" if groups else "--clear-groups",
        "--",
        *words,
    ]


def give(runner: Runner, path: Path) -> int:
    """Make ``path`` the property of the user whom the server runs as; that user. A server of root's never is root."""
    uid = runner.uid or ORDINARY
    if os.geteuid() == 0:
        for found in (path, *path.rglob("*")):
            os.chown(found, uid, uid, follow_symlinks=False)
    return uid


def same(
    runner: Runner, words: list[str], steps: Steps, profile: str = OPEN, fresh: Callable[[], None] = lambda: None
) -> Any:
    """Run the steps bare and wrapped, and compare; the answers."""
    bare = answers(setpriv(runner, words), runner.env, steps)
    fresh()
    wrapped = answers(setpriv(runner, runner.words(*words, profile=profile)), runner.env, steps)
    assert wrapped == bare
    return wrapped


async def everything(session: ClientSession) -> list[Any]:
    done: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        done.append(progress)

    tools = await session.list_tools()
    names = {tool.name for tool in tools.tools}
    results: list[Any] = [tools, await session.list_resources(), await session.list_resource_templates()]
    prompts = await session.list_prompts()
    results += [prompts, await session.get_prompt(prompts.prompts[0].name)]
    results.append(await session.read_resource(results[1].resources[0].uri))
    results.append(await session.call_tool("echo", {"message": "ü \u2028 \U0001f600"}))
    results.append(await session.call_tool("get-sum", {"a": 0.1, "b": 1e21}))
    results.append(await session.call_tool("get-tiny-image", {}))
    results.append(await session.call_tool("get-annotated-message", {"messageType": "error", "includeImage": True}))
    results.append(await session.call_tool("get-structured-content", {"location": "New York"}))
    # The server's own words, or mcpbox's for what the server does not list.
    assert (await session.call_tool("no-such-tool", {})).is_error
    long: dict[str, Any] = {"duration": 0.4, "steps": 4}
    results.append(await session.call_tool("trigger-long-running-operation", long, progress_callback=on_progress))
    assert done == [1, 2, 3, 4]
    if "trigger-sampling-request" in names:
        results.append(await session.call_tool("trigger-sampling-request", {"prompt": "hello", "maxTokens": 5}))
        assert "sampled 1" in str(results[-1])
    if "trigger-elicitation-request" in names:
        results.append(await session.call_tool("trigger-elicitation-request", {}))
        assert "decline" in str(results[-1])
    # Cancelled: the client stops waiting and says so, and the session goes on.
    with anyio.move_on_after(0.3) as scope:
        await session.call_tool("trigger-long-running-operation", {"duration": 20, "steps": 2})
    assert scope.cancelled_caught
    results.append(await session.call_tool("echo", {"message": "after"}))
    return results


def test_everything(runner: Runner, cache: Path) -> None:
    found = same(runner, server(cache, "everything"), everything)
    assert "sampled 1" in json.dumps(found) and "decline" in json.dumps(found)


def test_filesystem(runner: Runner, cache: Path) -> None:
    directory = runner.home / "project"
    directory.mkdir()
    (directory / "read.txt").write_text("some text")
    owner = give(runner, directory)

    async def steps(session: ClientSession) -> list[Any]:
        path = str(directory)
        return [
            await session.list_tools(),
            await session.call_tool("list_allowed_directories", {}),
            await session.call_tool("read_text_file", {"path": f"{path}/read.txt"}),
            await session.call_tool("write_file", {"path": f"{path}/new.txt", "content": "new"}),
            await session.call_tool("list_directory", {"path": path}),
            await session.call_tool("read_text_file", {"path": f"{path}/none.txt"}),
        ]

    profile = '[filesystem]\narguments = "write"\n[messages]\nroots = "intersect"\n'
    words = [*server(cache, "filesystem"), str(directory)]
    same(runner, words, steps, profile, lambda: (directory / "new.txt").unlink())
    assert (directory / "new.txt").read_text() == "new"
    assert (directory / "new.txt").stat().st_uid == owner


def test_memory_remembers(runner: Runner, cache: Path) -> None:
    async def write(session: ClientSession) -> list[Any]:
        entity = {"name": "mcpbox", "entityType": "program", "observations": ["it remembers"]}
        return [await session.call_tool("create_entities", {"entities": [entity]})]

    async def read(session: ClientSession) -> list[Any]:
        return [await session.call_tool("read_graph", {})]

    words = setpriv(runner, runner.words(*server(cache, "memory"), options=["--profile", "memory"]))
    answers(words, runner.env, write)
    assert "it remembers" in json.dumps(answers(words, runner.env, read))


def test_time(runner: Runner, cache: Path) -> None:
    async def steps(session: ClientSession) -> list[Any]:
        zones = {"source_timezone": "Asia/Tokyo", "time": "10:30", "target_timezone": "Europe/Berlin"}
        listed = await session.list_tools()
        return [listed, await session.call_tool("convert_time", zones)]

    found = same(runner, [str(cache / "servers-py/bin/python"), "-m", "mcp_server_time", "--local-timezone=UTC"], steps)
    assert "Berlin" in json.dumps(found)


def test_git(runner: Runner, cache: Path) -> None:
    repository = runner.home / "repository"
    repository.mkdir()
    git = ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q", "-b", "main"], check=True)
    (repository / "file").write_text("one\n")
    subprocess.run([*git, "add", "file"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "first"], check=True)
    (repository / "file").write_text("two\n")
    owner = give(runner, repository)

    async def steps(session: ClientSession) -> list[Any]:
        path = {"repo_path": str(repository)}
        return [
            await session.list_tools(),
            await session.call_tool("git_log", path),
            await session.call_tool("git_diff_unstaged", path),
            await session.call_tool("git_add", {**path, "files": ["file"]}),
            await session.call_tool("git_status", path),
        ]

    words = [str(cache / "servers-py/bin/mcp-server-git"), "--repository", str(repository)]
    # Git refuses a repository of somebody else's, so bare it runs as the owner, which it does in the sandbox anyway.
    bare = answers(setpriv(runner, words, owner), runner.env, steps)
    subprocess.run([*git[:3], "-c", "safe.directory=*", "reset", "-q"], check=True)
    give(runner, repository)
    wrapped = answers(setpriv(runner, runner.words(*words, options=["--profile", "git"])), runner.env, steps)
    assert wrapped == bare
    assert "first" in json.dumps(wrapped) and "+two" in json.dumps(wrapped)


CALL = ["tools/call", "--tool-name", "echo", "--tool-arg", "message=hello"]


@pytest.mark.parametrize("arguments", [["tools/list"], ["resources/list"], ["prompts/list"], CALL])
def test_inspector(runner: Runner, cache: Path, arguments: list[str]) -> None:
    """The inspector on a Node from outside /usr, which is also the one that the server runs on."""
    (node,) = cache.glob("inspector/node_modules/node-linux-*/bin/node")
    inspector = cache / "inspector/node_modules/@modelcontextprotocol/inspector"
    entry = json.loads((inspector / "package.json").read_text())["bin"]["mcp-inspector"]
    words = [str(node), *server(cache, "everything")[1:]]
    outputs = []
    for command in (words, runner.words(*words, profile=OPEN)):
        # Its command line takes the server's options for its own, so they are put in a script.
        script = runner.home / "server.sh"
        script.write_text(f"#!/bin/sh\nexec {shlex.join(command)}\n")
        script.chmod(0o755)
        call = [str(node), str(inspector / entry), "--cli", str(script), "--method", *arguments]
        with runner.host(call) as host:
            outputs.append(json.loads(host.stdout.read() or host.stderr.read()))
    assert outputs[0] == outputs[1] and outputs[0]
