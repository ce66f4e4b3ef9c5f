"""Of the quick look at a message: what it passes over, the thorough one finds nothing in."""

from __future__ import annotations

import base64
import random
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from detect.fakes import fake
from hypothesis import example, given
from hypothesis import strategies as st

from mcpbox.detect.personal import scan
from mcpbox.detect.sensitive import Detector
from mcpbox.detect.tokens import TOKENS, Format

TOKEN = "ghp_" + "a1B2" * 9
CARD, IBAN = "4539 5787 6362 1486", "DE75 5121 0800 1245 1261 99"
#: As keyrings hold them: one that JSON writes as it is, and one that it does not.
PLAIN, QUOTED = "Zq8v/TnW3xK5m+R7yB2c", 'Zq8v"TnW3\\K5m\nR7yB2c'
PARTS = (
    *("text", "hello there ", "a", "ghp_", "@", "://", "sk-", "4539578763621486", "\n", "\u200b", "\x1b[8m", "é", "\\"),
    *(TOKEN, TOKEN[:9], TOKEN[9:], CARD, IBAN, PLAIN, PLAIN[::-1], PLAIN[:9], PLAIN[9:], quote(PLAIN, safe="")),
    *("https://me:pa55word@db.internal/x", base64.b64encode(f"key={TOKEN}".encode()).decode(), PLAIN.encode().hex()),
    base64.b64encode(PLAIN.encode()).decode(),
)
STRINGS = st.lists(st.sampled_from(PARTS), max_size=5).map("".join)
VALUES = st.recursive(
    st.one_of(STRINGS, st.integers(), st.just(4539578763621486), st.booleans()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(STRINGS, inner, max_size=3)),
    max_leaves=8,
)


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for name, inner in value.items() for text in (name, *strings(inner))]
    if isinstance(value, list):
        return [text for inner in value for text in strings(inner)]
    return [str(value)] if isinstance(value, str | int) else []


def is_found(detector: Detector, value: Any) -> bool:
    said = strings(value)
    ways = ((said, ()), ((), said), (said[:1], said[1:]))
    return any(detector.find(texts, others, secrets=True, numbers=True) for texts, others in ways)


@given(VALUES, st.sampled_from([{}, {PLAIN: "a/b"}, {QUOTED: "a/b"}, {"80211234567": "a/b"}]))
@example({"text": [TOKEN[:9], TOKEN[9:]]}, {})
@example(['"yx"x \\"\n1 1  "'], {'"yx"x\\"\n11"': "a/b"})
@example(["AK\u200bIAVXQZKWJHRTBNMPLD"], {})
@example(["AK\x7fIAVXQZKWJHRTBNMPLD"], {})
@example(["AK\x1b[8mIAVXQZKWJHRTBNMPLD"], {})
@example(["https://me:pa55word@db.internal/x"], {})
@example([base64.b64encode(f"key={TOKEN}".encode()).decode()], {})
@example([[80211234567]], {"80211234567": "a/b"})
def test_what_is_passed_over_has_nothing(value: Any, known: dict[str, str]) -> None:
    detector = Detector(known)
    if is_found(detector, value):
        assert detector.may_find(msgspec.json.encode(value))


@pytest.mark.parametrize("row", TOKENS, ids=lambda row: row.kind)
def test_no_token_is_passed_over(row: Format) -> None:
    rng = random.Random(row.kind)
    for _ in range(20):
        assert Detector({}).may_find(msgspec.json.encode({"a": [f"it is {fake(row.pattern, rng)}."]}))


@given(st.text(st.sampled_from("0123456789 .-\u00a0AX"), max_size=40))
def test_no_number_is_passed_over(text: str) -> None:
    if list(scan(text)):
        assert Detector({}).may_find(msgspec.json.encode(text))


@pytest.mark.parametrize("text", ["Echo: hello there, 42 times.", 'A line\nand "another"\t1,2', '{"ok": true}'])
def test_most_texts_are_passed_over(text: str) -> None:
    assert not Detector({PLAIN: "a/b"}).may_find(msgspec.json.encode({"content": [{"type": "text", "text": text}]}))
