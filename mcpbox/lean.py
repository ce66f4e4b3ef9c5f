"""Imports msgspec and pathlib without what they import in turn for functions that a start never calls.

That takes as long to import as they do, at every start.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class StandIn(ModuleType):
    """In the place of a module that is imported and hardly used: what it was not given, the module itself has."""

    def __getattr__(self, name: str) -> Any:
        if name == "__path__":
            # Asked at each import from it: none of these is a package.
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


def import_lean() -> None:
    """Afterwards every module can be imported as ever."""
    given: dict[str, dict[str, Any] | None] = {
        # msgspec has all it wants of it from this Python.
        "typing_extensions": None,
        # For the documentation in JSON schemas.
        "textwrap": {},
        # Asked by uuid, of which msgspec wants a type, up to Python 3.11.
        "platform": {"system": _system},
        # For Path.as_uri, up to Python 3.12.
        "urllib.parse": {"quote_from_bytes": _quote_from_bytes},
    }
    # None is what Python's import system takes for "not there".
    stand_ins: dict[str, StandIn | None] = {}
    for name, functions in given.items():
        if name not in sys.modules:
            stand_ins[name] = None if functions is None else StandIn(name)
            if functions:
                vars(stand_ins[name]).update(functions)
    try:
        sys.modules.update(stand_ins)  # type: ignore[arg-type]
        import pathlib  # noqa: F401

        import msgspec  # noqa: F401
    finally:
        for name, stand_in in stand_ins.items():
            if name in sys.modules and sys.modules[name] is stand_in:
                del sys.modules[name]


def _system() -> str:
    return os.uname().sysname


def _quote_from_bytes(*given: Any, **named: Any) -> Any:
    return import_module("urllib.parse").quote_from_bytes(*given, **named)
