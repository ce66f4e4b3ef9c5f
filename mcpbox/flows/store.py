"""What the servers of one host's session have returned, as fingerprints in a file for each server.

A file is a page with how many bytes of it are valid, then records, each of one result: when, of which tool, and its
fingerprints. A writer holds the file's lock, writes behind the valid end and moves the end last, so that whatever kills
it leaves a whole file; then it tells the others, who read what is new when next they judge. A file that is full is
replaced by one with the newest. Nothing of a result is on disk, only keyed hashes; the key lies beside them, for this
user alone, in the page by which they tell each other.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from array import array
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mcpbox.changes import Changes
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
_HEAD = struct.Struct("=8sQ")
_MAGIC = b"flows 2\0"
_RECORD = struct.Struct("=QII")
#: Seconds after which it is seen that the directory was removed.
_GONE = 1.0
#: What is told of: anything at all, and before that, that there is another file.
_ANYTHING, _FILES = 0, 1
#: Bytes of a file that is full: twice what is kept, and a name for each tool and for the newest result.
_FULL = _PAGE + 2 * 8 * KEPT + (NAMES + 1) * (_RECORD.size + LONGEST_NAME)


class Store:
    """The session's fingerprints as the server ``server`` sees them. All methods raise OSError."""

    def __init__(self, server: str, directory: Path | None = None) -> None:
        self._directory = hostsession.directory() if directory is None else directory
        self._changes = _changes(self._directory)
        self.key = self._changes.data
        self._own = self._directory / _file_name(server)
        self._noted: set[str] = set()
        self._others: dict[str, _Reader] = {}
        self._seen = self._listed = -1
        self._checked = 0.0
        self._known: dict[int, Origin] = {}
        self._used: dict[Origin, None] = {}
        self._file = -1
        try:
            # So that the others are not alone.
            with self._locked():
                pass
            self._tell(_FILES)
        except OSError:
            self.close()
            raise

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
        # Another process of this server may fill it again in between.
        if not any(self._put(record) for _ in range(3)):
            raise OSError("what the server returned cannot be remembered: its file is full")
        self._tell()

    def _tell(self, *kinds: int) -> None:
        self._check()
        for kind in (*kinds, _ANYTHING):
            self._changes.tell(kind)

    def _put(self, record: bytes) -> bool:
        """Whether it is in the file; if not, that was full, and there is another now."""
        with self._locked() as (file, size):
            end = _end(file)
            if end > size:
                raise OSError(_DAMAGED)
            if end + len(record) > _FULL:
                self._compact(file, end)
                return False
            if os.pwrite(file, record, end) != len(record):
                raise OSError("what the server returned cannot be remembered: the disk is full")
            os.pwrite(file, _HEAD.pack(_MAGIC, end + len(record)), 0)
            return True

    @contextmanager
    def _locked(self) -> Iterator[tuple[int, int]]:
        """The own file and its size, made if it is not there, under its lock; it stays open: there will be more."""
        while True:
            if self._file < 0:
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                self._file = os.open(self._own, flags, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                status = os.fstat(self._file)
                # Else it was replaced while this waited, or since the last time.
                if status.st_nlink:
                    size = status.st_size or os.pwrite(self._file, _HEAD.pack(_MAGIC, _PAGE).ljust(_PAGE, b"\0"), 0)
                    yield self._file, size
                    return
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
            os.close(self._file)
            self._file = -1

    def _compact(self, file: int, end: int) -> None:
        """Put a file in its place that has the newest results, and the names of all tools."""
        records = list(_records(os.pread(file, end - _PAGE, _PAGE)))
        names = list(dict.fromkeys(tool for _, tool, _ in records))[-NAMES:]
        left, kept = 8 * KEPT, []
        oldest = time.time() - AGE
        for moment, tool, prints in reversed(records):
            # Many small ones are to leave room as well, or the file would be full again at once.
            left -= _RECORD.size + len(tool) + 8 * len(prints)
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
            new.write(_HEAD.pack(_MAGIC, _PAGE + len(data)).ljust(_PAGE, b"\0") + data)
        temporary.rename(self._own)

    def _check(self) -> None:
        if (now := time.monotonic()) > self._checked + _GONE:
            self._changes.check()
            self._checked = now

    def _refresh(self) -> None:
        """Read what is new since the last time."""
        self._check()
        # Before it is read: what comes meanwhile is told of after.
        if (last := self._changes.last()) != self._seen:
            self._read()
            self._seen = last

    def _read(self) -> None:
        if (listed := self._changes.last(_FILES)) != self._listed:
            for name in os.listdir(self._directory):
                if name.endswith(_SUFFIX) and name not in self._others and name != self._own.name:
                    self._others[name] = _Reader(self._directory / name)
            self._listed = listed
        for name, reader in self._others.items():
            status = os.fstat(reader.file)
            if not status.st_nlink:
                # Another was put in its place.
                self._others[name] = new = _Reader(self._directory / name)
                reader.close()
                reader, status = new, os.fstat(new.file)
            if data := reader.new(status.st_size):
                self._take(reader.server, data)

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
        self.server = bytes.fromhex(path.stem).decode()
        self.file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._read = _PAGE

    def new(self, size: int) -> bytes:
        """Its records since the last time, when it is of this size now."""
        # As long as all of it was read, what is new makes it longer.
        if size == self._read or not size:
            return b""
        new = _end(self.file) - self._read
        # It may have grown since.
        data = os.pread(self.file, min(max(new, 0), 2 * _FULL), self._read)
        if len(data) != new:
            raise OSError(_DAMAGED)
        self._read += new
        return data

    def close(self) -> None:
        os.close(self.file)


def _end(file: int) -> int:
    """Where its valid part ends."""
    magic, end = _HEAD.unpack(os.pread(file, _HEAD.size, 0).ljust(_HEAD.size, b"\0"))
    if magic != _MAGIC or end < _PAGE:
        raise OSError(_DAMAGED)
    return int(end)


def _records(data: bytes) -> Iterator[tuple[int, bytes, array[int]]]:
    at = 0
    while at < len(data):
        if at + _RECORD.size > len(data):
            raise OSError(_DAMAGED)
        moment, length, count = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        prints = array("q")
        stop = at + length + count * prints.itemsize
        if stop > len(data):
            raise OSError(_DAMAGED)
        prints.frombytes(data[at + length : stop])
        yield moment, data[at : at + length], prints
        at = stop


_SUFFIX = ".prints"
_DAMAGED = "what servers of this host returned is not to be read: a file of it is damaged"


def _file_name(server: str) -> str:
    return server.encode().hex() + _SUFFIX


def _changes(directory: Path) -> Changes:
    """The session's own page with its key, made by whoever comes first."""
    used = any(name.endswith(_SUFFIX) for name in os.listdir(directory))
    path = directory / "key"
    if used and not path.exists():
        raise OSError(f"{path} was removed, and servers make use of it: restart the host")
    return Changes(path, os.urandom(32))
