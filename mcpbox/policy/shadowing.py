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

from mcpbox.definitions import GREETING, MAX_DEFINITIONS, USES, Definition, Malformed, defined_in, rewritten
from mcpbox.jsonrpc import Message, Notification, Request, Response
from mcpbox.listing import Pages
from mcpbox.pinning.canonical import digest
from mcpbox.policy.base import Alert, Change, Refuse, Rules, Seen, Side, Verdict, field, quoted, release, withhold
from mcpbox.texts import strings

if TYPE_CHECKING:
    from mcpbox.detect.confusable import Likely, Names
    from mcpbox.detect.mentions import Mention, Others

#: Definitions named in one record.
NAMED = 16
#: Kinds whose names are compared with those of other servers.
NAMED_KINDS = ("tool", "prompt")

Key = tuple[str, str]


class Problem(Struct, frozen=True):
    """Why a definition is remarkable, and the other server; ``grave`` if it is to be kept from the host."""

    definition: Definition
    reason: str
    server: str
    grave: bool


class Shadowing:
    """Compares tools with tools and prompts with prompts; all texts, the server's instructions among them, are read."""

    passes = frozenset({Side.SERVER})

    def __init__(self, rules: Rules) -> None:
        self._mode = rules.shadowing
        self._rules = rules
        self._server = rules.server
        self._store = rules.pins
        if self._mode != "off" and self._store is None:
            raise ValueError("tools.shadowing needs the store of definitions")
        self._pages = Pages()
        #: Of each definition that was listed, why it must not be used, "" if it may.
        self._listed: dict[Key, str] = {}
        self._version: int | None = None
        self._known: dict[tuple[str, str, str], int] = {}
        self._others: Others | None = None
        self._by_kind: dict[str, Names] = {}

    def judge(self, side: Side, message: Message) -> Verdict:
        if self._mode == "off":
            return None
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
            return self._pages.look_for(listing, name)
        return Refuse(reason, release(self._server, name), {"kind": kind, "name": quoted(name)}) if reason else None

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
        withhold(self._rules, [each.definition for each in grave])
        hidden = {(each.definition.kind, each.definition.name) for each in grave}
        value = rewritten(message, lambda each: None if (each.kind, each.name) in hidden else each.value)
        hint = release(self._server, (grave[0].definition.name or GREETING) if len(grave) == 1 else "")
        return Change(value, f"hidden: {reason}", found, hint=hint)

    def _problems(self, definitions: list[Definition]) -> dict[Key, Problem]:
        problems: dict[Key, Problem] = {}
        known = self._neighbours()
        if not known:
            return problems
        assert self._store is not None and self._others is not None
        from mcpbox.detect.confusable import DECEPTIVE, oddness
        from mcpbox.detect.mentions import key

        approved = self._store.known(self._server).approved
        places = self._store.places(self._server)
        own = {key(name) for _, name in self._listed} | {key(each.name) for each in definitions}
        own |= {key(name) for kind, name in places if kind == "tool"}
        for each in definitions:
            told = next((found for _, text in strings(each.value) if (found := self._others.told_of(text, own))), None)
            like = self._names(each.kind).like(each.name) if each.kind in NAMED_KINDS else None
            if told:
                reason, server, grave = _told(each, told), told.server, True
            elif like:
                reason, server = _like(each, like), like.server
                theirs = known[like.server, each.kind, like.name]
                # Whoever came first with a name like another's shall not keep out the one that is written plainly.
                grave = (
                    like.likeness in DECEPTIVE
                    and theirs < places.get((each.kind, each.name), theirs + 1)
                    and not (like.likeness == "look-alike" and oddness(each.name) < oddness(like.name))
                )
            else:
                continue
            grave = grave and approved.get((each.kind, each.name)) != digest(each.value) and not self._is_twin(each)
            kept = problems.get((each.kind, each.name))
            if not (kept and kept.grave):
                problems[each.kind, each.name] = Problem(each, reason, server, grave and self._mode == "block")
        return problems

    def _is_twin(self, each: Definition) -> bool:
        """Whether it is of a server that the user has under another name as well."""
        assert self._store is not None
        seen = Seen(each.name, digest(each.value), each.value)
        return self._store.has_twin(self._server, seen, each.kind, lock=self._rules.lock)

    def _neighbours(self) -> dict[tuple[str, str, str], int]:
        """What hosts may see of other servers, and its places in the order of first sight; read anew if it changed."""
        assert self._store is not None
        if (version := self._store.version()) != self._version:
            found = self._store.neighbours(self._server)
            self._known = {(server, kind, name): place for server, kind, name, place in found}
            self._by_kind = {}
            if found:
                from mcpbox.detect.mentions import Others

                self._others = Others((server, name) for server, kind, name, _ in found if kind == "tool")
            self._version = version
        return self._known

    def _names(self, kind: str) -> Names:
        if kind not in self._by_kind:
            from mcpbox.detect.confusable import Names

            self._by_kind[kind] = Names((server, name) for server, other, name in self._known if other == kind)
        return self._by_kind[kind]


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
