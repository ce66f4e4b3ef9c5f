"""From a request to the command that runs its installed package: what the lock and the store have, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from msgspec.structs import replace

from mcpbox.command import programs
from mcpbox.command.model import Command
from mcpbox.errors import PackageError, Unprepared
from mcpbox.packages import lock, spec, starts, store
from mcpbox.packages.model import Plan, Request


class Ecosystem(Protocol):
    """What ``npm`` and ``pypi`` do; each of them raises PackageError."""

    def resolve(self, request: Request, backend: str, work: Path, *, scripts: Sequence[str] = ()) -> Plan: ...

    def fits(self, plan: Plan, backend: str, python: str = "") -> bool: ...

    def install(self, plan: Plan, backend: str, staging: Path, *, scripts: Sequence[str] = ()) -> None: ...


#: The words that start a request's program from an installed tree. Raises PackageError.
Starter = Callable[[Request, Path], tuple[str, ...]]

ECOSYSTEMS = {"npm": "mcpbox.packages.npm", "pypi": "mcpbox.packages.pypi"}
INTERPRETERS = {"node": "node", "python3": "python"}
#: Apart, since a later start needs nothing else of the ecosystem.
STARTERS = {"npm": "mcpbox.packages.npm", "pypi": "mcpbox.packages.pypi_entry"}


def load(name: str) -> Ecosystem:
    return cast(Ecosystem, import_module(ECOSYSTEMS[name]))


def starter(name: str) -> Starter:
    return cast(Starter, import_module(STARTERS[name]).entry)


def interpreter(words: Sequence[str]) -> str:
    """What an image has to bring for these words: "node", "python" or "other"."""
    return INTERPRETERS.get(words[0], "python" if words[0].startswith("python3.") else "other")


def locate(
    words: Sequence[str], request: Request, choose: Callable[[tuple[str, ...]], str], place: programs.Place
) -> Command:
    """The command that starts what ``words`` ask for. Raises Unprepared where it is not installed, PackageError."""
    identities = (spec.identity(request),)
    backend = choose(identities)
    entry = lock.load().get(request.key)
    tree = entry.trees.get(lock.variant(backend)) if entry else None
    if entry is None or tree is None or not store.path(tree.tree).exists():
        raise Unprepared(request, backend)
    starts.hold(str(store.path(tree.tree)))
    directory = store.check(tree.tree, tree.manifest)
    start = starter(request.ecosystem)(request, directory)
    if backend == "docker":
        # The image's interpreter is the one the tree was made for; this machine's may be another, or none.
        program = start[0] if "/" in start[0] else f"/usr/bin/{start[0]}"
        found = Command((program, *start[1:], *request.arguments), interpreter(start))
    else:
        _require_common(start[0])
        # From home: a package is the same one whatever the host has open, which might have an interpreter of its own.
        found = programs.resolve([*start, *request.arguments], {}, replace(place, cwd=place.home))
    # The whole tree, whatever of it the program's place suggests; and the interpreter's, if that has one.
    outside = [path for path in found.trees if not f"{path}/".startswith(f"{directory}/")]
    command = replace(
        found,
        trees=(str(directory), *outside),
        identities=identities,
        arguments=request.arguments,
        unproven=request.key if entry.previous else "",
        package=request.key,
        beside=tuple(sorted({spec.split(request.ecosystem, other)[0] for other in request.packages[1:]})),
    )
    if not command.unproven:
        files = [Path(os.path.realpath(lock.file())), directory / store.MANIFEST]
        starts.remember(words, place.path, backend, command, directory, files)
    return command


def _require_common(program: str) -> None:
    """Raise PackageError where a package names its interpreter by a place that is neither the system's nor in PATH.

    What an interpreter lies in is shown to the server, and would be whatever of the user's the package likes.
    """
    named = next(iter(programs.shebang(program)), "") if "/" in program else ""
    if "/" in named and not os.path.normpath(named).startswith(programs.SYSTEM):
        raise PackageError(f"{program} wants to be run by {named}", "a package has to name its interpreter: env NAME")
