"""Records of the audit with the session that each is of: chosen, and put into one order across sessions. No I/O."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from msgspec import Struct

from mcpbox.errors import UsageError
from mcpbox.trail.fields import text

DECISIONS = ("allow", "deny", "changed", "alert")
#: What an event says was decided; of "egress" the record itself says it.
_DECIDED = {
    "call": "allow",
    "refused": "deny",
    "malformed": "deny",
    "oversized": "deny",
    "unsolicited": "deny",
    "changed": "changed",
    "alert": "alert",
}
_AGO = re.compile(r"([0-9]{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
WHEN = "a time such as 2026-11-21, 2026-11-21T13:22 or 2026-11-21T13:22:03Z, or how long ago: 30s, 15m, 2h, 7d, 4w"


class Entry(Struct, frozen=True):
    """A record, of the session of ``server`` that ``launch`` opened (its first record; empty if that is lost)."""

    server: str
    session: str
    record: Mapping[str, Any]
    launch: Mapping[str, Any] = {}

    @property
    def time(self) -> str:
        """As in the audit: "2026-11-21T13:22:03.123456Z", so that text is in the order of time."""
        return text(self.record, "time")

    @property
    def event(self) -> str:
        return text(self.record, "event")


class Filter(Struct, frozen=True):
    """What to choose; an empty field chooses everything. ``since`` is included, ``until`` is not."""

    servers: tuple[str, ...] = ()
    session: str = ""
    since: str = ""
    until: str = ""
    events: tuple[str, ...] = ()
    tool: str = ""
    decision: str = ""

    def takes(self, entry: Entry) -> bool:
        """Whether ``entry`` is one of those; a session may be named by how it begins."""
        return (
            (not self.servers or entry.server in self.servers)
            and entry.session.startswith(self.session)
            and self.since <= entry.time
            and not (self.until and entry.time >= self.until)
            and (not self.events or entry.event in self.events)
            and (not self.tool or fnmatchcase(tool_of(entry.record), self.tool))
            and (not self.decision or decision(entry.record) == self.decision)
        )


def decision(record: Mapping[str, Any]) -> str:
    """One of DECISIONS, or "" for a record that tells of none."""
    event = text(record, "event")
    if event == "egress":
        said = text(record, "decision")
        return said if said in ("allow", "deny") else ""
    return _DECIDED.get(event, "")


def tool_of(record: Mapping[str, Any]) -> str:
    """The tool that a record is about, "" if it is about none."""
    if text(record, "method") == "tools/call":
        return text(record, "target")
    method, _, name = text(record, "message").partition(" ")
    return name if method == "tools/call" else ""


def when(given: str, now: datetime) -> str:
    """The time that ``given`` names, as the audit writes it; UTC where it names no zone. Raises UsageError."""
    try:
        if ago := _AGO.fullmatch(given):
            found = now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        else:
            found = datetime.fromisoformat(given)
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(f"{given!r} is no time", f"accepted: {WHEN}") from None
    return found.isoformat(timespec="microseconds").replace("+00:00", "Z")


def moment(time: str) -> datetime:
    """The time of a record; the epoch where it has none that can be read."""
    try:
        found = datetime.fromisoformat(time)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def merged(sessions: Iterable[Iterator[Entry]]) -> Iterator[Entry]:
    """All entries in the order of their times, given sessions in the order in which they began.

    A session is opened only when its turn has come, so that what is open at a time are those that ran at a time.
    """
    waiting, began = iter(sessions), ""
    heap: list[tuple[str, int, Entry, Iterator[Entry]]] = []
    number, more = 0, True
    while True:
        while more and (not heap or heap[0][0] >= began):
            opened = next(waiting, None)
            if opened is None:
                more = False
            elif (first := next(opened, None)) is not None:
                number += 1
                began = max(began, first.time)
                heapq.heappush(heap, (first.time, number, first, opened))
        if not heap:
            return
        _, order, entry, rest = heap[0]
        yield entry
        if (following := next(rest, None)) is None:
            heapq.heappop(heap)
        else:
            # A clock that was put back must not hold a session's records behind all others'.
            heapq.heapreplace(heap, (max(following.time, entry.time), order, following, rest))


def visible(shown: str, most: int = 500) -> str:
    """``shown`` cut to ``most`` characters, with escapes for what a terminal obeys or hides (CWE-150)."""
    cut = shown if len(shown) <= most else f"{shown[:most]}…"
    if cut.isprintable():
        return cut
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "surrogatepass").decode() for letter in cut
    )
