"""A container's standard streams as plain, non-blocking file descriptors."""

from __future__ import annotations

import os
import select
import shutil
import struct
import threading
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from mcpbox.sandbox import engine
from mcpbox.sandbox.dial import Channel, Endpoint

#: How long a started container may take until its shell runs.
UP_SECONDS = 5


class Streams(Protocol):
    """``directory`` is what the container is to see at /run/mcpbox, or ""."""

    directory: str
    stdin: int
    stdout: int
    stderr: int

    def attach(self) -> None:
        """Called between the container's creation and its start."""
        ...

    def close_stdin(self) -> None: ...

    def close(self) -> None: ...


class FifoStreams:
    """FIFOs that both this process and the container open: bytes go from one to the other directly.

    The names are within the user's private runtime directory, so their mode, which must let the container's user in
    whoever that is, lets nobody else in.
    """

    def __init__(self, parent: Path, session: str) -> None:
        self._path = parent / session
        self._path.mkdir(mode=0o711)
        self._path.chmod(0o711)
        self.directory = str(self._path)
        for name in ("in", "out", "err", "up"):
            os.mkfifo(self._path / name)
            (self._path / name).chmod(0o666)
        flags = os.O_NONBLOCK | os.O_CLOEXEC
        self.stdout = os.open(self._path / "out", os.O_RDONLY | flags)
        self.stderr = os.open(self._path / "err", os.O_RDONLY | flags)
        # Without a reader a FIFO cannot be opened for writing alone; this end is ours until the server's is open.
        self._reader = os.open(self._path / "in", os.O_RDONLY | flags)
        self.stdin = os.open(self._path / "in", os.O_WRONLY | flags)
        self._up = os.open(self._path / "up", os.O_RDONLY | flags)
        self._closed = False

    def attach(self) -> None:
        """Nothing to do: the container opens the FIFOs when it starts."""

    def close_stdin(self) -> None:
        # A FIFO without a writer blocks whoever opens it to read, and the container may only be starting: "up" hangs
        # up once its shell has opened "in". What was written before stays, since our reading end is open too.
        up = select.poll()
        up.register(self._up, 0)
        up.poll(UP_SECONDS * 1000)
        _replace_with_null(self.stdin)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for fd in (self.stdin, self.stdout, self.stderr, self._reader, self._up):
            os.close(fd)
        shutil.rmtree(self._path, ignore_errors=True)


class AttachedStreams:
    """The engine's attach stream, carried to pipes by threads: for remote engines, and images run as they are."""

    directory = ""

    def __init__(self, endpoint: Endpoint, container: str) -> None:
        self._endpoint, self._container = endpoint, container
        self._stdin_out, self.stdin = os.pipe()
        self.stdout, self._stdout_in = os.pipe()
        self.stderr, self._stderr_in = os.pipe()
        for fd in (self.stdin, self.stdout, self.stderr):
            os.set_blocking(fd, False)
        self._channel: Channel | None = None
        self._threads: list[threading.Thread] = []
        self._closed = False

    def attach(self) -> None:
        self._channel = engine.attach(self._endpoint, self._container)
        for pump in (self._pump_in, self._pump_out):
            thread = threading.Thread(target=pump, args=(self._channel,), name=pump.__name__, daemon=True)
            thread.start()
            self._threads.append(thread)

    def _pump_in(self, channel: Channel) -> None:
        with suppress(OSError):
            while data := os.read(self._stdin_out, 1 << 16):
                channel.send(data)
            channel.finish()

    def _pump_out(self, channel: Channel) -> None:
        """Take the stream apart: 8 bytes of header, the stream's number first and the length last, then the data."""
        targets = {1: self._stdout_in, 2: self._stderr_in}
        with suppress(OSError):
            while header := _exactly(channel, 8):
                kind, size = struct.unpack(">BxxxL", header)
                while size:
                    data = channel.receive(min(size, 1 << 16))
                    if not data:
                        break
                    size -= len(data)
                    view = memoryview(data)
                    while view:
                        view = view[os.write(targets[kind], view) :]
        for fd in targets.values():
            os.close(fd)

    def close_stdin(self) -> None:
        _replace_with_null(self.stdin)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        _replace_with_null(self.stdin)
        if self._channel is not None:
            self._channel.hang_up()
        else:
            os.close(self._stdout_in)
            os.close(self._stderr_in)
        # A reader that never comes must not hold a pump: with these ends closed its write fails.
        os.close(self.stdout)
        os.close(self.stderr)
        for thread in self._threads:
            thread.join(1)
        os.close(self.stdin)
        os.close(self._stdin_out)
        if self._channel is not None:
            self._channel.close()


def _exactly(channel: Channel, count: int) -> bytes:
    held = b""
    while len(held) < count:
        data = channel.receive(count - len(held))
        if not data:
            return b""
        held += data
    return held


def _replace_with_null(fd: int) -> None:
    """Close what ``fd`` is, and keep the number taken: its owner closes it in the end."""
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(null, fd, inheritable=False)
    os.close(null)
