"""What is put on record of egress, and what the user is told; a server that tries without end fills neither. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

#: Characters of a name that are shown; one that is allowed never has more.
MAX_SHOWN = 254
#: Lines told on stderr, and denials put on record, in a session.
MAX_TOLD, MAX_DENIALS = 200, 10_000
#: Connections put on record one by one, and how many more a second are; what is beyond is counted, and put on record
#: within the second. Our log is bounded, and its beginning must not be pushed out.
MAX_SINGLE, SINGLE_PER_SECOND = 1000, 5


class Ledger:
    """``record`` puts an event on record, ``report`` tells the user a line, ``fail`` ends egress."""

    def __init__(
        self, record: Callable[[Mapping[str, Any]], None], report: Callable[[str], None], fail: Callable[[str], None]
    ) -> None:
        self._write, self._report, self._fail = record, report, fail
        self._told: set[str] = set()
        self._denials = 0
        self._singles = MAX_SINGLE
        # The first of a kind is on record before it is made, whatever came before it.
        self._met: set[tuple[str, str, int]] = set()
        self._counted: Counter[tuple[str, str, int]] = Counter()

    def record(self, **event: Any) -> None:
        """Raises what keeps the event from being on record; then nothing more may happen."""
        try:
            self._write({"event": "egress", **event})
        except Exception as error:
            # Here, because asyncio passes over an OSError of a protocol's, and over whatever a task of ours raises.
            self._fail(f"{type(error).__name__}: {error}")
            raise

    def allow(self, name: str, port: int, found: Mapping[str, Any]) -> None:
        """A connection is about to be made."""
        self._connection("allow", name, port, found)

    def failed(self, name: str, port: int, why: str) -> None:
        """A connection was allowed, and could not be made."""
        self._connection("failed", name, port, {"reason": why})
        self._tell(f"egress failed: {name}:{port}: {why}")

    def deny(self, name: str, port: int | None, reason: str, remedy: str) -> None:
        """``remedy`` is the rule that would allow it, or ""."""
        shown = ascii(name[:MAX_SHOWN])[1:-1] + ("..." if len(name) > MAX_SHOWN else "")
        shown += f":{port}" if port is not None else ""
        self._denials += 1
        if self._denials <= MAX_DENIALS:
            last = {"last": True} if self._denials == MAX_DENIALS else {}
            self.record(decision="deny", name=shown, reason=reason, remedy=remedy, **last)
        hint = f'; to allow it: [network] allow = ["{remedy}"]' if remedy else ""
        self._tell(f"egress denied: {shown}: {reason}{hint}")

    def flush(self) -> None:
        """Called once a second: put on record what was only counted."""
        self._singles = min(MAX_SINGLE, self._singles + SINGLE_PER_SECOND)
        counted, self._counted = self._counted, Counter()
        for (decision, name, port), count in counted.items():
            self.record(decision=decision, name=name, port=port, count=count)

    def _connection(self, decision: str, name: str, port: int, found: Mapping[str, Any]) -> None:
        known = (decision, name, port) in self._met
        if not known and len(self._met) < MAX_DENIALS:
            self._met.add((decision, name, port))
        if self._singles > 0 or (not known and len(self._met) < MAX_DENIALS):
            self._singles = max(0, self._singles - 1)
            self.record(decision=decision, name=name, port=port, **found)
        else:
            self._counted[decision, name, port] += 1

    def _tell(self, line: str) -> None:
        """Once for each different line, until there are too many."""
        if line in self._told or len(self._told) > MAX_TOLD:
            return
        self._told.add(line)
        full = len(self._told) > MAX_TOLD
        self._report("egress: there was more, which only the log tells" if full else line)
