"""Values with the places where they stand, and the operations on them that every format shares. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

from mcpbox.hosts.document import MAX_DEPTH, DocumentError, Edit, Value, apply, error_at
from mcpbox.hosts.model import Key

#: A value in a form that compares strictly: 1, 1.0 and true differ, NaN is itself, and names that stand twice count.
Frozen = tuple[str, Any]


class Node:
    """One value. ``keys`` has key, start and end of each of a table's members, ``children`` their values in the same
    order, or a list's items. ``start`` and ``end`` are offsets of the value's text."""

    __slots__ = ("children", "end", "keys", "kind", "start", "value")

    def __init__(self, kind: Literal["scalar", "list", "table"], start: int, end: int = 0, value: Any = None) -> None:
        self.kind = kind
        self.start = start
        self.end = end
        self.value = value
        self.keys: list[tuple[str, int, int]] = []
        self.children: list[Node] = []

    def index(self, key: Key) -> int:
        """The place of a member or an item among the others; raises KeyError."""
        if self.kind == "table":
            for index in range(len(self.keys) - 1, -1, -1):
                if self.keys[index][0] == key:
                    return index
        elif self.kind == "list" and type(key) is int and 0 <= key < len(self.children):
            return key
        raise KeyError(key)


class Layout(Protocol):
    """How the members of one container follow each other. An index of -1 stands for none."""

    def prepend(self, items: Sequence[str]) -> list[Edit]: ...

    def withdraw(self, count: int) -> list[Edit]: ...

    def insert(self, index: int, member: str) -> list[Edit]: ...

    def remove(self, index: int) -> list[Edit]: ...


class Tree:
    """A ``Document`` over nodes. A format says how its scalars read, how values are written and how containers lie."""

    def __init__(self, text: str, root: Node) -> None:
        self.text = text
        self.root = root

    def scalar(self, node: Node) -> Any:
        return node.value

    def write(self, value: Value, node: Node) -> str:
        """``value`` in the place of ``node``."""
        raise NotImplementedError

    def item(self, value: str, node: Node) -> str:
        """``value`` as an item of the list ``node``."""
        raise NotImplementedError

    def member(self, key: str, value: Value, node: Node, index: int) -> str:
        """``key`` and ``value`` as a member of the table ``node``, like its member at ``index``."""
        raise NotImplementedError

    def layout(self, node: Node) -> Layout:
        raise NotImplementedError

    def reread(self, node: Node, text: str) -> Frozen:
        """What ``text`` in the place of ``node`` reads as."""
        raise NotImplementedError

    def node(self, path: Sequence[Key]) -> Node:
        node = self.root
        for key in path:
            node = node.children[node.index(key)]
        return node

    def get(self, path: Sequence[Key]) -> Any:
        return self._plain(self.node(path))

    def members(self, path: Sequence[Key]) -> list[Key]:
        node = self.node(path)
        if node.kind == "scalar":
            raise self.error(node, "neither a table nor a list")
        return list(dict.fromkeys(key for key, _, _ in node.keys)) if node.kind == "table" else [*range(len(node.children))]

    def span(self, path: Sequence[Key]) -> tuple[int, int]:
        node = self.node(path)
        return node.start, node.end

    def replace(self, path: Sequence[Key], value: Value) -> list[Edit]:
        node, expected = self.node(path), freeze(value)
        edits = [Edit(node.start, node.end, self.write(value, node))]
        if not path:
            return self.checked(node, edits, expected)
        parent = self.node(path[:-1])
        return self.checked(parent, edits, self._with(parent, parent.index(path[-1]), [expected]))

    def prepend(self, path: Sequence[Key], values: Sequence[str]) -> list[Edit]:
        node = self._list(path)
        if not values:
            return []
        edits = self.layout(node).prepend([self.item(value, node) for value in values])
        return self.checked(node, edits, ("list", [*map(freeze, values), *self.frozen(node)[1]]))

    def withdraw(self, path: Sequence[Key], count: int) -> list[Edit]:
        node = self._list(path)
        if not 0 <= count <= len(node.children):
            raise self.error(node, f"the list has {len(node.children)} items, fewer than the {count} to take out")
        if count == 0:
            return []
        return self.checked(node, self.layout(node).withdraw(count), ("list", self.frozen(node)[1][count:]))

    def insert(self, path: Sequence[Key], key: str, value: Value, *, after: str | None = None) -> list[Edit]:
        node = self.node(path)
        if node.kind != "table":
            raise self.error(node, "not a table")
        if any(key == other for other, _, _ in node.keys):
            raise self.error(node, f'"{key}" is there already')
        index = len(node.keys) - 1 if after is None else node.index(after)
        edits = self.layout(node).insert(index, self.member(key, value, node, index))
        expected = self.frozen(node)[1]
        return self.checked(node, edits, ("table", [*expected[: index + 1], (key, freeze(value)), *expected[index + 1 :]]))

    def remove(self, path: Sequence[Key]) -> list[Edit]:
        if not path:
            raise self.error(self.root, "the whole document cannot be removed")
        node = self.node(path[:-1])
        index = node.index(path[-1])
        if sum(key == path[-1] for key, _, _ in node.keys) > 1:
            raise self.error(node, f'"{path[-1]}" stands there twice')
        return self.checked(node, self.layout(node).remove(index), self._with(node, index, []))

    def error(self, node: Node, message: str) -> DocumentError:
        return error_at(self.text, node.start, message)

    def frozen(self, node: Node) -> Frozen:
        if node.kind == "scalar":
            return _scalar(self.scalar(node))
        values = [self.frozen(child) for child in node.children]
        if node.kind == "list":
            return "list", values
        return "table", [(key, value) for (key, _, _), value in zip(node.keys, values, strict=True)]

    def checked(self, node: Node, edits: list[Edit], expected: Frozen) -> list[Edit]:
        """The edits, if with them ``node`` reads as expected. Nothing outside of it is touched by them."""
        if any(edit.start < node.start or edit.end > node.end for edit in edits):
            raise self.error(node, "the change would reach outside the value")
        inside = [Edit(edit.start - node.start, edit.end - node.start, edit.text) for edit in edits]
        try:
            found = self.reread(node, apply(self.text[node.start : node.end], inside))
        except DocumentError as error:
            raise self.error(node, f"cannot be changed here: it would no longer be read ({error.message})") from None
        if found != expected:
            raise self.error(node, "cannot be changed here: it would be read as something else")
        return edits

    def _list(self, path: Sequence[Key]) -> Node:
        node = self.node(path)
        if node.kind != "list":
            raise self.error(node, "not a list")
        return node

    def _with(self, node: Node, index: int, values: list[Frozen]) -> Frozen:
        kind, members = self.frozen(node)
        changed = [(node.keys[index][0], value) for value in values] if kind == "table" else values
        return kind, [*members[:index], *changed, *members[index + 1 :]]

    def _plain(self, node: Node) -> Any:
        if node.kind == "scalar":
            return self.scalar(node)
        values = [self._plain(child) for child in node.children]
        return values if node.kind == "list" else dict(zip((key for key, _, _ in node.keys), values, strict=True))


def freeze(value: Value, depth: int = 0) -> Frozen:
    """Raises ValueError for values nested deeper than a document may be."""
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    if isinstance(value, dict):
        return "table", [(key, freeze(child, depth + 1)) for key, child in value.items()]
    if isinstance(value, list):
        return "list", [freeze(child, depth + 1) for child in value]
    return _scalar(value)


def _scalar(value: Any) -> Frozen:
    return type(value).__name__, repr(value) if isinstance(value, float) else value
