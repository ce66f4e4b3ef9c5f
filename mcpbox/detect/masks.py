"""What is put in the place of a secret: the kind of it and a number, the same for the same value. No I/O."""

from __future__ import annotations

import re

from mcpbox.patterns import lazily

#: Values that get a number in one session, and of those that can be put back how many characters in all.
MAX_NUMBERED, MAX_KEPT = 4096, 1 << 20

#: What a mask names, a secret or one of the numbers of ``detect.personal``: "<PR #12>" and "<li #3>" are none.
MASK = lazily(r"<(?:secret [A-Za-z0-9_./ -]{1,220}|card|iban|[a-z]{2}-[a-z-]{2,16}) #[0-9]{1,4}>")
_IN_URL = lazily("%3C(?:secret%20[A-Za-z0-9_./%-]{1,660}|card|iban|[a-z]{2}-[a-z-]{2,16})%20%23[0-9]{1,4}%3E")


class Masks:
    """The masks of one session; ``reversible`` if values are to be put back, for which they are kept."""

    def __init__(self, *, reversible: bool = False) -> None:
        self._reversible = reversible
        # By hash, so that what was masked does not stay in memory; Python's has a key of its own in each process.
        self._numbers: dict[tuple[str, int], int] = {}
        self._values: dict[str, str] = {}
        self._addresses: dict[str, str] = {}
        #: what the host was given in the place of the server's values, and cannot be turned back
        self._final: set[str] = set()
        self._kept = 0

    def mask(self, kind: str, value: str, *, back: bool = False) -> str:
        """The mask for ``value``; with ``back`` it is turned back if it is sent to the server, which sent it first."""
        key = kind, hash(value)
        number = self._numbers.get(key)
        if number is None:
            number = len(self._numbers) + 1 if len(self._numbers) < MAX_NUMBERED else 0
            if number:
                self._numbers[key] = number
        mask = f"<{kind} #{number}>"
        if back and mask not in self._values:
            if number and self._reversible and self._kept + len(value) <= MAX_KEPT:
                self._kept += len(value)
                self._values[mask] = self._values[in_url(mask)] = value
            else:
                self._final |= {mask, in_url(mask)}
        return mask

    def may_be_in(self, data: bytes) -> bool:
        """Whether a mask that somebody was given, or an address with one, can be in what ``data`` is the JSON of."""
        # Of a value that goes over the ends of strings only the first has the mask, and an address may be another.
        return bool(self._addresses) or ((b"<" in data or b"%3C" in data) and bool(self._final or self._values))

    def is_final(self, text: str) -> bool:
        """Whether there is a mask in ``text`` that stands for a value of the server's and cannot be turned back."""
        if not self._final or ("<" not in text and "%3C" not in text):
            return False
        found = (match[0] for pattern in (MASK, _IN_URL) for match in pattern.finditer(text))
        return not self._final.isdisjoint(found)

    @property
    def holds(self) -> bool:
        """Whether there is a mask that can be turned back."""
        return bool(self._values or self._addresses)

    def address(self, masked: str, plain: str) -> None:
        """The server gave one of its resources the address ``plain``, which the host knows as ``masked``."""
        size = len(masked) + len(plain)
        if masked not in self._addresses and self._kept + size <= MAX_KEPT:
            self._kept += size
            self._addresses[masked] = plain

    def addressed(self, masked: str) -> str | None:
        """The address of a resource that the server gave as its own, whether or not values are put back elsewhere."""
        return self._addresses.get(masked)

    def restored(self, text: str) -> tuple[str, int]:
        """``text`` with the values of the masks in it that can be turned back, and their number."""
        if not self._values or ("<" not in text and "%3C" not in text):
            return text, 0
        count = 0

        def value(match: re.Match[str]) -> str:
            nonlocal count
            found = self._values.get(match[0])
            count += found is not None
            return match[0] if found is None else found

        return _IN_URL.sub(value, MASK.sub(value, text)), count


def has_mask(text: str) -> bool:
    """Whether there is, or was said to be, a mask in it."""
    return ("<" in text and MASK.search(text) is not None) or ("%3C" in text and _IN_URL.search(text) is not None)


def in_url(mask: str) -> str:
    """As a URL has it (RFC 3986), which would not be one with blanks and brackets in it."""
    from urllib.parse import quote

    return quote(mask, safe="")
