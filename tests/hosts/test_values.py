from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpbox.hosts import values
from mcpbox.hosts.document import DocumentError, parse
from mcpbox.hosts.entries import entries
from mcpbox.hosts.model import Format, Shape
from mcpbox.hosts.values import Moved, Piece
from mcpbox.texts import strings

Wanted = Mapping[tuple[str | int, ...], tuple[str, Sequence[Piece]]]
REFERENCE = "mcpbox-secret:s/NAME"
FILES: dict[str, tuple[Format, str, str]] = {
    "json": ("json", '{"a" :  "x=SECRET;"}', '{"a" :  "x=@;"}'),
    "a comment holds it too": ("jsonc", '// SECRET\n{"a": "x=SECRET;",}', '// SECRET\n{"a": "x=@;",}'),
    "escapes around it": ("json", '{"a": "\\u0078=SECRET\\u003b"}', '{"a": "\\u0078=@\\u003b"}'),
    "in single quotes": ("json5", "{a: 'x=SECRET;', }", "{a: 'x=@;', }"),
    "toml": ("toml", 'a = "x=SECRET;" # SECRET\n', 'a = "x=@;" # SECRET\n'),
    "yaml": ("yaml", "a: x=SECRET; # SECRET\n", "a: x=@; # SECRET\n"),
    "yaml in quotes": ("yaml", "a: 'x=SECRET;'\n", "a: 'x=@;'\n"),
    "yaml in braces": ("yaml", '{a: "x=SECRET;", b: x}\n', '{a: "x=@;", b: x}\n'),
    "a literal of toml": ("toml", "a = 'x=SECRET;'\r\n", "a = 'x=@;'\r\n"),
}


@pytest.mark.parametrize("name", FILES)
def test_only_the_piece_changes_and_back(name: str) -> None:
    format, before, after = FILES[name]
    after = after.replace("@", REFERENCE)
    there: Wanted = {("a",): ("x=SECRET;", [Piece(2, 8, REFERENCE)])}
    back: Wanted = {("a",): (f"x={REFERENCE};", [Piece(2, 2 + len(REFERENCE), "SECRET")])}
    assert values.exchange(before, format, there) == after
    assert values.exchange(after, format, back) == before


PEM = "-----BEGIN KEY-----\nMIIE\n\nvAIB\n-----END KEY-----"
LINES: dict[str, tuple[Format, str]] = {
    "a block of yaml": ("yaml", "a: |\n  -----K-----\n  MIIE\n\n  vAIB\n  -----K-----\nc: x\n"),
    "without its last line end": (
        "yaml",
        "a:\n  - |-\n      -----BEGIN KEY-----\n      MIIE\n      -----END KEY-----\nc: x\n",
    ),
    "with other line ends": (
        "yaml",
        "a: |\r\n    -----BEGIN KEY-----\r\n    MIIE\r\n    -----END KEY-----\r\nc: x\r\n",
    ),
    "lines of toml": ("toml", f'a = """\n{PEM}\n"""\nc = "x"\n'),
    "literal lines of toml": ("toml", f"a = '''\n{PEM}\n'''\nc = 'x'\n"),
    "escaped": ("json", f'{{"a": {json.dumps(PEM)}, "c": "x"}}'),
}


@pytest.mark.parametrize("name", LINES)
def test_lines_come_back_as_they_were_written(name: str) -> None:
    format, before = LINES[name]
    (path, old), _ = strings(parse(before, format).get(()))
    end = len(old.rstrip("\n"))
    moved = values.exchange(before, format, {path: (old, [Piece(0, end, REFERENCE)])})
    assert "MIIE" not in moved
    now = REFERENCE + old[end:]
    assert values.exchange(moved, format, {path: (now, [Piece(0, len(REFERENCE), old[:end])])}) == before


#: Without DEL, which TOML wants escaped and nobody else does.
ANY = st.text(st.characters(exclude_characters="\x7f"))


@given(ANY, ANY.filter(bool), ANY, st.sampled_from(["json", "jsonc", "json5", "toml"]))
def test_any_value_goes_and_comes_back(start: str, secret: str, end: str, format: Format) -> None:
    old, encoded = start + secret + end, json.dumps(start + secret + end, ensure_ascii=False)
    text = f"a = {encoded}\nb = {encoded}\n" if format == "toml" else f'{{"a": {encoded}, "b": {encoded}}}'
    try:
        text.encode()
        parse(text, format)
    except (DocumentError, UnicodeEncodeError):
        return
    place = (len(start), len(start) + len(secret))
    moved = values.exchange(text, format, {("a",): (old, [Piece(*place, REFERENCE)])})
    assert parse(moved, format).get(()) == {"a": start + REFERENCE + end, "b": old}
    piece = Piece(len(start), len(start) + len(REFERENCE), secret)
    assert values.exchange(moved, format, {("a",): (start + REFERENCE + end, [piece])}) == text


def test_the_right_one_of_several_and_several_at_once() -> None:
    text = '{"a": "k/k/k", "b": ["k", "k"]}'
    wanted = {("a",): ("k/k/k", [Piece(2, 3, "two"), Piece(4, 5, "three")]), ("b", 1): ("k", [Piece(0, 1, "last")])}
    assert values.exchange(text, "json", wanted) == '{"a": "k/two/three", "b": ["k", "last"]}'


@pytest.mark.parametrize("text", ['{"a": "other"}', '{"b": "x"}', '{"a": 1}', "{}"])
def test_what_has_changed_meanwhile_is_left_alone(text: str) -> None:
    with pytest.raises(Moved, match="a"):
        values.exchange(text, "json", {("a",): ("x", [Piece(0, 1, "y")])})


@pytest.mark.parametrize(
    "text",
    [
        '{"s": {"command": "p", "args": ["one", "two"], "env": {"E": "e"}}}',
        '{"s": {"command": ["p", "one", "two"], "env": {"E": "e"}}}',
        '{"s": {"command": ["p", "one"], "args": ["two"], "env": {"E": "e"}}}',
        '{"s": {"command": {"path": "p", "args": ["one", "two"], "env": {"E": "e"}}}}',
        '{"s": {"command": "p one", "args": "two", "env": {"E": "e"}}}',
    ],
)
def test_the_places_of_an_entry(text: str) -> None:
    document, shape = parse(text, "json"), Shape("json", ())
    (entry,) = entries(document, shape)
    found = {where: document.get(values.path_of(entry, shape, where)) for where, _ in values.strings(entry)}
    assert found == dict(values.strings(entry)) and found[("env", "E")] == "e"
