from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpbox import config
from mcpbox.errors import PackageError, ProfileError
from mcpbox.packages.advisories import _Event, _npm, _within, match
from mcpbox.packages.model import Ecosystem, Package

TO_1_2_3 = [{"introduced": "0"}, {"fixed": "1.2.3"}]


def entry(name: str, events: list[dict[str, str]] | None = None, **more: Any) -> dict[str, Any]:
    ecosystem = more.pop("ecosystem", "npm")
    kind = more.pop("type", "SEMVER")
    affected: dict[str, Any] = {"package": {"ecosystem": ecosystem, "name": name}}
    if events is not None:
        affected["ranges"] = [{"type": kind, "events": events}]
    if "versions" in more:
        affected["versions"] = more.pop("versions")
    return {"id": "GHSA-1", "modified": "2026-01-01T00:00:00Z", "affected": [affected], **more}


def dump(directory: Path, *entries: dict[str, Any]) -> Path:
    for number, each in enumerate(entries):
        path = directory / "osv" / each["affected"][0]["package"]["ecosystem"] / f"{number}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(each))
    return directory / "osv"


def found(directory: Path, version: str, *entries: dict[str, Any], ecosystem: Ecosystem = "npm") -> list[str]:
    hits = match(ecosystem, [Package("pkg", version, "", "")], dump(directory, *entries))
    return [hit.id for hit in hits]


@pytest.mark.parametrize(
    ("version", "events", "hit"),
    [
        ("1.2.2", TO_1_2_3, True),
        ("1.2.3", TO_1_2_3, False),
        ("1.2.3-rc.1", TO_1_2_3, True),
        ("1.2.3+build.9", TO_1_2_3, False),
        ("1.10.0", [{"introduced": "1.9.0"}, {"fixed": "1.11.0"}], True),
        ("1.8.9", [{"introduced": "1.9.0"}, {"fixed": "1.11.0"}], False),
        ("2.0.0", [{"introduced": "0"}], True),
        ("2.0.0", [{"introduced": "0"}, {"last_affected": "2.0.0"}], True),
        ("2.0.1", [{"introduced": "0"}, {"last_affected": "2.0.0"}], False),
        ("1.0.0", [{"introduced": "1.0.0"}, {"last_affected": "1.0.0"}], True),
        ("1.5.0", [{"introduced": "0"}, {"fixed": "1.0.0"}, {"introduced": "1.4.0"}, {"fixed": "1.6.0"}], True),
        ("1.2.0", [{"introduced": "0"}, {"fixed": "1.0.0"}, {"introduced": "1.4.0"}, {"fixed": "1.6.0"}], False),
        ("1.5.0", [{"fixed": "1.6.0"}, {"introduced": "1.4.0"}, {"introduced": "0"}, {"fixed": "1.0.0"}], True),
        ("1.0.0", [{"introduced": "0"}, {"fixed": "1.0.0"}, {"introduced": "1.0.0"}], True),
        ("3.0.0", [{"introduced": "0"}, {"limit": "2.0.0"}], False),
        ("1.0.0", [{"introduced": "0"}, {"limit": "2.0.0"}], True),
        ("3.0.0", [{"introduced": "0"}, {"limit": "*"}], True),
        ("0.0.0-alpha", [{"introduced": "0"}, {"fixed": "0.0.1"}], True),
    ],
)
def test_ranges_of_npm_are_evaluated_as_the_schema_says(
    tmp_path: Path, version: str, events: list[dict[str, str]], hit: bool
) -> None:
    assert found(tmp_path, version, entry("pkg", events)) == (["GHSA-1"] if hit else [])


@pytest.mark.parametrize(
    ("version", "given", "hit"),
    [
        ("1.2.2", {"events": TO_1_2_3}, True),
        ("1.2.3rc1", {"events": TO_1_2_3}, True),
        ("1.2.3.post1", {"events": TO_1_2_3}, False),
        ("1!0.1", {"events": TO_1_2_3}, False),
        ("1.2.3.dev4", {"events": TO_1_2_3}, True),
        ("1.0", {"versions": ["1.0.0"]}, True),
        ("1.0", {"versions": ["1.0.1", "2004d"]}, False),
        ("1.3", {"events": TO_1_2_3, "versions": ["1.3"]}, True),
    ],
)
def test_versions_of_pypi_are_compared_as_pep_440_says(
    tmp_path: Path, version: str, given: dict[str, Any], hit: bool
) -> None:
    one = entry(
        "PKG",
        given.get("events"),
        ecosystem="PyPI",
        type="ECOSYSTEM",
        **{k: v for k, v in given.items() if k != "events"},
    )
    assert found(tmp_path, version, one, ecosystem="pypi") == (["GHSA-1"] if hit else [])


@pytest.mark.parametrize(
    ("one", "hit"),
    [
        (entry("pkg", TO_1_2_3, withdrawn="2026-01-02T00:00:00Z"), False),
        (entry("pkg", TO_1_2_3, ecosystem="PyPI", type="ECOSYSTEM"), False),
        (entry("PKG", TO_1_2_3), False),
        (entry("pkg-2", TO_1_2_3), False),
        (entry("pkg", versions=["1.0.0"]), True),
        (entry("pkg", versions=["1.0.1"]), False),
        (entry("pkg"), True),
        (entry("pkg", [{"introduced": "0"}], type="GIT"), True),
        (entry("pkg", [{"introduced": "0"}], type="GIT", versions=["2.0.0"]), False),
    ],
)
def test_only_what_is_about_this_package_and_in_force_matches(tmp_path: Path, one: dict[str, Any], hit: bool) -> None:
    assert bool(found(tmp_path, "1.0.0", one)) is hit


def test_an_advisory_says_what_it_is_and_the_worst_comes_first(tmp_path: Path) -> None:
    database = dump(
        tmp_path,
        entry("pkg", TO_1_2_3, id="GHSA-low", database_specific={"severity": "LOW"}, summary="slow"),
        entry("pkg", TO_1_2_3, id="GHSA-high", severity=[{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N"}]),
        entry("pkg", TO_1_2_3, id="GHSA-crit", database_specific={"severity": "critical"}, aliases=["CVE-1"]),
        entry("pkg", [{"introduced": "0"}], id="MAL-1"),
    )
    hits = match("npm", [Package("pkg", "1.0.0", "", "")], database)
    assert [hit.id for hit in hits] == ["MAL-1", "GHSA-crit", "GHSA-low", "GHSA-high"]
    assert [hit.malicious for hit in hits] == [True, False, False, False]
    assert hits[1].aliases == ("CVE-1",)
    assert (hits[1].severity, hits[3].severity) == ("CRITICAL", "CVSS:3.1/AV:N")
    assert hits[2].fixed == ("1.2.3",)
    assert (hits[2].package, hits[2].version, hits[2].summary) == ("pkg", "1.0.0", "slow")


def test_a_zip_and_names_of_pypi_however_written(tmp_path: Path) -> None:
    one = entry("Foo_Bar.baz", TO_1_2_3, ecosystem="PyPI", type="ECOSYSTEM")
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("GHSA-1.json", json.dumps(one))
        archive.writestr("README", "not an entry")
    packages = [Package("foo-bar-baz", "1.0", "", ""), Package("other", "1.0", "", "")]
    assert [hit.package for hit in match("pypi", packages, tmp_path / "all.zip")] == ["foo-bar-baz"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not an OSV entry"),
        ('{"affected": 1}', "not an OSV entry"),
        ('{"x": ' + "[" * 100_000, "not an OSV entry"),
        ("\ufeff[]", "not an OSV entry"),
        (json.dumps(entry("pkg", [{"introduced": "one"}])), "GHSA-1: pkg: one is not valid SemVer"),
        (json.dumps(entry("pkg", [{"fixed": "1.0.0"}])), "without an introduced event"),
        (json.dumps(entry("pkg", [{"introduced": "0", "fixed": "1.0.0"}])), "an event has to be one of"),
        (json.dumps(entry("pkg", TO_1_2_3, type="CALENDAR")), "range type CALENDAR: not known"),
        (json.dumps({**entry("pkg", TO_1_2_3), "id": None}), "not an OSV entry"),
    ],
)
def test_a_malformed_entry_is_an_error_that_names_its_file(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(PackageError, match=r"bad\.json") as caught:
        match("npm", [Package("pkg", "1.0.0", "", "")], tmp_path)
    assert message in caught.value.message
    assert "advisories" in caught.value.hint


def test_no_dump_an_empty_one_and_a_broken_one_are_errors(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 cut off")
    for name, message in (("missing", "No such file"), ("empty", "no advisory in it"), ("broken.zip", "zip")):
        with pytest.raises(PackageError) as caught:
            match("npm", [Package("pkg", "1.0.0", "", "")], tmp_path / name)
        assert message in caught.value.message


def test_a_version_that_cannot_be_compared_is_an_error_and_no_pass(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="not valid SemVer"):
        found(tmp_path, "latest", entry("pkg", TO_1_2_3))


VERSIONS = st.builds("{}.{}.{}{}".format, *[st.integers(0, 3)] * 3, st.sampled_from(["", "-a", "-rc.1", "-rc.10"]))


@given(VERSIONS, VERSIONS, VERSIONS)
def test_a_range_holds_from_introduced_up_to_fixed(version: str, one: str, other: str) -> None:
    low, high = sorted((one, other), key=_npm)
    events = [_Event(fixed=high), _Event(introduced=low)]
    if low != high:
        assert _within(_npm, version, events) == (_npm(low) <= _npm(version) < _npm(high))
    events = [_Event(last_affected=high), _Event(introduced=low)]
    assert _within(_npm, version, events) == (_npm(low) <= _npm(version) <= _npm(high))


def write(text: str) -> None:
    config.file().parent.mkdir(parents=True, exist_ok=True)
    config.file().write_text(text)


def test_the_configuration_names_the_dump(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", "/home/somebody")
    assert config.load().packages.database is None
    write('[packages]\nadvisories = "/srv/osv.zip"\n')
    assert config.load().packages.database == Path("/srv/osv.zip")
    write('[packages]\nadvisories = "~/osv"\n')
    assert config.load().packages.database == Path("/home/somebody/osv")
    write('[packages]\nadvisories = "osv"\n')
    with pytest.raises(ProfileError, match=r'packages.advisories = "osv": not accepted'):
        config.load()
