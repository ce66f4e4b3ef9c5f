"""The least of an MCP server, for those beside it: a list of tools, and a function that is called with each call."""

import json
import sys


def send(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def ask(method, params):
    """A request of the server's own; the host's answer to it."""
    send({"id": "asked", "method": method, "params": params})
    for line in sys.stdin:
        message = json.loads(line)
        if message.get("id") == "asked" and "method" not in message:
            return message
    return {}


def tool(name, description, /, **properties):
    return {"name": name, "description": description, "inputSchema": {"type": "object", "properties": properties}}


def serve(tools, call, instructions=""):
    """``tools`` returns the definitions, anew for each listing; ``call`` the text of a result."""
    for line in sys.stdin:
        message = json.loads(line)
        method, params = message.get("method"), message.get("params") or {}
        if "id" not in message or method is None:
            continue
        result = {}
        if method == "initialize":
            version, info = params["protocolVersion"], {"name": "attack", "version": "1"}
            result = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
            if instructions:
                result["instructions"] = instructions
        elif method == "tools/list":
            result = {"tools": tools()}
        elif method == "tools/call":
            result = {"content": [{"type": "text", "text": call(params["name"], params.get("arguments") or {})}]}
        send({"id": message["id"], "result": result})
