from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from mcpbox.errors import PackageError
from mcpbox.packages.model import Ecosystem, Package, Plan
from mcpbox.packages.sbom import cyclonedx

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NPM = Package("@scope/server", "1.0.0", "sha512-" + "A" * 86 + "==", "https://registry.test/server-1.0.0.tgz")
DEPENDENCY = Package("left-pad", "1.3.0", "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk= sha512-" + "B" * 86 + "==", "")
PYPI = Package("My.Server_Package", "2.0", "sha256:" + "ab" * 32, "https://registry.test/my.whl")


def bill(*packages: Package, ecosystem: Ecosystem = "npm", lockfile: bytes = b"{}") -> Any:
    data = cyclonedx(Plan(ecosystem, packages[0], packages, lockfile), AT)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode()) is None
    return json.loads(data)


def test_a_tree_of_npm_has_every_package_once_with_its_hashes_and_validates() -> None:
    found = bill(NPM, DEPENDENCY, DEPENDENCY)
    assert found["metadata"]["timestamp"] == "2026-01-02T03:04:05+00:00"
    assert found["metadata"]["component"]["purl"] == "pkg:npm/%40scope/server@1.0.0"
    assert [(each["name"], each["version"]) for each in found["components"]] == [("left-pad", "1.3.0")]
    hashes = {each["alg"]: each["content"] for each in found["components"][0]["hashes"]}
    assert hashes == {"SHA-1": "da39a3ee5e6b4b0d3255bfef95601890afd80709", "SHA-512": "04" + hashes["SHA-512"][2:]}
    assert len(hashes["SHA-512"]) == 128
    edges = {each["ref"]: each.get("dependsOn", []) for each in found["dependencies"]}
    assert edges["pkg:npm/%40scope/server@1.0.0"] == ["pkg:npm/left-pad@1.3.0"]


def test_names_of_pypi_are_normalised() -> None:
    found = bill(PYPI, ecosystem="pypi")
    root = found["metadata"]["component"]
    assert (root["purl"], root["hashes"]) == (
        "pkg:pypi/my-server-package@2.0",
        [{"alg": "SHA-256", "content": "ab" * 32}],
    )
    assert found.get("components", []) == []


def test_the_same_plan_gives_the_same_bytes_and_another_lock_another_serial() -> None:
    one, other = (cyclonedx(Plan("npm", NPM, (NPM, DEPENDENCY), b"{}"), AT) for _ in range(2))
    assert one == other
    changed = bill(NPM, DEPENDENCY, lockfile=b"{ }")
    assert changed["serialNumber"] != json.loads(one)["serialNumber"]


@pytest.mark.parametrize("integrity", ["md5-AAAA", "sha512", "sha256:xyz", "sha512-*"])
def test_an_integrity_in_another_form_is_an_error(integrity: str) -> None:
    with pytest.raises(PackageError, match=r"left-pad 1\.3\.0: integrity") as caught:
        bill(NPM, Package("left-pad", "1.3.0", integrity, ""))
    assert "sha256:HEX" in caught.value.hint


def test_the_library_is_imported_when_it_is_needed() -> None:
    code = "import sys, mcpbox.packages.sbom; print([m for m in sys.modules if m.startswith('cyclonedx')])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
