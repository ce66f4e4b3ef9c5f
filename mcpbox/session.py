"""The core that every byte passes: it takes what one side sent and says what is to be done about it. No I/O.

``receive`` returns actions, to be carried out in their order: a Record comes before the effect it describes. A message
that no policy changes leaves as the bytes that arrived.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from mcpbox import jsonrpc
from mcpbox.jsonrpc import Line, Lines, Message, Notification, Oversized, ParseError, Request, Response
from mcpbox.policy.base import Alert, Ask, Change, Consult, Policy, Refuse, Side, field

#: Requests of one side that may be unanswered at a time. Hosts keep a handful; a server that asks without end must not
#: fill mcpbox's memory.
MAX_PENDING = 4096

MODERN_VERSION = "io.modelcontextprotocol/protocolVersion"


class Send(Struct, frozen=True):
    """Write ``data`` to the side ``to``."""

    to: Side
    data: bytes


class Record(Struct, frozen=True):
    """Put ``event`` on record; if that fails, the session must end."""

    event: Mapping[str, Any]


class Divert(Struct, frozen=True):
    """Show ``data``, which is not for the host, on standard error."""

    data: bytes


Action = Send | Record | Divert


class Session:
    """One host talking to one server, from the first byte to the last."""

    def __init__(self, policies: Sequence[Policy], max_bytes: int) -> None:
        self._policies = policies
        self.max_bytes = max_bytes
        self._lines = {side: Lines(max_bytes) for side in Side}
        self._pending: dict[Side, dict[tuple[bool, jsonrpc.Id], Request]] = {side: {} for side in Side}
        self._cancelled: dict[Side, dict[tuple[bool, jsonrpc.Id], Request]] = {side: {} for side in Side}
        self._initialized = False
        #: whether the server has accepted the host's initialize
        self.started = False

    def receive(self, side: Side, data: bytes) -> list[Action]:
        """What to do about ``data``, the next bytes from ``side``, cut anywhere."""
        actions: list[Action] = []
        for line in self._lines[side].feed(data):
            self._take(side, line, actions)
        return actions

    def end(self, side: Side) -> list[Action]:
        """What to do at the end of ``side``'s stream."""
        actions: list[Action] = []
        for line in self._lines[side].finish():
            self._take(side, line, actions)
        return actions

    def abandon(self, code: int, reason: str, hint: str = "") -> list[Action]:
        """Answer every open request of the host with an error: nobody else will."""
        data = {"hint": hint} if hint else None
        answers: list[Action] = [
            Send(Side.CLIENT, jsonrpc.encode(jsonrpc.error(request.id, code, f"mcpbox: {reason}", data)))
            for request in self._pending[Side.CLIENT].values()
        ]
        self._pending[Side.CLIENT].clear()
        if answers:
            answers.insert(0, Record({"event": "abandoned", "reason": reason, "requests": len(answers)}))
        return answers

    def waiting(self) -> bool:
        """Whether a request of the host is unanswered."""
        return bool(self._pending[Side.CLIENT])

    def _take(self, side: Side, line: Line | Oversized, actions: list[Action]) -> None:
        if isinstance(line, Oversized):
            self._oversized(side, line, actions)
            return
        if not line.data.strip():
            return
        try:
            value = jsonrpc.parse(line.data)
            batch = isinstance(value, list)
            # An empty batch is an error of its own (JSON-RPC 2.0, section 6).
            if batch and not value:
                raise ParseError("an empty batch")
            messages = [jsonrpc.classify(item) for item in (value if batch else [value])]
        except ParseError as error:
            self._malformed(side, line.data, str(error), actions)
            return
        kept = [self._judge(side, message, actions) for message in messages]
        forwarded = [item for item in kept if item is not None]
        if not forwarded:
            return
        if all(item is message.value for item, message in zip(kept, messages, strict=True)):
            actions.append(Send(side.other, line.data))
        else:
            actions.append(Send(side.other, jsonrpc.encode(forwarded if batch else forwarded[0])))

    def _judge(self, side: Side, message: Message, actions: list[Action]) -> dict[str, Any] | None:
        """What of ``message`` is to be forwarded; None for nothing. Refusals are recorded and answered."""
        original = message
        if isinstance(message, Response):
            request = self._answered(side, message.id)
            if request is None and not (message.id is None and "error" in message.value):
                actions.append(self._record("unsolicited", side, message))
                return None
            message = replace(message, request=request)
            self.started |= request is not None and request.method == "initialize" and "result" in message.value
        elif isinstance(message, Request) and (reason := self._unacceptable(side, message)):
            self._refuse(side, message, Refuse(reason), "session", actions)
            return None
        for policy in self._policies:
            name = type(policy).__name__
            try:
                verdict = policy.judge(side, message)
                if isinstance(verdict, Change):
                    # Encoded here as well, so that a change that cannot be said in JSON is refused, not sent.
                    jsonrpc.encode(verdict.value)
                    message = replace(message, value=verdict.value, **_parts(message, verdict.value))
                    actions.append(
                        self._record("changed", side, message, policy=name, reason=verdict.reason, **verdict.found)
                    )
                elif isinstance(verdict, Alert):
                    actions.append(
                        self._record("alert", side, message, policy=name, reason=verdict.reason, **verdict.found)
                    )
                elif isinstance(verdict, Ask):
                    verdict = verdict.otherwise
                elif isinstance(verdict, Consult):
                    verdict = Refuse(f"the server has not answered {verdict.method}")
            except Exception as error:
                verdict = Refuse(f"the policy failed: {type(error).__name__}: {error}")
            if isinstance(verdict, Refuse):
                self._refuse(side, message, verdict, name, actions)
                return None
        if isinstance(message, Request):
            self._pending[side][jsonrpc.key(message.id)] = message
            self._initialized |= side is Side.CLIENT and message.method == "initialize"
        elif isinstance(message, Notification) and message.method == "notifications/cancelled":
            self._cancel(side, field(message.params, "requestId"))
        return original.value if message.value is original.value else message.value

    def _unacceptable(self, side: Side, request: Request) -> str:
        pending = self._pending[side]
        if jsonrpc.key(request.id) in pending:
            return "a request with this id is still unanswered"
        if len(pending) >= MAX_PENDING:
            return f"{MAX_PENDING} requests are unanswered"
        # Protocol 2026-07-28, basic/transports: servers must not send requests; without the handshake of an older
        # protocol the host has not agreed to any.
        if side is Side.SERVER and not self._initialized:
            return "a server's request before initialize"
        return ""

    def _refuse(self, side: Side, message: Message, verdict: Refuse, policy: str, actions: list[Action]) -> None:
        actions.append(self._record("refused", side, message, policy=policy, reason=verdict.reason, **verdict.found))
        text = f"mcpbox: {verdict.reason}" + (f" ({verdict.hint})" if verdict.hint else "")
        actions.append(Divert(f"[mcpbox] {message_name(message)} refused: {text[8:]}\n".encode()))
        if isinstance(message, Request):
            actions.append(Send(side, jsonrpc.encode(_denial(message, text))))
        elif isinstance(message, Response) and message.request:
            answer = jsonrpc.error(message.id, jsonrpc.DENIED, text)
            actions.append(Send(side.other, jsonrpc.encode(answer)))

    def _malformed(self, side: Side, data: bytes, reason: str, actions: list[Action]) -> None:
        if side is Side.SERVER:
            # Banners and stray prints: the specification forbids them on stdout, hosts choke on them.
            shown = data if data.endswith(b"\n") else data + b"\n"
            if data.lstrip()[:1] in (b"{", b"["):
                actions.append(Record({"event": "malformed", "side": side.value, "reason": reason}))
                actions.append(Divert(f"[mcpbox] dropped a line of the server: {reason}\n".encode()))
            actions.append(Divert(shown))
            return
        actions.append(Record({"event": "malformed", "side": side.value, "reason": reason}))
        code = jsonrpc.PARSE_ERROR if reason.startswith("not ") else jsonrpc.INVALID_REQUEST
        actions.append(Send(side, jsonrpc.encode(jsonrpc.error(None, code, f"mcpbox: {reason}"))))

    def _oversized(self, side: Side, line: Oversized, actions: list[Action]) -> None:
        kind, id = jsonrpc.addressee(line)
        reason = f"a message of {line.size} bytes, more than max_bytes = {self.max_bytes}"
        actions.append(Record({"event": "oversized", "side": side.value, "bytes": line.size, "kind": kind}))
        actions.append(Divert(f"[mcpbox] dropped {reason}, from the {side.value}\n".encode()))
        if kind == "response":
            if self._answered(side, id) is None:
                return
        elif kind == "unknown" and side is Side.SERVER:
            return
        answer = jsonrpc.error(id, jsonrpc.TOO_LARGE, f"mcpbox: {reason}")
        actions.append(Send(side.other if kind == "response" else side, jsonrpc.encode(answer)))

    def _answered(self, side: Side, id: jsonrpc.Id) -> Request | None:
        """The request of the other side that a response of ``side`` with this id answers; it is open no longer."""
        key = jsonrpc.key(id)
        return self._pending[side.other].pop(key, None) or self._cancelled[side.other].pop(key, None)

    def _cancel(self, side: Side, id: Any) -> None:
        """A cancelled request may still be answered, since the two cross on the wire, and may never be."""
        if jsonrpc.is_id(id) and (request := self._pending[side].pop(jsonrpc.key(id), None)):
            cancelled = self._cancelled[side]
            cancelled[jsonrpc.key(id)] = request
            if len(cancelled) > MAX_PENDING:
                del cancelled[next(iter(cancelled))]

    @staticmethod
    def _record(event: str, side: Side, message: Message, **more: Any) -> Record:
        return Record({"event": event, "side": side.value, "message": message_name(message), **more})


def message_name(message: Message) -> str:
    """A message in a word or two, for people and records; never its content."""
    if isinstance(message, Response):
        return f"response to {message.request.method if message.request else 'nothing'}"
    if isinstance(message, Request) and message.method == "tools/call":
        return f"tools/call {field(message.params, 'name')}"
    return message.method


def _parts(message: Message, value: dict[str, Any]) -> dict[str, Any]:
    return {"params": value.get("params")} if isinstance(message, Request | Notification) else {}


def _denial(request: Request, text: str) -> dict[str, Any]:
    """A denied tool call is a tool error, which the model sees and can act on; all else is a JSON-RPC error."""
    if request.method != "tools/call":
        return jsonrpc.error(request.id, jsonrpc.DENIED, text)
    result: dict[str, Any] = {"content": [{"type": "text", "text": text}], "isError": True}
    if field(request.params, "_meta", MODERN_VERSION) is not None:
        result["resultType"] = "complete"
    return {"jsonrpc": "2.0", "id": request.id, "result": result}
