"""A newcomer's definition does not pass itself off as another server's, nor tell the model how to use that. No I/O but
the store's.

Servers of one machine that do like things have tools of like names, and hosts keep them apart; that is put on record.
A name that only looks like one that was there before, or is written as hosts write the other server's tool, and a text
that gives instructions about another server's tools, are not let through; they wait for approval like a new definition.
What is approved as it is, is put on record alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from mcpbox.definitions import MAX_DEFINITIONS, Definition, Malformed, defined_in, rewritten
from mcpbox.jsonrpc import Message, Notification, Request, Response
from mcpbox.listing import Pages
from mcpbox.pinning.canonical import digest
from mcpbox.policy.base import Alert, Change, Consult, Refuse, Rules, Seen, Side, Verdict, field, quoted
from mcpbox.texts import strings

if TYPE_CHECKING:
    from mcpbox.detect.confusable import Likely
    from mcpbox.detect.mentions import Mention

#: Definitions named in one record.
NAMED = 16
#: By the request that uses one: the kind, and the list that has it.
USES = {"tools/call": ("tool", "tools/list"), "prompts/get": ("prompt", "prompts/list")}

Key = tuple[str, str]


class Problem(Struct, frozen=True):
    """Why a definition is remarkable, and the other server; ``grave`` if it is to be kept from the host."""

    definition: Definition
    reason: str
    server: str
    grave: bool


class Shadowing:
    """Compares tools with tools and prompts with prompts; all texts, the server's instructions among them, are read."""

    def __init__(self, rules: Rules) -> None:
        self._mode = rules.shadowing
        self._server = rules.server
        self._host = rules.host
        self._lock = rules.lock
        self._store = rules.pins
        if self._mode != "off" and self._store is None:
            raise ValueError("tools.shadowing needs the store of definitions")
        self._pages = Pages()
        #: Of each definition that was listed, why it must not be used, "" if it may.
        self._listed: dict[Key, str] = {}
        self._kept_back: list[Definition] = []

    def judge(self, side: Side, message: Message) -> Verdict:
        if self._mode == "off":
            return None
        if self._kept_back:
            self._put_on_record()
        if side is Side.CLIENT:
            if isinstance(message, Request) and message.method in USES and self._mode == "block":
                return self._use(message)
        elif isinstance(message, Response):
            return self._defined(message) if message.request else None
        elif isinstance(message, Notification):
            self._pages.forget(message.method)
        return None

    def _use(self, request: Request) -> Verdict:
        kind, listing = USES[request.method]
        name = field(request.params, "name")
        if not isinstance(name, str):
            return Refuse(f"the {kind}'s name is not a string")
        reason = self._listed.get((kind, name))
        if reason is None:
            page = self._pages.unseen(listing)
            return Refuse(f"the server lists no {kind} {quoted(name)}") if page is None else Consult(listing, page)
        return Refuse(reason, _HINT, {"kind": kind, "name": quoted(name)}) if reason else None

    def _defined(self, message: Response) -> Verdict:
        self._pages.see(message)
        try:
            definitions = [each for each in defined_in(message) if each.value is not None]
        except Malformed as error:
            return Refuse(str(error))
        if not definitions:
            return None
        if len(self._listed.keys() | {(each.kind, each.name) for each in definitions}) > MAX_DEFINITIONS:
            return Refuse(f"the server lists more than {MAX_DEFINITIONS} definitions")
        problems = self._problems(definitions)
        self._listed |= {(each.kind, each.name): "" for each in definitions}
        self._listed |= {(kind, name): each.reason for (kind, name), each in problems.items() if each.grave}
        return self._verdict(message, problems) if problems else None

    def _verdict(self, message: Response, problems: dict[Key, Problem]) -> Verdict:
        grave = [each for each in problems.values() if each.grave]
        told = grave or list(problems.values())
        rows = [
            {"kind": each.definition.kind, "name": quoted(each.definition.name), "other": each.server}
            for each in told[:NAMED]
        ]
        found = {"definitions": rows, "count": len(told)}
        reason = "; ".join(each.reason for each in told[:4])
        if not grave:
            return Alert(reason, found)
        self._kept_back = [each.definition for each in grave]
        hidden = {(each.definition.kind, each.definition.name) for each in grave}
        value = rewritten(message, lambda each: None if (each.kind, each.name) in hidden else each.value)
        return Change(value, f"hidden: {reason}", found)

    def _put_on_record(self) -> None:
        """Have what was kept back wait for approval. A message later: the pins' own first sight of the server is this
        listing, and what is in that is settled by it."""
        assert self._store is not None
        for kind in dict.fromkeys(each.kind for each in self._kept_back):
            seen = [Seen(each.name, digest(each.value), each.value) for each in self._kept_back if each.kind == kind]
            self._store.sight(
                self._server, kind, seen, host=self._host, lock=self._lock, begins=False, first=False, pin=False
            )
        self._kept_back = []

    def _problems(self, definitions: list[Definition]) -> dict[Key, Problem]:
        problems: dict[Key, Problem] = {}
        known, before = self._known()
        if not known:
            return problems
        assert self._store is not None
        approved = self._store.known(self._server).approved
        from mcpbox.detect.confusable import DECEPTIVE, Names
        from mcpbox.detect.mentions import Others, key

        own = {key(name) for _, name in self._listed} | {key(each.name) for each in definitions}
        names = {kind: Names((s, n) for s, k, n in known if k == kind) for kind in ("tool", "prompt")}
        others = Others((server, name) for server, kind, name in known if kind == "tool")
        for each in definitions:
            told = next((found for _, text in strings(each.value) if (found := others.told_of(text, own))), None)
            like = names[each.kind].like(each.name) if each.kind in names else None
            if told:
                reason, server, grave = _told(each, told), told.server, True
            elif like:
                reason, server = _like(each, like), like.server
                mine, theirs = (self._server, each.kind, each.name), (like.server, each.kind, like.name)
                grave = like.likeness in DECEPTIVE and before.get(theirs, 0) < before.get(mine, len(before))
            else:
                continue
            grave = grave and approved.get((each.kind, each.name)) != digest(each.value)
            kept = problems.get((each.kind, each.name))
            if not (kept and kept.grave):
                problems[each.kind, each.name] = Problem(each, reason, server, grave and self._mode == "block")
        return problems

    def _known(self) -> tuple[list[tuple[str, str, str]], dict[tuple[str, str, str], int]]:
        """What hosts may see of other servers, and the place of every definition in the order of first sight."""
        assert self._store is not None
        order = self._store.first_seen()
        others = {server: self._store.known(server) for server, _, _ in order if server != self._server}
        known = [
            (server, kind, name)
            for server, kind, name in order
            if (other := others.get(server))
            and ((kind, name) in other.approved or other.pending.get((kind, name), ("", False))[1])
        ]
        return known, {each: place for place, each in enumerate(order)}


def _told(each: Definition, found: Mention) -> str:
    what = "" if found.name == found.server else f"the tool {quoted(found.name)} of "
    return f"{_what(each)} tells the model how to use {what}the server {found.server!r}"


def _like(each: Definition, found: Likely) -> str:
    return f"{_what(each)} {_LIKENESS[found.likeness]} {quoted(found.name)} of the server {found.server!r}"


def _what(each: Definition) -> str:
    return f"the {each.kind} {quoted(each.name)}" if each.name else "the server's instructions"


_LIKENESS = {
    "same": "has the same name as",
    "spelling": "is spelt like",
    "look-alike": "looks like",
    "prefixed": "has the name that hosts give to",
    "near": "has nearly the name of",
}
_HINT = "see: mcpbox tools diff"
