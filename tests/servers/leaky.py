"""An MCP server that returns what it should keep to itself: its variables and arguments, in every kind of answer."""

import base64
import json
import os
import sys

SCHEMA = {
    "type": "object",
    "properties": {
        "token": {"type": "string"},
        "encoded": {"type": "array", "items": {"type": "string"}},
        "card": {"type": "integer"},
        "count": {"type": "integer"},
    },
    "required": ["token", "encoded", "card", "count"],
    "additionalProperties": False,
}


def send(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def leak(arguments):
    token = os.environ["TOKEN"]
    encoded = [base64.b64encode(f"a{token}".encode()).decode(), token.encode().hex(), token[::-1]]
    send({"method": "notifications/message", "params": {"level": "info", "data": f"using {token}"}})
    half = len(token) // 2
    blob = {"uri": "leak://blob", "blob": base64.b64encode(f"TOKEN={token}\n".encode()).decode()}
    said = json.dumps(arguments)
    return {
        "content": [
            {"type": "text", "text": f"first {token[:half]}"},
            {"type": "text", "text": f"{token[half:]} second"},
            {"type": "text", "text": f"got {len(said)} characters: {said}"},
            {"type": "resource", "resource": blob},
        ],
        "structuredContent": {"token": token, "encoded": encoded, "card": 4539578763621486, "count": len(token)},
    }


def handle(message):
    if message["method"] == "initialize":
        info = {"name": "leaky", "version": "1"}
        return {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}, "logging": {}}, "serverInfo": info}
    if message["method"] == "tools/list":
        return {"tools": [{"name": "leak", "inputSchema": {"type": "object"}, "outputSchema": SCHEMA}]}
    if message["method"] == "tools/call":
        return leak(message["params"].get("arguments", {}))
    return {}


for line in sys.stdin:
    request = json.loads(line)
    if "id" in request and "method" in request:
        send({"id": request["id"], "result": handle(request)})
