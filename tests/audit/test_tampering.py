"""Whatever is done to the files of the audit, by whoever has no key, is found; what really happens to them is not."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wire import eventually

from mcpbox import paths
from mcpbox.audit import chain, ledger, signing, upkeep, writer
from mcpbox.audit.verify import Keys, Problem, remembered, verify
from mcpbox.audit.writer import Log
from mcpbox.errors import McpboxError
from mcpbox.secrets import store, vault

SECONDS = 5.0
MANY = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def keys(home: Path) -> Keys:
    """A signed audit of four sessions of two servers, one of them in several files, and what is remembered of it."""
    vault.create("key-file", key_file=home / "key")
    # Only where the test says so, and not by a process beside it.
    (paths.config_dir() / "config.toml").write_text('[audit]\nsign = "off"\n')
    for number in range(4):
        log = Log(f"server-{number % 2}", f"s{number}", who={"user": "me", "pid": number})
        for call in range(6):
            log.record({"event": "call", "target": f"tool-{call}", "id": call}, {"name": "x", "arguments": {"a": call}})
            if call == 3:
                log._head()
        log.close()
        if number == 1:
            signing.sign(SECONDS)
    signing.sign(SECONDS)
    found = remembered()
    assert found.public and found.newest and verify().problems == []
    return found


@pytest.fixture(autouse=True)
def short_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SEGMENT_BYTES", 1200)


def files() -> list[Path]:
    return [ledger.file(), *sorted(ledger.sessions_dir().glob("*/*"))]


class Copy:
    """The audit's files, to be put back."""

    def __enter__(self) -> None:
        self._kept = {file: file.read_bytes() for file in files()}

    def __exit__(self, *_: object) -> None:
        for file in files():
            file.unlink()
        for file, data in self._kept.items():
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(data)


def lines(file: Path) -> list[bytes]:
    return file.read_bytes().splitlines(keepends=True)


def found(keys: Keys) -> list[Problem]:
    return verify(keys=keys).problems


@MANY
@given(data=st.data())
def test_any_byte_that_is_changed_is_found(keys: Keys, data: st.DataObject) -> None:
    file = data.draw(st.sampled_from(files()))
    content = bytearray(file.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    with Copy():
        file.write_bytes(content)
        assert found(keys), (file.name, at, bytes(content[max(0, at - 20) : at + 20]))


@MANY
@given(data=st.data())
def test_any_line_dropped_repeated_moved_or_put_in_is_found(keys: Keys, data: st.DataObject) -> None:
    file = data.draw(st.sampled_from(files()))
    before = lines(file)
    after = list(before)
    at = data.draw(st.integers(0, len(before) - 1))
    other = data.draw(st.integers(0, len(before) - 1))
    what = data.draw(st.sampled_from(["drop", "repeat", "swap", "insert", "foreign", "cut", "empty"]))
    if what == "drop":
        del after[at]
    elif what == "repeat":
        after.insert(other, before[at])
    elif what == "swap":
        after[at], after[other] = after[other], after[at]
    elif what == "insert":
        record = {**json.loads(before[at]), "event": data.draw(st.sampled_from(["call", "head", "close", "prune"]))}
        after.insert(at + 1, chain.encode({**record, "prev": chain.digest(before[at][:-1])}) + b"\n")
    elif what == "foreign":
        after.insert(at, data.draw(st.sampled_from(lines(data.draw(st.sampled_from(files()))))))
    elif what == "cut":
        after = after[:at]
    else:
        after.insert(at, b"\n")
    if after != before:
        with Copy():
            file.write_bytes(b"".join(after))
            assert found(keys), (file.name, what, at, other)


@MANY
@given(data=st.data())
def test_a_chain_made_anew_without_the_key_is_found(keys: Keys, data: st.DataObject) -> None:
    """From any line on, with every hash right, in the ledger too."""
    file = data.draw(st.sampled_from(files()))
    at = data.draw(st.integers(0, len(lines(file)) - 1))
    with Copy():
        made = rebuilt(lines(file), at, lambda record: record | {"time": "2020-01-01T00:00:00.000000Z"})
        file.write_bytes(b"".join(made))
        assert found(keys), (file.name, at)
        if file != ledger.file() and data.draw(st.booleans()):
            session = json.loads(made[-1])["session"]
            head = {"count": json.loads(made[-1])["seq"] + 1, "head": chain.digest(made[-1][:-1])}
            told = lines(ledger.file())
            index = next(i for i, line in enumerate(told) if b'"close"' in line and session.encode() in line)
            ledger.file().write_bytes(b"".join(rebuilt(told, index, lambda record: record | head, only_first=True)))
            assert found(keys), (file.name, at)


def rebuilt(
    before: list[bytes], at: int, change: Callable[[dict[str, Any]], dict[str, Any]], *, only_first: bool = False
) -> list[bytes]:
    made = before[:at]
    for number, line in enumerate(before[at:]):
        record = json.loads(line)
        record = record if only_first and number else change(record)
        prev = chain.digest(made[-1][:-1]) if made else record["prev"]
        made.append(chain.encode({**record, "prev": prev}) + b"\n")
    return made


def swap(first: Path, second: Path) -> None:
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)


def strip_signatures(_: None = None) -> None:
    """The whole ledger anew, as if nothing had ever been signed."""
    kept = [line for line in lines(ledger.file()) if b'"signature"' not in line]
    made: list[bytes] = []
    for line in kept:
        prev = chain.digest(made[-1][:-1]) if made else chain.GENESIS
        made.append(chain.encode({**json.loads(line), "seq": len(made), "prev": prev}) + b"\n")
    ledger.file().write_bytes(b"".join(made))


def sign_with_another_key() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw().hex()
    made: list[bytes] = []
    for line in lines(ledger.file()):
        record = {**json.loads(line), "prev": chain.digest(made[-1][:-1]) if made else chain.GENESIS}
        if record["event"] == "signature":
            del record["signature"]
            record["key"] = public
            signed = signing.CONTEXT + chain.digest(chain.encode(record)).encode()
            record["signature"] = key.sign(signed).hex()
        made.append(chain.encode(record) + b"\n")
    ledger.file().write_bytes(b"".join(made))


def session(name: str, part: str = "") -> Path:
    return ledger.sessions_dir() / f"server-{int(name[1:]) % 2}" / f"{name}{part}.jsonl"


def before(marker: bytes) -> bytes:
    """The ledger up to a line that has ``marker``, with it."""
    told = lines(ledger.file())
    return b"".join(told[: next(i for i, line in enumerate(told) if marker in line) + 1])


@pytest.mark.parametrize(
    ("what", "done", "kind", "text"),
    [
        ("a session", lambda: swap(session("s0"), session("s2")), "foreign", "a record of the session 's2'"),
        ("its part", lambda: session("s1").unlink(), "missing", "the part 1 of its record is not there"),
        ("its end", lambda: session("s1", ".2").unlink(), "cut", "records at the end are missing"),
        ("all of it", lambda: shutil.rmtree(session("s0").parent), "missing", "is not there"),
        ("its name", lambda: session("s0").rename(session("s0").with_name("s9.jsonl")), "foreign", "does not know"),
        ("its server", lambda: session("s0").parent.rename(ledger.sessions_dir() / "x"), "foreign", "as one of"),
        ("a file", lambda: (session("s0").parent / "notes.txt").write_text(""), "foreign", "no file of mcpbox's"),
        ("a link", lambda: (session("s0").parent / "x.jsonl").symlink_to("s0.jsonl"), "foreign", "no file of mcpbox's"),
        ("the end", lambda: session("s0").write_bytes(session("s0").read_bytes()[:-1]), "changed", "whole line"),
        ("the ledger", lambda: ledger.file().unlink(), "replay", "cut back, replaced or changed"),
        ("its state", lambda: ledger.file().write_bytes(before(b'"signature"')), "replay", "cut back, replaced"),
        ("the lines", strip_signatures, "replay", "cut back, replaced or changed"),
        ("the key", sign_with_another_key, "key", "which is not this machine's"),
    ],
)  # fmt: skip
def test_what_was_done_is_named(keys: Keys, what: str, done: Callable[[], Any], kind: str, text: str) -> None:
    done()
    assert any(problem.kind == kind and text in problem.text for problem in found(keys)), found(keys)


def test_everything_removed_is_found(keys: Keys) -> None:
    shutil.rmtree(paths.audit_dir())
    assert [problem.kind for problem in verify().problems] == ["replay"]


def test_a_place_is_named_by_session_and_number(keys: Keys) -> None:
    file = session("s2")
    told = lines(file)
    told[1] = told[1].replace(b"tool-", b"fool-")
    file.write_bytes(b"".join(told))
    (problem,) = found(keys)
    assert (problem.name, problem.session, problem.seq, problem.kind) == ("server-0", "s2", 1, "changed")


def test_without_the_keyring_what_is_on_this_machine_is_held_against_it(keys: Keys) -> None:
    silent = Keys(known=signing.public_keys(), silent="locked")
    assert found(silent) == [] and "would not show" in verify(keys=silent).notes[0]
    with Copy():
        strip_signatures()
        assert "unsigned" in {problem.kind for problem in found(silent)}
    sign_with_another_key()
    assert {"key", "unsigned"} <= {problem.kind for problem in found(silent)}


def test_a_line_has_one_form(keys: Keys) -> None:
    """The fields of the last signature are as they were, and so is what it signs."""
    *told, last = lines(ledger.file())
    ledger.file().write_bytes(b"".join(told) + json.dumps(json.loads(last)).encode() + b"\n")
    assert "changed" in {problem.kind for problem in found(Keys(known=signing.public_keys(), silent="locked"))}


def test_a_ledger_that_was_cut_back_is_not_signed_over(keys: Keys) -> None:
    ledger.file().write_bytes(before(b'"signature"'))
    Log("server-0", "later", who={}).close()
    with pytest.raises(McpboxError, match="lacks the line that was signed last"):
        signing.sign(SECONDS)
    assert any(problem.kind == "replay" for problem in verify().problems)
    signing.accept(SECONDS)
    assert "replay" not in {problem.kind for problem in verify().problems}


@pytest.fixture
def torn(keys: Keys) -> Iterator[Path]:
    """A session that was killed as it wrote a record."""
    log = Log("server-0", "torn", who={"user": "me"})
    log.record({"event": "call"})
    os.write(log._fd, b'{"event":"call","id":')
    log._mark.leave()
    yield log.path
    os.close(log._fd)


def test_a_killed_session_is_no_tampering_and_its_torn_record_is_named(keys: Keys, torn: Path) -> None:
    # Before anybody has closed it, and after.
    assert verify().problems == [] and upkeep.close_dead() == 1
    report = verify()
    assert report.problems == []
    assert report.notes == [
        "server-0: the session torn ended without a close, after 2 records; its last record is torn, after 21 bytes"
    ]
    assert upkeep.close_dead() == 0
    torn.write_bytes(torn.read_bytes()[:-1] + b"x")
    assert [problem.kind for problem in found(keys)] == ["changed"]


def test_a_running_session_may_grow_but_not_shrink(keys: Keys) -> None:
    log = Log("server-0", "running", who={"user": "me"})
    log.record({"event": "call"})
    assert verify().problems == []
    log._head()
    log.record({"event": "call"})
    assert verify().problems == []
    os.truncate(log.path, 100)
    assert [problem.kind for problem in verify().problems] == ["cut"]
    log.close()


def test_a_torn_line_of_the_ledger_is_no_line(keys: Keys) -> None:
    with ledger.file().open("ab") as opened:
        opened.write(b'{"event":"open","na')
    report = verify()
    assert report.problems == [] and "last line is incomplete" in report.notes[0]
    Log("server-0", "next", who={}).close()
    assert verify().problems == [] and verify().notes == []


def test_a_ledger_that_does_not_end_with_a_line_of_ours_is_not_written_on(keys: Keys) -> None:
    with ledger.file().open("ab") as opened:
        opened.write(b"[]\n")
    with pytest.raises(McpboxError, match="does not end with a line that mcpbox wrote"):
        Log("server-0", "next", who={})


@pytest.mark.parametrize("content", [b"", b"\n" * 1000, b"\0" * 70000, b"x" * 3_000_000, b"[" * 100_000 + b"\n"])
def test_any_content_of_a_file_is_told_of_and_never_a_crash(keys: Keys, content: bytes) -> None:
    for file in (session("s0"), ledger.file()):
        with Copy():
            file.write_bytes(content)
            assert 0 < len(found(keys)) < 100


def test_a_first_signature_that_is_being_made_is_waited_for(home: Path) -> None:
    vault.create("key-file", key_file=home / "key")
    (paths.config_dir() / "config.toml").write_text('[audit]\nsign = "off"\n')
    Log("server", "s", who={"user": "me"}).close()
    lock, reports = str(paths.audit_dir() / "signing"), []

    def waiting() -> bool:
        held = []
        for fd in os.listdir("/proc/self/fd"):
            with suppress(FileNotFoundError):
                held.append(os.readlink(f"/proc/self/fd/{fd}"))
        return held.count(lock) == 2

    with ledger.locked(what="signing"):
        # As far as ``sign`` is before the line.
        key = signing._key(store.place(SECONDS))
        signing._publish(key.public_key().public_bytes_raw().hex())
        verifying = threading.Thread(target=lambda: reports.append(verify()))
        verifying.start()
        assert eventually(waiting)
        with ledger.locked():
            ledger.extend(signing._signed_by(key)({"event": "signature"}))
    verifying.join()
    assert reports[0].problems == [] and reports[0].signed
