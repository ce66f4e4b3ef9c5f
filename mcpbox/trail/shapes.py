"""What arguments look like, without what they say: types, formats, ranges, and where paths and URLs lead. No I/O.

A shape can be put on record: of text it keeps no character but names of members, hosts of URLs, directories that exist,
and choices that the server's own schema names. Numbers and lengths are kept as ranges between powers of two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from itertools import islice
from typing import Any
from urllib.parse import unquote, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from mcpbox.detect import entropy, tokens

#: Bounds of a shape, whatever arguments a model thinks of; what is beyond is told by the member "*", or by nothing.
MAX_MEMBERS, MAX_DEPTH, MAX_PLACES, MAX_CHOICES, MAX_ITEMS = 48, 5, 16, 32, 64
#: Characters of a text that is looked at, and of a place that is kept.
MAX_PATH, MAX_PLACE = 4096, 400
#: Parts of a shape that go on record, and places in all of them: a record has bounds of its own.
MAX_TOLD = 100
#: What JSON numbers are exact up to (RFC 8785, appendix D).
MAX_INTEGER = (1 << 53) - 1
ANY = "*"

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,39}")
_EMAIL = re.compile(r"[^@\s]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63}){1,8}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:.]{4,18}(Z|[+-][0-9:]{2,6})?)?")
_NUMBER = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{1,40})?")
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,31}://")
_HOST = re.compile(r"[A-Za-z0-9_.:\[\]-]{1,255}")
_FORMATS = (("date", _DATE), ("number", _NUMBER), ("email", _EMAIL), ("word", _WORD))

#: The nearest directory that exists on or above an absolute path or one that begins with "~/"; "" if none does.
Existing = Callable[[str], str]


class Shape(Struct, frozen=True):
    """``places`` are directories and origins; ``low`` and ``high`` the range of integers, ``longest`` of lengths."""

    kinds: frozenset[str] = frozenset()
    formats: frozenset[str] = frozenset()
    places: frozenset[str] = frozenset()
    choices: frozenset[str] = frozenset()
    low: int | None = None
    high: int | None = None
    longest: int = 0
    members: Mapping[str, Shape] = {}
    item: Shape | None = None

    def record(self) -> dict[str, dict[str, Any]]:
        """As it goes on record, flat: each part under its place, such as "files[]/path"; what is empty is left out."""
        found: dict[str, dict[str, Any]] = {}
        pending, places = [("", self)], MAX_TOLD
        while pending and len(found) < MAX_TOLD:
            at, each = pending.pop(0)
            told = sorted(each.places)[:places]
            places -= len(told)
            fields: dict[str, Any] = {
                "kinds": sorted(each.kinds),
                "formats": sorted(each.formats),
                "places": told,
                "choices": sorted(each.choices),
                "low": each.low,
                "high": each.high,
                "longest": each.longest or None,
            }
            found[at or "."] = {key: value for key, value in fields.items() if value not in ([], None)}
            pending += [(f"{at}/{key}".lstrip("/"), inner) for key, inner in sorted(each.members.items())]
            pending += [(f"{at}[]", each.item)] if each.item else []
        return found

    def all_places(self) -> frozenset[str]:
        """The places of all that is in it."""
        inner = [*self.members.values(), *([self.item] if self.item else [])]
        return self.places.union(*(shape.all_places() for shape in inner))


def shape(value: Any, existing: Existing, choices: Mapping[str, Collection[str]] = {}, depth: int = 0) -> Shape:
    """The shape of a JSON value; ``choices`` are those that the schema names for the members of an object."""
    if value is None or isinstance(value, bool):
        return Shape(frozenset(["null" if value is None else "boolean"]))
    if isinstance(value, int):
        bound = _power(abs(value))
        return Shape(frozenset(["integer"]), low=-bound if value < 0 else 0, high=0 if value < 0 else bound)
    if isinstance(value, float):
        return Shape(frozenset(["number"]))
    if isinstance(value, str):
        return _text(value, existing)
    if isinstance(value, list):
        item = None
        for each in value[:MAX_ITEMS] if depth < MAX_DEPTH else ():
            inner = shape(each, existing, {}, depth + 1)
            item = inner if item is None else merge(item, inner)
        return Shape(frozenset(["array"]), longest=_power(len(value)), item=item)
    if not isinstance(value, dict):
        return Shape(frozenset(["unknown"]))
    members: dict[str, Shape] = {}
    for key, each in islice(value.items(), 4 * MAX_MEMBERS) if depth < MAX_DEPTH else ():
        name = key if _is_name(key) and len(members) < MAX_MEMBERS else ANY
        inner = shape(each, existing, {}, depth + 1)
        if isinstance(each, str) and each in choices.get(key, ()):
            inner = replace(inner, choices=frozenset([each]))
        members[name] = merge(members[name], inner) if name in members else inner
    return Shape(frozenset(["object"]), longest=_power(len(value)), members=members)


def merge(one: Shape, other: Shape) -> Shape:
    """The shape of what has either, within the bounds."""
    members = dict(one.members)
    for key, each in other.members.items():
        name = key if key in members or len(members) < MAX_MEMBERS else ANY
        members[name] = merge(members[name], each) if name in members else each
    lows, highs = ([n for n in pair if n is not None] for pair in ((one.low, other.low), (one.high, other.high)))
    return Shape(
        one.kinds | other.kinds,
        one.formats | other.formats,
        frozenset(sorted(one.places | other.places)[:MAX_PLACES]),
        frozenset(sorted(one.choices | other.choices)[:MAX_CHOICES]),
        min(lows, default=None),
        max(highs, default=None),
        max(one.longest, other.longest),
        members,
        merge(one.item, other.item) if one.item and other.item else one.item or other.item,
    )


def _text(value: str, existing: Existing) -> Shape:
    kind, length = frozenset(["string"]), _power(len(value))
    if len(value) > MAX_PATH or not value.isprintable():
        return Shape(kind, frozenset(["text"]), longest=length)
    if value.startswith(("/", "~/")) or value == "~":
        return _path(value, length, existing)
    if _URL.match(value):
        try:
            url = urlsplit(value)
            host, port = url.hostname or "", url.port
        except ValueError:
            return Shape(kind, frozenset(["url"]), longest=length)
        if url.scheme == "file" and host in ("", "localhost"):
            return _path(unquote(url.path), length, existing)
        shown = f"[{host}]" if ":" in host else host
        origin = f"{url.scheme}://{shown}" + (f":{port}" if port is not None else "")
        kept = bool(host) and bool(_HOST.fullmatch(host)) and not _is_secret(host)
        return Shape(kind, frozenset(["url"]), frozenset([origin] if kept else []), longest=length)
    if entropy.is_uuid(value):
        return Shape(kind, frozenset(["uuid"]), longest=length)
    form = next((name for name, pattern in _FORMATS if pattern.fullmatch(value)), "text")
    return Shape(kind, frozenset([form]), longest=length)


def _path(value: str, length: int, existing: Existing) -> Shape:
    found = existing(value)
    kept = [found] if 0 < len(found) <= MAX_PLACE and found.isprintable() else []
    return Shape(frozenset(["string"]), frozenset(["path"]), frozenset(kept), longest=length)


def _power(number: int) -> int:
    """The next power of two, less one."""
    return min((1 << number.bit_length()) - 1, MAX_INTEGER)


def _is_name(key: str) -> bool:
    return bool(_KEY.fullmatch(key)) and not _is_secret(key)


def _is_secret(text: str) -> bool:
    return next(iter(tokens.scan(text)), None) is not None or any(map(entropy.is_random, text.split(".")))
