"""What the servers of one host's session have returned, as fingerprints in a file for each server.

A file is a page with how many bytes after it are valid, then records, each of one result: when, of which tool, and its
fingerprints. A writer holds the file's lock, writes behind the valid end and moves the end last, so that whatever kills
it leaves a whole file; readers look at the page in memory, and read what is new. A file that is full is replaced by one
with the newest. Nothing of a result is on disk, only keyed hashes; the key lies beside them, for this user alone.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import time
from array import array
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from mcpbox.flows import hostsession
from mcpbox.policy.base import Origin

#: Fingerprints kept of one server, 1.6 million letters and digits, and in memory of all others together.
KEPT = 1 << 16
TOTAL = 1 << 17
#: Names of tools kept of one server, and the bytes of one.
NAMES = 4096
LONGEST_NAME = 128
#: Seconds after which a result is forgotten.
AGE = 24 * 3600

_PAGE = 4096
_HEAD = struct.Struct("=8sQQ")
_MAGIC = b"flows 1\0"
_RECORD = struct.Struct("=QII")
#: Bytes of a file that is full.
_FULL = 16 * KEPT + NAMES * (_RECORD.size + LONGEST_NAME)


class Store:
    """The session's fingerprints as the server ``server`` sees them. All methods raise OSError."""

    def __init__(self, server: str, directory: Path | None = None) -> None:
        self._directory = hostsession.directory() if directory is None else directory
        self._server = server
        self.key = _key(self._directory)
        self._own = self._directory / _file_name(server)
        self._noted: set[str] = set()
        self._others: dict[str, _Reader] = {}
        self._listed = -1
        self._known: dict[int, Origin] = {}
        self._used: dict[Origin, None] = {}
        self._file = -1
        # So that the others are not alone.
        with self._locked():
            pass

    def keep(self, tool: str, prints: Collection[int]) -> None:
        """The server returned something with these fingerprints, on record when this returns."""
        if prints:
            self._append(tool, array("q", prints))

    def note(self, tool: str) -> None:
        """The server's tool was used, on record when this returns."""
        if tool in self._noted:
            return
        if len(self._noted) >= NAMES:
            raise OSError(f"more than {NAMES} tools of the server were used in one session")
        self._append(tool, array("q"))
        self._noted.add(tool)

    def elsewhere(self) -> Mapping[int, Origin]:
        """The fingerprints of other servers' results, as of now."""
        self._refresh()
        return self._known

    def used(self) -> Collection[Origin]:
        """The tools of other servers that were used, as of now."""
        self._refresh()
        return self._used

    def alone(self) -> bool:
        """Whether no other server of this host has begun to take part."""
        self._refresh()
        return not self._others

    def close(self) -> None:
        for reader in self._others.values():
            reader.close()
        self._others.clear()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _append(self, tool: str, prints: array[int]) -> None:
        name = tool.encode()[:LONGEST_NAME]
        record = _RECORD.pack(int(time.time()), len(name), len(prints)) + name + prints[:KEPT].tobytes()
        with self._locked() as file:
            end = _end(file)
            if end + len(record) <= _FULL:
                _write(file, record, end)
                return
            self._compact(file, end)
        with self._locked() as file:
            _write(file, record, _end(file))

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The own file, made if it is not there, under its lock; it stays open, since each result is put into it."""
        while True:
            if self._file < 0:
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                self._file = os.open(self._own, flags, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                status = os.fstat(self._file)
                # Else it was replaced while this waited, or since the last time.
                if status.st_nlink:
                    if status.st_size < _PAGE:
                        os.pwrite(self._file, _HEAD.pack(_MAGIC, _PAGE, 0).ljust(_PAGE, b"\0"), 0)
                    yield self._file
                    return
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
            os.close(self._file)
            self._file = -1

    def _compact(self, file: int, end: int) -> None:
        """Put a file in its place that has the newest results, and the names of all tools."""
        records = list(_records(os.pread(file, end - _PAGE, _PAGE)))
        names = list(dict.fromkeys(tool for _, tool, _ in records))[-NAMES:]
        left, kept = KEPT, []
        oldest = time.time() - AGE
        for moment, tool, prints in reversed(records):
            left -= len(prints)
            if left < 0 or moment < oldest:
                break
            if prints:
                kept.append((moment, tool, prints))
        now = int(time.time())
        whole = [(now, tool, array("q")) for tool in names] + kept[::-1]
        data = b"".join(
            _RECORD.pack(moment, len(tool), len(prints)) + tool + prints.tobytes() for moment, tool, prints in whole
        )
        temporary = self._own.with_suffix(".new")
        with open(temporary, "wb") as new:
            new.write(_HEAD.pack(_MAGIC, _PAGE + len(data), 0).ljust(_PAGE, b"\0") + data)
        temporary.rename(self._own)
        os.pwrite(file, _HEAD.pack(_MAGIC, end, 1), 0)

    def _refresh(self) -> None:
        """Read what is new since the last time."""
        changed = os.stat(self._directory).st_mtime_ns
        if changed != self._listed:
            # Within a tick of the clock after it the directory can change again and look the same.
            self._listed = changed if time.time_ns() - changed > 1_000_000_000 else -1
            for name in os.listdir(self._directory):
                if name.endswith(_SUFFIX) and name not in self._others and name != self._own.name:
                    with suppress(FileNotFoundError):
                        self._others[name] = _Reader(self._directory / name)
        for name, reader in list(self._others.items()):
            if reader.is_replaced():
                reader.close()
                self._others[name] = reader = _Reader(self._directory / name)
            if data := reader.new():
                self._take(_server_name(name), data)

    def _take(self, server: str, data: bytes) -> None:
        oldest = time.time() - AGE
        for moment, tool, prints in _records(data):
            origin = Origin(server, tool.decode(errors="replace"))
            if len(self._used) < NAMES * 4:
                self._used[origin] = None
            if moment >= oldest:
                self._known |= dict.fromkeys(prints, origin)
        if len(self._known) > TOTAL:
            # In the order in which they came; those that came again are still at their first place.
            for number in list(self._known)[: len(self._known) - TOTAL // 2]:
                del self._known[number]


class _Reader:
    """Another server's file."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._page: mmap.mmap | None = None
        self._read = _PAGE

    def _head(self) -> tuple[int, int]:
        """Where its valid part ends, 0 as long as it is being made; and whether it was replaced."""
        if self._page is None:
            if os.fstat(self._file).st_size < _PAGE:
                return 0, 0
            self._page = mmap.mmap(self._file, _PAGE, access=mmap.ACCESS_READ)
        magic, end, replaced = _HEAD.unpack_from(self._page)
        return (end, replaced) if magic == _MAGIC else (0, 0)

    def is_replaced(self) -> bool:
        return bool(self._head()[1])

    def new(self) -> bytes:
        end = self._head()[0]
        if end <= self._read:
            return b""
        data = os.pread(self._file, end - self._read, self._read)
        self._read += len(data)
        return data

    def close(self) -> None:
        if self._page is not None:
            self._page.close()
        os.close(self._file)


def _end(file: int) -> int:
    magic, end, _ = _HEAD.unpack(os.pread(file, _HEAD.size, 0))
    if magic != _MAGIC:
        raise OSError("what servers of this host returned is not to be read: a file of it is damaged")
    return int(end)


def _write(file: int, record: bytes, end: int) -> None:
    if os.pwrite(file, record, end) != len(record):
        raise OSError("what the server returned cannot be remembered: the disk is full")
    os.pwrite(file, _HEAD.pack(_MAGIC, end + len(record), 0), 0)


def _records(data: bytes) -> Iterator[tuple[int, bytes, array[int]]]:
    at = 0
    while at + _RECORD.size <= len(data):
        moment, length, count = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        prints = array("q")
        stop = at + length + count * prints.itemsize
        if stop > len(data):
            return
        prints.frombytes(data[at + length : stop])
        yield moment, data[at : at + length], prints
        at = stop


_SUFFIX = ".prints"


def _file_name(server: str) -> str:
    return server.encode().hex() + _SUFFIX


def _server_name(name: str) -> str:
    return bytes.fromhex(name.removesuffix(_SUFFIX)).decode()


def _key(directory: Path) -> bytes:
    """The session's own, made by whoever comes first."""
    path = directory / "key"
    temporary = directory / f"key.{os.getpid()}"
    if not path.exists():
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(file, "wb") as new:
            new.write(os.urandom(32))
        with suppress(FileExistsError):
            os.link(temporary, path)
        temporary.unlink()
    key = path.read_bytes()
    if len(key) != 32:
        raise OSError(f"{path} is damaged: remove {directory}")
    return key
