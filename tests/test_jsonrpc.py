from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpbox import jsonrpc
from mcpbox.jsonrpc import Line, Lines, Notification, Oversized, ParseError, Request, Response


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    parts, at = [], 0
    for size in sizes:
        parts.append(data[at : at + size])
        at += size
    return [*parts, data[at:]]


@given(st.lists(st.binary(max_size=40)), st.lists(st.integers(1, 30)))
def test_lines_are_the_same_however_the_stream_is_cut(lines: list[bytes], sizes: list[int]) -> None:
    data = b"\n".join(lines)
    whole, pieces = Lines(1 << 20), Lines(1 << 20)
    expected = [*whole.feed(data), *whole.finish()]
    found = [line for part in cut(data, sizes) for line in pieces.feed(part)] + list(pieces.finish())
    assert found == expected
    assert b"".join(line.data for line in expected if isinstance(line, Line)) == data


def test_only_a_newline_ends_a_line() -> None:
    data = "a\u2028b\u0085c\x0bd\re\n".encode()
    assert list(Lines(100).feed(data)) == [Line(data)]


@given(st.integers(0, 60), st.lists(st.integers(1, 9)))
def test_a_long_line_is_dropped_and_the_next_one_is_not(size: int, sizes: list[int]) -> None:
    lines = Lines(20)
    data = b"x" * size + b"\nnext\n"
    found = [line for part in cut(data, sizes) for line in lines.feed(part)]
    assert found[1] == Line(b"next\n")
    assert isinstance(found[0], Oversized) == (size + 1 > 20)
    if isinstance(found[0], Oversized):
        assert found[0].size == size + 1


def test_a_long_line_is_not_held_in_memory() -> None:
    lines = Lines(1000)
    for _ in range(1000):
        assert not list(lines.feed(b"x" * 1000))
    assert sum(map(len, lines._parts)) + len(lines._head) + len(lines._tail) <= 3 * jsonrpc.KEPT


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"a":1,"a":2}', "a key stands twice"),
        (b'{"x":{"a":1,"\\u0061":2}}', "a key stands twice"),
        (b'[{"__pr\\u006fto__":{}}]', 'a key is "__proto__"'),
        (b'{"a":NaN}', "NaN is not JSON"),
        (b'{"a":-Infinity}', "-Infinity is not JSON"),
        (b'{"a":"\\ud800"}', "lone surrogate"),
        (b'{"a":"\\udc00\\ud800"}', "lone surrogate"),
        (b'{"a":"\xff"}', "not UTF-8"),
        (b'{"a":"\xed\xa0\x80"}', "not UTF-8"),
        (b"[" * 129 + b"]" * 129, "nested deeper"),
        (b'{"a":' * 200 + b"1" + b"}" * 200, "nested deeper"),
        (b"[" * 1_000_000, "nested deeper"),
        (b'{"a":1} {"b":2}', "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b"1" * 10_000, "not JSON"),
        (b"{'a':1}", "not JSON"),
        (b'{"a":\r{"b":1}\r}\n', "a carriage return within the line"),
        (b'\r{"a":1}\n', "a carriage return within the line"),
        (b'{"a":1E400,"b":\r1}\r\n', "a carriage return within the line"),
        (b'{"a":"' + b"x" * jsonrpc.LONG + b'",\r"b":1}', "a carriage return within the line"),
    ],
)
def test_what_readers_could_disagree_about_is_refused(text: bytes, reason: str) -> None:
    with pytest.raises(ParseError, match=reason):
        jsonrpc.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":"\\ud83d\\ude00"}',
        b'{"a":"\\\\ud800"}',
        b"[" * 128 + b"]" * 128,
        b'{"a":"__proto__","b":"\\"__proto__\\":"}',
        b'{"a":"[[[[' + b"[" * 300 + b'"}',
        b'{"a":1e2,"b":1E400,"c":12345678901234567890}\r\n',
        b'{ "a":"\\r"}\r\r\n',
    ],
)
def test_what_is_plain_json_is_not(text: bytes) -> None:
    jsonrpc.parse(text)


@given(st.binary(max_size=200))
def test_any_bytes_parse_or_raise_parse_error(data: bytes) -> None:
    try:
        jsonrpc.classify(jsonrpc.parse(data))
    except ParseError:
        pass


# Hypothesis tries what it reads in the code, such as the one key that is never let through.
keys = st.text().filter(lambda key: key != "__proto__")
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_what_is_encoded_is_read_back_and_is_one_line(value: Any) -> None:
    try:
        data = jsonrpc.encode(value)
    except UnicodeEncodeError:
        return
    assert data.count(b"\n") == 1
    assert jsonrpc.parse(data) == value


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"jsonrpc": "2.0", "id": 0, "method": "ping"}, Request),
        ({"jsonrpc": "2.0", "id": "a", "method": "ping"}, Request),
        ({"jsonrpc": "2.0", "id": None, "method": "ping"}, Request),
        ({"jsonrpc": "2.0", "method": "ping"}, Notification),
        ({"jsonrpc": "2.0", "id": 1, "result": None}, Response),
        ({"jsonrpc": "2.0", "id": None, "error": {"code": 1, "message": ""}}, Response),
    ],
)
def test_kinds(value: dict[str, Any], kind: type) -> None:
    assert isinstance(jsonrpc.classify(value), kind)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (5, "not a JSON-RPC object"),
        ({"id": 1, "method": "x"}, '"jsonrpc"'),
        ({"jsonrpc": "2.0", "id": True, "method": "x"}, '"id"'),
        ({"jsonrpc": "2.0", "id": [1], "method": "x"}, '"id"'),
        ({"jsonrpc": "2.0", "id": 1, "method": "x", "result": 1}, "both"),
        ({"jsonrpc": "2.0", "id": 1, "result": 1, "error": {}}, "neither"),
        ({"jsonrpc": "2.0", "result": 1}, "neither"),
        ({"jsonrpc": "2.0", "id": 1, "method": 5}, '"method"'),
    ],
)
def test_ambiguous_messages_are_refused(value: Any, reason: str) -> None:
    with pytest.raises(ParseError, match=reason):
        jsonrpc.classify(value)


def oversized(message: dict[str, Any]) -> Oversized:
    lines = Lines(64)
    (found,) = lines.feed(json.dumps(message).encode() + b"\n")
    assert isinstance(found, Oversized)
    return found


BIG = {"x": "y" * 10_000, "id": 99}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"jsonrpc": "2.0", "id": 7, "method": "a", "params": BIG}, ("request", 7)),
        ({"method": "a", "params": BIG, "jsonrpc": "2.0", "id": "seven"}, ("request", "seven")),
        ({"result": BIG, "jsonrpc": "2.0", "id": 7}, ("response", 7)),
        ({"jsonrpc": "2.0", "id": 7, "result": BIG}, ("response", 7)),
        ({"params": BIG, "method": "a", "jsonrpc": "2.0"}, ("unknown", None)),
        ({"jsonrpc": "2.0", "method": "a", "params": BIG}, ("unknown", None)),
    ],
)
def test_whom_to_answer_about_a_dropped_line(message: dict[str, Any], expected: tuple[str, Any]) -> None:
    assert jsonrpc.addressee(oversized(message)) == expected


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ('"id":1,"result":{},"Method":"sampling/createMessage"', "JSON-RPC's"),
        ('"id":1,"result":{},"Re\u017fult":{"tools":[]}', "JSON-RPC's"),
        ('"ID":1,"method":"m"', "JSON-RPC's"),
        ('"id":1,"result":{"tools":[],"Tools":[{"name":"evil"}]}', "MCP's"),
        ('"id":1,"result":{"In\u017ftructions":"obey"}', "MCP's"),
        ('"id":1,"result":{"InputRequests":{}}', "MCP's"),
    ],
)
def test_a_key_that_some_readers_take_for_another_is_refused(data: str, reason: str) -> None:
    with pytest.raises(ParseError, match=reason):
        jsonrpc.classify(jsonrpc.parse(f'{{"jsonrpc":"2.0",{data}}}'.encode()))


def test_keys_of_another_kind_are_let_through() -> None:
    jsonrpc.classify({"jsonrpc": "2.0", "id": 1, "result": {"Total": 1, "RESULT": 2}, "X": 1})
