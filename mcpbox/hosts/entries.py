"""Reads the servers of a host's file. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mcpbox.errors import UsageError
from mcpbox.hosts.document import Document
from mcpbox.hosts.model import Entry, Form, Key, Shape

#: The keys under which hosts write where a remote server is.
REMOTE = ("url", "serverUrl", "httpUrl", "uri", "baseUrl")


def entries(document: Document, shape: Shape) -> list[Entry]:
    """The servers of a file, in its order. They may be a table by name, or a list whose items have a ``name``.

    Raises UsageError, naming the key, where something else stands in place of the servers or of a part of one.
    """
    return [entry for table in tables(document, shape) for entry in _servers(document, table, shape)]


def tables(document: Document, shape: Shape) -> list[tuple[Key, ...]]:
    """The key paths of the places for servers that the file has, empty ones too."""
    found = [table for path in (shape.servers, *shape.also) for table in _matches(document, (), path)]
    # A file that is nothing but its servers has no key to tell it by.
    return [
        table for table in found if table or (isinstance(document.get(()), Mapping) and _servers(document, (), shape))
    ]


def _matches(document: Document, start: tuple[Key, ...], rest: tuple[str, ...]) -> Iterator[tuple[Key, ...]]:
    if not rest:
        yield start
        return
    value = document.get(start)
    if isinstance(value, Mapping):
        for key in value:
            if rest[0] in ("*", key):
                yield from _matches(document, (*start, key), rest[1:])


def _servers(document: Document, table: tuple[Key, ...], shape: Shape) -> list[Entry]:
    servers = document.get(table)
    named: list[tuple[Any, Key, Any]]
    if servers is None:
        return []
    if isinstance(servers, list):
        named = [
            (item.get("name", index) if isinstance(item, Mapping) else index, index, item)
            for index, item in enumerate(servers)
        ]
    elif isinstance(servers, Mapping):
        named = [(key, key, value) for key, value in servers.items()]
    else:
        raise _wrong(table, "a table with an entry for each server")
    if not table:
        named = [row for row in named if isinstance(row[2], Mapping) and {shape.command, *REMOTE} & row[2].keys()]
    return [_entry(document, str(name), (*table, key), value, shape) for name, key, value in named]


def _entry(document: Document, name: str, path: tuple[Key, ...], raw: Any, shape: Shape) -> Entry:
    if not isinstance(raw, Mapping):
        # As in VS Code's and opencode's files: null or false for a server that is defined elsewhere.
        return Entry(name=name, path=path, command="", args=(), env={}, raw={})
    form: Form = "array" if isinstance(raw.get(shape.command), list) else "string"
    where, launch, keys = path, raw, (shape.command, shape.args, shape.env)
    if isinstance(raw.get(shape.command), Mapping):
        form, where, launch, keys = "nested", (*path, shape.command), raw[shape.command], ("path", "args", "env")
    words = _words(document, (*where, keys[0]), launch.get(keys[0]))
    env = launch.get(keys[2]) or {}
    if not isinstance(env, Mapping):
        raise _wrong((*where, keys[2]), "a table of variables")
    # VS Code takes a variable away whose value is null.
    variables = [str(key) for key, value in env.items() if value is not None]
    return Entry(
        name=name,
        path=path,
        command=words[0] if words else "",
        args=(*words[1:], *_words(document, (*where, keys[1]), launch.get(keys[1]))),
        env={str(key): value for key, value in env.items() if isinstance(value, str)},
        raw=raw,
        form=form,
        variables=tuple(dict.fromkeys([*variables, *_passed(raw, path, shape)])),
    )


def _words(document: Document, path: tuple[Key, ...], value: Any) -> tuple[str, ...]:
    """One word or a list of them; what is no string counts as it is written, as in ``"args": [8080]``."""
    if value is None:
        return ()
    if isinstance(value, list):
        return tuple(word for index, item in enumerate(value) for word in _word(document, (*path, index), item))
    return _word(document, path, value)


def _word(document: Document, path: tuple[Key, ...], value: Any) -> tuple[str]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, (list, Mapping)):
        raise _wrong(path, "a string")
    start, end = document.span(path)
    return (document.text[start:end],)


def _passed(raw: Mapping[str, Any], path: tuple[Key, ...], shape: Shape) -> list[str]:
    """The variables of a list of names, or of tables with a ``name`` as Codex has them."""
    listed = (raw.get(shape.passed) or []) if shape.passed else []
    items = listed if isinstance(listed, list) else [None]
    names: list[Any] = [item.get("name") if isinstance(item, Mapping) else item for item in items]
    if not all(isinstance(name, str) for name in names):
        raise _wrong((*path, shape.passed), "a list of variables")
    return names


def _wrong(path: tuple[Key, ...], wanted: str) -> UsageError:
    return UsageError(f"{'.'.join(map(str, path)) or 'the file'} is not {wanted}", f"write {wanted} there, or nothing")
