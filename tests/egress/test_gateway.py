"""The gateway with real sockets on loopback, and this test in the relay's place."""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mcpbox import network, profile
from mcpbox.egress import gateway as gateways
from mcpbox.egress import mux, resolve
from mcpbox.egress.gateway import Gateway, Limits, Owner
from mcpbox.egress.mux import ANSWER, DATA, END, RESET, Event, Mux
from mcpbox.egress.rules import Rules
from mcpbox.errors import ProfileError

SECONDS = 10
LIMITS = Limits(256, 1 << 40, 3600.0)
FULL = OSError(28, "No space left on device")


class Inside:
    """The relay's end of the stream of a gateway, and what its owner is told."""

    def __init__(
        self,
        allow: list[str],
        *,
        limits: Limits = LIMITS,
        report: Callable[[str], None] | None = None,
    ) -> None:
        self.records: list[Mapping[str, Any]] = []
        self.lines: list[str] = []
        self.ends: list[str] = []
        self.unrecorded = ""
        self._changed: Rules | None = None
        read, self.write = os.pipe()
        self._read, write = os.pipe()
        owner = Owner(self._record, report or self.lines.append, self._reload, self._ended)
        self.over = threading.Event()
        self.gateway = Gateway(read, write, Rules.parse(allow), limits, owner)
        self.mux = Mux(mux.FROM_GATEWAY)
        self._events: list[Event] = []
        self.gateway.start()

    def _record(self, event: Mapping[str, Any]) -> None:
        if event["decision"] == self.unrecorded:
            raise FULL
        self.records.append(event)

    def _reload(self) -> Rules | None:
        rules, self._changed = self._changed, None
        return rules

    def _ended(self, why: str) -> None:
        self.ends.append(why)
        self.over.set()

    def change(self, *allow: str) -> None:
        self._changed = Rules.parse(list(allow))

    def send(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.write, data) :]

    def open(self, target: str) -> int:
        number, opening = self.mux.open(target)
        self.send(opening)
        return number

    def next(self, *kinds: int) -> Event:
        """The next event of one of these kinds; others are passed over."""
        while True:
            for event in self._events:
                if event.kind in kinds:
                    self._events.remove(event)
                    return event
            assert select.select([self._read], [], [], SECONDS)[0], f"no event of {kinds}"
            data = os.read(self._read, 1 << 16)
            assert data, "the stream has ended"
            self._events += self.mux.feed(data)

    def close(self) -> None:
        self.gateway.close()
        os.close(self.write)
        os.close(self._read)


class Host:
    """What listens on the machine's own loopback."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.server.settimeout(SECONDS)
        self.port: int = self.server.getsockname()[1]
        self.rule = f"localhost:{self.port}"
        self.accepted: list[socket.socket] = []

    def accept(self) -> socket.socket:
        found, _ = self.server.accept()
        found.settimeout(SECONDS)
        self.accepted.append(found)
        return found

    def close(self) -> None:
        for sock in (self.server, *self.accepted):
            sock.close()


@pytest.fixture
def host() -> Iterator[Host]:
    found = Host()
    yield found
    found.close()


@pytest.fixture
def inside(host: Host) -> Iterator[Inside]:
    found = Inside([host.rule])
    yield found
    found.close()


def is_closed(sock: socket.socket) -> bool:
    """Once it is; else this raises TimeoutError."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def eventually(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + SECONDS
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_bytes_go_both_ways_and_each_side_ends_by_itself(inside: Inside, host: Host) -> None:
    stream = inside.open(host.rule)
    remote = host.accept()
    inside.send(inside.mux.data(stream, b"question") + inside.mux.end(stream))
    assert remote.recv(100) == b"question" and remote.recv(100) == b""
    remote.sendall(b"answer")
    remote.close()
    assert inside.next(DATA).payload == b"answer"
    assert inside.next(END).stream == stream
    assert inside.mux.ended(stream)


def test_what_is_ended_before_it_is_taken_is_taken_to_its_end(host: Host) -> None:
    """Both sides have ended, and the remote host has yet to read: the connection closes when its buffer is empty."""
    host.server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    inside = Inside([host.rule])
    stream = inside.open(host.rule)
    remote = host.accept()
    remote.shutdown(socket.SHUT_WR)
    assert inside.next(END).stream == stream
    size = 0
    while room := inside.mux.may_send(stream):
        data = bytes(min(room, mux.MAX_PAYLOAD))
        # Once it has answered, the gateway is through with all of that, and has granted what there is to grant.
        inside.send(inside.mux.data(stream, data) + mux.frame(mux.ASK, 1, b"x"))
        inside.next(ANSWER)
        size += len(data)
    inside.send(inside.mux.end(stream) + mux.frame(mux.ASK, 1, b"x"))
    inside.next(ANSWER)
    while data := remote.recv(1 << 16):
        size -= len(data)
    assert size == 0
    inside.send(mux.frame(mux.ASK, 1, b"x"))
    inside.next(ANSWER)
    assert not inside.ends
    inside.close()


def test_what_comes_for_a_lost_connection_is_dropped_in_silence(
    inside: Inside, host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    stream = inside.open(host.rule)
    remote = host.accept()
    remote.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    remote.close()
    inside.send(b"".join(inside.mux.data(stream, b"x") for _ in range(1000)))
    assert inside.next(RESET).stream == stream
    inside.send(mux.frame(mux.ASK, 1, b"x"))
    inside.next(ANSWER)
    assert not caplog.records


# What cannot be recorded


def test_a_revocation_that_cannot_be_recorded_ends_everything(inside: Inside, host: Host) -> None:
    inside.open(host.rule)
    inside.open(host.rule)
    remotes = [host.accept(), host.accept()]
    inside.unrecorded = "deny"
    inside.change()
    assert inside.over.wait(SECONDS)
    assert inside.ends == [f"OSError: {FULL}"]
    assert all(is_closed(remote) for remote in remotes)


def test_the_end_of_the_bytes_that_cannot_be_recorded_ends_everything(host: Host) -> None:
    inside = Inside([host.rule], limits=Limits(256, 1000, 3600.0))
    inside.open(host.rule)
    inside.open(host.rule)
    loud, quiet = host.accept(), host.accept()
    inside.unrecorded = "deny"
    loud.sendall(bytes(1001))
    assert inside.over.wait(SECONDS)
    assert inside.ends == [f"OSError: {FULL}"]
    assert is_closed(quiet)
    inside.close()


def test_a_failure_that_cannot_be_recorded_ends_everything(inside: Inside, host: Host) -> None:
    host.server.close()
    inside.unrecorded = "failed"
    inside.open(host.rule)
    assert inside.over.wait(SECONDS)
    assert inside.ends == [f"OSError: {FULL}"]


def test_a_decision_that_cannot_be_recorded_dials_nobody(inside: Inside, host: Host) -> None:
    inside.unrecorded = "allow"
    inside.open(host.rule)
    assert inside.over.wait(SECONDS)
    assert inside.ends == [f"OSError: {FULL}"]
    assert not select.select([host.server], [], [], 0)[0]


# A relay that was taken over


def test_a_relay_that_asks_and_never_reads_is_not_heard_any_more(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateways, "PIPE_BYTES", 1 << 12)
    monkeypatch.setattr(gateways, "MAX_BACKLOG", 1 << 16)
    inside = Inside([host.rule])
    question = mux.frame(mux.ASK, 1, b"x")
    endless = memoryview(question * 1000)
    os.set_blocking(inside.write, False)
    sent = 0
    # Until the gateway, which is given time to read what it wants to, reads no more.
    while select.select([], [inside.write], [], 2)[1]:
        sent += os.write(inside.write, endless[sent % len(question) :])
        assert sent < 1 << 22
    # It hears again once it is heard.
    for _ in range(sent // len(question)):
        inside.next(ANSWER)
    os.set_blocking(inside.write, True)
    inside.send(question[sent % len(question) :])
    inside.next(ANSWER)
    inside.close()


@pytest.mark.parametrize(
    ("kind", "name"), [(mux.ASK, b"\xff" * mux.MAX_PAYLOAD), (mux.OPEN, b"a" * (mux.MAX_PAYLOAD - 4) + b":443")]
)
def test_what_is_told_of_a_name_is_short(inside: Inside, kind: int, name: bytes) -> None:
    number, _ = inside.mux.open("")
    inside.send(mux.frame(kind, number, name))
    inside.next(ANSWER, RESET)
    assert len(str(inside.records)) < 3000
    assert len(inside.lines[0]) < 3000 and "..." in inside.lines[0]


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (mux.frame(mux.DATA, 1, b"x"), "stream 1 was never opened"),
        (mux.frame(mux.ANSWER, 1, b"\1"), "a frame of type 7 with 1 bytes"),
        (mux.HEADER.pack(mux.ASK, 1, mux.MAX_PAYLOAD + 1), "a frame of type 6 with 131073 bytes"),
        (mux.frame(mux.OPEN, 2, b"x:1"), "stream 2 opened after 0, with 0 open"),
    ],
)
def test_a_relay_that_breaks_the_rules_ends_everything(inside: Inside, frame: bytes, why: str) -> None:
    inside.send(frame)
    assert inside.over.wait(SECONDS)
    assert inside.ends == [f"the relay broke the rules of its stream: {why}"]


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("evil.com:443", "no rule names evil.com"),
        ("127.0.0.1:443", "127.0.0.1 is loopback"),
        ("localhost", "is longer than|ends in|a port is from 1 to 65535|not labels"),
        ("localhost:0", "a port is from 1 to 65535"),
        ("localhost:-1", "a port is from 1 to 65535"),
        ("localhost:99999999999999999999", "a port is from 1 to 65535"),
        ("localhost:4\u00b2", "a port is from 1 to 65535"),
        ("", "a port is from 1 to 65535"),
    ],
)
def test_what_no_rule_names_is_reset(inside: Inside, target: str, reason: str) -> None:
    stream = inside.open(target)
    assert inside.next(RESET).stream == stream
    (record,) = inside.records
    assert record["decision"] == "deny"
    assert any(part in record["reason"] for part in reason.split("|")), record


# Names and addresses


def test_a_resolver_that_does_not_answer_is_asked_in_few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever connects and leaves again at once: the question stays with the resolver."""
    asked, answered = threading.Semaphore(0), threading.Event()

    def slow(*_: object, **__: object) -> list[Any]:
        asked.release()
        answered.wait(SECONDS)
        return []

    monkeypatch.setattr(resolve, "MAX_QUESTIONS", 8)
    monkeypatch.setattr(socket, "getaddrinfo", slow)
    inside = Inside(["*.example.com"])
    for number in range(20):
        stream = inside.open(f"a{number}.example.com:443")
        if number < 8:
            assert asked.acquire(timeout=SECONDS)
        # The gateway is at it by the time it has answered this.
        inside.send(mux.frame(mux.ASK, 1, b"x.example.com"))
        inside.next(ANSWER)
        inside.send(inside.mux.reset(stream))
    assert sum(thread.name == "resolve" for thread in threading.enumerate()) == 8
    answered.set()
    # And once these are free, as many again.
    inside.open("b.example.com:443")
    assert asked.acquire(timeout=SECONDS)
    inside.close()


def test_no_more_addresses_are_looked_at_than_a_name_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    def many(*_: object, **__: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"10.0.{n // 256}.{n % 256}", 443)) for n in range(4000)]

    monkeypatch.setattr(socket, "getaddrinfo", many)
    inside = Inside(["big.example.com"])
    inside.open("big.example.com:443")
    inside.next(RESET)
    assert inside.records[0]["reason"].count("is private") == gateways.MAX_ADDRESSES
    inside.close()


def test_few_hosts_that_do_not_answer_are_dialled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that this process may open are the session's own too."""
    monkeypatch.setattr(gateways, "MAX_DIALS", 4)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        port = server.getsockname()[1]
        # As many as the kernel takes for it; any further one waits.
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
        inside = Inside([f"localhost:{port}"])
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            inside.open(f"localhost:{port}")
        assert eventually(lambda: len(inside.records) == 20)
        inside.send(mux.frame(mux.ASK, 1, b"x"))
        inside.next(ANSWER)
        assert eventually(lambda: len(os.listdir("/proc/self/fd")) >= before + 4)
        assert len(os.listdir("/proc/self/fd")) < before + 12
        inside.close()
        for sock in waiting:
            sock.close()


# A changed profile


def test_a_connection_whose_bytes_are_to_be_looked_at_now_is_ended(host: Host) -> None:
    inside = Inside([f"tcp://{host.rule}"])
    stream = inside.open(host.rule)
    remote = host.accept()
    inside.change(host.rule)
    assert inside.next(RESET).stream == stream
    assert is_closed(remote)
    assert inside.records[-1]["reason"] == f"revoked: rule {host.rule} wants to see what is sent"
    inside.close()


def test_a_connection_to_an_address_that_is_no_longer_named_is_ended(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name stays allowed; what it led to was allowed by a rule of its own."""
    real, target = gateways.Gateway.dial, f"priv.example.com:{host.port}"

    def found(*_: object, **__: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", host.port))]

    async def dial(gateway: Gateway, upstream: Any, addresses: Any) -> socket.socket:
        assert list(addresses) == ["10.0.0.1"]
        upstream.addresses = ("127.0.0.1", "10.0.0.1")
        return await real(gateway, upstream, ["127.0.0.1"])

    monkeypatch.setattr(socket, "getaddrinfo", found)
    monkeypatch.setattr(gateways.Gateway, "dial", dial)
    inside = Inside([target, f"10.0.0.1:{host.port}"])
    inside.open(target)
    remote = host.accept()
    inside.change(target)
    inside.next(RESET)
    assert is_closed(remote)
    inside.close()


def test_a_profile_that_changes_while_the_server_starts_counts(tmp_path: Path) -> None:
    path = tmp_path / "profile.toml"
    path.write_text('version = 1\nname = "x"\n[network]\nallow = ["a.example.com"]\n')
    resolved = profile.load(path)
    path.write_text('version = 1\nname = "x"\n[network]\nallow = ["b.example.com"]\n')
    watch = network.Watch(resolved, network.Given({}, ()))
    assert watch() == Rules.parse(["b.example.com"])
    assert watch() is None
    # Other rules count; another profile with the same does not.
    path.write_text('version = 1\nname = "x"\n\n[network]\nallow = ["b.example.com"]\n')
    assert watch() is None
    path.write_text('version = 1\nname = "x"\n[network]\nallow = 1\n')
    with pytest.raises(ProfileError):
        watch()
    path.write_text('version = 1\nname = "x"\n[network]\nallow = ["b.example.com"]\n')
    assert watch() == Rules.parse(["b.example.com"])


def test_what_the_user_names_stays_allowed_while_the_profile_says_so(tmp_path: Path) -> None:
    path = tmp_path / "profile.toml"
    head = 'version = 1\nname = "x"\n[network]\n'
    path.write_text(f'{head}from_environment = ["URL"]\n')
    given = network.Given({"URL": "https://git.example.com"}, ())
    watch = network.Watch(profile.load(path), given)
    assert watch() is None
    path.write_text(f'{head}from_environment = ["URL"]\nallow = ["a.example.com"]\n')
    changed = watch()
    assert changed and [rule.text for rule in changed.rules] == ["git.example.com:443", "a.example.com"]
    assert changed.decide("git.example.com", 443).rule == changed.rules[0] and changed.rules[0].named
    path.write_text(f'{head}allow = ["a.example.com"]\n')
    assert watch() == Rules.parse(["a.example.com"])


# Who reads stderr


def test_nobody_waits_for_who_does_not_read_stderr(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    with open(write, "wb", 0) as full:
        os.set_blocking(write, False)
        with pytest.raises(BlockingIOError):
            while True:
                assert os.write(write, bytes(4096))
        os.set_blocking(write, True)
        monkeypatch.setattr(sys, "stderr", full)
        inside = Inside([host.rule], report=lambda line: network.tell(line, patience=0))
        stream = inside.open(host.rule)
        remote = host.accept()
        inside.open("evil.com:443")
        inside.next(RESET)
        inside.send(inside.mux.data(stream, b"still here"))
        assert remote.recv(100) == b"still here"
        inside.close()
    os.close(read)


def test_without_stderr_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    network.tell("nobody hears it")
