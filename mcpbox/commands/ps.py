"""``mcpbox ps``: the running sandboxes and what each uses."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from mcpbox import sandbox, sessions
from mcpbox.audit import aside


def run(as_json: bool) -> int:
    """List them, after removing what crashed ones left behind."""
    sessions.reap()
    aside.tend()
    rows = [_row(session.record) for session in sessions.running()]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return 0
    if not rows:
        click.echo("no sandbox is running")
        return 0
    click.echo(f"{'SESSION':<14}{'NAME':<24}{'BACKEND':<12}{'MEMORY':>10}{'CPU s':>9}{'PROCS':>7}{'UP':>10}")
    for row in rows:
        memory = "-" if row["memory"] is None else f"{row['memory'] / (1 << 20):.0f} MiB"
        cpu = "-" if row["cpu_seconds"] is None else f"{row['cpu_seconds']:.1f}"
        click.echo(
            f"{row['session']:<14}{row['name'][:23]:<24}{row['backend']:<12}{memory:>10}{cpu:>9}"
            f"{'-' if row['processes'] is None else row['processes']:>7}{_duration(row['up_seconds']):>10}"
        )
    return 0


def _row(record: dict[str, Any]) -> dict[str, Any]:
    usage = sandbox.load(record["backend"]).usage(record)
    return {
        "session": record["id"],
        "name": record["name"],
        "backend": record["backend"],
        "pid": record["pid"],
        "up_seconds": round(time.time() - record["started"]),
        "memory": usage and usage.memory,
        "cpu_seconds": usage and round(usage.cpu_seconds, 2),
        "processes": usage and usage.pids,
    }


def _duration(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"
