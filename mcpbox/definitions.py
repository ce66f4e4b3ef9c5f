"""What a server says of itself to the model: its tools, prompts, resource templates and instructions. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from mcpbox.jsonrpc import Response
from mcpbox.naming import MAX_URI

#: By the method that is answered: the kind, the list in the result, and the field that names one of them.
LISTS = {
    "tools/list": ("tool", "tools", "name"),
    "prompts/list": ("prompt", "prompts", "name"),
    "resources/templates/list": ("resource-template", "resourceTemplates", "uriTemplate"),
}
#: By the request that uses one: the kind, and the list that has it.
USES = {"tools/call": ("tool", "tools/list"), "prompts/get": ("prompt", "prompts/list")}
#: Of one server; beyond it nothing more of it is believed. The largest published servers have some hundreds.
MAX_DEFINITIONS = 10_000
#: Methods whose result has the server's instructions, and who it says it is.
DISCOVER = "server/discover"
GREETINGS = ("initialize", DISCOVER)
#: The kind of what they have.
GREETING = "instructions"


class Malformed(ValueError):
    """The answer to a list request has no list, or one of things without a name, or of too many or too long ones."""


class Definition(Struct, frozen=True):
    """One of them. ``value`` is all that the server says of it; ``name`` is "" for the instructions."""

    kind: str
    name: str
    value: Any


def defined_in(message: Response) -> Iterator[Definition]:
    """The definitions in an answer of the server's, in its order; none in any other. Raises Malformed."""
    method = message.request.method if message.request else ""
    result = message.result
    if "error" in message.value:
        return
    if method in GREETINGS and isinstance(result, dict):
        if "instructions" in result:
            yield Definition(GREETING, "", result["instructions"])
    elif method in LISTS:
        kind, key, named = LISTS[method]
        items = _items(result, key)
        if len(items) > MAX_DEFINITIONS:
            raise Malformed(f"the server lists more than {MAX_DEFINITIONS} {key} at once")
        for item in items:
            name = item.get(named) if isinstance(item, dict) else None
            if not isinstance(name, str):
                raise Malformed(f"one of the {key} has no {named}")
            if len(name) > MAX_URI:
                raise Malformed(f"one of the {key} has a {named} of more than {MAX_URI} characters")
            if len({each.casefold() for each in item}) != len(item):
                raise Malformed(f"one of the {key} has two fields that differ in case only")
            yield Definition(kind, name, item)


def rewritten(message: Response, rewrite: Callable[[Definition], Any]) -> dict[str, Any]:
    """The message's value with what ``rewrite`` returns in the place of each definition's; None leaves it out.

    It is ``message.value`` itself where each is returned as it was. Raises Malformed.
    """
    definitions = list(defined_in(message))
    values = [rewrite(each) for each in definitions]
    if all(new is each.value for new, each in zip(values, definitions, strict=True)):
        return message.value
    result = dict(message.result)
    if definitions[0].kind == GREETING:
        del result["instructions"]
        result |= {} if values[0] is None else {"instructions": values[0]}
    else:
        assert message.request
        result[LISTS[message.request.method][1]] = [value for value in values if value is not None]
    return message.value | {"result": result}


def _items(result: Any, key: str) -> list[Any]:
    found = result.get(key) if isinstance(result, dict) else None
    if not isinstance(found, list):
        raise Malformed(f"the list of {key} is not a list")
    return found
