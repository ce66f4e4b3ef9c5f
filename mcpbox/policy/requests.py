"""What a server may ask of the host: sampling and elicitation, each as the profile says. No I/O."""

from __future__ import annotations

from typing import Any

from mcpbox.jsonrpc import Message, Request, Response
from mcpbox.policy.base import Refuse, Rules, Side, Verdict, field


class ServerRequests:
    """Covers both ways of asking: a request of the server's own (protocols up to 2025-11-25), and a result of type
    ``input_required`` whose ``inputRequests`` the client is to fulfil (2026-07-28, multi round-trip requests).
    """

    def __init__(self, rules: Rules) -> None:
        self._denied = {
            method: table
            for method, table, setting in (
                ("sampling/createMessage", "sampling", rules.sampling),
                ("elicitation/create", "elicitation", rules.elicitation),
            )
            if setting != "allow"
        }

    def judge(self, side: Side, message: Message) -> Verdict:
        if side is Side.CLIENT:
            return None
        for method in self._asked(message):
            if method in self._denied:
                key = self._denied[method]
                return Refuse(f"the server asked for {method}", f'the profile may say: [messages] {key} = "allow"')
        return None

    def _asked(self, message: Message) -> list[Any]:
        if isinstance(message, Request):
            return [message.method]
        if isinstance(message, Response):
            inputs = field(message.result, "inputRequests")
            asked = inputs.values() if isinstance(inputs, dict) else inputs if isinstance(inputs, list) else []
            return [field(request, "method") for request in asked]
        return []
