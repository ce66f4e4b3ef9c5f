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
from collections.abc import Iterator
from functools import cache
from typing import Literal

from mcpbox.detect import unicode
from mcpbox.detect.cues import CUES, pattern
from mcpbox.detect.engine import Literals
from mcpbox.detect.hits import Hit

Where = Literal["definition", "data"]

#: Characters before and after a word within which its phrase stands.
_BEFORE, _AFTER = 240, 320
#: A description longer than this hides something in its length, or costs the model's attention.
OVERSIZED = {"definition": 16_384}

#: Encoded texts looked into, and of each no more than its beginning; a picture in base64 is no text.
_BLOBS, _BLOB = 32, 4096
_ENCODED = 24
_CLASS = bytes(
    ord("a") if (chr(code).isalnum() and code < 128) or chr(code) in "+/-_" else ord(" ") for code in range(256)
)
_BLOB_AT = re.compile(rb"[A-Za-z0-9+/_-]{24,8192}")
_HEX = re.compile(rb"(?:[0-9a-fA-F]{2}){12,}")
_ESCAPED = re.compile(r"(?:\\x[0-9a-f]{2}|\\u00[0-9a-f]{2}|%[0-9a-f]{2}|&#x?[0-9a-f]{2,4};){8,4096}")
_ESCAPE = re.compile(r"\\x([0-9a-f]{2})|\\u00([0-9a-f]{2})|%([0-9a-f]{2})|&#x([0-9a-f]{2,4});|&#([0-9]{2,4});")
_SPACED = re.compile(r"(?<![^\W_])(?:[a-z]([ .\-_*|])(?:[a-z]\1){5,200}[a-z])(?![^\W_])")
_LEET = str.maketrans("013457@$!|", "oieastasil")
_LEETED = re.compile(r"[a-z@$!]{0,16}[a-z](?:[013457@$!|](?=[a-z])){1}[a-z013457@$!|]{1,24}")
#: Words of the phrases that matter, as they look when disguised.
_REVERSED = ("snoitcurtsni", "tpmorp metsys", "suoiverp")
_ROTATED = tuple(
    codecs.encode(each, "rot13") for each in ("ignore all", "ignore previous", "instructions", "system prompt")
)


def scan_text(text: str, *, where: Where) -> list[Hit]:
    """What in ``text`` speaks to the model, in the order of the text; spans are of ``text`` itself.

    ``where`` says what the text is: a server's own definitions have no business instructing, and are judged by every
    sign; data holds READMEs, mails and code that instruct their readers all the time.
    """
    plain, pairs = unicode.folded(text)
    hits = [*_phrases(plain, where), *_decoded(plain, text, pairs, where)]
    if len(text) > OVERSIZED.get(where, len(text)):
        hits.append(Hit(0, len(plain), "oversized", 40))
    return sorted((_moved(hit, pairs, len(text)) for hit in hits), key=lambda hit: (hit.start, hit.end))


def _moved(hit: Hit, pairs: list[tuple[int, int]], size: int) -> Hit:
    if len(pairs) == 1:
        return hit
    return Hit(_original(hit.start, pairs), min(size, _original(hit.end, pairs)), hit.kind, hit.weight)


def _original(position: int, pairs: list[tuple[int, int]]) -> int:
    folded, original = pairs[bisect.bisect_right(pairs, (position, 1 << 62)) - 1]
    return original + position - folded


@cache
def _words(where: Where) -> tuple[Literals, list[list[int]]]:
    """The words of all cues that weigh anything there, and for each word the cues that it belongs to."""
    cues: dict[str, list[int]] = {}
    for number, cue in enumerate(CUES):
        if getattr(cue, where):
            for word in cue.words:
                cues.setdefault(word, []).append(number)
    return Literals(list(cues)), list(cues.values())


def _phrases(plain: str, where: Where) -> Iterator[Hit]:
    words, cues = _words(where)
    spans: dict[int, list[list[int]]] = {}
    for word, at in words.find(plain):
        for number in cues[word]:
            near = spans.setdefault(number, [])
            if near and at - _BEFORE <= near[-1][1]:
                near[-1][1] = at + _AFTER
            else:
                near.append([at - _BEFORE, at + _AFTER])
    for number, near in spans.items():
        cue = CUES[number]
        phrase = pattern(cue.phrase)
        for start, end in near:
            for match in phrase.finditer(plain, max(0, start), end):
                yield Hit(*match.span(), cue.kind, getattr(cue, where))


def _decoded(plain: str, text: str, pairs: list[tuple[int, int]], where: Where) -> Iterator[Hit]:
    """Hits in what parts of the text say when decoded, each spanning the whole part."""
    for start, end, inner in _parts(plain, text, pairs, where):
        folded, _ = unicode.folded(inner)
        worst = max(_phrases(folded, where), key=lambda hit: hit.weight, default=None)
        if worst and worst.weight >= 30:
            # Nobody disguises what is harmless.
            yield Hit(start, end, "encoded-" + worst.kind, min(100, worst.weight + 40))


def _parts(plain: str, text: str, pairs: list[tuple[int, int]], where: Where) -> Iterator[tuple[int, int, str]]:
    """Parts of ``plain`` that are something else decoded: where, and what."""
    if len(pairs) == 1 and text.isascii():
        yield from _blobs(text)
    if "\\x" in plain or "\\u00" in plain or "%" in plain or "&#" in plain:
        for match in _ESCAPED.finditer(plain):
            yield *match.span(), _ESCAPE.sub(lambda one: chr(_code(one)), match[0])
    for word in _ROTATED:
        if (at := plain.find(word)) >= 0:
            start, end = max(0, at - _BEFORE), at + _AFTER
            yield start, min(len(plain), end), codecs.decode(plain[start:end], "rot13")
    for word in _REVERSED:
        if (at := plain.find(word)) >= 0:
            start, end = max(0, at - _BEFORE), at + _AFTER
            yield start, min(len(plain), end), plain[start:end][::-1]
    if where == "definition" or len(plain) <= _BLOB:
        for match in _SPACED.finditer(plain):
            yield *match.span(), match[0].replace(match[1], "")
        if _LEETED.search(plain):
            yield 0, len(plain), plain.translate(_LEET)


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
