"""Builds a wheel of a source distribution, with no network, from files that were verified before.

That runs the package's code, so it is only done for packages that the user allowed it for by name. The code sees its
own sources and what its build requires, and its directory is its own: it can change nothing but the wheel it makes.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from mcpbox.errors import PackageError
from mcpbox.packages.model import Package, Request, normalised
from mcpbox.packages.pypi_front import WHEEL
from mcpbox.packages.pypi_job import Reach, Source, run
from mcpbox.packages.store import discard, give

if TYPE_CHECKING:
    from mcpbox.packages.pypi_sources import Sources

#: How many packages of a tree may have to be built, and how large a wheel may be.
MOST, WHEEL_BYTES = 16, 1 << 30
#: What a build may ask for: names of an index, never options, files or URLs.
_NAMED = re.compile(r"[A-Za-z0-9][^@/\\]*")


class Built(Struct, frozen=True):
    """A wheel, and the packages it was built with."""

    filename: str
    content: bytes
    requirements: tuple[Package, ...]


def build(
    source: Source,
    request: Request,
    backend: str,
    found: Sources,
    reach: Reach,
    requirements: tuple[Package, ...] | None = None,
) -> Built:
    """Build ``source``, with exactly these requirements, or with what they come to today. Raises PackageError."""
    top = Path(tempfile.mkdtemp(prefix="mcpbox-build-"))
    try:
        give(top)
        work = top / "build"
        job: dict[str, Any] = {"work": str(work), "sources": True, "files": [_file(source.url, source.sha256)]}
        said = run("fetch", found, reach, request, backend, top, job)
        if requirements is None:
            requirements = _resolved(source, said.requires, request, backend, found, reach, top)
        job = {"work": str(work), "files": files(requirements)}
        run("fetch", found, reach, request, backend, top, job)
        job = {"work": str(work), "source": source.filename}
        # No index, no token, no network.
        made = run("build", None, Reach([], [], []), request, backend, top, job).built
        named = WHEEL.fullmatch(made)
        if named is None or normalised(named[1]) != source.name:
            raise PackageError(f"building {source.name} made {made!r}, which is no wheel of it", "do not use it")
        return Built(made, _taken(work, made), requirements)
    finally:
        discard(top)


def files(packages: Sequence[Package]) -> list[dict[str, str]]:
    """What the sandbox is to fetch for these packages."""
    return [_file(package.url, package.integrity.partition(":")[2]) for package in packages]


def source_of(package: Package) -> Source:
    """A package of a plan that has to be built."""
    filename = unquote(urlsplit(package.url).path.rpartition("/")[2])
    return Source(package.name, filename, package.url, package.integrity.partition(":")[2])


def _file(url: str, sha256: str) -> dict[str, str]:
    return {"url": url, "sha256": sha256}


def _resolved(
    source: Source, requires: Sequence[str], request: Request, backend: str, found: Sources, reach: Reach, work: Path
) -> tuple[Package, ...]:
    """The wheels that a build requires."""
    if bad := [text for text in requires if not _NAMED.fullmatch(text)]:
        raise PackageError(f"to build {source.name}, {bad[0]!a} is wanted, which no index has", "build it by hand")
    if not requires:
        return ()
    values = {"requirements": list(requires), "allowed": [], "built": []}
    outcome = run("resolve", found, reach, request, backend, work, values)
    return tuple(Package(each.name, each.version, f"sha256:{each.sha256}", each.url) for each in outcome.packages)


def _taken(work: Path, filename: str) -> bytes:
    """The built wheel, from a directory in which a stranger may have left anything. Raises PackageError."""
    opened = []
    try:
        opened.append(os.open(work, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW))
        opened.append(os.open("out", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=opened[-1]))
        opened.append(os.open(filename, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=opened[-1]))
        if not stat.S_ISREG(os.fstat(opened[-1]).st_mode) or os.fstat(opened[-1]).st_size > WHEEL_BYTES:
            raise PackageError(f"{filename}, as it was built, is not a file, or too large a one", "do not use it")
        with os.fdopen(opened.pop(), "rb") as file:
            return file.read(WHEEL_BYTES)
    except OSError as error:
        raise PackageError(f"{filename}, as it was built: {error.strerror}", "do not use it") from None
    finally:
        for descriptor in opened:
            os.close(descriptor)
