"""The fields of a record, which may be anything: the audit is read as it is found. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def text(record: Mapping[str, Any], key: str) -> str:
    """A field that is text; "" where it is missing or something else."""
    value = record.get(key)
    return value if isinstance(value, str) else ""


def number(record: Mapping[str, Any], key: str) -> int | None:
    """A field that is a whole number; None where it is missing or something else."""
    value = record.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
