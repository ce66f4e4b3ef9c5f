"""Reads what is on record, whole or while it grows. It trusts nothing: ``verify`` says whether it was changed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from mcpbox.audit import chain, ledger

_FILE = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_-]{0,127})(?:\.([1-9][0-9]{0,8}))?\.jsonl")
_BLOCK = 1 << 20
#: Bytes of one line that are read; no record is longer.
MAX_LINE = 1 << 20


class SessionLog(Struct):
    """The record of one session. ``files`` are its parts in order; ``torn`` is what ``records`` found after the last
    whole line: a record that is being written, or was when its writer was killed."""

    name: str
    id: str
    files: tuple[Path, ...]
    torn: bytes = b""

    def records(self) -> Iterator[dict[str, Any]]:
        """Every record; lines that are none are passed over. Raises OSError."""
        for line in self.lines():
            try:
                record = msgspec.json.decode(line)
            except chain.UNREADABLE:
                continue
            if isinstance(record, dict):
                yield record

    def lines(self) -> Iterator[bytes]:
        """Every line without its newline, read in blocks; ``torn`` is known once all were."""
        self.torn = b""
        for file in self.files:
            for line in whole_lines(file):
                if line.endswith(b"\n"):
                    yield line[:-1]
                else:
                    self.torn = line

    @property
    def started(self) -> str:
        """When its first record was written, as records have it; "" if that cannot be read."""
        first = next(self.records(), {}).get("time")
        return first if isinstance(first, str) else ""

    @property
    def changed(self) -> float:
        """When it was last written to, in seconds since the epoch."""
        return max((file.stat().st_mtime for file in self.files), default=0.0)


def sessions(names: Sequence[str] = (), since: float | None = None) -> Iterator[SessionLog]:
    """The sessions of the servers with these names, or of all, by name and then oldest first.

    ``since`` leaves out those that were last written to before, in seconds since the epoch.
    """
    if not ledger.exists():
        return
    root = ledger.sessions_dir()
    for directory in sorted(entry.name for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False)):
        if names and directory not in names:
            continue
        found = [log for log in in_directory(root / directory) if since is None or log.changed >= since]
        yield from sorted(found, key=lambda log: (log.started, log.id))


def in_directory(directory: Path) -> Iterator[SessionLog]:
    """The sessions with files in a directory, which has the name of their server. Files of other names are none."""
    parts: dict[str, dict[int, Path]] = {}
    for entry in os.scandir(directory):
        if (found := part(entry.name)) and entry.is_file(follow_symlinks=False):
            parts.setdefault(found[0], {})[found[1]] = Path(entry.path)
    for id in sorted(parts):
        yield SessionLog(directory.name, id, tuple(parts[id][number] for number in sorted(parts[id])))


def part(file: str) -> tuple[str, int] | None:
    """The session that a file of this name belongs to, and which part of it that is, from 1; None if to none."""
    if not (found := _FILE.fullmatch(file)) or found[2] == "1":
        return None
    return found[1], int(found[2] or 1)


def whole_lines(file: Path) -> Iterator[bytes]:
    """The lines with their newlines; at the end what has none. What is too long for a line comes in pieces."""
    with open(os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb", buffering=_BLOCK) as opened:
        while line := opened.readline(MAX_LINE):
            yield line
