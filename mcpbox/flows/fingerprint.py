"""Fingerprints of texts, by which a part of one is found again in another, and which hold none of it. No I/O.

A text is read as its letters and digits alone, in lower case. What is kept of it are keyed hashes of the ``GRAM`` bytes
at every ``STRIDE``-th place; what is looked up are those at every place of the other text, so that it does not matter
where the copy begins (the asymmetry is that of rsync, Tridgell 1996; the guarantee has the form that Schleimer,
Wilkerson and Aiken give winnowing, 2003). So a copied run of ``CERTAIN`` letters and digits is always found, one of
fewer than ``GRAM`` never, and one in between by chance. Of large texts fewer places are kept or looked up, and the run
that is certain to be found grows (see ``certain``).

Values are found whole, however short: addresses of mail, numbers of ten digits and more, and identifiers of sixteen
characters and more with letters and digits in them; backwards as well. What is looked up is also decoded from base64,
hexadecimal and URL escapes.
"""

from __future__ import annotations

import binascii
import re
import struct
import unicodedata
from collections.abc import Container, Hashable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import chain, islice
from typing import TypeVar

from msgspec import Struct

from mcpbox.patterns import lazily

#: Bytes of a piece that is compared: three words of the machine, read and hashed without a loop in Python.
GRAM = 24
#: Odd, so that every place modulo 2, 4 and 8 is among those kept.
STRIDE = 25
#: Letters and digits in a row that are always found again, in texts of up to the sizes below.
CERTAIN = STRIDE + GRAM - 1
#: Pieces kept of one text, and places that are all looked up in another.
DENSE = 1 << 15
SHORT = 1 << 13
#: Values kept of one text, and the characters from its beginning in which they are looked for.
VALUES = 4096
SEARCHED = 1 << 18
#: Encoded text is decoded in no more than this.
DECODED = 1 << 16

_PIECE = struct.Struct(f"={GRAM // 8}Q")
_KEPT = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") | frozenset(range(128, 256))
_DROPPED = bytes(byte for byte in range(256) if byte not in _KEPT)
_DROPPED_IN_LINES = _DROPPED.replace(b"\n", b"")
#: Of the characters of identifiers an "a", of all others a blank: a run is then found by searching for a string.
_RUNS = bytes(0x61 if byte in b"_-" or (byte in _KEPT and byte < 128) else 0x20 for byte in range(256))
_IDENTIFIER = b"a" * 16
_LONGEST_VALUE = 256
#: The same for the characters of base64, of which twenty are fifteen bytes, and for digits, which come in threes.
_ENCODED = bytes(0x61 if byte in b"_-+/" or (byte in _KEPT and byte < 128) else 0x20 for byte in range(256))
_RUN_ENCODED = b"a" * 20
_DIGITS = bytes(0x61 if byte in b"0123456789" else 0x20 for byte in range(256))
_THREE = b"aaa"
_NUMERIC = bytes(0x61 if byte in b"0123456789 -" else 0x20 for byte in range(256))
_LONG_NUMERIC = b"a" * 10

T = TypeVar("T", bound=Hashable)


class Found(Struct, frozen=True):
    """How much of a text is of one origin: the share of its letters and digits, in percent, and whether a value is."""

    percent: int
    value: bool


class Prints:
    """Fingerprints under one key of 32 random bytes; those under another key have nothing in common with them."""

    def __init__(self, key: bytes) -> None:
        order = sorted(range(256), key=lambda byte: blake2b(bytes([byte]), key=key, digest_size=16).digest())
        # A letter in upper case becomes what it is in lower case, and each of them what the key says.
        self._folded = bytes(order[ord(chr(byte).lower()) if byte < 128 else byte] for byte in range(256))
        self._line = bytes([order[ord("\n")]])
        self._salt = int.from_bytes(blake2b(b"values", key=key, digest_size=7).digest(), "big")

    def of(self, text: str) -> set[int]:
        """The fingerprints to keep of ``text``: signed, of 64 bits."""
        normal = self._normal(text)
        step = _kept_step(len(normal))
        pieces = struct.Struct(f"{_PIECE.format}{step - GRAM}x").iter_unpack(normal[: len(normal) // step * step])
        kept = set(map(hash, pieces))
        if len(normal) % step >= GRAM:
            kept.add(hash(_PIECE.unpack_from(normal, len(normal) // step * step)))
        found = values(text)
        kept.update(self._values(found))
        kept.update(self._values([value[::-1] for value in found]))
        return kept

    def meets(self, text: str, kept: Mapping[int, T]) -> bool:
        """Whether one of ``kept`` is a fingerprint of ``text``."""
        for form in forms(text):
            if self._pieces_meet(self._normal(form), kept):
                return True
            if (found := values(form)) and not kept.keys().isdisjoint(self._values(found)):
                return True
        return False

    def overlap(self, text: str, kept: Mapping[int, T], own: Container[int]) -> dict[T, Found]:
        """How much of ``text`` is of each origin that ``kept`` names by its fingerprints.

        What has one of ``own`` in the same run is left out: the receiver has had that itself.
        """
        covered: dict[T, set[int]] = {}
        whole: dict[T, bool] = {}
        before = 0
        for form in forms(text):
            normal = self._normal(form)
            hits: list[tuple[int, T]] = []
            mine: set[int] = set()
            for at in range(0, len(normal) - GRAM + 1, _looked_up_step(len(normal))):
                piece = hash(_PIECE.unpack_from(normal, at))
                if piece in kept:
                    hits.append((at, kept[piece]))
                if piece in own:
                    mine.update(range(at - STRIDE, at + STRIDE + 1))
            for at, origin in hits:
                if at not in mine:
                    covered.setdefault(origin, set()).update(range(before + at, before + at + GRAM))
            for value_print in self._values(values(form)):
                if value_print in kept and value_print not in own:
                    whole[kept[value_print]] = True
            before += len(normal)
        length = max(1, len(self._normal(text)))
        return {
            origin: Found(min(100, 100 * len(covered.get(origin, ())) // length), origin in whole)
            for origin in covered | whole
        }

    def _normal(self, text: str) -> bytes:
        return _plain(text).encode().translate(self._folded, _DROPPED)

    def _values(self, found: Sequence[str]) -> Iterator[int]:
        """The fingerprints of values, in their order."""
        normals: Iterable[bytes]
        text = "\n".join(found)
        if text.isascii():
            # There may be thousands: all at once, since line ends are in none, nor anything that reads in another way.
            normals = text.encode().translate(self._folded, _DROPPED_IN_LINES).split(self._line) if found else ()
        else:
            normals = [self._normal(value) for value in found]
        return (hash((self._salt, len(normal), int.from_bytes(normal, "big"))) for normal in normals)

    def _pieces_meet(self, normal: bytes, kept: Mapping[int, T]) -> bool:
        if len(normal) < GRAM:
            return False
        # One after another the words at 0, 8, 16 …, those at 1, 9, 17 …: the pieces across a seam are nowhere else.
        size, padded = len(normal) // 8 * 8, normal + bytes(7)
        shifted = b"".join([padded[start : start + size] for start in range(0, 8, _looked_up_step(len(normal)))])
        words = memoryview(shifted).cast("Q").tolist()
        return not kept.keys().isdisjoint(map(hash, zip(words, words[1:], words[2:], strict=False)))


def certain(kept: int, looked_up: int) -> int:
    """Letters and digits in a row that are always found, by how many the two texts have in all."""
    return _kept_step(kept) * _looked_up_step(looked_up) + GRAM - 1


def forms(text: str) -> Iterator[str]:
    """``text`` and what is encoded in it."""
    yield text
    encoded = text[:DECODED]
    if "%" in encoded and (plain := _PERCENT.sub(_unescape, encoded)) != encoded:
        yield plain
    if _RUN_ENCODED not in encoded.encode().translate(_ENCODED):
        return
    found = []
    for match in islice(_BASE64.finditer(encoded), 256):
        run = match[0]
        raw = _from_hex(run) or _from_base64(run)
        # Of what is no text at all nothing is kept either.
        if raw and (decoded := raw.decode(errors="ignore")) and 2 * len(decoded) > len(raw):
            found.append(decoded)
    if found:
        yield " ".join(found)


def values(text: str) -> list[str]:
    """The values in ``text`` that are worth finding by themselves, at most ``VALUES``."""
    text = text[:SEARCHED]
    found = _values(_without_escapes(text))
    # After two backslashes it is the letter of a line end in JSON within JSON, or the value's own.
    return list(islice(chain(found, _values(text)) if _DOUBLED.search(text) else found, VALUES))


def _values(text: str) -> Iterator[str]:
    at = text.find("@")
    while at > 0:
        if (name := _LOCAL.search(text[max(0, at - 65) : at])) and (host := _HOST.match(text, at + 1)):
            if not _NOBODY.fullmatch(name[0]):
                yield f"{name[0]}@{host[0]}"
        at = text.find("@", at + 1)
    data = text.encode()
    yield from _numbers(data)
    runs = data.translate(_RUNS) + b" "
    start = runs.find(_IDENTIFIER)
    while start >= 0:
        end = runs.find(b" ", start)
        if end - start <= _LONGEST_VALUE:
            identifier = data[start:end]
            plain = identifier.translate(None, b"_-")
            if plain and not plain.isalpha() and not plain.isdigit():
                yield identifier.decode()
        start = runs.find(_IDENTIFIER, end)


def _numbers(data: bytes) -> Iterator[str]:
    """Of ten digits and more, in groups or not; one without a group of three is none that people write."""
    runs = data.translate(_NUMERIC) + b" "
    end = 0
    while (start := runs.find(_LONG_NUMERIC, end)) >= 0:
        end = runs.find(b" ", start)
        # Blanks that indent a line, and short numbers in a row.
        if len(data[start:end].translate(None, b" -")) < _FEWEST_DIGITS:
            continue
        # What follows a number is looked at, two characters of it.
        for match in _NUMBER.finditer(data, start, end + 2):
            number = match[0]
            if _THREE in number.translate(_DIGITS) and not _TIME.fullmatch(number):
                if len(number.translate(None, b" -")) >= _FEWEST_DIGITS:
                    yield number.decode()


def _plain(text: str) -> str:
    """As it reads: JSON within a string has its line ends as two characters, and Unicode many ways to look alike.

    Of large texts the rarer ways are left: what differs is then a run that is cut there.
    """
    small = len(text) <= SEARCHED
    # To search for one character takes a fiftieth of what it takes for two.
    if "\\" in text:
        text = _JSON_ESCAPE.sub(_character, _without_escapes(text)) if small else text.replace("\\n", " ")
    if text.isascii():
        return text
    return (_INVISIBLE.sub("", unicodedata.normalize("NFKC", text)) if small else text).lower()


def _without_escapes(text: str) -> str:
    """With blanks in the place of the blanks that JSON escapes: their letters belong to no word."""
    return text.replace("\\n", " ").replace("\\t", " ").replace("\\r", " ") if "\\" in text else text


def _kept_step(length: int) -> int:
    times = -(-length // (STRIDE * DENSE)) or 1
    return STRIDE * (times | 1)


def _looked_up_step(length: int) -> int:
    return 1 if length <= SHORT else 2 if length <= 2 * SHORT else 4 if length <= 4 * SHORT else 8


def _unescape(match: re.Match[str]) -> str:
    return bytes.fromhex(match[0].replace("%", "")).decode(errors="ignore")


def _character(match: re.Match[str]) -> str:
    code = int(match[1], 16)
    return "" if 0xD800 <= code < 0xE000 else chr(code)


def _from_hex(run: str) -> bytes:
    try:
        return bytes.fromhex(run)
    except ValueError:
        return b""


def _from_base64(run: str) -> bytes:
    plain = run.rstrip("=").replace("-", "+").replace("_", "/")
    # A rest of one character is none of base64's.
    plain = plain[: len(plain) - (len(plain) % 4 == 1)]
    try:
        return binascii.a2b_base64(plain + "=" * (-len(plain) % 4))
    except binascii.Error:
        return b""


_PERCENT = lazily(r"(?:%[0-9A-Fa-f]{2})+")
_BASE64 = lazily(r"[A-Za-z0-9+/_-]{20,}={0,2}")
_LOCAL = re.compile(r"[\w.+-]{1,64}$")
_HOST = re.compile(r"[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}")
_NOBODY = re.compile(r"(?:no-?reply|git|example|user|info|support)", re.I)
#: In one piece, or in groups as of cards and telephones.
_NUMBER = re.compile(
    rb"(?<![0-9A-Za-z.])(?:[0-9]{10,24}|[0-9]{1,4}(?:[ -][0-9]{2,4}){0,6}[ -][0-9]{2,7})(?![0-9A-Za-z]|\.[0-9])"
)
_FEWEST_DIGITS = 10
#: Dates and hours, and seconds or milliseconds since 1970 of these decades, stand in many texts that share nothing.
_TIME = re.compile(rb"(?:19|20)[0-9]{2}-?[01][0-9]-?[0-3][0-9](?:[ -]?[0-9]{2}){0,4}|1[3-9][0-9]{8}(?:[0-9]{3}){0,2}")
_DOUBLED = re.compile(r"\\\\[nrt]")
_JSON_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
#: Zero-width and direction marks, tags, variation selectors, soft hyphen.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff]"
)
