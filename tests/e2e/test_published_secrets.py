"""Published servers with secrets from a real keyring: pinned packages are their owners by name."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from conftest import Runner, make_runner
from secretservice import SecretService

VALUE = "ghp_Zq8vTnW3xK5mR7yB2cD4fG6hJ9kL0pQsA1e"
#: Something that the server says back in its own words, so not a value that a test could leak into them.
ZONE = "Antarctica/Troll"


@pytest.fixture
def bubble(home: Path) -> Iterator[Runner]:
    runner = make_runner("bubblewrap", "ordinary", home)
    with SecretService(runner.home, runner.uid) as service:
        yield replace(runner, variables=service.variables)


def keep(runner: Runner, name: str, value: str, owner: str) -> None:
    words = [sys.executable, "-m", "mcpbox", "secrets", "set", name, "--for", owner]
    subprocess.run(words, input=value.encode(), env=runner.env, user=runner.uid, group=runner.uid, check=True)


def add(runner: Runner, *words: str) -> None:
    """``package add``, which on a busy machine takes longer than a host waits."""
    with runner.host([*runner.words()[:3], "package", "add", "--backend", runner.backend, "--yes", *words]) as host:
        assert host.process.wait(180) == 0


def shown_on_a_command_line(value: str) -> bool:
    return any(value in word for process in psutil.process_iter(["cmdline"]) for word in process.info["cmdline"] or ())


def test_a_pinned_npm_server_gets_its_secret_and_another_does_not(bubble: Runner) -> None:
    owner = "npm:@modelcontextprotocol/server-everything"
    keep(bubble, "everything/TOKEN", VALUE, owner)
    runner = replace(bubble, variables={**bubble.variables, "TOKEN": "mcpbox-secret:everything/TOKEN"})
    options = ("--env", "TOKEN")
    add(runner, owner)
    with runner.wrap(
        "npx", "-y", owner.removeprefix("npm:"), "stdio", "mcpbox-secret:everything/TOKEN", options=options
    ) as host:
        assert "result" in host.initialize()
        # The server has it, and the host gets a mask for it.
        assert json.loads(host.call("get-env")["content"][0]["text"])["TOKEN"] == "<secret everything/TOKEN #1>"
        assert not shown_on_a_command_line(VALUE)
    other = "npm:@modelcontextprotocol/server-memory"
    keep(bubble, "everything/TOKEN", VALUE, other)
    with runner.wrap("npx", "-y", owner.removeprefix("npm:"), options=options) as host:
        assert (
            f"the secret everything/TOKEN is for {other}, not for {owner}"
            in host.request("initialize", {})["error"]["message"]
        )


def test_a_pinned_pypi_server_gets_a_secret_in_an_argument(bubble: Runner) -> None:
    keep(bubble, "time/ZONE", ZONE, "pypi:mcp-server-time")
    add(bubble, "uvx", "mcp-server-time")
    with bubble.wrap("uvx", "mcp-server-time", "--local-timezone=mcpbox-secret:time/ZONE") as host:
        assert "result" in host.initialize()
        assert ZONE in json.dumps(host.request("tools/list", {})["result"])
        assert not shown_on_a_command_line(ZONE)
