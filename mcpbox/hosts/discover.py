"""Finds the hosts' files on this machine, and tells what kind of file one is."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from mcpbox.errors import UsageError
from mcpbox.hosts import OTHER
from mcpbox.hosts.document import Document, DocumentError, parse
from mcpbox.hosts.entries import entries, tables
from mcpbox.hosts.model import Format, Host, Place, System

#: What the braces of a place's path stand for: each of these directories, or files, that is there. ``~`` is the home;
#: one with a variable that is not set is left out. The defaults are looked at even where a variable names another
#: place: what is set in this shell is not what the host was started with.
BASES: Mapping[str, tuple[str, ...] | Mapping[System, tuple[str, ...]]] = {
    #: Where Electron and other desktop applications keep their settings.
    "APP": {
        "linux": ("$XDG_CONFIG_HOME", "~/.config"),
        "macos": ("~/Library/Application Support",),
        "windows": ("$APPDATA", "~/AppData/Roaming"),
    },
    "CONFIG": ("$XDG_CONFIG_HOME", "~/.config"),
    "LOCALAPPDATA": ("$LOCALAPPDATA", "~/AppData/Local"),
    "PROGRAMDATA": ("$PROGRAMDATA",),
    "PROGRAMFILES": ("$PROGRAMFILES",),
    "CLAUDE_CONFIG_DIR": ("$CLAUDE_CONFIG_DIR", "~"),
    "CLAUDE_PLUGINS": ("$CLAUDE_CONFIG_DIR/plugins", "~/.claude/plugins"),
    "CLINE_DIR": ("$CLINE_DIR", "~/.cline"),
    "CODEX_HOME": ("$CODEX_HOME", "~/.codex"),
    "COPILOT_HOME": ("$COPILOT_HOME", "$XDG_CONFIG_HOME/.copilot", "~/.copilot"),
    "HERMES_HOME": ("$HERMES_HOME", "~/.hermes"),
    "OPENCLAW_CONFIG_PATH": ("$OPENCLAW_CONFIG_PATH",),
    "OPENCODE_CONFIG": ("$OPENCODE_CONFIG",),
    "OPENCODE_CONFIG_DIR": ("$OPENCODE_CONFIG_DIR", "$XDG_CONFIG_HOME/opencode", "~/.config/opencode"),
    "VSCODE_PORTABLE": ("$VSCODE_PORTABLE",),
}
#: What a file is by its ending where its name says no more.
FORMATS: Mapping[str, tuple[Format, ...]] = {
    ".json": ("json", "jsonc"),
    ".jsonc": ("json", "jsonc"),
    ".code-workspace": ("jsonc",),
    ".json5": ("json5",),
    ".yaml": ("yaml",),
    ".yml": ("yaml",),
    ".toml": ("toml",),
}


class Found(Struct, frozen=True):
    """A host's file that is there."""

    host: Host
    place: Place
    #: As the host spells it: symbolic links are kept.
    path: str
    #: Of the home it was found in: inside WSL that is another than this machine's.
    system: System


def system() -> System:
    """The system that this process runs on."""
    return "macos" if sys.platform == "darwin" else "windows" if sys.platform == "win32" else "linux"


def find(
    hosts: Iterable[Host],
    *,
    home: Path,
    root: Path | None,
    environ: Mapping[str, str],
    system: System,
    others: Iterable[tuple[Path, System]] = (),
) -> list[Found]:
    """The files of ``hosts`` that are there, in the hosts' order.

    ``root`` is the project's directory, None for none; ``others`` are further homes (see ``other_homes``). A file
    that several hosts read, for the same servers of it, is listed once, for the first of them. One that this user
    cannot read is listed. A directory is listed only where a place has a ``*``, so the places bound the work.
    """
    found: dict[tuple[str, tuple[str, ...]], Found] = {}
    homes = [(home, root, environ, system), *((path, None, {}, kind) for path, kind in others)]
    for host in hosts:
        for place in host.places:
            for where in homes:
                if where[-1] in place.systems:
                    for path in _paths(place.path, *where):
                        found.setdefault((str(path), place.shape.servers), Found(host, place, str(path), where[-1]))
    return list(found.values())


def other_homes(
    system: System, environ: Mapping[str, str], *, drives: Path = Path("/mnt")
) -> list[tuple[Path, System]]:
    """The homes of Windows' users, seen from inside WSL, which mounts their drives in ``drives``."""
    if system == "linux" and "WSL_DISTRO_NAME" in environ:
        return [(home, "windows") for home in _glob(drives, ("?", "Users", "*")) if (home / "AppData").is_dir()]
    return []


def at(
    path: str,
    hosts: Iterable[Host],
    *,
    home: Path,
    root: Path | None,
    environ: Mapping[str, str],
    system: System,
) -> Found:
    """What the file that the user named is: a known place, or one that is named or written like those of ``hosts``.

    Its host is ``OTHER`` where its name does not say whose it is. Raises UsageError, naming the file and the shapes.
    """
    hosts, text, whole = list(hosts), _read(Path(path)), str(Path(path).absolute())
    same = [
        found
        for found in find(hosts, home=home, root=root, environ=environ, system=system)
        if os.path.samefile(found.path, path)
    ]
    rows = [(host, place, _likeness(place.path, Path(path))) for host in hosts for place in host.places]
    best = max(likeness for *_, likeness in rows)
    named = [Found(host, place, whole, system) for host, place, likeness in rows if likeness == best > (0, False)]
    formats = FORMATS.get(Path(path).suffix, ("json", "jsonc", "json5", "yaml", "toml"))
    shapes = dict.fromkeys(place.shape for _, place, _ in rows if place.shape.format in formats)
    written = [Found(OTHER, Place((system,), whole, shape), whole, system) for shape in shapes]
    documents: dict[Format, Document | DocumentError] = {}
    for candidates in (same, named, written):
        if chosen := _fitting(candidates, text, documents):
            return chosen
    if broken := [document for document in documents.values() if isinstance(document, DocumentError)]:
        if len(broken) == len(documents):
            raise UsageError(
                f"{path}:{broken[0].line}:{broken[0].column}: {broken[0].message}", "mend the file and try again"
            )
    if same or len({found.place.shape for found in named}) == 1:
        # Known by its place or its name, and without servers as yet.
        return (same or named)[0]
    keys = dict.fromkeys(".".join(shape.servers) for shape in shapes)
    raise UsageError(
        f"{path} has no servers in a form that mcpbox knows", f"it has to have one of the keys {', '.join(keys)}"
    )


def running(host: Host) -> list[int]:
    """The ids of this user's processes that belong to the host."""
    import psutil

    me = psutil.Process().username()
    return [
        process.pid
        for process in psutil.process_iter(["name", "exe", "username", "status"])
        if process.info["username"] == me
        and process.info["status"] != psutil.STATUS_ZOMBIE
        and _is_of(host, process.info["name"] or "", process.info["exe"] or "")
    ]


def _is_of(host: Host, name: str, executable: str) -> bool:
    path = executable.replace("\\", "/")
    return any(fnmatch.fnmatchcase(path, known) if "/" in known else name == known for known in host.processes)


def _paths(pattern: str, home: Path, root: Path | None, environ: Mapping[str, str], system: System) -> Iterator[Path]:
    base, _, rest = pattern.partition("/")
    for start in _starts(base, home, root, environ, system):
        for path in _glob(start, tuple(rest.split("/")) if rest else ()):
            with contextlib.suppress(OSError):
                if stat.S_ISREG(path.stat().st_mode):
                    yield path


def _starts(base: str, home: Path, root: Path | None, environ: Mapping[str, str], system: System) -> Iterator[Path]:
    """The directories that the first part of a place's path stands for."""
    if base == "":
        yield Path("/")
    elif base == "~":
        yield home
    elif base == "{ROOT}":
        if root is not None:
            yield root
    else:
        known = BASES[base.strip("{}")]
        for choice in known if isinstance(known, tuple) else known[system]:
            first, _, rest = choice.partition("/")
            value = str(home) if first == "~" else environ.get(first.removeprefix("$"))
            if value:
                yield Path(value, rest)


def _glob(start: Path, parts: tuple[str, ...]) -> Iterator[Path]:
    """The paths that ``parts`` match below ``start``; a part without a pattern is not looked for."""
    if not parts:
        yield start
    elif "*" not in parts[0] and "?" not in parts[0]:
        yield from _glob(start / parts[0], parts[1:])
    else:
        with contextlib.suppress(OSError):
            for name in sorted(os.listdir(start)):
                if fnmatch.fnmatchcase(name, parts[0]):
                    yield from _glob(start / name, parts[1:])


def _read(path: Path) -> str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UsageError(f"{path} is not a file", "name the file in which a host keeps its servers")
        return path.read_bytes().decode()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", "name a file that this user can read") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 at byte {error.start}", "save it as UTF-8") from error


def _likeness(pattern: str, path: Path) -> tuple[int, bool]:
    """How many of the last names of a place's path are the path's own, and whether all below a project's root are.

    Parts with a ``*`` have to match and count for nothing.
    """
    base, *parts = pattern.split("/")
    alike = told = 0
    for known, name in zip(reversed(parts), reversed(path.absolute().parts), strict=False):
        if not fnmatch.fnmatchcase(name, known):
            break
        alike, told = alike + 1, told + ("*" not in known)
    return told, told > 0 and base == "{ROOT}" and alike == len(parts)


def _fitting(candidates: Sequence[Found], text: str, documents: dict[Format, Document | DocumentError]) -> Found | None:
    """The candidate that sees most in the file; ``OTHER`` where it could as well be another host's."""
    rated = []
    for found in candidates:
        shape = found.place.shape
        if shape.format not in documents:
            try:
                documents[shape.format] = parse(text, shape.format)
            except DocumentError as error:
                documents[shape.format] = error
        document = documents[shape.format]
        if not isinstance(document, DocumentError) and tables(document, shape):
            try:
                seen = sum(bool(entry.command) + len(entry.variables) for entry in entries(document, shape))
            except UsageError:
                seen = 0  # Whoever reads the entries says what is wrong with them.
            rated.append(((seen, len(shape.references)), found))
    if not rated:
        return None
    most = max(rate for rate, _ in rated)
    fitting = [found for rate, found in rated if rate == most]
    if len({found.host.id for found in fitting}) == 1:
        return fitting[0]
    return msgspec.structs.replace(fitting[0], host=OTHER)
