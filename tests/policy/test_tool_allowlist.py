from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_session import CLIENT, SERVER, Dialogue, request, result

from mcpbox.policy.base import Rules
from mcpbox.policy.tools import ToolAllowlist, traits
from mcpbox.session import Record

HINTS = ("readOnlyHint", "destructiveHint", "openWorldHint")


def shown(dialogue: Dialogue, *tools: Any, id: int = 1, cursor: str | None = None, next: str | None = None) -> Any:
    """The names of a page as the host gets it."""
    asked = {} if cursor is None else {"cursor": cursor}
    more = {} if next is None else {"nextCursor": next}
    dialogue.say(CLIENT, request("tools/list", id, **asked))
    ((_, answer),) = dialogue.say(SERVER, result(id, tools=list(tools), **more))
    return [tool["name"] for tool in answer["result"]["tools"]]


def call(dialogue: Dialogue, name: str, id: int = 9) -> str:
    """ "" if the call reaches the server, else what the host is told."""
    ((to, said),) = dialogue.say(CLIENT, request("tools/call", id, name=name))
    return "" if to is SERVER else said["result"]["content"][0]["text"]


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        (None, {"not-read-only", "destructive", "open-world"}),
        ({}, {"not-read-only", "destructive", "open-world"}),
        ({"readOnlyHint": True}, {"open-world"}),
        ({"readOnlyHint": True, "destructiveHint": True}, {"open-world"}),
        ({"readOnlyHint": True, "openWorldHint": False}, set()),
        ({"destructiveHint": False, "openWorldHint": False}, {"not-read-only"}),
        ({"readOnlyHint": False, "openWorldHint": False}, {"not-read-only", "destructive"}),
        ({"readOnlyHint": "true", "openWorldHint": 0}, {"not-read-only", "destructive", "open-world"}),
        (
            {"readOnlyHint": 1, "destructiveHint": None, "openWorldHint": []},
            {"not-read-only", "destructive", "open-world"},
        ),
        ([], {"not-read-only", "destructive", "open-world"}),
        ("readOnlyHint", {"not-read-only", "destructive", "open-world"}),
    ],
)
def test_what_is_missing_or_of_a_wrong_type_counts_as_the_worst(annotations: Any, expected: set[str]) -> None:
    assert traits({"name": "x", "annotations": annotations}) == expected


@given(st.dictionaries(st.sampled_from(HINTS), st.one_of(st.booleans(), st.none(), st.text(), st.integers())))
def test_hints_never_widen(annotations: Any) -> None:
    worst = traits({"name": "x"})
    assert traits({"name": "x", "annotations": annotations}) <= worst
    for left_out in annotations:
        less = {hint: value for hint, value in annotations.items() if hint != left_out}
        assert traits({"annotations": annotations}) <= worst and traits({"annotations": less}) <= worst


READ = {"name": "read", "annotations": {"readOnlyHint": True, "openWorldHint": False}}
WRITE = {"name": "write", "annotations": {"destructiveHint": False, "openWorldHint": False}}
WIPE = {"name": "wipe", "annotations": {"openWorldHint": False}}
FETCH = {"name": "fetch", "annotations": {"readOnlyHint": True}}


@pytest.mark.parametrize(
    ("hide", "left"),
    [
        ((), ["read", "write", "wipe", "fetch"]),
        (("destructive",), ["read", "write", "fetch"]),
        (("not-read-only",), ["read", "fetch"]),
        (("open-world",), ["read", "write", "wipe"]),
        (("not-read-only", "open-world"), ["read"]),
    ],
)
def test_tools_are_hidden_by_their_annotations(hide: tuple[str, ...], left: list[str]) -> None:
    dialogue = Dialogue(Rules(tools_hide=hide)).initialized()
    assert shown(dialogue, READ, WRITE, WIPE, FETCH) == left
    for at, name in enumerate(("read", "write", "wipe", "fetch")):
        told = call(dialogue, name, 20 + at)
        assert told == "" if name in left else "by its own annotations" in told


def test_annotations_do_not_allow_what_the_profile_does_not() -> None:
    dialogue = Dialogue(Rules(tools_allow=("write",), tools_hide=("open-world",))).initialized()
    assert shown(dialogue, READ, WRITE) == ["write"]
    assert "not allowed" in call(dialogue, "read")


def test_a_call_before_any_list_waits_for_the_annotations() -> None:
    dialogue = Dialogue(Rules(tools_hide=("destructive",))).initialized()
    ((to, asked),) = dialogue.say(CLIENT, request("tools/call", 5, name="wipe"))
    assert to is SERVER and asked["method"] == "tools/list"
    ((to, asked),) = dialogue.say(SERVER, result(asked["id"], tools=[READ], nextCursor="2"))
    assert to is SERVER and asked["params"] == {"cursor": "2"}
    ((to, answer),) = dialogue.say(SERVER, result(asked["id"], tools=[WIPE]))
    assert to is CLIENT and "by its own annotations" in answer["result"]["content"][0]["text"]
    assert call(dialogue, "read") == ""
    assert "lists no tool 'other'" in call(dialogue, "other", 10)


def test_annotations_that_have_changed_count_from_then_on() -> None:
    dialogue = Dialogue(Rules(tools_hide=("destructive",))).initialized()
    shown(dialogue, READ)
    dialogue.say(SERVER, {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
    ((to, asked),) = dialogue.say(CLIENT, request("tools/call", 5, name="read"))
    assert asked["method"] == "tools/list"
    ((to, _),) = dialogue.say(SERVER, result(asked["id"], tools=[{"name": "read"}]))
    assert to is CLIENT


def test_of_two_tools_with_one_name_the_worse_counts() -> None:
    for pair in itertools.permutations(({**READ}, {"name": "read"})):
        dialogue = Dialogue(Rules(tools_hide=("destructive",))).initialized()
        assert shown(dialogue, *pair) == []
        dialogue = Dialogue(Rules(tools_hide=("destructive",))).initialized()
        shown(dialogue, pair[0], next="2")
        shown(dialogue, pair[1], id=2, cursor="2")
        assert "by its own annotations" in call(dialogue, "read")


def test_a_host_s_own_globs_only_narrow() -> None:
    rules = Rules(
        tools_allow=("read*", "write"), tools_deny=("read_key",), tools_host=((("read*", "wipe"), ("read_me",)),)
    )
    dialogue = Dialogue(rules).initialized()
    names = ["read", "read_key", "read_me", "write", "wipe", "read_x"]
    assert shown(dialogue, *({"name": name} for name in names)) == ["read", "read_x"]
    assert [name for at, name in enumerate(names) if call(dialogue, name, 30 + at) == ""] == ["read", "read_x"]


@pytest.mark.parametrize(
    "name", ["", "send\u200b", "send\u202e", "send\n", "e\u0301", "\U000e0041", "x" * 2000, "a\u3164"]
)
def test_a_name_that_is_not_what_it_looks_like_is_hidden_and_cannot_be_called(name: str) -> None:
    dialogue = Dialogue(Rules()).initialized()
    assert shown(dialogue, {"name": name}, {"name": "send"}) == ["send"]
    assert "not allowed" in call(dialogue, name)


def test_case_and_compatible_forms_are_other_names() -> None:
    dialogue = Dialogue(Rules(tools_allow=("send",))).initialized()
    assert shown(dialogue, {"name": "Send"}, {"name": "\uff53end"}, {"name": "\u0455end"}, {"name": "send"}) == ["send"]


def test_hidden_tools_stay_hidden_on_every_page() -> None:
    dialogue = Dialogue(Rules(tools_deny=("wipe",))).initialized()
    assert shown(dialogue, READ, WIPE, next="2") == ["read"]
    assert shown(dialogue, WIPE, WRITE, id=2, cursor="2") == ["write"]


def test_the_record_of_what_is_hidden_is_short() -> None:
    dialogue = Dialogue(Rules(tools_allow=()), max_bytes=1 << 23).initialized()
    shown(dialogue, *({"name": f"{number}\u202e{'x' * 500}"} for number in range(5000)))
    records = [action.event for action in dialogue.actions if isinstance(action, Record)]
    (found,) = [event for event in records if event["event"] == "changed"]
    assert found["hidden"] == 5000 and found["names"][-1] == "and 4990 more" and len(found["reason"]) < 1000
    assert found["reason"].isprintable()


def test_what_is_remembered_of_a_server_is_bounded() -> None:
    policy = ToolAllowlist(Rules(tools_hide=("destructive",)))
    dialogue = Dialogue(policies=(policy,), max_bytes=1 << 22).initialized()
    dialogue.say(CLIENT, request("tools/list"))
    ((_, answer),) = dialogue.say(SERVER, result(tools=[{"name": str(number)} for number in range(10_001)]))
    assert "more than 10000 tools" in answer["error"]["message"]
