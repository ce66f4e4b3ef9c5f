from __future__ import annotations

import ast
import struct
from pathlib import Path

import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mcpbox.egress import dns as stub
from mcpbox.egress.dns import FORMERR, NOTIMP, NXDOMAIN, REFUSED, SERVFAIL, Framed, Malformed, Query

NUMBER = 0xBEEF
EXAMPLE = b"\x07eXample\x03COM\x00"
ADDRESS = "127.64.0.7"
#: What ends an answer with EDNS: the root, OPT, 1232 octets, no upper bits of a code, version 0, no flag, no option.
OPT_SENT = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"


def edns(version: int = 0, data: bytes = b"", *, root: bytes = b"\0", size: int | None = None, kind: int = 41) -> bytes:
    return root + struct.pack(">HHBBHH", kind, 4096, 0, version, 0x8000, len(data) if size is None else size) + data


def packet(
    name: bytes = EXAMPLE,
    kind: int = 1,
    group: int = 1,
    flags: int = 0x0100,
    counts: tuple[int, int, int, int] = (1, 0, 0, 0),
    rest: bytes = b"",
) -> bytes:
    return struct.pack(">6H", NUMBER, flags, *counts) + name + struct.pack(">HH", kind, group) + rest


def labels(*sizes: int) -> bytes:
    return b"".join(bytes([size]) + b"a" * size for size in sizes) + b"\0"


ONE = (1, 0, 0, 1)
QUESTION = EXAMPLE + b"\0\1\0\1"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (packet(), Query(NUMBER, "example.com", 1, QUESTION, False, True)),
        (packet(flags=0), Query(NUMBER, "example.com", 1, QUESTION, False, False)),
        # AA, TC, RA, Z, AD, CD and a code in a query mean nothing.
        (packet(flags=0x07FF), Query(NUMBER, "example.com", 1, QUESTION, False, True)),
        (packet(b"\0", 2), Query(NUMBER, "", 2, b"\0\0\2\0\1", False, True)),
        (packet(b"\5_dmz-\x019\0", 65), Query(NUMBER, "_dmz-.9", 65, b"\5_dmz-\x019\0\0\x41\0\1", False, True)),
        (packet(counts=ONE, rest=edns()), Query(NUMBER, "example.com", 1, QUESTION, True, True)),
        (packet(counts=ONE, rest=edns(data=b"\0\x0a\0\1x")), Query(NUMBER, "example.com", 1, QUESTION, True, True)),
        (packet(labels(63)), Query(NUMBER, "a" * 63, 1, labels(63) + b"\0\1\0\1", False, True)),
        (
            packet(labels(63, 63, 63, 61)),
            Query(
                NUMBER,
                ".".join("a" * n for n in (63, 63, 63, 61)),
                1,
                labels(63, 63, 63, 61) + b"\0\1\0\1",
                False,
                True,
            ),
        ),
        (
            packet(labels(*[1] * 127)),
            Query(NUMBER, ".".join("a" * 127), 1, labels(*[1] * 127) + b"\0\1\0\1", False, True),
        ),
    ],
)
def test_a_query_is_read(data: bytes, expected: Query) -> None:
    assert stub.parse(data) == expected


def header(code: int, opcode: int = 0, flags: int = 0x0100) -> bytes:
    return struct.pack(">6H", NUMBER, 0x8080 | opcode << 11 | flags | code, 0, 0, 0, 0)


def asked(code: int, question: bytes, opt: bytes = b"") -> bytes:
    return struct.pack(">6H", NUMBER, 0x8180 | code, 1, 0, 0, bool(opt)) + question + opt


NAME, CUT = "a name cut short or too long, or a pointer", "a question or an EDNS record cut short"
COUNTS, LENGTH = "not one question with at most one additional record", "more or fewer octets than the message says"
OTHER, TYPE = "an additional record other than EDNS", "a class other than IN, or a type that no record has"
OCTET, RESPONSE = "a name with an octet that no host's name has", "a response, or no DNS message at all"


@pytest.mark.parametrize(
    ("data", "reason", "reply"),
    [
        (b"", RESPONSE, None),
        (packet()[:3], RESPONSE, None),
        (packet(flags=0x8180), RESPONSE, None),
        (packet(flags=0x8000)[:5], RESPONSE, None),
        (packet(flags=0xA800), RESPONSE, None),
        (packet()[:4], "shorter than a header", header(FORMERR)),
        (packet()[:11], "shorter than a header", header(FORMERR)),
        (packet(flags=0x0F7F)[:4], "an operation other than a query", header(NOTIMP, 1)),
        (packet(flags=0x2800), "an operation other than a query", header(NOTIMP, 5, 0)),
        (packet(flags=0x7900), "an operation other than a query", header(NOTIMP, 15)),
        (packet()[:12], NAME, header(FORMERR)),
        (packet(counts=(0, 0, 0, 0)), COUNTS, header(FORMERR)),
        (packet(counts=(2, 0, 0, 0), rest=QUESTION), COUNTS, header(FORMERR)),
        (packet(counts=(65535, 65535, 65535, 65535)), COUNTS, header(FORMERR)),
        (packet(counts=(1, 1, 0, 0), rest=b"\xc0\x0c\0\1\0\1" + b"\0" * 6), COUNTS, header(FORMERR)),
        (packet(counts=(1, 0, 1, 0), rest=b"\xc0\x0c\0\1\0\1" + b"\0" * 6), COUNTS, header(FORMERR)),
        (packet(counts=(1, 0, 0, 2), rest=edns() * 2), COUNTS, header(FORMERR)),
        (packet(b"\xc0\x0c"), NAME, header(FORMERR)),
        (packet(b"\3www\xc0\x0c"), NAME, header(FORMERR)),
        (packet(b"\xff" + b"a" * 255 + b"\0"), NAME, header(FORMERR)),
        (packet(labels(64)), NAME, header(FORMERR)),
        (packet(labels(63, 63, 63, 62)), NAME, header(FORMERR)),
        (packet(labels(*[1] * 128)), NAME, header(FORMERR)),
        (packet(labels(*[63] * 60)), NAME, header(FORMERR)),
        (packet()[:20], NAME, header(FORMERR)),
        (packet()[:24], NAME, header(FORMERR)),
        (packet()[:25], CUT, header(FORMERR)),
        (packet()[:-1], CUT, header(FORMERR)),
        (packet(rest=b"\0"), LENGTH, header(FORMERR)),
        (packet(rest=edns()), LENGTH, header(FORMERR)),
        (packet(counts=ONE), CUT, header(FORMERR)),
        (packet(counts=ONE, rest=edns()[:-1]), CUT, header(FORMERR)),
        (packet(counts=ONE, rest=edns() * 2), LENGTH, header(FORMERR)),
        (packet(counts=ONE, rest=edns() + b"\0"), LENGTH, header(FORMERR)),
        (packet(counts=ONE, rest=edns(data=b"four", size=5)), LENGTH, header(FORMERR)),
        (packet(counts=ONE, rest=edns(data=b"four", size=3)), LENGTH, header(FORMERR)),
        (packet(counts=ONE, rest=edns(size=65535)), LENGTH, header(FORMERR)),
        (packet(counts=ONE, rest=edns(root=b"\1a\0")), OTHER, header(FORMERR)),
        (packet(counts=ONE, rest=edns(root=b"\1")), OTHER, header(FORMERR)),
        (packet(counts=ONE, rest=edns(root=b"\xc0\x18")), OTHER, header(FORMERR)),
        (packet(counts=ONE, rest=edns(kind=250)), OTHER, header(FORMERR)),
        (
            packet(counts=ONE, rest=edns(1)),
            "an EDNS version other than 0",
            asked(0, QUESTION, OPT_SENT[:5] + b"\1" + OPT_SENT[6:]),
        ),
        (packet(group=3), TYPE, asked(REFUSED, EXAMPLE + b"\0\1\0\3")),
        (packet(group=255), TYPE, asked(REFUSED, EXAMPLE + b"\0\1\0\xff")),
        (packet(kind=41), TYPE, asked(REFUSED, EXAMPLE + b"\0\x29\0\1")),
        (packet(kind=128), TYPE, asked(REFUSED, EXAMPLE + b"\0\x80\0\1")),
        (packet(kind=251), TYPE, asked(REFUSED, EXAMPLE + b"\0\xfb\0\1")),
        (packet(kind=252), TYPE, asked(REFUSED, EXAMPLE + b"\0\xfc\0\1")),
        (packet(kind=255), TYPE, asked(REFUSED, EXAMPLE + b"\0\xff\0\1")),
        (packet(kind=255, counts=ONE, rest=edns()), TYPE, asked(REFUSED, EXAMPLE + b"\0\xff\0\1", OPT_SENT)),
        *(
            (packet(name), OCTET, asked(NXDOMAIN, name + b"\0\1\0\1"))
            for name in (
                b"\x0bexample.com\0",
                b"\x09example\0\0\3com\0",
                b"\x08example\0\3com\0",
                b"\7example\4com.\0",
                b"\7example\4c\x00om\0",
                b"\7example\4com\n\0",
                b"\1*\7example\3com\0",
                b"\2a \3com\0",
                b"\2a/\3com\0",
                b"\2a@\3com\0",
                b"\2a\\\3com\0",
                b"\2\xc3\xa9\3com\0",
                # The Kelvin sign and the dotless i, that Unicode's case rules would make ASCII letters.
                b"\3\xe2\x84\xaa\3com\0",
                b"\2\xc4\xb1\3com\0",
                b"\1\xff\0",
            )
        ),
    ],
)
def test_what_is_not_a_plain_query_is_refused(data: bytes, reason: str, reply: bytes | None) -> None:
    with pytest.raises(Malformed) as caught:
        stub.parse(data)
    assert (str(caught.value), caught.value.reply) == (reason, reply)


A_RECORD = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\x40\0\7"


@pytest.mark.parametrize(
    ("data", "address", "expected"),
    [
        (packet(), ADDRESS, b"\x81\x80\0\1\0\1\0\0\0\0" + QUESTION + A_RECORD),
        (packet(flags=0), ADDRESS, b"\x80\x80\0\1\0\1\0\0\0\0" + QUESTION + A_RECORD),
        (packet(flags=0x07FF), ADDRESS, b"\x81\x80\0\1\0\1\0\0\0\0" + QUESTION + A_RECORD),
        (packet(counts=ONE, rest=edns()), ADDRESS, b"\x81\x80\0\1\0\1\0\0\0\1" + QUESTION + A_RECORD + OPT_SENT),
        (packet(b"\0"), ADDRESS, b"\x81\x80\0\1\0\1\0\0\0\0" + b"\0\0\1\0\1" + A_RECORD),
        *(
            (
                packet(kind=kind),
                ADDRESS,
                b"\x81\x80\0\1\0\0\0\0\0\0" + EXAMPLE + struct.pack(">HH", kind, 1),
            )
            for kind in (0, 2, 5, 6, 12, 15, 16, 28, 33, 64, 65, 127, 256, 65535)
        ),
        (
            packet(kind=28, counts=ONE, rest=edns()),
            ADDRESS,
            b"\x81\x80\0\1\0\0\0\0\0\1" + EXAMPLE + b"\0\x1c\0\1" + OPT_SENT,
        ),
        (packet(), None, b"\x81\x83\0\1\0\0\0\0\0\0" + QUESTION),
        (packet(kind=28), None, b"\x81\x83\0\1\0\0\0\0\0\0" + EXAMPLE + b"\0\x1c\0\1"),
        (packet(counts=ONE, rest=edns()), None, b"\x81\x83\0\1\0\0\0\0\0\1" + QUESTION + OPT_SENT),
    ],
)
def test_an_answer_to_the_octet(data: bytes, address: str | None, expected: bytes) -> None:
    assert stub.answer(stub.parse(data), address) == struct.pack(">H", NUMBER) + expected


def test_a_failure_carries_its_code() -> None:
    expected = asked(SERVFAIL, QUESTION, OPT_SENT)
    assert stub.refuse(stub.parse(packet(counts=ONE, rest=edns())), SERVFAIL) == expected


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "1.2.7.127", "127.1", "127.0.0.0.1", "127.0.0.256", "::1", "", "127.0.0.-1"]
)
@pytest.mark.parametrize("kind", [1, 28])
def test_only_an_address_of_the_sandbox_is_ever_given(address: str, kind: int) -> None:
    with pytest.raises(ValueError) as caught:
        stub.answer(stub.parse(packet(kind=kind)), address)
    assert not isinstance(caught.value, Malformed)


def check(data: bytes, reply: bytes) -> dns.message.Message:
    """What holds of every reply, as an independent parser reads it."""
    found = dns.message.from_wire(reply)
    assert len(reply) <= 512 and reply[:2] == data[:2]
    asked_flags = struct.unpack(">H", data[2:4])[0]
    assert found.opcode() == asked_flags >> 11 & 15
    assert found.flags & ~0x780F == dns.flags.QR | dns.flags.RA | asked_flags & dns.flags.RD
    assert not found.authority and not found.additional
    return found


#: Messages near to right ones, which plain random octets never are.
@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    data = bytearray(
        packet(
            draw(st.sampled_from([EXAMPLE, b"\0", labels(63, 63, 63, 61), b"\3w\0w\0"]) | st.binary(max_size=300)),
            draw(st.sampled_from([1, 28, 41, 65, 255]) | st.integers(0, 65535)),
            draw(st.sampled_from([1, 3])),
            draw(st.sampled_from([0, 0x0100]) | st.integers(0, 65535)),
            (1, 0, 0, draw(st.integers(0, 2))),
            draw(st.sampled_from([b"", edns(), edns(1), edns(data=b"\0\x0a\0\1x")]) | st.binary(max_size=30)),
        )
    )
    for at, octet in draw(st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)), max_size=3)):
        data[at] = octet
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


@given(st.binary(max_size=600) | spoilt())
@example(packet())
@example(packet(counts=ONE, rest=edns()))
@example(packet(counts=ONE, rest=edns(255)))
@example(packet(labels(63, 63, 63, 61), 1, counts=ONE, rest=edns()))
@example(packet(flags=0xFFFF))
def test_any_octets_are_read_or_refused(data: bytes) -> None:
    try:
        query = stub.parse(data)
    except Malformed as malformed:
        if malformed.reply is None:
            assert len(data) < 4 or data[2] & 0x80
            return
        found = check(data, malformed.reply)
        assert not found.answer
        assert found.rcode() in (FORMERR, NXDOMAIN, NOTIMP, REFUSED, dns.rcode.BADVERS)
        return
    assert not query.name or set(query.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-.")
    assert len(query.name) <= 253 and ".." not in query.name and query.name[-1:] != "."
    # What was understood is all there was: it can be written again from the fields alone.
    assert data[12:].startswith(query.question)
    assert dns.name.from_wire(data, 12)[0].canonicalize().to_text(omit_final_dot=True) == (query.name or ".")
    for reply, code, count in (
        (stub.answer(query, ADDRESS), 0, query.kind == 1),
        (stub.answer(query, None), NXDOMAIN, 0),
        (stub.refuse(query, SERVFAIL), SERVFAIL, 0),
    ):
        found = check(data, reply)
        assert (found.rcode(), len(found.answer), found.edns) == (code, count, 0 if query.edns else -1)
        assert reply[12:].startswith(query.question)


LABEL = st.text("abcXYZ019_-", min_size=1, max_size=63)
KINDS = st.sampled_from(["A", "AAAA", "HTTPS", "SVCB", "TXT", "MX", "SRV", "NS", "SOA", "PTR", "CNAME", "DS", "CAA"])


@given(st.lists(LABEL, max_size=3), KINDS, st.sampled_from([-1, 0]), st.booleans())
def test_whatever_a_client_writes_is_read_and_its_answer_understood(
    parts: list[str], kind: str, version: int, recursion: bool
) -> None:
    name = ".".join(parts) + "."
    flags = dns.flags.RD if recursion else 0
    sent = dns.message.make_query(name, kind, use_edns=version, want_dnssec=version == 0, payload=4096, flags=flags)
    query = stub.parse(sent.to_wire())
    assert (query.id, query.name, query.kind) == (sent.id, ".".join(parts).lower(), dns.rdatatype.from_text(kind))
    assert (query.edns, query.recursion_desired) == (version == 0, recursion)
    found = dns.message.from_wire(stub.answer(query, ADDRESS))
    assert sent.is_response(found)
    assert found.question[0].name.labels == sent.question[0].name.labels
    assert found.payload == (1232 if query.edns else 0)
    records = [(rrset.name, rrset.rdclass, rdata.to_text()) for rrset in found.answer for rdata in rrset]
    assert records == ([(sent.question[0].name, dns.rdataclass.IN, ADDRESS)] if kind == "A" else [])


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    parts, at = [], 0
    for size in sizes:
        parts.append(data[at : at + size])
        at += size
    return [*parts, data[at:]]


@given(st.lists(st.binary(max_size=300), max_size=8), st.lists(st.integers(0, 40)), st.binary(max_size=1))
def test_messages_over_tcp_are_the_same_however_they_are_cut(sent: list[bytes], sizes: list[int], tail: bytes) -> None:
    stream = Framed()
    data = b"".join(map(stub.frame, sent)) + tail
    assert [message for part in cut(data, sizes) for message in stream.feed(part)] == sent


def test_messages_over_tcp_come_out_octet_by_octet() -> None:
    stream = Framed()
    data = stub.frame(packet()) + stub.frame(b"") + stub.frame(b"\0" * stub.LONGEST)
    found = [message for octet in data for message in stream.feed(bytes([octet]))]
    assert found == [packet(), b"", b"\0" * 4096]


@pytest.mark.parametrize("before", [b"", stub.frame(b"abc")])
@pytest.mark.parametrize("size", [4097, 65535])
def test_a_long_message_over_tcp_is_refused_when_announced_and_nothing_after_it_is_read(
    before: bytes, size: int
) -> None:
    stream = Framed()
    with pytest.raises(Malformed, match="a message of more than 4096 octets") as caught:
        stream.feed(before + struct.pack(">H", size))
    assert caught.value.reply is None
    for _ in range(100):
        with pytest.raises(Malformed, match="a message of more than 4096 octets"):
            stream.feed(stub.frame(packet()) * 100)
    assert len(stream._held) <= 2


def test_it_runs_alone_on_python_3_9() -> None:
    source = Path(stub.__file__).read_text()
    tree = ast.parse(source, feature_version=(3, 9))
    imports = {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert imports == {"__future__", "struct", "typing"}
    alone: dict[str, object] = {"__name__": "dns"}
    exec(compile(source, "dns.py", "exec"), alone)
    assert callable(alone["parse"])
