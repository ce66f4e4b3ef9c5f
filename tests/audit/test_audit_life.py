"""The audit of real processes: many at once, killed at any moment, on a full disk, with a keyring that is silent."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import PYTHON, Runner, make_runner, must_work
from secretservice import SecretService
from wire import eventually

from mcpbox import cli, paths
from mcpbox.audit import ledger, reading, signing, upkeep
from mcpbox.audit.verify import remembered, verify
from mcpbox.audit.writer import Log
from mcpbox.errors import SecretError

WRITER = """
import sys
from mcpbox.audit.writer import Log
log = Log(sys.argv[1], sys.argv[2], who={"user": "me"})
for number in range(int(sys.argv[3])):
    log.record({"event": "call", "target": "read", "id": number}, {"name": "read", "arguments": {"n": number}})
    if number % 50 == 49:
        log._head()
    if number == 0:
        sys.stdout.write("begun\\n"); sys.stdout.flush()
log.close()
"""


def writer(name: str, session: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, name, session, str(count)], stdout=subprocess.PIPE, text=True
    )


def test_twenty_processes_write_at_once() -> None:
    processes = [writer(f"server-{number % 3}", f"s{number}", 200) for number in range(20)]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    report = verify()
    assert (report.problems, report.sessions, report.records) == ([], 20, 20 * 201)


def test_whoever_is_killed_at_any_moment_is_closed_by_the_next_and_all_is_well() -> None:
    chosen = random.Random(1)
    for number in range(12):
        process = writer("server", f"s{number}", 100_000)
        assert process.stdout
        if number % 3:
            process.stdout.readline()
        # Anywhere: before the first record, between two, as the ledger is written.
        time.sleep(chosen.random() * 0.2)
        process.kill()
        process.communicate()
    upkeep.close_dead()
    report = verify()
    assert report.problems == [] and ledger.unclosed() == {}
    assert len(report.notes) == report.sessions >= 8
    # And the ledger goes on.
    Log("server", "next", who={}).close()
    assert verify().problems == []


def test_the_next_command_closes_what_was_killed() -> None:
    process = writer("server", "abc", 100_000)
    assert process.stdout and process.stdout.readline()
    process.kill()
    process.communicate()
    assert cli.run(["ps"]) == 0
    assert eventually(lambda: ledger.unclosed() == {}, 20)
    assert verify().problems == [] and "ended without a close" in verify().notes[0]


FULL = """
import os, sys
from pathlib import Path
os.environ["XDG_STATE_HOME"] = sys.argv[1]
from mcpbox.audit import upkeep
from mcpbox.audit.verify import verify
from mcpbox.audit.writer import Log
log = Log("server", "s", who={"user": "me"})
log.record({"event": "call"}, {})
filler = Path(sys.argv[1], "filler").open("wb", buffering=0)
try:
    while filler.write(b"x" * 4096): pass
except OSError: pass
written = 2
try:
    while True:
        log.record({"event": "call", "target": "x" * 100})
        written += 1
except OSError as error:
    sys.stdout.write(f"{error}\\n")
data = log.path.read_bytes()
sys.stdout.write(f"{data.count(bytes([10]))} {written} {data[-1]}\\n")
log.close()
os.unlink(filler.name)
upkeep.close_dead()
sys.stdout.write(f"{verify().problems} {verify().records - written}\\n")
"""


def test_a_full_disk_takes_no_half_records(home: Path) -> None:
    full = home / "full"
    full.mkdir()
    script = f'mount -t tmpfs -o size=256k,mode=700 tmpfs "{full}" && exec "$@"'
    words = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    done = subprocess.run(
        [*words, sys.executable, "-c", FULL, str(full)], capture_output=True, text=True, check=False, timeout=60
    )
    if "unshare" in done.stderr:
        must_work("no user namespaces here")
    failure, counts, after = done.stdout.splitlines()
    lines, written, end = map(int, counts.split())
    assert "No space left on device" in failure and lines == written and end == ord("\n")
    assert after == "[] 0"


@pytest.fixture
def runner(home: Path) -> Runner:
    return make_runner("bubblewrap", "root" if os.geteuid() == 0 else "ordinary", home)


def records(runner: Runner, name: str = "test") -> list[dict[str, Any]]:
    (file,) = (runner.home / ".state/mcpbox/audit/sessions" / name).iterdir()
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_session_tells_who_ran_what(runner: Runner) -> None:
    with runner.echo(profile="[tools]\nallow = ['echo']\n", options=["--host", "cursor"]) as host:
        host.initialize()
        host.call("echo", text="hello")
        host.stdin.close()
        host.process.wait(10)
    launch, *_, end = found = records(runner)
    assert (launch["event"], launch["host"], launch["backend"], end["event"]) == (
        "launch",
        "cursor",
        "bubblewrap",
        "end",
    )
    assert launch["uid"] == runner.uid and launch["user"] and launch["ppid"] == os.getpid()
    assert launch["parent"] == os.readlink(f"/proc/{os.getpid()}/exe")
    assert launch["profile_digest"].startswith("sha256:") and launch["version"]
    (call,) = [record for record in found if record["event"] == "call" and record["method"] == "tools/call"]
    assert call["target"] == "echo" and call["digest"].startswith("hmac-sha256:") and "hello" not in json.dumps(found)
    assert verify().problems == []


def test_content_is_kept_in_full_where_the_profile_says_so(runner: Runner) -> None:
    with runner.echo(profile='[audit]\ncontent = "full"\n') as host:
        host.initialize()
        host.call("echo", text="hello")
        host.stdin.close()
        host.process.wait(10)
    said = {
        record["event"]: json.loads(record["content"])
        for record in records(runner)
        if record.get("method") == "tools/call" and "content" in record
    }
    assert said["call"]["arguments"] == {"text": "hello"} and "hello" in json.dumps(said["result"])


def test_a_session_that_cannot_be_put_on_record_ends_with_an_error(runner: Runner, home: Path) -> None:
    state = home / "small"
    state.mkdir()
    os.mkfifo(home / "fill")
    words = runner.words(PYTHON, runner.home / "servers" / "echo.py", "plain")
    # The disk is full from the moment on that the test says.
    script = (
        f'mount -t tmpfs -o size=256k,mode=700 tmpfs "{state}" || exit 9; '
        f'(cat "{home}/fill"; cat /dev/zero >"{state}/filler"; echo >"{home}/fill") >/dev/null 2>&1 & '
        f'export XDG_STATE_HOME="{state}"; exec "$@"'
    )
    apart = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
    with runner.host([*apart, "sh", "-c", script, "sh", *words]) as host:
        host.initialize()
        assert host.call("echo", text="before")
        (home / "fill").write_text("now\n")
        (home / "fill").read_text()
        for number in range(10, 400):
            params = {"name": "echo", "arguments": {"text": "x" * 100}}
            call = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
            host.write(json.dumps(call).encode() + b"\n")
            answer = json.loads(host.line() or host.stderr.read())
            if "error" in answer:
                break
        assert "nothing can be put on record" in answer["error"]["message"]
        assert "No space left on device" in answer["error"]["message"]
        assert host.process.wait(10) == 3


def test_a_keyring_signs_and_remembers(service: SecretService, capsys: pytest.CaptureFixture[str]) -> None:
    Log("server", "abc", who={"user": "me"}).close()
    # By the process that the end of the session started.
    assert eventually(lambda: remembered().newest is not None, 30)
    assert b'"event":"signature"' in ledger.file().read_bytes()
    assert cli.run(["audit", "verify"]) == 0
    assert capsys.readouterr().out.endswith("as they were written; signed\n")
    assert signing.public_keys() == (remembered().public,)
    ledger.file().write_bytes(b"".join(ledger.file().read_bytes().splitlines(keepends=True)[:2]))
    assert cli.run(["audit", "verify", "--json"]) == 1
    assert [problem["kind"] for problem in json.loads(capsys.readouterr().out)["problems"]] == ["replay"]
    assert cli.run(["audit", "verify", "--accept"]) == 0
    assert capsys.readouterr().out.endswith("as they were written; signed\n")


def test_a_keyring_that_does_not_answer_holds_nothing_up(
    home: Path, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SecretService(home) as silent:
        asked = ("--dest=org.freedesktop.DBus", "/", "org.freedesktop.DBus.GetConnectionUnixProcessID")
        told = silent.run("dbus-send", "--session", "--print-reply", *asked, "string:org.freedesktop.secrets")
        daemon = int(told.split()[-1])
        os.kill(daemon, signal.SIGSTOP)
        try:
            for name, value in silent.variables.items():
                monkeypatch.setenv(name, value)
            with Runner("bubblewrap", runner.uid, runner.home, silent.variables).echo() as host:
                host.initialize()
                host.stdin.close()
                # Less than what it would wait for the keyring.
                assert host.process.wait(signing.AT_START - 1) == 0
            with pytest.raises(SecretError, match="did not answer within"):
                signing.keyring_state(0.5)
            report = verify(keys=remembered(0.5))
            assert report.problems == [] and "the keyring was not asked" in report.notes[0]
        finally:
            os.kill(daemon, signal.SIGCONT)
        assert eventually(lambda: b'"event":"signature"' in ledger.file().read_bytes(), 30)


def test_where_signing_is_required_nothing_starts_without(runner: Runner) -> None:
    config = paths.config_dir() / "config.toml"
    config.write_text(config.read_text() + '[audit]\nsign = "required"\n')
    with runner.echo() as host:
        error = host.initialize()["error"]
    assert "the audit cannot be signed: there is no keyring here" in error["message"]
    assert not list(reading.sessions())
    with SecretService(runner.home) as service:
        with Runner("bubblewrap", runner.uid, runner.home, service.variables).echo() as host:
            assert "result" in host.initialize()
            assert b'"event":"signature"' in ledger.file().read_bytes()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('sign = "yes"', "audit.sign"),
        ("keep_days = -1", "audit.keep_days"),
        ("keep_bytes = 1.5", "audit.keep_bytes"),
        ("keep = 1", "unknown field `keep`"),
    ],
)
def test_a_wrong_setting_is_an_error(text: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    (paths.config_dir() / "config.toml").write_text(f"[audit]\n{text}\n")
    assert cli.run(["audit", "verify"]) == 0
    Log("server", "abc", who={"user": "me"})._mark.leave()
    capsys.readouterr()
    assert cli.run(["audit", "verify"]) == 2
    said = capsys.readouterr().err
    assert says in said and "config.toml" in said and '[audit] with sign ("auto", "required" or "off")' in said


def test_the_command_says_where_and_what(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["audit", "verify"]) == 0 and capsys.readouterr().out == "nothing is on record\n"
    log = Log("server", "abc", who={"user": "me"})
    log.record({"event": "call"})
    log.close()
    assert cli.run(["audit", "verify", "server"]) == 0
    assert "2 records of 1 sessions" in (said := capsys.readouterr().out) and "nothing is signed" in said
    log.path.write_bytes(log.path.read_bytes().replace(b'"call"', b'"kall"'))
    assert cli.run(["audit", "verify"]) == 1
    assert capsys.readouterr().out.startswith("server abc, record 1: the last record is not what it was when")
    assert cli.run(["audit", "verify", "other"]) == 2
    assert "nothing is on record of other" in capsys.readouterr().err
