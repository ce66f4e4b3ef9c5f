"""Remembers what a command that names a package came to, so that a start needs neither the lock's text nor the tree's.

What is remembered holds for as long as ``mcpbox.lock``, the tree and its manifest are the very files that they were
then; any change of them, also one of their owner or mode, and it is worked out anew.
"""

from __future__ import annotations

import fcntl
import os
import time
import zlib
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from mcpbox import __version__, paths
from mcpbox.command.model import Command

#: As many commands are remembered at most. Some have another argument each time.
MOST = 1024
#: After so many seconds a file that was never finished is nobody's.
ABANDONED = 3600

Stamp = tuple[int, int, int, int, int, int, int]


class Start(msgspec.Struct, frozen=True):
    """One start: the command as given and where it was looked for, the backend it is for, and what it came to."""

    words: tuple[str, ...]
    path: str
    version: str
    backend: str
    command: Command
    tree: str
    stamps: dict[str, Stamp]


def find(words: Sequence[str], path: str, backend: Callable[[tuple[str, ...]], str]) -> Command | None:
    """What the command came to before, if all of it is still so; ``backend`` chooses one for a server's identities."""
    try:
        start = msgspec.json.decode(_file(words).read_bytes(), type=Start)
    except (OSError, msgspec.DecodeError):
        return None
    if (start.words, start.path, start.version) != (tuple(words), path, __version__):
        return None
    if not os.access(start.command.argv[0], os.X_OK):
        return None
    if start.backend != backend(start.command.identities):
        return None
    # First the hold, then the look: what is held and unchanged stays so.
    try:
        held = hold(start.tree)
    except OSError:
        return None
    with suppress(OSError):
        if all(_stamp(file) == stamp for file, stamp in start.stamps.items()):
            return start.command
    os.close(held)
    return None


def remember(
    words: Sequence[str], path: str, backend: str, command: Command, tree: Path, files: Sequence[Path]
) -> None:
    """Keep what the command came to for as long as the tree and ``files`` stay as they are."""
    stamps = {str(file): _stamp(str(file)) for file in (tree, *files)}
    start = Start(tuple(words), path, __version__, backend, command, str(tree), stamps)
    file = _file(words)
    with suppress(OSError):
        # Only a matter of speed.
        paths.private_dir(paths.private_dir(paths.state_dir()) / "starts")
        temporary = file.with_suffix(f".{os.getpid()}")
        temporary.write_bytes(msgspec.json.encode(start))
        temporary.replace(file)


def prune(keep: Collection[str]) -> None:
    """Forget the starts of other trees, and those that cannot be read."""
    for file in (paths.state_dir() / "starts").glob("*"):
        try:
            if file.suffix == ".json":
                wanted = Path(msgspec.json.decode(file.read_bytes(), type=Start).tree).name in keep
            else:
                wanted = time.time() - file.stat().st_mtime < ABANDONED
        except FileNotFoundError:
            continue
        except (OSError, msgspec.DecodeError):
            wanted = False
        if not wanted:
            file.unlink(missing_ok=True)


def hold(tree: str) -> int:
    """Keep ``store.gc`` from removing the tree for as long as this process lives, or has the descriptor open.

    Raises OSError if it is not there.
    """
    descriptor = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def _file(words: Sequence[str]) -> Path:
    # Any name will do: what is in the file says whose it is.
    number = zlib.crc32(chr(0).join(words).encode(errors="replace")) % MOST
    return paths.state_dir() / "starts" / f"{number:03x}.json"


def _stamp(file: str) -> Stamp:
    found = os.lstat(file)
    return (
        found.st_dev, found.st_ino, found.st_mode, found.st_uid, found.st_size, found.st_mtime_ns, found.st_ctime_ns
    )  # fmt: skip
