"""The sandbox backends, by name, in the order in which ``auto`` tries them."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from mcpbox.errors import BackendError
from mcpbox.sandbox.base import Backend

BACKENDS = {
    "docker": "mcpbox.sandbox.docker",
    "bubblewrap": "mcpbox.sandbox.bubblewrap",
}


def load(name: str) -> Backend:
    """Import one backend; the others are left alone, ``docker`` alone costs over 100 ms."""
    return cast(Backend, import_module(BACKENDS[name]))


def choose(name: str) -> str:
    """The backend to use for ``auto``, ``docker`` or ``bubblewrap``.

    Raises BackendError, with what each backend lacks, if there is none: no backend means no launch.
    """
    if name != "auto":
        return name
    lacking = []
    for candidate in BACKENDS:
        finding = load(candidate).available()
        if finding.status != "missing":
            return candidate
        lacking.append(f"{candidate}: {finding.detail} ({finding.remedy})")
    raise BackendError("no sandbox can be started on this machine: " + "; ".join(lacking), "run: mcpbox doctor")
