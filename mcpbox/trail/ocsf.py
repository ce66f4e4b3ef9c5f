"""The audit in the Open Cybersecurity Schema Framework, version 1.6.0 (schema.ocsf.io). No I/O.

What goes over the wire is API Activity (6003), a connection Network Activity (4001), what a policy remarked or refused
Detection Finding (2004), a session's beginning and end, and all else, Application Lifecycle (6002).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mcpbox import __version__
from mcpbox.trail import lines
from mcpbox.trail.entries import Entry, decision, moment
from mcpbox.trail.fields import number, text

VERSION = "1.6.0"
API, NETWORK, FINDING, LIFECYCLE = 6003, 4001, 2004, 6002
OTHER = 99
INFORMATIONAL, LOW, MEDIUM = 1, 2, 3
#: Our decisions as severity, action_id and disposition_id of the profile "security_control".
DECISIONS = {
    "": (INFORMATIONAL, None, None),
    "allow": (INFORMATIONAL, 1, 1),
    "changed": (LOW, 4, 11),
    "alert": (MEDIUM, 3, 19),
    "deny": (MEDIUM, 2, 2),
}
_CLASSES = {"call": API, "result": API, "egress": NETWORK, "changed": FINDING, "alert": FINDING, "refused": FINDING}
_CLASSES |= {"malformed": FINDING, "oversized": FINDING, "unsolicited": FINDING}
_ACTIVITIES: dict[str, tuple[int, str]] = {"launch": (3, "Start"), "end": (4, "Stop")}
_CONNECTIONS = {"allow": (1, "Open"), "failed": (4, "Fail"), "deny": (5, "Refuse")}
_READS = ("resources/read", "prompts/get", "completion/complete")
#: The bounds of the type integer_t.
_INTEGER = 1 << 31
#: Where fields of ours are said in OCSF's own words.
_MAPPED = frozenset("seq time session event prev side message method target id bytes micros error reason".split())


def ocsf_lines(entries: Iterable[Entry]) -> Iterator[str]:
    """One event on each line."""
    for entry in entries:
        yield json.dumps(event(entry), separators=(",", ":")) + "\n"


def event(entry: Entry) -> dict[str, Any]:
    """One event, with what the schema has no word for in ``unmapped``."""
    record, kind = entry.record, _CLASSES.get(entry.event, LIFECYCLE)
    activity, activity_name = _activity(entry, kind)
    severity, action, disposition = DECISIONS[decision(record)]
    found = {
        "class_uid": kind,
        "category_uid": kind // 1000,
        "activity_id": activity,
        "activity_name": activity_name,
        "type_uid": kind * 100 + activity,
        "severity_id": severity,
        "time": int(moment(entry.time).timestamp() * 1000),
        "message": lines.summary(record),
        "metadata": _metadata(entry, profiles=["security_control"] if action else []),
        **({"action_id": action, "disposition_id": disposition} if action else {}),
        **{API: _api, NETWORK: _network, FINDING: _finding, LIFECYCLE: _lifecycle}[kind](entry),
        "unmapped": {key: value for key, value in record.items() if key not in _MAPPED and value is not None}
        | {"server": entry.server},
    }
    if (count := number(record, "count")) is not None and count < _INTEGER:
        found["count"] = count
    return found


def _activity(entry: Entry, kind: int) -> tuple[int, str]:
    record = entry.record
    if kind == NETWORK:
        return _CONNECTIONS.get(text(record, "decision"), (OTHER, text(record, "decision") or "other"))
    if kind == FINDING:
        return 1, "Create"
    if kind == LIFECYCLE:
        return _ACTIVITIES.get(entry.event, (OTHER, entry.event or "other"))
    method = text(record, "method")
    return (2, "Read") if method in _READS or method.endswith("/list") else (OTHER, entry.event)


def _metadata(entry: Entry, profiles: list[str]) -> dict[str, Any]:
    seq = number(entry.record, "seq")
    return {
        "version": VERSION,
        "product": {"name": "mcpbox", "vendor_name": "mcpbox", "version": __version__},
        "log_name": "audit",
        "log_provider": "mcpbox",
        "uid": f"{entry.session}:{0 if seq is None else seq}",
        "correlation_uid": entry.session,
        "event_code": entry.event or "unknown",
        "original_time": entry.time,
        **({"profiles": profiles} if profiles else {}),
        **({"sequence": seq} if seq is not None and 0 <= seq < _INTEGER else {}),
    }


def _api(entry: Entry) -> dict[str, Any]:
    record, launch = entry.record, entry.launch
    asked = entry.event == "call"
    # The sender of a request is the side that sends it, or that its result goes to.
    by_client = (text(record, "side") != "server") == asked
    host, server = text(launch, "host") or "host", entry.server
    source, target = (host, server) if by_client else (server, host)
    actor: dict[str, Any] = {"app_name": source, "session": {"uid": entry.session}}
    if user := text(launch, "user"):
        uid = number(launch, "uid")
        actor["user"] = {"name": user, **({} if uid is None else {"uid": str(uid)})}
    api: dict[str, Any] = {
        "operation": text(record, "method") or text(record, "message") or "unknown",
        "service": {"name": target},
        "request": {"uid": json.dumps(record.get("id"))},
    }
    found: dict[str, Any] = {"actor": actor, "api": api, "src_endpoint": {"name": source}}
    found["dst_endpoint"] = {"name": target}
    if name := text(record, "target"):
        found["resources"] = [{"name": name, "type": (text(record, "method") or "unknown").partition("/")[0]}]
    if not asked:
        failed = record.get("error") is True
        found |= {"status_id": 2 if failed else 1, "status": "Failure" if failed else "Success"}
        api["response"] = {"flags": ["error"] if failed else []}
        if (micros := number(record, "micros")) is not None:
            found["duration"] = micros // 1000
    if (size := number(record, "bytes")) is not None:
        (api["response"] if not asked else api["request"])["data"] = {"bytes": size}
    return found


def _network(entry: Entry) -> dict[str, Any]:
    record = entry.record
    port, name = number(record, "port"), text(record, "name") or "unknown"
    where = {"name": name} | ({"port": port} if port is not None and 0 <= port < 1 << 16 else {})
    status = {"allow": (1, "Success")}.get(text(record, "decision"), (2, "Failure"))
    return {
        "src_endpoint": {"svc_name": entry.server, "uid": entry.session},
        "dst_endpoint": where,
        "status_id": status[0],
        "status": status[1],
        **_said("status_detail", text(record, "reason")),
    }


def _finding(entry: Entry) -> dict[str, Any]:
    record = entry.record
    seq, policy = number(record, "seq") or 0, text(record, "policy")
    title = text(record, "reason") or lines.summary(record)
    info: dict[str, Any] = {"uid": f"{entry.session}:{seq}", "title": title, "types": [entry.event]}
    if policy:
        info["analytic"] = {"type_id": 1, "type": "Rule", "name": policy}
    evidence = {"server": entry.server, "message": text(record, "message"), "side": text(record, "side")}
    return {
        "finding_info": info,
        "is_alert": True,
        "status_id": 1,
        "evidences": [{"data": evidence}],
        **_said("status_detail", text(record, "reason")),
    }


def _lifecycle(entry: Entry) -> dict[str, Any]:
    code: Mapping[str, Any] = {"app": {"name": entry.server, "uid": entry.session}}
    exit_code = number(entry.record, "code")
    return {**code, **({} if exit_code is None else {"status_code": str(exit_code)})}


def _said(key: str, value: str) -> dict[str, str]:
    return {key: value} if value else {}
