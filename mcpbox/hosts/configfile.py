"""A host's file on the disk: read, locked, replaced as a whole or not at all, the former content kept as a backup.

The host may write the file at any moment. What it writes is never lost: a change is worked out again from what is there
now until nothing came in between.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from msgspec import Struct

from mcpbox import paths
from mcpbox.errors import McpboxError
from mcpbox.hosts import exchange

MAX_BYTES = 64 << 20
#: How many backups of a file are kept: the first and the newest.
BACKUPS = 10
#: Seconds to wait for another mcpbox, and for a pause in what others write.
PATIENCE = 20.0
#: Seconds to wait for others to close the file; some keep it open for good.
CLOSING = 2.0
INTERVAL = 0.02
MOMENT = 0.001


class Content(Struct, frozen=True):
    """A file as read. ``path`` is as the host names it, ``real`` where its symlinks lead; ``text`` has BOM and line
    ends as they are."""

    path: str
    real: str
    text: str


class Changed(Struct, frozen=True):
    """What a change came to."""

    before: str
    after: str
    backup: Path | None


class Unwritable(McpboxError):
    """The file cannot be replaced; it is as it was."""


def read(path: str) -> Content:
    """The file's text. Raises McpboxError if it is not a UTF-8 text file of at most ``MAX_BYTES``."""
    real = _real(path)
    return Content(path, real, _decode(_bytes(real), path))


def change(path: str, edit: Callable[[str], str], *, backup: bool = True) -> Changed | None:
    """Replace the file's text by what ``edit`` makes of it; None where that is the same text.

    ``edit`` is called again with the new text whenever somebody else has written the file meanwhile; it must not wait
    for anything. What it raises is raised, and the file is as it was. ``backup=False`` keeps no copy of what was there,
    for a change whose point is that it goes away. Raises McpboxError.
    """
    with locked(path):
        real = _real(path)
        try:
            _require_replaceable(real, path)
        except OSError as error:
            raise _unwritable(path, error) from None
        _rescue(real)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                before = _settled(real)
            except OSError as error:
                raise _unwritable(path, error) from None
            text = _decode(before, path)
            try:
                edited = edit(text)
            except Exception:
                # Half written by somebody who does not write it as a whole?
                time.sleep(INTERVAL)
                if _bytes(real) == before or time.monotonic() > deadline:
                    raise
                continue
            after = edited.encode()
            if after == before:
                return None
            try:
                kept = _keep(real, before) if backup else None
                if _replace(real, before, after):
                    return Changed(text, edited, kept)
            except OSError as error:
                raise _unwritable(path, error) from None
            if kept:
                kept.unlink(missing_ok=True)
            if time.monotonic() > deadline:
                raise Unwritable(
                    f"{path} is written to all the time by another program", "close it, and run this again"
                )


@contextmanager
def locked(path: str) -> Iterator[None]:
    """Keep other mcpbox processes from changing the file. Raises McpboxError if one does not let go of it."""
    real = _real(path)
    try:
        directory = paths.private_dir(paths.private_dir(paths.state_dir()) / "locks")
        lock = directory / sha256(real.encode(errors="surrogateescape")).hexdigest()[:32]
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Unwritable(f"{path} is being changed by another mcpbox", "wait for it to end") from None
                time.sleep(INTERVAL)
        yield
    finally:
        os.close(descriptor)


def backups(path: str) -> list[Path]:
    """The kept copies of a file, oldest first."""
    return sorted(_backups_of(_real(path)).glob("*.backup"))


def all_backups() -> list[Path]:
    """The kept copies of every file."""
    return sorted((paths.state_dir() / "backups").glob("*/*.backup"))


def _real(path: str) -> str:
    try:
        return os.path.realpath(path, strict=True)
    except OSError as error:
        raise McpboxError(f"{path}: cannot be read: {error.strerror}") from None


def _bytes(real: str) -> bytes:
    try:
        descriptor = _opened(real)
    except OSError as error:
        raise McpboxError(f"{real}: cannot be read: {error.strerror}") from None
    try:
        return _Alone(real, descriptor, False).content()
    finally:
        os.close(descriptor)


def _opened(real: str) -> int:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            # Not to wait for the other end of a FIFO.
            return os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except BlockingIOError:
            # Somebody has it alone, another mcpbox perhaps, and has now been told to let go.
            if time.monotonic() > deadline:
                raise
            time.sleep(MOMENT)


def _decode(data: bytes, path: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        kind = "UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else f"not UTF-8 (byte {error.start})"
        raise McpboxError(f"{path}: {kind}", "save it as UTF-8") from None


def _settled(real: str) -> bytes:
    """The content at a moment when nobody has the file open, if there is one."""
    with _alone(real) as file:
        return file.content()


class _Alone(Struct):
    """An open file that others cannot open while the lease lasts: whoever wants to waits until it is let go."""

    real: str
    descriptor: int
    leased: bool

    def content(self) -> bytes:
        """Read here, and never by its name: this process would wait for itself."""
        found = os.fstat(self.descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_BYTES:
            raise McpboxError(f"{self.real} is no regular file of up to {MAX_BYTES >> 20} MiB: no host's configuration")
        return os.pread(self.descriptor, MAX_BYTES + 1, 0)

    def is_at(self, path: str) -> bool:
        return os.path.samestat(os.fstat(self.descriptor), os.stat(path))

    def is_wanted(self) -> bool:
        """Whether somebody waits to open it."""
        return self.leased and fcntl.fcntl(self.descriptor, fcntl.F_GETLEASE) != fcntl.F_WRLCK


@contextmanager
def _alone(real: str) -> Iterator[_Alone]:
    """The file, which nobody else has open (a lease, fcntl(2)).

    Where there are no leases, or somebody does not close the file, it goes on without one.
    """
    deadline = time.monotonic() + CLOSING
    while True:
        descriptor = _opened(real)
        try:
            leased = _lease(descriptor)
            if leased or leased is None or time.monotonic() > deadline:
                yield _Alone(real, descriptor, bool(leased))
                return
        finally:
            os.close(descriptor)
        # Whoever writes often leaves it alone only for moments.
        time.sleep(MOMENT)


def _lease(descriptor: int) -> bool | None:
    """Whether the lease was given; None where there are none."""
    try:
        # The kernel tells by SIGIO that somebody waits, which would end this process.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError as error:
        return False if error.errno in (errno.EAGAIN, errno.EBUSY) else None
    return True


def _replace(real: str, before: bytes, after: bytes) -> bool:
    """Put ``after`` in the place of ``before``. False, and nothing changed, if something else is there by now."""
    temporary = _temporary(real)
    try:
        _write_like(real, temporary, after)
        with _alone(real) as file:
            if not file.is_at(real) or file.content() != before or file.is_wanted():
                return False
            if not exchange.exchange(temporary, real):
                # Between the look and this is a moment in which somebody's change would be lost; there is no way back.
                os.replace(temporary, real)
                _sync(os.path.dirname(real))
                return True
            undisturbed = file.is_at(temporary) and file.content() == before
            if undisturbed:
                # Time for whoever found the file by its name just before to be seen waiting.
                time.sleep(MOMENT)
                undisturbed = not file.is_wanted()
        if not (undisturbed and _settled(temporary) == before):
            exchange.put_back(temporary, real, after, _settled)
            return False
        _sync(os.path.dirname(real))
        return True
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def _write_like(real: str, temporary: str, data: bytes) -> None:
    """A file beside the real one, with its mode, owner and extended attributes."""
    like = os.stat(real)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as opened:
        opened.write(data)
        opened.flush()
        found = os.fstat(descriptor)
        if (found.st_uid, found.st_gid) != (like.st_uid, like.st_gid):
            try:
                os.fchown(descriptor, like.st_uid, like.st_gid)
            except PermissionError:
                raise Unwritable(
                    f"{real} belongs to user {like.st_uid} and group {like.st_gid}, and once changed it would not",
                    f"make it this user's: sudo chown {os.geteuid()}:{os.getegid()} {real}",
                ) from None
        os.fchmod(descriptor, stat.S_IMODE(like.st_mode))
        if hasattr(os, "listxattr"):
            with suppress(OSError):
                for name in os.listxattr(real):
                    # Some are the system's own to set.
                    with suppress(OSError):
                        os.setxattr(descriptor, name, os.getxattr(real, name))
        os.fsync(descriptor)


def _require_replaceable(real: str, path: str) -> None:
    found = os.stat(real)
    if not stat.S_ISREG(found.st_mode):
        raise Unwritable(f"{path} is not a regular file")
    if not found.st_mode & 0o222 or not os.access(real, os.W_OK):
        own = f"run: chmod u+w {real}"
        theirs = (
            f"it belongs to user {found.st_uid}, and not to this one: have it changed where it is kept, or given over"
        )
        raise Unwritable(f"{path} is read-only", own if found.st_uid == os.geteuid() else theirs)
    if found.st_nlink > 1:
        raise Unwritable(
            f"{path} has {found.st_nlink} names (hard links), of which a change would reach one",
            "make it a symbolic link, or a file of its own",
        )
    if not os.access(os.path.dirname(real), os.W_OK | os.X_OK):
        raise Unwritable(f"{path}: its directory is read-only", f"run: chmod u+wx {os.path.dirname(real)}")


def _unwritable(path: str, error: OSError) -> Unwritable:
    return Unwritable(f"{path}: cannot be replaced, and is as it was: {error.strerror or error}")


def _temporary(real: str) -> str:
    directory, name = os.path.split(real)
    return f"{directory}/.{name[:200]}.mcpbox-{os.urandom(4).hex()}"


def _rescue(real: str) -> None:
    """What a crash in the midst of a change left beside the file may be what its host wrote last: it is kept."""
    directory, name = os.path.split(real)
    pattern = re.compile(rf"\.{re.escape(name[:200])}\.mcpbox-[0-9a-f]{{8}}")
    for found in os.listdir(directory):
        if pattern.fullmatch(found):
            left = os.path.join(directory, found)
            try:
                _keep(real, _bytes(left))
                os.unlink(left)
            except OSError as error:
                raise _unwritable(real, error) from None
    try:
        # A backup that a crash left unfinished is of what is there still, and holds secrets that are about to go.
        for unfinished in _backups_of(real).glob("*.new"):
            unfinished.unlink()
    except OSError as error:
        raise _unwritable(real, error) from None


def _keep(real: str, data: bytes) -> Path:
    directory = paths.private_dir(_backups_of(real))
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    kept = directory / f"{stamp}-{os.urandom(2).hex()}.backup"
    temporary = kept.with_suffix(".new")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
        temporary.replace(kept)
    finally:
        temporary.unlink(missing_ok=True)
    for old in sorted(directory.glob("*.backup"))[1 : 1 - BACKUPS]:
        old.unlink(missing_ok=True)
    return kept


def _backups_of(real: str) -> Path:
    name = re.sub(r"[^A-Za-z0-9._-]", "_", os.path.basename(real)).lstrip(".")[:80]
    mark = sha256(real.encode(errors="surrogateescape")).hexdigest()[:16]
    return paths.private_dir(paths.private_dir(paths.state_dir()) / "backups") / f"{name}-{mark}"


def _sync(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
