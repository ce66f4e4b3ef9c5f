"""What is looked at before a package is installed: its name, its age, advisories, signatures and attestations."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from mcpbox import config, paths
from mcpbox.errors import McpboxError, PackageError
from mcpbox.packages import spec
from mcpbox.packages.model import Ecosystem, Package, Plan, Request

if TYPE_CHECKING:
    from mcpbox.packages import npmrc
    from mcpbox.packages.provenance import Fetch

#: Most malicious releases are found and withdrawn within days.
YOUNG = timedelta(days=3)
MALICIOUS = "malicious: "
#: Seconds that all of a registry's answers may take.
PATIENCE = 600.0


class Verdict(Struct, frozen=True, tag=True):
    """``concerns`` are for a person to judge; ``provenance`` is "verified" or "absent" of the tree as a whole."""

    concerns: tuple[str, ...]
    provenance: str


class _Refusal(Struct, frozen=True, tag=True):
    message: str
    hint: str


def names(request: Request) -> list[str]:
    """What the names of the packages look like without being it."""
    from mcpbox.packages import lookalike

    found = []
    for requirement in request.packages:
        name = spec.split(request.ecosystem, requirement)[0]
        if reason := lookalike.check(name, request.ecosystem):
            found.append(f"{name} {reason}")
    return found


def judge(plan: Plan, backend: str) -> Verdict:
    """What gives pause about a plan. Raises PackageError for what no approval can mend."""
    from mcpbox.packages import provenance

    concerns, fetch = known(plan), _fetch(plan.ecosystem, backend)
    verdicts = provenance.verify(replace(plan, packages=plan.everything), fetch)
    if failed := [f"{one.name} {one.version}: {one.detail}" for one in verdicts if one.status == "failed"]:
        raise PackageError(f"where it comes from cannot be verified: {'; '.join(failed[:3])}", "do not install it")
    published = provenance.released(plan.root, plan.ecosystem, fetch)
    if published is not None and datetime.now(UTC) - published < YOUNG:
        concerns.append(f"{plan.root.name} {plan.root.version} was published on {published:%Y-%m-%d}, a few days ago")
    return Verdict(tuple(concerns), provenance.overall(verdicts))


class Judging:
    """A plan judged in a process of its own, beside what else there is to do. A context manager.

    Of its own, and no thread: sandboxes are started by forks, which do not go well with threads.
    """

    def __init__(self, plan: Plan, backend: str) -> None:
        self._plan, self._backend = plan, backend
        self._verdict: Verdict | None = None

    def __enter__(self) -> Judging:
        # -P: the current directory is the host's choice, and no place to import from.
        words = [sys.executable, "-P", "-c", "from mcpbox.packages import vet; vet.main()", self._backend]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        assert self._process.stdin
        with suppress(BrokenPipeError), self._process.stdin as stdin:
            stdin.write(msgspec.json.encode(self._plan))
        self._process.stdin = None
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def verdict(self) -> Verdict:
        """Wait for it. Raises PackageError for what no approval can mend."""
        if self._verdict is None:
            try:
                output, errors = self._process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                raise PackageError(
                    f"where {self._plan.root.name} comes from could not be verified within {PATIENCE:.0f} s",
                    "try again; is the registry up?",
                ) from None
            try:
                said = msgspec.json.decode(output, type=Verdict | _Refusal)
            except msgspec.DecodeError:
                last = errors.decode(errors="replace").strip().rpartition("\n")[2]
                raise PackageError(f"{self._plan.root.name} could not be judged: {last}", "try again") from None
            if isinstance(said, _Refusal):
                raise PackageError(said.message, said.hint)
            self._verdict = said
        return self._verdict


def main() -> None:
    """What that process does: a plan on standard input, a verdict on standard output."""
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    said: Verdict | _Refusal
    try:
        said = judge(plan, sys.argv[1])
    except McpboxError as error:
        said = _Refusal(error.message, error.hint)
    sys.stdout.buffer.write(msgspec.json.encode(said))


def known(plan: Plan) -> list[str]:
    """The advisories that hold for a plan. Raises PackageError for a malicious package."""
    concerns = advisories(plan.ecosystem, plan.everything)
    if malicious := [line for line in concerns if line.startswith(MALICIOUS)]:
        raise PackageError("; ".join(malicious), "see the advisory; name a version that it does not hold for")
    return concerns


def advisories(ecosystem: Ecosystem, packages: tuple[Package, ...]) -> list[str]:
    """The advisories that hold for the packages, in words; none where the configuration names no database."""
    if (database := config.load().packages.database) is None:
        return []
    from mcpbox.packages.advisories import match

    lines = []
    for found in match(ecosystem, packages, database):
        mended = f" (mended in {', '.join(found.fixed)})" if found.fixed else ""
        line = f"{found.package} {found.version}: {found.id} {found.summary}".rstrip() + mended
        lines.append(MALICIOUS + line if found.malicious else line)
    return lines


def is_older(ecosystem: Ecosystem, version: str, than: str) -> bool:
    """Whether a version comes before another in its ecosystem's order. Raises PackageError where that has none."""
    from mcpbox.packages.advisories import KEYS

    key = KEYS[ecosystem]
    try:
        return bool(key(version) < key(than))
    except ValueError as error:
        raise PackageError(f"versions {version} and {than} cannot be compared: {error}") from None


def _fetch(ecosystem: Ecosystem, backend: str) -> Fetch:
    """Asks the registries of the user's configuration, with the credentials that it has for each."""
    return _from_npm(backend) if ecosystem == "npm" else _from_pypi(backend)


def _from_npm(backend: str) -> Fetch:
    from mcpbox.packages import npm, npmrc, provenance

    found = npm.sources(backend)
    values = npmrc.read(os.environ, Path.cwd(), paths.home())
    proxy = {name.lower().removesuffix("_proxy"): value for name, value in found.proxy.items()} or None
    cafile = values.get("cafile") or os.environ.get("NODE_EXTRA_CA_CERTS", "")

    @cache
    def of(registry: str) -> Fetch:
        return provenance.client(
            registry, authorization=_authorization(values, registry), cafile=str(cafile), proxy=proxy
        )

    return lambda name, path, accept: of(found.of(name))(name, path, accept)


def _authorization(values: npmrc.Values, registry: str) -> str:
    """npm's credentials for a registry: those of the longest part of its address that has any."""
    parts = urlsplit(registry)
    place = f"//{parts.netloc}{parts.path.rstrip('/')}/"
    while place != "//":
        for key in (place, place.rstrip("/")):
            if token := values.get(f"{key}:_authToken"):
                return f"Bearer {token}"
            if basic := values.get(f"{key}:_auth"):
                return f"Basic {basic}"
        place = place.rstrip("/").rpartition("/")[0] + "/"
    return ""


def _from_pypi(backend: str) -> Fetch:
    from mcpbox.packages import provenance, pypi

    found = pypi.indexes(backend)
    clients = [
        provenance.client(index.url, authorization=index.authorization, cafile=found.certificates)
        for index in found.indexes
        # Where the user has given up on certificates, nothing that is served proves anything.
        if index.kind == "simple" and not index.insecure
    ]

    def fetch(name: str, path: str, accept: str) -> bytes | None:
        return next((body for client in clients if (body := client(name, path, accept)) is not None), None)

    return fetch
