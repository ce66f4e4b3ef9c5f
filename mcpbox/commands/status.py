"""``mcpbox status``: every host's servers, and what about them is not as it should be."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

import click
from msgspec import Struct
from msgspec.structs import asdict

from mcpbox.hosts import proof, register, rewrite, survey
from mcpbox.hosts.model import Entry, Shape
from mcpbox.hosts.record import Record
from mcpbox.hosts.rewrite import Plan
from mcpbox.hosts.survey import Surveyed
from mcpbox.packages import terminal
from mcpbox.secrets import PREFIX
from mcpbox.shown import plain
from mcpbox.texts import strings

_REFERENCE = re.compile(PREFIX + r"[a-z0-9][a-z0-9._-]*/[A-Za-z0-9_.-]+")
COLOURS = {"protected": "green", "unprotected": "red", "unreadable": "red"}


class Row(Struct, frozen=True):
    """One server, or a file without any.

    ``state`` is "protected", "unprotected" (it could be, or something takes the walls away), "left" (it cannot be, for
    ``reason``); of a file "unreadable" or "empty".
    ``profile`` is "" for the defaults, ``package`` the pinned version of what it runs. ``plaintext`` says where the
    entry has secrets that anybody can read, ``keyring`` which it has references to. ``drift`` is what is not as it was
    approved.
    """

    host: str
    file: str
    server: str
    state: str
    reason: str = ""
    profile: str = ""
    package: str = ""
    plaintext: tuple[str, ...] = ()
    keyring: tuple[str, ...] = ()
    drift: tuple[str, ...] = ()

    @property
    def is_off(self) -> bool:
        return self.state in ("unprotected", "unreadable") or bool(self.plaintext or self.drift)


def run(as_json: bool, check: bool) -> int:
    """0; with ``check`` 1 if a server could be behind mcpbox and is not, has a secret in plain text, or has drifted."""
    records = {(record.file, record.key): record for record in register.load()}
    files = survey.survey((), (), tuple(dict.fromkeys(record.file for record in records.values())))
    rows = [row for file in files for row in _rows(file, records)]
    off = sum(row.is_off for row in rows)
    if as_json:
        click.echo(json.dumps([{**asdict(row), "off": row.is_off} for row in rows], indent=2))
    else:
        _show(rows)
        count = sum(row.state != "empty" for row in rows)
        click.echo(f"{off} of {count} need attention" if rows else survey.NONE)
        if any(row.state == "unprotected" for row in rows):
            click.echo("to put servers behind mcpbox: mcpbox protect")
        if any(row.state == "protected" and row.plaintext for row in rows):
            click.echo("to move their secrets to the keyring: mcpbox migrate-secrets")
    return 1 if check and off else 0


def _rows(file: Surveyed, records: dict[tuple[str, tuple[str | int, ...]], Record]) -> Iterator[Row]:
    host, path = file.found.host.name, file.found.path
    if file.broken:
        yield Row(host, path, "", "unreadable", f"{file.broken}; {file.hint}" if file.hint else file.broken)
        return
    if not file.servers:
        yield Row(host, path, "", "empty", "has no servers")
    for plan in file.servers:
        yield _row(file, plan, records.get((file.real, plan.entry.path)))


def _row(file: Surveyed, plan: Plan, record: Record | None) -> Row:
    entry, shape = plan.entry, file.found.place.shape
    wrapped = rewrite.is_wrapped(entry)
    unsound = wrapped and survey.unsound(entry)
    state = (
        "protected"
        if wrapped and not unsound
        else "unprotected"
        if unsound or plan.action == "wrap" or plan.mendable
        else "left"
    )
    reason = "" if wrapped else plan.reason
    closed = survey.policy(file)
    if state == "unprotected" and closed and not wrapped:
        state, reason = "left", closed
    facts = survey.Facts()
    if words := rewrite.unwrapped(entry) if wrapped or (plan.action == "wrap" and state != "left") else ():
        # Whoever wrote the file of a project does not say where programs are.
        where = record.path if record else survey.search_path(None if closed else entry)
        chosen = rewrite.options(entry).get("--profile")
        facts = survey.facts(words, where, chosen=chosen, cwd=proof.directory(entry, shape), environment=entry.env)
    return Row(
        host=file.found.host.name,
        file=file.found.path,
        server=entry.name,
        state=state,
        reason=reason or facts.fault,
        profile=facts.profile,
        package=facts.package,
        plaintext=tuple(_plaintext(entry, shape)),
        keyring=tuple(dict.fromkeys(_REFERENCE.findall("\n".join(text for _, text in strings(entry.raw))))),
        drift=(*survey.drift(plan, record, facts), *(_waiting(entry, facts.profile) if wrapped else ())),
    )


def _waiting(entry: Entry, profile: str) -> list[str]:
    """What the server has said of itself that nobody approved, and its profile did not let through."""
    from mcpbox.command import Command
    from mcpbox.pinning import diff, store
    from mcpbox.spec import server_name

    given = rewrite.options(entry).get("--name") or profile
    if not given or not store.file().exists():
        return []
    server = server_name(given, Command(()))
    pins = store.open_store()
    try:
        found = [pin for pin in pins.pins(server) if pin.pending and not pin.passed]
    finally:
        pins.close()
    if not found:
        return []
    names = ", ".join(diff.plain(pin.name[:64]) if pin.name else pin.kind for pin in found[:5])
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return [f"waits for approval: {names}{more} (mcpbox tools diff {server})"]


def _plaintext(entry: Entry, shape: Shape) -> list[str]:
    """Where the entry has secrets, never which."""
    from mcpbox.detect.entries import scan_entry

    found = scan_entry(entry, shape)
    return [".".join(map(str, placed.where)) + f" ({placed.name})" * (placed.where[0] == "args") for placed in found]


def _show(rows: Sequence[Row]) -> None:
    file = ""
    for row in rows:
        if row.file != file:
            file = row.file
            click.secho(f"{row.host}  {plain(file)}", bold=True)
        state = click.style(row.state, fg=COLOURS.get(row.state))
        about = row.reason or f"profile {row.profile or 'none'}{', ' if row.package else ''}{row.package}"
        if row.keyring:
            about += f", {len(row.keyring)} secrets in the keyring"
        name = plain(row.server)
        click.echo(terminal.row(f"  {name:<24}{' ' * (len(name) >= 24)}{state}", 39, about))
        for text in (*row.drift, *(f"a secret in plain text: {where}" for where in row.plaintext)):
            click.secho(terminal.row("", 39, text), fg="red")
