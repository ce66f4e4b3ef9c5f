"""What a server says of itself to the model reaches the host only as it was approved. No I/O but the store's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mcpbox.definitions import GREETING, GREETINGS, LISTS, MAX_DEFINITIONS, Definition, Malformed, defined_in, rewritten
from mcpbox.errors import McpboxError
from mcpbox.jsonrpc import Message, Notification, Request, Response
from mcpbox.listing import CHANGED, Pages, cursor, following
from mcpbox.pinning import canonical
from mcpbox.policy.base import (
    Alert,
    Change,
    Known,
    Note,
    PinStore,
    Question,
    Refuse,
    Rules,
    Seen,
    Side,
    Verdict,
    field,
    quoted,
    release,
    some,
)
from mcpbox.shown import plain

Key = tuple[str, str]

#: Two definitions of one name in one listing: which of them a call would reach, nobody knows. No digest is like this.
TWICE = ""
#: What the host is told when a definition of the kind was approved in its midst.
NEWS = {
    "tool": "notifications/tools/list_changed",
    "prompt": "notifications/prompts/list_changed",
    "resource-template": "notifications/resources/list_changed",
}
#: By the kind of what a request of the host's names: the list that has it.
LISTED_BY = {kind: method for method, (kind, _, _) in LISTS.items()}
#: ``first``, ``new`` and ``changed`` where nothing is held back.
ALL = ("pin", "allow", "allow")
#: Definitions that the user is asked about in a session; whoever has more is not worth a question.
MOST_ASKED = 1000
#: Characters of the differences that the user is shown in the host, which shows so much and on one line.
QUESTION = 500
#: … and of the names before them: what elicitation shows in all has to have room for both.
NAMES = 240


class Pins:
    """Tools, prompts, resource templates and instructions, each whole, by the digest of its canonical JSON.

    Approved by themselves are those of a server's first listing: its first page, when nothing of that kind is on
    record, and either nothing at all was listed before this session, or the server's code is the very same as when it
    was first seen; then each further page, for as long as it is asked for by the cursor of the one before. A listing
    that ends, brings something new a second time or is overtaken by the server's word that it has changed, is the first
    no more. All later ones are ``new`` or ``changed``: hidden from the host and refused when called, or passed, as the
    profile says. A call of what was not listed in this session has the server asked first; what it does not list cannot
    be called.
    """

    passes = frozenset({Side.SERVER})

    def __init__(self, rules: Rules) -> None:
        if rules.pins is None and (rules.first, rules.new, rules.changed) != ALL:
            raise ValueError("no store of definitions")
        self._store = rules.pins
        self._rules = rules
        self._lets_all = (rules.first, rules.new, rules.changed) == ALL
        self._known = Known(None, frozenset(), {}, {}, {})
        self._version: int | None = None
        self._pages = Pages()
        #: What was seen last of each in this session, and in the listing that goes on.
        self._seen: dict[Key, str] = {}
        self._listing: dict[str, dict[str, str]] = {}
        self._new_server = False
        #: Of each list whose first listing goes on, the cursor of its next page.
        self._first: dict[str, str] = {}
        self._asked: set[tuple[Key, str]] = set()

    def judge(self, side: Side, message: Message) -> Verdict:
        if self._store is None:
            return None
        if isinstance(message, Request):
            if side is Side.CLIENT and (named := _named(message)):
                return self._call(self._store, *named)
        elif side is Side.CLIENT:
            return None
        elif isinstance(message, Response):
            if message.request and (message.request.method in LISTS or message.request.method in GREETINGS):
                try:
                    return self._definitions(self._store, message)
                except (Malformed, McpboxError) as error:
                    return Refuse(str(error), getattr(error, "hint", ""))
        elif isinstance(message, Notification) and message.method in CHANGED:
            self._pages.forget(message.method)
            for method in CHANGED[message.method]:
                self._first.pop(method, None)
        return None

    def _call(self, store: PinStore, kind: str, name: Any) -> Verdict:
        if not isinstance(name, str):
            return Refuse(f"the {kind}'s name is not a string")
        key = kind, name
        if self._lets_all:
            return None
        if (digest := self._seen.get(key)) is None:
            return self._pages.look_for(LISTED_BY[kind], name)
        self._refresh(store)
        if self._passes(key, digest):
            return None
        if digest == TWICE:
            return Refuse(f"the server lists two {kind}s called {quoted(name)}")
        was = "not what was approved" if key in self._known.approved else "not approved"
        return Refuse(f"the {kind} {quoted(name)} is {was}", release(self._rules.server, name))

    def _definitions(self, store: PinStore, message: Response) -> Verdict:
        method = message.request.method if message.request else ""
        self._pages.see(message)
        if "error" in message.value:
            return None
        kind = LISTS[method][0] if method in LISTS else GREETING
        found = [each for each in defined_in(message) if each.value is not None]
        if len(found) + len(self._seen) > 2 * MAX_DEFINITIONS or len(found) > MAX_DEFINITIONS:
            return Refuse(f"the server lists more than {MAX_DEFINITIONS} definitions")
        digests = [canonical.digest(each.value) for each in found]
        self._refresh(store)
        self._note(kind, found, digests, cursor(message) is None or method in GREETINGS)
        before = self._known.approved
        self._put_on_record(store, message, kind, found, digests)
        return self._verdict(message, found, digests, before)

    def _note(self, kind: str, found: Sequence[Definition], digests: Sequence[str], begins: bool) -> None:
        """Remember what was seen, for the calls to come."""
        listing = self._listing.setdefault(kind, {})
        if begins:
            listing.clear()
        for each, digest in zip(found, digests, strict=True):
            same = listing.setdefault(each.name, digest) == digest
            self._seen[kind, each.name] = digest if same else TWICE

    def _put_on_record(
        self, store: PinStore, message: Response, kind: str, found: Sequence[Definition], digests: Sequence[str]
    ) -> None:
        """Tell the store what it does not know, and with the first listing, have it approved there."""
        method = message.request.method if message.request else ""
        at = cursor(message) if method in LISTS else None
        begins = at is None and kind not in self._known.listed
        goes_on = at is not None and self._first.get(method) == at
        unknown = [
            Seen(each.name, digest, each.value, self._lets((kind, each.name)))
            for each, digest in zip(found, digests, strict=True)
            if not self._is_known((kind, each.name), digest)
        ]
        first = goes_on
        if begins or unknown:
            sight = store.sight(
                self._rules.server,
                kind,
                unknown,
                host=self._rules.host,
                lock=self._rules.lock,
                begins=begins,
                first=self._new_server if begins else goes_on,
                pin=self._rules.first == "pin",
            )
            self._new_server |= sight.new
            self._known = store.known(self._rules.server)
            first = sight.first
        if not first and at is None and not unknown:
            # The host has asked for the same once more, which ends nothing.
            return
        self._first.pop(method, None)
        if first and method in LISTS and (further := following(message)) is not None and further != at:
            self._first[method] = further

    def _is_known(self, key: Key, digest: str) -> bool:
        """Whether the store would learn nothing."""
        if self._known.approved.get(key) == digest:
            return self._known.locks[key] == self._rules.lock and key not in self._known.pending
        return self._known.pending.get(key) == (digest, self._lets(key))

    def _verdict(
        self, message: Response, found: Sequence[Definition], digests: Sequence[str], before: Mapping[Key, str]
    ) -> Verdict:
        hidden: list[tuple[Definition, str]] = []
        passed: list[Definition] = []
        shown: dict[int, bool] = {}
        for each, digest in zip(found, digests, strict=True):
            key = each.kind, each.name
            shown[id(each.value)] = keeps = self._passes(key, self._seen[key])
            if not keeps:
                hidden.append((each, digest))
            elif self._known.approved.get(key) != digest:
                passed.append(each)
        if not hidden:
            if not passed:
                # That it was believed is to be found later, and that a server which was known is new again.
                first = [each for each in found if (each.kind, each.name) not in before]
                return Note(f"approved at first sight: {_shown(first)}", self._found(first)) if first else None
            return Alert(f"definitions passed that are not approved: {self._told(passed)}", self._found(passed))
        value = rewritten(message, lambda each: each.value if shown.get(id(each.value), True) else None)
        blocked = [each for each, _ in hidden]
        reason = f"definitions hidden that are not approved: {self._told(blocked)}"
        hint = release(self._rules.server, (blocked[0].name or GREETING) if len(blocked) == 1 else "")
        return Change(value, reason, self._found(blocked), self._question(hidden), hint=hint)

    def _found(self, blocked: Sequence[Definition]) -> dict[str, Any]:
        return {"kind": blocked[0].kind, "count": len(blocked), "names": some(each.name for each in blocked)}

    def _told(self, blocked: Sequence[Definition]) -> str:
        changed = [each.name for each in blocked if (each.kind, each.name) in self._known.approved]
        new = [each.name for each in blocked if (each.kind, each.name) not in self._known.approved]
        if blocked[0].kind == GREETING:
            return f"the server's instructions are {'changed' if changed else 'new'}"
        parts = [f"{what}: {', '.join(some(names))}" for what, names in (("new", new), ("changed", changed)) if names]
        return f"{blocked[0].kind}s, {'; '.join(parts)}"

    def _passes(self, key: Key, digest: str) -> bool:
        return self._known.approved.get(key) == digest or self._lets(key)

    def _lets(self, key: Key) -> bool:
        """Whether the profile lets it pass unapproved."""
        if key in self._known.approved:
            return self._rules.changed == "allow"
        return self._rules.new == "allow" and (self._rules.first == "pin" or bool(self._known.approved))

    def _refresh(self, store: PinStore) -> None:
        """What another process approved or revoked holds at once."""
        if (version := store.version()) != self._version:
            self._known, self._version = store.known(self._rules.server), version

    def _question(self, hidden: Sequence[tuple[Definition, str]]) -> Question | None:
        """What the user may be asked of it, once."""
        store = self._store
        asked = [
            (each, digest)
            for each, digest in hidden
            if self._seen[each.kind, each.name] != TWICE and ((each.kind, each.name), digest) not in self._asked
        ]
        if store is None or not asked or len(self._asked) > MOST_ASKED:
            return None
        self._asked |= {((each.kind, each.name), digest) for each, digest in asked}
        blocked = [each for each, _ in asked]
        names, server = plain(self._told(blocked), NAMES), self._rules.server
        text = f"Approve what {server} says of itself ({len(blocked)})? {names}. The host does not see it yet. "
        text += self._differences(store, blocked)
        return Question(text, self._accepted(store, asked))

    def _accepted(
        self, store: PinStore, asked: Sequence[tuple[Definition, str]]
    ) -> Callable[[], Sequence[Mapping[str, Any]]]:
        def accepted() -> Sequence[Mapping[str, Any]]:
            chosen = [(each.kind, each.name, digest) for each, digest in asked]
            store.approve(self._rules.server, chosen, by=self._rules.host or "host")
            self._version = None
            news = NEWS.get(asked[0][0].kind)
            return [{"jsonrpc": "2.0", "method": news}] if news else []

        return accepted

    def _differences(self, store: PinStore, blocked: Sequence[Definition]) -> str:
        from mcpbox.pinning import diff

        shown = ""
        for each in blocked:
            old = store.approved_value(self._rules.server, each.kind, each.name)
            for line in (f"{diff.plain(each.name)}:", *diff.lines(old, each.value, close=0)):
                shown += f" {line}"
                if len(shown) > QUESTION:
                    return f"All of it: mcpbox tools diff {self._rules.server}. The beginning:{shown[:QUESTION]} …"
        return f"In full:{shown}"


def _shown(found: Sequence[Definition]) -> str:
    kind = found[0].kind
    return "the server's instructions" if kind == GREETING else f"{kind}s {', '.join(some(e.name for e in found))}"


def _named(request: Request) -> tuple[str, Any] | None:
    """The kind and name of the definition that a request of the host's makes use of."""
    if request.method == "tools/call":
        return "tool", field(request.params, "name")
    if request.method == "prompts/get":
        return "prompt", field(request.params, "name")
    if request.method == "completion/complete" and field(request.params, "ref", "type") == "ref/prompt":
        return "prompt", field(request.params, "ref", "name")
    return None
