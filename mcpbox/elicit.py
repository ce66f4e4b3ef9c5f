"""How mcpbox asks the user something through the host: MCP's elicitation, form mode. No I/O.

Up to protocol 2025-11-25 it is a request of its own (client/elicitation); in 2026-07-28 the answered request is told
that input is required, and comes again with it (basic/patterns, multi round-trip requests).
"""

from __future__ import annotations

from typing import Any

from mcpbox import jsonrpc
from mcpbox.jsonrpc import Request
from mcpbox.policy.base import field
from mcpbox.shown import plain

METHOD = "elicitation/create"
PREFIX = "io.modelcontextprotocol/"
VERSION, CAPABILITIES = f"{PREFIX}protocolVersion", f"{PREFIX}clientCapabilities"
#: What a 2026-07-28 server may require input for.
INPUT_METHODS = frozenset({"tools/call", "prompts/get", "resources/read"})
#: The name of the one input that mcpbox requires.
INPUT = "mcpbox"
#: Characters of a question that are shown to the user.
MAX_TEXT = 1000


def is_modern(request: Request) -> bool:
    """Whether the request is of protocol 2026-07-28, in which each says so itself."""
    return field(request.params, "_meta", VERSION) is not None


def protocol_meta(request: Request) -> dict[str, Any]:
    """The ``_meta`` that the protocol wants in every request. Nothing else of it: that has not been judged yet."""
    meta = field(request.params, "_meta")
    return {key: meta[key] for key in meta if key.startswith(PREFIX)} if isinstance(meta, dict) else {}


def is_able(capabilities: Any) -> bool:
    """Whether a host of these ``capabilities`` shows forms; one that names no mode does (since 2025-06-18)."""
    elicitation = field(capabilities, "elicitation")
    return isinstance(elicitation, dict) and ("form" in elicitation or "url" not in elicitation)


def form(text: str) -> dict[str, Any]:
    """The params that put ``text`` to the user, as a question of yes or no.

    No is the first choice: some hosts fill in the first.
    """
    answer = {"type": "string", "title": "Allow?", "enum": ["no", "yes"]}
    schema = {"type": "object", "properties": {"allow": answer}, "required": ["allow"]}
    return {"message": f"mcpbox: {plain(text, MAX_TEXT)}", "requestedSchema": schema}


def has_agreed(result: Any) -> bool:
    """Whether the user's answer is yes; anything that is not that very answer is a no."""
    return bool(field(result, "action") == "accept" and field(result, "content", "allow") == "yes")


def input_required(request: Request, text: str, state: str) -> dict[str, Any]:
    """The answer to ``request`` that has the host ask the user, and send the request again with ``state``."""
    asked = {"method": METHOD, "params": form(text)}
    result = {"resultType": "input_required", "inputRequests": {INPUT: asked}, "requestState": state}
    return {"jsonrpc": "2.0", "id": request.id, "result": result}


def content(request: Request) -> tuple[str, bytes]:
    """What must be the same when the request comes again: all but its id, its metadata and the answer itself.

    Raises ValueError for params that JSON cannot say.
    """
    params = request.params
    if isinstance(params, dict):
        params = {key: params[key] for key in params if key not in ("_meta", "inputResponses", "requestState")}
    return request.method, jsonrpc.encode(params)
