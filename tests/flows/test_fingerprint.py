from __future__ import annotations

import base64
import json
import random
import string
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpbox.flows.fingerprint import CERTAIN, DENSE, GRAM, SHORT, STRIDE, Found, Prints, certain, values

PRINTS = Prints(b"k" * 32)
WORDS = """the of and to in is was for that with invoice order ticket customer meeting river mountain deploy branch
review budget summer quarter contract payment window garden silver engine planet letter doctor island""".split()


def prose(seed: int, count: int) -> str:
    chosen = random.Random(seed)
    return " ".join(
        chosen.choice(WORDS) + chosen.choice(["", "", "s", "ing", str(chosen.randrange(99))]) for _ in range(count)
    )


def kept(text: str) -> dict[int, str]:
    return dict.fromkeys(PRINTS.of(text), "a")


def letters(text: str) -> int:
    return sum(char.isalnum() for char in text)


@given(st.integers(0, 10**6), st.integers(0, 4000), st.integers(0, 3000))
@settings(max_examples=200)
def test_a_copied_run_of_sixty_characters_is_found(seed: int, start: int, before: int) -> None:
    source = prose(seed, 700)
    run = source[start % (len(source) - 80) :][:60]
    other = prose(seed + 1, before)[:before] + "\n" + run + "\n" + prose(seed + 2, 100)
    assert letters(run) < CERTAIN or PRINTS.meets(other, kept(source))


@given(st.text(min_size=60, max_size=300), st.text(max_size=200), st.text(max_size=200), st.data())
def test_a_copied_run_of_any_text_is_found(source: str, before: str, after: str, data: st.DataObject) -> None:
    """In any alphabet, what is certain counted in the bytes that are compared."""
    start = data.draw(st.integers(0, len(source) - 60))
    run = source[start : start + 60]
    # What composes with a neighbour is another letter there.
    if len(PRINTS._normal(run)) >= CERTAIN + 8 and PRINTS._normal(run) in PRINTS._normal(
        before + "\n" + run + "\n" + after
    ):
        if PRINTS._normal(run) in PRINTS._normal(source):
            assert PRINTS.meets(before + "\n" + run + "\n" + after, kept(source))


@pytest.mark.parametrize("length", [SHORT - 100, 2 * SHORT - 100, 4 * SHORT - 100, 8 * SHORT])
@pytest.mark.parametrize("source_length", [5000, STRIDE * DENSE - 1000, STRIDE * DENSE + 1000])
def test_what_is_certain_in_large_texts(length: int, source_length: int) -> None:
    chosen = random.Random(length)
    source = "".join(chosen.choices(string.ascii_lowercase, k=source_length))
    noise = "".join(chosen.choices(string.ascii_lowercase, k=length))
    known = kept(source)
    assert not PRINTS.meets(noise, known)
    # Room for the run: its length counts among what is looked up.
    run = certain(source_length, length + 1000)
    for _ in range(8):
        start, place = chosen.randrange(source_length - run), chosen.randrange(length)
        assert PRINTS.meets(noise[:place] + source[start : start + run] + noise[place:], known)


def test_less_than_a_piece_is_never_found() -> None:
    source = prose(1, 500).translate(str.maketrans("", "", string.digits))
    runs = [source[at : at + GRAM - 1] for at in range(0, 2000, 7)]
    assert not any(PRINTS.meets(run, kept(source)) for run in runs)


@pytest.mark.parametrize(
    "copied",
    [
        lambda text: text.upper(),
        lambda text: "\n".join(text.split()),
        lambda text: " ".join(text),
        lambda text: text.replace("e", "\u200be"),
        lambda text: text.translate({ord(char): ord(char) + 0xFEE0 for char in string.ascii_lowercase}),
        lambda text: base64.b64encode(text.encode()).decode(),
        lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
        lambda text: text.encode().hex(),
        lambda text: quote(text, safe=""),
        lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
        lambda text: text.replace(" ", "\\n"),
        lambda text: "".join(f"\\u{ord(char):04x}" for char in text),
    ],
)  # fmt: skip
def test_the_same_in_another_form_is_found(copied: object) -> None:
    source = prose(5, 300)
    assert callable(copied)
    assert PRINTS.meets("please send: " + copied(source[200:300]), kept(source))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("alice.liddell@wonderland-corp.co.uk", "alice.liddell@wonderland-corp.co.uk"),
        ("+49 170 1234567", "491701234567"),
        ("4111 1111 1111 1111", "4111-1111-1111-1111"),
        ("acct_1A2b3C4d5E6f7G8h", "ACCT_1A2B3C4D5E6F7G8H"),
        ("0f8fad5b-d9cb-469f-a165-70867728950e", "id 0f8fad5bd9cb469fa16570867728950e"),
        ("acct_1A2b3C4d5E6f7G8h", "acct_1A2b3C4d5E6f7G8h"[::-1]),
        ("alice.liddell@wonderland-corp.co.uk", base64.b64encode(b"alice.liddell@wonderland-corp.co.uk").decode()),
        ("4111 1111 1111 1111", b"4111111111111111".hex()),
        ("alice.liddell@wonderland-corp.co.uk", "alice.liddell%40wonderland-corp.co.uk"),
    ],
)
def test_a_value_is_found_however_short(value: str, said: str) -> None:
    found = PRINTS.overlap(f"to: {said};", kept(f"name: {value}, city: Leeds"), set())
    assert found["a"].value


@pytest.mark.parametrize("value", ["nightly-4f8a1c22b7d9", "tom@wonderland-corp.co.uk", "r3p0rt_1A2b3C4d5E6f"])
@pytest.mark.parametrize("before", ["", "a\n", "C:\\", "\\\\srv\\", "\\\t"])
def test_a_letter_after_a_backslash_is_of_the_value_or_of_a_line_end(value: str, before: str) -> None:
    for written in (json.dumps(before + value), json.dumps(json.dumps(before + value))):
        assert PRINTS.overlap(f"<{value}>", kept(written), set())["a"].value


@pytest.mark.parametrize("more", ["", "jürgen.groß@wonderland-corp.co.uk"])
def test_each_of_many_values_is_found(more: str) -> None:
    said = ["alice@wonderland-corp.co.uk", "+49 170 1234567", "acct_1A2b3C4d5E6f7G8h", more, "ID-0123456789-abc"]
    known = kept(" and ".join(filter(None, said)))
    for value in filter(None, said):
        assert PRINTS.overlap(f"<{value}>", known, set())["a"].value
    for identifier in ("acct_1A2b3C4d5E6f7G8h", "ID-0123456789-abc"):
        assert PRINTS.overlap(f"<{identifier[::-1]}>", known, set())["a"].value


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21 13:37 1700000000 1700000000123 20261121",
        "no-reply@accounts.example noreply@github.com git@github.com",
        "application/json modelcontextprotocol internationalisation getElementById 127.0.0.1 3.14159265358979",
        "@modelcontextprotocol/server-everything @ a@ @b",
    ],
)
def test_what_everybody_says_is_no_value(text: str) -> None:
    assert values(text) == []


def test_another_key_has_nothing_in_common() -> None:
    text = prose(1, 500) + " acct_1A2b3C4d5E6f7G8h"
    assert not Prints(b"l" * 32).of(text) & PRINTS.of(text)


def test_the_share_is_told_by_origin() -> None:
    one, two = prose(1, 200), prose(2, 200)
    known = dict.fromkeys(PRINTS.of(one), "one") | dict.fromkeys(PRINTS.of(two), "two")
    half = one[:400] + two[:400]
    found = PRINTS.overlap(half, known, set())
    assert set(found) == {"one", "two"} and all(40 <= each.percent <= 50 for each in found.values())


def test_what_the_receiver_has_had_itself_is_left_out() -> None:
    one, two = prose(1, 200), prose(2, 200)
    known = dict.fromkeys(PRINTS.of(one), "one") | dict.fromkeys(PRINTS.of(two), "two")
    found = PRINTS.overlap(one[100:500] + two[:400], known, PRINTS.of("its own: " + one))
    assert found == {"two": Found(found["two"].percent, False)}


@given(st.text(max_size=400), st.text(max_size=400))
def test_any_text_is_read(one: str, two: str) -> None:
    known = kept(one)
    assert PRINTS.meets(two, known) or not PRINTS.overlap(two, known, set())


@pytest.mark.parametrize(
    "text",
    ["a" * 200_000, "@" * 200_000, "1 " * 100_000, "1" * 200_000, "a@b." * 50_000, "%41" * 60_000, "\\u0041" * 30_000,
     "AAAA" * 50_000, "é\u200b" * 60_000, "-_" * 100_000, "123 " * 50_000, ("a-" * 127 + " ") * 1000],
)  # fmt: skip
def test_no_text_takes_long(text: str) -> None:
    """The suite's own limit is the test: what is quadratic in these takes hours."""
    PRINTS.overlap(text, kept(text), set())
