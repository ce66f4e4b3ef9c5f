"""What mcpbox knows of an MCP host: where its files lie, how they are written, what one server says. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

Format = Literal["json", "jsonc", "json5", "yaml", "toml"]
System = Literal["linux", "macos", "windows"]
Scope = Literal["user", "project", "managed"]
#: How an entry says what to run: ``command`` is the program beside ``args``; program and arguments in one list;
#: a table ``{"path", "args", "env"}`` (Zed before 2025).
Form = Literal["string", "array", "nested"]
Key = str | int


class Shape(Struct, frozen=True):
    """How a host writes its servers down."""

    format: Format
    #: Key path of the table or list of servers, ``*`` for every key; () is the whole file.
    servers: tuple[str, ...]
    #: Further key paths of the same file under which there may be servers.
    also: tuple[tuple[str, ...], ...] = ()
    command: str = "command"
    args: str = "args"
    env: str = "env"
    #: The key of a list of variables that the host passes on by name, from its own environment or store.
    passed: str = ""
    cwd: str = "cwd"
    #: Regular expressions of what the host itself replaces inside values.
    references: tuple[str, ...] = ()


class Place(Struct, frozen=True):
    """Where a host's file may lie.

    ``path`` is absolute or begins with ``~/`` or a base in braces (``discover.BASES``; ``{ROOT}`` is the project).
    ``*`` matches within one name of the path.
    """

    systems: tuple[System, ...]
    path: str
    shape: Shape
    scope: Scope = "user"


class Host(Struct, frozen=True):
    """An MCP host: one row of ``hosts.HOSTS``."""

    id: str
    name: str
    places: tuple[Place, ...] = ()
    #: Names of its processes, or patterns of their executables' paths where there is a slash.
    processes: tuple[str, ...] = ()
    #: It writes its whole file anew while it runs, from what it holds in memory.
    overwrites: bool = False
    #: It runs a server in a sandbox of its own where the entry says ``sandboxEnabled``.
    sandboxes: bool = False
    #: What the user has to know or do after a change.
    note: str = ""
    #: It has no file that may be written; the user pastes a snippet.
    snippet: bool = False


class Entry(Struct, frozen=True):
    """One server of one file, as read."""

    name: str
    #: Key path of the entry's own value in the document.
    path: tuple[Key, ...]
    #: "" where there is none, as for remote servers.
    command: str
    args: tuple[str, ...]
    #: Only those whose values are strings.
    env: Mapping[str, str]
    #: The whole entry as plain values.
    raw: Mapping[str, Any]
    #: As this entry is written: hosts change theirs and read the old one on.
    form: Form = "string"
    #: Every variable that the host sets for this server: the names in ``env`` and those passed on by name.
    variables: tuple[str, ...] = ()
