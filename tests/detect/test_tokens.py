from __future__ import annotations

import random

import pytest
from detect.fakes import fake, widths

from mcpbox.detect import tokens
from mcpbox.detect.entries import scan_value

#: Characters of a text made to be slow. Backtracking that is not bounded takes hours over so many.
LONG = 40_000
EACH = pytest.mark.parametrize("row", tokens.TOKENS, ids=lambda row: row.kind)


def kinds(text: str) -> set[str]:
    return {kind for _, _, kind in tokens.scan(text)}


@EACH
def test_a_well_formed_token_is_found_wherever_it_stands(row: tokens.Format) -> None:
    rng = random.Random(row.kind)
    for _ in range(20):
        token = fake(row.pattern, rng)
        assert any(mark in token for mark in row.marks), token
        for before, after in (("", ""), ("Bearer ", ""), ("x='", "'"), ("https://h?k=", "&x=1"), ('{"a": "', '"}')):
            place = (len(before), len(before) + len(token), row.kind)
            assert place in set(tokens.scan(before + token + after)), token


@EACH
def test_a_near_miss_is_not_of_the_format(row: tokens.Format) -> None:
    rng = random.Random(row.kind)
    shortest, longest = widths(row.pattern)
    for _ in range(20):
        token = fake(row.pattern, rng)
        mark = next(mark for mark in row.marks if mark in token)
        assert row.kind not in kinds(token[: shortest - 1])
        assert row.kind not in kinds(token.replace(mark, mark.swapcase() if mark.upper() != mark.lower() else "!"))
        assert row.kind not in kinds(f"a{token}") or not token[0].isalnum()
        if shortest == longest:
            assert row.kind not in kinds(f"{token}a")


def test_there_are_many_formats_each_with_a_name_of_its_own() -> None:
    names = [row.kind for row in tokens.TOKENS]
    assert len(set(names)) == len(names) >= 60


@EACH
@pytest.mark.usefixtures("patience")
def test_a_format_is_not_slow_over_what_almost_matches(row: tokens.Format) -> None:
    token = fake(row.pattern, random.Random(row.kind))
    for unit in (*row.marks, token[:-1]):
        for separator in "-/=":
            list(tokens.scan((unit + separator) * (LONG // (len(unit) + 1))))


@pytest.mark.parametrize(
    "unit",
    [
        *("a", "=", "a=", "a=b ", "--a ", "--token ", "a:", "Authorization: ", "a://", "a://b:c@", "?token=x1y2z3w4 "),
        *("{", '{"a":', "\\", "${", "$(", "{{", "<", "`", "%a", "aA1", "token='", "op:", "your-", "a_", "\n", "a:b\n"),
        *("Bearer ", ";password=x1y2z3w4", "a b=", "~/", "1.", "a.key", "-----BEGIN PRIVATE KEY-----", '"'),
    ],
)
@pytest.mark.parametrize("name", ["", "API_KEY", "PASSWORD"])
@pytest.mark.usefixtures("patience")
def test_no_repetition_is_slow(unit: str, name: str) -> None:
    scan_value(unit * (LONG // len(unit)), name=name)
