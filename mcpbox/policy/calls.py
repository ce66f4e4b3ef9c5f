"""How tools may be called in one session: how often, how often the same, and what not after what. No I/O."""

from __future__ import annotations

from collections import deque
from fnmatch import fnmatchcase

from mcpbox.jsonrpc import Message, Request, Response
from mcpbox.pinning.canonical import digest
from mcpbox.policy.base import Alert, Ask, CallSequence, Origin, Refuse, Rules, Side, Verdict, field

MINUTE = 60_000_000


class CallRules:
    """A sequence begins when the first tool's result has come: before that there is nothing to be passed on.

    The rates are of calls that get through to here; refused ones count for nothing.
    """

    def __init__(self, rules: Rules) -> None:
        self._per_minute = rules.calls_per_minute
        self._repeats = rules.calls_repeats
        self._server = rules.server
        self._sequences = dict.fromkeys(rules.calls_sequences, "")
        self._store = rules.flows
        self._clock = rules.clock
        self._times: deque[int] = deque()
        self._last = ""
        self._in_a_row = 0
        if self._per_minute and self._clock is None:
            raise ValueError("calls.per_minute needs a clock")
        if self._store is None and any(":" in rule.after for rule in self._sequences):
            raise ValueError("calls.sequences needs to know of the other servers")
        self._active = bool(self._per_minute or self._repeats or self._sequences)
        self.passes = frozenset() if self._active else frozenset(Side)

    def judge(self, side: Side, message: Message) -> Verdict:
        if not self._active:
            return None
        if side is Side.CLIENT and isinstance(message, Request) and message.method == "tools/call":
            return self._call(message)
        if side is Side.SERVER and isinstance(message, Response) and "result" in message.value:
            if message.request and message.request.method == "tools/call" and self._sequences:
                self._used(field(message.request.params, "name"))
        return None

    def _call(self, message: Request) -> Verdict:
        name = field(message.params, "name")
        if not isinstance(name, str):
            return Refuse("the tool's name is not a string")
        sequence = self._sequence(name)
        if isinstance(sequence, Refuse):
            return sequence
        if self._repeats and (refused := self._repeated(name, field(message.params, "arguments"))):
            return refused
        if self._per_minute and (refused := self._hurried()):
            return refused
        return sequence

    def _hurried(self) -> Refuse | None:
        assert self._clock
        now = self._clock()
        while self._times and self._times[0] <= now - MINUTE:
            self._times.popleft()
        if len(self._times) >= self._per_minute:
            wait = -(-(self._times[0] + MINUTE - now) // 1_000_000)
            found = {"rule": "per_minute", "limit": self._per_minute}
            hint = f"try again in {wait} s; the limit is [calls] per_minute in the server's profile"
            return Refuse(f"{self._per_minute} calls were made in the last minute", hint, found)
        self._times.append(now)
        return None

    def _repeated(self, name: str, arguments: object) -> Refuse | None:
        call = digest([name, arguments])
        self._in_a_row = self._in_a_row + 1 if call == self._last else 1
        self._last = call
        if self._in_a_row <= self._repeats:
            return None
        found = {"rule": "repeats", "limit": self._repeats}
        hint = "do something else first; the limit is [calls] repeats in the server's profile"
        return Refuse(f"{name!r} was called {self._repeats} times in a row with the same arguments", hint, found)

    def _sequence(self, name: str) -> Refuse | Ask | Alert | None:
        """The gravest verdict of the rules whose ``then`` it is."""
        verdicts: dict[str, Refuse | Ask | Alert] = {}
        for rule, used in self._sequences.items():
            if not fnmatchcase(name, rule.then):
                continue
            used = used or self._elsewhere(rule)
            if not used:
                continue
            reason = f"{name!r} is called after {used!r}"
            found = {"rule": "sequences", "after": used, "then": name}
            refusal = Refuse(reason, "see [calls] sequences in the server's profile", found)
            if rule.action == "alert":
                verdicts["alert"] = Alert(reason, found)
            elif rule.action == "ask":
                verdicts["ask"] = Ask(f"{self._server or 'The server'}: {reason}. Let it?", refusal)
            else:
                verdicts["block"] = refusal
        return verdicts.get("block") or verdicts.get("ask") or verdicts.get("alert")

    def _elsewhere(self, rule: CallSequence) -> str:
        """The tool of another server for which the rule holds, "" if there is none."""
        if ":" not in rule.after or self._store is None:
            return ""
        return next((_full(origin) for origin in self._store.used() if fnmatchcase(_full(origin), rule.after)), "")

    def _used(self, name: object) -> None:
        if not isinstance(name, str):
            return
        own = _full(Origin(self._server, name))
        for rule, used in self._sequences.items():
            if not used and (fnmatchcase(name, rule.after) or fnmatchcase(own, rule.after)):
                self._sequences[rule] = name


def _full(origin: Origin) -> str:
    return f"{origin.server}:{origin.tool}"
