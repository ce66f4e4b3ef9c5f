"""``mcpbox tools``: what servers say of themselves to the model, what of it is approved, and what waits for that."""

from __future__ import annotations

import difflib
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from mcpbox.audit.commanded import commanded
from mcpbox.definitions import Definition
from mcpbox.errors import McpboxError, UsageError
from mcpbox.packages import terminal
from mcpbox.pinning import diff, store
from mcpbox.pinning.store import Pin, Store
from mcpbox.policy.definitions_scan import attack_of
from mcpbox.shown import plain

#: Characters of a name that go on record.
NAMED = 100
COLOURS = {"approved": "green", "new": "yellow", "changed": "red", "-": "red", "+": "green"}


def list_(server: str, as_json: bool) -> int:
    """Every definition of the server, or of all, with its status and by whom it was seen and approved."""
    with _opened() as pins:
        found = pins.pins(_known(pins, server))
    if as_json:
        click.echo(json.dumps([_row(pin) for pin in found], indent=2))
        return 0
    if not found:
        click.echo("no server's definitions have been seen")
    name = None
    for pin in found:
        if pin.server != name:
            name = pin.server
            own = [each for each in found if each.server == name]
            waiting = sum(each.status != "approved" for each in own)
            click.secho(plain(f"{name}  {len(own) - waiting} approved, {waiting} waiting"), bold=True)
        lead = f"  {click.style(f'{pin.status:<10}', fg=COLOURS[pin.status])}{pin.kind:<18}{_label(pin)}"
        click.echo(terminal.row(lead, 62, _history(pin)))
    if any(pin.status != "approved" for pin in found):
        click.echo("what waits: mcpbox tools diff; to release it: mcpbox tools approve SERVER")
    return 0


def diff_(server: str, name: str, as_json: bool) -> int:
    """What waits for approval, against what is approved."""
    with _opened() as pins:
        found = [pin for pin in pins.pins(_known(pins, server)) if pin.pending]
    if name:
        found = _chosen(found, [name], server)
    if as_json:
        click.echo(json.dumps([_differences(pin) for pin in found], indent=2))
        return 0
    if not found:
        click.echo("nothing waits for approval")
    for pin in found:
        _show(pin)
    return 0


def approve(server: str, names: Sequence[str], everything: bool, yes: bool) -> int:
    """Release what waits, as it was shown. Raises UsageError where nothing of that name does."""
    with _opened() as pins:
        waiting = [pin for pin in pins.pins(_known(pins, server)) if pin.pending]
        chosen = _selected(waiting, names, everything, server, "waits for approval")
        if not chosen:
            click.echo(f"nothing of {server} waits for approval")
            return 0
        for pin in chosen:
            _show(pin)
        if not yes and not os.isatty(0):
            raise McpboxError("there is nobody to ask whether this is to be approved", "to approve it as shown: --yes")
        if not (yes or terminal.ask(f"Approve {'this' if len(chosen) == 1 else f'these {len(chosen)}'}?")):
            click.echo("nothing was approved")
            return 1
        commanded(f"tools approve {server}", [_recorded(pin, pin.pending) for pin in chosen])
        count = pins.approve(server, [(pin.kind, pin.name, pin.pending) for pin in chosen], by="user")
    click.echo(f"approved: {count}; a running host sees it when it next asks for the list")
    if count < len(chosen):
        raise McpboxError(f"{len(chosen) - count} changed again meanwhile", f"run: mcpbox tools diff {server}")
    return 0


def revoke(server: str, names: Sequence[str], everything: bool) -> int:
    """Have what is approved wait again, which holds at the next call. Raises UsageError for what is not approved."""
    with _opened() as pins:
        approved = [pin for pin in pins.pins(_known(pins, server)) if pin.approved]
        chosen = _selected(approved, names, everything, server, "is approved")
        commanded(f"tools revoke {server}", [_recorded(pin, pin.approved) for pin in chosen])
        count = pins.revoke(server, [(pin.kind, pin.name) for pin in chosen])
    click.echo(f"no longer approved: {count}")
    return 0


@contextmanager
def _opened() -> Iterator[Store]:
    opened = store.open_store()
    try:
        yield opened
    finally:
        opened.close()


def _known(pins: Store, server: str) -> str:
    """The server's name, "" for all. Raises UsageError for one that was never seen."""
    names = pins.servers()
    if server and server not in names:
        near = difflib.get_close_matches(server, names, 3) or names
        seen = f"there are: {', '.join(near)}" if near else "none has been seen yet"
        raise UsageError(f"no server called {server!r} has been seen", seen)
    return server


def _selected(among: Sequence[Pin], names: Sequence[str], everything: bool, server: str, state: str) -> Sequence[Pin]:
    if bool(names) == everything:
        some = ", ".join(dict.fromkeys(_label(pin) for pin in among[:10]))
        raise UsageError("name what is meant, or say --all", f"of {server} {state}: {some}" if some else "")
    return among if everything else _chosen(among, names, server)


def _chosen(among: Sequence[Pin], names: Sequence[str], server: str) -> list[Pin]:
    found = []
    for name in names:
        own = [pin for pin in among if name in (pin.name, _label(pin))]
        if not own:
            labels = [_label(pin) for pin in among]
            near = difflib.get_close_matches(name, labels, 3) or labels[:10]
            hint = f"there are: {', '.join(near)}" if near else f"see: mcpbox tools list {server}"
            raise UsageError(f"nothing of {server or 'any server'} that this is about is called {name!r}", hint)
        found += own
    return list(dict.fromkeys(found))


def _recorded(pin: Pin, digest: str) -> str:
    """As it goes on record, which cuts what is long: the name, and not which definition of it."""
    return f"{pin.kind} {pin.name[:NAMED]} {digest}"


def _label(pin: Pin) -> str:
    """What to call it on the command line; the instructions have no name of their own."""
    return diff.plain(pin.name) if pin.name else pin.kind


def _history(pin: Pin) -> str:
    if pin.status == "approved":
        return f"by {pin.by}, {_day(pin.approved_at)}"
    seen = f"seen {_day(pin.pending_at)}{f' by {pin.pending_host}' if pin.pending_host else ''}"
    passed = ", passed by the profile" if pin.passed else ""
    return f"{seen}{passed}{f', {_update(pin)[1]}' if pin.approved else ''}"


def _update(pin: Pin) -> tuple[str, str]:
    """Whether the change came with other code: a word, and a clause."""
    if not (pin.approved_lock and pin.pending_lock):
        return "unknown", "and whether its code changed is not known"
    if pin.approved_lock == pin.pending_lock:
        return "same", "though its code is the same as before"
    return "updated", "after an update of its code"


def _show(pin: Pin) -> None:
    what = f"{pin.server}: {pin.kind} {_label(pin)}" if pin.name else f"{pin.server}: {pin.kind}"
    click.secho(plain(f"{what}: {pin.status}, {_history(pin)}"), bold=True)
    if attack := attack_of(Definition(pin.kind, pin.name, json.loads(pin.pending_text))):
        click.secho(f"  it instructs the model: {plain(attack.kinds)}", fg="red", bold=True)
    old = json.loads(pin.approved_text) if pin.approved_text else None
    for line in diff.lines(old, json.loads(pin.pending_text)):
        click.secho(f"  {plain(line)}", fg=COLOURS.get(line[:1]))


def _differences(pin: Pin) -> dict[str, Any]:
    old = json.loads(pin.approved_text) if pin.approved_text else None
    found = diff.differences(old, json.loads(pin.pending_text))
    return {
        **_row(pin),
        "update": _update(pin)[0],
        "differences": [{"path": list(each.path), "old": each.old, "new": each.new} for each in found],
    }


def _row(pin: Pin) -> dict[str, Any]:
    return {
        "server": pin.server,
        "kind": pin.kind,
        "name": pin.name,
        "status": pin.status,
        "seen": _time(pin.seen),
        "host": pin.host,
        "approved": pin.approved,
        "approved_at": _time(pin.approved_at),
        "approved_by": pin.by,
        "approved_lock": pin.approved_lock,
        "pending": pin.pending,
        "pending_at": _time(pin.pending_at),
        "pending_host": pin.pending_host,
        "pending_lock": pin.pending_lock,
        "passed": pin.passed,
    }


def _time(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)) if seconds else ""


def _day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(seconds))
