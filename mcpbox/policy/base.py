"""What a policy is: a pure rule that looks at one message and lets it pass, changes it, or refuses it. No I/O.

What a policy needs to know of other sessions and of earlier ones it asks of a store, which ``wrap`` hands it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from mcpbox.jsonrpc import Message

if TYPE_CHECKING:
    from mcpbox.definitions import Definition

#: How many names a record or a reason has at most, and how many characters of each.
MOST = 10
NAME_SHOWN = 64


class Side(Enum):
    """The two ends of the wire, as MCP names them; a message is named after the side it comes from."""

    CLIENT = "client"
    SERVER = "server"

    # Each is there once; Enum's own would hash its name, in Python, at every look into a dictionary.
    __hash__ = object.__hash__

    @property
    def other(self) -> Side:
        return Side.SERVER if self is Side.CLIENT else Side.CLIENT


class Question(Struct, frozen=True):
    """To be put to the user, in the host, where that can ask.

    ``accepted`` is called if the user says yes, and returns what is then to be sent to the host.
    """

    text: str
    accepted: Callable[[], Sequence[Mapping[str, Any]]]


class Change(Struct, frozen=True):
    """Forward ``value`` in the place of the message; what was ``found`` in it goes on record, never its content.

    ``recorded``, if it is not None, is what goes on record instead of the parameters that are passed on.
    ``hint`` says what would have it pass unchanged; with one, the user is told of it on standard error.
    """

    value: dict[str, Any]
    reason: str
    found: Mapping[str, Any] = {}
    question: Question | None = None
    recorded: Any = None
    hint: str = ""


class Alert(Struct, frozen=True):
    """Forward the message as it is, and put on record that it was remarkable."""

    reason: str
    found: Mapping[str, Any] = {}


class Note(Struct, frozen=True):
    """Forward the message as it is, and put on record what came of it, which is as it should be."""

    reason: str
    found: Mapping[str, Any] = {}


class Refuse(Struct, frozen=True):
    """Do not forward the message. ``reason`` is told to the sender of a request, ``hint`` says what would allow it."""

    reason: str
    hint: str = ""
    found: Mapping[str, Any] = {}


class Ask(Struct, frozen=True):
    """Forward the host's request if the user says yes; where the host cannot ask, and on a no, ``otherwise`` holds.

    After a yes the policies that follow judge it, and those before do not again.
    """

    text: str
    otherwise: Refuse


class Consult(Struct, frozen=True):
    """Ask the server first, by a request of mcpbox's own whose answer passes the policies and goes to nobody else.

    Then the host's request is judged again, as it came and by all policies, so that those which count belong after
    those which consult. To want the same answer twice for one request is to refuse it.
    """

    method: str
    params: Mapping[str, Any] = {}


Verdict = Change | Alert | Note | Refuse | Ask | Consult | None


class Policy(Protocol):
    """One rule. ``None`` lets the message pass untouched; an exception refuses it.

    Most messages are calls of tools, and in a process that sleeps between them each function that is called is dear. A
    rule that has nothing to say of calls says so once, by an attribute ``passes``: CLIENT where it would let every
    ``tools/call`` pass, SERVER where every answer to one. It is then not asked.
    """

    def judge(self, side: Side, message: Message) -> Verdict: ...


class Seen(Struct, frozen=True):
    """A definition as a server gave it. ``passed`` says that the profile lets it through though it is not approved."""

    name: str
    digest: str
    value: Any
    passed: bool = False


class Known(Struct, frozen=True):
    """What the store knows of a server.

    ``lock`` is that of the launch in which it was first seen, None if it never was; ``listed`` are the kinds of which
    a first listing is on record. ``approved`` and ``pending`` have, by kind and name, the digests; ``locks`` those of
    the launches in which the approved ones were last seen; ``pending`` also whether a profile let it pass.
    """

    lock: str | None
    listed: frozenset[str]
    approved: Mapping[tuple[str, str], str]
    locks: Mapping[tuple[str, str], str]
    pending: Mapping[tuple[str, str], tuple[str, bool]]


class Sight(Struct, frozen=True):
    """What came of putting a page of definitions on record: whether nothing of the server was known or listed before,
    and whether it belongs to the first listing of its kind."""

    new: bool
    first: bool


class PinStore(Protocol):
    """The definitions of all servers, approved or waiting: see ``pinning.store``."""

    def version(self) -> int: ...

    def known(self, server: str) -> Known: ...

    def sight(
        self,
        server: str,
        kind: str,
        seen: Sequence[Seen],
        *,
        host: str,
        lock: str,
        begins: bool,
        first: bool,
        pin: bool,
    ) -> Sight: ...

    def withhold(self, server: str, kind: str, seen: Sequence[Seen], *, host: str, lock: str) -> None: ...

    def chosen(self, server: str) -> Collection[tuple[str, str, str]]: ...

    def approve(self, server: str, chosen: Iterable[tuple[str, str, str]], *, by: str) -> int: ...

    def approved_value(self, server: str, kind: str, name: str) -> Any: ...

    def neighbours(self, server: str) -> Sequence[tuple[str, str, str, int]]: ...

    def places(self, server: str) -> Mapping[tuple[str, str], int]: ...

    def has_twin(self, server: str, seen: Seen, kind: str, *, lock: str) -> bool: ...


class Origin(Struct, frozen=True):
    """Where data came from: a server of the same host's session, and its tool, resource or prompt."""

    server: str
    tool: str


class FlowStore(Protocol):
    """What the servers of one host's session returned. Methods raise OSError where that cannot be told or kept."""

    #: 32 bytes that the fingerprints are made with
    key: bytes

    def keep(self, tool: str, prints: Collection[int]) -> None: ...

    def note(self, tool: str) -> None:
        """This server's tool was used."""

    def elsewhere(self) -> Mapping[int, Origin]:
        """The fingerprints of other servers' results."""

    def used(self) -> Collection[Origin]:
        """The tools of other servers that were used."""

    def alone(self) -> bool:
        """Whether there are no other servers."""


class CallSequence(Struct, frozen=True):
    """A call to a tool like the glob ``then`` after one like ``after``, which may be of another server, SERVER:TOOL."""

    after: str
    then: str
    action: str = "block"


class Rules(Struct, frozen=True):
    """What the profile says about messages, in the form that policies take.

    ``lock`` names the code that was launched: the installed tree or the image's digest, "" where it is not known.
    """

    server: str = ""
    host: str = ""
    lock: str = ""
    tools_allow: tuple[str, ...] = ("*",)
    tools_deny: tuple[str, ...] = ()
    #: more pairs of the two, which narrow them
    tools_host: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()
    tools_hide: tuple[str, ...] = ()
    resources_allow: tuple[str, ...] = ("*",)
    resources_deny: tuple[str, ...] = ()
    prompts_allow: tuple[str, ...] = ("*",)
    prompts_deny: tuple[str, ...] = ()
    first: str = "pin"
    new: str = "allow"
    changed: str = "allow"
    sampling: str = "deny"
    elicitation: str = "allow"
    roots: str = "intersect"
    #: what is done with definitions that instruct the model: off, alert, block
    scan: str = "off"
    #: descriptions of the profile's own, by the name of the tool
    describe: Mapping[str, str] = {}
    #: what is done with results that instruct the model: off, annotate, block; and for some tools, by globs, the first
    #: of which counts, None for what holds for all
    injection: str = "off"
    injection_of: tuple[tuple[str, str | None], ...] = ()
    #: what marks a result as data, unknown to whoever wrote it; "" marks none
    spotlight: str = ""
    #: what is done with secrets and with personal numbers, and with both by globs of tools, None for what holds for all
    secrets: str = "off"
    personal: str = "off"
    tool_sensitive: tuple[tuple[str, str | None, str | None], ...] = ()
    reversible: bool = False
    #: the values of the secrets that this process holds, each with its name
    secrets_held: Callable[[], Mapping[str, str]] = dict
    #: directories and files that the server sees, for ``roots = "intersect"``
    visible: tuple[str, ...] = ()
    #: without one, ``first``, ``new`` and ``changed`` have to be as above
    pins: PinStore | None = None
    shadowing: str = "off"
    #: what is done with other servers' data in the arguments of this one, and the tools whose results are such data
    arriving: str = "off"
    sensitive: tuple[str, ...] = ()
    flows: FlowStore | None = None
    #: whether a text has secrets or personal data in it
    finds_sensitive: Callable[[str], bool] | None = None
    calls_per_minute: int = 0
    calls_repeats: int = 0
    calls_sequences: tuple[CallSequence, ...] = ()
    #: microseconds from any moment on
    clock: Callable[[], int] | None = None


def withhold(rules: Rules, definitions: Sequence[Definition]) -> None:
    """Have definitions that are kept from the host wait for approval, where there is a store."""
    if rules.pins is None:
        return
    from mcpbox.pinning.canonical import digest

    for kind in dict.fromkeys(each.kind for each in definitions):
        seen = [Seen(each.name, digest(each.value), each.value) for each in definitions if each.kind == kind]
        rules.pins.withhold(rules.server, kind, seen, host=rules.host, lock=rules.lock)


def field(value: Any, *keys: str) -> Any:
    """``value[keys[0]][keys[1]]…``, or None where a step is missing or not an object."""
    for key in keys:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def some(names: Iterable[str]) -> list[str]:
    """The first few of the names of strangers, short and fit to be shown, and how many more there are."""
    found = list(names)
    shown = [name if name.isprintable() else ascii(name)[1:-1] for name in (name[:NAME_SHOWN] for name in found[:MOST])]
    return shown if len(found) <= MOST else [*shown, f"and {len(found) - MOST} more"]


def release(server: str, name: str) -> str:
    """The commands that show a definition which is held back and release it, fit to be pasted into a shell."""
    from shlex import quote

    # What is not seen for what it is, or taken for an option, is chosen after it has been shown.
    plain = name.isprintable() and name.isascii() and 0 < len(name) <= NAME_SHOWN and not name.startswith("-")
    which = f"{quote(server)} {quote(name) if plain else '--all'}"
    return f"run: mcpbox tools diff {quote(server)}; then: mcpbox tools approve {which}"


def quoted(name: Any) -> str:
    """A name that a stranger gave, short and fit to be shown."""
    if not isinstance(name, str):
        return "of another type"
    return ascii(name) if len(name) <= NAME_SHOWN else f"{name[:NAME_SHOWN]!a}…"
