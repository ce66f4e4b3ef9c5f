"""An MCP server that lists its tools: ``run`` and ``walk`` both run a command, and say its exit code and output."""

import json
import subprocess
import sys

SCHEMA = {"type": "object", "properties": {"words": {"type": "array", "items": {"type": "string"}}}}
TOOLS = [
    {"name": name, "description": "Run a command.", "inputSchema": SCHEMA} for name in ("run", "walk", "delete_all")
]


def run(words):
    done = subprocess.run(words, capture_output=True, timeout=30)
    return {"code": done.returncode, "out": done.stdout.decode("latin-1")}


def answer(message, result):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}) + "\n")
    sys.stdout.flush()


for line in sys.stdin:
    message = json.loads(line)
    method = message.get("method")
    if method == "initialize":
        info = {"name": "listed", "version": "1"}
        answer(message, {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info})
    elif method == "tools/list":
        answer(message, {"tools": TOOLS})
    elif method == "tools/call":
        answer(message, {"content": [], "structuredContent": run(**message["params"]["arguments"])})
