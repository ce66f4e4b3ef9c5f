"""What recorded sessions of one server needed, gathered record by record in bounded memory. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from msgspec import Struct

from mcpbox.egress.rules import Rule, RuleError, Rules
from mcpbox.trail.entries import Entry, moment
from mcpbox.trail.fields import number, text

#: Different names that are kept of a kind, and calls within one minute.
MAX_NAMES, MAX_WINDOW = 10_000, 1 << 17
MINUTE = timedelta(minutes=1)
#: Sessions that are named as evidence.
SHOWN = 2


class Use(Struct):
    """How often something was used, in which sessions, and when last."""

    count: int = 0
    sessions: int = 0
    first: list[str] = []
    last: str = ""
    _session: str = ""

    def add(self, entry: Entry, count: int = 1) -> None:
        self.count += count
        self.last = max(self.last, entry.time)
        if entry.session != self._session:
            self._session = entry.session
            self.sessions += 1
            if len(self.first) < SHOWN:
                self.first.append(entry.session)

    def __str__(self) -> str:
        named = ", ".join(self.first) + (", …" if self.sessions > len(self.first) else "")
        return f"{times(self.count)} in {named}; last {self.last[:16].replace('T', ' ')}"


class Place(Struct):
    """A directory that arguments named: ``write`` unless each tool says that it only reads; ``failed`` where no call
    that named it succeeded."""

    use: Use
    write: bool = False
    failed: bool = True


class Evidence(Struct):
    """``complete`` is false where more was used than is kept, or the record itself only counted it.

    Of ``destinations``, those in ``opaque`` were given bytes unseen, and those in ``covered`` were named by the user's
    own configuration of the server. ``learned`` are the sessions that ran with --learn, ``busiest`` the most calls of
    tools within a minute.
    """

    sessions: int = 0
    tools: dict[str, Use] = {}
    resources: dict[str, Use] = {}
    prompts: dict[str, Use] = {}
    requests: dict[str, Use] = {}
    refused: dict[str, Use] = {}
    destinations: dict[tuple[str, int], Use] = {}
    opaque: set[tuple[str, int]] = set()
    covered: set[tuple[str, int]] = set()
    places: dict[str, Place] = {}
    mounts: dict[str, bool] = {}
    learned: int = 0
    busiest: int = 0
    longest_run: int = 0
    largest: int = 0
    complete: bool = True


K = TypeVar("K", bound=Hashable)


def gather(sessions: Iterable[Iterable[Entry]]) -> Evidence:
    """What all of ``sessions`` needed; each is read to its end before the next."""
    evidence = Evidence()
    for session in sessions:
        _Session(evidence).read(session)
    return evidence


class _Session:
    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._times: deque[Any] = deque()
        self._last: tuple[str, str] | None = None
        self._run = 0
        self._rules = Rules()

    def read(self, session: Iterable[Entry]) -> None:
        some = False
        for entry in session:
            some = True
            self._take(entry)
        self._times.clear()
        self._evidence.sessions += some

    def _take(self, entry: Entry) -> None:
        found, record, event = self._evidence, entry.record, entry.event
        if event in ("call", "result"):
            found.largest = max(found.largest, number(record, "bytes") or 0)
        if event == "call":
            self._call(entry)
        elif event == "egress":
            self._connection(entry)
        elif event == "refused":
            self._use(found.refused, text(record, "message"), entry)
        elif event == "granted":
            self._granted(record)
        elif event == "learned":
            self._learned(entry)
        elif event == "counted":
            found.complete = False

    def _call(self, entry: Entry) -> None:
        found, method, target = self._evidence, text(entry.record, "method"), text(entry.record, "target")
        if text(entry.record, "side") == "server":
            self._use(found.requests, method, entry)
            return
        kinds = {"tools/call": found.tools, "resources/read": found.resources, "prompts/get": found.prompts}
        if method in kinds and target:
            self._use(kinds[method], target, entry)
        if method == "tools/call":
            self._rate(entry, (target, text(entry.record, "digest")))

    def _rate(self, entry: Entry, what: tuple[str, str]) -> None:
        now = moment(entry.time)
        self._times.append(now)
        while now - self._times[0] > MINUTE or len(self._times) > MAX_WINDOW:
            self._times.popleft()
        self._run = self._run + 1 if what == self._last and what[1] else 1
        self._last = what
        self._evidence.busiest = max(self._evidence.busiest, len(self._times))
        self._evidence.longest_run = max(self._evidence.longest_run, self._run)

    def _connection(self, entry: Entry) -> None:
        record, found = entry.record, self._evidence
        port = number(record, "port")
        if text(record, "decision") == "allow" and port is not None and (name := text(record, "name")):
            self._use(found.destinations, (name, port), entry, number(record, "count") or 1)
            if text(record, "rule").startswith("tcp://"):
                found.opaque.add((name, port))
            if self._rules.decide(name, port).allow:
                found.covered.add((name, port))

    def _granted(self, record: Mapping[str, Any]) -> None:
        found = self._evidence
        found.learned += record.get("learn") is True
        self._rules = granted_rules(record)
        for mount in dicts(record.get("mounts"))[:MAX_NAMES]:
            if path := text(mount, "path"):
                found.mounts[path] = found.mounts.get(path, False) or mount.get("write") is True

    def _learned(self, entry: Entry) -> None:
        record, found = entry.record, self._evidence
        what = text(record, "what")
        if what == "arguments":
            failed, write = record.get("failed") is True, record.get("read_only") is not True
            for place in places(record.get("arguments")):
                if place not in found.places and len(found.places) >= MAX_NAMES:
                    found.complete = False
                    continue
                known = found.places.setdefault(place, Place(Use()))
                known.use.add(entry)
                if not failed:
                    known.write |= write
                    known.failed = False
        elif what == "endpoints":
            for each in dicts(record.get("endpoints"))[:MAX_NAMES]:
                name, _, port = text(each, "target").rpartition(":")
                if each.get("opaque") is True and port.isascii() and port.isdigit() and len(port) < 6:
                    found.opaque.add((name, int(port)))

    def _use(self, kept: dict[K, Use], key: K, entry: Entry, count: int = 1) -> None:
        if key not in kept and len(kept) >= MAX_NAMES:
            self._evidence.complete = False
            return
        kept.setdefault(key, Use()).add(entry, count)


def granted_rules(record: Mapping[str, Any]) -> Rules:
    """The rules for what the user's own configuration named, as the record of what a session was granted has them."""
    hosts = record.get("hosts")
    rules: list[Rule] = []
    for host in hosts if isinstance(hosts, list) else ():
        try:
            rules += Rules.parse([host]).rules if isinstance(host, str) else ()
        except RuleError:
            continue
    return Rules(tuple(rules))


def times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def places(arguments: Any) -> list[str]:
    """The directories in a recorded shape, flat as it is."""
    parts = arguments.values() if isinstance(arguments, dict) else ()
    return [
        place
        for part in parts
        if isinstance(part, dict) and isinstance(part.get("places"), list)
        for place in part["places"]
        if isinstance(place, str) and place.startswith("/")
    ]


def dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def within(path: str, directory: str) -> bool:
    """Whether it is that directory, or lies in it."""
    return bool(directory) and (path == directory or path.startswith(directory.rstrip("/") + "/"))
