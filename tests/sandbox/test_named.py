"""Hosts and paths that the user's own configuration names: they are there, and what it does not name is not."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from conftest import ORDINARY, PYTHON, Runner
from wire import Host

PROFILE = """
[network]
from_environment = ["API_URL"]
from_arguments = ["--dsn"]

[filesystem]
from_environment = { DATA = "directory" }
from_arguments = { --db-path = "beside" }
"""
CONNECT = "import socket, sys; socket.create_connection(('localhost', int(sys.argv[1])), 3).sendall(b'x')"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as found:
        found.settimeout(10)
        yield found


def run(host: Host, *words: Any) -> dict[str, Any]:
    found: dict[str, Any] = host.call("run", words=list(map(str, words)))["structuredContent"]
    return found


def test_named_hosts_are_reached_and_named_paths_are_mounted(runner: Runner, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    base = runner.home / "base"
    (base / "sub").mkdir(parents=True)
    # Root's server runs as whoever owns the files.
    replace(runner, uid=runner.uid or ORDINARY).give(base)
    variables = {"API_URL": f"http://u:p@127.0.0.1:{port}/x", "DATA": str(base / "made")}
    options = ("--env", "API_URL", "--env", "DATA")
    server = (PYTHON, runner.home / "servers" / "run.py", "--db-path", base / "sub" / "new.db")
    with replace(runner, variables=variables).wrap(*server, profile=PROFILE, options=options) as host:
        host.initialize()
        assert run(host, PYTHON, "-c", CONNECT, port)["code"] == 0
        with listener.accept()[0] as client:
            assert client.recv(1) == b"x"
        assert run(host, PYTHON, "-c", CONNECT, port % 60000 + 1024)["code"] != 0
        assert run(host, "sh", "-c", f"echo x >{base}/made/y && echo x >{base}/sub/new.db-journal")["code"] == 0
        run(host, "sh", "-c", f"echo x >{base}/y")
    assert (base / "made" / "y").read_text() == "x\n" and (base / "sub" / "new.db-journal").exists()
    assert sorted(path.name for path in base.iterdir()) == ["made", "sub"]


def test_what_is_not_named_is_not_there(runner: Runner, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    # Set, but not passed on: it is the host's own, and names nothing for this server.
    variables = {"API_URL": f"http://127.0.0.1:{port}"}
    server = (PYTHON, runner.home / "servers" / "run.py", f"http://127.0.0.1:{port}")
    with replace(runner, variables=variables).wrap(*server, profile=PROFILE) as host:
        host.initialize()
        assert run(host, PYTHON, "-c", CONNECT, port)["code"] != 0


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("API_URL", "http://169.254.169.254/latest", "a cloud metadata service"),
        ("API_URL", "https://*.example.com", "no host can be read"),
        ("DATA", "~/.ssh", "credentials"),
    ],
)
def test_what_must_not_be_named_is_told_to_the_host(runner: Runner, variable: str, value: str, reason: str) -> None:
    server = (PYTHON, runner.home / "servers" / "run.py")
    options = ("--env", variable)
    with replace(runner, variables={variable: value}).wrap(*server, profile=PROFILE, options=options) as host:
        error = host.initialize()["error"]
        assert variable in error["message"] and reason in error["message"]
    assert not (runner.home / ".ssh").exists()
