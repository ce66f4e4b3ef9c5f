"""Reading the command that a host would have started: the program, its code, what profiles call it, its arguments.

``resolve`` only looks at files; nothing of the server is run.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence

from mcpbox.command import container, programs
from mcpbox.command.model import Command
from mcpbox.errors import UsageError

__all__ = ["Command", "resolve"]

#: Commands that fetch a package at each start, by their words; the longest match counts.
FETCHERS = (
    ("npx",),
    ("npm", "exec"),
    ("npm", "x"),
    ("pnpm", "dlx"),
    ("pnpx",),
    ("yarn", "dlx"),
    ("bunx",),
    ("bun", "x"),
    ("uvx",),
    ("uv", "tool", "run"),
    ("uv", "run"),
    ("pipx", "run"),
)
SHELLS = ("sh", "bash", "zsh", "dash")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_OPERATORS = re.compile(r"[|&;<>()$`\n*?\[\]{}~#!]")


def resolve(argv: Sequence[str], *, path: str, cwd: str, home: str) -> Command:
    """What ``argv`` would start, looked up in ``path`` from ``cwd``. Raises UsageError."""
    words = list(argv)
    if not words or not words[0]:
        raise UsageError("no command", "put the server's command after --: mcpbox wrap -- node server.js")
    for word in words:
        if "\0" in word:
            raise UsageError("an argument contains a NUL character")
    if len(words) == 1 and " " in words[0] and not os.path.exists(words[0]):
        words = _split(words[0])
    environment: dict[str, str] = {}
    words = _unwrap(words, environment)
    name = os.path.basename(words[0])
    for fetcher in FETCHERS:
        if (name, *words[1 : len(fetcher)]) == fetcher:
            raise _unpinned(" ".join(fetcher), words[len(fetcher) :])
    if name in ("mcpbox", "mcpbox.exe") and "wrap" in words[1:2]:
        raise UsageError("the command is already wrapped", "put the server's own command after --")
    if name in ("docker", "podman") and words[1:2] == ["run"]:
        return container.parse(words[2:], environment)
    return programs.resolve(words, environment, programs.Place(path, cwd, home))


def _unwrap(words: list[str], environment: dict[str, str]) -> list[str]:
    """Take off ``env A=B``, ``sh -c LINE`` and ``cmd /c``, which hosts' users put in front."""
    while True:
        name = os.path.basename(words[0]).lower()
        if name == "env" and len(words) > 1:
            rest = words[1:]
            if rest[0] in ("-S", "--split-string") and len(rest) > 1:
                rest = _split(rest[1]) + rest[2:]
            while rest and (found := _ASSIGNMENT.fullmatch(rest[0])):
                environment[found[1]] = found[2]
                rest = rest[1:]
            if not rest or rest[0].startswith("-"):
                raise UsageError(f"cannot read: {shlex.join(words)}", "accepted: env NAME=VALUE… COMMAND")
            words = rest
        elif name in SHELLS and len(words) > 1 and re.fullmatch(r"-[li]*c", words[1]):
            if len(words) != 3 or _OPERATORS.search(words[2]):
                raise UsageError(
                    f"{name} -c with more than one plain command cannot be sandboxed as one server",
                    "give the server's own command, or put the line in a script",
                )
            words = _split(words[2])
        elif name in ("cmd", "cmd.exe") and len(words) > 2 and words[1].lower() == "/c":
            raise UsageError("cmd /c is for Windows", "leave it out: give the command after it")
        else:
            return words


def _split(line: str) -> list[str]:
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UsageError(f"cannot read {line!r}: {error}") from None
    if not words:
        raise UsageError("no command", "put the server's command after --")
    return words


def _unpinned(fetcher: str, rest: list[str]) -> UsageError:
    package = next((word for word in rest if not word.startswith("-")), "PACKAGE")
    install = (
        f"npm install --prefix DIR {package}, then: mcpbox wrap -- node DIR/node_modules/{package}/…"
        if fetcher[0] in "npby" and not fetcher.startswith("pipx")
        else f"python3 -m venv DIR && DIR/bin/pip install {package}, then: mcpbox wrap -- DIR/bin/python -m MODULE"
    )
    return UsageError(
        f"{fetcher} fetches whatever the registry serves at each start; this version does not pin packages yet, "
        "and does not run unpinned ones",
        f"install it once: {install}",
    )
