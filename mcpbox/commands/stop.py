"""``mcpbox stop``: end running sandboxes."""

from __future__ import annotations

from collections.abc import Sequence

import click

from mcpbox import sessions
from mcpbox.audit import aside
from mcpbox.errors import McpboxError, UsageError


def run(servers: Sequence[str], everything: bool) -> int:
    """Stop the sandboxes of the given names or sessions."""
    if bool(servers) == everything:
        raise UsageError("name the servers to stop, or give --all", "see: mcpbox ps")
    running = sessions.running()
    chosen = [s for s in running if everything or s.id in servers or s.record["name"] in servers]
    known = {word for session in chosen for word in (session.id, session.record["name"])}
    if unknown := set(servers) - known:
        raise McpboxError(f"not running: {', '.join(sorted(unknown))}", "see: mcpbox ps")
    sessions.end(chosen)
    aside.tend()
    click.echo("stopped")
    return 0
