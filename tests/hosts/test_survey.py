"""Which files and servers are looked at, and which of them are nobody's to change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from mcpbox.errors import UsageError
from mcpbox.hosts import discover, survey
from mcpbox.hosts.document import parse
from mcpbox.hosts.entries import entries
from mcpbox.hosts.shapes import PLAIN

TEXT = '{"mcpServers": {"a": {"command": "/usr/bin/env"}}}'


@pytest.fixture
def file(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir("/")
    path = home / ".cursor" / "mcp.json"
    path.parent.mkdir()
    path.write_text(TEXT)
    return path


def test_the_hosts_files_or_those_that_are_named(file: Path, home: Path) -> None:
    other = home / "other.json"
    other.write_text(TEXT)
    assert [found.found.path for found in survey.survey((), ())] == [str(file)]
    assert [found.found.path for found in survey.survey((), [str(other)])] == [str(other)]
    assert [found.found.path for found in survey.survey(["cursor"], [str(other)])] == [str(file), str(other)]
    assert survey.survey(["zed"], ()) == []
    with pytest.raises(UsageError):
        survey.survey(["cursr"], ())


def test_a_file_on_record_is_listed_once_and_a_ruined_one_as_such(file: Path, home: Path) -> None:
    other = home / "other.json"
    other.write_text(TEXT)
    also = [str(file), str(other), str(home / "gone.json")]
    assert [found.real for found in survey.survey((), (), also)] == [str(file), str(other)]
    other.write_text("[]")
    (_, ruined) = survey.survey((), (), also)
    assert ruined.real == str(other) and ruined.broken and not ruined.servers


def test_a_file_under_two_names_is_one(file: Path, home: Path) -> None:
    link = home / ".kiro" / "settings" / "mcp.json"
    link.parent.mkdir(parents=True)
    link.symlink_to(file)
    assert len({found.real for found in survey.survey((), ())}) == 1


def test_a_link_in_a_project_does_not_make_the_users_file_the_projects(
    file: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "cloned").mkdir()
    (home / "cloned/.mcp.json").symlink_to("../.cursor/mcp.json")
    monkeypatch.chdir(home / "cloned")
    (found,) = survey.survey((), ())
    assert (found.found.host.id, found.found.path, survey.policy(found)) == ("cursor", str(file), "")


def test_a_name_that_is_not_utf8_is_said(file: Path, home: Path) -> None:
    odd = os.fsdecode(os.fsencode(home) + b"/\xff.json")
    os.rename(file, odd)
    (found,) = survey.survey((), [odd])
    assert found.broken == "its path is not UTF-8"


@pytest.mark.parametrize(
    ("scope", "system", "named", "reason"),
    [
        ("user", "", False, ""),
        ("managed", "", True, "is managed by this machine's administrator"),
        ("project", "", False, "belongs to a project"),
        ("project", "", True, ""),
        ("user", "windows", True, "belongs to a host on windows"),
    ],
)
def test_what_is_nobodys_to_change(file: Path, scope: str, system: str, named: bool, reason: str) -> None:
    (found,) = survey.survey((), ())
    place = replace(found.found.place, scope=scope)
    one = replace(found.found, place=place, system=system or discover.system())
    said = survey.policy(replace(found, found=one, named=named))
    assert reason in said and bool(said) == bool(reason)


@pytest.mark.parametrize(
    ("own", "expected"),
    [("", "/a:/b"), ("/c:/a", "/c:/a:/b"), ("${env:PATH}:/c", "/a:/b"), ("relative:/c", "/c:/a:/b")],
)
def test_the_path_to_look_a_command_up_in(own: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/a:.:/b::/a")
    env = f', "env": {{"PATH": "{own}"}}' if own else ""
    (entry,) = entries(parse(f'{{"mcpServers": {{"a": {{"command": "x"{env}}}}}}}', "json"), PLAIN)
    assert survey.search_path(entry) == expected
