"""``mcpbox migrate-secrets``: plaintext secrets out of the hosts' files into the store of secrets, or back."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import click

from mcpbox import paths
from mcpbox.audit.commanded import commanded
from mcpbox.errors import McpboxError, SecretError
from mcpbox.hosts import configfile, register, survey, values
from mcpbox.hosts.survey import Surveyed
from mcpbox.migration import candidates, copies, moving
from mcpbox.migration.candidates import Candidate
from mcpbox.packages import terminal
from mcpbox.secrets import held
from mcpbox.secrets.reference import Reference
from mcpbox.secrets.store import Store, open_store
from mcpbox.shown import plain

SHOWN = 16


def migrate_secrets(hosts: Sequence[str], configs: Sequence[str], dry_run: bool, yes: bool, restore: bool) -> int:
    """0 if no secret that was found stays in a file (or in the store, for ``restore``), 1 if one does."""
    files = survey.survey(hosts, configs, () if hosts or configs else _registered())
    held.prepare()
    if dry_run:
        return _restore(files, None, yes, configs) if restore else _migrate(files, None, yes)
    with moving.alone():
        store = open_store()
        for reference in moving.recover(store, lambda: _everywhere(configs)):
            terminal.say(f"{reference} was put into the store when moving it was interrupted; it is out again")
        return _restore(files, store, yes, configs) if restore else _migrate(files, store, yes)


def _migrate(files: Sequence[Surveyed], store: Store | None, yes: bool) -> int:
    planned: list[tuple[Surveyed, list[Candidate]]] = []
    taken: dict[Reference, Candidate] = {}
    stays = wrong = False
    for file in files:
        if file.broken:
            terminal.say(survey.about(file, file.broken), file.hint)
            wrong = True
            continue
        found = candidates.candidates(file)
        movable = candidates.name([each for each in found if not each.reason], store, taken)
        stays |= len(movable) < len(found)
        if found:
            click.secho(f"{file.found.host.name}  {plain(file.found.path)}", bold=True)
        for each in [*movable, *(each for each in found if each.reason)]:
            _show(each)
        if movable and (reason := survey.overwriter(file)):
            wrong = True
            terminal.say(f"{file.found.path} {reason}")
        elif movable:
            planned.append((file, movable))
    count = sum(len(movable) for _, movable in planned)
    if not count:
        click.echo("nothing can be moved" if stays else "no secret was found" if files else survey.NONE)
        return 1 if wrong or stays else 0
    if store is None or not terminal.agreed(f"Move {count} secrets out of {len(planned)} files?", yes):
        click.echo("nothing was changed")
        return 1 if wrong or store else 0
    commanded("migrate-secrets", [file.found.path for file, _ in planned])
    moved = []
    for file, movable in planned:
        try:
            redacted = moving.move(file, movable, store)
        except (McpboxError, OSError) as error:
            wrong = True
            terminal.say(survey.about(file, getattr(error, "message", str(error))), getattr(error, "hint", ""))
            continue
        click.echo(f"{plain(file.found.path)}: {len(movable)} secrets are in the store now")
        if redacted:
            click.echo(f"  mcpbox's own backups of it, {redacted} of them, have references in their place too")
        if advice := survey.advice(file):
            click.echo(f"  {advice}")
        moved.append((file, movable))
    # Only now: what one file still held may have been moved out of it after another's.
    for file, movable in moved:
        _warn(file, movable)
    return 1 if wrong or stays else 0


def _restore(files: Sequence[Surveyed], store: Store | None, yes: bool, configs: Sequence[str]) -> int:
    planned, approved, meant = [], set(_registered()), set(map(os.path.realpath, configs))
    wrong = False
    for file in files:
        try:
            named = [] if file.broken else [each for _, own in moving.named_in(file).values() for each in own]
        except SecretError as error:
            terminal.say(f"{file.found.path}: {error.message}", error.hint)
            wrong = True
            continue
        if not named:
            continue
        if file.real not in approved and (closed := survey.policy(file)):
            # It is somebody else's to write, and whoever wrote it may have named any secret.
            wrong = True
            terminal.say(f"{file.found.path} names secrets and {closed}")
            continue
        if file.real not in meant and (foreign := next(candidates.foreign(file), None)):
            entry, reference = foreign
            wrong = True
            terminal.say(
                f"{file.found.path}: {entry.name} names {reference}, which is not known to be for it",
                f"if it is meant: --config {file.found.path}",
            )
            continue
        click.secho(f"{file.found.host.name}  {plain(file.found.path)}", bold=True)
        for reference in dict.fromkeys(named):
            click.echo(f"  {reference} goes back into the file, as plain text")
        if reason := survey.overwriter(file):
            wrong = True
            terminal.say(f"{file.found.path} {reason}")
        else:
            planned.append(file)
    if not planned:
        click.echo("no file names a secret" if not wrong else "nothing was changed")
        return 1 if wrong else 0
    if store is None or not terminal.agreed(f"Put the secrets back into {len(planned)} files?", yes):
        click.echo("nothing was changed")
        return 1 if wrong or store else 0
    commanded("migrate-secrets --restore", [file.found.path for file in planned], undoing=True)
    for file in planned:
        try:
            gone = moving.put_back(file, store, lambda: moving.used_in(_everywhere(configs)))
        except (McpboxError, OSError) as error:
            wrong = True
            terminal.say(survey.about(file, getattr(error, "message", str(error))), getattr(error, "hint", ""))
            continue
        click.echo(f"{plain(file.found.path)}: its secrets are in it again; {len(gone)} were removed from the store")
    return 1 if wrong else 0


def _show(each: Candidate) -> None:
    place = " ".join(map(str, each.where))
    what = f"stays: {each.reason}" if each.reason else f"becomes {each.reference}"
    text = f"{place}: {each.kind} {masked(each.value)} {what}"
    lead = f"  {plain(each.entry.name)}"
    click.secho(terminal.row(lead, 26, text), fg="yellow" if each.reason else None)


def masked(value: str) -> str:
    """What may be shown of a secret: how it begins and ends, if that leaves enough of it untold."""
    if len(value) < SHOWN:
        return f"… ({len(value)} characters)"
    return f"{value[:4]}…{value[-2:]} ({len(value)} characters)"


def _warn(file: Surveyed, moved: Sequence[Candidate]) -> None:
    """Say where the values still are."""
    after = configfile.read(file.found.path).text
    for each in moved:
        if (
            len(each.value) >= copies.SHORTEST
            and (at := max(after.find(each.value), after.find(values.escaped(each.value)))) >= 0
        ):
            terminal.say(
                f"{file.found.path}:{after.count(chr(10), 0, at) + 1} still holds the value of {each.reference}"
            )
    secrets = [each.value for each in moved]
    others = [path for path in _everywhere(()) if path != file.real]
    where: dict[str, Any] = {"home": paths.home(), "environ": os.environ, "backups": configfile.all_backups()}
    for copy in copies.find(secrets, file.real, others, **where):
        terminal.say(f"{copy.path}, {copy.what}, still holds a value that was moved", copy.remedy)
    click.echo("  a server that runs now keeps the old values until its host starts it again")


def _everywhere(configs: Sequence[str]) -> list[str]:
    """Every file known to hold servers."""
    found = [file.real for file in survey.survey((), ())]
    return [*found, *map(os.path.realpath, configs), *_registered()]


def _registered() -> list[str]:
    return list(dict.fromkeys(record.file for record in register.load()))
