"""Follows the chains of the ledger and of a session, line by line, and tells what mcpbox did not write so."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator

import msgspec
from msgspec import Struct, field

from mcpbox.audit import chain, ledger, reading, signing
from mcpbox.audit.ledger import Place
from mcpbox.audit.report import MAX_OF_ONE, Keys, Report


class Line(Struct):
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
    changed: int = 0
    time: str = ""


class _Record(Struct):
    seq: int
    prev: str
    session: str


class Course(Struct):
    """What the ledger says of one session."""

    name: str
    opened: str = ""
    points: list[tuple[int, str]] = field(default_factory=list)
    closed: Line | None = None
    pruned: bool = False
    #: how it ended before it was written anew
    before: list[Line] = field(default_factory=list)


class LedgerReader:
    """Reads the ledger into ``courses``."""

    def __init__(self, report: Report, keys: Keys, courses: dict[str, Course]) -> None:
        self._report, self._keys, self._courses = report, keys, courses
        self._told = 0
        self._strays: dict[str, int] = {}
        self._folds: set[tuple[int, str]] = set()
        self._signed_at, self._begins = -1, 0
        self._accepted = -1
        #: what only the key's owner may do, and was not signed by it
        self._doubts: list[tuple[str, int, str]] = []
        self._removed: Counter[str] = Counter()

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
                self._begins = line.seq
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
        for kind, seq, text in self._doubts:
            if seq > self._accepted:
                self.tell(kind, seq, text)
        notes = self._report.notes
        if accepted := sum(seq <= self._accepted for _, seq, _ in self._doubts):
            notes.append(f"{accepted} lines before that are not this machine's key's")
        for reason, count in sorted(self._removed.items()):
            notes.append(f"{count} {'session was' if count == 1 else 'sessions were'} removed: {reason[:200]}")
        if self._signed_at >= 0 and self._keys.public and self._keys.newest is None:
            notes.append("the keyring remembers no place of this ledger, which was moved: an older one would not show")
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

    def _parsed(self, text: bytes, last: Place) -> Line | None:
        try:
            line = msgspec.json.decode(text, type=Line)
            if chain.encode(msgspec.json.decode(text)) == text:
                return line
        except chain.UNREADABLE:
            pass
        self.tell("changed", last.seq + 1, "not a line that mcpbox wrote")
        return None

    def _take(self, line: Line, text: bytes, here: str) -> None:
        if line.event == "signature":
            self._signature(line, text)
        elif line.event == "fold":
            if self._is_own(line, text):
                self._folds.add((line.first, line.after))
            else:
                self._doubts.append(("fold", line.seq, "lines were dropped, which the key did not sign"))
        elif line.event == "accepted":
            if self._is_own(line, text):
                self._accepted = line.seq
                self._report.notes.append(f"the ledger was taken as it is at {line.time}, by: audit verify --accept")
            else:
                self._doubts.append(("key", line.seq, "it was taken as it is, which the key did not sign"))
        elif line.event == "open":
            if line.session in self._courses:
                self.tell("inserted", line.seq, f"the session {line.session} is opened a second time")
            self._courses[line.session] = Course(line.name, here)
        elif line.event in ("head", "close", "prune", "rewrite"):
            if line.event in ("prune", "rewrite") and not self._is_own(line, text):
                what = "removed" if line.event == "prune" else "written anew"
                told = f"the session {line.session} was {what}, which the key did not sign"
                self._doubts.append((line.event, line.seq, told))
            self._course(line)
        elif line.event != "unsigned":
            self.tell("changed", line.seq, f"a line of the kind {line.event[:40]!r}, which mcpbox does not write")

    def _course(self, line: Line) -> None:
        course = self._courses.get(line.session)
        if course is None:
            if line.event == "prune":
                # Its first lines went when the ledger was folded.
                course = self._courses[line.session] = Course(line.name)
            else:
                self._strays.setdefault(line.session, line.seq)
                return
        if line.event == "prune":
            course.pruned = True
            self._removed[line.reason] += 1
        elif line.event == "rewrite":
            if course.closed is not None:
                course.before.append(course.closed)
            course.points, course.closed = [], line
            told = f"{course.name}: {line.changed} records of the session {line.session} were written anew"
            self._report.notes.append(f"{told}: {line.reason}")
        elif course.closed is not None:
            self.tell("inserted", line.seq, f"the session {line.session} goes on after its close")
        elif line.event == "close":
            course.closed = line
        elif line.count < 1 or (course.points and line.count < course.points[-1][0]):
            self.tell("changed", line.seq, f"a head after {line.count} records, which mcpbox does not write")
        else:
            course.points.append((line.count, line.head))

    def _signature(self, line: Line, text: bytes) -> None:
        expected = self._expected()
        if not _verifies(line, text):
            self.tell("signature", line.seq, "the signature is not that of the lines before it")
        elif expected and line.key not in expected:
            told = f"signed with the key {line.key[:16]}, which is not this machine's"
            self._doubts.append(("key", line.seq, told))
        else:
            if line.first >= 0 and self._signed_at < 0:
                # It is the first of all, and says where the ledger began then: nobody could sign what is before it.
                self._folds.add((line.first, line.after))
                self._doubts = [doubt for doubt in self._doubts if doubt[0] == "key"]
            self._signed_at = line.seq

    def _expected(self) -> tuple[str, ...]:
        return (self._keys.public,) if self._keys.public else self._keys.known

    def _is_own(self, line: Line, text: bytes) -> bool:
        """Whether the key signed this very line; nothing does before anything is signed."""
        if line.signature:
            return (not (expected := self._expected()) or line.key in expected) and _verifies(line, text)
        unsigned = not self._expected() or (self._signed_at < 0 and self._begins == 0)
        return unsigned and line.event != "accepted"


def _verifies(line: Line, text: bytes) -> bool:
    fields = msgspec.json.decode(text)
    fields.pop("signature", None)
    return signing.verifies(line.key, line.signature, chain.digest(chain.encode(fields)))


def _ends(line: Line) -> tuple[int, str, int, str]:
    return line.count, line.head, line.torn, line.torn_hash


class SessionReader:
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

    def check(self, log: reading.SessionLog, course: Course, marked: bool) -> None:
        """Every record against the one before it, and against what the ledger says.

        One that is not closed is ``marked`` if it is running, or was killed and nobody has closed it since.
        """
        for number, file in enumerate(log.files, 1):
            if reading.part(file.name) != (log.id, number):
                self.tell("missing", -1, f"the part {number} of its record is not there")
                break
        count, hash_, torn = self._records(log, course)
        self._report.records += count
        most = course.points[-1][0] if course.points else 0
        if (closed := course.closed) is not None:
            ends = (count, hash_, len(torn), hashlib.sha256(torn).hexdigest() if torn else "")
            if not self.told and ends != _ends(closed) and ends in map(_ends, course.before):
                # Whoever was to write it anew was killed between the ledger's line and that.
                text = f"{self._name}: the session {self._session} is as it was before it was to be written anew"
                self._report.notes.append(text)
                return
            if closed.count < most:
                # Whoever closed a killed session counted what was left of it.
                self.tell("cut", closed.count, f"{most - closed.count} of {most} records or more are missing")
            if count < closed.count:
                self.tell("cut", count, f"{closed.count - count} of {closed.count} records at the end are missing")
            elif count > closed.count:
                self.tell("inserted", closed.count, f"{count - closed.count} records stand after its end")
            elif hash_ != closed.head and not self.told:
                self.tell("changed", count - 1, "the last record is not what it was when the session was closed")
            if ends[2:] != (closed.torn, closed.torn_hash):
                self.tell("changed", count, "what stands after the last whole record is not what stood there")
            return
        if count < most:
            self.tell("cut", count, f"records are missing: there were {most} or more")
        if not marked:
            self.tell("unclosed", count, "it was never closed, and nobody writes it: the mark of a killed one is gone")

    def _records(self, log: reading.SessionLog, course: Course) -> tuple[int, str, bytes]:
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


def _follows(reader: LedgerReader | SessionReader, line: Line | _Record, last: Place) -> None:
    """Tell if ``line`` does not come after ``last``."""
    if line.seq == last.seq + 1:
        if line.prev != last.hash:
            what = "the session was opened at another place" if line.seq == 0 else "it was changed, or the next one was"
            reader.tell("changed", max(last.seq, 0), f"not what the line after it says of it: {what}")
    elif line.seq > last.seq + 1:
        reader.tell("missing", last.seq + 1, f"{line.seq - last.seq - 1} lines are missing before line {line.seq}")
    else:
        reader.tell("inserted", line.seq, f"line {line.seq} stands after line {last.seq}")
