"""Writes a resolved tree as a software bill of materials: CycloneDX 1.6, JSON. No I/O."""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mcpbox.errors import PackageError
from mcpbox.packages.model import Ecosystem, Package, Plan, normalised

if TYPE_CHECKING:
    from cyclonedx.model import HashType
    from cyclonedx.model.component import Component
    from packageurl import PackageURL

ALGORITHMS = {"sha1": "SHA-1", "sha256": "SHA-256", "sha384": "SHA-384", "sha512": "SHA-512"}


def cyclonedx(plan: Plan, at: datetime | None = None) -> bytes:
    """The bill of ``plan``, resolved ``at`` (now, without): the same plan and time give the same bytes.

    The root is said to depend on all the others, as the plan has no edges. Raises PackageError where an integrity is
    not in the ecosystem's form.
    """
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import ComponentType
    from cyclonedx.output.json import JsonV1Dot6

    root = _component(plan.ecosystem, plan.root, ComponentType.APPLICATION)
    own = (plan.root.name, plan.root.version)
    rest = {
        (package.name, package.version): _component(plan.ecosystem, package, ComponentType.LIBRARY)
        for package in plan.packages
        if (package.name, package.version) != own
    }
    metadata = BomMetaData(component=root, timestamp=at or datetime.now(UTC))
    metadata.tools.components.add(_mcpbox())
    digest = hashlib.sha256(plan.lockfile).digest()
    bom = Bom(components=rest.values(), metadata=metadata, serial_number=uuid.UUID(bytes=digest[:16], version=4))
    bom.register_dependency(root, rest.values())
    return JsonV1Dot6(bom).output_as_string(indent=2).encode()


def _component(ecosystem: Ecosystem, package: Package, kind: object) -> Component:
    from cyclonedx.model import ExternalReference, ExternalReferenceType, XsUri
    from cyclonedx.model.component import Component, ComponentType

    assert isinstance(kind, ComponentType)
    purl = _purl(ecosystem, package)
    return Component(
        name=purl.name,
        group=purl.namespace,
        version=package.version,
        type=kind,
        purl=purl,
        bom_ref=purl.to_string(),
        hashes=_hashes(package),
        external_references=(
            [ExternalReference(type=ExternalReferenceType.DISTRIBUTION, url=XsUri(package.url))] if package.url else []
        ),
    )


def _purl(ecosystem: Ecosystem, package: Package) -> PackageURL:
    from packageurl import PackageURL

    scope, _, name = package.name.rpartition("/")
    if ecosystem == "pypi":
        return PackageURL("pypi", None, normalised(package.name), package.version)
    return PackageURL("npm", scope or None, name, package.version)


def _hashes(package: Package) -> list[HashType]:
    from cyclonedx.model import HashAlgorithm, HashType

    found = []
    for each in package.integrity.split():
        match = re.fullmatch(r"(\w+)(?:-([A-Za-z0-9+/]+=*)(?:\?.*)?|:([0-9a-f]+))", each)
        if not match or match[1] not in ALGORITHMS:
            raise PackageError(
                f"{package.name} {package.version}: integrity {each}: not understood",
                "accepted: sha512-BASE64 or sha256:HEX",
            )
        digest = match[3] or base64.b64decode(match[2]).hex()
        found.append(HashType(alg=HashAlgorithm(ALGORITHMS[match[1]]), content=digest))
    return found


def _mcpbox() -> Component:
    from importlib.metadata import version

    from cyclonedx.model.component import Component, ComponentType

    return Component(name="mcpbox", version=version("mcpbox"), type=ComponentType.APPLICATION)
