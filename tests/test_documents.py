"""The documents say what there is: every key of a profile, every command."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
import msgspec
import pytest

from mcpbox import draft, profile
from mcpbox.options import cli
from mcpbox.tables import Profile, Sequence, Table, ToolMessages

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
REFERENCE = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/profile.md").read_text(), re.S)[0]


def keys(table: type[msgspec.Struct], prefix: str = "") -> Iterator[str]:
    for field in msgspec.structs.fields(table):
        if isinstance(field.type, type) and issubclass(field.type, Table):
            yield from keys(field.type, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name


def commands(group: click.Group, prefix: str) -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}"


def test_the_reference_is_a_valid_profile_that_has_every_key() -> None:
    found = profile.parse(REFERENCE, "docs/profile.md")
    assert set(keys(Profile)) <= found.given
    assert {f"messages.tool.export_*.{key}" for key in keys(ToolMessages)} <= found.given
    assert {key for each in tomllib.loads(REFERENCE)["calls"]["sequences"] for key in each} == set(keys(Sequence))
    choices = {choice for table in (Profile, ToolMessages, Sequence) for choice in literals(table)}
    assert {choice for choice in choices if choice not in REFERENCE} == set()


def literals(kind: Any) -> Iterator[str]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        for field in msgspec.structs.fields(kind):
            yield from literals(field.type)
    for inner in get_args(kind):
        yield from [inner] if isinstance(inner, str) else literals(inner)


@pytest.mark.parametrize("text", re.findall(r"```toml\n(version = 1.*?)```", README, re.S))
def test_the_profiles_in_the_readme_are_valid(text: str) -> None:
    profile.parse(text, "README.md")


def test_what_the_readme_says_of_the_wire_is_valid() -> None:
    wire = README.partition("### On the wire")[2]
    found = profile.parse('version = 1\nname = "x"\n' + re.findall(r"```toml\n(.*?)```", wire, re.S)[0], "README.md")
    assert found.profile.calls.sequences and found.profile.tools.host


def test_the_readme_names_every_command() -> None:
    table = " ".join(line for line in README.splitlines() if line.startswith("| `mcpbox "))
    missing = []
    for command in commands(cli, "mcpbox"):
        *group, verb = command.split()
        row = re.search(rf"`{' '.join(group)} [^`]*\b{verb}\b|`{group[-1]} {verb}\b", table)
        if not row:
            missing.append(command)
    assert missing == []


def test_a_new_profile_has_every_key_with_its_default() -> None:
    text = draft.empty("anything")
    found = profile.parse(text, "the draft")
    assert found.profile == Profile(name="anything")
    missing = {key for key in keys(Profile) if key not in found.given and not isinstance(at(found.profile, key), dict)}
    assert missing == set()
    examples = profile.parse(re.sub(r"^# (?=[\w.\"*]+ = [{\"])", "", text, flags=re.M), "the draft's examples").given
    assert {"tools.host.cursor", "tools.describe.TOOL", "messages.tool.export_*"} <= examples


def at(value: Any, key: str) -> Any:
    for step in key.split("."):
        value = getattr(value, step)
    return value
