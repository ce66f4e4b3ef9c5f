"""What mcpbox wrote down of commands loses the values, and nothing else of it."""

from __future__ import annotations

import json
from pathlib import Path

from mcpbox import paths
from mcpbox.journal import Journal
from mcpbox.migration import traces

VALUE = 'kö"9s8d7f6g5h4'
WHOLE = "--db=postgres://me:abc@h"


def test_a_log_keeps_its_records_and_remembered_commands_go(home: Path) -> None:
    journal = Journal("server", "s")
    journal.record({"event": "launch", "command": ["x", VALUE, WHOLE, "abc"]})
    starts = paths.private_dir(paths.state_dir() / "starts")
    (starts / "1.json").write_text(json.dumps(["x", VALUE], ensure_ascii=False))
    (starts / "2.json").write_text(json.dumps(["x", "abc"]))
    (paths.state_dir() / "crash.log").write_text(f"ValueError: {VALUE}\n")
    traces.erase([VALUE], {WHOLE: ["abc"]})
    # The log of a running session goes on where it was.
    journal.record({"event": "end"})
    first, second = map(json.loads, journal.path.read_text().splitlines())
    hidden = "*" * len(json.dumps(VALUE)[1:-1])
    assert first["command"] == ["x", hidden, "--db=postgres://me:***@h", "abc"]
    assert second["event"] == "end"
    assert [file.name for file in starts.iterdir()] == ["2.json"]
    assert (paths.state_dir() / "crash.log").read_text() == f"ValueError: {'*' * len(VALUE.encode())}\n"


def test_there_may_be_nothing(home: Path) -> None:
    traces.erase([VALUE], {})
    assert not paths.state_dir().exists()
