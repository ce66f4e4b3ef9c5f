"""Tools the profile does not allow are neither listed nor callable. No I/O."""

from __future__ import annotations

from typing import Any

from mcpbox.definitions import MAX_DEFINITIONS
from mcpbox.jsonrpc import Message, Notification, Request, Response
from mcpbox.listing import CHANGED, Pages, cursor
from mcpbox.naming import MAX_NAME, Globs, is_plain
from mcpbox.policy.base import Change, Refuse, Rules, Side, Verdict, field, quoted, some


class ToolAllowlist:
    """By name, and by what a server says of a tool in its annotations, which can only hide it.

    Names hold without a ``tools/list`` having been seen: protocol 2026-07-28 may begin with a call. Where annotations
    count, the server is asked for its list before the first call of a tool that was not in one. A name that is not
    what it looks like is never allowed.
    """

    passes = frozenset({Side.SERVER})

    def __init__(self, rules: Rules) -> None:
        self._globs = Globs(((rules.tools_allow, rules.tools_deny), *rules.tools_host))
        self._hide = frozenset(rules.tools_hide)
        self._judged: dict[str, bool] = {}
        self._pages = Pages()
        #: Whether the server's own annotations hide a tool that it has listed.
        self._hidden: dict[str, bool] = {}

    def judge(self, side: Side, message: Message) -> Verdict:
        if side is Side.CLIENT:
            if isinstance(message, Request) and message.method == "tools/call":
                return self._call(field(message.params, "name"))
        elif isinstance(message, Response):
            if message.request and message.request.method == "tools/list":
                return self._list(message)
        elif isinstance(message, Notification) and "tools/list" in CHANGED.get(message.method, ()):
            self._pages.forget(message.method)
            self._hidden.clear()
        return None

    def _call(self, name: object) -> Verdict:
        if not isinstance(name, str):
            return Refuse("the tool's name is not a string")
        if not self._allowed(name):
            return Refuse(
                f"the tool {quoted(name)} is not allowed", "see [tools] allow and deny in the server's profile"
            )
        if not self._hide:
            return None
        if name not in self._hidden:
            return self._pages.look_for("tools/list", name)
        if self._hidden[name]:
            return Refuse(
                f"the tool {quoted(name)} is not allowed, by its own annotations",
                "see [tools] hide in the server's profile",
            )
        return None

    def _list(self, message: Response) -> Verdict:
        self._pages.see(message)
        if "error" in message.value:
            return None
        tools = field(message.result, "tools")
        if not isinstance(tools, list):
            return Refuse("the list of tools is not a list")
        if cursor(message) is None:
            self._hidden.clear()
        if self._hide:
            for tool in tools:
                if isinstance(name := field(tool, "name"), str):
                    self._hidden[name] = self._hidden.get(name, False) or not self._hide.isdisjoint(traits(tool))
            if len(self._hidden) > MAX_DEFINITIONS:
                return Refuse(f"the server lists more than {MAX_DEFINITIONS} tools")
        kept = [tool for tool in tools if self._shown(field(tool, "name"))]
        if len(kept) == len(tools):
            return None
        hidden = some(str(name) for tool in tools if not self._shown(name := field(tool, "name")))
        result = message.result | {"tools": kept}
        found = {"hidden": len(tools) - len(kept), "names": hidden}
        return Change(message.value | {"result": result}, f"tools hidden: {', '.join(hidden)}", found)

    def _shown(self, name: object) -> bool:
        return isinstance(name, str) and self._allowed(name) and not self._hidden.get(name, False)

    def _allowed(self, name: str) -> bool:
        if (allowed := self._judged.get(name)) is None:
            allowed = is_plain(name) and self._globs.allow(name)
            if len(self._judged) < MAX_DEFINITIONS and len(name) <= MAX_NAME:
                self._judged[name] = allowed
        return allowed


def traits(tool: Any) -> set[str]:
    """What a tool may be by its annotations (specification, schema, ToolAnnotations); what is missing or of a wrong
    type counts as the worst."""
    annotations = field(tool, "annotations")
    if field(annotations, "readOnlyHint") is True:
        found = set()
    elif field(annotations, "destructiveHint") is False:
        found = {"not-read-only"}
    else:
        found = {"not-read-only", "destructive"}
    return found if field(annotations, "openWorldHint") is False else {*found, "open-world"}
