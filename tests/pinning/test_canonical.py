from __future__ import annotations

import json
from typing import Any

import pytest
import rfc8785
from hypothesis import assume, given
from hypothesis import strategies as st

from mcpbox import jsonrpc
from mcpbox.pinning import canonical

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NUMBERS = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=12,
)


def shuffled(value: Any, random: Any) -> Any:
    if isinstance(value, dict):
        keys = list(value)
        random.shuffle(keys)
        return {key: shuffled(value[key], random) for key in keys}
    return [shuffled(each, random) for each in value] if isinstance(value, list) else value


@given(VALUES, st.randoms(), st.sampled_from([None, 1, "\t"]), st.booleans())
def test_one_value_has_one_digest_however_it_is_written(value: Any, random: Any, indent: Any, ascii: bool) -> None:
    text = json.dumps(shuffled(value, random), indent=indent, ensure_ascii=ascii)
    assert canonical.digest(jsonrpc.parse(text.encode())) == canonical.digest(value)


@given(VALUES)
def test_where_there_is_a_canonical_form_it_is_that(value: Any) -> None:
    try:
        expected = rfc8785.dumps(value)
    except rfc8785.CanonicalizationError:
        assert canonical.encode(value).startswith(canonical.BEYOND)
    else:
        assert canonical.encode(value) == expected


@pytest.mark.parametrize("text", [",1.5", '",1.5', '\\",[2e3', "\\\\", ":-1e9", "[12345678901234567"])
@pytest.mark.parametrize("number", [1, 1.5, 1e21, 12345678901234567])
def test_numbers_within_texts_are_no_numbers(text: str, number: float) -> None:
    values: tuple[Any, ...] = (text, [text, number], {text: number}, {"a": [text, {text: [number, text]}]})
    for value in values:
        try:
            expected = rfc8785.dumps(value)
        except rfc8785.CanonicalizationError:
            assert canonical.encode(value).startswith(canonical.BEYOND)
        else:
            assert canonical.encode(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        {"\U0001f389": 1, "\uffee": 2},
        {"a": {"\uffee\U0001f389": "", "\uffee\uffee": ""}},
        [{'\\"\U0001f389': ":", '\\"\uffee': '":'}],
        {"a": "\U0001f389", "b": ["\U0001f389:", {"\uffee": '":\U0001f389\\'}]},
        "\U0001f389",
    ],
)
def test_keys_are_sorted_as_utf_16_sorts_them(value: Any) -> None:
    assert canonical.encode(value) == rfc8785.dumps(value)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict) and value:
        return [found for key, inner in value.items() for found in leaves(inner, (*path, key))]
    if isinstance(value, list) and value:
        return [found for at, inner in enumerate(value) for found in leaves(inner, (*path, at))]
    return [path]


def put(value: Any, path: tuple[Any, ...], leaf: Any) -> Any:
    if not path:
        return leaf
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = put(copy[path[0]], path[1:], leaf)
    return copy


@given(VALUES, st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS), st.data())
def test_another_leaf_is_another_digest(value: Any, leaf: Any, data: Any) -> None:
    path = data.draw(st.sampled_from(leaves(value)))
    changed = put(value, path, leaf)
    assume(not same(changed, value))
    assert canonical.digest(changed) != canonical.digest(value)


def same(one: Any, other: Any) -> bool:
    """As Python compares them, but for booleans, and integers and floats that only doubles make equal."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("1", "1.0", True),
        ("1", "1e0", True),
        ("0", "-0.0", True),
        ("1", '"1"', False),
        ("1", "true", False),
        ("null", "[]", False),
        ("[]", "{}", False),
        ("9007199254740992", "9007199254740993", False),
        ("1e400", "1e401", True),
        ("1e400", "-1e400", False),
        ("1e400", '"inf"', False),
        ("[1e400]", '[["number","inf"]]', False),
        ("[1e400]", '[1e400,["list"]]', False),
        ('{"a":1e400}', '{"a":["number","inf"],"b":1e400}', False),
        ('"\\u00e9"', '"e\\u0301"', False),
        ('{"\\ue000":1,"\\ud83d\\ude00":2}', '{"\\ud83d\\ude00":2,"\\ue000":1}', True),
        ("1" * 4000, "1" * 3999 + "2", False),
    ],
)
def test_what_a_line_may_hold_beyond_the_canonical_form(one: str, other: str, equal: bool) -> None:
    digests = {canonical.digest(jsonrpc.parse(text.encode())) for text in (one, other)}
    assert (len(digests) == 1) == equal


def test_the_deepest_value_that_is_read_has_a_digest() -> None:
    text = b"[" * jsonrpc.MAX_DEPTH + b"1e400" + b"]" * jsonrpc.MAX_DEPTH
    assert len(canonical.digest(jsonrpc.parse(text))) == 64
