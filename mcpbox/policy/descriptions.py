"""Descriptions are shown without what nobody sees in them, and as the profile has them where it does. No I/O."""

from __future__ import annotations

from typing import Any

from mcpbox.definitions import GREETINGS, LISTS, Definition, Malformed, rewritten
from mcpbox.detect.unicode import visible
from mcpbox.jsonrpc import Message, Response
from mcpbox.policy.base import Change, Refuse, Rules, Side, Verdict
from mcpbox.texts import Path, replaced, strings

#: Texts for people and models, which nothing compares; a value of an enumeration must stay as it is.
_PROSE = frozenset(("title", "description", "$comment", "instructions", "summary"))


class Descriptions:
    """``tools.describe`` answers a description that sells its tool: the model reads the user's own words instead."""

    passes = frozenset(Side)

    def __init__(self, rules: Rules) -> None:
        self._describe = dict(rules.describe)
        self._strip = rules.scan != "off"

    def judge(self, side: Side, message: Message) -> Verdict:
        if side is Side.CLIENT or not isinstance(message, Response) or not message.request:
            return None
        if message.request.method not in LISTS and message.request.method not in GREETINGS:
            return None
        stripped: list[str] = []
        described: list[str] = []

        def rewrite(each: Definition) -> Any:
            value = self._described(each)
            if value is not each.value:
                described.append(each.name)
            if self._strip and (texts := _stripped(value)):
                stripped.append(each.name or each.kind)
                return replaced(value, texts)
            return value

        try:
            value = rewritten(message, rewrite)
        except Malformed as error:
            return Refuse(str(error))
        if value is message.value:
            return None
        parts = [f"described by the profile: {', '.join(described)[:400]}"] if described else []
        parts += [f"invisible text removed: {', '.join(stripped)[:400]}"] if stripped else []
        return Change(value, "; ".join(parts), {"described": len(described), "stripped": len(stripped)})

    def _described(self, definition: Definition) -> Any:
        text = self._describe.get(definition.name)
        if definition.kind != "tool" or text is None or definition.value.get("description") == text:
            return definition.value
        # What the server says of it elsewhere would speak beside the profile's words.
        kept = {key: value for key, value in definition.value.items() if key not in ("title", "_meta")}
        if isinstance(annotations := kept.get("annotations"), dict) and "title" in annotations:
            kept["annotations"] = {key: value for key, value in annotations.items() if key != "title"}
        return kept | {"description": text}


def _stripped(value: Any) -> dict[Path, str]:
    texts = {}
    for path, text in strings(value):
        if (not path or path[-1] in _PROSE) and (shown := visible(text)) != text:
            texts[path] = shown
    return texts
