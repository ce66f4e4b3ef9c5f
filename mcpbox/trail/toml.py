"""Values as TOML, for profiles that are written with a comment on each line. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from mcpbox.tables import Size
from mcpbox.trail.entries import visible

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def inline(value: Any) -> str:
    """TOML on one line; of a profile's table only what is not its default. Raises ValueError for what TOML has not."""
    if isinstance(value, Size):
        return string(str(value))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return string(value)
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(inline, value)) + "]"
    if isinstance(value, msgspec.Struct):
        fields = msgspec.structs.fields(value)
        value = {each.name: found for each in fields if (found := getattr(value, each.name)) != each.default}
    if isinstance(value, Mapping):
        entries = ", ".join(f"{key(name)} = {inline(each)}" for name, each in value.items())
        return f"{{ {entries} }}" if entries else "{}"
    raise ValueError(f"TOML has no {type(value).__name__}")


def string(text: str) -> str:
    """JSON's escapes are TOML's too; of what JSON lets stand, a terminal obeys some. Raises ValueError."""
    text.encode()
    shown = json.dumps(text, ensure_ascii=False)
    return "".join(letter if letter.isprintable() else f"\\U{ord(letter):08x}" for letter in shown)


def key(name: str) -> str:
    return name if _BARE.fullmatch(name) else string(name)


def array(name: str, rows: Iterable[tuple[Any, str]]) -> str:
    """``name = [...]``, each item on a line of its own with its comment; an item None is a comment alone."""
    shown = [("" if value is None else f"{inline(value)},", visible(comment, 200)) for value, comment in rows]
    if not shown:
        return f"{name} = []\n"
    width = min(max(len(value) for value, _ in shown), 60)
    lines = [f"    {value:<{width}}  # {comment}" if value else f"    # {comment}" for value, comment in shown]
    return f"{name} = [\n" + "".join(f"{line}\n" for line in lines) + "]\n"
