from __future__ import annotations

from typing import Any

import pytest
from test_session import CLIENT, SERVER, Dialogue, request, result

from mcpbox.policy.base import Rules

RULES = Rules(
    prompts_allow=("review*",),
    prompts_deny=("review_all",),
    resources_allow=("file:///docs/*", "docs://*"),
    resources_deny=("file:///docs/secret/*",),
)


def listed(rules: Rules, method: str, key: str, *items: Any) -> Any:
    dialogue = Dialogue(rules).initialized()
    dialogue.say(CLIENT, request(method))
    ((_, answer),) = dialogue.say(SERVER, result(**{key: list(items)}))
    return answer["result"][key] if "result" in answer else answer["error"]["message"]


def passes(rules: Rules, method: str, **params: Any) -> bool:
    ((to, _),) = Dialogue(rules).initialized().say(CLIENT, request(method, **params))
    return to is SERVER


@pytest.mark.parametrize(
    ("name", "allowed"),
    [("review", True), ("review_code", True), ("review_all", False), ("Review", False), ("write", False),
     ("review\u200b", False), ("", False), (5, False), (None, False)],
)  # fmt: skip
def test_prompts_by_name(name: Any, allowed: bool) -> None:
    assert (
        listed(RULES, "prompts/list", "prompts", {"name": name}, {"name": "review"})[0:-1] == [{"name": name}] * allowed
    )
    assert passes(RULES, "prompts/get", name=name) == allowed
    assert passes(RULES, "completion/complete", ref={"type": "ref/prompt", "name": name}) == allowed


@pytest.mark.parametrize(
    ("uri", "allowed"),
    [
        ("file:///docs/a.txt", True),
        ("file:///docs/a%20b.txt", True),
        ("docs://x", True),
        ("file:///etc/passwd", False),
        ("file:///docs/secret/key", False),
        ("file:///docs/SECRET/key", False),
        ("file:///docs/%73ecret/key", False),
        ("file:///docs/%2573ecret/key", False),
        ("file:///docs/../etc/passwd", False),
        ("file:///docs/%2e%2e/etc/passwd", False),
        ("file:///docs/..%2fetc/passwd", False),
        ("file:///docs/..%5cetc", False),
        ("file:///docs/%252e%252e/etc", False),
        ("file:///docs/%25252525252525252e", False),
        ("file:///docs/..", False),
        ("file:///docs/a%00b", False),
        ("file:///docs/a..b", True),
        ("FILE:///docs/a", False),
        ("file:///docs/a\u202e", False),
        ("", False),
        (5, False),
        (None, False),
    ],
)
def test_resources_by_uri_however_it_is_written(uri: Any, allowed: bool) -> None:
    assert (
        listed(RULES, "resources/list", "resources", {"uri": uri, "name": "x"}) == [{"uri": uri, "name": "x"}] * allowed
    )
    assert passes(RULES, "resources/read", uri=uri) == allowed
    assert passes(RULES, "resources/subscribe", uri=uri) == allowed
    assert passes(RULES, "completion/complete", ref={"type": "ref/resource", "uri": uri}) == allowed
    assert passes(RULES, "subscriptions/listen", notifications={"resourceSubscriptions": ["docs://x", uri]}) == allowed
    updated = {"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": uri}}
    assert bool(Dialogue(RULES).initialized().say(SERVER, updated)) == allowed


def test_templates_as_they_are_written() -> None:
    templates = [{"uriTemplate": "file:///{+path}"}, {"uriTemplate": "docs://{page}"}, {"name": "none"}]
    assert listed(RULES, "resources/templates/list", "resourceTemplates", *templates) == templates[1:2]


def test_without_rules_all_are_allowed_but_those_that_nobody_sees() -> None:
    assert passes(Rules(), "resources/read", uri="file:///a/../%2e%2e/b") and passes(Rules(), "prompts/get", name="any")
    assert passes(Rules(), "subscriptions/listen", notifications={})
    assert not passes(Rules(), "resources/read", uri="file:///a\u200b")
    screenshot = {"uri": "file:///Screenshot at 3.14\u202fPM.png"}
    assert listed(Rules(), "resources/list", "resources", screenshot) == [screenshot]


@pytest.mark.parametrize(
    ("method", "key"),
    [("prompts/list", "prompts"), ("resources/list", "resources"), ("resources/templates/list", "resourceTemplates")],
)
def test_a_list_that_is_none_is_refused(method: str, key: str) -> None:
    dialogue = Dialogue(RULES).initialized()
    dialogue.say(CLIENT, request(method))
    ((_, answer),) = dialogue.say(SERVER, result(**{key: {"a": 1}}))
    assert answer["error"]["message"] == f"mcpbox: the list of {key} is not a list"


@pytest.mark.parametrize("wanted", ["file:///etc/passwd", {"docs://x": 1}, 5, [["docs://x"]]])
def test_subscriptions_of_another_type_are_refused(wanted: Any) -> None:
    assert not passes(RULES, "subscriptions/listen", notifications={"resourceSubscriptions": wanted})


def test_what_a_tool_returns_is_the_tool_s_to_answer_for() -> None:
    dialogue = Dialogue(RULES).initialized()
    dialogue.say(CLIENT, request("tools/call", name="x"))
    content = [
        {"type": "resource_link", "uri": "file:///etc/passwd", "name": "x"},
        {"type": "resource", "resource": {"uri": "file:///etc/passwd", "text": "x"}},
    ]
    ((_, answer),) = dialogue.say(SERVER, result(content=content))
    assert answer["result"]["content"] == content
    ((to, _),) = dialogue.say(CLIENT, request("resources/read", 2, uri="file:///etc/passwd"))
    assert to is CLIENT
