from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import written
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpbox.hosts.document import MAX_DEPTH, Document, DocumentError, Edit, apply, inverse, parse
from mcpbox.hosts.model import Format, Key

FORMATS: tuple[Format, ...] = ("jsonc", "json5")


def documents(format: Format) -> st.SearchStrategy[tuple[str, Any]]:
    return written.json_documents(format)


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
    edits = document.prepend(path, values)
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
    new, after = outcome(text, document.insert(path, key, value, after=behind), format)
    assert after.get(()) == changed(meant, path, {**table, key: value})
    members = after.members(path)
    if behind is None:
        assert members[-1] == key
    assert apply(new, after.remove((*path, key))) == text


@pytest.mark.parametrize("format", FORMATS)
@given(data=st.data())
@settings(max_examples=150)
def test_what_is_replaced_changes_nothing_else(format: Format, data: st.DataObject) -> None:
    text, meant = data.draw(documents(format))
    path = data.draw(st.sampled_from(list(paths(meant, object))))
    value = data.draw(written.values)
    document = parse(text, format)
    edits = document.replace(path, value)
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
    try:
        edits = document.remove(path)
    except DocumentError as error:
        assert "stands there twice" in error.message
        return
    _, after = outcome(text, edits, format)
    kept = document.get(path[:-1])
    del kept[path[-1]]
    assert after.get(()) == changed(meant, path[:-1], kept)
