"""The secrets in a host's file: which of them can be moved, under what name, and why the others stay."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from mcpbox import command, paths, profile, registered, sandbox
from mcpbox.detect.entries import Placed, scan_entry
from mcpbox.errors import McpboxError, SecretError, Unprepared
from mcpbox.hosts import rewrite, survey, values
from mcpbox.hosts.model import Entry, Key, Shape
from mcpbox.hosts.survey import Surveyed
from mcpbox.secrets import PREFIX, arguments, index, launch, packing
from mcpbox.secrets.reference import Reference, references
from mcpbox.secrets.store import TOLD, Store

_IN_NAME = re.compile(r"[A-Za-z0-9_.-]*")


class Candidate(Struct, frozen=True, kw_only=True):
    """A secret in a file: ``value`` at ``path``, from ``start`` in the string ``old`` there.

    ``where`` and ``kind`` are as ``detect`` says, ``reference`` is the name it is to have, ``owners`` are whom it is
    for. ``reason`` is why it cannot be moved, "" if it can.
    """

    entry: Entry
    where: tuple[Key, ...]
    path: tuple[Key, ...]
    old: str
    start: int
    value: str
    kind: str
    reference: Reference
    owners: tuple[str, ...] = ()
    reason: str = ""


def candidates(file: Surveyed) -> list[Candidate]:
    """The secrets in a file's servers, in order."""
    shape, found = file.found.place.shape, []
    closed = survey.policy(file)
    for plan in file.servers:
        placed = scan_entry(plan.entry, shape)
        if not placed:
            continue
        wrapped = rewrite.is_wrapped(plan.entry)
        started, fault = _command(plan.entry, file.found.host.id) if wrapped else (None, _outside(plan, file))
        for each in _extended(placed, plan.entry, shape):
            reason = closed and f"its file {closed}"
            reason = reason or fault or _fixed(plan.entry, each, started)
            owners = launch.identity_of(started) if started else ()
            if not reason and not owners:
                reason = f"the server has no identity that a secret could be for: {TOLD}"
            found.append(replace(each, owners=owners, reason=reason))
    return found


def name(chosen: Sequence[Candidate], store: Store | None, taken: dict[Reference, Candidate]) -> list[Candidate]:
    """The candidates with names that nothing else has; those with one value for one program share a name.

    ``taken`` are names given before, and gets those given here. Without a ``store`` its values are not looked at.
    Raises SecretError.
    """
    known = {item.ref: item for item in store.names()} if store else {}
    named = []
    for each in chosen:
        for reference in _numbered(each.reference):
            if (other := taken.get(reference)) and (other.value, other.owners) != (each.value, each.owners):
                continue
            item = None if other else known.get(reference)
            if item and store and (item.owners != each.owners or store.get(reference) != each.value):
                continue
            taken[reference] = each
            named.append(replace(each, reference=reference))
            break
    return named


def foreign(file: Surveyed) -> Iterator[tuple[Entry, Reference]]:
    """The secrets that a file's servers name and that are not for them, or not as far as can be told.

    Raises SecretError.
    """
    known = index.load()
    for plan in file.servers:
        named = {found for _, text in values.strings(plan.entry) if PREFIX in text for found in references(text)}
        if named := {each for each in named if each in known}:
            started, _ = _command(plan.entry, file.found.host.id)
            theirs = set(launch.identity_of(started)) if started else set()
            yield from ((plan.entry, each) for each in sorted(named) if not theirs & set(known[each].owners))


def _outside(plan: rewrite.Plan, file: Surveyed) -> str:
    """Why the secrets of a server that is not behind mcpbox stay."""
    if plan.action == "wrap":
        return "it is not behind mcpbox: run first: mcpbox protect"
    remedy = " by its own references to variables" if file.found.place.shape.references else ""
    return f"the server {plan.reason}; let {file.found.host.name} fill it in{remedy}"


def _command(entry: Entry, host: str) -> tuple[command.Command | None, str]:
    """What the server's own command starts, or why that cannot be told."""
    words, home = rewrite.unwrapped(entry), str(paths.home())
    if not words:
        return None, "there is no command behind mcpbox"
    given = rewrite.options(entry)
    path = registered.path_for(given.get("--host", host), given.get("--name", entry.name), words)

    def backend(identities: tuple[str, ...]) -> str:
        return sandbox.choose(profile.resolve(given.get("--profile"), identities).profile.sandbox.backend)

    try:
        where = path or os.environ.get("PATH", os.defpath)
        return command.resolve(words, path=where, cwd=home, home=home, backend=backend), ""
    except Unprepared as error:
        return None, f"{error.message}, so that it is not known whom the secret is for; {error.hint}"
    except McpboxError as error:
        return None, error.message


def _fixed(entry: Entry, each: Candidate, started: command.Command | None) -> str:
    """Why the secret cannot be a reference where it stands; "" if it can."""
    if fault := packing.fault(each.value):
        return f"it cannot be kept: {fault}"
    kind, key = each.where[0], each.where[-1]
    if started is None or (kind not in ("env", "args")):
        return "it is not given to the server"
    own = entry.args.index("--")
    if kind == "env":
        passed = {word for at, word in enumerate(entry.args[:own]) if entry.args[at - 1] == "--env"}
        return "" if key in passed else "mcpbox does not pass the variable on: mcpbox unprotect, then mcpbox protect"
    if isinstance(key, int) and key <= own:
        return "it is an option of mcpbox's own"
    if any(each.old.endswith(f"{name}={text}") for name, text in started.environment.items()):
        return ""
    if each.old not in started.arguments or started.image:
        return "it is in a place of the command that only its program reads"
    try:
        arguments.command(started.argv, len(started.arguments), started.interpreter, "")
    except SecretError as error:
        return f"{error.message}; {error.hint}"
    return ""


def _extended(placed: Sequence[Placed], entry: Entry, shape: Shape) -> Iterator[Candidate]:
    """Each secret up to where a reference in its place would end; those that then touch are one."""
    texts = dict(values.strings(entry))
    server = re.sub(r"[^a-z0-9._-]+", "-", entry.name.lower()).strip("-._")[:64] or "server"
    ends: dict[tuple[Key, ...], int] = {}
    for each in placed:
        where, finding = each.where, each.finding
        old = texts.get(where) or _at(entry.raw, where)
        if finding.start < ends.get(where, 0):
            continue
        tail = _IN_NAME.match(old, finding.end)
        end = ends[where] = tail.end() if tail else finding.end
        path = values.path_of(entry, shape, where)
        yield Candidate(
            entry=entry,
            where=where,
            path=path,
            old=old,
            start=finding.start,
            value=old[finding.start : end],
            kind=finding.kind,
            reference=Reference(server, each.name),
        )


def _at(raw: object, where: tuple[Key, ...]) -> str:
    for key in where:
        raw = raw[key]  # type: ignore[index]
    return str(raw)


def _numbered(reference: Reference) -> Iterator[Reference]:
    yield reference
    number = 2
    while True:
        yield Reference(reference.server, f"{reference.name}_{number}")
        number += 1
