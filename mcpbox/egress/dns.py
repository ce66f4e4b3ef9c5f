"""The DNS messages of the stub inside the sandbox: reads one question, writes its answer. No I/O.

The server in the sandbox is hostile and this reads its bytes, so it knows only what a stub resolver sends: one question
of class IN and at most one EDNS record. Nothing is followed, and every loop ends within the 255 octets of a name.

It is shipped as source text to a Python that may be 3.9, without mcpbox: nothing but ``struct`` and ``typing`` here.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

#: RFC 1035, section 4.1.1; the last one RFC 6891, section 9.
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16
A, OPT, IN = 1, 41, 1
#: Types that no record has, such as TSIG, AXFR and ANY: RFC 6895, section 3.1.
META = range(128, 256)
QR, OPCODE, RD, RA = 0x8000, 0x7800, 0x0100, 0x0080
HEADER = 12
#: Octets, of a label and of a name with all its length octets: RFC 1035, section 2.3.4.
LABEL, NAME = 63, 255
LABEL_OCTETS = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789_-")
#: Octets of UDP that a client may send, as told to it: what no path fragments (the DNS flag day of 2020).
PAYLOAD = 1232
#: Octets of a message over TCP: many times what a question needs.
LONGEST = 4096
#: Seconds for which an address holds.
TTL = 60


class Malformed(ValueError):
    """A message that is not the plain query expected; ``reply`` is what to send back, None where silence is due."""

    def __init__(self, message: str, reply: bytes | None = None) -> None:
        super().__init__(message)
        self.reply = reply


class Query(NamedTuple):
    """One question. ``name`` is in lower case, with no dot at its end, and "" for the root; ``kind`` is the QTYPE.

    ``question`` is the section as it was asked, its case kept, for clients that check for it (0x20).
    """

    id: int
    name: str
    kind: int
    question: bytes
    edns: bool
    recursion_desired: bool


def parse(data: bytes) -> Query:
    """The question in a message, of UDP or out of a ``Framed`` stream.

    Raises Malformed: silently for a response, lest two stubs answer each other for ever; with NOTIMP for an operation
    other than a query; with FORMERR for what cannot be read to its last octet (pointers too: nothing stands before a
    question that one could point to); with BADVERS for any EDNS version but 0; with REFUSED for any class but IN or a
    type that no record has; with NXDOMAIN for a name with octets other than letters, digits, "-" and "_", which nobody
    may allow. The name of a query can thus be compared as text.
    """
    if len(data) < 4 or data[2] & QR >> 8:
        raise Malformed("a response, or no DNS message at all")
    number, flags = struct.unpack_from(">HH", data)
    if flags & OPCODE:
        raise Malformed("an operation other than a query", _reply(number, flags, NOTIMP))
    formerr = _reply(number, flags, FORMERR)
    if len(data) < HEADER:
        raise Malformed("shorter than a header", formerr)
    questions, answers, authorities, additional = struct.unpack_from(">4H", data, 4)
    if questions != 1 or answers or authorities or additional > 1:
        raise Malformed("not one question with at most one additional record", formerr)

    labels, at = [], HEADER
    while data[at : at + 1] != b"\0":
        size = data[at] if at < len(data) else NAME
        if size > LABEL or at + 1 + size + 1 - HEADER > NAME:
            raise Malformed("a name cut short or too long, or a pointer", formerr)
        labels.append(data[at + 1 : at + 1 + size].lower())
        at += 1 + size
    question = data[HEADER : at + 5]
    end, version = at + 5 + 11 * additional, 0
    if len(data) < end:
        raise Malformed("a question or an EDNS record cut short", formerr)
    kind, group = struct.unpack_from(">HH", data, at + 1)
    if additional:
        root, record, _, _, version, _, size = struct.unpack_from(">BHHBBHH", data, at + 5)
        if root or record != OPT:
            raise Malformed("an additional record other than EDNS", formerr)
        end += size
    if len(data) != end:
        raise Malformed("more or fewer octets than the message says", formerr)

    allowed = LABEL_OCTETS.issuperset(b"".join(labels))
    name = b".".join(labels).decode("ascii") if allowed else ""
    query = Query(number, name, kind, question, bool(additional), bool(flags & RD))
    if version:
        raise Malformed("an EDNS version other than 0", refuse(query, BADVERS))
    if group != IN or kind in META or kind == OPT:
        raise Malformed("a class other than IN, or a type that no record has", refuse(query, REFUSED))
    if not allowed:
        raise Malformed("a name with an octet that no host's name has", refuse(query, NXDOMAIN))
    return query


def answer(query: Query, address: str | None) -> bytes:
    """What is known of a name: its address (127.0.0.0/8, for ``TTL`` seconds) if that was asked for, nothing of any
    other type; NXDOMAIN if it has none. Always fits into 512 octets. Raises ValueError for any other address.
    """
    if address is None:
        return refuse(query, NXDOMAIN)
    octets = bytes(int(part) for part in address.split("."))
    if len(octets) != 4 or octets[0] != 127:
        raise ValueError(f"{address!r} is not an address in 127.0.0.0/8")
    # The owner is a pointer to the question's name (RFC 1035, section 4.1.4).
    record = struct.pack(">HHHIH", 0xC000 | HEADER, A, IN, TTL, 4) + octets if query.kind == A else b""
    return _reply(query.id, RD * query.recursion_desired, NOERROR, query.question, query.edns, record)


def refuse(query: Query, code: int) -> bytes:
    """An answer that holds no record and this response code, such as SERVFAIL."""
    return _reply(query.id, RD * query.recursion_desired, code, query.question, query.edns)


def _reply(number: int, flags: int, code: int, question: bytes = b"", edns: bool = False, record: bytes = b"") -> bytes:
    # AA, AD and CD stay clear: nothing here is authoritative, or knows of DNSSEC.
    bits = QR | flags & (OPCODE | RD) | RA | code & 15
    header = struct.pack(">6H", number, bits, bool(question), bool(record), 0, edns)
    # A code's upper bits stand in the EDNS record (RFC 6891, section 6.1.3).
    opt = struct.pack(">BHHBBHH", 0, OPT, PAYLOAD, code >> 4, 0, 0, 0) if edns else b""
    return header + question + record + opt


class Framed:
    """The messages of a DNS connection over TCP, each after its length (RFC 1035, section 4.2.2)."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that these octets complete. Raises Malformed, with no reply, once one over LONGEST octets is
        announced: the connection is of no more use, and what arrived just before it is lost.
        """
        held, at, messages = self._held + data, 0, []
        while len(held) >= at + 2:
            size = int.from_bytes(held[at : at + 2], "big")
            if size > LONGEST:
                # Kept, that whatever follows is refused as well and never read as a length.
                self._held = held[at : at + 2]
                raise Malformed(f"a message of more than {LONGEST} octets")
            if len(held) < at + 2 + size:
                break
            messages.append(held[at + 2 : at + 2 + size])
            at += 2 + size
        self._held = held[at:]
        return messages


def frame(message: bytes) -> bytes:
    """A message as a connection over TCP carries it."""
    return struct.pack(">H", len(message)) + message
