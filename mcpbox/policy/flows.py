"""Data that another server of the same host returned, in what is said to this one: put on record, asked, or refused.
No I/O.

The store is told of each result that is sensitive before the host gets it: by the profile's globs of tools, resources
and prompts, or because secrets or personal data are in it. What only goes on record does so the first time that a
server's data goes into a tool, the second, the fourth and so on.
"""

from __future__ import annotations

import json
from binascii import a2b_base64
from collections.abc import Iterator
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import msgspec

from mcpbox.jsonrpc import Message, Request, Response
from mcpbox.policy.base import Alert, Ask, Origin, Refuse, Rules, Side, Verdict, field
from mcpbox.tasks import Tasks
from mcpbox.texts import strings

if TYPE_CHECKING:
    from mcpbox.flows.fingerprint import Found, Prints

#: The parameter by which a request of the host's for data names it, where no tool returns it.
NAMED_BY = {"resources/read": "uri", "prompts/get": "name"}
#: Requests of the host's whose answers have data.
CARRIERS = frozenset(("tools/call", "tasks/result", "tasks/get", *NAMED_BY))
#: Requests of the host's that say nothing of what the model has seen.
SILENT = frozenset(("ping", "initialize", "server/discover", "logging/setLevel"))
#: Of this server's own results so many fingerprints are remembered, at most a quarter more.
OWN = 1 << 16
#: Origins named in one record, and the flows that are counted.
NAMED, COUNTED = 8, 1024


class Flows:
    """Looks into everything that the host says: arguments, and answers to sampling and elicitation as well."""

    def __init__(self, rules: Rules) -> None:
        self._server = rules.server
        self._arriving = rules.arriving
        self._sensitive = rules.sensitive
        self._finds = rules.finds_sensitive
        self._store = rules.flows
        if self._store is None:
            if self._arriving != "off" or self._sensitive:
                raise ValueError("flows needs to know of the other servers")
            return
        self._made: Prints | None = None
        self._own: dict[int, None] = {}
        self._tasks = Tasks()
        self._times: dict[tuple[str, ...], int] = {}

    def judge(self, side: Side, message: Message) -> Verdict:
        if self._store is None:
            return None
        if side is Side.SERVER:
            if isinstance(message, Response) and message.request and message.request.method in CARRIERS:
                self._returned(message, message.request)
            return None
        if self._arriving == "off" or (isinstance(message, Request) and message.method in SILENT):
            return None
        kept = self._store.elsewhere()
        if not kept:
            return None
        said = message.value.get("result") if isinstance(message, Response) else message.params
        text = _text(said)
        if not self._prints.meets(text, kept):
            return None
        found = self._prints.overlap(text, kept, self._own)
        return self._verdict(message, found) if found else None

    @property
    def _prints(self) -> Prints:
        """Imported with the first result, which takes longer to come than that."""
        if self._made is None:
            from mcpbox.flows.fingerprint import Prints

            assert self._store is not None
            self._made = Prints(self._store.key)
        return self._made

    def _verdict(self, message: Message, found: dict[Origin, Found]) -> Verdict:
        first = sorted(found.items(), key=lambda item: (-item[1].percent, not item[1].value))[:NAMED]
        origins = [
            {"from": origin.server, "tool": origin.tool, "percent": each.percent, "value": each.value}
            for origin, each in first
        ]
        names = ", ".join(dict.fromkeys(origin.server for origin, _ in first))
        reason = f"it has data that came from {names}"
        record = {"origins": origins, "more": len(found) - len(first)}
        if self._arriving == "alert":
            # Two servers that work on the same files share much of what they say.
            times = self._count(message, [origin for origin, _ in first])
            return None if times & (times - 1) else Alert(reason, record | {"times": times})
        refusal = Refuse(reason, "see [flows] arriving in the server's profile", record)
        if self._arriving == "ask" and isinstance(message, Request):
            what = field(message.params, "name") if message.method == "tools/call" else message.method
            return Ask(
                f"{what!r} of {self._server or 'a server'} is to get data that came from {names}. Let it?", refusal
            )
        return refusal

    def _count(self, message: Message, origins: list[Origin]) -> int:
        """How many times by now such data has gone where it goes: it is put on record at 1, 2, 4, 8 …"""
        request = message.request if isinstance(message, Response) else message
        what = str(field(request.params, "name")) if request and request.method == "tools/call" else ""
        flow = (request.method if request else "", what, *sorted({origin.server for origin in origins}))
        times = self._times.pop(flow, 0) + 1
        self._times[flow] = times
        if len(self._times) > COUNTED:
            del self._times[next(iter(self._times))]
        return times

    def _returned(self, message: Response, request: Request) -> None:
        assert self._store is not None
        value = message.value.get("result", message.value.get("error"))
        target = self._target(message, request)
        if request.method == "tools/call" and "result" in message.value:
            self._store.note(target)
        shared = self._arriving != "off" and not self._store.alone()
        sensitive = any(fnmatchcase(target, pattern) for pattern in self._sensitive)
        if not (shared or sensitive or self._finds):
            return
        text = _text(value)
        sensitive = sensitive or (self._finds is not None and self._finds(text))
        if not (shared or sensitive):
            return
        prints = self._prints.of(text)
        if sensitive:
            self._store.keep(target, prints)
        if self._arriving != "off":
            self._own |= dict.fromkeys(prints)
            # Not each time by a few, which would have the whole of it copied for each result.
            if len(self._own) > OWN + OWN // 4:
                for number in list(self._own)[: len(self._own) - OWN]:
                    del self._own[number]

    def _target(self, message: Response, request: Request) -> str:
        """The tool, resource or prompt whose result it is, though it comes later, as that of a task."""
        if request.method in NAMED_BY:
            return str(field(request.params, NAMED_BY[request.method]))
        return self._tasks.tool(message) or ""


def _text(value: Any) -> str:
    """All that is said in ``value``, keys and numbers as well, and what is embedded in base64."""
    if value is None:
        return ""
    try:
        text = _JSON.encode(value).decode()
    except OverflowError:
        # Numbers of more than 64 bits.
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if '"blob":"' in text:
        text += " ".join(_blobs(value))
    return text


def _blobs(value: Any) -> Iterator[str]:
    for path, text in strings(value):
        if path and path[-1] == "blob":
            with suppress(ValueError):
                yield a2b_base64(text).decode()


_JSON = msgspec.json.Encoder()
