"""How mcpbox ends where its output, its input or its directories are not what they should be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

MCPBOX = [sys.executable, "-m", "mcpbox"]


def ended(words: Sequence[str], **more: Any) -> tuple[int, str]:
    done = subprocess.run([*MCPBOX, *words], stderr=subprocess.PIPE, text=True, timeout=60, check=False, **more)
    return done.returncode, done.stderr


@pytest.mark.parametrize("words", [["profile", "list"], ["audit", "export", "--format", "json"], ["--help"]])
def test_an_output_that_nobody_reads_is_neither_success_nor_a_finding(words: list[str]) -> None:
    unread, output = os.pipe()
    os.close(unread)
    with open(output, "wb") as stdout:
        assert ended(words, stdout=stdout) == (141, "")


@pytest.mark.parametrize("words", [["profile", "list"], ["audit", "export", "--format", "json"], ["--help"]])
def test_an_output_that_is_full_is_said_once(words: list[str]) -> None:
    with open("/dev/full", "wb") as stdout:
        assert ended(words, stdout=stdout) == (3, "mcpbox: nothing more can be written: No space left on device\n")


@pytest.mark.parametrize("closed", [0, 1])
@pytest.mark.parametrize("words", [["audit", "show"], ["audit", "export", "--format", "csv"], ["profile", "check"]])
def test_a_stream_that_is_closed_counts_as_empty(words: list[str], closed: int) -> None:
    streams = {0: subprocess.DEVNULL, 1: subprocess.DEVNULL}
    assert ended(words, stdin=streams[0], stdout=streams[1], preexec_fn=lambda: os.close(closed)) == (0, "")


@pytest.mark.parametrize("words", [["ps"], ["tools", "list"], ["profile", "new", "mine"]])
def test_a_home_that_cannot_be_written_to_is_no_bug(words: list[str]) -> None:
    names = ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    code, said = ended(words, env={**environment, "HOME": "/dev/null"})
    assert code == 3 and said.startswith("mcpbox: /dev/null/.")
    assert said.endswith(": Not a directory\n        run: mcpbox doctor\n")


def test_a_profile_wants_a_name() -> None:
    code, said = ended(["profile", "new"])
    assert code == 2 and said.startswith("mcpbox: no name\n        accepted: mcpbox profile new NAME")


@pytest.mark.parametrize(
    ("name", "value", "coloured"), [("TERM", "xterm", True), ("TERM", "dumb", False), ("NO_COLOR", "1", False)]
)
def test_a_terminal_without_colours_is_sent_none(name: str, value: str, coloured: bool) -> None:
    plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    ours, theirs = os.openpty()
    with open(theirs, "wb") as stdout:
        process = subprocess.Popen([*MCPBOX, "doctor"], stdout=stdout, env={**plain, "TERM": "xterm", name: value})
    said = b""
    # Linux ends a terminal that nobody holds any more with EIO.
    with suppress(OSError):
        while part := os.read(ours, 1 << 16):
            said += part
    os.close(ours)
    assert process.wait(60) in (0, 1) and b"machine" in said
    assert (b"\x1b" in said) == coloured


@pytest.mark.parametrize(
    ("listed", "refused"),
    [
        ('read = ["~/.ssh"]', "read: ~/.ssh: it holds credentials"),
        ('write = ["~/"]', "write: ~/: it holds "),
        ('read = [{ path = "~/.ssh", unsafe = true }]\nwrite = ["~/.ssh"]', "write: ~/.ssh: it holds credentials"),
        ('read = ["~/.ssh"]\nwrite = [{ path = "~/.ssh", unsafe = true }]', "read: ~/.ssh: it holds credentials"),
        ('read = ["~/not/there", { path = "~/.ssh", unsafe = true }]', ""),
    ],
)
def test_a_profile_that_no_start_would_take_is_not_ok(home: Path, listed: str, refused: str) -> None:
    file = home / "mine.toml"
    file.write_text(f'version = 1\nname = "mine"\n[filesystem]\n{listed}\n')
    code, said = ended(["profile", "check", str(file)], stdout=subprocess.DEVNULL)
    assert code == bool(refused)
    assert said.startswith(f"{file}: filesystem.{refused}") if refused else said == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--backend", "podman"], "'podman' is not one of 'auto', 'docker', 'bubblewrap'"),
        (["--learn=yes"], "does not take a value"),
        (["--profil", "mine"], "--profil: neither an option of this verb nor a command"),
    ],
)
def test_the_host_is_told_of_a_wrong_option_too(options: list[str], said: str) -> None:
    request = '{"jsonrpc": "2.0", "id": "first", "method": "initialize", "params": {}}\n'
    done = subprocess.run(
        [*MCPBOX, "wrap", *options, "--", "server"], input=request, capture_output=True, text=True, check=False
    )
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["id"]) == (2, "first")
    assert said in answer["error"]["message"] and "--help" in answer["error"]["data"]["hint"] and said in done.stderr
