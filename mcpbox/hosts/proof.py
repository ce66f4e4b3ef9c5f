"""Proves that a server answers behind mcpbox: its own command line, started as its host would."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from mcpbox import command, paths
from mcpbox.errors import McpboxError, Unprepared
from mcpbox.hosts.model import Entry, Shape
from mcpbox.walls import Server

#: What MCP's software development kits pass on of the host's environment, besides PATH.
INHERITED = ("HOME", "LOGNAME", "SHELL", "TERM", "USER")
#: What a desktop gives to the programs it starts.
SHORT_PATH = "/usr/bin:/bin:/usr/sbin:/sbin"
STOOD_IN = "placeholder"
#: Directories that a shell can move and that hosts do not pass on.
MOVED = ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")


def unprovable(entry: Entry, shape: Shape) -> str:
    """Why nobody but the host can run the command, "" if others can."""
    if said := _unknown((entry.command, *entry.args), shape):
        return said
    if "/" in entry.command and not entry.command.startswith("/") and not isinstance(entry.raw.get(shape.cwd), str):
        return f"only the host knows where {entry.command} is"
    return ""


def unfilled(entry: Entry, shape: Shape, names: Sequence[str]) -> str:
    """The same of the variables ``names``, in whose place nothing can stand in: they are to name paths."""
    return _unknown([entry.env[name] for name in names if name in entry.env], shape)


def prove(words: Sequence[str], entry: Entry, shape: Shape) -> str:
    """Start the command line and ask for its tools; "" if it answers, else the reason, as the server or mcpbox gave it.

    The package of an npx or uvx command has to be prepared (see ``prepare``).
    """
    server = Server(words, _environment(entry, shape), cwd=directory(entry, shape))
    try:
        answer = server.initialize()
        if problem := _problem(answer, "initialize"):
            return problem
        assert answer
        if "tools" not in (answer["result"].get("capabilities") or {}):
            return ""
        return _problem(server.request("tools/list", {}), "tools/list")
    finally:
        server.close()


def prepare(words: Sequence[str], path: str, cwd: str) -> str:
    """Install the package that the command names, if any, and show the progress; "" or why that cannot be."""
    from mcpbox import profile, sandbox
    from mcpbox.packages import prepare as packages
    from mcpbox.packages import terminal

    def backend(identities: tuple[str, ...]) -> str:
        return sandbox.choose(profile.resolve(None, identities).profile.sandbox.backend)

    home = str(paths.home())
    try:
        try:
            command.resolve(words, path=path, cwd=cwd, home=home, backend=backend)
        except Unprepared as missing:
            with terminal.Line() as line:
                packages.prepare(
                    missing.request,
                    missing.backend,
                    approve=terminal.approve,
                    progress=line.show,
                    approved="user" if os.isatty(0) else "first use",
                )
    except McpboxError as error:
        return f"{error.message}; {error.hint}" if error.hint else error.message
    return ""


def moved() -> str:
    """The variable that makes this shell's mcpbox use other directories than one that a host starts; "" for none."""
    defaults = (".config", ".local/share", ".local/state")
    for name, default in zip(MOVED, defaults, strict=True):
        if (value := os.environ.get(name)) and os.path.realpath(value) != os.path.realpath(paths.home() / default):
            return name
    return ""


def _environment(entry: Entry, shape: Shape) -> dict[str, str]:
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    own = {name: STOOD_IN if _reference(value, shape) else value for name, value in entry.env.items()}
    path = {"PATH": SHORT_PATH} if "PATH" not in own or own["PATH"] == STOOD_IN else {}
    return {"HOME": str(paths.home()), **kept, **own, **path}


def directory(entry: Entry, shape: Shape) -> str:
    """Where the host would start it."""
    wanted = entry.raw.get(shape.cwd)
    if isinstance(wanted, str) and os.path.isabs(wanted) and not _reference(wanted, shape) and os.path.isdir(wanted):
        return wanted
    return str(paths.home())


def _unknown(texts: Sequence[str], shape: Shape) -> str:
    found = next(filter(None, (_reference(text, shape) for text in texts)), "")
    return f"only the host knows what {found} stands for" if found else ""


def _reference(text: str, shape: Shape) -> str:
    for pattern in shape.references:
        if found := re.search(pattern, text):
            return found[0]
    # Editors that know ${userHome} put it in for this too.
    expands = any(re.fullmatch(pattern, "${userHome}") for pattern in shape.references)
    return "~" if expands and text.startswith("~/") else ""


def _problem(answer: dict[str, object] | None, method: str) -> str:
    if answer is None:
        return f"it did not answer {method}"
    if "result" in answer:
        return ""
    error = answer.get("error")
    return str(error.get("message", error)) if isinstance(error, dict) else f"it refused {method}"
