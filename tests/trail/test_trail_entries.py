from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trail.records import LAUNCH, NASTY, ORDINARY, call, damaged, entries

from mcpbox.errors import UsageError
from mcpbox.trail import lines
from mcpbox.trail.entries import Entry, Filter, decision, merged, visible, when

NOW = datetime(2026, 11, 21, 13, 22, 3, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("30s", "2026-11-21T13:21:33.000005Z"),
        ("2h", "2026-11-21T11:22:03.000005Z"),
        ("7d", "2026-11-14T13:22:03.000005Z"),
        ("2026-11-20", "2026-11-20T00:00:00.000000Z"),
        ("2026-11-20T10:00", "2026-11-20T10:00:00.000000Z"),
        ("2026-11-20T10:00:00Z", "2026-11-20T10:00:00.000000Z"),
        ("2026-11-20T10:00:00+02:00", "2026-11-20T08:00:00.000000Z"),
    ],
)
def test_times_are_written_as_records_have_them(given: str, expected: str) -> None:
    assert when(given, NOW) == expected


@pytest.mark.parametrize("given", ["yesterday", "", "2h ago", "-2h", "999999w", "13:22", "2026-13-01", "٢h"])
def test_what_is_no_time_is_said_with_the_forms(given: str) -> None:
    with pytest.raises(UsageError) as caught:
        when(given, NOW)
    assert "is no time" in caught.value.message and "2h" in caught.value.hint


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Filter(), list(range(17))),
        (Filter(servers=("other",)), []),
        (Filter(servers=("other", "notes")), list(range(17))),
        (Filter(session="0123"), list(range(17))),
        (Filter(session="123"), []),
        (Filter(events=("call", "end")), [1, 2, 16]),
        (Filter(tool="delete_*"), [7]),
        (Filter(tool="*_note"), [2, 3, 7, 15]),
        (Filter(decision="deny"), [5, 7, 10, 11, 12]),
        (Filter(decision="allow"), [1, 2, 4, 14]),
        (Filter(decision="alert"), [9]),
        (Filter(since="2026-11-21T13:22:25.000000Z"), [13, 14, 16]),
        (Filter(until="2026-11-21T13:22:04.000000Z"), [0]),
        (Filter(tool="read_*", decision="allow"), [2]),
    ],
)
def test_what_is_chosen(wanted: Filter, expected: list[int]) -> None:
    assert [entry.record["seq"] for entry in entries(*ORDINARY) if wanted.takes(entry)] == expected


def test_sessions_are_put_into_one_order_and_opened_when_their_turn_comes() -> None:
    opened: list[str] = []

    def session(name: str, *seconds: int) -> Iterator[Entry]:
        opened.append(name)
        yield from entries(*(call(n, "x", second) for n, second in enumerate(seconds)), session=name)

    found = merged(session(*each) for each in (("a", 1, 5, 9), ("b", 2, 3), ("c", 20, 21), ("d", 30)))
    assert [(next(found).session) for _ in range(3)] == ["a", "b", "b"]
    assert opened == ["a", "b", "c"]
    assert [entry.session for entry in found] == ["a", "a", "c", "c", "d"]


@given(st.lists(st.lists(st.integers(0, 59), min_size=1, max_size=6), max_size=6))
def test_no_record_is_lost_and_a_session_stays_in_its_own_order(times: list[list[int]]) -> None:
    sessions = [
        entries(*(call(n, "x", second) for n, second in enumerate(seconds)), session=str(number))
        for number, seconds in enumerate(sorted(times))
    ]
    found = list(merged(map(iter, sessions)))
    assert len(found) == sum(map(len, times))
    for number, session in enumerate(sessions):
        assert [entry for entry in found if entry.session == str(number)] == session
    if all(seconds == sorted(seconds) for seconds in times):
        assert [entry.time for entry in found] == sorted(entry.time for entry in found)


def test_a_line_says_what_happened() -> None:
    found = {entry.record["seq"]: "|".join(lines.line(entry)) for entry in entries(*ORDINARY)}
    assert found[2] == "2026-11-21 13:22:10.000  notes            0123456789ab|call      |→ tools/call read_note 120 B"
    assert found[3].endswith("|result    |← response to tools/call read_note 90 B 1500 µs")
    assert found[15].endswith("1500 µs failed")
    assert "|egress    |deny evil.example:443 rule=evil.example" in found[5]
    assert 'reason="no rule names evil.example"' in found[5]
    assert found[16].endswith("|end       |code=0")
    assert "prev=" not in found[0] and "package=npm:notes@1.2.3" in found[0]


def test_colours_are_those_of_decisions() -> None:
    found = [lines.colour(entry) for entry in entries(*ORDINARY)]
    assert found[:2] == ["", "green"] and (found[5], found[8], found[9]) == ("red", "yellow", "yellow")


def test_no_line_has_what_a_terminal_obeys_whatever_is_in_a_record() -> None:
    for entry in damaged():
        lead, event, rest = lines.line(entry)
        assert (lead + event + rest).isprintable()
        assert decision(entry.record) in ("", "allow", "deny", "changed", "alert")


@pytest.mark.parametrize("text", NASTY)
def test_what_is_shown_stays_what_it_is_where_it_can(text: str) -> None:
    assert visible(text).isprintable()
    if text.isprintable() and len(text) < 500:
        assert visible(text) == text


def test_filters_take_damaged_records_without_complaint() -> None:
    wanted = Filter(servers=("notes",), session="01", since="2026", until="2027", tool="*", decision="allow")
    records: list[Any] = [wanted.takes(entry) for entry in damaged()]
    assert set(records) == {True, False}
    assert not wanted.takes(Entry("notes", "0", {}, LAUNCH))
