"""JSON as hosts' files have it, with comments and trailing commas, and JSON5. No I/O.

Sources: RFC 8259; JSONC as VS Code reads it (comments, trailing commas); the JSON5 specification 1.0.0. What is
written is plain RFC 8259, or in JSON5 what the neighbours look like. A control character inside a string is refused,
as JSON.parse does; half of a surrogate pair is read and written as an escape.
"""

from __future__ import annotations

import json
import re
from typing import Any

from mcpbox.hosts.document import MAX_DEPTH, MAX_VALUES, DocumentError, Value, error_at, too_many
from mcpbox.hosts.flow import Flow
from mcpbox.hosts.model import Format
from mcpbox.hosts.tree import Frozen, Node, Tree


class Grammar:
    """The patterns of one dialect. A pattern for members takes a whole one at a time, for speed: groups are the key,
    a string, another scalar, what follows it, and an opening bracket."""

    def __init__(self, blank: str, string: str, name: str, scalar: str) -> None:
        # Atomic groups, not possessive ones, which match wrongly before Python 3.11.5 (python/cpython#106052).
        comment = r"//[^\r\n]*+|/\*(?>(?:[^*]++|\*(?!/))*)\*/"
        space = rf"(?>(?:[{blank}]++|{comment})*)"
        value = rf"(?:(?:({string})|({scalar})){space}([,}}\]])?|([\[{{]))"
        self.item = re.compile(rf"{space}(){value}")
        self.member = re.compile(rf"{space}({string}{name}){space}:{space}{value}")
        self.key = re.compile(rf"{space}(?:{string}{name})")
        self.colon = re.compile(rf"{space}:")
        self.tail = re.compile(rf"{space}([,}}\]])")
        self.spaces = re.compile(space)
        self.space = re.compile(rf"[{blank}]++|({comment})")


_STRING = r'"(?>(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*)"'
_NUMBER = r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][-+]?[0-9]++)?"
_WORDS = {"true": True, "false": False, "null": None}

# JSON5 sections 3, 5 and 6. Named Unicode categories are not in `re`: \w stands for them, which takes in no more than
# letters, digits and marks.
_BLANK5 = r" \t\r\n\v\f\xa0\ufeff\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_ESCAPE5 = r"\\(?:\r\n|u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|0(?![0-9])|[^ux0-9])"
_STRING5 = rf"\"(?>(?:[^\"\\\r\n]++|{_ESCAPE5})*)\"|'(?>(?:[^'\\\r\n]++|{_ESCAPE5})*)'"
_NUMBER5 = (
    r"[-+]?(?:0[xX][0-9a-fA-F]++|Infinity|NaN|(?:(?:0|[1-9][0-9]*+)(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][-+]?[0-9]++)?)"
)
_NAME5 = r"(?:[^\W\d]|[$_]|\\u[0-9a-fA-F]{4})(?:[\w$\u200c\u200d]|\\u[0-9a-fA-F]{4})*"
_ESCAPES5 = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "0": "\0"}
_LINE_ENDS = ("\n", "\r", "\r\n", "\u2028", "\u2029")
_PLAIN_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*+")

_END = r"(?![\w.+$-])"
JSON = Grammar(r" \t\r\n", _STRING, "", rf"(?:{_NUMBER}|true|false|null){_END}")
JSON5 = Grammar(_BLANK5, _STRING5, rf"|{_NAME5}", rf"(?:{_NUMBER5}|true|false|null){_END}")

_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})|\\(\r\n|.)", re.DOTALL)
_INDENT = re.compile(r"[\r\n]([ \t]+)[^\s]")
_BLANK = re.compile(r"[ \t]*+")


class JsonDocument(Tree):
    def __init__(self, text: str, format: Format) -> None:
        self.format = format
        self.grammar = JSON5 if format == "json5" else JSON
        super().__init__(text, self._read(text))

    def scalar(self, node: Node) -> Any:
        return self._scalar(self.text[node.start : node.end])

    def write(self, value: Value, node: Node) -> str:
        return self._write(value, self._indent(node.start), self._quote(node), "\n" in self.text)

    def item(self, value: str, node: Node) -> str:
        return _string(value, self._quote(node.children[0] if node.children else node))

    def member(self, key: str, value: Value, node: Node, index: int) -> str:
        if index < 0:
            alone = _string(key, '"') + ": " + self._write(value, "", '"', False)
            return f"{{{alone}}}" if node.start == node.end else alone
        _, start, end = node.keys[index]
        beside = node.children[index]
        colon = self.text[end : beside.start]
        lines = bool(re.search(r"[\r\n]", self.text[node.start : node.keys[0][1]]))
        written = self._write(value, self._indent(start), self._quote(beside, self.text[start]), lines)
        bare = self.text[start] not in "\"'" and _PLAIN_NAME.fullmatch(key)
        name = key if bare else _string(key, self.text[start] if self.text[start] == "'" else '"')
        return name + (colon if colon.strip(" \t") == ":" else ": ") + written

    def layout(self, node: Node) -> Flow:
        starts = (
            [start for _, start, _ in node.keys] if node.kind == "table" else [child.start for child in node.children]
        )
        spans = [(start, child.end) for start, child in zip(starts, node.children, strict=True)]
        if node.start == node.end:
            return Flow(self.text, node.start, node.end, [], self.grammar.space)
        return Flow(self.text, node.start + 1, node.end - 1, spans, self.grammar.space)

    def reread(self, node: Node, text: str) -> Frozen:
        document = JsonDocument(text, self.format)
        return document.frozen(document.root)

    def _read(self, text: str) -> Node:
        """The text's tree. Without recursion, so that depth is a matter of a bound and not of the interpreter's."""
        grammar = self.grammar
        at = 1 if text.startswith("\ufeff") else 0
        blank = grammar.spaces.match(text, at)
        assert blank is not None
        if blank.end() == len(text):
            # Hosts take an empty file for one without settings.
            return Node("table", at, at)
        root: Node | None = None
        containers: list[Node] = []
        count = 0
        while True:
            if (count := count + 1) > MAX_VALUES:
                raise too_many(text, at)
            inside = containers[-1] if containers else None
            table = inside is not None and inside.kind == "table"
            found = (grammar.member if table else grammar.item).match(text, at)
            closed = False
            if found:
                key, string, scalar, tail, bracket = found.span(1), found.span(2), found.span(3), found[4], found[5]
                at = found.end()
                if bracket:
                    node = Node("table" if bracket == "{" else "list", at - 1)
                else:
                    node = Node("scalar", *(string if string[0] >= 0 else scalar))
                if inside is None:
                    root = node
                else:
                    inside.children.append(node)
                    if table:
                        inside.keys.append((self._key(text[key[0] : key[1]]), *key))
                if bracket:
                    containers.append(node)
                    if len(containers) > MAX_DEPTH:
                        raise error_at(text, at - 1, f"nested deeper than {MAX_DEPTH}")
                    continue
                if inside is None:
                    # What follows a scalar that is the whole document was looked at as if it were an item.
                    at = node.end
                    break
                if tail == ",":
                    continue
                if not tail:
                    raise self._unexpected(text, at, 'a comma or "}"' if table else 'a comma or "]"')
                closed = True
                at -= 1
            if not closed and (inside is None or not self._closes(text, at, inside)):
                raise self._wrong_item(text, at, table)
            while containers:
                end = grammar.tail.match(text, at)
                if not end:
                    raise self._unexpected(text, at, "a comma or a bracket")
                at = end.end()
                if end[1] == ",":
                    break
                closing = containers.pop()
                if (end[1] == "}") != (closing.kind == "table"):
                    raise error_at(text, at - 1, f'"{end[1]}" closes what it did not open')
                closing.end = at
            if not containers:
                break
        assert root is not None
        rest = grammar.spaces.match(text, at)
        assert rest is not None
        if rest.end() < len(text):
            raise self._unexpected(text, rest.end(), "the end")
        return root

    def _wrong_item(self, text: str, at: int, table: bool) -> DocumentError:
        if table:
            key = self.grammar.key.match(text, at)
            if not key:
                return self._unexpected(text, at, "a key in quotes" if self.format != "json5" else "a key")
            at = key.end()
            colon = self.grammar.colon.match(text, at)
            if not colon:
                return self._unexpected(text, at, "a colon")
            at = colon.end()
        return self._unexpected(text, at, "a value")

    def _closes(self, text: str, at: int, inside: Node) -> bool:
        found = self.grammar.tail.match(text, at)
        return found is not None and found[1] == ("}" if inside.kind == "table" else "]")

    def _unexpected(self, text: str, at: int, expected: str) -> DocumentError:
        blank = self.grammar.spaces.match(text, at)
        at = blank.end() if blank else at
        if at >= len(text):
            return error_at(text, len(text), f"the text ends where {expected} should stand")
        if text.startswith("/*", at):
            return error_at(text, at, "a comment that does not end")
        if text[at] in "\"'" and not self.grammar.key.match(text, at):
            return error_at(text, at, "a string that does not end, or has a control character or an unknown escape")
        return error_at(text, at, f"{text[at]!r} stands where {expected} should")

    def _key(self, raw: str) -> str:
        if raw[0] == '"' and "\\" not in raw:
            return raw[1:-1]
        return str(self._scalar(raw)) if raw[0] in "\"'" else _unescaped(raw)

    def _scalar(self, raw: str) -> Any:
        if raw[0] in "\"'":
            if self.format == "json5":
                return _unescaped(raw[1:-1])
            return json.loads(raw)
        if raw in _WORDS:
            return _WORDS[raw]
        if self.format == "json5":
            return _number5(raw)
        return _integer(raw) if raw.lstrip("-").isdigit() else float(raw)

    def _indent(self, at: int) -> str:
        found = _BLANK.match(self.text, max(self.text.rfind("\n", 0, at), self.text.rfind("\r", 0, at)) + 1)
        return found[0] if found else ""

    def _quote(self, node: Node, *others: str) -> str:
        quotes = (self.text[node.start : node.start + 1], *others)
        return "'" if "'" in quotes and '"' not in quotes else '"'

    def _write(self, value: Value, indent: str, quote: str, lines: bool) -> str:
        if isinstance(value, str):
            return _string(value, quote)
        if isinstance(value, list):
            return "[" + ", ".join(self._write(child, indent, quote, False) for child in value) + "]"
        if isinstance(value, dict):
            found = _INDENT.search(self.text)
            inner = indent + (found[1] if found else "  ")
            pairs = [
                _string(key, quote) + ": " + self._write(child, inner, quote, lines) for key, child in value.items()
            ]
            if not lines or not pairs:
                return "{" + ", ".join(pairs) + "}"
            end = "\r\n" if "\r\n" in self.text else "\n"
            return "{" + end + inner + f",{end}{inner}".join(pairs) + end + indent + "}"
        return json.dumps(value)


def _string(value: str, quote: str) -> str:
    written = _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))
    if quote == '"':
        return written
    return "'" + written[1:-1].replace('\\"', '"').replace("'", "\\'") + "'"


def _unescaped(raw: str) -> str:
    if "\\" not in raw:
        return raw
    decoded = _ESCAPE.sub(_character5, raw)
    # A pair of escapes is one character.
    return decoded.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def _character5(found: re.Match[str]) -> str:
    code = found[1] or found[2]
    if code:
        return chr(int(code, 16))
    return "" if found[3] in _LINE_ENDS else _ESCAPES5.get(found[3], found[3])


def _number5(raw: str) -> int | float:
    sign, digits = (-1, raw[1:]) if raw[0] == "-" else (1, raw.lstrip("+"))
    if digits[:2] in ("0x", "0X"):
        return sign * int(digits, 16)
    return sign * _integer(digits) if digits.isdigit() else sign * float(digits.replace("Infinity", "inf"))


def _integer(digits: str) -> int | float:
    # Python refuses to read longer ones (CVE-2020-10735); the hosts read every number as a double.
    return int(digits) if len(digits) <= 4000 else float(digits)
