"""The inside of egress: takes the server's connections and questions for names, and passes them to the gateway.

It shares the server's network namespace and nothing else. It holds no rules, resolves nothing and can reach nothing:
what it says is said by a hostile server, as far as the gateway is concerned. Started as a program of its own, with the
standard library alone: ``READY`` on standard output says that it listens, then both standard streams carry ``mux``.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import select
import socket
import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from mcpbox.egress import mux
from mcpbox.egress.stub import Stub

CHUNK = mux.MAX_PAYLOAD
#: Bytes that may wait for the gateway before the server's sockets are left alone.
HIGH_WATER = 1 << 20
#: Why a connection cannot be taken, gone again or nothing left to hold it: no reason to end.
PASSING = frozenset({errno.EAGAIN, errno.ECONNABORTED, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Connection:
    """One connection of the server's, and the stream that carries it."""

    __slots__ = ("events", "out", "sock", "stream", "their_end", "watched")

    def __init__(self, sock: socket.socket, stream: int) -> None:
        self.sock = sock
        self.stream = stream
        self.out: deque[memoryview] = deque()
        self.their_end = False
        self.events = 0
        self.watched = False


class Relay:
    """The one loop: the server's sockets on one side; on the other the stream, from ``read`` and to ``write``."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write = read, write
        self._mux = mux.Mux(mux.FROM_GATEWAY)
        self._stub = Stub(self._ask, self._watch, self._unwatch)
        self._out: deque[memoryview] = deque()
        self._size = 0
        self._listeners: list[socket.socket] = []
        self._connections: dict[int, Connection] = {}
        self._starved: set[int] = set()
        self._poll = select.epoll()
        self._act: dict[int, Callable[[int], None]] = {}
        self._writing = False
        self._full = False
        for fd in (read, write):
            os.set_blocking(fd, False)
        self._watch(read, self._from_gateway)

    def listen(self, address: str, port: int) -> None:
        """Take every connection to ``port``. Raises OSError."""
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        if ":" in address:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(1024)
        self._listeners.append(sock)
        sock.setblocking(False)
        self._watch(sock.fileno(), lambda _: self._accept(sock))

    def answer_names(self) -> None:
        """Be the name server of the namespace: UDP here; over TCP, port 53 is listened to like any other."""
        self._stub.listen()

    def run(self) -> None:
        """Until the gateway is gone. Raises mux.ProtocolError."""
        try:
            self._send(mux.READY)
            while self._read in self._act:
                for fd, events in self._poll.poll():
                    act = self._act.get(fd)
                    if act is not None:
                        act(events)
        finally:
            for sock in (*self._listeners, *(connection.sock for connection in self._connections.values())):
                sock.close()
            self._poll.close()

    # The stream

    def _from_gateway(self, _events: int) -> None:
        try:
            data = os.read(self._read, 4 * CHUNK)
        except BlockingIOError:
            return
        if not data:
            del self._act[self._read]
            return
        for event in self._mux.feed(data):
            if event.kind == mux.ANSWER:
                self._stub.answered(event.stream, event.payload == b"\x01")
            elif event.stream in self._connections:
                self._apply(self._connections[event.stream], event)

    def _apply(self, connection: Connection, event: mux.Event) -> None:
        if event.kind == mux.DATA:
            connection.out.append(memoryview(event.payload))
            self._write_out(connection)
        elif event.kind == mux.END:
            connection.their_end = True
            self._write_out(connection)
        elif event.kind == mux.RESET:
            self._drop(connection, reset=True)
        elif self._mux.may_send(event.stream):
            self._starved.discard(event.stream)
            self._interest(connection)

    def _send(self, data: bytes) -> None:
        if not data:
            return
        self._out.append(memoryview(data))
        self._size += len(data)
        if len(self._out) == 1:
            self._flush(0)
        else:
            self._throttle()

    def _flush(self, _events: int) -> None:
        try:
            while self._out:
                written = os.write(self._write, self._out[0])
                self._size -= written
                if written < len(self._out[0]):
                    self._out[0] = self._out[0][written:]
                else:
                    self._out.popleft()
        except BlockingIOError:
            pass
        if bool(self._out) != self._writing:
            self._writing = bool(self._out)
            if self._writing:
                self._watch(self._write, self._flush, select.EPOLLOUT)
            else:
                self._unwatch(self._write)
        self._throttle()

    def _throttle(self) -> None:
        """Take from the server what the gateway takes, and no more: neither bytes nor connections."""
        if self._full != (self._size > HIGH_WATER):
            self._full = not self._full
            for listener in self._listeners:
                self._poll.modify(listener, 0 if self._full else select.EPOLLIN)
            for connection in tuple(self._connections.values()):
                self._interest(connection)

    # The server's connections

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except OSError as error:
            if error.errno in PASSING:
                return
            raise
        sock.setblocking(False)
        address, port = sock.getsockname()[:2]
        if port == 53 and address == "127.0.0.1":
            self._stub.serve(sock)
            return
        target = self._stub.target(address)
        if target is None or self._mux.streams >= mux.MAX_STREAMS:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            sock.close()
            return
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream, opening = self._mux.open(f"{target}:{port}")
        connection = self._connections[stream] = Connection(sock, stream)
        self._send(opening)
        self._interest(connection)

    def _ready(self, connection: Connection, events: int) -> None:
        if events & select.EPOLLOUT:
            self._write_out(connection)
        if events & select.EPOLLIN and connection.stream in self._connections:
            self._read_in(connection)
        elif events & select.EPOLLERR:
            self._drop(connection, reset=True)
        elif events & select.EPOLLHUP and connection.watched and not connection.events:
            # Reported again and again although it cannot be read yet: look again when there is credit. If that came
            # since the event was fetched, it is wanted again, and would be missed.
            self._unwatch(connection.sock.fileno())
            connection.watched = False

    def _read_in(self, connection: Connection) -> None:
        room = self._mux.may_send(connection.stream)
        if not room:
            return
        try:
            data = connection.sock.recv(room)
        except BlockingIOError:
            return
        except OSError:
            self._drop(connection, reset=True)
            return
        if data:
            self._send(self._mux.data(connection.stream, data))
        else:
            self._send(self._mux.end(connection.stream))
        if not self._mux.may_send(connection.stream):
            self._starved.add(connection.stream)
        self._settle(connection)

    def _write_out(self, connection: Connection) -> None:
        written = 0
        try:
            while connection.out:
                count = connection.sock.send(connection.out[0])
                written += count
                if count < len(connection.out[0]):
                    connection.out[0] = connection.out[0][count:]
                else:
                    connection.out.popleft()
        except BlockingIOError:
            pass
        except OSError:
            self._drop(connection, reset=True)
            return
        if written:
            self._send(self._mux.consumed(connection.stream, written))
        if connection.their_end and not connection.out:
            try:
                connection.sock.shutdown(socket.SHUT_WR)
            except OSError:
                self._drop(connection, reset=True)
                return
        self._settle(connection)

    def _settle(self, connection: Connection) -> None:
        # Not ``mux.ended`` alone, which knows of an end before the data that came with it has been written.
        if connection.their_end and not connection.out and self._mux.ended(connection.stream):
            self._drop(connection, reset=False)
        else:
            self._interest(connection)

    def _interest(self, connection: Connection) -> None:
        """Read what may be sent on, write what waits."""
        if connection.stream not in self._connections:
            return
        events = select.EPOLLOUT if connection.out else 0
        if connection.stream not in self._starved and not self._full:
            events |= select.EPOLLIN
        if connection.watched and events == connection.events:
            return
        fd = connection.sock.fileno()
        if connection.watched:
            self._poll.modify(fd, events)
        elif events:
            self._watch(fd, lambda seen: self._ready(connection, seen), events)
            connection.watched = True
        connection.events = events

    def _drop(self, connection: Connection, reset: bool) -> None:
        if self._connections.pop(connection.stream, None) is None:
            return
        self._starved.discard(connection.stream)
        if connection.watched:
            self._unwatch(connection.sock.fileno())
        if reset:
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._send(self._mux.reset(connection.stream))
        else:
            self._mux.close(connection.stream)
        connection.sock.close()

    def _ask(self, number: int, name: str) -> None:
        self._send(mux.frame(mux.ASK, number, name.encode("ascii")))

    def _watch(self, fd: int, act: Callable[[int], None], events: int = select.EPOLLIN) -> None:
        self._act[fd] = act
        self._poll.register(fd, events)

    def _unwatch(self, fd: int) -> None:
        if self._act.pop(fd, None) is not None:
            self._poll.unregister(fd)


def main() -> None:
    """Read the plan, a line of JSON on standard input, and be the relay it wants.

    ``ports`` are listened to at every IPv4 address, those of ``localhost`` on ::1 too; ``networks`` (CIDR) are to be
    local, and where one of them is IPv6, ``ports`` are listened to at every address of that too;
    ``join`` is the process whose network namespace to enter, or 0 inside of it; ``uid`` whom root becomes then.
    """
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(0, 1)
        if not piece:
            return
        line += piece
    plan = json.loads(line)
    relay = Relay(0, 1)
    if plan["join"] or plan["networks"]:
        from mcpbox.egress import netns

        if plan["join"]:
            netns.join(plan["join"])
            netns.await_loopback()
        for network in plan["networks"]:
            netns.make_local(network)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    relay.answer_names()
    for port in sorted({53, *plan["ports"]}):
        relay.listen("0.0.0.0", port)
    if any(":" in network for network in plan["networks"]):
        for port in sorted(plan["ports"]):
            relay.listen("::", port)
    else:
        # Without IPv6 nobody connects to ::1 either.
        with suppress(OSError):
            for port in plan["localhost"]:
                relay.listen("::1", port)
    if plan["join"]:
        netns.leave_files(plan["uid"])
    if plan["join"] or plan["networks"]:
        netns.give_up()
    # Without a gateway there is nothing to relay, and no more to say.
    with suppress(BrokenPipeError):
        relay.run()
