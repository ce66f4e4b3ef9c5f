"""``mcpbox.lock``: which version of each package runs, and how it is known to be the same one.

A file to be read, committed and shared. Beside it, ``mcpbox.lock.d`` has the whole resolved tree of each package, so
that another machine installs the same bytes without resolving anything.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Literal

import msgspec

from mcpbox import paths
from mcpbox.errors import PackageError
from mcpbox.packages.model import Ecosystem, Plan, Request

VERSION = 1
HEADER = "What mcpbox runs. A version changes only by: mcpbox package update"
#: After so many seconds a file that was never finished is nobody's.
ABANDONED = 3600
MEND = "restore the file, or remove the entry: its package is then pinned anew"


class Tree(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An installed tree: its name in the store, and the SHA-256 of its manifest there."""

    tree: str
    manifest: str


class Previous(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an update replaced, kept until the new version has started once."""

    version: str
    integrity: str
    trees: dict[str, Tree]


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One pinned request. ``trees`` are by ``variant``: a package's files differ between them, its version does not.

    ``integrity`` is the root package's, as its ecosystem writes it; ``registry`` where it came from; ``resolved`` an
    RFC 3339 time; ``floor`` the lowest version an update may lead to; ``scripts`` the packages whose install script
    the user allowed; ``provenance`` "verified" or "absent" of the whole tree.
    """

    ecosystem: Ecosystem
    requested: tuple[str, ...]
    name: str
    version: str
    integrity: str
    registry: str
    resolved: str
    approved: Literal["first use", "user"]
    floor: str
    trees: dict[str, Tree]
    scripts: tuple[str, ...] = ()
    python: str = ""
    provenance: str = ""
    previous: Previous | None = None

    @property
    def request(self) -> Request:
        """What it is the answer to."""
        return Request(self.ecosystem, self.requested, python=self.python)


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    packages: dict[str, Entry] = {}


def file() -> Path:
    return paths.config_dir() / "mcpbox.lock"


def variant(backend: str) -> str:
    """What a tree is made for, such as "linux-x86_64-docker": an image may have another interpreter than the host."""
    return f"{sys.platform}-{os.uname().machine.lower()}-{backend}"


def load() -> dict[str, Entry]:
    """The entries by ``Request.key``; none where there is no file. Raises PackageError."""
    path = file()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise PackageError(f"{path}: {error}", MEND) from None
    return _parse(text, path)


def put(key: str, entry: Entry) -> None:
    """Write an entry, in place of the one of that key; the rest of the file stays as it is, comments included."""

    def change(document: dict[str, object]) -> None:
        packages = document["packages"]
        assert isinstance(packages, dict)
        packages[key] = msgspec.to_builtins(entry)

    _rewrite(change)


def remove(key: str) -> None:
    """Take an entry out. Raises KeyError where there is none."""

    def change(document: dict[str, object]) -> None:
        packages = document["packages"]
        assert isinstance(packages, dict)
        del packages[key]

    _rewrite(change)


def trees(entries: Mapping[str, Entry]) -> set[str]:
    """Every tree that an entry names, for any variant, those that updates replaced among them."""
    found = set()
    for entry in entries.values():
        for table in (entry.trees, entry.previous.trees if entry.previous else {}):
            found |= {tree.tree for tree in table.values()}
    return found


def tree_name(plan: Plan, scripts: Iterable[str] = ()) -> str:
    """What the tree of a plan is called: a hash of all that goes into it."""
    return sha256(_encode(plan) + b"\0" + " ".join(sorted(scripts)).encode()).hexdigest()


def keep_plan(plan: Plan, scripts: Iterable[str] = ()) -> None:
    """Write the plan beside the lock."""
    name = tree_name(plan, scripts)
    directory = _plans()
    directory.mkdir(parents=True, exist_ok=True)
    _replace(directory / f"{name}.json", _encode(plan))


def plan(tree: str, scripts: Iterable[str] = ()) -> Plan | None:
    """The plan of a tree; None if it is not there. Raises PackageError if it is not the one the tree is named after."""
    path = _plans() / f"{tree}.json"
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Plan)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise PackageError(f"{path}: {error}", MEND) from None
    if tree_name(found, scripts) != tree:
        raise PackageError(f"{path} is not what its name says: it was changed", MEND)
    return found


def forget_plans(keep: Iterable[str]) -> None:
    """Remove the plans of other trees."""
    kept = {f"{tree}.json" for tree in keep}
    if _plans().is_dir():
        for path in _plans().glob("*.json"):
            if path.name not in kept:
                path.unlink()
    # What was being written when its process was killed.
    for path in (*_plans().glob(".*.json.*"), *file().parent.glob(f".{file().name}.*")):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink()


@contextmanager
def exclusive(what: str) -> Iterator[None]:
    """Hold the lock of this name among this user's processes; waits for it."""
    descriptor = _guard(what)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def is_held(what: str) -> bool:
    """Whether a process holds the lock of this name."""
    descriptor = _guard(what)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _guard(what: str) -> int:
    directory = paths.private_dir(paths.runtime_dir() / "packages")
    name = sha256(what.encode()).hexdigest()
    return os.open(directory / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _plans() -> Path:
    return file().with_name("mcpbox.lock.d")


def _encode(plan: Plan) -> bytes:
    return msgspec.json.encode(plan)


def _parse(text: str, path: Path) -> dict[str, Entry]:
    try:
        found = msgspec.convert(tomllib.loads(text), File)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise PackageError(f"{path}: {error}", MEND) from None
    if found.version != VERSION:
        raise PackageError(f"{path}: version = {found.version}: not accepted", f"accepted: {VERSION}; or update mcpbox")
    for key, entry in found.packages.items():
        if (stated := entry.request.key) != key:
            raise PackageError(f'{path}: packages."{key}" is an entry for {stated}', MEND)
        for tree in trees({key: entry}):
            # It becomes a path.
            if len(tree) != 64 or set(tree) - set("0123456789abcdef"):
                raise PackageError(f'{path}: packages."{key}": {tree!r} is not the name of a tree', MEND)
    return found.packages


def _rewrite(change: Callable[[dict[str, object]], None]) -> None:
    import tomlkit

    with exclusive("mcpbox.lock"):
        # Through a symlink to where the user keeps it.
        path = Path(os.path.realpath(file()))
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            text = f"# {HEADER}\nversion = {VERSION}\n"
        _parse(text, path)
        document = tomlkit.parse(text)
        document.setdefault("packages", tomlkit.table(True))
        change(document)
        path.parent.mkdir(parents=True, exist_ok=True)
        written = tomlkit.dumps(document)
        _parse(written, path)
        _replace(path, written.encode())


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())
    temporary.replace(path)
