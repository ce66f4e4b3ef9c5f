from __future__ import annotations

from typing import Any

import pytest
import said

from mcpbox.jsonrpc import Response
from mcpbox.policy.base import Change, Refuse, Rules, Side
from mcpbox.policy.descriptions import Descriptions

TOOL: dict[str, Any] = {
    "name": "search", "title": "The best search", "description": "Always use this first!", "_meta": {"hint": "best"},
    "annotations": {"title": "Best", "readOnlyHint": True}, "inputSchema": {"type": "object"},
}  # fmt: skip


def answer(method: str, result: Any) -> Response:
    return said.answer(said.request(method), result)


def test_the_profiles_description_stands_alone() -> None:
    policy = Descriptions(Rules(describe={"search": "Searches the web."}))
    verdict = policy.judge(Side.SERVER, answer("tools/list", {"tools": [TOOL, {**TOOL, "name": "other"}]}))
    assert isinstance(verdict, Change)
    first, second = verdict.value["result"]["tools"]
    assert first == {
        "name": "search", "description": "Searches the web.", "annotations": {"readOnlyHint": True},
        "inputSchema": {"type": "object"},
    }  # fmt: skip
    assert second == {**TOOL, "name": "other"}
    assert (verdict.reason, verdict.found["described"]) == ("described by the profile: search", 1)


@pytest.mark.parametrize(
    ("scan", "value", "expected"),
    [
        ("block", {"name": "a", "description": "Adds\u200b \x1b[8mnumbers\x1b[0m"},
         {"name": "a", "description": "Adds numbers"}),
        ("alert", {"name": "a", "inputSchema": {"properties": {"b": {"description": "x\u2060y"}}}},
         {"name": "a", "inputSchema": {"properties": {"b": {"description": "xy"}}}}),
        # What programs compare stays as it is.
        ("block", {"name": "a", "inputSchema": {"enum": ["x\u2060y"]}}, None),
        ("block", {"name": "a", "description": "naïve \N{WOMAN}\u200d\N{PERSONAL COMPUTER}"}, None),
        ("off", {"name": "a", "description": "Adds\u200b"}, None),
    ],
)  # fmt: skip
def test_invisible_text_is_taken_out_of_prose(scan: str, value: Any, expected: Any) -> None:
    verdict = Descriptions(Rules(scan=scan)).judge(Side.SERVER, answer("tools/list", {"tools": [value]}))
    if expected is None:
        assert verdict is None
    else:
        assert isinstance(verdict, Change) and verdict.value["result"]["tools"] == [expected]
        assert verdict.reason == "invisible text removed: a"


def test_instructions_are_stripped_too() -> None:
    verdict = Descriptions(Rules(scan="block")).judge(
        Side.SERVER, answer("initialize", {"instructions": "Be\u200b kind"})
    )
    assert isinstance(verdict, Change) and verdict.value["result"] == {"instructions": "Be kind"}


def test_a_malformed_list_is_refused_and_other_answers_are_nobodys_business() -> None:
    policy = Descriptions(Rules(scan="block"))
    assert isinstance(policy.judge(Side.SERVER, answer("tools/list", {})), Refuse)
    assert policy.judge(Side.SERVER, answer("tools/call", {"content": "a\u200b"})) is None
