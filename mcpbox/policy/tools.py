"""Tools the profile does not allow are neither listed nor callable. No I/O."""

from __future__ import annotations

from fnmatch import fnmatchcase

from mcpbox.jsonrpc import Message, Request, Response
from mcpbox.policy.base import Change, Refuse, Rules, Side, Verdict, field


class ToolAllowlist:
    """Holds without a ``tools/list`` having been seen: protocol 2026-07-28 may begin with a call."""

    def __init__(self, rules: Rules) -> None:
        self._allow = rules.tools_allow
        self._deny = rules.tools_deny

    def judge(self, side: Side, message: Message) -> Verdict:
        if side is Side.CLIENT and isinstance(message, Request) and message.method == "tools/call":
            return self._call(field(message.params, "name"))
        if isinstance(message, Response) and message.request and message.request.method == "tools/list":
            return self._list(message)
        return None

    def _call(self, name: object) -> Verdict:
        if not isinstance(name, str):
            return Refuse("the tool's name is not a string")
        if self._allowed(name):
            return None
        return Refuse(f"the tool {name!r} is not allowed", "see [tools] allow and deny in the server's profile")

    def _list(self, message: Response) -> Verdict:
        if "error" in message.value:
            return None
        tools = field(message.result, "tools")
        if not isinstance(tools, list):
            return Refuse("the list of tools is not a list")
        kept = [tool for tool in tools if self._allowed(field(tool, "name"))]
        if len(kept) == len(tools):
            return None
        hidden = [field(tool, "name") for tool in tools if tool not in kept]
        result = message.result | {"tools": kept}
        return Change(message.value | {"result": result}, f"tools hidden: {', '.join(map(str, hidden))}")

    def _allowed(self, name: object) -> bool:
        return (
            isinstance(name, str)
            and any(fnmatchcase(name, pattern) for pattern in self._allow)
            and not any(fnmatchcase(name, pattern) for pattern in self._deny)
        )
