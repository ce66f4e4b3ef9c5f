"""Says in one pass over a text which of many literals occur where, and finds tokens near their marks. No I/O.

Aho-Corasick, so that the time is linear in the text whatever it is. Of the libraries that do it, measured over 1 MiB
of English and 230 literals: ahocorasick_rs takes 3 ms, builds in 3 ms at most and imports in 1; hyperscan is as fast,
takes more memory, and its newest version has no wheel for Linux on ARM; pyahocorasick takes 25 ms, RE2 says which but
not where, or takes 60 ms, and ``re`` 300 ms.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from mcpbox.detect.tokens import TOKENS, Format, compiled

if TYPE_CHECKING:
    from ahocorasick_rs import BytesAhoCorasick

#: Longer literals are looked for by their first bytes, to keep the automaton small.
_HEAD = 32
#: Where a format's marks stand closer than this on the average, its pattern goes over the whole of a long text.
_DENSE, _LONG = 64, 4096
#: Bytes of a text from which on the dense form of an automaton pays: of 770 literals it takes 4 ms to build instead of
#: 1, 5 MB more, and 2 ms instead of 3 for 1 MiB of text.
_WORTH = 256 << 10
#: Letters, digits, "-" and "_" in a row that every token has whose mark is too common to be looked for.
NEAR_RUN = 27
#: A mark as long as this is hardly ever anything else.
_TELLING = 4


class Literals:
    """Finds each of ``literals``."""

    def __init__(self, literals: Sequence[str]) -> None:
        if not all(literals):
            raise ValueError("an empty literal occurs everywhere")
        self._literals = tuple(literals)
        self._long = frozenset(i for i, each in enumerate(literals) if len(encoded(each)) > _HEAD)
        self._dense = False
        self._automaton = _automaton(self._literals, self._dense)

    def find(self, text: str) -> list[tuple[int, int]]:
        """Index and start of every occurrence, by their start."""
        data = encoded(text)
        if len(data) >= _WORTH and not self._dense:
            self._dense = True
            self._automaton = _automaton(self._literals, self._dense)
        hits = [(index, start) for index, start, _ in self._automaton.find_matches_as_indexes(data, True)]
        if not hits:
            return hits
        hits.sort(key=itemgetter(1))
        if len(data) != len(text):
            hits = _in_characters(hits, data)
        if not self._long:
            return hits
        return [hit for hit in hits if hit[0] not in self._long or text.startswith(self._literals[hit[0]], hit[1])]

    def may_occur(self, data: bytes) -> bool:
        """Whether any of them could be in what ``data`` is the UTF-8 of."""
        return bool(self._automaton.find_matches_as_indexes(data))


class Found(NamedTuple):
    """What is in a text: ``tokens`` as detect.tokens.scan has them, ``literals`` as Literals.find does.

    ``loose`` are the formats that begin with a mark of some length, and where it stands without being that of a token.
    """

    tokens: list[tuple[int, int, str]]
    literals: list[tuple[int, int]]
    loose: list[tuple[Format, int]]


class Engine:
    """Finds tokens of every known format, and literals of the caller's, in one pass."""

    def __init__(self, literals: Sequence[str]) -> None:
        rows: dict[str, list[int]] = {}
        for number, row in enumerate(TOKENS):
            for mark in () if row.near else row.marks:
                rows.setdefault(mark, []).append(number)
        self._rows = tuple(map(tuple, rows.values()))
        self._near = [(number, re.compile(row.near)) for number, row in enumerate(TOKENS) if row.near]
        self._near_bytes = [re.compile(row.near.encode()) for row in TOKENS if row.near]
        self._literals = Literals([*rows, *literals])

    def may_find(self, data: bytes) -> bool:
        """Whether ``find`` could find a token or a literal in what ``data`` is the UTF-8 of."""
        for pattern in self._near_bytes:
            if pattern.search(data):
                return True
        return self._literals.may_occur(data)

    def find(self, text: str, *, near: bool = True) -> Found:
        """Every token and every literal in ``text``; ``near`` is False where nothing in it is as long as NEAR_RUN."""
        marks: dict[int, list[int]] = {}
        literals = []
        count = len(self._rows)
        for index, start in self._literals.find(text):
            if index >= count:
                literals.append((index - count, start))
                continue
            for row in self._rows[index]:
                marks.setdefault(row, []).append(start)
        for row, pattern in self._near if near else ():
            if starts := [match.start() for match in pattern.finditer(text)]:
                marks[row] = starts
        loose: list[tuple[Format, int]] = []
        return Found(
            [each for row in sorted(marks) for each in _tokens(text, TOKENS[row], marks[row], loose)], literals, loose
        )


def _tokens(text: str, row: Format, marks: list[int], loose: list[tuple[Format, int]]) -> list[tuple[int, int, str]]:
    """The tokens of one format, the leftmost of those that overlap, whose marks are at ``marks``."""
    pattern = compiled(row)
    if len(text) > _LONG and len(marks) * _DENSE > len(text):
        return [(*match.span(), row.kind) for match in pattern.finditer(text)]
    least, most = row.before
    if most:
        marks = sorted({mark - before for mark in marks for before in range(least, most + 1)})
    telling = not most and min(map(len, row.marks)) >= _TELLING
    found = []
    end = 0
    for start in marks:
        if start < end:
            continue
        if match := pattern.match(text, start):
            found.append((*match.span(), row.kind))
            end = match.end()
        elif telling:
            loose.append((row, start))
    return found


def _automaton(literals: Sequence[str], dense: bool) -> BytesAhoCorasick:
    # A matter of milliseconds, and on the way of every start: nothing but a scan needs it.
    from ahocorasick_rs import BytesAhoCorasick, Implementation, MatchKind

    kind = Implementation.DFA if dense else Implementation.ContiguousNFA
    return BytesAhoCorasick([encoded(each)[:_HEAD] for each in literals], MatchKind.Standard, kind)


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _in_characters(hits: list[tuple[int, int]], data: bytes) -> list[tuple[int, int]]:
    """``hits`` with offsets in characters for those in bytes."""
    counted, at, moved = 0, 0, []
    for index, start in hits:
        counted += len(data[at:start].decode("utf-8", "surrogatepass"))
        at = start
        moved.append((index, counted))
    return moved
