"""The register of the servers that were put behind mcpbox: ``protected.json`` among the data, of this user alone."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from mcpbox import paths, registered
from mcpbox.errors import McpboxError
from mcpbox.hosts.model import Key
from mcpbox.hosts.record import Record


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    version: int
    servers: tuple[Record, ...] = ()


def load() -> list[Record]:
    """Every record. Raises McpboxError if the file is damaged."""
    return list(registered.decode(File).servers)


def put(records: Iterable[Record]) -> None:
    """Add records, in place of those of the same file and key."""
    new = {(record.file, record.key): record for record in records}
    _change(lambda known: [*(record for record in known if (record.file, record.key) not in new), *new.values()])


def remove(file: str, keys: Iterable[tuple[Key, ...]]) -> None:
    """Forget the servers of a file that stand at these places."""
    gone = set(keys)
    _change(lambda known: [record for record in known if record.file != file or record.key not in gone])


def _change(change: Callable[[list[Record]], list[Record]]) -> None:
    try:
        with _locked() as path:
            before = load()
            servers = sorted(change(list(before)), key=lambda record: (record.file, list(map(str, record.key))))
            if servers != before:
                _replace(path, msgspec.json.encode(File(registered.VERSION, tuple(servers))))
    except OSError as error:
        raise McpboxError(f"{registered.file()}: cannot be written: {error.strerror or error}") from None


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as opened:
        opened.write(msgspec.json.format(data, indent=1))
        opened.flush()
        os.fsync(descriptor)
    temporary.replace(path)


@contextmanager
def _locked() -> Iterator[Path]:
    paths.private_dir(paths.data_dir())
    path = registered.file()
    descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield path
    finally:
        os.close(descriptor)
