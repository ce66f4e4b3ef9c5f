"""Reading the servers out of a host's file."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hosts import golden
from hypothesis import given
from hypothesis import strategies as st

from mcpbox.errors import UsageError
from mcpbox.hosts.document import parse
from mcpbox.hosts.entries import entries, tables
from mcpbox.hosts.model import Entry, Shape
from mcpbox.hosts.shapes import CODEX, CRUSH, FLAT, GOOSE, KIRO, OPENCODE, PLAIN, VSCODE_SETTINGS, ZED


def read(text: str, shape: Shape = PLAIN) -> list[Entry]:
    return entries(parse(text, shape.format), shape)


def one(server: str, shape: Shape = PLAIN) -> Entry:
    (entry,) = read(f'{{"{shape.servers[0]}": {{"x": {server}}}}}', shape)
    return entry


@pytest.mark.parametrize("file", golden.FILES)
def test_every_server_of_every_host_is_read(file: str) -> None:
    shape = golden.place_of(file).shape
    document = parse(golden.text(file), shape.format)
    found = entries(document, shape)
    read = {
        entry.name: ([word for word in (entry.command, *entry.args) if word], [*entry.variables]) for entry in found
    }
    assert read == golden.servers_of(file)
    assert len(found) == len(read)
    for entry in found:
        assert document.get(entry.path) == entry.raw
        assert set(entry.env) <= set(entry.variables)


@pytest.mark.parametrize(
    ("server", "command", "args", "form"),
    [
        ('{"command": "npx"}', "npx", (), "string"),
        ('{"command": "npx", "args": null}', "npx", (), "string"),
        ('{"command": "npx", "args": "-y"}', "npx", ("-y",), "string"),
        ('{"command": "npx", "args": [8080, 1.50, true, null]}', "npx", ("8080", "1.50", "true", "null"), "string"),
        ('{"command": ["npx", "-y"], "args": ["x"]}', "npx", ("-y", "x"), "array"),
        ('{"command": []}', "", (), "array"),
        ('{"command": {"path": "/bin/x", "args": ["y"]}, "args": ["not read"]}', "/bin/x", ("y",), "nested"),
        ('{"command": {}}', "", (), "nested"),
        ('{"command": null}', "", (), "string"),
        ('{"url": "https://example.com/mcp"}', "", (), "string"),
        ("null", "", (), "string"),
        ("false", "", (), "string"),
    ],
)
def test_what_a_server_is_started_with(server: str, command: str, args: tuple[str, ...], form: str) -> None:
    entry = one(server)
    assert (entry.command, entry.args, entry.form) == (command, args, form)


@pytest.mark.parametrize(
    ("server", "shape", "env", "variables"),
    [
        ('{"env": {"A": "1", "B": 2, "C": null}}', PLAIN, {"A": "1"}, ("A", "B")),
        ('{"env": null}', PLAIN, {}, ()),
        ('{"env": []}', PLAIN, {}, ()),
        ('{"": ["A"], "env_vars": ["B"]}', PLAIN, {}, ()),
        ('{"env": {"A": "1"}, "environment": {"B": "2"}}', OPENCODE, {"B": "2"}, ("B",)),
        ('{"command": {"path": "x", "env": {"A": "1"}}}', ZED, {"A": "1"}, ("A",)),
    ],
)
def test_the_variables_that_a_host_sets(
    server: str, shape: Shape, env: dict[str, str], variables: tuple[str, ...]
) -> None:
    entry = one(server, shape)
    assert (entry.env, entry.variables) == (env, variables)


def test_variables_that_a_host_passes_on_by_name() -> None:
    (codex,) = read(
        '[mcp_servers.x]\ncommand = "y"\nenv_vars = ["A", {name = "B", source = "local"}]\nenv = {A = "1", C = "2"}\n',
        CODEX,
    )
    assert (codex.env, codex.variables) == ({"A": "1", "C": "2"}, ("A", "C", "B"))
    (goose,) = read("extensions:\n  x:\n    cmd: y\n    env_keys: [A]\n    envs: {B: '2'}\n", GOOSE)
    assert (goose.command, goose.variables) == ("y", ("B", "A"))


@pytest.mark.parametrize(
    ("text", "shape", "paths"),
    [
        ("{}", PLAIN, []),
        ("", PLAIN, []),
        ('{"mcpServers": {}}', PLAIN, []),
        ('{"mcpServers": null}', PLAIN, []),
        ('{"mcpServers": {"a": {}}}', PLAIN, [("mcpServers", "a")]),
        ('{"mcpServers": [{"name": "a"}, {}]}', PLAIN, [("mcpServers", 0), ("mcpServers", 1)]),
        ('{"powers": {"mcpServers": {"a": {}}}}', KIRO, [("powers", "mcpServers", "a")]),
        ('{"powers": 1, "mcpServers": {"a": {}}}', KIRO, [("mcpServers", "a")]),
        ('{"mcp.servers": {"a": {}}}', VSCODE_SETTINGS, [("mcp.servers", "a")]),
        ('{"a": {"command": "x"}, "b": {"url": "y"}, "c": {}, "d": 1}', FLAT, [("a",), ("b",)]),
        ('{"mcpServers": {"command": {"command": "x"}}}', FLAT, [("mcpServers", "command"), ("mcpServers",)]),
    ],
)
def test_where_servers_are_looked_for(text: str, shape: Shape, paths: list[Any]) -> None:
    assert [entry.path for entry in read(text, shape)] == paths


def test_of_a_name_that_stands_twice_the_last_counts() -> None:
    assert one('{"command": "a", "command": "b"}').command == "b"
    assert [entry.command for entry in read('{"mcpServers": {"x": {"command": "a"}, "x": {"command": "b"}}}')] == ["b"]


@pytest.mark.parametrize(
    ("text", "shape", "message"),
    [
        ('{"mcpServers": "npx"}', PLAIN, "mcpServers is not a table with an entry for each server"),
        ('{"mcp": 1}', CRUSH, "mcp is not a table with an entry for each server"),
        ('{"mcpServers": {"x": {"args": [["y"]]}}}', PLAIN, "mcpServers.x.args.0 is not a string"),
        ('{"mcpServers": {"x": {"command": [{}]}}}', PLAIN, "mcpServers.x.command.0 is not a string"),
        ('{"mcpServers": {"x": {"args": {}}}}', PLAIN, "mcpServers.x.args is not a string"),
        ('{"mcpServers": {"x": {"env": "A=1"}}}', PLAIN, "mcpServers.x.env is not a table of variables"),
        ("extensions: {x: {env_keys: A}}", GOOSE, "extensions.x.env_keys is not a list of variables"),
        (
            "[mcp_servers.x]\nenv_vars = [{source = 'local'}]",
            CODEX,
            "mcp_servers.x.env_vars is not a list of variables",
        ),
        ('{"mcpServers": {"x": {"command": {"path": [{}]}}}}', PLAIN, "mcpServers.x.command.path.0 is not a string"),
    ],
)
def test_what_is_no_server_is_named_with_its_key(text: str, shape: Shape, message: str) -> None:
    with pytest.raises(UsageError) as error:
        read(text, shape)
    assert error.value.message == message
    assert error.value.hint


@pytest.mark.parametrize(
    ("text", "shape", "found"),
    [
        ("{}", PLAIN, []),
        ('{"mcpServers": {}}', PLAIN, [("mcpServers",)]),
        ('{"a": {"command": "x"}}', FLAT, [()]),
        ('{"a": {}}', FLAT, []),
        ("[]", FLAT, []),
    ],
)
def test_the_places_for_servers_that_a_file_has(text: str, shape: Shape, found: list[Any]) -> None:
    assert tables(parse(text, shape.format), shape) == found


def test_two_hundred_servers_are_read_in_their_order() -> None:
    names = [f"s{number}" for number in range(200)]
    body = ",".join(f'"{name}": {{"command": "npx", "args": ["{name}"]}}' for name in names)
    assert [(entry.name, entry.args) for entry in read(f'{{"mcpServers": {{{body}}}}}')] == [(n, (n,)) for n in names]


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
NAMES = st.sampled_from(["command", "args", "env", "path", "name", "url", "x", ""])
VALUES = st.recursive(SCALARS, lambda some: st.lists(some, max_size=3) | st.dictionaries(NAMES, some, max_size=4))


@given(VALUES)
def test_whatever_stands_there_is_read_or_refused(value: Any) -> None:
    for shape in (PLAIN, FLAT, VSCODE_SETTINGS, Shape("json", ("x",), passed="args")):
        text = json.dumps({shape.servers[0]: value})
        try:
            for entry in read(text, shape):
                assert all(isinstance(word, str) for word in (entry.name, entry.command, *entry.args, *entry.variables))
                assert all(isinstance(part, str) for pair in entry.env.items() for part in pair)
        except UsageError as error:
            assert error.message.partition(" is not ")[2]
