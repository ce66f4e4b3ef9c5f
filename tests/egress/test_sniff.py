from __future__ import annotations

import ssl
import string
from collections.abc import Iterable
from contextlib import suppress

import h11
import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mcpbox.egress.sniff import MAX_HELD, Inspector, Refused

NAME = "api.github.com"


def run(inspector: Inspector, parts: Iterable[bytes]) -> bytes:
    """What passes, the end of the client's half included. Raises Refused."""
    return b"".join([*(inspector.feed(part) for part in parts), inspector.end()])


def passes(data: bytes, name: str = NAME, port: int = 443) -> bool:
    """Whether all of it passes, whole and byte by byte alike; if not, the reasons are the same."""
    found = set()
    for parts in ([data], [bytes([byte]) for byte in data]):
        try:
            assert run(Inspector(name, port), parts) == data
            found.add("")
        except Refused as refused:
            found.add(refused.reason)
    assert len(found) == 1, found
    return found == {""}


def refuses(data: bytes, reason: str, name: str = NAME, port: int = 443) -> None:
    """Refused with this reason, whole and byte by byte, whatever trails it; and nothing passes afterwards."""
    for parts in ([data], [bytes([byte]) for byte in data], [data + b"trailing\r\n\r\n"]):
        inspector = Inspector(name, port)
        with pytest.raises(Refused) as caught:
            run(inspector, parts)
        assert reason in caught.value.reason
        assert caught.value.reason.isascii() and caught.value.reason.isprintable() and len(caught.value.reason) < 200
        assert not inspector.done
        with pytest.raises(Refused):
            inspector.feed(b"more")
        with pytest.raises(Refused):
            inspector.end()


# --- TLS


def vector(width: int, *parts: bytes) -> bytes:
    data = b"".join(parts)
    return len(data).to_bytes(width) + data


def extension(kind: int, *parts: bytes) -> bytes:
    return kind.to_bytes(2) + vector(2, *parts)


def sni(*names: str | bytes, kind: int = 0) -> bytes:
    entries = (name.encode() if isinstance(name, str) else name for name in names)
    return extension(0, vector(2, *(bytes([kind]) + vector(2, name) for name in entries)))


def hello(
    *extensions: bytes,
    version: bytes = b"\x03\x03",
    session: bytes = b"s" * 32,
    suites: bytes = b"\x13\x01\x13\x02",
    compression: bytes = b"\0",
    tail: bytes = b"",
) -> bytes:
    body = version + b"r" * 32 + vector(1, session) + vector(2, suites) + vector(1, compression)
    return b"\x01" + vector(3, body, vector(2, *extensions), tail)


def record(data: bytes, kind: int = 22, version: bytes = b"\x03\x01") -> bytes:
    return bytes([kind]) + version + vector(2, data)


def records(message: bytes, size: int) -> bytes:
    return b"".join(record(message[at : at + size]) for at in range(0, len(message), size))


def client(name: str | None) -> tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return tls, incoming, outgoing


def real_hello(name: str | None) -> bytes:
    return client(name)[2].read()


GOOD = hello(sni(NAME))
GREASE = extension(0x0A0A)
POST_QUANTUM = extension(51, vector(2, b"\x11\xec", vector(2, b"k" * 1216)))
CCS = record(b"\x01", kind=20)


@pytest.mark.parametrize(
    "data",
    [
        record(GOOD),
        records(GOOD, 1),
        records(GOOD, 7),
        record(hello(GREASE, POST_QUANTUM, sni(NAME), extension(16, b"\0\x03\x02h2"))),
        record(hello(sni("API.GitHub.com"))),
        record(hello(sni("api.github.com."))),
        records(hello(sni(NAME), extension(21, b"\0" * 40_000)), 16384),
        record(hello(sni(NAME), version=b"\x03\x01"), version=b"\x03\x03"),
        record(GOOD) + b"anything at all",
        record(GOOD) + CCS + record(b"finished", kind=23) + b"garbage",
        record(GOOD) + record(b"\x10key exchange") + b"garbage",
        record(GOOD) + CCS + record(GOOD) + b"garbage",
        record(GOOD) + CCS,
        record(hello(sni(NAME), extension(42))) + record(b"early", kind=23) * 3 + CCS + record(GOOD),
    ],
)
@pytest.mark.parametrize("port", [443, 80, 8443])
def test_tls_to_the_name_passes(data: bytes, port: int) -> None:
    assert passes(data, port=port)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (record(hello(sni("evil.com"))), "the TLS SNI is evil.com, not api.github.com"),
        (record(b"\1\x5a", kind=21) + record(hello(sni("evil.com"))), "a TLS record of type 21 before the ClientHello"),
        (b"\x15\0\0\0\2\1\0" + record(hello(sni("evil.com"))), "a TLS record of type 21 before the ClientHello"),
        (CCS + record(hello(sni("evil.com"))), "a TLS record of type 20 before the ClientHello"),
        (records(hello(sni("evil.com")), 1), "the TLS SNI is evil.com"),
        (record(hello(sni("api.github.com.evil.com"))), "the TLS SNI is api.github.com.evil.com"),
        (record(hello(sni("xapi.github.com"))), "the TLS SNI is xapi"),
        (record(hello(sni("github.com"))), "the TLS SNI is github.com"),
        (record(hello(sni("api.github.com.."))), "the TLS SNI is api.github.com.."),
        (record(hello(sni(b"api.github.com\0"))), r"the TLS SNI is api.github.com\x00, not"),
        (record(hello(sni(b"api.github.com\r\n\xe9"))), r"the TLS SNI is api.github.com\r\n\xe9, not"),
        (record(hello(sni("x" * 9000))), "the TLS SNI is " + "x" * 80 + "..., not"),
        (record(hello()), "has no SNI"),
        (record(hello()[:1] + vector(3, hello()[4:-2])), "has no SNI"),
        (record(hello(sni(NAME), sni(NAME))), "the TLS extension 0 stands twice"),
        (record(hello(GREASE, sni(NAME), GREASE)), "the TLS extension 2570 stands twice"),
        (record(hello(sni(NAME, "evil.com"))), "more than one name"),
        (record(hello(sni("evil.com", NAME))), "more than one name"),
        (record(hello(sni(NAME, kind=1))), "a name of type 1"),
        (record(hello(extension(0, vector(2)))), "a length of 0 in the TLS SNI"),
        (record(hello(extension(0))), "the TLS SNI is cut short"),
        (record(hello(sni(""))), "a length of 0 in the TLS SNI"),
        (
            record(hello(extension(0, vector(2, b"\0" + vector(2, NAME.encode())), b"x"))),
            "1 bytes too many in the TLS SNI",
        ),
        (record(hello(extension(0, b"\0\x20\0" + vector(2, NAME.encode())))), "the TLS SNI is cut short"),
        (record(hello(sni(NAME), extension(0xFE0D, b"ech"))), "encrypted (encrypted_client_hello)"),
        (record(hello(sni(NAME), extension(0xFFCE, b"esni"))), "encrypted (encrypted_server_name)"),
        (record(hello(sni(NAME), tail=b"x")), "1 bytes too many in the TLS ClientHello"),
        (record(hello(sni(NAME), b"\0")), "the TLS extensions is cut short"),
        (record(hello(sni(NAME), session=b"s" * 33)), "a length of 33 in the TLS ClientHello"),
        (record(hello(sni(NAME), suites=b"")), "a length of 0 in the TLS ClientHello"),
        (record(hello(sni(NAME), suites=b"abc")), "half a cipher suite"),
        (record(hello(sni(NAME), compression=b"")), "a length of 0 in the TLS ClientHello"),
        (record(hello(sni(NAME), version=b"\x03\x00")), "the TLS ClientHello version is 0x0300"),
        (record(hello(sni(NAME), version=b"\x03\x04")), "the TLS ClientHello version is 0x0304"),
        (record(b"\x01" + vector(3, GOOD[4:40])), "the TLS ClientHello is cut short"),
        (record(GOOD, version=b"\x03\x00"), "the TLS record version is 0x0300"),
        (record(GOOD, version=b"\x03\x04"), "the TLS record version is 0x0304"),
        (record(GOOD, version=b"\xfe\xff"), "the TLS record version is 0xfeff"),
        (record(b""), "a TLS record of 0 bytes"),
        (b"\x16\x03\x01\x40\x01", "a TLS record of 16385 bytes"),
        (record(GOOD[:9]) + record(b"\x01", kind=20), "a TLS record of type 20 within the ClientHello"),
        (record(GOOD[:9]) + record(b"\x01\0", kind=21), "a TLS record of type 21 within the ClientHello"),
        (record(b"\x02" + GOOD[1:]), "of type 2, not a ClientHello"),
        (record(GOOD + b"\x10"), "more than a ClientHello in its TLS record"),
        (record(GOOD + hello(sni("evil.com"))), "more than a ClientHello"),
        (record(b"\x01\x01\x00\x01"), f"longer than {MAX_HELD}"),
        (record(GOOD) + record(hello(sni("evil.com"))), "the TLS SNI is evil.com"),
        (record(GOOD) + CCS + record(hello(sni("evil.com"))), "the TLS SNI is evil.com"),
        (record(GOOD) + record(b"\x01\x5a", kind=21) + record(hello(sni("evil.com"))), "the TLS SNI is evil.com"),
        (record(GOOD) + record(b"") + record(hello(sni("evil.com"))), "a TLS record of 0 bytes"),
        (
            record(hello(sni(NAME), extension(42))) + record(b"early", kind=23) + CCS + record(hello(sni("evil.com"))),
            "the TLS SNI is evil.com",
        ),
        (b"\x80\x2e\x01\x03\x01\0\x15", "an SSL 2 hello"),
        (b"\xff\xff\x01\x00\x02", "an SSL 2 hello"),
    ],
)
@pytest.mark.parametrize("port", [443, 80, 8443])
def test_tls_to_anything_else_is_refused(data: bytes, reason: str, port: int) -> None:
    refuses(data, reason, port=port)


@pytest.mark.parametrize("size", [1, 4, 5, 6, 9, 40, 70])
def test_a_hello_that_is_cut_short_never_passes(size: int) -> None:
    inspector = Inspector(NAME, 443)
    assert inspector.feed(record(GOOD)[:size]) == b""
    with pytest.raises(Refused, match="the TLS ClientHello is incomplete"):
        inspector.end()


def test_tls_is_looked_at_no_longer_than_need_be() -> None:
    inspector = Inspector(NAME, 443)
    assert inspector.feed(record(GOOD)) == record(GOOD)
    assert inspector.feed(CCS) == CCS
    assert not inspector.done
    assert inspector.feed(record(b"finished", kind=23)) == record(b"finished", kind=23)
    assert inspector.done


LABEL = st.text(string.ascii_lowercase, min_size=1, max_size=10)
NAMES = st.lists(LABEL, min_size=2, max_size=4).map(".".join)


@given(NAMES, NAMES)
@example(NAME, NAME)
def test_a_real_hello_passes_exactly_to_its_name(asked: str, allowed: str) -> None:
    data = real_hello(asked)
    assert passes(data, asked)
    assert passes(data, allowed) == (asked == allowed)


def test_a_real_hello_without_a_name_is_refused() -> None:
    refuses(real_hello(None), "has no SNI")


def test_a_real_second_hello_passes() -> None:
    tls, incoming, outgoing = client(NAME)
    first = outgoing.read()
    session = first[44 : 44 + first[43]]
    # RFC 8446 §4.1.3: the random that makes a ServerHello a HelloRetryRequest; here it asks for secp384r1.
    retry = bytes.fromhex("CF21AD74E59A6111BE1D8C021E65B891C2A211167ABB8C5E079E09E2C8A8339C")
    asked = extension(43, b"\x03\x04") + extension(51, b"\0\x18")
    body = b"\x03\x03" + retry + vector(1, session) + b"\x13\x02\0" + vector(2, asked)
    incoming.write(record(b"\x02" + vector(3, body), version=b"\x03\x03"))
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    second = outgoing.read()
    assert second.count(NAME.encode()) == 1
    assert passes(first + second)
    refuses(first + second.replace(NAME.encode(), b"api.github.bad"), "the TLS SNI is api.github.bad")


# --- HTTP


def request(*fields: str, line: str = "GET / HTTP/1.1", host: str | None = NAME, body: str = "") -> bytes:
    hosts = () if host is None else (f"Host: {host}",)
    return ("\r\n".join([line, *hosts, *fields]) + "\r\n\r\n" + body).encode("latin-1")


EVIL = request(host="evil.com")
CHUNKED = "Transfer-Encoding: chunked"
WEBSOCKET = request("Connection: Upgrade", "Upgrade: websocket")


@pytest.mark.parametrize(
    "data",
    [
        request(),
        request(host="api.github.com:80"),
        request(host="API.github.COM."),
        request(host="api.github.com.:80"),
        b"GET / HTTP/1.1\r\nAccept: */*\r\nhOsT:\t api.github.com \t\r\n\r\n",
        request(line="GET / HTTP/1.0"),
        request(line="OPTIONS * HTTP/1.1"),
        request(line="PROPFIND / HTTP/1.1"),
        request(line="GET http://api.github.com/x?http://evil.com HTTP/1.1"),
        request(line="GET HTTP://API.github.com:80 HTTP/1.1"),
        request("X: caf\xe9", "Empty:"),
        request() * 3,
        request("Content-Length: 5", line="POST / HTTP/1.1", body="hello"),
        request(f"Content-Length: {len(EVIL)}", line="POST / HTTP/1.1", body=EVIL.decode()) + request(),
        request("Content-Length: 0") + request(),
        request(CHUNKED, line="POST / HTTP/1.1", body="5\r\nhello\r\n00A\r\n0123456789\r\n0\r\n\r\n") + request(),
        request("transfer-encoding:  Chunked", body=f"{len(EVIL):x}\r\n{EVIL.decode()}\r\n0\r\n\r\n"),
        request("Content-Length: 5", body="he"),
        WEBSOCKET,
    ],
)
def test_http_to_the_name_passes(data: bytes) -> None:
    assert passes(data, port=80)
    if b":80" not in data and b"http://" not in data:
        assert passes(data, port=8080)


BAD_HTTP = [
    (EVIL, "the HTTP Host is evil.com, not api.github.com:80"),
    (request(host=None), "no Host field"),
    (request(host=None, line="GET / HTTP/1.0"), "no Host field"),
    (request("Host: evil.com"), "2 Host fields"),
    (request(f"Host: {NAME}"), "2 Host fields"),
    (request("hOST: evil.com"), "2 Host fields"),
    (request(host=""), 'the HTTP Host is ""'),
    (request(host="api.github.com, evil.com"), "the HTTP Host is api.github.com, evil.com, not"),
    (request(host="api.github.com:8081"), "the HTTP Host is api.github.com:8081"),
    (request(host="api.github.com:"), "the HTTP Host is api.github.com:,"),
    (request(host="api.github.com:080"), "the HTTP Host is api.github.com:080"),
    (request(host="api.github.com:80:80"), "the HTTP Host is api.github.com:80:80"),
    (request(host="evil.com@api.github.com"), "the HTTP Host is evil.com@"),
    (request(host="api.github.com.."), "the HTTP Host is api.github.com.."),
    (request(host="api.github.com\xa0"), r"the HTTP Host is api.github.com\xa0"),
    (request(line="GET http://evil.com/ HTTP/1.1"), "the HTTP target is at evil.com, not"),
    (request(line="GET http://evil.com@api.github.com/ HTTP/1.1"), "the HTTP target is at evil.com@"),
    (request(line="GET http://evil.com\\@api.github.com/ HTTP/1.1"), "the HTTP target is at evil.com"),
    (request(line="GET http://api.github.com:81/ HTTP/1.1"), "the HTTP target is at api.github.com:81"),
    (request(line="GET https://api.github.com/ HTTP/1.1"), "neither a path nor an http URL"),
    (request(line="GET * HTTP/1.1"), "neither a path nor an http URL"),
    (request(line="GET evil.com HTTP/1.1"), "neither a path nor an http URL"),
    (request(line="CONNECT evil.com:443 HTTP/1.1"), "the HTTP method CONNECT"),
    (request(line=f"CONNECT {NAME}:80 HTTP/1.1"), "the HTTP method CONNECT"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2.0 in the clear"),
    (request(line="GET / HTTP/1.2"), "HTTP/1.2 in the clear"),
    (request(line="GET / HTTP/0.9"), "HTTP/0.9 in the clear"),
    (request(line="GET / HTTP/1.1 "), "not an HTTP request line"),
    (request(line="GET  / HTTP/1.1"), "not an HTTP request line"),
    (request(line="GET / HTTP/"), "not an HTTP request line"),
    (request(line="GET / http/1.1"), "not an HTTP request line"),
    (request(line="GET /caf\xe9 HTTP/1.1"), "not an HTTP request line"),
    (request(line="GET /a b HTTP/1.1"), "not an HTTP request line"),
    (request(line="GET HTTP/1.1"), "not an HTTP request line"),
    (request().replace(b"\r\n", b"\n"), "a bare LF"),
    (request("A: b\nHost: evil.com"), "a bare LF"),
    (request("A: b\n"), "a bare LF"),
    (b"GET / HTTP/1.1\r\nHost: api.github.com\n\r\n", "a bare LF"),
    (b"GET / HTTP/1.1\r\nHost: api.github.com\r\n\n", "a bare LF"),
    (request("A: b\rHost: evil.com"), "a bare CR"),
    (request("A: b\r"), "a bare CR"),
    (request(line="GET / HTTP/1.1\r"), "a bare CR"),
    (request(" folded"), "a folded HTTP field"),
    (request("\tHost: evil.com"), "a folded HTTP field"),
    (b"GET / HTTP/1.1\r\n Host: api.github.com\r\n\r\n", "a folded HTTP field"),
    (b"GET / HTTP/1.1\r\nHost : api.github.com\r\n\r\n", "whitespace before the colon"),
    (request("Transfer-Encoding\t: chunked"), "whitespace before the colon"),
    (request("no colon"), "not an HTTP field: no colon"),
    (request(": empty"), "not an HTTP field: : empty"),
    (request("A\xe9: b"), "not an HTTP field: A\\xe9: b"),
    (request("A: \0"), "not an HTTP field: A: \\x00"),
    (request("A: \x7f"), "not an HTTP field: A: \\x7f"),
    (request("Content_Length: 5"), "content_length, which some read as content-length"),
    (request("Transfer_Encoding: chunked"), "transfer_encoding, which some read as transfer-encoding"),
    (request("Content-Length: 5", CHUNKED), "both Content-Length and Transfer-Encoding"),
    (request("Content-Length: 5", "content-length: 5"), "2 Content-Length fields"),
    (request("Content-Length: 5, 5"), "the HTTP Content-Length is 5, 5"),
    (request("Content-Length: +5"), "the HTTP Content-Length is +5"),
    (request("Content-Length: -1"), "the HTTP Content-Length is -1"),
    (request("Content-Length: 0x5"), "the HTTP Content-Length is 0x5"),
    (request("Content-Length: \xb2"), "the HTTP Content-Length is \\xb2"),
    (request("Content-Length: " + "9" * 19), "the HTTP Content-Length is 999"),
    (request("Content-Length:"), 'the HTTP Content-Length is ""'),
    (request("Transfer-Encoding: gzip, chunked"), "the HTTP Transfer-Encoding is gzip, chunked, not"),
    (request("Transfer-Encoding: identity"), "the HTTP Transfer-Encoding is identity"),
    (request("Transfer-Encoding: xchunked"), "the HTTP Transfer-Encoding is xchunked"),
    (request("Transfer-Encoding: \x0bchunked"), "not an HTTP field"),
    (request(CHUNKED, CHUNKED), "the HTTP Transfer-Encoding is chunked, chunked"),
    (request(CHUNKED, line="POST / HTTP/1.0"), "Transfer-Encoding in HTTP/1.0"),
    (request(CHUNKED, body="5;a=b\r\nhello\r\n0\r\n\r\n"), "not plain hexadecimal"),
    (request(CHUNKED, body="5 \r\nhello\r\n0\r\n\r\n"), "not plain hexadecimal"),
    (request(CHUNKED, body="0x5\r\nhello\r\n0\r\n\r\n"), "not plain hexadecimal"),
    (request(CHUNKED, body="\r\n"), "not plain hexadecimal"),
    (request(CHUNKED, body="5\nhello\r\n0\r\n\r\n"), "not plain hexadecimal"),
    (request(CHUNKED, body="5\r\rhello"), "not plain hexadecimal"),
    (request(CHUNKED, body="1" * 16 + "\r\n"), "not plain hexadecimal"),
    (request(CHUNKED, body="5\r\nhello0\r\n\r\n"), "no CRLF after a chunk"),
    (request(CHUNKED, body="5\r\nhello\n0\r\n\r\n"), "no CRLF after a chunk"),
    (request(CHUNKED, body="0\r\nHost: evil.com\r\n\r\n"), "a trailer after"),
    (request() + EVIL, "the HTTP Host is evil.com"),
    (request("Content-Length: 5", body="hello") + EVIL, "the HTTP Host is evil.com"),
    (request(CHUNKED, body="5\r\nhello\r\n0\r\n\r\n") + EVIL, "the HTTP Host is evil.com"),
    (request() + b"\r\n" + EVIL, "an empty line where"),
    (request() + b"garbage\r\n\r\n", "not an HTTP request line: garbage"),
    (request() + b"hello" + request(), "not an HTTP request line: helloGET / HTTP/1.1"),
    (request() + record(GOOD) + b"\r\n\r\n", r"not an HTTP request line: \x16\x03\x01"),
    (request("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c"), "the HTTP Upgrade to h2c"),
    (request("Connection: Upgrade", "Upgrade: websocket, H2C"), "the HTTP Upgrade to H2C"),
    (request("Upgrade: websocket", "Upgrade: h2c"), "the HTTP Upgrade to h2c"),
    (request("Upgrade: TLS/1.2"), "the HTTP Upgrade to TLS/1.2"),
    (request("Upgrade: HTTP/2.0"), "the HTTP Upgrade to HTTP/2.0"),
    (request("Upgrade: websocket", "Content-Length: 1"), "an HTTP Upgrade with a body"),
    (request("Upgrade: websocket", CHUNKED), "an HTTP Upgrade with a body"),
    (request("Upgrade: websocket", host="evil.com"), "the HTTP Host is evil.com"),
    (request() + WEBSOCKET, "an HTTP Upgrade that is not the first request"),
    (WEBSOCKET + b"x", "an HTTP Upgrade that was not yet answered"),
]


@pytest.mark.parametrize(("data", "reason"), BAD_HTTP)
def test_http_to_anything_else_is_refused(data: bytes, reason: str) -> None:
    refuses(data, reason, port=80)
    refuses(data, reason.replace(":80", ":8080") if "not api" in reason else reason, port=8080)


def test_a_url_without_a_port_is_at_port_80() -> None:
    refuses(request(line=f"GET http://{NAME}/ HTTP/1.1"), f"the HTTP target is at {NAME}, not {NAME}:8080", port=8080)
    assert passes(request(line=f"GET http://{NAME}:8080/ HTTP/1.1"), port=8080)


def test_a_head_passes_only_when_it_is_whole_and_a_body_at_once() -> None:
    inspector = Inspector(NAME, 80)
    head = request("Content-Length: 3")
    assert inspector.feed(head[:-1]) == b""
    assert inspector.feed(head[-1:] + b"a") == head + b"a"
    assert inspector.feed(b"b") == b"b"
    assert inspector.feed(b"cGET") == b"c"
    with pytest.raises(Refused, match="the head of the HTTP request is incomplete"):
        inspector.end()


def test_a_chunked_body_that_is_cut_short_in_its_framing_is_refused() -> None:
    with pytest.raises(Refused, match="the chunked HTTP body is incomplete"):
        run(Inspector(NAME, 80), [request(CHUNKED, body="5\r\nhello\r\n0\r")])


# --- HTTP Upgrade

SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


def upgrading(held: bytes = b"") -> Inspector:
    inspector = Inspector(NAME, 80)
    assert not inspector.pending
    inspector.answered(SWITCHING)
    assert inspector.feed(WEBSOCKET + held) == WEBSOCKET
    assert inspector.pending
    assert inspector.released() == b""
    return inspector


@pytest.mark.parametrize(
    "answer",
    [
        SWITCHING,
        SWITCHING + b"frames",
        SWITCHING + b"x" * 10_000,
        b"HTTP/1.0 101\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + SWITCHING,
    ],
)
@pytest.mark.parametrize("size", [1, 20_000])
def test_after_a_switch_everything_passes(answer: bytes, size: int) -> None:
    inspector = upgrading(EVIL)
    for at in range(0, len(answer), size):
        inspector.answered(answer[at : at + size])
    assert not inspector.pending
    assert inspector.released() == EVIL
    assert inspector.done


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 426 Upgrade Required\r\n",
        b"HTTP/1.1 1010 No\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\n\r\n",
        b"HTTP/1.1 100 HTTP/1.1 101 X\r\nA: HTTP/1.1 101 X\r\n\r\nHTTP/1.1 404 Not Found\r\n\r\n",
        b"HTTP/2 101 X\r\n",
        b"\r\n" + SWITCHING,
        b"garbage\n" + SWITCHING,
        b"x" * 8193,
    ],
)
@pytest.mark.parametrize("size", [1, 20_000])
def test_without_a_switch_the_requests_that_follow_are_judged(answer: bytes, size: int) -> None:
    for held in (request(), request() + EVIL):
        inspector = upgrading(held)
        for at in range(0, len(answer), size):
            inspector.answered(answer[at : at + size])
        assert not inspector.pending
        if held == request():
            assert inspector.released() == held
            held = EVIL
        with pytest.raises(Refused, match="the HTTP Host is evil"):
            inspector.feed(EVIL)
        assert not inspector.done


def test_an_answer_that_does_not_come_to_the_point_is_no_switch() -> None:
    inspector = upgrading()
    inspector.answered(b"HTTP/1.1 100 Continue\r\n" + b"A: b\r\n" * 2000)
    assert not inspector.pending
    inspector.answered(b"\r\n" + SWITCHING)
    assert inspector.released() == b""
    assert not inspector.done


def test_what_is_sent_before_the_answer_is_bounded() -> None:
    with pytest.raises(Refused, match="what follows an unanswered HTTP Upgrade is longer than 65536 bytes"):
        upgrading().feed(b"x" * (MAX_HELD + 1))


# --- What is neither

OTHER = [
    b"",
    b"\0",
    b"\0\0\0\x08\x04\xd2\x16\x2f",
    b"{}\n",
    b"\x80",
    b"\xff\xff",
    b"\x80\x01\x02",
    b"*1\r\n$4\r\nPING\r\n",
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"EHLO example.com\r\nGET / HTTP/1.1\r\nHost: evil.com\r\n\r\n",
    b"USER a HTTP/1.1 b\r\n",
    b"QUIT",
    b"QUIT ",
    b"GET key\r\n",
    b"GET\r\n",
    b"GET \0 HTTP/1.1\r\n",
    b"G\0\0\0",
    b"OPTIONS rtsp://evil.com/ RTSP/1.0\r\n",
    b"\x15\0\0\0\3SELECT 1",
    b"\x14\0",
    b"0032git-upload-pack /project.git\0host=example.com\0",
    b"\r\n\r\nhello\r\n",
    b"  \t",
    b"hello",
]


@pytest.mark.parametrize("data", OTHER)
def test_other_protocols_pass_on_other_ports_alone(data: bytes) -> None:
    assert passes(data, port=5000)
    if data:
        refuses(data, "not TLS", port=443)
        refuses(data, "not HTTP", port=80)


@pytest.mark.parametrize("data", [b"\0", b"{", b"\x80\0\0", b"GET \0", b"GET\0", b"G-T\0", b"PING\r\n", b"A b\n"])
def test_other_protocols_are_not_looked_at_any_further(data: bytes) -> None:
    inspector = Inspector(NAME, 5000)
    assert inspector.feed(data) == data
    assert inspector.done
    assert inspector.feed(EVIL) == EVIL


@pytest.mark.parametrize("data", [b"hello", b"PING1", b"\r\n", b"a b c", b"G" * 21, b"SSH-2.0-x y"])
def test_other_protocols_are_not_held_back_for_the_rest_of_a_line(data: bytes) -> None:
    inspector = Inspector(NAME, 5000)
    assert b"".join(inspector.feed(bytes([byte])) for byte in data) == data
    assert not inspector.done


@pytest.mark.parametrize(
    "data",
    [
        request(line="get / HTTP/1.1", host="evil.com"),
        request(line="get / HTTP/1.1"),
        b"\r\n" + EVIL,
        b" \n\t" + EVIL,
        request(line="GET\t/ HTTP/1.1", host="evil.com"),
        request(line="M-SEARCH / HTTP/1.1", host="evil.com"),
        request(line="G" * 21 + " / HTTP/1.1", host="evil.com"),
        request(line="get\x0b/\x0cHTTP/1.1", host="evil.com"),
        request(line="get / http/1.1 ", host="evil.com").replace(b"\r\n", b"\n"),
        b"get http://evil.com/\n",
        b"get HTTPS://evil.com/\r\n",
    ],
)
def test_http_in_disguise_is_refused_before_its_first_line_is_out(data: bytes) -> None:
    refuses(data, "does not begin with a method in upper case", port=5000)
    refuses(data, "not HTTP", port=80)
    inspector, passed = Inspector(NAME, 5000), b""
    with pytest.raises(Refused):
        for byte in data:
            passed += inspector.feed(bytes([byte]))
    assert b"\n" not in passed.lstrip()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"get / HTTP/1.1", "does not begin with a method"),
        (b"GET / HTTP/1.1", "the head of the HTTP request is incomplete"),
        (b"GET http://evil.com/", "the head of the HTTP request is incomplete"),
    ],
)
def test_http_whose_first_line_ends_with_the_stream_is_refused(data: bytes, reason: str) -> None:
    for parts in ([data], [bytes([byte]) for byte in data]):
        with pytest.raises(Refused, match=reason):
            run(Inspector(NAME, 5000), parts)


def test_http_without_a_version_still_names_a_host() -> None:
    refuses(b"GET http://evil.com/\r\n\r\n", "not an HTTP request line", port=5000)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "192.0.2.1", "::1", "2001:db8::1"])
@pytest.mark.parametrize("port", [80, 443, 5000])
def test_what_has_no_name_to_compare_passes(name: str, port: int) -> None:
    assert Inspector(name, port).done
    for data in (EVIL, record(hello(sni("evil.com"))), record(hello()), b"\0"):
        assert passes(data, name, port)


# --- Bounds and properties


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 11_000, "the head of the HTTP request is longer than 65536"),
        (request() + b"A" * 66_000, "the head of the HTTP request is longer than 65536"),
        (b"GET /" + b"a" * 66_000, "the first line is longer than 65536"),
        (b"G" * 66_000, "the first line is longer than 65536"),
        (b" " * 66_000, "the first line is longer than 65536"),
        (b"a " + b" " * 66_000, "the first line is longer than 65536"),
        (b"a" + b" HTTP/" * 11_000, "the first line is longer than 65536"),
        (b"a" + b" HTTP/" * 11_000 + b"\n", "the first line is longer than 65536"),
        (record(b"\x01\0\xff\xff") + record(b"x") * 12_000, "the TLS ClientHello is longer than 65536"),
    ],
)
def test_what_is_held_is_bounded(data: bytes, reason: str) -> None:
    for size in (1, len(data)):
        inspector = Inspector(NAME, 5000)
        with pytest.raises(Refused, match=reason):
            for at in range(0, len(data), size):
                inspector.feed(data[at : at + size])
                assert len(inspector._held) <= MAX_HELD


def test_a_head_of_the_greatest_size_passes() -> None:
    head = request("A: " + "x" * (MAX_HELD - len(request("A: "))))
    assert len(head) == MAX_HELD
    assert passes(head, port=80)
    refuses(head[:-4] + b"x\r\n\r\n", "longer than 65536", port=80)


def test_a_long_line_costs_no_more_than_its_length() -> None:
    for data in (b"a" + b" " * 65_000 + b"\n", b" HTTP/" * 10_000 + b"x\n", b" " * 65_000 + b"a\n"):
        assert passes(data, port=5000)


PIECES = st.sampled_from(
    [
        *(data for data, _ in BAD_HTTP),
        *OTHER,
        request(),
        request("Content-Length: 5", body="hello"),
        request(CHUNKED, body="5\r\nhello\r\n0\r\n\r\n"),
        EVIL,
        WEBSOCKET,
        record(GOOD),
        record(hello(sni("evil.com"))),
        CCS,
        b"\r\n",
        b"GET ",
        b"POST / HTTP/1.1\r\n",
        b"Host: api.github.com\r\n",
        b"Host: evil.com\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
    ]
)
#: Whole pieces, and pieces with a byte changed, put in or left out.
MUTATED = st.builds(
    lambda data, at, width, new: data[: at % (len(data) + 1)] + new + data[at % (len(data) + 1) + width :],
    PIECES,
    st.integers(0, 1000),
    st.integers(0, 2),
    st.binary(max_size=2),
)
STREAMS = st.lists(st.binary(max_size=20) | PIECES | MUTATED, max_size=6)
PORTS = st.sampled_from([80, 443, 5000])


@given(STREAMS, PORTS, st.booleans())
def test_what_passes_is_the_beginning_of_what_came(parts: list[bytes], port: int, switched: bool) -> None:
    inspector, came, passed = Inspector(NAME, port), b"", b""
    try:
        for part in parts:
            came += part
            passed += inspector.feed(part)
            if inspector.pending:
                inspector.answered(SWITCHING if switched else b"HTTP/1.1 200 OK\r\n")
                passed += inspector.released()
            assert came.startswith(passed)
        passed += inspector.end()
        assert passed == came
    except Refused as refused:
        assert refused.reason and refused.reason.isascii() and refused.reason.isprintable()
        assert not inspector.done


@given(STREAMS, PORTS)
def test_any_chunking_gives_the_same(parts: list[bytes], port: int) -> None:
    passes(b"".join(parts), port=port)


def asked_by_h11(data: bytes) -> list[bytes]:
    """The hosts that h11, as a server, reads in ``data`` until it refuses."""
    hosts = []
    server = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    server.receive_data(data)
    with suppress(h11.RemoteProtocolError):
        while isinstance(event := server.next_event(), h11.Request | h11.Data | h11.EndOfMessage):
            if isinstance(event, h11.Request):
                hosts += [value for key, value in event.headers if key == b"host"]
            elif isinstance(event, h11.EndOfMessage):
                server.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                server.send(h11.EndOfMessage())
                if server.states[h11.CLIENT] is not h11.DONE:
                    break
                server.start_next_cycle()
    return hosts


class Asked:
    """The hosts that llhttp reads in ``data`` until it refuses."""

    def __init__(self, data: bytes) -> None:
        self.hosts: list[bytes] = []
        with suppress(httptools.HttpParserError, httptools.HttpParserUpgrade):
            httptools.HttpRequestParser(self).feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"host":
            self.hosts.append(value)


REQUESTS = st.builds(
    lambda line, host, fields, body: request(*fields, line=line, host=host, body=body),
    st.sampled_from(["GET / HTTP/1.1", "POST /x HTTP/1.1", "GET / HTTP/1.0", f"PUT http://{NAME}/ HTTP/1.1"]),
    st.sampled_from([NAME, f"{NAME.upper()}:80", "evil.com"]),
    st.lists(st.sampled_from([CHUNKED, "Content-Length: 5", "Content-Length: 0", "Accept: */*"]), max_size=2),
    st.sampled_from(["", "hello", "5\r\nhello\r\n0\r\n\r\n", "0\r\n\r\n", EVIL.decode()]),
)


def test_the_servers_read_on_after_a_body() -> None:
    chunked = request(CHUNKED, body="5\r\nhello\r\n0\r\n\r\n")
    data = request("Content-Length: 5", body="hello") + chunked + EVIL
    for hosts in (asked_by_h11(data), Asked(data).hosts):
        assert hosts == [NAME.encode(), NAME.encode(), b"evil.com"]


@given(st.lists(REQUESTS | MUTATED, min_size=1, max_size=4).map(b"".join))
def test_servers_read_the_same_in_what_passes(data: bytes) -> None:
    inspector = Inspector(NAME, 80)
    try:
        passed = inspector.feed(data)
    except Refused:
        return
    if inspector.pending or inspector.done:
        return
    for hosts in (asked_by_h11(passed), Asked(passed).hosts):
        assert {host.strip().lower().removesuffix(b":80").removesuffix(b".") for host in hosts} <= {NAME.encode()}


@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]),
    st.lists(st.binary(max_size=50), max_size=3),
    st.booleans(),
)
def test_what_h11_writes_passes(method: str, chunks: list[bytes], sized: bool) -> None:
    client, data = h11.Connection(h11.CLIENT), b""
    length = ("content-length", str(sum(map(len, chunks)))) if sized else ("transfer-encoding", "chunked")
    data += client.send(h11.Request(method=method, target="/a?b", headers=[("host", NAME), length])) or b""
    for chunk in chunks:
        data += client.send(h11.Data(data=chunk)) or b""
    data += client.send(h11.EndOfMessage()) or b""
    assert passes(data * 2, port=80)
    refuses(data + data.replace(NAME.encode(), b"evil.com"), "the HTTP Host is evil.com", port=80)
