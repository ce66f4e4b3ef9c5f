"""What its user has mcpbox do is on record before it is done, and nothing of it that is secret."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from mcpbox import cli, paths
from mcpbox.audit import ledger, reading
from mcpbox.audit.commanded import MAX_NAME, MAX_NAMED, NAME, commanded
from mcpbox.audit.verify import verify
from mcpbox.errors import McpboxError
from mcpbox.secrets import vault


def told() -> list[dict[str, Any]]:
    return [record for log in reading.sessions([NAME]) for record in log.records() if record["event"] == "command"]


def test_a_secret_that_is_set_is_on_record_without_its_value(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vault.create("key-file", key_file=home / "key")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"s3cret-value\n")))
    assert cli.run(["secrets", "set", "server/TOKEN", "--for", "npm:thing"]) == 0
    assert cli.run(["secrets", "rm", "server/TOKEN"]) == 0
    assert [(each["message"], each["about"]) for each in told()] == [
        ("secrets set server/TOKEN", ["npm:thing"]),
        ("secrets rm", ["server/TOKEN"]),
    ]
    assert all(b"s3cret" not in file.read_bytes() for file in paths.audit_dir().rglob("*.jsonl"))
    assert verify().problems == []


def test_what_cannot_be_put_on_record_is_not_done(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    vault.create("key-file", key_file=home / "key")
    commanded("first")
    ledger.file().write_bytes(b"")
    ledger.file().unlink()
    ledger.file().mkdir()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"s3cret-value\n")))
    assert cli.run(["secrets", "set", "server/TOKEN", "--for", "npm:thing"]) == 3
    assert cli.run(["secrets", "list", "--json"]) == 0
    with pytest.raises(McpboxError, match="cannot be put on record, so it is not done"):
        commanded("second")
    commanded("unprotect", undoing=True)
    assert "unprotect is not on record" in capsys.readouterr().err


def test_what_it_is_about_is_bounded() -> None:
    commanded("tools approve server", [f"tool {'n' * 10_000}{number}" for number in range(10_000)])
    (record,) = told()
    assert len(record["about"]) == MAX_NAMED and record["in_all"] == 10_000
    assert max(map(len, record["about"])) == MAX_NAME and len(json.dumps(record)) < 64 << 10
    assert verify().problems == []
