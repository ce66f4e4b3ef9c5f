"""``mcpbox profile``: list, show, check and draft profiles."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import click
import msgspec

from mcpbox import draft, filesystem, paths, profile
from mcpbox.errors import ProfileError, UsageError
from mcpbox.trail import toml


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
    if as_json:
        data = _plain(resolved.profile)
        click.echo(json.dumps({"source": resolved.source, "given": sorted(resolved.given), "profile": data}, indent=2))
        return 0
    click.echo(f"# {resolved.source}")
    tables: dict[str, Mapping[str, Any]] = {}
    for key, value in msgspec.structs.asdict(resolved.profile).items():
        if isinstance(value, msgspec.Struct | dict):
            tables[key] = value if isinstance(value, dict) else msgspec.structs.asdict(value)
        else:
            click.echo(_line(key, value, key in resolved.given))
    for table, values in tables.items():
        click.echo(f"\n[{table}]")
        for key, value in values.items():
            click.echo(_line(key, value, f"{table}.{key}" in resolved.given))
    return 0


def check(names: Sequence[str]) -> int:
    """1 if one of the profiles is not valid; each error is printed."""
    wrong = 0
    for path in [profile.find(name) for name in names] or profile.available().values():
        try:
            found = profile.load(path)
            filesystem.require_unexposed(found.profile.filesystem, home=paths.home(), source=found.source)
        except ProfileError as error:
            wrong += 1
            click.echo(error.message + (f"\n    {error.hint}" if error.hint else ""), err=True)
        else:
            click.echo(f"{path}: ok")
    return 1 if wrong else 0


def new(name: str, source: str) -> int:
    """Write a draft into the user's profiles, of the installed package that ``source`` names or of nothing known.

    Raises UsageError if there is a profile of this name, PackageError if the package is not installed.
    """
    if not (name or source):
        raise UsageError("no name", "accepted: mcpbox profile new NAME, or mcpbox profile new --from PACKAGE")
    text = _drafted(name, source) if source else draft.empty(name)
    found = profile.parse(text, name or source)
    known = profile.available().get(found.profile.name)
    if not name and known and set(profile.load(known).profile.matches).isdisjoint(found.profile.matches):
        # It would hide that one, and secrets that are set for it would be for another package.
        raise UsageError(
            f"{found.profile.name} is the profile of another package: {known}",
            f"give it a name: mcpbox profile new NAME --from {source}",
        )
    path = paths.user_profiles() / f"{found.profile.name}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path} exists already", "edit it, or choose another name") from None
    click.echo(path)
    return 0


def _drafted(name: str, source: str) -> str:
    from mcpbox.command import plain
    from mcpbox.packages import spec, survey

    if source.startswith(("npm:", "pypi:")):
        request = spec.read_requirement(source)
    else:
        try:
            read = spec.read(plain(shlex.split(source))[0])
        except ValueError as error:
            raise UsageError(f"cannot read {source!r}: {error}") from None
        if read is None:
            raise UsageError(
                f"{source}: names no package", 'accepted: npm:NAME, pypi:NAME, or a command such as "npx -y NAME"'
            )
        request = read
    package = spec.name(request).rpartition("/")[2].lower()
    return draft.from_survey(name or re.sub(r"[^a-z0-9._-]", "-", package), survey.survey(request))


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, profile.Size) else value


def _line(key: str, value: Any, given: bool) -> str:
    return f"{f'{toml.key(key)} = {toml.inline(value)}':<46}  # {'this file' if given else 'default'}"
