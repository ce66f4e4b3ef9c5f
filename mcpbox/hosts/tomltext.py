"""TOML as hosts' files have it, read by tomllib and by a scanner for the places, which have to agree. No I/O.

Source: TOML 1.0.0. Strings cannot hold half of a surrogate pair and values cannot be null: both are refused in writing.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from mcpbox.hosts.document import MAX_DEPTH, MAX_VALUES, DocumentError, Edit, Value, error_at, too_many
from mcpbox.hosts.flow import Flow
from mcpbox.hosts.tree import Frozen, Layout, Node, Tree, freeze

#: The parts of a dotted key, squared, of all keys: so grows the time that tomllib takes; these are about two seconds.
MAX_DOTTED = 100_000_000

_SPACE = re.compile(r"[ \t\r\n]++|(#[^\r\n]*+)")
_SPACES = re.compile(r"(?>(?:[ \t\r\n]++|#[^\r\n]*+)*)")
_BLANK = re.compile(r"[ \t]*+")
_KEY = re.compile(r"""[ \t]*+([A-Za-z0-9_-]++|"(?>(?:[^"\\\r\n]++|\\.)*)"|'[^'\r\n]*+')[ \t]*+""")
_SCALAR = re.compile(
    r'"""(?>(?:[^"\\]++|\\(?s:.)|"{1,2}(?!"))*)"{3,5}'
    r"|'''(?>(?:[^']++|'{1,2}(?!'))*)'{3,5}"
    r'|"(?>(?:[^"\\\r\n]++|\\.)*)"'
    r"|'[^'\r\n]*+'"
    # A date and a time may have a space between them.
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[^\s,\]}#]++"
    r"|[^\s,\]}#=\[{\"']++"
)
#: What may follow a pair or a header on its line.
_REST = re.compile(r"[ \t]*+(#[^\r\n]*+)?")
_LINE_END = re.compile(r"\r?\n")
_BARE = re.compile(r"[A-Za-z0-9_-]++")
_PLAIN_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_AT = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_SURROGATE = re.compile("[\ud800-\udfff]")


class TomlDocument(Tree):
    """The forms of nodes: ``inline`` tables and arrays have brackets; a ``section`` is a table with a header, ``root``
    the one without; ``implicit`` tables are named only in others' headers, ``dotted`` ones only in keys of pairs, and
    ``sections`` is the list that headers in double brackets make. ``value`` of a table is how its name is written."""

    def __init__(self, text: str) -> None:
        at = 1 if text.startswith("\ufeff") else 0
        # As many as there can be: tomllib would keep them all before the scanner sees the first.
        if sum(map(text.count, ",=[")) > MAX_VALUES:
            raise too_many(text, 0)
        if sum(line.count(".") ** 2 for line in text.split("\n")) > MAX_DOTTED:
            raise error_at(text, 0, "keys of very many parts")
        try:
            values = freeze(tomllib.loads(text[at:]))
        except RecursionError:
            raise error_at(text, 0, f"nested deeper than {MAX_DEPTH}") from None
        except ValueError as error:
            raise _located(text, str(error)) from None
        super().__init__(text, _Scanner(text, at).root)
        if self.comparable(self.frozen(self.root)) != self.comparable(values):
            raise error_at(text, 0, "written in a way that mcpbox does not understand")

    def scalar(self, node: Node) -> Any:
        return _scalar(self.text[node.start : node.end])

    def write(self, value: Value, node: Node) -> str:
        if node.form not in ("", "inline"):
            raise self.error(node, "not written as one value; change what is in it")
        return self._write(value, node, self.text[node.start] == "'")

    def item(self, value: str, node: Node) -> str:
        return self._write(value, node, bool(node.children) and self.text[node.children[0].start] == "'")

    def member(self, key: str, value: Value, node: Node, index: int) -> str:
        written = key if _BARE.fullmatch(key) else self._write(key, node, False)
        if node.form == "implicit":
            if not isinstance(value, dict):
                raise self.error(node, "has no header of its own under which the pair could stand")
            pairs = [self._pair(name, child, node) for name, child in value.items()]
            return "\n".join([f"[{node.value}.{written}]", *pairs])
        equals = " = "
        if 0 <= index and node.children[index].form in ("", "inline"):
            equals = self.text[node.keys[index][2] : node.children[index].start]
        prefix = node.value if node.form == "dotted" else ""
        return f"{prefix}{written}{equals}{self._write(value, node, False)}"

    def layout(self, node: Node) -> Layout:
        if node.form == "inline":
            starts = [start for _, start, _ in node.keys] or [child.start for child in node.children]
            if any(child.form == "dotted" for child in node.children):
                raise self.error(node, "has dotted keys between its braces")
            spans = [(start, child.end) for start, child in zip(starts, node.children, strict=True)]
            return Flow(self.text, node.start + 1, node.end - 1, spans, _SPACE)
        return Lines(self.text, node)

    def checked(self, chain: list[Node], edits: list[Edit], expected: Frozen) -> list[Edit]:
        node = chain[-1]
        if node.form in ("", "inline"):
            return super().checked(chain, edits, expected)
        # What changes may lie in several places.
        whole = self.frozen(self.root, node, expected)
        return self.compared(self.root, 0, len(self.text), edits, whole)

    def comparable(self, value: Frozen) -> Frozen:
        """A table's members come from several places, and their order says nothing."""
        kind, members = value
        if kind == "table":
            pairs = ((key, self.comparable(child)) for key, child in members)
            return kind, sorted(pairs, key=lambda pair: pair[0])
        return kind, [self.comparable(child) for child in members] if kind == "list" else members

    def reread(self, node: Node, text: str) -> Frozen:
        if node is self.root:
            document = TomlDocument(text)
            return document.frozen(document.root)
        document = TomlDocument(f"x={text}")
        if list(document.root.keys) != [("x", 0, 1)]:
            raise error_at(text, 0, "more than one value")
        return document.frozen(document.root.children[0])

    def _pair(self, key: str, value: Value, node: Node) -> str:
        return f"{key if _BARE.fullmatch(key) else self._write(key, node, False)} = {self._write(value, node, False)}"

    def _write(self, value: Value, node: Node, literal: bool) -> str:
        if isinstance(value, str):
            if _SURROGATE.search(value):
                raise self.error(node, "half of a surrogate pair cannot be written in TOML")
            if literal and value.isprintable() and "'" not in value:
                return f"'{value}'"
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int):
            return str(value)
        if isinstance(value, list):
            return "[" + ", ".join(self._write(child, node, literal) for child in value) + "]"
        if isinstance(value, dict):
            pairs = ", ".join(self._pair(key, child, node) for key, child in value.items())
            return f"{{ {pairs} }}" if pairs else "{}"
        raise self.error(node, "TOML has no null")


class Lines:
    """The pairs of a table, each on lines of its own, and the tables below it with their headers."""

    def __init__(self, text: str, node: Node) -> None:
        self.text = text
        self.node = node
        found = _LINE_END.search(text)
        self.line_end = found[0] if found else "\n"

    def prepend(self, items: Sequence[str]) -> list[Edit]:
        raise self._refused("a list of tables, each under a header")

    def withdraw(self, count: int) -> list[Edit]:
        raise self._refused("a list of tables, each under a header")

    def insert(self, index: int, member: str) -> list[Edit]:
        node = self.node
        if node.form == "implicit":
            last = max((section.end for section in _sections(node)), default=node.end)
            at = self._line_rest(last)
            return [Edit(at, at, 2 * self.line_end + member.replace("\n", self.line_end))]
        for place in range(index, -1, -1):
            child = node.children[place]
            if child.form in ("", "inline", "dotted"):
                at = self._line_rest(child.end)
                return [Edit(at, at, self.line_end + self._indent(node.keys[place][1]) + member)]
        if node.form == "root":
            return [Edit(node.start, node.start, member + self.line_end)]
        at = self._line_rest(node.body)
        return [Edit(at, at, self.line_end + self._indent(node.start) + member)]

    def remove(self, index: int) -> list[Edit]:
        child = self.node.children[index]
        if child.form in ("", "inline"):
            return [self._without_pair(self.node.keys[index][1], child.end)]
        if child.form == "dotted":
            raise self._refused("has dotted keys; take each out by itself")
        edits: list[Edit] = []
        for section in _sections(child):
            edit = self._without_section(section)
            # Where the first line of the document goes, the line end behind it went with it.
            edits.append(Edit(max(edit.start, edits[-1].end), edit.end, "") if edits else edit)
        return edits

    def _without_pair(self, start: int, end: int) -> Edit:
        rest = _REST.match(self.text, end)
        assert rest is not None
        if rest[1]:
            return Edit(start, rest.start(1), "")
        return self._without_lines(start - len(self._indent(start)), rest.end())

    def _without_section(self, section: Node) -> Edit:
        """Blank lines before it go too."""
        start, at = section.start, section.start
        while (before := self.text.rfind("\n", 0, at)) >= 0 and not self.text[before + 1 : at].strip(" \t"):
            start = before + 1
            at = before - 1 if self.text.endswith("\r", 0, before) else before
        return self._without_lines(start, self._line_rest(section.end))

    def _without_lines(self, start: int, end: int) -> Edit:
        """Whole lines go with the line end before them, or where they are the first with the one behind them."""
        if self.text.endswith("\n", 0, start):
            return Edit(start - (2 if self.text.endswith("\r\n", 0, start) else 1), end, "")
        behind = _LINE_END.match(self.text, end)
        return Edit(start, behind.end() if behind else end, "")

    def _line_rest(self, at: int) -> int:
        rest = _REST.match(self.text, at)
        assert rest is not None
        return rest.end()

    def _indent(self, at: int) -> str:
        found = _BLANK.match(self.text, self.text.rfind("\n", 0, at) + 1)
        return found[0] if found else ""

    def _refused(self, message: str) -> DocumentError:
        return error_at(self.text, self.node.start, message)


class _Scanner:
    """The places in a text that tomllib has found valid. Recursion is bounded: the values' depth was looked at."""

    def __init__(self, text: str, at: int) -> None:
        self.text = text
        self.known: dict[tuple[int, str], Node] = {}
        self.root = self._table("root", at, "")
        self.root.end = len(text)
        table = self.root
        while (at := self._space(at)) < len(text):
            if text[at] == "[":
                table, at = self._header(at)
            else:
                at = self._pair(table, at)
                if table is not self.root:
                    table.end = at

    def _header(self, at: int) -> tuple[Node, int]:
        start, double = at, self.text.startswith("[[", at)
        keys, at = self._keys(at + 1 + double)
        node = self.root
        for key in keys[:-1]:
            node = self._below(node, key, (start, key[2]), "implicit", self.text[keys[0][1] : key[2]])
        name, first, last = keys[-1][0], keys[0][1], keys[-1][2]
        if double:
            tables = self.known.get((id(node), name)) or self._added(node, (name, start, last), Node("list", start))
            tables.form = "sections"
            section = self._table("section", start, self.text[first:last])
            tables.children.append(section)
        else:
            section = self._below(node, keys[-1], (start, last), "section", self.text[first:last])
            section.form, section.start = "section", start
        section.body = section.end = self._past("]]" if double else "]", at)
        return section, section.end

    def _pair(self, table: Node, at: int) -> int:
        """Adds the pair to the table; gives the place behind it."""
        keys, at = self._keys(at)
        start, end = keys[0][1], keys[-1][2]
        dotted = []
        for key, following in pairwise(keys):
            table = self._below(table, key, (start, end), "dotted", self.text[start : following[1]])
            dotted.append(table)
        at = self._past("=", at)
        value = self._value(self._blank(at))
        self._added(table, (keys[-1][0], start, end), value)
        for above in dotted:
            above.end = value.end
        return value.end

    def _value(self, at: int) -> Node:
        opened = self.text[at]
        if opened not in "[{":
            found = _SCALAR.match(self.text, at)
            if not found:
                raise self._lost(at)
            return Node("scalar", at, found.end())
        node = self._table("inline", at, "") if opened == "{" else Node("list", at)
        node.form = "inline"
        node.body, closed = at + 1, "}" if opened == "{" else "]"
        at = self._space(node.body)
        while not self.text.startswith(closed, at):
            if opened == "{":
                at = self._pair(node, at)
            else:
                node.children.append(self._value(at))
                at = node.children[-1].end
            at = self._space(at)
            if self.text.startswith(",", at):
                at = self._space(at + 1)
            elif not self.text.startswith(closed, at):
                raise self._lost(at)
        node.end = at + 1
        return node

    def _keys(self, at: int) -> tuple[list[tuple[str, int, int]], int]:
        """The parts of a dotted key, each with its place, and the place behind them."""
        keys = []
        while True:
            found = _KEY.match(self.text, at)
            if not found:
                raise self._lost(at)
            name = found[1] if found[1][0] not in "\"'" else str(_scalar(found[1]))
            keys.append((name, *found.span(1)))
            at = found.end()
            if not self.text.startswith(".", at):
                return keys, at
            at += 1

    def _below(self, node: Node, key: tuple[str, int, int], span: tuple[int, int], form: str, written: str) -> Node:
        """The table under ``key``, or the last of the list of tables there; a new one if there is none."""
        found = self.known.get((id(node), key[0]))
        if not found:
            return self._added(node, (key[0], *span), self._table(form, span[0], written))
        return found.children[-1] if found.kind == "list" else found

    def _added(self, node: Node, key: tuple[str, int, int], child: Node) -> Node:
        node.keys.append(key)
        node.children.append(child)
        self.known[id(node), key[0]] = child
        return child

    def _table(self, form: str, start: int, written: str) -> Node:
        node = Node("table", start, start, written)
        node.form = form
        return node

    def _space(self, at: int) -> int:
        found = _SPACES.match(self.text, at)
        return found.end() if found else at

    def _blank(self, at: int) -> int:
        found = _BLANK.match(self.text, at)
        return found.end() if found else at

    def _past(self, mark: str, at: int) -> int:
        if not self.text.startswith(mark, at):
            raise self._lost(at)
        return at + len(mark)

    def _lost(self, at: int) -> DocumentError:
        return error_at(self.text, at, "written in a way that mcpbox does not understand")


def _sections(node: Node) -> list[Node]:
    """The tables with headers of their own from this one on down."""
    found = [node] if node.form == "section" else []
    for child in node.children:
        if child.form in ("section", "sections", "implicit"):
            found += _sections(child)
    return found


def _scalar(raw: str) -> Any:
    if raw[0] in "\"'" and raw[:3] not in ('"""', "'''") and (raw[0] == "'" or "\\" not in raw):
        return raw[1:-1]
    if _PLAIN_INTEGER.fullmatch(raw):
        return int(raw)
    # With a line end, so that what is cut off is an error and not a shorter value.
    return tomllib.loads(f"x = {raw}\n")["x"]


def _located(text: str, message: str) -> DocumentError:
    found = _AT.search(message)
    message = _AT.sub("", message)
    if found and found[1]:
        return DocumentError(message, int(found[1]), int(found[2]))
    return error_at(text, len(text), message)
