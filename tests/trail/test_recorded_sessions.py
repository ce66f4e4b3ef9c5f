"""From real sessions to their audit, to the profile that suffices, and to a session under it."""

from __future__ import annotations

import csv
import io
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import PYTHON, USERS, Runner, make_runner
from wire import SECONDS, Host

from mcpbox import profile

CONNECT = "import socket, sys; s = socket.create_connection(('localhost', int(sys.argv[1])), 10); print(s.recv(9))"


@pytest.fixture
def runner(home: Path) -> Runner:
    """The sandbox is not what is tested here, so one is enough."""
    found = make_runner("bubblewrap", USERS[-1], home)
    for name in ("projects/a", "projects/b", "out/x"):
        (home / name).mkdir(parents=True)
    (home / "projects/a/plan.txt").write_text("the plan")
    (home / "projects/b/other.txt").write_text("something else")
    found.give(home)
    return found


@pytest.fixture
def port() -> Iterator[int]:
    """A service on this machine that greets."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:

        def greet() -> None:
            while True:
                try:
                    accepted = listening.accept()[0]
                except OSError:
                    return
                with accepted:
                    accepted.sendall(b"welcome")

        threading.Thread(target=greet, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


def mcpbox(runner: Runner, *words: str | Path) -> subprocess.CompletedProcess[str]:
    user = {} if os.geteuid() == runner.uid else {"user": runner.uid, "group": runner.uid, "extra_groups": ()}
    command = [sys.executable, "-m", "mcpbox", *map(str, words)]
    return subprocess.run(command, env=runner.env, capture_output=True, text=True, timeout=60, **user)  # type: ignore[call-overload,no-any-return]


@contextmanager
def session(runner: Runner, file: Path, *options: str) -> Iterator[Host]:
    """A server that runs commands, called ``runs``; it has ended cleanly afterwards."""
    words = [
        sys.executable,
        "-m",
        "mcpbox",
        "wrap",
        "--backend",
        "bubblewrap",
        "--name",
        "runs",
        "--profile",
        str(file),
    ]
    command = [PYTHON, str(runner.home / "servers" / "listed.py")]
    with runner.host([*words, "--profile", str(file), *options, "--", *command]) as host:
        host.initialize()
        yield host
        host.stdin.close()
        assert host.process.wait(10) == 0


def ran(host: Host, *words: str | Path) -> tuple[int, str]:
    found = host.call("run", words=list(map(str, words)))["structuredContent"]
    return found["code"], found["out"].strip()


def written(runner: Runner, name: str, text: str) -> Path:
    file = runner.home / name
    file.write_text(text)
    runner.give(file)
    return file


def test_from_recorded_sessions_to_the_least_profile_and_back(runner: Runner, port: int) -> None:
    home = runner.home
    paths = '[filesystem]\nread = ["~/projects"]\nwrite = ["~/out"]\n'
    hosts = f'[network]\nallow = ["localhost:{port}"]\n'
    wide = written(runner, "wide.toml", f'version = 1\nname = "runs"\n{paths}{hosts}')
    for _ in range(2):
        with session(runner, wide, "--learn") as host:
            assert ran(host, "cat", home / "projects/a/plan.txt") == (0, "the plan")
            assert ran(host, "touch", home / "out/x/made")[0] == 0
            assert ran(host, PYTHON, "-c", CONNECT, str(port)) == (0, "b'welcome'")
            assert ran(host, "cat", home / "projects/b/other.txt")[0] == 0

    # The second directory is needed no more, so neither are the sessions that used it.
    with session(runner, wide, "--learn") as host:
        assert ran(host, "cat", home / "projects/a/plan.txt") == (0, "the plan")
        assert ran(host, "touch", home / "out/x/made")[0] == 0
        assert ran(host, PYTHON, "-c", CONNECT, str(port)) == (0, "b'welcome'")
    started = json.loads(mcpbox(runner, "audit", "show", "--json", "--event", "launch").stdout.splitlines()[-1])["time"]

    done = mcpbox(runner, "profile", "suggest", "runs", "--since", started)
    assert done.returncode == 0, done.stderr
    narrow = written(runner, "narrow.toml", done.stdout)
    found = profile.load(narrow).profile
    assert "~/projects/a" in found.filesystem.read and "~/projects" not in found.filesystem.read
    assert found.filesystem.write == ("~/out/x",) and found.network.allow == (f"localhost:{port}",)
    assert found.tools.allow == ("run",) and (found.messages.sampling, found.messages.roots) == ("deny", "deny")
    assert "last 20" in done.stdout and "3 times in" in done.stdout

    # It would have sufficed for the session that it was made from, and not for those before it.
    done = mcpbox(runner, "profile", "replay", narrow, "runs", "--since", started)
    assert done.returncode == 0, done.stdout
    assert "1 sessions: 3 calls, 1 connections" in done.stdout and "0 would be refused" in done.stdout
    done = mcpbox(runner, "profile", "replay", narrow, "runs")
    assert done.returncode == 1 and f"directory {home}/projects/b: no path in filesystem" in done.stdout
    closed = written(runner, "closed.toml", 'version = 1\nname = "runs"\n[tools]\nallow = ["walk"]\n')
    done = mcpbox(runner, "profile", "replay", closed, "runs", "--json")
    refused = json.loads(done.stdout)["refused"]
    assert done.returncode == 1 and {each["what"].split(" ")[0] for each in refused} >= {"tools/call", "connection"}

    done = mcpbox(runner, "profile", "suggest", "others")
    assert done.returncode == 2 and "there are those of: runs" in done.stderr
    wide.unlink()
    done = mcpbox(runner, "profile", "suggest", "runs")
    assert done.returncode == 2 and f"{wide}: the profile of its last session is gone" in done.stderr
    done = mcpbox(runner, "profile", "suggest", "runs", "--profile", narrow, "--json")
    assert profile.parse(json.loads(done.stdout)["profile"], "x").profile.tools.allow == ("run",)

    with session(runner, narrow) as host:
        assert ran(host, "cat", home / "projects/a/plan.txt") == (0, "the plan")
        assert ran(host, "touch", home / "out/x/again")[0] == 0
        assert ran(host, PYTHON, "-c", CONNECT, str(port)) == (0, "b'welcome'")
        assert ran(host, "cat", home / "projects/b/other.txt")[0] != 0
        assert host.call("walk")["isError"] is True
    assert (home / "out/x/again").exists()


def test_what_is_recorded_is_shown_and_exported(runner: Runner) -> None:
    wide = written(runner, "wide.toml", 'version = 1\nname = "runs"\n[tools]\ndeny = ["delete_*"]\n')
    with session(runner, wide) as host:
        ran(host, "true")
        assert host.call("delete_all")["isError"] is True
    shown = mcpbox(runner, "audit", "show")
    assert shown.returncode == 0 and "\x1b" not in shown.stdout
    lines = shown.stdout.splitlines()
    assert any("call       → tools/call run " in line for line in lines)
    assert any("refused    → tools/call delete_all policy=" in line for line in lines)
    only = mcpbox(runner, "audit", "show", "--server", "runs", "--tool", "delete_*", "--decision", "deny", "--json")
    (record,) = map(json.loads, only.stdout.splitlines())
    assert record["event"] == "refused" and record["server"] == "runs"
    assert len(mcpbox(runner, "audit", "show", "-n", "2").stdout.splitlines()) == 2
    assert mcpbox(runner, "audit", "show", "--server", "other").stdout == ""
    assert mcpbox(runner, "audit", "show", "--since", "never").returncode == 2

    for form in ("json", "jsonl", "csv", "ocsf", "cef", "otel"):
        file = runner.home / f"export.{form}"
        done = mcpbox(runner, "audit", "export", "--format", form, "--output", file)
        assert done.returncode == 0, done.stderr
        assert file.read_text() == mcpbox(runner, "audit", "export", "--format", form).stdout
        assert file.stat().st_mode & 0o077 == 0
    assert len(json.loads((runner.home / "export.json").read_text())) == len(lines)
    assert len(list(csv.reader(io.StringIO((runner.home / "export.csv").read_text(), newline="")))) == len(lines) + 1
    again = mcpbox(runner, "audit", "export", "--format", "json", "--output", runner.home / "export.json")
    assert again.returncode == 2 and "exists already" in again.stderr


def read_until(process: subprocess.Popen[bytes], wanted: bytes) -> bytes:
    """What the process has written when ``wanted`` has come."""
    assert process.stdout
    found, deadline = b"", time.monotonic() + SECONDS
    while wanted not in found:
        assert select.select([process.stdout], [], [], max(0, deadline - time.monotonic()))[0], found
        data = os.read(process.stdout.fileno(), 1 << 16)
        assert data, found
        found += data
    return found


def test_following_shows_running_and_new_sessions(runner: Runner) -> None:
    wide = written(runner, "wide.toml", 'version = 1\nname = "runs"\n')
    follow = [
        sys.executable,
        "-m",
        "mcpbox",
        "audit",
        "show",
        "--follow",
        "-n",
        "0",
        "--event",
        "call",
        "--event",
        "end",
    ]
    with session(runner, wide) as host:
        ran(host, "true")
        with runner.host(follow) as following:
            # Begun before it is followed, and after; what was there already is not among it.
            said = b""
            while b"tools/call" not in said:
                ran(host, "true")
                if select.select([following.stdout], [], [], 0.1)[0]:
                    said += os.read(following.stdout.fileno(), 1 << 16)
            assert b"initialize" not in said
            with session(runner, wide) as other:
                ran(other, "true")
            said = read_until(following.process, b" end ")
            assert b"initialize" in said


def test_what_a_server_never_did_before_is_told_of(runner: Runner) -> None:
    wide = written(runner, "wide.toml", 'version = 1\nname = "runs"\n')
    for number in range(4):
        with session(runner, wide) as host:
            ran(host, "true")
            if number == 3:
                host.call("walk", words=["true"])
    shown = mcpbox(runner, "audit", "show", "--decision", "alert", "--json").stdout.splitlines()
    alerts: list[dict[str, Any]] = list(filter(lambda each: each["policy"] == "Baseline", map(json.loads, shown)))
    assert [alert["reason"] for alert in alerts] == ["never called in 3 sessions before: walk"]
    done = mcpbox(runner, "audit", "deviations", "--json")
    assert done.returncode == 1
    assert [(each["kind"], each["about"]) for each in json.loads(done.stdout)] == [("tool", "walk")]
    unknown = mcpbox(runner, "audit", "deviations", "runs", "other")
    assert (unknown.returncode, unknown.stdout) == (2, "") and "no session of 'other'" in unknown.stderr
    unknown = mcpbox(runner, "audit", "deviations", "--session", "zz")
    assert (unknown.returncode, unknown.stdout) == (2, "") and "no session 'zz' is on record" in unknown.stderr
