"""``protect`` and ``unprotect`` as a person runs them, on real files with real servers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import PYTHON, SERVERS, must_work
from hosts import kills

from mcpbox import registered
from mcpbox.audit import reading
from mcpbox.cli import run
from mcpbox.hosts import configfile, discover, register

MCPBOX = Path(os.path.abspath(sys.executable)).parent / "mcpbox"
#: The short PATH of a program that a desktop started.
SHORT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}


@pytest.fixture(autouse=True)
def as_hosts_start_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """mcpbox's directories are where a host's mcpbox looks for them, and the current one is no project."""
    for kind in ("CONFIG", "DATA", "STATE", "CACHE"):
        monkeypatch.delenv(f"XDG_{kind}_HOME", raising=False)
    monkeypatch.setenv("PATH", SHORT["PATH"])
    monkeypatch.setattr(sys, "argv", [str(MCPBOX)])
    monkeypatch.chdir("/")
    shutil.copytree(SERVERS, home / "servers")


@pytest.fixture
def file(home: Path) -> Path:
    path = home / ".cursor" / "mcp.json"
    path.parent.mkdir()
    return path


def echo(home: Path, mode: str = "plain", more: str = "") -> str:
    return f'{{"command": "{PYTHON}", "args": ["{home}/servers/echo.py", "{mode}"]{more}}}'


def write(file: Path, **servers: str) -> str:
    rows = ",\n".join(f'    "{name}": {text}' for name, text in servers.items())
    text = f'{{\n  // mine\n  "mcpServers": {{\n{rows},\n  }},\n}}\n'
    file.write_text(text)
    return text


def servers(file: Path) -> dict[str, list[str]]:
    """Name → command line."""
    plain = file.read_text().replace("// mine", "").replace(",\n  },\n}", "\n  }\n}")
    found = json.loads(plain)["mcpServers"]
    return {name: [server.get("command", ""), *server.get("args", ())] for name, server in found.items()}


def ours(file: Path) -> set[str]:
    return {name for name, words in servers(file).items() if words[:2] == [str(MCPBOX), "wrap"]}


def test_each_server_is_proved_written_and_given_back(
    home: Path, file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = write(
        file,
        echo=echo(home, more=', "env": {"A_TOKEN": "s3cr3t", "PATH": "/x"}'),
        bad=f'{{"command": "{PYTHON}", "args": ["-c", "raise SystemExit(3)"]}}',
        remote='{"url": "https://example.com/mcp"}',
        missing='{"command": "/nowhere/server"}',
        elsewhere='{"command": "${workspaceFolder}/server"}',
    )
    assert run(["protect", "--yes"]) == 1
    said = capfd.readouterr().out
    assert ours(file) == {"echo", "elsewhere"}, said
    words = ["wrap", "--host", "cursor", "--name", "echo", "--env", "A_TOKEN", "--", PYTHON]
    assert servers(file)["echo"] == [str(MCPBOX), *words, f"{home}/servers/echo.py", "plain"]
    for line in (
        "echo                    answers behind mcpbox",
        "bad                     left as it was: mcpbox: the server ended with exit code 3",
        "remote                  left alone: it is remote",
        "missing                 left alone: /nowhere/server: no such program",
        "elsewhere               not tried: only the host knows what ${workspaceFolder} stands for",
    ):
        assert line in said
    assert {record.name for record in register.load()} == {"echo", "elsewhere"}
    written = file.read_bytes()
    assert run(["protect", "--yes"]) == 1 and file.read_bytes() == written
    assert run(["unprotect", "--yes"]) == 0
    assert file.read_text() == text and register.load() == []
    assert [path.read_text() for path in configfile.backups(str(file))] == [text, written.decode()]


def test_a_server_whose_path_only_the_host_knows_is_not_tried_with_another(
    home: Path, file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    package = home / "node_modules" / "@modelcontextprotocol" / "server-memory"
    package.mkdir(parents=True)
    (package / "package.json").write_text('{"name": "@modelcontextprotocol/server-memory"}')
    (package / "index.js").write_text("")
    line = '{"command": "node", "args": ["%s/index.js"], "env": {"MEMORY_FILE_PATH": "${userHome}/memory.jsonl"}}'
    write(file, memory=line % package)
    assert run(["protect", "--yes"]) == 0 and ours(file) == {"memory"}
    said = "memory                  not tried: only the host knows what ${userHome} stands for"
    assert said in capfd.readouterr().out


def test_the_server_answers_the_host_through_the_line_that_was_written(home: Path, file: Path) -> None:
    write(file, echo=echo(home, more=', "env": {"A_TOKEN": "s3cr3t"}'))
    assert run(["protect", "--yes", "--no-check"]) == 0
    environment = {**SHORT, "HOME": str(home), "A_TOKEN": "s3cr3t"}
    lines = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18"}},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
    ]
    sent = "".join(f"{json.dumps(line)}\n" for line in lines)
    done = subprocess.run(
        servers(file)["echo"], input=sent, env=environment, capture_output=True, text=True, check=True
    )
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == [1, 2]


def test_a_program_in_the_path_of_the_shell_is_found_by_a_host_with_a_short_one(
    home: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = home / "tools" / "bin"
    tools.mkdir(parents=True)
    (tools / "my-server").write_text(f"#!/bin/sh\nexec {PYTHON} {home}/servers/echo.py\n")
    (tools / "my-server").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{SHORT['PATH']}:relative")
    write(file, mine='{"command": "my-server"}')
    assert run(["protect", "--yes", "--no-check"]) == 0
    assert registered.path_for("cursor", "mine", ["my-server"]) == f"{tools}:{SHORT['PATH']}"
    assert registered.path_for("cursor", "mine", ["replaced by the host"]) == f"{tools}:{SHORT['PATH']}"
    assert registered.path_for("zed", "mine", ["my-server"]) is None
    done = subprocess.run(
        servers(file)["mine"], input="", env={**SHORT, "HOME": str(home)}, capture_output=True, text=True, check=False
    )
    assert "no such program" not in done.stderr
    (session,) = reading.sessions(("mine",))
    assert next(session.records())["command"] == [str(tools / "my-server")]


def test_nobody_to_ask_is_a_wrong_use_and_changes_nothing(
    home: Path, file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = write(file, echo=echo(home))
    assert run(["protect"]) == 2
    assert "--yes" in capfd.readouterr().err and file.read_text() == text
    assert run(["protect", "--dry-run"]) == 0 and file.read_text() == text
    assert "echo                    goes behind mcpbox, profile none: no files, no network" in capfd.readouterr().out
    assert run(["protect", "--yes", "--no-check"]) == 0
    written = file.read_text()
    assert run(["unprotect"]) == 2 and run(["unprotect", "--dry-run"]) == 0 and file.read_text() == written


def test_a_server_that_does_not_answer_keeps_its_command(home: Path, file: Path) -> None:
    text = write(file, bad=f'{{"command": "{PYTHON}", "args": ["-c", "raise SystemExit(3)"]}}')
    assert run(["protect", "--yes"]) == 1
    assert file.read_text() == text and register.load() == [] and configfile.backups(str(file)) == []


def test_a_host_that_would_write_over_it_is_waited_for(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file = home / ".config" / "Claude" / "claude_desktop_config.json"
    file.parent.mkdir()
    text = f'{{"mcpServers": {{"echo": {echo(home)}}}}}'
    file.write_text(text)
    program = home / "claude-desktop" / "claude-desktop"
    program.parent.mkdir()
    shutil.copy("/usr/bin/sleep", program)
    claude = subprocess.Popen([program, "600"])
    try:
        assert run(["protect", "--yes", "--no-check"]) == 1 and file.read_text() == text
        assert "would be written over by Claude Desktop, which is running: quit it" in capfd.readouterr().out
    finally:
        claude.kill()
        claude.wait()
    assert run(["protect", "--yes", "--no-check"]) == 0
    written = file.read_text()
    claude = subprocess.Popen([program, "600"])
    try:
        assert run(["unprotect", "--yes"]) == 1 and file.read_text() == written
    finally:
        claude.kill()
        claude.wait()
    assert run(["unprotect", "--yes"]) == 0 and file.read_text() == text


def test_a_projects_file_is_left_alone_unless_it_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    project = home / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    file = project / ".mcp.json"
    text = f'{{"mcpServers": {{"echo": {echo(home)}}}}}'
    file.write_text(text)
    assert run(["protect", "--yes", "--no-check"]) == 0 and file.read_text() == text
    said = capfd.readouterr().out
    assert "left alone: it belongs to a project" in said and f"--config {file}" in said
    assert run(["protect", "--yes", "--no-check", "--config", ".mcp.json"]) == 0 and "wrap" in file.read_text()
    # What is on record is found again from anywhere.
    monkeypatch.chdir("/")
    assert run(["unprotect", "--yes"]) == 0 and file.read_text() == text


def test_a_projects_file_does_not_say_where_programs_are(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = home / "-project"
    project.mkdir()
    mine, theirs = home / ".cursor/mcp.json", project / ".cursor/mcp.json"
    for file, more in ((mine, ""), (theirs, f', "env": {{"PATH": "{project}"}}')):
        file.parent.mkdir()
        file.write_text(f'{{"mcpServers": {{"echo": {echo(home, more=more)}}}}}')
        assert run(["protect", "--yes", "--no-check", "--config", str(file)]) == 0
    assert [record.file for record in register.load()] == [str(theirs), str(mine)]
    assert registered.path_for("cursor", "echo", [PYTHON, f"{home}/servers/echo.py", "plain"]) == SHORT["PATH"]


def test_a_file_that_cannot_be_read_is_said_and_does_not_keep_the_others_from_it(
    home: Path, file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(file, echo=echo(home))
    broken = home / ".gemini" / "settings.json"
    broken.parent.mkdir()
    broken.write_text('{"mcpServers": {')
    assert run(["protect", "--yes", "--no-check"]) == 1 and ours(file) == {"echo"}
    assert "cannot be read: line 1, column " in capfd.readouterr().out


def test_only_the_host_that_is_named(home: Path, file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(file, echo=echo(home))
    other = home / ".kiro" / "settings" / "mcp.json"
    other.parent.mkdir(parents=True)
    text = f'{{"mcpServers": {{"echo": {echo(home)}}}}}'
    other.write_text(text)
    assert run(["protect", "--yes", "--no-check", "--host", "cursor"]) == 0
    assert ours(file) == {"echo"} and other.read_text() == text
    assert run(["protect", "--yes", "--host", "crusor"]) == 2 and "cursor" in capfd.readouterr().err
    assert run(["protect", "--yes", "--no-check", "--host", "jetbrains-ai"]) == 0
    assert f'"command": "{MCPBOX}"' in capfd.readouterr().out


def test_a_server_whose_secrets_are_in_the_keyring_is_not_given_back_without_them(
    home: Path, file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(file, echo=echo(home, more=', "env": {"A_TOKEN": "s3cr3t"}'), plain=echo(home))
    assert run(["protect", "--yes", "--no-check"]) == 0
    file.write_text(file.read_text().replace("s3cr3t", "mcpbox-secret:echo/A_TOKEN"))
    assert run(["unprotect", "--yes"]) == 1 and ours(file) == {"echo"}
    assert (
        "stays: its secrets are in the keyring; run first: mcpbox migrate-secrets --restore" in capfd.readouterr().out
    )


def test_what_somebody_wrapped_by_hand_stays(home: Path, file: Path) -> None:
    by_hand = f'{{"command": "{MCPBOX}", "args": ["wrap", "--", "{PYTHON}", "x.py"]}}'
    text = write(file, mine=by_hand)
    assert run(["unprotect", "--yes"]) == 1 and file.read_text() == text


def test_a_file_that_cannot_be_written_is_named_once(home: Path, file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(file, echo=echo(home))
    file.chmod(0o444)
    assert run(["protect", "--yes", "--no-check"]) == 1
    assert f"mcpbox: {file} is read-only\n        run: chmod u+w {file}\n" in capfd.readouterr().err


def test_without_the_register_the_commands_come_back(home: Path, file: Path) -> None:
    text = write(file, echo=echo(home))
    assert run(["protect", "--yes", "--no-check"]) == 0
    registered.file().unlink()
    assert run(["unprotect", "--yes"]) == 0 and file.read_text() == text


@pytest.mark.parametrize("damage", ["{", '{"version": 2, "servers": []}', '{"version": 1, "servers": [{}]}'])
def test_a_damaged_register_is_said(home: Path, file: Path, damage: str, capfd: pytest.CaptureFixture[str]) -> None:
    text = write(file, echo=echo(home))
    registered.file().parent.mkdir(parents=True)
    registered.file().write_text(damage)
    assert run(["protect", "--yes", "--no-check"]) == 3 and file.read_text() == text
    assert str(registered.file()) in capfd.readouterr().err


def test_what_the_user_changed_is_shown_and_approved(home: Path, file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(file, echo=echo(home))
    assert run(["protect", "--yes", "--no-check"]) == 0
    file.write_text(file.read_text().replace('"plain"', '"chatty"'))
    (before,) = register.load()
    capfd.readouterr()
    assert run(["protect", "--yes", "--no-check"]) == 0
    assert "its arguments are others than were approved: this is approved now" in capfd.readouterr().out
    (after,) = register.load()
    assert after.arguments != before.arguments and after.command == before.command
    assert run(["protect", "--yes", "--no-check"]) == 0 and "nothing to do" in capfd.readouterr().out


def test_directories_that_a_host_would_not_find_are_refused(
    home: Path, file: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    text = write(file, echo=echo(home))
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "other"))
    assert run(["protect", "--yes"]) == 2 and file.read_text() == text
    assert "env -u XDG_DATA_HOME mcpbox protect" in capfd.readouterr().err


def test_mcpbox_must_be_there_to_stay(
    home: Path, file: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    text = write(file, echo=echo(home))
    program = home / ".cache" / "uv" / "archive-v0" / "x" / "bin" / "mcpbox"
    program.parent.mkdir(parents=True)
    shutil.copy(MCPBOX, program)
    monkeypatch.setattr(sys, "argv", [str(program)])
    assert run(["protect", "--yes"]) == 3 and file.read_text() == text
    assert "uv tool install mcpbox" in capfd.readouterr().err


@pytest.mark.parametrize("text", ["", "{}", '{"mcpServers": {}}', '{"mcpServers": null}', "// nothing\n"])
def test_files_without_servers(file: Path, text: str) -> None:
    file.write_text(text)
    assert run(["protect", "--yes"]) == 0 and file.read_text() == text
    assert run(["unprotect", "--yes"]) == 0 and file.read_text() == text


KILLED = """
import os, pathlib, sys
from mcpbox import cli, registered
# Before the audit: modules would be counted as steps.
import mcpbox.options, mcpbox.commands.protect, mcpbox.hosts.jsontext, platformdirs.unix, mcpbox.packages.spec
path, text, first, second = sys.argv[1:5]
sys.argv[0] = sys.argv[5]
os.chdir("/")

def quietly(verb):
    kept = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    assert cli.run([verb, "--yes"] + ["--no-check"] * (verb == "protect")) == 0
    sys.stdout.flush()
    os.dup2(kept, 1)

open(path, "w").write(text)
if first:
    quietly(first)
files = [pathlib.Path(path), registered.file()]
held = [(file, file.read_bytes()) for file in files if file.exists()]
kills.at_every_step(lambda: [file.write_bytes(data) for file, data in held], lambda: quietly(second), path)
"""


@pytest.mark.parametrize(("first", "second"), [("", "protect"), ("protect", "unprotect")])
def test_killed_at_any_step_the_file_is_one_or_the_other_and_can_be_given_back(
    home: Path, file: Path, first: str, second: str
) -> None:
    text = write(file, echo=echo(home), none='{"command": "/usr/bin/env", "args": []}')
    outcomes = kills.run(KILLED, file, text, first, second, MCPBOX)
    texts = {found for _, found, _ in outcomes}
    assert len(texts) == 2 and text in texts
    assert {found for killed, found, _ in outcomes if killed} == texts
    assert run(["unprotect", "--yes"]) == 0 and file.read_text() == text


def test_the_file_changed_while_the_servers_were_tried(home: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(file, one=echo(home), two=echo(home))
    words: Sequence[str] = [str(MCPBOX), "protect", "--yes"]
    environment = {**SHORT, "HOME": str(home)}
    protecting = subprocess.Popen(words, env=environment, cwd="/", stdout=subprocess.PIPE, text=True)
    assert protecting.stdout
    for line in protecting.stdout:
        if "one" in line and "answers" in line:
            break
    text = file.read_text()
    file.write_text(text.replace('echo.py", "plain"]}', 'echo.py", "chatty"]}', 1).replace("// mine", "// yours"))
    protecting.communicate()
    assert protecting.returncode == 1
    assert "// yours" in file.read_text()
    assert file.read_text().count(f'"{MCPBOX}"') == 1 and '"chatty"]' in file.read_text()
    assert {record.name for record in register.load()} == {"two"}


def test_files_of_the_other_system_are_left_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    windows = home / "mnt" / "c" / "Users" / "anna"
    file = windows / ".cursor" / "mcp.json"
    file.parent.mkdir(parents=True)
    text = f'{{"mcpServers": {{"echo": {echo(home)}}}}}'
    file.write_text(text)
    monkeypatch.setattr(discover, "other_homes", lambda *_: [(windows, "windows")])
    assert run(["protect", "--yes", "--no-check"]) == 1 and file.read_text() == text
    assert "belongs to a host on windows" in capfd.readouterr().out


def test_root_leaves_the_file_to_its_owner(home: Path, file: Path) -> None:
    write(file, echo=echo(home))
    if os.geteuid() == 0:
        os.chown(file, 1000, 1000)
    before = file.stat()
    assert run(["protect", "--yes", "--no-check"]) == 0
    assert (file.stat().st_uid, file.stat().st_mode) == (before.st_uid, before.st_mode)


FULL = """
import os, subprocess, sys
file, words = sys.argv[1], sys.argv[2:]
before = open(file).read()
def codes():
    for verb in ("protect", "unprotect"):
        options = ["--yes", "--no-check"] if verb == "protect" else ["--yes"]
        done = subprocess.run([*words, verb, *options], capture_output=True, text=True)
        print(verb, done.returncode, "a bug" in done.stderr, open(file).read() == before, flush=True)
        sys.stderr.write(done.stderr)
filler = os.environ["HOME"] + "/filler"
with open(filler, "wb", buffering=0) as opened:
    size = 1 << 16
    while size:
        try:
            opened.write(bytes(size))
        except OSError:
            size //= 2
os.truncate(filler, os.stat(filler).st_size - ROOM)
codes()
os.unlink(filler)
codes()
"""


@pytest.mark.parametrize("room", [0, 3, 4])
def test_with_a_full_disk_everything_stays_and_with_room_again_it_goes(home: Path, room: int) -> None:
    full = home / "full"
    (full / "files").mkdir(parents=True)
    # Some pages are left, so that it is full at another step.
    script = (
        'mount -t tmpfs -o size=512k tmpfs "$1" && mkdir "$1/.cursor" && printf %s "$2" >"$1/.cursor/mcp.json" && '
        'export HOME="$1" && cd / && shift 2 && exec "$@"'
    )
    filling = FULL.replace("ROOM", str(room * 4096))
    text = f'{{"mcpServers": {{"echo": {echo(home)}}}}}'
    words = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", str(full), text]
    words += [sys.executable, "-c", filling, f"{full}/.cursor/mcp.json", str(MCPBOX)]
    done = subprocess.run(words, env={**SHORT}, capture_output=True, text=True, check=False)
    if "unshare" in done.stderr:
        must_work("no user namespaces here")
    said = done.stdout.splitlines()
    # What cannot be put on record is not begun, and what is undone is merely told not to be there.
    assert said[0] in ("protect 3 False True", "protect 1 False True", "protect 0 False False"), done.stderr
    assert said[1] in ("unprotect 0 False True", "unprotect 1 False False"), done.stderr
    assert said[2:] == ["protect 0 False False", "unprotect 0 False True"], done.stderr
    assert room or said[0] == "protect 3 False True"
    assert "No space left on device" in done.stderr or said[:2] == ["protect 0 False False", "unprotect 0 False True"]


def test_no_name_of_a_strangers_reaches_the_terminal_as_it_is(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A cloned repository's files are called what its author likes (CWE-150)."""
    project = home / "project\x1b[2J"
    project.mkdir()
    monkeypatch.chdir(project)
    file = project / ".mcp.json"
    file.write_text(f'{{"mcpServers": {{"a\\u001b[2J\\ud800": {{"command": "{PYTHON}"}}}}}}')
    for words in (["protect", "--yes", "--no-check"], ["status"], ["unprotect", "--yes"]):
        assert run([*words, *(["--config", str(file)] if words[0] != "status" else [])]) in (0, 1)
    file.write_text('{"mcpServers": 3}')
    assert run(["protect", "--yes", "--config", str(file)]) == 1
    file.write_text("{}")
    assert run(["protect", "--yes", "--config", f"{project}/gone"]) == 2
    said = capfd.readouterr()
    assert "\x1b[2J" not in said.out + said.err and "project [2J/.mcp.json" in said.out + said.err


def test_a_profile_that_rests_on_a_packages_own_word_is_said(
    home: Path, file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Any directory can call itself mcp-remote, and its profile writes to the tokens of all remote servers."""
    package = home / "node_modules" / "mcp-remote"
    package.mkdir(parents=True)
    (package / "package.json").write_text('{"name": "mcp-remote"}')
    (package / "index.js").write_text("")
    node = home / "bin" / "node"
    node.parent.mkdir()
    node.write_text("")
    node.chmod(0o755)
    claimed = f'{{"command": "{node}", "args": ["{package}/index.js"]}}'
    write(file, claimed=claimed, plain=f'{{"command": "{PYTHON}"}}')
    assert run(["protect", "--dry-run"]) == 0
    said = capfd.readouterr().out
    assert "profile mcp-remote (it calls itself npm:mcp-remote, and mcpbox did not install it)" in said
    assert said.count("calls itself") == 1
