"""What every sandbox backend takes and gives. No I/O.

A backend is a module with the functions of :class:`Backend`, named in ``sandbox.BACKENDS``. ``launch`` turns a
:class:`SandboxSpec` into a :class:`Process`; the translation of the spec into the backend's own arguments is a pure
function in the same module, so that a test can read it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, Protocol

from msgspec import Struct


class Mount(Struct, frozen=True):
    """A host file or directory that the server may see. ``source`` is free of symlinks.

    ``tree`` is the name of the installed package that it is, if it is one.
    """

    source: str
    target: str
    write: bool = False
    tree: str = ""


class Relay(Struct, frozen=True):
    """The program that takes the server's connections, and shares with it a network namespace and nothing else.

    ``arguments`` are those of a Python of 3.9 or later. It reads ``plan``, a line of JSON, with ``join`` (the process
    whose network namespace to enter, or 0) and ``uid`` (whom root becomes then) added to it, and writes ``ready`` once
    it listens. ``routes`` says that it makes networks local, which takes CAP_NET_ADMIN in that namespace.
    """

    arguments: tuple[str, ...]
    plan: Mapping[str, Any]
    ready: bytes
    routes: bool = False


class SandboxSpec(Struct, frozen=True):
    """Everything a backend needs to know; nothing is taken from anywhere else.

    ``command`` holds absolute host paths; a program under /usr is looked up by its name where the backend brings an
    operating system of its own. With an ``image``, it is the arguments for that image's entry point instead.
    ``interpreter`` ("node", "python" or "other") is what an image chosen by the backend has to bring.
    ``environment`` is the whole environment. ``home`` and /tmp are writable, in memory, each at most ``scratch``
    bytes. ``uid`` and ``gid`` are the server's, on the host too, and never 0. ``memory`` is in bytes, ``cpus`` in
    processors. Without a ``relay`` there is no way out of the sandbox's network namespace. ``rooms`` are more
    directories that are empty, writable and in memory, with their sizes in bytes. ``secrets`` are more variables, whose
    values must be seen by nobody but the server: in no argument, file or configuration.
    """

    session: str
    name: str
    command: tuple[str, ...]
    cwd: str
    environment: Mapping[str, str]
    mounts: tuple[Mount, ...]
    home: str
    uid: int
    gid: int
    memory: int
    cpus: float
    pids: int
    scratch: int
    interpreter: str = "other"
    image: str = ""
    relay: Relay | None = None
    rooms: Mapping[str, int] = {}
    secrets: Mapping[str, str] = {}


class Process(Protocol):
    """A running sandbox. The file descriptors are non-blocking and belong to the process object."""

    stdin: int
    stdout: int
    stderr: int
    #: becomes readable once the sandbox has ended (a pidfd or the read end of a pipe)
    exited: int
    #: the stream from and to the relay, where the spec has one: two descriptors, non-blocking, which whoever takes them
    #: closes
    egress: tuple[int, int] | None
    #: the digest of the image where that is what the server is, such as "sha256:HEX"; else ""
    image: str

    def poll(self) -> int | None:
        """The server's exit code, 128+n for a signal, or None while it runs."""
        ...

    def why(self) -> str:
        """After the end: why the sandbox ended, if that was not the server's own doing; else ""."""
        ...

    def kill(self) -> None:
        """End the whole sandbox now. Does nothing if it has ended."""
        ...

    def close_stdin(self) -> None:
        """Give the server end of file on its standard input."""
        ...

    def close(self) -> None:
        """Kill the sandbox, wait for its end and free everything that belongs to it."""
        ...


class Finding(Struct, frozen=True):
    """One line of ``mcpbox doctor``; ``remedy`` is the command or setting that mends it."""

    subject: str
    status: Literal["ok", "degraded", "missing"]
    detail: str
    remedy: str = ""


class Usage(Struct, frozen=True):
    """What a sandbox uses at this moment: ``memory`` in bytes, ``cpu_seconds`` since its start, ``pids``."""

    memory: int
    cpu_seconds: float
    pids: int


#: Adds facts to the session's record on disk (container id, cgroup) before the thing itself exists, so that whatever
#: a crash leaves behind can be found and reaped.
Remember = Callable[[Mapping[str, Any]], None]


def nothing() -> None:
    """Nothing to do meanwhile."""


class Backend(Protocol):
    """The functions of a backend module."""

    def available(self) -> Finding:
        """Whether this backend can start a sandbox here; cheap enough for the start path."""
        ...

    def launch(self, spec: SandboxSpec, remember: Remember, meanwhile: Callable[[], None] = nothing) -> Process:
        """Start the server. Raises BackendError; on any error nothing is left running.

        ``meanwhile`` is called while there is nothing to do but wait for the sandbox.
        """
        ...

    def reap(self, record: Mapping[str, Any]) -> None:
        """Remove what a crashed session left, given what it remembered. Idempotent."""
        ...

    def usage(self, record: Mapping[str, Any]) -> Usage | None:
        """What a running session uses, or None if it cannot be told."""
        ...

    def sees_files(self) -> bool:
        """Whether a sandbox can be given paths of this machine. Raises BackendError."""
        ...

    def provide(self, tree: str, source: str, interpreter: str) -> None:
        """Bring an installed package to where its sandboxes will be, if that is elsewhere. Raises BackendError."""
        ...

    def withdraw(self, keep: Collection[str]) -> None:
        """Remove what ``provide`` brought, but for these trees. Raises BackendError."""
        ...

    def check(self) -> list[Finding]:
        """What this machine can and cannot enforce with this backend."""
        ...
