"""The running sessions, on disk: who they are, so that they can be listed, stopped, and cleaned up after a crash.

A session is a directory with a lock that its ``wrap`` holds for as long as it lives. The kernel drops the lock however
the process dies, so whoever gets it knows that what the record names is left over.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from mcpbox import paths, sandbox
from mcpbox.errors import McpboxError

#: How long a ``wrap`` may take to end before it is killed; then what it leaves is reaped.
END_SECONDS = 3.0

_UNBORN = "."


class Session(Struct):
    """One session's directory; ``record`` is what is known of it."""

    id: str
    directory: Path
    record: dict[str, Any]
    lock: int = -1

    def remember(self, facts: Mapping[str, Any]) -> None:
        """Add to the record, on disk before this returns."""
        self.record |= facts
        temporary = self.directory / "record.new"
        temporary.write_bytes(msgspec.json.encode(self.record))
        temporary.rename(self.directory / "record.json")

    def end(self) -> None:
        """The session is over and left nothing."""
        _remove(self.directory)
        if self.lock >= 0:
            os.close(self.lock)
            self.lock = -1


def begin(name: str, backend: str) -> Session:
    """A new session of this process, which nobody sees before it is locked: it would look like a leftover."""
    id = os.urandom(6).hex()
    directory = _root() / f"{_UNBORN}{id}"
    directory.mkdir(mode=0o700)
    lock = os.open(directory / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    session = Session(id, directory, {}, lock)
    session.remember({"id": id, "name": name, "backend": backend, "pid": os.getpid(), "started": time.time()})
    session.directory = directory.rename(_root() / id)
    return session


def running() -> list[Session]:
    """The sessions whose ``wrap`` is alive, oldest first."""
    found = [session for session, alive in _all() if alive]
    return sorted(found, key=lambda session: session.record.get("started", 0))


def reap() -> list[Session]:
    """Remove what crashed sessions left behind; those that were removed."""
    reaped = []
    for session, alive in _all():
        if alive:
            continue
        backend = session.record.get("backend")
        try:
            if backend in sandbox.BACKENDS:
                sandbox.load(backend).reap(session.record)
        except Exception as error:
            # Its record is the only trace of what may still run, so it stays for the next time.
            sys.stderr.write(f"[mcpbox] cannot clean up after session {session.id}: {error}\n")
            os.close(session.lock)
            continue
        session.end()
        reaped.append(session)
    from mcpbox.flows import hostsession

    hostsession.reap()
    return reaped


def end(chosen: Sequence[Session]) -> None:
    """End running sessions, by a signal that their ``wrap`` cleans up after, else by force. Raises McpboxError."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for session in chosen:
            # It holds its session's lock, so this process id is still its own.
            with suppress(ProcessLookupError):
                os.kill(session.record["pid"], number)
        chosen = _alive_after(chosen)
    reap()
    if chosen:
        raise McpboxError(f"still running: {', '.join(session.record['name'] for session in chosen)}")


def _alive_after(chosen: Sequence[Session]) -> Sequence[Session]:
    deadline = time.monotonic() + END_SECONDS
    while chosen and time.monotonic() < deadline:
        alive = {session.id for session in running()}
        chosen = [session for session in chosen if session.id in alive]
        time.sleep(0.02)
    return chosen


def _all() -> Iterator[tuple[Session, bool]]:
    """Every session with whether it lives. A dead one is handed out locked, so that one process alone reaps it."""
    for directory in sorted(_root().iterdir()):
        lock = -1
        with suppress(OSError):
            if not directory.name.startswith(_UNBORN):
                lock = os.open(directory / "lock", os.O_RDWR | os.O_CLOEXEC)
        if lock < 0:
            # About to begin, or half removed; old enough, it is nobody's any more.
            with suppress(OSError):
                if time.time() - directory.stat().st_mtime > 60:
                    _remove(directory)
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alive = False
        except BlockingIOError:
            alive = True
        # Read only now: until the lock was free, its holder could still add to the record, or end the session.
        record: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            record = msgspec.json.decode((directory / "record.json").read_bytes())
        if not alive and os.fstat(lock).st_nlink:
            yield Session(directory.name, directory, record, lock), False
            continue
        os.close(lock)
        if alive and record:
            yield Session(directory.name, directory, record), True


def _remove(directory: Path) -> None:
    """A session's directory holds plain files only."""
    with suppress(OSError):
        for file in directory.iterdir():
            file.unlink()
        directory.rmdir()


def _root() -> Path:
    return paths.private_dir(paths.runtime_dir() / "sessions")
