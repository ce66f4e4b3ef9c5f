"""Secrets and personal numbers in what is said, each reported, masked or refused as the profile has it. No I/O.

Looked at are the parameters of every request and notification, and every result and error, of both sides; not the
definitions of tools and the like, which are pinned, nor cursors, ``requestState`` and the numbers of requests, which no
model sees. The keys of objects count as text. Of base64 that is said to be a picture, a sound or a file the beginning
is looked at: where that is no text, the rest is not. What is cut in two by the end of a message is not found.

A call in which a mask comes back that is not to be turned back is refused: what was read with it would be written with
it, and the secret gone. With the result of a call the model is told what was masked in its arguments: a file that the
call wrote has the mask in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from mcpbox.definitions import GREETINGS, LISTS
from mcpbox.jsonrpc import Id, Message, Request, Response, key
from mcpbox.policy.base import NAME_SHOWN, Alert, Change, Refuse, Rules, Side, Verdict, field
from mcpbox.tasks import Tasks
from mcpbox.texts import replaced, strings

if TYPE_CHECKING:
    from mcpbox.detect.sensitive import Detector, Finding

#: Parts of a result and of parameters that go back to their sender as they are.
OPAQUE = frozenset({"cursor", "nextCursor", "requestState"})
#: Numbers there that say which request is meant.
NUMBERS = frozenset({"progressToken", "requestId"})
#: Requests for a resource, by the address that the server gave it.
ADDRESSED = frozenset({"resources/read", "resources/subscribe", "resources/unsubscribe"})
#: Requests in whose parameters masks are turned back.
RESTORED = ADDRESSED | {"tools/call", "prompts/get", "completion/complete"}
#: Keys under which a text is a URL, and a mask must not make it anything else.
_URLS = frozenset({"uri", "url", "uriTemplate", "src", "href"})
#: Keys under which a file is, and those of which one says so beside it.
_FILES = {"blob": ("uri", "mimeType"), "data": ("mimeType",)}
#: Bytes of the JSON of a message up to which it pays to find out first whether it can have anything.
_BRIEF = 4096
#: Longer base64 is looked at from the beginning first.
_SHORT = 1024
#: Numbers from here on can be somebody's: the shortest kind has 14 digits; a secret has eight. No more than these have
#: meaning, and an end in Python.
_LONG_NUMBER, _SECRET_NUMBER, _LONGEST_NUMBER = 10**13, 10**7, 10**64
#: What is or may hold strings; the rest of a large value is mostly numbers.
_STRINGS = (str, dict, list)
_MAX_PLACES, _MAX_PLACE, _MAX_UNTOLD = 16, 80, 1024
_JSON = msgspec.json.Encoder()
_LOSS = "the arguments have a placeholder that mcpbox put in the place of a secret, which would be lost with it"
_LOSS_HINT = "leave that part out, or see [messages] reversible in the server's profile"


class SensitiveData:
    """One session's: a value has the same mask throughout, so that the model can speak of it."""

    def __init__(self, rules: Rules) -> None:
        self._default = rules.secrets, rules.personal
        self._tools = rules.tool_sensitive
        actions = {rules.secrets, rules.personal} | {action for _, *both in self._tools for action in both if action}
        self._idle = actions == {"off"}
        if self._idle:
            return
        from mcpbox.detect.masks import Masks

        self._tasks = Tasks()
        self._masks = Masks(reversible=rules.reversible)
        #: kinds of what was masked in calls that are not answered
        self._untold: dict[tuple[bool, Id], str] = {}
        self._known = rules.secrets_held()
        self._digits = any(value.isdecimal() for value in self._known)

    @cached_property
    def _detector(self) -> Detector:
        # It takes 8 ms to import and to compile: once there is something to look through, not while a server starts.
        from mcpbox.detect.sensitive import Detector

        return Detector(self._known)

    def judge(self, side: Side, message: Message) -> Verdict:
        if self._idle or (part := _part(message)) is None:
            return None
        verdict = self._judge(side, message, part)
        if side is Side.CLIENT:
            if (verdict or self._untold) and isinstance(message, Request) and message.method == "tools/call":
                self._keep(key(message.id), verdict)
        elif self._untold and isinstance(message, Response):
            if kinds := self._untold.pop(key(message.id), ""):
                return _told(message, verdict, kinds)
        return verdict

    def _keep(self, call: tuple[bool, Id], verdict: Verdict) -> None:
        self._untold.pop(call, None)
        if isinstance(verdict, Change) and verdict.found["kinds"]:
            self._untold[call] = _counted(verdict.found)
            if len(self._untold) > _MAX_UNTOLD:
                del self._untold[next(iter(self._untold))]

    def _judge(self, side: Side, message: Message, part: str) -> Verdict:
        value = message.value[part]
        tool = self._tasks.tool(message)
        data = _json(value)
        if data and len(data) <= _BRIEF and not self._masks.may_be_in(data) and not self._detector.may_find(data):
            return None
        secrets, numbers = self._actions(tool)
        least = _SECRET_NUMBER if self._digits else _LONG_NUMBER if numbers != "off" else _LONGEST_NUMBER
        said = _Strings(least)
        said.take(value)
        found = self._detector.find(
            said.texts,
            said.others + said.keys,
            secrets=secrets != "off",
            numbers=numbers != "off",
            hides=not data or self._detector.may_hide(data),
        )
        calls = side is Side.CLIENT and isinstance(message, Request) and message.method == "tools/call"
        if calls and any(self._masks.is_final(text) for _, text in strings(field(value, "arguments"))):
            # A file that was read with masks in it would be written with them.
            return Refuse(_LOSS, _LOSS_HINT, {"tool": str(tool)[:NAME_SHOWN]})
        restores = side is Side.CLIENT and isinstance(message, Request) and message.method in RESTORED
        restores = restores and self._masks.holds
        if not found and not restores:
            return None
        masks: dict[int, list[tuple[int, int, str]]] = {}
        for each in found:
            if (numbers if each.personal else secrets) == "redact":
                mask = self._masks.mask(each.kind, each.value, back=side is Side.SERVER)
                for number, start, end in each.places:
                    masks.setdefault(number, []).append((start, end, mask))
                    # Of what goes over the ends of strings nothing is left but the mask in the first.
                    mask = ""
        rewrite = _Rewrite(said, found, masks, self._masks.address if side is Side.SERVER else None)
        changed = rewrite.value(value)
        record = _record(found, rewrite.places, tool)
        if blocked := {each.kind for each in found if (numbers if each.personal else secrets) == "block"}:
            hint = "see [messages] redact_secrets and personal, and [messages.tool], in the server's profile"
            return Refuse(f"sensitive data in it: {', '.join(sorted(blocked))}", hint, record)
        addressed = isinstance(message, Request) and message.method in ADDRESSED
        whole, count = self._restored(changed, addressed) if restores else (changed, 0)
        if not masks and not count:
            return Alert(f"sensitive data in it: {_counted(record)}", record) if found else None
        reason = [f"masked: {_counted(record)}"] if found else []
        reason += [f"turned back: {count}"] if count else []
        return Change(
            message.value | {part: whole},
            "; ".join(reason),
            record | {"restored": count},
            recorded=changed if count else None,
        )

    def _restored(self, params: Any, addressed: bool) -> tuple[Any, int]:
        """``params`` with what masks stand for, and for how many of them; ``addressed``: they have an address."""
        texts, total = {}, 0
        for path, text in strings(params):
            if path and path[0] in OPAQUE:
                continue
            address = self._masks.addressed(text) if addressed and path == ("uri",) else None
            plain, count = (address, 1) if address is not None else self._masks.restored(text)
            if count:
                texts[path] = plain
                total += count
        return replaced(params, texts) if texts else params, total

    def _actions(self, tool: object) -> tuple[str, str]:
        secrets, numbers = self._default
        if isinstance(tool, str):
            for pattern, own_secrets, own_numbers in self._tools:
                if fnmatchcase(tool, pattern):
                    return own_secrets or secrets, own_numbers or numbers
        return secrets, numbers


def _part(message: Message) -> str | None:
    """Which part of the message's value is looked at."""
    if isinstance(message, Response):
        if "error" in message.value:
            return "error"
        method = message.request.method if message.request else ""
        return None if method in LISTS or method in GREETINGS else "result"
    return None if message.params is None or message.method in GREETINGS else "params"


class _Strings:
    """The strings of a value: first the texts of content blocks, each next to its neighbour, then others, then keys.

    Whole numbers from ``least`` on count as strings.
    """

    def __init__(self, least: int) -> None:
        self.texts: list[str] = []
        self.others: list[str] = []
        self.keys: list[str] = []
        self.least = least

    def take(self, value: Any, key: str = "", *, top: bool = True) -> None:
        if isinstance(value, str):
            (self.texts if key == "text" else self.others).append(value)
        elif isinstance(value, dict):
            for name, inner in value.items():
                if not (top and _is_opaque(name, inner)):
                    self.keys.append(name)
                    if _is_file(name, inner, value):
                        continue
                    if isinstance(inner, _STRINGS):
                        self.take(inner, name, top=top and name == "_meta")
                    elif _is_long(inner, self.least):
                        self.others.append(str(inner))
        elif isinstance(value, list):
            for inner in value:
                if isinstance(inner, _STRINGS):
                    self.take(inner, key, top=False)
                elif _is_long(inner, self.least):
                    self.others.append(str(inner))
        elif _is_long(value, self.least):
            self.others.append(str(value))


class _Rewrite:
    """Goes over a value as ``_Strings.take`` did, and puts in ``masks`` by the string's number.

    ``address`` is told of each masked address of a resource, and what it was.
    """

    def __init__(
        self,
        said: _Strings,
        found: Sequence[Finding],
        masks: Mapping[int, list[tuple[int, int, str]]],
        address: Callable[[str, str], None] | None,
    ) -> None:
        self._least = said.least
        #: where those strings are in which something was found, by number
        self.places = {number: "" for each in found for number, *_ in each.places}
        self._masks = masks
        self._address = address
        self._text = 0
        self._other = len(said.texts)
        self._key = self._other + len(said.others)

    def value(self, value: Any, key: str = "", path: str = "", *, top: bool = True) -> Any:
        if isinstance(value, str):
            return self._string(value, key, path)
        if isinstance(value, dict):
            return self._object(value, path, top)
        if isinstance(value, list):
            return [self.value(inner, key, f"{path}[]"[:_MAX_PLACE], top=False) for inner in value]
        if _is_long(value, self._least):
            number = self._next("", path)
            # It stays a number, as the tool's schema has it.
            return 0 if number in self._masks else value
        return value

    def _object(self, value: dict[str, Any], path: str, top: bool) -> dict[str, Any]:
        changed: dict[str, Any] = {}
        for name, inner in value.items():
            shown = name
            if not (top and _is_opaque(name, inner)):
                number, self._key = self._key, self._key + 1
                # A secret that is a key must not go on record as a place.
                place = f"{path}.{'…' if number in self.places else name}"[:_MAX_PLACE]
                self._place(number, place)
                shown = _masked(name, self._masks.get(number, ()))
                if not _is_file(name, inner, value):
                    inner = self.value(inner, name, place, top=top and name == "_meta")
            # Two keys may have become one; what is in them stays.
            while shown in changed:
                shown = f"{shown} {len(changed)}"
            changed[shown] = inner
        return changed

    def _string(self, text: str, key: str, path: str) -> str:
        masks = self._masks.get(self._next(key, path), ())
        if not masks:
            return text
        if key in _URLS:
            from mcpbox.detect.masks import in_url

            masks = [(start, end, in_url(mask)) for start, end, mask in masks]
        masked = _masked(text, masks)
        if key == "uri" and self._address:
            self._address(masked, text)
        return masked

    def _next(self, key: str, path: str) -> int:
        if key == "text":
            number, self._text = self._text, self._text + 1
        else:
            number, self._other = self._other, self._other + 1
        self._place(number, path)
        return number

    def _place(self, number: int, path: str) -> None:
        if number in self.places:
            self.places[number] = path.removeprefix(".")


def _json(value: Any) -> bytes:
    """Empty where it cannot be written: numbers of more than 64 bits, and what a policy has made of others."""
    try:
        return _JSON.encode(value)
    except (OverflowError, UnicodeEncodeError, RecursionError):
        return b""


def _told(message: Response, verdict: Verdict, kinds: str) -> Verdict:
    value = verdict.value if isinstance(verdict, Change) else message.value
    content = field(value, "result", "content")
    if isinstance(verdict, Refuse) or not isinstance(content, list):
        return verdict
    note = f"mcpbox: the server got placeholders for what was found in the arguments of this call: {kinds}."
    found = verdict.found if isinstance(verdict, Change | Alert) else {}
    reason = verdict.reason if isinstance(verdict, Change | Alert) else "told of what was masked in the call"
    result = value["result"] | {"content": [*content, {"type": "text", "text": note}]}
    return Change(value | {"result": result}, reason, found)


def _masked(text: str, masks: Iterable[tuple[int, int, str]]) -> str:
    parts, at = [], 0
    for start, end, mask in masks:
        parts += [text[at:start], mask]
        at = end
    return "".join((*parts, text[at:])) if parts else text


def _record(found: Sequence[Finding], places: Mapping[int, str], tool: object) -> dict[str, Any]:
    """What goes on record: how many of which kind, and where; never any of it."""
    where = list(dict.fromkeys(places[number] for each in found for number, *_ in each.places[:1]))
    record = {"kinds": dict(Counter(each.kind for each in found)), "places": where[:_MAX_PLACES]}
    return record | ({"tool": tool[:NAME_SHOWN]} if isinstance(tool, str) else {})


def _counted(record: Mapping[str, Any]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in record["kinds"].items())


def _is_long(value: Any, least: int) -> bool:
    return type(value) is int and least <= value < _LONGEST_NUMBER


def _is_opaque(key: str, value: Any) -> bool:
    return isinstance(value, str) if key in OPAQUE else key in NUMBERS and isinstance(value, int)


def _is_file(key: str, value: Any, beside: Mapping[str, Any]) -> bool:
    """Whether it is base64 as a whole, and what it is of does not begin as a text does."""
    if key not in _FILES or not isinstance(value, str) or len(value) <= _SHORT or not value.isascii():
        return False
    if not any(isinstance(beside.get(each), str) for each in _FILES[key]):
        return False
    from mcpbox.detect.sensitive import is_binary

    return is_binary(value)
