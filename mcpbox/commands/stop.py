"""``mcpbox stop``: end running sandboxes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress

import click

from mcpbox import sessions
from mcpbox.errors import McpboxError, UsageError

#: How long a ``wrap`` may take to end before it is killed; then what it leaves is reaped.
SECONDS = 3.0


def run(servers: Sequence[str], everything: bool) -> int:
    """Stop the sandboxes of the given names or sessions."""
    if bool(servers) == everything:
        raise UsageError("name the servers to stop, or give --all", "see: mcpbox ps")
    running = sessions.running()
    chosen = [s for s in running if everything or s.id in servers or s.record["name"] in servers]
    known = {word for session in chosen for word in (session.id, session.record["name"])}
    if unknown := set(servers) - known:
        raise McpboxError(f"not running: {', '.join(sorted(unknown))}", "see: mcpbox ps")
    for number in (signal.SIGTERM, signal.SIGKILL):
        for session in chosen:
            # It holds its session's lock, so this process id is still its own.
            with suppress(ProcessLookupError):
                os.kill(session.record["pid"], number)
        chosen = _alive_after(chosen)
    sessions.reap()
    if chosen:
        raise McpboxError(f"still running: {', '.join(session.record['name'] for session in chosen)}")
    click.echo("stopped")
    return 0


def _alive_after(chosen: list[sessions.Session]) -> list[sessions.Session]:
    deadline = time.monotonic() + SECONDS
    while chosen and time.monotonic() < deadline:
        running = {session.id for session in sessions.running()}
        chosen = [session for session in chosen if session.id in running]
        time.sleep(0.02)
    return chosen
