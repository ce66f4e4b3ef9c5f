"""Whom a client's bytes speak to: TLS's server name, HTTP's Host. No I/O.

A connection is opened to one allowed name, but one address often serves many: the name inside decides who is reached.
Here streams are followed; ``names`` judges each ClientHello and request head once it is whole.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Generator

from mcpbox.egress import names
from mcpbox.egress.names import HTTP_PORT, VERSIONS, Refused

__all__ = ["MAX_HELD", "Inspector", "Refused"]

#: The most bytes that are held back. Post-quantum ClientHellos have 2 KiB; servers take heads of 8 to 64 KiB.
MAX_HELD = 64 << 10
#: The most bytes that upstream may take to answer an Upgrade.
MAX_ANSWER = 8 << 10

TLS_PORT = 443

#: RFC 8446 §5.1 and §4.
CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA = 20, 21, 22, 23
CLIENT_HELLO = 1
#: Records that some servers take before a ClientHello (Go's of an alert), with the one length that they have.
BEFORE_HELLO = {CHANGE_CIPHER_SPEC: 1, ALERT: 2}
MAX_RECORD = 1 << 14

#: Yields how many of the held bytes pass, or 0 for want of more; returns when all that follows passes unlooked at.
Steps = Generator[int, None, None]


class Inspector:
    """Feeds on what the client sends on one connection; says what may pass.

    ``name`` is what the connection was opened to: a lower-case DNS name of A-labels, "localhost", or a canonical IP
    literal. The last two leave nothing to compare, so that everything passes.

    ``done``: all that follows passes, and ``feed`` may be bypassed. ``pending``: an HTTP Upgrade awaits its answer, so
    give ``answered`` what upstream sends, and send on what ``released`` returns. After Refused, everything is refused.
    """

    def __init__(self, name: str, port: int) -> None:
        self.done = name == "localhost" or _is_address(name)
        self.pending = False
        self._name = name.removesuffix(".")
        self._port = port
        self._held = bytearray()
        self._steps = self._start()
        self._ended = False
        self._answer = bytearray()
        self._switched = False
        self._reason = ""

    def feed(self, data: bytes) -> bytes:
        """The bytes that may be sent on now, in order, those held back first. Raises Refused."""
        if self.done:
            return data
        if self._reason:
            raise Refused(self._reason)
        self._held += data
        passed = bytearray()
        try:
            while count := next(self._steps):
                passed += self._take(count)
        except StopIteration:
            self.done = True
            passed += self._take(len(self._held))
        except Refused as refused:
            self._reason = refused.reason
            self._held.clear()
            raise
        return bytes(passed)

    def end(self) -> bytes:
        """The client has ended its half: what was held back and may pass. Raises Refused."""
        self._ended = True
        return self.feed(b"")

    def answered(self, data: bytes) -> None:
        """What upstream sent while ``pending``; at any other time it tells nothing."""
        if not self.pending:
            return
        self._answer += data
        # Interim answers come before the one that counts (RFC 9110 §15.2).
        while interim := _INTERIM.match(self._answer):
            del self._answer[: interim.end()]
        undecided = b"\n" not in self._answer or _INTERIM_BEGUN.match(self._answer)
        if not undecided or len(self._answer) > MAX_ANSWER:
            self._switched = _SWITCHED.match(self._answer) is not None
            self.pending = False
            self._answer.clear()

    def released(self) -> bytes:
        """What was held back for the answer to an Upgrade and may pass now. Raises Refused."""
        return self.feed(b"")

    def _take(self, count: int) -> bytes:
        taken = bytes(self._held[:count])
        del self._held[:count]
        return taken

    def _more(self, missing: str) -> Steps:
        """Wait for bytes without which nothing can be decided; ``missing`` is what is wrong if none come."""
        if self._ended:
            raise Refused(f"{missing} is incomplete")
        if len(self._held) > MAX_HELD:
            raise Refused(f"{missing} is longer than {MAX_HELD} bytes")
        yield 0

    def _through(self, size: int) -> Steps:
        while size:
            if not self._held and self._ended:
                return
            count = min(size, len(self._held))
            size -= count
            yield count

    def _start(self) -> Steps:
        held = self._held
        while not held or (held[0] & 0x80 and len(held) < 3) or (held[0] in BEFORE_HELLO and len(held) < 5):
            if self._ended:
                break
            yield 0
        if held[:1] == bytes([HANDSHAKE]):
            yield from self._tls()
            return
        if held and held[0] & 0x80 and held[2:3] == bytes([CLIENT_HELLO]):
            raise Refused("an SSL 2 hello, which names no server")
        if len(held) >= 5 and BEFORE_HELLO.get(held[0]) == _record(held, 0)[2]:
            raise Refused(f"a TLS record of type {held[0]} before the ClientHello")
        if held and self._port == TLS_PORT:
            raise Refused("not TLS")
        if (yield from self._begins_http()):
            yield from self._http()
        elif held and self._port == HTTP_PORT:
            raise Refused("not HTTP")

    def _begins_http(self) -> Generator[int, None, bool]:
        """Whether the first line is an HTTP request's.

        It is held back from an upper-case word on. Anything else is let through up to the end of that line, since a
        client of another protocol may wait for an answer to half a line; HTTP does nothing before the line's end.
        """
        line, sent, seen = bytearray(), 0, 0
        for phase, then in _FIRST_LINE:
            while (seen := _end(phase, line, seen)) == len(line):
                if seen > MAX_HELD:
                    raise Refused(f"the first line is longer than {MAX_HELD} bytes")
                if new := self._held[seen - sent :]:
                    line += new
                elif self._ended:
                    # As if the line ended, with what belongs to no line after it.
                    line += b"\n\0"
                elif _METHOD.match(line):
                    yield 0
                elif line and self._port == HTTP_PORT:
                    return False
                else:
                    sent += len(self._held)
                    yield len(self._held)
            if line[seen] not in then:
                return False
        if seen > MAX_HELD:
            raise Refused(f"the first line is longer than {MAX_HELD} bytes")
        first = bytes(line[: seen + 1])
        if not _NAMES_VERSION.search(first) and not _NAMES_URL.match(first):
            return False
        if not _METHOD.match(first):
            if self._port == HTTP_PORT:
                return False
            raise Refused("HTTP that does not begin with a method in upper case")
        return True

    def _tls(self) -> Steps:
        early = yield from self._hello()
        # A HelloRetryRequest asks for a second ClientHello, and its name may be the one that counts (RFC 8446 §4.1.2).
        while True:
            while len(self._held) < 6:
                if self._ended:
                    return
                yield 0
            kind, _, size = _record(self._held, 0)
            if kind == HANDSHAKE and (size == 0 or self._held[5] == CLIENT_HELLO):
                yield from self._hello()
                return
            if kind not in (CHANGE_CIPHER_SPEC, ALERT) and not (kind == APPLICATION_DATA and early):
                return
            yield from self._through(5 + size)

    def _hello(self) -> Generator[int, None, bool]:
        """Pass one ClientHello, which may be spread over records; whether it announces early data."""
        message, at = bytearray(), 0
        while not message or len(message) < 4 or len(message) < 4 + int.from_bytes(message[1:4]):
            while len(self._held) < at + 5:
                yield from self._more("the TLS ClientHello")
            kind, version, size = _record(self._held, at)
            if kind != HANDSHAKE:
                raise Refused(f"a TLS record of type {kind} within the ClientHello")
            if version not in VERSIONS:
                raise Refused(f"the TLS record version is {version:#06x}, not 0x0301 to 0x0303")
            if not 0 < size <= MAX_RECORD:
                raise Refused(f"a TLS record of {size} bytes")
            while len(self._held) < at + 5 + size:
                yield from self._more("the TLS ClientHello")
            message += self._held[at + 5 : at + 5 + size]
            at += 5 + size
            if message[0] != CLIENT_HELLO:
                raise Refused(f"a TLS handshake message of type {message[0]}, not a ClientHello")
            if at > MAX_HELD or int.from_bytes(message[1:4]) > MAX_HELD:
                raise Refused(f"the TLS ClientHello is longer than {MAX_HELD} bytes")
        if len(message) > 4 + int.from_bytes(message[1:4]):
            raise Refused("more than a ClientHello in its TLS record")
        early = names.check_hello(bytes(message[4:]), self._name)
        yield at
        return early

    def _http(self) -> Steps:
        first = True
        while True:
            size = yield from self._head_size()
            request = names.check_request(bytes(self._held[: size - 4]), self._name, self._port)
            # What upstream sends next would not be told from the rest of an earlier answer.
            if request.upgrade and not first:
                raise Refused("an HTTP Upgrade that is not the first request of its connection")
            # Set before the head goes out, so that no answer can come first.
            self.pending = request.upgrade
            first = False
            yield size
            while self.pending and not self._ended:
                yield from self._more("what follows an unanswered HTTP Upgrade")
            if self.pending and self._held:
                raise Refused("bytes after an HTTP Upgrade that was not yet answered")
            if self._switched:
                return
            yield from self._chunks() if request.chunked else self._through(request.length)
            while not self._held:
                if self._ended:
                    return
                yield 0

    def _head_size(self) -> Generator[int, None, int]:
        line = seen = 0
        while True:
            end = self._held.find(b"\n", seen)
            if end >= MAX_HELD:
                raise Refused(f"the head of the HTTP request is longer than {MAX_HELD} bytes")
            if end < 0:
                seen = len(self._held)
                yield from self._more("the head of the HTTP request")
            elif end == line or self._held[end - 1] != 0x0D:
                raise Refused("a bare LF in HTTP")
            elif end - 1 == line:
                if line == 0:
                    raise Refused("an empty line where an HTTP request should begin")
                return end + 1
            else:
                line = seen = end + 1

    def _chunks(self) -> Steps:
        """RFC 9112 §7.1, without extensions and trailers: no client needs them, and readers differ (CVE-2025-22871)."""
        size = -1
        while size:
            while not (found := _CHUNK_SIZE.match(self._held)):
                if not _CHUNK_SIZE_BEGUN.fullmatch(self._held[:18]):
                    raise Refused("a chunk size that is not plain hexadecimal and CRLF")
                yield from self._more("the chunked HTTP body")
            size = int(found[1], 16)
            yield found.end()
            yield from self._through(size)
            while len(self._held) < 2 and b"\r".startswith(self._held):
                yield from self._more("the chunked HTTP body")
            if self._held[:2] != b"\r\n":
                raise Refused("no CRLF after a chunk" if size else "a trailer after a chunked HTTP body")
            yield 2


def _record(held: bytearray, at: int) -> tuple[int, int, int]:
    """Type, version and length of the TLS record at ``at``."""
    return held[at], int.from_bytes(held[at + 1 : at + 3]), int.from_bytes(held[at + 3 : at + 5])


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _end(pattern: re.Pattern[bytes], data: bytearray, start: int) -> int:
    found = pattern.match(data, start)
    return found.end() if found else start


_SPACE = b" \t\v\f\r"
_TOKEN = bytes(byte for byte in range(128) if re.match(names.TOKEN, chr(byte)))
#: How the most lenient server would read a request line: what is skipped, and what must come next for it to be one.
_FIRST_LINE = (
    (re.compile(rb"[ \t\v\f\r\n]*"), _TOKEN),
    (re.compile(names.TOKEN.encode() + b"*"), _SPACE),
    (re.compile(rb"[^\x00-\x08\n\x0e-\x1f]*"), b"\n"),
)
_NAMES_VERSION = re.compile(rb"\sHTTP/[0-9.]*\s*\n", re.IGNORECASE)
#: A request without a version is HTTP/0.9, which can name a host only here.
_NAMES_URL = re.compile(rb"\s*+\S++\s++https?://", re.IGNORECASE)
_METHOD = re.compile(rb"[A-Z]{1,20}(?: |\Z)")

_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n")
_CHUNK_SIZE_BEGUN = re.compile(rb"[0-9A-Fa-f]{0,15}\r?")
_INTERIM = re.compile(rb"HTTP/1\.[01] 1(?!01)[0-9]{2}[ \r].*?\r\n\r\n", re.DOTALL)
_INTERIM_BEGUN = re.compile(rb"HTTP/1\.[01] 1(?!01)[0-9]{2}[ \r]")
_SWITCHED = re.compile(rb"HTTP/1\.[01] 101[ \r]")
