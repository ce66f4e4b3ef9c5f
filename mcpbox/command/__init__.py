"""Reading the command that a host would have started: the program, its code, what profiles call it, its arguments.

``resolve`` only looks at files; nothing of the server is run, and nothing is fetched. The one program that it runs is
the user's own version manager.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from mcpbox.command import container, programs
from mcpbox.command.model import Command
from mcpbox.errors import UsageError

__all__ = ["Command", "plain", "resolve"]

#: Programs that fetch a package at each start, and may do other things too: see ``packages.spec``.
FETCHERS = {"npx", "npm", "pnpm", "pnpx", "yarn", "bunx", "bun", "uvx", "uv", "pipx"}
SHELLS = ("sh", "bash", "zsh", "dash")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_OPERATORS = re.compile(r"[|&;<>()$`\n*?\[\]{}~#!]")


def resolve(
    argv: Sequence[str], *, path: str, cwd: str, home: str, backend: Callable[[tuple[str, ...]], str] | None = None
) -> Command:
    """What ``argv`` would start, looked up in ``path`` from ``cwd``. Raises UsageError.

    A package that the command would fetch is looked up among the installed ones, in its form for the backend that
    ``backend`` chooses for a server of these identities. Raises Unprepared where it is not there, PackageError.
    """
    words, environment = plain(argv)
    name = os.path.basename(words[0])
    place = programs.Place(path, cwd, home)
    if name in FETCHERS and backend is not None and (found := _package(words, backend, place)):
        return replace(found, environment={**found.environment, **environment})
    if name in ("mcpbox", "mcpbox.exe") and "wrap" in words[1:2]:
        raise UsageError("the command is already wrapped", "put the server's own command after --")
    if name in ("docker", "podman") and words[1:2] == ["run"]:
        return container.parse(words[2:], environment)
    return programs.resolve(words, environment, place)


def plain(argv: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The words without what is put in front of them, and the environment that this sets. Raises UsageError."""
    words = list(argv)
    if not words or not words[0]:
        raise UsageError("no command", "put the server's command after --: mcpbox wrap -- node server.js")
    if words[0].startswith("-"):
        raise UsageError(f"{words[0]}: neither an option of this verb nor a command", "see what there is: --help")
    for word in words:
        if "\0" in word:
            raise UsageError("an argument contains a NUL character")
    if len(words) == 1 and " " in words[0] and not os.path.exists(words[0]):
        words = _line(words[0])
    environment: dict[str, str] = {}
    return _unwrap(words, environment), environment


def _package(words: list[str], backend: Callable[[tuple[str, ...]], str], place: programs.Place) -> Command | None:
    """The installed package that the command asks for; None if it asks for none. Imported only where it is needed."""
    from mcpbox.packages import starts

    if found := starts.find(words, place.path, backend):
        return found
    from mcpbox.packages import locate, spec

    request = spec.read(words)
    return None if request is None else locate.locate(words, request, backend, place)


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
                raise UsageError("cannot read what is behind env", "accepted: env NAME=VALUE… COMMAND")
            words = rest
        elif name in SHELLS and len(words) > 1 and re.fullmatch(r"-[li]*c", words[1]):
            if len(words) != 3 or _OPERATORS.search(words[2]):
                raise UsageError(
                    f"{name} -c with more than one plain command cannot be sandboxed as one server",
                    "give the server's own command, or put the line in a script",
                )
            words = _line(words[2])
        elif name in ("cmd", "cmd.exe") and len(words) > 2 and words[1].lower() == "/c":
            raise UsageError("cmd /c is for Windows", "leave it out: give the command after it")
        else:
            return words


def _line(line: str) -> list[str]:
    """A shell's line as words; it may begin with variables, whose values no error may name."""
    words = _split(line)
    return ["env", *words] if _ASSIGNMENT.fullmatch(words[0]) else words


def _split(line: str) -> list[str]:
    import shlex

    try:
        words = shlex.split(line)
    except ValueError as error:
        # Not the line itself, which may hold a secret: hosts show errors to models, and keep them in logs.
        raise UsageError(f"cannot read the command, which is one line: {error}") from None
    if not words:
        raise UsageError("no command", "put the server's command after --")
    return words
