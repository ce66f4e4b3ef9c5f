"""What keeps the audit in order: killed sessions are closed, old ones removed, and the ledger cut behind them."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from mcpbox import config, paths
from mcpbox.audit import chain, ledger, reading, signing

#: Who closes a session that did not close itself.
LATER = "the next command"
#: Bytes from which the ledger is cut, and seconds between two looks at what can be removed.
FOLD_BYTES = 8 << 20
PRUNE_SECONDS = 3600.0
DAY = 86400


def close_dead() -> int:
    """Close the sessions whose writers are dead; how many. Raises OSError, McpboxError."""
    closed = 0
    for session, name, mark in ledger.marks() if ledger.exists() else ():
        if mark is None:
            continue
        try:
            if (place := opened(session)) is None:
                _forget(ledger.segment(name, session, 1))
            # Whoever was killed between its close and the end of its mark has closed it already.
            elif _line_of(b"close", session) is None:
                ledger.append(_end(name, session, place), sync=True)
                closed += 1
            mark.drop()
        finally:
            mark.leave()
    return closed


def prune(wanted: config.Audit) -> int:
    """Remove closed sessions that are older than ``keep_days``, and then what is beyond ``keep_bytes``; how many.

    There it is the oldest session of the server with the most bytes that goes: a server that fills the disk pushes out
    what it has written itself, not what others have. How old a session is, the ledger says: the time of a file is
    whatever somebody made it. Raises SecretError where the ledger was signed and cannot be now.
    """
    servers: dict[str, list[tuple[str, int, reading.SessionLog]]] = {}
    ended = _ends()
    for directory in sorted(ledger.sessions_dir().iterdir()):
        for log in reading.in_directory(directory) if directory.is_dir() and not directory.is_symlink() else ():
            with suppress(FileNotFoundError):
                size = sum(_bytes(file.stat()) for file in log.files)
                # What the ledger does not know, nobody but its user may remove.
                if end := ended.get((log.name, log.id)):
                    servers.setdefault(log.name, []).append((end, size, log))
    # Only now: a session that began meanwhile is among them.
    unclosed = ledger.unclosed()
    oldest, gone = chain.stamp(max(0, time.time_ns() - wanted.keep_days * DAY * 1_000_000_000)), 0
    remove = _Remover()
    totals = {name: sum(size for _, size, _ in logs) for name, logs in servers.items()}
    for name, logs in servers.items():
        logs.sort(key=lambda found: (found[0], found[2].id), reverse=True)
        kept = [found for found in logs if found[2].id not in unclosed]
        while wanted.keep_days and kept and kept[-1][0] < oldest:
            _, size, log = kept.pop()
            gone += remove(log, f"older than {wanted.keep_days} days")
            totals[name] -= size
        servers[name] = kept
    while wanted.keep_bytes and sum(totals.values()) > wanted.keep_bytes:
        removable = [name for name, logs in servers.items() if logs]
        if not removable:
            break
        name = max(removable, key=totals.__getitem__)
        _, size, log = servers[name].pop()
        gone += remove(log, f"beyond {wanted.keep_bytes} bytes")
        totals[name] -= size
    return gone


def is_due(*, take: bool = False) -> bool:
    """Whether to look for what can be removed, which is once an hour; ``take`` makes it the caller who does."""
    stamp = paths.audit_dir() / "pruned"
    try:
        due = abs(time.time() - stamp.stat().st_mtime) > PRUNE_SECONDS
    except FileNotFoundError:
        due, take = False, True
    if take:
        stamp.touch(0o600)
    return due


def fold(limit: int = FOLD_BYTES) -> None:
    """Drop the ledger's oldest lines, if it is longer than ``limit`` bytes: those of sessions that were removed.

    A line at its end says where it begins since then and after which hash, and is signed with all the rest. What was
    signed last stays, and so does what sessions need that are still there. Raises SecretError as ``prune`` does.
    """
    if not ledger.file().exists() or ledger.file().stat().st_size <= limit:
        return
    from mcpbox.audit import verify

    with suppress(FileNotFoundError):
        lines = ledger.file().read_bytes().splitlines(keepends=True)
        # What was tampered with stays as it is: a line that is dropped tells of nothing any more.
        if not verify.of_ledger(lines).problems:
            _drop(lines, signing.attest(signing.ASIDE))


def _drop(lines: list[bytes], attest: signing.Attest) -> None:
    """Drop what may go of the ledger, which began with ``lines`` when it was looked at."""
    with ledger.locked():
        try:
            at = _foldable(lines)
        except (*chain.UNREADABLE, KeyError):
            # Somebody writes to it.
            return
        if at == 0 or not ledger.file().read_bytes().startswith(b"".join(lines)):
            return
        first = msgspec.json.decode(lines[at])
        dropped = {"event": "fold", "first": first["seq"], "after": first["prev"]}
        ledger.extend(attest(dropped), sync=True)
        temporary = ledger.file().with_name(f"ledger.{os.getpid()}")
        kept = ledger.file().read_bytes()[sum(map(len, lines[:at])) :]
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as opened:
            opened.write(kept)
            opened.flush()
            os.fsync(opened.fileno())
        temporary.replace(ledger.file())


def _foldable(lines: list[bytes]) -> int:
    """How many lines may go: none of a session that is not removed, none after the last two signatures."""
    parsed = [msgspec.json.decode(line) for line in lines]
    pruned = {line["session"] for line in parsed if line["event"] == "prune"}
    signatures = [at for at, line in enumerate(parsed) if line["event"] == "signature"]
    # The one before the last, which is what the keyring remembers if it failed since.
    signed = signatures[-2:][0] if signatures else len(lines) - 1
    for at, line in enumerate(parsed[:signed]):
        if "session" in line and line["session"] not in pruned:
            return at
    return signed


def _forget(file: Path) -> None:
    """Remove the file of a session that was killed before anybody was told of it; one with records says otherwise."""
    with suppress(FileNotFoundError):
        if file.stat().st_size == 0:
            file.unlink()


def _end(name: str, session: str, place: str) -> Mapping[str, Any]:
    """The line that closes a killed session: how far it came, and what stands after its last whole record."""
    count, torn, last = 0, b"", b""
    directory = ledger.sessions_dir() / name
    for log in reading.in_directory(directory) if directory.is_dir() else ():
        if log.id == session:
            for line in log.lines():
                count, last = count + 1, line
            torn = log.torn
    fields = {"event": "close", "session": session, "name": name, "by": LATER, "count": count}
    fields["head"] = chain.digest(last) if count else place
    return {**fields, "torn": len(torn), "torn_hash": chain.digest(torn)} if torn else fields


def opened(session: str) -> str | None:
    """The hash of the ledger's line that opened a session; None if it has none."""
    line = _line_of(b"open", session)
    return None if line is None else chain.digest(line[:-1])


def _line_of(event: bytes, session: str) -> bytes | None:
    with suppress(FileNotFoundError):
        for line in reading.whole_lines(ledger.file()):
            if b'"event":"%s"' % event in line and b'"session":"%s"' % session.encode() in line:
                return line
    return None


class _Line(Struct):
    time: str
    event: str = ""
    session: str = ""
    name: str = ""


def _ends() -> dict[tuple[str, str], str]:
    """When each session that the ledger knows, by server and id, was last told of in it.

    No line is older than one before it, whatever it says: the clock was put back, or somebody wants a session removed.
    """
    found: dict[tuple[str, str], str] = {}
    servers: dict[str, str] = {}
    now, latest = chain.stamp(time.time_ns()), ""
    with suppress(FileNotFoundError):
        for line in reading.whole_lines(ledger.file()):
            with suppress(*chain.UNREADABLE):
                parsed = msgspec.json.decode(line, type=_Line)
                # One of the future is a clock's that was put forward, and says nothing of those after it.
                latest = max(latest, parsed.time) if parsed.time <= now else latest
                if parsed.event == "open":
                    servers.setdefault(parsed.session, parsed.name)
                # Whoever said that it is removed may have been killed before it was.
                if parsed.session in servers and parsed.event != "prune":
                    found[servers[parsed.session], parsed.session] = max(latest, parsed.time)
    return found


def _bytes(file: os.stat_result) -> int:
    """What it takes of the disk: a file that is nothing but a hole must not push out others."""
    return min(file.st_size, file.st_blocks * 512)


class _Remover:
    """Removes the files of sessions; the ledger says so first."""

    def __init__(self) -> None:
        self._attest: signing.Attest | None = None

    def __call__(self, log: reading.SessionLog, why: str) -> int:
        self._attest = self._attest or signing.attest(signing.ASIDE)
        line = self._attest({"event": "prune", "session": log.id, "name": log.name, "reason": why})
        # The files go before the lock does: whoever reads that they are removed finds none.
        with ledger.locked():
            ledger.extend(line, sync=True)
            for file in reversed(log.files):
                file.unlink(missing_ok=True)
        with suppress(OSError):
            Path(ledger.sessions_dir() / log.name).rmdir()
        return 1
