"""Every form of export is read by somebody else's parser or held against somebody else's schema."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

import jsonschema
import pytest
from cefevent import CEFEvent
from cefevent.extensions import extension_dictionary
from google.protobuf import json_format
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema
from opentelemetry.proto.logs.v1 import logs_pb2
from trail.records import LAUNCH, NASTY, ORDINARY, call, damaged, entries

from mcpbox import __version__
from mcpbox.trail import cef, ocsf, otlp, plainforms
from mcpbox.trail.entries import Entry, decision

# A key of the format since its revision 16 that this dictionary has not.
extension_dictionary["outcome"] = {"full_name": "eventOutcome", "data_type": ["String"], "length": 63}

Form = Callable[[Iterable[Entry]], Iterator[str]]
FORMS: tuple[Form, ...] = (
    plainforms.json_array,
    plainforms.json_lines,
    plainforms.csv_lines,
    ocsf.ocsf_lines,
    cef.cef_lines,
    otlp.otlp_lines,
)


def written(form: Form, source: Iterable[Entry]) -> str:
    """As a file has it."""
    return "".join(form(source)).encode(errors="replace").decode()


def test_json_is_one_value_or_one_on_each_line() -> None:
    source = entries(*ORDINARY)
    array = json.loads(written(plainforms.json_array, source))
    assert array == [json.loads(line) for line in written(plainforms.json_lines, source).splitlines()]
    assert len(array) == len(ORDINARY) and array[2]["target"] == "read_note" and array[2]["server"] == "notes"
    assert array[0]["package"] == "npm:notes@1.2.3"
    assert json.loads(written(plainforms.json_array, [])) == []


def test_csv_has_a_column_for_each_field_and_computes_nothing() -> None:
    rows = list(csv.DictReader(io.StringIO(written(plainforms.csv_lines, entries(*ORDINARY)), newline="")))
    assert len(rows) == len(ORDINARY)
    assert rows[2]["target"] == "read_note" and rows[2]["bytes"] == "120" and rows[3]["error"] == "false"
    assert json.loads(rows[4]["more"])["addresses"] == ["93.184.216.34"]
    for text in NASTY:
        found = written(plainforms.csv_lines, entries(LAUNCH, call(1, text)))
        assert "\0" not in found and "\x1b" not in found
        row = list(csv.DictReader(io.StringIO(found, newline="")))[1]
        for cell in row.values():
            assert not cell.lstrip().startswith(("=", "+", "@", "＝", "-")), cell  # noqa: RUF001
        if text.isprintable() and 0 < len(text) < 500:
            assert row["target"].removeprefix("'") == text or row["target"] == f"'{text}"


@pytest.mark.parametrize("text", ["a;=1+1;b", "a; \t@SUM(A1)", 'a";-2', "a;;＝1", "a;b; c"])  # noqa: RUF001
def test_csv_computes_nothing_where_a_semicolon_ends_a_cell(text: str) -> None:
    source = entries(LAUNCH, call(1, text) | {"names": [text], "kinds": {text: 1}})
    found = written(plainforms.csv_lines, source)
    for cells in csv.reader(io.StringIO(found, newline=""), delimiter=";", quoting=csv.QUOTE_NONE):
        assert not any(cell.lstrip().startswith(("=", "+", "@", "＝", "-")) for cell in cells), cells  # noqa: RUF001
    (_, row) = csv.DictReader(io.StringIO(found, newline=""))
    assert json.loads(row["more"])["names"] == [text]
    assert text != "a;b; c" or row["target"] == text


@cache
def _validator(name: str, profiled: bool) -> jsonschema.Draft202012Validator:
    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema(ocsf.VERSION))
    found = schema.get_class_schema(name, ["security_control"] if profiled else [])
    return jsonschema.Draft202012Validator(found)


@cache
def _names() -> dict[int, str]:
    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema(ocsf.VERSION))
    return {uid: schema.lookup_class_name_from_uid(uid) for uid in (6003, 4001, 2004, 6002)}


def faults(event: dict[str, Any]) -> list[str]:
    """What the schema of the event's class has against it."""
    validator = _validator(_names()[event["class_uid"]], bool(event["metadata"].get("profiles")))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(event)]


def test_ocsf_holds_against_the_schema() -> None:
    events = [json.loads(line) for line in written(ocsf.ocsf_lines, entries(*ORDINARY)).splitlines()]
    assert [fault for event in events for fault in faults(event)] == []
    kinds = {event["metadata"]["event_code"]: event["type_uid"] for event in events}
    assert kinds["call"] == 600399 and kinds["refused"] == 200401 and kinds["launch"] == 600203
    assert [event["type_uid"] for event in events[4:7]] == [400101, 400105, 400104]
    refused = next(event for event in events if event["metadata"]["event_code"] == "refused")
    assert (refused["action_id"], refused["disposition_id"]) == (2, 2)
    assert refused["finding_info"]["analytic"]["name"] == "ToolAllowlist"
    asked, failed = events[2], events[15]
    assert asked["api"]["operation"] == "tools/call" and asked["resources"] == [{"name": "read_note", "type": "tools"}]
    assert asked["actor"]["user"] == {"name": "ann", "uid": "1000"} and asked["src_endpoint"] == {"name": "cursor"}
    assert failed["status"] == "Failure" and failed["src_endpoint"] == {"name": "cursor"}


def test_the_schema_would_find_a_fault() -> None:
    event = ocsf.event(entries(*ORDINARY)[2])
    assert faults(event | {"severity_id": 42}) and faults({k: v for k, v in event.items() if k != "actor"})


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_damaged_records_are_exported_too(form: Form) -> None:
    """None is lost, and each line stays a line, whatever a stranger has put into a field."""
    source = list(damaged())
    found = written(form, source)
    if form in (plainforms.json_lines, ocsf.ocsf_lines, cef.cef_lines):
        assert len(found.removesuffix("\n").split("\n")) == len(source)
    if form is plainforms.csv_lines:
        assert len(list(csv.reader(io.StringIO(found, newline="")))) == len(source) + 1
    if form is plainforms.json_array:
        assert len(json.loads(found)) == len(source)
    if form is ocsf.ocsf_lines:
        assert {fault for line in found.split("\n") if line for fault in faults(json.loads(line))} == set()
    if form is otlp.otlp_lines:
        assert sum(len(list(parsed(line))) for line in found.splitlines()) == len(source)


def independent(entry: Entry) -> str:
    """The event as another implementation writes it; it raises for a key or a length that the format has not."""
    event = CEFEvent(strict=True)
    for key, value in {
        "deviceVendor": "mcpbox",
        "deviceProduct": "mcpbox",
        "deviceVersion": __version__,
        "signatureId": entry.event,
        "name": cef.NAMES.get(entry.event, entry.event),
        "severity": cef.SEVERITIES.get(decision(entry.record), 2),
    }.items():
        event.set_field(key, value)
    for key, value in cef.extension(entry).items():
        assert event.set_field(key, value) is not False, (key, value)
    return str(event.build_cef())


def test_cef_is_what_another_implementation_writes() -> None:
    for entry in entries(*ORDINARY):
        assert cef.event(entry) == independent(entry)
    for text in NASTY:
        entry = Entry("notes", "0123456789ab", ORDINARY[7] | {"reason": text.replace("\r", "")}, LAUNCH)
        assert cef.event(entry) == independent(entry)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", "reason=a|b"),
        ("a=b", r"reason=a\=b"),
        ("a\\b", r"reason=a\\b"),
        ("a\nb\rc", r"reason=a\nb\rc"),
        ("a\\nb", r"reason=a\\nb"),
    ],
)
def test_cef_escapes_what_the_format_says(text: str, expected: str) -> None:
    event = cef.event(Entry("notes", "0123456789ab", ORDINARY[7] | {"reason": text}, LAUNCH))
    assert f"{expected} msg=" in event


def test_cef_escapes_its_header() -> None:
    entry = Entry("notes", "0123456789ab", ORDINARY[7] | {"event": "a|b\\c\nd=e"}, LAUNCH)
    assert cef.event(entry).startswith(rf"CEF:0|mcpbox|mcpbox|{__version__}|a\|b\\c d=e|a\|b\\c d=e|2|rt=")


def parsed(line: str) -> Iterator[logs_pb2.LogRecord]:
    """The records of a line, read by protobuf; it takes bytes in base64 where OTLP has ids in hex."""
    value = json.loads(line)
    for resource in value["resourceLogs"]:
        for scope in resource["scopeLogs"]:
            for record in scope["logRecords"]:
                for key in ("traceId", "spanId"):
                    record[key] = base64.b64encode(bytes.fromhex(record[key])).decode()
    message = json_format.ParseDict(value, logs_pb2.LogsData())
    for found in message.resource_logs:
        assert {each.key for each in found.resource.attributes} >= {"service.name", "mcpbox.server"}
        for scope_logs in found.scope_logs:
            yield from scope_logs.log_records


def test_otlp_is_read_by_protobuf() -> None:
    (line,) = written(otlp.otlp_lines, entries(*ORDINARY)).splitlines()
    found = list(parsed(line))
    assert [record.event_name for record in found] == [f"mcpbox.{record['event']}" for record in ORDINARY]
    assert {len(record.trace_id) for record in found} == {16} and {len(record.span_id) for record in found} == {8}
    assert len({record.trace_id for record in found}) == 1
    asked, answered, denied = found[2], found[3], found[5]
    assert asked.span_id == answered.span_id != denied.span_id
    attributes = {each.key: each.value for each in asked.attributes}
    assert attributes["gen_ai.tool.name"].string_value == "read_note"
    assert attributes["mcpbox.bytes"].int_value == 120
    assert asked.time_unix_nano == 1795267330 * 10**9 + 0
    assert (asked.severity_text, denied.severity_text) == ("INFO", "WARN3")
    assert denied.severity_number == logs_pb2.SeverityNumber.SEVERITY_NUMBER_WARN3
    alert = {each.key: each.value for each in found[9].attributes}
    assert [each.string_value for each in alert["mcpbox.kinds"].array_value.values] == ["imperative"]


def test_otlp_is_written_in_batches_by_session() -> None:
    source = [Entry("s", session, ORDINARY[2], LAUNCH) for session in ("a", "b") for _ in range(otlp.BATCH)]
    lines = written(otlp.otlp_lines, source).splitlines()
    assert len(lines) == 2 and all(len(list(parsed(line))) == otlp.BATCH for line in lines)
