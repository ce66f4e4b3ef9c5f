"""What is remembered of a server that was put behind mcpbox. No I/O."""

from __future__ import annotations

from msgspec import Struct

from mcpbox.hosts.model import Key


class Original(Struct, frozen=True):
    """How to give an entry its own bytes back where they cannot be told from what was written over them.

    ``edits`` are (start, end, text), relative to the entry's own text, for as long as that has this SHA-256.
    """

    written: str
    edits: tuple[tuple[int, int, str], ...]


class Record(Struct, frozen=True, kw_only=True):
    """One server as it was approved.

    ``file`` is the path behind all symlinks, ``key`` the entry's place in it. ``command`` and ``arguments`` are
    SHA-256, since the words may hold secrets; ``start`` is a checksum of all of them, by which ``wrap`` finds the
    record; ``path`` is the PATH to look the command up in. ``profile`` and ``digest`` (SHA-256 of its file) are "" for
    the defaults; ``package`` is the lock's key and the pinned version, "npm:NAME 1.2.3", or "". ``named`` is the
    SHA-256 of the hosts and paths that its variables name, or "". ``when`` is RFC 3339.
    """

    file: str
    key: tuple[Key, ...]
    host: str
    name: str
    start: int
    command: str
    arguments: str
    path: str
    profile: str = ""
    digest: str = ""
    package: str = ""
    named: str = ""
    when: str = ""
    original: Original | None = None
