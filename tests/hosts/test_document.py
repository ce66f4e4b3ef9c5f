from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hosts import written
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpbox.hosts.document import MAX_DEPTH, MAX_VALUES, Document, DocumentError, Edit, apply, inverse, parse
from mcpbox.hosts.model import Format, Key

FORMATS: tuple[Format, ...] = ("jsonc", "json5", "toml", "yaml")


#: What a generated document can make impossible.
REFUSALS = {
    "toml": (
        "not written as one value",
        "has dotted keys",
        "has no header of its own",
        "a list of tables",
        "cannot be changed here: it would be read as something else",
    ),
    "jsonc": ("stands there twice",),
    "json5": ("stands there twice",),
    # The comment behind what is removed would become part of a block of text before it.
    "yaml": ("stands there twice", "cannot be changed here: it would be read as something else"),
}


def attempt(format: Format, operation: Callable[[], list[Edit]]) -> list[Edit] | None:
    try:
        return operation()
    except DocumentError as error:
        assert error.message.startswith(REFUSALS[format]) or error.message.endswith(REFUSALS[format]), error
        return None


def documents(format: Format) -> st.SearchStrategy[tuple[str, Any]]:
    if format == "toml":
        return written.toml_documents()
    return written.yaml_documents() if format == "yaml" else written.json_documents(format)


def paths(value: Any, kind: type) -> Iterator[tuple[Key, ...]]:
    if isinstance(value, kind):
        yield ()
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in members:
        yield from ((key, *path) for path in paths(child, kind))


def changed(value: Any, path: tuple[Key, ...], new: Any) -> Any:
    """The value with ``new`` at the path; the key's place in its table stays."""
    if not path:
        return new
    if isinstance(value, dict):
        return {key: changed(child, path[1:], new) if key == path[0] else child for key, child in value.items()}
    return [changed(child, path[1:], new) if index == path[0] else child for index, child in enumerate(value)]


def outcome(text: str, edits: list[Edit], format: Format) -> tuple[str, Document]:
    new = apply(text, edits)
    assert apply(new, inverse(text, edits)) == text
    return new, parse(new, format)


@pytest.mark.parametrize("format", FORMATS)
@given(data=st.data())
@settings(max_examples=150)
def test_a_document_is_read_as_it_is_meant(format: Format, data: st.DataObject) -> None:
    text, meant = data.draw(documents(format))
    document = parse(text, format)
    assert document.get(()) == meant
    for path in paths(meant, object):
        if path:
            assert document.get(path) == document.get(path[:-1])[path[-1]]
    for path in paths(meant, dict):
        assert set(document.members(path)) == set(document.get(path))


@pytest.mark.parametrize("format", FORMATS)
@given(data=st.data())
@settings(max_examples=150)
def test_what_is_prepended_is_in_front_and_can_be_withdrawn(format: Format, data: st.DataObject) -> None:
    text, meant = data.draw(documents(format))
    lists = list(paths(meant, list))
    if not lists:
        return
    path = data.draw(st.sampled_from(lists))
    values = data.draw(st.lists(written.texts, max_size=3))
    document = parse(text, format)
    edits = attempt(format, lambda: document.prepend(path, values))
    if edits is None:
        return
    new, after = outcome(text, edits, format)
    assert after.get(()) == changed(meant, path, values + document.get(path))
    assert apply(new, after.withdraw(path, len(values))) == text


@pytest.mark.parametrize("format", FORMATS)
@given(data=st.data())
@settings(max_examples=150)
def test_what_is_inserted_can_be_removed(format: Format, data: st.DataObject) -> None:
    text, meant = data.draw(documents(format))
    path = data.draw(st.sampled_from(list(paths(meant, dict))))
    document = parse(text, format)
    table = document.get(path)
    key = data.draw(written.texts.filter(lambda key: key not in table))
    value = data.draw(written.values)
    behind = data.draw(st.sampled_from([None, *table]))
    edits = attempt(format, lambda: document.insert(path, key, value, after=behind))
    if edits is None:
        return
    new, after = outcome(text, edits, format)
    assert after.get(()) == changed(meant, path, {**table, key: value})
    if behind is None and format != "toml":
        assert after.members(path)[-1] == key
    assert apply(new, after.remove((*path, key))) == text


@pytest.mark.parametrize("format", FORMATS)
@given(data=st.data())
@settings(max_examples=150)
def test_what_is_replaced_changes_nothing_else(format: Format, data: st.DataObject) -> None:
    text, meant = data.draw(documents(format))
    path = data.draw(st.sampled_from(list(paths(meant, object))))
    value = data.draw(written.values)
    document = parse(text, format)
    edits = attempt(format, lambda: document.replace(path, value))
    if edits is None:
        return
    _, after = outcome(text, edits, format)
    assert after.get(()) == changed(meant, path, value)
    assert len(edits) == 1
    start, end = document.span(path)
    assert (edits[0].start, edits[0].end) == (start, end)


@pytest.mark.parametrize("format", FORMATS)
@given(data=st.data())
@settings(max_examples=150)
def test_what_is_removed_takes_nothing_else_with_it(format: Format, data: st.DataObject) -> None:
    text, meant = data.draw(documents(format))
    found = [path for path in paths(meant, object) if path]
    if not found:
        return
    path = data.draw(st.sampled_from(found))
    document = parse(text, format)
    edits = attempt(format, lambda: document.remove(path))
    if edits is None:
        return
    _, after = outcome(text, edits, format)
    kept = document.get(path[:-1])
    del kept[path[-1]]
    assert after.get(()) == changed(meant, path[:-1], kept)


PREPENDED = [
    ("jsonc", '{"args": []}', '{"args": ["a", "b"]}'),
    ("jsonc", '{"args": [ ]}', '{"args": ["a", "b" ]}'),
    ("jsonc", '{"args": [\n]}', '{"args": ["a", "b"\n]}'),
    ("jsonc", '{"args": [ // none\n]}', '{"args": ["a", "b" // none\n]}'),
    ("jsonc", '{"args":["x"]}', '{"args":["a", "b", "x"]}'),
    ("jsonc", '{"args":["x","y"]}', '{"args":["a","b","x","y"]}'),
    ("jsonc", '{"args": [\r\n\t"x", // c\r\n]}', '{"args": [\r\n\t"a",\r\n\t"b",\r\n\t"x", // c\r\n]}'),
    ("jsonc", '{"args": [\n  // c\n  "x"\n]}', '{"args": [\n  // c\n  "a",\n  "b",\n  "x"\n]}'),
    ("json5", "{args: ['x', 'y'],}", "{args: ['a', 'b', 'x', 'y'],}"),
    ("toml", "args = []  # c\n", 'args = ["a", "b"]  # c\n'),
    ("toml", "args = ['-y', \"x\"]\n", "args = ['a', 'b', '-y', \"x\"]\n"),
    ("toml", 'args = [\n  "x", # c\n]\n', 'args = [\n  "a",\n  "b",\n  "x", # c\n]\n'),
    ("yaml", "args: []\n", 'args: ["a", "b"]\n'),
    ("yaml", "args: [x, y]\n", "args: [a, b, x, y]\n"),
    ("yaml", "args:\n  - x # c\n", "args:\n  - a\n  - b\n  - x # c\n"),
    ("yaml", "args:\n- 'x'", "args:\n- 'a'\n- 'b'\n- 'x'"),
    ("yaml", "args: # c\r\n  # d\r\n  - -y\r\n", "args: # c\r\n  # d\r\n  - a\r\n  - b\r\n  - -y\r\n"),
]


@pytest.mark.parametrize(("format", "before", "after"), PREPENDED)
def test_prepending_keeps_to_the_style_of_the_list(format: Format, before: str, after: str) -> None:
    edits = parse(before, format).prepend(["args"], ["a", "b"])
    assert apply(before, edits) == after
    assert apply(after, parse(after, format).withdraw(["args"], 2)) == before


@pytest.mark.parametrize(
    ("format", "edited", "left"),
    [
        # The user wrote among the items, after what was prepended, or took his own items out.
        ("jsonc", '["a", /* mine */ "b", "c", "x"]', '[/* mine */ "c", "x"]'),
        ("jsonc", '[\n  "a", // mine\n  "b",\n  "x"\n]', '[\n  // mine\n  "x"\n]'),
        ("jsonc", '["a", "b"]', "[]"),
        ("jsonc", '["a", "b",]', "[]"),
        ("jsonc", '[\n  "a",\n  "b", // c\n]', "[ // c\n]"),
        ("jsonc", '["a"/* c */, "b"]', "[/* c */]"),
        ("yaml", "- a\n# mine\n- b\n- c\n", "# mine\n- c\n"),
        ("yaml", "- a # mine\n- b\n- c\n", "# mine\n- c\n"),
        ("yaml", "- a\n- b\n", "[]\n"),
        ("yaml", "[a, b]\n", "[]\n"),
    ],
)
def test_what_was_prepended_is_withdrawn_after_the_user_has_edited(format: Format, edited: str, left: str) -> None:
    assert apply(edited, parse(edited, format).withdraw([], 2)) == left


def test_an_emptied_list_under_a_key_stands_deeper_than_the_key() -> None:
    text = "args:\n- a\nenv:\n"
    new = apply(text, parse(text, "yaml").withdraw(["args"], 1))
    assert new == "args:\n []\nenv:\n"
    assert parse(new, "yaml").get([]) == {"args": [], "env": None}


INSERTED: list[tuple[Format, str, str | None, Any, str]] = [
    ("json", "{}", None, "v", '{"new": "v"}'),
    ("json", '{"a":1}', None, "v", '{"a":1, "new":"v"}'),
    ("json", '{"a":1,"b":2}', "a", "v", '{"a":1,"new":"v","b":2}'),
    ("jsonc", '{\n\t"a": 1 // about a\n}', None, "v", '{\n\t"a": 1, // about a\n\t"new": "v"\n}'),
    ("jsonc", '{\n  "a": 1, // a\n  "b": 2,\n}', "a", "v", '{\n  "a": 1, // a\n  "new": "v",\n  "b": 2,\n}'),
    ("jsonc", '{\r\n  "a": 1,\r\n}', None, "v", '{\r\n  "a": 1,\r\n  "new": "v",\r\n}'),
    ("json", '{\n  "a": 1\n}', None, {"b": ["c"]}, '{\n  "a": 1,\n  "new": {\n    "b": ["c"]\n  }\n}'),
    ("json5", "{a: 'x'}", None, "it's", "{a: 'x', new: 'it\\'s'}"),
    ("jsonc", "", None, "v", '{"new": "v"}'),
    ("jsonc", "\ufeff// nothing yet\n", None, "v", '\ufeff{"new": "v"}// nothing yet\n'),
    ("toml", "", None, "v", 'new = "v"\n'),
    ("toml", "# c\n[t]\n", None, "v", 'new = "v"\n# c\n[t]\n'),
    ("toml", "a=1 # a\r\nb=2\r\n", "a", True, "a=1 # a\r\nnew=true\r\nb=2\r\n"),
    ("yaml", "a: 1 # a\nb: x", "a", "v", "a: 1 # a\nnew: v\nb: x"),
    ("yaml", "a: b\nc:\n  d: [1]\n", None, {"e": {"f": []}}, "a: b\nc:\n  d: [1]\nnew:\n  e:\n    f: []\n"),
    ("yaml", "{a: 1}", None, None, "{a: 1, new: null}"),
    ("yaml", "", None, "v", "new: v\n"),
]


@pytest.mark.parametrize(("format", "before", "behind", "value", "after"), INSERTED)
def test_inserting_keeps_to_the_style_of_the_table(
    format: Format, before: str, behind: str | None, value: Any, after: str
) -> None:
    assert apply(before, parse(before, format).insert([], "new", value, after=behind)) == after
    document = parse(after, format)
    assert document.get(["new"]) == value
    if len(document.members([])) > 1:
        assert apply(after, document.remove(["new"])) == before


def test_a_toml_server_gets_its_variables_and_a_section_of_its_own() -> None:
    text = '[mcp_servers.a]\ncommand = "x"\n\n[mcp_servers.a.env]\nK = "v"\n\n# next\n[other]\n'
    document = parse(text, "toml")
    inserted = apply(text, document.insert(["mcp_servers", "a", "env"], "L", "w"))
    assert inserted == text.replace('K = "v"\n', 'K = "v"\nL = "w"\n')
    edits = document.insert(["mcp_servers"], "b c", {"command": "y", "args": []})
    new = apply(text, edits)
    assert new == text.replace('K = "v"\n', 'K = "v"\n\n[mcp_servers."b c"]\ncommand = "y"\nargs = []\n')
    assert apply(new, parse(new, "toml").remove(["mcp_servers", "b c"])) == text


@pytest.mark.parametrize(
    ("format", "before", "value", "after"),
    [
        ("json", '{"k": "a"}', 'q"\\\0\ud800é', '{"k": "q\\"\\\\\\u0000\\ud800é"}'),
        ("json5", "{k: 'a'}", 'q"', "{k: 'q\"'}"),
        ("toml", "k = 'C:\\a'", "C:\\b", "k = 'C:\\b'"),
        ("toml", "k = 'a'", "it's\x7f", 'k = "it\'s\\u007f"'),
        ("yaml", "k: a", "b", "k: b"),
        ("yaml", "k: a", "yes", 'k: "yes"'),
        ("yaml", "k: a", "b: c", 'k: "b: c"'),
        ("yaml", "k: 'a'", "it's", "k: 'it''s'"),
        ("yaml", "k: 'a'", "\0\x85\n", 'k: "\\u0000\\u0085\\n"'),
        ("yaml", "k:\nl: 1", "b", "k: b\nl: 1"),
        ("yaml", "k: >-\n  a\n  b\nl: 1", "c", 'k: "c"\nl: 1'),
        ("yaml", "k:\n- a\n- b\nl: 1", [], "k:\n []\nl: 1"),
    ],
)
def test_replacing_keeps_to_the_style_of_the_value(format: Format, before: str, value: Any, after: str) -> None:
    new = apply(before, parse(before, format).replace(["k"], value))
    assert new == after
    assert parse(new, format).get(["k"]) == value


@pytest.mark.parametrize(
    ("format", "text", "line", "column", "message"),
    [
        ("json", '{\n  "a" 1}', 2, 7, "'1' stands where a colon should"),
        ("json", '{"a": 1 "b": 2}', 1, 9, """'"' stands where a comma or "}" should"""),
        ("json", '{"a": "\x01"}', 1, 7, "a string that does not end, or has a control character or an unknown escape"),
        ("json", '{"a": tru}', 1, 7, "'t' stands where a value should"),
        ("json", '{"a": 1', 1, 8, "the text ends where"),
        ("json", '{"a": [1}', 1, 9, '"}" closes what it did not open'),
        ("json", "{} {}", 1, 4, "'{' stands where the end should"),
        ("json", "[1,,2]", 1, 4, "',' stands where a value should"),
        ("json", "[1.]", 1, 2, "'1' stands where a value should"),
        ("json", "{\r\n/* c", 2, 1, "a comment that does not end"),
        ("json", "{'a': 1}", 1, 2, "a string that does not end"),
        ("json5", "{a b: 1}", 1, 4, "'b' stands where a colon should"),
        ("json", "\0", 1, 1, "'\\x00' stands where a value should"),
        ("toml", "a = 1\na = 2\n", 2, 6, "Cannot overwrite a value"),
        ("toml", 'a = "\0"', 1, 6, "Illegal character"),
        ("toml", "a = [", 1, 6, "Invalid value"),
        ("yaml", "a: [1", 1, 6, "while parsing a flow sequence"),
        ("yaml", "a: 1\n---\nb: 1\n", 2, 1, "a second document in the file"),
        ("yaml", "a: \0", 1, 4, "a character that YAML does not allow"),
        ("yaml", "a: \ud800", 1, 4, "half of a surrogate pair"),
        ("yaml", "a: *b", 1, 4, "no anchor &b before it"),
        ("yaml", "a: &a [*a]", 1, 8, "an alias of what it stands in"),
        ("yaml", "[a]: 1", 1, 1, "a key that is no scalar"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(
    format: Format, text: str, line: int, column: int, message: str
) -> None:
    with pytest.raises(DocumentError) as raised:
        parse(text, format)
    assert (raised.value.line, raised.value.column) == (line, column)
    assert raised.value.message.startswith(message)


@pytest.mark.parametrize("format", ["json", "jsonc", "json5", "yaml", "toml"])
@pytest.mark.parametrize(
    "text",
    ["[" * 10_000, "[" * 10_000 + "]" * 10_000, '{"a":' * 10_000, "- " * 10_000, "{a: " * 10_000],
)
def test_deep_nesting_is_refused(format: Format, text: str) -> None:
    with pytest.raises(DocumentError):
        parse(f"x = {text}" if format == "toml" else text, format)


@pytest.mark.parametrize(
    ("format", "text"),
    [
        ("json", "[" + "1," * MAX_VALUES + "1]"),
        ("json5", "[" + "[],\n" * MAX_VALUES + "1]"),
        ("toml", "x = [" + "1," * MAX_VALUES + "1]"),
        ("yaml", "[" + "a: 1," * MAX_VALUES + "1]"),
    ],
)
def test_a_file_of_very_many_values_is_refused(format: Format, text: str) -> None:
    with pytest.raises(DocumentError, match="more than 500,000 values"):
        parse(text, format)


def test_deep_dotted_keys_are_refused() -> None:
    for text in (f"{'a.' * 10_000}a = 1", f"[{'a.' * 10_000}a]"):
        with pytest.raises(DocumentError, match="nested deeper than"):
            parse(text, "toml")
    # One of these takes tomllib half a minute, and 1,000,000 parts an hour.
    for text in (f"{'a.' * 40_000}a = 1", f"[{'a.' * 40_000}a]", f"x = {{ {'a.' * 40_000}a = 1 }}"):
        with pytest.raises(DocumentError, match="keys of very many parts"):
            parse(text, "toml")


@pytest.mark.parametrize("format", ["json", "json5", "yaml"])
def test_the_deepest_that_is_read_can_be_edited(format: Format) -> None:
    text = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    document = parse(text, format)
    path = [0] * (MAX_DEPTH - 1)
    assert apply(text, document.prepend(path, ["a"])) == text[:MAX_DEPTH] + '"a"' + text[MAX_DEPTH:]


def test_of_a_name_that_stands_twice_the_last_is_meant_and_neither_is_lost() -> None:
    text = '{"s": {"args": ["old"]}, "s": {"args": []}}'
    document = parse(text, "json")
    assert document.members([]) == ["s"]
    assert document.get(["s", "args"]) == []
    assert apply(text, document.prepend(["s", "args"], ["a"])) == '{"s": {"args": ["old"]}, "s": {"args": ["a"]}}'
    with pytest.raises(DocumentError, match='"s" stands there twice'):
        document.remove(["s"])


def test_what_an_alias_repeats_is_not_edited() -> None:
    text = "a: &x\n  env: {K: v}\nb: *x\nc: &y {K: w}\nd: !!str 5\n"
    document = parse(text, "yaml")
    assert document.get(["b", "env", "K"]) == "v"
    for path in (["a", "env", "K"], ["b", "env", "K"], ["b"], ["a"]):
        with pytest.raises(DocumentError, match="repeated by an alias"):
            document.replace(path, "n")
    for key in ("c", "d"):
        with pytest.raises(DocumentError, match="has a tag or an anchor"):
            document.replace([key], "n")
    assert apply(text, document.replace(["c", "K"], "new")) == text.replace("w}", "new}")
    assert document.get(["d"]) == "5"


def test_aliases_that_multiply_are_refused() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{after}: &{after} [{', '.join([f'*{name}'] * 9)}]" for name, after in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    with pytest.raises(DocumentError, match="aliases stand for more than"):
        parse("\n".join(lines), "yaml")


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        (lambda document: document.get(["no"]), KeyError),
        (lambda document: document.get(["list", 1]), KeyError),
        (lambda document: document.get(["list", -1]), KeyError),
        (lambda document: document.get(["list", True]), KeyError),
        (lambda document: document.get(["text", 0]), KeyError),
        (lambda document: document.insert([], "new", 1, after="no"), KeyError),
        (lambda document: document.insert([], "text", 1), "is there already"),
        (lambda document: document.insert(["list"], "new", 1), "not a table"),
        (lambda document: document.prepend(["text"], ["a"]), "not a list"),
        (lambda document: document.withdraw(["list"], 2), "fewer than the 2"),
        (lambda document: document.members(["text"]), "neither a table nor a list"),
        (lambda document: document.remove([]), "the whole document"),
    ],
)
@pytest.mark.parametrize("format", ["json", "json5", "yaml", "toml"])
def test_wrong_words_are_told(format: Format, operation: Callable[[Document], Any], error: Any) -> None:
    text = 'text = "x"\nlist = [1]\n' if format == "toml" else '{"text": "x", "list": [1]}'
    if error is KeyError:
        with pytest.raises(KeyError):
            operation(parse(text, format))
    else:
        with pytest.raises(DocumentError, match=error):
            operation(parse(text, format))


@pytest.mark.parametrize(("format", "value"), [("toml", None), ("toml", "\ud800"), ("yaml", "\ud800")])
def test_what_a_format_cannot_say_is_refused(format: Format, value: Any) -> None:
    with pytest.raises(DocumentError, match=r"cannot be written|has no null"):
        parse("a = 1" if format == "toml" else "a: 1", format).replace(["a"], value)


def test_values_are_told_apart() -> None:
    assert parse("[1, 1.0, true, 10e400, 123456789012345678901234567890]", "json").get([]) == [
        *(1, 1.0, True, float("inf"), 123456789012345678901234567890),
    ]
    text = "{a: [yes, no, 0o17, 0x1F, 1e3, .5, ~, '1', .inf, 1_000, 2001-01-01]}"
    assert parse(text, "yaml").get(["a"]) == [
        *("yes", "no", 15, 31, 1000.0, 0.5, None, "1", float("inf"), "1_000", "2001-01-01"),
    ]
    five = r"{a: [0xF, +1, -.5, 5., -Infinity, 'a\x41\u00e9\v\0', \"\ud83d\ude00\"], \u0062: 1}".replace(
        "\\\\", "\\"
    ).replace('\\"', '"')
    assert parse(five, "json5").get([]) == {"a": [15, 1, -0.5, 5.0, float("-inf"), "aAé\v\0", "\U0001f600"], "b": 1}


@given(
    st.text(max_size=12), st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12), st.text(max_size=3)), max_size=4)
)
def test_any_edits_that_do_not_overlap_can_be_undone(text: str, drawn: list[tuple[int, int, str]]) -> None:
    edits = [Edit(min(start, end), max(start, end), new) for start, end, new in drawn]
    try:
        new = apply(text, edits)
    except ValueError:
        return
    assert apply(new, inverse(text, edits)) == text


def test_edits_that_overlap_are_refused() -> None:
    with pytest.raises(ValueError, match="overlaps"):
        apply("abcdef", [Edit(0, 3, ""), Edit(2, 4, "")])
    with pytest.raises(ValueError, match="outside"):
        apply("abc", [Edit(2, 4, "")])
    assert apply("abc", [Edit(1, 2, "x"), Edit(1, 1, "<"), Edit(2, 2, ">")]) == "a<x>c"


@given(
    st.text(alphabet="{}[]\"',:#/*\\\n\r\t -=.ab01&!|>~\0\ufeff\ud800", max_size=30),
    st.sampled_from(["json", "json5", "yaml", "toml"]),
)
@settings(max_examples=600)
def test_any_text_is_read_or_refused(text: str, format: Format) -> None:
    try:
        document = parse(text, format)
    except DocumentError:
        return
    document.get([])


@pytest.mark.parametrize(
    ("format", "before", "after"),
    [
        ("jsonc", '{"a": 1, /* b */ "k": 2 /* k */, "c": 3}', '{"a": 1, /* b */ /* k */ "c": 3}'),
        ("jsonc", '{\n  // k\n  "k": 2, // l\n  "c": 3\n}', '{\n  // k\n  // l\n  "c": 3\n}'),
        ("jsonc", '{\n  "a": 1, // a\n  "k": 2 // k\n}', '{\n  "a": 1 // a\n   // k\n}'),
        ("jsonc", '{\n  "k": 2\n}', "{\n}"),
        ("toml", "a = 1\nk = 2  # k\nc = 3\n", "a = 1\n# k\nc = 3\n"),
        ("toml", "a = 1\n\n# k\n[k]\nb = 2\n\n[c]\n", "a = 1\n\n# k\n\n[c]\n"),
        ("yaml", "a: 1\nk: 2  # k\nc: 3\n", "a: 1\n# k\nc: 3\n"),
        ("yaml", "k: 2 # k\n# c\nc: 3\n", "# k\n# c\nc: 3\n"),
        ("yaml", "k:\n  - x\n", "{}\n"),
    ],
)
def test_comments_beside_what_is_removed_stay(format: Format, before: str, after: str) -> None:
    assert apply(before, parse(before, format).remove(["k"])) == after
