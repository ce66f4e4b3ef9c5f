"""The core that every byte passes: it takes what one side sent and says what is to be done about it. No I/O.

``receive`` returns actions, to be carried out in their order: a Record comes before the effect it describes. A message
that no policy changes leaves as the bytes that arrived.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from mcpbox import elicit, jsonrpc, records
from mcpbox.actions import Action as Action
from mcpbox.actions import Divert as Divert
from mcpbox.actions import Record as Record
from mcpbox.actions import Send as Send
from mcpbox.bounded import Bounded
from mcpbox.definitions import GREETINGS
from mcpbox.errors import McpboxError
from mcpbox.held import Asking, Case, Key, Open, is_call, is_cancellation, is_recorded, message_name
from mcpbox.jsonrpc import Line, Lines, Message, Notification, Oversized, ParseError, Request, Response
from mcpbox.policy.base import Alert, Ask, Change, Consult, Note, Policy, Refuse, Side, field
from mcpbox.waiting import Waiting

#: Requests of one side that may be unanswered at a time, and how many times the largest message they may take
#: together. Hosts keep a handful; a server that asks without end must not fill mcpbox's memory.
MAX_PENDING, PENDING_LINES = 4096, 4
#: Microseconds that a server may take to answer mcpbox, while a call waits, as hosts let it for 60 s.
CONSULT_WITHIN = 30_000_000


class Session:
    """One host talking to one server, from the first byte to the last.

    ``clock`` returns microseconds that only grow; the server has ``consult_within`` of them for an answer to mcpbox.
    ``nonce`` returns a string that nobody can guess, and another each time; without it, the user of a host of protocol
    2026-07-28 is asked nothing.
    """

    def __init__(
        self,
        policies: Sequence[Policy],
        max_bytes: int,
        *,
        clock: Callable[[], int] = int,
        nonce: Callable[[], str] | None = None,
        consult_within: int = CONSULT_WITHIN,
    ) -> None:
        self._consult_within = consult_within
        self._policies = [(number, type(each).__name__, each.judge) for number, each in enumerate(policies)]
        self._of_calls = {
            side: [
                self._policies[number]
                for number, each in enumerate(policies)
                if side not in getattr(each, "passes", ())
            ]
            for side in Side
        }
        self.max_bytes = max_bytes
        self._clock = clock
        self._lines = {side: Lines(max_bytes) for side in Side}
        size = PENDING_LINES * max_bytes
        self._pending: dict[Side, Bounded[Key, Open]] = {side: Bounded(MAX_PENDING, size) for side in Side}
        self._cancelled: dict[Side, Bounded[Key, Open]] = {side: Bounded(MAX_PENDING, size) for side in Side}
        self._waiting = Waiting(max_bytes, lambda side, key: self._is_open(side, key), nonce)
        self._initialized = False
        self._greeting: Key | None = None
        self._greeted_by = ""
        #: whether the server has accepted a request of the host
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
            if isinstance(line, Line) and (side is Side.SERVER or self._waiting):
                # Something else may follow it.
                line = Line(line.data + b"\n")
            self._take(side, line, actions)
        return actions

    def abandon(self, code: int, reason: str, hint: str = "") -> list[Action]:
        """Answer every open request of the host with an error: nobody else will."""
        data = {"hint": hint} if hint else None
        requests = [each.request for each in self._pending[Side.CLIENT].clear()] + self._waiting.drop()
        self._greeting = None
        answers: list[Action] = [
            Send(Side.CLIENT, jsonrpc.encode(jsonrpc.error(request.id, code, f"mcpbox: {reason}", data)))
            for request in requests
        ]
        if answers:
            answers.insert(0, Record({"event": "abandoned", "reason": reason, "requests": len(answers)}))
        return answers

    def expires(self) -> int | None:
        """Microseconds until ``expire`` has something to do, None for as long as that is nothing."""
        since = self._waiting.oldest()
        return None if since is None else max(0, since + self._consult_within - self._clock())

    def expire(self) -> list[Action]:
        """Refuse what waits for answers of the server that it should have given by now."""
        actions: list[Action] = []
        while self.expires() == 0:
            consulting = self._waiting.give_up(actions)
            reason = f"the server did not answer {consulting.request.method} within {self._consult_within / 1e6:g} s"
            for case in consulting.waiters.values():
                self._refuse(case.side, case.message, Refuse(reason), "session", actions)
        return actions

    def greeting(self) -> str:
        """The method of the host's greeting, which alone has to be answered soon; "" once that or anything is."""
        return "" if self._greeting is None or self.started else self._greeted_by

    def holding(self) -> bool:
        """Whether a request of the host has not been passed on yet, and may still be."""
        return bool(self._waiting)

    def _take(self, side: Side, line: Line | Oversized, actions: list[Action]) -> None:
        if isinstance(line, Oversized):
            self._oversized(side, line, actions)
        elif line.data.strip():
            try:
                value = jsonrpc.parse(line.data)
                batch = [jsonrpc.classify(item) for item in value] if isinstance(value, list) else None
                # An empty one is an error of its own (JSON-RPC 2.0, section 6).
                if batch == []:
                    raise ParseError("an empty batch")
                message = None if batch else jsonrpc.classify(value)
            except ParseError as error:
                self._malformed(side, line.data, str(error), actions)
                return
            if message is None:
                self._batch(side, line.data, batch or [], actions)
            elif (passed := self._admit(side, message, line.data, actions)) is not None:
                actions.append(Send(side.other, passed))
        if self._waiting.unsent and not self.greeting():
            self._waiting.send(self._clock, actions)
        if self._waiting.proposed:
            self._waiting.put(actions)

    def _batch(self, side: Side, line: bytes, messages: list[Message], actions: list[Action]) -> None:
        passed: list[bytes] = []
        same = True
        for message in messages:
            try:
                data = jsonrpc.encode(message.value)
            except ValueError:
                self._refuse(side, message, Refuse("a number that is too large for a batch"), "session", actions)
                same = False
                continue
            kept = self._admit(side, message, data, actions)
            same &= kept is data
            if kept is not None:
                passed.append(kept)
        if same:
            actions.append(Send(side.other, line))
        elif passed:
            actions.append(Send(side.other, b"[" + b",".join(each[:-1] for each in passed) + b"]\n"))

    def _admit(self, side: Side, message: Message, line: bytes, actions: list[Action]) -> bytes | None:
        """The line that is to be sent for ``message``, None for none now. Refusals are recorded and answered."""
        since, recorded = 0, None
        if isinstance(message, Response):
            if not self._waiting.idle and self._settled(side, message, line, actions):
                return None
            answered = self._answered(side, message.id)
            if answered is None and not (message.id is None and "error" in message.value):
                actions.append(records.record("unsolicited", side, message))
                return None
            if answered is not None:
                since, recorded = answered.since, answered.recorded
                message = replace(message, request=answered.request)
                self.started |= side is Side.SERVER and "result" in message.value
        elif isinstance(message, Request):
            if reason := self._unacceptable(side, message, len(line)):
                self._refuse(side, message, Refuse(reason), "session", actions)
                return None
            if side is Side.CLIENT and field(message.params, "requestState") is not None:
                try:
                    asking = self._waiting.returned(message)
                except ValueError as error:
                    self._refuse(side, message, Refuse(str(error)), "session", actions)
                    return None
                if asking:
                    answer = field(message.params, "inputResponses", elicit.INPUT)
                    return asking.case.data if self._go_on(asking, answer, actions) else None
        elif is_cancellation(message) and self._is_withdrawn(side, message, actions):
            return None
        case = Case(side, message, line, message, line, message, since=since, recorded=recorded)
        return case.data if self._judge(case, actions) else None

    def _judge(self, case: Case, actions: list[Action]) -> bool:
        """Whether ``case.data`` is to be sent. A case that is held says nothing of what it went through so far."""
        said: list[Action] = []
        side = case.side
        for number, name, judge in self._of_calls[side] if is_call(side, case.message) else self._policies:
            if number < case.next:
                continue
            try:
                verdict = judge(side, case.message)
                if verdict is None:
                    continue
                if isinstance(verdict, Change):
                    case.change(verdict)
                    said.append(records.verdict("changed", side, case.message, verdict, name))
                    if verdict.hint:
                        said.append(records.shown(f"{verdict.reason} ({verdict.hint})"))
                    if verdict.question:
                        self._waiting.propose(verdict.question, name)
                    continue
                if isinstance(verdict, Alert | Note):
                    event = "alert" if isinstance(verdict, Alert) else "noted"
                    said.append(records.verdict(event, side, case.message, verdict, name))
                    continue
                if isinstance(verdict, Consult):
                    verdict = self._waiting.consult(case, verdict)
                    if verdict is None:
                        return False
                elif isinstance(verdict, Ask):
                    verdict = self._waiting.ask(case, name, number, verdict, said)
                    if verdict is None:
                        actions += said
                        return False
                elif not isinstance(verdict, Refuse):
                    raise TypeError(f"not a verdict: {type(verdict).__name__}")
            except McpboxError as error:
                verdict = Refuse(error.message, error.hint)
            except Exception as error:
                # What others say may quote the message, and would be on record with it.
                said_so = f": {error}" if isinstance(error, OSError) else ""
                verdict = Refuse(f"the policy failed: {type(error).__name__}{said_so}")
            actions += said
            self._refuse(side, case.message, verdict, name, actions, answer=not case.own)
            return False
        actions += said
        self._pass(case, actions)
        return True

    def _pass(self, case: Case, actions: list[Action]) -> None:
        """What follows from a message's being sent."""
        side, message = case.side, case.message
        if isinstance(message, Request):
            now = self._clock()
            size = len(case.line)
            self._pending[side].put(jsonrpc.key(message.id), Open(message, now, size, case.recorded), size)
            if side is Side.CLIENT and message.method in GREETINGS:
                self._greeting, self._greeted_by = jsonrpc.key(message.id), message.method
            if side is Side.CLIENT and message.method == "initialize":
                self._initialized = True
                self._waiting.capabilities = field(message.params, "capabilities")
            if is_recorded(message.method):
                params = message.params if case.recorded is None else case.recorded
                actions.append(records.traffic("call", message, case, params))
        elif isinstance(message, Response):
            request = message.request
            if request and is_recorded(request.method):
                failed = "error" in message.value
                content = message.value["error" if failed else "result"]
                micros = max(0, self._clock() - case.since)
                failed |= field(content, "isError") is True
                actions.append(records.traffic("result", request, case, content, micros=micros, error=failed))
        elif is_cancellation(message):
            self._cancel(side, field(message.params, "requestId"))
        elif side is Side.CLIENT and message.method == "notifications/initialized":
            self._waiting.ready = True

    def _settled(self, side: Side, message: Response, line: bytes, actions: list[Action]) -> bool:
        """Whether the response answers a request of mcpbox's own; what waited for it then goes on."""
        if side is Side.CLIENT:
            found = self._waiting.answered(message.id)
            if isinstance(found, Asking):
                if self._go_on(found, message.result, actions):
                    actions.append(Send(Side.SERVER, found.case.data))
            elif found:
                self._waiting.settle(found, elicit.has_agreed(message.result), actions)
            return found is not None
        consulting = self._waiting.consulted(message.id)
        if consulting is None:
            return False
        message = replace(message, request=consulting.request)
        self._judge(Case(side, message, line, message, line, message, since=consulting.since, own=True), actions)
        for case in consulting.waiters.values():
            case.restart()
            if self._judge(case, actions):
                actions.append(Send(Side.SERVER, case.data))
        return True

    def _go_on(self, asking: Asking, answer: Any, actions: list[Action]) -> bool:
        """Whether the case that the user was asked about is to be sent, after the policies that it has not seen."""
        case, agreed = asking.case, elicit.has_agreed(answer)
        actions.append(records.record("answered", case.side, case.message, policy=asking.policy, agreed=agreed))
        if not agreed:
            self._refuse(case.side, case.message, asking.otherwise, asking.policy, actions)
            return False
        case.keep(asking.number + 1)
        return self._judge(case, actions)

    def _is_open(self, side: Side, key: Key) -> bool:
        return key in self._pending[side] or key in self._cancelled[side] or self._waiting.is_own(side, key)

    def _unacceptable(self, side: Side, request: Request, size: int) -> str:
        pending, key = self._pending[side], jsonrpc.key(request.id)
        if key in pending or (
            not self._waiting.idle
            and (self._waiting.is_own(side, key) or (side is Side.CLIENT and key in self._waiting))
        ):
            return "a request with this id is still unanswered"
        if not pending.has_room(size):
            return f"{len(pending)} requests are unanswered"
        # Protocol 2026-07-28, basic/transports: servers must not send requests; without the handshake of an older
        # protocol the host has not agreed to any.
        if side is Side.SERVER and not self._initialized:
            return "a server's request before initialize"
        return ""

    def _refuse(
        self, side: Side, message: Message, verdict: Refuse, policy: str, actions: list[Action], *, answer: bool = True
    ) -> None:
        actions.append(records.verdict("refused", side, message, verdict, policy))
        text = f"mcpbox: {verdict.reason}" + (f" ({verdict.hint})" if verdict.hint else "")
        # What a policy quotes may have come in by another way than the parser's.
        text = text[: records.MAX_REASON].encode(errors="replace").decode()
        actions.append(records.shown(f"{message_name(message)} refused: {text[8:]}"))
        if isinstance(message, Request):
            actions.append(Send(side, jsonrpc.encode(_denial(message, text))))
        elif isinstance(message, Response) and message.request and answer:
            actions.append(Send(side.other, jsonrpc.encode(jsonrpc.error(message.id, jsonrpc.DENIED, text))))

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
        answer = jsonrpc.error(id, jsonrpc.TOO_LARGE, f"mcpbox: {reason}")
        if kind == "response":
            # As an error it still answers what mcpbox itself has asked.
            if not self._settled(side, Response(id, answer), b"", actions) and self._answered(side, id):
                actions.append(Send(side.other, jsonrpc.encode(answer)))
        elif kind == "request" or side is Side.CLIENT:
            actions.append(Send(side, jsonrpc.encode(answer)))

    def _answered(self, side: Side, id: jsonrpc.Id) -> Open | None:
        """The request of the other side that a response of ``side`` with this id answers; it is open no longer."""
        key = jsonrpc.key(id)
        if side is Side.SERVER and key == self._greeting:
            self._greeting = None
        return self._pending[side.other].take(key) or self._cancelled[side.other].take(key)

    def _is_withdrawn(self, side: Side, message: Notification, actions: list[Action]) -> bool:
        """Whether the cancellation is of something that the other side has never seen."""
        id = field(message.params, "requestId")
        if not jsonrpc.is_id(id):
            return False
        if side is Side.CLIENT and self._waiting.withdraw(id, actions):
            return True
        if self._waiting.is_own(side, jsonrpc.key(id)):
            actions.append(records.record("unsolicited", side, message))
            return True
        return False

    def _cancel(self, side: Side, id: Any) -> None:
        """A cancelled request may still be answered, since the two cross on the wire, and may never be."""
        if jsonrpc.is_id(id) and (request := self._pending[side].take(jsonrpc.key(id))):
            self._cancelled[side].put_for_oldest(jsonrpc.key(id), request, request.size)
            if side is Side.CLIENT and jsonrpc.key(id) == self._greeting:
                self._greeting = None


def _denial(request: Request, text: str) -> dict[str, Any]:
    """A denied tool call is a tool error, which the model sees and can act on; all else is a JSON-RPC error."""
    if request.method != "tools/call":
        return jsonrpc.error(request.id, jsonrpc.DENIED, text)
    result: dict[str, Any] = {"content": [{"type": "text", "text": text}], "isError": True}
    if elicit.is_modern(request):
        result["resultType"] = "complete"
    return {"jsonrpc": "2.0", "id": request.id, "result": result}
