"""Secrets and personal numbers in what is said, each reported, masked or refused as the profile has it. No I/O.

Looked at are the parameters of every request and notification, and every result and error, of both sides; not the
definitions of tools and the like, which are pinned, nor cursors and ``requestState``, which no model sees. The keys of
objects count as text. Of base64 that is said to be a picture, a sound or a file the beginning is looked at: where that
is no text, the rest is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from mcpbox.definitions import GREETINGS, LISTS
from mcpbox.jsonrpc import Message, Request, Response
from mcpbox.policy.base import Alert, Change, Refuse, Rules, Side, Verdict, field

if TYPE_CHECKING:
    from mcpbox.detect.masks import Masks
    from mcpbox.detect.sensitive import Finding

#: Parts of a result and of parameters that go back to their sender as they are.
OPAQUE = frozenset({"cursor", "nextCursor", "requestState"})
#: Requests in whose parameters masks are turned back.
RESTORED = frozenset({"tools/call", "prompts/get", "completion/complete", "resources/read", "resources/subscribe"})
#: Keys under which a text is a URL, and a mask must not make it anything else.
_URLS = frozenset({"uri", "url", "uriTemplate", "src", "href"})
_FILES = frozenset({"blob", "data"})
#: Longer base64 is looked at from the beginning first.
_SHORT = 1024
#: Numbers from here on can be somebody's: the shortest kind has 14 digits.
_LONG_NUMBER = 10**13
_MAX_PLACES, _MAX_PLACE = 16, 80


class SensitiveData:
    """One session's: a value has the same mask throughout, so that the model can speak of it."""

    def __init__(self, rules: Rules) -> None:
        self._default = rules.secrets, rules.personal
        self._tools = rules.tool_sensitive
        actions = {rules.secrets, rules.personal} | {action for _, *both in self._tools for action in both if action}
        self._idle = actions == {"off"}
        if self._idle:
            return
        # What they need takes time to import and to compile, which only who looks for something should spend.
        from mcpbox.detect.masks import Masks
        from mcpbox.detect.sensitive import Detector

        self._masks = Masks(reversible=rules.reversible)
        self._detector = Detector(rules.secrets_held())

    def judge(self, side: Side, message: Message) -> Verdict:
        if self._idle or (part := _part(message)) is None:
            return None
        request = message.request if isinstance(message, Response) else message
        tool = field(request.params, "name") if request and request.method == "tools/call" else None
        secrets, numbers = self._actions(tool)
        value = message.value[part]
        strings = _Strings(numbers != "off")
        strings.take(value)
        found = self._detector.find(
            strings.texts, strings.others + strings.keys, secrets=secrets != "off", numbers=numbers != "off"
        )
        restores = side is Side.CLIENT and isinstance(message, Request) and message.method in RESTORED
        if not found and not (restores and self._masks.holds):
            return None
        masks: dict[int, list[tuple[int, int, str]]] = {}
        for each in found:
            if (numbers if each.personal else secrets) == "redact":
                mask = self._masks.mask(each.kind, each.value, back=side is Side.SERVER)
                for number, start, end in each.places:
                    masks.setdefault(number, []).append((start, end, mask))
                    # Of what goes over the ends of strings nothing is left but the mask in the first.
                    mask = ""
        rewrite = _Rewrite(strings, found, masks, self._masks if restores else None)
        changed = rewrite.value(value)
        record = _record(found, rewrite.places, tool)
        if blocked := {each.kind for each in found if (numbers if each.personal else secrets) == "block"}:
            hint = "see [messages] redact_secrets and personal, and [messages.tool], in the server's profile"
            return Refuse(f"sensitive data in it: {', '.join(sorted(blocked))}", hint, record)
        if not masks and not rewrite.restored:
            return Alert(f"sensitive data in it: {_counted(record)}", record) if found else None
        reason = [f"masked: {_counted(record)}"] if found else []
        reason += [f"turned back: {rewrite.restored}"] if rewrite.restored else []
        return Change(message.value | {part: changed}, "; ".join(reason), record | {"restored": rewrite.restored})

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
    """The strings of a value: first the texts of content blocks, each next to its neighbour, then others, then keys."""

    def __init__(self, numbers: bool) -> None:
        self.texts: list[str] = []
        self.others: list[str] = []
        self.keys: list[str] = []
        self.numbers = numbers

    def take(self, value: Any, key: str = "", *, top: bool = True) -> None:
        if isinstance(value, str):
            if not _is_file(key, value):
                (self.texts if key == "text" else self.others).append(value)
        elif isinstance(value, dict):
            for name, inner in value.items():
                if not (top and name in OPAQUE):
                    self.keys.append(name)
                    self.take(inner, name, top=False)
        elif isinstance(value, list):
            for inner in value:
                self.take(inner, key, top=False)
        elif self.numbers and _is_long(value):
            self.others.append(str(value))


class _Rewrite:
    """Goes over a value as ``_Strings.take`` did, puts in ``masks`` by the string's number, and turns others back."""

    def __init__(
        self,
        strings: _Strings,
        found: Sequence[Finding],
        masks: Mapping[int, list[tuple[int, int, str]]],
        restoring: Masks | None,
    ) -> None:
        self._numbers = strings.numbers
        #: where those strings are in which something was found, by number
        self.places = {number: "" for each in found for number, *_ in each.places}
        self._masks = masks
        self._restoring = restoring
        self._text = 0
        self._other = len(strings.texts)
        self._key = self._other + len(strings.others)
        self.restored = 0

    def value(self, value: Any, key: str = "", path: str = "", *, top: bool = True) -> Any:
        if isinstance(value, str):
            return value if _is_file(key, value) else self._string(value, key, path)
        if isinstance(value, dict):
            return dict(
                (name, inner) if top and name in OPAQUE else self._item(name, inner, path)
                for name, inner in value.items()
            )
        if isinstance(value, list):
            return [self.value(inner, key, f"{path}[]"[:_MAX_PLACE], top=False) for inner in value]
        if self._numbers and _is_long(value):
            number = self._next("", path)
            # It stays a number, as the tool's schema has it.
            return 0 if number in self._masks else value
        return value

    def _item(self, name: str, inner: Any, path: str) -> tuple[str, Any]:
        number, self._key = self._key, self._key + 1
        # A secret that is a key must not go on record as a place.
        path = f"{path}.{'…' if number in self.places else name}"[:_MAX_PLACE]
        self._place(number, path)
        return _masked(name, self._masks.get(number, ())), self.value(inner, name, path, top=False)

    def _string(self, text: str, key: str, path: str) -> str:
        masks = self._masks.get(self._next(key, path), ())
        if key in _URLS:
            from mcpbox.detect.masks import in_url

            masks = [(start, end, in_url(mask)) for start, end, mask in masks]
        text = _masked(text, masks)
        if self._restoring:
            text, count = self._restoring.restored(text)
            self.restored += count
        return text

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
    return record | ({"tool": tool} if isinstance(tool, str) else {})


def _counted(record: Mapping[str, Any]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in record["kinds"].items())


def _is_long(value: Any) -> bool:
    return type(value) is int and value >= _LONG_NUMBER


def _is_file(key: str, value: str) -> bool:
    """Whether it is base64 as a whole, and what it is of does not begin as a text does."""
    if key not in _FILES or len(value) <= _SHORT or not value.isascii():
        return False
    from mcpbox.detect.sensitive import is_binary

    return is_binary(value)
