"""Definitions, and putting them on record."""

from __future__ import annotations

from typing import Any

from mcpbox.pinning import canonical
from mcpbox.pinning.store import Store
from mcpbox.policy.base import Seen, Sight


def tool(name: str, description: str = "", passed: bool = False) -> Seen:
    value = {"name": name, "description": description}
    return Seen(name, canonical.digest(value), value, passed)


def sight(pins: Store, *seen: Seen, server: str = "s", kind: str = "tool", **more: Any) -> Sight:
    asked = {"host": "cursor", "lock": "", "begins": True, "first": False, "pin": True}
    return pins.sight(server, kind, seen, **{**asked, **more})
