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
    order, or a list's items. ``start`` and ``end`` are offsets of the value's text; ``form`` is the format's own word
    for how the value is written, ``body`` where the members of a container may begin."""

    __slots__ = ("body", "children", "end", "form", "keys", "kind", "start", "value")

    def __init__(self, kind: Literal["scalar", "list", "table"], start: int, end: int = 0, value: Any = None) -> None:
        self.kind = kind
        self.start = start
        self.end = end
        self.value = value
        self.form = ""
        self.body = start
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

    def comparable(self, value: Frozen) -> Frozen:
        """Without what the format does not say."""
        return value

    def chain(self, path: Sequence[Key]) -> list[Node]:
        """The nodes from the root to the path's; raises KeyError."""
        nodes = [self.root]
        for key in path:
            nodes.append(nodes[-1].children[nodes[-1].index(key)])
        return nodes

    def node(self, path: Sequence[Key]) -> Node:
        return self.chain(path)[-1]

    def get(self, path: Sequence[Key]) -> Any:
        return self._plain(self.node(path))

    def members(self, path: Sequence[Key]) -> list[Key]:
        node = self.node(path)
        if node.kind == "scalar":
            raise self.error(node, "neither a table nor a list")
        return (
            list(dict.fromkeys(key for key, _, _ in node.keys))
            if node.kind == "table"
            else [*range(len(node.children))]
        )

    def span(self, path: Sequence[Key]) -> tuple[int, int]:
        node = self.node(path)
        return node.start, node.end

    def replace(self, path: Sequence[Key], value: Value) -> list[Edit]:
        chain = self.chain(path)
        node = chain[-1]
        return self.checked(chain, [Edit(node.start, node.end, self.write(value, node))], freeze(value))

    def prepend(self, path: Sequence[Key], values: Sequence[str]) -> list[Edit]:
        chain = self._list(path)
        node = chain[-1]
        if not values:
            return []
        edits = self.layout(node).prepend([self.item(value, node) for value in values])
        return self.checked(chain, edits, ("list", [*map(freeze, values), *self.frozen(node)[1]]))

    def withdraw(self, path: Sequence[Key], count: int) -> list[Edit]:
        chain = self._list(path)
        node = chain[-1]
        if not 0 <= count <= len(node.children):
            raise self.error(node, f"the list has {len(node.children)} items, fewer than the {count} to take out")
        if count == 0:
            return []
        return self.checked(chain, self.layout(node).withdraw(count), ("list", self.frozen(node)[1][count:]))

    def insert(self, path: Sequence[Key], key: str, value: Value, *, after: str | None = None) -> list[Edit]:
        chain = self.chain(path)
        node = chain[-1]
        if node.kind != "table":
            raise self.error(node, "not a table")
        if any(key == other for other, _, _ in node.keys):
            raise self.error(node, f'"{key}" is there already')
        index = len(node.keys) - 1 if after is None else node.index(after)
        edits = self.layout(node).insert(index, self.member(key, value, node, index))
        expected = self.frozen(node)[1]
        return self.checked(
            chain, edits, ("table", [*expected[: index + 1], (key, freeze(value)), *expected[index + 1 :]])
        )

    def remove(self, path: Sequence[Key]) -> list[Edit]:
        if not path:
            raise self.error(self.root, "the whole document cannot be removed")
        chain = self.chain(path[:-1])
        node = chain[-1]
        index = node.index(path[-1])
        if sum(key == path[-1] for key, _, _ in node.keys) > 1:
            raise self.error(node, f'"{path[-1]}" stands there twice')
        kind, members = self.frozen(node)
        return self.checked(chain, self.layout(node).remove(index), (kind, [*members[:index], *members[index + 1 :]]))

    def error(self, node: Node, message: str) -> DocumentError:
        return error_at(self.text, node.start, message)

    def frozen(self, node: Node, other: Node | None = None, instead: Frozen = ("", None)) -> Frozen:
        """The value of ``node``, in it ``instead`` in the place of ``other``."""
        if node is other:
            return instead
        if node.kind == "scalar":
            return _scalar(self.scalar(node))
        values = [self.frozen(child, other, instead) for child in node.children]
        if node.kind == "list":
            return "list", values
        return "table", [(key, value) for (key, _, _), value in zip(node.keys, values, strict=True)]

    def checked(self, chain: list[Node], edits: list[Edit], expected: Frozen) -> list[Edit]:
        """The edits, if with them the last node of the chain reads as expected and nothing outside it is touched."""
        node = chain[-1]
        return self.compared(node, node.start, node.end, edits, expected)

    def compared(self, node: Node, start: int, end: int, edits: list[Edit], expected: Frozen) -> list[Edit]:
        """The edits, if the text from ``start`` to ``end``, which they must not leave, then reads as expected."""
        if any(edit.start < start or edit.end > end for edit in edits):
            raise self.error(node, "cannot be changed here: the change would reach further")
        inside = [Edit(edit.start - start, edit.end - start, edit.text) for edit in edits]
        try:
            found = self.reread(node, apply(self.text[start:end], inside))
        except DocumentError as error:
            raise self.error(node, f"cannot be changed here: it would no longer be read ({error.message})") from None
        if self.comparable(found) != self.comparable(expected):
            raise self.error(node, "cannot be changed here: it would be read as something else")
        return edits

    def _list(self, path: Sequence[Key]) -> list[Node]:
        chain = self.chain(path)
        if chain[-1].kind != "list":
            raise self.error(chain[-1], "not a list")
        return chain

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
