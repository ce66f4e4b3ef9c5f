"""What waits within a session, and for what: messages on their way through the policies, and mcpbox's own requests to
either side. No I/O."""

from __future__ import annotations

import re
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from mcpbox import jsonrpc
from mcpbox.jsonrpc import Message, Notification, Request, Response
from mcpbox.policy.base import Change, Question, Refuse, Side, field

#: Key of a request among those of one side, see ``jsonrpc.key``.
Key = tuple[bool, jsonrpc.Id]

#: What a side may ask that goes on record one by one, besides lists of any kind.
RECORDED = frozenset(
    {
        "tools/call",
        "resources/read",
        "prompts/get",
        "completion/complete",
        "tasks/result",
        "sampling/createMessage",
        "elicitation/create",
        "initialize",
        "server/discover",
    }
)
#: How much of a name, an address or an id goes on record and is shown: the other side chose it.
SHOWN = 256
#: Where the query or the fragment of an address begins, and a value in it.
_QUERY, _VALUE = re.compile("[?#]"), re.compile("=[^&#;]*")


class Case(Struct):
    """A message before the policies. ``data`` is the line to send for it, both as they have changed so far."""

    side: Side
    message: Message
    data: bytes
    #: what it is judged again as: message, line and the first policy to judge it
    base: Message
    line: bytes
    #: as it came
    arrived: Message
    first: int = 0
    #: the first policy that has not judged it yet
    next: int = 0
    #: when the request that a response answers was passed on
    since: int = 0
    #: hashes of what the server was asked on its behalf
    consulted: frozenset[int] = frozenset()
    #: mcpbox's own request that it waits for
    waits_for: Key | None = None
    #: whether it answers a request of mcpbox's own, and is for nobody else
    own: bool = False
    #: what goes on record instead of the request's parameters, None for themselves
    recorded: Any = None

    def keep(self, next: int) -> None:
        """Go on with the policy ``next``, and never before it: the user has been asked and said yes."""
        self.base, self.line, self.first, self.next, self.waits_for = self.message, self.data, next, next, None

    def restart(self) -> None:
        """Judge it again, as the server has been asked."""
        self.message, self.data, self.next, self.waits_for = self.base, self.line, self.first, None

    def change(self, verdict: Change) -> None:
        """Go on with the verdict's value. Raises ValueError for one that is not such a message, or not JSON."""
        value, message = verdict.value, self.message
        if any(value.get(key) != message.value.get(key) for key in ("jsonrpc", "id", "method")):
            raise ValueError("it made another message of it")
        self.data = jsonrpc.encode(value)
        if verdict.recorded is not None:
            self.recorded = verdict.recorded
        if isinstance(message, Response):
            self.message = replace(message, value=value)
        else:
            self.message = replace(message, value=value, params=value.get("params"))


class Open(Struct, frozen=True):
    """A request that was passed on and is unanswered."""

    request: Request
    since: int
    size: int
    #: see Case
    recorded: Any = None


class Consulting(Struct):
    """A request of mcpbox's own to the server, and the requests of the host that wait for its answer."""

    request: Request
    hash: int
    waiters: dict[Key, Case]
    since: int = 0


class Asking(Struct, frozen=True):
    """A question to the user about a request, which waits: policy, its number, and what holds on a no."""

    case: Case
    policy: str
    number: int
    otherwise: Refuse


class Proposing(Struct, frozen=True):
    """A question to the user about something that does not wait for it."""

    question: Question
    policy: str


def target(request: Request) -> str:
    """What a request is for: the name of a tool or prompt, an address; "" if that cannot be told."""
    found = field(request.params, "uri" if request.method.startswith("resources/") else "name")
    if request.method == "completion/complete":
        found = field(request.params, "ref", "name") or field(request.params, "ref", "uri")
    if not isinstance(found, str):
        return ""
    return (_told(found) if "://" in found else found)[:SHOWN]


def _told(address: str) -> str:
    """An address without what may be a password in it: that of its user, and the values of its query."""
    scheme, _, rest = address.partition("://")
    found = _QUERY.search(rest)
    path, query = (rest[: found.start()], rest[found.start() :]) if found else (rest, "")
    place, slash, path = path.partition("/")
    _, at, host = place.rpartition("@")
    return f"{scheme}://{f'***@{host}' if at else place}{slash}{path}{_VALUE.sub('=***', query)}"


def is_recorded(method: str) -> bool:
    return method in RECORDED or method.endswith("/list")


def recorded_id(id: jsonrpc.Id) -> str | int | None:
    """An id as records have it: never a float, never long."""
    return id if id is None or isinstance(id, int) else str(id)[:SHOWN]


def message_name(message: Message) -> str:
    """A message in a word or two, for people and records; never its content."""
    if isinstance(message, Response):
        return f"response to {message.request.method[:SHOWN] if message.request else 'nothing'}"
    if isinstance(message, Request) and message.method == "tools/call":
        return f"tools/call {target(message)}"
    return message.method[:SHOWN]


def is_cancellation(message: Message) -> bool:
    return isinstance(message, Notification) and message.method == "notifications/cancelled"


def is_call(side: Side, message: Message) -> bool:
    """Whether it is the host's call of a tool, or the server's answer to one."""
    if side is Side.CLIENT:
        return isinstance(message, Request) and message.method == "tools/call"
    return isinstance(message, Response) and message.request is not None and message.request.method == "tools/call"
