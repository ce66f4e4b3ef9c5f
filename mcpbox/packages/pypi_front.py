"""One index in front of the user's, for pip to see in the install sandbox. The standard library of Python 3.9.

pip takes the highest version that any index has, whoever put it there. So it is shown one index, which answers for a
name with what the first of the user's indexes that has it says, without source distributions and yanked files, and
which reads the metadata of each wheel before pip does.
"""

from __future__ import annotations

import email.parser
import email.policy
import hashlib
import html
import os
import re
import sys
import sysconfig
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

try:
    import tomllib as toml
except ImportError:
    # Before Python 3.11; whatever runs this has a pip.
    from pip._vendor import tomli as toml  # type: ignore[no-redef]

from mcpbox.packages.pypi_web import ACCEPT, PAGE_BYTES, Missing, Refused, Web, entries

FILE_BYTES = 2 << 30
#: What to do where there is no wheel; mcpbox runs nothing of a package unasked while it installs it.
BUILD = "if you trust it: mcpbox package add --allow-scripts={name} …"
#: What a project that does not say is built with: PEP 518.
BUILT_WITH = ("setuptools>=40.8.0", "wheel")
WHEEL = re.compile(
    r"([A-Za-z0-9._]+)-([A-Za-z0-9._!+]+)(-\d[A-Za-z0-9._]*)?-[A-Za-z0-9._]+-[A-Za-z0-9._]+-[A-Za-z0-9._]+\.whl"
)
SDIST = re.compile(r"(.+)-\d[^-]*\.(tar\.gz|tgz|tar\.bz2|tar\.xz|zip)")
DIGESTS = ("sha256", "sha512", "sha384", "sha3_256", "sha3_512", "blake2b")


class Build(Exception):
    """pip wants a source distribution; ``args`` is what is known of it."""


class File:
    """A wheel of an index, or a source distribution of an allowed package."""

    def __init__(self, name: str, url: str, index: str, said: dict[str, Any]) -> None:
        self.name, self.url, self.index = name, url, index
        self.hashes: dict[str, str] = said.get("hashes") or {}
        self.requires: str = said.get("requires-python") or ""
        self.metadata = said.get("core-metadata", said.get("dist-info-metadata")) or None
        self.path: Path | None = None


class Page:
    """What the indexes say of a name. ``sources`` and ``yanked`` are files that do not count."""

    def __init__(self) -> None:
        self.found = False
        self.files: list[File] = []
        self.sources: list[str] = []
        self.allowed: list[File] = []
        self.yanked: dict[str, str] = {}


def normalised(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


class Front:
    """The user's indexes as one."""

    def __init__(self, job: dict[str, Any], web: Web, work: Path, *, metadata: bool) -> None:
        self._indexes: list[dict[str, str]] = job["indexes"]
        self._all = job["strategy"] == "unsafe-best-match"
        self._allowed: set[str] = set(job.get("allowed", ()))
        self._built: list[dict[str, str]] = job.get("built", [])
        self._web, self._work, self._metadata = web, work, metadata
        self._lock = threading.RLock()
        self.pages: dict[str, Page] = {}
        self._links: dict[str, list[dict[str, Any]]] = {}
        self.files: list[File] = []
        #: What ends it all: to be told and not what pip makes of it; ``failed`` is called then.
        self.failure: Exception | None = None
        self.failed: Callable[[], None] | None = None

    def fail(self, error: Exception) -> None:
        self.failure = self.failure or error
        if self.failed:
            self.failed()

    def page(self, name: str) -> Page:
        with self._lock:
            if name not in self.pages:
                page = self.pages[name] = Page()
                for index in self._indexes:
                    try:
                        found = (
                            self._links_of(index["url"], name)
                            if index["kind"] == "links"
                            else self._simple(index["url"], name)
                        )
                    except Missing:
                        continue
                    self._sort(page, name, index["url"], found)
                    if page.found and not self._all:
                        break
            return self.pages[name]

    def _simple(self, index: str, name: str) -> list[dict[str, Any]]:
        url = f"{index}/{name}/" + ("index.html" if index.startswith("file:") else "")
        return entries(*self._web.get(url, ACCEPT))

    def _links_of(self, url: str, name: str) -> list[dict[str, Any]]:
        if url not in self._links:
            path = unquote(urlsplit(url).path)
            if url.startswith("file:") and os.path.isdir(path):
                self._links[url] = [{"filename": each, "url": f"{url}/{each}"} for each in sorted(os.listdir(path))]
            else:
                self._links[url] = entries(*self._web.get(url, ACCEPT))
        mine = [entry for entry in self._links[url] if owner(entry["filename"]) == name]
        if not mine:
            raise Missing(url)
        return mine

    def _sort(self, page: Page, name: str, index: str, found: list[dict[str, Any]]) -> None:
        page.found = True
        for entry in found:
            filename = entry["filename"]
            if owner(filename) != name:
                continue
            if not WHEEL.fullmatch(filename):
                page.sources.append(filename)
                if name in self._allowed and not entry.get("yanked"):
                    self._web.require(entry["url"])
                    page.allowed.append(File(filename, entry["url"], index, entry))
            elif entry.get("yanked"):
                page.yanked[filename] = entry["yanked"] if isinstance(entry["yanked"], str) else ""
            else:
                self._web.require(entry["url"])
                page.files.append(File(filename, entry["url"], index, entry))

    def shown(self, name: str) -> bytes:
        """What pip gets to see of a name."""
        lines = ["<!DOCTYPE html><html><body>"]
        page = self.page(name)
        for file in [*page.files, *map(self._of_source, page.allowed)]:
            with self._lock:
                self.files.append(file)
                number = len(self.files) - 1
            promised = "sha256" in file.hashes and file.path is None
            digest = f"#sha256={file.hashes['sha256']}" if promised else ""
            requires = f' data-requires-python="{html.escape(file.requires)}"' if file.requires else ""
            address = html.escape(f"/file/{number}/{file.name}{digest}")
            # Both names of it: PEP 714.
            readable = self._metadata and WHEEL.fullmatch(file.name)
            told = ' data-dist-info-metadata="true" data-core-metadata="true"' if readable else ""
            lines.append(f'<a href="{address}"{requires}{told}>{html.escape(file.name)}</a>')
        return "\n".join(lines).encode()

    def _of_source(self, file: File) -> File:
        """What was built of a source distribution, if that was done; it goes by the source's address and hash."""
        for built in self._built:
            if built["url"] == file.url:
                made = File(built["wheel"], file.url, file.index, {"hashes": {"sha256": built["sha256"]}})
                made.path = Path(built["path"])
                return made
        return file

    def wheel(self, file: File) -> Path:
        """The wheel, here and verified."""
        with self._lock:
            if not WHEEL.fullmatch(file.name):
                source = download(self._web, file, self._work / f"{len(os.listdir(self._work))}.source")
                digest = hashlib.sha256(source.read_bytes()).hexdigest()
                name = owner(file.name)
                raise Build({"name": name, "filename": file.name, "url": file.url, "sha256": digest})
            if file.path is None:
                file.path = download(self._web, file, self._work / f"{len(os.listdir(self._work))}.whl")
                require_named(metadata_of(file.path), file.name)
            return file.path

    def metadata(self, file: File) -> bytes:
        with self._lock:
            data = None
            if file.metadata:
                try:
                    data, _, _ = self._web.get(f"{file.url}.metadata")
                except Missing:
                    pass
            if data is not None and isinstance(file.metadata, dict):
                verify(data, file.metadata, f"{file.name}.metadata")
            if data is None:
                data = metadata_of(self.wheel(file))
            require_named(data, file.name)
            return data

    def digest(self, file: File) -> str:
        if "sha256" in file.hashes:
            return file.hashes["sha256"]
        return hashlib.sha256(self.wheel(file).read_bytes()).hexdigest()

    def explain(self, said: str) -> Refused:
        """Why pip found nothing, in words that say what to do."""
        sought = re.search(r"No matching distribution found for ([A-Za-z0-9][A-Za-z0-9._-]*)([^\n]*)", said)
        if sought:
            name, rest = normalised(sought[1]), sought[2].strip()
            page = self.pages.get(name) or Page()
            indexes = ", ".join(index["url"] for index in self._indexes)
            if not page.found:
                return Refused(
                    f"there is no package {name} in {indexes}", "is the name right? is the index configured?"
                )
            if page.yanked and not page.files:
                reason = next(filter(None, page.yanked.values()), "no reason is given")
                return Refused(f"every wheel of {name} has been withdrawn (yanked): {reason}", "choose another package")
            if not page.files and page.sources:
                return Refused(
                    f"{name} has source distributions only, and building one runs its code",
                    BUILD.format(name=name),
                )
            pinned = re.match(r"==\s*([A-Za-z0-9._!+]+)", rest)
            withdrawn = [name for name in page.yanked if pinned and name.split("-")[1] == pinned[1]]
            if withdrawn:
                reason = page.yanked[withdrawn[0]] or "no reason is given"
                return Refused(f"{name} {rest} has been withdrawn (yanked): {reason}", "choose another version")
            if any(
                file.startswith(tuple(f"{p}-{pinned[1]}." for p in (name, name.replace("-", "_"))))
                for file in page.sources
                if pinned
            ):
                return Refused(
                    f"{name} {rest} has a source distribution only, and building one runs its code",
                    f"choose another version; or {BUILD.format(name=name)}",
                )
            known = ", ".join(file.name for file in page.files[-3:])
            return Refused(
                f"no wheel of {name} {rest} fits Python {sys.version.split()[0]} on {sysconfig.get_platform()}; "
                f"the first index that has the name has: {known}",
                "another version, another Python, or the order of the indexes",
            )
        lines = [line for line in said.splitlines() if line.strip()]
        return Refused(f"pip: {' | '.join(lines[-4:]) or 'failed, and did not say why'}", "")


def owner(filename: str) -> str:
    """The normalised name of the project that a file belongs to; "" if it is no distribution."""
    found = WHEEL.fullmatch(filename) or SDIST.fullmatch(filename)
    return normalised(found[1]) if found else ""


def verify(data: bytes, hashes: dict[str, str], what: str) -> None:
    for kind in DIGESTS:
        if kind in hashes and hashlib.new(kind, data).hexdigest() != hashes[kind].lower():
            raise Refused(f"{what}: its {kind} is not the one that was promised", "it was changed: do not use it")


def download(web: Web, file: File, path: Path) -> Path:
    with open(path, "wb") as sink:
        web.get(file.url, most=FILE_BYTES, sink=sink)
    for kind in DIGESTS:
        if kind in file.hashes:
            digest = hashlib.new(kind)
            with open(path, "rb") as content:
                while piece := content.read(1 << 20):
                    digest.update(piece)
            if (got := digest.hexdigest()) != file.hashes[kind].lower():
                raise Refused(
                    f"{file.name} is not the file that was promised: its {kind} is {got}, not {file.hashes[kind]}",
                    "it was changed on the index: do not use it",
                )
    return path


def build_requires(path: Path) -> list[str]:
    """What a source distribution says its build requires: PEP 518. Nothing of it is unpacked or run."""
    try:
        data = _project_file(path)
        build = toml.loads(data.decode("utf-8")).get("build-system", {}) if data is not None else {}
        requires = build.get("requires", list(BUILT_WITH))
        # A build back end of setuptools' before 70 asks for this besides.
        more = ["wheel"] if any(normalised(str(each)).startswith("setuptools") for each in requires) else []
        if isinstance(requires, list) and all(isinstance(each, str) for each in requires):
            return [*requires, *more]
    except (OSError, ValueError, EOFError, AttributeError, tarfile.TarError, zipfile.BadZipFile, zlib.error) as error:
        raise Refused(f"{path.name} cannot be read: {error}", "") from None
    raise Refused(f"{path.name}: what its build requires cannot be read", "build it by hand")


def _project_file(path: Path) -> bytes | None:
    """The pyproject.toml at the top of a source distribution."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if re.fullmatch(r"[^/]+/pyproject\.toml", name)]
            return archive.read(names[0]) if names and archive.getinfo(names[0]).file_size <= PAGE_BYTES else None
    with tarfile.open(path) as archive:
        for member in archive:
            if (
                re.fullmatch(r"(\./)?[^/]+/pyproject\.toml", member.name)
                and member.isreg()
                and member.size <= PAGE_BYTES
            ):
                content = archive.extractfile(member)
                return content.read() if content and member.size <= PAGE_BYTES else None
    return None


def metadata_of(path: Path) -> bytes:
    """The METADATA of a wheel. Raises Refused where it is not one."""
    try:
        with zipfile.ZipFile(path) as wheel:
            names = [name for name in wheel.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)]
            if len(names) == 1 and wheel.getinfo(names[0]).file_size <= PAGE_BYTES:
                return wheel.read(names[0])
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, zlib.error) as error:
        raise Refused(f"a wheel cannot be read: {error}", "") from None
    raise Refused("a wheel has no metadata of its own, or more than one", "do not use it")


def require_named(metadata: bytes, what: str) -> None:
    """Raises Refused where a dependency is a URL: pip would fetch it past every index, and build it."""
    message = email.parser.BytesParser(policy=email.policy.compat32).parsebytes(metadata, headersonly=True)
    for value in message.get_all("Requires-Dist") or []:
        if "@" in str(value).partition(";")[0]:
            raise Refused(
                f"{what} depends on a URL and not on a name: {str(value)[:200]}", "mcpbox installs from indexes only"
            )
