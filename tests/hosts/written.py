"""Generated host files: text and what it means, side by side, so that no parser is trusted for both."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]

#: A table's members with those that stand twice; lists are lists, scalars themselves.
Pairs = list[tuple[str, Any]]

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["npx", "-y", "@scope/name@1.2.3", "--flag=a b", "#no", "// no", "/* no */", "a: b", "- a", "[x]", "yes", "1", "", "é\n", "${V}"]
)
values = st.recursive(
    texts | st.integers(-(10**6), 10**6) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=4,
)


def plain(value: Any) -> Any:
    """The meaning of pairs: of a name that stands twice the last counts."""
    if isinstance(value, Table):
        return {key: plain(child) for key, child in value.pairs}
    return [plain(child) for child in value] if isinstance(value, list) else value


class Table:
    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs


class JsonWriter:
    """JSON in the ways people and programs write it."""

    def __init__(self, draw: Draw, format: str) -> None:
        self.draw = draw
        self.format = format
        self.end = draw(st.sampled_from(["\n", "\r\n"]))
        self.loose = draw(st.booleans())
        self.trailing = draw(st.booleans())
        self.unit = draw(st.sampled_from(["  ", "\t", "    "]))

    def document(self) -> tuple[str, Any]:
        text, value = self.container(0, table=True)
        bom = self.draw(st.sampled_from(["", "\ufeff"]))
        return bom + self.space() + text + self.draw(st.sampled_from(["", self.end])), plain(value)

    def space(self) -> str:
        if not self.loose:
            return ""
        pieces = ["", "", "", " ", "\t", self.end, "/* c, ] */", f"// c {{ ' \" {self.end}", f"/*{self.end}*/"]
        return "".join(self.draw(st.lists(st.sampled_from(pieces), max_size=2)))

    def string(self, value: str) -> str:
        written = json.dumps(value, ensure_ascii=self.draw(st.booleans()))
        if self.format == "json5" and self.draw(st.booleans()):
            return "'" + written[1:-1].replace('\\"', '"').replace("'", "\\'") + "'"
        return written

    def key(self, key: str) -> str:
        if self.format == "json5" and key.isascii() and key.isidentifier() and self.draw(st.booleans()):
            return key
        return self.string(key)

    def scalar(self) -> tuple[str, Any]:
        value = self.draw(texts | st.integers(-(10**6), 10**6) | st.sampled_from([True, False, None, 1.5, 1e300, -0.25]))
        if isinstance(value, str):
            return self.string(value), value
        if self.format == "json5" and type(value) is int and value >= 0:
            return self.draw(st.sampled_from([hex(value), f"+{value}", str(value)])), value
        return json.dumps(value), value

    def container(self, depth: int, *, table: bool) -> tuple[str, Any]:
        lines = self.draw(st.booleans())
        inner, outer = self.end + self.unit * (depth + 1), self.end + self.unit * depth
        members, meant = [], []
        for _ in range(self.draw(st.integers(0, 4 if depth < 2 else 2))):
            kind = self.draw(st.sampled_from(["scalar", "scalar", "list", "table"])) if depth < 3 else "scalar"
            text, value = self.scalar() if kind == "scalar" else self.container(depth + 1, table=kind == "table")
            if table:
                key = self.draw(texts | st.sampled_from(["args", "env", "command"]))
                meant.append((key, value))
                text = f"{self.key(key)}{self.space()}:{self.space() or ' '}{text}"
            else:
                meant.append(value)
            members.append((inner if lines else self.space()) + self.space() + text + self.space())
        body = (self.draw(st.sampled_from([",", ", "])) if not lines else ",").join(members)
        if members and self.trailing and self.draw(st.booleans()):
            body += "," + self.space()
        body += (outer if lines and members else self.space()) if members else self.draw(st.sampled_from(["", " ", outer]))
        return ("{" + body + "}", Table(meant)) if table else ("[" + body + "]", meant)


@st.composite
def json_documents(draw: Draw, format: str) -> tuple[str, Any]:
    return JsonWriter(draw, format).document()
