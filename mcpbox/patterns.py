"""Regular expressions that are compiled when they are first used. No I/O.

A module's table of them costs a start many milliseconds otherwise, and most sessions never use most of them.
"""

from __future__ import annotations

import re
from typing import Any, AnyStr, cast

_METHODS = ("match", "fullmatch", "search", "finditer", "findall", "split", "sub", "subn")


def lazily(source: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """As ``re.compile``, at the first use: that one is slow, and raises re.error for a wrong ``source``.

    What it returns has a pattern's methods and is none: neither ``isinstance`` nor the functions of ``re`` take it.
    """
    return cast("re.Pattern[AnyStr]", Uncompiled(source, flags))


class Uncompiled:
    """What ``lazily`` returns: it has the methods of the compiled pattern from the first use of any on."""

    def __init__(self, source: str | bytes, flags: int) -> None:
        self.source, self.flags = source, flags

    def __getattr__(self, name: str) -> Any:
        # Asked for only while the instance has no attribute of that name: every later use is as fast as the pattern's.
        if name not in _METHODS:
            raise AttributeError(f"{name!r} is not among {', '.join(_METHODS)}")
        compiled = re.compile(self.source, self.flags)
        for method in _METHODS:
            setattr(self, method, getattr(compiled, method))
        return getattr(compiled, name)
