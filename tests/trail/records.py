"""Records as sessions leave them, and worse ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mcpbox.trail.entries import Entry

LAUNCH = {
    "seq": 0,
    "time": "2026-11-21T13:22:03.123456Z",
    "event": "launch",
    "user": "ann",
    "uid": 1000,
    "host": "cursor",
    "pid": 4711,
    "command": ["npx"],
    "package": "npm:notes@1.2.3",
    "profile": "/home/ann/notes.toml",
    "prev": "0" * 64,
}


def at(second: int) -> str:
    return f"2026-11-21T13:{22 + second // 60:02}:{second % 60:02}.000000Z"


def call(seq: int, tool: Any, second: int = 10, **more: Any) -> dict[str, Any]:
    message = {"side": "client", "message": f"tools/call {tool}", "method": "tools/call", "target": tool, "id": seq}
    return {"seq": seq, "time": at(second), "event": "call", **message, "bytes": 120, **more}


def result(seq: int, tool: Any, id: int, second: int = 11, **more: Any) -> dict[str, Any]:
    message = {"side": "server", "message": "response to tools/call", "method": "tools/call", "target": tool, "id": id}
    return {
        "seq": seq,
        "time": at(second),
        "event": "result",
        **message,
        "bytes": 90,
        "micros": 1500,
        "error": False,
    } | more


def egress(seq: int, name: str, port: int, second: int = 12, decision: str = "allow", **more: Any) -> dict[str, Any]:
    found = {"decision": decision, "name": name, "port": port, "rule": name, "addresses": ["93.184.216.34"]}
    return {"seq": seq, "time": at(second), "event": "egress", **found, **more}


ORDINARY: tuple[dict[str, Any], ...] = (
    LAUNCH,
    {"seq": 1, "time": at(4), "event": "call", "side": "client", "message": "initialize", "method": "initialize"}
    | {"target": "", "id": 0, "bytes": 150},
    call(2, "read_note"),
    result(3, "read_note", 2),
    egress(4, "api.example.com", 443),
    egress(5, "evil.example", 443, decision="deny", reason="no rule names evil.example", remedy="evil.example:443"),
    egress(6, "down.example.com", 443, decision="failed", reason="timed out"),
    {"seq": 7, "time": at(20), "event": "refused", "side": "client", "message": "tools/call delete_note"}
    | {"policy": "ToolAllowlist", "reason": "the tool 'delete_note' is not allowed"},
    {"seq": 8, "time": at(21), "event": "changed", "side": "server", "message": "response to tools/list"}
    | {"policy": "ToolAllowlist", "reason": "tools hidden: delete_note"},
    {"seq": 9, "time": at(22), "event": "alert", "side": "server", "message": "response to tools/call"}
    | {"policy": "Injection", "reason": "speaks to the model", "kinds": ["imperative"], "weight": 7},
    {"seq": 10, "time": at(23), "event": "malformed", "side": "client", "reason": "not JSON"},
    {"seq": 11, "time": at(23), "event": "oversized", "side": "server", "bytes": 99_000_000, "kind": "response"},
    {"seq": 12, "time": at(24), "event": "unsolicited", "side": "server", "message": "response to nothing"},
    {"seq": 13, "time": at(25), "event": "egress", "decision": "reload", "allow": ["api.example.com"]},
    egress(14, "api.example.com", 443, second=26, count=12),
    result(15, "read_note", 2, error=True),
    {"seq": 16, "time": at(30), "event": "end", "code": 0},
)

#: What a stranger may have put where a name, a reason or an id goes, or a damaged file instead of a field.
NASTY = (
    "=HYPERLINK(\"http://evil.example\")",
    "+1+1", "-2", "@SUM(A1)", "\t=1", "\r=1", "＝1", " =1",  # noqa: RUF001
    "a|b\\c=d\ne\rf", "\\", "key=value other=1", "tail\\", "\x1b[2J\x1b]0;x\x07", "\u202egnp.exe", "\u200b",
    "é" * 5000, "\0", "\ud800", "", "'quoted", "a\u2028b", "  ", "\U000e0041",
)  # fmt: skip
WRONG: tuple[Any, ...] = (None, True, -1, 1 << 70, [], {}, ["x", {"y": None}], {"a": {"b": [1, None]}})


def entries(*records: dict[str, Any], server: str = "notes", session: str = "0123456789ab") -> list[Entry]:
    return [Entry(server, session, record, records[0]) for record in records]


def damaged() -> Iterator[Entry]:
    """Each field of each record in turn with each of the values that it should not have."""
    for record in ORDINARY:
        for key in record:
            for value in (*NASTY, *WRONG):
                yield Entry("notes", "0123456789ab", record | {key: value}, LAUNCH)
        yield Entry("notes", "0123456789ab", {}, {})
    for value in NASTY:
        yield Entry(value, value, ORDINARY[2], {"user": value, "host": value, "uid": value})
