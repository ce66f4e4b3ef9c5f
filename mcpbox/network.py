"""The egress of one session: the relay that the sandbox starts, and the gateway that it talks to.

With no rule there is neither, and nothing of this is imported.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from mcpbox import profile
from mcpbox.egress import endpoints, mux, program
from mcpbox.egress.proxy import from_environment
from mcpbox.egress.rules import Rule, Rules
from mcpbox.relay import nonblocking
from mcpbox.sandbox.base import Process, Relay

if TYPE_CHECKING:
    from mcpbox.egress.gateway import Gateway

#: How long the end of a session waits for who reads stderr.
TELL_SECONDS = 1.0


class Given(Struct, frozen=True):
    """What the user's own configuration gives the server, in which it may name hosts."""

    environment: Mapping[str, str]
    arguments: Sequence[str]

    def rules(self, table: profile.Network) -> Rules:
        """The rules of a profile's table: first those for what the user names. Raises UsageError."""
        return Rules((*self.named(table), *Rules.parse(table.allow).rules))

    def named(self, table: profile.Network) -> Sequence[Rule]:
        """The rules for what the user names. Raises UsageError."""
        return endpoints.find(table, self.environment, self.arguments)


def relay(resolved: profile.Resolved, given: Given, *, learn: bool) -> Relay | None:
    """What the sandbox has to start beside the server; None where nothing is allowed. Raises UsageError."""
    rules = given.rules(resolved.profile.network)
    if not (rules.rules or learn):
        return None
    # A proxy that cannot be used is better known before the server runs.
    from_environment(os.environ)
    return Relay(program.arguments(), program.plan(rules, learn=learn), mux.READY, routes=bool(rules.networks()))


def open_gateway(
    process: Process,
    resolved: profile.Resolved,
    given: Given,
    record: Callable[[Mapping[str, Any]], None],
    *,
    learn: bool,
) -> Gateway:
    """Serve the relay of a started sandbox, which ends with it and the other way round."""
    # Not before the server has been started, which then starts at the same time.
    from mcpbox.egress.gateway import Gateway, Limits, Owner

    assert process.egress is not None

    def ended(why: str) -> None:
        tell(f"egress ended, and the server with it: {why}", patience=0)
        process.kill()

    network = resolved.profile.network
    gateway = Gateway(
        *process.egress,
        given.rules(network),
        Limits(network.connections, int(network.max_bytes), float(network.idle_seconds)),
        Owner(record, partial(tell, patience=0), Watch(resolved, given), ended),
        proxy=from_environment(os.environ),
        learn=learn,
    )
    gateway.start()
    return gateway


class Watch:
    """The rules of a profile's file, whenever they are no longer those that the session has."""

    def __init__(self, resolved: profile.Resolved, given: Given) -> None:
        self._path = resolved.path
        self._given = given
        # Not what the file is like now: it may have changed while the server was started.
        self._seen: tuple[int, int, int] | None = (0, 0, 0)
        self._rules: Rules | None = given.rules(resolved.profile.network)

    def __call__(self) -> Rules | None:
        """None while they are the same. Raises UsageError where the file is no longer a profile."""
        stamp = self._stamp()
        if self._path is None or stamp == self._seen:
            return None
        self._seen, before, self._rules = stamp, self._rules, None
        self._rules = self._given.rules(profile.load(self._path).profile.network)
        return None if self._rules == before else self._rules

    def _stamp(self) -> tuple[int, int, int] | None:
        if self._path is None:
            return None
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size


def learned(gateway: Gateway, resolved: profile.Resolved, given: Given) -> str:
    """The ``[network]`` table with which the session would have gone as it did; "" if it needed no host."""
    rules = given.rules(resolved.profile.network)
    lines = list(resolved.profile.network.allow)
    for target, opaque in sorted(gateway.used.items()):
        name, _, port = target.rpartition(":")
        if (rule := rules.decide(name, int(port)).rule) is None or (opaque and not rule.opaque):
            lines.append(f"tcp://{target}" if opaque else target)
    return "[network]\nallow = [\n" + "".join(f'    "{line}",\n' for line in lines) + "]\n" if lines else ""


def tell_learned(gateway: Gateway, resolved: profile.Resolved, given: Given) -> None:
    rules = learned(gateway, resolved, given)
    tell(f"to allow what was used:\n{rules}" if rules else "it connected to no host, so it needs none allowed")


def tell(line: str, patience: float = TELL_SECONDS) -> None:
    """A line for the user; the host shows stderr or keeps it in a log, and may have closed it.

    Or it does not read it: then the line is cut or lost after ``patience`` seconds.
    """
    if sys.stderr is None:
        return
    errors = sys.stderr.fileno()
    fd = nonblocking(errors)
    left, deadline = memoryview(f"[mcpbox] {line}\n".encode()), time.monotonic() + patience
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    with suppress(OSError):
        while left:
            try:
                left = left[os.write(fd, left) :]
            except BlockingIOError:
                if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                    break
    if fd != errors:
        os.close(fd)
