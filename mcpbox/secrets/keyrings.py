"""The system's keyring, through the library of that name: one of the classes listed here, asked for by its name.

What the library would choose by itself (a plug-in, a configuration file, a plain text file) is never used. A keyring
may wait for its user for ever, so every question has a time limit.
"""

from __future__ import annotations

import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, TypeVar

from msgspec import Struct

from mcpbox.errors import DamagedSecret, SecretError
from mcpbox.secrets import packing
from mcpbox.secrets.reference import Reference

SERVICE = "mcpbox"
HEADLESS = "on a machine without one: mcpbox secrets init --file"
UNLOCK = "unlock it (log in to the desktop, or open its passwords program) and start the server again"
BUS = "DBUS_SESSION_BUS_ADDRESS"

T = TypeVar("T")


class Kind(Struct, frozen=True):
    """A keyring: ``limit`` is how many UTF-16 code units it keeps in one item, 0 for no limit.

    ``apart``: an item has to have a service of its own, since a second user of one service makes it rewrite the first.
    """

    id: str
    title: str
    system: str
    module: str
    name: str
    limit: int = 0
    apart: bool = False


KINDS = (
    Kind("secret-service", "the Secret Service", "linux", "mcpbox.secrets.secretservice", "Keyring"),
    Kind("kwallet", "KWallet", "linux", "keyring.backends.kwallet", "DBusKeyring"),
    Kind("macos", "the macOS keychain", "darwin", "keyring.backends.macOS", "Keyring"),
    # CRED_MAX_CREDENTIAL_BLOB_SIZE is 2,560 bytes, and the library writes UTF-16.
    Kind("windows", "the Credential Manager", "win32", "keyring.backends.Windows", "WinVaultKeyring", 1200, True),
)


class Keyring:
    """The items of one keyring. Every method raises SecretError."""

    def __init__(self, kind: Kind, seconds: float) -> None:
        self._kind, self._seconds = kind, seconds
        self.place, self.title = kind.id, kind.title

    def get(self, reference: Reference) -> str | None:
        """The value; None if there is no such item."""
        text = self._ask(lambda backend: self._read(backend, reference))
        if text is None:
            return None
        try:
            return packing.unpack(text)
        except ValueError as error:
            raise DamagedSecret(
                f"{reference} in {self._kind.title}: {error}", f"run: mcpbox secrets set {reference}"
            ) from None

    def set(self, reference: Reference, value: str) -> None:
        pieces = packing.split(packing.pack(value), self._kind.limit)

        def write(backend: Any) -> None:
            before = self._parts(backend, reference)
            if len(pieces) == 1:
                backend.set_password(*self._item(str(reference)), pieces[0])
            else:
                # The value changes with the one item that names its pieces, so that no mixture is ever read.
                generation = os.urandom(4).hex()
                for name, piece in zip(_part_names(reference, generation, len(pieces)), pieces, strict=True):
                    backend.set_password(*self._item(name), piece)
                backend.set_password(*self._item(str(reference)), packing.parts_of(generation, len(pieces)))
            self._remove(backend, before)

        self._ask(write)

    def delete(self, reference: Reference) -> None:
        """Remove the item, if there is one."""
        self._ask(lambda backend: self._remove(backend, [str(reference), *self._parts(backend, reference)]))

    def _read(self, backend: Any, reference: Reference) -> str | None:
        text: str | None = backend.get_password(*self._item(str(reference)))
        if text is None or not packing.parts_in(text):
            return text
        pieces = [backend.get_password(*self._item(name)) for name in self._parts(backend, reference)]
        if None in pieces:
            raise DamagedSecret(
                f"{reference} is incomplete in {self._kind.title}", f"run: mcpbox secrets set {reference}"
            )
        return "".join(pieces)

    def _parts(self, backend: Any, reference: Reference) -> list[str]:
        """The names of the items that the value's own item says it is in."""
        text = backend.get_password(*self._item(str(reference)))
        found = packing.parts_in(text) if text else None
        return _part_names(reference, *found) if found else []

    def _remove(self, backend: Any, names: list[str]) -> None:
        for name in names:
            if backend.get_password(*self._item(name)) is not None:
                backend.delete_password(*self._item(name))

    def _item(self, name: str) -> tuple[str, str]:
        """Service and user."""
        return (f"{SERVICE}/{name}", name) if self._kind.apart else (SERVICE, name)

    def _ask(self, question: Callable[[Any], T]) -> T:
        title = self._kind.title

        def asked() -> T:
            return question(_backend(self._kind))

        try:
            with session_bus():
                return bounded(asked, self._seconds)
        except SecretError:
            raise
        except TimeoutError:
            raise SecretError(
                f"{title} did not answer within {self._seconds:.0f} s; it may be locked", UNLOCK
            ) from None
        except Exception as error:
            if type(error).__name__ in ("KeyringLocked", "LockedException", "PromptDismissedException"):
                raise SecretError(f"{title} is locked", UNLOCK) from None
            raise SecretError(f"{title} failed: {type(error).__name__}: {error}", HEADLESS) from None


def choose(seconds: float, *, system: str = sys.platform) -> Keyring:
    """The keyring of this machine. Raises SecretError with what each lacks."""
    lacking = []
    for kind in KINDS:
        if kind.system != system:
            continue
        try:
            with session_bus():
                bounded(lambda kind=kind: _backend(kind), seconds)  # type: ignore[misc]
        except Exception as error:
            lacking.append(f"{kind.title}: {error or type(error).__name__}")
        else:
            return Keyring(kind, seconds)
    raise SecretError(f"there is no keyring here ({'; '.join(lacking) or system})", HEADLESS)


def possible() -> bool:
    """Whether a keyring could be asked: everywhere but on a Linux without a bus."""
    return sys.platform != "linux" or BUS in os.environ or _is_own_socket(f"/run/user/{os.getuid()}/bus")


def by_id(place: str, seconds: float) -> Keyring:
    """The keyring that a secret was put in. Raises SecretError."""
    for kind in KINDS:
        if kind.id == place:
            return Keyring(kind, seconds)
    raise SecretError(f"{place!r} is not a keyring that mcpbox knows", "update mcpbox")


def bounded(call: Callable[[], T], seconds: float) -> T:
    """What ``call`` returns or raises. Raises TimeoutError if that takes longer; it is then left to itself."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="keyring", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError
    return results[0]


@contextmanager
def session_bus(runtime: str = "/run/user") -> Iterator[None]:
    """With the address of the user's bus, which the hosts' SDKs take out of the environment of what they start."""
    path = f"{runtime}/{os.getuid()}/bus"
    if os.environ.get(BUS) or not _is_own_socket(path):
        yield
        return
    os.environ[BUS] = f"unix:path={path}"
    try:
        yield
    finally:
        del os.environ[BUS]


def _is_own_socket(path: str) -> bool:
    with suppress(OSError):
        found = os.lstat(path)
        return stat.S_ISSOCK(found.st_mode) and found.st_uid == os.getuid()
    return False


def _backend(kind: Kind) -> Any:
    """An instance of the class. Raises whatever it says why it is of no use here."""
    found = getattr(import_module(kind.module), kind.name)
    # Reading it asks whether the keyring is there, and raises RuntimeError if not.
    _ = found.priority
    return found()


def _part_names(reference: Reference, generation: str, count: int) -> list[str]:
    # "#" is in no reference's name.
    return [f"{reference}#{generation}.{number}" for number in range(count)]
