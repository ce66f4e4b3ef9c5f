"""A record as one line for people. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mcpbox.trail.entries import Entry, decision, visible
from mcpbox.trail.fields import number, text

#: What is left out of the summary: it stands before it, or is for programs.
_QUIET = frozenset({"seq", "time", "session", "event", "prev", "digest", "method", "target", "id"})
COLOURS = {"allow": "green", "deny": "red", "changed": "yellow", "alert": "yellow"}


def line(entry: Entry) -> tuple[str, str, str]:
    """What comes before the event's name, the name, and what comes after; nothing in it that a terminal obeys."""
    when = visible(entry.time[:23].replace("T", " "), 23)
    lead = f"{when:<23}  {visible(entry.server, 24):<16} {visible(entry.session, 12):<12}"
    return lead, f"{visible(entry.event, 16):<10}", summary(entry.record)


def colour(entry: Entry) -> str:
    """The colour that the event's name has, "" for none."""
    return COLOURS.get(decision(entry.record), "")


def summary(record: Mapping[str, Any]) -> str:
    """What happened, in one line; whatever the record has is in it but for what only programs want, or is empty."""
    event, parts = text(record, "event"), []
    shown = {"side", "message"}
    if event == "launch" and isinstance(command := record.get("command"), list):
        parts.append(" ".join(_short(word) for word in command))
        shown.add("command")
    if event == "egress":
        port = number(record, "port")
        parts.append(text(record, "decision"))
        parts.append(text(record, "name") + (f":{port}" if port is not None else ""))
        shown |= {"port", "name", "decision"}
    else:
        parts += [{"client": "→", "server": "←"}.get(text(record, "side"), ""), text(record, "message")]
        if (target := text(record, "target")) and not text(record, "message").endswith(target):
            parts.append(target)
    for key, unit in (("bytes", "B"), ("micros", "µs")):
        if (amount := number(record, key)) is not None:
            parts.append(f"{amount // 1000} ms" if key == "micros" and amount >= 10_000 else f"{amount} {unit}")
            shown.add(key)
    if event == "result" and isinstance(record.get("error"), bool):
        parts.append("failed" if record["error"] else "")
        shown.add("error")
    left = ((key, value) for key, value in record.items() if key not in shown and key not in _QUIET)
    rest = [f"{key}={_short(value)}" for key, value in left if value not in ("", None, [], {})]
    return visible(" ".join(filter(None, (*parts, *rest))), 2000)


def _short(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False) if " " in value or not value else value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
