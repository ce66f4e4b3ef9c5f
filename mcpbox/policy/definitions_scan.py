"""Definitions that instruct the model are hidden, and what they define is refused, unless a person has approved it as
it is. No I/O but the store's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from mcpbox.definitions import (
    GREETING,
    GREETINGS,
    LISTS,
    MAX_DEFINITIONS,
    USES,
    Definition,
    Malformed,
    defined_in,
    rewritten,
)
from mcpbox.detect.attacks import Attack, attack_in
from mcpbox.detect.hits import Hit
from mcpbox.digests import sha256
from mcpbox.jsonrpc import Message, Notification, Request, Response
from mcpbox.listing import Pages
from mcpbox.pinning import canonical
from mcpbox.policy.base import Alert, Change, Refuse, Rules, Side, Verdict, field, quoted, release, withhold
from mcpbox.texts import Path

#: Resources of one page, each of which takes 50 µs.
MAX_RESOURCES = 20_000
#: Definitions named on record.
_NAMED = 20
#: The words of JSON Schema, which stand between the server's own and would keep a phrase of its apart.
_SCHEMA_TYPES = frozenset(("string", "object", "array", "number", "integer", "boolean", "null"))
_VOCABULARY = frozenset(
    """name title description inputSchema outputSchema annotations icons _meta type properties required items enum const
    default examples format pattern minimum maximum minLength maxLength minItems maxItems additionalProperties $schema
    $defs definitions $ref anyOf oneOf allOf not readOnlyHint destructiveHint idempotentHint openWorldHint arguments uri
    uriTemplate mimeType exclusiveMinimum exclusiveMaximum propertyNames execution taskSupport""".split()
)


class DefinitionScan:
    """Scans everything of a definition: names, titles, descriptions, all strings and keys of schemas, ``_meta``."""

    passes = frozenset({Side.SERVER})

    def __init__(self, rules: Rules) -> None:
        self._mode = rules.scan
        self._rules = rules
        self._server = rules.server
        self._store = rules.pins
        #: By kind and name, whether it was found clean when it was last listed.
        self._clean: dict[tuple[str, str], bool] = {}
        self._verdicts: dict[bytes, Attack | None] = {}
        self._pages = Pages()

    def judge(self, side: Side, message: Message) -> Verdict:
        if self._mode == "off":
            return None
        if side is Side.CLIENT:
            if isinstance(message, Request) and message.method in USES and self._mode == "block":
                return self._use(message)
            return None
        if isinstance(message, Response) and message.request:
            if message.request.method in LISTS or message.request.method in GREETINGS:
                return self._definitions(message)
            if message.request.method == "resources/list":
                return self._resources(message)
        elif isinstance(message, Notification):
            self._pages.forget(message.method)
        return None

    def _use(self, request: Request) -> Verdict:
        kind, listing = USES[request.method]
        name = field(request.params, "name")
        if not isinstance(name, str):
            return Refuse(f"the {kind}'s name is not a string")
        clean = self._clean.get((kind, name))
        if clean is None:
            return self._pages.look_for(listing, name)
        if clean:
            return None
        return Refuse(f"the definition of the {kind} {quoted(name)} instructs the model", release(self._server, name))

    def _definitions(self, message: Response) -> Verdict:
        try:
            definitions = list(defined_in(message))
            if len(self._clean.keys() | {(each.kind, each.name) for each in definitions}) > MAX_DEFINITIONS:
                return Refuse(f"the server defines more than {MAX_DEFINITIONS} things")
            attacks = {number: self._scan(each) for number, each in enumerate(definitions)}
        except Malformed as error:
            return Refuse(str(error))
        self._pages.see(message)
        found_bad = [(definitions[number], attack) for number, attack in attacks.items() if attack]
        chosen = self._store.chosen(self._server) if self._store and found_bad else ()
        kept_back = [
            each for each, _ in found_bad if (each.kind, each.name, canonical.digest(each.value)) not in chosen
        ]
        bad = {(each.kind, each.name) for each in kept_back}
        for each in definitions:
            self._clean[each.kind, each.name] = (each.kind, each.name) not in bad
        greeting = self._greeting(message)
        if greeting:
            found = {"definitions": [{"kind": "server", "name": "", **greeting.found}]}
            if self._mode == "block":
                return Refuse(f"what the server says of itself instructs the model: {greeting.kinds}", _HINT, found)
            return Alert(f"what the server says of itself instructs the model: {greeting.kinds}", found)
        if not found_bad:
            return None
        if self._mode == "alert" or not bad:
            return Alert(*_told(found_bad))
        withhold(self._rules, kept_back)
        reason, found = _told([(each, attack) for each, attack in found_bad if (each.kind, each.name) in bad])
        hidden = rewritten(message, lambda each: None if (each.kind, each.name) in bad else each.value)
        hint = release(self._server, (kept_back[0].name or GREETING) if len(kept_back) == 1 else "")
        return Change(hidden, f"hidden: {reason}", found, hint=hint)

    def _greeting(self, message: Response) -> Attack | None:
        """What an answer to ``initialize`` or ``server/discover`` says besides the instructions."""
        if message.request and message.request.method in GREETINGS and isinstance(message.result, dict):
            rest = {key: value for key, value in message.result.items() if key != "instructions"}
            return attack_in(list(texts_of(rest)), "definition")
        return None

    def _resources(self, message: Response) -> Verdict:
        """Names and descriptions of resources are other people's as often as the server's, and judged like data."""
        listed = field(message.result, "resources")
        if not isinstance(listed, list):
            return None if "error" in message.value else Refuse("the list of resources is not a list")
        if len(listed) > MAX_RESOURCES:
            return Refuse(f"the server lists more than {MAX_RESOURCES} resources at once")
        attacks = [attack_in(list(texts_of(each)), "data") for each in listed]
        if not any(attacks):
            return None
        named = [Definition("resource", str(field(each, "uri")), each) for each in listed]
        reason, found = _told([(each, attack) for each, attack in zip(named, attacks, strict=True) if attack])
        if self._mode == "alert":
            return Alert(reason, found)
        kept = [each for each, attack in zip(listed, attacks, strict=True) if not attack]
        return Change(message.value | {"result": message.result | {"resources": kept}}, f"hidden: {reason}", found)

    def _scan(self, definition: Definition) -> Attack | None:
        """Remembered by what was scanned, so that a list that is asked for again costs next to nothing."""
        text = json.dumps([definition.kind, definition.value], ensure_ascii=False, separators=(",", ":"))
        digest = sha256(text.encode("utf-8", "surrogatepass")).digest()
        if digest not in self._verdicts:
            if len(self._verdicts) >= MAX_DEFINITIONS:
                self._verdicts.clear()
            self._verdicts[digest] = attack_of(definition)
        return self._verdicts[digest]


def texts_of(value: Any) -> Iterator[tuple[Path, str]]:
    """Every string in ``value`` and every key, with its place, but for what JSON Schema and MCP themselves say."""
    pending: list[tuple[Path, Any]] = [((), value)]
    while pending:
        path, each = pending.pop()
        if isinstance(each, str):
            if each not in _SCHEMA_TYPES:
                yield path, each
        elif isinstance(each, dict):
            yield from (((*path, key), key) for key in each if key not in _VOCABULARY)
            pending += [((*path, key), inner) for key, inner in reversed(each.items())]
        elif isinstance(each, list):
            pending += [((*path, index), each[index]) for index in range(len(each) - 1, -1, -1)]


def attack_of(definition: Definition) -> Attack | None:
    """The attack that a definition is taken for; None if it is not."""
    from mcpbox.detect import unicode

    if hits := unicode.scan(definition.name):
        # A name is what the user approves by, and what policies compare.
        found = {"score": 100, "kinds": [hit.kind for hit in hits], "spans": [["name", 0, 0, hits[0].kind, 100]]}
        return Attack(100, tuple(Hit(hit.start, hit.end, hit.kind, 100) for hit in hits), found)
    return attack_in(list(texts_of(definition.value)), "definition")


def _told(bad: list[tuple[Definition, Attack]]) -> tuple[str, dict[str, Any]]:
    """A reason in words, and the record."""
    reason = "; ".join(f"{each.kind} {each.name[:80]}".strip() + f" ({attack.kinds})" for each, attack in bad[:_NAMED])
    rows = [{"kind": each.kind, "name": each.name[:200], **attack.found} for each, attack in bad[:_NAMED]]
    return reason, {"definitions": rows, "count": len(bad)}


_HINT = 'the profile may say: [tools] scan = "alert"'
