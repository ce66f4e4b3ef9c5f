"""The outside of egress: decides, resolves, vets, dials, and carries the bytes of what the sandbox's relay asks for.

It runs in the mcpbox process, in a thread of its own, and takes everything that comes through the stream for the words
of a hostile server. A name is judged once more, its addresses are judged, and the address that was judged is dialled.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from mcpbox.egress import mux
from mcpbox.egress.proxy import Proxy, tunnel
from mcpbox.egress.rules import Decision, Rules
from mcpbox.egress.upstream import Denied, Upstream

RESOLVE_SECONDS = 10.0
#: RFC 8305, section 5: "Connection Attempt Delay".
STAGGER_SECONDS = 0.25
#: How often a changed profile, idle connections and the end of the session are looked for.
SWEEP_SECONDS = 1.0
PIPE_BYTES = 1 << 20
#: Denials told on stderr, one for each different thing; a server that tries without end must not fill the host's log.
MAX_TOLD = 200


class Limits(Struct, frozen=True):
    """Of one session: connections at once, bytes in both directions together, seconds without a byte."""

    connections: int
    bytes: int
    idle: float


class Owner(Struct, frozen=True):
    """What the gateway needs of the session.

    ``record`` puts an event on record before its effect; an exception ends all egress. ``report`` tells the user a
    line. ``reload`` gives the rules of a profile that changed since it was last asked, else None; it raises where the
    profile is no longer valid. ``ended`` is called when egress is over before the session is.
    """

    record: Callable[[Mapping[str, Any]], None]
    report: Callable[[str], None]
    reload: Callable[[], Rules | None]
    ended: Callable[[str], None]


class Gateway:
    """One session's way out. ``read`` and ``write`` are the stream from and to the relay, and are closed in the end."""

    def __init__(
        self,
        read: int,
        write: int,
        rules: Rules,
        limits: Limits,
        owner: Owner,
        *,
        proxy: Proxy | None = None,
        learn: bool = False,
    ) -> None:
        self._read, self._write = read, write
        self._rules, self._limits, self._owner, self._proxy, self._learn = rules, limits, owner, proxy, learn
        #: NAME, PORT of everything that was let out
        self.used: set[tuple[str, int]] = set()
        self._mux = mux.Mux(mux.FROM_RELAY)
        self._upstreams: dict[int, Upstream] = {}
        self._told: set[str] = set()
        self._bytes = 0
        self._full = False
        self._thread = threading.Thread(target=self._main, name="gateway", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None
        self._out: asyncio.WriteTransport | None = None
        self._why = ""
        self._closing = False

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """End every connection. Idempotent."""
        self._closing = True
        loop, over = self._loop, self._over
        if loop is not None and over is not None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(over.set)
        if self._thread.ident is not None:
            self._thread.join(2)

    def _main(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:
            self._why = f"{type(error).__name__}: {error}"
        if not self._closing:
            self._owner.ended(self._why or "the relay ended")

    async def _serve(self) -> None:
        loop = self._loop = asyncio.get_running_loop()
        # An exception anywhere, above all where something was to be recorded, must not leave the rest running.
        loop.set_exception_handler(lambda _, context: self.fail(str(context.get("exception") or context["message"])))
        self._over = asyncio.Event()
        for fd in (self._read, self._write):
            with contextlib.suppress(OSError):
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._out, _ = await loop.connect_write_pipe(lambda: _Outlet(self), os.fdopen(self._write, "wb", 0))
        source, _ = await loop.connect_read_pipe(lambda: _Inlet(self), os.fdopen(self._read, "rb", 0))
        sweeper = loop.create_task(self._sweep())
        try:
            if not self._closing:
                await self._over.wait()
        finally:
            sweeper.cancel()
            for number in tuple(self._upstreams):
                self.drop(number)
            source.close()
            self._out.abort()

    def fail(self, why: str) -> None:
        """The stream is of no use any more: end everything."""
        self._why = self._why or why
        if self._over is not None:
            self._over.set()

    # What the relay says

    def received(self, data: bytes) -> None:
        try:
            for event in self._mux.feed(data):
                self._act(event)
        except mux.ProtocolError as error:
            self.fail(f"the relay broke the rules of its stream: {error}")
        except Exception as error:
            # A record that cannot be written above all: then nothing more may happen.
            self.fail(f"{type(error).__name__}: {error}")

    def _act(self, event: mux.Event) -> None:
        if event.kind == mux.ASK:
            allowed = self._decide_name(event.payload.decode("ascii", "replace")).allow
            self.send(mux.frame(mux.ANSWER, event.stream, b"\x01" if allowed else b"\x00"))
        elif event.kind == mux.OPEN:
            self._open(event.stream, event.payload.decode("ascii", "replace"))
        elif upstream := self._upstreams.get(event.stream):
            if event.kind == mux.DATA:
                upstream.from_client(event.payload)
            elif event.kind == mux.END:
                upstream.end_of_client()
            elif event.kind == mux.CREDIT:
                upstream.read_on()
            else:
                self.drop(event.stream)

    def _decide_name(self, name: str) -> Decision:
        decision = self._judge_name(self._rules, name)
        if not decision.allow:
            self.deny(name, None, decision.reason, decision.remedy)
        return decision

    def _judge_name(self, rules: Rules, name: str) -> Decision:
        decision = rules.decide_name(name)
        return decision if decision.allow or not self._learn else LEARN.decide_name(name)

    def judge(self, name: str, port: int) -> Decision:
        """By the rules in force now; while learning, any public host passes."""
        decision = self._rules.decide(name, port)
        if decision.allow or not self._learn:
            return decision
        return Rules.parse([f"*:{port}"]).decide(name, port)

    def _open(self, number: int, target: str) -> None:
        name, _, digits = target.rpartition(":")
        port = int(digits) if digits.isdecimal() and len(digits) <= 5 else -1
        decision = self.judge(name, port)
        reason, remedy = decision.reason, decision.remedy
        if decision.allow and len(self._upstreams) >= self._limits.connections:
            decision, reason = Decision(False, ""), f"more than {self._limits.connections} connections at once"
        elif decision.allow and self._bytes > self._limits.bytes:
            decision, reason = Decision(False, ""), f"more than {self._limits.bytes} bytes in this session"
        if not decision.allow or decision.rule is None:
            self.deny(name, port, reason, remedy)
            self.send(self._mux.reset(number))
            return
        upstream = self._upstreams[number] = Upstream(self, number, name, port, decision.rule)
        upstream.start()

    # What goes to the relay

    def send(self, data: bytes) -> None:
        if data and self._out is not None:
            self._out.write(data)

    def hold(self, full: bool) -> None:
        """The relay takes no more, or takes more again."""
        self._full = full
        for upstream in tuple(self._upstreams.values()):
            upstream.read_on()

    def room(self, number: int) -> int:
        """Bytes that may be read for a stream now."""
        return 0 if self._full else self._mux.may_send(number)

    def to_client(self, number: int, data: bytes) -> None:
        self.count(len(data))
        self.send(self._mux.data(number, data))

    def passed_on(self, number: int, count: int) -> None:
        self.count(count)
        self.send(self._mux.consumed(number, count))

    def end(self, number: int) -> None:
        """The remote host has said all; the stream is gone once the client has too."""
        self.send(self._mux.end(number))
        self.settle(number)

    def settle(self, number: int) -> None:
        """Close what both sides have ended. It still counts as open until the remote host has taken everything."""
        if number in self._upstreams and self._mux.ended(number):
            self._mux.close(number)
            self._upstreams[number].close()

    def drop(self, number: int) -> None:
        """End a stream at once, on both sides."""
        self.send(self._mux.reset(number))
        if upstream := self._upstreams.pop(number, None):
            upstream.abort()

    def count(self, count: int) -> None:
        before, self._bytes = self._bytes, self._bytes + count
        if before <= self._limits.bytes < self._bytes:
            self._owner.record({"event": "egress", "decision": "deny", "reason": "the session's bytes are used up"})
            self._owner.report(f"egress ended: more than {self._limits.bytes} bytes in this session")
            for number in tuple(self._upstreams):
                self.drop(number)

    # Record and report

    def _allow(self, upstream: Upstream, addresses: Sequence[str], dropped: Sequence[str]) -> None:
        self.used.add((upstream.name, upstream.port))
        event = {"decision": "allow", "name": upstream.name, "port": upstream.port, "rule": upstream.rule.text}
        self._owner.record({"event": "egress", **event, "addresses": list(addresses), "dropped": list(dropped)})

    def deny(self, name: str, port: int | None, reason: str, remedy: str) -> None:
        shown = ascii(name)[1:-1] + (f":{port}" if port is not None else "")
        if shown + reason in self._told or len(self._told) > MAX_TOLD:
            return
        self._told.add(shown + reason)
        if len(self._told) > MAX_TOLD:
            shown, reason, remedy = "…", "more denials than are told", ""
        event = {"event": "egress", "decision": "deny", "name": shown, "reason": reason, "remedy": remedy}
        self._owner.record(event)
        hint = f'; to allow it: [network] allow = ["{remedy}"]' if remedy else ""
        self._owner.report(f"egress denied: {shown}: {reason}{hint}")

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                self._reload()
            except Exception as error:
                self._owner.report(f"egress: nothing is allowed any more: {error}")
                self._rules, self._learn = Rules.parse([]), False
                self._revoke()
            now = asyncio.get_running_loop().time()
            for number, upstream in tuple(self._upstreams.items()):
                if now - upstream.moved > self._limits.idle:
                    self.deny(upstream.name, upstream.port, f"nothing was said for {self._limits.idle:.0f} s", "")
                    self.drop(number)

    def _reload(self) -> None:
        rules = self._owner.reload()
        if rules is not None:
            self._owner.record({"event": "egress", "decision": "reload", "allow": [rule.text for rule in rules.rules]})
            self._rules = rules
            self._revoke()

    def _revoke(self) -> None:
        """End what the rules in force no longer allow."""
        for number, upstream in tuple(self._upstreams.items()):
            decision = self.judge(upstream.name, upstream.port)
            if not decision.allow:
                self.deny(upstream.name, upstream.port, f"revoked: {decision.reason}", decision.remedy)
                self.drop(number)

    # Where a name leads

    async def addresses(self, upstream: Upstream) -> list[str]:
        """The addresses that may be dialled, in the resolver's order, on record. Raises Denied."""
        if upstream.rule.kind == "network":
            found = [upstream.name]
        elif upstream.rule.kind == "localhost":
            found = ["127.0.0.1", "::1"]
        else:
            found = await self._resolve(upstream)
        verdicts = [(address, self._rules.vet(address, upstream.port, upstream.rule)) for address in found]
        good = [address for address, verdict in verdicts if verdict.allow]
        bad = [verdict for _, verdict in verdicts if not verdict.allow]
        if bad and not good:
            raise Denied("; ".join(verdict.reason for verdict in bad), bad[0].remedy)
        self._allow(upstream, good, [verdict.reason for verdict in bad])
        return good

    async def _resolve(self, upstream: Upstream) -> list[str]:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                found = await loop.getaddrinfo(upstream.name, upstream.port, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError) as error:
            # Behind a proxy, it is the proxy that knows the names of the world.
            if self._proxy is not None and self._proxy.serves(upstream.name):
                return []
            raise Denied(f"it cannot be resolved: {error}") from None
        # The scope of a link-local address comes after "%", and stays for the vetting to see.
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    async def dial(self, upstream: Upstream, addresses: Sequence[str]) -> socket.socket:
        """A connection to the first of ``addresses`` that answers. Raises OSError."""
        from aiohappyeyeballs import start_connection

        direct = upstream.rule.kind in ("network", "localhost")
        if self._proxy is not None and not direct and self._proxy.serves(upstream.name):
            return await tunnel(self._proxy, upstream.name, upstream.port)
        infos = [
            (
                socket.AF_INET6 if ":" in address else socket.AF_INET,
                socket.SOCK_STREAM,
                socket.IPPROTO_TCP,
                "",
                (address, upstream.port, 0, 0) if ":" in address else (address, upstream.port),
            )
            for address in addresses
        ]
        return await start_connection(infos, happy_eyeballs_delay=STAGGER_SECONDS)


#: What may be asked for while learning: every public name.
LEARN = Rules.parse(["*"])


class _Inlet(asyncio.Protocol):
    """The stream from the relay."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def data_received(self, data: bytes) -> None:
        self._gateway.received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gateway.fail("the relay ended")


class _Outlet(asyncio.BaseProtocol):
    """The stream to the relay."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def pause_writing(self) -> None:
        self._gateway.hold(True)

    def resume_writing(self) -> None:
        self._gateway.hold(False)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gateway.fail("the relay ended")
