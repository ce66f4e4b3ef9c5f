"""Resources and prompts the profile does not allow are neither listed nor to be had. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from mcpbox.jsonrpc import Message, Notification, Request, Response
from mcpbox.naming import Globs, is_plain, is_plain_uri
from mcpbox.policy.base import Change, Refuse, Rules, Side, Verdict, field, quoted, some

#: By the method that is answered: the list in the result, the field that is judged, and the table that says how.
LISTS = {
    "prompts/list": ("prompts", "name", "prompts"),
    "resources/list": ("resources", "uri", "resources"),
    "resources/templates/list": ("resourceTemplates", "uriTemplate", "resources"),
}


class NameAllowlist:
    """Prompts by name, resources by URI, their templates by the template as it is written.

    What a tool returns is that tool's to answer for: a link to a resource, or a resource itself, among a tool's results
    stays, and whoever follows the link asks for the resource and is judged then. A URI that a template was filled in
    with is judged as any other.
    """

    passes = frozenset(Side)

    def __init__(self, rules: Rules) -> None:
        prompts = Globs(((rules.prompts_allow, rules.prompts_deny),))
        resources = Globs(((rules.resources_allow, rules.resources_deny),))
        self._allowed: dict[str, Callable[[str], bool]] = {
            "prompts": lambda name: is_plain(name) and prompts.allow(name),
            "resources": lambda uri: is_plain_uri(uri) and resources.allow_uri(uri),
        }

    def judge(self, side: Side, message: Message) -> Verdict:
        if side is Side.CLIENT:
            for table, name in _asked(message) if isinstance(message, Request) else ():
                if not isinstance(name, str) or not self._allowed[table](name):
                    what = "prompt" if table == "prompts" else "resource"
                    hint = f"see [{table}] allow and deny in the server's profile"
                    return Refuse(f"the {what} {quoted(name)} is not allowed", hint)
        elif isinstance(message, Response):
            if message.request and message.request.method in LISTS and "error" not in message.value:
                return self._list(message, *LISTS[message.request.method])
        elif isinstance(message, Notification) and message.method == "notifications/resources/updated":
            if not self._shown(field(message.params, "uri"), "resources"):
                return Refuse("an update of a resource that is not allowed")
        return None

    def _list(self, message: Response, key: str, named: str, table: str) -> Verdict:
        items = field(message.result, key)
        if not isinstance(items, list):
            return Refuse(f"the list of {key} is not a list")
        shown = [self._shown(field(item, named), table) for item in items]
        if all(shown):
            return None
        hidden = some(str(field(item, named)) for item, kept in zip(items, shown, strict=True) if not kept)
        kept = [item for item, kept in zip(items, shown, strict=True) if kept]
        found = {"hidden": len(items) - len(kept), "names": hidden}
        value = message.value | {"result": message.result | {key: kept}}
        return Change(value, f"{key} hidden: {', '.join(hidden)}", found)

    def _shown(self, name: Any, table: str) -> bool:
        return isinstance(name, str) and self._allowed[table](name)


def _asked(request: Request) -> Iterator[tuple[str, Any]]:
    """The table and the name of each thing that a request of the host's is about."""
    params = request.params
    if request.method == "prompts/get":
        yield "prompts", field(params, "name")
    elif request.method in ("resources/read", "resources/subscribe"):
        yield "resources", field(params, "uri")
    elif request.method == "completion/complete":
        kind = field(params, "ref", "type")
        if kind == "ref/prompt":
            yield "prompts", field(params, "ref", "name")
        else:
            yield "resources", field(params, "ref", "uri")
    elif request.method == "subscriptions/listen":
        wanted = field(params, "notifications", "resourceSubscriptions")
        for uri in wanted if isinstance(wanted, list) else () if wanted is None else (wanted,):
            yield "resources", uri
