"""Messages for policies, as the session hands them over."""

from __future__ import annotations

from typing import Any

from mcpbox.jsonrpc import Request, Response


def request(method: str, **params: Any) -> Request:
    return Request(1, method, params, {"jsonrpc": "2.0", "id": 1, "method": method, "params": params})


def call(tool: Any, **arguments: Any) -> Request:
    return request("tools/call", name=tool, arguments=arguments)


def answer(to: Request | None, result: Any) -> Response:
    return Response(1, {"jsonrpc": "2.0", "id": 1, "result": result}, to)


def failure(to: Request | None, error: Any) -> Response:
    return Response(1, {"jsonrpc": "2.0", "id": 1, "error": error}, to)


def text(said: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": said}]}


def tools(*found: Any, **more: Any) -> Response:
    return answer(request("tools/list"), {"tools": list(found), **more})
