"""Many connections over one byte stream, with flow control for each. No I/O; the standard library alone.

The stream leads out of the sandbox's network namespace. One end is beside a hostile server, so either end takes the
other for one: whatever breaks a rule below ends the whole stream.

A frame is a type, a stream number, a length and the payload. Only the relay opens streams and asks for names, only the
gateway answers. A side may send as many bytes on a stream as the other has granted, so neither holds more than it has
allowed, and a connection that nobody reads stops itself alone. HTTP/2 says the same at more length: its header
compression, priorities and settings would be attack surface with nothing to do here, and the relay would need packages
in a container that has only Python.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

#: What the relay says first, once it listens.
READY = b"mcpbox egress 1\n"

#: type, stream, length of the payload
HEADER = struct.Struct("!BII")
_CREDIT = struct.Struct("!I")

OPEN, DATA, CREDIT, END, RESET, ASK, ANSWER = range(1, 8)
#: Which side may send what.
FROM_RELAY = frozenset({OPEN, DATA, CREDIT, END, RESET, ASK})
FROM_GATEWAY = frozenset({DATA, CREDIT, END, RESET, ANSWER})

#: Bytes of a frame's payload at most.
MAX_PAYLOAD = 1 << 17
#: What a new stream may send before it hears anything; a stream that moves is granted more, up to MAX_WINDOW, for as
#: long as all together stay below BUDGET.
WINDOW, MAX_WINDOW, BUDGET = 1 << 16, 1 << 20, 1 << 26
#: Streams open at once.
MAX_STREAMS = 1024


class ProtocolError(Exception):
    """The other end broke a rule of the stream; nothing it says can be trusted any more."""


class Event(NamedTuple):
    """What the other end did. ``payload`` is bytes for DATA, ASK, ANSWER and OPEN, and empty for the others."""

    kind: int
    stream: int
    payload: bytes


class _Stream:
    __slots__ = ("ended", "granted", "may_send", "owed", "their_end", "window")

    def __init__(self) -> None:
        self.may_send = WINDOW
        self.granted = WINDOW
        self.window = WINDOW
        self.owed = 0
        self.ended = False
        self.their_end = False


class Mux:
    """One end of the stream. Methods that send return the bytes to write; ``feed`` returns what the other end did."""

    def __init__(self, accepts: frozenset[int]) -> None:
        self._accepts = accepts
        self._held = bytearray()
        self._streams: dict[int, _Stream] = {}
        self._last = 0
        self._windows = 0

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes as they arrived, in pieces of any size. Raises ProtocolError."""
        held = self._held
        held += data
        events: list[Event] = []
        at, size = 0, len(held)
        while size - at >= HEADER.size:
            kind, stream, length = HEADER.unpack_from(held, at)
            if kind not in self._accepts or length > MAX_PAYLOAD:
                raise ProtocolError(f"a frame of type {kind} with {length} bytes")
            if size - at < HEADER.size + length:
                break
            at += HEADER.size
            payload = bytes(memoryview(held)[at : at + length])
            at += length
            if self._took(kind, stream, payload):
                events.append(Event(kind, stream, payload))
        del held[:at]
        return events

    def _took(self, kind: int, number: int, payload: bytes) -> bool:
        """Whether a frame is anybody's business: what crossed with our own reset is not."""
        if kind in (ASK, ANSWER):
            return True
        if kind == OPEN:
            # Twice as many as may be opened there: what has ended at the other end may still be on its way out here.
            if number != self._last + 1 or len(self._streams) >= 2 * MAX_STREAMS:
                raise ProtocolError(f"stream {number} opened after {self._last}, with {len(self._streams)} open")
            self._add(number)
            return True
        if not 0 < number <= self._last:
            raise ProtocolError(f"stream {number} was never opened")
        stream = self._streams.get(number)
        if stream is None:
            return False
        if kind == DATA:
            if len(payload) > stream.granted or stream.their_end:
                raise ProtocolError(f"stream {number}: data that was not granted")
            stream.granted -= len(payload)
        elif kind == CREDIT:
            if len(payload) != _CREDIT.size:
                raise ProtocolError(f"stream {number}: a credit of {len(payload)} bytes")
            stream.may_send += _CREDIT.unpack(payload)[0]
            if stream.may_send > 2 * MAX_WINDOW:
                raise ProtocolError(f"stream {number}: more credit than a window")
        elif kind == END:
            if stream.their_end:
                raise ProtocolError(f"stream {number}: ended twice")
            stream.their_end = True
        else:
            self._forget(number)
        return True

    def open(self, target: str) -> tuple[int, bytes]:
        """The number of a new stream to ``target`` ("NAME:PORT"), and the frame. Raises OverflowError at the limit."""
        if self.streams >= MAX_STREAMS:
            raise OverflowError("too many streams")
        self._add(self._last + 1)
        return self._last, frame(OPEN, self._last, target.encode("ascii", "backslashreplace"))

    def data(self, number: int, payload: bytes) -> bytes:
        """``payload`` must fit into ``may_send``."""
        self._streams[number].may_send -= len(payload)
        return frame(DATA, number, payload)

    def may_send(self, number: int) -> int:
        """How many bytes the other end takes now, in one frame."""
        stream = self._streams.get(number)
        return min(stream.may_send, MAX_PAYLOAD) if stream and not stream.ended else 0

    def consumed(self, number: int, count: int) -> bytes:
        """``count`` bytes of the stream were passed on; the credit for them, once it is worth a frame."""
        stream = self._streams.get(number)
        if stream is None or stream.their_end:
            return b""
        stream.owed += count
        if stream.owed * 2 < stream.window:
            return b""
        if stream.window < MAX_WINDOW and self._windows + stream.window <= BUDGET:
            self._windows += stream.window
            stream.owed += stream.window
            stream.window *= 2
        credit, stream.owed = stream.owed, 0
        stream.granted += credit
        return frame(CREDIT, number, _CREDIT.pack(credit))

    def end(self, number: int) -> bytes:
        """Our side of the stream is over."""
        stream = self._streams.get(number)
        if stream is None or stream.ended:
            return b""
        stream.ended = True
        return frame(END, number)

    def reset(self, number: int) -> bytes:
        """Both sides are over, at once."""
        return frame(RESET, number) if self._forget(number) else b""

    def close(self, number: int) -> None:
        """Both sides have ended and everything was passed on."""
        self._forget(number)

    def ended(self, number: int) -> bool:
        """Whether both sides have said that they are over."""
        stream = self._streams.get(number)
        return stream is None or (stream.ended and stream.their_end)

    @property
    def streams(self) -> int:
        return len(self._streams)

    def _add(self, number: int) -> None:
        self._last = number
        self._streams[number] = _Stream()
        self._windows += WINDOW

    def _forget(self, number: int) -> bool:
        stream = self._streams.pop(number, None)
        if stream is None:
            return False
        self._windows -= stream.window
        return True


def frame(kind: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame. A payload has at most MAX_PAYLOAD bytes."""
    return HEADER.pack(kind, stream, len(payload)) + payload
