from __future__ import annotations

from typing import Any

import pytest
from said import answer, call, failure, request

from mcpbox.jsonrpc import Message
from mcpbox.policy.base import Change, Refuse, Rules, Side
from mcpbox.policy.requests import URL_REQUIRED, ServerRequests

SAMPLING = "sampling/createMessage"


def both(method: str, **params: Any) -> list[Message]:
    each = {"method": method, "params": params}
    return [
        request(method, **params),
        answer(call("t"), {"resultType": "input_required", "inputRequests": {"a": {"method": "x"}, "b": each}}),
        answer(call("t"), {"inputRequests": [{"method": "x"}, each]}),
    ]


@pytest.mark.parametrize(("method", "key"), [(SAMPLING, "sampling"), ("elicitation/create", "elicitation")])
def test_what_the_profile_denies_cannot_be_asked(method: str, key: str) -> None:
    policy = ServerRequests(Rules(sampling="deny", elicitation="deny"))
    for message in both(method):
        refused = policy.judge(Side.SERVER, message)
        assert isinstance(refused, Refuse) and f'{key} = "allow"' in refused.hint


def test_an_error_that_demands_a_url_is_an_elicitation() -> None:
    demand = failure(call("t"), {"code": URL_REQUIRED, "message": "", "data": {"elicitations": []}})
    assert isinstance(ServerRequests(Rules(elicitation="deny")).judge(Side.SERVER, demand), Refuse)
    assert ServerRequests(Rules(elicitation="allow")).judge(Side.SERVER, demand) is None


@pytest.mark.parametrize("context", ["allServers", "everything", None, 5, ["thisServer"]])
def test_sampling_is_without_the_context_of_other_servers(context: Any) -> None:
    policy = ServerRequests(Rules(sampling="allow"))
    expected = both(SAMPLING, includeContext="none", maxTokens=5)
    for message, wanted in zip(both(SAMPLING, includeContext=context, maxTokens=5), expected, strict=True):
        changed = policy.judge(Side.SERVER, message)
        assert isinstance(changed, Change) and changed.value == wanted.value


@pytest.mark.parametrize("params", [{}, {"includeContext": "none"}, {"includeContext": "thisServer"}])
def test_other_sampling_is_let_through(params: dict[str, Any]) -> None:
    policy = ServerRequests(Rules(sampling="allow"))
    assert [policy.judge(Side.SERVER, message) for message in both(SAMPLING, **params)] == [None, None, None]


@pytest.mark.parametrize(
    ("method", "params"),
    [
        (SAMPLING, {"IncludeContext": "allServers"}),
        (SAMPLING, {"includeContext": "none", "includecontext": "allServers"}),
        ("elicitation/create", {"message": "Your name?", "Message": "Your password?"}),
        ("elicitation/create", {"requestedSchema": {"Properties": {"password": {"type": "string"}}}}),
    ],
)
def test_what_a_reader_of_keys_in_any_case_finds_is_not_hidden_from_others(method: str, params: dict[str, Any]) -> None:
    policy = ServerRequests(Rules(sampling="allow", elicitation="allow"))
    for message in both(method, **params):
        verdict = policy.judge(Side.SERVER, message)
        assert isinstance(verdict, Refuse) and "but for its case" in verdict.reason


def test_so_it_is_with_the_method_and_with_a_demanded_url() -> None:
    policy = ServerRequests(Rules(sampling="allow", elicitation="allow"))
    asked = {"method": "elicitation/create", "Method": SAMPLING, "params": {}}
    demanded = {"code": URL_REQUIRED, "message": "", "data": {"elicitations": [{"mode": "url", "Url": "https://x"}]}}
    for message in (answer(call("t"), {"inputRequests": {"q": asked}}), failure(call("t"), demanded)):
        assert isinstance(policy.judge(Side.SERVER, message), Refuse)


def test_other_keys_may_be_written_as_they_like() -> None:
    policy = ServerRequests(Rules(sampling="allow", elicitation="allow"))
    schema = {"type": "object", "properties": {"Message": {"type": "string"}, "URL": {"type": "string"}}}
    for message in both("elicitation/create", message="?", requestedSchema=schema, Other=1):
        assert policy.judge(Side.SERVER, message) is None
    assert policy.judge(Side.SERVER, request("x/y", Message=1)) is None
