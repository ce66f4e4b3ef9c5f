"""Rows of a table, for people and for pipes."""

from __future__ import annotations

import os
import subprocess
import sys

import click
import pytest

from mcpbox.packages import terminal

SHOWN = """\
import click
from mcpbox.packages import terminal
print(terminal.row("  " + click.style("name", fg="red"), 10, "some words that take\\x1b more than one "
    "line, and a/very/long/path/that/does/not/break"))
print(terminal.row("  a-long-name", 10, "text"))
"""


def test_in_a_pipe_a_row_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert terminal.row("  name", 10, "x " * 100) == "  name    " + "x " * 100
    assert terminal.row("  a-long-name", 10, "text\x1b[2J") == "  a-long-name  text [2J"
    assert terminal.row(click.style("  name", fg="red"), 10, "x") == click.style("  name", fg="red") + "    x"


def test_on_a_terminal_it_is_wrapped_in_its_column() -> None:
    ours, theirs = os.openpty()
    done = subprocess.run([sys.executable, "-c", SHOWN], stdout=theirs, env={**os.environ, "COLUMNS": "40"}, check=True)
    os.close(theirs)
    said = click.unstyle(os.read(ours, 4096).decode()).splitlines()
    os.close(ours)
    assert done.returncode == 0 and said == [
        "  name    some words that take  more",
        "          than one line, and",
        "          a/very/long/path/that/does/not/break",
        "  a-long-name",
        "          text",
    ]
