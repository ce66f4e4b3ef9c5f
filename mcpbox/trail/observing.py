"""Watches what one session puts on record: alerts of what it never did before, and what it is to be learned from."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mcpbox import paths
from mcpbox.errors import McpboxError
from mcpbox.filesystem import expanded
from mcpbox.sandbox.base import Mount
from mcpbox.tables import Filesystem, Listed
from mcpbox.trail import known
from mcpbox.trail.baseline import Baseline, Watch

if TYPE_CHECKING:
    from mcpbox.relay import Recorder
    from mcpbox.trail.learning import Learner

#: What a record takes of a list.
MAX_LISTED = 200


class Observer:
    """``record`` is the recorder that the session is to use; it puts on record what it is given, and more by itself."""

    def __init__(self, record: Recorder, server: str, *, learn: bool) -> None:
        self._record, self._server = record, server
        # The gateway of egress records from a thread of its own.
        self._lock = threading.Lock()
        self._learner = _learner() if learn else None
        try:
            baseline = known.load(server)
        except McpboxError as error:
            record({"event": "alert", "policy": "Baseline", "reason": error.message})
            baseline = Baseline()
        self._watch = Watch(baseline)

    def record(self, event: Mapping[str, Any], content: Any = None) -> None:
        """Raises what keeps an event from being on record."""
        with self._lock:
            alert = self._watch.before(event)
        if alert:
            self._record(alert)
        self._record(event, content)
        if self._learner and event.get("event") in ("call", "result"):
            with self._lock:
                learned = list(self._learner.seen(event, content))
            for each in learned:
                self._record(each)

    def end(self) -> None:
        """Add the session to what is known of its server; that it cannot be goes on record, where anything can."""
        try:
            with self._lock:
                known.add(self._server, self._watch.summary)
        except (OSError, McpboxError) as error:
            with suppress(OSError):
                self._record({"event": "alert", "policy": "Baseline", "reason": f"not kept: {error}"})


def granted(
    table: Filesystem, mounts: Sequence[Mount], code: Sequence[str], hosts: Sequence[str], learn: bool
) -> dict[str, Any]:
    """What a session was given that its profile does not say by itself: the record of it.

    ``by`` says whether a path is there because the profile lists it, as the server's own code, or because the user's
    own configuration of the server names it; ``hosts`` are the rules for those that this names.
    """
    home = paths.home()
    items = [item.path if isinstance(item, Listed) else item for item in (*table.read, *table.write)]
    full = [os.path.normpath(expanded(item, home)) for item in items]
    listed, own = {*full, *map(os.path.realpath, full)}, {*code, *map(os.path.realpath, code)}
    rows = [
        {
            "path": mount.target,
            "write": mount.write,
            "by": "profile" if mount.target in listed else "code" if mount.target in own else "configuration",
        }
        for mount in mounts
        if not mount.tree
    ]
    return {"event": "granted", "learn": learn, "mounts": rows[:MAX_LISTED], "hosts": list(hosts)[:MAX_LISTED]}


def endpoints(used: Mapping[str, bool]) -> dict[str, Any]:
    """The record of the hosts that a learned session used, by HOST:PORT, and whether their bytes were passed unseen."""
    rows = [{"target": target, "opaque": opaque} for target, opaque in sorted(used.items())]
    return {"event": "learned", "what": "endpoints", "endpoints": rows[:MAX_LISTED]}


def _learner() -> Learner:
    # It brings what tells secrets, and few sessions are learned from.
    from mcpbox.trail.learning import Learner

    return Learner(_existing())


def _existing() -> Callable[[str], str]:
    """The nearest directory that is there. A model may name the same few again and again."""
    home = paths.home()

    @lru_cache(maxsize=4096)
    def existing(path: str) -> str:
        full = os.path.normpath(expanded(path, home))
        while full != "/" and not os.path.isdir(full):
            full = os.path.dirname(full)
        return full

    return existing
