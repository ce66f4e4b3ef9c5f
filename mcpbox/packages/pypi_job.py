"""One job of Python packages in the install sandbox: what it runs, what it may reach, and what came of it."""

from __future__ import annotations

import json
import os
import re
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import msgspec

from mcpbox import filesystem, paths
from mcpbox.errors import PackageError, UsageError
from mcpbox.packages.model import Request
from mcpbox.packages.store import give

if TYPE_CHECKING:
    from mcpbox.packages.installer import Job
    from mcpbox.packages.pypi_sources import Sources

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

_PYTHON = re.compile(r"3(\.\d+)?")


class Wheel(msgspec.Struct, frozen=True):
    name: str
    version: str
    sha256: str
    url: str
    source: bool = False


class Source(msgspec.Struct, frozen=True):
    """A source distribution that pip wants, and no wheel."""

    name: str
    filename: str
    url: str
    sha256: str


class Outcome(msgspec.Struct, frozen=True):
    """What ``pypi_inside.main`` prints."""

    error: str = ""
    hint: str = ""
    wanted: str = ""
    python: str = ""
    abi: str = ""
    pip: str = ""
    index: str = ""
    files: str = ""
    packages: tuple[Wheel, ...] = ()
    source: Source | None = None
    requires: tuple[str, ...] = ()
    built: str = ""


class Reach(msgspec.Struct):
    """What a job may reach: origins with their egress rules, and directories."""

    origins: list[str]
    rules: list[str]
    directories: list[str]


def python_of(backend: str, python: str) -> Outcome:
    if python and not _PYTHON.fullmatch(python):
        raise PackageError(f"Python {python!r}: not understood", "accepted: 3 or 3.NUMBER, such as 3.12")
    return _asked(backend, python)


@cache
def _asked(backend: str, python: str) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="mcpbox-") as directory:
        give(Path(directory))
        nothing = Reach([], [], [])
        about = run("about", None, nothing, Request("pypi", (), python=python), backend, Path(directory), {})
    if python and python not in (about.python, about.python.rpartition(".")[0], about.python.partition(".")[0]):
        raise PackageError(f"Python {python} is asked for, and there is {about.python}", "install that Python")
    return about


def in_order(found: Sources, about: Outcome) -> Sources:
    """The sources with the tool's own index by its name, and last: anybody can put any name there."""
    default = about.index.rstrip("/")
    named = [msgspec.structs.replace(index, url=index.url or default) for index in found.indexes]
    public = {urlsplit(default).hostname}
    ordered = sorted(named, key=lambda index: index.kind == "simple" and urlsplit(index.url).hostname in public)
    return msgspec.structs.replace(found, indexes=tuple(dict.fromkeys(ordered)))


def reach_of(found: Sources, about: Outcome) -> Reach:
    from mcpbox.packages.installer import rules_for

    reach = Reach([], [], [])
    for index in found.indexes:
        extend(reach, place(index.url, directory=True), found)
        if index.url == about.index.rstrip("/"):
            # Where that index has its files, by the tool's own word.
            reach.origins.append(f"https://{about.files}:443")
            reach.rules += rules_for(about.files, 443)
    return reach


def place(url: str, directory: bool = False) -> str:
    """The origin of a URL, or the directory of a file."""
    if not url.startswith("file:"):
        from mcpbox.packages.pypi_web import origin

        return origin(url)
    path = unquote(urlsplit(url).path)
    return f"file://{path if directory and os.path.isdir(path) else os.path.dirname(path)}"


def extend(reach: Reach, place: str, found: Sources) -> None:
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
    from mcpbox.packages.installer import name_it, named_hosts, rules_for
    from mcpbox.packages.pypi_web import origin

    parts = urlsplit(place)
    host, port = parts.hostname or "", parts.port or 443
    if place in reach.origins:
        return
    if place in {origin(index.url) for index in found.indexes}:
        rules = rules_for(host, port)
    elif named := named_hosts().get((host, port)):
        rules = named
    elif parts.scheme == "https" and not _local(host):
        # The index names it, and not the user: only what is public.
        rules = [f"{host}:{port}"]
    else:
        raise PackageError(f"an index leads to {place}, which the configuration does not name", name_it(host, port))
    reach.origins.append(place)
    reach.rules += [rule for rule in rules if rule not in reach.rules]


def _local(host: str) -> bool:
    from ipaddress import ip_address

    try:
        ip_address(host)
    except ValueError:
        return host == "localhost" or "." not in host
    return True


def run(
    verb: str, found: Sources | None, reach: Reach, request: Request, backend: str, work: Path, values: dict[str, Any]
) -> Outcome:
    """Run ``pypi_inside`` and give it what its indexes turn out to lead to; where ``found`` is None, that is nothing.

    Raises PackageError, BackendError.
    """
    import importlib.util

    from mcpbox.packages.installer import Job
    from mcpbox.packages.pypi_sources import Sources
    from mcpbox.packages.pypi_web import origin

    alone, found = found is None, found or Sources(())
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
        give(fresh)
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
        if alone:
            # A build can speak in the place of what started it.
            raise PackageError(f"what is to run without a network wants to reach {outcome.wanted}", "do not use it")
        extend(reach, outcome.wanted, found)
    raise PackageError(f"the index leads on and on, at last to {outcome.wanted}", "name its place in the configuration")


def _outcome(job: Job, backend: str) -> Outcome:
    from mcpbox.packages.installer import run

    try:
        return msgspec.json.decode(run(job, backend), type=Outcome)
    except UsageError as error:
        raise PackageError(error.message, f"install {job.words[0]}, or choose another Python") from None
    except msgspec.DecodeError as error:
        raise PackageError(f"the install sandbox said what cannot be read: {error}", "report this") from None
