"""``mcpbox doctor``: what this machine can enforce, and how to mend what it cannot."""

from __future__ import annotations

import json
import os
import platform
import sys

import click
from msgspec.structs import asdict

from mcpbox import __version__, config, paths, sandbox
from mcpbox.audit import ledger, signing
from mcpbox.errors import McpboxError, SecretError
from mcpbox.sandbox.base import Finding
from mcpbox.secrets import vault
from mcpbox.secrets.store import kept_in
from mcpbox.shown import plain

COLOURS = {"ok": "green", "degraded": "yellow", "missing": "red"}


def run(as_json: bool) -> int:
    """0 if at least one backend can start a sandbox, 1 otherwise."""
    keyring = _keyring()
    sections = {"machine": [_system(), _directories(), keyring, _audit(keyring.remedy)]}
    for name in sandbox.BACKENDS:
        try:
            sections[name] = sandbox.load(name).check()
        except Exception as error:
            # A check that cannot run is a failure, and must not hide what the others found.
            sections[name] = [Finding(name, "missing", f"cannot be checked: {error}", "see the error")]
    lacking = {name for name in sections if any(found.status == "missing" for found in _needed(sections[name]))}
    usable = [name for name in sandbox.BACKENDS if not lacking & {name, "machine"}]
    if as_json:
        rows = [{"section": section, **asdict(found)} for section, found_ in sections.items() for found in found_]
        click.echo(json.dumps({"usable": usable, "findings": rows}, indent=2))
        return 0 if usable else 1
    for section, findings in sections.items():
        click.secho(section, bold=True)
        for found in findings:
            status = click.style(f"{found.status:<10}", fg=COLOURS[found.status])
            click.echo(f"  {status}{found.subject:<22}{found.detail}")
            if found.remedy and found.status != "ok":
                click.echo(f"{'':<12}{'':<22}{found.remedy}")
    click.echo(
        f"\nservers can be sandboxed with: {', '.join(usable)}" if usable else "\nno server can be sandboxed here"
    )
    return 0 if usable else 1


def _needed(findings: list[Finding]) -> list[Finding]:
    """Without an image for one kind of server, an engine still serves the others."""
    return [found for found in findings if not found.subject.startswith("image for")]


def _system() -> Finding:
    detail = f"mcpbox {__version__}, Python {platform.python_version()}, {platform.system()} {platform.release()}"
    if sys.platform == "win32":
        return Finding("system", "missing", detail, "run mcpbox in WSL 2")
    if os.geteuid() == 0:
        return Finding("system", "degraded", f"{detail}, as root", "run mcpbox as an ordinary user; servers are anyway")
    return Finding("system", "ok", detail)


def _directories() -> Finding:
    try:
        kept = paths.runtime_dir(), paths.private_dir(paths.state_dir()), paths.private_dir(paths.data_dir())
    except McpboxError as error:
        return Finding("directories", "missing", error.message, error.hint)
    except OSError as error:
        return Finding("directories", "missing", f"{error.filename}: {error.strerror}", "let this user write there")
    return Finding("directories", "ok", ", ".join(map(str, kept)))


def _keyring() -> Finding:
    try:
        return Finding("keyring", "ok", kept_in())
    except SecretError as error:
        return Finding("keyring", "degraded", error.message, error.hint)


def _audit(keyring: str) -> Finding:
    """Whether the ledger is signed, by what stands there; ``audit verify`` says whether that is true.

    ``keyring`` is what mends the keyring, "" where nothing is wrong with it.
    """
    try:
        wanted = config.load().audit.sign
    except McpboxError as error:
        return Finding("audit", "missing", error.message, error.hint)
    if wanted == "off":
        return Finding("audit", "ok", 'not signed: sign = "off" under [audit] in config.toml')
    try:
        if not ledger.file().exists():
            return Finding("audit", "ok", "nothing is on record yet")
        word = signing.last_word()
    except OSError as error:
        return Finding("audit", "missing", f"{error.filename}: {error.strerror}", "let this user write there")
    if word.get("event") == "signature":
        return Finding("audit", "ok", plain(f"signed, last at {word.get('time')}", 200))
    why = plain(f"not signed: {word.get('reason')}" if word else "not signed yet", 200)
    remedy = "unlock the keyring, or on a machine without one: mcpbox secrets init --file"
    if vault.exists():
        remedy = f"what opens the encrypted file has to be there for hosts too; for a passphrase, {vault.GIVE}"
    remedy = keyring or remedy
    return Finding("audit", "missing" if wanted == "required" else "degraded", why, remedy)
