"""YAML as hosts' files have it, read from libyaml's events, which know their places. No I/O.

Syntax as libyaml reads it (YAML 1.1); plain scalars mean what the core schema of YAML 1.2.2 (section 10.3.2) says, as
they do for the hosts: ``yes`` is text. What is written plain is text by both. One document per file, keys are scalars.
A node that an alias repeats is not edited, nor the alias: the change would show in more places than the one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from mcpbox.hosts.document import MAX_DEPTH, MAX_VALUES, Edit, Value, error_at, too_many
from mcpbox.hosts.flow import Flow
from mcpbox.hosts.model import Key
from mcpbox.hosts.tree import Frozen, Layout, Node, Tree, freeze

#: How many values the aliases of a document may stand for. More is the "billion laughs" attack.
MAX_REPEATED = 100_000

_LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
_SPACE = re.compile(r"[ \t\r\n]++|(#[^\r\n]*+)")
_WHITE = re.compile(r"[ \t\r\n]*+")
#: What may follow a value on its line.
_REST = re.compile(r"[ \t]*+((?<=[ \t])#[^\r\n]*+)?")
_EMPTY_LINES = re.compile(r"(?>(?:[ \t]*+(?:\r\n|[\r\n]))*)")
_LINE_END = re.compile(r"\r\n|\n|\r")

_NULL = re.compile(r"(?:null|Null|NULL|~|)")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INTEGER = re.compile(r"[-+]?[0-9]{1,4000}")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"([-+]?)\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
#: Text that needs no quotes wherever it stands, and the words of YAML 1.1 and 1.2 that look like it.
_PLAIN = re.compile(r"[A-Za-z/](?:[A-Za-z0-9_./@+-]*[A-Za-z0-9_/])?")
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED = re.compile("[\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]")


class YamlDocument(Tree):
    """The forms of nodes: ``block`` and ``flow`` containers, ``pair`` for a table in a flow list that has no braces,
    ``alias``; of scalars the character that quotes them. ``body`` of a block list is 1 if it stands no deeper than the
    key before it, so that something else in its place needs one blank more."""

    def __init__(self, text: str) -> None:
        builder = _Builder(text)
        super().__init__(text, builder.root)
        self.repeated = builder.repeated
        self.fixed = builder.fixed
        # What a part of the text means can be found without the rest of it, if nothing in it refers to the rest.
        self.separable = not self.repeated and "%" not in (text[:1], *re.findall(r"[\r\n](%)", text))

    def frozen(self, node: Node, other: Node | None = None, instead: Frozen = ("", None)) -> Frozen:
        if node.form == "alias" and node is not other:
            return "alias", self.text[node.start : node.end]
        return super().frozen(node, other, instead)

    def replace(self, path: Sequence[Key], value: Value) -> list[Edit]:
        chain = self.chain(path)
        self._refuse_repeated(chain)
        node = chain[-1]
        if id(node) in self.fixed:
            raise self.error(node, "cannot be changed here: it has a tag or an anchor")
        edits = [Edit(node.start, node.end, self.write(value, node))]
        return self._checked(chain, chain[1:-1], edits, freeze(value))

    def write(self, value: Value, node: Node) -> str:
        written = self._write(value, node, node.form)
        # Nothing is written for null: the place is right behind a colon or a dash.
        return f" {written}" if node.start == node.end or (node.form == "block" and node.body == 1) else written

    def item(self, value: str, node: Node) -> str:
        return self._write(value, node, node.children[0].form if node.children else '"')

    def member(self, key: str, value: Value, node: Node, index: int) -> str:
        if index < 0:
            form = '"' if node.form == "flow" else ""
            written = self._write(key, node, form) + ": " + self._write(value, node, form)
            return written if node.form == "flow" else written + "\n"
        name = self._write(key, node, "" if self.text[node.keys[index][1]] not in "\"'" else '"')
        if node.form == "flow" or not isinstance(value, dict) or not value:
            return f"{name}: {self._write(value, node, node.children[index].form)}"
        return name + ":" + self._below(value, node, Block(self.text, node, self._starts(node)).indent + "  ")

    def layout(self, node: Node) -> Layout:
        if node.start == node.end or node.form == "block":
            return Block(self.text, node, self._starts(node))
        if node.form != "flow":
            raise self.error(node, "a pair without braces or an alias, which is not changed")
        starts = [start for _, start, _ in node.keys] or [child.start for child in node.children]
        ends = [max(end, child.end) for (_, _, end), child in zip(node.keys, node.children, strict=False)]
        ends = ends or [child.end for child in node.children]
        return Flow(self.text, node.body + 1, node.end - 1, list(zip(starts, ends, strict=True)), _SPACE)

    def checked(self, chain: list[Node], edits: list[Edit], expected: Frozen) -> list[Edit]:
        return self._checked(chain, chain[1:], edits, expected)

    def _checked(self, chain: list[Node], parts: list[Node], edits: list[Edit], expected: Frozen) -> list[Edit]:
        """Checked by what the innermost of the parts reads as that can be read by itself."""
        self._refuse_repeated(chain)
        node = chain[-1]
        if self.separable:
            for above in reversed(parts):
                if id(above) in self.fixed:
                    continue
                if above.form == "flow":
                    return self.compared(above, above.start, above.end, edits, self.frozen(above, node, expected))
                # A block list may stand no deeper than the key before it.
                if above.form == "block" and above.kind == "table":
                    rest = _REST.match(self.text, above.end)
                    lines = _EMPTY_LINES.match(self.text, rest.end() if rest else above.end)
                    end = lines.end() if lines else above.end
                    return self.compared(above, above.start, end, edits, self.frozen(above, node, expected))
        return self.compared(self.root, 0, len(self.text), edits, self.frozen(self.root, node, expected))

    def reread(self, node: Node, text: str) -> Frozen:
        column = 0 if node is self.root else node.start - _line_start(self.text, node.start)
        document = YamlDocument(" " * column + text)
        return document.frozen(document.root)

    def _refuse_repeated(self, chain: list[Node]) -> None:
        for node in chain:
            if node.form == "alias" or id(node) in self.repeated:
                raise self.error(node, "cannot be changed here: it is repeated by an alias")

    def _starts(self, node: Node) -> list[int]:
        """Where the members of a block begin: their keys or their dashes."""
        if node.kind == "table":
            return [start for _, start, _ in node.keys]
        starts = []
        at = node.start
        for child in node.children:
            while found := _SPACE.match(self.text, at):
                at = found.end()
            if not self.text.startswith("-", at):
                raise self.error(node, "cannot be changed here: it has a tag or an anchor")
            starts.append(at)
            at = child.end
        return starts

    def _below(self, value: dict[str, Any], node: Node, indent: str) -> str:
        lines = ""
        for key, child in value.items():
            lines += Block(self.text, node, []).line_end + indent + self._write(key, node, "") + ":"
            below = isinstance(child, dict) and child
            lines += self._below(child, node, indent + "  ") if below else " " + self._write(child, node, "")
        return lines

    def _write(self, value: Value, node: Node, form: str) -> str:
        """``form`` is how what stands beside it is quoted."""
        if isinstance(value, str):
            if _SURROGATE.search(value):
                raise self.error(node, "half of a surrogate pair cannot be written in YAML")
            if not form and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
                return value
            if form == "'" and value.isprintable():
                return "'" + value.replace("'", "''") + "'"
            return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))
        if isinstance(value, list):
            return "[" + ", ".join(self._write(child, node, '"') for child in value) + "]"
        if isinstance(value, dict):
            pairs = (self._write(key, node, '"') + ": " + self._write(child, node, '"') for key, child in value.items())
            return "{" + ", ".join(pairs) + "}"
        return json.dumps(value)


class Block:
    """Members on lines of their own, indented alike."""

    def __init__(self, text: str, node: Node, starts: list[int]) -> None:
        self.text = text
        self.node = node
        self.starts = starts
        found = _LINE_END.search(text)
        self.line_end = found[0] if found else "\n"

    @property
    def indent(self) -> str:
        return " " * (self.starts[0] - _line_start(self.text, self.starts[0]))

    def prepend(self, items: Sequence[str]) -> list[Edit]:
        at = self.starts[0]
        return [Edit(at, at, "".join(f"- {item}{self.line_end}{self.indent}" for item in items))]

    def withdraw(self, count: int) -> list[Edit]:
        if count < len(self.starts):
            return [self._and_space(index) for index in range(count)]
        return [self._emptied(), *(self._line(index) for index in range(1, count))]

    def insert(self, index: int, member: str) -> list[Edit]:
        if index < 0:
            # An empty document: what comments there are come behind.
            return [Edit(self.node.start, self.node.start, member.replace("\n", self.line_end))]
        at = self._rest(index).end()
        return [Edit(at, at, self.line_end + self.indent + member)]

    def remove(self, index: int) -> list[Edit]:
        if len(self.starts) == 1:
            return [self._emptied()]
        return [self._line(index) if index else self._and_space(0)]

    def _emptied(self) -> Edit:
        """The first member gives way to the empty container's sign."""
        sign = "{}" if self.node.kind == "table" else "[]"
        return Edit(self.starts[0], self._end(0), " " * self.node.body + sign)

    def _and_space(self, index: int) -> Edit:
        """A member and the space up to the next one or a comment."""
        found = _WHITE.match(self.text, self._end(index))
        assert found is not None
        return Edit(self.starts[index], found.end(), "")

    def _line(self, index: int) -> Edit:
        """A member and the line end before it; a comment behind it stays."""
        start, rest = self.starts[index], self._rest(index)
        if rest[1]:
            return Edit(start, rest.start(1), "")
        line = _line_start(self.text, start)
        return Edit(line - (2 if self.text.endswith("\r\n", 0, line) else 1), rest.end(), "")

    def _end(self, index: int) -> int:
        end = self.node.children[index].end
        return max(end, self.node.keys[index][2]) if self.node.kind == "table" else max(end, self.starts[index] + 1)

    def _rest(self, index: int) -> re.Match[str]:
        rest = _REST.match(self.text, self._end(index))
        assert rest is not None
        return rest


class _Builder:
    """Nodes from events."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.offset = 1 if text.startswith("\ufeff") else 0
        self.open: list[Node] = []
        self.anchors: dict[str, Node] = {}
        self.sizes: dict[int, int] = {}
        #: Nodes that an alias repeats, and those with an anchor or a tag, by their id.
        self.repeated: dict[int, Node] = {}
        self.fixed: dict[int, Node] = {}
        self.total = 0
        self.key: tuple[str, int, int] | None = None
        found: Node | None = None
        try:
            for event in self._events():
                if isinstance(event, yaml.NodeEvent):
                    node = self._node(event)
                    found = found or node
                elif isinstance(event, yaml.CollectionEndEvent):
                    self._close(self._at(event.end_mark))
        except UnicodeEncodeError as error:
            raise error_at(text, error.start + self.offset, "half of a surrogate pair") from None
        except yaml.reader.ReaderError as error:
            at = error.position + self.offset if isinstance(error.position, int) else 0
            raise error_at(text, at, f"a character that YAML does not allow ({error.reason})") from None
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise error_at(text, self._at(mark), " ".join(filter(None, (error.context, error.problem)))) from None
        self.root = found or Node("table", self.offset, self.offset)

    def _events(self) -> Iterator[yaml.Event]:
        documents = count = 0
        for event in yaml.parse(self.text[self.offset :], Loader=_LOADER):
            documents += isinstance(event, yaml.DocumentStartEvent)
            if documents > 1:
                raise error_at(self.text, self._at(event.start_mark), "a second document in the file")
            # Two for a pair, or for a list.
            if (count := count + 1) > 2 * MAX_VALUES:
                raise too_many(self.text, self._at(event.start_mark))
            yield event

    def _at(self, mark: Any) -> int:
        return int(mark.index) + self.offset

    def _node(self, event: yaml.NodeEvent) -> Node | None:
        start, end = self._at(event.start_mark), self._at(event.end_mark)
        above = self.open[-1] if self.open else None
        if above and above.kind == "table" and self.key is None:
            if not isinstance(event, yaml.ScalarEvent):
                raise error_at(self.text, start, "a key that is no scalar")
            self.key = (event.value, start, end)
            return None
        node = self._alias(event, start, end) if isinstance(event, yaml.AliasEvent) else self._own(event, start, end)
        if above:
            above.children.append(node)
            if above.kind == "table" and self.key is not None:
                above.keys.append(self.key)
                self.key = None
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
            if event.anchor:
                self.anchors[event.anchor] = node
            if event.anchor or event.tag:
                self.fixed[id(node)] = node
        if isinstance(event, yaml.CollectionStartEvent):
            self.open.append(node)
            if len(self.open) > MAX_DEPTH:
                raise error_at(self.text, start, f"nested deeper than {MAX_DEPTH}")
        return node

    def _own(self, event: yaml.NodeEvent, start: int, end: int) -> Node:
        if isinstance(event, yaml.ScalarEvent):
            plain = not event.style and event.tag is None
            node = Node("scalar", start, end, _resolved(event.value) if plain else event.value)
            node.form = event.style or ""
            if node.form in "|>" and node.form:
                # The mark is where the next line begins.
                node.end = start + len(self.text[start:end].rstrip(" \t\r\n"))
            node.body = 0
            return node
        assert isinstance(event, yaml.CollectionStartEvent)
        table = isinstance(event, yaml.MappingStartEvent)
        node = Node("table" if table else "list", start)
        node.form = "flow" if event.flow_style else "block"
        node.body = end - 1 if event.flow_style else 0
        if event.flow_style and self.text[end - 1 : end] not in ("[", "{"):
            node.form = "pair"
        if not event.flow_style and not table and self.key is not None:
            key = self.key[1]
            column = key - _line_start(self.text, key)
            node.body = int(start - _line_start(self.text, start) <= column)
        return node

    def _alias(self, event: yaml.AliasEvent, start: int, end: int) -> Node:
        target = self.anchors.get(str(event.anchor))
        if target is None:
            raise error_at(self.text, start, f"no anchor &{event.anchor} before it")
        if target in self.open:
            raise error_at(self.text, start, "an alias of what it stands in")
        self.total += self._size(target)
        if self.total > MAX_REPEATED:
            raise error_at(self.text, start, f"aliases stand for more than {MAX_REPEATED} values")
        self.repeated[id(target)] = target
        node = Node(target.kind, start, end, target.value)
        node.form, node.keys, node.children = "alias", target.keys, target.children
        self.sizes[id(node)] = self._size(target)
        return node

    def _size(self, node: Node) -> int:
        if id(node) not in self.sizes:
            self.sizes[id(node)] = 1 + sum(map(self._size, node.children))
        return self.sizes[id(node)]

    def _close(self, end: int) -> None:
        node = self.open.pop()
        node.end = end
        if node.form == "block":
            last = node.children[-1].end
            node.end = max(last, node.keys[-1][2]) if node.kind == "table" else last


def _line_start(text: str, at: int) -> int:
    start = max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) + 1
    return 1 if start == 0 and text.startswith("\ufeff") else start


def _resolved(value: str) -> Any:
    if _NULL.fullmatch(value):
        return None
    if _TRUE.fullmatch(value):
        return True
    if _FALSE.fullmatch(value):
        return False
    if _INTEGER.fullmatch(value):
        return int(value)
    if _BASED.fullmatch(value):
        return int(value, 0)
    if _FLOAT.fullmatch(value):
        return float(value)
    if found := _INFINITE.fullmatch(value):
        return float("nan" if found[1] is None else f"{found[1]}inf")
    return value
