"""Packages of PyPI and of indexes like it: resolved to exact wheels, fetched, verified, unpacked, started offline.

pip does it, in a sandbox, and sees one index that stands in front of the user's: see ``pypi_front``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import msgspec

from mcpbox import filesystem, paths, sandbox
from mcpbox.errors import PackageError, UsageError
from mcpbox.packages.model import Package, Plan, Request
from mcpbox.packages.pypi_entry import ABI, REQUIREMENT, entry, normalised, required
from mcpbox.spec import NOBODY

if TYPE_CHECKING:
    from datetime import datetime

    from mcpbox.packages.installer import Job
    from mcpbox.packages.pypi_sources import Sources

__all__ = ["age", "entry", "install", "resolve", "sources"]

#: Of this package, what runs in the sandbox; in a directory that Python can import them from.
INSIDE = ("pypi_web", "pypi_front", "pypi_inside")
#: In the sandbox's memory, where ``installer`` puts a job's files.
HOME = "/home/mcpbox"
RUN = (
    f"import sys; sys.path.insert(0, '{HOME}/program'); from mcpbox.packages.pypi_inside import main; "
    f"main(sys.argv[1], '{HOME}/job.json')"
)
#: How often an index may lead to one more place before that is refused.
ROUNDS = 6
#: What an install works with while it goes on.
WORK = ".work"

_LOCKED = re.compile(r"([a-z0-9-]+)==([A-Za-z0-9._!+]+) --hash=sha256:([0-9a-f]{64})")
_PYTHON = re.compile(r"3(\.\d+)?")


class _Wheel(msgspec.Struct, frozen=True):
    name: str
    version: str
    sha256: str
    url: str


class _Outcome(msgspec.Struct, frozen=True):
    """What ``pypi_inside.main`` prints."""

    error: str = ""
    hint: str = ""
    wanted: str = ""
    python: str = ""
    abi: str = ""
    pip: str = ""
    index: str = ""
    files: str = ""
    uploaded: str = ""
    packages: tuple[_Wheel, ...] = ()


class _Reach(msgspec.Struct):
    """What a job may reach: origins with their egress rules, and directories."""

    origins: list[str]
    rules: list[str]
    directories: list[str]


def sources() -> Sources:
    """The user's configuration of uv, or else of pip. Raises PackageError."""
    from mcpbox.packages import pypi_sources

    return pypi_sources.read(os.environ)


def indexes(backend: str) -> Sources:
    """The sources, with the tool's own index by its name. Raises PackageError, BackendError."""
    return _in_order(sources(), _about(backend, ""))


def resolve(request: Request, backend: str, work: Path) -> Plan:
    """The whole tree that the request comes to today. ``work`` is an empty directory of this call's.

    Raises PackageError, also for what has no wheel for this Python, and BackendError.
    """
    requirements = [_requirement(text) for text in request.packages]
    about = _about(backend, request.python)
    found = _in_order(sources(), about)
    _give(work)
    reach = _reach(found, about)
    values = {"requirements": requirements}
    outcome = _run("resolve", found, reach, request, backend, work, values)
    packages = tuple(
        Package(wheel.name, wheel.version, f"sha256:{wheel.sha256}", wheel.url)
        for wheel in sorted(outcome.packages, key=lambda wheel: wheel.name)
    )
    root = normalised(required(requirements[0]))
    lines = [f"# {about.abi}", *(_line(package) for package in packages)]
    mine = next((package for package in packages if package.name == root), None)
    if mine is None:
        raise PackageError(f"pip resolved {root} without {root} itself", "report this")
    plan = Plan("pypi", mine, packages, "".join(f"{line}\n" for line in lines).encode())
    _locked(plan)
    return plan


def fits(plan: Plan, backend: str, python: str = "") -> bool:
    """Whether a plan, perhaps made elsewhere, is for this Python of ``backend``. Raises PackageError, BackendError."""
    return _locked(plan) == _about(backend, python).abi


def install(plan: Plan, backend: str, staging: Path, *, scripts: Sequence[str] = ()) -> None:
    """Fill ``staging`` with the plan's packages. Raises PackageError, BackendError.

    Nothing of a package is run; ``scripts`` therefore has to be empty.
    """
    if scripts:
        raise PackageError(
            f"{', '.join(scripts)}: mcpbox does not build Python packages",
            "build a wheel: pip wheel NAME -w DIR, and name DIR in pip's configuration as find-links",
        )
    abi = _locked(plan)
    about = _about(backend, "")
    request = Request("pypi", (), python="")
    if about.abi != abi and (version := re.match(r"cpython-3(\d+)-", abi)):
        request = Request("pypi", (), python=f"3.{version[1]}")
    found = _in_order(sources(), about)
    reach = _reach(found, about)
    for package in plan.packages:
        _extend(reach, _place(package.url), found)
    _give(staging)
    work = staging / WORK
    job = {
        "work": str(work),
        "abi": abi,
        "lock": plan.lockfile.decode(),
        "target": str(staging),
        "files": [{"url": each.url, "sha256": each.integrity.partition(":")[2]} for each in plan.packages],
    }
    try:
        _run("fetch", found, reach, request, backend, staging, job)
        # What unpacks a stranger's files reaches nothing, and knows no token.
        _run("install", None, _Reach([], [], []), request, backend, staging, job)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    (staging / ABI).write_text(f"{abi}\n", encoding="ascii")


def age(name: str, version: str, backend: str = "auto") -> datetime | None:
    """When a version was published, where the index says. Raises PackageError, BackendError."""
    from datetime import datetime

    chosen = sandbox.choose(backend)
    about = _about(chosen, "")
    found = _in_order(sources(), about)
    with tempfile.TemporaryDirectory(prefix="mcpbox-") as directory:
        _give(Path(directory))
        values = {"name": normalised(name), "version": version}
        outcome = _run("age", found, _reach(found, about), Request("pypi", ()), chosen, Path(directory), values)
    return datetime.fromisoformat(outcome.uploaded) if outcome.uploaded else None


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


def _about(backend: str, python: str) -> _Outcome:
    if python and not _PYTHON.fullmatch(python):
        raise PackageError(f"Python {python!r}: not understood", "accepted: 3 or 3.NUMBER, such as 3.12")
    return _asked(backend, python)


@cache
def _asked(backend: str, python: str) -> _Outcome:
    with tempfile.TemporaryDirectory(prefix="mcpbox-") as directory:
        _give(Path(directory))
        nothing = _Reach([], [], [])
        about = _run("about", None, nothing, Request("pypi", (), python=python), backend, Path(directory), {})
    if python and python not in (about.python, about.python.rpartition(".")[0], about.python.partition(".")[0]):
        raise PackageError(f"Python {python} is asked for, and there is {about.python}", "install that Python")
    return about


def _in_order(found: Sources, about: _Outcome) -> Sources:
    """The sources with the tool's own index by its name, and last: anybody can put any name there."""
    default = about.index.rstrip("/")
    named = [msgspec.structs.replace(index, url=index.url or default) for index in found.indexes]
    public = {urlsplit(default).hostname}
    ordered = sorted(named, key=lambda index: index.kind == "simple" and urlsplit(index.url).hostname in public)
    return msgspec.structs.replace(found, indexes=tuple(dict.fromkeys(ordered)))


def _reach(found: Sources, about: _Outcome) -> _Reach:
    from mcpbox.packages.installer import rules_for

    reach = _Reach([], [], [])
    for index in found.indexes:
        _extend(reach, _place(index.url, directory=True), found)
        if index.url == about.index.rstrip("/"):
            # Where that index has its files, by the tool's own word.
            reach.origins.append(f"https://{about.files}:443")
            reach.rules += rules_for(about.files, 443)
    return reach


def _place(url: str, directory: bool = False) -> str:
    """The origin of a URL, or the directory of a file."""
    if not url.startswith("file:"):
        from mcpbox.packages.pypi_web import origin

        return origin(url)
    path = unquote(urlsplit(url).path)
    return f"file://{path if directory and os.path.isdir(path) else os.path.dirname(path)}"


def _extend(reach: _Reach, place: str, found: Sources) -> None:
    """Let a job reach one more place, which the configuration or one of its indexes names. Raises PackageError."""
    if place.startswith("file:"):
        path = os.path.realpath(place.removeprefix("file://"))
        local = any(index.url.startswith("file:") for index in found.indexes)
        reason = filesystem.exposure(path, paths.home()) if local else "no index of the configuration is a directory"
        if reason:
            raise PackageError(f"an index leads to {path}: {reason}", "move the packages to a directory of their own")
        if path not in reach.directories and os.path.isdir(path):
            reach.directories.append(path)
        return
    from mcpbox.packages.installer import rules_for
    from mcpbox.packages.pypi_web import origin

    parts = urlsplit(place)
    host, port = parts.hostname or "", parts.port or 443
    if place in reach.origins:
        return
    if place in {origin(index.url) for index in found.indexes}:
        rules = rules_for(host, port)
    elif parts.scheme == "https" and not _local(host):
        # The index names it, and not the user: only what is public.
        rules = [f"{host}:{port}"]
    else:
        raise PackageError(f"an index leads to {place}, which the configuration does not name", "name it there")
    reach.origins.append(place)
    reach.rules += [rule for rule in rules if rule not in reach.rules]


def _local(host: str) -> bool:
    from ipaddress import ip_address

    try:
        ip_address(host)
    except ValueError:
        return host == "localhost" or "." not in host
    return True


def _run(
    verb: str, found: Sources | None, reach: _Reach, request: Request, backend: str, work: Path, values: dict[str, Any]
) -> _Outcome:
    """Run ``pypi_inside`` and give it what its indexes turn out to lead to. Raises PackageError, BackendError."""
    import importlib.util

    from mcpbox.packages.installer import Job
    from mcpbox.packages.pypi_sources import Sources
    from mcpbox.packages.pypi_web import origin

    found = found or Sources(())
    own = importlib.util.find_spec("pip")
    pip = os.path.dirname(own.origin) if own and own.origin else ""
    here = Path(__file__).parent
    program = {f"program/mcpbox/packages/{name}.py": (here / f"{name}.py").read_bytes() for name in INSIDE}
    initial = {f"program/mcpbox/{name}__init__.py": b"\n" for name in ("", "packages/")}
    certificates = {
        name: Path(path).read_bytes()
        for name, path in (("certificates.pem", found.certificates), ("client.pem", found.client))
        if path
    }
    for _ in range(ROUNDS):
        fresh = Path(values["work"]) if "work" in values else Path(tempfile.mkdtemp(prefix=f"{verb}-", dir=work))
        _give(fresh)
        job = {
            "pip": pip,
            "indexes": [{"url": index.url, "kind": index.kind} for index in found.indexes],
            "strategy": found.strategy,
            "origins": reach.origins,
            "directories": reach.directories,
            "logins": {origin(index.url): index.authorization for index in found.indexes if index.authorization},
            "insecure": [origin(index.url) for index in found.indexes if index.insecure],
            **{name.partition(".")[0]: f"{HOME}/{name}" for name in certificates},
            **values,
            "work": str(fresh),
        }
        outcome = _outcome(
            Job(
                words=(f"python{request.python or 3}", "-I", "-B", "-c", RUN, verb),
                work=work,
                interpreter="python",
                read=(*reach.directories, *([pip] if pip else [])),
                allow=tuple(reach.rules),
                files={**program, **initial, **certificates, "job.json": json.dumps(job).encode()},
            ),
            backend,
        )
        if outcome.error:
            raise PackageError(outcome.error, outcome.hint)
        if not outcome.wanted:
            return outcome
        _extend(reach, outcome.wanted, found)
    raise PackageError(f"the index leads on and on, at last to {outcome.wanted}", "name its place in the configuration")


def _outcome(job: Job, backend: str) -> _Outcome:
    from mcpbox.packages.installer import run

    try:
        return msgspec.json.decode(run(job, backend), type=_Outcome)
    except UsageError as error:
        raise PackageError(error.message, f"install {job.words[0]}, or choose another Python") from None
    except msgspec.DecodeError as error:
        raise PackageError(f"the install sandbox said what cannot be read: {error}", "report this") from None


def _give(directory: Path) -> None:
    """Let the sandbox's user write to a directory, where mcpbox itself is root."""
    if os.geteuid() == 0 and directory.is_dir() and directory.stat().st_uid == 0:
        os.chown(directory, NOBODY, NOBODY)
