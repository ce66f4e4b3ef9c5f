"""What a session puts on record of its messages, and shows of them. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from mcpbox.actions import Divert, Record
from mcpbox.held import SHOWN, Case, message_name, recorded_id, target
from mcpbox.jsonrpc import Message, Request
from mcpbox.policy.base import Alert, Change, Note, Refuse, Side
from mcpbox.shown import plain

#: Characters of a reason, which may quote what one side has sent.
MAX_REASON = 2000


def record(event: str, side: Side, message: Message, found: Mapping[str, Any] = {}, **more: Any) -> Record:
    """What happened to a message, by its name, with what was ``found`` in it and ``more``."""
    return Record({**found, "event": event, "side": side.value, "message": message_name(message), **more})


def shown(text: str) -> Divert:
    """A line for people; what it quotes may be anybody's."""
    return Divert(plain(f"[mcpbox] {text}", MAX_REASON).encode(errors="replace") + b"\n")


def verdict(event: str, side: Side, message: Message, said: Change | Alert | Note | Refuse, policy: str) -> Record:
    """What a policy said of the message."""
    return record(event, side, message, said.found, policy=policy, reason=said.reason[:MAX_REASON])


def traffic(event: str, request: Request, case: Case, content: Any, **more: Any) -> Record:
    """What a request or its answer is put on record as, whoever sent it: what was masked in it stays so."""
    message = case.message
    where = target(request if case.recorded is None else replace(request, params=case.recorded))
    named = message is request and request.method == "tools/call"
    return Record(
        {
            "event": event,
            "side": case.side.value,
            "message": f"tools/call {where}" if named else message_name(message),
            "method": request.method[:SHOWN],
            "target": where,
            "id": recorded_id(request.id),
            "bytes": len(case.data),
            **more,
        },
        content,
    )
