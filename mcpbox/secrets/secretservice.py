"""The Secret Service, with the very items that the keyring library makes, and without the time that importing it takes.

The interface is that of the library's own classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import secretstorage
from secretstorage.exceptions import LockedException


class Keyring:
    """Raises RuntimeError where there is no Secret Service; its methods raise what ``secretstorage`` does."""

    priority = 5

    def __init__(self) -> None:
        try:
            with closing(secretstorage.dbus_init()) as bus:
                here = secretstorage.check_service_availability(bus)
        except secretstorage.SecretStorageException as error:
            raise RuntimeError(f"no session bus: {error}") from None
        if not here:
            raise RuntimeError("nothing provides it on the session bus")

    def get_password(self, service: str, user: str) -> str | None:
        with _collection() as collection:
            for item in collection.search_items(_attributes(service, user)):
                if item.is_locked() and item.unlock():
                    raise LockedException("the prompt was dismissed")
                return item.get_secret().decode()
        return None

    def set_password(self, service: str, user: str, password: str) -> None:
        attributes = {**_attributes(service, user), "application": "Python keyring library"}
        with _collection() as collection:
            collection.create_item(f"{service}: {user}", attributes, password.encode(), replace=True)

    def delete_password(self, service: str, user: str) -> None:
        with _collection() as collection:
            for item in collection.search_items(_attributes(service, user)):
                item.delete()


def _attributes(service: str, user: str) -> dict[str, str]:
    return {"service": service, "username": user}


@contextmanager
def _collection() -> Iterator[secretstorage.Collection]:
    """The default collection, unlocked; its user may be asked for that."""
    with closing(secretstorage.dbus_init()) as bus:
        collection = secretstorage.get_default_collection(bus)
        if collection.is_locked() and (collection.unlock() or collection.is_locked()):
            raise LockedException("the prompt was dismissed")
        yield collection
