"""How a record is written: canonical JSON, of bounded size, with the hash of the line before it. No I/O.

RFC 8785 (JSON Canonicalization Scheme) for what a record may hold: strings, whole numbers that a double can hold,
true, false, null, and lists and objects of those whose keys are ASCII. There the order of UTF-16 code units, which the
RFC wants, is the order of characters.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

from mcpbox.digests import sha256

#: What the first line of a ledger has for the hash of the line before it.
GENESIS = "0" * 64
#: Characters of one string in a record, entries of one list or object, and levels of nesting.
MAX_TEXT, MAX_ENTRIES, MAX_DEPTH = 4096, 256, 8
#: Bytes of a whole record, without its content.
MAX_RECORD = 64 << 10
#: Bytes of the content of one message that a record keeps in full.
MAX_CONTENT = 256 << 10
#: RFC 8785, appendix D: the integers that a double holds without loss.
MAX_INTEGER = (1 << 53) - 1

#: What decoding raises for what is no JSON.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_ENCODER = msgspec.json.Encoder(order="sorted")


def digest(line: bytes) -> str:
    """The hash of a line without its newline: 64 hexadecimal digits of SHA-256."""
    found: str = sha256(line).hexdigest()
    return found


def encode(fields: Mapping[str, Any]) -> bytes:
    """A line without its newline, for fields that ``plain`` has gone over."""
    try:
        return _ENCODER.encode(fields)
    except UnicodeEncodeError:
        # Names of files are bytes, and half a character may be in them.
        return _ENCODER.encode(_bounded(fields, 0))


def plain(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """``event`` as a record can hold it: what is too long is cut, what JSON may read in two ways is a string."""
    for key, value in event.items():
        kind = value.__class__
        if kind is str:
            if len(value) <= MAX_TEXT and key.isascii():
                continue
        elif kind is int:
            if -MAX_INTEGER <= value <= MAX_INTEGER:
                continue
        elif value is None or kind is bool:
            continue
        break
    else:
        return event
    bounded: Mapping[str, Any] = _bounded(event, 0)
    if (size := len(_ENCODER.encode(bounded))) > MAX_RECORD:
        kept = {key: value for key, value in bounded.items() if not isinstance(value, list | dict)}
        return {**kept, "cut": size} if len(encode(kept)) <= MAX_RECORD else {"event": kept.get("event"), "cut": size}
    return bounded


def stamp(nanoseconds: int) -> str:
    """A time since the epoch as "2026-11-21T13:22:03.123456Z"."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{_second(seconds)}.{rest // 1000:06}Z"


@lru_cache(maxsize=1)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


def content(value: Any) -> bytes:
    """The JSON of a message's content, always the same for the same value; it may have any keys and any numbers."""
    try:
        return _ENCODER.encode(value)
    except (UnicodeEncodeError, RecursionError):
        import json

        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _bounded(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        text = value.encode(errors="backslashreplace").decode()
        return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}... ({len(text)} characters)"
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -MAX_INTEGER <= value <= MAX_INTEGER else _bounded(hex(value), depth)
    if isinstance(value, float):
        return repr(value)
    if depth >= MAX_DEPTH:
        return "..."
    if isinstance(value, Mapping):
        kept = {_key(key): _bounded(item, depth + 1) for key, item in list(value.items())[:MAX_ENTRIES]}
        return kept if len(value) <= MAX_ENTRIES else {**kept, "...": len(value)}
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value) if isinstance(value, set | frozenset) else value
        several = [_bounded(item, depth + 1) for item in items[:MAX_ENTRIES]]
        return several if len(items) <= MAX_ENTRIES else [*several, f"... ({len(items)} entries)"]
    raise TypeError(f"a record cannot hold a {type(value).__name__}")


def _key(key: Any) -> str:
    return str(_bounded(str(key), 0)).encode("ascii", "backslashreplace").decode()
