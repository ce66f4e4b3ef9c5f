"""Which tool a server's task is of, whose result comes by another request than the call. No I/O."""

from __future__ import annotations

from mcpbox.jsonrpc import Message, Request, Response
from mcpbox.policy.base import field

#: Tasks that are remembered.
TASKS = 1024


class Tasks:
    """Those that one session's answers to calls have named (specification 2025-11-25, basic/utilities/tasks)."""

    def __init__(self) -> None:
        self._tools: dict[str, str] = {}

    def tool(self, message: Message) -> str | None:
        """The tool that a request calls or of whose task it asks, or an answer is of; None for none."""
        request = message.request if isinstance(message, Response) else message
        if not isinstance(request, Request):
            return None
        if request.method == "tools/call":
            name = field(request.params, "name")
            if not isinstance(name, str):
                return None
            task = field(message.result, "task", "taskId") if isinstance(message, Response) else None
            if isinstance(task, str):
                self._tools[task] = name
                if len(self._tools) > TASKS:
                    del self._tools[next(iter(self._tools))]
            return name
        task = field(request.params, "taskId") if request.method in ("tasks/result", "tasks/get") else None
        return self._tools.get(task) if isinstance(task, str) else None
