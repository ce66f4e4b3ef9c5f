"""The audit as JSON and as CSV. No I/O."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from mcpbox.trail.entries import Entry, visible

#: The columns of the CSV; what else a record has is JSON in the last.
COLUMNS = (
    *("time", "server", "session", "seq", "event", "decision", "side", "message", "method", "target", "policy"),
    *("reason", "name", "port", "bytes", "micros", "error", "digest", "more"),
)
#: A cell that begins with one of these is computed by spreadsheets (CWE-1236), also in the wide forms of East Asia;
#: the apostrophe is what marks a cell as text, so one that is there gets another before it.
_ACTIVE = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "'")  # noqa: RUF001  # these very letters
#: Where a comma is the decimal point, spreadsheets take a semicolon for what ends a cell, quoted or not.
_ACTIVE_AFTER = re.compile(rf"(;\s*)(?=[{re.escape(''.join(_ACTIVE[:-1]))}])")
MOST = 32_000  # characters of a cell; spreadsheets take 32,767


def json_array(entries: Iterable[Entry]) -> Iterator[str]:
    """One JSON array, a record on each line."""
    before = "[\n"
    for entry in entries:
        yield before + _json(whole(entry))
        before = ",\n"
    yield "\n]\n" if before == ",\n" else "[]\n"


def json_lines(entries: Iterable[Entry]) -> Iterator[str]:
    """A record on each line."""
    for entry in entries:
        yield _json(whole(entry)) + "\n"


def csv_lines(entries: Iterable[Entry]) -> Iterator[str]:
    """RFC 4180 with a line of column names; control characters are written as escapes."""
    yield _row(COLUMNS)
    for entry in entries:
        record = whole(entry)
        cells = [record.pop(column, "") for column in COLUMNS[:-1]]
        record.pop("prev", None)
        yield _row([*map(_cell, cells), _cell(record) if record else ""])


def whole(entry: Entry) -> dict[str, Any]:
    """The record with the server and session that it is of; another server that it speaks of is "other_server"."""
    record = dict(entry.record)
    if "server" in record:
        record["other_server"] = record["server"]
    return {**record, "server": entry.server, "session": entry.session}


def _cell(value: Any) -> str:
    if not isinstance(value, str):
        # A number is one, and no formula, though it begins with a minus.
        return visible(_json(value).replace(";", "\\u003b"), MOST)
    text = _ACTIVE_AFTER.sub(r"\1'", visible(value, MOST))
    return f"'{text}" if text.lstrip().startswith(_ACTIVE) else text


def _row(cells: Iterable[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(cells)
    return out.getvalue()


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
