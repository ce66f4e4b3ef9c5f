"""Finds what was changed in the audit: every line of the ledger and of the sessions, in one pass over each file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct, field

from mcpbox.audit import chain, ledger, reading, signing
from mcpbox.audit.ledger import Place

#: Problems told of one chain, and in all.
MAX_OF_ONE, MAX_PROBLEMS = 10, 1000


class Problem(Struct, frozen=True):
    """Something that mcpbox did not write so. ``seq`` is a line's number in the chain, -1 for none; ``session`` is ""
    and ``name`` "ledger" where it is the ledger's."""

    kind: str
    name: str
    session: str
    seq: int
    text: str


class Keys(Struct, frozen=True):
    """What the keyring and this machine remember: the public key, the newest signed place, the keys that have signed;
    ``silent`` is why the keyring did not say."""

    public: str = ""
    newest: Place | None = None
    known: tuple[str, ...] = ()
    silent: str = ""


class Report(Struct):
    """``unsigned`` is the number of the ledger's last lines that no signature covers; ``signed`` says if any is."""

    sessions: int = 0
    records: int = 0
    signed: bool = False
    unsigned: int = 0
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    more: int = 0

    def add(self, kind: str, name: str, session: str, seq: int, text: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(kind, name, session, seq, text))
        else:
            self.more += 1


class _Line(Struct):
    """What is looked at of a line, of the ledger or of a session."""

    seq: int
    prev: str
    event: str
    session: str = ""
    name: str = ""
    count: int = -1
    head: str = ""
    by: str = ""
    torn: int = 0
    torn_hash: str = ""
    key: str = ""
    signature: str = ""
    first: int = -1
    after: str = ""
    reason: str = ""


class _Record(Struct):
    seq: int
    prev: str
    session: str


class _Course(Struct):
    """What the ledger says of one session."""

    name: str
    opened: str = ""
    points: list[tuple[int, str]] = field(default_factory=list)
    closed: _Line | None = None
    pruned: bool = False


def verify(names: Sequence[str] = (), keys: Keys | None = None) -> Report:
    """What is wrong with the ledger and the sessions of the servers ``names``, or of all; they may be running.

    ``keys`` is asked for where it is None. Raises OSError.
    """
    report = Report()
    keys = remembered() if keys is None else keys
    if keys.silent:
        report.notes.append(
            f"the keyring was not asked ({keys.silent}): a ledger cut back to an older state would not show"
        )
    alive: dict[str, bool] = {}
    courses: dict[str, _Course] = {}
    opened, size = None, 0
    if ledger.exists():
        # Whoever is not closed in that much of the ledger has a mark at that moment.
        with ledger.locked():
            alive = ledger.unclosed()
            if ledger.file().exists():
                opened = open(os.open(ledger.file(), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb")
                size = os.fstat(opened.fileno()).st_size
    with opened or BytesIO() as stream:
        _Ledger(report, keys, courses).read(_lines(stream, size))
    _sessions(report, courses, alive, names)
    return report


def remembered(seconds: float = signing.AT_START) -> Keys:
    """What the keyring says within ``seconds``, and what this machine remembers."""
    from mcpbox.errors import SecretError

    known = signing.public_keys()
    if not signing.possible():
        return Keys(known=known, silent="there is none" if known else "")
    try:
        public, newest = signing.keyring_state(seconds)
    except SecretError as error:
        return Keys(known=known, silent=error.message)
    return Keys(public, newest, known)


class _Ledger:
    """Reads the ledger into ``courses``."""

    def __init__(self, report: Report, keys: Keys, courses: dict[str, _Course]) -> None:
        self._report, self._keys, self._courses = report, keys, courses
        self._told = 0
        self._strays: dict[str, int] = {}
        self._folds: set[tuple[int, str]] = set()
        self._signed_at = -1

    def read(self, lines: Iterator[tuple[bytes, bool]]) -> None:
        last, begins, newest = ledger.NOWHERE, (0, chain.GENESIS), self._keys.newest
        for number, (raw, whole) in enumerate(lines):
            if not whole:
                self._report.notes.append(
                    "the ledger's last line is incomplete: its writer was killed; nothing came of it"
                )
                break
            line = self._parsed(raw, last)
            here = chain.digest(raw)
            if line is None:
                last = Place(last.seq + 1, here)
                continue
            if number == 0:
                begins = (line.seq, line.prev)
            else:
                _follows(self, line, last)
            last = Place(line.seq, here)
            if newest == last:
                newest = None
            self._take(line, raw, here)
        if begins != (0, chain.GENESIS) and begins not in self._folds:
            self.tell("missing", begins[0], f"its first line is number {begins[0]}: what stood before was cut off")
        for stray, seq in self._strays.items():
            if not (stray in self._courses and self._courses[stray].pruned):
                self.tell("foreign", seq, f"a line for the session {stray}, which was never opened")
        self._report.unsigned = last.seq - max(self._signed_at, begins[0] - 1)
        self._report.signed = self._signed_at >= 0
        if newest is not None:
            text = f"the keyring knows of line {newest.seq}, which is not there: cut back, replaced or changed since"
            self.tell("replay", newest.seq, text)
        elif not self._report.signed and (self._keys.public or self._keys.known):
            self.tell("unsigned", -1, "nothing in it is signed, though this machine has signed with a key before")

    def tell(self, kind: str, seq: int, text: str) -> None:
        self._told += 1
        if self._told <= MAX_OF_ONE:
            self._report.add(kind, "ledger", "", seq, text)
        else:
            self._report.more += 1

    def _parsed(self, text: bytes, last: Place) -> _Line | None:
        try:
            line = msgspec.json.decode(text, type=_Line)
            if chain.encode(msgspec.json.decode(text)) == text:
                return line
        except chain.UNREADABLE:
            pass
        self.tell("changed", last.seq + 1, "not a line that mcpbox wrote")
        return None

    def _take(self, line: _Line, text: bytes, here: str) -> None:
        if line.event == "signature":
            self._signature(line, text)
        elif line.event == "fold":
            self._folds.add((line.first, line.after))
        elif line.event == "open":
            if line.session in self._courses:
                self.tell("inserted", line.seq, f"the session {line.session} is opened a second time")
            self._courses[line.session] = _Course(line.name, here)
        elif line.event in ("head", "close", "prune", "rewrite"):
            self._course(line)
        elif line.event != "unsigned":
            self.tell("changed", line.seq, f"a line of the kind {line.event[:40]!r}, which mcpbox does not write")

    def _course(self, line: _Line) -> None:
        course = self._courses.get(line.session)
        if course is None:
            if line.event == "prune":
                # Its first lines went when the ledger was folded.
                course = self._courses[line.session] = _Course(line.name)
            else:
                self._strays.setdefault(line.session, line.seq)
                return
        if line.event == "prune":
            course.pruned = True
        elif line.event == "rewrite":
            course.points, course.closed = [], line
        elif course.closed is not None:
            self.tell("inserted", line.seq, f"the session {line.session} goes on after its close")
        elif line.event == "close":
            course.closed = line
        else:
            course.points.append((line.count, line.head))

    def _signature(self, line: _Line, text: bytes) -> None:
        fields = msgspec.json.decode(text)
        del fields["signature"]
        expected = (self._keys.public,) if self._keys.public else self._keys.known
        if not signing.verifies(line.key, line.signature, chain.digest(chain.encode(fields))):
            self.tell("signature", line.seq, "the signature is not that of the lines before it")
        elif expected and line.key not in expected:
            self.tell("key", line.seq, f"signed with the key {line.key[:16]}, which is not this machine's")
        else:
            self._signed_at = line.seq


class _Chain:
    """One session's records, told of under its name."""

    def __init__(self, report: Report, name: str, session: str) -> None:
        self._report, self._name, self._session = report, name, session
        self.told = 0

    def tell(self, kind: str, seq: int, text: str) -> None:
        self.told += 1
        if self.told <= MAX_OF_ONE:
            self._report.add(kind, self._name, self._session, seq, text)
        else:
            self._report.more += 1

    def check(self, log: reading.SessionLog, course: _Course, marked: bool) -> None:
        """Every record against the one before it, and against what the ledger says.

        One that is not closed is ``marked`` if it is running, or was killed and nobody has closed it since.
        """
        for number, file in enumerate(log.files, 1):
            if reading.part(file.name) != (log.id, number):
                self.tell("missing", -1, f"the part {number} of its record is not there")
                break
        count, hash_, torn = self._records(log, course)
        self._report.records += count
        if (closed := course.closed) is not None:
            if count < closed.count:
                self.tell("cut", count, f"{closed.count - count} of {closed.count} records at the end are missing")
            elif count > closed.count:
                self.tell("inserted", closed.count, f"{count - closed.count} records stand after its end")
            elif hash_ != closed.head and not self.told:
                self.tell("changed", count - 1, "the last record is not what it was when the session was closed")
            if (len(torn), hashlib.sha256(torn).hexdigest() if torn else "") != (closed.torn, closed.torn_hash):
                self.tell("changed", count, "what stands after the last whole record is not what stood there")
            return
        if course.points and count < course.points[-1][0]:
            self.tell("cut", count, f"records are missing: there were {course.points[-1][0]} or more")
        if not marked:
            self.tell("unclosed", count, "it was never closed, and nobody writes it: the mark of a killed one is gone")

    def _records(self, log: reading.SessionLog, course: _Course) -> tuple[int, str, bytes]:
        """How many there are, the hash of the last, and what follows it that is no whole line."""
        decode, sha256 = msgspec.json.Decoder(_Record).decode, hashlib.sha256
        expected, seq, torn, id = course.opened, 0, b"", log.id
        points = iter(sorted(set(course.points)))
        at, hash_ = next(points, (-1, ""))
        count = 0
        for file in log.files:
            if torn:
                self.tell("changed", seq, "a part of its record does not end with a whole line")
                torn = b""
            for line in reading.whole_lines(file):
                if line[-1] != 10:
                    torn = line
                    break
                text = line[:-1]
                here = sha256(text).hexdigest()
                try:
                    record = decode(text)
                except chain.UNREADABLE:
                    self.tell("changed", seq, "not a record that mcpbox wrote")
                else:
                    if record.prev != expected or record.seq != seq or record.session != id:
                        self._misplaced(record, seq, expected)
                        seq = record.seq
                expected, seq, count = here, seq + 1, count + 1
                while count == at:
                    if here != hash_:
                        self.tell("changed", seq - 1, "not what the ledger has as the hash of this record")
                    at, hash_ = next(points, (-1, ""))
        return count, expected, torn

    def _misplaced(self, record: _Record, seq: int, expected: str) -> None:
        if record.session != self._session:
            self.tell("foreign", seq, f"a record of the session {record.session[:40]!r}")
        else:
            _follows(self, record, Place(seq - 1, expected))


def _follows(chain_: _Ledger | _Chain, line: _Line | _Record, last: Place) -> None:
    """Tell if ``line`` does not come after ``last``."""
    if line.seq == last.seq + 1:
        if line.prev != last.hash:
            what = "the session was opened at another place" if line.seq == 0 else "it was changed, or the next one was"
            chain_.tell("changed", max(last.seq, 0), f"not what the line after it says of it: {what}")
    elif line.seq > last.seq + 1:
        chain_.tell("missing", last.seq + 1, f"{line.seq - last.seq - 1} lines are missing before line {line.seq}")
    else:
        chain_.tell("inserted", line.seq, f"line {line.seq} stands after line {last.seq}")


def _sessions(report: Report, courses: dict[str, _Course], alive: dict[str, bool], names: Sequence[str]) -> None:
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
            # About to begin, or being removed.
            if log.id not in alive and not (course and course.pruned) and any(file.exists() for file in log.files):
                if not _since("open", log.id):
                    report.add("foreign", log.name, log.id, -1, "a session that the ledger does not know")
            continue
        report.sessions += 1
        _Chain(report, log.name, log.id).check(log, course, log.id in alive)
    for id, course in courses.items():
        if course.pruned or (names and course.name not in names):
            continue
        if (course.name, id) not in found and not _since("prune", id):
            report.add("missing", course.name, id, -1, "its record is not there")
        if course.closed is not None and course.closed.by:
            torn = f"; its last record is torn, after {course.closed.torn} bytes" if course.closed.torn else ""
            text = f"{course.name}: the session {id} ended without a close, after {course.closed.count} records{torn}"
            report.notes.append(text)


def _since(event: str, id: str) -> bool:
    """Whether the ledger has such a line of a session now."""
    has = (b'"event":"%s"' % event.encode(), b'"session":"%s"' % id.encode())
    try:
        return any(all(part in line for part in has) for line in reading.whole_lines(ledger.file()))
    except FileNotFoundError:
        return False


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
