from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpbox.policy import table
from mcpbox.policy.base import Change, Rules, Side
from mcpbox.session import Action, Divert, Record, Send, Session

CLIENT, SERVER = Side.CLIENT, Side.SERVER
INITIALIZE = b'{"jsonrpc":"2.0","id":0,"method":"initialize"}\n'


class Dialogue:
    """Says lines from either side and shows what arrives on the other."""

    def __init__(self, rules: Rules | None = None, max_bytes: int = 1 << 20, policies: Any = None) -> None:
        self.session = Session(table.build(rules or Rules()) if policies is None else policies, max_bytes)
        self.actions: list[Action] = []

    def say(self, side: Side, message: Any) -> list[tuple[Side, Any]]:
        data = message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n"
        self.actions = self.session.receive(side, data)
        return [(action.to, json.loads(action.data)) for action in self.actions if isinstance(action, Send)]

    @property
    def records(self) -> list[str]:
        return [action.event["event"] for action in self.actions if isinstance(action, Record)]

    def initialized(self) -> Dialogue:
        self.say(CLIENT, INITIALIZE)
        self.say(SERVER, {"jsonrpc": "2.0", "id": 0, "result": {}})
        return self


def request(method: str, id: Any = 1, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


def result(id: Any = 1, **value: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "result": value}


@pytest.mark.parametrize(
    "line",
    [
        b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"n":1.10,"e":1E400,"u":"\\u2028\\/"}}\n',
        b'  {"jsonrpc" : "2.0", "method":"x"}\r\n',
        b'[{"jsonrpc":"2.0","id":1,"method":"x"},{"jsonrpc":"2.0","method":"y"}]\n',
    ],
)
def test_an_unchanged_message_leaves_as_the_bytes_that_arrived(line: bytes) -> None:
    assert Dialogue().session.receive(CLIENT, line) == [Send(SERVER, line)]


@given(st.lists(st.integers(1, 40)))
def test_any_chunking_gives_the_same_actions(sizes: list[int]) -> None:
    data = INITIALIZE + b'junk\n{"jsonrpc":"2.0","id":0,"method":"again"}\n' + b"z" * 300 + b"\n\n" + INITIALIZE
    whole, pieces = Session((), 200), Session((), 200)
    expected, found, at = whole.receive(CLIENT, data), [], 0
    for size in [*sizes, len(data)]:
        found += pieces.receive(CLIENT, data[at : at + size])
        at += size
    assert found == expected


@given(st.sampled_from(Side), st.binary(max_size=300))
def test_any_bytes_put_only_json_lines_on_the_wire(side: Side, data: bytes) -> None:
    session = Session(table.build(Rules()), 100)
    for action in [*session.receive(side, data), *session.end(side)]:
        if isinstance(action, Send):
            assert json.loads(action.data) is not None


@pytest.mark.parametrize("id", [0, 1, -1, 2**53 - 1, "", "1", "ü", None, 1.5])
def test_ids_of_every_kind_find_their_answer(id: Any) -> None:
    dialogue = Dialogue()
    dialogue.say(CLIENT, request("x", id))
    assert dialogue.say(SERVER, result(id)) == [(CLIENT, result(id))]


def test_a_number_and_a_string_are_two_ids() -> None:
    dialogue = Dialogue()
    dialogue.say(CLIENT, request("x", 1))
    assert dialogue.say(SERVER, result("1")) == []
    assert dialogue.records == ["unsolicited"]


@pytest.mark.parametrize("side", Side)
def test_an_unsolicited_response_is_dropped_and_recorded(side: Side) -> None:
    dialogue = Dialogue()
    assert dialogue.say(side, result(5)) == []
    assert dialogue.records == ["unsolicited"]


def test_a_response_answers_once() -> None:
    dialogue = Dialogue()
    dialogue.say(CLIENT, request("x"))
    assert dialogue.say(SERVER, result())
    assert dialogue.say(SERVER, result()) == []


def test_a_cancelled_request_may_still_be_answered_but_is_not_waited_for() -> None:
    dialogue = Dialogue()
    dialogue.say(CLIENT, request("x"))
    dialogue.say(CLIENT, {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})
    assert dialogue.session.abandon(-1, "gone") == []
    assert dialogue.say(SERVER, result()) == [(CLIENT, result())]


REFUSED = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "?"}}
CANCELLED = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}


@pytest.mark.parametrize("method", ["initialize", "server/discover"])
@pytest.mark.parametrize(("side", "end"), [(SERVER, result()), (SERVER, REFUSED), (CLIENT, CANCELLED)])
def test_a_greeting_is_owed_an_answer_until_there_is_one_or_it_is_cancelled(method: str, side: Side, end: Any) -> None:
    dialogue = Dialogue()
    dialogue.say(CLIENT, [request(method), request("tools/list", 2)])
    assert dialogue.session.greeting() == method
    dialogue.say(side, end)
    assert not dialogue.session.greeting()


def test_who_greets_a_server_that_has_answered_can_wait() -> None:
    dialogue = Dialogue()
    dialogue.say(CLIENT, [request("x"), request("server/discover", 2)])
    assert dialogue.session.greeting()
    dialogue.say(SERVER, result())
    assert not dialogue.session.greeting()


def test_a_repeated_id_is_refused() -> None:
    dialogue = Dialogue()
    dialogue.say(CLIENT, request("x"))
    ((to, answer),) = dialogue.say(CLIENT, request("x"))
    assert to is CLIENT and "still unanswered" in answer["error"]["message"]


def test_a_server_asks_nothing_before_initialize() -> None:
    dialogue = Dialogue()
    ((to, answer),) = dialogue.say(SERVER, request("ping"))
    assert to is SERVER and "before initialize" in answer["error"]["message"]
    assert dialogue.initialized().say(SERVER, request("ping")) == [(CLIENT, request("ping"))]


def test_requests_of_a_server_that_nobody_answers_are_bounded() -> None:
    dialogue = Dialogue().initialized()
    for id in range(5000):
        sent = dialogue.say(SERVER, request("ping", id))
    assert sent[0][0] is SERVER and "unanswered" in sent[0][1]["error"]["message"]


@pytest.mark.parametrize("line", [b"npm banner\n", b"42\n", b'{"jsonrpc":"2.0","id":1,"id":2,"result":1}\n', b"[]\n"])
def test_what_is_not_a_message_goes_to_stderr_and_never_to_the_host(line: bytes) -> None:
    dialogue = Dialogue()
    assert dialogue.say(SERVER, line) == []
    assert Divert(line) in dialogue.actions


@pytest.mark.parametrize(("line", "code"), [(b"junk\n", -32700), (b"[]\n", -32600), (b'{"a":1,"a":2}\n', -32600)])
def test_a_malformed_line_of_the_host_is_answered(line: bytes, code: int) -> None:
    ((to, answer),) = Dialogue().say(CLIENT, line)
    assert to is CLIENT and answer["error"]["code"] == code and answer["id"] is None


def test_an_oversized_request_is_answered() -> None:
    ((to, answer),) = Dialogue(max_bytes=100).say(CLIENT, request("x", 3, text="y" * 200))
    assert to is CLIENT and answer["id"] == 3 and "max_bytes = 100" in answer["error"]["message"]


def test_an_oversized_response_is_answered_in_its_place() -> None:
    dialogue = Dialogue(max_bytes=100)
    dialogue.say(CLIENT, request("x", 3))
    ((to, answer),) = dialogue.say(SERVER, result(3, text="y" * 200))
    assert to is CLIENT and answer["id"] == 3 and answer["error"]["code"] == -32012
    assert dialogue.say(SERVER, result(3, text="y" * 200)) == []


def test_the_end_answers_what_is_open() -> None:
    dialogue = Dialogue()
    dialogue.say(CLIENT, request("x", "a"))
    sent = [json.loads(a.data) for a in dialogue.session.abandon(-1, "gone", "try") if isinstance(a, Send)]
    assert sent == [
        {"jsonrpc": "2.0", "id": "a", "error": {"code": -1, "message": "mcpbox: gone", "data": {"hint": "try"}}}
    ]
    assert dialogue.session.abandon(-1, "gone") == []


def test_the_last_line_needs_no_newline() -> None:
    session = Session((), 1000)
    assert session.receive(CLIENT, INITIALIZE[:-1]) == []
    assert session.end(CLIENT)[-1:] == [Send(SERVER, INITIALIZE[:-1])]


def test_what_mcpbox_says_of_a_servers_end_does_not_stand_on_its_last_line() -> None:
    dialogue = Dialogue()
    dialogue.say(CLIENT, [request("x", 1), request("x", 2)])
    last = json.dumps(result(1)).encode()
    assert dialogue.session.receive(SERVER, last) == []
    sent = [action.data for action in dialogue.session.end(SERVER) if isinstance(action, Send)]
    sent += [action.data for action in dialogue.session.abandon(-1, "gone") if isinstance(action, Send)]
    assert [json.loads(line)["id"] for line in b"".join(sent).splitlines()] == [1, 2]


class Failing:
    def judge(self, side: Side, message: Any) -> None:
        raise KeyError("oops")


class Unsayable:
    def judge(self, side: Side, message: Any) -> Change:
        return Change({"x": float("inf")}, "overflow")


@pytest.mark.parametrize("bad", [Failing(), Unsayable()])
def test_a_policy_that_fails_denies(bad: Any) -> None:
    ((to, answer),) = Dialogue(policies=(bad,)).say(CLIENT, request("x"))
    assert to is CLIENT and "the policy failed" in answer["error"]["message"]


def test_what_a_failure_quotes_goes_nowhere() -> None:
    class Quoting:
        def judge(self, side: Side, message: Any) -> None:
            raise ValueError(f"invalid literal: {message.params['password']!r}")

    dialogue = Dialogue(policies=(Quoting(),))
    said = dialogue.say(CLIENT, request("x", password="hunter2"))
    assert "the policy failed: ValueError" in str(said)
    assert "hunter2" not in str(said) and "hunter2" not in str(dialogue.actions[:-1])


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("file:///home/me/a@b", "file:///home/me/a@b"),
        ("https://me:pw@host/a?x=1", "https://***@host/a?x=***"),
        ("https://host/a?token=s3cret&b#code=s3cret", "https://host/a?token=***&b#code=***"),
        ("https://host#access=s3cret", "https://host#access=***"),
        ("urn:a?b=c", "urn:a?b=c"),
    ],
)
def test_what_may_be_a_password_in_an_address_is_not_on_record(uri: str, told: str) -> None:
    dialogue = Dialogue()
    dialogue.say(CLIENT, request("resources/read", uri=uri))
    found = [action.event for action in dialogue.actions if isinstance(action, Record)]
    assert [(event["event"], event["target"]) for event in found] == [("call", told)]


RULES = Rules(tools_allow=("read_*", "echo"), tools_deny=("read_secret",))


@pytest.mark.parametrize(
    ("tool", "allowed"), [("echo", True), ("read_file", True), ("read_secret", False), ("write", False), (5, False)]
)
def test_tool_calls_are_judged_without_a_list_having_been_seen(tool: Any, allowed: bool) -> None:
    ((to, answer),) = Dialogue(RULES).say(CLIENT, request("tools/call", name=tool))
    assert (to is SERVER) == allowed
    if not allowed:
        assert answer["result"]["isError"] is True


def test_a_denied_call_of_the_stateless_protocol_gets_a_complete_result() -> None:
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
    ((_, answer),) = Dialogue(RULES).say(CLIENT, request("tools/call", name="write", _meta=meta))
    assert answer["result"]["resultType"] == "complete"


def test_hidden_tools_are_not_listed() -> None:
    dialogue = Dialogue(RULES)
    dialogue.say(CLIENT, request("tools/list"))
    tools = [{"name": "echo", "x": 1}, {"name": "write"}, {"noname": 1}]
    ((_, answer),) = dialogue.say(SERVER, result(tools=tools, nextCursor=""))
    assert answer["result"] == {"tools": [{"name": "echo", "x": 1}], "nextCursor": ""}
    assert dialogue.records == ["changed", "result"]


@pytest.mark.parametrize(
    ("method", "rules", "forwarded"),
    [
        ("sampling/createMessage", Rules(), False),
        ("sampling/createMessage", Rules(sampling="allow"), True),
        ("elicitation/create", Rules(), True),
        ("elicitation/create", Rules(elicitation="deny"), False),
        ("roots/list", Rules(), True),
    ],
)
def test_what_a_server_may_ask(method: str, rules: Rules, forwarded: bool) -> None:
    ((to, _),) = Dialogue(rules).initialized().say(SERVER, request(method))
    assert (to is CLIENT) == forwarded
    dialogue = Dialogue(rules)
    dialogue.say(CLIENT, request("tools/call", name="echo"))
    asked = result(resultType="input_required", inputRequests={"a": {"method": method}})
    ((to, answer),) = dialogue.say(SERVER, asked)
    assert to is CLIENT and ("error" not in answer) == forwarded


@pytest.mark.parametrize("asked", [{"a": {"method": ["ping"]}}, {"a": {}}, {"a": 5}, ["a"]])
def test_what_a_server_asks_for_has_a_method(asked: Any) -> None:
    dialogue = Dialogue()
    dialogue.say(CLIENT, request("tools/call", name="echo"))
    ((to, answer),) = dialogue.say(SERVER, result(resultType="input_required", inputRequests=asked))
    assert to is CLIENT and "without a method" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("uri", "kept"),
    [
        ("file:///work/project", True),
        ("file:///work/project/sub%20dir", True),
        ("file:///work/projectile", False),
        ("file:///work/project/../other", False),
        ("file:///work/project/%2e%2e/other", False),
        ("file://elsewhere/work/project", False),
        ("https://example.com/work/project", False),
        (7, False),
    ],
)
def test_roots_are_those_that_are_mounted(uri: Any, kept: bool) -> None:
    dialogue = Dialogue(Rules(visible=("/work/project",))).initialized()
    dialogue.say(SERVER, request("roots/list"))
    ((_, answer),) = dialogue.say(CLIENT, result(roots=[{"uri": uri}]))
    assert bool(answer["result"]["roots"]) == kept


def test_a_batch_loses_only_what_is_refused() -> None:
    dialogue = Dialogue(RULES)
    batch = [request("tools/call", 1, name="echo"), request("tools/call", 2, name="write"), request("ping", 3)]
    sent = dialogue.say(CLIENT, batch)
    assert [answer["id"] for to, answer in sent if to is CLIENT] == [2]
    assert [[item["id"] for item in items] for to, items in sent if to is SERVER] == [[1, 3]]
