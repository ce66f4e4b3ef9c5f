"""JSON-RPC 2.0 over lines: framing, strict parsing, classification, encoding. No I/O.

MCP's stdio transport puts one JSON-RPC message on each line (specification, basic/transports, "stdio"); protocol
2025-03-26 alone allows a batch array as well. Parsing is stricter than JSON: two readers of one text must not be able
to disagree about it, since one reader decides and another acts.
"""

from __future__ import annotations

import gc
import json
import re
from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Any

import msgspec.json
from msgspec import Struct

from mcpbox.patterns import lazily

#: Deeper nesting than this is refused. No MCP message needs it, and parsers recurse.
MAX_DEPTH = 128
#: How much of each end of an over-long line is kept, to find out whom to answer.
KEPT = 4096
#: Bytes from which a line is long enough to be worth more than the usual care.
LONG = 1 << 16
#: Integers beyond it are not the same in every reader (RFC 8259, section 6).
MAX_SAFE = (1 << 53) - 1

Id = str | int | float | None

# The range -32000..-32019 is the implementation's own; -32000 and -32001 are taken by the SDKs' own errors.
PARSE_ERROR = -32700
INVALID_REQUEST = -32600
DENIED = -32010
NOT_STARTED = -32011
TOO_LARGE = -32012
SERVER_GONE = -32013


class ParseError(ValueError):
    """The line is not an acceptable JSON-RPC message; the text says why."""


class Line(Struct, frozen=True):
    """One line, line end included."""

    data: bytes


class Oversized(Struct, frozen=True):
    """A line that was dropped for its length: its first and last bytes, and its size in bytes."""

    head: bytes
    tail: bytes
    size: int


class Request(Struct, frozen=True):
    id: Id
    method: str
    params: Any
    value: dict[str, Any]


class Notification(Struct, frozen=True):
    method: str
    params: Any
    value: dict[str, Any]


class Response(Struct, frozen=True):
    """``request`` is what it answers, filled in by the session; None for an error that names no request."""

    id: Id
    value: dict[str, Any]
    request: Request | None = None

    @property
    def result(self) -> Any:
        return self.value.get("result")


Message = Request | Notification | Response


class Lines:
    """Cut a byte stream into lines at ``\\n`` and nowhere else, holding at most ``max_bytes`` of an unfinished one."""

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._parts: list[bytes] = []
        self._size = 0
        self._head = b""
        self._tail = b""

    def feed(self, data: bytes) -> Iterable[Line | Oversized]:
        if not self._size and len(data) <= self._max and data.find(b"\n") == len(data) - 1:
            # What is read is a whole line, most of the time.
            return (Line(data),) if data else ()
        return self._cut(data)

    def _cut(self, data: bytes) -> Iterator[Line | Oversized]:
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            self._keep(data[start : end + 1])
            start = end + 1
            yield self._take()
        if start < len(data):
            self._keep(data[start:])

    def finish(self) -> Iterator[Line | Oversized]:
        """The unterminated line at the end of the stream, if there is one."""
        if self._size:
            yield self._take()

    def _keep(self, part: bytes) -> None:
        before = self._size
        self._size += len(part)
        if self._size <= self._max:
            self._parts.append(part)
            return
        if before <= self._max:
            part = b"".join(self._parts) + part
            self._parts.clear()
            self._head = part[:KEPT]
        self._tail = (self._tail + part[-KEPT:])[-KEPT:]

    def _take(self) -> Line | Oversized:
        size, self._size = self._size, 0
        if size > self._max:
            dropped = Oversized(self._head, self._tail, size)
            self._head = self._tail = b""
            return dropped
        line = Line(self._parts[0] if len(self._parts) == 1 else b"".join(self._parts))
        self._parts.clear()
        return line


def parse(data: bytes) -> Any:
    """The JSON value of one line.

    Raises ParseError for anything RFC 8259 leaves to the reader's taste: duplicate keys, NaN and infinities, lone
    surrogates, invalid UTF-8, numbers of thousands of digits, and for nesting deeper than ``MAX_DEPTH``; for the key
    ``__proto__``, whose value the TypeScript SDK makes the object's prototype, where members are found or not; and for
    a carriage return before the line's end, at which Java, .NET and Python's text files end a line as well.
    """
    try:
        return _fast(data) if len(data) < LONG else _without_collection(_fast, data)
    except (ValueError, RecursionError):
        # The other one says why not, and reads the numbers that are too large for a float.
        return _slow(data)


def classify(value: Any) -> Message:
    """The message in ``value``; raises ParseError if it is none, or could be read as two kinds at once."""
    if not isinstance(value, dict):
        raise ParseError("not a JSON-RPC object")
    if value.get("jsonrpc") != "2.0":
        raise ParseError('"jsonrpc" is not "2.0"')
    if not value.keys() <= _MEMBERS and _is_miswritten(value, _MEMBERS):
        raise ParseError("a key is one of JSON-RPC's but for its case")
    result = value.get("result")
    if isinstance(result, dict) and not result.keys() <= _PLAIN and _is_miswritten(result, _JUDGED):
        raise ParseError("a key of the result is one of MCP's but for its case")
    if "id" in value and not is_id(value["id"]):
        raise ParseError('"id" is neither a string nor a number that all read alike')
    if "method" in value:
        method = value["method"]
        if not isinstance(method, str):
            raise ParseError('"method" is not a string')
        if "result" in value or "error" in value:
            raise ParseError("both a request and a response")
        if "id" in value:
            return Request(value["id"], method, value.get("params"), value)
        return Notification(method, value.get("params"), value)
    if ("result" in value) == ("error" in value) or "id" not in value:
        raise ParseError("neither a request nor a response")
    return Response(value["id"], value)


def _is_miswritten(value: dict[str, Any], names: frozenset[str]) -> bool:
    """Whether a reader that takes keys in any case, as Go's encoding/json does, finds one of ``names`` that others
    do not."""
    folded = _FOLDED[names]
    return any(key not in names and key.casefold() in folded for key in value)


def is_id(value: Any) -> bool:
    """Whether two readers take ``value`` for the same id; large numbers are rounded by some."""
    if isinstance(value, int | float):
        return not isinstance(value, bool) and abs(value) <= MAX_SAFE
    return value is None or isinstance(value, str)


def key(id: Id) -> tuple[bool, Id]:
    """A dictionary key for an id: ``1`` and ``"1"`` are two ids, ``1`` and ``1.0`` are one."""
    return isinstance(id, str), id


def encode(value: Any) -> bytes:
    """One line. Raises ValueError for what strict JSON cannot say (a number that overflowed to infinity)."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def error(id: Id, code: int, message: str, data: Any = None) -> dict[str, Any]:
    """A JSON-RPC error response."""
    body: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        body["data"] = data
    return {"jsonrpc": "2.0", "id": id, "error": body}


def addressee(line: Oversized) -> tuple[str, Id]:
    """Whom to answer about a line that was dropped: ``("request" | "response" | "unknown", id)``.

    The SDKs write ``id`` first or last at the top level, so the two ends are enough; where they do not settle it, the
    answer is unknown rather than guessed.
    """
    head = line.head
    found = _LEADING_ID.match(head) or _TRAILING_ID.search(line.tail)
    if not found:
        return "unknown", None
    try:
        id = parse(found[1])
    except ParseError:
        return "unknown", None
    if _LEADING_METHOD.match(head):
        return "request", id
    return ("response", id) if _LEADING_RESULT.match(head) else ("unknown", None)


def _colons(data: bytes) -> int:
    # In a long text counting would begin anew after each.
    return (data if len(data) < LONG else data.translate(None, _NO_COLONS)).count(b":")


def _fast(data: bytes) -> Any:
    """The value, or ValueError where a key might stand twice or any other thing is amiss.

    msgspec keeps the last of the pairs of one key. None is lost from a value that is written as it was read, as most
    are. Of any other the colons are counted: a pair that is lost takes its colon along, and those in its key and value,
    so that the text has more of them than what is written of the value. Only an escaped colon would upset that.
    """
    value = _DECODE(data)
    written = _ENCODE(value)
    # What follows is the line's end.
    if len(data) - len(written) > 2 or not data.startswith(written):
        if _colons(data) != _colons(written) or (b"\\u003" in data and _ESCAPED_COLON.search(data)):
            raise ValueError
        if b"\r" in data and b"\r" in data.rstrip():
            raise ValueError
    if b'"__proto__":' in written:
        raise ValueError
    if (len(data) >= LONG or data.count(b"[") + data.count(b"{") > MAX_DEPTH) and _has_depth(data):
        raise ValueError
    return value


def _slow(data: bytes) -> Any:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ParseError("not UTF-8") from None
    if _SURROGATE.search(text) and any(match[1] for match in _ESCAPES.finditer(text)):
        raise ParseError("a lone surrogate in a string")
    try:
        value = _DECODER.decode(text)
    except ParseError:
        raise
    except ValueError as error:
        raise ParseError(f"not JSON: {error}") from None
    except RecursionError:
        raise ParseError(_TOO_DEEP) from None
    if _has_depth(data):
        raise ParseError(_TOO_DEEP)
    if b"\r" in data.rstrip():
        raise ParseError("a carriage return within the line")
    return value


def _without_collection(read: Callable[[bytes], Any], data: bytes) -> Any:
    """A JSON value has no cycles, and looking for some among many new objects takes longer than to make them."""
    if not gc.isenabled():
        return read(data)
    gc.disable()
    try:
        return read(data)
    finally:
        gc.enable()


def _has_depth(data: bytes) -> bool:
    """Whether ``data``, which is JSON, is nested deeper than ``MAX_DEPTH``.

    Without a loop in Python over its bytes: strings go, then pairs of brackets with nothing between them, and what is
    left is summed up, +1 for each that opens and -1 for each that closes.
    """
    if not (_has_many(b"[", data) or _has_many(b"{", data)):
        return False
    # Of the escapes two matter, and the first of them first: an escaped backslash escapes nothing.
    marks = data.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in data else data
    marks = marks.translate(_ONE_BRACKET, _NO_MARKS).replace(b'""', b"")
    brackets = _STRING.sub(b"", marks) if b'"' in marks else marks
    # Flat texts, which are most, are soon done with.
    for _ in range(8):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    return max(accumulate(array("b", brackets.translate(_STEPS))), default=0) + 8 > MAX_DEPTH


def _has_many(bracket: bytes, data: bytes) -> bool:
    """Whether there are enough of them for half of that depth; to count them would go through it byte by byte."""
    at = -1
    for _ in range(MAX_DEPTH // 2 + 1):
        if (at := data.find(bracket, at + 1)) < 0:
            return False
    return True


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ParseError("a key stands twice in one object")
    if "__proto__" in value:
        raise ParseError('a key is "__proto__"')
    return value


def _no_constant(name: str) -> Any:
    raise ParseError(f"{name} is not JSON")


_MEMBERS = frozenset(("jsonrpc", "id", "method", "params", "result", "error"))
# What policies take definitions and requests from.
_JUDGED = frozenset(
    ("tools", "prompts", "resources", "resourceTemplates", "instructions", "inputRequests", "nextCursor", "content")
)
# What most results have, of which none is miswritten.
_PLAIN = _JUDGED | {"isError", "structuredContent", "_meta"}
_FOLDED = {names: frozenset(name.casefold() for name in names) for names in (_MEMBERS, _JUDGED)}
_TOO_DEEP = f"nested deeper than {MAX_DEPTH}"
_DECODE, _ENCODE = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode
_NO_COLONS = bytes(set(range(256)) - set(b":"))
_NO_MARKS = bytes(set(range(256)) - set(b'[]{}"'))
_ONE_BRACKET = bytes.maketrans(b"{}", b"[]")
_STEPS = bytes.maketrans(b"[]", b"\x01\xff")
_STRING = re.compile(rb'"[^"]*"')
_ESCAPED_COLON = re.compile(rb"\\u003[aA]")
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_SCALAR = rb'("(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*)'
_VERSION = rb'"jsonrpc"\s*:\s*"2.0"\s*,\s*'
# Consumes every escape in turn, so that an escaped backslash before "ud800" is not taken for a surrogate. Group 1 is a
# surrogate that is not half of a pair.
_ESCAPES = lazily(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.")
# An id that leads and one that trails, and a method or a result that leads, with or without an id before it.
_PREFIX = rb"\s*\{\s*(?:" + _VERSION + rb')?(?:"id"\s*:\s*' + _SCALAR + rb"\s*,\s*)?"
_LEADING_ID = lazily(rb"\s*\{\s*(?:" + _VERSION + rb')?"id"\s*:\s*' + _SCALAR + rb"\s*,")
_TRAILING_ID = lazily(rb'[}\]"0-9el]\s*,\s*(?:' + _VERSION + rb')?"id"\s*:\s*' + _SCALAR + rb"\s*\}\s*$")
_LEADING_METHOD = lazily(_PREFIX + rb'"method"\s*:')
_LEADING_RESULT = lazily(_PREFIX + rb'"(?:result|error)"\s*:')
