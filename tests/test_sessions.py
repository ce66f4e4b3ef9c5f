"""The record of running sessions: what is alive is never taken for a leftover."""

from __future__ import annotations

import json
import threading

from mcpbox import sessions


def test_a_session_is_listed_while_it_lasts() -> None:
    session = sessions.begin("one", "none")
    session.remember({"extra": 1})
    (found,) = sessions.running()
    assert (found.id, found.record["name"], found.record["extra"]) == (session.id, "one", 1)
    assert sessions.reap() == []
    session.end()
    assert sessions.running() == []


def test_what_a_crash_leaves_is_reaped_once() -> None:
    session = sessions.begin("one", "none")
    (copy := session.directory.with_name("crashed")).mkdir()
    (copy / "lock").touch()
    (copy / "record.json").write_text(json.dumps({"name": "crashed"}))
    assert [reaped.record["name"] for reaped in sessions.reap()] == ["crashed"]
    assert sessions.reap() == [] and not copy.exists()
    assert [found.id for found in sessions.running()] == [session.id]
    session.end()


def test_nobody_reaps_a_session_that_begins() -> None:
    """Hosts start copies of one server at once, and each of them cleans up after crashes."""
    done = threading.Event()
    reaped: list[sessions.Session] = []

    def clean() -> None:
        while not done.is_set():
            reaped.extend(sessions.reap())

    cleaners = [threading.Thread(target=clean) for _ in range(2)]
    for cleaner in cleaners:
        cleaner.start()
    try:
        for number in range(300):
            session = sessions.begin(str(number), "none")
            session.remember({"started": 0})
            session.end()
    finally:
        done.set()
        for cleaner in cleaners:
            cleaner.join()
    assert reaped == []
