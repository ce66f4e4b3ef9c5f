"""Takes something out of the records of closed sessions: their chains are made anew, and the ledger says so."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from mcpbox.audit import chain, ledger, reading, upkeep
from mcpbox.errors import McpboxError

WHY = "values that became secrets were taken out"


def rewrite(change: Callable[[bytes], bytes]) -> list[reading.SessionLog]:
    """Replace each line by what ``change`` makes of it, a line of JSON with the same fields of the chain.

    Returns the running sessions that it would change, and leaves those as they are. Raises OSError, McpboxError.
    """
    upkeep.close_dead()
    running = ledger.unclosed() if ledger.exists() else {}
    left = []
    for log in reading.sessions():
        if not any(change(line) != line for line in log.lines()) and change(log.torn) == log.torn:
            continue
        if log.id in running:
            left.append(log)
        else:
            _rewrite(log, change)
    return left


def _rewrite(log: reading.SessionLog, change: Callable[[bytes], bytes]) -> None:
    opened = upkeep.opened(log.id)
    if opened is None:
        raise McpboxError(f"the ledger does not know the session {log.id} of {log.name}", "see: mcpbox audit verify")
    previous, count = opened, 0
    made: list[tuple[Path, Path]] = []
    torn = b""
    try:
        for file in log.files:
            temporary = file.with_name(f".{file.name}.new")
            made.append((temporary, file))
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as new:
                for line in reading.whole_lines(file):
                    if not line.endswith(b"\n"):
                        torn = change(line)
                        new.write(torn)
                        break
                    text = _again(line[:-1], change, previous)
                    new.write(text + b"\n")
                    previous, count = chain.digest(text), count + 1
                new.flush()
                os.fsync(new.fileno())
        fields: dict[str, Any] = {"event": "rewrite", "session": log.id, "name": log.name, "reason": WHY}
        fields |= {"count": count, "head": previous}
        fields |= {"torn": len(torn), "torn_hash": chain.digest(torn)} if torn else {}
        ledger.append(fields, sync=True)
    except BaseException:
        for temporary, _ in made:
            temporary.unlink(missing_ok=True)
        raise
    for temporary, file in made:
        temporary.replace(file)


def _again(line: bytes, change: Callable[[bytes], bytes], previous: str) -> bytes:
    try:
        own = {key: msgspec.json.decode(line)[key] for key in ("seq", "time", "session")}
        return chain.encode({**msgspec.json.decode(change(line)), **own, "prev": previous})
    except (*chain.UNREADABLE, KeyError, TypeError):
        raise McpboxError("a record cannot be changed and stay one", "see: mcpbox audit verify") from None
