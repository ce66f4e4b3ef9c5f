"""What a session wants done: bytes sent, events put on record, lines shown. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from mcpbox.policy.base import Side


class Send(Struct, frozen=True):
    """Write ``data`` to the side ``to``."""

    to: Side
    data: bytes


class Record(Struct, frozen=True):
    """Put ``event`` on record; if that fails, the session must end.

    An event has strings, integers, booleans, None, lists and objects of them; never a float, never what was said.
    ``content`` is that, for the record to keep in the form that the profile wants: the params of a call, the result or
    the error of an answer, as they are passed on.
    """

    event: Mapping[str, Any]
    content: Any = None


class Divert(Struct, frozen=True):
    """Show ``data``, which is not for the host, on standard error."""

    data: bytes


Action = Send | Record | Divert
