"""Takes something out of the records of closed sessions: their chains are made anew, and the ledger says so."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from mcpbox import paths
from mcpbox.audit import chain, ledger, reading, signing, upkeep, verify
from mcpbox.errors import McpboxError

WHY = "values that became secrets were taken out"


def rewrite(change: Callable[[bytes], bytes]) -> list[reading.SessionLog]:
    """Replace each line by what ``change`` makes of it, a line of JSON with the same fields of the chain.

    Returns the running sessions that it would change, and leaves those as they are. Raises OSError, McpboxError.
    """
    upkeep.close_dead()
    running = ledger.unclosed() if ledger.exists() else {}
    left: list[reading.SessionLog] = []
    closed: list[reading.SessionLog] = []
    for log in reading.sessions():
        if any(change(line) != line for line in log.lines()) or change(log.torn) != log.torn:
            (left if log.id in running else closed).append(log)
    if closed:
        _check(closed)
        attest = signing.attest(signing.AT_START)
        for log in closed:
            # What was removed meanwhile has nothing left in it.
            with suppress(FileNotFoundError):
                _rewrite(log, change, attest)
    return left


def _check(logs: Sequence[reading.SessionLog]) -> None:
    """A chain that is made anew is whole whatever was done to it before, and would hide that."""
    report = verify.verify([log.name for log in logs])
    ids = {log.id for log in logs}
    for problem in report.problems:
        if problem.session in ids or problem.name == "ledger":
            whose = f"the record of the session {problem.session}" if problem.session else "the ledger"
            raise McpboxError(f"{whose} was changed, and is not made anew: {problem.text}", "see: mcpbox audit verify")


def _rewrite(log: reading.SessionLog, change: Callable[[bytes], bytes], attest: signing.Attest) -> None:
    opened = upkeep.opened(log.id)
    if opened is None:
        raise McpboxError(f"the ledger does not know the session {log.id} of {log.name}", "see: mcpbox audit verify")
    previous, count, changed = opened, 0, 0
    made: list[tuple[Path, Path]] = []
    torn = b""
    try:
        for file in log.files:
            # Not among the others, where a stranger's file is a sign of tampering.
            temporary = paths.audit_dir() / f"{file.name}.new"
            made.append((temporary, file))
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as new:
                for line in reading.whole_lines(file):
                    if not line.endswith(b"\n"):
                        torn = change(line)
                        changed += torn != line
                        new.write(torn)
                        break
                    text = _again(line[:-1], change, previous)
                    new.write(text + b"\n")
                    changed += change(line) != line
                    previous, count = chain.digest(text), count + 1
                new.flush()
                os.fsync(new.fileno())
        fields: dict[str, Any] = {"event": "rewrite", "session": log.id, "name": log.name, "reason": WHY}
        fields |= {"count": count, "head": previous, "changed": changed}
        fields |= {"torn": len(torn), "torn_hash": chain.digest(torn)} if torn else {}
        with ledger.locked():
            # Whoever removes a session does so under the lock; put back, its files would be nobody's.
            for _, file in made:
                file.stat()
            ledger.extend(attest(fields), sync=True)
            for temporary, file in made:
                temporary.replace(file)
    except BaseException:
        for temporary, _ in made:
            temporary.unlink(missing_ok=True)
        raise


def _again(line: bytes, change: Callable[[bytes], bytes], previous: str) -> bytes:
    try:
        own = {key: msgspec.json.decode(line)[key] for key in ("seq", "time", "session")}
        return chain.encode({**msgspec.json.decode(change(line)), **own, "prev": previous})
    except (*chain.UNREADABLE, KeyError, TypeError):
        raise McpboxError("a record cannot be changed and stay one", "see: mcpbox audit verify") from None
