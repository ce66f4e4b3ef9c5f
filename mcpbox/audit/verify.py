"""Finds what was changed in the audit: every line of the ledger and of the sessions, in one pass over each file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import msgspec

from mcpbox.audit import chain, ledger, reading, signing
from mcpbox.audit.following import Course, LedgerReader, Line, SessionReader
from mcpbox.audit.report import Keys as Keys
from mcpbox.audit.report import Problem as Problem
from mcpbox.audit.report import Report as Report

#: Why a keyring that is not there did not say what it knows.
NO_KEYRING = "there is none"


def verify(names: Sequence[str] = (), keys: Keys | None = None) -> Report:
    """What is wrong with the ledger and the sessions of the servers ``names``, or of all; they may be running.

    ``keys`` is asked for where it is None. Raises OSError.
    """
    keys = remembered() if keys is None else keys
    report = _verified(names, keys)
    if not report.problems:
        return report
    # Whoever signs for the first time shows the key before there is a signature.
    with suppress(OSError), ledger.locked(signing.AT_START, what="signing"):
        pass
    # What is removed, or made anew, while it is read is nobody's tampering, and is not to be found a second time.
    return _verified(names, keys)


def _verified(names: Sequence[str], keys: Keys) -> Report:
    report = Report()
    alive: dict[str, bool] = {}
    courses: dict[str, Course] = {}
    opened, size = None, 0
    if ledger.exists():
        # Whoever is not closed in that much of the ledger has a mark at that moment.
        with ledger.locked():
            alive = ledger.unclosed()
            if ledger.file().exists():
                opened = open(os.open(ledger.file(), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb")
                size = os.fstat(opened.fileno()).st_size
    with opened or BytesIO() as stream:
        LedgerReader(report, keys, courses).read(_lines(stream, size))
    # Where nothing is signed, and no key was known, that says enough.
    if keys.silent and (report.signed or keys.known or keys.silent != NO_KEYRING):
        report.notes.insert(
            0,
            f"the keyring was not asked ({keys.silent}): a ledger cut back to an older state would not show,"
            f" nor one made anew with another key if {signing.public_file()} was replaced too",
        )
    _sessions(report, courses, alive, names)
    return report


def of_ledger(lines: Sequence[bytes]) -> Report:
    """What is wrong with a ledger of these lines, with their newlines; of the sessions only what it says of them."""
    report = Report()
    told = ((line.removesuffix(b"\n"), line.endswith(b"\n")) for line in lines)
    LedgerReader(report, remembered(signing.ASIDE), {}).read(told)
    return report


def names() -> set[str]:
    """The servers that the ledger knows sessions of, whether or not any files of theirs are there."""
    found = set()
    if ledger.exists() and ledger.file().exists():
        for line in reading.whole_lines(ledger.file()):
            with suppress(*chain.UNREADABLE):
                found.add(msgspec.json.decode(line, type=Line).name)
    return found


def remembered(seconds: float = signing.AT_START) -> Keys:
    """What the keyring says within ``seconds``, and what this machine remembers."""
    from mcpbox.errors import SecretError

    known = signing.public_keys()
    if not signing.possible():
        return Keys(known=known, silent=NO_KEYRING)
    try:
        public, newest = signing.keyring_state(seconds)
    except SecretError as error:
        return Keys(known=known, silent=error.message)
    return Keys(public, newest, known)


def _sessions(report: Report, courses: dict[str, Course], alive: dict[str, bool], names: Sequence[str]) -> None:
    found: set[tuple[str, str]] = set()
    for log, stray in _files():
        if stray:
            report.add("foreign", stray.parent.name, "", -1, f"{stray} is no file of mcpbox's")
            continue
        found.add((log.name, log.id))
        course = courses.get(log.id)
        if names and log.name not in names:
            continue
        if course is not None and course.name != log.name:
            report.add("foreign", log.name, log.id, -1, f"the ledger knows it as one of {course.name[:64]!r}")
            continue
        if course is None or not course.opened:
            if course and course.pruned:
                report.add("foreign", log.name, log.id, -1, "it was removed, and there are files of it")
            elif not _is_beginning(log):
                report.add("foreign", log.name, log.id, -1, "a session that the ledger does not know")
            continue
        report.sessions += 1
        try:
            SessionReader(report, log.name, log.id).check(log, course, log.id in alive)
        except FileNotFoundError:
            report.add("missing", log.name, log.id, -1, "a part of its record is not there")
    for id, course in courses.items():
        if course.pruned or (names and course.name not in names):
            continue
        if (course.name, id) not in found and not _since("prune", id):
            report.add("missing", course.name, id, -1, "its record is not there")
        if course.closed is not None and course.closed.by:
            torn = f"; its last record is torn, after {course.closed.torn} bytes" if course.closed.torn else ""
            text = f"{course.name}: the session {id} ended without a close, after {course.closed.count} records{torn}"
            report.notes.append(text)


def _is_beginning(log: reading.SessionLog) -> bool:
    """Whether the ledger did not know of the session yet, and either does now or is about to: it is still empty."""
    try:
        empty = not any(file.stat().st_size for file in log.files)
    except FileNotFoundError:
        return True
    return (empty and log.id in ledger.unclosed()) or _since("open", log.id)


def _since(event: str, id: str) -> bool:
    """Whether the ledger has such a line of a session now."""
    try:
        found = ledger.file().stat()
    except FileNotFoundError:
        return False
    return id in _told(event, ledger.file(), found.st_ino, found.st_size)


@lru_cache(maxsize=2)
def _told(event: str, file: Path, inode: int, size: int) -> frozenset[str]:
    """The sessions that a ledger of that size has such lines of: there may be any number of strangers' files."""
    found = set()
    for text in reading.whole_lines(file):
        with suppress(*chain.UNREADABLE):
            line = msgspec.json.decode(text, type=Line)
            if line.event == event:
                found.add(line.session)
    return frozenset(found)


def _files() -> Iterator[tuple[reading.SessionLog, Path | None]]:
    """Every session with files, and every other thing that stands among them."""
    nothing = reading.SessionLog("", "", ())
    if not ledger.exists():
        return
    for directory in sorted(os.scandir(ledger.sessions_dir()), key=lambda entry: entry.name):
        if not directory.is_dir(follow_symlinks=False):
            yield nothing, Path(directory.path)
            continue
        for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
            if reading.part(entry.name) is None or not entry.is_file(follow_symlinks=False):
                yield nothing, Path(entry.path)
        for log in reading.in_directory(Path(directory.path)):
            yield log, None


def _lines(opened: BinaryIO, size: int) -> Iterator[tuple[bytes, bool]]:
    """The lines of the first ``size`` bytes, without their newlines, and whether each had one."""
    while size > 0 and (line := opened.readline(min(size, ledger.MAX_LINE))):
        size -= len(line)
        yield line.removesuffix(b"\n"), line.endswith(b"\n")
