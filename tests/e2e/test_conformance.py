"""The MCP conformance suite: a wrapped server scores as the bare one does, check by check.

The suite speaks HTTP, so that a bridge stands in front of the server, which it starts anew for every session.
"""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import SERVERS, Runner
from wire import Host, eventually

PROFILE = '[filesystem]\narguments = "read"\n[messages]\nsampling = "allow"\nelicitation = "allow"\n'
# Every scenario is a session of its own, and the first of them that lists anything lists the prompts alone.
PROFILE += '[tools]\nnew = "allow"\n'
ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent"}
# What the bare server passes of it; the one failure is the bridge's.
PASSED = 43
FAILED = {"dns-rebinding-protection/localhost-host-rebinding-rejected"}
VOLATILE = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}_?|127\.0\.0\.1:\d+|localhost:\d+")

Scores = dict[str, list[tuple[str, str, Any]]]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def reachable(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except ConnectionRefusedError:
        return False
    return True


def scores(cache: Path, server: Sequence[str], start: Callable[[Sequence[str]], Host], results: Path) -> Scores:
    """Every scenario's checks: identifier, status and details without what differs from run to run."""
    (node,) = cache.glob("inspector/node_modules/node-linux-*/bin/node")
    modules = cache / "conformance/node_modules"
    port = free_port()
    bridge = [str(node), str(modules / "supergateway/dist/index.js"), "--stdio", shlex.join(server)]
    # Sessions that the suite leaves open would otherwise keep some thirty servers alive at once.
    options = ["--outputTransport", "streamableHttp", "--stateful", "--sessionTimeout", "5000", "--logLevel", "none"]
    with start([*bridge, *options, "--port", str(port)]) as gateway:
        assert eventually(lambda: reachable(port), 20), gateway.process.poll()
        suite = str(modules / "@modelcontextprotocol/conformance/dist/index.js")
        url = f"http://127.0.0.1:{port}/mcp"
        words = [str(node), suite, "server", "--url", url, "--suite", "all", "--output-dir", str(results)]
        # Its exit code says whether a check failed; which one is in the files.
        subprocess.run(words, env=ENV, capture_output=True, timeout=120)
        gateway.process.terminate()
        gateway.process.wait()
    found: Scores = {}
    for file in sorted(results.glob("server-*/checks.json")):
        scenario = file.parent.name.removeprefix("server-").partition("-20")[0]
        records = json.loads(VOLATILE.sub("X", file.read_text()))
        # INFO is a log of the traffic, dates included, and no check.
        checks = [record for record in records if record["status"] != "INFO"]
        found[scenario] = [(c["id"], c["status"], c.get("errorMessage") or c.get("details")) for c in checks]
    return found


def statuses(found: Scores, status: str) -> list[str]:
    return [f"{name}/{check}" for name, checks in found.items() for check, result, _ in checks if result == status]


@pytest.fixture(scope="module")
def bare(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Scores:
    server = ["node", str(SERVERS / "conformance.cjs"), str(cache / "servers/node_modules")]
    return scores(cache, server, lambda words: Host(words, ENV), tmp_path_factory.mktemp("bare"))


@pytest.mark.parametrize("runner", ["ordinary"], indirect=True)
def test_wrapped_scores_as_bare(runner: Runner, cache: Path, bare: Scores, tmp_path: Path) -> None:
    server = ["node", str(runner.home / "servers/conformance.cjs"), str(cache / "servers/node_modules")]
    wrapped = scores(cache, runner.words(*server, profile=PROFILE), runner.host, tmp_path)
    assert wrapped == bare
    assert len(statuses(wrapped, "SUCCESS")) >= PASSED
    assert set(statuses(wrapped, "FAILURE")) <= FAILED
