"""Gives two files each other's name in one step, and takes that back if one was written to meanwhile."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable

_AT_FDCWD = -100
#: renameat2(2), and renamex_np(2) of macOS.
_EXCHANGE = 2


def put_back(new: str, real: str, put: bytes, read: Callable[[str], bytes]) -> None:
    """Undo an exchange that put ``put`` where ``real`` is; what others have put there since goes before what was there.

    ``read`` reads a file when nobody has it open any more. ``new`` is at last what nobody but the caller wrote. Raises
    OSError.
    """
    while True:
        going = read(new)
        if not exchange(new, real) or read(new) == put:
            return
        put = going


def exchange(one: str, other: str) -> bool:
    """Give each of two files the other's name in one step; False where that cannot be done. Raises OSError."""
    library = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "darwin":
        failed = library.renamex_np(os.fsencode(one), os.fsencode(other), _EXCHANGE)
    elif hasattr(library, "renameat2"):
        failed = library.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE)
    else:
        return False
    if not failed:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), other)
