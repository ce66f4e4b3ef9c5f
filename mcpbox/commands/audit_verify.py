"""``mcpbox audit verify``: whether the records are as they were written."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import click
from msgspec.structs import asdict

from mcpbox import config
from mcpbox.audit import ledger, reading, signing, upkeep, verify
from mcpbox.audit.verify import Problem, Report
from mcpbox.errors import McpboxError, SecretError, UsageError
from mcpbox.secrets import vault

#: Problems that ``accept`` settles.
ACCEPTABLE = frozenset({"replay", "key", "prune", "rewrite"})
#: Sessions that ended without a close that are told one by one.
MAX_NOTES = 20


def run(names: Sequence[str], as_json: bool, accept: bool) -> int:
    """Print what was changed; 1 if anything was. Killed sessions are closed first, and what is not signed is signed."""
    if names and (unknown := set(names) - {log.name for log in reading.sessions(names)} - verify.names()):
        raise UsageError(f"nothing is on record of {', '.join(sorted(unknown))}", "see: mcpbox audit verify")
    upkeep.close_dead()
    if accept:
        signing.accept(signing.AT_START)
    began = time.monotonic()
    report = verify.verify(names)
    seconds = time.monotonic() - began
    if not report.problems:
        _sign(report)
    if as_json:
        click.echo(
            json.dumps({**asdict(report), "problems": [asdict(problem) for problem in report.problems]}, indent=2)
        )
    else:
        _print(report, seconds)
    return 1 if report.problems else 0


def _sign(report: Report) -> None:
    """What a keyring that was locked, or a session that was killed, left unsigned."""
    if not report.unsigned or config.load().audit.sign == "off" or not signing.possible():
        return
    try:
        signing.sign(signing.AT_START)
        report.signed, report.unsigned = True, 0
    except (SecretError, OSError, McpboxError) as error:
        report.notes.append(f"not signed: {error}")


def _print(report: Report, seconds: float) -> None:
    for problem in report.problems:
        click.echo(f"{_where(problem)}: {_shown(problem.text)}")
    if report.more:
        click.echo(f"and {report.more} more")
    for note in report.notes[:MAX_NOTES]:
        click.echo(f"note: {_shown(note)}")
    if len(report.notes) > MAX_NOTES:
        click.echo(f"note: {len(report.notes) - MAX_NOTES} more, which --json shows")
    found = f"{report.records} records of {report.sessions} sessions in {seconds:.1f} s"
    if report.problems:
        click.echo(f"{found}: CHANGED, {len(report.problems) + report.more} problems")
        if any(problem.kind in ACCEPTABLE for problem in report.problems):
            click.echo("if that was you, who put back a copy or changed keyrings: mcpbox audit verify --accept")
        return
    if not report.signed:
        signed = "nothing is signed, so whoever can write to these files could have made them all anew"
    elif report.unsigned:
        signed = f"signed but for the last {report.unsigned} lines of the ledger"
    else:
        signed = "signed"
    if report.signed and vault.exists():
        # Both are files, and no other place remembers which of them was the newest.
        signed += f" with the key in {vault.file()}: an older copy of that and of the records, put back, would not show"
    click.echo(f"{found}: as they were written; {signed}" if ledger.exists() else "nothing is on record")


def _where(problem: Problem) -> str:
    record = f", record {problem.seq}" if problem.seq >= 0 else ""
    if problem.name == "ledger" and not problem.session:
        return f"ledger{record.replace('record', 'line')}"
    return _shown(" ".join(filter(None, (problem.name, problem.session)))) + record


def _shown(text: str) -> str:
    """Names of files may be strangers' (CWE-150)."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
