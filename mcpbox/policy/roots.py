"""The server is told only of those of the host's roots that it can see anyway. No I/O."""

from __future__ import annotations

from posixpath import normpath
from typing import Any

from mcpbox.jsonrpc import Message, Request, Response
from mcpbox.policy.base import Change, Refuse, Rules, Side, Verdict, field


class VisibleRoots:
    """Filters ``roots/list`` results, and roots among the ``inputResponses`` of protocol 2026-07-28.

    A server such as server-filesystem replaces its own directories by the host's roots, so a root outside the mounts
    would leave it with nothing; and a path the server cannot reach is none of its business.
    """

    passes = frozenset({Side.SERVER})

    def __init__(self, rules: Rules) -> None:
        self._mode = rules.roots
        self._visible = rules.visible

    def judge(self, side: Side, message: Message) -> Verdict:
        if side is Side.SERVER or self._mode == "allow":
            return None
        if isinstance(message, Response) and message.request and message.request.method == "roots/list":
            if "error" in message.value:
                return None
            result = self._filter(message.result)
            if isinstance(result, dict):
                return None if result == message.result else Change(message.value | {"result": result}, _REASON)
            return Refuse("the list of roots is not a list")
        if isinstance(message, Request) and isinstance(given := field(message.params, "inputResponses"), dict):
            kept = {key: self._filter(value) or value for key, value in given.items()}
            if kept != given:
                params = message.params | {"inputResponses": kept}
                return Change(message.value | {"params": params}, _REASON)
        return None

    def _filter(self, result: Any) -> dict[str, Any] | None:
        roots = field(result, "roots")
        if not isinstance(roots, list):
            return None
        kept = [root for root in roots if self._mode == "intersect" and self._is_visible(field(root, "uri"))]
        return {**result, "roots": kept}

    def _is_visible(self, uri: Any) -> bool:
        if not isinstance(uri, str):
            return False
        from urllib.parse import unquote, urlsplit

        parts = urlsplit(uri)
        if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
            return False
        path = normpath(unquote(parts.path))
        return any(path == seen or path.startswith(seen.rstrip("/") + "/") for seen in self._visible)


_REASON = "roots outside the mounted paths removed"
