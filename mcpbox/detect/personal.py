"""Finds the numbers of payment cards, bank accounts and people, where the number itself proves what it is. No I/O.

Only what a checksum or a strict form bears out: e-mail addresses, telephone numbers and the national numbers with one
check digit and no form of their own would be found in every second table of order numbers. Numbers that processors
and standards publish for tests are nobody's, and are not found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date
from functools import cache

from msgspec import Struct

from mcpbox.patterns import lazily

#: ISO/IEC 7812 prefixes (first, last) of the issuers with the lengths of their numbers, as the issuers publish them.
#: Rare lengths that an ordinary long number could have are left out: of 13 and 18 digits, and Maestro.
ISSUERS = (
    ("34", "34", (15,)), ("37", "37", (15,)),  # American Express
    ("300", "305", (14,)), ("36", "36", (14,)), ("38", "39", (14,)),  # Diners Club
    ("4", "4", (16, 19)),  # Visa
    ("51", "55", (16,)), ("2221", "2720", (16,)),  # Mastercard
    ("6011", "6011", (16,)), ("644", "649", (16,)), ("65", "65", (16,)),  # Discover
    ("3528", "3589", (16,)),  # JCB
    ("62", "62", (16, 19)),  # UnionPay
    ("2200", "2204", (16,)),  # Mir
)  # fmt: skip

#: The length of an IBAN by country, from the registry of ISO 13616.
IBAN_LENGTHS = {
    country: int(length)
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FK FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV", 22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HU LB NI PL SV", 29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC",
        32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip

#: From the testing pages of card processors, and the examples of the IBAN registry and of the US administration.
PUBLISHED = frozenset(
    """4242424242424242 4000056655665556 4111111111111111 4012888888881881 4000000000000002 4000002500003155
    4000000000009995 4000000000003220 4000000000000077 5555555555554444 2223003122003222 5200828282828210
    5105105105105100 5424000000000015 2223000010309703 4007000000027 378282246310005 371449635398431 378734493671000
    6011111111111117 6011000990139424 6011981111111113 3056930009020004 36227206271667 30569309025904 38520000023237
    6555900000604105 3566002020360505 3530111333300000 6200000000000005 6200000000000047 6205500000000000004
    DE89370400440532013000 GB29NWBK60161331926819 GB82WEST12345698765432 GB33BUKB20201555555555 NL91ABNA0417164300
    FR1420041010050500013M02606 BE68539007547034 CH9300762011623852957 ES9121000418450200051332
    IT60X0542811101000000123456 AT611904300234573201 078051120 219099999""".split()
)


class Number(Struct, frozen=True):
    """One kind of number: where one may stand, and whether the text there, without its separators, is one."""

    kind: str
    pattern: re.Pattern[str]
    valid: Callable[[str], bool]
    #: the digits that it has at least, and a character that is always in it
    digits: int
    sign: bytes


def scan(text: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and kind of every such number in ``text``; those of two kinds may overlap."""
    # One byte for each character, so that places are the same; over most texts this is one pass without a match.
    data = text.encode("latin-1", "replace")
    classes = data.translate(_CLASSES)
    end = 0
    while (start := classes.find(b"x" * _SHORTEST, end)) >= 0:
        end = classes.find(b" ", start)
        end = len(text) if end < 0 else end
        part = data[start:end]
        digits = len(part) - len(part.translate(None, _DIGITS))
        for row in _numbers():
            if digits >= row.digits and row.sign in part:
                yield from _of(row, text, start, end)
        if digits >= _IBAN_DIGITS:
            yield from _ibans(text, start, end)


def may_be_in(data: bytes) -> bool:
    """Whether ``scan`` could find a number in a text that is a part of ``data``, in ASCII."""
    return len(data) - len(data.translate(None, _DIGITS)) >= _FEWEST_DIGITS and b"x" * _SHORTEST in data.translate(
        _CLASSES
    )


def _of(row: Number, text: str, start: int, end: int) -> Iterator[tuple[int, int, str]]:
    # What follows a number is looked at, two characters of it.
    while match := row.pattern.search(text, start, end + 2):
        bare = _SEPARATORS.sub("", match[0])
        found = bare not in PUBLISHED and row.valid(bare)
        if found:
            yield *match.span(), row.kind
        start = match.end() if found else match.start() + 1


def is_luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(doubled) + sum(map(int, digits[-1::-2]))) % 10 == 0


def is_card(digits: str) -> bool:
    # One digit over and over, or two: somebody filled a field.
    return len(set(digits)) > 2 and is_luhn(digits) and any(
        len(digits) in lengths and first <= digits[: len(first)] <= last for first, last, lengths in ISSUERS
    )  # fmt: skip


def is_iban(text: str) -> bool:
    """ISO 13616: ``text`` without spaces, with the length of its country and the check digits of ISO 7064 (mod 97)."""
    if IBAN_LENGTHS.get(text[:2]) != len(text):
        return False
    return int("".join(str(int(each, 36)) for each in text[4:] + text[:4])) % 97 == 1


def _is_ssn(digits: str) -> bool:
    """What the US administration has given out: no 000, 666 and 9xx, no group 00, no serial 0000."""
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000" and len(set(digits)) > 2


def _is_cpf(digits: str) -> bool:
    """Brazil, two check digits mod 11."""
    if len(set(digits)) == 1:
        return False
    first, second = (sum(int(each) * (n + 1 - i) for i, each in enumerate(digits[:n])) * 10 % 11 % 10 for n in (9, 10))
    return digits[9:] == f"{first}{second}"


def _is_ric(text: str) -> bool:
    """China, GB 11643: a place, the date of birth, and a check digit after ISO 7064 mod 11-2."""
    total = sum(int(each) * pow(2, 17 - i, 11) for i, each in enumerate(text[:17]))
    return _is_date(text[6:10], text[10:12], text[12:14]) and "10X98765432"[total % 11] == text[17]


def _is_nir(text: str) -> bool:
    """France: sex, year and month of birth, department, and the complement of it all mod 97."""
    month = int(text[3:5])
    number = text[:13].replace("2A", "19").replace("2B", "18")
    return (1 <= month <= 12 or 20 <= month <= 42) and 97 - int(number) % 97 == int(text[13:])


def _is_belgian(digits: str) -> bool:
    """Belgium: the date of birth, and the complement of what stands before mod 97, after 2000 with a 2 before it."""
    base, check = int(digits[:9]), int(digits[9:])
    return any(
        97 - (prefix + base) % 97 == check and _is_date(f"{century}{digits[:2]}", digits[2:4], digits[4:6])
        for prefix, century in ((0, 19), (2_000_000_000, 20))
    )


_ODD = dict(zip("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", (
    1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10,
    22, 25, 24, 23), strict=True))  # fmt: skip


def _is_codice_fiscale(text: str) -> bool:
    """Italy, decree of 23 December 1976: the last letter is of the sum of the others."""
    even = sum(int(each) if each.isdigit() else ord(each) - ord("A") for each in text[1:15:2])
    return chr(ord("A") + (even + sum(_ODD[each] for each in text[0:15:2])) % 26) == text[15]


def _is_date(year: str, month: str, day: str) -> bool:
    try:
        return 1900 <= date(int(year), int(month), int(day)).year <= 2099
    except ValueError:
        return False


_DIGITS = b"0123456789"
#: What numbers are written with, and the fewest characters of one.
_CLASSES = bytes(120 if chr(i) in "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ .-\u00a0" else 32 for i in range(256))
_SHORTEST = 11
#: Every country's has as many; Malta's may have letters in 20 of 31 places.
_IBAN_DIGITS = 7
#: Of all kinds the fewest.
_FEWEST_DIGITS = 7
_SEPARATORS = lazily("[ .\u00a0-]")
_IBAN = lazily(r"[A-Z]{2}[0-9]{2}(?=[ \u00a0]?[A-Z0-9]{4})")
#: Neither within a word or a number, nor within a longer one that dots and hyphens hold together (UUIDs, versions).
_BEFORE = r"(?<![A-Za-z0-9_])(?<![A-Za-z0-9][.,-])"
_AFTER = r"(?![A-Za-z0-9_]|[.,-][A-Za-z0-9])"


@cache
def _numbers() -> tuple[Number, ...]:
    def row(kind: str, digits: int, lead: str, rest: str, valid: Callable[[str], bool], sign: str = "") -> Number:
        # What must not stand before it is looked for behind the first character, so that `re` runs from one such
        # character to the next.
        before = rf"(?<![A-Za-z0-9_]{lead})(?<![A-Za-z0-9][.,-]{lead})"
        return Number(kind, re.compile(f"{lead}{before}{rest}{_AFTER}"), valid, digits, sign.encode())

    group = r"(?P=s)[0-9]"
    fours = rf"[0-9]{{3}}(?P<s>[ \u00a0-])[0-9]{{4}}(?:{group}{{4}}){{2}}"
    nir = rf"(?P<s> ?)[0-9]{{2}}{group}{{2}}(?P=s)(?:[0-9]{{2}}|2[AB])(?:{group}{{3}}){{2}}{group}{{2}}"
    return (
        # Of 19 digits without spaces UnionPay's alone: many identifiers have as many.
        row("card", 14, "[2-6]", "(?:[0-9]{13,15}|(?<=6)2[0-9]{17})", is_card),
        row("card", 14, "[2-6]", fours, is_card),
        row("card", 19, "[2-6]", f"{fours}{group}{{3}}", is_card),
        row("card", 14, "3", rf"[0-9]{{3}}(?P<s>[ \u00a0-])[0-9]{{6}}{group}{{4,5}}", is_card),
        row("us-ssn", 9, "[0-8]", "[0-9]{2}-[0-9]{2}-[0-9]{4}", _is_ssn, "-"),
        row("br-cpf", 11, "[0-9]", r"[0-9]{2}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}", _is_cpf, "-"),
        row("cn-ric", 17, "[1-8]", "[0-9]{5}(?:19|20)[0-9]{2}[01][0-9][0-3][0-9]{4}[0-9X]", _is_ric),
        row("fr-nir", 14, "[12]", nir, _is_nir),
        row("be-nn", 11, "[0-9]", r"[0-9]\.[0-9]{2}\.[0-9]{2}-[0-9]{3}\.[0-9]{2}", _is_belgian, "-"),
        row(
            "it-codice-fiscale", 7, "[A-Z]", "[A-Z]{5}[0-9]{2}[A-EHLMPRST][0-9]{2}[A-Z][0-9]{3}[A-Z]",
            _is_codice_fiscale,
        ),
    )  # fmt: skip


def _ibans(text: str, start: int, end: int) -> Iterator[tuple[int, int, str]]:
    """Bare or in groups of four; the country says where it ends."""
    for match in _IBAN.finditer(text, start, end):
        length = IBAN_LENGTHS.get(match[0][:2])
        if length and (whole := _iban_of(length).match(text, match.start())):
            bare = _SEPARATORS.sub("", whole[0])
            if bare not in PUBLISHED and is_iban(bare):
                yield *whole.span(), "iban"


@cache
def _iban_of(length: int) -> re.Pattern[str]:
    groups, rest = divmod(length - 4, 4)
    last = rf"[ \u00a0][A-Z0-9]{{{rest}}}" if rest else ""
    grouped = rf"[A-Z0-9]{{4}}(?:[ \u00a0][A-Z0-9]{{4}}){{{groups}}}{last}"
    return re.compile(rf"{_BEFORE}(?:[A-Z0-9]{{{length}}}|{grouped}){_AFTER}")
