"""Packages of PyPI and of indexes like it: resolved to exact wheels, fetched, verified, unpacked, started offline.

pip does it, in a sandbox, and sees one index that stands in front of the user's: see ``pypi_front``.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from mcpbox.errors import PackageError
from mcpbox.packages import pypi_build, spec
from mcpbox.packages.model import Package, Plan, Request, normalised
from mcpbox.packages.pypi_entry import ABI, REQUIREMENT, entry, required
from mcpbox.packages.pypi_job import Reach, extend, in_order, place, python_of, reach_of, run
from mcpbox.packages.store import discard, give

if TYPE_CHECKING:
    from mcpbox.packages.pypi_sources import Sources

__all__ = ["entry", "install", "resolve", "sources"]

#: What an install works with while it goes on.
WORK = ".work"

_LOCKED = re.compile(r"([a-z0-9-]+)==([A-Za-z0-9._!+]+) --hash=sha256:([0-9a-f]{64})")


def sources() -> Sources:
    """The user's configuration of uv, or else of pip. Raises PackageError."""
    from mcpbox.packages import pypi_sources

    return pypi_sources.read(os.environ)


def indexes(backend: str) -> Sources:
    """The sources, with the tool's own index by its name. Raises PackageError, BackendError."""
    return in_order(sources(), python_of(backend, ""))


def resolve(request: Request, backend: str, work: Path, *, scripts: Sequence[str] = ()) -> Plan:
    """The whole tree that the request comes to today. ``work`` is an empty directory of this call's.

    Of the packages in ``scripts``, source distributions are taken too where there is no wheel, and built on the way:
    what they depend on is not known before. Raises PackageError, also for what has no wheel for this Python, and
    BackendError.
    """
    requirements = [_requirement(text) for text in request.packages]
    about = python_of(backend, request.python)
    found = in_order(sources(), about)
    give(work)
    reach = reach_of(found, about)
    values: dict[str, Any] = {"requirements": requirements, "allowed": sorted(map(normalised, scripts)), "built": []}
    needs: dict[str, tuple[Package, ...]] = {}
    while True:
        try:
            outcome = run("resolve", found, reach, request, backend, work, values)
        except PackageError as error:
            # What is run in the sandbox does not know by which command it came to that.
            raise PackageError(
                error.message, error.hint.replace("…", f"-- {shlex.join(spec.words(request))}")
            ) from None
        if outcome.source is None:
            break
        source = outcome.source
        if len(needs) == pypi_build.MOST:
            raise PackageError(f"more than {pypi_build.MOST} packages want to be built", "install it by hand")
        made = pypi_build.build(source, request, backend, found, reach)
        file = work / f"built-{len(needs)}" / made.filename
        file.parent.mkdir()
        file.write_bytes(made.content)
        file.parent.chmod(0o755)
        needs[source.url] = made.requirements
        values["built"].append({**msgspec.to_builtins(source), "wheel": made.filename, "path": str(file)})
    packages = tuple(
        Package(wheel.name, wheel.version, f"sha256:{wheel.sha256}", wheel.url, wheel.source)
        for wheel in sorted(outcome.packages, key=lambda wheel: wheel.name)
    )
    root = normalised(required(requirements[0]))
    lines = [f"# {about.abi}", *(_line(package) for package in packages)]
    mine = next((package for package in packages if package.name == root), None)
    if mine is None:
        raise PackageError(f"pip resolved {root} without {root} itself", "report this")
    build = {package.name: needs[package.url] for package in packages if package.scripts}
    plan = Plan("pypi", mine, packages, "".join(f"{line}\n" for line in lines).encode(), build)
    _locked(plan)
    return plan


def fits(plan: Plan, backend: str, python: str = "") -> bool:
    """Whether a plan, perhaps made elsewhere, is for this Python of ``backend``. Raises PackageError, BackendError."""
    return _locked(plan) == python_of(backend, python).abi


def install(plan: Plan, backend: str, staging: Path, *, scripts: Sequence[str] = ()) -> None:
    """Fill ``staging`` with the plan's packages. Raises PackageError, BackendError.

    Nothing of a package is run but the build of those in ``scripts`` that are source distributions.
    """
    allowed = set(map(normalised, scripts))
    if refused := [package.name for package in plan.packages if package.scripts and package.name not in allowed]:
        raise PackageError(
            f"{', '.join(refused)}: a source distribution, and building it runs its code",
            f"if you trust it: mcpbox package add --allow-scripts={refused[0]} …",
        )
    abi = _locked(plan)
    about = python_of(backend, "")
    request = Request("pypi", (), python="")
    if about.abi != abi and (version := re.match(r"cpython-3(\d+)-", abi)):
        request = Request("pypi", (), python=f"3.{version[1]}")
    found = in_order(sources(), about)
    reach = reach_of(found, about)
    for package in (*plan.packages, *itertools.chain(*plan.build.values())):
        extend(reach, place(package.url), found)
    give(staging)
    work = staging / WORK
    lines = {package.name: _line(package) for package in plan.packages}
    wheels = [package for package in plan.packages if not package.scripts]
    try:
        run("fetch", found, reach, request, backend, staging, {"work": str(work), "files": pypi_build.files(wheels)})
        for package in plan.packages:
            if package.scripts:
                source = pypi_build.source_of(package)
                made = pypi_build.build(source, request, backend, found, reach, plan.build[package.name])
                (work / "wheels" / made.filename).write_bytes(made.content)
                lines[package.name] = _line(replace(package, integrity=f"sha256:{sha256(made.content).hexdigest()}"))
        job = {"work": str(work), "abi": abi, "lock": "\n".join(lines.values()), "target": str(staging)}
        # What unpacks a stranger's files reaches nothing, and knows no token.
        run("install", None, Reach([], [], []), request, backend, staging, job)
    finally:
        with suppress(FileNotFoundError):
            discard(work)
    (staging / ABI).write_text(f"{abi}\n", encoding="ascii")


def _requirement(text: str) -> str:
    if not (found := REQUIREMENT.fullmatch(text.strip())):
        raise PackageError(
            f"{text}: not a package of an index", "accepted: NAME, NAME==VERSION, NAME[EXTRA]>=VERSION,<VERSION"
        )
    return found[0]


def _line(package: Package) -> str:
    return f"{package.name}=={package.version} --hash={package.integrity}"


def _locked(plan: Plan) -> str:
    """The ABI that a plan is for. Raises PackageError where its lock file and its packages do not agree."""
    first, *lines = plan.lockfile.decode("utf-8", "replace").splitlines() or [""]
    if (
        not first.startswith("# ")
        or lines != [_line(package) for package in sorted(plan.packages, key=lambda package: package.name)]
        or not all(map(_LOCKED.fullmatch, lines))
        or len({package.name for package in plan.packages}) != len(lines)
    ):
        raise PackageError(f"the lock of {plan.root.name} is not what its packages come to", "mcpbox package update")
    return first.removeprefix("# ")
