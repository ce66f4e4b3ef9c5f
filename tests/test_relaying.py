"""What the host is told of a server that ends, or owes an answer."""

from __future__ import annotations

import json
import os
import select
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from mcpbox.jsonrpc import Message, Request, Response
from mcpbox.policy import table
from mcpbox.policy.base import Consult, Rules, Side, Verdict
from mcpbox.relay import TOLD_STDERR, Relay
from mcpbox.secrets import held
from mcpbox.session import Session

FIRST = b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}\n'
KEY = "\n".join(["-----BEGIN KEY-----", *("Zm9vYmFy" * 8 for _ in range(800)), "bGFzdA=="])


class Unboxed:
    """A program that runs as it is, as a sandbox would."""

    egress: tuple[int, int] | None = None
    image = ""

    def __init__(self, *words: str) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe)
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self.stdin, self.stdout = self._process.stdin.fileno(), self._process.stdout.fileno()
        self.stderr, self.exited = self._process.stderr.fileno(), os.pidfd_open(self._process.pid)
        for fd in (self.stdin, self.stdout, self.stderr):
            os.set_blocking(fd, False)

    def poll(self) -> int | None:
        return self._process.poll()

    def why(self) -> str:
        return ""

    def kill(self) -> None:
        self._process.kill()

    def close_stdin(self) -> None:
        pass

    def close(self) -> None:
        with self._process:
            self._process.kill()
        os.close(self.exited)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (f"no such key: {KEY}", "no such key: <secret s/KEY>"),
        ("x" * 99 + KEY, "x" * 99 + "<secret s/KEY>"),
        ("x" * 70_000 + "end", "x" * (TOLD_STDERR - 3) + "end"),
        ("Invalid: bX7q\udcff1", "Invalid: <secret s/BYTES>"),
        ("Invalid: \udcff", "Invalid: \ufffd"),
    ],
)
def test_no_part_of_a_secret_is_told(said: str, told: str, tmp_path: Path) -> None:
    held.hold("s/KEY", KEY)
    held.hold("s/BYTES", "bX7q\udcff1")
    (tmp_path / "said").write_bytes(os.fsencode(said))
    process = Unboxed("/bin/sh", "-c", f"cat {tmp_path}/said >&2")
    host_in, to_host = os.pipe()
    from_host, host_out = os.pipe()
    with open(tmp_path / "log", "wb") as log:
        os.write(to_host, FIRST)
        session = Session(table.build(Rules()), 1 << 20)
        relay = Relay(
            session, process, lambda event, content=None: None, answer_within=60,
            redact=held.redact, filtered=held.Stream().feed,
            host_in=host_in, host_out=host_out, errors=log.fileno(),
        )  # fmt: skip
        assert relay.run() == 0
    answer = json.loads(os.read(from_host, 1 << 16))
    assert answer["error"]["message"] == f"mcpbox: the server ended with exit code 0: {told}"
    assert (tmp_path / "log").read_bytes() == os.fsencode(held.redact(said))
    process.close()
    for fd in (host_in, to_host, from_host, host_out):
        os.close(fd)


class Curious:
    def judge(self, side: Side, message: Message) -> Verdict:
        return Consult("tools/list") if isinstance(message, Request) else None


def test_a_call_is_refused_while_the_server_owes_mcpbox_an_answer_and_the_session_goes_on() -> None:
    process = Unboxed("/bin/sh", "-c", 'read -r line; read -r line; echo "$line" >&2; read -r line')
    host_in, to_host = os.pipe()
    from_host, host_out = os.pipe()
    from_server, errors = os.pipe()
    session = Session([Curious()], 1 << 20, clock=lambda: time.monotonic_ns() // 1000, consult_within=100_000)
    relay = Relay(
        session, process, lambda event, content=None: None, answer_within=60,
        host_in=host_in, host_out=host_out, errors=errors,
    )  # fmt: skip
    os.write(to_host, b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}\n')

    def tell() -> None:
        if select.select([from_host], [], [], 20)[0]:
            answered.append(json.loads(os.read(from_host, 1 << 16)))
        os.close(to_host)

    answered: list[dict[str, Any]] = []
    host = threading.Thread(target=tell)
    host.start()
    relay.run()
    host.join()
    assert "did not answer tools/list within 0.1 s" in answered[0]["result"]["content"][0]["text"]
    assert b"notifications/cancelled" in os.read(from_server, 1 << 16)
    process.close()
    for fd in (host_in, from_host, host_out, from_server, errors):
        os.close(fd)


class Listing:
    """Lets calls pass once the server has listed its tools."""

    listed = False

    def judge(self, side: Side, message: Message) -> Verdict:
        self.listed |= isinstance(message, Response)
        return None if self.listed else Consult("tools/list")


def test_an_answer_that_is_there_counts_however_late_it_is_looked_for() -> None:
    listed, called = (f'{{"jsonrpc":"2.0","id":{id},"result":{{}}}}' for id in ('"mcpbox-1"', 1))
    process = Unboxed("/bin/sh", "-c", f"read -r line; echo '{listed}'; read -r line; echo '{called}'")
    host_in, to_host = os.pipe()
    from_host, host_out = os.pipe()
    from_server, errors = os.pipe()
    events: list[object] = []

    def clock() -> int:
        if events == ["consult"]:
            # As if this process had been stopped since it asked.
            assert select.select([process.stdout], [], [], 20)[0]
            events.append("stopped")
        return 10_000_000 * len(events)

    def record(event: Mapping[str, Any], content: Any = None) -> None:
        events.append(event["event"])

    session = Session([Listing()], 1 << 20, clock=clock, consult_within=1_000_000)
    relay = Relay(session, process, record, answer_within=60, host_in=host_in, host_out=host_out, errors=errors)
    os.write(to_host, b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}\n')
    os.close(to_host)
    relay.run()
    assert os.read(from_host, 1 << 16) == called.encode() + b"\n" and "refused" not in events
    process.close()
    for fd in (host_in, from_host, host_out, from_server, errors):
        os.close(fd)


LISTEN = b'{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{}}\n'
CLOSED = '{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete"}}'
BANNER = '{"jsonrpc":"2.0","method":"notifications/message","params":{}}'


def relayed(server: str, talk: Callable[[int, BinaryIO], None], *, answer_within: float) -> None:
    """Relay for a server, which is a shell's line, and a host that talks: it has where to write to and what to read."""
    process = Unboxed("/bin/sh", "-c", server)
    host_in, to_host = os.pipe()
    from_host, host_out = os.pipe()
    from_server, errors = os.pipe()
    relay = Relay(
        Session([], 1 << 20), process, lambda event, content=None: None, answer_within=answer_within,
        host_in=host_in, host_out=host_out, errors=errors,
    )  # fmt: skip

    def tell() -> None:
        with open(from_host, "rb") as lines:
            talk(to_host, lines)
        os.close(to_host)

    host = threading.Thread(target=tell)
    host.start()
    relay.run()
    # Whoever still waits for a line gets none.
    os.close(host_out)
    host.join()
    process.close()
    for fd in (host_in, from_server, errors):
        os.close(fd)


@pytest.mark.parametrize(
    ("said", "server", "answer"),
    [
        (FIRST, "read -r line; read -r line", "mcpbox: the server did not answer within 0 s"),
        # What is no greeting takes as long as it takes: a host of 2026-07-28 may begin with a call or a subscription.
        (LISTEN, f"read -r line; sleep 0.4; echo '{CLOSED}'", CLOSED),
    ],
)
def test_only_a_greeting_has_to_be_answered_soon(said: bytes, server: str, answer: str) -> None:
    answered: list[bytes] = []

    def talk(to_host: int, lines: BinaryIO) -> None:
        # What the server says before it is greeted answers nothing.
        assert lines.readline() == BANNER.encode() + b"\n"
        os.write(to_host, said)
        answered.append(lines.readline())

    relayed(f"echo '{BANNER}'; {server}", talk, answer_within=0.2)
    assert answer.encode() in answered[0]


def test_a_host_that_falls_back_to_an_older_protocol_is_told_again_why_the_server_ended() -> None:
    told: list[str] = []

    def talk(to_host: int, lines: BinaryIO) -> None:
        for method in (b"server/discover", b"initialize"):
            os.write(to_host, FIRST.replace(b"initialize", method))
            told.append(json.loads(lines.readline())["error"]["message"])

    relayed("read -r line; echo 'no key given' >&2", talk, answer_within=60)
    assert [text.partition(" (")[0] for text in told] == ["mcpbox: the server ended with exit code 0: no key given"] * 2
