"""What a server may ask of the host: sampling and elicitation, each as the profile says. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mcpbox.jsonrpc import Message, Request, Response
from mcpbox.policy.base import Change, Refuse, Rules, Side, Verdict, field

#: The error that demands elicitations of mode "url" (specification 2025-11-25, client/elicitation).
URL_REQUIRED = -32042
#: What a server may have the host tell the model beside its own messages: its own context, never other servers'.
CONTEXTS = ("none", "thisServer")
#: What this rule and others read of a question; a reader that takes keys in any case finds it under others as well.
READ = frozenset(
    ("method", "params", "includeContext", "messages", "message", "mode", "url", "requestedSchema", "properties")
)


class ServerRequests:
    """Covers each way of asking: a request of the server's own (protocols up to 2025-11-25), an error that demands a
    visit to a URL, and a result of type ``input_required`` whose ``inputRequests`` the client is to fulfil
    (2026-07-28, multi round-trip requests).
    """

    passes = frozenset({Side.CLIENT})

    def __init__(self, rules: Rules) -> None:
        self._denied = {
            method: table
            for method, table, setting in (
                ("sampling/createMessage", "sampling", rules.sampling),
                ("elicitation/create", "elicitation", rules.elicitation),
            )
            if setting != "allow"
        }

    def judge(self, side: Side, message: Message) -> Verdict:
        if side is Side.CLIENT:
            return None
        # Most results ask for nothing.
        if isinstance(message, Response) and "error" not in message.value:
            if field(message.value, "result", "inputRequests") is None:
                return None
        for method in _asked(message):
            if not isinstance(method, str):
                return Refuse("the server asked for something without a method")
            if method in self._denied:
                key = self._denied[method]
                return Refuse(f"the server asked for {method}", f'the profile may say: [messages] {key} = "allow"')
        if any(map(_is_miswritten, _questions(message))):
            return Refuse("a key of what the server asked is one of MCP's but for its case")
        return _narrowed(message)


def _asked(message: Message) -> Iterator[Any]:
    if isinstance(message, Request):
        yield message.method
    elif isinstance(message, Response):
        yield from (field(request, "method") for _, request in _inputs(message))
        if field(message.value, "error", "code") == URL_REQUIRED:
            yield "elicitation/create"


def _questions(message: Message) -> Iterator[Any]:
    """All that has keys which are read: what is asked, its parameters, and the schema of a form."""
    if isinstance(message, Request):
        asked = [message.params] if message.method in ("sampling/createMessage", "elicitation/create") else []
    elif isinstance(message, Response):
        inputs = [request for _, request in _inputs(message)]
        yield from inputs
        asked = [field(request, "params") for request in inputs]
        demanded = field(message.value, "error", "data", "elicitations")
        asked += demanded if isinstance(demanded, list) else []
    else:
        asked = []
    for params in asked:
        yield params
        yield field(params, "requestedSchema")


def _is_miswritten(value: Any) -> bool:
    return isinstance(value, dict) and any(key not in READ and key.casefold() in _FOLDED for key in value)


def _inputs(message: Response) -> list[tuple[Any, Any]]:
    """The ``inputRequests`` of a result, by their keys or places."""
    inputs = field(message.result, "inputRequests")
    return list(inputs.items() if isinstance(inputs, dict) else enumerate(inputs) if isinstance(inputs, list) else ())


def _narrowed(message: Message) -> Change | None:
    """Sampling with the context of other servers would hand their data to this one, by way of the model."""
    value: dict[str, Any] | None = None
    if isinstance(message, Request):
        if message.method == "sampling/createMessage" and _reaches_out(message.params):
            value = message.value | {"params": message.params | {"includeContext": "none"}}
    elif isinstance(message, Response):
        inputs = _inputs(message)
        reaching = [key for key, each in inputs if _samples(each) and _reaches_out(field(each, "params"))]
        if reaching:
            changed = {
                key: each | {"params": each["params"] | {"includeContext": "none"}} if key in reaching else each
                for key, each in inputs
            }
            asked = changed if isinstance(message.result["inputRequests"], dict) else list(changed.values())
            value = message.value | {"result": message.result | {"inputRequests": asked}}
    if value is None:
        return None
    return Change(value, "sampling without the context of other servers")


def _samples(request: Any) -> bool:
    return bool(field(request, "method") == "sampling/createMessage")


def _reaches_out(params: Any) -> bool:
    return isinstance(params, dict) and params.get("includeContext", "none") not in CONTEXTS


_FOLDED = frozenset(name.casefold() for name in READ)
