"""Published packages by the commands that people have in their configurations: prepared once, then offline."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import Runner, docker_groups, make_runner, must_have, must_work
from elsewhere import elsewhere
from wire import Host

SCOPE = "@modelcontextprotocol/server-"


@pytest.fixture
def bubble(home: Path) -> Runner:
    return make_runner("bubblewrap", "ordinary", home)


@pytest.fixture
def container(home: Path) -> Runner:
    must_have("docker")
    return make_runner("docker", "ordinary", home)


def offline(words: Sequence[str], runner: Runner) -> Host:
    """A command in a network namespace with nothing in it: whatever is fetched fails."""
    groups = ["--groups", ",".join(map(str, docker_groups()))] if docker_groups() else ["--clear-groups"]
    user = ["setpriv", "--reuid", str(runner.uid), "--regid", str(runner.uid), *groups] if runner.uid else []
    return Host(["unshare", "--net", "--", *user, *words], runner.env)


def tools(host: Host) -> set[str]:
    with host:
        started = host.initialize()
        assert "result" in started, started
        found = {tool["name"] for tool in host.request("tools/list", {})["result"]["tools"]}
        host.stdin.close()
        host.process.wait(10)
    return found


def first_then_offline(runner: Runner, words: Sequence[str], tool: str) -> None:
    if os.geteuid() != 0:
        must_work("only root can make a network namespace")
    assert tool in tools(runner.wrap(*words))
    lock = runner.home / ".config/mcpbox/mcpbox.lock"
    pinned = lock.read_bytes()
    assert tool in tools(offline(runner.words(*words), runner))
    assert lock.read_bytes() == pinned, "a later start resolves nothing"


def test_npx_under_bubblewrap(bubble: Runner) -> None:
    first_then_offline(bubble, ["npx", "-y", f"{SCOPE}everything"], "echo")
    mcpbox = bubble.words()[:3]
    with bubble.host([*mcpbox, "package", "list", "--json"]) as host:
        assert [entry["name"] for entry in json.loads(host.stdout.read())] == [f"{SCOPE}everything"]
    with bubble.host([*mcpbox, "package", "verify"]) as host:
        assert host.process.wait(60) == 0
    with bubble.host([*mcpbox, "package", "show", f"{SCOPE}everything", "--sbom"]) as host:
        assert json.loads(host.stdout.read())["bomFormat"] == "CycloneDX"


def test_npx_under_docker(container: Runner) -> None:
    first_then_offline(container, ["npx", "-y", f"{SCOPE}memory"], "create_entities")


def test_uvx_under_bubblewrap(bubble: Runner) -> None:
    first_then_offline(bubble, ["uvx", "mcp-server-git"], "git_status")


def test_uvx_under_docker(container: Runner) -> None:
    first_then_offline(container, ["uvx", "mcp-server-time"], "get_current_time")


def test_a_server_that_needs_an_older_sdk_keeps_a_database(bubble: Runner) -> None:
    directory = bubble.home / "database"
    directory.mkdir()
    bubble.give(directory)
    words = ["uvx", "--with", "mcp<2", "mcp-server-sqlite", "--db-path", str(directory / "notes.db")]
    with bubble.host([*bubble.words()[:3], "package", "add", "--yes", "--backend", "bubblewrap", "--", *words]) as host:
        assert host.process.wait(120) == 0, host.stderr.read()
    with bubble.wrap(*words, profile=f'[filesystem]\nwrite = ["{directory}"]\n') as host:
        host.initialize()
        assert not host.call("create_table", query="CREATE TABLE notes (text)").get("isError")
        assert "notes" in host.call("list_tables")["content"][0]["text"]
    assert (directory / "notes.db").stat().st_uid == bubble.uid


def test_npx_on_another_machine(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with elsewhere() as far:
        for name, value in far.environment.items():
            monkeypatch.setenv(name, value)
        runner, words = make_runner("docker", "ordinary", home), ["npx", "-y", f"{SCOPE}everything"]
        with runner.host([*runner.words()[:3], "package", "add", "--backend", "docker", "--", *words]) as host:
            assert host.process.wait(120) == 0, host.stderr.read()
        with runner.wrap(*words) as host:
            assert host.initialize()["result"]["serverInfo"]["name"] == "mcp-servers/everything"
            assert host.call("echo", message="hello")["content"][0]["text"] == "Echo: hello"
