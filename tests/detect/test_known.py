from __future__ import annotations

import base64
import json
import re
import textwrap
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpbox.detect.engine import Literals
from mcpbox.detect.known import KnownValues

SECRET = "Zq8v/TnW3xK5m+R7yB2cD4fG6hJ9kL0pQsA1e="
ODD = 'pass"wörd\\ with <&> 100%'


def spans(values: list[str], text: str) -> list[tuple[int, int, int]]:
    known = KnownValues({value: f"name{number}" for number, value in enumerate(values)})
    return sorted(known.locate(text, Literals(known.pieces).find(text)) if known.pieces else [])


def covered(values: list[str], text: str) -> str:
    """``text`` without what is found."""
    for start, end, _ in reversed(spans(values, text)):
        text = text[:start] + text[end:]
    return text


@pytest.mark.parametrize("value", [SECRET, ODD, "Sommer77", "7" + "0123456789ab" * 300])
@pytest.mark.parametrize(
    "write",
    [
        str,
        lambda value: json.dumps(value)[1:-1],
        lambda value: quote(value, safe=""),
        lambda value: quote(value),
        quote_plus,
        lambda value: re.sub("%..", lambda match: match[0].lower(), quote(value, safe="")),
        lambda value: value.encode().hex(),
        lambda value: value.encode().hex().upper(),
        lambda value: value[::-1],
        lambda value: base64.b64encode(value.encode()).decode(),
        lambda value: base64.urlsafe_b64encode(value.encode()).decode().rstrip("="),
    ],
)
def test_a_value_is_found_however_it_is_written(value: str, write: Callable[[str], str]) -> None:
    written = write(value)
    for before, after in (("", ""), ("is: ", "."), ("é", "\n"), ('{"a": "', '"}')):
        rest = covered([value], before + written + after)
        assert rest == before + after


@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("after", range(4))
def test_a_value_is_found_anywhere_in_base64_of_more(before: int, after: int) -> None:
    text = base64.b64encode(b"x" * before + SECRET.encode() + b"y" * after).decode()
    assert covered([SECRET], f"<{text}>") == "<>"


@pytest.mark.parametrize("gap", ["\n", "\0", "\1", "\r\n    ", '" + "', "' '", "\u200b", "\\\n"])
def test_a_value_is_found_in_pieces(gap: str) -> None:
    for at in range(1, len(SECRET)):
        assert covered([SECRET], f"x {SECRET[:at]}{gap}{SECRET[at:]} y") == "x  y"
    wrapped = gap.join(textwrap.wrap(base64.b64encode(SECRET.encode()).decode(), 20))
    assert covered([SECRET], f"x {wrapped} y") == "x  y"


@pytest.mark.parametrize("text", [SECRET[:-1], SECRET[1:], SECRET.lower(), SECRET[:20] + "-" + SECRET[20:], ""])
def test_what_is_not_the_value_is_left(text: str) -> None:
    assert spans([SECRET], f"({text})") == []


@pytest.mark.parametrize(
    "value", ["", "short", "postgres", "Administrator"[:9], "aaaaaaaaaaaa", "1212121212", "   a  "]
)
def test_values_that_would_be_found_in_every_text_are_not_looked_for(value: str) -> None:
    assert KnownValues({value: "x"}).values == ()


def test_each_is_told_by_its_number() -> None:
    values = [SECRET, SECRET + "-longer", "Sommer77"]
    found = spans(values, f"Sommer77 {SECRET}-longer {SECRET}")
    assert {number for *_, number in found} == {0, 1, 2}


@given(st.lists(st.text(min_size=8, max_size=30), max_size=4, unique=True), st.lists(st.text(max_size=30), max_size=6))
def test_no_value_is_left_anywhere(values: list[str], others: list[str]) -> None:
    known = KnownValues(dict.fromkeys(values, "x"))
    text = "|".join([*others, *values, *reversed(others), *values])
    found = spans(values, text)
    assert all(0 <= start < end <= len(text) for start, end, _ in found)
    for value in known.values:
        start = text.find(value)
        while start >= 0:
            assert any(begin < start + len(value) and start < end for begin, end, _ in found)
            start = text.find(value, start + 1)


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("between", ["", "\n", " " * 60, "\0" * 64, "A", "=" * 3])
def test_a_text_made_of_its_pieces_is_not_slow(between: str) -> None:
    encoded = base64.b64encode(SECRET.encode()).decode()
    for piece in (SECRET[:8], SECRET[8:16], SECRET[:-1], encoded[:8], encoded, SECRET):
        spans([SECRET, "a" + SECRET], (piece + between) * (300_000 // len(piece + between)))
    spans([SECRET], between.join(SECRET for _ in range(5_000)))
