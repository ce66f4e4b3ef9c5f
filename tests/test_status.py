"""What ``status`` shows, on real files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from conftest import PYTHON

from mcpbox import paths, profile
from mcpbox.cli import run
from mcpbox.hosts import register
from mcpbox.packages import lock

TOKEN = "ghp_" + "Zq9xW4vT7bN2mK8pL5sD3fG6hJ1rY0uE4oIa"


@pytest.fixture(autouse=True)
def of_no_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(sys, "argv", [str(Path(sys.executable).parent / "mcpbox")])


@pytest.fixture
def file(home: Path) -> Path:
    path = home / ".cursor" / "mcp.json"
    path.parent.mkdir()
    script = home / "server.py"
    script.write_text("")
    servers: dict[str, Any] = {
        "local": {"command": PYTHON, "args": [str(script)]},
        "remote": {"url": "https://example.com/mcp"},
    }
    path.write_text(json.dumps({"mcpServers": servers}))
    return path


def rows(capfd: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    capfd.readouterr()
    assert run(["status", "--json"]) == 0
    return {row["server"]: row for row in json.loads(capfd.readouterr().out)}


def protect() -> None:
    assert run(["protect", "--yes", "--no-check"]) == 0


def test_nothing_there_is_nothing_off(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--check"]) == 0
    assert "no MCP application's file was found" in capfd.readouterr().out
    assert rows(capfd) == {}


def test_each_server_and_its_state(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = rows(capfd)
    assert found["local"] == {
        "host": "Cursor",
        "file": str(file),
        "server": "local",
        "state": "unprotected",
        "reason": "",
        "profile": "",
        "package": "",
        "plaintext": [],
        "keyring": [],
        "drift": [],
        "off": True,
    }
    assert (found["remote"]["state"], found["remote"]["off"]) == ("left", False)
    assert run(["status", "--check"]) == 1 and run(["status"]) == 0
    protect()
    found = rows(capfd)
    assert (found["local"]["state"], found["local"]["off"]) == ("protected", False)
    assert run(["status", "--check"]) == 0
    assert "0 of 2 need attention" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "drift"),
    [
        ('server.py"]', 'server.py", "--more"]', ["its arguments are others than were approved"]),
        (f'"{PYTHON}"', '"/usr/bin/env"', ["its command is another than was approved"]),
        ("/mcpbox", "/mcpbix", ["was behind mcpbox, and its entry was written over since"]),
        ('"--name", "local", ', "", []),
    ],
)
def test_a_changed_entry_is_drift(
    file: Path, old: str, new: str, drift: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    protect()
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    row = rows(capfd)["local"]
    assert (row["drift"], row["off"]) == (drift, bool(drift))


def test_an_mcpbox_that_has_gone_is_drift(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    protect()
    program = json.loads(file.read_text())["mcpServers"]["local"]["command"]
    file.write_text(file.read_text().replace(program, "/gone/mcpbox"))
    assert rows(capfd)["local"]["drift"] == ["there is no mcpbox at /gone/mcpbox any more"]


@pytest.mark.parametrize(
    ("old", "new", "drift"),
    [
        ('"wrap"', '"wrap", "--learn-network"', "it may reach every public host (--learn-network)"),
        ('"wrap"', '"wrap", "--learn"', "it may reach every public host (--learn)"),
        ('"--",', '"--env", "SSH_AUTH_SOCK", "--",', "it is passed SSH_AUTH_SOCK of the host's own variables"),
        ('"args"', '"env": {"PYTHONPATH": "/x"}, "args"', "it sets PYTHONPATH, which mcpbox itself obeys"),
        ('"args"', '"<<": {}, "args"', "it takes a part of itself from elsewhere in the file (<<)"),
        ('"wrap"', '"wrap", "--profile={0}"', "its profile is {0}, and was none when it was approved"),
        ('"wrap"', '"wrap", "--learn-network", "--profile", "{0}"', "its profile is {0}, and was none when it was"),
    ],
)
def test_what_takes_the_walls_away_is_off(
    file: Path, old: str, new: str, drift: str, capfd: pytest.CaptureFixture[str]
) -> None:
    protect()
    everything = file.parent / "everything.toml"
    everything.write_text('version = 1\nname = "filesystem"\n[filesystem]\nread = [{path = "/", unsafe = true}]\n')
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new.replace("{0}", str(everything)), 1))
    row = rows(capfd)["local"]
    assert any(found.startswith(drift.replace("{0}", str(everything))) for found in row["drift"]) and row["off"]
    assert row["state"] == ("protected" if new.startswith('"wrap", "--profile') else "unprotected")
    # Not even an approval makes it right, unless it is the profile that was approved.
    assert run(["protect", "--yes", "--no-check"]) == (0 if new.startswith('"wrap", "--profile') else 1)


@pytest.mark.parametrize(
    ("name", "members", "reason"),
    [
        ("a", {"env": {"LD_PRELOAD": "/x.so"}}, "sets LD_PRELOAD, which mcpbox itself would obey"),
        ("a", {"envFile": ".env"}, "takes variables from an envFile"),
        ("a\ud800", {}, "has a character in its name or command"),
    ],
)
def test_what_the_user_could_mend_is_off(
    file: Path, name: str, members: dict[str, Any], reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    file.write_text(json.dumps({"mcpServers": {name: {"command": PYTHON, **members}}}))
    assert run(["protect", "--yes", "--no-check"]) == 1 and f"left alone: it {reason}" in capfd.readouterr().out
    (row,) = rows(capfd).values()
    assert (row["state"], row["off"]) == ("unprotected", True) and reason in row["reason"]


@pytest.mark.parametrize("words", [["wrap", "--", "/bin/true"], ["serve"]])
def test_another_program_of_the_same_name_is_off(
    file: Path, words: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = file.parent / "bin" / "mcpbox"
    other.parent.mkdir()
    other.write_text('#!/bin/sh\nexec "$@"\n')
    other.chmod(0o755)
    for command, environment in ((str(other), {}), ("mcpbox", {"PATH": str(other.parent)})):
        entry = {"command": command, "args": words, "env": environment}
        file.write_text(json.dumps({"mcpServers": {"local": entry}}))
        row = rows(capfd)["local"]
        assert (row["drift"], row["off"]) == ([f"{other} is not this mcpbox, and may do anything"], True)
        assert row["state"] == ("unprotected" if words[0] == "wrap" else "left")
    # By hand, and this one.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    file.write_text('{"mcpServers": {"local": {"command": "mcpbox", "args": ["wrap", "--", "/bin/true"]}}}')
    assert rows(capfd)["local"]["drift"] == []


def test_a_lost_register_is_drift(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    protect()
    register.remove(str(file.resolve()), [("mcpServers", "local")])
    assert rows(capfd)["local"]["drift"] == ["its approval is not on record"]
    protect()
    assert rows(capfd)["local"]["drift"] == []


def entry(version: str) -> lock.Entry:
    return lock.Entry(
        ecosystem="npm",
        requested=("some-server",),
        name="some-server",
        version=version,
        integrity="sha512-x",
        registry="registry.example",
        resolved="2026-01-01T00:00:00Z",
        approved="user",
        floor=version,
        trees={},
    )


def test_profile_and_package_are_held_against_what_was_approved(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    mine = paths.user_profiles() / "mine.toml"
    mine.parent.mkdir(parents=True)
    mine.write_text('version = 1\nname = "mine"\nmatches = ["npm:some-server"]\n')
    lock.put("npm:some-server", entry("1.0.0"))
    file.write_text('{"mcpServers": {"some": {"command": "npx", "args": ["-y", "some-server"]}}}')
    protect()
    row = rows(capfd)["some"]
    assert (row["profile"], row["package"], row["drift"]) == ("mine", "npm:some-server 1.0.0", [])
    lock.put("npm:some-server", entry("2.0.0"))
    assert rows(capfd)["some"]["drift"] == [
        "its package is npm:some-server 2.0.0, and was npm:some-server 1.0.0 when it was approved"
    ]
    lock.put("npm:some-server", entry("1.0.0"))
    mine.write_text(mine.read_text() + '[network]\nallow = ["example.com"]\n')
    assert rows(capfd)["some"]["drift"] == ["its profile mine says something else than when it was approved"]
    mine.unlink()
    assert rows(capfd)["some"]["drift"] == ["its profile is none, and was mine when it was approved"]
    protect()
    assert rows(capfd)["some"]["drift"] == []
    # The profile that the entry names is the one that counts.
    file.write_text(file.read_text().replace('"wrap"', '"wrap", "--profile", "filesystem"'))
    assert rows(capfd)["some"]["drift"] == ["its profile is filesystem, and was none when it was approved"]
    assert profile.find("filesystem")


def test_what_variables_name_is_held_against_what_was_approved(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    mine = paths.user_profiles() / "mine.toml"
    mine.parent.mkdir(parents=True)
    network = '[network]\nfrom_environment = ["API", {host = "DB", port = "PORT"}]\n'
    mine.write_text(f'version = 1\nname = "mine"\nmatches = ["npm:some-server"]\n{network}')
    lock.put("npm:some-server", entry("1.0.0"))
    environment = {"API": "https://u:password@a.example.com", "PORT": "1", "DB": "", "OTHER": "x"}
    server = {"command": "npx", "args": ["-y", "some-server"], "env": environment}
    file.write_text(json.dumps({"mcpServers": {"some": server}}))
    protect()
    text = file.read_text()
    for old, new in (("a.example.com", "b.example.com"), ('"PORT": "1"', '"PORT": "2"'), ('"DB": ""', '"DB": "x"')):
        assert old in text
        file.write_text(text.replace(old, new))
        assert rows(capfd)["some"]["drift"] == ["its variables name other hosts or paths than were approved"]
    protect()
    assert rows(capfd)["some"]["drift"] == []
    file.write_text(file.read_text().replace('"OTHER": "x"', '"OTHER": "y"').replace("password", "mcpbox-secret:a/b"))
    assert rows(capfd)["some"]["drift"] == []
    assert "example.com" not in (paths.data_dir() / "protected.json").read_text()


def test_secrets_are_counted_and_never_shown(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    servers = json.loads(file.read_text())
    servers["mcpServers"]["local"]["env"] = {"GITHUB_TOKEN": TOKEN, "B": "Bearer mcpbox-secret:local/b;"}
    file.write_text(json.dumps(servers))
    protect()
    row = rows(capfd)["local"]
    assert (row["plaintext"], row["keyring"]) == (["env.GITHUB_TOKEN"], ["mcpbox-secret:local/b"])
    assert run(["status", "--check"]) == 1
    said = capfd.readouterr().out
    assert "a secret in plain text: env.GITHUB_TOKEN" in said and TOKEN not in said
    assert TOKEN.encode() not in msgspec.json.encode(register.load())


def test_a_file_that_cannot_be_read_is_off(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    protect()
    file.write_text('{"mcpServers": {')
    (row,) = rows(capfd).values()
    assert row["state"] == "unreadable" and "line 1, column 17: " in row["reason"]
    assert run(["status", "--check"]) == 1


def test_a_projects_servers_are_listed_and_not_off(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    project = home / "project"
    project.mkdir()
    (project / ".mcp.json").write_text(f'{{"mcpServers": {{"mine": {{"command": "{PYTHON}"}}}}}}')
    monkeypatch.chdir(project)
    row = rows(capfd)["mine"]
    assert (row["state"], row["off"]) == ("left", False) and "belongs to a project" in row["reason"]


def test_a_file_without_servers_is_listed(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file.write_text("{}")
    (row,) = rows(capfd).values()
    assert (row["file"], row["state"], row["off"]) == (str(file), "empty", False)
