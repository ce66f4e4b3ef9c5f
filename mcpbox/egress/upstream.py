"""One connection of egress to a remote host: what the server's bytes may be, and who waits for whom."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from mcpbox.egress import mux
from mcpbox.egress.rules import Rule
from mcpbox.egress.sniff import Inspector, Refused

if TYPE_CHECKING:
    from mcpbox.egress.gateway import Gateway

DIAL_SECONDS = 30.0


class Denied(Exception):
    """A connection may not be: ``reason`` says why, ``remedy`` is the rule that would allow it, or ""."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.reason, self.remedy = reason, remedy


class Upstream(asyncio.BufferedProtocol):
    """One connection to a remote host, and what of the server's bytes waits for it."""

    #: One for all: the loop fills it and hands it over before it fills it again.
    _buffer = bytearray(mux.MAX_PAYLOAD)

    def __init__(self, gateway: Gateway, number: int, name: str, port: int, rule: Rule) -> None:
        self.name, self.port, self.rule = name, port, rule
        self._gateway, self.number = gateway, number
        self._inspector = None if rule.opaque else Inspector(name, port)
        self._transport: asyncio.Transport | None = None
        # What the inspection holds back, and what came before there was a connection.
        self._held = b""
        self._early: list[bytes] = []
        self._early_end = False
        self._remote_ended = False
        self._paused = False
        self._blocked = False
        self._unpaid = 0
        #: what may be dialled; of a connection where it leads, or nothing if a proxy knows
        self.addresses: tuple[str, ...] = ()
        self._task: asyncio.Task[None] | None = None
        self.moved = asyncio.get_running_loop().time()

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            try:
                await self._connect()
            except Denied as denial:
                self._deny(denial)
            except (OSError, TimeoutError) as error:
                self._gateway.failed(self, str(error) or type(error).__name__)
        except Exception as error:
            # Nobody waits for this task.
            self._gateway.fail(f"{type(error).__name__}: {error}")

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        self.addresses = tuple(await self._gateway.addresses(self))
        async with self._gateway.dialling, asyncio.timeout(DIAL_SECONDS):
            sock = await self._gateway.dial(self, self.addresses)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer = sock.getpeername()[0]
            self.addresses = (peer,) if peer in self.addresses else ()
            await loop.create_connection(lambda: self, sock=sock)
        except BaseException:
            sock.close()
            raise

    def _deny(self, denial: Denied) -> None:
        self._gateway.ledger.deny(self.name, self.port, denial.reason, denial.remedy)
        self._gateway.drop(self.number)

    # From the server in the sandbox

    def from_client(self, data: bytes) -> None:
        self.moved = asyncio.get_running_loop().time()
        if self._pass_on(lambda inspector: inspector.feed(data), data):
            self._pay(len(data))

    def _pass_on(self, step: Callable[[Inspector], bytes], data: bytes = b"") -> bool:
        """Send on what may be after a step of the inspection; whether the connection goes on."""
        if self._inspector is None or self._inspector.done:
            self._write(data)
            return True
        self._held += data
        try:
            passed = step(self._inspector)
        except Refused as refusal:
            # The bytes do not speak of the name; a rule may say that they need not.
            if not self._gateway.learning:
                self._deny(Denied(refusal.reason, f"tcp://{self.name}:{self.port}"))
                return False
            self._gateway.use(self, opaque=True)
            self._inspector, passed = None, self._held
        self._held = self._held[len(passed) :]
        self._write(passed)
        return True

    def _write(self, data: bytes) -> None:
        if not data:
            return
        if self._transport is None:
            self._early.append(data)
        # Once it is lost, asyncio would tell stderr so for each piece.
        elif not self._transport.is_closing():
            self._transport.write(data)

    def _pay(self, count: int) -> None:
        """Grant what was passed on, unless the remote host takes no more just now."""
        self._unpaid += count
        if self._transport is not None and not self._blocked and self._unpaid:
            self._gateway.passed_on(self.number, self._unpaid)
            self._unpaid = 0

    def end_of_client(self) -> None:
        if not self._pass_on(Inspector.end):
            return
        if self._transport is None:
            self._early_end = True
        else:
            self._transport.write_eof()
        self._gateway.settle(self.number)

    # From the remote host

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        early, self._early = self._early, []
        for data in early:
            transport.write(data)
        if self._early_end:
            transport.write_eof()
        self._pay(0)
        self.read_on()

    def get_buffer(self, sizehint: int) -> memoryview:
        # Never empty: reading is paused where there is no room.
        return memoryview(self._buffer)[: self._gateway.room(self.number) or 1]

    def buffer_updated(self, nbytes: int) -> None:
        self.moved = asyncio.get_running_loop().time()
        data = bytes(memoryview(self._buffer)[:nbytes])
        if self._inspector is not None:
            self._inspector.answered(data)
            if not self._pass_on(Inspector.released):
                return
        self._gateway.to_client(self.number, data)
        self.read_on()

    def read_on(self) -> None:
        """Read from the remote host if, and only if, the relay takes more."""
        if self._transport is None or self._remote_ended:
            return
        pause = not self._gateway.room(self.number)
        if pause != self._paused:
            self._paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def eof_received(self) -> bool:
        self._remote_ended = True
        self._gateway.end(self.number)
        # The other half stays open.
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        # asyncio does not forgive aborting what it is just closing after the last byte was written.
        self._transport = None
        self._gateway.drop(self.number)

    def pause_writing(self) -> None:
        self._blocked = True

    def resume_writing(self) -> None:
        self._blocked = False
        self._pay(0)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._transport is not None:
            self._transport.abort()
