"""Puts other text in the place of parts of the values of a host's file: references for secrets, and back. No I/O."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from mcpbox.hosts.document import Document, DocumentError, Edit, apply, parse
from mcpbox.hosts.model import Entry, Format, Key, Shape

Path = tuple[Key, ...]


class Piece(Struct, frozen=True, order=True):
    """Characters ``start`` to ``end`` of a value become ``text``."""

    start: int
    end: int
    text: str


class Moved(Exception):
    """The value is not the one that it was."""


def path_of(entry: Entry, shape: Shape, where: Path) -> Path:
    """Where in the file the string stands that ``detect`` calls ``where``: ("env", name), ("args", index) or a path."""
    table, keys = entry.path, (shape.command, shape.args, shape.env)
    if entry.form == "nested":
        table, keys = (*entry.path, shape.command), ("path", "args", "env")
    kind, key = where[0], where[-1]
    if kind == "env" and len(where) == 2:
        return (*table, keys[2], key)
    if kind != "args" or not isinstance(key, int):
        return (*entry.path, *where)
    launch: Any = entry.raw[shape.command] if entry.form == "nested" else entry.raw
    words = launch.get(keys[0])
    inside = len(words) - 1 if isinstance(words, list) else 0
    if key < inside:
        return (*table, keys[0], key + 1)
    return (*table, keys[1], key - inside) if isinstance(launch.get(keys[1]), list) else (*table, keys[1])


def strings(entry: Entry) -> Iterator[tuple[Path, str]]:
    """The variables and arguments of an entry, each under what ``path_of`` takes."""
    for index, argument in enumerate(entry.args):
        yield ("args", index), argument
    for name, value in entry.env.items():
        yield ("env", name), value


def exchanged(value: str, pieces: Sequence[Piece]) -> str:
    """``value`` with the pieces in it, which do not overlap."""
    return apply(value, [Edit(piece.start, piece.end, piece.text) for piece in pieces])


def exchange(text: str, format: Format, wanted: Mapping[Path, tuple[str, Sequence[Piece]]]) -> str:
    """The file's text with pieces of the strings at these paths exchanged, and nothing else.

    Each path comes with the string that has to be there. The characters around a piece stay as they are written.
    Raises Moved if another string stands there by now, DocumentError where the text cannot be changed so.
    """
    document = parse(text, format)
    expected = copy.deepcopy(document.get(()))
    for path, (old, pieces) in wanted.items():
        try:
            found = document.get(path)
        except KeyError:
            found = None
        if found != old:
            raise Moved(".".join(map(str, path)))
        _put(expected, path, exchanged(old, pieces))
    # All at once, as it nearly always goes; one by one only where that is not what was meant.
    quick = [_within(document, path, old, pieces, _manner(document, path)) for path, (old, pieces) in wanted.items()]
    if None not in quick:
        after = apply(text, [edit for edits in quick for edit in edits or ()])
        if _means(after, format, expected):
            return after
    edits = [edit for path, (old, pieces) in wanted.items() for edit in _edits(document, format, path, old, pieces)]
    after = apply(text, edits)
    if not _means(after, format, expected):
        raise DocumentError("something else than the values would change", 1, 1)
    return after


def escaped(value: str) -> str:
    """``value`` as it stands between double quotes."""
    return json.dumps(value, ensure_ascii=False)[1:-1]


def _means(text: str, format: Format, value: Any) -> bool:
    try:
        return bool(parse(text, format).get(()) == value)
    except DocumentError:
        return False


def _edits(document: Document, format: Format, path: Path, old: str, pieces: Sequence[Piece]) -> list[Edit]:
    """The smallest edits of the string that are right: of the pieces alone where they can be told in its text."""
    new = exchanged(old, pieces)
    for written in (_manner(document, path), escaped, str):
        edits = _within(document, path, old, pieces, written)
        if edits is None:
            continue
        try:
            if parse(apply(document.text, edits), format).get(path) == new:
                return edits
        except (DocumentError, KeyError):
            continue
    return document.replace(path, new)


def _manner(document: Document, path: Path) -> Callable[[str], str]:
    """How text is written in the string's own: between double quotes, and where lines are lines, as lines."""
    start, end = document.span(path)
    raw = document.text[start:end]
    if raw.startswith('"""'):  # TOML
        return lambda value: escaped(value).replace("\\n", "\n")
    if not raw.startswith("|"):
        return escaped
    # A block of YAML: each line but an empty one is indented like the first.
    header, *lines = raw.splitlines(keepends=True)
    newline = header[len(header.rstrip("\r\n")) :]
    indent = lines[0][: -len(lines[0].lstrip(" "))] if lines else ""

    def block(value: str) -> str:
        first, *rest = value.split("\n")
        return newline.join([first, *(indent + line if line else "" for line in rest)])

    return block


def _within(
    document: Document, path: Path, old: str, pieces: Sequence[Piece], written: Callable[[str], str]
) -> list[Edit] | None:
    """The edits of the pieces in the string's own text; None where one cannot be told there."""
    start, end = document.span(path)
    edits = [_piece(document.text[start:end], start, old, piece, written) for piece in pieces]
    return None if None in edits else [edit for edit in edits if edit]


def _piece(raw: str, offset: int, old: str, piece: Piece, written: Callable[[str], str]) -> Edit | None:
    """The edit of one piece in the string's own text, ``raw``; None where it cannot be told there."""
    fragment = old[piece.start : piece.end]
    sought, at = written(fragment), -1
    for _ in range(old.count(fragment, 0, piece.start) + 1):
        at = raw.find(sought, at + 1 if at < 0 else at + len(sought))
        if at < 0:
            return None
    return Edit(offset + at, offset + at + len(sought), written(piece.text))


def _put(tree: Any, path: Path, value: str) -> None:
    for key in path[:-1]:
        tree = tree[key]
    tree[path[-1]] = value
