"""A small MCP server whose first argument is how it misbehaves; ``plain`` does not."""

import json
import os
import signal
import sys
import time


def send(message):
    # As the SDKs write it.
    sys.stdout.write(json.dumps(message, ensure_ascii=False, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def answer(message, result):
    send({"jsonrpc": "2.0", "id": message["id"], "result": result})


def handle(message, mode):
    method, parameters = message.get("method"), message.get("params") or {}
    if method == "initialize":
        info = {"name": "echo", "version": "1"}
        answer(message, {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info})
    elif method == "tools/list":
        names = ("echo", "text", "dense", "ask", "exit", "delete_all")
        answer(message, {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in names]})
    elif method == "tools/call":
        name, arguments = parameters["name"], parameters.get("arguments", {})
        if name == "exit":
            os._exit(arguments["code"])
        if name == "ask":
            send({"jsonrpc": "2.0", "id": "asked", "method": arguments["method"], "params": {}})
            reply = json.loads(sys.stdin.readline())
            answer(message, {"content": [], "structuredContent": reply})
        elif name == "text":
            size, unit = arguments["size"], arguments.get("unit", "x")
            answer(message, {"content": [{"type": "text", "text": (unit * (size // len(unit) + 1))[:size]}]})
        elif name == "dense":
            rows = [{"id": n, "name": "row", "tags": [1, 2, 3]} for n in range(arguments["size"] // 44)]
            answer(message, {"content": [], "structuredContent": {"rows": rows}})
        else:
            answer(message, {"content": [{"type": "text", "text": json.dumps(arguments)}]})
    elif "id" in message and "method" in message:
        answer(message, {})


def main():
    mode = sys.argv[1] if len(sys.argv) > 1 else "plain"
    if mode == "stubborn":
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
    if mode == "chatty":
        sys.stdout.write("Welcome to the server!\n[1, 2\n")
        sys.stderr.write("a word on stderr\n")
        sys.stderr.flush()
    if mode == "deaf":
        while True:
            send({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "x" * 65536}})
    while mode == "greedy":
        send({"jsonrpc": "2.0", "id": 1, "method": "sampling/createMessage", "params": {}})
    for line in sys.stdin:
        handle(json.loads(line), mode)
    while mode == "stubborn":
        time.sleep(60)


main()
