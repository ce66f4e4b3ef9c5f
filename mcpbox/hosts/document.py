"""Host files as text in which only spans change: JSON, JSONC, JSON5, YAML and TOML. No I/O.

A host's file is the user's: comments, order, indentation, line ends, a byte order mark, duplicate names and unknown
keys have to survive. So nothing is ever written out anew: an operation on a ``Document`` gives edits, and each is
checked by reading its outcome again before it is given out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from msgspec import Struct

from mcpbox.hosts.model import Format, Key

#: Containers nested deeper than this are refused. No host's file needs it, and whatever walks the values recurses.
MAX_DEPTH = 128

#: … and files of more values, each of which takes some hundreds of bytes of memory: a project may bring any file.
MAX_VALUES = 500_000

#: What can be written: text, numbers, truth values, nothing, and lists and tables of these.
Value = str | int | bool | None | list[Any] | dict[str, Any]


class DocumentError(ValueError):
    """The text is not of its format, or an edit of it is refused. ``line`` and ``column`` count from 1."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(f"line {line}, column {column}: {message}")
        self.message = message
        self.line = line
        self.column = column


class Edit(Struct, frozen=True):
    """Put ``text`` in the place of the characters from ``start`` to before ``end``."""

    start: int
    end: int
    text: str


class Document(Protocol):
    """One file's text and what stands where in it. A path holds keys of tables and indices of lists.

    ``KeyError`` means that nothing stands at the path, ``DocumentError`` that what stands there cannot be changed in
    the way asked. The edits of several operations may be applied together where they concern different values; two
    members inserted into one empty table may not.
    """

    text: str

    def get(self, path: Sequence[Key]) -> Any:
        """The value as plain Python. Of a name that stands twice the last counts, as it does for the hosts."""

    def members(self, path: Sequence[Key]) -> list[Key]:
        """The keys of a table in their order, each once, or the indices of a list; DocumentError for neither."""

    def span(self, path: Sequence[Key]) -> tuple[int, int]:
        """Where the value's text stands. Of a TOML table with a header: from the header to its last pair."""

    def replace(self, path: Sequence[Key], value: Value) -> list[Edit]: ...

    def prepend(self, path: Sequence[Key], values: Sequence[str]) -> list[Edit]:
        """Strings in front of the items of a list."""

    def withdraw(self, path: Sequence[Key], count: int) -> list[Edit]:
        """Take the first ``count`` items of a list out, with the separators that ``prepend`` wrote.

        Right after ``prepend`` this gives the very text from before. Comments among the items stay.
        """

    def insert(self, path: Sequence[Key], key: str, value: Value, *, after: str | None = None) -> list[Edit]:
        """A new member of a table, behind ``after`` or at its end."""

    def remove(self, path: Sequence[Key]) -> list[Edit]:
        """Take a member of a table or an item of a list out. Right after ``insert`` it gives the text from before.

        Comments beside it stay.
        """


def parse(text: str, format: Format) -> Document:
    """Raises DocumentError. Empty text, or one of comments only, is an empty table."""
    # Only the format at hand is imported: wrap's path must not pay for the YAML library.
    if format == "yaml":
        from mcpbox.hosts.yamltext import YamlDocument

        return YamlDocument(text)
    if format == "toml":
        from mcpbox.hosts.tomltext import TomlDocument

        return TomlDocument(text)
    from mcpbox.hosts.jsontext import JsonDocument

    return JsonDocument(text, format)


def apply(text: str, edits: Sequence[Edit]) -> str:
    """The text with the edits made; raises ValueError for edits that overlap or lie outside the text.

    Of two at the same place the one that replaces nothing comes first; else they come in the order given.
    """
    parts: list[str] = []
    at = 0
    for edit in _ordered(edits):
        if not at <= edit.start <= edit.end <= len(text):
            raise ValueError(f"the edit of {edit.start}:{edit.end} overlaps another or lies outside the text")
        parts += text[at : edit.start], edit.text
        at = edit.end
    return "".join([*parts, text[at:]])


def inverse(text: str, edits: Sequence[Edit]) -> list[Edit]:
    """The edits that make ``text`` of ``apply(text, edits)`` again."""
    undone, shift = [], 0
    for edit in _ordered(edits):
        start = edit.start + shift
        undone.append(Edit(start, start + len(edit.text), text[edit.start : edit.end]))
        shift += len(edit.text) - (edit.end - edit.start)
    return undone


def place(text: str, offset: int) -> tuple[int, int]:
    """Line and column, from 1, of the character at ``offset``."""
    before = text[:offset].replace("\r\n", "\n").replace("\r", "\n")
    line = before.count("\n") + 1
    return line, len(before) - (before.rfind("\n") + 1) + 1


def too_many(text: str, offset: int) -> DocumentError:
    return error_at(text, offset, f"more than {MAX_VALUES:,} values")


def error_at(text: str, offset: int, message: str) -> DocumentError:
    return DocumentError(message, *place(text, offset))


def _ordered(edits: Sequence[Edit]) -> list[Edit]:
    return sorted(edits, key=lambda edit: (edit.start, edit.end))
