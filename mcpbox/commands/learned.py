"""``mcpbox profile suggest`` and ``replay``: profiles from what is on record, and against it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from msgspec.structs import asdict, replace

from mcpbox import filesystem, paths, profile
from mcpbox.audit.reading import SessionLog
from mcpbox.errors import ProfileError, UsageError
from mcpbox.profile import Profile, Resolved
from mcpbox.trail import logs, suggest
from mcpbox.trail.entries import Filter, visible, when
from mcpbox.trail.evidence import Evidence, Use, gather
from mcpbox.trail.fields import text
from mcpbox.trail.replay import Difference, Tally, replay


def suggest_(server: str, since: str, name: str, as_json: bool) -> int:
    """Print the least profile for what is on record of ``server``: a narrower one than ``name``, or than it has now."""
    found = logs.of_server(server, _filter(server, since, ""))
    resolved = profile.load(profile.find(name)) if name else _in_force(found)
    evidence = gather(map(logs.entries, found))
    if not resolved.profile.name:
        resolved = replace(resolved, profile=replace(resolved.profile, name=server.lower()))
    home = paths.home()
    context = suggest.Context(
        resolved.profile,
        resolved.given,
        lambda path: _forms(path, home),
        lambda path: filesystem.exposure(path, home) or filesystem.exposure(os.path.realpath(path), home),
        str(home),
    )
    shown = suggest.suggest(server, evidence, context)
    # What is printed is meant to be used as it is.
    profile.parse(shown, f"the profile suggested for {server}")
    if as_json:
        click.echo(json.dumps({"server": server, "profile": shown, "evidence": _plain(evidence)}, indent=2))
    else:
        click.echo(shown, nl=False)
    return 0


def replay_(name: str, server: str, session: str, since: str, as_json: bool) -> int:
    """1 if anything that was allowed in the recorded sessions of ``server`` would be refused under the profile."""
    resolved = profile.load(profile.find(name))
    found = logs.of_server(server, _filter(server, since, session))
    home, tally = paths.home(), Tally()
    different: list[Difference] = []
    for log in found:
        different += replay(logs.entries(log), resolved.profile, lambda path: _forms(path, home), tally)
    if as_json:
        told = {"sessions": len(found), "learned": tally.learned, "judged": tally.judged, "unjudged": tally.unjudged}
        click.echo(json.dumps({**told, "refused": [asdict(each) for each in different]}, indent=2))
        return 1 if different else 0
    for each in different:
        click.echo(visible(f"{each.session} #{each.seq}: {each.what}: {each.why}"))
    judged = ", ".join(f"{count} {kind}" for kind, count in sorted(tally.judged.items())) or "nothing"
    click.echo(f"{len(found)} sessions: {judged}; {len(different)} would be refused")
    if tally.learned < len(found):
        without = len(found) - tally.learned
        click.echo(f"{without} ran without --learn: whether [filesystem] has what they need cannot be judged")
    if tally.unjudged:
        click.echo(f"{tally.unjudged} records only count what there was, and cannot be judged")
    return 1 if different else 0


def _filter(server: str, since: str, session: str) -> Filter:
    return Filter(servers=(server,), session=session, since=when(since, datetime.now(UTC)) if since else "")


def _in_force(found: Sequence[SessionLog]) -> Resolved:
    """The profile that the newest session ran with, as its file is now. Raises ProfileError."""
    first = next(logs.entries(found[-1]), None)
    source = text(first.launch, "profile") if first else ""
    if source == Resolved(Profile(), None, frozenset()).source:
        return profile.resolve(None, ())
    if not source.startswith("/"):
        raise UsageError(f"session {found[-1].id} does not say where its profile is", "name one with --profile")
    if not Path(source).is_file():
        raise ProfileError(f"{source}: the profile of its last session is gone", "name one with --profile")
    return profile.load(Path(source))


def _forms(path: str, home: Path) -> tuple[str, ...]:
    """A listed path in full, and what it is behind symlinks."""
    full = os.path.normpath(filesystem.expanded(path, home))
    return tuple(dict.fromkeys((full, os.path.realpath(full))))


def _plain(evidence: Evidence) -> dict[str, Any]:
    """For programs; a use is told by its numbers."""

    def plain(value: Any) -> Any:
        if isinstance(value, Use):
            return {"count": value.count, "sessions": value.sessions, "last": value.last}
        if isinstance(value, dict):
            return {key if isinstance(key, str) else f"{key[0]}:{key[1]}": plain(each) for key, each in value.items()}
        if isinstance(value, set):
            return sorted(f"{name}:{port}" for name, port in value)
        if isinstance(value, int | bool | str):
            return value
        return {key: plain(each) for key, each in asdict(value).items()}

    return {key: plain(value) for key, value in asdict(evidence).items()}
