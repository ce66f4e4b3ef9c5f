"""npm's lock, judged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpbox.errors import PackageError
from mcpbox.packages import npmtree
from mcpbox.packages.npmrc import Sources
from mcpbox.packages.npmtree import Platform

HASH = f"sha512-{'A' * 86}=="
OTHER = HASH.replace("A", "B")
OURS = "https://registry.example.com/npm/"
CORP = "http://10.0.0.1:4873/"
SOURCES = Sources(OURS, {"@corp": CORP}, {}, {}, {})
HERE = Platform("linux", "x64", "glibc")


def package(url: str = f"{OURS}a/-/a-1.0.0.tgz", **fields: Any) -> dict[str, Any]:
    return {"version": "1.0.0", "resolved": url, "integrity": HASH, **fields}


def read(packages: Mapping[str, Any]) -> npmtree.Entries:
    return npmtree.read({"lockfileVersion": 3, "packages": packages})


def entries(packages: Mapping[str, Any]) -> npmtree.Entries:
    """With a root that needs those at the top."""
    roots = {path.partition("node_modules/")[2]: "1.0.0" for path in packages if path.count("node_modules/") == 1}
    return read({"": {"dependencies": roots}, **packages})


ACCEPTED = {
    "of a scope": {"node_modules/@corp/a": package(f"{CORP}@corp/a/-/a-1.0.0.tgz")},
    "with two hashes": {"node_modules/a": package(integrity=f"sha1-AAAA= {HASH}")},
    "by another name": {"node_modules/b": package(name="a")},
    "nested": {"node_modules/a": package(dependencies={"b": "*"}), "node_modules/a/node_modules/b": package()},
    "with dots": {"node_modules/lodash.get": package()},
    "of an alias": {"node_modules/a": package(dependencies={"b": "npm:@corp/b@^1.0.0 || 2"})},
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name: str) -> None:
    assert all(found.integrity == HASH for found in npmtree.check(entries(ACCEPTED[name]), SOURCES, HERE).values())


@pytest.mark.parametrize(
    "path, entry, reason",
    [
        ("node_modules/a", package(integrity=""), "a 1.0.0: its registry gives no sha512"),
        ("node_modules/a", package(integrity="sha1-AAAA="), "gives no sha512"),
        ("node_modules/a", package(integrity="sha512-AAAA"), "gives no sha512"),
        ("node_modules/a", package(integrity=f"{HASH} {OTHER}"), "gives no sha512 for it, or several"),
        ("node_modules/a", package(integrity=f"x{HASH} {OTHER}"), "gives no sha512 for it, or several"),
        ("node_modules/a", package(integrity=f"{HASH} sha3-AAAA"), "gives no sha512 for it, or several"),
        ("node_modules/a", package(url=""), "a 1.0.0 would come from nowhere, not from its registry"),
        ("node_modules/a", package(url="https://evil.example.com/a.tgz"), "would come from https://evil.example.com"),
        ("node_modules/a", package(url="http://registry.example.com/npm/a.tgz"), "would come from http://"),
        ("node_modules/a", package(url="https://registry.example.com:444/a.tgz"), "would come from"),
        ("node_modules/a", package(url="https://registry.example.com.evil.com/a.tgz"), "would come from"),
        ("node_modules/a", package(url="https://registry.example.com@evil.com/a.tgz"), "would come from"),
        ("node_modules/a", package(url="git+ssh://git@registry.example.com/a.git#1"), "would come from"),
        ("node_modules/a", package(url="file:../a.tgz"), "would come from file:"),
        ("node_modules/a", package(url=f"{CORP}a.tgz"), "not from its registry, https://registry"),
        ("node_modules/@corp/a", package(), "not from its registry, http://10.0.0.1:4873/"),
        ("node_modules/b", package(name="@corp/a"), "@corp/a 1.0.0 would come from"),
        ("node_modules/a", {"resolved": "../a", "link": True}, "a dependency on a file or directory"),
        ("../a", package(), "a dependency on a file or directory"),
        ("node_modules/../a", package(), "a dependency on a file or directory"),
        ("node_modules/a/../../b", package(), "a dependency on a file or directory"),
        ("/node_modules/a", package(), "a dependency on a file or directory"),
        ("node_modules/a", package(version="latest"), "'latest' is not a version"),
        ("node_modules/a", package(dependencies={"b": "github:x/b"}), "a 1.0.0 depends on b from github:x/b"),
        ("node_modules/a", package(dependencies={"b": "x/b"}), "depends on b from x/b"),
        ("node_modules/a", package(dependencies={"b": "https://t:SECRET@x/b.tgz"}), "depends on b from https://…@x/b"),
        ("node_modules/a", package(dependencies={"b": "b.tgz"}), "depends on b from b.tgz"),
        ("node_modules/a", package(dependencies={"b": "npm:x/b@git+x"}), "depends on b from npm:x/b"),
        ("node_modules/a", {"version": "1.0.0", "inBundle": True}, "bundled in no package"),
        ("node_modules/a", package(os=["darwin"]), "a 1.0.0 is not for linux on x64"),
    ],
)
def test_refused(path: str, entry: dict[str, Any], reason: str) -> None:
    with pytest.raises(PackageError, match=reason):
        npmtree.check(read({"": {"dependencies": {"a": "*"}}, path: entry}), SOURCES, HERE)


def test_an_old_lock_is_refused() -> None:
    with pytest.raises(PackageError, match="this npm is too old"):
        npmtree.read({"lockfileVersion": 1, "dependencies": {}})


@pytest.mark.parametrize(
    "entry, expected",
    [
        ({}, True),
        ({"os": ["linux"], "cpu": ["x64"], "libc": ["glibc"]}, True),
        ({"os": ["any"]}, True),
        ({"os": "linux"}, True),
        ({"os": ["!win32"]}, True),
        ({"os": ["!linux"]}, False),
        ({"os": ["linux", "!linux"]}, False),
        ({"os": ["win32"]}, False),
        ({"cpu": ["arm64", "x64"]}, True),
        ({"cpu": ["arm64"]}, False),
        ({"libc": ["musl"]}, False),
    ],
)
def test_platforms(entry: dict[str, Any], expected: bool) -> None:
    assert npmtree.fits(msgspec.convert(entry, npmtree.Entry), HERE) is expected


def test_what_only_another_platforms_package_needs_is_left_out() -> None:
    packages = {
        "node_modules/a": package(optionalDependencies={"wasm": "*", "native": "*"}),
        "node_modules/native": package(os=["linux"], optional=True),
        "node_modules/runtime": package(optional=True),
        "node_modules/wasm": package(cpu=["wasm32"], optional=True, dependencies={"runtime": "*"}),
    }
    whole = {"": {"dependencies": {"a": "1.0.0"}}, **packages}
    assert list(npmtree.check(read(whole), SOURCES, HERE)) == ["node_modules/a", "node_modules/native"]
    packages["node_modules/wasm"]["resolved"] = "https://evil.example.com/wasm.tgz"
    with pytest.raises(PackageError, match=r"wasm 1\.0\.0 would come from"):
        npmtree.check(read(whole), SOURCES, HERE)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a", ("a", "latest")),
        ("a@1.2.3", ("a", "1.2.3")),
        ("@scope/a", ("@scope/a", "latest")),
        ("@scope/a@next", ("@scope/a", "next")),
        ("a@>=1 <2 || 3.x", ("a", ">=1 <2 || 3.x")),
        ("JSONStream@", ("JSONStream", "latest")),
    ],
)
def test_requirements(text: str, expected: tuple[str, str]) -> None:
    assert npmtree.requirement(text) == expected


SPECIFICATIONS = st.text("ab@/:.~^-_#%npm giteflhx", max_size=20)


@given(SPECIFICATIONS)
def test_a_requirement_is_a_registrys_or_refused(text: str) -> None:
    try:
        name, wanted = npmtree.requirement(text)
    except PackageError as error:
        assert "only packages of a registry can be pinned" in error.message
        return
    assert not name.startswith((".", "-")) and ".." not in name.split("/")
    assert not set(wanted) & set(":/") and name.count("/") == name.startswith("@")


VALUES = st.sampled_from(
    [
        *("", "1.0.0", HASH, f"{OURS}a.tgz", "https://evil.example.com/a.tgz", "b", "@corp/b"),
        *(None, True, False, 7, {}, {"b": "*"}, {"b": "git+ssh://x"}, {"b": None}, [], ["linux"], ["win32"]),
    ]
)
FIELDS = st.sampled_from(["version", "resolved", "integrity", "dependencies", "inBundle", "optional", "os", "name"])
PATHS = st.sampled_from(["node_modules/a", "node_modules/b", "node_modules/a/node_modules/b", "x"])


@given(st.dictionaries(PATHS, st.dictionaries(FIELDS, VALUES).map(lambda fields: {**package(), **fields})))
def test_any_lock_is_accepted_whole_or_refused(packages: dict[str, Any]) -> None:
    try:
        found = npmtree.check(entries(packages), SOURCES, HERE)
    except PackageError:
        return
    for item in found.values():
        assert item.integrity == HASH and item.url.startswith((OURS, CORP)), json.dumps(packages)
