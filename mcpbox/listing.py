"""How far a server's lists have been seen in a session, and which page is still to be asked for. No I/O."""

from __future__ import annotations

from typing import Any

from mcpbox.definitions import LISTS
from mcpbox.jsonrpc import Response
from mcpbox.policy.base import Consult, Refuse, quoted

#: Of one list; a server that has more says so for ever.
MAX_PAGES = 1000
#: The lists that a server says have changed, by its notification.
CHANGED = {
    "notifications/tools/list_changed": ("tools/list",),
    "notifications/prompts/list_changed": ("prompts/list",),
    "notifications/resources/list_changed": ("resources/list", "resources/templates/list"),
}


def cursor(message: Response) -> Any:
    """Of the page that was asked for; None for the first."""
    params = message.request.params if message.request else None
    return params.get("cursor") if isinstance(params, dict) else None


def following(message: Response) -> str | None:
    """The cursor of the page after this one; None where it is the last."""
    found = message.result.get("nextCursor") if isinstance(message.result, dict) else None
    # Hosts take an empty one for none.
    return found if isinstance(found, str) and found else None


class Pages:
    """The place up to which each list has been seen, page by page, by whomever it was asked for."""

    def __init__(self) -> None:
        self._next: dict[str, str | None] = {}
        self._count: dict[str, int] = {}
        self._failed: set[str] = set()

    def see(self, message: Response) -> None:
        """Take note of an answer to a request for a list."""
        method = message.request.method if message.request else ""
        if method not in LISTS:
            return
        self._failed.discard(method)
        asked = cursor(message)
        if "error" in message.value:
            self._failed.add(method)
        elif asked is None or asked == self._next.get(method):
            count = self._count[method] = 1 if asked is None else self._count.get(method, 0) + 1
            self._next[method] = following(message) if count < MAX_PAGES else None

    def forget(self, notification: str) -> None:
        """What the notification speaks of is to be listed anew."""
        for method in CHANGED.get(notification, ()):
            self._next.pop(method, None)

    def unseen(self, method: str) -> dict[str, str] | None:
        """The parameters of the request for the first page that was not seen; None if there is none.

        Also None, once, where the server answered the last such request with an error.
        """
        if method in self._failed:
            self._failed.discard(method)
            return None
        if method not in self._next:
            return {}
        found = self._next[method]
        return None if found is None else {"cursor": found}

    def look_for(self, method: str, name: str) -> Consult | Refuse:
        """What becomes of the use of something that no page so far has: the next page is asked for, if there is one."""
        page = self.unseen(method)
        if page is None:
            return Refuse(f"the server lists no {LISTS[method][0]} {quoted(name)}")
        return Consult(method, page)
