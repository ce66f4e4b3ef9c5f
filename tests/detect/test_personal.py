from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpbox.detect import personal

#: Made for these tests: valid by their check digits, and nobody's as far as anybody knows.
GOOD = {
    "card": ["4539578763621486", "4539 5787 6362 1486", "4539-5787-6362-1486", "371449735398439", "3714 497353 98439",
             "36006666333344", "2720992593319364"],
    "iban": ["DE75512108001245126199", "DE75 5121 0800 1245 1261 99", "GB33 BUKB 2020 1555 5555 63",
             "NO8330001234567", "MT31MALT01100000000000000000123"],
    "us-ssn": ["536-90-4399"],
    "br-cpf": ["390.533.447-05"],
    "cn-ric": ["360426199101010071"],
    "fr-nir": ["295109912611193", "2 95 10 99 126 111 93"],
    "be-nn": ["85.07.30-033.28", "00.01.25-567.77"],
    "it-codice-fiscale": ["RCCMNL83S18D969H"],
}  # fmt: skip
#: The check digits of cards and IBANs are mended, so that the list above need not be trusted.
CASES = [(kind, text) for kind, texts in GOOD.items() for text in texts]


def mended(kind: str, text: str) -> str:
    if kind == "card":
        for last in "0123456789":
            if personal.is_luhn(re.sub("[ -]", "", text[:-1]) + last):
                return text[:-1] + last
    if kind == "iban":
        bare = text.replace(" ", "")
        check = 98 - int("".join(str(int(each, 36)) for each in bare[4:] + bare[:2] + "00")) % 97
        return text[:2] + f"{check:02}" + text[4:]
    return text


@pytest.mark.parametrize(("kind", "text"), CASES)
@pytest.mark.parametrize(
    ("before", "after"),
    [("", ""), ("pay with ", "."), ("x: ", ", thanks"), ('{"n":"', '"}'), ("(", ")"), ("é", "\n"), ("n=", "&m=1")],
)
def test_a_valid_number_is_found_as_it_stands(kind: str, text: str, before: str, after: str) -> None:
    text = mended(kind, text)
    found = set(personal.scan(before + text + after))
    assert (len(before), len(before) + len(text), kind) in found


@pytest.mark.parametrize(("kind", "text"), CASES)
def test_a_wrong_check_digit_or_a_longer_word_is_not_one(kind: str, text: str) -> None:
    text = mended(kind, text)
    around = [f"a{text}", f"{text}a", f"1{text}", f"{text}1", f"{text}_", f"1.{text}", f"ab-{text}", f"{text}-4"]
    for each in around:
        assert kind not in {found for *_, found in personal.scan(each)}, each
    if kind != "us-ssn":
        place = max(i for i, each in enumerate(text) if each.isdigit())
        for digit in set("0123456789") - {text[place]}:
            changed = text[:place] + digit + text[place + 1 :]
            assert kind not in {found for *_, found in personal.scan(changed)}, changed


@pytest.mark.parametrize(
    "text",
    [
        "4242424242424242", "4111 1111 1111 1111", "4444444444444448", "DE89 3704 0044 0532 0130 00",
        "1763731200000", "1763731200000000", "1763731200000000000", "2026-11-21T13:52:19.123456Z",
        "550e8400-e29b-41d4-a716-446655440000", "4539578763621486abcdef", "0.4539578763621486", "v4.539.578-76",
        "da39a3ee5e6b4b0d3255bfef95601890afd80709", "000-12-3456", "666-12-3456", "900-12-3456", "078-05-1120",
        "123-00-4567", "123-45-0000", "555-867-5309", "+1 202 555 0134", "XX75512108001245126199",
        "111.111.111-11", "12345678901234567890", "192.168.100.200-11", "360426199113010071", "",
    ],
)  # fmt: skip
def test_what_only_looks_like_a_number_of_somebody_is_not_found(text: str) -> None:
    assert list(personal.scan(text)) == []


def test_a_number_is_found_next_to_others() -> None:
    for text in ("4539 5787 6362 1486 124", "9999 4539 5787 6362 1486", "2000 4539 5787 6362 1486 0526"):
        start = text.index("4539")
        assert list(personal.scan(text)) == [(start, start + 19, "card")]


@given(st.text("0123456789 -.ABXCD", max_size=200) | st.text(max_size=100))
def test_no_text_raises_and_spans_are_within_it(text: str) -> None:
    for start, end, _ in personal.scan(text):
        assert 0 <= start < end <= len(text)


def test_of_random_digits_few_are_found() -> None:
    rng = random.Random(7)
    numbers = [str(rng.randrange(10 ** (length - 1), 10**length)) for length in range(8, 21) for _ in range(2000)]
    assert len(list(personal.scan("\n".join(numbers)))) < len(numbers) / 100


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize(
    "unit", ["4", "4 ", "4-", "1.", "DE75 ", "DE75", "AB12 CD34 ", "123-45-", "A", "390.", "4539 ", "2 9", "GB33BUKB"]
)
@pytest.mark.parametrize("scan", [personal.scan])
def test_no_repetition_is_slow(unit: str, scan: Callable[[str], Iterator[object]]) -> None:
    list(scan(unit * (400_000 // len(unit))))
