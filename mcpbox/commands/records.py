"""``mcpbox audit show``, ``export`` and ``deviations``: what is on record, for people and for other programs."""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, BinaryIO

import click

from mcpbox.errors import UsageError
from mcpbox.trail import cef, lines, logs, ocsf, otlp, plainforms
from mcpbox.trail.baseline import history
from mcpbox.trail.entries import Entry, Filter, visible, when

FORMATS: dict[str, Callable[[Iterable[Entry]], Iterator[str]]] = {
    "json": plainforms.json_array,
    "jsonl": plainforms.json_lines,
    "csv": plainforms.csv_lines,
    "ocsf": ocsf.ocsf_lines,
    "cef": cef.cef_lines,
    "otel": otlp.otlp_lines,
}


def chosen(servers: tuple[str, ...], since: str, until: str = "", decision: str | None = None, **more: Any) -> Filter:
    """The filter that the options ask for. Raises UsageError."""
    now = datetime.now(UTC)
    first, end = (when(text, now) if text else "" for text in (since, until))
    return Filter(servers=servers, since=first, until=end, decision=decision or "", **more)


def show(wanted: Filter, last: int | None, follow: bool, as_json: bool, colours: bool) -> int:
    """A line for each record, the ``last`` ones or all; with ``follow`` also those that are yet to come."""
    found = logs.sessions(wanted)
    if not follow:
        source = logs.chosen(wanted, found)
        for entry in source if last is None else deque(source, last):
            _print(entry, as_json, colours)
        return 0
    follower = logs.Follower(wanted)
    for entry in deque(follower.before(found), 10 if last is None else last):
        _print(entry, as_json, colours)
    for new in follower.run():
        if new is None:
            sys.stdout.flush()
        else:
            _print(new, as_json, colours)
    return 0


def export(wanted: Filter, form: str, output: str) -> int:
    """All that is wanted in one of FORMATS, into a new file or to standard output."""
    source = logs.chosen(wanted, logs.sessions(wanted))
    if not output or output == "-":
        _write(FORMATS[form](source), sys.stdout.buffer)
        return 0
    try:
        fd = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise UsageError(f"{output} exists already", "name a file that does not, or remove it") from None
    except OSError as error:
        raise UsageError(f"{output}: cannot be written: {error.strerror}") from None
    try:
        with open(fd, "wb") as file:
            _write(FORMATS[form](source), file)
    except BaseException:
        # A part of an export looks like a whole one.
        os.unlink(output)
        raise
    return 0


def deviations(wanted: Filter, as_json: bool) -> int:
    """1 if a session is unlike those of its server before it; each is compared with all that are on record.

    Raises UsageError for a server or a session of which nothing is: of a wrong name, 0 would say that all is well.
    """
    found = []
    for server in wanted.servers:
        logs.of_server(server, Filter(servers=(server,)))
    if wanted.session and not logs.sessions(Filter(servers=wanted.servers, session=wanted.session)):
        raise UsageError(f"no session {wanted.session!r} is on record", "see which are: mcpbox audit show")
    by_server = sorted(logs.sessions(Filter(servers=wanted.servers)), key=lambda log: log.name)
    for server, several in groupby(by_server, key=lambda log: log.name):
        ordered = list(several)
        began = {log.id: log.started for log in ordered}
        for session, unlike in history(map(logs.entries, ordered)):
            if began[session] >= wanted.since and session.startswith(wanted.session):
                found += [(server, session, began[session], each) for each in unlike]
    if as_json:
        rows = [
            {"server": server, "session": session, "started": time}
            | {"kind": each.kind, "about": each.about, "reason": each.reason}
            for server, session, time, each in found
        ]
        click.echo(json.dumps(rows, indent=2))
    else:
        for server, session, time, each in found:
            lead = f"{time[:16].replace('T', ' ')}  {server:<16} {session:<12}"
            click.echo(visible(f"{lead} {each.kind:<6} {each.about}: {each.reason}"))
        if not found:
            click.echo("no session is unlike those before it")
    return 1 if found else 0


def _print(entry: Entry, as_json: bool, colours: bool) -> None:
    if as_json:
        sys.stdout.write("".join(plainforms.json_lines([entry])))
        return
    lead, event, rest = lines.line(entry)
    if colours and (colour := lines.colour(entry)):
        event = click.style(event, fg=colour)
    sys.stdout.write(f"{lead} {event} {rest}\n")


def _write(text: Iterable[str], file: BinaryIO) -> None:
    for part in text:
        file.write(part.encode(errors="replace"))
    file.flush()
