"""A secret's value as the texts that a keyring keeps: any bytes but NUL, in pieces where it must. No I/O."""

from __future__ import annotations

import base64
import binascii
import re

#: What marks a text that is not the value itself.
MARK = "mcpbox:"
MAX_BYTES = 64 << 10
_PARTS = re.compile(r"mcpbox:parts:([0-9a-f]{8}):([1-9][0-9]{0,4})")


def fault(value: str) -> str:
    """What is wrong with a value; "" for one that can be kept. Bytes that are not UTF-8 are surrogates in it."""
    if not value:
        return "it is empty"
    if "\0" in value:
        return "it contains a NUL character, which no environment can hold"
    if len(value.encode(errors="surrogateescape")) > MAX_BYTES:
        return f"it is longer than {MAX_BYTES >> 10} KiB"
    return ""


def pack(value: str) -> str:
    """A text that says ``value``; it is the value itself, readable in the keyring's own program, wherever it can be."""
    try:
        value.encode()
        plain = not value.startswith(MARK)
    except UnicodeEncodeError:
        plain = False
    if plain:
        return value
    return f"{MARK}base64:{base64.b64encode(value.encode(errors='surrogateescape')).decode()}"


def unpack(text: str) -> str:
    """The value that ``pack`` made ``text`` of. Raises ValueError."""
    if not text.startswith(MARK):
        return text
    if not text.startswith(f"{MARK}base64:"):
        raise ValueError("not in a form that mcpbox writes")
    try:
        data = base64.b64decode(text.removeprefix(f"{MARK}base64:"), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    return data.decode(errors="surrogateescape")


def split(text: str, limit: int) -> list[str]:
    """``text`` in pieces of at most ``limit`` (2 or more) UTF-16 code units; one piece if there is no limit, 0."""
    if not limit or _units(text) <= limit:
        return [text]
    pieces, start, used = [], 0, 0
    for at, character in enumerate(text):
        if used + (size := _units(character)) > limit:
            pieces.append(text[start:at])
            start, used = at, 0
        used += size
    return [*pieces, text[start:]]


def parts_of(generation: str, count: int) -> str:
    """What stands in the place of a value that was split; the ``generation`` tells its pieces from older ones."""
    return f"{MARK}parts:{generation}:{count}"


def parts_in(text: str) -> tuple[str, int] | None:
    """The generation and the number of pieces, if ``text`` came from ``parts_of``."""
    return (found[1], int(found[2])) if (found := _PARTS.fullmatch(text)) else None


def _units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2
