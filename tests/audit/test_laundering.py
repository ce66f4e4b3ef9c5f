"""What mcpbox itself does to the records is no way to hide what somebody else did to them."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mcpbox import cli, config, paths
from mcpbox.audit import chain, ledger, rewrite, signing, upkeep, writer
from mcpbox.audit.verify import verify
from mcpbox.audit.writer import Log
from mcpbox.errors import McpboxError, SecretError
from mcpbox.secrets import store, vault

SECONDS = 5.0
DAY = 86400 * 1_000_000_000  # nanoseconds


@pytest.fixture(autouse=True)
def keyring(home: Path) -> None:
    vault.create("key-file", key_file=home / "key")


def session(name: str, *, close: bool = True, head: int = 0) -> Log:
    """One of twenty records, with a head in the ledger after ``head`` of them."""
    log = Log("server", name, who={"user": "me"})
    for number in range(1, 20):
        log.record({"event": "call", "target": "read", "id": number, "note": "value-to-take-out"})
        if number + 1 == head:
            log._head()
    if close:
        log.close()
    else:
        log._mark.leave()
        os.close(log._fd)
    return log


def signed(*, off: bool = True) -> None:
    if off:
        (paths.config_dir() / "config.toml").write_text('[audit]\nsign = "off"\n')
    signing.sign(SECONDS)
    assert verify().problems == []


def append(**fields: object) -> None:
    """As anybody who can write to the file can."""
    ledger.append(fields)


def cut(file: Path, count: int) -> str:
    kept = file.read_bytes().splitlines(keepends=True)[:count]
    file.write_bytes(b"".join(kept))
    return chain.digest(kept[-1][:-1])


def remade(file: Path) -> tuple[int, str]:
    """Every record says something else, and the chain is whole."""
    previous, made = "", []
    for line in file.read_bytes().splitlines():
        record = json.loads(line.replace(b'"read"', b'"fine"'))
        made.append(chain.encode(record | {"prev": previous or record["prev"]}))
        previous = chain.digest(made[-1])
    file.write_bytes(b"".join(line + b"\n" for line in made))
    return len(made), previous


def kinds() -> set[str]:
    return {problem.kind for problem in verify().problems}


def test_what_was_cut_off_a_killed_session_before_it_is_closed_is_found() -> None:
    log = session("s0", close=False, head=10)
    signed()
    cut(log.path, 5)
    assert upkeep.close_dead() == 1
    signing.sign(SECONDS)
    assert kinds() == {"cut"}


@pytest.mark.parametrize("count", [-1, 0, 3])
def test_a_head_that_nobody_writes_so_takes_nothing_from_those_before_it(count: int) -> None:
    log = session("s0", close=False, head=10)
    signed()
    remade(log.path)
    append(event="head", session="s0", name="server", count=count, head="")
    upkeep.close_dead()
    signing.sign(SECONDS)
    assert "changed" in kinds()


def test_a_rewrite_that_the_key_did_not_sign_is_found_though_the_ledger_was_signed_after_it() -> None:
    log = session("s0")
    signed()
    count, head = remade(log.path)
    append(event="rewrite", session="s0", name="server", count=count, head=head, reason=rewrite.WHY)
    signing.sign(SECONDS)
    assert "rewrite" in kinds()


def test_a_session_that_was_changed_is_not_made_whole_by_a_rewrite() -> None:
    log = session("s0")
    signed()
    remade(log.path)
    before = log.path.read_bytes()
    with pytest.raises(McpboxError, match="was changed"):
        rewrite.rewrite(lambda line: line.replace(b"value-to-take-out", b"*"))
    assert log.path.read_bytes() == before and "changed" in kinds()


def test_a_rewrite_is_signed_and_told_of() -> None:
    session("s0")
    session("s1")
    signed(off=False)
    assert rewrite.rewrite(lambda line: line.replace(b"value-to-take-out", b"*")) == []
    report = verify()
    assert report.problems == []
    assert any("19 records of the session s0 were written anew: values that" in note for note in report.notes)


def test_a_file_that_looks_old_is_not_removed_for_its_age() -> None:
    log = session("s0")
    signed()
    os.utime(log.path, (0, 0))
    assert upkeep.prune(config.Audit(keep_days=30, keep_bytes=0)) == 0
    assert log.path.exists()


def test_a_session_is_removed_for_its_age_by_what_the_ledger_says(monkeypatch: pytest.MonkeyPatch) -> None:
    log = session("s0")
    signed(off=False)
    now = time.time_ns() + 31 * DAY
    monkeypatch.setattr(time, "time_ns", lambda: now)
    assert upkeep.prune(config.Audit(keep_days=30, keep_bytes=0)) == 1
    report = verify()
    assert not log.path.exists() and report.problems == []
    assert any("1 session was removed" in note and "older than 30 days" in note for note in report.notes)


def test_a_removal_that_the_key_did_not_sign_is_told_of() -> None:
    log = session("s0")
    signed()
    append(event="prune", session="s0", name="server", reason="older than 90 days")
    log.path.unlink()
    signing.sign(SECONDS)
    assert "prune" in kinds()


def test_a_ledger_that_was_cut_from_the_front_is_found_whatever_it_says() -> None:
    shutil.rmtree(session("s0").path.parent)
    session("s1")
    signing.sign(SECONDS)
    told = ledger.file().read_bytes().splitlines(keepends=True)
    at = next(index for index, line in enumerate(told) if b'"session":"s1"' in line)
    first = json.loads(told[at])
    ledger.file().write_bytes(b"".join(told[at:]))
    append(event="fold", first=first["seq"], after=first["prev"])
    signing.sign(SECONDS)
    assert "missing" in kinds()


def test_a_session_that_was_killed_after_its_close_is_not_closed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(ledger.Mark, "drop", ledger.Mark.leave)
        session("s0")
    assert upkeep.close_dead() == 0
    assert ledger.unclosed() == {} and verify().problems == []


def test_taking_the_ledger_as_it_is_leaves_a_record() -> None:
    session("s0")
    signed(off=False)
    told = ledger.file().read_bytes().splitlines(keepends=True)
    session("s1")
    signing.sign(SECONDS)
    ledger.file().write_bytes(b"".join(told))
    shutil.rmtree(paths.audit_dir() / "sessions" / "server")
    assert cli.run(["audit", "verify", "--accept"]) == 1
    assert any("was taken as it is" in note for note in verify().notes)


def test_a_server_whose_records_are_all_gone_can_be_asked_for() -> None:
    log = session("s0")
    signed()
    shutil.rmtree(log.path.parent)
    assert cli.run(["audit", "verify", "server"]) == 1


def test_a_session_that_has_begun_but_is_not_in_the_ledger_yet_is_no_tampering(monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins while the others are looked at."""
    session("s0")
    mark: list[ledger.Mark] = []

    def begun(original: Callable[..., object] = ledger.unclosed) -> object:
        found = original()
        if not mark:
            mark.append(ledger.mark("server", "s1"))
            ledger.segment("server", "s1", 1).touch(0o600)
        return found

    monkeypatch.setattr(ledger, "unclosed", begun)
    assert verify().problems == []
    mark[0].drop()


def test_a_session_that_is_removed_while_it_is_read_is_no_tampering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SEGMENT_BYTES", 1200)
    session("s0")
    signed(off=False)
    from mcpbox.audit import reading

    original = reading.whole_lines

    def removed(file: Path) -> object:
        if file.name == "s0.2.jsonl":
            monkeypatch.setattr(reading, "whole_lines", original)
            now = time.time_ns() + 31 * DAY
            with monkeypatch.context() as later:
                later.setattr(time, "time_ns", lambda: now)
                assert upkeep.prune(config.Audit(keep_days=30, keep_bytes=0)) == 1
        return original(file)

    monkeypatch.setattr(reading, "whole_lines", removed)
    assert verify().problems == []


def test_a_keyring_that_remembers_no_place_of_this_ledger_is_told_of(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session("s0")
    signed(off=False)
    paths.state_dir().rename(home / "elsewhere")
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    (home / "state").mkdir()
    (home / "elsewhere").rename(home / "state" / "mcpbox")
    report = verify()
    assert report.problems == []
    assert any("remembers no place of this ledger" in note for note in report.notes)


def test_what_was_removed_and_dropped_with_the_key_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        session(f"s{number}")
        signing.sign(SECONDS)
    now = time.time_ns() + 31 * DAY
    with monkeypatch.context() as later:
        later.setattr(time, "time_ns", lambda: now)
        session("s6")
        signing.sign(SECONDS)
        assert upkeep.prune(config.Audit(keep_days=30, keep_bytes=0)) == 6
        session("s7")
        signing.sign(SECONDS)
        upkeep.fold(0)
    assert b'"session":"s0","' not in ledger.file().read_bytes().splitlines()[0]
    report = verify()
    assert report.problems == [] and report.sessions == 2
    assert any("6 sessions were removed" in note for note in report.notes)


def test_another_key_is_what_its_user_says_it_is(home: Path) -> None:
    """The keyring was lost; what the old key signed is no alarm for ever."""
    session("s0")
    signing.sign(SECONDS)
    vault.file().unlink()
    vault.create("key-file", key_file=home / "another")
    session("s1")
    signing.sign(SECONDS)
    assert kinds() == {"key"}
    assert cli.run(["audit", "verify", "--accept"]) == 0
    session("s2")
    signing.sign(SECONDS)
    assert verify().problems == []


def test_nobody_else_can_say_so() -> None:
    log = session("s0")
    signed()
    count, head = remade(log.path)
    append(event="rewrite", session="s0", name="server", count=count, head=head, reason=rewrite.WHY)
    append(event="accepted", lacked="")
    signing.sign(SECONDS)
    assert {"rewrite", "key"} <= kinds()


def test_a_keyring_that_did_not_answer_is_left_alone_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    session("s0")
    asked = []

    def place(seconds: float) -> None:
        asked.append(seconds)
        raise SecretError("it is locked")

    with monkeypatch.context() as locked:
        locked.setattr(store, "place", place)
        for _ in range(5):
            signing.sign_or_say(SECONDS)
        assert len(asked) == 1
        now = time.time_ns() + (signing.REFUSED_SECONDS + 1) * 1_000_000_000
        locked.setattr(time, "time_ns", lambda: now)
        signing.sign_or_say(SECONDS)
        assert len(asked) == 2
    # Whoever asks for it is not held up.
    assert signing.sign(SECONDS) and verify().problems == []


def test_whoever_turned_signing_off_still_removes_with_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    log = session("s0")
    signed(off=True)
    now = time.time_ns() + 31 * DAY
    monkeypatch.setattr(time, "time_ns", lambda: now)
    assert upkeep.prune(config.Audit(keep_days=30, keep_bytes=0)) == 1
    assert not log.path.exists() and verify().problems == []


def test_nothing_that_was_signed_is_removed_while_the_key_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    log = session("s0")
    signed(off=True)
    vault.file().unlink()
    now = time.time_ns() + 31 * DAY
    monkeypatch.setattr(time, "time_ns", lambda: now)
    with pytest.raises(SecretError):
        upkeep.prune(config.Audit(keep_days=30, keep_bytes=0))
    assert log.path.exists()


def test_dropped_lines_take_no_forged_removal_with_them() -> None:
    """Whoever can only write says that all was removed, and has mcpbox forget that it was said."""
    log = session("s0")
    signed(off=False)
    append(event="prune", session="s0", name="server", reason="older than 90 days")
    shutil.rmtree(log.path.parent)
    for _ in range(2):
        signing.sign(SECONDS)
        append(event="unsigned", reason="")
    signing.sign(SECONDS)
    before = ledger.file().read_bytes()
    upkeep.fold(0)
    assert ledger.file().read_bytes() == before and kinds() == {"prune"}


@pytest.mark.parametrize("event", ["unsigned", "head"])
def test_a_session_is_as_old_as_the_lines_before_what_is_told_of_it(event: str) -> None:
    log = session("s0", close=False, head=20)
    signed(off=False)
    append(event=event, session="s0", name="server", count=20, head=log._prev, time="2001-01-01T00:00:00.000000Z")
    log._mark.path.unlink()
    assert upkeep.prune(config.Audit(keep_days=30, keep_bytes=0)) == 0
    assert log.path.exists()


def test_a_clock_that_was_put_forward_makes_nothing_younger(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns()
    with monkeypatch.context() as then:
        for number, days in enumerate((60, -1000, 50, 1)):
            then.setattr(time, "time_ns", lambda days=days: now - days * DAY)
            session(f"s{number}")
    assert upkeep.prune(config.Audit(keep_days=30, keep_bytes=0)) == 2
    assert {path.stem for path in log_files()} == {"s1", "s3"}


def log_files() -> list[Path]:
    return sorted((paths.audit_dir() / "sessions").rglob("*.jsonl"))


def test_a_large_file_of_its_name_elsewhere_removes_no_session() -> None:
    log = session("s0")
    signed(off=False)
    stray = log.path.parent.with_name("another") / log.path.name
    stray.parent.mkdir()
    stray.write_bytes(bytes(100_000))
    assert upkeep.prune(config.Audit(keep_days=0, keep_bytes=50_000)) == 0
    assert log.path.exists() and stray.exists()


def test_what_was_removed_and_dropped_before_there_was_a_key_is_no_alarm(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.file().unlink()
    now = time.time_ns()
    with monkeypatch.context() as then:
        for number, days in enumerate((60, 60, 20, 50, 1)):
            then.setattr(time, "time_ns", lambda days=days: now - days * DAY)
            session(f"s{number}")
        then.setattr(time, "time_ns", lambda: now - 25 * DAY)
        assert upkeep.prune(config.Audit(keep_days=30, keep_bytes=0)) == 2
        upkeep.fold(0)
    assert b'"session":"s2"' in ledger.file().read_bytes().splitlines()[0]
    session("s5")
    vault.create("key-file", key_file=home / "first")
    signing.sign(SECONDS)
    assert verify().problems == []
    # … and the same once more of what the key had signed.
    assert upkeep.prune(config.Audit(keep_days=10, keep_bytes=0)) == 2
    session("s6")
    signing.sign(SECONDS)
    upkeep.fold(0)
    assert b'"session":"s2"' not in ledger.file().read_bytes().splitlines()[0]
    assert verify().problems == []


def test_only_the_first_signature_of_all_says_where_a_ledger_begins() -> None:
    session("s0")
    signing.sign(SECONDS)
    session("s1")
    signing.sign(SECONDS)
    told = [line for line in ledger.file().read_bytes().splitlines() if b'"event":"signature"' in line]
    assert ["first" in json.loads(line) for line in told] == [True, False]


def test_without_a_keyring_any_key_might_have_signed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session("s0")
    signing.sign(SECONDS)
    vault.file().unlink()
    signing.public_file().unlink()
    report = verify()
    assert report.signed and any("made anew with another key" in note for note in report.notes)
    (home / "state").mkdir()
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    session("s1")
    assert verify().notes == []


def test_whoever_is_killed_between_the_ledgers_line_and_the_file_can_do_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = session("s0")
    signed(off=False)

    def killed(path: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    def change(line: bytes) -> bytes:
        return line.replace(b"value-to-take-out", b"*")

    for _ in range(2):
        with monkeypatch.context() as dying:
            dying.setattr(Path, "replace", killed)
            with pytest.raises(KeyboardInterrupt):
                rewrite.rewrite(change)
        report = verify()
        assert report.problems == [] and any("as it was before" in note for note in report.notes)
    assert rewrite.rewrite(change) == []
    report = verify()
    assert report.problems == [] and b"value-to-take-out" not in log.path.read_bytes()
    assert not any("as it was before" in note for note in report.notes)
    remade(log.path)
    assert "changed" in kinds()


def test_a_keyring_that_did_not_answer_by_a_clock_put_back_since_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    session("s0")
    now = time.time_ns()
    with monkeypatch.context() as later:
        later.setattr(time, "time_ns", lambda: now + 400 * DAY)
        append(event="unsigned", reason="it is locked")
        assert signing.refused_lately()
    assert not signing.refused_lately() and signing.sign(SECONDS, unasked=True) is not None


def test_a_session_that_is_removed_while_it_is_written_anew_does_not_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    log, other = session("s0"), Log("server", "s1", who={"user": "me"})
    signed(off=False)
    attest = signing.attest
    removed = []

    def attested(seconds: float) -> signing.Attest:
        monkeypatch.setattr(signing, "attest", attest)
        removed.append(0)
        return attest(seconds)

    def change(line: bytes) -> bytes:
        if removed == [0]:
            removed[0] = upkeep.prune(config.Audit(keep_days=0, keep_bytes=1))
        return line.replace(b"value-to-take-out", b"*")

    monkeypatch.setattr(signing, "attest", attested)
    assert rewrite.rewrite(change) == [] and removed == [1]
    assert verify().problems == [] and not log.path.exists()
    assert list(paths.audit_dir().glob("*.new")) == []
    other.close()


def test_a_removal_that_was_killed_is_done_by_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    log = session("s0")
    signed(off=False)
    now = time.time_ns() + 31 * DAY
    monkeypatch.setattr(time, "time_ns", lambda: now)

    def killed(path: Path, missing_ok: bool = False) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            upkeep.prune(config.Audit(keep_days=30, keep_bytes=0))
    assert log.path.exists()
    assert upkeep.prune(config.Audit(keep_days=30, keep_bytes=0)) == 1
    assert verify().problems == [] and not log.path.exists()
