from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from said import answer, call, failure, request

from mcpbox.policy.base import Alert, Ask, CallSequence, Origin, Refuse, Rules, Side
from mcpbox.policy.calls import MINUTE, CallRules


class Clock:
    now = 0

    def __call__(self) -> int:
        return self.now


class Others:
    """What other servers' tools were used for."""

    key = bytes(32)

    def __init__(self, *used: Origin) -> None:
        self._used = used

    def used(self) -> Collection[Origin]:
        return self._used

    def elsewhere(self) -> Mapping[int, Origin]:
        return {}

    def keep(self, tool: str, prints: Collection[int]) -> None:
        raise NotImplementedError

    def note(self, tool: str) -> None:
        raise NotImplementedError

    def alone(self) -> bool:
        return not self._used


def test_so_many_calls_a_minute() -> None:
    clock = Clock()
    policy = CallRules(Rules(calls_per_minute=3, clock=clock))
    for second in range(3):
        clock.now = second * 1_000_000
        assert policy.judge(Side.CLIENT, call("t", n=second)) is None
    refused = policy.judge(Side.CLIENT, call("t"))
    assert isinstance(refused, Refuse) and "3 calls were made in the last minute" in refused.reason
    assert "try again in 58 s" in refused.hint and refused.found == {"rule": "per_minute", "limit": 3}
    clock.now = MINUTE
    assert policy.judge(Side.CLIENT, call("t")) is None
    assert isinstance(policy.judge(Side.CLIENT, call("t")), Refuse)
    clock.now = 3 * MINUTE
    assert policy.judge(Side.CLIENT, call("t")) is None


@given(st.lists(st.integers(0, 2 * MINUTE // 10), max_size=60), st.integers(1, 5))
def test_no_minute_has_more(steps: list[int], limit: int) -> None:
    clock = Clock()
    policy = CallRules(Rules(calls_per_minute=limit, clock=clock))
    passed = []
    for step in steps:
        clock.now += step
        if policy.judge(Side.CLIENT, call("t")) is None:
            passed.append(clock.now)
    assert all(later - first >= MINUTE for first, later in zip(passed, passed[limit:], strict=False))


def test_the_same_call_so_many_times_in_a_row() -> None:
    policy = CallRules(Rules(calls_repeats=2))
    assert policy.judge(Side.CLIENT, call("t", a=1, b="x")) is None
    assert policy.judge(Side.CLIENT, call("t", b="x", a=1)) is None
    refused = policy.judge(Side.CLIENT, call("t", a=1, b="x"))
    assert isinstance(refused, Refuse) and "'t' was called 2 times in a row" in refused.reason
    assert policy.judge(Side.CLIENT, call("t", a=2, b="x")) is None
    assert policy.judge(Side.CLIENT, call("t", a=1, b="x")) is None
    assert policy.judge(Side.CLIENT, call("u", a=1, b="x")) is None


def used(policy: CallRules, tool: str, *, fails: bool = False) -> None:
    said = failure(call(tool), {"code": 1}) if fails else answer(call(tool), {"content": []})
    policy.judge(Side.SERVER, said)


@pytest.mark.parametrize(("action", "verdict"), [("alert", Alert), ("ask", Ask), ("block", Refuse)])
def test_what_may_not_follow(action: str, verdict: Any) -> None:
    policy = CallRules(Rules(server="s", calls_sequences=(CallSequence("read_*", "send_*", action),)))
    assert policy.judge(Side.CLIENT, call("send_mail")) is None
    assert policy.judge(Side.CLIENT, call("read_secret")) is None
    # Before the answer there is nothing that could be sent.
    assert policy.judge(Side.CLIENT, call("send_mail")) is None
    used(policy, "read_secret", fails=True)
    assert policy.judge(Side.CLIENT, call("send_mail")) is None
    used(policy, "read_secret")
    found: Any = policy.judge(Side.CLIENT, call("send_mail"))
    assert isinstance(found, verdict)
    reason = found.otherwise.reason if isinstance(found, Ask) else found.reason
    assert reason == "'send_mail' is called after 'read_secret'"
    assert policy.judge(Side.CLIENT, call("list_mail")) is None


def test_what_may_not_follow_another_servers_tool() -> None:
    rule = (CallSequence("files:read_*", "send_*"),)
    assert CallRules(Rules(calls_sequences=rule, flows=Others())).judge(Side.CLIENT, call("send_mail")) is None
    other = Others(Origin("files", "write_file"), Origin("web", "read_page"))
    assert CallRules(Rules(calls_sequences=rule, flows=other)).judge(Side.CLIENT, call("send_mail")) is None
    policy = CallRules(Rules(calls_sequences=rule, flows=Others(Origin("files", "read_file"))))
    refused = policy.judge(Side.CLIENT, call("send_mail"))
    assert isinstance(refused, Refuse) and "after 'files:read_file'" in refused.reason
    own = CallRules(Rules(server="files", calls_sequences=rule, flows=Others()))
    used(own, "read_file")
    assert isinstance(own.judge(Side.CLIENT, call("send_mail")), Refuse)


def test_the_gravest_rule_holds() -> None:
    rules = (CallSequence("a", "b", "alert"), CallSequence("*", "b", "block"))
    policy = CallRules(Rules(calls_sequences=rules))
    used(policy, "a")
    assert isinstance(policy.judge(Side.CLIENT, call("b")), Refuse)


def test_nothing_is_asked_for_by_default() -> None:
    policy = CallRules(Rules())
    assert all(policy.judge(Side.CLIENT, call("t")) is None for _ in range(1000))


@pytest.mark.parametrize(
    "rules",
    [Rules(calls_per_minute=1), Rules(calls_sequences=(CallSequence("a:b", "c"),))],
)
def test_without_what_it_needs_it_does_not_start(rules: Rules) -> None:
    with pytest.raises(ValueError, match="needs"):
        CallRules(rules)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    )
)
def test_any_parameters_are_read(params: Any) -> None:
    policy = CallRules(
        Rules(calls_per_minute=9, calls_repeats=2, calls_sequences=(CallSequence("*", "*"),), clock=Clock())
    )
    for each in (request("tools/call"), call(params), call("t", a=params)):
        policy.judge(Side.CLIENT, each)
        policy.judge(Side.SERVER, answer(each, params))
