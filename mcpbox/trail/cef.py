"""The audit in ArcSight's Common Event Format, version 0 ("Implementing ArcSight CEF", revision 25). No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mcpbox import __version__
from mcpbox.trail import lines
from mcpbox.trail.entries import Entry, decision, moment, tool_of, visible
from mcpbox.trail.fields import number, text

#: 0 to 10; 7 and more is "high".
SEVERITIES = {"deny": 6, "alert": 5, "changed": 4}
NAMES = {
    "call": "MCP request",
    "result": "MCP result",
    "launch": "MCP server started",
    "end": "MCP server ended",
    "egress": "Connection",
    "refused": "MCP message refused",
    "changed": "MCP message changed",
    "alert": "MCP alert",
    "malformed": "Malformed line dropped",
    "oversized": "Oversized message dropped",
    "unsolicited": "Unsolicited response dropped",
}
_ENDS = re.compile("([\r\n])")
#: The extension keys used, with the most characters that the format's dictionary gives each; 0 for numbers.
KEYS = {
    "rt": 0,
    "act": 63,
    "outcome": 63,
    "reason": 1023,
    "msg": 1023,
    "cat": 1023,
    "externalId": 40,
    "deviceProcessName": 1023,
    "duser": 1023,
    "suser": 1023,
    "dvchost": 100,
    "dhost": 1023,
    "dpt": 0,
    "in": 0,
    "cnt": 0,
    "cn1": 0,
    "cn1Label": 1023,
    "cs1": 4000,
    "cs1Label": 1023,
    "cs2": 4000,
    "cs2Label": 1023,
    "cs3": 4000,
    "cs3Label": 1023,
    "cs4": 4000,
    "cs4Label": 1023,
    "cs5": 4000,
    "cs5Label": 1023,
    "cs6": 4000,
    "cs6Label": 1023,
}


def cef_lines(entries: Iterable[Entry]) -> Iterator[str]:
    """One event on each line."""
    for entry in entries:
        yield event(entry) + "\n"


def event(entry: Entry) -> str:
    """One event, without a line's end."""
    name = NAMES.get(entry.event, entry.event or "unknown")
    severity = SEVERITIES.get(decision(entry.record), 2)
    header = ("mcpbox", "mcpbox", __version__, entry.event or "unknown", name, str(severity))
    fields = " ".join(f"{key}={_value(value)}" for key, value in extension(entry).items())
    return f"CEF:0|{'|'.join(map(_header, header))}|{fields}"


def extension(entry: Entry) -> dict[str, str | int]:
    """The extension, unescaped, each value within the bounds of KEYS."""
    record = entry.record
    custom = (
        ("server", entry.server),
        ("session", entry.session),
        ("tool", tool_of(record)),
        ("policy", text(record, "policy")),
        ("message", text(record, "message")),
        ("digest", text(record, "digest")),
    )
    found: dict[str, str | int | None] = {
        "rt": int(moment(entry.time).timestamp() * 1000),
        "act": decision(record),
        "outcome": _outcome(record),
        "reason": text(record, "reason"),
        "msg": lines.summary(record),
        "externalId": f"{entry.session[:24]}:{number(record, 'seq') or 0}",
        "suser": text(entry.launch, "user"),
        "dvchost": text(entry.launch, "host_name"),
        "dhost": text(record, "name") if entry.event == "egress" else "",
        "dpt": number(record, "port"),
        "in": number(record, "bytes"),
        "cnt": number(record, "count"),
    }
    for index, (label, value) in enumerate(custom, 1):
        if value:
            found |= {f"cs{index}": value, f"cs{index}Label": label}
    if (micros := number(record, "micros")) is not None:
        found |= {"cn1": micros, "cn1Label": "microseconds"}
    if entry.event == "launch":
        found["cs6"] = json.dumps(record, ensure_ascii=False, sort_keys=True)
        found["cs6Label"] = "launch"
    return {
        # Blanks at the end would be taken for those between two fields.
        key: value if isinstance(value, int) else _plain(value, KEYS[key])
        for key, value in found.items()
        if value not in ("", None) and isinstance(value, str | int)
    }


def _plain(value: str, most: int) -> str:
    """Up to ``most`` characters; ends of lines have escapes of their own, and what else is not to be seen gets some."""
    parts = (visible(part, most) if part not in ("\r", "\n") else part for part in _ENDS.split(value[:most]))
    return "".join(parts)[:most].strip()


def _outcome(record: Mapping[str, Any]) -> str:
    if text(record, "event") == "result":
        return "failure" if record.get("error") is True else "success"
    return "failure" if text(record, "decision") == "failed" else ""


def _header(value: str) -> str:
    return " ".join(value.split()).replace("\\", "\\\\").replace("|", "\\|")


def _value(value: str | int) -> str:
    escaped = str(value).replace("\\", "\\\\").replace("=", "\\=")
    return escaped.replace("\r", "\\r").replace("\n", "\\n")
