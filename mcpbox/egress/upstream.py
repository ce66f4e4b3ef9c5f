"""One connection of egress to a remote host: what the server's bytes may be, and who waits for whom."""

from __future__ import annotations

import asyncio
import socket
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
        self._gateway, self._number = gateway, number
        self._inspector = None if rule.opaque else Inspector(name, port)
        self._transport: asyncio.Transport | None = None
        self._early: list[bytes] = []
        self._early_end = False
        self._client_ended = False
        self._remote_ended = False
        self._paused = False
        self._blocked = False
        self._unpaid = 0
        self._task: asyncio.Task[None] | None = None
        self.moved = asyncio.get_running_loop().time()

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            addresses = await self._gateway.addresses(self)
            async with asyncio.timeout(DIAL_SECONDS):
                sock = await self._gateway.dial(self, addresses)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.create_connection(lambda: self, sock=sock)
        except Denied as denial:
            self._deny(denial)
        except (OSError, TimeoutError) as error:
            self._deny(Denied(f"it cannot be reached: {error or type(error).__name__}"))
        except Exception as error:
            self._gateway.fail(f"{type(error).__name__}: {error}")

    def _refuse(self, refusal: Refused) -> None:
        """The bytes do not speak of the name; a rule may say that they need not."""
        self._deny(Denied(refusal.reason, f"tcp://{self.name}:{self.port}"))

    def _deny(self, denial: Denied) -> None:
        self._gateway.deny(self.name, self.port, denial.reason, denial.remedy)
        self._gateway.drop(self._number)

    # From the server in the sandbox

    def from_client(self, data: bytes) -> None:
        self.moved = asyncio.get_running_loop().time()
        count = len(data)
        try:
            if self._inspector is not None and not self._inspector.done:
                data = self._inspector.feed(data)
        except Refused as refusal:
            self._refuse(refusal)
            return
        self._write(data)
        self._pay(count)

    def _write(self, data: bytes) -> None:
        if not data:
            return
        if self._transport is None:
            self._early.append(data)
        else:
            self._transport.write(data)

    def _pay(self, count: int) -> None:
        """Grant what was passed on, unless the remote host takes no more just now."""
        self._unpaid += count
        if self._transport is not None and not self._blocked and self._unpaid:
            self._gateway.passed_on(self._number, self._unpaid)
            self._unpaid = 0

    def end_of_client(self) -> None:
        try:
            if self._inspector is not None and not self._inspector.done:
                self._write(self._inspector.end())
        except Refused as refusal:
            self._refuse(refusal)
            return
        self._client_ended = True
        if self._transport is None:
            self._early_end = True
        elif self._transport.can_write_eof():
            self._transport.write_eof()
        self._gateway.settle(self._number)

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
        return memoryview(self._buffer)[: self._gateway.room(self._number) or 1]

    def buffer_updated(self, nbytes: int) -> None:
        self.moved = asyncio.get_running_loop().time()
        data = bytes(memoryview(self._buffer)[:nbytes])
        if self._inspector is not None and not self._inspector.done:
            try:
                self._inspector.answered(data)
                self._write(self._inspector.released())
            except Refused as refusal:
                self._refuse(refusal)
                return
        self._gateway.to_client(self._number, data)
        self.read_on()

    def read_on(self) -> None:
        """Read from the remote host if, and only if, the relay takes more."""
        if self._transport is None or self._remote_ended:
            return
        pause = not self._gateway.room(self._number)
        if pause != self._paused:
            self._paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def eof_received(self) -> bool:
        self._remote_ended = True
        self._gateway.end(self._number)
        # The other half stays open.
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._gateway.drop(self._number)

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
