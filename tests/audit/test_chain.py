"""A line is what RFC 8785 makes of its fields, bounded whatever is put into it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from mcpbox.audit import chain

TEXT = st.text()
WILD = st.text(st.characters(exclude_categories=()))
NUMBERS = st.integers(-chain.MAX_INTEGER, chain.MAX_INTEGER)
KEYS = st.text(st.characters(max_codepoint=127), max_size=8)
PLAIN: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WILD,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WILD, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(KEYS, PLAIN, max_size=6))
def test_a_line_is_canonical_json(fields: dict[str, Any]) -> None:
    line = chain.encode(chain.plain(fields))
    assert line == rfc8785.dumps(json.loads(line)) and b"\n" not in line
    if not deeper(fields, chain.MAX_DEPTH):
        assert json.loads(line) == fields


@given(st.dictionaries(WILD, ANYTHING, max_size=6))
def test_whatever_an_event_holds_the_line_is_canonical(fields: dict[str, Any]) -> None:
    line = chain.encode(chain.plain(fields))
    assert line == rfc8785.dumps(json.loads(line)) and b"\n" not in line


def deeper(value: Any, depth: int) -> bool:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return depth < 0 or any(deeper(item, depth - 1) for item in items)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("x" * 4097, "x" * 4096 + "... (4097 characters)"),
        (1 << 53, "0x20000000000000"),
        (-(1 << 70), "-0x400000000000000000"),
        (0.1, "0.1"),
        (float("nan"), "nan"),
        ("a\udcff\ud800", "a\\udcff\\ud800"),
        ([1] * 300, [1] * 256 + ["... (300 entries)"]),
        ({"é": 1, "\U00010000": 2}, {"\\xe9": 1, "\\U00010000": 2}),
        ([[[[[[[[["deep"]]]]]]]]], [[[[[[["..."]]]]]]]),
    ],
)
def test_what_json_may_read_in_two_ways_or_has_no_end_is_put_otherwise(value: Any, kept: Any) -> None:
    assert json.loads(chain.encode(chain.plain({"event": "x", "value": value}))) == {"event": "x", "value": kept}


def test_a_record_is_bounded_as_a_whole() -> None:
    event = {"event": "x", "reason": "y", "found": {str(number): "z" * 4096 for number in range(256)}}
    cut = json.loads(chain.encode(chain.plain(event)))
    assert cut.pop("cut") > chain.MAX_RECORD and cut == {"event": "x", "reason": "y"}
    flat = chain.plain({"event": "x", **{f"key {number}": "\0" * 4097 for number in range(250)}})
    assert len(chain.encode(flat)) < chain.MAX_RECORD and flat["event"] == "x"


def test_what_is_no_value_is_a_fault_of_ours() -> None:
    with pytest.raises(TypeError, match="cannot hold a bytes"):
        chain.plain({"event": b"x"})


@given(ANYTHING)
def test_any_content_has_one_text(value: Any) -> None:
    assert chain.content(value) == chain.content(json.loads(json.dumps(value)))


@given(st.binary())
def test_the_hash_is_sha_256(data: bytes) -> None:
    assert chain.digest(data) == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1_795_267_323_123_456_789, "2026-11-21T13:22:03.123456Z"),
        (1_795_267_323_999_999_999, "2026-11-21T13:22:03.999999Z"),
    ],
)
def test_times_have_one_form(nanoseconds: int, text: str) -> None:
    assert chain.stamp(nanoseconds) == text
