from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from detect.fakes import word

from mcpbox.hosts import survey
from mcpbox.migration import candidates
from mcpbox.migration.candidates import Candidate
from mcpbox.secrets.reference import Reference

KEY = word(random.Random(3), 40)
OUTSIDE = "it is not behind mcpbox: run first: mcpbox protect"
READ_BY_PROGRAM = "it is in a place of the command that only its program reads"


@pytest.fixture
def script(home: Path) -> str:
    path = home / "server.py"
    path.write_text("")
    return str(path)


def found(home: Path, name: str = "my server", **entry: object) -> list[Candidate]:
    path = home / ".cursor/mcp.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"mcpServers": {name: entry}}))
    (file,) = survey.survey(["cursor"], [])
    return candidates.candidates(file)


def behind(home: Path, *words: str, passed: tuple[str, ...] = (), env: dict[str, str] | None = None) -> list[Candidate]:
    options = ["--host", "cursor", "--name", "x", *(word for name in passed for word in ("--env", name))]
    return found(home, command="/usr/bin/mcpbox", args=["wrap", *options, "--", *words], env=env or {})


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (["--api-key", KEY], KEY),
        ([f"--api-key={KEY}"], KEY),
        ([f"postgres://u:{KEY}@h/d"], KEY),
        (["--header", f"Authorization: Bearer {KEY}"], KEY),
        # A reference ends where its name's characters do.
        ([f"https://u:{KEY}@h/x?token=tiger9lion.and-more"], KEY),
    ],
)
def test_what_can_be_moved_of_the_arguments(arguments: list[str], value: str, home: Path, script: str) -> None:
    one = behind(home, "/usr/bin/python3", script, *arguments)[0]
    assert (one.value, one.reason, one.owners) == (value, "", (f"file:{script}",))
    assert one.old[one.start :].startswith(value) and one.reference.server == "my-server"


def test_a_variable(home: Path, script: str) -> None:
    (one,) = behind(home, "/usr/bin/python3", script, passed=("API_KEY",), env={"API_KEY": KEY})
    assert (one.reference, one.path, one.reason) == (
        Reference("my-server", "API_KEY"),
        ("mcpServers", "my server", "env", "API_KEY"),
        "",
    )


def test_a_variable_of_an_image(home: Path) -> None:
    (one,) = behind(home, "docker", "run", "-i", "--rm", "-e", f"API_KEY={KEY}", "example/server:1")
    assert (one.reason, one.owners) == ("", ("image:example/server", "image:example/server:1"))


def test_a_secret_goes_on_to_where_its_reference_can_end(home: Path, script: str) -> None:
    (one,) = behind(home, "/usr/bin/python3", script, f"x=ghp_{KEY[:36]}.rest/y")
    assert one.value == f"ghp_{KEY[:36]}.rest"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("docker", "run", "-i", "--rm", "example/server:1", "--api-key", KEY), READ_BY_PROGRAM),
        (("/usr/bin/env", "true", f"--api-key={KEY}"), "it is no program of Node or Python"),
        (("npx", "-y", "example-server", f"--api-key={KEY}"), "npm:example-server is not installed"),
        (("/nowhere/server", f"--api-key={KEY}"), "/nowhere/server"),
        (("/usr/bin/python3", "-c", "print()", f"--api-key={KEY}"), READ_BY_PROGRAM),
        ((), "there is no command behind mcpbox"),
    ],
)
def test_why_an_argument_stays(words: tuple[str, ...], reason: str, home: Path) -> None:
    (one,) = behind(home, *words, env={} if words else {"API_KEY": KEY})
    assert reason in one.reason


def test_why_a_variable_stays(home: Path, script: str) -> None:
    (one,) = behind(home, "/usr/bin/python3", script, env={"API_KEY": KEY})
    assert one.reason.startswith("mcpbox does not pass the variable on")
    (one,) = behind(home, "/usr/bin/python3", script, passed=("KEYS",), env={"KEYS": f"token={KEY}\nx={'y' * 70_000}"})
    assert one.reason == ""
    (one,) = behind(home, "/usr/bin/python3", script, passed=("KEY",), env={"API_KEY": KEY * 2000})
    assert one.reason == "it cannot be kept: it is longer than 64 KiB"


def test_an_option_of_mcpbox_is_none_of_the_servers(home: Path, script: str) -> None:
    words = ["wrap", "--profile", f"x?token={KEY}", "--", "/usr/bin/python3", script]
    assert all(one.reason for one in found(home, command="/usr/bin/mcpbox", args=words))


def test_servers_that_are_not_behind_mcpbox(home: Path, script: str) -> None:
    (one,) = found(home, command="/usr/bin/python3", args=[script], env={"API_KEY": KEY})
    assert one.reason == OUTSIDE
    (one,) = found(home, url="https://mcp.example.net", headers={"X-API-Key": KEY})
    assert one.reason.startswith("the server is remote") and "references to variables" in one.reason
