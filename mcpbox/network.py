"""The egress of one session: the relay that the sandbox starts, and the gateway that it talks to.

With no rule there is neither, and nothing of this is imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mcpbox import profile
from mcpbox.egress import mux, program
from mcpbox.egress.gateway import Gateway, Limits, Owner
from mcpbox.egress.proxy import from_environment
from mcpbox.egress.rules import Rules
from mcpbox.sandbox.base import Process, Relay


def relay(resolved: profile.Resolved, *, learn: bool) -> Relay:
    """What the sandbox has to start beside the server."""
    rules = Rules.parse(resolved.profile.network.allow)
    # A proxy that cannot be used is better known before the server runs.
    from_environment(os.environ)
    return Relay(program.arguments(), program.plan(rules, learn=learn), mux.READY, routes=bool(rules.networks()))


def open_gateway(
    process: Process, resolved: profile.Resolved, record: Callable[[Mapping[str, Any]], None], *, learn: bool
) -> Gateway:
    """Serve the relay of a started sandbox, which ends with it and the other way round."""
    assert process.egress is not None

    def ended(why: str) -> None:
        tell(f"egress ended, and the server with it: {why}")
        process.kill()

    network = resolved.profile.network
    gateway = Gateway(
        *process.egress,
        Rules.parse(network.allow),
        Limits(network.connections, int(network.max_bytes), float(network.idle_seconds)),
        Owner(record, tell, Watch(resolved.path), ended),
        proxy=from_environment(os.environ),
        learn=learn,
    )
    gateway.start()
    return gateway


class Watch:
    """The rules of a profile's file whenever it has changed."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen = self._stamp()

    def __call__(self) -> Rules | None:
        """None while the file is as it was. Raises ProfileError where it is no longer a profile."""
        stamp = self._stamp()
        if self._path is None or stamp == self._seen:
            return None
        self._seen = stamp
        return Rules.parse(profile.load(self._path).profile.network.allow)

    def _stamp(self) -> tuple[int, int, int] | None:
        if self._path is None:
            return None
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size


def learned(gateway: Gateway, resolved: profile.Resolved) -> str:
    """The ``[network]`` table with which the session would have gone as it did."""
    rules = Rules.parse(resolved.profile.network.allow)
    lines = list(resolved.profile.network.allow)
    lines += [f"{name}:{port}" for name, port in sorted(gateway.used) if not rules.decide(name, port).allow]
    return "[network]\nallow = [\n" + "".join(f'    "{line}",\n' for line in lines) + "]\n"


def tell(line: str) -> None:
    """A line for the user; the host shows stderr or keeps it in a log, and may have closed it."""
    with suppress(OSError):
        os.write(sys.stderr.fileno(), f"[mcpbox] {line}\n".encode())
