"""Mcpbox's own requests to both sides, and the messages that wait for their answers. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from mcpbox import elicit, jsonrpc
from mcpbox.actions import Action, Record, Send
from mcpbox.bounded import Bounded
from mcpbox.held import Asking, Case, Consulting, Key, Proposing, message_name, recorded_id
from mcpbox.jsonrpc import Request
from mcpbox.policy.base import Ask, Consult, Question, Refuse, Side, field

#: How often the server is asked on behalf of one request: a list of tools has that many pages.
MAX_CONSULTATIONS = 64
#: Requests of the host that wait at a time, and how many times the largest message they may take together.
MAX_HELD, HELD_LINES = 256, 2
#: Questions to the user that are not put yet.
MAX_QUESTIONS = 64
#: After as many that were declined no more are put: whoever is asked for ever says yes in the end.
MAX_DECLINED = 3
#: Characters of a progress token, which no policy sees again when a request returns.
MAX_TOKEN = 64
UNWANTED = "the request that it was for is cancelled"


class Waiting:
    """``is_taken`` says whether a request of a side's own has this key: mcpbox's own must not be taken for it.

    ``nonce`` returns a string that nobody can guess, and another each time; without it, nothing is asked of a host
    of protocol 2026-07-28, whose answers are recognised by it.
    """

    def __init__(self, max_bytes: int, is_taken: Callable[[Side, Key], bool], nonce: Callable[[], str] | None) -> None:
        self._is_taken, self._nonce = is_taken, nonce
        self._held: Bounded[Key, Case] = Bounded(MAX_HELD, HELD_LINES * max_bytes)
        self._returning: Bounded[str, Asking] = Bounded(MAX_HELD, HELD_LINES * max_bytes)
        self._consulting: dict[Key, Consulting] = {}
        self._asking: dict[Key, Asking | Proposing] = {}
        self._by_hash: dict[int, Key] = {}
        self._declined: set[str] = set()
        self._count = 0
        #: requests to the server that are held back, and questions to the user that are not put yet
        self.unsent: list[Key] = []
        self.proposed: dict[str, Proposing] = {}
        #: what the host says it can do, once it says so, and whether it may be asked
        self.capabilities: Any = None
        self.ready = False

    def __contains__(self, key: Key) -> bool:
        return key in self._held

    def __bool__(self) -> bool:
        return bool(len(self._held))

    @property
    def idle(self) -> bool:
        """Whether neither side has been asked anything, so that nothing waits for an answer."""
        return not (self._consulting or self._asking)

    def is_own(self, side: Side, key: Key) -> bool:
        """Whether mcpbox has an open request with this key to the other side of ``side``."""
        return key in (self._consulting if side is Side.CLIENT else self._asking)

    # -- requests to the server ---------------------------------------------------------------------------------------

    def consult(self, case: Case, verdict: Consult) -> Refuse | None:
        """Hold the case until the server has answered; or why that cannot be."""
        request = case.message
        if case.side is not Side.CLIENT or not isinstance(request, Request):
            return Refuse(
                f"the server has to be asked for {verdict.method} first, and only requests of the host's wait"
            )
        params = {**verdict.params}
        if meta := elicit.protocol_meta(request):
            params["_meta"] = meta
        wanted = hash(jsonrpc.encode([verdict.method, params]))
        if wanted in case.consulted:
            return Refuse(f"the server's answer to {verdict.method} does not have what is needed")
        if len(case.consulted) >= MAX_CONSULTATIONS:
            return Refuse(f"the server was asked for {verdict.method} {MAX_CONSULTATIONS} times")
        waiter = jsonrpc.key(request.id)
        if not self._hold(waiter, case):
            return Refuse("too many requests wait")
        case.consulted |= {wanted}
        key = self._by_hash.get(wanted)
        if key is None:
            key = self._own_key(Side.CLIENT)
            value = {"jsonrpc": "2.0", "id": key[1], "method": verdict.method, "params": params}
            self._consulting[key] = Consulting(Request(key[1], verdict.method, params, value), wanted, {})
            self._by_hash[wanted] = key
            self.unsent.append(key)
        case.waits_for = key
        self._consulting[key].waiters[waiter] = case
        return None

    def consulted(self, id: jsonrpc.Id) -> Consulting | None:
        """The request of mcpbox's own that the server's response with this id answers; its waiters wait no longer."""
        key = jsonrpc.key(id)
        if key in self.unsent:
            return None
        found = self._consulting.pop(key, None)
        if found:
            del self._by_hash[found.hash]
            for waiter in found.waiters:
                self._held.take(waiter)
        return found

    def oldest(self) -> int | None:
        """When the first of the server's answers that are waited for was asked for; None where none is."""
        found = next(iter(self._consulting.items()), None)
        return found[1].since if found and found[0] not in self.unsent else None

    def give_up(self, actions: list[Action]) -> Consulting:
        """The oldest request to the server, which it is told to forget; its waiters wait no longer."""
        key, found = next(iter(self._consulting.items()))
        actions.append(Send(Side.SERVER, jsonrpc.encode(_cancellation(key, "it was not answered in time"))))
        self.consulted(key[1])
        return found

    def send(self, clock: Callable[[], int], actions: list[Action]) -> None:
        """Put to the server what was held back until its handshake with the host was over."""
        for key in self.unsent:
            consulting = self._consulting[key]
            consulting.since = clock()
            request = consulting.request
            actions.append(Record({"event": "consult", "message": request.method, "id": request.id}))
            actions.append(Send(Side.SERVER, jsonrpc.encode(request.value)))
        self.unsent.clear()

    # -- questions to the user ----------------------------------------------------------------------------------------

    def ask(self, case: Case, policy: str, number: int, verdict: Ask, actions: list[Action]) -> Refuse | None:
        """Put a question about the case to the user, and hold it; or why it is refused without."""
        request = case.message
        if case.side is not Side.CLIENT or not isinstance(request, Request):
            return verdict.otherwise
        asking = Asking(case, policy, number, verdict.otherwise)
        if elicit.is_modern(request):
            able = elicit.is_able(field(request.params, "_meta", elicit.CAPABILITIES))
            if not able or not self._nonce or request.method not in elicit.INPUT_METHODS:
                return verdict.otherwise
            state = f"mcpbox-{self._nonce()}"
            self._returning.put_for_oldest(state, asking, len(case.data))
            sent = elicit.input_required(request, verdict.text, state)
        else:
            able = self.ready and elicit.is_able(self.capabilities)
            if not able or not self._hold(jsonrpc.key(request.id), case):
                return verdict.otherwise
            case.waits_for = self._own_key(Side.SERVER)
            self._asking[case.waits_for] = asking
            sent = _elicitation(case.waits_for, verdict.text)
        event = {"event": "asked", "side": case.side.value, "message": message_name(request), "policy": policy}
        actions.append(Record(event | {"id": recorded_id(request.id), "reason": verdict.otherwise.reason}))
        actions.append(Send(Side.CLIENT, jsonrpc.encode(sent)))
        return None

    def returned(self, request: Request) -> Asking | None:
        """The question that a request of 2026-07-28 brings the answer to, with the case as it has to go on.

        It counts once, and only for the very request that it was asked about. Raises ValueError for another.
        """
        state = field(request.params, "requestState")
        asking = self._returning.take(state) if isinstance(state, str) else None
        if asking is None:
            return None
        case = asking.case
        if not isinstance(case.arrived, Request) or elicit.content(case.arrived) != elicit.content(request):
            raise ValueError("the user was asked about another request")
        return Asking(_again(case, request), asking.policy, asking.number, asking.otherwise)

    def propose(self, question: Question, policy: str) -> None:
        """Put the question to the user when that is next possible; once, however often it comes up."""
        open = {each.question.text for each in self._asking.values() if isinstance(each, Proposing)}
        if len(self._declined) >= MAX_DECLINED or len(self.proposed) >= MAX_QUESTIONS:
            return
        if question.text in self._declined or question.text in open:
            return
        self.proposed[question.text] = Proposing(question, policy)

    def put(self, actions: list[Action]) -> None:
        """One question that waits to be put, if the host can show it now and shows no other of them."""
        if not self.ready or not elicit.is_able(self.capabilities):
            return
        if any(isinstance(other, Proposing) for other in self._asking.values()):
            return
        text = next(iter(self.proposed))
        proposing = self.proposed.pop(text)
        key = self._own_key(Side.SERVER)
        self._asking[key] = proposing
        actions.append(Record({"event": "asked", "policy": proposing.policy}))
        actions.append(Send(Side.CLIENT, jsonrpc.encode(_elicitation(key, text))))

    def answered(self, id: jsonrpc.Id) -> Asking | Proposing | None:
        """The question that the host's response with this id answers; its case waits no longer."""
        found = self._asking.pop(jsonrpc.key(id), None)
        if isinstance(found, Asking):
            assert isinstance(found.case.arrived, Request)
            self._held.take(jsonrpc.key(found.case.arrived.id))
        return found

    def settle(self, proposing: Proposing, agreed: bool, actions: list[Action]) -> None:
        """Do what the answer to a question says that nothing waits for."""
        event = {"event": "answered", "policy": proposing.policy, "agreed": agreed}
        actions.append(Record(event))
        if not agreed:
            self._declined.add(proposing.question.text)
            if len(self._declined) >= MAX_DECLINED:
                self.proposed.clear()
            return
        try:
            lines = [jsonrpc.encode(message) for message in proposing.question.accepted()]
        except Exception as error:
            reason = f"the policy failed: {type(error).__name__}: {error}"
            actions.append(Record({"event": "failed", "policy": proposing.policy, "reason": reason}))
            return
        actions += [Send(Side.CLIENT, line) for line in lines]

    # -- ends ---------------------------------------------------------------------------------------------------------

    def withdraw(self, id: jsonrpc.Id, actions: list[Action]) -> bool:
        """Forget a request that waits, since the host has cancelled it, and what was asked for it alone."""
        waiter = jsonrpc.key(id)
        case = self._held.take(waiter)
        if case is None or case.waits_for is None:
            return False
        key = case.waits_for
        actions.append(Record({"event": "cancelled", "message": message_name(case.message), "id": recorded_id(id)}))
        if self._asking.pop(key, None):
            actions.append(Send(Side.CLIENT, jsonrpc.encode(_cancellation(key, UNWANTED))))
            return True
        consulting = self._consulting[key]
        del consulting.waiters[waiter]
        if not consulting.waiters:
            del self._consulting[key], self._by_hash[consulting.hash]
            if key in self.unsent:
                self.unsent.remove(key)
            else:
                actions.append(Send(Side.SERVER, jsonrpc.encode(_cancellation(key, UNWANTED))))
        return True

    def drop(self) -> list[Request]:
        """The requests of the host that wait; they do so no longer, and nothing is asked for them."""
        dropped = [case.arrived for case in self._held.clear()]
        self._consulting.clear()
        self._by_hash.clear()
        self.unsent.clear()
        self._asking = {key: each for key, each in self._asking.items() if isinstance(each, Proposing)}
        return [request for request in dropped if isinstance(request, Request)]

    def _hold(self, waiter: Key, case: Case) -> bool:
        size = len(case.line)
        if not self._held.has_room(size):
            return False
        if not case.line.endswith(b"\n"):
            # The last of the host's: it may no longer be the last that the server reads.
            case.line += b"\n"
            case.data += b"" if case.data.endswith(b"\n") else b"\n"
        self._held.put(waiter, case, size)
        return True

    def _own_key(self, side: Side) -> Key:
        while True:
            self._count += 1
            key = jsonrpc.key(f"mcpbox-{self._count}")
            if not self._is_taken(side, key):
                return key


def _elicitation(key: Key, text: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": key[1], "method": elicit.METHOD, "params": elicit.form(text)}


def _cancellation(key: Key, reason: str) -> dict[str, Any]:
    params = {"requestId": key[1], "reason": reason}
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}


def _again(case: Case, request: Request) -> Case:
    """The case as it was when the user was asked, under the id and the progress token that the request has now."""
    assert isinstance(case.message, Request)
    value = {**case.message.value, "id": request.id}
    params, meta = case.message.params, field(case.message.params, "_meta")
    if isinstance(params, dict) and isinstance(meta, dict):
        meta = {name: meta[name] for name in meta if name != "progressToken"}
        token = field(request.params, "_meta", "progressToken")
        if jsonrpc.is_id(token) and token is not None and len(str(token)) <= MAX_TOKEN:
            meta["progressToken"] = token
        params = value["params"] = {**params, "_meta": meta}
    message = replace(case.message, id=request.id, params=params, value=value)
    data = jsonrpc.encode(value)
    return Case(Side.CLIENT, message, data, message, data, request)
