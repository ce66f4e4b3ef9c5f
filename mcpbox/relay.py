"""The pump between the host and a sandboxed server: read what is there, feed the session, carry out its actions.

One thread, one poll loop, bounded buffers. A side is not read from while what it would cause has no room: back-pressure
reaches the writer on each side, and neither side can make the other, or mcpbox, hold more than ``HIGH_WATER`` bytes
and one message.
"""

from __future__ import annotations

import os
import select
import signal
import stat
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from mcpbox import jsonrpc
from mcpbox.errors import McpboxError
from mcpbox.policy.base import Side
from mcpbox.sandbox.base import Process
from mcpbox.session import Action, Divert, Record, Send, Session

CHUNK = 1 << 18
HIGH_WATER = 1 << 20
#: How long a server may take to end after the end of its input. The specification leaves it to the host, which closes
#: stdin, waits 2 s (both SDKs) and then signals mcpbox.
GRACE_SECONDS = 3.0

#: How much of the server's last words on stderr is kept, to tell the host why it ended.
KEPT_STDERR = 2048

_TERMINATING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

#: Puts an event on record before its effect happens. An exception ends the session.
Recorder = Callable[[Mapping[str, Any]], None]


class Outlet:
    """A file descriptor to write to, with what could not be written yet."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.size = 0
        self.broken = False
        self._queue: deque[memoryview] = deque()

    def send(self, data: bytes) -> None:
        if self.broken or not data:
            return
        self._queue.append(memoryview(data))
        self.size += len(data)
        if len(self._queue) == 1:
            self.flush()

    def flush(self) -> None:
        """Write what the descriptor takes now."""
        try:
            while self._queue:
                written = os.write(self.fd, self._queue[0])
                self.size -= written
                if written < len(self._queue[0]):
                    self._queue[0] = self._queue[0][written:]
                    return
                self._queue.popleft()
        except BlockingIOError:
            return
        except OSError:
            self.broken = True
            self._queue.clear()
            self.size = 0

    @property
    def full(self) -> bool:
        return self.size >= HIGH_WATER


class Relay:
    """Runs one session over a started sandbox, with the host on ``host_in`` and ``host_out``."""

    def __init__(
        self,
        session: Session,
        process: Process,
        record: Recorder,
        *,
        answer_within: float,
        host_in: int = 0,
        host_out: int = 1,
        errors: int = 2,
    ) -> None:
        self._session = session
        self._process = process
        self._record = record
        self._host_in = host_in
        self._outlets = {Side.CLIENT: Outlet(nonblocking(host_out)), Side.SERVER: Outlet(process.stdin)}
        self._errors = Outlet(nonblocking(errors))
        self._reading = {host_in: Side.CLIENT, process.stdout: Side.SERVER}
        self._stderr_open = True
        self._last_words = b""
        self._deadline: float | None = time.monotonic() + answer_within
        self._answer_within = answer_within
        self._answered = False
        self._signal = 0
        self._stdin_closed = False

    def run(self) -> int:
        """Relay until the server has ended or mcpbox is told to end; the exit code of ``wrap``."""
        wake, wake_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else os.pipe()
        os.set_blocking(wake_in, False)
        before = signal.set_wakeup_fd(wake_in, warn_on_full_buffer=False)
        handlers = {number: signal.signal(number, self._on_signal) for number in _TERMINATING}
        try:
            return self._run(wake)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before)
            os.close(wake)
            os.close(wake_in)

    def _on_signal(self, number: int, _frame: object) -> None:
        self._signal = number

    def _run(self, wake: int) -> int:
        ended_at = -1.0
        while True:
            events = self._poll(wake)
            if self._signal:
                self._process.kill()
                self._flush_answers(self._session.abandon(jsonrpc.SERVER_GONE, "mcpbox was told to end"))
                return 128 + self._signal
            if wake in events:
                with suppress(BlockingIOError):
                    os.read(wake, 64)
            for outlet in (*self._outlets.values(), self._errors):
                if outlet.fd in events:
                    outlet.flush()
            if self._process.stderr in events:
                self._stderr_open = bool(self._forward_stderr())
            for fd, side in list(self._reading.items()):
                if fd in events:
                    self._read(fd, side)
            if self._outlets[Side.CLIENT].broken:
                # The host is gone, or no longer listens: there is nobody to serve.
                self._process.kill()
                return 128 + signal.SIGPIPE
            self._check_time()
            if self._process.exited in events and ended_at < 0:
                ended_at = time.monotonic()
            # Everything in the sandbox is dead by now, so its pipes end; a bridged one may lag behind.
            if ended_at >= 0 and (self._process.stdout not in self._reading or time.monotonic() - ended_at > 1):
                return self._finish()

    def _poll(self, wake: int) -> dict[int, int]:
        poll = select.poll()
        poll.register(wake, select.POLLIN)
        poll.register(self._process.exited, select.POLLIN)
        if self._stderr_open and not self._errors.full:
            poll.register(self._process.stderr, select.POLLIN)
        congested = any(outlet.full for outlet in self._outlets.values())
        for fd, side in self._reading.items():
            # A message can cause an answer to its own sender, so both directions must have room; but one blocked
            # reader must not stop the other direction, or a server that reads only after writing would deadlock.
            if not (self._outlets[side.other].full or (congested and self._outlets[side].size > 2 * HIGH_WATER)):
                poll.register(fd, select.POLLIN)
        for outlet in (*self._outlets.values(), self._errors):
            if outlet.size:
                poll.register(outlet.fd, select.POLLOUT)
        return dict(poll.poll(self._timeout()))

    def _timeout(self) -> float | None:
        waits = []
        if self._deadline is not None and not self._answered:
            waits.append(self._deadline - time.monotonic())
        if self._process.poll() is not None:
            waits.append(0.05)
        return max(0.0, min(waits)) * 1000 if waits else None

    def _read(self, fd: int, side: Side) -> None:
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._perform(self._session.receive(side, data))
            if side is Side.SERVER:
                self._answered = self._answered or not self._session.waiting()
            return
        del self._reading[fd]
        self._perform(self._session.end(side))
        if side is Side.CLIENT:
            self._end_of_input()

    def _end_of_input(self) -> None:
        self._deadline, self._answered = time.monotonic() + GRACE_SECONDS, False

    def _check_time(self) -> None:
        if self._host_in not in self._reading and not self._stdin_closed and not self._outlets[Side.SERVER].size:
            self._stdin_closed = True
            self._process.close_stdin()
        if self._deadline is None or self._answered or time.monotonic() < self._deadline:
            return
        if self._host_in not in self._reading:
            self._process.kill()
            self._deadline = None
        elif self._session.waiting():
            reason = f"the server did not answer within {self._answer_within:.0f} s"
            self._perform(self._session.abandon(jsonrpc.NOT_STARTED, reason, "its own messages are in the host's log"))
            self._deadline = None
        else:
            self._deadline = time.monotonic() + self._answer_within

    def _forward_stderr(self) -> int:
        try:
            data = os.read(self._process.stderr, CHUNK)
        except BlockingIOError:
            return 1
        except OSError:
            return 0
        self._errors.send(data)
        self._last_words = (self._last_words + data)[-KEPT_STDERR:]
        return len(data)

    def _perform(self, actions: Iterable[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                self._outlets[action.to].send(action.data)
            elif isinstance(action, Record):
                self._record(action.event)
            elif isinstance(action, Divert) and not self._errors.full:
                self._errors.send(action.data)

    def _finish(self) -> int:
        code = self._process.poll()
        code = 1 if code is None else code
        while self._stderr_open and self._forward_stderr() and not self._errors.full:
            if not select.select([self._process.stderr], [], [], 0)[0]:
                break
        why = self._process.why() or f"the server ended with exit code {code}"
        if last := self._last_words.decode(errors="replace").strip():
            why += f": {last.splitlines()[-1]}"
        self._perform(self._session.end(Side.SERVER))
        self._flush_answers(self._session.abandon(jsonrpc.SERVER_GONE, why, "its own messages are in the host's log"))
        return code

    def _flush_answers(self, actions: Iterable[Action]) -> None:
        """Deliver what is left to the host, for as long as it reads and nobody signals."""
        self._perform(actions)
        deadline = time.monotonic() + GRACE_SECONDS
        outlets = [self._outlets[Side.CLIENT], self._errors]
        while any(outlet.size for outlet in outlets) and not self._signal and time.monotonic() < deadline:
            waiting = {outlet.fd: outlet for outlet in outlets if outlet.size}
            for fd in select.select([], list(waiting), [], 0.1)[1]:
                waiting[fd].flush()


def nonblocking(fd: int) -> int:
    """A descriptor for the same file that never blocks on writing.

    O_NONBLOCK belongs to the open file, which the parent may share (a terminal, ``2>&1``), so a pipe is opened anew;
    a socket cannot be, but its end is ours alone, and a regular file never blocks.
    """
    mode = os.fstat(fd).st_mode
    if stat.S_ISSOCK(mode):
        os.set_blocking(fd, False)
    elif stat.S_ISFIFO(mode):
        try:
            return os.open(f"/dev/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            os.set_blocking(fd, False)
    return fd


def decline(failure: McpboxError, *, host_in: int = 0, host_out: int = 1, patience: float = 10.0) -> None:
    """Answer the host's first request with ``failure`` and its hint, since there is no server that could."""
    lines = jsonrpc.Lines(HIGH_WATER)
    deadline = time.monotonic() + patience
    poll = select.poll()
    poll.register(host_in, select.POLLIN)
    while (left := deadline - time.monotonic()) > 0 and poll.poll(left * 1000):
        data = os.read(host_in, CHUNK)
        if not data:
            return
        for line in lines.feed(data):
            request = _request(line)
            if request is None:
                continue
            data_field = {"hint": failure.hint} if failure.hint else None
            text = f"mcpbox: {failure.message}" + (f" ({failure.hint})" if failure.hint else "")
            answer = jsonrpc.error(request.id, jsonrpc.NOT_STARTED, text, data_field)
            with suppress(OSError):
                os.write(host_out, jsonrpc.encode(answer))
            return


def _request(line: jsonrpc.Line | jsonrpc.Oversized) -> jsonrpc.Request | None:
    if isinstance(line, jsonrpc.Oversized):
        return None
    try:
        message = jsonrpc.classify(jsonrpc.parse(line.data))
    except jsonrpc.ParseError:
        return None
    return message if isinstance(message, jsonrpc.Request) else None
