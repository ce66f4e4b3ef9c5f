from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpbox.audit import chain
from mcpbox.trail.learning import Learner
from mcpbox.trail.shapes import ANY, MAX_MEMBERS, MAX_PLACES, Shape, merge, shape

DIRECTORIES = ("/", "/home", "/home/ann", "/home/ann/projects", "/home/ann/projects/a", "/tmp")


def existing(path: str) -> str:
    full = path.replace("~", "/home/ann", 1) if path.startswith("~") else path
    while full not in DIRECTORIES:
        full = full.rpartition("/")[0] or "/"
    return full


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, {"kinds": ["null"]}),
        (True, {"kinds": ["boolean"]}),
        (5, {"kinds": ["integer"], "low": 0, "high": 7}),
        (-100, {"kinds": ["integer"], "low": -127, "high": 0}),
        (10**40, {"kinds": ["integer"], "low": 0, "high": 2**53 - 1}),
        (1.5, {"kinds": ["number"]}),
        ("hello you", {"kinds": ["string"], "formats": ["text"], "longest": 15}),
        ("main", {"kinds": ["string"], "formats": ["word"], "longest": 7}),
        ("4111111111111111", {"kinds": ["string"], "formats": ["number"], "longest": 31}),
        ("2026-11-21", {"kinds": ["string"], "formats": ["date"], "longest": 15}),
        ("ann@example.com", {"kinds": ["string"], "formats": ["email"], "longest": 15}),
        ("6f1ed002-ab5b-4a2e-9f0d-0a6b6a8f3c11", {"kinds": ["string"], "formats": ["uuid"], "longest": 63}),
        (
            "/home/ann/projects/a/secret-plan.txt",
            {"kinds": ["string"], "formats": ["path"], "places": ["/home/ann/projects/a"], "longest": 63},
        ),
        ("~/projects/b", {"kinds": ["string"], "formats": ["path"], "places": ["/home/ann/projects"], "longest": 15}),
        (
            "file:///home/ann/projects/a%20b",
            {"kinds": ["string"], "formats": ["path"], "places": ["/home/ann/projects"], "longest": 31},
        ),
        (
            "https://ann:pw@api.example.com:8443/v1/secret?key=1",
            {"kinds": ["string"], "formats": ["url"], "places": ["https://api.example.com:8443"], "longest": 63},
        ),
        ("https://[bad/", {"kinds": ["string"], "formats": ["url"], "longest": 15}),
        (
            "postgres://u:p@db.lan/x",
            {"kinds": ["string"], "formats": ["url"], "places": ["postgres://db.lan"], "longest": 31},
        ),
    ],
)  # fmt: skip
def test_a_shape_says_what_kind_a_value_is_and_not_which(value: Any, expected: dict[str, Any]) -> None:
    assert shape(value, existing).record() == {".": expected}


def test_members_and_items_have_their_places() -> None:
    value = {"files": [{"path": "/home/ann/projects/a/x"}, {"path": "/tmp/y"}], "depth": 2}
    found = shape(value, existing).record()
    assert list(found) == [".", "depth", "files", "files[]", "files[]/path"]
    assert found["files[]/path"]["places"] == ["/home/ann/projects/a", "/tmp"]


SECRETS = ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "hunter2", "4111 1111 1111 1111", "ann@example.com", "xK9" * 30)


@pytest.mark.parametrize("secret", SECRETS)
def test_no_secret_is_in_a_shape_wherever_it_stands(secret: str) -> None:
    values = [secret, {"x": secret}, [secret], f"/home/ann/{secret}/x", f"https://e.com/{secret}?k={secret}"]
    values += [f"https://{secret}@e.com/", f"file:///{secret}", {"headers": {"a": {"b": {"c": {"d": {"e": secret}}}}}}]
    for value in values:
        assert secret not in json.dumps(shape(value, existing).record())
    if secret != "hunter2":
        assert secret not in json.dumps(shape({secret: 1}, existing).record())


def test_choices_are_those_that_the_schema_names() -> None:
    choices = {"mode": frozenset(["fast", "slow"])}
    assert shape({"mode": "fast", "other": "fast"}, existing, choices).record()["mode"]["choices"] == ["fast"]
    assert "choices" not in shape({"mode": "mine"}, existing, choices).record()["mode"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["/tmp/x", "https://a.b/c"]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=30,
)


@given(JSON, JSON)
def test_merging_is_the_same_both_ways_and_adds_nothing_twice(one: Any, other: Any) -> None:
    first, second = shape(one, existing), shape(other, existing)
    assert merge(first, second) == merge(second, first)
    assert merge(first, first) == first
    both = merge(first, second)
    assert merge(both, second) == both


@given(JSON)
def test_any_shape_can_be_put_on_record_as_it_is(value: Any) -> None:
    event = {"event": "learned", "what": "arguments", "arguments": shape(value, existing).record()}
    assert chain.plain(event) == event


def test_what_a_model_thinks_of_does_not_grow_without_bounds() -> None:
    wide = {f"key{number}": f"https://h{number}.example.com/{number}" for number in range(10_000)}
    deep: Any = "x"
    for _ in range(5000):
        deep = [deep]
    found = Shape()
    for number in range(60):
        found = merge(
            found, shape({**wide, "deep": deep, f"other{number}": [f"https://n{number}.x.org/"] * 9999}, existing)
        )
    assert len(found.members) <= MAX_MEMBERS + 1 and len(found.members[ANY].places) <= MAX_PLACES
    event = {"event": "learned", "arguments": found.record()}
    assert chain.plain(event) == event


def events(learner: Learner, tool: str, arguments: Any, *, id: Any = 1, error: bool = False) -> list[dict[str, Any]]:
    call = {"event": "call", "side": "client", "method": "tools/call", "target": tool, "id": id}
    assert list(learner.seen(call, {"name": tool, "arguments": arguments})) == []
    return list(learner.seen({**call, "event": "result", "side": "server", "error": error}, {"content": []}))


def test_only_what_is_new_is_told_and_failed_calls_apart() -> None:
    learner = Learner(existing)
    (first,) = events(learner, "read", {"path": "/tmp/x"})
    assert first["tool"] == "read" and first["failed"] is False and first["read_only"] is False
    assert first["arguments"]["path"]["places"] == ["/tmp"]
    assert events(learner, "read", {"path": "/tmp/y"}) == []
    (failed,) = events(learner, "read", {"path": "/home/ann/x"}, error=True)
    assert failed["failed"] is True and failed["arguments"]["path"]["places"] == ["/home/ann"]
    (wider,) = events(learner, "read", {"path": "/home/ann/x"})
    assert wider["arguments"]["path"]["places"] == ["/home/ann", "/tmp"]


def test_hints_come_from_the_list_of_tools() -> None:
    learner = Learner(existing)
    schema = {"properties": {"mode": {"enum": ["fast", 1, None]}}}
    tools = [{"name": "read", "annotations": {"readOnlyHint": True}, "inputSchema": schema}, 5, {"name": 7}]
    assert list(learner.seen({"event": "result", "method": "tools/list"}, {"tools": tools})) == []
    (told,) = events(learner, "read", {"mode": "fast"})
    assert told["read_only"] is True and told["arguments"]["mode"]["choices"] == ["fast"]


def test_roots_are_told_as_directories() -> None:
    content = {"roots": [{"uri": "file:///home/ann/projects/a/deep"}, {"uri": 5}, "x"]}
    (told,) = Learner(existing).seen({"event": "result", "method": "roots/list"}, content)
    assert told == {"event": "learned", "what": "roots", "places": ["/home/ann/projects/a"], "count": 2}


@given(JSON, JSON, JSON)
def test_nothing_that_is_sent_makes_learning_fail(arguments: Any, content: Any, id: Any) -> None:
    learner = Learner(existing)
    for method in ("tools/list", "roots/list", "tools/call"):
        list(learner.seen({"event": "result", "method": method, "id": id}, content))
        list(learner.seen({"event": "result", "method": method, "id": id}, {"tools": content, "roots": content}))
    list(learner.seen({"event": "call", "method": "tools/call", "target": "x", "id": id}, content))
    events(learner, "x", arguments, id=id)


def test_calls_without_results_are_forgotten() -> None:
    learner = Learner(existing)
    for number in range(5000):
        call = {"event": "call", "side": "client", "method": "tools/call", "target": f"t{number}", "id": number}
        list(learner.seen(call, {"arguments": {}}))
    assert list(learner.seen({"event": "result", "method": "tools/call", "id": 1}, {})) == []
    assert list(learner.seen({"event": "result", "method": "tools/call", "id": 4999}, {})) != []
