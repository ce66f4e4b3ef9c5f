"""Verifies Sigstore bundles offline, with the trust root that the library brings.

The library keeps a copy of that trust root among the user's cached files; it is never refreshed from here.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import msgspec

from mcpbox.packages.model import Package

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from sigstore.verify import Verifier

STATEMENT = "application/vnd.in-toto+json"
_FIRST = threading.Lock()

#: The build services whose identity npm accepts in a provenance attestation.
BUILDERS = ("https://token.actions.githubusercontent.com", "https://gitlab.com", "https://oidc.circleci.com/")
#: Extensions of Fulcio's certificates (fulcio docs/oid-info.md): the issuer and the repository of the build.
ISSUER, REPOSITORY = "1.3.6.1.4.1.57264.1.8", "1.3.6.1.4.1.57264.1.12"


class Failed(Exception):
    """What is there does not hold."""


def signed_by_builder(bundle: bytes) -> tuple[Any, str]:
    """The statement of a Sigstore bundle and the repository that its certificate names."""
    from sigstore.errors import Error
    from sigstore.models import Bundle

    builder = _Builder()
    try:
        kind, payload = _verifier().verify_dsse(Bundle.from_json(bundle), builder)
    except (Error, ValueError) as error:
        raise Failed(f"its attestation does not hold: {error}") from None
    if kind != STATEMENT:
        raise Failed(f"an attestation of type {kind}")
    return msgspec.json.decode(payload), builder.repository


class _Builder:
    """A policy for sigstore: the certificate is a build service's, and names the repository."""

    repository = ""

    def verify(self, cert: Certificate) -> None:
        from sigstore.errors import VerificationError

        found = {each.oid.dotted_string: each.value.public_bytes() for each in cert.extensions}
        issuer, self.repository = _utf8(found.get(ISSUER, b"")), _utf8(found.get(REPOSITORY, b""))
        if not any(issuer == known or (known.endswith("/") and issuer.startswith(known)) for known in BUILDERS):
            raise VerificationError(f"{issuer or 'nobody'} is no build service that npm accepts")
        if not self.repository:
            raise VerificationError("its certificate names no repository")


def _utf8(der: bytes) -> str:
    """A DER UTF8String's text; "" where it is none."""
    if der[:1] != b"\x0c" or len(der) < 2:
        return ""
    start = 2 + (der[1] & 0x7F if der[1] & 0x80 else 0)
    return der[start:].decode(errors="replace")


def published(data: bytes, filename: str, package: Package) -> str:
    """Who published it, as the index says and the certificates confirm."""
    from pypi_attestations import AttestationError, Distribution, Provenance

    _verifier()
    digest = next((each[7:] for each in package.integrity.split() if each.startswith("sha256:")), "")
    sources = []
    try:
        distribution = Distribution(name=filename, digest=digest)
        for bundle in Provenance.model_validate_json(data).attestation_bundles:
            for attestation in bundle.attestations:
                attestation.verify(bundle.publisher, distribution, offline=True)
                told = bundle.publisher.model_dump()
                sources.append(str(told.get("repository") or told.get("email") or told.get("vcs_origin") or ""))
    except (AttestationError, ValueError) as error:
        raise Failed(f"its attestation does not hold: {error}") from None
    if not sources:
        raise Failed("the index says that there are attestations and serves none")
    return sources[0]


def _verifier() -> Verifier:
    from sigstore.verify import Verifier

    # Silent about what is meant here: no update of the trust root, and a policy of our own.
    logging.getLogger("sigstore").setLevel(logging.ERROR)
    with _FIRST:
        # The first one writes the trust root that all the others read, those that pypi_attestations makes too.
        return Verifier.production(offline=True)
