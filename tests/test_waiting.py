"""What waits in a session: requests that the server or the user is asked about first, and the questions themselves."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

import pytest

from mcpbox.jsonrpc import Message, Request, Response
from mcpbox.policy.base import Ask, Change, Consult, Question, Refuse, Side, Verdict, field
from mcpbox.session import Action, Divert, Record, Send, Session

CLIENT, SERVER = Side.CLIENT, Side.SERVER
FORM: dict[str, Any] = {"elicitation": {}}
LISTED = {"tools": [{"name": "echo"}], "nextCursor": "2"}
LAST = {"tools": [{"name": "late"}]}
VERSION, CAPABILITIES = "io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/clientCapabilities"


class Known:
    """Lets a tool be called once the server has listed it, on whatever page."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.cursor: Any = None
        self.judged = 0

    def judge(self, side: Side, message: Message) -> Verdict:
        if isinstance(message, Response) and message.request and message.request.method == "tools/list":
            self.seen |= {tool["name"] for tool in message.result["tools"]}
            self.cursor = message.result.get("nextCursor")
        if isinstance(message, Request) and message.method == "tools/call":
            self.judged += 1
            if message.params["name"] not in self.seen:
                return Consult("tools/list", {"cursor": self.cursor} if self.cursor else {})
        return None


class Curious:
    """Asks the user about every call of a tool that is named ``risky``."""

    def judge(self, side: Side, message: Message) -> Verdict:
        if isinstance(message, Request) and field(message.params, "name") == "risky":
            return Ask("let risky\x1b[2J run?\n\u202eok", Refuse("risky was not allowed", "say yes"))
        return None


class Proposer:
    """Forwards lists, and asks the user about them."""

    def __init__(self, accepted: Any = None) -> None:
        self.count = 0
        self._accepted = accepted or self._accept

    def judge(self, side: Side, message: Message) -> Verdict:
        if isinstance(message, Response) and message.request and message.request.method == "tools/list":
            return Change(message.value | {"result": {"tools": []}}, "hidden", {}, Question("new?", self._accepted))
        return None

    def _accept(self) -> list[dict[str, Any]]:
        self.count += 1
        return [{"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}]


class Dialogue:
    """Says messages from either side and returns what is sent, as ``(side, message)``."""

    def __init__(self, *policies: Any, max_bytes: int = 1 << 20) -> None:
        ticks, nonces = count(), count()
        self.session = Session(
            policies, max_bytes, clock=lambda: next(ticks) * 10, nonce=lambda: f"nonce{next(nonces)}"
        )
        self.actions: list[Action] = []

    def say(self, side: Side, *messages: Any) -> list[tuple[Side, Any]]:
        data = b"".join(json.dumps(message).encode() + b"\n" for message in messages)
        self.actions = self.session.receive(side, data)
        return [(action.to, json.loads(action.data)) for action in self.actions if isinstance(action, Send)]

    def events(self, *names: str) -> list[dict[str, Any]]:
        events = [dict(action.event) for action in self.actions if isinstance(action, Record)]
        return [event for event in events if not names or event["event"] in names]

    def initialized(self, **capabilities: Any) -> Dialogue:
        self.say(CLIENT, request("initialize", 0, capabilities=capabilities))
        self.say(SERVER, result(0))
        self.say(CLIENT, {"jsonrpc": "2.0", "method": "notifications/initialized"})
        return self


def request(method: str, id: Any = 1, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


def call(id: Any = 1, name: str = "echo", **more: Any) -> dict[str, Any]:
    return request("tools/call", id, name=name, **more)


def result(id: Any = 1, **value: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "result": value}


def cancel(id: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}


def modern(capabilities: Any = FORM) -> dict[str, Any]:
    return {VERSION: "2026-07-28", CAPABILITIES: capabilities, "progressToken": 7, "other": "x"}


def answer(allow: Any = "yes", action: str = "accept") -> dict[str, Any]:
    return {"action": action, "content": {"allow": allow}}


# -- consulting the server ------------------------------------------------------------------------------------------


def test_a_call_waits_until_the_server_has_been_asked() -> None:
    dialogue = Dialogue(Known()).initialized()
    ((to, asked),) = dialogue.say(CLIENT, call())
    assert to is SERVER and asked["method"] == "tools/list" and asked["params"] == {}
    assert dialogue.session.holding()
    assert dialogue.say(SERVER, result(asked["id"], **LISTED)) == [(SERVER, call())]
    assert not dialogue.session.holding()
    assert dialogue.say(SERVER, result()) == [(CLIENT, result())]


def test_it_is_sent_as_the_bytes_that_arrived() -> None:
    dialogue = Dialogue(Known()).initialized()
    line = b' {"jsonrpc":"2.0" ,"id":1,"method":"tools/call","params":{"name":"\\u0065cho"}}\r\n'
    dialogue.session.receive(CLIENT, line)
    sent = dialogue.session.receive(SERVER, json.dumps(result("mcpbox-1", **LISTED)).encode() + b"\n")
    assert [action.data for action in sent if isinstance(action, Send)] == [line]


def test_pages_are_asked_for_in_turn_and_the_call_is_judged_from_the_first_policy() -> None:
    known = Known()
    dialogue = Dialogue(known, Known()).initialized()
    dialogue.say(CLIENT, call(name="late"))
    ((_, asked),) = dialogue.say(SERVER, result("mcpbox-1", **LISTED))
    assert asked["params"] == {"cursor": "2"}
    assert dialogue.say(SERVER, result("mcpbox-2", **LAST)) == [(SERVER, call(name="late"))]
    assert known.judged == 3


def test_a_list_that_does_not_help_refuses_the_call() -> None:
    dialogue = Dialogue(Known()).initialized()
    dialogue.say(CLIENT, call(name="ghost"))
    ((to, refused),) = dialogue.say(SERVER, result("mcpbox-1", **LAST))
    assert to is CLIENT and refused["result"]["isError"]
    assert "does not have what is needed" in refused["result"]["content"][0]["text"]
    assert not dialogue.session.holding()


def test_a_server_that_does_not_answer_leaves_no_call_open() -> None:
    now = 0
    session = Session([Known()], 1 << 20, clock=lambda: now, consult_within=3_000_000)
    assert session.expires() is None
    for message in (call(1), request("tools/call", 2, name="other")):
        session.receive(CLIENT, json.dumps(message).encode() + b"\n")
    now = 2_999_999
    assert session.expires() == 1 and session.expire() == [] and session.holding()
    now = 3_000_000
    actions = session.expire()
    first, *refused = [(action.to, json.loads(action.data)) for action in actions if isinstance(action, Send)]
    assert first[0] is SERVER and first[1]["params"]["requestId"] == "mcpbox-1"
    assert [(to, answer["id"]) for to, answer in refused] == [(CLIENT, 1), (CLIENT, 2)]
    assert "did not answer tools/list within 3 s" in refused[0][1]["result"]["content"][0]["text"]
    assert session.expires() is None and session.abandon(-1, "gone") == []
    (late,) = session.receive(SERVER, json.dumps(result("mcpbox-1", **LISTED)).encode() + b"\n")
    assert isinstance(late, Record) and late.event["event"] == "unsolicited"


def test_what_waits_for_the_handshake_does_not_expire() -> None:
    now = 0
    session = Session([Known()], 1 << 20, clock=lambda: now, consult_within=3_000_000)
    for message in (request("initialize", 0), call(1)):
        session.receive(CLIENT, json.dumps(message).encode() + b"\n")
    now = 9_000_000
    assert session.expires() is None and session.expire() == []
    session.receive(SERVER, json.dumps(result(0)).encode() + b"\n")
    assert session.expires() == 3_000_000


class Endless:
    def judge(self, side: Side, message: Message) -> Verdict:
        self.count = getattr(self, "count", 0) + 1
        return Consult("tools/list", {"cursor": str(self.count)}) if isinstance(message, Request) else None


def test_the_server_is_not_asked_without_end() -> None:
    dialogue = Dialogue(Endless())
    sent = dialogue.say(CLIENT, call())
    for number in range(1, 66):
        if sent[0][0] is CLIENT:
            break
        sent = dialogue.say(SERVER, result(f"mcpbox-{number}", tools=[]))
    assert number == 65 and "64 times" in sent[0][1]["result"]["content"][0]["text"]


@pytest.mark.parametrize("broken", [{"tools": 5}, {}, {"tools": [{}]}])
def test_an_answer_that_a_policy_fails_on_refuses_the_call_and_reaches_nobody(broken: dict[str, Any]) -> None:
    dialogue = Dialogue(Known()).initialized()
    dialogue.say(CLIENT, call())
    sent = dialogue.say(SERVER, result("mcpbox-1", **broken))
    assert [message["id"] for to, message in sent if to is CLIENT] == [1] and len(sent) == 1
    assert [event["policy"] for event in dialogue.events("refused")] == ["Known", "Known"]


def test_an_error_and_an_oversized_answer_refuse_the_call() -> None:
    for failed in ({"error": {"code": 1, "message": ""}}, {"result": {"tools": [], "x": "y" * 5000}}):
        dialogue = Dialogue(Known(), max_bytes=1000)
        dialogue.say(CLIENT, call())
        ((to, refused),) = dialogue.say(SERVER, {"jsonrpc": "2.0", "id": "mcpbox-1", **failed})
        assert to is CLIENT and refused["id"] == 1


def test_calls_that_want_the_same_answer_share_it_and_others_go_on_meanwhile() -> None:
    dialogue = Dialogue(Known()).initialized()
    assert len(dialogue.say(CLIENT, call(1), call(2), request("ping", 3))) == 2
    assert dialogue.say(SERVER, result(3)) == [(CLIENT, result(3))]
    assert dialogue.say(SERVER, result("mcpbox-1", **LISTED)) == [(SERVER, call(1)), (SERVER, call(2))]


def test_the_protocols_own_metadata_is_passed_on_and_nothing_else() -> None:
    dialogue = Dialogue(Known())
    ((_, asked),) = dialogue.say(CLIENT, call(_meta=modern()))
    assert asked["params"] == {"_meta": {VERSION: "2026-07-28", CAPABILITIES: FORM}}


def test_the_server_is_asked_after_it_has_answered_initialize() -> None:
    dialogue = Dialogue(Known())
    assert len(dialogue.say(CLIENT, request("initialize", 0), call())) == 1
    assert dialogue.say(SERVER, result("mcpbox-1", **LISTED)) == []
    assert dialogue.events()[0]["event"] == "unsolicited"
    sent = dialogue.say(SERVER, result(0))
    assert sent[0] == (CLIENT, result(0)) and sent[1][1]["method"] == "tools/list"


def test_a_cancelled_call_is_dropped_and_so_is_what_was_asked_for_it() -> None:
    dialogue = Dialogue(Known()).initialized()
    dialogue.say(CLIENT, call(1), call(2))
    assert dialogue.say(CLIENT, cancel(1)) == []
    ((to, cancelled),) = dialogue.say(CLIENT, cancel(2))
    assert to is SERVER and cancelled["params"]["requestId"] == "mcpbox-1"
    assert not dialogue.session.holding()
    assert dialogue.say(SERVER, result("mcpbox-1", **LISTED)) == []
    ((_, asked),) = dialogue.say(CLIENT, call(3))
    assert asked["id"] == "mcpbox-2"


def test_the_servers_end_answers_what_waits() -> None:
    dialogue = Dialogue(Known(), Curious()).initialized(**FORM)
    dialogue.say(CLIENT, call("a"))
    answers = [action for action in dialogue.session.abandon(-1, "gone") if isinstance(action, Send)]
    assert [json.loads(action.data)["id"] for action in answers] == ["a"]
    assert dialogue.session.abandon(-1, "gone") == []


@pytest.mark.parametrize("id", ["mcpbox-1", 1])
def test_the_host_cannot_use_an_id_that_is_in_use(id: Any) -> None:
    dialogue = Dialogue(Known()).initialized()
    dialogue.say(CLIENT, call(1))
    ((to, refused),) = dialogue.say(CLIENT, request("ping", id))
    assert to is CLIENT and "still unanswered" in refused["error"]["message"]


def test_an_id_of_the_hosts_that_looks_like_mcpboxs_own_is_the_hosts() -> None:
    dialogue = Dialogue(Known()).initialized()
    dialogue.say(CLIENT, request("ping", "mcpbox-1"))
    ((_, asked),) = dialogue.say(CLIENT, call())
    assert asked["id"] == "mcpbox-2"
    assert dialogue.say(SERVER, result("mcpbox-1")) == [(CLIENT, result("mcpbox-1"))]


def test_neither_side_can_cancel_what_mcpbox_asked() -> None:
    dialogue = Dialogue(Known(), Curious()).initialized(**FORM)
    dialogue.say(CLIENT, call())
    assert dialogue.say(CLIENT, cancel("mcpbox-1")) == []
    dialogue.say(SERVER, result("mcpbox-1", tools=[{"name": "risky"}]))
    dialogue.say(CLIENT, call(2, "risky"))
    assert dialogue.say(SERVER, cancel("mcpbox-2")) == []


def test_a_batch_loses_the_call_that_waits() -> None:
    dialogue = Dialogue(Known()).initialized()
    sent = dialogue.say(CLIENT, [request("ping", 2), call(), request("ping", 3)])
    assert [message if isinstance(message, list) else message["method"] for _, message in sent] == [
        [request("ping", 2), request("ping", 3)],
        "tools/list",
    ]
    sent = dialogue.say(SERVER, [result(2), result("mcpbox-1", **LISTED), result(3)])
    assert sorted(sent, key=str) == [(CLIENT, [result(2), result(3)]), (SERVER, call())]


@pytest.mark.parametrize(("size", "most"), [(10, 256), (30_000, 2)])
def test_what_waits_is_bounded(size: int, most: int) -> None:
    dialogue = Dialogue(Known(), max_bytes=40_000).initialized()
    sent = [dialogue.say(CLIENT, call(id, text="x" * size)) for id in range(1, 300)]
    refused = [messages for messages in sent if messages and messages[0][0] is CLIENT]
    assert len(refused) == 299 - most
    assert "too many requests wait" in str(refused[0])


class Late:
    """Wants an answer for what is not a request of the host's."""

    def judge(self, side: Side, message: Message) -> Verdict:
        return Consult("tools/list") if not (isinstance(message, Request) and side is CLIENT) else None


def test_only_requests_of_the_host_wait() -> None:
    dialogue = Dialogue(Late())
    dialogue.say(CLIENT, request("x"))
    ((to, refused),) = dialogue.say(SERVER, result())
    assert to is CLIENT and "only requests of the host's wait" in refused["error"]["message"]


def test_the_last_line_before_the_end_is_kept_apart_from_what_follows_it() -> None:
    dialogue = Dialogue(Known()).initialized()
    dialogue.say(CLIENT, call())
    ping = json.dumps(request("ping", 2)).encode()
    dialogue.session.receive(CLIENT, ping)
    assert [a.data for a in dialogue.session.end(CLIENT) if isinstance(a, Send)] == [ping + b"\n"]


# -- asking the user ------------------------------------------------------------------------------------------------


def test_a_call_waits_for_the_user_and_goes_on_after_a_yes() -> None:
    dialogue = Dialogue(Curious()).initialized(**FORM)
    ((to, asked),) = dialogue.say(CLIENT, call(name="risky"))
    assert to is CLIENT and asked["method"] == "elicitation/create"
    assert asked["params"]["message"] == "mcpbox: let risky [2J run?  ok"
    assert dialogue.events()[0] == {
        "event": "asked", "side": "client", "message": "tools/call risky", "policy": "Curious", "id": 1,
        "reason": "risky was not allowed",
    }  # fmt: skip
    assert dialogue.say(CLIENT, result(asked["id"], **answer())) == [(SERVER, call(name="risky"))]
    assert [event["event"] for event in dialogue.events()] == ["answered", "call"]


@pytest.mark.parametrize(
    "given",
    [
        result("mcpbox-1", **answer("no")),
        result("mcpbox-1", **answer(True)),
        result("mcpbox-1", action="accept"),
        result("mcpbox-1", action="accept", content="yes"),
        result("mcpbox-1", **answer(action="decline")),
        result("mcpbox-1", **answer(action="cancel")),
        {"jsonrpc": "2.0", "id": "mcpbox-1", "error": {"code": -1, "message": "yes"}},
    ],
)
def test_anything_but_a_yes_is_a_no(given: dict[str, Any]) -> None:
    dialogue = Dialogue(Curious()).initialized(**FORM)
    dialogue.say(CLIENT, call(name="risky"))
    ((to, refused),) = dialogue.say(CLIENT, given)
    assert to is CLIENT and refused["id"] == 1
    assert refused["result"]["content"][0]["text"] == "mcpbox: risky was not allowed (say yes)"


@pytest.mark.parametrize(
    ("capabilities", "asks"),
    [({}, False), (FORM, True), ({"elicitation": {"form": {}}}, True), ({"elicitation": {"form": {}, "url": {}}}, True),
     ({"elicitation": {"url": {}}}, False), ({"elicitation": True}, False), ({"elicitation": None}, False)],
)  # fmt: skip
def test_only_a_host_that_can_is_asked(capabilities: dict[str, Any], asks: bool) -> None:
    ((_, sent),) = Dialogue(Curious()).initialized(**capabilities).say(CLIENT, call(name="risky"))
    assert ("method" in sent) == asks
    ((_, sent),) = Dialogue(Curious()).say(CLIENT, call(name="risky", _meta=modern(capabilities)))
    assert (sent["result"]["resultType"] == "input_required") == asks


def test_a_host_is_not_asked_before_it_is_ready() -> None:
    dialogue = Dialogue(Curious())
    dialogue.say(CLIENT, request("initialize", 0, capabilities=FORM))
    ((_, refused),) = dialogue.say(CLIENT, call(name="risky"))
    assert refused["result"]["isError"]


def test_the_server_cannot_answer_for_the_user() -> None:
    dialogue = Dialogue(Curious()).initialized(**FORM)
    dialogue.say(CLIENT, call(name="risky"))
    assert dialogue.say(SERVER, result("mcpbox-1", **answer())) == []
    assert dialogue.events()[0]["event"] == "unsolicited"
    ((to, refused),) = dialogue.say(SERVER, request("ping", "mcpbox-1"))
    assert to is SERVER and "error" in refused


def test_a_cancelled_call_takes_its_question_away() -> None:
    dialogue = Dialogue(Curious()).initialized(**FORM)
    dialogue.say(CLIENT, call(name="risky"))
    ((to, cancelled),) = dialogue.say(CLIENT, cancel(1))
    assert to is CLIENT and cancelled["params"]["requestId"] == "mcpbox-1"
    assert dialogue.say(CLIENT, result("mcpbox-1", **answer())) == []


def test_the_policies_that_follow_judge_after_a_yes_and_those_before_do_not_again() -> None:
    before, after = Known(), Known()
    before.seen = {"risky"}
    dialogue = Dialogue(before, Curious(), after).initialized(**FORM)
    dialogue.say(CLIENT, call(name="risky"))
    ((_, asked),) = dialogue.say(CLIENT, result("mcpbox-1", **answer()))
    assert asked["method"] == "tools/list"
    assert dialogue.say(SERVER, result("mcpbox-2", tools=[{"name": "risky"}])) == [(SERVER, call(name="risky"))]
    assert (before.judged, after.judged) == (1, 2)


def state(dialogue: Dialogue, **more: Any) -> str:
    ((to, asked),) = dialogue.say(CLIENT, call(name="risky", _meta=modern(), **more))
    assert to is CLIENT and asked["result"]["resultType"] == "input_required"
    assert asked["result"]["inputRequests"]["mcpbox"]["method"] == "elicitation/create"
    return str(asked["result"]["requestState"])


def again(state: str, id: Any = 2, given: Any = None, **more: Any) -> dict[str, Any]:
    responses = {"mcpbox": answer() if given is None else given}
    return call(id, **({"name": "risky", "_meta": modern()} | more), requestState=state, inputResponses=responses)


def test_a_request_of_2026_returns_with_the_answer() -> None:
    dialogue = Dialogue(Curious())
    first = state(dialogue, arguments={"a": 1}, requestState="the server's own", inputResponses={"q": 1})
    assert dialogue.session.abandon(-1, "gone") == []
    meta = modern() | {"progressToken": "new"}
    ((to, sent),) = dialogue.say(CLIENT, again(first, arguments={"a": 1}, _meta=meta))
    assert to is SERVER
    assert sent == call(
        2, "risky", _meta=meta, arguments={"a": 1}, requestState="the server's own", inputResponses={"q": 1}
    )
    assert dialogue.say(SERVER, result(2)) == [(CLIENT, result(2))]


@pytest.mark.parametrize("given", [answer("no"), answer(action="decline"), {}, 5, None])
def test_a_request_that_returns_without_a_yes_is_refused(given: Any) -> None:
    dialogue = Dialogue(Curious())
    message = again(state(dialogue), given=given)
    if given is None:
        del message["params"]["inputResponses"]
    ((to, refused),) = dialogue.say(CLIENT, message)
    assert to is CLIENT and refused["id"] == 2 and "not allowed" in str(refused)


def test_an_answer_counts_once_and_for_its_own_request_alone() -> None:
    dialogue = Dialogue(Curious())
    first = state(dialogue, arguments={"a": 1})
    assert dialogue.say(CLIENT, again(first, arguments={"a": 1}))[0][0] is SERVER
    ((to, sent),) = dialogue.say(CLIENT, again(first, 3, arguments={"a": 1}))
    assert to is CLIENT and sent["result"]["resultType"] == "input_required"
    second = sent["result"]["requestState"]
    ((to, sent),) = dialogue.say(CLIENT, again(second, 4, arguments={"a": True}))
    assert to is CLIENT and "another request" in str(sent)
    ((to, sent),) = dialogue.say(CLIENT, again("mcpbox-guess", 5))
    assert to is CLIENT and sent["result"]["resultType"] == "input_required"


# -- proposing something to the user --------------------------------------------------------------------------------

CHANGED = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}


def test_a_question_about_a_change_holds_nothing_up() -> None:
    proposer = Proposer()
    dialogue = Dialogue(proposer).initialized(**FORM)
    dialogue.say(CLIENT, request("tools/list"))
    forwarded, (to, asked) = dialogue.say(SERVER, result(**LISTED))
    assert forwarded == (CLIENT, result(tools=[]))
    assert to is CLIENT and asked["params"]["message"] == "mcpbox: new?"
    assert dialogue.say(CLIENT, result(asked["id"], **answer())) == [(CLIENT, CHANGED)]
    assert proposer.count == 1


def test_it_is_put_when_the_host_is_ready_and_only_once() -> None:
    dialogue = Dialogue(Proposer())
    dialogue.say(CLIENT, request("initialize", 0, capabilities=FORM))
    dialogue.say(CLIENT, request("tools/list", 1), request("tools/list", 2))
    assert len(dialogue.say(SERVER, result(0), result(1), result(2))) == 3
    ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    forwarded, (to, asked) = dialogue.say(CLIENT, ready)
    assert forwarded == (SERVER, ready) and to is CLIENT
    dialogue.say(CLIENT, request("tools/list", 3))
    assert dialogue.say(SERVER, result(3)) == [(CLIENT, result(3, tools=[]))]
    assert dialogue.say(CLIENT, result(asked["id"], **answer("no"))) == []
    dialogue.say(CLIENT, request("tools/list", 4))
    assert dialogue.say(SERVER, result(4)) == [(CLIENT, result(4, tools=[]))]


@pytest.mark.parametrize("capabilities", [{}, {"elicitation": {"url": {}}}])
def test_it_is_not_put_to_a_host_that_cannot_ask(capabilities: dict[str, Any]) -> None:
    dialogue = Dialogue(Proposer()).initialized(**capabilities)
    dialogue.say(CLIENT, request("tools/list"))
    assert dialogue.say(SERVER, result()) == [(CLIENT, result(tools=[]))]


@pytest.mark.parametrize("accepted", [lambda: 1 / 0, lambda: [{"x": float("inf")}], lambda: 5])
def test_an_acceptance_that_fails_is_recorded(accepted: Any) -> None:
    dialogue = Dialogue(Proposer(accepted)).initialized(**FORM)
    dialogue.say(CLIENT, request("tools/list"))
    dialogue.say(SERVER, result())
    assert dialogue.say(CLIENT, result("mcpbox-1", **answer())) == []
    assert [event["event"] for event in dialogue.events()] == ["answered", "failed"]


# -- records --------------------------------------------------------------------------------------------------------


def test_calls_and_results_are_recorded_before_they_are_forwarded() -> None:
    dialogue = Dialogue()
    dialogue.say(CLIENT, call(arguments={"a": 1}))
    record, sent = dialogue.actions
    assert isinstance(record, Record) and isinstance(sent, Send)
    assert record.content == {"name": "echo", "arguments": {"a": 1}}
    common = {"message": "tools/call echo", "method": "tools/call", "target": "echo", "id": 1}
    assert record.event == {"event": "call", "side": "client", **common, "bytes": len(sent.data)}
    dialogue.say(SERVER, result(isError=True))
    record, sent = dialogue.actions
    assert isinstance(record, Record) and isinstance(sent, Send)
    common["message"] = "response to tools/call"
    assert record.event == {
        "event": "result", "side": "server", **common, "bytes": len(sent.data), "micros": 10, "error": True
    }  # fmt: skip
    assert record.content == {"isError": True}


@pytest.mark.parametrize(
    ("message", "target"),
    [
        (request("resources/read", uri="file:///a"), "file:///a"),
        (request("prompts/get", name="p"), "p"),
        (request("completion/complete", ref={"type": "ref/prompt", "name": "p"}), "p"),
        (request("completion/complete", ref={"type": "ref/resource", "uri": "u:{x}"}), "u:{x}"),
        (request("tools/list", cursor="c"), ""),
        (request("initialize"), ""),
        (call(name="x" * 300), "x" * 256),
        (request("tools/call", name=5), ""),
        ({"jsonrpc": "2.0", "id": 1, "method": "tools/call"}, ""),
    ],
)
def test_what_a_call_is_recorded_as_being_for(message: dict[str, Any], target: str) -> None:
    dialogue = Dialogue()
    dialogue.say(CLIENT, message)
    assert [event["target"] for event in dialogue.events()] == [target]


@pytest.mark.parametrize(
    ("id", "recorded"), [(1.5, "1.5"), (None, None), ("a" * 300, "a" * 256), (2**53 - 1, 2**53 - 1)]
)
def test_ids_are_recorded_without_floats(id: Any, recorded: Any) -> None:
    dialogue = Dialogue()
    dialogue.say(CLIENT, call(id))
    assert [event["id"] for event in dialogue.events()] == [recorded]


def test_other_traffic_is_not_recorded() -> None:
    dialogue = Dialogue()
    dialogue.say(CLIENT, request("ping"), {"jsonrpc": "2.0", "method": "notifications/initialized"})
    dialogue.say(SERVER, result())
    assert dialogue.events() == []


class Rude:
    def judge(self, side: Side, message: Message) -> Verdict:
        return Refuse("\ud800" + "x" * 10_000, found={"event": "none", "policy": "none", "kinds": ["a"]})


def test_a_refusal_is_told_in_bounds_and_as_itself() -> None:
    dialogue = Dialogue(Rude())
    ((to, refused),) = dialogue.say(CLIENT, call(name="a\x1b[2J\nb"))
    assert to is CLIENT and len(str(refused)) < 3000
    (event,) = dialogue.events()
    assert (event["event"], event["policy"], event["kinds"]) == ("refused", "Rude", ["a"])
    (shown,) = [action.data for action in dialogue.actions if isinstance(action, Divert)]
    assert shown.count(b"\n") == 1 and b"\x1b" not in shown


class Forger:
    def __init__(self, **change: Any) -> None:
        self._change = change

    def judge(self, side: Side, message: Message) -> Verdict:
        return Change(message.value | self._change, "changed")


@pytest.mark.parametrize("change", [{"id": 2}, {"method": "other"}, {"jsonrpc": "1.0"}, {"x": float("nan")}])
def test_a_policy_cannot_make_another_message_of_it(change: dict[str, Any]) -> None:
    ((to, refused),) = Dialogue(Forger(**change)).say(CLIENT, request("x"))
    assert to is CLIENT and "the policy failed" in refused["error"]["message"]
