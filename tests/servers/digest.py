"""An MCP server with one tool, ``digests``: SHA-256 of each of its variables and arguments, so that none is told."""

import hashlib
import json
import os
import sys


def digest(text):
    return hashlib.sha256(os.fsencode(text)).hexdigest()


def result(method):
    if method == "initialize":
        info = {"name": "digest", "version": "1"}
        return {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}
    if method == "tools/list":
        return {"tools": [{"name": "digests", "inputSchema": {"type": "object"}}]}
    if method == "tools/call":
        variables = {name: digest(value) for name, value in os.environ.items()}
        found = {"variables": variables, "arguments": [digest(word) for word in sys.argv[1:]]}
        return {"content": [{"type": "text", "text": json.dumps(found)}]}
    return {}


for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": result(message["method"])}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
