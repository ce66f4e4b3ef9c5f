"""What a server may reach: the lines of ``[network].allow``, and the decision on a name, a port and an address. No I/O.

Names and resolved addresses are judged apart: ``Rules.decide`` says whether a name is allowed, ``Rules.vet`` whether an
address that it resolved to may be dialled. What can be read in more than one way is refused, with the form to use.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Literal

from msgspec import Struct

Kind = Literal["host", "subdomains", "any", "localhost", "network"]
Address = IPv4Address | IPv6Address

DEFAULT_PORT = 443
SCHEME_PORTS = {"http": ":80", "ws": ":80"}
#: What to write where nothing closer to what was written can be said.
FORM = "HOST[:PORT], *.DOMAIN[:PORT], *[:PORT], localhost:PORT or ADDRESS[/BITS][:PORT], with IPv6 in brackets"

METADATA = "a cloud metadata service"
NAT64 = "IPv4 by NAT64"
#: Networks that are not the public internet, after IANA's special-purpose address registries, and the metadata services
#: of clouds, which hand out credentials, after their documentation. The first that contains an address names its class.
#: ``is_global`` is not asked: its answers differ between versions of Python (CVE-2024-4032). What the registries call
#: globally reachable (AS112, AMT, PCP and TURN anycast, ORCHIDv2) is here too: no server's API is at such an address.
SPECIAL = tuple(
    (ip_network(network), name, source)
    for networks, name, source in (
        ("169.254.169.254/32 169.254.169.253/32 fd00:ec2::254/128 fd00:ec2::253/128", METADATA, "AWS and others"),
        ("169.254.170.2/32 169.254.170.23/32 fd00:ec2::23/128", METADATA, "AWS containers"),
        ("168.63.129.16/32 fd20:ce::254/128 192.0.0.192/32 fd00:c1::a9fe:a9fe/128", METADATA, "Azure, Google, Oracle"),
        ("100.100.100.200/32 169.254.0.23/32 169.254.42.42/32 fd00:42::42/128", METADATA, "Alibaba, Tencent, Scaleway"),
        ("0.0.0.0/8 ::/128", "unspecified", "RFC 1122, RFC 4291"),
        ("127.0.0.0/8 ::1/128", "loopback", "RFC 1122, RFC 4291"),
        ("10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7", "private", "RFC 1918, RFC 4193"),
        ("100.64.0.0/10", "carrier-grade NAT", "RFC 6598"),
        ("169.254.0.0/16 fe80::/10", "link-local", "RFC 3927, RFC 4291"),
        ("fec0::/10", "site-local", "RFC 3879"),
        ("224.0.0.0/4 ff00::/8", "multicast", "RFC 5771, RFC 4291"),
        ("255.255.255.255/32", "broadcast", "RFC 919"),
        ("240.0.0.0/4", "reserved", "RFC 1112"),
        ("192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 2001:db8::/32", "documentation", "RFC 5737, RFC 3849"),
        ("3fff::/20", "documentation", "RFC 9637"),
        ("198.18.0.0/15 2001:2::/48", "benchmarking", "RFC 2544, RFC 5180"),
        ("100::/64 100:0:0:1::/64", "discard-only", "RFC 6666, RFC 9780"),
        ("192.31.196.0/24 192.175.48.0/24 2001:4:112::/48 2620:4f:8000::/48", "AS112", "RFC 7534, RFC 7535"),
        ("192.52.193.0/24 2001:3::/32 192.88.99.0/24", "a tunnel relay", "RFC 7450, RFC 7526"),
        ("::ffff:0:0/96", "IPv4-mapped", "RFC 4291"),
        ("::/96", "IPv4-compatible", "RFC 4291"),
        ("::ffff:0:0:0/96", "IPv4-translated", "RFC 2765"),
        ("64:ff9b::/96", NAT64, "RFC 6052"),
        ("64:ff9b:1::/48", "IPv4 by local NAT64", "RFC 8215"),
        ("2002::/16", "IPv4 by 6to4", "RFC 3056"),
        ("2001::/32", "IPv4 by Teredo", "RFC 4380"),
        ("2001:10::/28 2001:20::/28", "ORCHID", "RFC 4843, RFC 7343"),
        ("192.0.0.0/24 2001::/23", "for protocol assignments", "RFC 6890, RFC 2928"),
        # All of IPv6 but 2000::/3, the only part of it that IANA has given to the internet.
        ("::/3 4000::/2 8000::/1", "not global unicast", "RFC 4291"),
    )
    for network in networks.split()
)
#: Classes that no rule can name: the machine itself, many machines, and IPv4 addresses, which have their own form.
UNNAMEABLE = {"unspecified", "loopback", "multicast", "broadcast", "IPv4-mapped", "IPv4-compatible", "IPv4-translated"}
#: IPv6 addresses that lead to IPv4 ones.
TRANSLATED = {NAT64, "IPv4 by local NAT64", "IPv4 by 6to4", "IPv4 by Teredo"}
#: Classes that only a rule with that very address allows: a network is named without thinking of what hides in it.
EXACT = {METADATA} | TRANSLATED - {NAT64}
#: Classes that a host which the user's own configuration names may resolve to.
NAMED = {"private", "carrier-grade NAT"}

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_DRESSED = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*)://)?(?:[^/?#\\]*@)?([^/?#\\@]*)(?:[/?#\\].*)?")
_CIDR = re.compile(r"\[?[0-9A-Fa-f:.]+/[0-9.]+\]?(:[^/]*)?")
_PARTS = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]+)(?::(.*))?")
#: RFC 6761 section 6.3, and what /etc/hosts of one system or another gives to the loopback addresses.
_LOOPBACK = re.compile(r".+\.localhost|localhost[46]|localhost[46]?\.localdomain[46]?|ip6-(localhost|loopback)")
#: What "*", any public host, is not: private by RFC 6762, RFC 8375, ICANN's word on .internal, or habit; and metadata.
_PRIVATE = re.compile(r"(.+\.)?(local|localdomain|internal|home\.arpa|lan|metadata\.goog|metadata\.tencentyun\.com)")


class RuleError(ValueError):
    """A rule or a name that is not accepted: ``reason`` says why, ``form`` what to write instead (may be empty)."""

    def __init__(self, reason: str, form: str = "") -> None:
        super().__init__(f"{reason}; write {form}" if form else reason)
        self.reason = reason
        self.form = form


class Rule(Struct, frozen=True):
    """One line of ``[network].allow``: ``text`` as the user wrote it, and what it means.

    ``host`` is the normalised name; of ``*.DOMAIN`` the domain; of a network its CIDR text; of ``*`` the star.
    ``opaque`` (written ``tcp://``): bytes are passed without looking for TLS SNI or an HTTP Host. ``named``: the user's
    own configuration names this very host, so it may resolve to an address in a private network.
    """

    text: str
    kind: Kind
    host: str
    port: int
    opaque: bool = False
    named: bool = False

    def covers(self, host: str) -> bool:
        """Whether ``host``, a normalised name and not an address, is one of this rule's."""
        if self.kind == "any":
            return _is_public(host)
        return host.endswith(f".{self.host}") if self.kind == "subdomains" else host == self.host


class Decision(Struct, frozen=True):
    """``reason`` is for the record and stderr; ``remedy`` is the line that would allow what was denied, or empty."""

    allow: bool
    reason: str
    rule: Rule | None = None
    remedy: str = ""


class Rules(Struct, frozen=True):
    """The rules of one profile, in their order. No rules allow nothing. Decisions never raise."""

    rules: tuple[Rule, ...] = ()

    @classmethod
    def parse(cls, lines: Sequence[str]) -> Rules:
        """Raises RuleError with the line, what is wrong with it and the form to use."""
        return cls(tuple(map(_parse, lines)))

    def decide_name(self, name: str) -> Decision:
        """Whether some rule, on whatever port, covers ``name``, which is not an address."""
        return self._decide(name, None)

    def decide(self, name: str, port: int) -> Decision:
        """Whether a connection to ``name`` (a DNS name, "localhost" or a canonical address) is allowed."""
        return self._decide(name, port) if 1 <= port <= 65535 else Decision(False, "a port is from 1 to 65535")

    def vet(self, address: str, port: int, rule: Rule, *, own: bool = False) -> Decision:
        """Whether ``address``, to which the name of ``rule`` resolved, may be dialled.

        ``own`` says that it is this machine's, where services listen that were never meant for others.
        """
        if port != rule.port:
            return Decision(False, f"rule {rule.text} is for port {rule.port}")
        if not (found := _address(address)):
            return Decision(False, f"{_show(address)} is not an address, or has a zone id")
        if rule.kind == "localhost" and str(found) not in ("127.0.0.1", "::1"):
            return Decision(False, f"localhost is 127.0.0.1 or ::1, not {found}")
        if rule.kind == "network" or (rule.kind != "localhost" and (name := classify(found)[0])):
            # Who answers for a public name could have it say this machine; a private name is the user's own to give.
            if rule.kind == "host" and rule.named and name in NAMED and not (own and _is_public(rule.host)):
                return Decision(True, f"rule {rule.text}", rule)
            return self._decide_address(found, port)
        if rule.kind != "localhost" and own and not self._naming(found, port):
            return Decision(False, f"{found} is this machine's own", remedy=f"{_bracketed(str(found))}:{port}")
        return Decision(True, f"rule {rule.text}", rule)

    def ports(self) -> frozenset[int]:
        return frozenset(rule.port for rule in self.rules)

    def networks(self) -> tuple[str, ...]:
        """CIDR texts of the network rules."""
        return tuple(dict.fromkeys(rule.host for rule in self.rules if rule.kind == "network"))

    def _decide(self, name: str, port: int | None) -> Decision:
        try:
            host = normalise(name)
        except RuleError as error:
            return Decision(False, str(error))
        if address := _address(host):
            return self._decide_address(address, port) if port else Decision(False, f"{host} is an address, not a name")
        if _LOOPBACK.fullmatch(host):
            return Decision(False, f"{host} is a loopback name", remedy=f"localhost:{port}" if port else "")
        covering = [rule for rule in self.rules if rule.covers(host)]
        if rule := next((rule for rule in covering if port in (None, rule.port)), None):
            return Decision(True, f"rule {rule.text}", rule)
        ports = ", ".join(map(str, sorted({rule.port for rule in covering})))
        reason = f"{host} is allowed on {ports}, not on {port}" if ports else f"no rule names {host}"
        remedy = f"{host}:{port or DEFAULT_PORT}" if port or host != "localhost" else ""
        return Decision(False, reason, remedy=remedy)

    def _decide_address(self, address: Address, port: int) -> Decision:
        if rule := self._naming(address, port):
            return Decision(True, f"rule {rule.text}", rule)
        name, source = classify(address)
        reason = f"{address} is {name} ({source})" if name else f"no rule names {address} on {port}"
        remedy = "" if name in UNNAMEABLE else f"{_bracketed(str(address))}:{port}"
        return Decision(False, reason, remedy=f"localhost:{port}" if name == "loopback" else remedy)

    def _naming(self, address: Address, port: int) -> Rule | None:
        """The network rule that allows ``address``."""
        name, _ = classify(address)
        for rule in self.rules:
            if rule.kind != "network" or rule.port != port or address not in (network := ip_network(rule.host)):
                continue
            if network.num_addresses == 1:
                return rule
            # To name the network of translated addresses says nothing about what they are translated to.
            inner = IPv4Address(int(address) & 0xFFFFFFFF) if name == NAT64 else None
            if name not in EXACT and not (inner and classify(inner)[0] and not self._naming(inner, port)):
                return rule
        return None


def normalise(name: str) -> str:
    """The one spelling of a DNS name (lower case, A-labels, no trailing dot), or an address, accepted only in its own.

    Names are mapped by UTS #46, without its transitional part. Raises RuleError, in ASCII whatever ``name`` is.
    """
    if ":" in name:
        return _normalise_ipv6(name)
    # A name may end in a dot. The idna library is slow on long input (CVE-2024-3651).
    if len(name) > 254 or " " in name or not name.isprintable():
        raise RuleError(f"{_show(name)} is longer than 253 characters, or has white space or control characters")
    labels = _labels(name)
    host = ".".join(labels)
    if len(host) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise RuleError(f"{_show(name)} is not labels of 1 to 63 letters, digits, '_' and inner '-', in all up to 253")
    # As in the WHATWG URL standard: what ends in a number is meant as an IPv4 address; no domain does.
    if _NUMBER.fullmatch(labels[-1]) and (address := _ipv4(labels)) != name:
        raise RuleError(f"{_show(name)} ends in a number and is not an IPv4 address in canonical form", address)
    return host


def _normalise_ipv6(name: str) -> str:
    address = _address(name.strip("[]"))
    if not isinstance(address, IPv6Address):
        raise RuleError(f"{_show(name)} is neither a name nor an address, or has a port or zone id")
    is_ipv4 = classify(address)[0] in ("IPv4-mapped", "IPv4-compatible")
    if (form := str(IPv4Address(int(address) & 0xFFFFFFFF) if is_ipv4 else address)) != name:
        raise RuleError(f"{_show(name)} is not an address in canonical form", form)
    return name


def _labels(name: str) -> list[str]:
    """The labels of ``name`` in lower case, A-labels checked and others that need it made so. Raises RuleError."""
    if name.isascii() and "xn--" not in name.lower():
        return name.lower().removesuffix(".").split(".")
    import idna

    try:
        # The rules of STD 3 would refuse underscores, which real hosts have; what else they refuse, _LABEL does.
        given = idna.uts46_remap(name, std3_rules=False).removesuffix(".").split(".")
        plain = [label.isascii() and not label.startswith("xn--") for label in given]
        labels = [g if p else idna.alabel(idna.ulabel(g)).decode() for g, p in zip(given, plain, strict=True)]
        # An A-label that is not what its own text encodes to would be a second spelling.
        if all(g == label for g, label in zip(given, labels, strict=True) if g.isascii()):
            return labels
    except ValueError:
        pass
    raise RuleError(f"{_show(name)} is not a valid internationalised name")


def _ipv4(parts: list[str]) -> str:
    """What inet_aton(3) makes of ``parts``, as text; empty if nothing."""
    if len(parts) > 4 or not all(map(_NUMBER.fullmatch, parts)):
        return ""
    try:
        numbers = [int(part, 16 if part[:2] == "0x" else 8 if part[0] == "0" else 10) for part in parts]
        return str(IPv4Address(bytes(numbers[:-1]) + numbers[-1].to_bytes(5 - len(numbers), "big")))
    except (ValueError, OverflowError):
        return ""


def _parse(text: str) -> Rule:
    body = text.removeprefix("tcp://")
    scheme = text[: len(text) - len(body)]
    try:
        kind, host, port = _read(body)
    except RuleError as error:
        raise RuleError(f"{_show(text)}: {error.reason}", scheme + error.form if error.form else FORM) from None
    return Rule(text, kind, host, port, opaque=bool(scheme))


def _read(body: str) -> tuple[Kind, str, int]:
    """Kind, host and port of a rule without its tcp://. Raises RuleError; its form, if any, is for this body."""
    if " " in body or not body.isprintable():
        raise RuleError("white space or control characters", _accepted(body.strip()) if body.strip() != body else "")
    if (found := _DRESSED.fullmatch(body)) and found[2] != body and not _CIDR.fullmatch(body):
        port_text = SCHEME_PORTS.get((found[1] or "").lower(), "") if not re.search(r":[0-9]*$", found[2]) else ""
        raise RuleError("a URL, a user name or a path", _accepted(found[2] + port_text))
    if body.count(":") > 1 and body[0] != "[":
        raise RuleError("IPv6 without brackets, or two ports", _accepted(f"[{body}]"))
    if not (found := _PARTS.fullmatch(body)):
        raise RuleError("empty, or no host")
    host, digits = found[1], found[2]
    if digits is not None and not (_PORT.fullmatch(digits) and int(digits) <= 65535):
        raise RuleError("the port is not one number from 1 to 65535 without leading zeros")
    suffix, port = f":{digits}" if digits else "", int(digits or DEFAULT_PORT)
    if host == "*":
        return "any", host, port
    if "/" in host:
        return "network", _read_network(host, suffix), port
    domain = host.removeprefix("*.")
    if "*" in domain:
        form = _accepted(f"*.{domain.rpartition('*')[2].lstrip('.')}{suffix}")
        raise RuleError("'*' is not followed by '.DOMAIN' or not in front", form)
    try:
        name = normalise(domain.strip("[]"))
    except RuleError as error:
        raise RuleError(error.reason, _accepted(_bracketed(error.form) + suffix)) from None
    if _LOOPBACK.fullmatch(name) or (name == "localhost" and (domain != host or not digits)):
        raise RuleError("a loopback name but for localhost and its port", f"localhost{suffix or ':PORT'}")
    if domain != host and "." not in name:
        raise RuleError("a wildcard on a whole top-level domain", f"*.NAME.{name}{suffix}")
    if _address(name):
        return "network", _read_network(host, suffix), port
    if host[0] == "[":
        raise RuleError("brackets are for IPv6 addresses", _accepted(name + suffix))
    return "localhost" if name == "localhost" else "subdomains" if domain != host else "host", name, port


def _read_network(host: str, suffix: str) -> str:
    """The CIDR text of an address or a network, in brackets if it is IPv6. Raises RuleError."""
    try:
        network = ip_network(host.strip("[]"), strict=False)
    except ValueError:
        raise RuleError("neither an address nor a network") from None
    if network.prefixlen == 0:
        raise RuleError("a network of every address", f"*{suffix}")
    for special, kind, source in SPECIAL:
        if kind in UNNAMEABLE and special.version == network.version and special.overlaps(network):
            form = f"localhost{suffix or ':PORT'}" if kind == "loopback" else ""
            raise RuleError(f"no rule can name {special}, which is {kind} ({source})", form)
    canonical = _bracketed(str(network if "/" in host else network.network_address))
    if canonical != host:
        raise RuleError("not in canonical form, or host bits are set", canonical + suffix)
    return str(network)


def _accepted(candidate: str) -> str:
    """``candidate`` if it is a rule, else what its own error says to write."""
    try:
        _read(candidate)
    except RuleError as error:
        return error.form
    return candidate


def _address(text: str) -> Address | None:
    try:
        return None if "%" in text else ip_address(text)
    except ValueError:
        return None


def classify(address: Address) -> tuple[str, str]:
    """Class and source of an address that is not public; two empty texts of one that is."""
    return next(((name, source) for network, name, source in SPECIAL if address in network), ("", ""))


def _is_public(host: str) -> bool:
    return "." in host and not _PRIVATE.fullmatch(host)


def _bracketed(text: str) -> str:
    return f"[{text}]" if ":" in text else text


def _show(text: str) -> str:
    return ascii(text if len(text) <= 80 else f"{text[:80]}...")
