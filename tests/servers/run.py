"""An MCP server with one tool, ``run``: a command's exit code and output, from inside the sandbox."""

import json
import subprocess
import sys


def run(words, stdin="", timeout=30, environment=None):
    import os

    try:
        done = subprocess.run(
            words, input=stdin.encode(), capture_output=True, timeout=timeout, env={**os.environ, **(environment or {})}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"code": -1, "out": "", "err": f"{type(error).__name__}: {error}"}
    return {"code": done.returncode, "out": done.stdout.decode("latin-1"), "err": done.stderr.decode("latin-1")}


TOOL: dict[str, object] = {"name": "run", "inputSchema": {"type": "object"}}

for line in sys.stdin:
    message = json.loads(line)
    if message.get("method") == "initialize":
        info = {"name": "run", "version": "1"}
        result: dict = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}
    elif message.get("method") == "tools/list":
        result = {"tools": [TOOL]}
    elif message.get("method") == "tools/call":
        result = {"content": [], "structuredContent": run(**message["params"]["arguments"])}
    else:
        continue
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}) + "\n")
    sys.stdout.flush()
