"""The pump between the host and a sandboxed server: read what is there, feed the session, carry out its actions.

One thread, one poll loop, bounded buffers. A side is not read from while the other takes no more: back-pressure reaches
the writer, and mcpbox holds a bounded number of bytes for each direction, whatever the two sides do.
"""

from __future__ import annotations

import os
import select
import signal
import stat
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from mcpbox import jsonrpc
from mcpbox.declining import decline
from mcpbox.definitions import DISCOVER
from mcpbox.errors import McpboxError
from mcpbox.policy.base import Side
from mcpbox.sandbox.base import Process
from mcpbox.session import Action, Divert, Record, Send, Session

CHUNK = 1 << 18
HIGH_WATER = 1 << 20
#: How long a server may take to end after the end of its input. The specification leaves it to the host, which closes
#: stdin, waits 2 s (both SDKs) and then signals mcpbox.
GRACE_SECONDS = 3.0
#: How long the last output of an ended sandbox may take to arrive.
LAG_SECONDS = 1.0

#: How much of the server's last line on stderr the host is told, as why it ended; and how much is kept for that, so
#: that a secret of 64 KiB before it is known as a whole.
TOLD_STDERR = 2048
KEPT_STDERR = TOLD_STDERR + (64 << 10)

_MEND = "free space, or mend the file or directory that is named"
_TERMINATING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Recorder(Protocol):
    """Puts an event on record before its effect happens, and what it says of a message's content. Raises OSError."""

    def __call__(self, event: Mapping[str, Any], content: Any = None) -> None: ...


class Unrecorded(Exception):
    """What is about to happen cannot be put on record; ``ids`` are of the requests whose answers it would have been."""

    def __init__(self, message: str, ids: Sequence[jsonrpc.Id]) -> None:
        super().__init__(message)
        self.ids = ids


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
        if self._queue:
            self._queue.append(memoryview(data))
            self.size += len(data)
            return
        # Most messages leave at once and whole.
        try:
            written = os.write(self.fd, data)
        except BlockingIOError:
            written = 0
        except OSError:
            self.broken = True
            return
        if written < len(data):
            self._queue.append(memoryview(data)[written:])
            self.size = len(data) - written

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
    """Runs one session over a started sandbox, with the host on ``host_in`` and ``host_out``.

    ``redact`` is for what the host is told of the server's end; ``filtered`` for what the server writes to ``errors``,
    which hosts keep in their logs: it takes the stream in pieces, and b"" at its end.
    """

    def __init__(
        self,
        session: Session,
        process: Process,
        record: Recorder,
        *,
        answer_within: float,
        redact: Callable[[str], str] = str,
        filtered: Callable[[bytes], bytes] = bytes,
        host_in: int = 0,
        host_out: int = 1,
        errors: int = 2,
    ) -> None:
        self._session = session
        self._process = process
        self._record = record
        self._redact, self._filtered = redact, filtered
        self._host_in = host_in
        self._outlets = {Side.CLIENT: Outlet(nonblocking(host_out)), Side.SERVER: Outlet(process.stdin)}
        self._errors = Outlet(nonblocking(errors))
        self._reading = {host_in: Side.CLIENT, process.stdout: Side.SERVER}
        self._stderr_open = True
        self._last_words = b""
        self._answer_within = answer_within
        # What is waited for until then: at first the answer to the host's greeting, at last the server's end.
        self._deadline: float | None = time.monotonic() + answer_within
        self._signal = 0
        self._stdin_closed = False
        self._poll = select.poll()
        self._polled: dict[int, int] = {}
        self._stirred = True
        self._answers_bound = 2 * HIGH_WATER + session.max_bytes

    def run(self) -> int:
        """Relay until the server has ended or mcpbox is told to end; the exit code of ``wrap``."""
        wake, wake_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else os.pipe()
        os.set_blocking(wake_in, False)
        before = signal.set_wakeup_fd(wake_in, warn_on_full_buffer=False)
        handlers = {number: signal.signal(number, self._on_signal) for number in _TERMINATING}
        try:
            return self._run(wake)
        except Unrecorded as failure:
            # Nothing more may happen; the host is told why, which is on no record.
            self._process.kill()
            answers = self._session.abandon(jsonrpc.SERVER_GONE, str(failure), _MEND)
            told = [action for action in answers if isinstance(action, Send)]
            for id in failure.ids:
                answer = jsonrpc.error(id, jsonrpc.SERVER_GONE, f"mcpbox: {failure}")
                told.append(Send(Side.CLIENT, jsonrpc.encode(answer)))
            self._flush_answers(told)
            raise McpboxError(str(failure), _MEND) from None
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before)
            os.close(wake)
            os.close(wake_in)

    def _on_signal(self, number: int, _frame: object) -> None:
        self._signal = number

    def _run(self, wake: int) -> int:
        process, outlets = self._process, (*self._outlets.values(), self._errors)
        ended_at: float | None = None
        self._poll.register(wake, select.POLLIN)
        self._poll.register(process.exited, select.POLLIN)
        while True:
            if self._stirred or outlets[0].size or outlets[1].size or outlets[2].size:
                self._stirred = self._watch()
            left = self._session.expires()
            events = dict(self._poll.poll(self._timeout(ended_at, left)))
            if self._signal:
                process.kill()
                self._flush_answers(self._session.abandon(jsonrpc.SERVER_GONE, "mcpbox was told to end"))
                return 128 + self._signal
            for outlet in outlets:
                if outlet.size and outlet.fd in events:
                    outlet.flush()
            for fd, side in tuple(self._reading.items()):
                if fd in events:
                    self._read(fd, side)
            if process.stderr in events and self._stderr_open:
                self._stderr_open = bool(self._forward_stderr())
                self._stirred |= not self._stderr_open
            if self._outlets[Side.CLIENT].broken:
                # The host is gone, or no longer listens: there is nobody to serve.
                process.kill()
                return 128 + signal.SIGPIPE
            if self._deadline is not None:
                self._check_deadline()
            # What came while this process was stopped has been read by now.
            if left == 0:
                self._perform(self._session.expire())
            if self._host_in not in self._reading:
                self._close_stdin()
            if ended_at is None and process.exited in events:
                ended_at = time.monotonic()
                self._poll.unregister(process.exited)
            # Everything in the sandbox is dead by then, so its pipes end; a bridged one may lag behind.
            if ended_at is not None and (
                process.stdout not in self._reading or time.monotonic() - ended_at > LAG_SECONDS
            ):
                return self._finish()

    def _watch(self) -> bool:
        """Poll for what can be acted on: reading only where what it causes has room, writing only where it must.

        Whether that has to be looked at again although nothing is left to be written.
        """
        client, server = self._outlets[Side.CLIENT], self._outlets[Side.SERVER]
        errors = self._errors
        wanted = {outlet.fd: select.POLLOUT for outlet in (client, server, errors) if outlet.size}
        # A message goes to the other side. What waits for its own sender is held against it only where that cannot be
        # what the other side sent: a host that writes before it reads would else be stopped for ever.
        wanted |= {
            fd: select.POLLIN
            for fd, side in self._reading.items()
            if not self._outlets[side.other].full and self._outlets[side].size <= self._answers_bound
        }
        if self._stderr_open and not errors.full:
            wanted[self._process.stderr] = select.POLLIN
        for fd in self._polled.keys() - wanted.keys():
            self._poll.unregister(fd)
        for fd, mask in wanted.items():
            self._poll.register(fd, mask)
        self._polled = wanted
        return any(outlet.size for outlet in (client, server, errors))

    def _timeout(self, ended_at: float | None, expires: int | None) -> float | None:
        """Milliseconds until something has to be looked at again; ``expires`` are the session's microseconds."""
        if ended_at is not None:
            return 50
        left = [] if self._deadline is None else [max(0.0, self._deadline - time.monotonic())]
        if expires is not None:
            left.append(expires / 1e6)
        return min(left) * 1000 + 1 if left else None

    def _read(self, fd: int, side: Side) -> None:
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._perform(self._session.receive(side, data))
            if self._host_in in self._reading:
                if not self._session.greeting():
                    self._deadline = None
                elif self._deadline is None:
                    self._deadline = time.monotonic() + self._answer_within
            return
        del self._reading[fd]
        self._stirred = True
        self._perform(self._session.end(side))
        if side is Side.CLIENT:
            self._deadline = time.monotonic() + GRACE_SECONDS

    def _close_stdin(self) -> None:
        """Pass on the end of the host's input, after the last byte of it."""
        left = self._outlets[Side.SERVER].size or self._session.holding()
        if self._host_in not in self._reading and not self._stdin_closed and not left:
            self._stdin_closed = True
            self._process.close_stdin()

    def _check_deadline(self) -> None:
        if self._deadline is None or time.monotonic() < self._deadline:
            return
        self._deadline = None
        if self._host_in not in self._reading:
            self._process.kill()
        elif self._session.greeting():
            reason = f"the server did not answer within {self._answer_within:.0f} s"
            self._perform(self._session.abandon(jsonrpc.NOT_STARTED, reason, "its own messages are in the host's log"))

    def _forward_stderr(self) -> int:
        try:
            data = os.read(self._process.stderr, CHUNK)
        except BlockingIOError:
            return 1
        except OSError:
            return 0
        self._errors.send(self._filtered(data))
        self._last_words = (self._last_words + data)[-KEPT_STDERR:]
        return len(data)

    def _perform(self, actions: Iterable[Action]) -> None:
        left = iter(actions)
        for action in left:
            if isinstance(action, Send):
                self._outlets[action.to].send(action.data)
            elif isinstance(action, Record):
                try:
                    self._record(action.event, action.content)
                except OSError as error:
                    message = f"nothing can be put on record, so the session ends: {error}"
                    raise Unrecorded(message, _answered_by(left)) from None
            elif isinstance(action, Divert) and not self._errors.full:
                self._errors.send(self._filtered(action.data))

    def _finish(self) -> int:
        code = self._process.poll()
        code = 1 if code is None else code
        while self._stderr_open and self._forward_stderr() and not self._errors.full:
            if not select.select([self._process.stderr], [], [], 0)[0]:
                break
        why = self._process.why() or f"the server ended with exit code {code}"
        # Before it is cut into lines: a secret may have several.
        said = self._redact(self._last_words.decode(errors="surrogateescape"))
        if last := said.encode(errors="surrogateescape").decode(errors="replace").strip():
            why += f": {last.splitlines()[-1][-TOLD_STDERR:]}"
        self._perform(self._session.end(Side.SERVER))
        self._errors.send(self._filtered(b""))
        gone = McpboxError(self._redact(why), "its own messages are in the host's log")
        greeting = self._session.greeting()
        self._flush_answers(self._session.abandon(jsonrpc.SERVER_GONE, gone.message, gone.hint))
        if greeting == DISCOVER and self._host_in in self._reading:
            decline(gone, host_in=self._host_in, host_out=self._outlets[Side.CLIENT].fd, patience=LAG_SECONDS)
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


def _answered_by(actions: Iterable[Action]) -> list[jsonrpc.Id]:
    """The requests of the host that ``actions`` would have answered."""
    found: list[jsonrpc.Id] = []
    for action in actions:
        if isinstance(action, Send) and action.to is Side.CLIENT:
            value = jsonrpc.parse(action.data)
            messages = [jsonrpc.classify(item) for item in (value if isinstance(value, list) else [value])]
            found += [message.id for message in messages if isinstance(message, jsonrpc.Response)]
    return found


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
