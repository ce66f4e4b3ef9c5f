"""The audit as OpenTelemetry logs: OTLP 1.x in JSON, as the OTLP file exporter writes it. No I/O.

Each line is a ``LogsData`` message. A session is a trace, so that what belongs together can be found together.
Attributes are named after OpenTelemetry's semantic conventions for MCP where there is one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby, islice
from typing import Any

from mcpbox import __version__
from mcpbox.trail import lines
from mcpbox.trail.entries import Entry, decision, moment, tool_of
from mcpbox.trail.fields import number, text

#: Records on a line, which a receiver takes at once.
BATCH = 500
#: Of the data model of logs: SEVERITY_NUMBER_INFO, …_INFO3, …_WARN, …_WARN3.
SEVERITIES = {
    "": (9, "INFO"),
    "allow": (9, "INFO"),
    "changed": (11, "INFO3"),
    "alert": (13, "WARN"),
    "deny": (15, "WARN3"),
}
_TAKEN = frozenset({"event", "time", "session", "prev"})


def otlp_lines(entries: Iterable[Entry]) -> Iterator[str]:
    """A message on each line, of up to BATCH records, which it groups by session."""
    source = iter(entries)
    while batch := list(islice(source, BATCH)):
        resources = [_resource(list(group)) for _, group in groupby(batch, lambda entry: (entry.server, entry.session))]
        yield json.dumps({"resourceLogs": resources}, separators=(",", ":")) + "\n"


def _resource(entries: list[Entry]) -> dict[str, Any]:
    first = entries[0]
    about = {
        "service.name": "mcpbox",
        "service.version": __version__,
        "service.instance.id": first.session,
        "mcpbox.server": first.server,
        **{f"mcpbox.launch.{key}": value for key, value in first.launch.items() if key not in _TAKEN | {"seq"}},
    }
    scope = {"name": "mcpbox.audit", "version": __version__}
    return {
        "resource": {"attributes": _attributes(about)},
        "scopeLogs": [{"scope": scope, "logRecords": [_record(entry) for entry in entries]}],
    }


def _record(entry: Entry) -> dict[str, Any]:
    record, nanos = entry.record, _nanos(entry.time)
    severity, name = SEVERITIES[decision(record)]
    return {
        "timeUnixNano": nanos,
        "observedTimeUnixNano": nanos,
        "severityNumber": severity,
        "severityText": name,
        "eventName": _plain(f"mcpbox.{entry.event}"),
        "body": _value(lines.summary(record)),
        "attributes": _attributes(_about(record)),
        "traceId": hashlib.sha256(entry.session.encode(errors="replace")).hexdigest()[:32],
        "spanId": hashlib.sha256(f"{entry.session}/{_span(record)}".encode(errors="replace")).hexdigest()[:16],
    }


def _about(record: Mapping[str, Any]) -> dict[str, Any]:
    about = {f"mcpbox.{key}": value for key, value in record.items() if key not in _TAKEN}
    if method := text(record, "method"):
        about["mcp.method.name"] = method
        about["jsonrpc.request.id"] = _plain(record.get("id"))
        target = text(record, "target")
        kind = {"resources/read": "mcp.resource.uri", "prompts/get": "gen_ai.prompt.name"}.get(method)
        about |= {kind: target} if kind else {}
    if tool := tool_of(record):
        about["gen_ai.tool.name"] = tool
    if text(record, "event") == "egress":
        port = number(record, "port")
        about |= {"server.address": text(record, "name")} | ({} if port is None else {"server.port": port})
    return about


def _span(record: Mapping[str, Any]) -> str:
    """A request and its result are one span; any other record is one of its own."""
    if text(record, "event") in ("call", "result") and "id" in record:
        asked = text(record, "event") == "call"
        by_client = (text(record, "side") == "client") == asked
        return f"{'client' if by_client else 'server'}/{json.dumps(record['id'])}"
    return f"seq/{number(record, 'seq')}"


def _attributes(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": _plain(key), "value": _value(value)} for key, value in values.items() if value is not None]


def _value(value: Any) -> dict[str, Any]:
    """An AnyValue; 64-bit numbers are text in the JSON form of protobuf."""
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
        return {"intValue": str(value)}
    if isinstance(value, Mapping):
        return {"kvlistValue": {"values": _attributes(value)}}
    if isinstance(value, list | tuple):
        return {"arrayValue": {"values": [_value(each) for each in value if each is not None]}}
    return {"stringValue": _plain(value)}


def _plain(value: Any) -> str:
    # What is no Unicode text has no place in protobuf.
    return value.encode(errors="replace").decode() if isinstance(value, str) else json.dumps(value)


def _nanos(time: str) -> str:
    found = moment(time)
    return str(int(found.timestamp()) * 1_000_000_000 + found.microsecond * 1000)
