"""``mcpbox protect`` and ``unprotect``: the servers of the hosts' files behind mcpbox, or as they were."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import click
from msgspec import Struct
from msgspec.structs import replace

from mcpbox import registered
from mcpbox.audit.commanded import commanded
from mcpbox.errors import McpboxError, UsageError
from mcpbox.hosts import by_id, configfile, proof, register, rewrite, survey
from mcpbox.hosts.document import DocumentError, parse
from mcpbox.hosts.entries import entries
from mcpbox.hosts.model import Entry, Key
from mcpbox.hosts.record import Record
from mcpbox.hosts.survey import Surveyed
from mcpbox.packages import terminal
from mcpbox.secrets import PREFIX
from mcpbox.shown import plain

#: Where tools keep environments that they remove again.
TEMPORARY = ("/uv/archive-", "/.cache/uv/", "/pipx/.cache/")
SNIPPET = """{host} keeps its servers where no file may be written: {note}
For each server, put this before its command, and the command's words behind it:
  "command": "{program}",
  "args": ["wrap", "--host", "{id}", "--name", NAME, "--", COMMAND, ARGUMENT, …]"""


class Row(Struct, frozen=True):
    """One server: what it is remembered as, and why it is left alone, "" if it is not.

    ``failed`` tells that something is wrong from what is not wanted anyway; ``unproved`` is why it cannot be tried.
    ``drift`` is what of a server behind mcpbox is to be approved anew. ``claim`` is what the profile rests on where
    mcpbox did not install the package.
    """

    entry: Entry
    record: Record
    reason: str = ""
    failed: bool = False
    unproved: str = ""
    drift: tuple[str, ...] = ()
    claim: str = ""


def protect(hosts: Sequence[str], configs: Sequence[str], dry_run: bool, yes: bool, check: bool) -> int:
    """0 if every server that can be is behind mcpbox, 1 if one was left as it was because something is wrong."""
    program = _program()
    if check and (name := proof.moved()):
        raise UsageError(
            f"{name} is set here, and hosts do not pass it on: their mcpbox would look for everything elsewhere",
            f"run: env -u {name} mcpbox protect",
        )
    files = survey.survey(hosts, configs)
    for host in map(by_id, hosts):
        if host.snippet:
            click.echo(SNIPPET.format(host=host.name, note=host.note, program=program, id=host.id))
    known = {(record.file, record.key): record for record in register.load()}
    planned = [
        (file, closed, [] if closed else _rows(file, program, known)) for file in files for closed in [_closed(file)]
    ]
    for file, closed, rows in planned:
        _show(file, closed, rows)
    wrong = any(row.failed for *_, rows in planned for row in rows)
    wrong |= any(closed and (file.broken or file.found.place.scope == "user") for file, closed, _ in planned)
    wanted = [(file, rows) for file, _, rows in planned if any(not row.reason for row in rows)]
    anew = [row for *_, rows in planned for row in rows if row.drift and not row.failed]
    if not wanted and not anew:
        click.echo("nothing to do" if files else f"{survey.NONE}: name one with --config FILE")
        return 1 if wrong else 0
    count = sum(not row.reason for _, rows in wanted for row in rows)
    what = [f"put {count} servers behind mcpbox"] * bool(count) + [f"approve {len(anew)} as they are now"] * bool(anew)
    if dry_run or not terminal.agreed(f"{' and '.join(what)}?".capitalize(), yes):
        click.echo("nothing was changed")
        return 1 if wrong or not dry_run else 0
    commanded("protect", [*(file.found.path for file, _ in wanted), *(f"anew: {row.record.name}" for row in anew)])
    register.put(row.record for row in anew)
    for file, rows in wanted:
        try:
            wrong |= not _put_behind(file, [row for row in rows if not row.reason], program, check)
        except McpboxError as error:
            wrong = True
            terminal.say(survey.about(file, error.message), error.hint)
    return 1 if wrong else 0


def unprotect(hosts: Sequence[str], configs: Sequence[str], dry_run: bool, yes: bool) -> int:
    """0 if no server of the files is behind mcpbox any more, 1 if one still is."""
    known = [record for record in register.load() if not hosts or record.host in hosts]
    also = () if configs else tuple(dict.fromkeys(record.file for record in known))
    planned, wrong = [], False
    for file in survey.survey(hosts, configs, also):
        wrapped = [plan.entry for plan in file.servers if rewrite.is_wrapped(plan.entry)]
        if not wrapped and not (file.broken and any(record.file == file.real for record in known)):
            continue
        managed = file.found.place.scope != "project" and survey.policy(file)
        if closed := file.broken or managed or survey.overwriter(file):
            wrong = True
            terminal.say(survey.about(file, closed) if file.broken else f"{file.found.path} {closed}", file.hint)
            continue
        keys = {record.key for record in known if record.file == file.real}
        reasons = {entry.path: _kept_behind(entry, entry.path in keys) for entry in wrapped}
        wrong |= any(reasons.values())
        _heading(file)
        for entry in wrapped:
            _line(entry.name, f"stays: {reasons[entry.path]}" if reasons[entry.path] else "gets its own command back")
        if taken := [entry for entry in wrapped if not reasons[entry.path]]:
            planned.append((file, taken))
    if not planned:
        click.echo("nothing to do")
        return 1 if wrong else 0
    count = sum(len(taken) for _, taken in planned)
    if dry_run or not terminal.agreed(f"Give {count} servers their own commands back?", yes):
        click.echo("nothing was changed")
        return 1 if wrong or not dry_run else 0
    commanded(
        "unprotect", [f"{entry.name} in {file.found.path}" for file, taken in planned for entry in taken], undoing=True
    )
    for file, taken in planned:
        try:
            _take_out(file, taken)
        except (McpboxError, DocumentError) as error:
            wrong = True
            terminal.say(survey.about(file, str(error)), getattr(error, "hint", ""))
    return 1 if wrong else 0


def _rows(file: Surveyed, program: str, known: Mapping[tuple[str, tuple[Key, ...]], Record]) -> list[Row]:
    found, now = file.found, datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    document = parse(file.text, found.place.shape.format)
    rows = []
    for plan in file.servers:
        entry = plan.entry
        words = rewrite.unwrapped(entry)
        record = Record(
            file=file.real,
            key=entry.path,
            host=found.host.id,
            name=rewrite.label(entry.name),
            start=registered.checksum(words),
            command=survey.digest(words[:1]),
            arguments=survey.digest(words[1:]),
            # Whoever wrote the file of a project does not say where programs are: servers of this name start by it.
            path=survey.search_path(None if found.place.scope == "project" else entry),
            when=now,
        )
        wrapped = rewrite.is_wrapped(entry) and words
        if plan.action == "leave" and not wrapped:
            reason = f"it {plan.reason}" if plan.mendable else plan.reason
            rows.append(Row(entry, record, reason, failed=plan.mendable))
            continue
        directory = proof.directory(entry, found.place.shape)
        chosen = rewrite.options(entry).get("--profile")
        facts = survey.facts(words, record.path, chosen=chosen, cwd=directory, environment=entry.env)
        record = replace(record, profile=facts.profile, digest=facts.digest, package=facts.package, named=facts.named)
        if wrapped:
            before = known.get((file.real, entry.path))
            changes = tuple(survey.drift(plan, before, facts))
            record = replace(record, original=before and before.original)
            rows.append(Row(entry, record, plan.reason, failed=bool(survey.unsound(entry)), drift=changes))
            continue
        unproved = proof.unprovable(entry, found.place.shape)
        reason = "" if unproved else facts.fault
        unproved = unproved or proof.unfilled(entry, found.place.shape, facts.files)
        try:
            names = survey.variables(entry)
            rewrite.wrap(document, entry, found.place.shape, program=program, host=found.host.id, variables=names)
        except DocumentError as error:
            reason = f"its text cannot be changed: {error}"
        rows.append(Row(entry, record, reason, bool(reason), unproved, claim=facts.claim))
    return rows


def _put_behind(file: Surveyed, rows: Sequence[Row], program: str, check: bool) -> bool:
    """Prove the servers, then write them. False if one was left as it was."""
    shape, host = file.found.place.shape, file.found.host
    if closed := survey.overwriter(file):
        raise McpboxError(closed)
    # Before anything needs it: what is remembered of a server that is not behind mcpbox does no harm.
    register.put(row.record for row in rows)
    good = list(rows)
    if check:
        good = _proved(file, rows, program)
        register.remove(file.real, {row.entry.path for row in rows} - {row.entry.path for row in good})
    wanted = {row.entry.path: row for row in good}
    there: set[tuple[Key, ...]] = set()

    def edit(text: str) -> str:
        there.clear()
        now = {entry.path: entry for entry in entries(parse(text, shape.format), shape)}
        there.update(path for path, row in wanted.items() if path in now and now[path].raw == row.entry.raw)
        variables = {path: survey.variables(now[path]) for path in there}
        written = rewrite.put_behind(text, shape, variables, program=program, host=host.id)
        register.put(replace(wanted[path].record, original=written.originals.get(path)) for path in there)
        return written.text

    done = False
    try:
        if good:
            changed = configfile.change(file.found.path, edit)
            done = True
    except DocumentError as error:
        raise McpboxError(str(error), "mend the file, and run this again") from None
    finally:
        register.remove(file.real, wanted.keys() - there if done else wanted.keys())
    for path in wanted.keys() - there:
        terminal.say(f"{wanted[path].entry.name}: was changed while it was being tried", "run this again")
    if there and changed:
        _finished(file, changed, len(there))
    return len(there) == len(rows)


def _proved(file: Surveyed, rows: Sequence[Row], program: str) -> list[Row]:
    """Those whose new command line starts and answers."""
    shape = file.found.place.shape
    variables = {row.entry.path: survey.variables(row.entry) for row in rows}
    try:
        written = rewrite.put_behind(file.text, shape, variables, program=program, host=file.found.host.id)
    except DocumentError as error:
        raise McpboxError(str(error), "nothing was changed") from None
    new = {entry.path: entry for entry in entries(parse(written.text, shape.format), shape)}
    good = []
    for row in rows:
        entry = new[row.entry.path]
        if row.unproved:
            _line(entry.name, f"not tried: {row.unproved}")
            good.append(row)
            continue
        words, directory = rewrite.unwrapped(entry), proof.directory(entry, shape)
        reason = proof.prepare(words, row.record.path, directory)
        reason = reason or proof.prove([entry.command, *entry.args], entry, shape)
        if reason:
            _line(entry.name, f"left as it was: {reason}", "red")
        else:
            _line(entry.name, "answers behind mcpbox", "green")
            # Its package may have been pinned only now.
            facts = survey.facts(words, row.record.path, cwd=directory)
            good.append(replace(row, record=replace(row.record, package=facts.package)))
    return good


def _take_out(file: Surveyed, taken: Sequence[Entry]) -> None:
    shape = file.found.place.shape
    kept = [record.original for record in register.load() if record.file == file.real and record.original]
    names = {entry.path: entry.name for entry in taken}

    def edit(text: str) -> str:
        now = entries(parse(text, shape.format), shape)
        wanted = {entry.path for entry in now if rewrite.is_wrapped(entry) and names.get(entry.path) == entry.name}
        return rewrite.take_out(text, shape, wanted, kept)

    changed = configfile.change(file.found.path, edit)
    register.remove(file.real, names)
    if changed:
        click.echo(f"{plain(file.found.path)}: {len(taken)} servers have their own commands again")
        _note(file)


def _kept_behind(entry: Entry, registered: bool) -> str:
    """Why a wrapped entry is not to be unwrapped; "" if it may be."""
    if PREFIX in repr(entry.raw):
        return "its secrets are in the keyring; run first: mcpbox migrate-secrets --restore"
    if not registered and "--host" not in rewrite.options(entry):
        return "it was put behind mcpbox by hand"
    return "" if rewrite.unwrapped(entry) else "it has no command behind mcpbox"


def _finished(file: Surveyed, changed: configfile.Changed, count: int) -> None:
    path = plain(file.found.path)
    if configfile.read(file.found.path).text != changed.after:
        terminal.say(f"{path} has been written over since", "close its host, and run this again")
        return
    click.echo(f"{path}: {count} servers are behind mcpbox")
    if changed.backup:
        click.echo(f"  before: {changed.backup}")
    _note(file)


def _note(file: Surveyed) -> None:
    if advice := survey.advice(file):
        click.echo(f"  {advice}")


def _closed(file: Surveyed) -> str:
    """Why the whole file is left alone; "" if it is not."""
    return file.broken or survey.policy(file) or survey.overwriter(file)


def _show(file: Surveyed, closed: str, rows: Sequence[Row]) -> None:
    _heading(file)
    if closed:
        _line("", f"cannot be read: {closed}; {file.hint}" if file.broken else f"left alone: it {closed}")
    for row in rows:
        if row.drift:
            what = "mcpbox unprotect, then mcpbox protect" if row.failed else "this is approved now"
            _line(
                row.entry.name, f"{row.reason}, but {'; '.join(row.drift)}: {what}", "red" if row.failed else "yellow"
            )
        elif row.reason:
            _line(row.entry.name, f"left alone: it {row.reason}" if not row.failed else f"left alone: {row.reason}", "")
        else:
            profile = row.record.profile or "none: no files, no network"
            if row.claim:
                profile += f" (it calls itself {row.claim}, and mcpbox did not install it)"
            kept = sorted(set(row.entry.variables) - {"PATH", *survey.variables(row.entry)})
            without = f", without the variables {', '.join(kept)}" if kept else ""
            _line(row.entry.name, f"goes behind mcpbox, profile {profile}{without}")


def _heading(file: Surveyed) -> None:
    click.secho(f"{file.found.host.name}  {plain(file.found.path)}", bold=True)


def _line(name: str, text: str, colour: str = "") -> None:
    # Names and messages come from strangers.
    click.secho(terminal.row(f"  {plain(name)}", 26, text), fg=colour or None)


def _program() -> str:
    """The absolute path of this mcpbox, for hosts to start. Raises McpboxError if it is not there to stay."""
    program = next(iter(survey.programs()), "")
    if not program:
        raise McpboxError(
            "the program mcpbox cannot be found, for hosts to start", "install mcpbox: pipx install mcpbox"
        )
    if any(part in os.path.realpath(program) for part in TEMPORARY):
        raise McpboxError(
            f"{program} is in an environment that is removed again", "install mcpbox: uv tool install mcpbox"
        )
    return program
