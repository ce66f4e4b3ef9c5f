"""The egress relay beside a server, as a process or as a container: started, told what to be, and waited for."""

from __future__ import annotations

import os
import select
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import msgspec

from mcpbox.errors import BackendError
from mcpbox.sandbox.base import Relay

if TYPE_CHECKING:
    from mcpbox.sandbox.streams import Streams

READY_SECONDS = 10.0
#: Whom the relay becomes when root starts it.
NOBODY = 65534
#: Bytes of memory, processors (in 10⁻⁹) and processes of a relay's container: ``mux`` bounds what it holds.
MEMORY, NANO_CPUS, PIDS = 256 << 20, 10**9, 8
REMEDY = "run: mcpbox doctor"


class RelayProcess:
    """A process outside of the sandbox that enters nothing of it but its network namespace.

    It starts while the sandbox does, and waits to be told where.
    """

    def __init__(self, relay: Relay, resources: ExitStack) -> None:
        import subprocess

        self._relay = relay
        self._process = subprocess.Popen(
            [sys.executable, *relay.arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={},
            cwd="/",
            bufsize=0,
        )
        resources.callback(self._end)

    def join(self, process: int) -> tuple[int, int]:
        """The stream from and to the relay, which listens now beside ``process``. Raises BackendError."""
        files = self._process.stdin, self._process.stdout, self._process.stderr
        write, read, errors = (file.fileno() for file in files if file)
        begin(self._relay, write, join=process, uid=NOBODY if os.geteuid() == 0 else 0)
        wait_until_ready(self._relay, read, errors)
        stream = os.dup(read), os.dup(write)
        for file in files:
            if file:
                file.close()
        return stream

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()


def connect(relay: Relay, streams: Streams) -> tuple[int, int]:
    """The stream from and to a relay in a container, which was begun and listens now. Raises BackendError."""
    wait_until_ready(relay, streams.stdout, streams.stderr)
    return os.dup(streams.stdout), os.dup(streams.stdin)


def begin(relay: Relay, write: int, *, join: int = 0, uid: int = 0) -> None:
    """Give a started relay its plan. Raises BackendError if it is gone."""
    line = msgspec.json.encode({**relay.plan, "join": join, "uid": uid}) + b"\n"
    try:
        os.write(write, line)
    except OSError as error:
        raise BackendError(f"the egress relay ended at once: {error.strerror}", REMEDY) from None


def wait_until_ready(relay: Relay, read: int, errors: int) -> None:
    """Return once the relay listens; ``errors`` is its standard error. Raises BackendError."""
    deadline = time.monotonic() + READY_SECONDS
    held = b""
    while len(held) < len(relay.ready):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([read], [], [], left)[0]:
            raise BackendError(f"the egress relay was not ready within {READY_SECONDS:.0f} s", REMEDY)
        piece = os.read(read, len(relay.ready) - len(held))
        if not piece:
            break
        held += piece
    if held != relay.ready:
        said = ""
        if select.select([errors], [], [], 1)[0]:
            said = os.read(errors, 1 << 16).decode(errors="replace").strip().rpartition("\n")[2]
        raise BackendError(f"the egress relay did not start: {said or 'it said nothing'}", REMEDY)
