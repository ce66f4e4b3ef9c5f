"""Which tool a task is of."""

from __future__ import annotations

from typing import Any

import pytest
from said import answer, call, request

from mcpbox.jsonrpc import Message
from mcpbox.tasks import TASKS, Tasks


def test_a_task_is_of_the_tool_whose_call_it_answers() -> None:
    tasks = Tasks()
    assert tasks.tool(answer(call("a"), {"task": {"taskId": "1"}})) == "a"
    for method in ("tasks/result", "tasks/get"):
        assert tasks.tool(request(method, taskId="1")) == "a"
        assert tasks.tool(answer(request(method, taskId="1"), {})) == "a"


@pytest.mark.parametrize(
    "message",
    [
        request("tasks/result", taskId="2"),
        request("tasks/result", taskId=["1"]),
        request("tasks/cancel", taskId="1"),
        request("prompts/get", name="a"),
        call(5),
        answer(None, {"task": {"taskId": "1"}}),
    ],
)
def test_of_anything_else_none_is_known(message: Message) -> None:
    tasks = Tasks()
    tasks.tool(answer(call("a"), {"task": {"taskId": "1"}}))
    assert tasks.tool(message) is None


@pytest.mark.parametrize("task", [None, 5, {}, {"taskId": 1}, {"taskId": ["1"]}])
def test_a_task_without_a_name_is_none(task: Any) -> None:
    tasks = Tasks()
    assert tasks.tool(answer(call("a"), {"task": task})) == "a" and not tasks._tools


def test_the_oldest_are_forgotten() -> None:
    tasks = Tasks()
    for number in range(TASKS + 1):
        tasks.tool(answer(call("a"), {"task": {"taskId": str(number)}}))
    assert [tasks.tool(request("tasks/get", taskId=str(number))) for number in (0, 1, TASKS)] == [None, "a", "a"]
