"""What is put on record of egress: bounded, and no host is connected to before it is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcpbox.egress.ledger import MAX_DENIALS, MAX_SINGLE, Ledger


def test_the_first_connection_to_a_host_is_on_record_at_once_however_many_were_made_before() -> None:
    records: list[Mapping[str, Any]] = []
    ledger = Ledger(records.append, print, print)
    for _ in range(2 * MAX_SINGLE):
        ledger.allow("often.example", 443, {"rule": "often.example"})
    assert len(records) == MAX_SINGLE
    ledger.allow("evil.example", 443, {"rule": "*"})
    assert records[-1] == {"event": "egress", "decision": "allow", "name": "evil.example", "port": 443, "rule": "*"}
    ledger.allow("evil.example", 443, {"rule": "*"})
    assert len(records) == MAX_SINGLE + 1
    ledger.flush()
    assert [(each["name"], each["count"]) for each in records[-2:]] == [
        ("often.example", MAX_SINGLE),
        ("evil.example", 1),
    ]


def test_hosts_without_end_are_counted() -> None:
    records: list[Mapping[str, Any]] = []
    ledger = Ledger(records.append, print, print)
    for number in range(3 * MAX_DENIALS):
        ledger.allow(f"{number}.example", 443, {})
    assert len(records) < 2 * MAX_DENIALS
