"""``mcpbox profile``: list, show, check and draft profiles."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from mcpbox import paths, profile
from mcpbox.errors import ProfileError, UsageError

DRAFT = """version = 1
name = "{name}"
description = ""
matches = []                  # packages this profile is for: "npm:NAME", "pypi:NAME"

[sandbox]
memory = "512MiB"
cpus = 1.0
pids = 128
scratch = "64MiB"             # /tmp and $HOME, in memory, gone afterwards

[filesystem]
read = []                     # host paths the server may read, such as "~/projects"
write = []                    # … and write
arguments = "none"            # none | read | write: what an argument naming a path gets mounted as
state = false                 # true: a private directory that survives, at $HOME/.state

[environment]                 # not secret; besides PATH, HOME, LANG and TZ

[tools]
allow = ["*"]
deny = []

[messages]
sampling = "deny"             # what the server may ask of the host: deny | allow
elicitation = "allow"
roots = "intersect"           # only roots inside the mounted paths: deny | intersect | allow
"""


def list_(as_json: bool) -> int:
    """Every profile, with where it comes from."""
    rows = []
    for name, path in sorted(profile.available().items()):
        origin = "yours" if path.parent == paths.user_profiles() else "built in"
        try:
            description = profile.load(path).profile.description
        except ProfileError as error:
            description = f"not valid: {error.message}"
        rows.append({"name": name, "origin": origin, "description": description, "path": str(path)})
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    for row in () if as_json else rows:
        click.echo(f"{row['name']:<24}{row['origin']:<10}{row['description']}")
    return 0


def show(name: str, as_json: bool) -> int:
    """The profile in full, each line with its origin."""
    resolved = profile.load(profile.find(name))
    data = _plain(resolved.profile)
    if as_json:
        click.echo(json.dumps({"source": resolved.source, "given": sorted(resolved.given), "profile": data}, indent=2))
        return 0
    click.echo(f"# {resolved.source}")
    for key, value in data.items():
        if not isinstance(value, dict):
            click.echo(_line(key, value, key in resolved.given))
    for table, values in data.items():
        if isinstance(values, dict):
            click.echo(f"\n[{table}]")
            for key, value in values.items():
                click.echo(_line(key, value, f"{table}.{key}" in resolved.given))
    return 0


def check(names: Sequence[str]) -> int:
    """1 if one of the profiles is not valid; each error is printed."""
    wrong = 0
    for path in [profile.find(name) for name in names] or profile.available().values():
        try:
            profile.load(path)
        except ProfileError as error:
            wrong += 1
            click.echo(f"{error.message}\n    {error.hint}", err=True)
        else:
            click.echo(f"{path}: ok")
    return 1 if wrong else 0


def new(name: str) -> int:
    """Write a draft into the user's profiles. Raises UsageError if there is one of this name."""
    text = DRAFT.format(name=name)
    profile.parse(text, name)
    path = paths.user_profiles() / f"{name}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path} exists already", "edit it, or choose another name") from None
    click.echo(path)
    return 0


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return {key: _plain(item) for key, item in msgspec.structs.asdict(value).items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, profile.Size) else value


def _line(key: str, value: Any, given: bool) -> str:
    import tomli_w

    text = tomli_w.dumps({key: value})
    if isinstance(value, list):
        text = f"{key} = [" + ", ".join(tomli_w.dumps({"_": item})[4:].strip() for item in value) + "]"
    return f"{text.strip():<46}  # {'this file' if given else 'default'}"
