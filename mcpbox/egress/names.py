"""Whom a TLS ClientHello or an HTTP request names, each given whole. No I/O.

What two readers could take differently is refused, for the second reader is a server upstream that may be lax.
"""

from __future__ import annotations

import re

from msgspec import Struct

HTTP_PORT = 80

#: IANA "TLS ExtensionType Values".
SERVER_NAME, EARLY_DATA = 0, 42
VERSIONS = range(0x0301, 0x0304)

#: RFC 9110 §5.6.2.
TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]"

#: Extensions that hide the name: RFC 9849, and the draft that came before it.
ENCRYPTED_NAMES = {0xFE0D: "encrypted_client_hello", 0xFFCE: "encrypted_server_name"}

#: The fields that say who is asked and where a request ends. CGI and its heirs read "_" in a name as "-".
FRAMING = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade"})
#: Protocols that begin again with names of their own, out of sight: RFC 7540 §3.2, RFC 2817.
REFUSED_UPGRADES = frozenset({"h2", "h2c", "http", "tls"})


class Refused(Exception):
    """The client's bytes may not pass; ``reason`` says why, in one line of printable ASCII."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Request(Struct, frozen=True):
    """What a head says of what follows it; ``length`` in bytes."""

    length: int
    chunked: bool
    upgrade: bool


class _Fields:
    """Cuts a TLS structure into its parts (RFC 8446 §3)."""

    def __init__(self, data: bytes, what: str) -> None:
        self.data = data
        self.what = what

    def take(self, count: int) -> bytes:
        if count > len(self.data):
            raise Refused(f"the {self.what} is cut short")
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width))

    def vector(self, width: int, least: int, most: int) -> bytes:
        size = self.number(width)
        if not least <= size <= most:
            raise Refused(f"a length of {size} in the {self.what}")
        return self.take(size)

    def finish(self) -> None:
        if self.data:
            raise Refused(f"{len(self.data)} bytes too many in the {self.what}")


def check_hello(hello: bytes, name: str) -> bool:
    """Judge a ClientHello, given without its four bytes of head; whether it announces early data. Raises Refused."""
    extensions = _extensions(hello)
    for kind, hiding in ENCRYPTED_NAMES.items():
        if kind in extensions:
            raise Refused(f"the TLS SNI is encrypted ({hiding})")
    if SERVER_NAME not in extensions:
        raise Refused("the TLS ClientHello has no SNI")
    found = _server_name(extensions[SERVER_NAME])
    if found.lower().removesuffix(b".") != name.encode():
        raise Refused(f"the TLS SNI is {_shown(found)}, not {name}")
    return EARLY_DATA in extensions


def check_request(head: bytes, name: str, port: int) -> Request:
    """Judge one HTTP/1 request's head, given without the empty line that ends it (RFC 9112). Raises Refused."""
    if b"\r" in head.replace(b"\r\n", b""):
        raise Refused("a bare CR in HTTP")
    first, *lines = head.decode("latin-1").split("\r\n")
    if not (found := _REQUEST_LINE.fullmatch(first)):
        raise Refused(f"not an HTTP request line: {_shown(first.encode('latin-1'))}")
    method, target, version = found.groups()
    if version not in ("1.0", "1.1"):
        raise Refused(f"HTTP/{version} in the clear; only HTTP/1.0 and 1.1 are read")
    if method == "CONNECT":
        raise Refused("the HTTP method CONNECT")
    fields = _header(lines)
    hosts = fields.get("host", [])
    if len(hosts) != 1:
        raise Refused(f"{len(hosts)} Host fields in HTTP" if hosts else "no Host field in HTTP")
    if not _is_named(hosts[0], name, port, default=port):
        raise Refused(f"the HTTP Host is {_shown(hosts[0].encode('latin-1'))}, not {name}:{port}")
    if absolute := _ABSOLUTE.match(target):
        if not _is_named(absolute[1], name, port, default=HTTP_PORT):
            raise Refused(f"the HTTP target is at {_shown(absolute[1].encode())}, not {name}:{port}")
    elif not target.startswith("/") and (method, target) != ("OPTIONS", "*"):
        raise Refused(f"the HTTP target is neither a path nor an http URL: {_shown(target.encode())}")
    return _framing(fields, version)


def _extensions(hello: bytes) -> dict[int, bytes]:
    """The extensions of a ClientHello (RFC 8446 §4.1.2)."""
    fields = _Fields(hello, "TLS ClientHello")
    if (version := fields.number(2)) not in VERSIONS:
        raise Refused(f"the TLS ClientHello version is {version:#06x}, not 0x0301 to 0x0303")
    fields.take(32)
    fields.vector(1, 0, 32)
    if len(fields.vector(2, 2, 0xFFFE)) % 2:
        raise Refused("half a cipher suite in the TLS ClientHello")
    fields.vector(1, 1, 0xFF)
    found: dict[int, bytes] = {}
    if not fields.data:
        return found
    extensions = _Fields(fields.vector(2, 0, 0xFFFF), "TLS extensions")
    fields.finish()
    while extensions.data:
        kind = extensions.number(2)
        if kind in found:
            raise Refused(f"the TLS extension {kind} stands twice")
        found[kind] = extensions.vector(2, 0, 0xFFFF)
    return found


def _server_name(extension: bytes) -> bytes:
    """The one host name of a server_name extension (RFC 6066 §3)."""
    outer = _Fields(extension, "TLS SNI")
    names = _Fields(outer.vector(2, 1, 0xFFFF), "TLS SNI")
    outer.finish()
    if kind := names.number(1):
        raise Refused(f"the TLS SNI is a name of type {kind}, not a host name")
    name = names.vector(2, 1, 0xFFFF)
    if names.data:
        raise Refused("more than one name in the TLS SNI")
    return name


def _header(lines: list[str]) -> dict[str, list[str]]:
    """The values of each field, by lower-case name (RFC 9112 §5)."""
    fields: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith((" ", "\t")):
            raise Refused("a folded HTTP field")
        if not (found := _FIELD.fullmatch(line)):
            if re.match(r"[^:]*[ \t]:", line):
                raise Refused("whitespace before the colon of an HTTP field")
            raise Refused(f"not an HTTP field: {_shown(line.encode('latin-1'))}")
        key = found[1].lower()
        if key not in FRAMING and key.replace("_", "-") in FRAMING:
            raise Refused(f"the HTTP field {key}, which some read as {key.replace('_', '-')}")
        fields.setdefault(key, []).append(found[2].strip(" \t"))
    return fields


def _framing(fields: dict[str, list[str]], version: str) -> Request:
    """Where the request ends (RFC 9112 §6), and whether another protocol may follow it."""
    lengths, codings = fields.get("content-length", []), fields.get("transfer-encoding", [])
    if lengths and codings:
        raise Refused("both Content-Length and Transfer-Encoding in HTTP")
    if len(lengths) > 1:
        raise Refused(f"{len(lengths)} Content-Length fields in HTTP")
    if lengths and not _LENGTH.fullmatch(lengths[0]):
        raise Refused(f"the HTTP Content-Length is {_shown(lengths[0].encode('latin-1'))}")
    if codings and [coding.lower() for coding in codings] != ["chunked"]:
        raise Refused(f"the HTTP Transfer-Encoding is {_shown(', '.join(codings).encode('latin-1'))}, not chunked")
    if codings and version == "1.0":
        raise Refused("Transfer-Encoding in HTTP/1.0")
    request = Request(int(lengths[0]) if lengths else 0, bool(codings), "upgrade" in fields)
    for protocol in ",".join(fields.get("upgrade", [])).split(","):
        if protocol.strip(" \t").partition("/")[0].lower() in REFUSED_UPGRADES:
            raise Refused(f"the HTTP Upgrade to {_shown(protocol.strip().encode('latin-1'))}")
    if request.upgrade and (request.chunked or request.length):
        raise Refused("an HTTP Upgrade with a body")
    return request


def _is_named(authority: str, name: str, port: int, default: int) -> bool:
    """Whether "HOST[:PORT]" is this name and port."""
    host, colon, number = authority.partition(":")
    return host.lower().removesuffix(".") == name and (number if colon else str(default)) == str(port)


def _shown(data: bytes) -> str:
    """The client's words, made safe to print and short."""
    text = data.decode("latin-1").encode("unicode_escape").decode()
    return f"{text[:80]}..." if len(text) > 80 else text or '""'


_REQUEST_LINE = re.compile(r"([A-Z]{1,20}) ([!-~]+) HTTP/([0-9]\.[0-9])")
_ABSOLUTE = re.compile(r"(?i:http)://([^/?#]*)")
_FIELD = re.compile(rf"({TOKEN}+):([\t -~\x80-\xff]*)")
_LENGTH = re.compile(r"[0-9]{1,18}")
