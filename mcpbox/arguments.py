"""Options among a server's arguments. No I/O."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

_JOINED = re.compile(r"--?[A-Za-z0-9][A-Za-z0-9_.-]*=(.*)", re.DOTALL)


def options(arguments: Sequence[str], names: Collection[str]) -> Iterator[tuple[str, str]]:
    """Those of the options ``names`` that are given, each with its value: ``--name VALUE`` or ``--name=VALUE``."""
    for at, word in enumerate(arguments):
        name, joined, value = word.partition("=")
        if name in names:
            yield name, value if joined else "".join(arguments[at + 1 : at + 2])


def value(word: str) -> str:
    """What ``--option=VALUE`` sets; any other word as it is."""
    return found[1] if (found := _JOINED.fullmatch(word)) else word
