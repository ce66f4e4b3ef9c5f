"""The rows of the table of hosts."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hosts import golden

from mcpbox import hosts, wrap
from mcpbox.errors import UsageError
from mcpbox.hosts import HOSTS, OTHER, by_id, discover, shapes
from mcpbox.hosts.model import Host, Place

PLACES = [(host, place) for host in HOSTS for place in host.places]


def test_there_are_at_least_25_hosts_with_a_file_on_each_system() -> None:
    writable = {host.id for host in HOSTS if host.places}
    assert len(writable) >= 25
    for system in hosts.ALL:
        here = {host.id for host, place in PLACES if system in place.systems}
        assert len(here) >= 25, system
    assert {place.shape.format for _, place in PLACES} == {"json", "jsonc", "json5", "yaml", "toml"}
    assert {place.scope for _, place in PLACES} == {"user", "project", "managed"}


def test_ids_and_names_are_each_used_once() -> None:
    for values in ([host.id for host in (*HOSTS, OTHER)], [host.name for host in (*HOSTS, OTHER)]):
        assert [value for value, count in Counter(values).items() if count > 1] == []
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", host.id) for host in HOSTS)


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.id)
def test_a_host_has_a_file_or_a_snippet(host: Host) -> None:
    assert bool(host.places) != host.snippet
    assert host.snippet is False or host.note
    assert host.overwrites is False or host.processes


@pytest.mark.parametrize(("host", "place"), PLACES, ids=lambda value: getattr(value, "id", getattr(value, "path", "")))
def test_a_place_begins_with_something_that_is_known(host: Host, place: Place) -> None:
    base, _, rest = place.path.partition("/")
    assert base in ("", "~", "{ROOT}") or base.strip("{}") in discover.BASES
    assert (base == "{ROOT}") == (place.scope == "project")
    assert (base in ("", "{PROGRAMDATA}", "{PROGRAMFILES}")) == (place.scope == "managed")
    assert "**" not in place.path and "{" not in rest
    assert place.systems
    for reference in place.shape.references:
        re.compile(reference)


def test_no_place_is_listed_twice_for_a_host() -> None:
    for host in HOSTS:
        for system in hosts.ALL:
            paths = [place.path for place in host.places if system in place.systems]
            assert len(paths) == len(set(paths)), host.id


def test_every_base_is_used() -> None:
    used = {place.path.partition("/")[0].strip("{}") for _, place in PLACES}
    assert set(discover.BASES) <= used


@pytest.mark.parametrize("host", [host for host in HOSTS if host.places], ids=lambda host: host.id)
def test_every_host_has_a_file_in_each_of_its_formats(host: Host) -> None:
    files = {file for file in golden.FILES if golden.host_of(file) == host}
    assert {golden.place_of(file).shape.format for file in files} == {place.shape.format for place in host.places}
    assert all(file.endswith(f".before.{golden.place_of(file).shape.format}") for file in files)


def test_every_file_is_described() -> None:
    assert {path.name for path in golden.DATA.glob("*.before.*")} == set(golden.FILES)


def test_the_files_are_as_different_as_real_ones() -> None:
    texts = {file: golden.text(file) for file in golden.FILES}
    assert any("\r\n" in text for text in texts.values())
    assert any(text.startswith("\ufeff") for text in texts.values())
    assert any("\n\t" in text for text in texts.values())
    assert any(not text.endswith("\n") for text in texts.values())
    assert any(re.search(r",\s*[}\]]", text) for text in texts.values())


@pytest.mark.parametrize(
    ("shape", "matching", "other"),
    [
        ("EXPANDED", ["${TOKEN}", "${TOKEN:-none}"], ["$TOKEN", "${}", "{env:TOKEN}"]),
        ("CURSOR", ["${env:TOKEN}", "${userHome}", "${/}"], ["${TOKEN}", "env:TOKEN"]),
        ("VSCODE", ["${input:key}", "${workspaceFolder}", "${workspaceFolder:api}"], ["$TOKEN"]),
        ("OPENCODE", ["{env:TOKEN}", "{file:~/.key}"], ["${TOKEN}", "{TOKEN}"]),
        ("CONTINUE", ["${{ secrets.TOKEN }}", "${{inputs.X}}"], ["${TOKEN}"]),
        ("GEMINI", ["$TOKEN", "${TOKEN}"], ["$1", "{env:TOKEN}"]),
        ("CRUSH", ["$(pass show x)", "$TOKEN", "${TOKEN}"], ["{env:TOKEN}"]),
        ("PLAIN", [], ["${TOKEN}", "$TOKEN", "{env:TOKEN}"]),
    ],
)
def test_a_host_replaces_only_what_it_knows(shape: str, matching: list[str], other: list[str]) -> None:
    references = getattr(shapes, shape).references
    assert [value for value in matching if not any(re.fullmatch(known, value) for known in references)] == []
    assert [value for value in other if any(re.fullmatch(known, value) for known in references)] == []


def test_a_host_is_found_by_its_id() -> None:
    assert by_id("cursor").name == "Cursor"
    assert by_id("other") is OTHER


@pytest.mark.parametrize(
    ("id", "hint"),
    [
        ("curser", "did you mean cursor?"),
        ("claude", "did you mean claude-desktop or claude-code?"),
        ("Cursor", "did you mean cursor?"),
        ("", "it is one of claude-desktop, claude-code, cursor"),
        ("qqqq", "it is one of claude-desktop, claude-code, cursor"),
    ],
)
def test_an_unknown_id_is_answered_with_those_written_alike(id: str, hint: str) -> None:
    with pytest.raises(UsageError) as error:
        by_id(id)
    assert error.value.message == f"there is no host {id!r}"
    assert error.value.hint.startswith(hint)


def test_the_hosts_whose_patience_is_known_are_hosts() -> None:
    assert {by_id(host).id for host in wrap.HOST_PATIENCE} == set(wrap.HOST_PATIENCE)
