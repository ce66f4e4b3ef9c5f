"""``mcpbox secrets``: names, owners and times; a value comes in by a prompt or standard input, and never goes out."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from mcpbox import profile, sessions
from mcpbox.audit.commanded import commanded
from mcpbox.errors import ProfileError, UsageError
from mcpbox.secrets import held, vault
from mcpbox.secrets.reference import Reference, parse
from mcpbox.secrets.store import IDENTITY, Store, open_store


def list_(as_json: bool) -> int:
    items = _store().names()
    if as_json:
        rows = [
            {"name": str(item.ref), "for": list(item.owners), "set": item.set, "place": item.place} for item in items
        ]
        click.echo(json.dumps(rows, indent=2))
        return 0
    for item in items:
        owners = ", ".join(item.owners) or "nobody: setting it was interrupted, set it again"
        click.echo(f"{item.ref!s:<44}  {item.place:<15}{item.set:<22}{owners}")
    return 0


def set_(name: str, owners: Sequence[str]) -> int:
    """Raises UsageError, SecretError."""
    ref = parse(name)
    store = _store()
    chosen = [_absolute(owner) for owner in owners] or _owners(ref, store)
    held.prepare()
    value = _value(ref)
    commanded(f"secrets set {ref}", chosen)
    left = store.set(ref, value, chosen)
    click.echo(f"{ref} is kept, for {', '.join(chosen)}", err=True)
    if left:
        click.echo(left, err=True)
    _end_holders({ref})
    return 0


def rm(names: Sequence[str]) -> int:
    """Raises UsageError, SecretError."""
    refs = [parse(name) for name in names]
    store = _store()
    commanded("secrets rm", [str(ref) for ref in refs])
    for ref in refs:
        store.delete(ref)
        _end_holders({ref})
    return 0


def init(in_file: bool, key_file: str | None, systemd: bool) -> int:
    """Raises UsageError, SecretError."""
    if not in_file:
        raise UsageError("without --file there is nothing to make: the system's keyring needs none", "accepted: --file")
    if key_file and systemd:
        raise UsageError("--key-file and --systemd are two sources of one key", "give one of them")
    held.prepare()
    commanded("secrets init --file")
    if key_file:
        vault.create("key-file", key_file=Path(key_file))
    elif systemd:
        vault.create("systemd")
    else:
        vault.create("passphrase", passphrase=_new_passphrase())
    click.echo(f"secrets that are set from now on are kept in {vault.file()}", err=True)
    return 0


def _store() -> Store:
    return open_store(ask=_passphrase if os.path.exists("/dev/tty") and sys.stderr.isatty() else None)


def _owners(ref: Reference, store: Store) -> list[str]:
    """Whom the secret is for already; for a new one, the packages that the profile of its server is for."""
    for item in store.names():
        if item.ref == ref and item.owners:
            return list(item.owners)
    if path := profile.available().get(ref.server):
        try:
            found = profile.load(path).profile.matches
        except ProfileError as error:
            raise UsageError(error.message, error.hint) from None
        if found:
            return list(found)
    raise UsageError(f"whom is {ref} for?", f"add: --for IDENTITY, which is {IDENTITY}")


def _absolute(owner: str) -> str:
    """The identity, its path absolute and without "~"."""
    if not owner.startswith("file:"):
        return owner
    path, mark, rest = owner.removeprefix("file:").partition("#")
    return f"file:{os.path.abspath(os.path.expanduser(path))}{mark}{rest}"


def _value(ref: Reference) -> str:
    """What is asked for; or all of standard input, without the line end if it is a single line."""
    if sys.stdin.isatty():
        value: str = click.prompt(f"Value of {ref}", hide_input=True, err=True)
        return value
    data = sys.stdin.buffer.read()
    if data.count(b"\n") == 1 and data.endswith(b"\n"):
        data = data.removesuffix(b"\n").removesuffix(b"\r")
    return data.decode(errors="surrogateescape")


def _passphrase() -> str:
    import getpass

    # From the terminal, whatever standard input is.
    return getpass.getpass("Passphrase of the secrets: ")


def _new_passphrase() -> str:
    if path := os.environ.get(vault.PASSPHRASE_FILE):
        return vault.passphrase_in(path)
    if not sys.stdin.isatty():
        raise UsageError("a passphrase has to be typed", f"or: {vault.GIVE}; or: --key-file PATH, --systemd")
    value: str = click.prompt("New passphrase", hide_input=True, confirmation_prompt=True, err=True)
    return value


def _end_holders(refs: set[Reference]) -> None:
    """End the sandboxes that were given one of the secrets; their hosts start them again."""
    names = {str(ref) for ref in refs}
    holders = [session for session in sessions.running() if names & set(session.record.get("secrets", ()))]
    sessions.end(holders)
    for session in holders:
        click.echo(f"ended {session.record['name']}, which held the old value", err=True)
