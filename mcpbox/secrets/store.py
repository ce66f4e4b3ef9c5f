"""The store of secrets: the system's keyring, or the encrypted file where one was made, and the index of names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from shlex import quote
from typing import Protocol

from msgspec import Struct

from mcpbox.errors import DamagedSecret, SecretError, UsageError
from mcpbox.secrets import held, index, packing, vault
from mcpbox.secrets.index import Entry
from mcpbox.secrets.reference import Reference

#: Seconds that a keyring has to answer: where a host waits for its server, and where a person can answer its prompt.
AT_START, AT_A_TERMINAL = 5.0, 60.0
TOLD = "its command line says itself what code runs: put that in a script, and leave out options that bring code"
IDENTITY = "npm:NAME, pypi:NAME, image:NAME, or file:PATH of the program or script"


class Place(Protocol):
    """Where values are: a keyring or the encrypted file."""

    place: str

    def get(self, reference: Reference) -> str | None: ...

    def set(self, reference: Reference, value: str) -> None: ...

    def delete(self, reference: Reference) -> None: ...


class Item(Struct, frozen=True):
    """A secret without its value: ``owners`` are the identities that may be given it, ``set`` when, in UTC."""

    ref: Reference
    owners: tuple[str, ...]
    set: str
    place: str


class Store:
    """Every method that reads or writes a value raises SecretError."""

    def __init__(self, place: Callable[[str], Place], new: Callable[[], Place]) -> None:
        self._place, self._new = place, new
        self._known: dict[str, Place] = {}

    def names(self) -> list[Item]:
        entries = index.load()
        return [Item(ref, entries[ref].owners, entries[ref].set, entries[ref].place) for ref in sorted(entries)]

    def find(self, ref: Reference) -> str | None:
        """The value; None if there is none. Bytes that are not UTF-8 are surrogates in it."""
        entry = index.load().get(ref)
        value = self._at(entry.place).get(ref) if entry and entry.owners else None
        if value is not None:
            held.hold(str(ref), value)
        return value

    def get(self, ref: Reference) -> str:
        """The value, as ``find`` has it. Raises SecretError if there is none."""
        value = self.find(ref)
        if value is None:
            state = "has no value any more" if ref in index.load() else "was never set"
            raise SecretError(f"the secret {ref} {state}", f"run: mcpbox secrets set {ref}")
        return value

    def release(self, ref: Reference, identities: Iterable[str]) -> str:
        """The value, for a program of these identities; one of them has to be among the secret's owners."""
        entry, theirs = index.load().get(ref), list(identities)
        if entry is not None and entry.owners and not set(entry.owners) & set(theirs):
            who = theirs[0] if theirs else "a program without an identity"
            hint = f"if it is meant: mcpbox secrets set {ref} --for {quote(theirs[0])}" if theirs else TOLD
            raise SecretError(f"the secret {ref} is for {' and '.join(entry.owners)}, not for {who}", hint)
        value = self.get(ref)
        # Whoever sets a secret says first in the index that it is nobody's.
        if index.load().get(ref) != entry:
            raise SecretError(f"the secret {ref} is being set at this moment", "start the server again")
        return value

    def set(self, ref: Reference, value: str, owners: Sequence[str]) -> str:
        """Keep a value, read back and compared. On an error all is as it was. Raises UsageError too.

        Returns why a value that it had elsewhere is still there; "" if none is.
        """
        if fault := packing.fault(value):
            raise UsageError(f"the value of {ref} cannot be kept: {fault}")
        for owner in owners or ("",):
            if not owner.startswith(("npm:", "pypi:", "image:", "file:/")):
                raise UsageError(f"{owner!r} is nothing that a secret can be for", f"accepted: --for {IDENTITY}")
        held.hold(str(ref), value)
        place = self._active()
        with suppress(DamagedSecret):
            # It may have to be unlocked by its user, and nobody else waits for that.
            place.get(ref)
        with index.locked():
            before = index.load().get(ref)
            try:
                old = place.get(ref)
            except DamagedSecret:
                # There is nothing to put back, and this is what mends it.
                old = None
            moved = before is not None and before.place != place.place
            # Nobody may be given it while it is changing hands; and nothing is kept that no list shows.
            pending = Entry(place.place, (), datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"))
            index.put(ref, pending)
            try:
                place.set(ref, value)
                if place.get(ref) != value:
                    raise SecretError(f"the secret {ref} did not come back from {place.place} as it was put there")
                index.put(ref, Entry(place.place, tuple(dict.fromkeys(owners)), pending.set))
            except BaseException:
                with suppress(SecretError):
                    place.delete(ref) if old is None else place.set(ref, old)
                    index.put(ref, before)
                raise
            if moved and before is not None:
                try:
                    self._at(before.place).delete(ref)
                except SecretError as error:
                    return f"the former value of {ref} is still in {before.place}: {error.message}"
        return ""

    def delete(self, ref: Reference) -> None:
        """Remove a secret. Raises SecretError if there is none."""
        with index.locked():
            entry = index.load().get(ref)
            if entry is None:
                raise SecretError(f"there is no secret {ref}", "see: mcpbox secrets list")
            self._at(entry.place).delete(ref)
            index.put(ref, None)

    def _at(self, place: str) -> Place:
        if place not in self._known:
            self._known[place] = self._place(place)
        return self._known[place]

    def _active(self) -> Place:
        place = self._new()
        return self._known.setdefault(place.place, place)


def kept_in() -> str:
    """Where secrets that are set now would be. Raises SecretError if that is nowhere, or nothing opens it."""
    if vault.exists():
        vault.Vault().check()
        return f"none; the encrypted file {vault.file()}"
    from mcpbox.secrets import keyrings

    return keyrings.choose(AT_START).title


def place(seconds: float) -> Place:
    """Where what mcpbox itself keeps belongs: the encrypted file if one was made, else the keyring. Raises SecretError.

    No passphrase is asked for.
    """
    if vault.exists():
        return vault.Vault(None)
    from mcpbox.secrets import keyrings

    return keyrings.choose(seconds)


def possible() -> bool:
    """Whether ``place`` may find something; it is not asked."""
    from mcpbox.secrets import keyrings

    return vault.exists() or keyrings.possible()


def open_store(*, seconds: float = AT_A_TERMINAL, ask: vault.Ask | None = None) -> Store:
    """This user's store: the encrypted file if one was made, else the keyring; nothing is opened before it is used.

    ``seconds`` is how long a keyring may take, ``ask`` asks for the passphrase. A keyring that is missing or locked is
    told as SecretError by the store's methods.
    """

    def at(place: str) -> Place:
        if place == vault.PLACE:
            return vault.Vault(ask)
        from mcpbox.secrets import keyrings

        return keyrings.by_id(place, seconds)

    def new() -> Place:
        if vault.exists():
            return at(vault.PLACE)
        from mcpbox.secrets import keyrings

        return keyrings.choose(seconds)

    return Store(at, new)
