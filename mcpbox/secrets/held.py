"""The values of secrets that this process holds: it leaves no core dump with them and writes none of them down."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Mapping
from typing import Any

_PR_SET_DUMPABLE = 4
#: Shorter ones are no secrets, and would take whole records with them.
_SHORTEST = 4
_values: dict[str, str] = {}


class Values(dict[str, str]):
    """Variables with secret values, which do not show in what prints them."""

    def __repr__(self) -> str:
        return f"<{len(self)} secret values>"


def prepare() -> None:
    """To be called before the first value is read: this process must leave no core dump.

    A limit of 0 does not hold where the kernel pipes dumps to a program (core(5)), so it is told as well. That also
    keeps other processes of the user from reading this one's memory.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def hold(name: str, value: str) -> None:
    """From now on ``redact`` puts ``name`` in the place of ``value``."""
    if len(value) >= _SHORTEST:
        _values[value] = name


def values() -> Values:
    """Every value that is held, with its name."""
    return Values(_values)


def redact(text: str) -> str:
    """``text`` without a value that is held, also where it was escaped by ``repr``."""
    for value in sorted(_values, key=len, reverse=True):
        shown = f"<secret {_values[value]}>"
        for form in (value, repr(value)[1:-1]):
            text = text.replace(form, shown)
    return text


class Stream:
    """Bytes that are written down as they come, without the values that are held, wherever the stream is cut."""

    def __init__(self) -> None:
        self._begun = b""

    def feed(self, data: bytes) -> bytes:
        """What of ``data``, and of what came before it, can be written; all of it at the end, for b""."""
        names = {form: f"<secret {name}>".encode() for value, name in _values.items() for form in _bytes(value)}
        text = self._begun + data
        for form in sorted(names, key=len, reverse=True):
            text = text.replace(form, names[form])
        end = min((_begins(text, form) for form in names), default=len(text)) if data else len(text)
        self._begun = text[end:]
        return text[:end]


def _begins(text: bytes, form: bytes) -> int:
    """Where at the end of ``text`` a part of ``form`` begins; the length of ``text`` if none does."""
    head = form[:16]
    at = text.find(form[:1], max(0, len(text) - len(form) + 1))
    while at >= 0:
        if text.startswith(head[: len(text) - at], at) and form.startswith(text[at:]):
            return at
        at = text.find(form[:1], at + 1)
    return len(text)


def _bytes(value: str) -> set[bytes]:
    """The value itself, and as JSON has it."""
    forms = (value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1])
    return {form.encode(errors="surrogateescape") for form in forms}


def redacted(value: Any) -> Any:
    """``value``, whatever JSON it is, with every string redacted, the names in its objects too."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {redact(key): redacted(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item) for item in value]
    return value
