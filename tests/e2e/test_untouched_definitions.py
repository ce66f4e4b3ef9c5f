"""Published servers' own definitions pass the scan as they are."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mcpbox.jsonrpc import Request, Response
from mcpbox.policy.base import Rules, Side
from mcpbox.policy.definitions_scan import DefinitionScan
from mcpbox.policy.descriptions import Descriptions

NODE = "servers/node_modules/@modelcontextprotocol"
SERVERS = (
    ["node", f"{NODE}/server-everything/dist/index.js"],
    ["node", f"{NODE}/server-filesystem/dist/index.js", "/tmp"],
    ["node", f"{NODE}/server-memory/dist/index.js"],
    ["servers-py/bin/mcp-server-git"],
    ["servers-py/bin/mcp-server-time"],
    ["servers-py/bin/mcp-server-fetch"],
)
ABOUT = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}


@pytest.mark.parametrize(
    "command", SERVERS, ids=lambda command: Path(command[-1]).name if len(command) == 1 else command[1]
)
def test_a_published_server_defines_nothing_that_is_hidden_or_changed(command: list[str], cache: Path) -> None:
    words = [str(cache / word) if "/" in word and not word.startswith("/") else word for word in command]
    asked = ["initialize", "tools/list"]
    lines: list[dict[str, Any]] = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": ABOUT},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}},
    ]
    with subprocess.Popen(
        words, stdin=-1, stdout=-1, stderr=-3, env={"PATH": "/usr/bin:/bin", "HOME": "/tmp"}
    ) as server:
        assert server.stdin and server.stdout
        server.stdin.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        server.stdin.flush()
        answers: dict[int, Any] = {}
        while len(answers) < 2:
            answer = json.loads(server.stdout.readline())
            if "result" in answer:
                answers[answer["id"]] = answer
        server.kill()
    assert answers[2]["result"]["tools"]
    rules = Rules(scan="block")
    for policy in (DefinitionScan(rules), Descriptions(rules)):
        for id, method in enumerate(asked, 1):
            message = Response(id, answers[id], Request(id, method, {}, {}))
            assert policy.judge(Side.SERVER, message) is None
