"""What is written of a session, and what is bounded: files, floods, contents, and what is kept in all."""

from __future__ import annotations

import hmac
import json
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mcpbox import paths
from mcpbox.audit import chain, content, ledger, reading, upkeep, writer
from mcpbox.audit.verify import verify
from mcpbox.audit.writer import Log
from mcpbox.config import Audit
from mcpbox.errors import UsageError

WHO = {"user": "me"}


def records(log: Log) -> list[dict[str, Any]]:
    return [record for found in reading.sessions() if found.id == log.session for record in found.records()]


def told() -> list[dict[str, Any]]:
    return [json.loads(line) for line in ledger.file().read_bytes().splitlines()]


def test_records_are_a_chain_that_begins_in_the_ledger() -> None:
    log = Log("server", "abc", who=WHO)
    log.record({"event": "call", "target": "read"})
    log.close()
    opened, closed = told()
    lines = log.path.read_bytes().splitlines()
    first, second = map(json.loads, lines)
    assert (opened["event"], opened["session"], opened["name"]) == ("open", "abc", "server")
    assert (first["event"], first["user"], first["seq"], first["session"]) == ("launch", "me", 0, "abc")
    assert first["prev"] == chain.digest(ledger.file().read_bytes().splitlines()[0])
    assert (second["seq"], second["prev"]) == (1, chain.digest(lines[0]))
    assert (closed["event"], closed["count"], closed["head"]) == ("close", 2, chain.digest(lines[1]))


def test_everything_is_the_users_alone() -> None:
    log = Log("server", "abc", who=WHO)
    log.record({"event": "call"}, {})
    log.close()
    for path in (*paths.audit_dir().rglob("*"), content.file()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_nothing_is_recorded_after_the_end() -> None:
    log = Log("server", "abc", who=WHO)
    log.close()
    log.close()
    with pytest.raises(OSError, match="closed"):
        log.record({"event": "call"})
    assert len(records(log)) == 1 and len(told()) == 2


@pytest.mark.parametrize(("name", "session"), [("../x", "a"), ("x", "a/b"), (".x", "a"), ("", "a"), ("x", "")])
def test_a_name_is_the_name_of_a_file(name: str, session: str) -> None:
    with pytest.raises(UsageError, match="cannot be put on record"):
        Log(name, session, who=WHO)


def test_a_session_is_begun_once() -> None:
    Log("server", "abc", who=WHO).close()
    with pytest.raises(FileExistsError):
        Log("server", "abc", who=WHO)
    assert len(told()) == 2
    assert upkeep.close_dead() == 0 and verify().problems == []


def test_the_key_of_digests_never_leaves_and_stays_the_same() -> None:
    params = {"name": "x", "arguments": {"b": 1.5, "a": "ü"}}
    log = Log("server", "abc", who={})
    log.record({"event": "call"}, params)
    log.record({"event": "call"}, {"arguments": {"a": "ü", "b": 1.5}, "name": "x"})
    log.record({"event": "call"}, {**params, "name": "y"})
    log.close()
    again = Log("server", "abd", who={})
    again.record({"event": "call"}, params)
    again.close()
    first, second, other = (record["digest"] for record in records(log))
    assert first == second == records(again)[0]["digest"] != other
    key = content.file().read_bytes()
    text = '{"arguments":{"a":"ü","b":1.5},"name":"x"}'.encode()
    assert first == "hmac-sha256:" + hmac.digest(key, text, "sha256").hex()
    assert all(key not in path.read_bytes() for path in paths.audit_dir().rglob("*.jsonl"))
    assert "content" not in records(log)[0]


def test_a_digest_is_the_same_before_openssl_is_loaded_and_after() -> None:
    code = (
        "import sys; from mcpbox.audit import content; "
        "made = lambda: content.kept('\u00e9' * 999, b'k' * 32, full=False); "
        "first = made(); assert '_hashlib' not in sys.modules; "
        "content.kept('x' * (1 << 20), b'k' * 32, full=False); assert '_hashlib' in sys.modules; "
        "import hmac; text = b'\"' + '\u00e9'.encode() * 999 + b'\"'; "
        "assert first == made() == {'digest': 'hmac-sha256:' + hmac.digest(b'k' * 32, text, 'sha256').hex()}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_key_that_is_not_ours_is_an_error() -> None:
    paths.private_dir(paths.data_dir())
    content.file().write_bytes(b"short")
    log = Log("server", "abc", who={})
    # Not another error: whoever records in the middle of a session knows of nothing else.
    with pytest.raises(OSError, match="is not the key of 32 bytes"):
        log.record({"event": "call"}, {})
    log.close()
    assert records(log) == []


def test_content_in_full_is_there_as_it_was_and_bounded() -> None:
    log = Log("server", "abc", who={}, content="full")
    log.record({"event": "call"}, {"n": 1.0, "\U00010000": 1 << 70, "é": None})
    log.record({"event": "result"}, "é" * chain.MAX_CONTENT)
    log.close()
    small, large = records(log)
    assert json.loads(small["content"]) == {"n": 1.0, "\U00010000": 1 << 70, "é": None}
    assert large["content_bytes"] == 2 * chain.MAX_CONTENT + 2 and large["digest"]
    assert chain.MAX_CONTENT - 2 < len(large["content"].encode()) <= chain.MAX_CONTENT
    assert verify().problems == []


def test_a_session_goes_on_in_another_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SEGMENT_BYTES", 1000)
    log = Log("server", "abc", who=WHO)
    for number in range(30):
        log.record({"event": "call", "id": number})
    log.close()
    (found,) = reading.sessions()
    assert [file.name for file in found.files[:3]] == ["abc.jsonl", "abc.2.jsonl", "abc.3.jsonl"]
    assert len(found.files) > 5 and all(file.stat().st_size <= 1000 for file in found.files)
    assert [record["seq"] for record in found.records()] == list(range(31))
    assert verify().problems == [] and verify().records == 31


def test_a_flood_is_counted_and_calls_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "FLOOD_BYTES", 2000)
    log = Log("server", "abc", who=WHO, content="full")
    log.record({"event": "x", "text": "y" * 2000})
    for number in range(2500):
        log.record({"event": "refused", "policy": f"P{number % 2}", "reason": "z" * 500})
        log.record({"event": "egress", "decision": "deny", "name": f"{number}.example.com"})
    log.record({"event": "call", "target": "send"}, {"name": "send"})
    log.record({"event": "refused", "policy": "Other", "reason": "the first of its kind"})
    log.record({"event": "refused", "policy": "Other", "reason": "the second"})
    log.close()
    found = records(log)
    singles = [(record["event"], record.get("policy", "")) for record in found if record["event"] != "counted"]
    assert singles == [
        ("launch", ""), ("x", ""), ("refused", "P0"), ("egress", ""), ("refused", "P1"), ("call", ""),
        ("refused", "Other"),
    ]  # fmt: skip
    totals: dict[str, int] = {}
    for record in found:
        for kind, count in record.get("counts", {}).items():
            totals[kind] = totals.get(kind, 0) + count
    assert totals == {"refused P0": 1249, "refused P1": 1249, "egress deny": 2499, "refused Other": 1}
    # What was counted is on record before the call that follows it; the call has a digest, and its content no more.
    at = next(at for at, record in enumerate(found) if record["event"] == "call")
    assert "digest" in found[at] and "content" not in found[at]
    assert sum(sum(record.get("counts", {}).values()) for record in found[:at]) == 4997
    assert sum(file.stat().st_size for file in Path(log.path.parent).iterdir()) < 10_000
    assert verify().problems == []


def test_kinds_without_end_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "FLOOD_BYTES", 0)
    log = Log("server", "abc", who=WHO)
    for number in range(500):
        log.record({"event": "refused", "policy": f"P{number}"})
    log.close()
    (counted,) = [record["counts"] for record in records(log) if record["event"] == "counted"]
    assert counted == {"refused": 500 - writer.MAX_KINDS}


def test_threads_write_one_chain() -> None:
    log = Log("server", "abc", who=WHO)

    def many() -> None:
        for number in range(500):
            log.record({"event": "egress", "id": number}, {"n": number})
            if number % 100 == 0:
                log._head()

    threads = [threading.Thread(target=many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert verify().problems == [] and verify().records == 2001


def test_heads_come_while_a_session_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "HEAD_RECORDS", 10)
    monkeypatch.setattr(writer, "HEAD_PAUSE", 0.01)
    monkeypatch.setattr(writer, "START_PAUSE", 0.01)
    log = Log("server", "abc", who=WHO)
    thread = threading.Thread(target=log.watch)
    thread.start()
    for _ in range(10):
        log.record({"event": "call"})
    deadline = time.monotonic() + 10
    while not any(line["event"] == "head" for line in told()) and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    log.close()
    thread.join(5)
    assert not thread.is_alive()
    assert [line["event"] for line in told()] == ["open", "head", "close"]


@contextmanager
def ago(days: float) -> Iterator[None]:
    """What is written is as if it had been then."""
    now = time.time_ns() - int(days * upkeep.DAY * 1e9)
    with pytest.MonkeyPatch.context() as then:
        then.setattr(time, "time_ns", lambda: now)
        yield


def written(name: str, session: str, days: float, size: int = 0) -> Log:
    with ago(days):
        log = Log(name, session, who=WHO)
        for _ in range(size // 4000):
            log.record({"event": "call", "target": "x" * 3800})
        log.close()
    return log


def kept() -> set[str]:
    return {log.id for log in reading.sessions()}


def test_old_sessions_go_and_the_ledger_says_so() -> None:
    written("b", "older", 400)
    with ago(400):
        running = Log("b", "running", who=WHO)
    written("a", "old", 91)
    written("a", "new", 89)
    assert upkeep.prune(Audit(keep_days=90)) == 2 and kept() == {"new", "running"}
    assert [line["session"] for line in told() if line["event"] == "prune"] == ["old", "older"]
    assert verify().problems == []
    running.close()
    assert upkeep.prune(Audit(keep_days=0, keep_bytes=0)) == 0 and kept() == {"new", "running"}


def test_a_server_that_fills_the_disk_pushes_out_its_own_records() -> None:
    for number in range(5):
        written("loud", f"loud{number}", 5 - number, size=40_000)
    written("quiet", "evidence", 30, size=4000)
    assert upkeep.prune(Audit(keep_bytes=100_000)) == 3
    assert kept() == {"loud3", "loud4", "evidence"} and verify().problems == []


def test_a_session_that_was_removed_does_not_come_back_unseen() -> None:
    log = written("a", "old", 91)
    data = log.path.read_bytes()
    upkeep.prune(Audit(keep_days=90))
    log.path.parent.mkdir(exist_ok=True)
    log.path.write_bytes(data.replace(b"launch", b"lunchs"))
    assert [problem.session for problem in verify().problems] == ["old"]


def test_the_ledger_is_cut_behind_what_was_removed() -> None:
    for number in range(20):
        written("a", f"s{number:02}", 91 if number < 15 else 1)
    upkeep.prune(Audit(keep_days=90))
    before = ledger.file().stat().st_size
    upkeep.fold(limit=0)
    first = told()[0]
    assert (first["event"], first["session"]) == ("open", "s15") and ledger.file().stat().st_size < before // 2
    assert verify().problems == [] and verify().sessions == 5
    Log("a", "next", who=WHO).close()
    upkeep.fold(limit=0)
    assert told()[0] == first and verify().problems == []
    lines = ledger.file().read_bytes().splitlines(keepends=True)
    ledger.file().write_bytes(b"".join(lines[2:]))
    assert "missing" in {problem.kind for problem in verify().problems}


def test_removal_is_looked_for_once_an_hour() -> None:
    Log("a", "b", who=WHO).close()
    # There is nothing to remove where nothing was before.
    assert not upkeep.is_due()
    stamp = paths.audit_dir() / "pruned"
    os.utime(stamp, (0, time.time() - 2 * upkeep.PRUNE_SECONDS))
    assert upkeep.is_due() and upkeep.is_due(take=True) and not upkeep.is_due()


def test_one_that_died_before_it_was_told_of_leaves_nothing() -> None:
    mark = ledger.mark("a", "early")
    paths.private_dir(ledger.sessions_dir() / "a")
    ledger.segment("a", "early", 1).touch()
    assert verify().problems == []
    mark.leave()
    assert verify().problems == [] and upkeep.close_dead() == 0
    assert kept() == set() and ledger.unclosed() == {}


def test_records_are_not_removed_because_the_ledger_is() -> None:
    log = Log("a", "b", who=WHO)
    log._mark.leave()
    ledger.file().unlink()
    assert upkeep.close_dead() == 0 and kept() == {"b"}
    assert [problem.kind for problem in verify().problems] == ["foreign"]
    os.close(log._fd)


def test_reading_chooses_and_passes_over_what_is_none() -> None:
    os.utime(written("a", "old", 0).path, (0, time.time() - 5 * upkeep.DAY))
    log = written("b", "new", 0)
    with log.path.open("ab") as opened:
        opened.write(b'garbage\n[1]\n{"event":"torn')
    (log.path.parent / "x.1.jsonl").touch()
    assert [found.id for found in reading.sessions(names=["a"])] == ["old"]
    (found,) = reading.sessions(since=time.time() - upkeep.DAY)
    assert [record["event"] for record in found.records()] == ["launch"] and found.torn == b'{"event":"torn'
    assert found.started.startswith("20") and list(reading.sessions(names=["c"])) == []


def test_a_server_that_asks_for_roots_without_end_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "FLOOD_BYTES", 2000)
    log = Log("a", "b", who=WHO)
    for number in range(2000):
        log.record({"event": "call", "side": "server", "method": "roots/list", "target": "", "id": number})
        log.record({"event": "result", "side": "client", "method": "roots/list", "target": "", "id": number})
    for event, side, method in (
        ("call", "client", "tools/call"),
        ("result", "server", "tools/call"),
        ("call", "server", "sampling/createMessage"),
        ("result", "client", "sampling/createMessage"),
    ):
        log.record({"event": event, "side": side, "method": method})
    log.close()
    assert log.path.stat().st_size < 8000 and verify().problems == []
    assert sum(record["event"] in ("call", "result") for record in records(log)[-4:]) == 4
    counted = [record["counts"] for record in records(log) if record["event"] == "counted"]
    assert {kind for each in counted for kind in each} == {"call roots/list", "result roots/list"}
