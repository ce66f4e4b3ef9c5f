"""A page in memory that processes share, by which each tells the others that it has changed something.

To look at it takes no call of the system's. Whoever has changed something writes another number, which nobody can have
seen before: so none is missed, in whatever order several write, and there is no lock that a stopped process could hold.
"""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from pathlib import Path

_PAGE = 4096
_MAGIC = b"changes\0"
#: Where the numbers begin, in words of eight bytes, and where the data, in bytes.
_FIRST, _DATA = 1, 24


class Changes:
    """The page in the file ``path``, made with ``data`` if it is not there. Methods raise OSError.

    It has two numbers, for changes of two kinds, 0 and 1. With ``sync`` a page that is made is on disk before anybody
    finds it, so that a loss of power leaves no part of one.
    """

    def __init__(self, path: Path, data: bytes = b"", *, sync: bool = False) -> None:
        self._path = path
        if not path.exists():
            _make(path, data, sync)
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            status = os.fstat(file)
            # What lies behind the end of a file cannot be looked at in memory.
            if status.st_size != _PAGE:
                raise OSError(f"{path} is damaged")
            self._page = mmap.mmap(file, _PAGE)
        finally:
            os.close(file)
        self._file = status.st_dev, status.st_ino
        self._words = memoryview(self._page).cast("Q")
        self.data = self._page[_DATA : _DATA + len(data)]
        self.check()

    def last(self, kind: int = 0) -> int:
        """The number, which is another one after each change that was told of."""
        return self._words[_FIRST + kind]

    def tell(self, kind: int = 0) -> None:
        """Something has changed: whoever looks after this has returned sees that."""
        self._words[_FIRST + kind] = int.from_bytes(os.urandom(8))

    def check(self) -> None:
        """See whether the file still is what others find at its path."""
        with suppress(FileNotFoundError):
            status = os.stat(self._path, follow_symlinks=False)
            if (status.st_dev, status.st_ino) == self._file and self._page[: len(_MAGIC)] == _MAGIC:
                return
        raise OSError(f"{self._path} is damaged, or was removed")


def _make(path: Path, data: bytes, sync: bool) -> None:
    """The file, whole or not there at all, and the first of two that are made at once."""
    temporary = path.with_name(f"{path.name}.{os.urandom(6).hex()}")
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        page = (_MAGIC + bytes(16) + data).ljust(_PAGE, b"\0")
        if os.write(file, page) != _PAGE:
            raise OSError(f"{path} cannot be made: the disk is full")
        if sync:
            os.fsync(file)
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        os.close(file)
        temporary.unlink()
