from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trail.records import call, damaged, egress, entries, result

from mcpbox import paths
from mcpbox.errors import McpboxError
from mcpbox.trail import baseline, known
from mcpbox.trail.baseline import Baseline, Summary, Watch, deviations, history
from mcpbox.trail.observing import Observer

USUAL = (
    call(1, "list"),
    result(2, "list", 1),
    call(3, "read"),
    result(4, "read", 3),
    egress(5, "api.example.com", 443),
)


def summary(*records: dict[str, Any]) -> Summary:
    found = Summary()
    for record in records:
        found.add(record)
    return found


def grown(sessions: int, *records: dict[str, Any]) -> Baseline:
    found = Baseline()
    for _ in range(sessions):
        found.add(summary(*(records or USUAL)))
    return found


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        (USUAL, []),
        ((), []),
        ((*USUAL, call(6, "delete")), ["tool delete: the tool was never called in 3 sessions before"]),
        ((call(1, "read"),), ["order read: it was never called first in 3 sessions before"]),
        (
            (call(1, "list"), call(2, "list")),
            ["order list: it was never called after 'list' in 3 sessions before"],
        ),
        (
            (egress(1, "evil.example", 443),),
            ["host evil.example:443: the host was never reached in 3 sessions before"],
        ),
        ((egress(1, "evil.example", 443, decision="deny"),), []),
        (
            (call(1, "list"), result(2, "list", 1, bytes=5 << 20)),
            ["bytes list: a result of 5242880 bytes; never more than 90 in 3 sessions before"],
        ),
        (
            (call(1, "list"), call(2, "read"), *(call(n, "x") for n in range(60))),
            [
                "tool x: the tool was never called in 3 sessions before",
                "calls 62: never more than 2 calls in 3 sessions before",
            ],
        ),
    ],
)
def test_what_is_unlike_earlier_sessions(records: tuple[dict[str, Any], ...], expected: list[str]) -> None:
    found = deviations(grown(3), summary(*records))
    assert [f"{each.kind} {each.about}: {each.reason}" for each in found] == expected


def test_too_few_sessions_say_nothing_and_empty_ones_are_none() -> None:
    assert list(deviations(grown(2), summary(call(1, "delete")))) == []
    found = grown(2)
    found.add(summary())
    assert found.sessions == 2 and not found.ready


def test_each_session_is_held_against_those_before_it() -> None:
    sessions = [entries(*USUAL, session=str(number)) for number in range(4)]
    sessions.append(entries(*USUAL, call(6, "delete"), session="4"))
    sessions.append(entries(*USUAL, call(6, "delete"), session="5"))
    found = {session: [each.about for each in unlike] for session, unlike in history(sessions)}
    assert found == {"0": [], "1": [], "2": [], "3": [], "4": ["delete"], "5": []}


def test_a_new_tool_or_host_is_told_of_before_it_is_used_and_once() -> None:
    watch = Watch(grown(3))
    assert [watch.before(record) for record in USUAL] == [None] * len(USUAL)
    alert = watch.before(call(6, "delete"))
    assert alert and alert["event"] == "alert" and alert["policy"] == "Baseline"
    assert alert["reason"] == "never called in 3 sessions before: delete" and alert["message"] == "tools/call delete"
    assert watch.before(call(7, "delete")) is None
    alert = watch.before(egress(8, "evil.example", 443))
    assert alert and (alert["kind"], alert["about"]) == ("host", "evil.example:443")
    assert watch.before(egress(9, "evil.example", 443)) is None
    assert watch.summary.tools == {"list": 1, "read": 1, "delete": 2}


def test_a_server_that_invents_names_fills_nothing() -> None:
    found, watch = Baseline(), Watch(grown(3))
    alerts = 0
    for number in range(20_000):
        alerts += watch.before(call(number, f"tool{number}")) is not None
        alerts += watch.before(egress(number, f"h{number}.example", 443)) is not None
    assert alerts == baseline.MAX_TOLD
    found.add(watch.summary)
    assert len(found.tools) <= baseline.MAX_NAMES and len(found.pairs) <= baseline.MAX_PAIRS
    # What is not kept is not new.
    for _ in range(3):
        found.add(watch.summary)
    assert {each.kind for each in deviations(found, summary(call(1, "other")))} <= {"calls"}


def test_damaged_records_are_counted_without_complaint() -> None:
    watch = Watch(grown(3))
    for entry in damaged():
        watch.before(entry.record)
    found = grown(3)
    found.add(watch.summary)
    assert found.sessions == 4


@given(st.lists(st.sampled_from([*USUAL, call(9, "other"), egress(9, "x.org", 80)]), max_size=30))
def test_a_session_that_was_seen_is_not_unlike_the_others(records: list[dict[str, Any]]) -> None:
    found = grown(3)
    found.add(summary(*records))
    assert list(deviations(found, summary(*records))) == []


def test_what_is_known_is_kept_between_sessions() -> None:
    assert known.load("notes") == Baseline()
    for _ in range(3):
        known.add("notes", summary(*USUAL))
    assert known.load("notes") == grown(3)
    assert known.load("other") == Baseline()
    file = paths.state_dir() / "baselines" / "notes.json"
    assert file.parent.stat().st_mode & 0o077 == 0


def test_sessions_that_end_at_one_time_are_all_counted() -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: known.add("notes", summary(*USUAL)), range(40)))
    assert known.load("notes").sessions == 40


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', '{"version": 1, "more": 2}', "\0"])
def test_a_damaged_file_is_said_to_be_one_and_stops_no_session(text: str, home: Path) -> None:
    known.add("notes", summary(*USUAL))
    file = paths.state_dir() / "baselines" / "notes.json"
    file.write_text(text)
    with pytest.raises(McpboxError) as caught:
        known.load("notes")
    assert str(file) in caught.value.message and "remove it" in caught.value.hint
    told: list[Any] = []
    observer = Observer(lambda event, content=None: told.append(event), "notes", learn=False)
    observer.record(call(1, "list"))
    observer.end()
    assert [each["event"] for each in told] == ["alert", "call", "alert"]
    assert "not a baseline" in told[0]["reason"] and "not kept" in told[2]["reason"]
    assert file.read_text() == text


def test_what_cannot_be_recorded_does_not_happen() -> None:
    def full(event: Any, content: Any = None) -> None:
        raise OSError(28, "No space left on device")

    observer = Observer(full, "notes", learn=True)
    with pytest.raises(OSError):
        observer.record(call(1, "list"))
