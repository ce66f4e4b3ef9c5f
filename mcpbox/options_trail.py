"""The options of the verbs that read the audit. Like ``options``, it only parses."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from mcpbox.trail.entries import DECISIONS, WHEN

servers_option = click.option("--server", "servers", metavar="NAME", multiple=True, help="Only this server's.")
session_option = click.option("--session", metavar="ID", default="", help="Only this session's, by how its id begins.")
since_option = click.option("--since", metavar="WHEN", default="", help=f"From then on: {WHEN}.")
until_option = click.option("--until", metavar="WHEN", default="", help="Before then.")
events_option = click.option("--event", "events", metavar="EVENT", multiple=True, help="Such as call, egress, refused.")
tool_option = click.option("--tool", metavar="GLOB", default="", help="Only what is about tools of such a name.")
decision_option = click.option("--decision", type=click.Choice(DECISIONS), default=None)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
began_option = click.option("--since", metavar="WHEN", default="", help=f"Only sessions that began since: {WHEN}.")
profile_option = click.option("--profile", "name", metavar="NAME|FILE", default="", help="Narrow this one.")


def filtered(command: Callable[..., int]) -> Callable[..., int]:
    """Give ``command`` the options that choose records, as the keywords ``servers``, ``since`` and so on."""
    shown = (servers_option, session_option, since_option, until_option, events_option, tool_option, decision_option)
    for option in reversed(shown):
        command = option(command)
    return command


def add_to(audit: click.Group, profile: click.Group) -> None:
    """Add the verbs to the groups that they belong to."""
    for command in (show, export, deviations):
        audit.add_command(command)
    for command in (suggest, replay):
        profile.add_command(command)


@click.command()
@filtered
@click.option("-n", "last", metavar="N", type=click.IntRange(min=0), help="Only the last N.")
@click.option("--follow", is_flag=True, help="Go on with what is put on record from now on.")
@click.option("--no-color", "colours", flag_value=False, default=True, help="No colours, on a terminal either.")
@json_option
def show(last: int | None, follow: bool, colours: bool, as_json: bool, **choice: Any) -> int:
    """Show what is on record, a line for each record."""
    from mcpbox.commands import records as verb

    wanted = verb.chosen(**choice)
    colours = colours and sys.stdout.isatty() and click.get_current_context().color is not False
    return verb.show(wanted, last, follow, as_json, colours)


@click.command()
@click.option("--format", "form", type=click.Choice(["json", "jsonl", "csv", "ocsf", "cef", "otel"]), required=True)
@click.option("--output", metavar="FILE", default="", help="A new file. Default: standard output.")
@filtered
def export(form: str, output: str, **choice: Any) -> int:
    """Write what is on record as JSON, CSV, OCSF 1.6, CEF or OpenTelemetry logs (OTLP in JSON)."""
    from mcpbox.commands import records as verb

    wanted = verb.chosen(**choice)
    return verb.export(wanted, form, output)


@click.command()
@click.argument("servers", nargs=-1)
@session_option
@since_option
@json_option
def deviations(servers: tuple[str, ...], session: str, since: str, as_json: bool) -> int:
    """Show which sessions are unlike the earlier ones of their server; exit with 1 if any is."""
    from mcpbox.commands import records as verb

    return verb.deviations(verb.chosen(servers, since, session=session), as_json)


@click.command()
@click.argument("server")
@began_option
@profile_option
@json_option
def suggest(server: str, since: str, name: str, as_json: bool) -> int:
    """Print the least profile that would have sufficed for SERVER, with the evidence for each line."""
    from mcpbox.commands import learned as verb

    return verb.suggest_(server, since, name, as_json)


@click.command()
@click.argument("name", metavar="NAME|FILE")
@click.argument("server")
@session_option
@began_option
@json_option
def replay(name: str, server: str, session: str, since: str, as_json: bool) -> int:
    """Show what the recorded sessions of SERVER would be refused under a profile; exit with 1 if anything."""
    from mcpbox.commands import learned as verb

    return verb.replay_(name, server, session, since, as_json)
