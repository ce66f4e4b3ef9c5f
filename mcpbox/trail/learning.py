"""What a session that is learned from puts on record beside its calls: shapes of arguments, roots. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from msgspec import Struct

from mcpbox.trail.shapes import Existing, Shape, merge, shape

#: Tools that shapes are learned of, and calls that may wait for their result at a time.
MAX_TOOLS, MAX_WAITING = 512, 1024
MAX_ROOTS = 64


class Hints(Struct, frozen=True):
    """What a server says of a tool: that it only reads, and which values its arguments may have."""

    read_only: bool = False
    choices: Mapping[str, frozenset[str]] = {}


class Learner:
    """Given the events of a session with their contents, what is to go on record because of each."""

    def __init__(self, existing: Existing) -> None:
        self._existing = existing
        self._hints: dict[str, Hints] = {}
        self._waiting: dict[tuple[Any, ...], tuple[str, Shape]] = {}
        #: by tool, and whether the calls failed
        self._known: dict[tuple[str, bool], Shape] = {}

    def seen(self, event: Mapping[str, Any], content: Any) -> Iterator[dict[str, Any]]:
        """Events to record after this one; none if it tells nothing new."""
        kind, method = event.get("event"), event.get("method")
        if kind == "call" and method == "tools/call":
            self._call(event, content)
        elif kind == "result" and method == "tools/call":
            yield from self._result(event)
        elif kind == "result" and method == "tools/list":
            self._list(content)
        elif kind == "result" and method == "roots/list":
            yield from self._roots(content)

    def _call(self, event: Mapping[str, Any], content: Any) -> None:
        tool, given = event.get("target"), content.get("arguments") if isinstance(content, Mapping) else None
        if not isinstance(tool, str) or not tool:
            return
        found = shape(given if given is not None else {}, self._existing, self._hints.get(tool, Hints()).choices)
        if len(self._waiting) >= MAX_WAITING:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[_key(event)] = tool, found

    def _result(self, event: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        if (waiting := self._waiting.pop(_key(event), None)) is None:
            return
        (tool, found), failed = waiting, event.get("error") is True
        before = self._known.get((tool, failed))
        if before is None and len(self._known) >= MAX_TOOLS:
            return
        after = found if before is None else merge(before, found)
        self._known[tool, failed] = after
        if after != before:
            told = {"event": "learned", "what": "arguments", "tool": tool, "failed": failed}
            yield {**told, "read_only": self._hints.get(tool, Hints()).read_only, "arguments": after.record()}

    def _list(self, content: Any) -> None:
        tools = content.get("tools") if isinstance(content, Mapping) else None
        for tool in tools if isinstance(tools, list) else ():
            name = tool.get("name") if isinstance(tool, Mapping) else None
            if isinstance(name, str) and (name in self._hints or len(self._hints) < MAX_TOOLS):
                self._hints[name] = _hints(tool)

    def _roots(self, content: Any) -> Iterator[dict[str, Any]]:
        roots = content.get("roots") if isinstance(content, Mapping) else None
        named = roots[:MAX_ROOTS] if isinstance(roots, list) else []
        uris = [root.get("uri") for root in named if isinstance(root, Mapping)]
        places = shape(uris, self._existing).all_places()
        yield {"event": "learned", "what": "roots", "places": sorted(places), "count": len(uris)}


def _key(event: Mapping[str, Any]) -> tuple[Any, ...]:
    id = event.get("id")
    return type(id) is str, id if isinstance(id, str | int | float) else None


def _hints(tool: Mapping[str, Any]) -> Hints:
    annotations, schema = tool.get("annotations"), tool.get("inputSchema")
    read_only = isinstance(annotations, Mapping) and annotations.get("readOnlyHint") is True
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    choices: dict[str, frozenset[str]] = {}
    for name, each in islice(properties.items(), 64) if isinstance(properties, Mapping) else ():
        named = each.get("enum") if isinstance(each, Mapping) else None
        if isinstance(named, list):
            choices[name] = frozenset(text for text in islice(named, 64) if isinstance(text, str) and len(text) <= 64)
    return Hints(read_only, choices)
