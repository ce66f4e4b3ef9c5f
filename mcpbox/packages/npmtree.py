"""npm's lock judged: every package from the registry it must come from, with a sha512, for one platform. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from mcpbox.errors import PackageError
from mcpbox.packages.model import Package
from mcpbox.packages.npmrc import Sources

_NAME = re.compile(r"(?:@[A-Za-z0-9~_-][A-Za-z0-9._~-]*/)?[A-Za-z0-9~_][A-Za-z0-9._~-]*")
_PATH = re.compile(rf"node_modules/{_NAME.pattern}(?:/node_modules/{_NAME.pattern})*")
_VERSION = re.compile(r"v?[0-9]+\.[0-9]+\.[0-9]+[0-9A-Za-z.+-]*")
_WEAKER = r"(?:md5|sha1|sha256|sha384)-[A-Za-z0-9+/=]+"
#: One sha512 and no other: where there are two, npm is content with either.
_INTEGRITY = re.compile(rf"(?:{_WEAKER} )*(sha512-[A-Za-z0-9+/]{{86}}==)(?: {_WEAKER})*")
_RANGE = re.compile(r"[^:/]*")
#: What npm takes for a file whatever stands around it.
_FILE = re.compile(r"(?i).*\.(?:tgz|tar\.gz|tar)")


class Entry(Struct, frozen=True, rename="camel"):
    """What of a lock's entry counts here; the names are npm's."""

    name: str = ""
    version: str = ""
    resolved: str = ""
    integrity: str = ""
    link: bool = False
    in_bundle: bool = False
    optional: bool = False
    has_install_script: bool = False
    dependencies: dict[str, str] = {}
    optional_dependencies: dict[str, str] = {}
    peer_dependencies: dict[str, str] = {}
    engines: Any = None
    os: str | list[str] = []
    cpu: str | list[str] = []
    libc: str | list[str] = []

    def installed(self) -> set[str]:
        """The names of the packages it has installed beside it."""
        return {*self.dependencies, *self.optional_dependencies, *self.peer_dependencies}


Entries = Mapping[str, Entry]


class Platform(Struct, frozen=True):
    """What the server will run on, in npm's words: "linux", "x64", "glibc" or "musl"."""

    os: str
    cpu: str
    libc: str


def requirement(text: str) -> tuple[str, str]:
    """The name and the range or tag of "NAME[@RANGE]". Raises PackageError for whatever no registry has."""
    at = text.find("@", 1)
    name, wanted = (text[:at], text[at + 1 :]) if at > 0 else (text, "")
    if not _NAME.fullmatch(name) or _FILE.fullmatch(text) or not _RANGE.fullmatch(wanted) or not text.isprintable():
        raise PackageError(
            f"{text}: only packages of a registry can be pinned, not git, web or file ones",
            "accepted: NAME, NAME@VERSION, @SCOPE/NAME@RANGE",
        )
    return name, wanted or "latest"


def read(lock: Mapping[str, Any]) -> Entries:
    """The entries of a lock by their paths, "" for the root. Raises PackageError."""
    if lock.get("lockfileVersion") not in (2, 3):
        raise PackageError("this npm is too old to pin packages", "use npm 7 or later")
    try:
        entries = msgspec.convert(lock.get("packages"), dict[str, Entry])
    except msgspec.ValidationError as error:
        raise PackageError(f"npm's lock is not understood: {error}") from None
    if "" not in entries:
        raise PackageError("npm's lock is not understood: it has no root")
    return entries


def check(entries: Entries, sources: Sources, platform: Platform) -> dict[str, Package]:
    """The packages that are installed on ``platform``, by their paths. Raises PackageError for a lock that is refused.

    Entries for other platforms are judged like the rest. A bundled package is part of the tarball of the one that
    bundles it, and has its integrity and address.
    """
    judged = {path: _judge(path, entries, sources) for path in entries if path}
    return {path: judged[path] for path in _reached(entries, platform)}


def _judge(path: str, entries: Entries, sources: Sources) -> Package:
    entry = entries[path]
    if not _PATH.fullmatch(path) or "/../" in f"/{path}/" or entry.link:
        raise PackageError(f"{path}: a dependency on a file or directory, which cannot be pinned")
    name, version = entry.name or path.rpartition("node_modules/")[2], entry.version
    for dependency, wanted in entry.dependencies.items():
        if not _from_registry(wanted) and not _bundled(path, dependency, entries):
            raise PackageError(
                f"{name} {version} depends on {dependency} from {_shown(wanted)}, not from a registry",
                "a package like this cannot be pinned; ask its author to publish the dependency",
            )
    if entry.in_bundle:
        outer = path.rpartition("/node_modules/")[0]
        if outer not in entries or not outer:
            raise PackageError(f"{path}: bundled in no package")
        bundler = _judge(outer, entries, sources)
        return Package(name, version, bundler.integrity, bundler.url, entry.has_install_script)
    if not _VERSION.fullmatch(version):
        raise PackageError(f"{name}: {version!r} is not a version")
    registry = sources.of(name)
    if not _same_origin(entry.resolved, registry):
        origin = _shown(entry.resolved) or "nowhere"
        raise PackageError(
            f"{name} {version} would come from {origin}, not from its registry, {registry}",
            "a package like this cannot be pinned; if the address is right, name it in your npm configuration",
        )
    if not (found := _INTEGRITY.fullmatch(entry.integrity)):
        raise PackageError(
            f"{name} {version}: its registry gives no sha512 for it, or several, so it cannot be pinned",
            "publish it again with a current npm",
        )
    return Package(name, version, found[1], entry.resolved, entry.has_install_script)


def _from_registry(wanted: str) -> bool:
    """Whether a dependency's specification names a registry's package: a range, a tag or "npm:NAME@RANGE"."""
    if wanted.startswith("npm:"):
        name, _, rest = wanted[5:].partition("@")
        return bool(_NAME.fullmatch(wanted[4:5] + name) and _RANGE.fullmatch(rest))
    return bool(_RANGE.fullmatch(wanted)) and not _FILE.fullmatch(wanted)


def _bundled(path: str, dependency: str, entries: Entries) -> bool:
    target = _find(path, dependency, entries)
    return target is not None and entries[target].in_bundle


def _same_origin(url: str, registry: str) -> bool:
    try:
        one, other = urlsplit(url), urlsplit(registry)
        same = (one.scheme, one.hostname, one.port) == (other.scheme, other.hostname, other.port)
        return same and not one.username and not one.fragment
    except ValueError:
        return False


def _shown(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//…@", url)[:200]


def _reached(entries: Entries, platform: Platform) -> Iterator[str]:
    """The paths that the root needs here, in order. Raises PackageError where it needs one for another platform."""
    seen, pending = {""}, [""]
    while pending:
        path = pending.pop(0)
        if path:
            yield path
        for dependency in sorted(entries[path].installed()):
            target = _find(path, dependency, entries)
            if target is None or target in seen:
                continue
            seen.add(target)
            found = entries[target]
            if fits(found, platform):
                pending.append(target)
            elif dependency in entries[path].dependencies and not found.optional:
                raise PackageError(
                    f"{dependency} {found.version} is not for {platform.os} on {platform.cpu}",
                    "try --backend docker or --backend bubblewrap, whichever this was not",
                )


def _find(path: str, dependency: str, entries: Entries) -> str | None:
    """Where Node finds ``dependency`` from the package at ``path``."""
    while True:
        candidate = f"{path}/node_modules/{dependency}" if path else f"node_modules/{dependency}"
        if candidate in entries:
            return candidate
        if not path:
            return None
        path = path.rpartition("node_modules/")[0].rstrip("/")


def fits(entry: Entry, platform: Platform) -> bool:
    """Whether a lock's entry is for ``platform``, by its "os", "cpu" and "libc" as npm reads them."""
    return _listed(entry.os, platform.os) and _listed(entry.cpu, platform.cpu) and _listed(entry.libc, platform.libc)


def _listed(wanted: str | list[str], value: str) -> bool:
    words = [wanted] if isinstance(wanted, str) else wanted
    if not words or words == ["any"]:
        return True
    if f"!{value}" in words:
        return False
    return value in words or all(word.startswith("!") for word in words)
