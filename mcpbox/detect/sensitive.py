"""Finds secrets and personal numbers in the running text of messages. No I/O.

Secrets are what has the format of a token or a private key, the passwords of URLs, and the values that are known. All
of these are found within one string, over the ends of neighbouring strings and of lines, with invisible text within
them, and where the text is base64 of text. The cost is bounded: of base64 the first 256 KiB and 1000 runs of a message
are decoded, once; and broken-up tokens are looked for at the first 1000 marks that stand alone.
"""

from __future__ import annotations

import html
import json
from binascii import Error, a2b_base64
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from string import ascii_letters, digits

from msgspec import Struct

from mcpbox.detect import personal, placeholders, unicode
from mcpbox.detect.engine import NEAR_RUN, Engine
from mcpbox.detect.known import KnownValues
from mcpbox.detect.masks import has_mask
from mcpbox.detect.tokens import Format, compiled
from mcpbox.patterns import lazily

#: What is put between two strings: a gap in a known value, and the first a break in a token too.
NEXT, APART = "\0", "\1"
MAX_RUNS, MAX_DECODED, MAX_LOOSE, MAX_BREAKS = 1000, 256 << 10, 1000, 16
#: The fewest characters of base64 in a row that are looked into: those of 27 bytes.
_SHORTEST_RUN = 36
_RUN = lazily(r"[A-Za-z0-9+/_-]+(?:\r?\n[A-Za-z0-9+/_-]{16,})*(?:\r?\n[A-Za-z0-9+/_-]+=)?={0,2}")
_BASE64 = f"{ascii_letters}{digits}+/=\r\n".encode()
_CLASSES = bytes(120 if chr(i).isascii() and (chr(i).isalnum() or chr(i) in "+/_-") else 32 for i in range(256))
#: Control characters as JSON has them, but for tabs and line ends.
_ESCAPED = lazily(rb"\\[bfu]")
#: What may be an escaped line end within JSON, or a letter after a backslash.
_DOUBLED = lazily(r"\\\\[nrt]")
_PRINTABLE = bytes([9, 10, 13, *range(32, 127)])
#: RFC 3986 section 3.2.1, up to the last "@" of the authority.
_PASSWORD = lazily(r"://([^\s/?#@:\"'<>`\\\0]{0,128}):([^\s/?#\"'<>`\\\0]{1,256})@([A-Za-z0-9.-]{0,255})")
#: Names that are nobody's (RFC 2606), and shorter passwords than anybody's.
_NOBODYS = lazily(r"(?i:(?:[a-z0-9-]{1,63}\.){0,8}(?:example(?:\.(?:com|net|org|edu))?|test|invalid))")
_SHORTEST_PASSWORD = 4
#: Where a line was broken, with its indentation, or a string ended.
_BREAK = lazily(r"[ \t]*\r?\n[ \t]*|\0+")
#: How much of a token that is broken up is looked at.
_WINDOW = 700


def is_binary(text: str) -> bool:
    """Whether ``text`` is base64 as a whole, and what it is of does not begin as a text does."""
    return not text.encode().translate(None, _BASE64) and bool(
        _decoded("".join(text[:64].split())).translate(None, _PRINTABLE)
    )


class Finding(Struct, frozen=True):
    """What was found: its kind, the text that it is told from others by, and where it stands in which strings."""

    kind: str
    personal: bool
    value: str
    #: number of the string, start, end
    places: tuple[tuple[int, int, int], ...]


class Detector:
    """Finds what is sensitive; ``known`` are values that are, each with a name for it."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self._known = KnownValues(known)
        self._engine = Engine(self._known.pieces)
        # JSON writes quotes, backslashes and line ends in two characters.
        self._stand = all(json.dumps(piece, ensure_ascii=False)[1:-1] == piece for piece in self._known.pieces)

    def may_find(self, data: bytes) -> bool:
        """Whether ``find`` could find anything in the strings and numbers of what ``data`` is the JSON of.

        It takes a third of the time, and most messages have nothing. ``data`` has escapes only where it must.
        """
        return (
            not self._stand
            or self.may_hide(data)
            or (b"://" in data and b"@" in data)
            or b"x" * _SHORTEST_RUN in data.translate(_CLASSES)
            or personal.may_be_in(data)
            or self._engine.may_find(data)
        )

    @staticmethod
    def may_hide(data: bytes) -> bool:
        """Whether there could be invisible text in what ``data`` is the JSON of."""
        return not data.isascii() or b"\x7f" in data or (b"\\" in data and _ESCAPED.search(data) is not None)

    def find(
        self, texts: Sequence[str], others: Sequence[str], *, secrets: bool, numbers: bool, hides: bool = True
    ) -> list[Finding]:
        """The findings in ``texts``, which are read as one, and ``others``; none overlaps another.

        ``hides`` is False where ``may_hide`` said so of their JSON.
        """
        text = APART.join((NEXT.join(texts), *others))
        spans = self._spans(text, secrets, numbers)
        if hides and unicode.hides(text, max(0, len(texts) - 1) + len(others)):
            # Who reads it, or removes that first, sees something else.
            shown = _Shown(texts, others)
            if len(shown.text) < len(text):
                spans += [shown.placed(span) for span in self._spans(shown.text, secrets, numbers)]
        found = _disjoint(spans)
        if not found:
            return []
        starts = [0]
        for each in (*(texts or ("",)), *others):
            starts.append(starts[-1] + len(each) + 1)
        return [
            Finding(kind, rank == 2, value, _places(starts, s, e, 0 if texts else 1))
            for rank, s, e, kind, value in found
        ]

    def _spans(self, text: str, secrets: bool, numbers: bool) -> list[_Span]:
        spans: list[_Span] = []
        if secrets:
            # One byte for each character, whatever it is.
            classes = text.encode("latin-1", "replace").translate(_CLASSES)
            runs = b"x" * min(NEAR_RUN, _SHORTEST_RUN) in classes
            spans += self._secrets(text, runs)
            spans += _passwords(text)
            spans += self._encoded(text, classes) if runs else ()
        if numbers:
            spans += [(2, start, end, kind, text[start:end]) for start, end, kind in personal.scan(text)]
        return spans

    def _secrets(self, text: str, runs: bool = True) -> list[_Span]:
        found = self._engine.find(text, near=runs)
        spans: list[_Span] = []
        for start, end, number in self._known.locate(text, found.literals):
            spans.append((0, start, end, f"secret {self._known.names[number]}", self._known.values[number]))
        for start, end, kind in found.tokens:
            token = text[start:end]
            if not placeholders.is_placeholder(token):
                spans.append((1, start, end, f"secret {kind}", token))
        for row, start in found.loose[:MAX_LOOSE]:
            if broken := _broken(text, row, start):
                spans.append((1, start, broken[0], f"secret {row.kind}", broken[1]))
        return spans

    def _encoded(self, text: str, classes: bytes) -> list[_Span]:
        """Base64 of text with a secret in it."""
        spans: list[_Span] = []
        left, at = MAX_DECODED, 0
        for _ in range(MAX_RUNS):
            at = classes.find(b"x" * _SHORTEST_RUN, at)
            if at < 0 or left <= 0:
                break
            if not (inner := _decoded(text[at : at + 16])) or inner.translate(None, _PRINTABLE):
                at = classes.find(b" ", at)
                if at < 0:
                    break
                continue
            match = _RUN.match(text, at, at + max(left, _SHORTEST_RUN) // 3 * 4)
            assert match
            left -= len(match[0])
            plain = _decoded("".join(match[0].split())).decode("utf-8", "replace")
            if hidden := self._secrets(plain):
                _, _, _, kind, value = min(hidden)
                spans.append((1, *match.span(), kind, value))
            at = match.end()
        return spans


class _Shown:
    """``text``: ``texts`` and ``others`` joined as they are, without what is invisible in them."""

    def __init__(self, texts: Sequence[str], others: Sequence[str]) -> None:
        parts: list[str] = []
        #: from where on the two texts run alike: the place in this one, and in the other
        self._here, self._there = [0], [0]
        here = there = 0
        last = max(0, len(texts) - 1)
        for number, text in enumerate((*(texts or ("",)), *others)):
            at = 0
            for start, end in unicode.unseen(text):
                parts.append(text[at:start])
                here += start - at
                at = end
                self._here.append(here)
                self._there.append(there + end)
            parts += (text[at:], NEXT if number < last else APART)
            here += len(text) - at + 1
            there += len(text) + 1
        self.text = "".join(parts[:-1])

    def placed(self, span: _Span) -> _Span:
        rank, start, end, kind, value = span
        return rank, self._original(start), self._original(end - 1) + 1, kind, value

    def _original(self, place: int) -> int:
        number = bisect_right(self._here, place) - 1
        return self._there[number] + place - self._here[number]


def finder(known: Mapping[str, str], *, secrets: bool, numbers: bool) -> Callable[[str], bool]:
    """Says of JSON whether something sensitive was masked in it, or, as is asked for, is still there."""
    if not secrets and not numbers:
        return has_mask
    detector = Detector(known)

    def finds(text: str) -> bool:
        if has_mask(text):
            return True
        # The letter of an escaped line end would belong to the token after it.
        plain = text.replace("\\n", "\n").replace("\\t", "\t").replace("\\r", "\r") if "\\" in text else text
        # After two backslashes it is that of a line end in JSON within JSON, or the token's own.
        readings = (plain, text) if _DOUBLED.search(text) else (plain,)
        return any(detector.find((), (each,), secrets=secrets, numbers=numbers) for each in readings)

    return finds


#: Rank of the evidence, the best first (a known value, a format, a number), start, end, kind, and the value itself.
_Span = tuple[int, int, int, str, str]


def _passwords(text: str) -> list[_Span]:
    if "@" not in text:
        return []
    return [
        (1, *match.span(2), "secret url-password", match[2])
        for match in _PASSWORD.finditer(text)
        if not _is_shown(*match.groups()) and not has_mask(match[2])
    ]


def _is_shown(user: str, password: str, host: str) -> bool:
    """Whether it stands there to show where a password belongs: at a host of RFC 2606, or as everybody's first one."""
    if len(password) < _SHORTEST_PASSWORD or password == user or _NOBODYS.fullmatch(host):
        return True
    plain = html.unescape(password).rstrip("]")
    return placeholders.is_placeholder(plain) or placeholders.is_reference(plain)


def _broken(text: str, row: Format, start: int) -> tuple[int, str] | None:
    """The end of a token that begins at ``start`` and goes on after breaks, and the token without these.

    It ends with the first part that makes it one: what comes then would be of the alphabet of many tokens as well.
    """
    window = text[start : start + _WINDOW]
    breaks = [match.span() for match in islice(_BREAK.finditer(window), MAX_BREAKS)]
    if not breaks:
        return None
    # What stands before counts, since a token does not begin within a word.
    whole = text[start - 1 : start] if start else ""
    before = len(whole)
    whole += window[: breaks[0][0]]
    for (_, begin), (end, _) in zip(breaks, [*breaks[1:], (len(window), 0)], strict=True):
        length = len(whole) - before
        whole += window[begin:end]
        if found := compiled(row).match(whole, before):
            if placeholders.is_placeholder(found[0]):
                return None
            return start + begin + len(found[0]) - length, found[0]
    return None


def _decoded(text: str) -> bytes:
    """Base64 of either alphabet, without padding, and of a text cut anywhere."""
    text = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return a2b_base64(text[:-1] if len(text) % 4 == 1 else text + "=" * (-len(text) % 4))
    except Error:
        return b""


def _disjoint(spans: list[_Span]) -> list[_Span]:
    """Of spans that overlap one that covers them all, and says what the best evidence among them says."""
    kept: list[_Span] = []
    for span in sorted(spans, key=lambda span: (span[1], -span[2])):
        if not kept or span[1] >= kept[-1][2]:
            kept.append(span)
            continue
        last = kept[-1]
        best = span if span[0] < last[0] else last
        kept[-1] = (best[0], last[1], max(last[2], span[2]), best[3], best[4])
    return kept


def _places(starts: list[int], start: int, end: int, before: int) -> tuple[tuple[int, int, int], ...]:
    """The parts of a span within each of the strings that it goes over, the first ``before`` of which do not count."""
    number = bisect_right(starts, start) - 1
    places = []
    while starts[number] < end:
        first, last = max(start, starts[number]), min(end, starts[number + 1] - 1)
        if first < last:
            places.append((number - before, first - starts[number], last - starts[number]))
        number += 1
        if number + 1 == len(starts):
            break
    return tuple(places)
