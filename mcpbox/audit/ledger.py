"""The ledger: one chain of lines that all sessions of a user share, and the marks of the sessions that are alive.

Each line is appended under a lock, by a process that opens the file for that alone, so that it can be replaced.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from mcpbox import paths
from mcpbox.audit import chain
from mcpbox.errors import McpboxError

#: Longer than any line of the ledger.
MAX_LINE = 16 << 10
#: Seconds that a lock may be waited for: others hold it for less than a millisecond, unless they were stopped.
PATIENCE = 5.0
#: What a name or a session may be: a component of a path.
SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


class Place(Struct, frozen=True):
    """A line in a chain: its number and its hash."""

    seq: int
    hash: str


NOWHERE = Place(-1, chain.GENESIS)


class Mark(Struct):
    """Says that a session is alive: a file that its writer has locked, which the kernel undoes however it ends."""

    path: Path
    fd: int

    def drop(self) -> None:
        """The session was closed."""
        self.path.unlink(missing_ok=True)
        self.leave()

    def leave(self) -> None:
        """The session is to be closed by whoever finds the mark."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def file() -> Path:
    return paths.audit_dir() / "ledger.jsonl"


def exists() -> bool:
    """Whether anything was ever put on record here; asking makes no directory."""
    return (paths.state_dir() / "audit").is_dir()


def sessions_dir() -> Path:
    """A directory for each name, with the files of its sessions: SESSION.jsonl, SESSION.2.jsonl …"""
    return paths.private_dir(paths.audit_dir() / "sessions")


def segment(name: str, session: str, number: int) -> Path:
    """The file with the ``number``-th part of a session, from 1."""
    return sessions_dir() / name / (f"{session}.jsonl" if number == 1 else f"{session}.{number}.jsonl")


@contextmanager
def locked(patience: float = PATIENCE, *, what: str = "lock") -> Iterator[None]:
    """Hold the ledger's lock, or another of that directory's. Raises OSError if nobody gives it up in time."""
    fd = os.open(paths.audit_dir() / what, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise OSError(errno.ETIMEDOUT, f"{paths.audit_dir() / what} is locked by another mcpbox") from None
                time.sleep(0.001)
        yield
    finally:
        os.close(fd)


def append(fields: Mapping[str, Any], *, patience: float = PATIENCE, sync: bool = False) -> Place:
    """Add a line. Raises OSError, and McpboxError for a ledger whose end is no line."""
    with locked(patience):
        return extend(lambda _: fields, sync=sync)


def extend(fields: Callable[[Place], Mapping[str, Any] | None], *, sync: bool = False) -> Place:
    """Add the line that ``fields`` makes for the last one's place, or none; the caller holds the lock.

    Returns the last place then. What ``fields`` does not say of a line, ``after`` does.
    """
    fd = os.open(file(), os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        last = _last(fd)
        more = fields(last)
        if more is None:
            return last
        line = chain.encode({**after(last), **chain.plain(more)})
        size = os.fstat(fd).st_size
        if os.write(fd, line + b"\n") != len(line) + 1:
            os.ftruncate(fd, size)
            raise OSError(errno.ENOSPC, f"{file()}: {os.strerror(errno.ENOSPC)}")
        if sync:
            os.fsync(fd)
        return Place(last.seq + 1, chain.digest(line))
    finally:
        os.close(fd)


def after(last: Place) -> dict[str, Any]:
    """What every line has, for the one after ``last``."""
    return {"seq": last.seq + 1, "time": chain.stamp(time.time_ns()), "prev": last.hash}


def _last(fd: int) -> Place:
    """The place of the last line. What a crash left of a line that was being written is removed: nothing came of it."""
    size = os.fstat(fd).st_size
    tail = os.pread(fd, MAX_LINE, max(0, size - MAX_LINE))
    end = tail.rfind(b"\n") + 1
    if end < len(tail):
        if not end and size > MAX_LINE:
            raise _damaged()
        os.ftruncate(fd, size - len(tail) + end)
    if not end:
        return NOWHERE
    line = tail[tail.rfind(b"\n", 0, end - 1) + 1 : end - 1]
    try:
        return Place(msgspec.json.decode(line, type=_Line).seq, chain.digest(line))
    except chain.UNREADABLE:
        raise _damaged() from None


class _Line(Struct):
    seq: int


def _damaged() -> McpboxError:
    return McpboxError(f"{file()} does not end with a line that mcpbox wrote", "see: mcpbox audit verify")


def mark(name: str, session: str) -> Mark:
    """Say that a session of this process begins. Raises FileExistsError for one that is known."""
    path = _marks() / session
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    os.write(fd, name.encode())
    return Mark(path, fd)


def marks() -> Iterator[tuple[str, str, Mark | None]]:
    """Session and name of each that was not closed; with its mark, locked for the caller, if its writer is dead."""
    for path in sorted(_marks().iterdir()):
        with suppress(FileNotFoundError):
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            name = os.pread(fd, 256, 0).decode(errors="replace")
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                yield path.name, name, None
                continue
            if os.fstat(fd).st_nlink and SAFE.fullmatch(name) and SAFE.fullmatch(path.name):
                yield path.name, name, Mark(path, fd)
            else:
                os.close(fd)


def unclosed() -> dict[str, bool]:
    """The sessions that were not closed, and whether their writers live."""
    found = {}
    for session, _, mark in marks():
        found[session] = mark is None
        if mark:
            mark.leave()
    return found


def _marks() -> Path:
    return paths.private_dir(paths.audit_dir() / "open")
