"""The strings within a JSON value, with where each stands, and the value with others in their place. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Path = tuple[str | int, ...]

#: Longer keys than this may be sentences.
SAYING = 16


def strings(value: Any, *, keys: bool = False) -> Iterator[tuple[Path, str]]:
    """Every string in ``value``, in the order in which they are written.

    The keys of objects, each under its own path, only where ``keys`` asks for them, and those that may say something.
    """
    pending: list[tuple[Path, Any]] = [((), value)]
    while pending:
        path, each = pending.pop()
        if isinstance(each, str):
            yield path, each
        elif isinstance(each, dict):
            if keys:
                yield from (((*path, key), key) for key in each if len(key) > SAYING)
            pending += [((*path, key), inner) for key, inner in reversed(each.items())]
        elif isinstance(each, list):
            pending += [((*path, index), each[index]) for index in range(len(each) - 1, -1, -1)]


def replaced(value: Any, texts: Mapping[Path, str]) -> Any:
    """A copy of ``value`` with each text at its path; what has none of them below is shared, not copied."""
    if () in texts:
        return texts[()]
    below: dict[str | int, dict[Path, str]] = {}
    for path, text in texts.items():
        below.setdefault(path[0], {})[path[1:]] = text
    if isinstance(value, dict):
        return {key: replaced(inner, below[key]) if key in below else inner for key, inner in value.items()}
    if isinstance(value, list):
        return [replaced(inner, below[index]) if index in below else inner for index, inner in enumerate(value)]
    return value
