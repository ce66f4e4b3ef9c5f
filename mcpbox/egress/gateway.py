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
from mcpbox.egress.ledger import Ledger
from mcpbox.egress.proxy import Proxy, tunnel
from mcpbox.egress.resolve import Resolver, endpoint, is_own
from mcpbox.egress.rules import Decision, Rule, Rules
from mcpbox.egress.upstream import Denied, Upstream

RESOLVE_SECONDS = 10.0
#: RFC 8305, section 5: "Connection Attempt Delay".
STAGGER_SECONDS = 0.25
#: How often a changed profile, idle connections and the end of the session are looked for.
SWEEP_SECONDS = 1.0
#: How long the end of the session waits for it; a host that no longer reads stderr may keep it from ever ending.
CLOSE_SECONDS = 0.5
PIPE_BYTES = 1 << 20
#: Bytes that may wait for the relay before nothing more of it is heard: it may ask without ever reading an answer.
MAX_BACKLOG = 1 << 20
#: Addresses of a name that are looked at: hostile answers have thousands, and each is on record.
MAX_ADDRESSES = 16
#: Hosts that are dialled at once, each at up to so many addresses: the limit of open files is often 1024.
MAX_DIALS = 32


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
        self._rules, self._limits, self._owner, self._proxy = rules, limits, owner, proxy
        #: nothing is refused to a public host
        self.learning = learn
        #: NAME:PORT of everything that was let out, and whether it was anything but TLS or HTTP for that name
        self.used: dict[str, bool] = {}
        self._mux = mux.Mux(mux.FROM_RELAY)
        self._resolver = Resolver()
        self.dialling = asyncio.Semaphore(MAX_DIALS)
        self._upstreams: dict[int, Upstream] = {}
        self.ledger = Ledger(owner.record, owner.report, self.fail)
        self._bytes = 0
        self._full = False
        self._thread = threading.Thread(target=self._main, name="gateway", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None
        self._out: asyncio.WriteTransport | None = None
        self._source: asyncio.ReadTransport | None = None
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
            self._thread.join(CLOSE_SECONDS)

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
        self._source, _ = await loop.connect_read_pipe(lambda: _Inlet(self), os.fdopen(self._read, "rb", 0))
        sweeper = loop.create_task(self._sweep())
        try:
            if not self._closing:
                await self._over.wait()
        finally:
            sweeper.cancel()
            with contextlib.suppress(OSError):
                self.ledger.flush()
            for number in tuple(self._upstreams):
                self.drop(number)
            self._source.close()
            # Where the relay is gone, it is closed already, and aborting it once more would raise.
            if not self._out.is_closing():
                self._out.abort()

    def fail(self, why: str) -> None:
        """The stream is of no use any more: end everything."""
        self._why = self._why or why
        if self._over is not None:
            self._over.set()

    # What the relay says

    def received(self, data: bytes) -> None:
        if self._over is None or self._over.is_set():
            return
        try:
            for event in self._mux.feed(data):
                self._act(event)
        except mux.ProtocolError as error:
            self.fail(f"the relay broke the rules of its stream: {error}")
        except Exception as error:
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
        decision = self._rules.decide_name(name)
        if self.learning and not decision.allow:
            decision = LEARN.decide_name(name)
        if not decision.allow:
            self.ledger.deny(name, None, decision.reason, decision.remedy)
        return decision

    def judge(self, name: str, port: int) -> Decision:
        """By the rules in force now; while learning, any public host passes."""
        decision = self._rules.decide(name, port)
        if decision.allow or not self.learning or not 1 <= port <= 65535:
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
            self.ledger.deny(name, port, reason, remedy)
            self.send(self._mux.reset(number))
            return
        upstream = self._upstreams[number] = Upstream(self, number, name, port, decision.rule)
        upstream.start()

    # What goes to the relay

    def send(self, data: bytes) -> None:
        if not data or self._out is None or self._out.is_closing():
            return
        self._out.write(data)
        if self._full and self._source is not None and self._out.get_write_buffer_size() > MAX_BACKLOG:
            self._source.pause_reading()

    def hold(self, full: bool) -> None:
        """The relay takes no more, or takes more again."""
        self._full = full
        if not full and self._source is not None:
            self._source.resume_reading()
        for upstream in tuple(self._upstreams.values()):
            upstream.read_on()

    def room(self, number: int) -> int:
        """Bytes that may be read for a stream now."""
        return 0 if self._full else self._mux.may_send(number)

    def to_client(self, number: int, data: bytes) -> None:
        self.send(self._mux.data(number, data))
        self.count(len(data))

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
            self.ledger.deny("everything", None, f"more than {self._limits.bytes} bytes in this session", "")
            for number in tuple(self._upstreams):
                self.drop(number)

    # Record and report

    def use(self, upstream: Upstream, *, opaque: bool) -> None:
        """Note what a rule would have to allow."""
        target = f"{upstream.name}:{upstream.port}"
        self.used[target] = self.used.get(target, False) or opaque

    def _allow(self, upstream: Upstream, addresses: Sequence[str], dropped: Sequence[str]) -> None:
        self.use(upstream, opaque=upstream.rule.opaque)
        proxy = self._proxy_of(upstream)
        through = {} if proxy is None else {"proxy": f"{proxy.host}:{proxy.port}"}
        found = {"rule": upstream.rule.text, "addresses": list(addresses), "dropped": list(dropped)}
        self.ledger.allow(upstream.name, upstream.port, {**found, **through})

    def failed(self, upstream: Upstream, why: str) -> None:
        """A connection was allowed, and could not be made."""
        self.ledger.failed(upstream.name, upstream.port, why)
        self.drop(upstream.number)

    async def _sweep(self) -> None:
        try:
            while True:
                await asyncio.sleep(SWEEP_SECONDS)
                self._reload()
                self._end_idle()
                self.ledger.flush()
        except Exception as error:
            self.fail(f"{type(error).__name__}: {error}")

    def _end_idle(self) -> None:
        now = asyncio.get_running_loop().time()
        for number, upstream in tuple(self._upstreams.items()):
            if now - upstream.moved > self._limits.idle:
                self.ledger.deny(upstream.name, upstream.port, f"nothing was said for {self._limits.idle:.0f} s", "")
                self.drop(number)

    def _reload(self) -> None:
        try:
            rules = self._owner.reload()
        except Exception as error:
            self._owner.report(f"egress: nothing is allowed any more: {error}")
            self._rules, self.learning = Rules.parse([]), False
        else:
            if rules is None:
                return
            self.ledger.record(decision="reload", allow=[rule.text for rule in rules.rules])
            self._rules = rules
        self._revoke()

    def _rejudge(self, upstream: Upstream) -> Decision:
        """Whether the rules in force allow an open connection: its name, where it leads, and its bytes unseen."""
        decision = self.judge(upstream.name, upstream.port)
        if decision.rule is None:
            return decision
        if upstream.rule.opaque and not decision.rule.opaque:
            return Decision(False, f"rule {decision.rule.text} wants to see what is sent")
        verdicts = (self._vet(address, upstream.port, decision.rule) for address in upstream.addresses)
        return next((verdict for verdict in verdicts if not verdict.allow), decision)

    def _revoke(self) -> None:
        """End what the rules in force no longer allow."""
        for number, upstream in tuple(self._upstreams.items()):
            decision = self._rejudge(upstream)
            if not decision.allow:
                self.ledger.deny(upstream.name, upstream.port, f"revoked: {decision.reason}", decision.remedy)
                self.drop(number)

    # Where a name leads

    async def addresses(self, upstream: Upstream) -> list[str]:
        """The addresses that may be dialled, in the resolver's order, on record. Raises Denied."""
        if upstream.rule.kind == "network":
            found = [upstream.name]
        elif upstream.rule.kind == "localhost":
            found = ["127.0.0.1", "::1"]
        else:
            found = (await self._resolve(upstream))[:MAX_ADDRESSES]
        verdicts = [(address, self._vet(address, upstream.port, upstream.rule)) for address in found]
        good = [address for address, verdict in verdicts if verdict.allow]
        bad = [verdict for _, verdict in verdicts if not verdict.allow]
        if bad and not good:
            raise Denied("; ".join(verdict.reason for verdict in bad), bad[0].remedy)
        self._allow(upstream, good, [verdict.reason for verdict in bad])
        return good

    def _vet(self, address: str, port: int, rule: Rule) -> Decision:
        return self._rules.vet(address, port, rule, own=is_own(address))

    async def _resolve(self, upstream: Upstream) -> list[str]:
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                found = await self._resolver.look_up(upstream.name, upstream.port)
        except (OSError, TimeoutError) as error:
            # Behind a proxy, it is the proxy that knows the names of the world.
            if self._proxy_of(upstream) is not None:
                return []
            raise Denied(f"it cannot be resolved: {error}") from None
        # The scope of a link-local address comes after "%", and stays for the vetting to see.
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    def _proxy_of(self, upstream: Upstream) -> Proxy | None:
        """The proxy that leads to this host; the user's own machine and network are reached without one."""
        direct = upstream.rule.kind in ("network", "localhost")
        return self._proxy if self._proxy is not None and not direct and self._proxy.serves(upstream.name) else None

    async def dial(self, upstream: Upstream, addresses: Sequence[str]) -> socket.socket:
        """A connection to the first of ``addresses`` that answers. Raises OSError."""
        from aiohappyeyeballs import start_connection

        if (proxy := self._proxy_of(upstream)) is not None:
            return await tunnel(proxy, self._resolver, upstream.name, upstream.port)
        infos = [endpoint(address, upstream.port) for address in addresses]
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
