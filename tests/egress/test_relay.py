"""The relay with real sockets on loopback, and this test in the gateway's place."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from mcpbox.egress import mux
from mcpbox.egress import relay as relays
from mcpbox.egress.mux import CREDIT, DATA, END, OPEN, RESET, Event, Mux
from mcpbox.egress.relay import Relay

SECONDS = 10


class Outside:
    """The gateway's end of the stream of a relay that listens to ``port``."""

    def __init__(self) -> None:
        read, self._write = os.pipe()
        self._read, write = os.pipe()
        relay = Relay(read, write)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        relay.listen("127.0.0.1", self.port)
        self._thread = threading.Thread(target=relay.run)
        self._thread.start()
        self.mux = Mux(mux.FROM_RELAY)
        self._events: list[Event] = []
        assert os.read(self._read, len(mux.READY)) == mux.READY

    def send(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._write, data) :]

    def next(self, *kinds: int, seconds: float = SECONDS) -> Event:
        """The next event of one of these kinds; others are passed over."""
        while True:
            for event in self._events:
                if event.kind in kinds:
                    self._events.remove(event)
                    return event
            assert select.select([self._read], [], [], seconds)[0], f"no event of {kinds}"
            self._events += self.mux.feed(os.read(self._read, 1 << 16))

    def connect(self) -> tuple[socket.socket, int]:
        client = socket.create_connection(("127.0.0.1", self.port), SECONDS)
        opened = self.next(OPEN)
        assert opened.payload == f"localhost:{self.port}".encode()
        return client, opened.stream

    def close(self) -> None:
        os.close(self._write)
        self._thread.join(SECONDS)
        assert not self._thread.is_alive(), "the relay outlives its gateway"
        os.close(self._read)


class Apart(Outside):
    """The same with the relay in a process of its own, which can be stopped."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        listen = f"relay.listen('127.0.0.1', {self.port})"
        code = f"from mcpbox.egress.relay import Relay; relay = Relay(0, 1); {listen}; relay.run()"
        words = [sys.executable, "-c", code]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        assert self.process.stdin and self.process.stdout
        self._write, self._read = self.process.stdin.fileno(), self.process.stdout.fileno()
        self.mux = Mux(mux.FROM_RELAY)
        self._events = []
        assert os.read(self._read, len(mux.READY)) == mux.READY

    def close(self) -> None:
        with self.process as process:
            assert process.stdin
            process.stdin.close()
            assert process.wait(SECONDS) == 0

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """What happens meanwhile, the relay finds at once."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)
        yield
        self.process.send_signal(signal.SIGCONT)


@pytest.fixture
def apart() -> Iterator[Apart]:
    found = Apart()
    yield found
    found.close()


@pytest.fixture
def outside() -> Iterator[Outside]:
    found = Outside()
    yield found
    found.close()


def everything(client: socket.socket) -> bytes:
    received = b""
    while data := client.recv(1 << 16):
        received += data
    return received


def test_what_arrives_together_with_the_end_is_delivered(outside: Outside) -> None:
    client, stream = outside.connect()
    with client:
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert outside.next(DATA).payload == b"question"
        assert outside.next(END).stream == stream
        pieces = [bytes([number]) * 5000 for number in range(10)]
        outside.send(b"".join(outside.mux.data(stream, piece) for piece in pieces) + outside.mux.end(stream))
        assert everything(client) == b"".join(pieces)


def test_each_side_may_go_on_after_the_other_has_ended(outside: Outside) -> None:
    client, stream = outside.connect()
    with client:
        outside.send(outside.mux.end(stream))
        assert client.recv(10) == b""
        client.sendall(b"still here")
        assert outside.next(DATA).payload == b"still here"


def test_no_more_is_taken_from_a_client_than_was_granted(outside: Outside) -> None:
    client, stream = outside.connect()
    with client:
        client.setblocking(False)
        sent = 0
        # Until neither the stream nor the kernel takes more.
        while select.select([], [client], [], 0.5)[1]:
            sent += client.send(bytes(1 << 16))
        taken = 0
        while taken < mux.WINDOW:
            taken += len(outside.next(DATA).payload)
        assert taken == mux.WINDOW < sent
        outside.send(outside.mux.consumed(stream, taken))
        assert outside.next(DATA).payload


def test_credit_that_is_found_together_with_the_end_of_the_client_counts(apart: Apart) -> None:
    client, stream = apart.connect()
    apart.send(apart.mux.end(stream))
    assert client.recv(1) == b""
    client.sendall(bytes(mux.WINDOW + 1000))
    taken = 0
    while taken < mux.WINDOW:
        taken += len(apart.next(DATA).payload)
    # Once it takes another connection, it no longer looks at the first one.
    other, _ = apart.connect()
    with other:
        with apart.stopped():
            apart.send(apart.mux.consumed(stream, taken))
            client.close()
        assert len(apart.next(DATA).payload) == 1000
        assert apart.next(END).stream == stream


def test_a_client_that_does_not_read_is_sent_no_more_than_its_window(outside: Outside) -> None:
    client, stream = outside.connect()
    with client:
        sent = 0
        while sent < 1 << 26 and (room := outside.mux.may_send(stream)):
            outside.send(outside.mux.data(stream, bytes(room)))
            sent += room
            # The kernel holds some for the client, so the relay grants more until that is full.
            with suppress(AssertionError):
                outside.mux.may_send(stream) or outside.next(CREDIT, seconds=0.5)
        assert sent < 1 << 26
        received = 0
        while received < sent:
            received += len(client.recv(1 << 20))


def test_a_reset_of_either_side_reaches_the_other(outside: Outside) -> None:
    client, stream = outside.connect()
    with client:
        outside.send(outside.mux.reset(stream))
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    client, stream = outside.connect()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    assert outside.next(RESET).stream == stream
    assert outside.mux.streams == 0


def test_connections_beyond_the_limit_are_reset_and_others_live(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mux, "MAX_STREAMS", 20)
    clients = [outside.connect()[0] for _ in range(mux.MAX_STREAMS)]
    # The reset may come as early as that.
    with pytest.raises(ConnectionResetError), socket.create_connection(("127.0.0.1", outside.port), SECONDS) as late:
        late.recv(1)
    clients[0].sendall(b"x")
    assert outside.next(DATA).payload == b"x"
    for client in clients:
        client.close()


@pytest.mark.parametrize("sent", [mux.frame(OPEN, 1, b"x:1"), mux.frame(DATA, 5, b"x"), b"\0" * 64])
def test_a_gateway_that_breaks_the_rules_ends_the_relay(sent: bytes) -> None:
    read, write = os.pipe()
    back, out = os.pipe()
    relay = Relay(read, out)
    os.write(write, sent)
    with pytest.raises(mux.ProtocolError):
        relay.run()
    for fd in (read, write, back, out):
        os.close(fd)


def test_a_gateway_that_does_not_read_is_told_of_no_more_connections(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relays, "HIGH_WATER", 1 << 12)
    made = 0
    while True:
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", outside.port))
        # A connection that stays in the listener's queue counts too, until that is full.
        if not select.select([], [client], [], 2)[1]:
            break
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        made += 1
        assert made < 20_000
    with client:
        # As soon as it reads, all are taken again.
        while not select.select([], [client], [], 0)[1]:
            outside.next(OPEN)
    assert made > 1000
