"""The name server inside the sandbox: asks the gateway whether a name is allowed, and gives it an address of "lo".

No question is passed on to anybody else, so a name that is not allowed leaves no packet anywhere.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

from mcpbox.egress import dns

#: Where names live: 127.64.0.0/10, local on "lo" like all of 127/8, which nothing else uses.
FIRST_ADDRESS, ADDRESSES = 0x7F400001, 1 << 16
#: Questions that may wait for an answer of the gateway, and connections that may ask.
MAX_QUESTIONS, MAX_CONNECTIONS = 512, 64

Reply = Callable[[bytes], None]
Ready = Callable[[int], None]


class Stub:
    """``ask`` puts a numbered question to the gateway; ``watch`` and ``unwatch`` say when a descriptor can be read."""

    def __init__(
        self, ask: Callable[[int, str], None], watch: Callable[[int, Ready], None], unwatch: Callable[[int], None]
    ) -> None:
        self._ask, self._watch, self._unwatch = ask, watch, unwatch
        self._address: dict[str, str] = {}
        self._name: dict[str, str] = {}
        self._questions: dict[int, tuple[dns.Query, Reply]] = {}
        self._asked = 0
        self._connections = 0

    def target(self, address: str) -> str | None:
        """What the server meant by an address that it connected to: a name, or the address itself; None for neither."""
        if address in ("127.0.0.1", "::1"):
            return "localhost"
        if address.startswith("127."):
            return self._name.get(address)
        return address

    def _address_of(self, name: str) -> str | None:
        """The address of an allowed name, never given to a second one; None once there are too many of them."""
        if name not in self._address:
            if len(self._address) >= ADDRESSES:
                return None
            address = socket.inet_ntoa(struct.pack("!I", FIRST_ADDRESS + len(self._address)))
            self._address[name], self._name[address] = address, name
        return self._address[name]

    def listen(self) -> None:
        """Take questions over UDP. Raises OSError."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 53))
        sock.setblocking(False)
        self._watch(sock.fileno(), lambda _: self._receive(sock))

    def _receive(self, sock: socket.socket) -> None:
        try:
            data, peer = sock.recvfrom(4096)
        except OSError:
            return

        def reply(answer: bytes) -> None:
            try:
                sock.sendto(answer, peer)
            except OSError:
                # Who asked is gone; a datagram may be lost anyway.
                return

        self._question(data, reply)

    def serve(self, sock: socket.socket) -> None:
        """Take questions over a TCP connection."""
        if self._connections >= MAX_CONNECTIONS:
            sock.close()
            return
        self._connections += 1
        framed = dns.Framed()

        def close() -> None:
            self._connections -= 1
            self._unwatch(sock.fileno())
            sock.close()

        def reply(answer: bytes) -> None:
            try:
                sock.send(dns.frame(answer))
            except OSError:
                return

        def ready(_events: int) -> None:
            try:
                data = sock.recv(4096)
                questions = framed.feed(data)
            except BlockingIOError:
                return
            except (OSError, dns.Malformed):
                close()
                return
            for question in questions:
                self._question(question, reply)
            if not data:
                close()

        self._watch(sock.fileno(), ready)

    def _question(self, data: bytes, reply: Reply) -> None:
        try:
            query = dns.parse(data)
        except dns.Malformed as error:
            if error.reply is not None:
                reply(error.reply)
            return
        if query.name in self._address:
            reply(dns.answer(query, self._address_of(query.name)))
        elif len(self._questions) >= MAX_QUESTIONS:
            reply(dns.refuse(query, dns.SERVFAIL))
        else:
            self._asked += 1
            self._questions[self._asked] = query, reply
            self._ask(self._asked, query.name)

    def answered(self, number: int, allowed: bool) -> None:
        """What the gateway says to a question. Raises KeyError if it was not asked."""
        query, reply = self._questions.pop(number)
        if not allowed:
            reply(dns.answer(query, None))
        elif (address := self._address_of(query.name)) is not None:
            reply(dns.answer(query, address))
        else:
            reply(dns.refuse(query, dns.SERVFAIL))
