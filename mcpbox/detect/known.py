"""Finds values that are known to be secret, also encoded and in pieces. No I/O.

Looked for: the value as it is, as JSON and URLs have it, in hexadecimal, in base64 wherever in other data it stood
(RFC 4648, both alphabets), and backwards. Each of these may be broken up by line ends, spaces, quotes and the ends of
strings. Not looked for: what is encrypted, compressed or spelled in a way of its own.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from string import ascii_letters, digits
from urllib.parse import quote, quote_plus

from msgspec import Struct

from mcpbox.patterns import lazily

#: Shorter values, and single words up to the second length, are found in every text.
SHORTEST, WORD = 8, 12
#: Pieces of a value that are looked for, of so many characters, and at most so many of them.
_PIECE, _PIECES = 8, 8
#: What may stand between two characters of a value, and how much of it.
_GAP = frozenset(" \t\r\n\0\1\"'`+,\\\u00a0\u00ad\u200b\u200c\u200d\u2060\ufeff")
_LONGEST_GAP = 64
_ALPHABET = f"{ascii_letters}{digits}+/=_-"
_BASE64 = lazily("[A-Za-z0-9+/=_-]*")


class Form(Struct, frozen=True):
    """One way to write the value ``of`` that number; in base64 more than the value belongs to it."""

    of: int
    text: str
    base64: bool = False


class KnownValues:
    """``values`` by value, with the name of each; those that are too short to be told from other text are left out.

    ``pieces`` are to be looked for by whoever looks for literals.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = tuple(value for value in values if _is_telling(value))
        self.names = tuple(values[value] for value in self.values)
        self._forms = tuple(form for number, value in enumerate(self.values) for form in _forms(number, value))
        pieces: dict[str, list[tuple[Form, int]]] = {}
        for form in self._forms:
            for at in _places(len(form.text)):
                pieces.setdefault(form.text[at : at + _size(len(form.text))], []).append((form, at))
        self.pieces = tuple(pieces)
        self._of = tuple(pieces.values())

    def locate(self, text: str, hits: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
        """Start, end and number of each known value in ``text``.

        ``hits``: the number of a piece and where it stands, by place. Pieces put together take no more time than
        twice the length of the text; what goes beyond it, which takes a text made for that, is found whole or not.
        """
        ends: dict[Form, int] = {}
        left = 2 * len(text) + 4096
        for piece, start in hits:
            for form, offset in self._of[piece]:
                if start < ends.get(form, 0):
                    continue
                begin, end = start - offset, start - offset + len(form.text)
                if begin < 0 or not text.startswith(form.text, begin):
                    if left <= 0:
                        continue
                    begin, end, steps = _spelled(text, form.text, offset, start)
                    left -= steps
                if end:
                    if form.base64:
                        begin, end = _run(text, begin, end)
                    ends[form] = end
                    yield begin, end, form.of


def _is_telling(value: str) -> bool:
    text = value.strip()
    plain = text.isalpha() and text in (text.lower(), text.upper(), text.title())
    return len(text) >= (WORD if plain else SHORTEST) and len(set(text)) > 2


def _forms(number: int, value: str) -> Iterator[Form]:
    value = value.strip()
    data = value.encode("utf-8", "surrogatepass")
    urls = {quote(data, safe=""), quote(data), quote_plus(data)}
    plain = {value, value[::-1], data.hex(), data.hex().upper(), json.dumps(value)[1:-1], *urls}
    plain |= {re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), url) for url in urls}
    yield from (Form(number, text) for text in sorted(plain))
    encoded = set()
    for before in range(3):
        # What stands before and behind decides on the characters at the ends, so those are left out.
        first = -(-before * 8 // 6)
        last = (before + len(data)) * 8 // 6
        encoded.add(base64.b64encode(bytes(before) + data).decode()[first:last])
    encoded |= {text.replace("+", "-").replace("/", "_") for text in encoded}
    yield from (Form(number, text, base64=True) for text in sorted(encoded))


def _size(length: int) -> int:
    return min(_PIECE, length // 2)


def _places(length: int) -> list[int]:
    """Where the pieces of a form of that length begin, spread evenly."""
    count = min(_PIECES, length // _size(length))
    return [round(i * (length - _size(length)) / (count - 1)) for i in range(count)]


def _spelled(text: str, form: str, offset: int, start: int) -> tuple[int, int, int]:
    """Begin and end, 0 for none, of ``form`` with gaps, whose characters from ``offset`` on stand at ``start``.

    And the number of characters that were looked at.
    """
    begin, steps = _walk(text, form, offset - 1, start - 1, -1)
    if begin is None:
        return 0, 0, steps
    end, more = _walk(text, form, offset, start, 1)
    return (begin + 1, end, steps + more) if end is not None else (0, 0, steps + more)


def _walk(text: str, form: str, at: int, place: int, step: int) -> tuple[int | None, int]:
    gap = steps = 0
    last = place
    while 0 <= at < len(form):
        steps += 1
        if not 0 <= place < len(text):
            return None, steps
        if text[place] == form[at]:
            at, gap, last = at + step, 0, place + step
        elif text[place] in _GAP and gap < _LONGEST_GAP:
            gap += 1
        else:
            return None, steps
        place += step
    return last, steps


def _run(text: str, begin: int, end: int) -> tuple[int, int]:
    """All of the base64 that ``begin``:``end`` is a part of, since none of it can be read without that."""
    while begin:
        before = text[max(0, begin - 4096) : begin]
        stripped = len(before.rstrip(_ALPHABET))
        begin -= len(before) - stripped
        if stripped:
            break
    return begin, _BASE64.match(text, end).end()  # type: ignore[union-attr]
