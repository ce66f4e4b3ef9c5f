"""Verifies what a registry serves about where a package comes from: signatures of npm, attestations of npm and PyPI.

npm: registry signatures (ECDSA P-256 over "NAME@VERSION:INTEGRITY") and attestations (Sigstore bundles around in-toto
statements). PyPI: attestations (PEP 740). The keys for npm's signatures come from the same registry, so they show that
nothing between the registry and this machine changed the package, not that the registry is honest. Attestations are
held against the trust root that the sigstore library brings, without asking Sigstore: a signer that is newer than the
library fails. They say which repository built a package; whether that is the right one is for the user to judge, and
for the lock to hold.
"""

from __future__ import annotations

import base64
import ssl
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass_environment  # type: ignore[attr-defined]

import msgspec
import urllib3
from msgspec import Struct

from mcpbox.errors import PackageError
from mcpbox.packages.attestations import STATEMENT, Failed, published, signed_by_builder
from mcpbox.packages.model import Ecosystem, Package, Plan

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

Status = Literal["verified", "absent", "failed"]

#: (name of a package, path below its registry, media type) → what is there; None where nothing is. Called by threads.
Fetch = Callable[[str, str, str], bytes | None]

JSON = "application/json"
SIMPLE = "application/vnd.pypi.simple.v1+json"
NISTP256 = "ecdsa-sha2-nistp256"
MAX_BODY = 64 << 20
TIMEOUT = 30.0
#: Seconds before a question is put again.
PAUSES = (0.3, 1.5, 4.0)
THREADS = 12


class Verdict(Struct, frozen=True):
    """What could be verified of one package: ``status`` with a ``detail`` in words."""

    name: str
    version: str
    status: Status
    detail: str


class _Key(Struct, frozen=True):
    keyid: str
    keytype: str
    scheme: str
    key: str
    expires: str | None = None


class _Keys(Struct, frozen=True):
    keys: list[_Key]


class _Signature(Struct, frozen=True):
    keyid: str
    sig: str


class _Dist(Struct, frozen=True):
    integrity: str = ""
    signatures: list[_Signature] | None = None
    attestations: Any = None


class _Manifest(Struct, frozen=True):
    name: str
    version: str
    dist: _Dist
    repository: Any = None


class _Packument(Struct, frozen=True):
    time: dict[str, Any] | None = None
    versions: dict[str, _Manifest] = {}


class _Attestation(Struct, frozen=True):
    bundle: dict[str, Any]


class _Attestations(Struct, frozen=True):
    attestations: list[_Attestation]


class _File(Struct, frozen=True):
    filename: str
    provenance: str | None = None
    uploaded: str | None = msgspec.field(default=None, name="upload-time")


class _Project(Struct, frozen=True):
    files: list[_File]


def verify(plan: Plan, fetch: Fetch) -> list[Verdict]:
    """One verdict for each package of the plan. Raises PackageError where the registry cannot be asked."""
    packages = list(dict.fromkeys(plan.packages))
    if plan.ecosystem == "pypi":
        judge = _judge_pypi
    else:
        keys: dict[str, Mapping[str, _Key] | None] = {}
        for package in packages:
            if (scope := _scope(package.name)) not in keys:
                keys[scope] = _registry_keys(package.name, fetch)

        def judge(package: Package, fetch: Fetch) -> Verdict:
            return _judge_npm(package, fetch, keys[_scope(package.name)])

    def judged(package: Package) -> Verdict:
        try:
            return judge(package, fetch)
        except (Failed, msgspec.DecodeError, RecursionError) as error:
            return Verdict(package.name, package.version, "failed", str(error))

    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(judged, packages))


def overall(verdicts: list[Verdict]) -> Status:
    """The tree's: failed where one did, verified where all are, else absent."""
    statuses = {verdict.status for verdict in verdicts}
    if "failed" in statuses:
        return "failed"
    return "verified" if statuses == {"verified"} else "absent"


def client(
    registry: str, *, authorization: str = "", cafile: str = "", proxy: Mapping[str, str] | None = None
) -> Fetch:
    """A Fetch for one registry over HTTP; of a directory (file:) there is nothing to fetch.

    ``proxy`` maps schemes to proxies; None takes the environment's. No redirect is followed: ``authorization`` is for
    this registry alone. The Fetch raises PackageError for every answer but 200, 400 and 404.
    """
    base = registry if registry.endswith("/") else f"{registry}/"
    if urlsplit(base).scheme not in ("http", "https"):
        return lambda name, path, accept: None
    parts = urlsplit(base)
    headers = {"Authorization": authorization} if authorization else {}
    pool = _pool(parts.scheme, parts.hostname or "", cafile, getproxies() if proxy is None else proxy)

    def fetch(name: str, path: str, accept: str) -> bytes | None:
        url = urljoin(base, path)
        if _origin(url) != _origin(base):
            return None
        # A tree is a hundred questions, and one lost answer must not end its preparation.
        for pause in (*PAUSES, None):
            try:
                answer = pool.request(
                    "GET", url, headers={"Accept": accept, **headers}, redirect=False, preload_content=False
                )
                body: bytes = answer.read(MAX_BODY + 1, decode_content=True)
                answer.release_conn()
                break
            except (urllib3.exceptions.HTTPError, OSError) as error:
                if pause is None:
                    hint = "is the registry up, and your configuration right?"
                    raise PackageError(f"{url}: {getattr(error, 'reason', None) or error}", hint) from None
                time.sleep(pause)
        if answer.status in (400, 404):
            return None
        if answer.status != 200:
            raise PackageError(f"{url}: the registry answers {answer.status}", "try again later")
        if len(body) > MAX_BODY:
            raise PackageError(f"{url}: more than {MAX_BODY >> 20} MiB")
        return body

    return fetch


def _pool(scheme: str, host: str, cafile: str, proxies: Mapping[str, str]) -> urllib3.PoolManager:
    """Connections that are kept: a tree is a hundred questions to one host."""
    context = ssl.create_default_context(cafile=cafile or None)
    timeout = urllib3.Timeout(TIMEOUT)
    through = "" if proxy_bypass_environment(host, dict(proxies)) else proxies.get(scheme, "")
    if not through:
        return urllib3.PoolManager(maxsize=THREADS, ssl_context=context, timeout=timeout, retries=False)
    parts = urlsplit(through if "://" in through else f"http://{through}")
    login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}" if parts.username else None
    return urllib3.ProxyManager(
        urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], "", "", "")),
        proxy_headers=urllib3.make_headers(proxy_basic_auth=login),
        maxsize=THREADS,
        ssl_context=context,
        timeout=timeout,
        retries=False,
    )


def released(package: Package, ecosystem: Ecosystem, fetch: Fetch) -> datetime | None:
    """When this version was published, where the registry says. Raises PackageError."""
    if ecosystem == "npm":
        return _time((_packument(package, fetch).time or {}).get(package.version))
    filename = unquote(urlsplit(package.url).path.rpartition("/")[2])
    return next((_time(each.uploaded) for each in _listed(package, fetch) or () if each.filename == filename), None)


def _judge_npm(package: Package, fetch: Fetch, keys: Mapping[str, _Key] | None) -> Verdict:
    manifest = _manifest(package, fetch)
    if manifest is None:
        return Verdict(package.name, package.version, "absent", "the registry does not tell about this version")
    details = []
    if keys:
        details.append(_signatures(package, manifest, keys, fetch))
    if manifest.dist.attestations:
        source = _attestations(package, manifest, keys or {}, fetch)
        details.append(f"built from {source}" if source else "attested by the registry")
    if not details:
        return Verdict(package.name, package.version, "absent", "the registry serves no keys and no attestations")
    return Verdict(package.name, package.version, "verified", ", ".join(details))


def _manifest(package: Package, fetch: Fetch) -> _Manifest | None:
    found = fetch(package.name, f"{_quoted(package.name)}/{quote(package.version, safe='')}", JSON)
    if found is not None:
        manifest = msgspec.json.decode(found, type=_Manifest)
    else:
        all_of_them = _packument(package, fetch)
        if package.version not in all_of_them.versions:
            return None
        manifest = all_of_them.versions[package.version]
    if (manifest.name, manifest.version) != (package.name, package.version):
        raise Failed(f"the registry answers about {manifest.name}@{manifest.version}")
    return manifest


def _packument(package: Package, fetch: Fetch) -> _Packument:
    found = fetch(package.name, _quoted(package.name), JSON)
    return msgspec.json.decode(found, type=_Packument) if found is not None else _Packument()


def _registry_keys(name: str, fetch: Fetch) -> Mapping[str, _Key] | None:
    found = fetch(name, "-/npm/v1/keys", JSON)
    if found is None:
        return None
    try:
        return {key.keyid: key for key in msgspec.json.decode(found, type=_Keys).keys}
    except msgspec.DecodeError as error:
        raise PackageError(f"the registry's signing keys cannot be read: {error}", "is it an npm registry?") from None


def _signatures(package: Package, manifest: _Manifest, keys: Mapping[str, _Key], fetch: Fetch) -> str:
    """Every signature holds, as `npm audit signatures` demands too: a registry with keys signs everything."""
    integrity = manifest.dist.integrity
    if not set(package.integrity.split()) & set(integrity.split()):
        raise Failed("the registry now serves another integrity than the one that was resolved")
    if not manifest.dist.signatures:
        raise Failed("not signed, though the registry serves signing keys")
    message = f"{package.name}@{package.version}:{integrity}".encode()
    for signature in manifest.dist.signatures:
        key = keys.get(signature.keyid)
        if key is None:
            raise Failed(f"signed with {signature.keyid}, which is not among the registry's keys")
        if key.expires:
            _require_in_time(package, key, fetch)
        _check(_public_key(key), signature.sig, message, "the registry's signature does not hold")
    return "signed by the registry"


def _require_in_time(package: Package, key: _Key, fetch: Fetch) -> None:
    expires = _time(key.expires)
    published = _time((_packument(package, fetch).time or {}).get(package.version))
    if not published or not expires or published >= expires:
        raise Failed(f"signed with {key.keyid}, which expired {key.expires}")


def _time(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else None


def _public_key(key: _Key) -> EllipticCurvePublicKey:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    if (key.keytype, key.scheme) != (NISTP256, NISTP256):
        raise Failed(f"key {key.keyid}: {key.keytype} {key.scheme}: not {NISTP256}")
    try:
        loaded = load_der_public_key(base64.b64decode(key.key, validate=True))
    except ValueError:
        raise Failed(f"key {key.keyid}: cannot be read") from None
    if not isinstance(loaded, ec.EllipticCurvePublicKey) or not isinstance(loaded.curve, ec.SECP256R1):
        raise Failed(f"key {key.keyid}: not {NISTP256}")
    return loaded


def _check(key: EllipticCurvePublicKey, signature: str, message: bytes, problem: str) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key.verify(base64.b64decode(signature, validate=True), message, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        raise Failed(problem) from None


def _attestations(package: Package, manifest: _Manifest, keys: Mapping[str, _Key], fetch: Fetch) -> str:
    """The repository that they name, or ""; every one of them holds and is about this very package."""
    path = f"-/npm/v1/attestations/{_quoted(package.name)}@{quote(package.version, safe='')}"
    found = fetch(package.name, path, JSON)
    served = msgspec.json.decode(found, type=_Attestations).attestations if found is not None else ()
    if not served:
        raise Failed("the registry says that there are attestations and does not serve them")
    source = ""
    for each in served:
        if "publicKey" in (each.bundle.get("verificationMaterial") or {}):
            statement = _signed_by_registry(each.bundle, keys)
        else:
            statement, source = signed_by_builder(msgspec.json.encode(each.bundle))
        _require_about(statement, package)
    _require_declared(source, manifest.repository)
    return source


def _require_declared(source: str, repository: Any) -> None:
    """npm demands the same when it takes an attestation in."""
    declared = _repository(repository)
    if source and declared and declared != _repository(source):
        raise Failed(f"built from {source}, while the package names {declared}")


def _signed_by_registry(bundle: Mapping[str, Any], keys: Mapping[str, _Key]) -> Any:
    """The statement of npm's own attestation that it published the package (DSSE 1.0)."""
    try:
        envelope = bundle["dsseEnvelope"]
        kind, payload = envelope["payloadType"], base64.b64decode(envelope["payload"], validate=True)
        keyid = bundle["verificationMaterial"]["publicKey"]["hint"]
        signatures = [str(each["sig"]) for each in envelope["signatures"]]
    except (KeyError, TypeError, ValueError):
        raise Failed("an attestation that cannot be read") from None
    if kind != STATEMENT or keyid not in keys or not signatures:
        raise Failed(f"an attestation of type {kind}, signed with {keyid}, which is not among the registry's keys")
    message = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)
    for signature in signatures:
        _check(_public_key(keys[keyid]), signature, message, "the registry's attestation does not hold")
    return msgspec.json.decode(payload)


def _require_about(statement: Any, package: Package) -> None:
    name = f"pkg:npm/{quote(package.name, safe='/')}@{package.version}"
    digests = {base64.b64decode(each[7:]).hex() for each in package.integrity.split() if each.startswith("sha512-")}
    try:
        fits = any(each["name"] == name and each["digest"].get("sha512") in digests for each in statement["subject"])
    except (KeyError, TypeError, AttributeError):
        raise Failed("an attestation that cannot be read") from None
    if not fits:
        raise Failed("an attestation about something else")


def _repository(value: Any) -> str:
    """ "github.com/owner/name" of a package's repository field or of a URL; "" of anything else."""
    url = str(value.get("url", "") if isinstance(value, dict) else value or "").lower()
    for short, host in (("github:", "github.com/"), ("gitlab:", "gitlab.com/")):
        url = url.replace(short, f"https://{host}") if url.startswith(short) else url
    url = url.removeprefix("git+").partition("#")[0]
    if url.startswith("git@"):
        url = "ssh://" + url.replace(":", "/", 1)
    parts = urlsplit(url)
    path = parts.path.strip("/").removesuffix(".git")
    return f"{parts.hostname}/{path}" if parts.hostname in ("github.com", "gitlab.com") and path else ""


def _judge_pypi(package: Package, fetch: Fetch) -> Verdict:
    filename = unquote(urlsplit(package.url).path.rpartition("/")[2])
    page = _listed(package, fetch)
    if page is None:
        return Verdict(package.name, package.version, "absent", "the index does not speak JSON (PEP 691)")
    listed = [each for each in page if each.filename == filename]
    if not listed or not listed[0].provenance:
        return Verdict(package.name, package.version, "absent", "the index serves no attestations for it")
    found = fetch(package.name, urljoin(f"{quote(package.name, safe='')}/", listed[0].provenance), JSON)
    if found is None:
        return Verdict(package.name, package.version, "absent", "its attestations are not on the index's host")
    source = published(found, filename, package)
    return Verdict(package.name, package.version, "verified", f"published by {source}")


def _listed(package: Package, fetch: Fetch) -> list[_File] | None:
    """What the index says of the project's files; None where it does not speak JSON (PEP 691)."""
    page = fetch(package.name, f"{quote(package.name, safe='')}/", SIMPLE)
    if page is None or page.lstrip().startswith(b"<"):
        return None
    return msgspec.json.decode(page, type=_Project).files


def _quoted(name: str) -> str:
    return quote(name, safe="@")


def _scope(name: str) -> str:
    return name.partition("/")[0] if name.startswith("@") else ""


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
