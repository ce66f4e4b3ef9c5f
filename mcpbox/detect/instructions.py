"""Finds instructions to a model in a text that should describe something, or be data. No I/O.

Texts are compared as a model may read them: without the invisible, in plain letters, and a second time decoded, where
part of them is in base64 or hexadecimal, rotated, spaced out, reversed or in numerals for letters. Linear in time: one
pass finds the words that every phrase must have one of, and phrases are looked for near those alone.
"""

from __future__ import annotations

import base64
import binascii
import bisect
import codecs
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Literal

from mcpbox.detect import unicode
from mcpbox.detect.cues import CUES
from mcpbox.detect.engine import Literals, encoded
from mcpbox.detect.hits import Hit
from mcpbox.detect.phrases import pattern
from mcpbox.patterns import lazily

Where = Literal["definition", "data"]

#: Characters after a word within which its phrase ends; and what is decoded before and after one.
_AFTER = 320
_BEFORE = 240
#: A phrase that begins this near to its word is tried at each place, one further off is searched for.
_STEPWISE = 3
#: A description longer than this hides something in its length, or costs the model's attention.
OVERSIZED = {"definition": 16_384}

#: How often phrases are tried in a text, whatever it is, and once more for so many characters: documentation takes one
#: in 500. What has more is flooded, to be costly or to hide, and taken for an attack.
_TRIES, _TRIES_PER = 3000, 100
#: The weight from which on a phrase counts where it is disguised.
_DISGUISED = 50
#: Encoded texts looked into, and of each no more than its beginning; a picture in base64 is no text.
_BLOBS, _BLOB = 32, 4096
_ENCODED_AS = "encoded-"
_ENCODED = 24
_CLASS = bytes(
    ord("a") if code < 128 and (chr(code).isalnum() or chr(code) in "+/-_") else ord(" ") for code in range(256)
)
_HEX = lazily(rb"(?:[0-9a-fA-F]{2}){12,}")
#: What each begins with, which few texts have; the first one apart, so that ``re`` has a literal to look for.
_ESCAPED = tuple(
    (begin, lazily(f"{each}(?:{each}){{7,4096}}"))
    for begin, each in (
        ("\\x", r"\\x[0-9a-f]{2}"),
        ("\\u00", r"\\u00[0-9a-f]{2}"),
        ("%", "%[0-9a-f]{2}"),
        ("&#", "&#x?[0-9a-f]{2,4};"),
    )
)
_ESCAPE = lazily(r"\\x([0-9a-f]{2})|\\u00([0-9a-f]{2})|%([0-9a-f]{2})|&#x([0-9a-f]{2,4});|&#([0-9]{2,4});")
#: Small letters, blanks, and what else stands between the letters of a word that is spaced out.
_SPACES = bytes(
    0x61 if chr(code).islower() and code < 128 else 0x2E if chr(code) in ".-_*|" else 0x20 if code == 32 else 0
    for code in range(256)
)
_SPACED = lazily(r"(?<![^\W_])[a-z](?:[ .\-_*|]{1,3}[a-z](?![a-z])){5,200}")
_BETWEEN = lazily(r"[ .\-_*|]+")
_LEET = str.maketrans("013457@$!|", "oieastasil")
_LEETERS = bytes(
    0x61 if chr(code).islower() and code < 128 else 0x31 if chr(code) in "013457@$!|" else 0 for code in range(256)
)
#: Words of the phrases that matter, as they look when reversed and rotated, and a space in a URL.
_REVERSED = ("snoitcurtsni", "tpmorp metsys")
_ROTATED = tuple(
    codecs.encode(each, "rot13") for each in ("ignore all", "ignore previous", "instructions", "system prompt")
)
_MARKS = ("%20", *_REVERSED, *_ROTATED)


def scan_text(text: str, *, where: Where, known: unicode.Traits | None = None) -> list[Hit]:
    """What in ``text`` speaks to the model, in the order of the text; spans are of ``text`` itself.

    ``where`` says what the text is: a server's own definitions have no business instructing, and are judged by every
    sign; data holds READMEs, mails and code that instruct their readers all the time. ``known`` are
    its ``unicode.traits``, where they are.
    """
    plain, pairs = unicode.folded(text, known)
    marked: list[tuple[str, int]] = []
    hits = list(_phrases(plain, where, marked))
    seen = {hit.kind for hit in hits}
    hits += (hit for hit in _decoded(plain, text, pairs, where, marked) if hit.kind[len(_ENCODED_AS) :] not in seen)
    if len(text) > OVERSIZED.get(where, len(text)):
        hits.append(Hit(0, len(plain), "oversized", 40))
    return sorted((_moved(hit, pairs, len(text)) for hit in hits), key=lambda hit: (hit.start, hit.end))


def may_speak(text: str, where: Where) -> bool:
    """Whether ``scan_text`` could find anything in ``text``, which is of ASCII without control characters.

    It takes a fifth of the time, and most texts have nothing.
    """
    data = text.lower().encode()
    return (
        len(text) > OVERSIZED.get(where, len(text))
        or _words(where)[0].may_occur(data)
        or b"\\" in data
        or b"%" in data
        or b"&#" in data
        or b"a" * _ENCODED in data.translate(_CLASS)
        or is_leeted(data)
        or may_be_spaced_out(data)
    )


def _moved(hit: Hit, pairs: list[tuple[int, int]], size: int) -> Hit:
    if len(pairs) == 1:
        return hit
    return Hit(_original(hit.start, pairs), min(size, _original(hit.end, pairs)), hit.kind, hit.weight)


def _original(position: int, pairs: list[tuple[int, int]]) -> int:
    folded, original = pairs[bisect.bisect_right(pairs, (position, 1 << 62)) - 1]
    return original + position - folded


@cache
def _words(where: Where) -> tuple[Literals, list[list[int]]]:
    """The words of all cues that weigh anything there, and for each the cues that it belongs to; then _MARKS."""
    cues: dict[str, list[int]] = {}
    for number, cue in enumerate(CUES):
        if getattr(cue, where):
            for word in cue.words:
                cues.setdefault(word, []).append(number)
    return Literals([*cues, *_MARKS]), list(cues.values())


def _phrases(plain: str, where: Where, marked: list[tuple[str, int]] | None = None) -> Iterator[Hit]:
    """Hits of the cues. What of _MARKS stands where goes into ``marked``."""
    words, cues = _words(where)
    done: dict[int, int] = {}
    tries = _TRIES + len(plain) // _TRIES_PER
    for word, at in words.find(plain):
        if word >= len(cues):
            if marked is not None and len(marked) < _BLOBS:
                marked.append((_MARKS[word - len(cues)], at))
            continue
        for number in cues[word]:
            cue = CUES[number]
            start = max(at - cue.before, done.get(number, 0))
            if start > at:
                continue
            # Where phrases may begin is looked at once, however many words there are.
            done[number] = at + 1
            if not tries:
                yield Hit(at, len(plain), "flood", 100)
                return
            tries -= 1
            phrase = pattern(cue.phrase)
            for first in range(start, at + 1) if cue.before < _STEPWISE else (start,):
                match = (
                    phrase.match(plain, first, at + _AFTER)
                    if cue.before < _STEPWISE
                    else phrase.search(plain, first, at + _AFTER)
                )
                if match and match.start() <= at:
                    done[number] = max(match.end(), at + 1)
                    yield Hit(*match.span(), cue.kind, getattr(cue, where))
                    break


def _decoded(
    plain: str, text: str, pairs: list[tuple[int, int]], where: Where, marked: list[tuple[str, int]]
) -> Iterator[Hit]:
    """Hits in what parts of the text say when decoded, each spanning the whole part."""
    for start, end, inner in _parts(plain, text, pairs, where, marked):
        folded, _ = unicode.folded(inner)
        worst = max(_phrases(folded, where), key=lambda hit: hit.weight, default=None)
        if worst and worst.weight >= _DISGUISED:
            # Nobody disguises what is harmless.
            yield Hit(start, end, _ENCODED_AS + worst.kind, 100)
    if (where == "definition" or len(plain) <= _BLOB) and is_leeted(encoded(plain)):
        read = plain.translate(_LEET)
        for hit in _phrases(read, where):
            if hit.weight >= _DISGUISED and read[hit.start : hit.end] != plain[hit.start : hit.end]:
                yield Hit(hit.start, hit.end, _ENCODED_AS + hit.kind, 100)


def _parts(
    plain: str, text: str, pairs: list[tuple[int, int]], where: Where, marked: list[tuple[str, int]]
) -> Iterator[tuple[int, int, str]]:
    """Parts of ``plain`` that are something else decoded: where, and what."""
    if len(pairs) == 1 and text.isascii():
        yield from _blobs(text)
    for begin, escaped in _ESCAPED:
        for match in escaped.finditer(plain) if begin in plain else ():
            yield *match.span(), _ESCAPE.sub(lambda one: chr(_code(one)), match[0])
    end = 0
    for mark, at in marked:
        start = max(end, at - _BEFORE)
        if at < start:
            continue
        end = min(len(plain), at + _AFTER)
        part = plain[start:end]
        if mark == "%20":
            yield start, end, _ESCAPE.sub(lambda one: chr(_code(one)), part)
        else:
            yield start, end, codecs.decode(part, "rot13") if mark in _ROTATED else part[::-1]
    if (where == "definition" or len(plain) <= _BLOB) and may_be_spaced_out(encoded(plain)):
        for match in _SPACED.finditer(plain):
            yield *match.span(), _closed(match[0])


def _closed(text: str) -> str:
    """A text whose letters stand apart with them together; what is between two words is rarer than what is within."""
    within, _ = Counter(_BETWEEN.findall(text)).most_common(1)[0]
    return _BETWEEN.sub(lambda each: "" if each[0] == within else " ", text)


def is_leeted(data: bytes) -> bool:
    """Whether a numeral or sign that is read as a letter stands in a word of small letters."""
    letters = data.translate(_LEETERS)
    return b"a1a" in letters or b"a11" in letters


def may_be_spaced_out(data: bytes) -> bool:
    """Whether letters stand apart in a row, by blanks or by other signs."""
    marks = data.translate(_SPACES)
    return b" a a a " in marks or b"a.a.a.a." in marks


def _code(match: re.Match[str]) -> int:
    digits = next(group for group in match.groups() if group)
    return int(digits, 10 if match[5] else 16)


def _blobs(text: str) -> Iterator[tuple[int, int, str]]:
    """Texts in base64 (RFC 4648, either alphabet) or hexadecimal; ``text`` is ASCII."""
    data = text.encode()
    runs = data.translate(_CLASS)
    at = found = 0
    while found < _BLOBS and (at := runs.find(b"a" * _ENCODED, at)) >= 0:
        end = runs.find(b" ", at)
        end = len(runs) if end < 0 else end
        found += 1
        blob = data[at : min(end, at + _BLOB)]
        for decoded in _readings(blob):
            yield at, end, decoded
        at = end


def _readings(blob: bytes) -> Iterator[str]:
    if match := _HEX.fullmatch(blob[: len(blob) & ~1]):
        raw = bytes.fromhex(match[0].decode())
    else:
        cut = blob[: len(blob) & ~3] if len(blob) == _BLOB else blob + b"=" * (-len(blob) % 4)
        try:
            raw = base64.b64decode(cut.translate(bytes.maketrans(b"-_", b"+/")), validate=True)
        except binascii.Error:
            return
    decoded = raw.decode("utf-8", "ignore")
    if len(decoded) * 10 >= len(raw) * 9 and sum(map(str.isprintable, decoded)) * 10 >= len(decoded) * 9:
        yield decoded
