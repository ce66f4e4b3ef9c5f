"""What ``doctor`` says of the machine; of the backends, see the tests of each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mcpbox import paths
from mcpbox.audit import ledger
from mcpbox.cli import run
from mcpbox.secrets import vault


@pytest.mark.parametrize(
    ("sign", "events", "expected"),
    [
        ("auto", [], ("ok", "nothing is on record yet")),
        ("auto", [{"event": "open"}], ("degraded", "not signed yet")),
        ("auto", [{"event": "unsigned", "reason": "no\x1b[2Jkeyring"}], ("degraded", "not signed: no [2Jkeyring")),
        ("required", [{"event": "unsigned", "reason": "no keyring"}], ("missing", "not signed: no keyring")),
        (
            "auto",
            [{"event": "unsigned", "reason": "no"}, {"event": "signature"}, {"event": "open"}],
            ("ok", "signed, "),
        ),
        ("off", [{"event": "open"}], ("ok", "not signed: sign = ")),
        ("never", [], ("missing", "config.toml")),
    ],
)
def test_it_says_whether_the_audit_is_signed(
    capsys: pytest.CaptureFixture[str], sign: str, events: list[dict[str, str]], expected: tuple[str, str]
) -> None:
    paths.private_dir(paths.config_file().parent)
    paths.config_file().write_text(f'[audit]\nsign = "{sign}"\n')
    for event in events:
        ledger.append(event)
    run(["doctor", "--json"])
    (found,) = [each for each in json.loads(capsys.readouterr().out)["findings"] if each["subject"] == "audit"]
    status, detail = expected
    assert found["status"] == status and detail in found["detail"]


def test_it_says_that_nothing_opens_the_encrypted_file(
    capsys: pytest.CaptureFixture[str], home: Path, tmp_path: Path
) -> None:
    vault.create("key-file", key_file=tmp_path / "key")
    ledger.append({"event": "unsigned", "reason": "no keyring"})

    def found() -> list[tuple[str, str]]:
        run(["doctor", "--json"])
        findings = json.loads(capsys.readouterr().out)["findings"]
        return [(each["status"], each["remedy"]) for each in findings if each["subject"] in ("keyring", "audit")]

    opened = found()
    assert opened[0] == ("ok", "") and "the encrypted file" in opened[1][1]
    (tmp_path / "key").unlink()
    remedy = "put back a copy of it: nothing else opens the encrypted secrets"
    assert found() == [("degraded", remedy), ("degraded", remedy)]


def test_where_mcpbox_can_keep_nothing_no_server_can_be_started(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/dev/null")
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert run(["doctor", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    (found,) = [each for each in said["findings"] if each["subject"] == "directories"]
    assert (said["usable"], found["status"]) == ([], "missing")
    assert found["detail"].startswith("/dev/null/") and found["detail"].endswith(": Not a directory")
