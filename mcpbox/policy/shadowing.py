"""A newcomer's definition does not pass itself off as another server's, nor tell the model how to use that. No I/O.

Servers of one machine that do like things have tools of like names, and hosts keep them apart; that is put on record.
A name that only looks like another's, or is written as hosts write the other server's tool, and a text that gives
instructions about another server's tools, are not let through. The newcomer is who has not been approved as it is;
what is kept back waits for approval like a new definition.
"""

from __future__ import annotations

from msgspec import Struct

from mcpbox.definitions import Definition, Malformed, defined_in, rewritten
from mcpbox.detect.confusable import DECEPTIVE, Likely, Names
from mcpbox.detect.mentions import Mention, Others, key
from mcpbox.jsonrpc import Message, Notification, Request, Response
from mcpbox.pinning.canonical import digest
from mcpbox.policy.base import Alert, Change, Consult, Refuse, Rules, Seen, Side, Verdict, field
from mcpbox.texts import strings

#: Tools of one server; whoever has more has them to exhaust somebody.
MOST = 10_000
#: Definitions named in one record.
NAMED = 16

_UNLISTED = "-"


class Problem(Struct, frozen=True):
    """Why a definition is remarkable; ``grave`` if it is to be kept from the host."""

    kind: str
    name: str
    reason: str
    server: str
    grave: bool


class Shadowing:
    """Compares tools with tools and prompts with prompts; instructions are compared with nothing, only read."""

    def __init__(self, rules: Rules) -> None:
        self._mode = rules.shadowing
        self._server = rules.server
        self._host = rules.host
        self._lock = rules.lock
        self._store = rules.pins
        if self._mode != "off" and self._store is None:
            raise ValueError("tools.shadowing needs the store of definitions")
        #: by name: why it must not be called, "" if it may
        self._tools: dict[str, str] = {}
        #: where the listing of tools is to go on; "" at its beginning, None at its end
        self._cursor: str | None = ""
        self._asked = ""
        self._kept_back: list[Definition] = []

    def judge(self, side: Side, message: Message) -> Verdict:
        if self._mode == "off":
            return None
        if self._kept_back:
            self._put_on_record()
        if side is Side.CLIENT:
            if isinstance(message, Request) and message.method == "tools/call":
                return self._call(field(message.params, "name"))
            return None
        if isinstance(message, Response):
            return self._defined(message) if message.request else None
        if isinstance(message, Notification) and message.method == "notifications/tools/list_changed":
            self._cursor = ""
        return None

    def _call(self, name: object) -> Verdict:
        if not isinstance(name, str):
            return Refuse("the tool's name is not a string")
        reason = self._tools.get(name, _UNLISTED)
        if not reason:
            return None
        if reason is not _UNLISTED:
            return Refuse(f"the tool {name!r} {reason}", _HINT, {"name": name})
        if self._cursor is None and self._asked != name:
            self._cursor = ""
        self._asked = name
        if self._cursor is None:
            return Refuse(f"the server lists no tool {name!r}")
        return Consult("tools/list", {"cursor": self._cursor} if self._cursor else {})

    def _defined(self, message: Response) -> Verdict:
        assert message.request
        try:
            definitions = list(defined_in(message))
        except Malformed as error:
            return Refuse(str(error))
        if message.request.method == "tools/list" and "error" not in message.value:
            cursor = field(message.result, "nextCursor")
            self._cursor = cursor if isinstance(cursor, str) and cursor else None
        if not definitions:
            return None
        if len(definitions) + len(self._tools) > 2 * MOST:
            return Refuse(f"the server has more than {MOST} tools")
        problems = self._problems(definitions)
        for each in definitions:
            if each.kind == "tool":
                found = problems.get((each.kind, each.name))
                self._tools[each.name] = found.reason if found and found.grave else ""
        if not problems:
            return None
        return self._verdict(message, problems)

    def _verdict(self, message: Response, problems: dict[tuple[str, str], Problem]) -> Verdict:
        grave = [each for each in problems.values() if each.grave]
        shown = (grave or list(problems.values()))[:NAMED]
        found = {
            "definitions": [{"kind": each.kind, "name": each.name[:128], "other": each.server} for each in shown],
            "more": len(grave or problems) - len(shown),
        }
        reason = "; ".join(f"{each.kind} {each.name[:128]!r} {each.reason}" for each in shown[:4])
        if not grave:
            return Alert(reason, found)

        def kept(each: Definition) -> object:
            problem = problems.get((each.kind, each.name))
            return None if problem and problem.grave else each.value

        self._kept_back = [each for each in defined_in(message) if kept(each) is None]
        return Change(rewritten(message, kept), f"removed: {reason}", found)

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

    def _problems(self, definitions: list[Definition]) -> dict[tuple[str, str], Problem]:
        known = self._known()
        if not known:
            return {}
        names = {kind: Names((s, n) for s, k, n in known if k == kind) for kind in ("tool", "prompt")}
        others = Others((server, name) for server, kind, name in known if kind == "tool")
        own = {key(name) for name in (*self._tools, *(each.name for each in definitions if each.kind == "tool"))}
        problems: dict[tuple[str, str], Problem] = {}
        for each in definitions:
            like = names[each.kind].like(each.name) if each.kind in names else None
            told = next((found for _, text in strings(each.value) if (found := others.told_of(text, own))), None)
            if not (like or told):
                continue
            grave = bool(told or (like and like.likeness in DECEPTIVE)) and self._mode == "block"
            if grave and self._is_approved(each):
                continue
            reason = _told(told) if told else _like(like)
            server = told.server if told else like.server if like else ""
            problems[each.kind, each.name] = Problem(each.kind, each.name, reason, server, grave)
        return problems

    def _known(self) -> list[tuple[str, str, str]]:
        """Server, kind and name of what the host may see of other servers."""
        assert self._store is not None
        found = list(self._store.neighbours(self._server))
        servers = {server: self._store.known(server) for server in dict.fromkeys(server for server, _, _ in found)}
        return [
            (server, kind, name)
            for server, kind, name in found
            if (kind, name) in (known := servers[server]).approved or known.pending.get((kind, name), ("", False))[1]
        ]

    def _is_approved(self, each: Definition) -> bool:
        assert self._store is not None
        return self._store.known(self._server).approved.get((each.kind, each.name)) == digest(each.value)


def _told(found: Mention) -> str:
    what = "the server" if found.name == found.server else f"the tool {found.name[:128]!r} of the server"
    return f"tells the model how to use {what} {found.server!r}"


def _like(found: Likely | None) -> str:
    assert found
    where = f"of the server {found.server!r}"
    if found.likeness == "same":
        return f"has the name of a tool {where}"
    words = {"look-alike": "looks like", "prefixed": "is named as hosts name", "spelling": "is spelt like"}
    return f"{words.get(found.likeness, 'is nearly')} {found.name[:128]!r} {where}"


_HINT = "see: mcpbox tools diff"
