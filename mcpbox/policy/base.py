"""What a policy is: a pure rule that looks at one message and lets it pass, changes it, or refuses it. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Protocol

from msgspec import Struct

from mcpbox.jsonrpc import Message


class Side(Enum):
    """The two ends of the wire, as MCP names them; a message is named after the side it comes from."""

    CLIENT = "client"
    SERVER = "server"

    @property
    def other(self) -> Side:
        return Side.SERVER if self is Side.CLIENT else Side.CLIENT


class Change(Struct, frozen=True):
    """Forward ``value`` in the place of the message."""

    value: dict[str, Any]
    reason: str


class Refuse(Struct, frozen=True):
    """Do not forward the message. ``reason`` is told to the sender of a request, ``hint`` says what would allow it."""

    reason: str
    hint: str = ""


Verdict = Change | Refuse | None


class Policy(Protocol):
    """One rule. ``None`` lets the message pass untouched; an exception refuses it."""

    def judge(self, side: Side, message: Message) -> Verdict: ...


class Rules(Struct, frozen=True):
    """What the profile says about messages, in the form that policies take."""

    tools_allow: tuple[str, ...] = ("*",)
    tools_deny: tuple[str, ...] = ()
    sampling: str = "deny"
    elicitation: str = "allow"
    roots: str = "intersect"
    #: directories and files that the server sees, for ``roots = "intersect"``
    visible: tuple[str, ...] = ()


def field(value: Any, *keys: str) -> Any:
    """``value[keys[0]][keys[1]]…``, or None where a step is missing or not an object."""
    for key in keys:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value
