"""Generated host files: text and what it means, side by side, so that no parser is trusted for both."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from hypothesis import strategies as st

#: A table's members with those that stand twice; lists are lists, scalars themselves.
Pairs = list[tuple[str, Any]]

WORDS = (
    *("npx", "-y", "@scope/name@1.2.3", "--flag=a b", "#no", " # no", "// no", "/* no */", "a: b", "- a", "[x]", "{"),
    *(
        "yes",
        "null",
        "~",
        "1",
        "",
        " ",
        "\t",
        "é\n",
        "\r\n",
        "${V}",
        "it's",
        '"q"',
        "\\",
        "\0\x1f\x7f",
        "\u2028",
        "\U0001f600",
    ),
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(WORDS)
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

    def __init__(self, seed: int, format: str) -> None:
        # Hypothesis draws the seed alone: thousands of draws for one document would take most of the tests' time.
        self.random = Random(seed)
        self.format = format
        self.end = self.one("\n", "\r\n")
        self.loose = self.one(True, False)
        self.trailing = self.one(True, False)
        self.unit = self.one("  ", "\t", "    ")

    def one(self, *options: Any) -> Any:
        return self.random.choice(options)

    def document(self) -> tuple[str, Any]:
        text, value = self.container(0, table=True)
        return str(self.one("", "\ufeff")) + self.space() + text + self.one("", self.end), plain(value)

    def space(self) -> str:
        if not self.loose:
            return ""
        pieces = ("", "", "", " ", "\t", self.end, "/* c, ] */", f"// c {{ ' \" {self.end}", f"/*{self.end}*/")
        return str(self.one(*pieces) + self.one(*pieces))

    def string(self, value: str) -> str:
        written = json.dumps(value, ensure_ascii=self.one(True, False))
        if self.format == "json5" and self.one(True, False):
            return "'" + written[1:-1].replace('\\"', '"').replace("'", "\\'") + "'"
        return written

    def key(self, key: str) -> str:
        if self.format == "json5" and key.isascii() and key.isidentifier() and self.one(True, False):
            return key
        return self.string(key)

    def scalar(self) -> tuple[str, Any]:
        value = self.one(*WORDS, *WORDS, 0, 17, -5, 10**20, True, False, None, 1.5, 1e300, -0.25)
        if isinstance(value, str):
            return self.string(value), value
        if self.format == "json5" and type(value) is int and value >= 0:
            return self.one(hex(value), f"+{value}", str(value)), value
        return json.dumps(value), value

    def container(self, depth: int, *, table: bool) -> tuple[str, Any]:
        lines = self.one(True, False)
        inner, outer = self.end + self.unit * (depth + 1), self.end + self.unit * depth
        members: list[str] = []
        meant: list[Any] = []
        for _ in range(self.random.randint(0, 4 if depth < 2 else 2)):
            kind = self.one("scalar", "scalar", "list", "table") if depth < 3 else "scalar"
            text, value = self.scalar() if kind == "scalar" else self.container(depth + 1, table=kind == "table")
            if table:
                key = self.one(*WORDS, "args", "env", "command")
                meant.append((key, value))
                text = f"{self.key(key)}{self.space()}:{self.space() or ' '}{text}"
            else:
                meant.append(value)
            members.append((inner if lines else self.space()) + self.space() + text + self.space())
        body = self.one(",", ", ").join(members)
        if members and self.trailing:
            body += self.one("", ",") + self.space()
        if members:
            body += outer if lines else self.space()
        else:
            body = self.one("", " ", outer, self.space())
        return ("{" + body + "}", Table(meant)) if table else ("[" + body + "]", meant)


class TomlWriter:
    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.end = self.one("\n", "\r\n")
        self.unit = self.one("", "  ", "\t")

    def one(self, *options: Any) -> Any:
        return self.random.choice(options)

    def document(self) -> tuple[str, Any]:
        meant: dict[str, Any] = {}
        lines = [*self.gap(), *self.pairs(meant, "")]
        servers: dict[str, Any] = {}
        for name in self.random.sample(("npx", "a b", "-y", "é"), self.random.randint(0, 3)):
            servers[name] = self.section(lines, f"mcp_servers.{self.key(name)}", self.unit)
            if self.one(True, False):
                env = self.section(lines, f"mcp_servers.{self.key(name)} . env", self.unit)
                # A key of a pair may have made the table already.
                if "env" in servers[name]:
                    return self.document()
                servers[name]["env"] = env
        if servers:
            meant["mcp_servers"] = servers
        listed = [self.section(lines, "listed", "", "[[", "]]") for _ in range(self.random.randint(0, 2))]
        if listed:
            meant["listed"] = listed
        if self.one(True, False):
            meant["z"] = self.section(lines, "z", "")
        text = "".join(lines)
        return str(self.one("", "\ufeff")) + (text if self.one(True, False) else text.removesuffix(self.end)), meant

    def section(self, lines: list[str], name: str, indent: str, before: str = "[", behind: str = "]") -> dict[str, Any]:
        meant: dict[str, Any] = {}
        lines += [*self.gap(), f"{indent}{before}{name}{behind}{self.rest()}", *self.pairs(meant, indent)]
        return meant

    def gap(self) -> list[str]:
        return [self.one("", self.end, f"# [c] = ' \"{self.end}", f"  {self.end}")]

    def rest(self) -> str:
        return str(self.one("", "", "  ", " # c = [", "# c  ") + self.end)

    def pairs(self, meant: dict[str, Any], indent: str) -> list[str]:
        lines = []
        for key in self.random.sample(("command", "args", "env", *WORDS), self.random.randint(0, 4)):
            text, value = self.value(0)
            equals = self.one("=", " = ", "  =\t")
            if self.one(True, False, False):
                name = self.one("x", "a b")
                # Two dotted keys that make one table, with another pair between them.
                lines.append(f"{indent}{self.key(key)}.{self.key(name)}{equals}{text}{self.rest()}")
                meant[key] = {name: value}
                if self.one(True, False):
                    lines += self.gap()
                    lines.append(f"{indent}{self.key(key)} . second = 2{self.rest()}")
                    meant[key]["second"] = 2
            else:
                lines.append(f"{indent}{self.key(key)}{equals}{text}{self.rest()}")
                meant[key] = value
            lines += self.gap()
        return lines

    def key(self, key: str) -> str:
        if key.isascii() and key.replace("-", "").isalnum() and self.one(True, False):
            return key
        return self.string(key, lines=False)

    def string(self, value: str, *, lines: bool = True) -> str:
        basic = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
        ways = [basic, basic]
        if value.isprintable() and "'" not in value:
            ways.append(f"'{value}'")
            if lines:
                ways.append(f"'''{value}'''")
        if lines:
            ways.append('""' + basic + '""')
            ways.append(f'"""{self.end}' + basic[1:-1].replace("\\n", self.one("\\n", "\n")) + '"""')
        return str(self.one(*ways))

    def value(self, depth: int, *, lines: bool = True) -> tuple[str, Any]:
        kind = self.one("scalar", "scalar", "list", "table") if depth < 3 else "scalar"
        if kind == "scalar":
            value = self.one(*WORDS, *WORDS, 0, 17, -5, 10**15, True, False, 1.5)
            if isinstance(value, str):
                return self.string(value, lines=lines), value
            return (self.one(hex(value), str(value)) if type(value) is int and value > 0 else json.dumps(value)), value
        if kind == "table":
            names = self.random.sample(WORDS, self.random.randint(0, 3))
            meant = {name: self.value(depth + 1, lines=False) for name in names}
            body = self.one(", ", ",").join(f"{self.key(name)} = {text}" for name, (text, _) in meant.items())
            around = self.one("", " ")
            return "{" + around + body + around + "}", {name: value for name, (_, value) in meant.items()}
        items = [self.value(depth + 1, lines=lines) for _ in range(self.random.randint(0, 3))]
        space = self.one("", " ", self.end, f" # c ]{self.end}  ", f"{self.end}\t") if lines else self.one("", " ")
        body = space + self.one(",", f",{space}", f"{space} ,").join(text for text, _ in items) + space
        if items and lines:
            body += self.one("", ",", f",{space}")
        return f"[{body}]", [value for _, value in items]


class YamlWriter:
    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.end = self.one("\n", "\r\n")
        self.step = self.one(1, 2, 4)
        self.clipped = False

    def one(self, *options: Any) -> Any:
        return self.random.choice(options)

    def document(self) -> tuple[str, Any]:
        text, value = self.table(0, 0) if self.one(True, True, False) else self.flow(1, table=True)
        start = self.one("", "\ufeff") + self.one(
            "", f"# c{self.end}", f"---{self.end}", f"{self.end}--- # c{self.end}"
        )
        text = start + text.removeprefix(self.end) + self.one("", self.end, f"# c{self.end}")
        # A block of text without its last line end would be another text.
        return (text if self.clipped or self.one(True, False) else text.removesuffix(self.end)), plain(value)

    def rest(self) -> str:
        return str(self.one("", "", "", "  ", " # c: [", "  #", f"{self.end}# c", self.end) + self.end)

    def key(self, key: str) -> str:
        double = json.dumps(key, ensure_ascii=False)
        for character in "\x7f\u2028":
            double = double.replace(character, f"\\u{ord(character):04x}")
        return double

    def string(self, value: str, *, flow: bool) -> str:
        ways = [self.key(value)]
        if value.isprintable():
            ways.append("'" + value.replace("'", "''") + "'")
        if value in ("npx", "--flag=a b", "yes", "${V}") or (value in ("-y", "[x") and not flow):
            if not (flow and value == "${V}"):
                ways += [value, value]
        return str(self.one(*ways))

    def scalar(self, *, flow: bool) -> tuple[str, Any]:
        value = self.one(*WORDS, *WORDS, 0, 17, -5, True, False, None, 1.5)
        if isinstance(value, str):
            return self.string(value, flow=flow), value
        return (self.one("null", "~") if value is None else json.dumps(value)), value

    def flow(self, depth: int, *, table: bool) -> tuple[str, Any]:
        members, meant = [], []
        space = self.one("", "", " ", f"{self.end} ", f" # c ]{self.end}  ")
        for _ in range(self.random.randint(0, 3)):
            kind = self.one("scalar", "scalar", "list", "table") if depth < 3 else "scalar"
            text, value = self.scalar(flow=True) if kind == "scalar" else self.flow(depth + 1, table=kind == "table")
            if table:
                key = self.one(*WORDS)
                meant.append((key, value))
                # A key is on one line.
                text = f"{self.key(key)}: {text}"
            else:
                meant.append(value)
            members.append(text)
        body = space + self.one(", ", f",{space or ' '}", f"{space}, ").join(members) + space
        if members:
            body += self.one("", f",{space}")
        return ("{" + body + "}", Table(meant)) if table else ("[" + body + "]", meant)

    def value(self, depth: int, indent: int, *, below: int) -> tuple[str, Any]:
        """What follows a colon or a dash, with its line end. ``below``: how deep a block list has to stand at least."""
        kind = self.one("scalar", "scalar", "flow", "list", "table", "text", "null") if depth < 4 else "scalar"
        if kind == "scalar":
            text, value = self.scalar(flow=False)
            return f" {text}{self.rest()}", value
        if kind == "flow":
            text, value = self.flow(depth, table=self.one(True, False))
            text = text.replace(self.end, self.end + " " * (indent + 1))
            return f" {text}{self.rest()}", value
        if kind == "null":
            return self.rest(), None
        if kind == "text":
            lines = self.random.sample(("one", "two # no", "- x: y", "'"), 2)
            style = self.one("|", "|-", ">-")
            self.clipped |= style == "|"
            value = (" " if style == ">-" else "\n").join(lines) + ("\n" if style == "|" else "")
            return f" {style}{self.end}" + "".join(f"{' ' * (indent + 2)}{line}{self.end}" for line in lines), value
        if kind == "list":
            return self.list(depth, self.one(below, indent + self.step))
        text, value = self.table(depth, indent + self.step)
        return self.one("", " # c") + self.end + text.removeprefix(self.end), value

    def list(self, depth: int, indent: int) -> tuple[str, Any]:
        text, meant = self.end, []
        for _ in range(self.random.randint(1, 3)):
            if depth < 3 and self.one(True, False, False):
                inner, value = self.table(depth + 1, indent + 2)
                inner = " " + inner.removeprefix(self.end)[indent + 2 :]
            else:
                inner, value = self.value(depth + 1, indent, below=indent + 1)
            text += f"{' ' * indent}-{inner}"
            meant.append(value)
        return text, meant

    def table(self, depth: int, indent: int) -> tuple[str, Any]:
        text, meant = self.end, []
        for _ in range(self.random.randint(1, 3)):
            key = self.one("command", "args", "env", *WORDS)
            inner, value = self.value(depth + 1, indent, below=indent)
            text += f"{' ' * indent}{self.one(key, self.key(key)) if key.isalpha() else self.key(key)}:{inner}"
            meant.append((key, value))
        return text, Table(meant)


def yaml_documents() -> st.SearchStrategy[tuple[str, Any]]:
    return st.integers(0, 1 << 32).map(lambda seed: YamlWriter(seed).document())


def toml_documents() -> st.SearchStrategy[tuple[str, Any]]:
    return st.integers(0, 1 << 32).map(lambda seed: TomlWriter(seed).document())


def json_documents(format: str) -> st.SearchStrategy[tuple[str, Any]]:
    return st.integers(0, 1 << 32).map(lambda seed: JsonWriter(seed, format).document())
