"""What a server's sessions usually are: tools, their order, hosts, volume; and what of one is unlike them. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from mcpbox.trail.fields import number, text

if TYPE_CHECKING:
    from mcpbox.trail.entries import Entry

#: Sessions before anything counts as unusual.
LEAST_SESSIONS = 3
#: How many times the most of any earlier session is unusual, and from which numbers on.
FACTOR, LEAST_CALLS, LEAST_BYTES = 4, 50, 1 << 20
#: Names, pairs and hosts that are kept of a server, and told of a session.
MAX_NAMES, MAX_PAIRS, MAX_TOLD = 2000, 4000, 200
MAX_NAME = 200
#: Before the first tool of a session.
START = ""


class Summary(Struct):
    """One session: calls by tool, tools by the one before, bytes of the largest result of each, connections by host."""

    tools: dict[str, int] = {}
    pairs: dict[tuple[str, str], int] = {}
    largest: dict[str, int] = {}
    hosts: dict[str, int] = {}
    calls: int = 0
    last: str = START

    def add(self, record: Mapping[str, Any]) -> None:
        """Count one record, whatever it is."""
        event = record.get("event")
        if event == "call" and record.get("method") == "tools/call":
            tool = text(record, "target")[:MAX_NAME]
            self.calls += 1
            _count(self.tools, tool, MAX_NAMES)
            _count(self.pairs, (self.last, tool), MAX_PAIRS)
            self.last = tool
        elif event == "result" and record.get("method") == "tools/call":
            tool, size = text(record, "target")[:MAX_NAME], number(record, "bytes") or 0
            if size > self.largest.get(tool, -1) and (tool in self.largest or len(self.largest) < MAX_NAMES):
                self.largest[tool] = size
        elif (host := host_of(record)) is not None:
            _count(self.hosts, host, MAX_NAMES)


class Baseline(Struct):
    """What ``sessions`` earlier ones were: in how many each was seen, and the most of each in any of them."""

    sessions: int = 0
    tools: dict[str, int] = {}
    pairs: dict[tuple[str, str], int] = {}
    largest: dict[str, int] = {}
    hosts: dict[str, int] = {}
    calls: int = 0

    @property
    def ready(self) -> bool:
        return self.sessions >= LEAST_SESSIONS

    def add(self, session: Summary) -> None:
        """One more session, if anything was done in it."""
        if not session.calls and not session.hosts:
            return
        self.sessions += 1
        for tool in session.tools:
            _count(self.tools, tool, MAX_NAMES)
        for pair in session.pairs:
            _count(self.pairs, pair, MAX_PAIRS)
        for host in session.hosts:
            _count(self.hosts, host, MAX_NAMES)
        for tool, size in session.largest.items():
            if tool in self.largest or len(self.largest) < MAX_NAMES:
                self.largest[tool] = max(self.largest.get(tool, 0), size)
        self.calls = max(self.calls, session.calls)


class Deviation(Struct, frozen=True):
    """``kind`` is "tool", "host", "order", "calls" or "bytes"; ``about`` which one, ``reason`` a sentence on it."""

    kind: str
    about: str
    reason: str


def deviations(baseline: Baseline, session: Summary) -> Iterator[Deviation]:
    """What of ``session`` is unlike those before it; nothing while these are too few."""
    if not baseline.ready:
        return
    seen = f"in {baseline.sessions} sessions before"
    for tool in _new(session.tools, baseline.tools, MAX_NAMES):
        yield Deviation("tool", tool, f"the tool was never called {seen}")
    for host in _new(session.hosts, baseline.hosts, MAX_NAMES):
        yield Deviation("host", host, f"the host was never reached {seen}")
    for first, then in _new(session.pairs, baseline.pairs, MAX_PAIRS):
        # A tool that is new is told of as such.
        if then in baseline.tools and (first in baseline.tools or first == START):
            after = f"after {first!r}" if first else "first"
            yield Deviation("order", then, f"it was never called {after} {seen}")
    if session.calls > max(LEAST_CALLS, FACTOR * baseline.calls):
        yield Deviation("calls", str(session.calls), f"never more than {baseline.calls} calls {seen}")
    for tool, size in session.largest.items():
        most = baseline.largest.get(tool)
        if most is not None and size > max(LEAST_BYTES, FACTOR * most):
            yield Deviation("bytes", tool, f"a result of {size} bytes; never more than {most} {seen}")


def history(sessions: Iterable[Iterable[Entry]]) -> Iterator[tuple[str, list[Deviation]]]:
    """Each session of one server, oldest first, by its id, with what is unlike all before it."""
    baseline = Baseline()
    for session in sessions:
        summary, id = Summary(), ""
        for entry in session:
            id = entry.session
            summary.add(entry.record)
        if id:
            yield id, list(deviations(baseline, summary))[:MAX_TOLD]
        baseline.add(summary)


class Watch:
    """Tells as it happens of tools and hosts that ``baseline`` has never seen, each once; and sums up the session."""

    def __init__(self, baseline: Baseline) -> None:
        self._baseline = baseline
        self.summary = Summary()
        self._told: set[tuple[str, str]] = set()

    def before(self, record: Mapping[str, Any]) -> dict[str, Any] | None:
        """The alert to put on record before ``record``, None for most."""
        self.summary.add(record)
        if not self._baseline.ready:
            return None
        if record.get("event") == "call":
            if record.get("method") != "tools/call":
                return None
            kind, about, known, verb = "tool", text(record, "target")[:MAX_NAME], self._baseline.tools, "called"
        elif (host := host_of(record)) is not None:
            kind, about, known, verb = "host", host, self._baseline.hosts, "reached"
        else:
            return None
        if about in known or len(known) >= MAX_NAMES or (kind, about) in self._told or len(self._told) >= MAX_TOLD:
            return None
        self._told.add((kind, about))
        reason = f"never {verb} in {self._baseline.sessions} sessions before: {about}"
        alert = {"event": "alert", "policy": "Baseline", "reason": reason, "kind": kind, "about": about}
        return alert | {key: record[key] for key in ("side", "message", "method", "target", "id") if key in record}


def host_of(record: Mapping[str, Any]) -> str | None:
    """The host and port of a connection that was allowed."""
    if record.get("event") != "egress" or record.get("decision") != "allow":
        return None
    return f"{text(record, 'name')[:MAX_NAME]}:{number(record, 'port')}"


def _new(session: Mapping[Any, int], known: Mapping[Any, int], most: int) -> list[Any]:
    """What is not known; nothing where more was seen than is kept, so that not to be kept is not to be new."""
    return [] if len(known) >= most else [each for each in session if each not in known]


def _count(counts: dict[Any, int], key: Any, most: int) -> None:
    if key in counts or len(counts) < most:
        counts[key] = counts.get(key, 0) + 1
