"""Matches packages against a dump of advisories in the OSV format that the user points to.

The dump is a directory of JSON files, searched through and through, or a zip of them. Format: OSV schema 1.7. What
cannot be understood about a package that was asked for is an error, never a pass.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from mcpbox.errors import PackageError
from mcpbox.packages.model import Ecosystem, Package, normalised

ECOSYSTEMS = {"npm": "npm", "pypi": "PyPI"}
HINT = "[packages] advisories in config.toml names a directory or zip of OSV JSON files; fetch the dump anew"
MAX_ENTRY = 16 << 20
T = TypeVar("T")
#: Worst first, as in "database_specific" of most databases; a CVSS vector is handed on as it is.
SEVERITIES = ("CRITICAL", "HIGH", "MODERATE", "MEDIUM", "LOW")


class Advisory(Struct, frozen=True):
    """An advisory that holds for ``package`` at ``version``. ``fixed`` are the versions that mend it.

    ``severity`` is a word ("HIGH"), a CVSS vector or ""; ``aliases`` are other names of it, CVE numbers among them.
    """

    id: str
    package: str
    version: str
    summary: str
    severity: str
    aliases: tuple[str, ...]
    fixed: tuple[str, ...]

    @property
    def malicious(self) -> bool:
        """Whether the package itself is the attack (the "MAL-" entries of the OpenSSF)."""
        return any(name.startswith("MAL-") for name in (self.id, *self.aliases))


class _Event(Struct):
    introduced: str | None = None
    fixed: str | None = None
    last_affected: str | None = None
    limit: str | None = None


class _Range(Struct):
    type: str
    events: list[_Event]


class _Named(Struct, frozen=True):
    ecosystem: str
    name: str


class _Severity(Struct):
    type: str
    score: str


class _Affected(Struct):
    package: _Named = _Named("", "")
    ranges: list[_Range] | None = None
    versions: list[str] | None = None
    severity: list[_Severity] | None = None


class _Entry(Struct):
    id: str
    summary: str = ""
    withdrawn: str | None = None
    aliases: list[str] | None = None
    affected: list[_Affected] | None = None
    severity: list[_Severity] | None = None
    database_specific: Any = None


class _SkimAffected(Struct):
    package: _Named = _Named("", "")


class _Skim(Struct):
    """As little of an entry as says which packages it is about: most are about none that was asked for."""

    affected: list[_SkimAffected] | None = None


#: The kinds of event, in the order in which those at one version take effect.
ORDER = ("fixed", "introduced", "last_affected", "limit")

_skim = msgspec.json.Decoder(_Skim)
_decode = msgspec.json.Decoder(_Entry)


def match(ecosystem: Ecosystem, packages: Iterable[Package], database: Path) -> list[Advisory]:
    """The advisories, in force, for these very versions; worst first. Malformed entries raise, naming the file.

    Raises PackageError also where there is no dump, it has no entry, or a version cannot be compared.
    """
    index = _index(database, _stamp(database))
    asked: dict[tuple[str, str], list[Package]] = {}
    for package in packages:
        asked.setdefault((ECOSYSTEMS[ecosystem], _canonical(ecosystem, package.name)), []).append(package)
    found: list[Advisory] = []
    for where, data in _read(database, list(dict.fromkeys(where for key in asked for where in index.get(key, ())))):
        entry = _parse(_decode, where, data)
        for affected in entry.affected or () if not entry.withdrawn else ():
            for package in asked.get(_key(affected.package), ()):
                try:
                    hit, fixed = _holds(ecosystem, package.version, affected)
                except ValueError as error:
                    raise PackageError(f"{where}: {entry.id}: {package.name}: {error}", HINT) from None
                if hit:
                    found.append(_advisory(entry, affected, package, fixed))
    return sorted(set(found), key=lambda one: (one.package, one.version, not one.malicious, _rank(one), one.id))


@lru_cache(maxsize=2)
def _index(database: Path, stamp: int) -> Mapping[tuple[str, str], Sequence[str]]:
    """The entries about each package, by ecosystem and name: one pass over the dump for any number of trees."""
    index: dict[tuple[str, str], list[str]] = {}
    empty = True
    for where, data in _read(database):
        empty = False
        for key in {_key(affected.package) for affected in _parse(_skim, where, data).affected or ()}:
            index.setdefault(key, []).append(where)
    if empty:
        raise PackageError(f"{database}: no advisory in it", HINT)
    return index


def _stamp(database: Path) -> int:
    try:
        return database.stat().st_mtime_ns
    except OSError as error:
        raise PackageError(f"{database}: {error.strerror}", HINT) from None


def _key(named: _Named) -> tuple[str, str]:
    # An ecosystem may have a suffix after a colon, for a distribution of it.
    ecosystem = named.ecosystem.partition(":")[0]
    return ecosystem, _canonical("pypi" if ecosystem == ECOSYSTEMS["pypi"] else "npm", named.name)


def _parse(decoder: msgspec.json.Decoder[T], where: str, data: bytes) -> T:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PackageError(f"{where}: not an OSV entry: {error}", HINT) from None


def _holds(ecosystem: Ecosystem, version: str, affected: _Affected) -> tuple[bool, tuple[str, ...]]:
    """Whether the version is affected (OSV schema, "Evaluation"), and what mends it. Raises ValueError."""
    key = KEYS[ecosystem]
    ranges = [each for each in affected.ranges or () if each.type != "GIT"]
    if not affected.versions and not ranges:
        # Commits alone, or nothing: it cannot be told which versions are meant, so all are.
        return True, ()
    hit = any(_same(key, version, listed) for listed in affected.versions or ())
    fixed = []
    for each in ranges:
        if each.type not in ("SEMVER", "ECOSYSTEM"):
            raise ValueError(f"range type {each.type}: not known")
        if not any(event.introduced is not None for event in each.events):
            raise ValueError("a range without an introduced event")
        hit = _within(key, version, each.events) or hit
        fixed += [event.fixed for event in each.events if event.fixed]
    return hit, tuple(dict.fromkeys(fixed))


def _within(key: Callable[[str], Any], version: str, events: Sequence[_Event]) -> bool:
    here = key(version)
    affected = False
    limits: list[bool] = []
    steps: list[tuple[Any, int]] = []
    for event in events:
        given = [name for name in ORDER if getattr(event, name) is not None]
        if len(given) != 1:
            raise ValueError("an event has to be one of introduced, fixed, last_affected, limit")
        kind, text = given[0], getattr(event, given[0])
        if kind == "limit":
            limits.append(text == "*" or here < key(text))
        elif kind == "introduced" and text == "0":
            affected = True
        else:
            steps.append((key(text), ORDER.index(kind)))
    for at, kind_index in sorted(steps):
        if at < here or (at == here and ORDER[kind_index] != "last_affected"):
            affected = ORDER[kind_index] == "introduced"
    return affected and (not limits or any(limits))


def _npm(version: str) -> Any:
    from semver import Version

    # npm itself takes a leading "v" or "=".
    return Version.parse(version.strip().lstrip("v="))


def _pypi(version: str) -> Any:
    from packaging.version import Version

    return Version(version)


KEYS: dict[str, Callable[[str], Any]] = {"npm": _npm, "pypi": _pypi}


def _same(key: Callable[[str], Any], one: str, other: str) -> bool:
    try:
        return bool(key(one) == key(other))
    except ValueError:
        # Old releases have versions outside PEP 440 ("2004d"); they are themselves and nothing else.
        return one == other


def _advisory(entry: _Entry, affected: _Affected, package: Package, fixed: tuple[str, ...]) -> Advisory:
    word = entry.database_specific.get("severity") if isinstance(entry.database_specific, dict) else None
    scores = [*(affected.severity or ()), *(entry.severity or ())]
    severity = str(word).upper() if word else (scores[-1].score if scores else "")
    return Advisory(entry.id, package.name, package.version, entry.summary, severity, tuple(entry.aliases or ()), fixed)


def _rank(advisory: Advisory) -> int:
    return SEVERITIES.index(advisory.severity) if advisory.severity in SEVERITIES else len(SEVERITIES)


def _canonical(ecosystem: Ecosystem, name: str) -> str:
    return normalised(name) if ecosystem == "pypi" else name


def _read(database: Path, only: Sequence[str] | None = None) -> Iterator[tuple[str, bytes]]:
    """(where, text) of the entries of the dump, or of those ``only``. PackageError where something cannot be read."""
    try:
        if database.is_dir():
            for path in _files(database) if only is None else only:
                yield path, _whole(path, _bytes(path))
        elif only is None or only:
            with zipfile.ZipFile(database) as archive:
                names = [name for name in archive.namelist() if name.endswith(".json")] if only is None else only
                for name in names:
                    with archive.open(name) as stream:
                        yield name, _whole(name, stream.read(MAX_ENTRY + 1))
    except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
        raise PackageError(f"{database}: {getattr(error, 'strerror', None) or error}", HINT) from None


def _files(database: Path) -> Iterator[str]:
    for directory, directories, files in os.walk(database, onerror=_fail):
        directories[:] = sorted(name for name in directories if not name.startswith("."))
        for name in sorted(files):
            if name.endswith(".json"):
                yield os.path.join(directory, name)


def _bytes(path: str) -> bytes:
    # A hundred thousand files: without Python's file objects it takes half as long.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        wanted = min(os.fstat(fd).st_size, MAX_ENTRY) + 1
        data = os.read(fd, wanted)
        while len(data) < wanted and (more := os.read(fd, wanted - len(data))):
            data += more
        return data
    finally:
        os.close(fd)


def _whole(where: str, data: bytes) -> bytes:
    if len(data) > MAX_ENTRY:
        raise PackageError(f"{where}: more than {MAX_ENTRY >> 20} MiB", HINT)
    return data


def _fail(error: OSError) -> None:
    raise error
