"""Whether a text looks drawn at random. No I/O."""

from __future__ import annotations

import math
import re
from collections import Counter

from mcpbox.patterns import lazily

#: Bits per character that random text of 20 characters and more seldom falls below, and written text seldom exceeds
#: together with the other conditions: of 16 digits, and of the larger alphabets.
HEXADECIMAL, MIXED = 2.9, 3.4

SHORTEST = 20

_TOKEN = lazily(r"[A-Za-z0-9_+/=.~-]+")
_HEXADECIMAL = lazily(r"[0-9a-f]+|[0-9A-F]+")
_UUID = lazily(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.I)
#: People put digits in one place, chance everywhere.
_CHANGE = lazily("(?<=[0-9])[A-Za-z]|(?<=[A-Za-z])[0-9]")
_WORD = lazily(r"[A-Z]?[a-z]{6,}|[A-Z]{6,}")


def bits(text: str) -> float:
    """Shannon's entropy of ``text`` in bits per character, 0 for an empty one."""
    total = len(text)
    return -sum(count / total * math.log2(count / total) for count in Counter(text).values())


def is_uuid(text: str) -> bool:
    return bool(_UUID.fullmatch(text))


def is_random(text: str) -> bool:
    """Whether ``text`` is one token of SHORTEST characters or more that no person would write.

    Digits among letters, no word of any length, no path, version, date or UUID (which identify more than they keep).
    """
    if len(text) < SHORTEST or not _TOKEN.fullmatch(text) or is_uuid(text):
        return False
    if _HEXADECIMAL.fullmatch(text):
        return not text.isdigit() and any(map(str.isdigit, text)) and bits(text) >= HEXADECIMAL
    letters = [part for part in re.split(r"[^A-Za-z0-9]", text) if part]
    if max(map(len, letters), default=0) < 12 or not re.search("[0-9]", text) or not re.search("[A-Za-z]", text):
        return False
    worded = sum(map(len, _WORD.findall(text)))
    return bits(text) >= MIXED and (worded * 3 <= len(text) or len(_CHANGE.findall(text)) * 5 >= len(text))
