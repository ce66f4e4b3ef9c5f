"""Which secrets there are, where, and who may have them: names in a file, since keyrings cannot list. Never values."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from mcpbox import paths
from mcpbox.errors import SecretError, UsageError
from mcpbox.secrets.reference import Reference, parse


class Entry(Struct, frozen=True, forbid_unknown_fields=True):
    """``place`` is the keyring ("secret-service" …) or "file"; ``owners`` are identities, none while it is being set.

    ``set`` is when, in UTC (ISO 8601).
    """

    place: str
    owners: tuple[str, ...]
    set: str


class _File(Struct, forbid_unknown_fields=True):
    version: int
    secrets: dict[str, Entry]


def file() -> Path:
    return paths.data_dir() / "secrets.json"


def load() -> dict[Reference, Entry]:
    """Every known secret. Raises SecretError for a file that cannot be understood."""
    try:
        found = msgspec.json.decode(file().read_bytes(), type=_File)
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError) as error:
        raise SecretError(
            f"{file()}: {error}", "put back a copy of it, or remove it and set the secrets again"
        ) from None
    if found.version != 1:
        raise SecretError(f"{file()}: version {found.version} is of a newer mcpbox", "update mcpbox")
    try:
        return {parse(key): entry for key, entry in found.secrets.items()}
    except UsageError as error:
        raise SecretError(f"{file()}: {error.message}", "put back a copy of it") from None


def put(reference: Reference, entry: Entry | None) -> None:
    """Change one entry, or remove it; the caller holds ``locked``."""
    entries = load()
    if entry is None:
        entries.pop(reference, None)
    else:
        entries[reference] = entry
    write_private(file(), msgspec.json.encode(_File(1, {str(key): entries[key] for key in sorted(entries)})))


@contextmanager
def locked(name: str = "secrets.lock") -> Iterator[None]:
    """Alone among the processes that change secrets, or that take another lock of this ``name``."""
    lock = os.open(paths.private_dir(paths.data_dir()) / name, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def write_private(path: Path, data: bytes) -> None:
    """Replace a file of mode 0600, all of it or nothing, on disk before this returns. Raises SecretError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(descriptor)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise SecretError(f"{path}: cannot be written: {error.strerror or error}") from None
