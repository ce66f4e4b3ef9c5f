"""The probe outside of any sandbox: that it says "blocked" of what was refused, and of nothing else."""

from __future__ import annotations

import ast
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from conftest import ORDINARY, PYTHON

from mcpbox import probe as program

#: Without types, since it has to run on any Python.
probe: Any = program
FILE = Path(probe.__file__)


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The catalogue, to which a test may add."""
    found = dict(probe.ATTEMPTS)
    monkeypatch.setattr(probe, "ATTEMPTS", found)
    yield found


def raises(error: BaseException) -> Any:
    raise error


#: what an attempt does, what that is called, and the detail
JUDGED = [
    (lambda a: "read 5 bytes", "allowed", "read 5 bytes"),
    (lambda a: raises(PermissionError(13, "Permission denied")), "blocked", "EACCES: Permission denied"),
    (lambda a: raises(TimeoutError("timed out")), "blocked", "TimeoutError: timed out"),
    (lambda a: raises(probe.Blocked("held to 1 processor")), "blocked", "held to 1 processor"),
    (lambda a: raises(MemoryError()), "blocked", "no more memory"),
    # A mistake of the probe's is not a wall.
    (lambda a: a["MISSPELT"], "unavailable", "KeyError: 'MISSPELT'"),
    (lambda a: raises(RuntimeError("su did not start")), "unavailable", "RuntimeError: su did not start"),
    # Nor is the end of an attempt that no wall is known to end.
    (lambda a: os.kill(os.getpid(), signal.SIGKILL), "unavailable", "ended by SIGKILL"),
    (lambda a: os.kill(os.getpid(), signal.SIGTERM), "unavailable", "ended by SIGTERM"),
    (lambda a: raises(SystemExit(0)), "unavailable", "the attempt could not be made"),
]


@pytest.mark.parametrize(("act", "outcome", "detail"), JUDGED, ids=[f"{row[1]}, {row[2]}" for row in JUDGED])
def test_an_outcome_is_what_happened(attempts: dict[str, Any], act: Any, outcome: str, detail: str) -> None:
    attempts["new"] = ("files", "do something", act)
    assert probe.attempt("new", {}) == {"outcome": outcome, "detail": detail}


def test_a_signal_counts_where_it_is_the_wall(attempts: dict[str, Any]) -> None:
    attempts["memory-bomb"] = ("quotas", "", lambda a: os.kill(os.getpid(), signal.SIGKILL))
    assert probe.attempt("memory-bomb", {}) == {"outcome": "blocked", "detail": "ended by SIGKILL"}


def test_an_error_counts_as_open_only_where_the_arguments_are_wrong_on_purpose(attempts: dict[str, Any]) -> None:
    for name, outcome in (("clone3", "allowed"), ("mount", "blocked")):
        attempts[name] = ("kernel", "", lambda a: raises(OSError(22, "Invalid argument")))
        assert probe.attempt(name, {})["outcome"] == outcome


def test_an_attempt_that_hangs_is_ended(attempts: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "SECONDS", 1)
    read, write = os.pipe()
    attempts["hang"] = ("files", "", lambda a: [os.write(write, str(os.getpid()).encode()), select.select([], [], [])])
    assert probe.attempt("hang", {}) == {"outcome": "unavailable", "detail": "no answer within 1 s"}
    with pytest.raises(ProcessLookupError):
        os.kill(int(os.read(read, 32)), 0)
    for fd in (read, write):
        os.close(fd)


def test_no_attempt_changes_the_probe_itself(attempts: dict[str, Any], tmp_path: Path) -> None:
    before = os.getcwd(), os.umask(0o22), os.getsid(0)
    os.umask(before[1])

    def change(_: Any) -> str:
        os.chdir(tmp_path)
        os.umask(0)
        os.environ["A"] = "b"
        return "changed"

    attempts["change"] = ("files", "", change)
    assert probe.attempt("change", {})["outcome"] == "allowed"
    assert (os.getcwd(), os.umask(before[1]), os.getsid(0)) == before
    assert "A" not in os.environ


def test_an_attempt_has_a_session_of_its_own(attempts: dict[str, Any]) -> None:
    """Without one it gets no terminal, and typing into it fails for that reason alone."""
    attempts["session"] = ("kernel", "", lambda a: (os.getsid(0) == os.getpid(), os.getpid() != a["PID"]))
    assert probe.attempt("session", {"PID": os.getpid()})["detail"] == "(True, True)"


def test_an_empty_file_gives_nothing_away() -> None:
    with pytest.raises(probe.Blocked, match="/dev/null is empty"):
        probe.reads("/dev/null")


def test_writing_leaves_nothing_behind(tmp_path: Path) -> None:
    probe.writes(str(tmp_path / "new"))
    kept = tmp_path / "kept"
    kept.write_text("as it was")
    probe.writes(str(kept))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"kept": "as it was"}


def test_bombs_stop_at_their_bound_and_clean_up(tmp_path: Path) -> None:
    assert probe.forks(5) == "5 processes at once"
    assert probe.fills(str(tmp_path), 3 << 20) == "wrote 3 MiB"
    assert probe.allocates(2 << 20) == "2 MiB of memory"
    assert list(tmp_path.iterdir()) == []


def test_the_catalogue_is_in_order() -> None:
    for name, (category, title, act) in probe.ATTEMPTS.items():
        assert category in ("files", "host", "network", "kernel", "devices", "quotas"), name
        assert 0 < len(title) <= 40 and callable(act), f"{name}: a title has to fit its column"
    assert len({row[1] for row in probe.ATTEMPTS.values()}) == len(probe.ATTEMPTS), "each title stands on its own"
    categories = [row[0] for row in probe.ATTEMPTS.values()]
    assert sum(a != b for a, b in pairwise(categories)) == len(set(categories)) - 1


def test_every_attempt_has_one_kind_of_control_or_a_reason_for_having_none() -> None:
    attempts = set(probe.ATTEMPTS) | {"int80", "x32"}
    kinds = [probe.IN_NAMESPACE, set(probe.DEPENDS), set(probe.NO_CONTROL)]
    assert all(kind <= attempts for kind in kinds)
    assert sum(map(len, kinds)) == len(set().union(*kinds)), "none is in two tables"
    assert set(probe.STAGES) <= probe.IN_NAMESPACE, "a stage needs namespaces of its own"
    assert set(probe.PASSED_IN) <= attempts and set(probe.ENDED) <= attempts


def test_it_needs_nothing_but_the_standard_library_of_python_3_9() -> None:
    tree = ast.parse(FILE.read_text(), feature_version=(3, 9))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= sys.stdlib_module_names


def run(*words: str, text: str = "") -> str:
    """The probe as a program of its own, with mcpbox out of reach, as an ordinary user."""
    who: dict[str, Any] = {"user": ORDINARY, "group": ORDINARY, "extra_groups": []} if os.geteuid() == 0 else {}
    code = FILE.read_text()
    # Given on the command line, so that it matters neither who may read the checkout nor what lies beside the file.
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [PYTHON, "-I", "-c", code, *words], input=text, capture_output=True, text=True, check=True, cwd="/", **who
    )
    return done.stdout


def test_it_runs_as_a_program() -> None:
    assert json.loads(run("--attempt", "interfaces"))["outcome"] in ("allowed", "blocked")
    found = json.loads(run("--attempt", "ssh-key", json.dumps({"SSH_KEY": "/etc/hostname"})))
    assert found["outcome"] == "allowed" and found["detail"].endswith("/etc/hostname")


def test_it_speaks_mcp() -> None:
    requests: list[dict[str, Any]] = [
        {"id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18"}},
        {"method": "notifications/initialized"},
        {"id": "two", "method": "tools/list"},
        {"id": 3, "method": "tools/call", "params": {"name": "echo", "arguments": {"message": "hé"}}},
        {"id": 4, "method": "tools/call", "params": {"name": "list_attempts"}},
        {"id": 5, "method": "tools/call", "params": {"name": "attempt", "arguments": {"name": "clone3"}}},
        {"id": 6, "method": "tools/call", "params": {"name": "attempt", "arguments": {"name": "none such"}}},
        {"id": 7, "method": "tools/call", "params": {"name": "none such"}},
        {"id": 8, "method": "none/such"},
        {"id": 9, "method": "ping"},
    ]
    text = "".join(json.dumps({"jsonrpc": "2.0", **request}) + "\n" for request in requests)
    answers = {answer["id"]: answer for answer in map(json.loads, run(text=text).splitlines())}
    assert list(answers) == [1, "two", 3, 4, 5, 6, 7, 8, 9]
    assert answers[1]["result"]["serverInfo"]["name"] == "probe"
    tools = answers["two"]["result"]["tools"]
    assert [tool["name"] for tool in tools] == ["echo", "list_attempts", "attempt"]
    assert answers[3]["result"]["content"] == [{"type": "text", "text": "hé"}]
    listed = answers[4]["result"]["structuredContent"]["attempts"]
    assert [row["name"] for row in listed] == list(probe.ATTEMPTS)
    assert answers[5]["result"]["structuredContent"]["outcome"] in ("allowed", "blocked")
    errors = {number: (answers[number]["error"]["code"], answers[number]["error"]["message"]) for number in (6, 7, 8)}
    assert errors == {
        6: (-32602, "no attempt none such"),
        7: (-32602, "no tool none such"),
        8: (-32601, "no method none/such"),
    }
    assert answers[9]["result"] == {}
