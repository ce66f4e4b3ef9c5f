"""What mcpbox wrote down of commands loses the values, and nothing else of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mcpbox import paths
from mcpbox.audit.verify import verify
from mcpbox.audit.writer import Log
from mcpbox.errors import McpboxError
from mcpbox.hosts.values import escaped
from mcpbox.migration import traces

VALUE = 'kö"9s8d7f6g5h4'
WHOLE = "--db=postgres://me:abc@h"


def test_a_record_keeps_all_else_and_remembered_commands_go(home: Path) -> None:
    log = Log("server", "s", who={"command": ["x", VALUE, WHOLE, "abc"]})
    log.record({"event": "end"})
    starts = paths.private_dir(paths.state_dir() / "starts")
    (starts / "1.json").write_text(json.dumps(["x", VALUE], ensure_ascii=False))
    (starts / "2.json").write_text(json.dumps(["x", "abc"]))
    (paths.state_dir() / "crash.log").write_text(f"ValueError: {VALUE}\n")
    with pytest.raises(McpboxError, match="the record of a running server has a value that was moved"):
        traces.erase([VALUE], {WHOLE: ["abc"]})
    log.close()
    traces.erase([VALUE], {WHOLE: ["abc"]})
    first, second = map(json.loads, log.path.read_text().splitlines())
    hidden = "*" * len(escaped(VALUE).encode())
    assert first["command"] == ["x", hidden, "--db=postgres://me:***@h", "abc"]
    assert second["event"] == "end"
    assert verify().problems == []
    assert [file.name for file in starts.iterdir()] == ["2.json"]
    assert (paths.state_dir() / "crash.log").read_text() == f"ValueError: {'*' * len(VALUE.encode())}\n"


def test_json_within_a_record_loses_them_too(home: Path) -> None:
    log = Log("server", "s", who={}, content="full")
    log.record({"event": "call"}, {"arguments": {"password": VALUE}})
    log.close()
    traces.erase([VALUE], {})
    (record,) = map(json.loads, log.path.read_text().splitlines())
    assert set(json.loads(record["content"])["arguments"]["password"]) == {"*"}
    assert verify().problems == []


def test_there_may_be_nothing(home: Path) -> None:
    traces.erase([VALUE], {})
    assert not paths.state_dir().exists()
