"""The baseline of each server on disk, a small file that a session reads at its start and adds to at its end."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from mcpbox import paths
from mcpbox.errors import McpboxError
from mcpbox.trail.baseline import Baseline, Summary

#: Larger than a baseline can be.
MAX_BYTES = 16 << 20


class _Stored(msgspec.Struct, forbid_unknown_fields=True):
    """JSON has no pairs for keys, so they are a list."""

    version: int
    sessions: int
    calls: int
    tools: dict[str, int]
    pairs: list[tuple[str, str, int]]
    largest: dict[str, int]
    hosts: dict[str, int]


def load(server: str) -> Baseline:
    """What is known of ``server``, an empty one where that is nothing. Raises McpboxError where the file is damaged."""
    path = _file(server)
    try:
        with path.open("rb") as file:
            stored = msgspec.json.decode(file.read(MAX_BYTES), type=_Stored)
    except FileNotFoundError:
        return Baseline()
    except (OSError, msgspec.DecodeError) as error:
        raise McpboxError(f"{path}: not a baseline: {error}", "remove it: it is learned anew") from None
    pairs = {(first, then): count for first, then, count in stored.pairs}
    return Baseline(stored.sessions, stored.tools, pairs, stored.largest, stored.hosts, stored.calls)


def add(server: str, session: Summary) -> None:
    """Add a session that has ended. Raises OSError and McpboxError."""
    if not session.calls and not session.hosts:
        return
    with _locked(server) as path:
        baseline = load(server)
        baseline.add(session)
        pairs = [(*pair, count) for pair, count in baseline.pairs.items()]
        stored = _Stored(1, baseline.sessions, baseline.calls, baseline.tools, pairs, baseline.largest, baseline.hosts)
        temporary = path.with_suffix(".new")
        temporary.write_bytes(msgspec.json.encode(stored))
        temporary.replace(path)


@contextmanager
def _locked(server: str) -> Iterator[Path]:
    """Two sessions of one server may end at the same time."""
    path = _file(server)
    paths.private_dir(path.parent)
    fd = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield path
    finally:
        os.close(fd)


def _file(server: str) -> Path:
    return paths.state_dir() / "baselines" / f"{server}.json"
