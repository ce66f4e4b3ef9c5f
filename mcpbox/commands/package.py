"""``mcpbox package``: add, list, show, update, verify and remove pinned packages."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from mcpbox import command, sandbox
from mcpbox.audit.commanded import commanded
from mcpbox.errors import BackendError, PackageError, UsageError
from mcpbox.packages import lock, prepare, spec, store, terminal, vet
from mcpbox.packages.lock import Entry
from mcpbox.packages.model import Package, Request
from mcpbox.packages.prepare import Changes
from mcpbox.shown import plain


def add(words: Sequence[str], backend: str, scripts: Sequence[str], yes: bool) -> int:
    """Pin and install a package, named ("npm:NAME") or by the command that would start it."""
    request = _request(words)
    approved: prepare.Approved = "user" if yes or os.isatty(0) else "first use"
    commanded(f"package add {request.key}", [f"scripts of {name}" for name in scripts], approved=approved)
    with terminal.Line() as line:
        entry = prepare.prepare(
            request,
            sandbox.choose(backend),
            approve=lambda concerns: yes or terminal.approve(concerns),
            progress=line.show,
            scripts=scripts,
            approved=approved,
        )
    if notice := prepare.notice(entry):
        click.echo(f"[mcpbox] {plain(notice)}", err=True)
    click.echo(f"{request.key}: {entry.version} is installed and pinned")
    return 0


def list_(as_json: bool) -> int:
    """Every pinned package, with the advisories that hold for it."""
    rows = [_row(key, entry) for key, entry in sorted(lock.load().items())]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return 0
    if not rows:
        click.echo("no package is pinned")
    for row in rows:
        state = f"{row['size'] / (1 << 20):.1f} MiB" if row["installed"] else "not installed here"
        click.echo(f"{row['key']:<52}{row['version']:<14}{row['resolved'][:10]:<12}{row['approved']:<11}{state}")
        for advisory in row["advisories"]:
            click.secho(f"  {plain(advisory)}", fg="red")
    return 0


def show(name: str, as_json: bool, sbom: bool) -> int:
    """An entry of the lock with its whole tree, or that as a bill of materials (CycloneDX)."""
    key, entry = _find(name)
    plan = next(filter(None, (lock.plan(tree.tree, entry.scripts) for tree in entry.trees.values())), None)
    if sbom:
        from mcpbox.packages import sbom as bill

        if plan is None:
            raise PackageError(f"the packages of {key} are not known here", f"restore {lock.file()}.d")
        click.echo(bill.cyclonedx(plan).decode())
        return 0
    data = {"key": key, **msgspec.to_builtins(entry), "packages": msgspec.to_builtins(plan.packages) if plan else []}
    if as_json:
        click.echo(json.dumps(data, indent=2))
        return 0
    for field, value in data.items():
        if field not in ("key", "packages", "trees", "previous"):
            click.echo(f"{field:<14}{', '.join(value) if isinstance(value, list | tuple) else value}")
    for variant, tree in entry.trees.items():
        present = "" if store.path(tree.tree).is_dir() else "  (not here)"
        click.echo(f"{'tree':<14}{variant}  {tree.tree[:16]}…{present}")
    if entry.previous:
        click.echo(f"{'previous':<14}{entry.previous.version}, kept until {entry.version} has started")
    for package in plan.packages if plan else ():
        script = "  (install script)" if package.scripts else ""
        # Of what a package bundles, both are what the bundle says.
        click.echo(plain(f"  {package.name} {package.version}{script}"))
    return 0


def update(names: Sequence[str], backend: str, yes: bool, back: bool) -> int:
    """Show what each package's newest version would change, and pin that if it is wanted."""
    chosen = sandbox.choose(backend)
    refused = 0
    wanted = [_find(name) for name in names] or sorted(lock.load().items())
    if back and not names and not (wanted := [(key, entry) for key, entry in wanted if entry.previous]):
        raise PackageError("there is no update to undo", "what has started since, and what was never updated, stays")
    for key, _ in wanted:
        if back:
            commanded(f"package update --back {key}")
            click.echo(f"{key}: back to {prepare.revert(key).version}")
            continue
        with terminal.Line() as line:
            asked = _Asked(key, yes)
            changes = prepare.update(key, chosen, approve=asked, progress=line.show)
        if changes is None:
            click.echo(f"{key}: nothing has changed")
        elif asked.agreed:
            click.echo(f"{key}: {changes.before} → {changes.after}; the old one stays until the new one has started")
        else:
            refused += 1
            click.echo(f"{key}: left at {changes.before}")
    if refused and not sys.stdin.isatty():
        click.echo("nothing was updated without a person's word: mcpbox package update --yes", err=True)
    return 1 if refused else 0


def verify(names: Sequence[str], repair: bool) -> int:
    """1 if a file of an installed tree is not as it was installed; ``repair`` installs the pinned bytes again."""
    wrong = 0
    for key, entry in [_find(name) for name in names] or sorted(lock.load().items()):
        for variant, tree in entry.trees.items():
            if not store.path(tree.tree).is_dir():
                click.echo(f"{key}: {variant}: not installed here")
                continue
            faults = store.verify(tree.tree, tree.manifest)
            if not faults:
                click.echo(f"{key}: {variant}: ok")
                continue
            wrong += 1
            for fault in faults[:20]:
                click.echo(f"{key}: {variant}: {plain(fault)}", err=True)
            if repair:
                with terminal.Line() as line:
                    prepare.prepare(
                        entry.request, variant.rpartition("-")[2], approve=terminal.approve, progress=line.show
                    )  # fmt: skip
                click.echo(f"{key}: {variant}: installed again")
                wrong -= 1
    return 1 if wrong else 0


def rm(names: Sequence[str]) -> int:
    """Take packages out of the lock and the store."""
    for name in names:
        key, _ = _find(name)
        commanded(f"package rm {key}")
        with lock.exclusive(key):
            lock.remove(key)
        click.echo(f"{key}: removed")
    prepare.collect()
    _withdraw()
    return 0


def gc() -> int:
    """Remove what no entry of the lock names."""
    removed = prepare.collect()
    click.echo(f"removed {len(removed)} of {len(removed) + len(store.trees())} trees")
    _withdraw()
    return 0


def _withdraw() -> None:
    try:
        prepare.withdraw()
    except BackendError as error:
        # An engine that is away does not keep the packages here.
        click.echo(f"images with packages were left where they are: {error.message}", err=True)


class _Asked:
    """Shows the changes of an update and asks; remembers the answer."""

    def __init__(self, key: str, yes: bool) -> None:
        self._key, self._yes = key, yes
        self.agreed = False

    def __call__(self, changes: Changes, concerns: Sequence[str]) -> bool:
        sys.stderr.write(terminal.ERASE if sys.stderr.isatty() else "")
        for text in _described(self._key, changes, concerns):
            click.echo(plain(text), err=True)
        self.agreed = self._yes or (sys.stdin.isatty() and terminal.ask("Update?"))
        if self.agreed:
            commanded(f"package update {self._key}", [f"{changes.before} → {changes.after}"])
        return self.agreed


def _described(key: str, changes: Changes, concerns: Sequence[str]) -> list[str]:
    lines = [f"{key}: {changes.before} → {changes.after}"]
    lines += [f"  + {package.name} {package.version}" for package in changes.added]
    lines += [f"  - {package.name} {package.version}" for package in changes.removed]
    lines += [f"    {name} {before} → {after}" for name, before, after in changes.changed if name != changes.name]
    lines += [f"  ! new install script: {name} (it is not run)" for name in changes.scripts]
    lines += [f"  ! new maintainer: {name}" for name in changes.maintainers]
    lines += [f"  ! {concern}" for concern in concerns]
    sizes = " → ".join(f"{size / (1 << 20):.1f} MiB" for size in (changes.size_before, changes.size_after) if size)
    return [*lines, f"  size {sizes}"] if sizes else lines


def _request(words: Sequence[str]) -> Request:
    if len(words) == 1 and words[0].startswith(("npm:", "pypi:")):
        return spec.read_requirement(words[0])
    request = spec.read(command.plain(words)[0]) if words else None
    if request is None:
        raise UsageError(
            f"{' '.join(words) or 'no package'}: fetches no package",
            "accepted: npm:NAME[@VERSION], pypi:NAME[==VERSION], or a command such as -- npx -y NAME",
        )
    return request


def _find(name: str) -> tuple[str, Entry]:
    """The entry of that key, or the only one of a package of that name. Raises UsageError."""
    entries = lock.load()
    if name in entries:
        return name, entries[name]
    found = [key for key, entry in entries.items() if name in (entry.name, f"{entry.ecosystem}:{entry.name}")]
    if len(found) != 1:
        known = ", ".join(found or sorted(entries)) or "none"
        raise UsageError(f"{name}: {len(found) or 'no'} pinned packages of that name", f"there are: {known}")
    return found[0], entries[found[0]]


def _row(key: str, entry: Entry) -> dict[str, Any]:
    here = [tree for tree in entry.trees.values() if store.path(tree.tree).is_dir()]
    return {
        "key": key,
        "name": entry.name,
        "version": entry.version,
        "resolved": entry.resolved,
        "approved": entry.approved,
        "provenance": entry.provenance,
        "installed": bool(here),
        "size": max((store.size(tree.tree) for tree in here), default=0),
        "previous": entry.previous.version if entry.previous else None,
        "advisories": _advisories(entry),
    }


def _advisories(entry: Entry) -> list[str]:
    packages: dict[tuple[str, str], Package] = {}
    for tree in entry.trees.values():
        plan = lock.plan(tree.tree, entry.scripts)
        packages |= {(package.name, package.version): package for package in (plan.packages if plan else ())}
    return vet.advisories(entry.ecosystem, tuple(packages.values()))
