from __future__ import annotations

from typing import Any

from mcpbox.jsonrpc import Request, Response
from mcpbox.listing import MAX_PAGES, Pages

METHOD = "tools/list"


def page(cursor: Any = None, **result: Any) -> Response:
    value = {"jsonrpc": "2.0", "id": 1, "result": {"tools": [], **result}}
    return Response(1, value, Request(1, METHOD, None if cursor is None else {"cursor": cursor}, {}))


def test_pages_are_asked_for_one_after_the_other() -> None:
    pages = Pages()
    assert pages.unseen(METHOD) == {}
    pages.see(page(nextCursor="2"))
    assert pages.unseen(METHOD) == {"cursor": "2"}
    pages.see(page("5", nextCursor="6"))
    assert pages.unseen(METHOD) == {"cursor": "2"}
    pages.see(page("2"))
    assert pages.unseen(METHOD) is None


def test_a_list_that_has_changed_is_asked_for_anew() -> None:
    pages = Pages()
    pages.see(page())
    pages.forget("notifications/prompts/list_changed")
    assert pages.unseen(METHOD) is None
    pages.forget("notifications/tools/list_changed")
    assert pages.unseen(METHOD) == {}


def test_cursors_of_other_types_and_empty_ones_end_a_list() -> None:
    for odd in (None, "", 5, {"a": 1}, ["2"]):
        pages = Pages()
        pages.see(page(nextCursor=odd))
        assert pages.unseen(METHOD) is None


def test_a_list_without_end_ends() -> None:
    pages = Pages()
    pages.see(page(nextCursor="1"))
    for number in range(1, MAX_PAGES):
        assert pages.unseen(METHOD) is not None
        pages.see(page(str(number), nextCursor=str(number + 1)))
    assert pages.unseen(METHOD) is None
