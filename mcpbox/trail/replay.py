"""What recorded sessions would have been refused under another profile. No I/O.

Only what was allowed is judged: calls, requests of the server, connections, and the directories that arguments named.
What a policy decides by the content of a message is not on record, so it cannot be judged again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from msgspec import Struct

from mcpbox.egress.rules import Rules
from mcpbox.tables import Filesystem, Listed, Names, Profile
from mcpbox.trail.entries import Entry, moment
from mcpbox.trail.evidence import MINUTE, dicts, granted_rules, places, within
from mcpbox.trail.fields import number, text

#: Requests of a server, by the key of [messages] that allows them.
_REQUESTS = {"sampling/createMessage": "sampling", "elicitation/create": "elicitation", "roots/list": "roots"}
#: Different findings that are told apart.
MAX_TOLD = 10_000


#: The forms of a path that a profile lists: with the home directory for "~", and with what symlinks lead to.
Expanded = Callable[[str], Collection[str]]


class Difference(Struct, frozen=True):
    """Something that was allowed and would not be: ``what`` it was, and ``why`` not."""

    session: str
    seq: int
    what: str
    why: str


class Tally(Struct):
    """``judged`` records that were allowed, by kind; ``unjudged`` counts what the record has no details of.

    Only of sessions that were ``learned`` from is it known what directories they used.
    """

    judged: dict[str, int] = {}
    unjudged: int = 0
    learned: int = 0

    def count(self, kind: str, number: int = 1) -> None:
        self.judged[kind] = self.judged.get(kind, 0) + number


def replay(session: Iterable[Entry], profile: Profile, expanded: Expanded, tally: Tally) -> Iterator[Difference]:
    """The differences of one session in their order, each once."""
    judge = _Judge(profile, expanded, tally)
    told: set[tuple[str, str]] = set()
    for entry in session:
        seq = number(entry.record, "seq")
        for what, why in judge.judge(entry):
            if (what, why) not in told and len(told) < MAX_TOLD:
                told.add((what, why))
                yield Difference(entry.session, -1 if seq is None else seq, what, why)


class _Judge:
    def __init__(self, profile: Profile, expanded: Expanded, tally: Tally) -> None:
        self._profile, self._tally = profile, tally
        self._rules = Rules.parse(profile.network.allow)
        self._named = Rules()
        self._listed = {
            kind: [form for item in getattr(profile.filesystem, kind) for form in expanded(_path(item))]
            for kind in ("read", "write")
        }
        #: by path, whether it could be written to, and why it was there
        self._mounts: dict[str, tuple[bool, str]] = {}
        self._times: deque[datetime] = deque()
        self._run: tuple[str, str, int] = ("", "", 0)
        self._begun: set[str] = set()
        self._judged: set[tuple[str, bool]] = set()

    def judge(self, entry: Entry) -> Iterator[tuple[str, str]]:
        record, event = entry.record, entry.event
        if event in ("call", "result"):
            size, most = number(record, "bytes") or 0, self._profile.messages.max_bytes
            if size > most:
                what = f"{text(record, 'method')} {text(record, 'target')}".rstrip()
                yield (
                    what,
                    f"{'it' if event == 'call' else 'its result'} had {size} bytes, and messages.max_bytes = {most}",
                )
        if event == "call":
            yield from self._call(entry)
        elif event == "egress" and text(record, "decision") == "allow":
            yield from self._connection(record)
        elif event == "result" and text(record, "method") == "tools/call":
            self._used(text(record, "target"))
        elif event == "granted":
            self._granted(record)
        elif event == "learned":
            yield from self._learned(record)
        elif event == "counted":
            self._tally.unjudged += 1

    def _call(self, entry: Entry) -> Iterator[tuple[str, str]]:
        record, profile = entry.record, self._profile
        method, target = text(record, "method"), text(record, "target")
        if text(record, "side") == "server":
            self._tally.count("requests of the server")
            if (key := _REQUESTS.get(method)) and getattr(profile.messages, key) == "deny":
                yield method, f'messages.{key} = "deny"'
            return
        lists: Mapping[str, tuple[str, Names]] = {
            "tools/call": ("tools", profile.tools),
            "resources/read": ("resources", profile.resources),
            "prompts/get": ("prompts", profile.prompts),
        }
        if method not in lists:
            return
        if not target:
            self._tally.unjudged += 1
            return
        table, names = lists[method]
        self._tally.count("calls" if table == "tools" else table)
        what = f"{method} {target}"
        if pattern := next((pattern for pattern in names.deny if fnmatchcase(target, pattern)), None):
            yield what, f"{table}.deny has {pattern!r}"
        elif not any(fnmatchcase(target, pattern) for pattern in names.allow):
            yield what, f"{table}.allow has not {target!r}"
        if table == "tools":
            yield from self._rate(entry, what, target, text(record, "digest"))

    def _rate(self, entry: Entry, what: str, target: str, digest: str) -> Iterator[tuple[str, str]]:
        """As the policy on calls counts: a call that is refused is not one of the last minute's."""
        calls, now = self._profile.calls, moment(entry.time)
        before = self._run[2] if digest and self._run[:2] == (target, digest) else 0
        self._run = target, digest, before + 1
        if 0 < calls.repeats < self._run[2]:
            yield what, f"more than calls.repeats = {calls.repeats} in a row with the same arguments"
        elif calls.per_minute:
            while self._times and now - self._times[0] >= MINUTE:
                self._times.popleft()
            if len(self._times) >= calls.per_minute:
                yield "tools/call", f"more than calls.per_minute = {calls.per_minute}"
            else:
                self._times.append(now)
        for rule in calls.sequences:
            if rule.action != "alert" and fnmatchcase(target, rule.then) and rule.after in self._begun:
                yield what, f"calls.sequences has it after {rule.after!r}"

    def _used(self, tool: str) -> None:
        for rule in self._profile.calls.sequences:
            if fnmatchcase(tool, rule.after):
                self._begun.add(rule.after)

    def _connection(self, record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        name, port = text(record, "name"), number(record, "port") or 0
        self._tally.count("connections", number(record, "count") or 1)
        addresses = record.get("addresses")
        why = self._refused(name, port, addresses if isinstance(addresses, list) else [])
        # Rules for what the user's own configuration names are made anew at each start.
        if why and not (takes_hosts(self._profile) and self._named.decide(name, port).allow):
            yield f"connection to {name}:{port}", why

    def _refused(self, name: str, port: int, addresses: list[Any]) -> str:
        """Why a connection to ``name``, which led to ``addresses``, would be refused; "" if it would not."""
        found = self._rules.decide(name, port)
        if not found.allow or found.rule is None or found.rule.kind not in ("host", "subdomains", "any"):
            return "" if found.allow else found.reason
        vetted = [self._rules.vet(each, port, found.rule) for each in addresses if isinstance(each, str)]
        return "" if not vetted or any(each.allow for each in vetted) else vetted[0].reason

    def _granted(self, record: Mapping[str, Any]) -> None:
        self._tally.learned += record.get("learn") is True
        self._named = granted_rules(record)
        for mount in dicts(record.get("mounts")):
            self._mounts[text(mount, "path")] = mount.get("write") is True, text(mount, "by")

    def _learned(self, record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if text(record, "what") == "arguments" and record.get("failed") is not True:
            write = record.get("read_only") is not True
            for place in places(record.get("arguments")):
                if (place, write) in self._judged or len(self._judged) >= MAX_TOLD:
                    continue
                self._judged.add((place, write))
                self._tally.count("directories")
                if why := self._place(place, write):
                    yield f"directory {place}", why

    def _place(self, place: str, write: bool) -> str:
        """Why the server would not have the directory as it had it; "" if it would, or had it not from the host."""
        had = [(writable, by) for path, (writable, by) in self._mounts.items() if within(place, path)]
        if not had:
            return ""
        write = write and any(writable for writable, _ in had)
        free = {"code", "configuration"} if takes_paths(self._profile.filesystem) else {"code"}
        if any(by in free and writable >= write for writable, by in had):
            return ""
        kinds = ("write",) if write else ("read", "write")
        if any(within(place, path) for kind in kinds for path in self._listed[kind]):
            return ""
        return f"no path in filesystem.{' or filesystem.'.join(kinds)} has it"


def _path(item: str | Listed) -> str:
    return item.path if isinstance(item, Listed) else item


def takes_hosts(profile: Profile) -> bool:
    """Whether the user's own configuration of the server may name hosts."""
    return bool(profile.network.from_environment or profile.network.from_arguments)


def takes_paths(table: Filesystem) -> bool:
    """Whether paths that the server's own entry names are mounted."""
    return table.arguments != "none" or bool(table.from_environment or table.from_arguments)
