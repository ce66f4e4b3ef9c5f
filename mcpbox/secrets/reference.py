"""References to secrets: ``mcpbox-secret:SERVER/NAME``, anywhere within a variable's value or an argument. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct

from mcpbox.errors import SecretError, UsageError
from mcpbox.secrets import PREFIX

FORM = "SERVER/NAME: SERVER as profiles are named, NAME of letters, digits, '_', '.' and '-'"

_PAIR = r"([a-z0-9][a-z0-9._-]{0,63})/([A-Za-z0-9_.-]{1,128})"
# It ends where NAME's characters do: one that is too long is no reference, rather than a shorter one and a rest.
_REFERENCE = re.compile(rf"{PREFIX}{_PAIR}(?![A-Za-z0-9_.-])")


class Reference(Struct, frozen=True, order=True):
    """The name of a secret; ``str`` gives "server/name"."""

    server: str
    name: str

    def __str__(self) -> str:
        return f"{self.server}/{self.name}"


def masked(text: str, mask: str) -> str:
    """``text`` with ``mask`` in place of each reference."""
    return _REFERENCE.sub(lambda _: mask, text)


def parse(text: str) -> Reference:
    """The reference that "server/name" is. Raises UsageError."""
    if not (found := re.fullmatch(_PAIR, text)):
        raise UsageError(f"{text!r} is not the name of a secret", f"accepted: {FORM}")
    return Reference(found[1], found[2])


def references(text: str) -> list[Reference]:
    """Every reference in ``text``, in order. Raises SecretError for one that is begun and not well-formed."""
    found = [Reference(match[1], match[2]) for match in _REFERENCE.finditer(text)]
    if len(found) != text.count(PREFIX):
        parts = text.split(PREFIX)[1:]
        broken = next((part for part in parts if not _REFERENCE.match(PREFIX + part)), parts[0])
        shown = re.split(r"[^A-Za-z0-9_./-]", broken)[0][:80]
        raise SecretError(f"{PREFIX}{shown} is not a reference to a secret", f"accepted: {PREFIX}{FORM}")
    return found


def substitute(text: str, values: Mapping[Reference, str]) -> str:
    """``text`` with the value in the place of each reference. Raises SecretError for one that has no value."""

    def value(match: re.Match[str]) -> str:
        reference = Reference(match[1], match[2])
        if reference not in values:
            raise SecretError(f"there is no secret {reference}", f"run: mcpbox secrets set {reference}")
        return values[reference]

    references(text)
    return _REFERENCE.sub(value, text)
