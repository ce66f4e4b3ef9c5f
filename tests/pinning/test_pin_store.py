from __future__ import annotations

import os
import select
import sqlite3
import stat
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from pinning.sightings import sight, tool

from mcpbox.errors import McpboxError
from mcpbox.pinning import store
from mcpbox.pinning.store import Store
from mcpbox.policy.base import Known, Sight


def statuses(pins: Store, server: str = "s") -> dict[str, str]:
    return {pin.name: pin.status for pin in pins.pins(server)}


def test_the_first_page_about_a_server_is_pinned_and_a_second_listing_is_not(pins: Store) -> None:
    assert sight(pins, tool("a")) == Sight(new=True, first=True)
    assert sight(pins, tool("a"), tool("b")) == Sight(new=False, first=False)
    assert statuses(pins) == {"a": "approved", "b": "new"}


def test_a_further_page_of_the_first_listing_is_pinned(pins: Store) -> None:
    sight(pins, tool("a"))
    sight(pins, tool("b"), begins=False, first=True)
    assert statuses(pins) == {"a": "approved", "b": "approved"}


@pytest.mark.parametrize(
    ("then", "now", "first", "status"),
    [("", "", False, "new"), ("tree:1", "tree:1", False, "approved"), ("tree:1", "tree:2", False, "new"),
     ("", "tree:1", False, "new"), ("", "", True, "approved")],
)  # fmt: skip
def test_a_kind_that_was_never_listed_is_pinned_only_for_the_same_code_or_session(
    pins: Store, then: str, now: str, first: bool, status: str
) -> None:
    sight(pins, tool("a"), lock=then)
    sight(pins, tool("p"), kind="prompt", lock=now, first=first)
    assert statuses(pins)["p"] == status


def test_a_session_that_ends_before_its_first_list_leaves_the_first_to_the_next(pins: Store) -> None:
    sight(pins, kind="instructions")
    assert sight(pins, tool("a"), lock="tree:2") == Sight(new=True, first=True)
    assert sight(pins, tool("p"), kind="prompt", lock="tree:2") == Sight(new=False, first=False)
    assert sight(pins, tool("t"), kind="resource-template", first=True) == Sight(new=False, first=True)


def test_waiting_pins_nothing_not_even_later(pins: Store) -> None:
    sight(pins, tool("a"), pin=False, lock="tree:1")
    sight(pins, tool("a"), tool("b"), lock="tree:1")
    assert statuses(pins) == {"a": "new", "b": "new"}


def test_what_was_shown_is_approved_and_not_what_came_since(pins: Store) -> None:
    sight(pins, tool("a"))
    sight(pins, changed := tool("a", "2"))
    sight(pins, tool("a", "3"))
    assert pins.approve("s", [("tool", "a", changed.digest)], by="user") == 0
    assert pins.approve("s", [("tool", "a", tool("a", "3").digest)], by="user") == 1
    (pin,) = pins.pins("s")
    assert (pin.status, pin.by, pin.approved, pin.pending) == ("approved", "user", tool("a", "3").digest, "")


def test_what_is_revoked_waits_again(pins: Store) -> None:
    sight(pins, tool("a"))
    assert pins.revoke("s", [("tool", "a"), ("tool", "b")]) == 1
    assert statuses(pins) == {"a": "new"}
    assert pins.approve("s", [("tool", "a", tool("a").digest)], by="user") == 1
    assert pins.pins("s")[0].approved_text == '{"name": "a", "description": ""}'


def test_a_server_that_returns_to_what_was_approved_has_nothing_waiting(pins: Store) -> None:
    sight(pins, tool("a"))
    sight(pins, tool("a", "2"))
    sight(pins, tool("a", "2"), tool("a"))
    assert statuses(pins) == {"a": "changed"}
    sight(pins, tool("a"))
    assert statuses(pins) == {"a": "approved"}


def test_what_waits_makes_room_and_what_is_approved_does_not(pins: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MAX_DEFINITIONS", 3)
    sight(pins, tool("a"), tool("b"))
    sight(pins, tool("c"))
    sight(pins, tool("d"))
    assert statuses(pins) == {"a": "approved", "b": "approved", "d": "new"}
    with pytest.raises(store.TooMuch, match="more than 3 definitions"):
        sight(pins, *(tool(str(number)) for number in range(4)), server="other")
    assert statuses(pins, "other") == {} and pins.servers() == ["s"]


def test_the_size_is_bounded_too(pins: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MAX_BYTES", 1000)
    with pytest.raises(store.TooMuch):
        sight(pins, tool("a", "x" * 1000))
    sight(pins, tool("a", "x" * 500))
    sight(pins, tool("b", "y" * 500))
    assert statuses(pins) == {"a": "approved"}


def test_another_process_s_approval_shows_in_the_version(pins: Store) -> None:
    sight(pins, tool("a"), pin=False)
    before = pins.version()
    assert pins.version() == before
    other = store.open_store()
    other.approve("s", [("tool", "a", tool("a").digest)], by="user")
    other.close()
    assert pins.version() != before
    assert pins.known("s").approved == {("tool", "a"): tool("a").digest}


def test_what_another_program_wrote_shows_in_the_version_after_a_while(
    pins: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sight(pins, tool("a"))
    before = pins.version()
    with sqlite3.connect(store.file()) as database:
        database.execute("DELETE FROM definitions")
    database.close()
    monkeypatch.setattr(store, "AGAIN", 0)
    assert pins.version() != before


def test_a_page_that_was_removed_is_made_anew_and_a_damaged_one_says_what_mends_it(
    pins: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = pins.version()
    page = store.file().with_suffix(".changes")
    page.unlink()
    other = store.open_store()
    sight(other, tool("a"))
    monkeypatch.setattr(store, "AGAIN", 0)
    assert pins.version() != before
    other.close()
    page.write_bytes(b"")
    with pytest.raises(McpboxError, match="damaged") as raised:
        store.open_store()
    assert "remove it" in raised.value.hint


def test_a_store_that_was_closed_answers_nothing(pins: Store) -> None:
    pins.version()
    pins.close()
    with pytest.raises(McpboxError, match="Cannot operate"):
        pins.version()


def test_neighbours_are_the_others_definitions(pins: Store) -> None:
    sight(pins, tool("a"))
    sight(pins, tool("x"), server="t")
    sight(pins, tool("w"), server="t")
    assert [row[:3] for row in pins.neighbours("s")] == [("t", "tool", "x")]


@pytest.mark.parametrize("name", ["", "a\0b", "'; DROP TABLE definitions; --", "é", "é", "\U000e0041", "x" * 5000])
def test_any_name_is_its_own(pins: Store, name: str) -> None:
    sight(pins, tool(name), tool("a"))
    assert set(pins.known("s").approved) == {("tool", name), ("tool", "a")}


def test_the_files_are_the_users_alone(pins: Store) -> None:
    sight(pins, tool("a"))
    files = sorted(path for path in store.file().parent.iterdir() if path.name.startswith("definitions"))
    assert [path.name for path in files] == [
        "definitions.changes", "definitions.db", "definitions.db-shm", "definitions.db-wal", "definitions.lock",
    ]  # fmt: skip
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_a_damaged_file_and_another_version_are_refused_with_what_mends_them(home: Path) -> None:
    store.file().parent.mkdir(mode=0o700, parents=True)
    store.file().write_bytes(b"not a database" * 100)
    with pytest.raises(McpboxError, match="not a database") as raised:
        store.open_store()
    assert "move it away" in raised.value.hint
    store.file().unlink()
    with sqlite3.connect(store.file()) as database:
        database.execute("PRAGMA user_version = 7")
    database.close()
    with pytest.raises(McpboxError, match="version 7: not accepted"):
        store.open_store()


SIGHTING = """
import os, sys
sys.path.insert(0, sys.argv[1])
from pinning.sightings import sight, tool
from mcpbox.pinning import store
sys.stdin.readline()
own = sys.argv[2]
pins = store.open_store()
first = sight(pins, *(tool(str(number), own * (number == 7)) for number in range(50)))
for turn in range(20):
    sight(pins, tool(f"{own}-{turn}"), server=f"own-{own}")
print(first.first, flush=True)
if own == "0":
    pins._db.execute("BEGIN IMMEDIATE")
    pins._db.execute("DELETE FROM definitions")
    os.kill(os.getpid(), 9)
"""


#: Approves and revokes, each time saying so when it is done.
DECIDING = """
import sys
sys.path.insert(0, sys.argv[1])
from pinning.sightings import sight, tool
from mcpbox.pinning import store
pins, own = store.open_store(), sys.argv[2]
sight(pins, tool("a"), server=own, pin=False)
for turn in range(int(sys.argv[3])):
    assert pins.approve(own, [("tool", "a", tool("a").digest)], by="user") == 1
    print("approved", flush=True)
    sys.stdin.readline()
    assert pins.revoke(own, [("tool", "a")]) == 1
    print("revoked", flush=True)
    sys.stdin.readline()
"""


def test_what_many_processes_decide_holds_as_soon_as_they_say_so(pins: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "AGAIN", 3600)
    words = [sys.executable, "-c", DECIDING, str(Path(__file__).parents[1])]
    remembered: dict[str, tuple[int, Known]] = {}
    with ExitStack() as stack:
        deciders = {
            process.stdout: (process, own)
            for own in "stu"
            for process in (
                stack.enter_context(
                    subprocess.Popen([*words, own, "60"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                ),
            )
            if process.stdout
        }
        said = 0
        while deciders:
            for readable in select.select(list(deciders), [], [])[0]:
                process, own = deciders[readable]
                if not (line := readable.readline().strip()):
                    del deciders[readable]
                    continue
                said += 1
                # As the policy does it.
                version = pins.version()
                if own not in remembered or remembered[own][0] != version:
                    remembered[own] = version, pins.known(own)
                assert (("tool", "a") in remembered[own][1].approved) == (line == "approved"), said
                assert process.stdin
                os.write(process.stdin.fileno(), b"\n")
    assert said == 3 * 120


def test_many_processes_at_once_have_one_first_and_a_killed_one_leaves_nothing_half_done(home: Path) -> None:
    words = [sys.executable, "-c", SIGHTING, str(Path(__file__).parents[1])]
    running = [
        subprocess.Popen([*words, str(own)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ)
        for own in range(6)
    ]
    for process in running:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate()[0].strip() for process in running]
    assert sorted(said) == ["False"] * 5 + ["True"]
    opened = store.open_store()
    found = statuses(opened)
    assert len(found) == 50 and found.pop("7") == "changed" and set(found.values()) == {"approved"}
    assert all(len(opened.pins(f"own-{own}")) == 20 for own in range(6))
    opened.close()
