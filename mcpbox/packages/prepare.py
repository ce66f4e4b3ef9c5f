"""Pins and installs packages: resolve, vet, install in a sandbox, adopt into the store, write the lock. In this order.

Whatever fails, the lock says what it said, and what it names is there.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from mcpbox import sandbox
from mcpbox.audit.writer import Log
from mcpbox.errors import PackageError
from mcpbox.packages import lock, spec, starts, store, vet
from mcpbox.packages.locate import interpreter, load, starter
from mcpbox.packages.lock import Entry, Previous, Tree
from mcpbox.packages.model import Package, Plan, Request
from mcpbox.sandbox import engine

#: Is asked whether to go on in spite of these concerns.
Approve = Callable[[Sequence[str]], bool]
#: Is told what is being done.
Progress = Callable[[str], None]
Approved = Literal["first use", "user"]


class Changes(Struct, frozen=True):
    """What an update would change. ``changed`` is (name, before, after); sizes are bytes, 0 where not known."""

    name: str
    before: str
    after: str
    added: tuple[Package, ...] = ()
    removed: tuple[Package, ...] = ()
    changed: tuple[tuple[str, str, str], ...] = ()
    scripts: tuple[str, ...] = ()
    maintainers: tuple[str, ...] = ()
    size_before: int = 0
    size_after: int = 0


def prepare(
    request: Request,
    backend: str,
    *,
    approve: Approve,
    progress: Progress,
    scripts: Sequence[str] = (),
    approved: Approved = "first use",
) -> Entry:
    """The lock's entry for the request, installed for this backend: as pinned, or pinned now.

    ``scripts`` are packages whose install scripts may run. Raises PackageError, BackendError.
    """
    with lock.exclusive(request.key):
        store.sweep()
        entry = lock.load().get(request.key)
        if entry is None:
            return _pin(request, backend, approve, progress, tuple(sorted(scripts)), approved)
        if new := set(scripts) - set(entry.scripts):
            again = command(request, *(f"--allow-scripts={name}" for name in scripts))
            raise PackageError(
                f"{request.key} is pinned already, without the scripts of {', '.join(sorted(new))}",
                f"run: mcpbox package rm '{request.key}', then {again}",
            )
        tree = entry.trees.get(lock.variant(backend))
        if tree and not store.verify(tree.tree, tree.manifest):
            _provide(request, tree.tree, backend)
            return entry
        return _restore(request, entry, backend, approve, progress)


def update(
    key: str, backend: str, *, approve: Callable[[Changes, Sequence[str]], bool], progress: Progress
) -> Changes | None:
    """Resolve anew, show what changes, and pin that if ``approve`` says so; None where nothing changes.

    The replaced tree stays until the new one has started once. Raises PackageError, also for a version below the floor.
    """
    with lock.exclusive(key):
        store.sweep()
        entry = _entry(key)
        request = entry.request
        plan = _resolve(request, backend, progress, entry.scripts)
        scripts = tuple(name for name in entry.scripts if _has(plan, name))
        name = lock.tree_name(plan, scripts)
        here = entry.trees.get(lock.variant(backend))
        if here is not None and here.tree == name:
            return None
        if vet.is_older(entry.ecosystem, plan.root.version, entry.floor):
            raise PackageError(
                f"{entry.name} {plan.root.version} is older than {entry.floor}, below which mcpbox.lock does not go",
                f"if it is meant: mcpbox package rm {key}, then add {entry.name} in that version",
            )
        before = lock.plan(here.tree, entry.scripts) if here else None
        with _judged(plan, backend, scripts, progress, lambda _: None) as (staging, verdict):
            changes = _compare(entry, here, before, plan, staging, backend)
            if not approve(changes, verdict.concerns):
                return changes
            kept = entry.previous or Previous(entry.version, entry.integrity, entry.trees)
            new = _new_entry(request, plan, "user")
            new = replace(new, scripts=scripts, provenance=verdict.provenance, previous=kept)
            _adopt(request, new, plan, staging, backend, "updated")
        return changes


def revert(key: str) -> Entry:
    """Back to what the last update replaced. Raises PackageError if that has gone."""
    with lock.exclusive(key):
        entry = _entry(key)
        before = entry.previous
        if before is None:
            raise PackageError(
                f"{key}: nothing from before {entry.version} is kept", "it was never updated, or has started since"
            )
        entry = replace(
            entry, version=before.version, integrity=before.integrity, trees=before.trees, floor=before.version,
            previous=None,
        )  # fmt: skip
        _record(key, entry, "reverted")
        lock.put(key, entry)
        return entry


def started(key: str) -> None:
    """The version that an update led to has started: what it replaced is not needed any more."""
    with lock.exclusive(key):
        entry = lock.load().get(key)
        if entry is not None and entry.previous is not None:
            lock.put(key, replace(entry, previous=None))
    collect()


def collect() -> list[str]:
    """Remove the trees that no entry names and nobody uses, with their plans and starts; the trees removed."""
    kept = lock.trees(lock.load())
    removed = store.gc(kept)
    lock.forget_plans(kept)
    starts.prune(kept)
    return removed


def withdraw() -> None:
    """Remove from the container engine what no entry names. Raises BackendError."""
    if engine.find() is not None:
        sandbox.load("docker").withdraw(lock.trees(lock.load()))


def command(request: Request, *options: str) -> str:
    """What prepares the request by hand."""
    return shlex.join(["mcpbox", "package", "add", *options, "--", *spec.words(request)])


def notice(entry: Entry) -> str:
    """What to say about packages whose install scripts were not run; "" if there are none."""
    plans = [lock.plan(tree.tree, entry.scripts) for tree in entry.trees.values()]
    wanted = {package.name for plan in plans if plan for package in plan.packages if package.scripts}
    if not (silent := sorted(wanted - set(entry.scripts))):
        return ""
    again = command(entry.request, *(f"--allow-scripts={name}" for name in silent))
    return (
        f"not run: the install scripts of {', '.join(silent)}. If the server does not work without them: "
        f"mcpbox package rm '{entry.request.key}', then {again}"
    )


def _pin(
    request: Request,
    backend: str,
    approve: Approve,
    progress: Progress,
    scripts: tuple[str, ...],
    approved: Approved,
) -> Entry:
    # Before anything is asked of a registry.
    similar = vet.names(request)
    _require(approve, similar, request)
    plan = _resolve(request, backend, progress, scripts)
    if unknown := [script for script in scripts if not _has(plan, script)]:
        raise PackageError(
            f"{', '.join(unknown)}: not in the tree of {plan.root.name}, so its scripts cannot be allowed"
        )

    def approving(verdict: vet.Verdict) -> None:
        _require(approve, verdict.concerns, request)

    with _judged(plan, backend, scripts, progress, approving) as (staging, verdict):
        if similar or verdict.concerns:
            approved = "user"
        entry = replace(_new_entry(request, plan, approved), scripts=scripts, provenance=verdict.provenance)
        return _adopt(request, entry, plan, staging, backend, "pinned")


def _restore(request: Request, entry: Entry, backend: str, approve: Approve, progress: Progress) -> Entry:
    """Install what is pinned already: its directory is gone, or another machine or backend pinned it."""
    tree = entry.trees.get(lock.variant(backend))
    plan = lock.plan(tree.tree, entry.scripts) if tree else _of_another(entry, backend)
    if plan is not None:
        # These very bytes were vetted when they were pinned; what has become known since counts.
        _require(approve, vet.known(plan), request)
    else:
        plan = _resolve(spec.exactly(request, entry.version), backend, progress, entry.scripts)
        if plan.root.version != entry.version or (tree and lock.tree_name(plan, entry.scripts) != tree.tree):
            raise PackageError(
                f"{request.key} does not resolve to what is pinned any more",
                f"restore {lock.file()}.d, or accept what it comes to now: mcpbox package update {request.key}",
            )
        if plan.root.integrity != entry.integrity:
            if entry.ecosystem == "npm":
                raise PackageError(
                    f"{entry.name} {entry.version} is not what was pinned: the registry serves other bytes",
                    f"{entry.integrity} was pinned, {plan.root.integrity} is served",
                )
            # Each platform may have a file of its own.
            _require(approve, [f"{entry.name} {entry.version} has another file for this platform"], request)
        _require(approve, vet.judge(plan, backend).concerns, request)
    with _staged(plan, backend, entry.scripts, progress) as staging:
        return _adopt(request, entry, plan, staging, backend, "restored")


def _of_another(entry: Entry, backend: str) -> Plan | None:
    """What was pinned for another backend or machine, if it will do for this one."""
    for tree in entry.trees.values():
        plan = lock.plan(tree.tree, entry.scripts)
        if plan is not None and load(entry.ecosystem).fits(plan, backend, entry.python):
            return plan
    return None


def _resolve(request: Request, backend: str, progress: Progress, scripts: Sequence[str]) -> Plan:
    progress(f"looking up {' '.join(request.packages)}")
    with store.staging() as work:
        return load(request.ecosystem).resolve(request, backend, work, scripts=scripts)


@contextmanager
def _staged(plan: Plan, backend: str, scripts: tuple[str, ...], progress: Progress) -> Iterator[Path]:
    with store.staging() as staging:
        progress(f"installing {plan.root.name} {plan.root.version} ({len(plan.packages)} packages)")
        load(plan.ecosystem).install(plan, backend, staging, scripts=scripts)
        yield staging


@contextmanager
def _judged(
    plan: Plan, backend: str, scripts: tuple[str, ...], progress: Progress, approving: Callable[[vet.Verdict], None]
) -> Iterator[tuple[Path, vet.Verdict]]:
    """The staged tree and the verdict on it, which is come to meanwhile; but before it, no script is run."""
    with vet.Judging(plan, backend) as judging:
        if scripts:
            approving(judging.verdict())
        with _staged(plan, backend, scripts, progress) as staging:
            if not scripts:
                progress(f"verifying where {plan.root.name} {plan.root.version} comes from")
                approving(judging.verdict())
            yield staging, judging.verdict()


def _adopt(request: Request, entry: Entry, plan: Plan, staging: Path, backend: str, event: str) -> Entry:
    """From the staged directory to the lock; the plan and the record are there before it counts."""
    name = lock.tree_name(plan, entry.scripts)
    manifest = store.adopt(staging, name)
    _provide(request, name, backend)
    lock.keep_plan(plan, entry.scripts)
    entry = replace(entry, trees={**entry.trees, lock.variant(backend): Tree(name, manifest)})
    _record(request.key, entry, event)
    lock.put(request.key, entry)
    return entry


def _provide(request: Request, tree: str, backend: str) -> None:
    """Bring a tree to where it will run."""
    # The program is there, or the package is not one that can be run.
    words = starter(request.ecosystem)(request, store.path(tree))
    sandbox.load(backend).provide(tree, str(store.path(tree)), interpreter(words))


def _new_entry(request: Request, plan: Plan, approved: Approved) -> Entry:
    root = plan.root
    return Entry(
        ecosystem=request.ecosystem,
        requested=request.packages,
        name=root.name,
        version=root.version,
        integrity=root.integrity,
        registry=urlsplit(root.url).hostname or "",
        resolved=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        approved=approved,
        floor=root.version,
        trees={},
        python=request.python,
    )


def _record(key: str, entry: Entry, event: str) -> None:
    log = Log("packages", os.urandom(6).hex(), who={})
    try:
        trees = {variant: tree.tree for variant, tree in entry.trees.items()}
        said: Mapping[str, Any] = {"version": entry.version, "integrity": entry.integrity, "approved": entry.approved}
        log.record({"event": event, "package": key, **said, "trees": trees, "scripts": list(entry.scripts)})
    finally:
        log.close()


def _compare(entry: Entry, here: Tree | None, before: Plan | None, plan: Plan, staging: Path, backend: str) -> Changes:
    old = {package.name: package for package in before.packages} if before else {}
    new = {package.name: package for package in plan.packages}
    return Changes(
        name=entry.name,
        before=entry.version,
        after=plan.root.version,
        added=tuple(new[name] for name in sorted(new.keys() - old.keys())) if before else (),
        removed=tuple(old[name] for name in sorted(old.keys() - new.keys())),
        changed=tuple(
            (name, old[name].version, new[name].version)
            for name in sorted(old.keys() & new.keys())
            if (old[name].version, old[name].integrity) != (new[name].version, new[name].integrity)
        ),
        scripts=tuple(
            name for name in sorted(new) if new[name].scripts and not (name in old and old[name].scripts)
        ),
        maintainers=_new_maintainers(entry, plan, backend),
        size_before=store.size(here.tree) if here else 0,
        size_after=sum(os.lstat(path).st_size for path in store.walk(staging) if os.path.isfile(path)),
    )  # fmt: skip


def _new_maintainers(entry: Entry, plan: Plan, backend: str) -> tuple[str, ...]:
    """Those of the new version alone; only npm's registries say."""
    if entry.ecosystem != "npm" or entry.version == plan.root.version:
        return ()
    from mcpbox.packages import npm

    before, after = (npm.maintainers(entry.name, version, backend) for version in (entry.version, plan.root.version))
    return tuple(sorted(set(after) - set(before)))


def _require(approve: Approve, concerns: Sequence[str], request: Request) -> None:
    if concerns and not approve(concerns):
        raise PackageError("; ".join(concerns), f"if it is meant: {command(request, '--yes')}")


def _entry(key: str) -> Entry:
    entry = lock.load().get(key)
    if entry is None:
        raise PackageError(f"{key} is not in mcpbox.lock", "run: mcpbox package list")
    return entry


def _has(plan: Plan, name: str) -> bool:
    return any(package.name == name for package in plan.packages)
