"""What is looked at before a package is installed: its name, its age, advisories, signatures and attestations."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from mcpbox import config, paths
from mcpbox.errors import PackageError
from mcpbox.packages import spec
from mcpbox.packages.model import Ecosystem, Package, Plan, Request

if TYPE_CHECKING:
    from mcpbox.packages import npmrc
    from mcpbox.packages.provenance import Fetch

#: Most malicious releases are found and withdrawn within days.
YOUNG = timedelta(days=3)
MALICIOUS = "malicious: "


class Verdict(Struct, frozen=True):
    """``concerns`` are for a person to judge; ``provenance`` is "verified" or "absent" of the tree as a whole."""

    concerns: tuple[str, ...]
    provenance: str


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

    concerns = known(plan)
    verdicts = provenance.verify(replace(plan, packages=plan.everything), _fetch(plan.ecosystem, backend))
    if failed := [f"{one.name} {one.version}: {one.detail}" for one in verdicts if one.status == "failed"]:
        raise PackageError(f"where it comes from cannot be verified: {'; '.join(failed[:3])}", "do not install it")
    published = _age(plan.ecosystem)(plan.root.name, plan.root.version, backend)
    if published is not None and datetime.now(UTC) - _aware(published) < YOUNG:
        concerns.append(f"{plan.root.name} {plan.root.version} was published on {published:%Y-%m-%d}, a few days ago")
    return Verdict(tuple(concerns), provenance.overall(verdicts))


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


def _age(ecosystem: Ecosystem) -> Callable[[str, str, str], datetime | None]:
    if ecosystem == "npm":
        from mcpbox.packages import npm

        return npm.age
    from mcpbox.packages import pypi

    return pypi.age


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


def _aware(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)
