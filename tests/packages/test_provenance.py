from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from msgspec.structs import replace

from mcpbox.errors import PackageError
from mcpbox.packages.attestations import Failed, signed_by_builder
from mcpbox.packages.model import Ecosystem, Package, Plan
from mcpbox.packages.provenance import JSON, Verdict, _repository, _require_declared, client, overall, released, verify

DATA = Path(__file__).parent / "data"
INTEGRITY = "sha512-" + base64.b64encode(bytes(64)).decode()
PACKAGE = Package("@scope/server", "1.0.0", INTEGRITY, "")
KEY = ec.generate_private_key(ec.SECP256R1())
#: A signature that npm's own registry made (axios 0.1.0), and the key that it listed until it expired.
AXIOS = Package(
    "axios",
    "0.1.0",
    "sha512-hRPotWTy88LEsJ31RWEs2fmU7mV2YJs3Cw7Tk5XkKGtnT5NKOyIvPU+6qTWfwQFusxzChe8ozjay8r56wfpX8w==",
    "",
)
AXIOS_KEYID = "SHA256:jl3bwswu80PjjokCgh0o2w5c2U4LhQAE57gj9cz1kzA"
AXIOS_SIGNATURE = "MEYCIQC/cOvHsV7UqLAet6WE89O4Ga3AUHgkqqoP0riLs6sgTAIhAIrePavu3Uw0T3vLyYMlfEI9bqENYjPzH5jGK8vYQVJK"
AXIOS_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE1Olb3zMAFFxXKHiIkQO5cJ3Yhl5i6UPp+IhuteBJbuHcA5UogKo0EWtlWwW6KSaKoTNEYL7JlCQi"
    "VnkhBktUgg=="
)


class Registry:
    """A registry on loopback that answers with ``pages`` by path, and keeps what it was asked."""

    def __init__(self) -> None:
        self.pages: dict[str, Any] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        registry = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.asked.append((self.path, self.headers["Accept"], self.headers["Authorization"]))
                page = registry.pages.get(self.path)
                status = page if isinstance(page, int) else 404 if page is None else 200
                body = b"" if page is None or isinstance(page, int) else page
                if not isinstance(body, bytes):
                    body = json.dumps(body).encode()
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "http://127.0.0.1:9/elsewhere")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def judge(self, *packages: Package, ecosystem: Ecosystem = "npm", path: str = "") -> list[Verdict]:
        plan = Plan(ecosystem, packages[0], packages, b"")
        return verify(plan, client(self.url + path, authorization="Bearer secret", proxy={}))

    def publish(self, package: Package = PACKAGE, key: ec.EllipticCurvePrivateKey = KEY, **dist: Any) -> dict[str, Any]:
        """Serve a version that is signed as it should be, unless ``dist`` says otherwise."""
        signature = sign(f"{package.name}@{package.version}:{package.integrity}".encode(), key)
        manifest = {
            "name": package.name,
            "version": package.version,
            "dist": {"integrity": package.integrity, "signatures": [{"keyid": "SHA256:1", "sig": signature}], **dist},
        }
        self.pages[f"/{package.name.replace('/', '%2F')}/{package.version}"] = manifest
        self.pages.setdefault("/-/npm/v1/keys", {"keys": [listed(KEY)]})
        return manifest


@pytest.fixture
def registry() -> Iterator[Registry]:
    found = Registry()
    yield found
    found.server.shutdown()
    found.thread.join()
    found.server.server_close()


def sign(message: bytes, key: ec.EllipticCurvePrivateKey = KEY) -> str:
    return base64.b64encode(key.sign(message, ec.ECDSA(hashes.SHA256()))).decode()


def listed(pair: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, **changed: Any) -> dict[str, Any]:
    public = pair.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    kind = "ecdsa-sha2-nistp256"
    return {
        "keyid": "SHA256:1",
        "keytype": kind,
        "scheme": kind,
        "key": base64.b64encode(public).decode(),
        "expires": None,
        **changed,
    }


def test_a_signature_that_holds_is_verified_and_the_token_goes_to_the_registry(registry: Registry) -> None:
    registry.publish()
    assert registry.judge(PACKAGE) == [Verdict("@scope/server", "1.0.0", "verified", "signed by the registry")]
    assert ("/@scope%2Fserver/1.0.0", "application/json", "Bearer secret") in registry.asked


def test_a_signature_of_the_real_registry_holds_up_to_its_keys_expiry(registry: Registry) -> None:
    registry.publish(AXIOS, signatures=[{"keyid": AXIOS_KEYID, "sig": AXIOS_SIGNATURE}])
    key = listed(KEY, keyid=AXIOS_KEYID, key=AXIOS_KEY, expires="2025-01-29T00:00:00.000Z")
    registry.pages["/-/npm/v1/keys"] = {"keys": [key]}
    registry.pages["/axios"] = {"time": {"0.1.0": "2014-08-29T23:08:36.810Z"}, "versions": {}}
    assert [each.status for each in registry.judge(AXIOS)] == ["verified"]
    registry.pages["/axios"]["time"]["0.1.0"] = "2025-02-01T00:00:00.000Z"
    assert [(each.status, "expired 2025-01-29" in each.detail) for each in registry.judge(AXIOS)] == [("failed", True)]
    del registry.pages["/axios"]["time"]
    assert [each.status for each in registry.judge(AXIOS)] == ["failed"]


@pytest.mark.parametrize(
    ("keys", "dist", "detail"),
    [
        ([listed(KEY)], {"signatures": []}, "not signed, though the registry serves signing keys"),
        ([listed(KEY)], {"signatures": None}, "not signed, though the registry serves signing keys"),
        ([listed(KEY)], {"signatures": [{"keyid": "SHA256:2", "sig": ""}]}, "signed with SHA256:2, which is not among"),
        ([listed(KEY)], {"signatures": [{"keyid": "SHA256:1", "sig": "AAAA"}]}, "does not hold"),
        ([listed(KEY)], {"signatures": [{"keyid": "SHA256:1", "sig": "*"}]}, "does not hold"),
        ([listed(KEY)], {"signatures": [{"keyid": "SHA256:1", "sig": sign(b"another")}]}, "does not hold"),
        ([listed(KEY)], {"integrity": "sha512-AAAA"}, "another integrity than the one that was resolved"),
        ([listed(ec.generate_private_key(ec.SECP256R1()))], {}, "does not hold"),
        ([listed(KEY, key="AAAA")], {}, "key SHA256:1: cannot be read"),
        ([listed(KEY, scheme="ed25519")], {}, "not ecdsa-sha2-nistp256"),
        ([listed(ec.generate_private_key(ec.SECP384R1()))], {}, "key SHA256:1: not ecdsa-sha2-nistp256"),
        ([listed(rsa.generate_private_key(65537, 2048))], {}, "key SHA256:1: not ecdsa-sha2-nistp256"),
        ([listed(KEY, expires="soon")], {}, "which expired soon"),
    ],
)
def test_a_signature_that_does_not_hold_fails(
    registry: Registry, keys: list[dict[str, Any]], dist: dict[str, Any], detail: str
) -> None:
    registry.publish(**dist)
    registry.pages["/-/npm/v1/keys"] = {"keys": keys}
    (verdict,) = registry.judge(PACKAGE)
    assert (verdict.status, detail in verdict.detail) == ("failed", True), verdict


def test_one_signature_that_holds_does_not_make_up_for_another(registry: Registry) -> None:
    manifest = registry.publish()
    manifest["dist"]["signatures"].append({"keyid": "SHA256:1", "sig": sign(b"another")})
    assert [each.status for each in registry.judge(PACKAGE)] == ["failed"]


def test_an_answer_about_another_package_or_in_another_form_fails(registry: Registry) -> None:
    manifest = registry.publish()
    manifest["version"] = "0.9.0"
    assert registry.judge(PACKAGE)[0].detail == "the registry answers about @scope/server@0.9.0"
    registry.pages["/@scope%2Fserver/1.0.0"] = {"name": "@scope/server"}
    assert (registry.judge(PACKAGE)[0].status, registry.judge(PACKAGE)[0].detail) == (
        "failed",
        "Object missing required field `version`",
    )


def test_a_registry_without_keys_or_that_does_not_know_the_version_has_nothing(registry: Registry) -> None:
    registry.publish()
    registry.pages["/-/npm/v1/keys"] = 404
    assert registry.judge(PACKAGE)[0].detail == "the registry serves no keys and no attestations"
    unknown = replace(PACKAGE, name="unknown")
    assert [each.status for each in registry.judge(PACKAGE, unknown)] == ["absent", "absent"]


def test_a_registry_that_tells_of_versions_in_the_packument_alone(registry: Registry) -> None:
    manifest = registry.publish()
    registry.pages["/@scope%2Fserver"] = {"versions": {"1.0.0": manifest}}
    registry.pages["/@scope%2Fserver/1.0.0"] = 404
    assert [each.status for each in registry.judge(PACKAGE)] == ["verified"]


def test_when_a_version_was_published_is_what_the_registry_says(registry: Registry) -> None:
    fetch = client(registry.url, proxy={})
    registry.pages["/leaf"] = {"time": {"1.0.0": "2026-01-02T03:04:05.000Z", "2.0.0": 7}, "versions": {}}
    when = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    for version, expected in (("1.0.0", when), ("2.0.0", None), ("3.0.0", None)):
        assert released(Package("leaf", version, "", ""), "npm", fetch) == expected
    files = [{"filename": "a-1.0.whl", "upload-time": "2026-01-02T03:04:05Z"}, {"filename": "a-2.0.whl"}]
    registry.pages["/a/"] = {"files": files}
    for name, expected in (("a-1.0.whl", when), ("a-2.0.whl", None), ("a-3.0.whl", None)):
        assert released(Package("a", "", "", f"https://x/{name}"), "pypi", fetch) == expected
    registry.pages["/a/"] = b"<html>"
    assert released(Package("a", "", "", "https://x/a-1.0.whl"), "pypi", fetch) is None


def test_a_proxy_is_asked_in_the_registrys_stead(registry: Registry) -> None:
    """But not for the hosts that are exempt from it."""
    registry.pages["http://registry.test/leaf"] = {"versions": {}}
    fetch = client("http://registry.test/", proxy={"http": registry.url})
    assert fetch("leaf", "leaf", JSON) == b'{"versions": {}}'
    registry.pages["/leaf"] = {"versions": {"direct": {}}}
    direct = client(registry.url, proxy={"http": "http://127.0.0.1:9", "no": "127.0.0.1"})
    assert b"direct" in (direct("leaf", "leaf", JSON) or b"")


@pytest.mark.parametrize(("answer", "message"), [(500, "answers 500"), (401, "answers 401"), (302, "answers 302")])
def test_a_registry_that_cannot_be_asked_is_an_error_and_not_absence(
    registry: Registry, answer: int, message: str
) -> None:
    registry.publish()
    registry.pages["/-/npm/v1/keys"] = answer
    with pytest.raises(PackageError, match=message):
        registry.judge(PACKAGE)
    registry.pages["/-/npm/v1/keys"] = b"<html>"
    with pytest.raises(PackageError, match="signing keys cannot be read"):
        registry.judge(PACKAGE)


def test_a_registry_that_is_down_is_an_error_and_a_directory_serves_nothing() -> None:
    with pytest.raises(PackageError, match="Connection refused"):
        client("http://127.0.0.1:9/", proxy={})("a", "a", "application/json")
    assert client("file:///srv/packages")("a", "a", "application/json") is None


def statement(package: Package = PACKAGE, **changed: Any) -> dict[str, Any]:
    digest = base64.b64decode(package.integrity[7:]).hex()
    name = f"pkg:npm/{package.name.replace('@', '%40')}@{package.version}"
    return {"subject": [{"name": name, "digest": {"sha512": digest}, **changed}]}


def envelope(said: Any, kind: str = "application/vnd.in-toto+json", keyid: str = "SHA256:1") -> dict[str, Any]:
    payload = json.dumps(said).encode()
    message = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)
    return {
        "verificationMaterial": {"publicKey": {"hint": keyid}},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": kind,
            "signatures": [{"sig": sign(message)}],
        },
    }


def spoilt() -> dict[str, Any]:
    found = envelope(statement())
    found["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement(name="x")).encode()).decode()
    return found


@pytest.mark.parametrize(
    ("bundle", "status", "detail"),
    [
        (envelope(statement()), "verified", "signed by the registry, attested by the registry"),
        (envelope(statement(name="pkg:npm/other@1.0.0")), "failed", "an attestation about something else"),
        (envelope(statement(digest={"sha512": "00"})), "failed", "an attestation about something else"),
        (envelope(statement(digest={})), "failed", "an attestation about something else"),
        (envelope(["no"]), "failed", "an attestation that cannot be read"),
        (envelope(statement(), keyid="SHA256:2"), "failed", "not among the registry's keys"),
        (envelope(statement(), kind="text/plain"), "failed", "an attestation of type text/plain"),
        (spoilt(), "failed", "the registry's attestation does not hold"),
        ({"verificationMaterial": {"publicKey": {}}}, "failed", "an attestation that cannot be read"),
        ({}, "failed", "its attestation does not hold"),
        (None, "failed", "says that there are attestations and does not serve them"),
    ],
)
def test_attestations_of_the_registry_hold_for_this_very_package(
    registry: Registry, bundle: dict[str, Any] | None, status: str, detail: str
) -> None:
    registry.publish(attestations={"url": "http://127.0.0.1:9/"})
    if bundle is not None:
        registry.pages["/-/npm/v1/attestations/@scope%2Fserver@1.0.0"] = {"attestations": [{"bundle": bundle}]}
    (verdict,) = registry.judge(PACKAGE)
    assert (verdict.status, detail in verdict.detail) == (status, True), verdict


def test_no_attestation_at_all_attests_nothing(registry: Registry) -> None:
    """Of a registry without keys, which could sign nothing."""
    registry.publish(attestations={"url": "http://127.0.0.1:9/"})
    del registry.pages["/-/npm/v1/keys"]
    registry.pages["/-/npm/v1/attestations/@scope%2Fserver@1.0.0"] = {"attestations": []}
    (verdict,) = registry.judge(PACKAGE)
    assert (verdict.status, "does not serve them" in verdict.detail) == ("failed", True), verdict


def sigstore_bundle(file: str = "pep740.json") -> dict[str, Any]:
    """What a real build service signed; it is about a package of PyPI."""
    from pypi_attestations import Provenance

    found = Provenance.model_validate_json((DATA / file).read_bytes())
    bundle: dict[str, Any] = json.loads(found.attestation_bundles[0].attestations[0].to_bundle().to_json())
    return bundle


def test_a_bundle_of_a_build_service_is_verified_offline_and_names_its_repository() -> None:
    said, repository = signed_by_builder(json.dumps(sigstore_bundle()).encode())
    assert repository == "https://github.com/trailofbits/pypi-attestations"
    assert said["subject"][0]["name"] == "pypi_attestations-0.0.19.tar.gz"


def test_a_bundle_that_somebody_else_signed_does_not_hold() -> None:
    with pytest.raises(Failed, match=r"accounts\.google\.com is no build service"):
        signed_by_builder(json.dumps(sigstore_bundle("pep740-google.json")).encode())


def test_the_repository_that_built_it_is_the_one_that_the_package_names() -> None:
    _require_declared("https://github.com/a/b", {"url": "git+https://github.com/A/b.git"})
    _require_declared("https://github.com/a/b", None)
    with pytest.raises(Failed, match=r"built from https://github\.com/x/b, while the package names github\.com/a/b"):
        _require_declared("https://github.com/x/b", "github:a/b")


def test_a_bundle_of_a_build_service_that_was_changed_does_not_hold(registry: Registry) -> None:
    bundle = sigstore_bundle()
    registry.publish(attestations={"url": "x"})
    page = registry.pages["/-/npm/v1/attestations/@scope%2Fserver@1.0.0"] = {"attestations": [{"bundle": bundle}]}
    assert registry.judge(PACKAGE)[0].detail == "an attestation about something else"
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement()).encode()).decode()
    assert page["attestations"][0]["bundle"] is bundle
    with pytest.raises(Failed, match="its attestation does not hold"):
        signed_by_builder(json.dumps(bundle).encode())
    assert registry.judge(PACKAGE)[0].detail.startswith("its attestation does not hold")


WHEEL = Package(
    "pypi-attestations",
    "0.0.19",
    "sha256:9bb1add04b1b4e182be6b0b80931593f7a291eb49d69b4fd728a5d4cbcdc4bd3",
    "https://files.test/packages/pypi_attestations-0.0.19.tar.gz#sha256=x",
)
#: What the real index served for that release (pep740.json), and for one that Google Cloud built (pep740-google.json).
PROVENANCE = "/integrity/pypi-attestations/0.0.19/provenance"


def publish_pypi(registry: Registry, **changed: Any) -> None:
    file = {"filename": "pypi_attestations-0.0.19.tar.gz", "provenance": registry.url[:-1] + PROVENANCE, **changed}
    registry.pages["/simple/pypi-attestations/"] = {"files": [{"filename": "other.whl"}, file]}
    registry.pages[PROVENANCE] = (DATA / "pep740.json").read_bytes()


def test_a_real_attestation_of_pypi_is_verified_offline(registry: Registry) -> None:
    publish_pypi(registry)
    (verdict,) = registry.judge(WHEEL, ecosystem="pypi", path="simple/")
    assert (verdict.status, verdict.detail) == ("verified", "published by trailofbits/pypi-attestations")
    assert ("/simple/pypi-attestations/", "application/vnd.pypi.simple.v1+json", "Bearer secret") in registry.asked


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"trailofbits/pypi-attestations", b"somebody/pypi-attestations"),
        (b'"workflow":"release.yml"', b'"workflow":"other.yml"'),
        (b'"signature":"ME', b'"signature":"MF'),
        (b'"attestation_bundles":[{', b'"attestation_bundles":[],"x":[{'),
        (b'"attestation_bundles":', b'"bundles":'),
    ],
)
def test_an_attestation_of_pypi_that_was_changed_fails(registry: Registry, old: bytes, new: bytes) -> None:
    publish_pypi(registry)
    page = registry.pages[PROVENANCE]
    assert old in page
    registry.pages[PROVENANCE] = page.replace(old, new)
    (verdict,) = registry.judge(WHEEL, ecosystem="pypi", path="simple/")
    assert verdict.status == "failed", verdict


def test_an_attestation_of_pypi_about_other_bytes_or_another_file_fails(registry: Registry) -> None:
    publish_pypi(registry)
    other = replace(WHEEL, integrity="sha256:" + "0" * 64)
    (verdict,) = registry.judge(other, ecosystem="pypi", path="simple/")
    assert (verdict.status, "digest" in verdict.detail) == ("failed", True)
    publish_pypi(registry, filename="pypi_attestations-0.0.20.tar.gz")
    newer = replace(WHEEL, url="https://files.test/pypi_attestations-0.0.20.tar.gz")
    (verdict,) = registry.judge(newer, ecosystem="pypi", path="simple/")
    assert (verdict.status, "name" in verdict.detail) == ("failed", True)


@pytest.mark.parametrize(
    ("page", "detail"),
    [
        (None, "does not speak JSON"),
        (b" <!DOCTYPE html>", "does not speak JSON"),
        ({"files": []}, "serves no attestations"),
        ({"files": [{"filename": "pypi_attestations-0.0.19.tar.gz"}]}, "serves no attestations"),
        (
            {"files": [{"filename": "pypi_attestations-0.0.19.tar.gz", "provenance": "http://127.0.0.2/x"}]},
            "not on the index's host",
        ),
    ],
)
def test_an_index_of_pypi_without_attestations_has_nothing(registry: Registry, page: Any, detail: str) -> None:
    registry.pages["/simple/pypi-attestations/"] = page
    (verdict,) = registry.judge(WHEEL, ecosystem="pypi", path="simple/")
    assert (verdict.status, detail in verdict.detail) == ("absent", True), verdict


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["verified", "verified"], "verified"),
        (["verified", "absent"], "absent"),
        (["verified", "absent", "failed"], "failed"),
        ([], "absent"),
    ],
)
def test_a_tree_is_what_its_packages_are(statuses: list[Any], expected: str) -> None:
    assert overall([Verdict("a", "1", status, "") for status in statuses]) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"type": "git", "url": "git+https://github.com/A/b.git"}, "github.com/a/b"),
        ("git@github.com:a/b.git", "github.com/a/b"),
        ("git+ssh://git@github.com/a/b.git#main", "github.com/a/b"),
        ("github:a/b", "github.com/a/b"),
        ("https://gitlab.com/a/b/c", "gitlab.com/a/b/c"),
        ("https://example.com/a", ""),
        (None, ""),
    ],
)
def test_a_repository_is_the_same_however_it_is_written(value: Any, expected: str) -> None:
    assert _repository(value) == expected
