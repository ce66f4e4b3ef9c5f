"""One text, several readers: what mcpbox has read is what the SDKs on both sides of it read, or they refuse it."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp_types import jsonrpc_message_adapter

from mcpbox import jsonrpc
from mcpbox.jsonrpc import MAX_DEPTH, ParseError

CACHE = Path(os.environ.get("MCPBOX_TEST_CACHE", "/var/tmp/mcpbox-test"))
SDK = CACHE / "servers/node_modules/@modelcontextprotocol/sdk/dist/esm/shared/stdio.js"
#: Reads lines as the TypeScript SDK does, and says what it has read: JSON.parse, then the message.
NODE = """
const { ReadBuffer } = await import(process.argv[1]);
const bits = new DataView(new ArrayBuffer(8));
const plain = (value) => {
  if (typeof value === "number") {
    bits.setFloat64(0, value === 0 ? 0 : value);
    return ["number", bits.getBigUint64(0).toString(16)];
  }
  if (Array.isArray(value)) return ["array", value.map(plain)];
  if (value !== null && typeof value === "object")
    return ["object", Object.keys(value).map((key) => [key, plain(value[key])])];
  return ["other", value];
};
const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const input = Buffer.concat(chunks);
for (let start = 0, end; (end = input.indexOf(10, start)) >= 0; start = end + 1) {
  const line = input.subarray(start, end + 1);
  let parsed = null, message = null;
  try { parsed = plain(JSON.parse(line.toString("utf8", 0, line.length - 1).replace(/\\r$/, ""))); } catch {}
  try {
    const buffer = new ReadBuffer();
    buffer.append(line);
    message = plain(buffer.readMessage());
  } catch {}
  process.stdout.write(JSON.stringify([parsed, message]) + "\\n");
}
"""


def reference(data: bytes) -> Any:
    """What ``jsonrpc.parse`` promises, in the plainest way to say it."""

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(found)) == len(found), "a key twice"
        assert "__proto__" not in dict(found), "a prototype"
        return dict(found)

    def constant(name: str) -> Any:
        raise ValueError(name)

    def depth(value: Any) -> int:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return 0 if inner is None else 1 + max(map(depth, inner), default=0)

    value = json.loads(data.decode(), object_pairs_hook=pairs, parse_constant=constant)
    # A lone surrogate cannot be encoded.
    json.dumps(value, ensure_ascii=False).encode()
    assert depth(value) <= MAX_DEPTH, "too deep"
    assert b"\r" not in data.rstrip(), "two lines to some"
    return value


def outcome(read: Any, data: bytes) -> str:
    try:
        return repr(read(data))
    except (ValueError, AssertionError, RecursionError):
        return "refused"


letters = st.sampled_from(
    ["a", ":", '\\"', "\\\\", "\\u003a", "\\u003A",
     "__proto__", "__pr\\u006fto__", "[", "]", "{", "}", ",", "\\ud83d\\ude00", "\\ud83d", "\\udc00", "é",
     "\u2028", "\\u0000", "\\n", "\\/", "😀", "\ufeff", "\\u003", "\x7f", "\x01", "\\x"]
)  # fmt: skip
strings = st.lists(letters, max_size=3).map(lambda parts: f'"{"".join(parts)}"')
numbers = st.sampled_from(
    [
        "0",
        "-0",
        "-0.0",
        "1.0",
        "1E400",
        "-1e999",
        "1e-400",
        "01",
        "1.",
        "12345678901234567890",
        "1" * 40,
        "NaN",
        "5e-324",
    ]
)
spaces = st.sampled_from(["", "", "", " ", "\t", "\r", "\x0b", "\xa0"])


def objects(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.tuples(strings, spaces, inner, spaces).map(lambda parts: f"{parts[0]}{parts[1]}:{parts[2]}{parts[3]}")
    return st.lists(pairs, max_size=4).map(lambda found: "{" + ",".join(found) + "}")


texts = st.recursive(
    strings | numbers | st.sampled_from(["true", "null", "-", ""]),
    lambda inner: st.lists(inner, max_size=4).map(lambda found: "[" + ",".join(found) + "]") | objects(inner),
    max_leaves=12,
)


def nested(text: str, opening: str, depth: int) -> str:
    closing = {"[": "]", '{"a":': "}", '["]\\"[",[': "]]"}[opening]
    return opening * depth + text + closing * depth


deep = st.builds(nested, texts, st.sampled_from(["[", '{"a":', '["]\\"[",[']), st.integers(50, 140))
padded = st.builds(lambda text, many: f"[{text},{','.join(['{}'] * many)}]", texts, st.sampled_from([1, 130, 40_000]))
raw = st.one_of(texts, deep, padded).map(lambda text: text.encode(errors="surrogatepass"))


@settings(max_examples=400)
@given(raw, st.sampled_from([b"", b"\r\n", b"x", b"\xff", b"\x00"]))
def test_the_parser_accepts_exactly_what_it_promises(text: bytes, tail: bytes) -> None:
    assert outcome(jsonrpc.parse, text + tail) == outcome(reference, text + tail)


@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,\\u0a1e-. \r', max_size=40).map(str.encode))
def test_so_it_does_for_any_bytes(text: bytes) -> None:
    assert outcome(jsonrpc.parse, text) == outcome(reference, text)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":1}',
        '{"a":1,"\\u0061":":"}',
        '{"a:":1,"a\\u003a":2}',
        '{"\\u003a":1,"a":2,"a":3}',
        '[{"a":{"b:":":"}},{"a":1,"b":2,"a":{}}]',
        '{"a":"\\\\u003a"}',
        '{"":1,"":2}',
    ],
)
@pytest.mark.parametrize("padding", [0, 1 << 17])
def test_colons_tell_of_keys_that_stand_twice(text: str, padding: int) -> None:
    data = f'[{text},{",".join(["{}"] * padding)}{{"a":"{":" * (padding >> 4)}"}}]'.encode()
    assert outcome(jsonrpc.parse, data) == outcome(reference, data)


MESSAGE = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":%s}}'
ODD_VALUES = [
    "1", "-0", "0.1", "1.10", "1E400", "-1E400", "1e-400", "12345678901234567890", "9007199254740993", "1" * 400,
    "5e-324", "123456789.123456789e-10", "0.30000000000000004441", '"\\u0000"', '"\\u2028\u2028"', '"\\ud83d\\ude00"',
    '"\\ud83d"', '"\\ude00\\ud83d"', '"\ufeff"', '"\\/"', '"\\x41"', '"\x7f"', '"\t"', '"\x01"', '"\x00"', "NaN",
    "Infinity", "[1,]", "{,}", "{'a':1}", '{"a":1,"a":2}', '{"a":1,"\\u0061":2}', '{"__proto__":{"name":"b"}}',
    '{"__proto__":1}', '{"constructor":{"prototype":{"x":1}}}', '{"toString":1,"2":1,"1":2}', '{"":1}', '{"A":1,"a":2}',
    "/**/1", "0x1", "01", "+1", "1.", ".5", "tru", "undefined", "[" * 126 + "]" * 126, "[" * 200 + "]" * 200,
    "[" * 5000 + "]" * 5000, '{"é":1,"e\u0301":2}', '"\u202e"', '"\U000e0041"', "\xa01", "\u20281", "\x0c1", "\x0b1",
    " 1 ",
]  # fmt: skip
ODD_LINES = [
    *(MESSAGE % value for value in ODD_VALUES),
    '\ufeff{"jsonrpc":"2.0","method":"x"}', '{"jsonrpc":"2.0","method":"x"}\r', '{"jsonrpc":"2.0","method":"x"}\r\r',
    '\r{"jsonrpc":"2.0","method":"x"}', '{"jsonrpc":"2.0","method":"x"} x', '{"jsonrpc":"2.0","method":"x"}\x00',
    '{"jsonrpc":"2.0","method":"x"}{"jsonrpc":"2.0","method":"y"}', '{"jsonrpc":"2.0","method":"x"}\u2028',
    '{"jsonrpc":"2.0","Method":"y","method":"x"}', '{"jsonrpc":"2.0","METHOD":"y","id":1,"result":{}}',
    '{"jsonrpc":"2.0","method":"x","Id":1}', '{"JSONRPC":"2.0","method":"x"}', '{"jsonrpc":2.0,"method":"x"}',
    '{"jsonrpc":"2.0","method":"x","method":"y"}', '{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}',
    '{"jsonrpc":"2.0","met\\u0068od":"x"}', '{"jsonrpc":"2.0","method":"x\\u0000y"}', '{"jsonrpc":"2.0","method":5}',
    '{"jsonrpc":"2.0","__proto__":{"method":"tools/call"},"id":1,"result":{}}',
    '{"jsonrpc":"2.0","id":1,"method":null}',
    '{"jsonrpc":"2.0","id":1,"method":"x","__proto__":{"params":{"name":"b"}}}',
    '{"jsonrpc":"2.0","method":"x","params":[]}',
    '{"jsonrpc":"2.0","id":1,"method":"x","params":{"__proto__":{"name":"b"}}}',
    '{"jsonrpc":"2.0","method":"x","params":null}',
    '{"jsonrpc":"2.0","id":1,"result":{"__proto__":{"isError":true}}}', '{"jsonrpc":"2.0","id":1,"result":null}',
    '{"jsonrpc":"2.0","id":1,"result":{},"error":null}', '{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}',
    '{"jsonrpc":"2.0","id":1,"result":{},"method":"x"}', '{"jsonrpc":"2.0","id":1,"result":{},"extra":1}',
    *(f'{{"jsonrpc":"2.0","id":{id},"method":"ping"}}' for id in
      ("1.0", "1.5", "-0", "1e2", "1E400", "9007199254740991", "9007199254740993", "12345678901234567890",
      '"\\u0031"', "null", "true",
       '"1"', "[1]", "{}", "1e-400", "1" * 400)),
    "[]", "[[]]", "1", '"x"', "null", "",
]  # fmt: skip


def plain(value: Any) -> Any:
    """A value in the form in which two readers can be compared: numbers as the doubles that they are to JavaScript."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return ["other", value]
    if isinstance(value, int | float):
        return ["number", float_bits(value)]
    if isinstance(value, list):
        return ["array", [plain(item) for item in value]]
    return ["object", sorted([key, plain(item)] for key, item in value.items())]


def float_bits(value: float) -> str:
    try:
        number = float(value)
    except OverflowError:
        number = float("inf") if value > 0 else float("-inf")
    return f"{int.from_bytes(struct.pack('>d', number or 0.0)):x}"


def ordered(value: Any) -> Any:
    """JavaScript puts keys that are numbers first."""
    if value and value[0] == "object":
        return ["object", sorted([key, ordered(item)] for key, item in value[1])]
    return ["array", [ordered(item) for item in value[1]]] if value and value[0] == "array" else value


def as_node_reads(lines: list[bytes]) -> list[tuple[Any, Any]]:
    if not (shutil.which("node") and SDK.exists()):
        assert not os.environ.get("MCPBOX_MUST_WORK"), "node or the TypeScript SDK is missing"
        pytest.skip("node or the TypeScript SDK is missing")
    words = ["node", "--input-type=module", "-e", NODE, SDK.as_uri()]
    done = subprocess.run(words, input=b"\n".join([*lines, b""]), capture_output=True, check=True, timeout=60)
    return [(ordered(parsed), ordered(message)) for parsed, message in map(json.loads, done.stdout.splitlines())]


def as_python_reads(line: bytes) -> Any:
    """As the Python SDK does, which decodes with replacement and validates the line."""
    try:
        message = jsonrpc_message_adapter.validate_json(line.decode(errors="replace"), by_name=False)
    except ValueError:
        return None
    return message.model_dump(by_alias=True, exclude_unset=True)


def envelope(value: Any, other: Any) -> bool:
    """Whether ``other`` has what ``value`` has, but for the members of the message itself that a reader drops."""
    return isinstance(other, dict) and all(name in value and plain(value[name]) == plain(other[name]) for name in other)


def test_both_sdks_read_what_mcpbox_has_read() -> None:
    lines = [line.encode() for line in ODD_LINES]
    holes = []
    for line, (parsed, message) in zip(lines, as_node_reads(lines), strict=True):
        try:
            value = jsonrpc.parse(line + b"\n") if line.strip() else None
            classified = jsonrpc.classify(value)
        except ParseError:
            continue
        python = as_python_reads(line)
        if parsed is not None and parsed != plain(value):
            holes.append(("JSON.parse", line[:120]))
        if message is not None and message != plain(value):
            holes.append(("the TypeScript SDK", line[:120]))
        if python is not None and not envelope(classified.value, python):
            holes.append(("the Python SDK", line[:120]))
    assert holes == []
