"""The sessions on record as entries, whole or as they are written."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime

import msgspec

from mcpbox.audit import reading
from mcpbox.audit.reading import SessionLog
from mcpbox.errors import UsageError
from mcpbox.trail.entries import Entry, Filter, merged
from mcpbox.trail.fields import number

#: Seconds between two looks for new records, and how much older a file's time may be than it was written: some file
#: systems count in whole seconds.
PAUSE, MARGIN = 0.25, 2.0


def sessions(chosen: Filter) -> list[SessionLog]:
    """The sessions that may have what is chosen, of all servers in the order in which they began."""
    since = datetime.fromisoformat(chosen.since).timestamp() - MARGIN if chosen.since else None
    named = [log for log in reading.sessions(chosen.servers, since) if log.id.startswith(chosen.session)]
    found = [(log.started, log.id, log) for log in named]
    ordered = sorted(found, key=lambda each: each[:2])
    return [log for started, _, log in ordered if not chosen.until or started < chosen.until]


def of_server(server: str, chosen: Filter) -> list[SessionLog]:
    """Those of one server that began in the time chosen. Raises UsageError where there are none."""
    found = [log for log in sessions(chosen) if log.name == server and log.started >= chosen.since]
    if not found:
        known = ", ".join(sorted({log.name for log in reading.sessions()})) or "none yet"
        raise UsageError(f"no session of {server!r} that was asked for is on record", f"there are those of: {known}")
    return found


def entries(log: SessionLog) -> Iterator[Entry]:
    """The records of a session. Raises OSError."""
    launch: dict[str, object] = {}
    # What is kept no longer is removed by whatever mcpbox runs beside this.
    with suppress(FileNotFoundError):
        for index, record in enumerate(log.records()):
            if index == 0 and record.get("event") == "launch":
                launch = record
            yield Entry(log.name, log.id, record, launch)


def chosen(wanted: Filter, logs: Iterable[SessionLog]) -> Iterator[Entry]:
    """What of ``logs``, given in the order in which they began, is wanted, in the order of time."""
    return filter(wanted.takes, merged(map(entries, logs)))


class Follower:
    """What is put on record from now on, by sessions that run and by new ones."""

    def __init__(self, wanted: Filter) -> None:
        self._wanted = wanted
        self._shown: dict[tuple[str, str], int] = {}
        self._launches: dict[tuple[str, str], Entry] = {}

    def before(self, logs: Iterable[SessionLog]) -> Iterator[Entry]:
        """What is there already, to be read first."""
        for entry in merged(map(entries, logs)):
            if self._is_new(entry) and self._wanted.takes(entry):
                yield entry

    def run(self) -> Iterator[Entry | None]:
        """Every new record; None when there is none for now. It never ends."""
        looked = time.time() - MARGIN
        places: dict[str, int] = {}
        while True:
            now = time.time()
            for log in reading.sessions(self._wanted.servers, looked - MARGIN):
                with suppress(FileNotFoundError):
                    for entry in self._read(log, places):
                        if self._is_new(entry) and self._wanted.takes(entry):
                            yield entry
            looked = now
            yield None
            time.sleep(PAUSE)

    def _is_new(self, entry: Entry) -> bool:
        session, seq = (entry.server, entry.session), number(entry.record, "seq")
        if seq is None:
            return True
        if seq <= self._shown.get(session, -1):
            return False
        self._shown[session] = seq
        return True

    def _read(self, log: SessionLog, places: dict[str, int]) -> Iterator[Entry]:
        """The whole lines after those that were read before."""
        for file in log.files:
            at = places.get(str(file), 0)
            with file.open("rb") as opened:
                opened.seek(at)
                for line in opened:
                    if not line.endswith(b"\n"):
                        break
                    at += len(line)
                    yield from self._parsed(log, line)
            places[str(file)] = at

    def _parsed(self, log: SessionLog, line: bytes) -> Iterator[Entry]:
        try:
            record = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError):
            return
        if isinstance(record, dict):
            if record.get("event") == "launch":
                self._launches[log.name, log.id] = Entry(log.name, log.id, record, record)
            opening = self._launches.get((log.name, log.id))
            yield Entry(log.name, log.id, record, opening.record if opening else {})
