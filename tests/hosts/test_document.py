from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import written
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpbox.hosts.document import MAX_DEPTH, Document, DocumentError, Edit, apply, inverse, parse
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
    "yaml": ("stands there twice", "an alias"),
}


def attempt(format: Format, operation: Callable[[], list[Edit]]) -> list[Edit] | None:
    try:
        return operation()
    except DocumentError as error:
        assert error.message.startswith(REFUSALS[format]) or error.message.endswith(REFUSALS[format]), error
        return None


def documents(format: Format) -> st.SearchStrategy[tuple[str, Any]]:
    makers = {"toml": written.toml_documents, "yaml": written.yaml_documents}
    return makers[format]() if format in makers else written.json_documents(format)


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
