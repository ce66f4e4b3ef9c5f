"""Published servers that need no account, with the profile that mcpbox has for them and what people configure."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from conftest import Runner, make_runner
from wire import Host

SCOPE = "@modelcontextprotocol/server-"


@pytest.fixture
def bubble(home: Path) -> Runner:
    return make_runner("bubblewrap", "ordinary", home)


def prepare(runner: Runner, *words: str) -> None:
    """Install beforehand: how long that takes is not the subject here."""
    add = [*runner.words()[:3], "package", "add", "--backend", runner.backend, "--yes", "--", *words]
    with runner.host(add) as host:
        assert host.process.wait(120) == 0, host.stderr.read()


@contextmanager
def started(runner: Runner, *words: str, **variables: str) -> Iterator[Host]:
    """The server as a host starts it, with the environment of its entry, after the handshake."""
    options = [word for name in variables for word in ("--env", name)]
    with replace(runner, variables=variables).wrap(*words, options=options) as host:
        answer = host.initialize()
        assert "result" in answer, answer
        yield host


class Api(BaseHTTPRequestHandler):
    """Keeps what it was asked, and knows nothing."""

    seen: ClassVar[list[tuple[str, str]]] = []

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers.get("Authorization", "")))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_a_host_from_a_variable(bubble: Runner) -> None:
    words = ["npx", "-y", f"{SCOPE}gitlab"]
    prepare(bubble, *words)
    with HTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/api/v4"
        with started(bubble, *words, GITLAB_API_URL=url, GITLAB_PERSONAL_ACCESS_TOKEN="t") as host:
            host.call("search_repositories", search="x")
        server.shutdown()
    assert Api.seen and Api.seen[0][0].startswith("/api/v4/projects?") and Api.seen[0][1] == "Bearer t"


def test_a_host_from_an_argument(bubble: Runner) -> None:
    words = ["npx", "-y", f"{SCOPE}postgres"]
    prepare(bubble, *words)
    with socket.create_server(("127.0.0.1", 0)) as database:
        database.settimeout(20)
        url = f"postgresql://u:p@localhost:{database.getsockname()[1]}/x?sslmode=disable"
        with started(bubble, *words, url) as host:
            params = {"name": "query", "arguments": {"sql": "select 1"}}
            asked = {"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": params}
            host.write(json.dumps(asked).encode() + b"\n")
            with database.accept()[0] as client:
                client.settimeout(20)
                # PostgreSQL's StartupMessage: its length, then version 3.0.
                assert client.recv(8)[4:8] == b"\x00\x03\x00\x00"


def test_a_file_from_a_variable(bubble: Runner) -> None:
    file = bubble.home / "data" / "graph.jsonl"
    file.parent.mkdir()
    bubble.give(file.parent)
    words = ["npx", "-y", f"{SCOPE}memory"]
    prepare(bubble, *words)
    entity = {"name": "n", "entityType": "t", "observations": ["o"]}
    with started(bubble, *words, MEMORY_FILE_PATH=str(file)) as host:
        host.call("create_entities", entities=[entity])
    assert json.loads(file.read_text()) == {"type": "entity", **entity}
    with started(bubble, *words) as host:
        assert "entityType" not in json.dumps(host.call("read_graph")), "its own file is another one"


def test_a_database_from_an_option(bubble: Runner) -> None:
    file = bubble.home / "data" / "x.db"
    file.parent.mkdir()
    bubble.give(file.parent)
    # The last release is for the protocol library before its version 2.
    words = ["uvx", "--with", "mcp<2", "mcp-server-sqlite"]
    prepare(bubble, *words)
    with started(bubble, *words, "--db-path", str(file)) as host:
        host.call("create_table", query="create table t (a)")
    assert file.read_bytes().startswith(b"SQLite format 3") and b"create table" in file.read_bytes().lower()
