"""Servers are tried as their host would start them."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import PYTHON, SERVERS

from mcpbox.hosts import proof
from mcpbox.hosts.document import parse
from mcpbox.hosts.entries import entries
from mcpbox.hosts.model import Entry, Shape
from mcpbox.hosts.shapes import CURSOR, GEMINI, OPENCODE, PLAIN, VSCODE

#: Answers like a server, and writes down where and with what it was started.
SERVER = """
import json, os, sys
mode = sys.argv[1]
with open(sys.argv[2], "w") as opened:
    json.dump({"cwd": os.getcwd(), "environ": dict(os.environ)}, opened)
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    answer = {"result": {"capabilities": {} if mode == "toolless" else {"tools": {}}}}
    if message["method"] == "tools/list":
        if mode == "gone":
            sys.exit(1)
        refused = {"error": {"code": -1, "message": "no tools today"}}
        answer = refused if mode == "refuses" else {"result": {"tools": []}}
    if mode == "broken":
        answer = {"error": {"code": -32000, "message": "it is broken"}}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer}), flush=True)
"""


def entry(shape: Shape = PLAIN, **members: Any) -> Entry:
    (found,) = entries(parse(json.dumps({shape.servers[0]: {"a": members}}), "json"), shape)
    return found


def server(home: Path, mode: str) -> list[str]:
    script = home / "server.py"
    script.write_text(SERVER)
    return [sys.executable, str(script), mode, str(home / "seen.json")]


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("plain", ""),
        ("toolless", ""),
        ("broken", "it is broken"),
        ("refuses", "no tools today"),
        ("gone", "it did not answer tools/list"),
    ],
)
def test_a_server_has_to_answer_both_requests(home: Path, mode: str, reason: str) -> None:
    assert proof.prove(server(home, mode), entry(command="x"), PLAIN) == reason


def test_it_gets_what_a_host_would_give_it_and_no_more(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SECRET_OF_THE_SHELL", "x")
    monkeypatch.setenv("TERM", "dumb")
    given = entry(CURSOR, command="x", env={"A": "b", "TOKEN": "${env:TOKEN}", "LEVEL": "5"})
    assert proof.prove(server(home, "plain"), given, CURSOR) == ""
    seen = json.loads((home / "seen.json").read_text())
    own = {"A": "b", "TOKEN": "placeholder", "LEVEL": "5", "PATH": proof.SHORT_PATH, "HOME": str(home), "TERM": "dumb"}
    assert seen["cwd"] == str(home) and own.items() <= seen["environ"].items()
    assert set(seen["environ"]) - set(own) <= {"LOGNAME", "SHELL", "USER", "LC_CTYPE"}


def test_it_starts_where_and_in_the_path_that_its_entry_names(home: Path) -> None:
    (home / "work").mkdir()
    given = entry(command="x", cwd=str(home / "work"), env={"PATH": "/usr/bin"})
    assert proof.prove(server(home, "plain"), given, PLAIN) == ""
    seen = json.loads((home / "seen.json").read_text())
    assert (seen["cwd"], seen["environ"]["PATH"]) == (str(home / "work"), "/usr/bin")
    assert proof.directory(entry(VSCODE, command="x", cwd="${workspaceFolder}"), VSCODE) == str(home)
    assert proof.directory(entry(command="x", cwd="."), PLAIN) == str(home)


@pytest.mark.parametrize(
    ("shape", "members", "reason"),
    [
        (CURSOR, {"command": "npx", "args": ["-y", "p"]}, ""),
        (CURSOR, {"command": "x", "env": {"A": "${env:A}"}}, ""),
        (CURSOR, {"command": "x", "args": ["${workspaceFolder}/a"]}, "${workspaceFolder}"),
        (VSCODE, {"command": "x", "args": ["--key", "${input:key}"]}, "${input:key}"),
        (VSCODE, {"command": "~/bin/server"}, "~"),
        (VSCODE, {"command": "node", "args": ["~/server.js"]}, "~"),
        (PLAIN, {"command": "x", "args": ["~/a", "${HOME}", "$HOME"]}, ""),
        (PLAIN, {"command": "./server"}, "where ./server is"),
        (PLAIN, {"command": "./server", "cwd": "/srv"}, ""),
        (GEMINI, {"command": "x", "args": ["$HOME/a"]}, "$HOME"),
        (OPENCODE, {"command": ["x", "{env:KEY}"]}, "{env:KEY}"),
    ],
)
def test_what_only_the_host_can_fill_in_is_not_tried(shape: Shape, members: dict[str, Any], reason: str) -> None:
    said = proof.unprovable(entry(shape, **members), shape)
    assert reason in said and bool(said) == bool(reason)


@pytest.mark.parametrize(
    ("value", "reason"),
    [("${userHome}/notes", "${userHome}"), ("${env:NOTES}", "${env:NOTES}"), ("~/notes", "~"), ("/notes", "")],
)
def test_nothing_stands_in_for_a_path_in_a_variable(value: str, reason: str) -> None:
    given = entry(CURSOR, command="x", env={"TOKEN": "${env:TOKEN}", "NOTES_DIR": value})
    said = f"only the host knows what {reason} stands for" if reason else ""
    assert proof.unfilled(given, CURSOR, ("NOTES_DIR", "NOT_THERE")) == said
    assert proof.unprovable(given, CURSOR) == proof.unfilled(given, CURSOR, ()) == ""


@pytest.mark.parametrize(("name", "value", "moved"), [("XDG_DATA_HOME", "x", True), ("XDG_CONFIG_HOME", "", False)])
def test_directories_that_only_this_shell_has_moved(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, moved: bool
) -> None:
    for variable in proof.MOVED:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv(name, value and str(home / value))
    assert proof.moved() == (name if moved else "")


def test_preparing_needs_nothing_for_a_program_and_says_what_is_wrong(home: Path) -> None:
    shutil.copytree(SERVERS, home / "servers")
    words = [PYTHON, str(home / "servers" / "echo.py")]
    assert proof.prepare(words, "/usr/bin", str(home)) == ""
    assert "no such file" in proof.prepare([PYTHON, "/nowhere.py"], "/usr/bin", str(home))
    assert "--registry" in proof.prepare(["npx", "-y", "--registry", "http://x", "p"], "/usr/bin", str(home))
