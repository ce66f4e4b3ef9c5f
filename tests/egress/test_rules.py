"""The allowlist: every spelling that tries to be another one's, every address that is not the public internet."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpbox.egress.rules import EXACT, SPECIAL, UNNAMEABLE, Rule, RuleError, Rules, normalise


def rule(line: str) -> Rule:
    return Rules.parse([line]).rules[0]


@pytest.mark.parametrize(
    ("line", "kind", "host", "port", "opaque"),
    [
        ("api.example.com", "host", "api.example.com", 443, False),
        ("API.Example.COM.:8443", "host", "api.example.com", 8443, False),
        ("_sip._tcp.example.com", "host", "_sip._tcp.example.com", 443, False),
        ("r3---sn-4g5e.example.com", "host", "r3---sn-4g5e.example.com", 443, False),
        ("db:5432", "host", "db", 5432, False),
        ("tcp://db.corp.internal:5432", "host", "db.corp.internal", 5432, True),
        ("bücher.example", "host", "xn--bcher-kva.example", 443, False),
        ("straße.example", "host", "xn--strae-oqa.example", 443, False),
        ("xn--bcher-kva.example", "host", "xn--bcher-kva.example", 443, False),
        ("_a.bücher.example", "host", "_a.xn--bcher-kva.example", 443, False),
        ("*.github.com", "subdomains", "github.com", 443, False),
        ("*.GitHub.com.:22", "subdomains", "github.com", 22, False),
        ("*", "any", "*", 443, False),
        ("tcp://*:22", "any", "*", 22, True),
        ("localhost:5432", "localhost", "localhost", 5432, False),
        ("LOCALHOST.:65535", "localhost", "localhost", 65535, False),
        ("10.1.2.3", "network", "10.1.2.3/32", 443, False),
        ("8.8.8.8:53", "network", "8.8.8.8/32", 53, False),
        ("[fd00::1]:80", "network", "fd00::1/128", 80, False),
        ("10.0.0.0/8:5432", "network", "10.0.0.0/8", 5432, False),
        ("tcp://[fd00::/8]:1", "network", "fd00::/8", 1, True),
        ("169.254.169.254:80", "network", "169.254.169.254/32", 80, False),
        ("[64:ff9b::/96]", "network", "64:ff9b::/96", 443, False),
    ],
)
def test_rules_that_are_accepted(line: str, kind: str, host: str, port: int, opaque: bool) -> None:
    found = rule(line)
    assert (found.text, found.kind, found.host, found.port, found.opaque) == (line, kind, host, port, opaque)


NO_FORM = "HOST[:PORT], *.DOMAIN"


@pytest.mark.parametrize(
    ("line", "reason", "form"),
    [
        ("https://api.example.com/path?q#f", "URL", "api.example.com"),
        ("https://api.example.com:8443/", "URL", "api.example.com:8443"),
        ("http://h", "URL", "h:80"),
        ("HTTP://u:p@h.example/x", "URL", "h.example:80"),
        ("wss://h.example", "URL", "h.example"),
        ("http://[fd00::1]/", "URL", "[fd00::1]:80"),
        ("https://127.0.0.1:3000/", "URL", "localhost:3000"),
        ("tcp://https://h.example", "URL", "tcp://h.example"),
        ("TCP://h.example:22", "URL", "h.example:22"),
        ("git@github.com", "user name", "github.com"),
        ("github.com@evil.com", "user name", "evil.com"),
        ("api.example.com/v1", "path", "api.example.com"),
        (r"api.example.com\@evil.com", "path", "api.example.com"),
        ("10.0.0.1/x", "path", "10.0.0.1"),
        (" api.example.com\r\n", "white space", "api.example.com"),
        ("api.example.com\revil.com", "white space", NO_FORM),
        ("api.example.com\0.evil.com", "control", NO_FORM),
        ("api.exa\u200bmple.com", "control", NO_FORM),
        ("api.example.com\u3000", "white space", "api.example.com"),
        ("", "empty", NO_FORM),
        ("tcp://", "empty", NO_FORM),
        (":443", "no host", NO_FORM),
        ("*example.com", "'*' is not followed", "*.example.com"),
        ("*.*.example.com", "'*' is not followed", "*.example.com"),
        ("api.*.example.com:80", "not in front", "*.example.com:80"),
        ("a.*.com", "not in front", "*.NAME.com"),
        ("**", "'*' is not followed", NO_FORM),
        ("*.com", "top-level", "*.NAME.com"),
        ("*.com.", "top-level", "*.NAME.com"),
        ("*.10.0.0.1", "neither an address", NO_FORM),
        ("*.", "labels", NO_FORM),
        ("h:*", "port", NO_FORM),
        ("h:", "port", NO_FORM),
        ("h:0", "port", NO_FORM),
        ("h:65536", "port", NO_FORM),
        ("h:080", "port", NO_FORM),
        ("h:+80", "port", NO_FORM),
        ("h:-1", "port", NO_FORM),
        ("h:٨٠", "port", NO_FORM),
        ("h:80,443", "port is not one number", NO_FORM),
        ("h:80-90", "port is not one number", NO_FORM),
        ("h:80:443", "two ports", NO_FORM),
        ("0x7f.1", "canonical", "localhost:PORT"),
        ("127.1:5432", "canonical", "localhost:5432"),
        ("2130706433", "canonical", "localhost:PORT"),
        ("0xa000001:80", "canonical", "10.0.0.1:80"),
        ("10.1", "canonical", "10.0.0.1"),
        ("10.0x1.256", "canonical", "10.1.1.0"),
        ("010.0.0.1", "canonical", "8.0.0.1"),
        ("10.0.0.1.", "canonical", "10.0.0.1"),
        ("\uff11\uff10.0.0.1", "canonical", "10.0.0.1"),
        ("10。0。0。1", "canonical", "10.0.0.1"),
        ("1.2.3.4.0", "ends in a number", NO_FORM),
        ("1_0.0.0.1", "ends in a number", NO_FORM),
        ("10.0.0.08", "ends in a number", NO_FORM),
        ("256.0.0.1", "ends in a number", NO_FORM),
        ("example.com.1", "ends in a number", NO_FORM),
        ("fd00::1", "without brackets", "[fd00::1]"),
        ("fd00::/8", "without brackets", "[fd00::/8]"),
        ("[FD00::1]:80", "canonical", "[fd00::1]:80"),
        ("[fd00:0::1]", "canonical", "[fd00::1]"),
        ("[10.0.0.1]:80", "canonical", "10.0.0.1:80"),
        ("[example.com]:80", "brackets", "example.com:80"),
        ("[fe80::1%eth0]", "zone id", NO_FORM),
        ("[fe80::%1/10]", "path", NO_FORM),
        ("fe80::1%eth0", "without brackets", NO_FORM),
        ("[::ffff:10.0.0.1]:80", "canonical", "10.0.0.1:80"),
        ("[::ffff:7f00:1]:80", "canonical", "localhost:80"),
        ("[::a00:1]", "canonical", "10.0.0.1"),
        ("[::ffff:0:0/96]", "IPv4-mapped", NO_FORM),
        ("[::/64]", "is unspecified", NO_FORM),
        ("10.0.0.1/8:80", "host bits", "10.0.0.0/8:80"),
        ("10.0.0.0/255.0.0.0", "canonical", "10.0.0.0/8"),
        ("10.0.0.0/08", "canonical", "10.0.0.0/8"),
        ("10.0.0.0/33", "neither an address", NO_FORM),
        ("[fd00::1/8]", "host bits", "[fd00::/8]"),
        ("0.0.0.0/0:80", "every address", "*:80"),
        ("[::/0]", "every address", "*"),
        ("0.0.0.0", "unspecified", NO_FORM),
        ("0.0.0.0/1", "unspecified", NO_FORM),
        ("[::]", "unspecified", NO_FORM),
        ("224.0.0.251:5353", "multicast", NO_FORM),
        ("128.0.0.0/1", "multicast", NO_FORM),
        ("[ff02::fb]", "multicast", NO_FORM),
        ("255.255.255.255", "broadcast", NO_FORM),
        ("127.0.0.1", "loopback", "localhost:PORT"),
        ("127.8.9.10:80", "loopback", "localhost:80"),
        ("127.0.0.0/8:80", "loopback", "localhost:80"),
        ("[::1]:80", "loopback", "localhost:80"),
        ("localhost", "loopback", "localhost:PORT"),
        ("*.localhost:80", "loopback", "localhost:80"),
        ("a.localhost:80", "loopback", "localhost:80"),
        ("localhost.localdomain:80", "loopback", "localhost:80"),
        ("ip6-localhost:80", "loopback", "localhost:80"),
        ("a..com", "labels", NO_FORM),
        (".a.com", "labels", NO_FORM),
        ("a.com..", "labels", NO_FORM),
        ("-a.com", "inner '-'", NO_FORM),
        ("a-.com", "inner '-'", NO_FORM),
        ("a%2ecom", "labels", NO_FORM),
        ("a" * 64 + ".com", "1 to 63", NO_FORM),
        ("ü" * 60 + ".com", "internationalised", NO_FORM),
        (".".join(["a" * 50] * 5), "253", NO_FORM),
        ("a" * 255, "253", NO_FORM),
        ("xn--.com", "internationalised", NO_FORM),
        ("xn--example-.com", "internationalised", NO_FORM),
        ("xn--99999999.com", "internationalised", NO_FORM),
        # A second spelling of xn--bbk in Punycode.
        ("xn---bbk.com", "internationalised", NO_FORM),
        ("xn--BCHER-KVA-.com", "internationalised", NO_FORM),
        ("\u2100.com", "labels", NO_FORM),
    ],
)
def test_rules_that_are_refused_say_why_and_what_to_write(line: str, reason: str, form: str) -> None:
    with pytest.raises(RuleError) as caught:
        Rules.parse(["example.com", line])
    assert reason in caught.value.reason
    assert caught.value.form.startswith(form) if form == NO_FORM else caught.value.form == form
    message = str(caught.value)
    assert message.isascii() and message.isprintable()
    assert message.startswith(ascii(line)[:40]) and message.endswith(f"; write {caught.value.form}")
    if form != NO_FORM:
        Rules.parse([form.replace("PORT", "1").replace("NAME", "example")])


EXAMPLE = Rules.parse(["example.com", "*.example.org:8443", "api.example.org", "localhost:5432", "10.1.0.0/16:5432"])


@pytest.mark.parametrize("name", ["example.com", "EXAMPLE.com.", "eXample.COM", "example。com", "\uff45xample.com"])
def test_every_spelling_of_a_name_is_that_name(name: str) -> None:
    decision = EXAMPLE.decide(name, 443)
    assert (decision.allow, decision.reason, decision.rule) == (True, "rule example.com", EXAMPLE.rules[0])
    assert decision.remedy == ""
    assert EXAMPLE.decide_name(name) == decision


@pytest.mark.parametrize(
    ("name", "port", "reason", "remedy"),
    [
        ("evil.com", 443, "no rule names evil.com", "evil.com:443"),
        ("evil-example.com", 443, "no rule names evil-example.com", "evil-example.com:443"),
        ("evilexample.com", 443, "no rule names", "evilexample.com:443"),
        ("example.com.evil.com", 443, "no rule names example.com.evil.com", "example.com.evil.com:443"),
        ("www.example.com", 443, "no rule names www.example.com", "www.example.com:443"),
        ("com", 443, "no rule names com", "com:443"),
        ("example.com", 8443, "example.com is allowed on 443, not on 8443", "example.com:8443"),
        ("EXAMPLE.com.", 80, "example.com is allowed on 443, not on 80", "example.com:80"),
        ("example.org", 8443, "no rule names example.org", "example.org:8443"),
        ("evil-example.org", 8443, "no rule names", "evil-example.org:8443"),
        ("a.example.org", 443, "a.example.org is allowed on 8443, not on 443", "a.example.org:443"),
        ("api.example.org", 80, "api.example.org is allowed on 443, 8443, not on 80", "api.example.org:80"),
        ("ex\u0430mple.com", 443, "no rule names xn--exmple-4nf.com", "xn--exmple-4nf.com:443"),
        ("xn--exmple-4nf.com", 443, "no rule names xn--exmple-4nf.com", "xn--exmple-4nf.com:443"),
        ("xn--example-.com", 443, "internationalised", ""),
        ("example.com\0.evil.com", 443, r"'example.com\x00.evil.com' is longer", ""),
        ("example.com\r\nHost: evil.com", 443, r"'example.com\r\nHost: evil.com' is neither", ""),
        ("example.com\r\n", 443, r"'example.com\r\n' is longer", ""),
        (" example.com", 443, "white space", ""),
        ("example.com\ufffd", 443, "", ""),
        ("\ud800.com", 443, r"'\ud800.com'", ""),
        ("example.com..", 443, "labels", ""),
        (".".join(["e\u0301" * 22] * 6), 443, "is longer than 253", ""),
        (".example.org", 8443, "labels", ""),
        ("", 443, "''", ""),
        (".", 443, "'.'", ""),
        ("*.example.org", 8443, "labels", ""),
        ("*", 443, "labels", ""),
        ("example.com/", 443, "labels", ""),
        ("user@example.com", 443, "labels", ""),
        ("example.com:443", 443, "neither", ""),
        ("example.com%00", 443, "labels", ""),
        ("0x7f.1", 5432, "canonical form; write 127.0.0.1", ""),
        ("2130706433", 5432, "canonical form; write 127.0.0.1", ""),
        ("167837953", 5432, "canonical form; write 10.1.1.1", ""),
        ("10.65793", 5432, "canonical form; write 10.1.1.1", ""),
        ("012.1.1.1", 5432, "canonical form; write 10.1.1.1", ""),
        ("10.1.1.1.", 5432, "canonical form; write 10.1.1.1", ""),
        ("\uff110.1.1.1", 5432, "canonical form; write 10.1.1.1", ""),
        ("[10.1.1.1]", 5432, "labels", ""),
        ("::ffff:10.1.1.1", 5432, "canonical form; write 10.1.1.1", ""),
        ("::ffff:a01:101", 5432, "canonical form; write 10.1.1.1", ""),
        ("::10.1.1.1", 5432, "canonical form; write 10.1.1.1", ""),
        ("64:ff9b::10.1.1.1", 5432, "canonical form; write 64:ff9b::a01:101", ""),
        ("64:ff9b::a01:101", 5432, "64:ff9b::a01:101 is IPv4 by NAT64", "[64:ff9b::a01:101]:5432"),
        ("2002:a01:101::", 5432, "2002:a01:101:: is IPv4 by 6to4", "[2002:a01:101::]:5432"),
        ("fe80::1%eth0", 5432, "zone id", ""),
        ("FE80::1", 5432, "canonical form; write fe80::1", ""),
        ("[fd00::1]", 5432, "canonical form; write fd00::1", ""),
        ("fd00::1", 5432, "fd00::1 is private", "[fd00::1]:5432"),
        ("10.2.0.0", 5432, "10.2.0.0 is private (RFC 1918", "10.2.0.0:5432"),
        ("10.1.0.0", 443, "10.1.0.0 is private", "10.1.0.0:443"),
        ("8.8.8.8", 53, "no rule names 8.8.8.8 on 53", "8.8.8.8:53"),
        ("169.254.169.254", 80, "is a cloud metadata service", "169.254.169.254:80"),
        ("127.0.0.1", 5432, "127.0.0.1 is loopback", "localhost:5432"),
        ("::1", 5432, "::1 is loopback", "localhost:5432"),
        ("224.0.0.1", 5432, "multicast", ""),
        ("0.0.0.0", 5432, "unspecified", ""),
        ("localhost", 5433, "localhost is allowed on 5432, not on 5433", "localhost:5433"),
        ("a.localhost", 5432, "a.localhost is a loopback name", "localhost:5432"),
        ("localhost.localdomain", 5432, "loopback name", "localhost:5432"),
        ("localhost6", 5432, "loopback name", "localhost:5432"),
        ("example.com", 0, "a port is from 1 to 65535", ""),
        ("example.com", 65536, "a port is from 1 to 65535", ""),
        ("example.com", -443, "a port is from 1 to 65535", ""),
        ("example.com", 443 + (1 << 16), "a port is from 1 to 65535", ""),
    ],
)
def test_names_that_are_denied(name: str, port: int, reason: str, remedy: str) -> None:
    decision = EXAMPLE.decide(name, port)
    assert not decision.allow and decision.rule is None
    assert reason in decision.reason
    assert decision.reason.isascii() and decision.reason.isprintable()
    assert decision.remedy == remedy
    if remedy and not remedy.startswith("localhost"):
        assert Rules.parse([*(rule.text for rule in EXAMPLE.rules), remedy]).decide(name, port).allow


@pytest.mark.parametrize(
    ("name", "port", "line"),
    [
        ("a.example.org", 8443, "*.example.org:8443"),
        ("a.b.c.example.org.", 8443, "*.example.org:8443"),
        ("api.example.org", 443, "api.example.org"),
        ("localhost", 5432, "localhost:5432"),
        ("LocalHost.", 5432, "localhost:5432"),
        ("10.1.255.255", 5432, "10.1.0.0/16:5432"),
    ],
)
def test_names_that_are_allowed(name: str, port: int, line: str) -> None:
    decision = EXAMPLE.decide(name, port)
    assert decision.allow and decision.rule and decision.rule.text == line
    assert decision.reason == f"rule {line}"


def test_the_first_rule_that_matches_is_the_one() -> None:
    rules = Rules.parse(["tcp://*.example.com", "a.example.com", "a.example.com", "*"])
    assert rules.decide("a.example.com", 443).rule == rules.rules[0]
    assert rules.decide_name("example.com").rule == rules.rules[3]


@pytest.mark.parametrize(
    ("name", "allow", "reason", "remedy"),
    [
        ("a.example.org", True, "rule *.example.org:8443", ""),
        ("localhost", True, "rule localhost:5432", ""),
        ("evil.com", False, "no rule names evil.com", "evil.com:443"),
        ("a.localhost", False, "a.localhost is a loopback name", ""),
        ("10.1.1.1", False, "10.1.1.1 is an address, not a name", ""),
        ("fd00::1", False, "fd00::1 is an address, not a name", ""),
    ],
)
def test_a_name_alone(name: str, allow: bool, reason: str, remedy: str) -> None:
    decision = EXAMPLE.decide_name(name)
    assert (decision.allow, decision.reason, decision.remedy) == (allow, reason, remedy)


def test_without_rules_nothing_is_allowed() -> None:
    assert Rules() == Rules.parse([])
    assert Rules().decide_name("localhost").remedy == ""
    assert not Rules().decide("example.com", 443).allow


@pytest.mark.parametrize(
    "name",
    [
        "localhost",
        "db",
        "internal",
        "printer.local",
        "metadata.google.internal",
        "x.metadata.goog",
        "metadata.goog",
        "host.docker.internal",
        "nas.lan",
        "nas.home.arpa",
        "home.arpa",
        "a.localhost",
        "a.localdomain",
        "8.8.8.8",
        "2606:4700::1111",
    ],
)
def test_any_public_host_is_neither_private_nor_an_address(name: str) -> None:
    assert not Rules.parse(["*:80"]).decide(name, 80).allow
    assert not Rules.parse(["*:80"]).decide_name(name).allow


def test_any_public_host() -> None:
    decision = Rules.parse(["*:80"]).decide("mylocal.internal.example", 80)
    assert (decision.allow, decision.reason) == (True, "rule *:80")


def test_ports_and_networks() -> None:
    rules = Rules.parse(["a.b", "*:80", "10.0.0.0/8:80", "10.0.0.0/8:81", "[fd00::1]:80"])
    assert rules.ports() == {443, 80, 81}
    assert rules.networks() == ("10.0.0.0/8", "fd00::1/128")


@pytest.mark.parametrize(
    ("address", "reason", "remedy"),
    [
        ("127.0.0.1", "loopback", "localhost:443"),
        ("127.9.9.9", "loopback", "localhost:443"),
        ("::1", "loopback", "localhost:443"),
        ("10.1.2.3", "private (RFC 1918", "10.1.2.3:443"),
        ("172.16.0.1", "private", "172.16.0.1:443"),
        ("172.31.255.255", "private", "172.31.255.255:443"),
        ("192.168.0.1", "private", "192.168.0.1:443"),
        ("fd12::1", "private", "[fd12::1]:443"),
        ("169.254.1.1", "link-local", "169.254.1.1:443"),
        ("fe80::1", "link-local", "[fe80::1]:443"),
        ("fec0::1", "site-local", "[fec0::1]:443"),
        ("fe80::1%eth0", "zone id", ""),
        ("2606:4700::1111%eth0", "zone id", ""),
        ("100.64.0.1", "carrier-grade NAT", "100.64.0.1:443"),
        ("0.0.0.0", "unspecified", ""),
        ("0.1.2.3", "unspecified", ""),
        ("::", "unspecified", ""),
        ("224.0.0.1", "multicast", ""),
        ("ff0e::1", "multicast", ""),
        ("255.255.255.255", "broadcast", ""),
        ("240.0.0.1", "reserved", "240.0.0.1:443"),
        ("192.0.0.1", "protocol assignments", "192.0.0.1:443"),
        ("192.0.2.1", "documentation", "192.0.2.1:443"),
        ("198.51.100.1", "documentation", "198.51.100.1:443"),
        ("203.0.113.1", "documentation", "203.0.113.1:443"),
        ("2001:db8::1", "documentation", "[2001:db8::1]:443"),
        ("3fff::1", "documentation", "[3fff::1]:443"),
        ("198.19.0.1", "benchmarking", "198.19.0.1:443"),
        ("192.88.99.1", "tunnel relay", "192.88.99.1:443"),
        ("::ffff:10.0.0.1", "IPv4-mapped", ""),
        ("::ffff:8.8.8.8", "IPv4-mapped", ""),
        ("::ffff:7f00:1", "IPv4-mapped", ""),
        ("::10.0.0.1", "IPv4-compatible", ""),
        ("::ffff:0:a00:1", "IPv4-translated", ""),
        ("64:ff9b::a00:1", "IPv4 by NAT64", "[64:ff9b::a00:1]:443"),
        ("64:ff9b::808:808", "IPv4 by NAT64", "[64:ff9b::808:808]:443"),
        ("64:ff9b:1::a00:1", "IPv4 by local NAT64", "[64:ff9b:1::a00:1]:443"),
        ("2002:a00:1::", "IPv4 by 6to4", "[2002:a00:1::]:443"),
        ("2002:808:808::1", "IPv4 by 6to4", "[2002:808:808::1]:443"),
        ("2001:0:a00:1::1", "IPv4 by Teredo", "[2001:0:a00:1::1]:443"),
        ("2001:10::1", "ORCHID", "[2001:10::1]:443"),
        ("2001:20::1", "ORCHID", "[2001:20::1]:443"),
        ("2001:1ff::1", "protocol assignments", "[2001:1ff::1]:443"),
        ("100::1", "discard-only", "[100::1]:443"),
        ("5f00::1", "not global unicast", "[5f00::1]:443"),
        ("1::1", "not global unicast", "[1::1]:443"),
        ("169.254.169.254", "cloud metadata", "169.254.169.254:443"),
        ("169.254.170.2", "cloud metadata", "169.254.170.2:443"),
        ("fd00:ec2::254", "cloud metadata", "[fd00:ec2::254]:443"),
        ("fd20:ce::254", "cloud metadata", "[fd20:ce::254]:443"),
        ("100.100.100.200", "cloud metadata", "100.100.100.200:443"),
        ("168.63.129.16", "cloud metadata", "168.63.129.16:443"),
        ("192.0.0.192", "cloud metadata", "192.0.0.192:443"),
        ("0x7f.1", "not an address", ""),
        ("010.0.0.1", "not an address", ""),
        ("example.com", "not an address", ""),
        ("8.8.8.8\n", r"'8.8.8.8\n' is not an address", ""),
        ("", "not an address", ""),
    ],
)
@pytest.mark.parametrize("line", ["example.com", "*", "*.example.com"])
def test_addresses_that_a_name_may_not_resolve_to(address: str, reason: str, remedy: str, line: str) -> None:
    rules = Rules.parse([line])
    decision = rules.vet(address, 443, rules.rules[0])
    assert not decision.allow and decision.rule is None
    assert reason in decision.reason
    assert decision.reason.isascii() and decision.reason.isprintable()
    assert decision.remedy == remedy
    if remedy and not remedy.startswith("localhost"):
        assert Rules.parse([line, remedy]).vet(address, 443, rules.rules[0]).allow


@pytest.mark.parametrize(
    "address",
    [
        *("8.8.8.8", "1.1.1.1", "11.0.0.0", "172.15.255.255", "172.32.0.0", "100.63.255.255", "100.128.0.0"),
        *("126.255.0.1", "128.0.0.1", "192.0.1.0", "198.17.0.1", "223.255.255.255"),
        *("2606:4700::1111", "2001:200::1", "2001:4860::1", "2003::1", "2a00::1", "3ffe:ffff::1"),
    ],
)
def test_public_addresses_are_dialled(address: str) -> None:
    rules = Rules.parse(["example.com"])
    decision = rules.vet(address, 443, rules.rules[0])
    assert (decision.allow, decision.reason, decision.rule) == (True, "rule example.com", rules.rules[0])


@pytest.mark.parametrize(
    ("lines", "address", "allowed_by"),
    [
        (["a.b", "10.0.0.0/8"], "10.1.2.3", "10.0.0.0/8"),
        (["a.b", "10.0.0.0/8:80"], "10.1.2.3", None),
        (["a.b", "10.0.0.0/8"], "11.0.0.1", "a.b"),
        (["a.b", "10.0.0.0/8"], "::ffff:10.1.2.3", None),
        (["a.b", "[fd00::/8]"], "fd12::1", "[fd00::/8]"),
        (["a.b", "[fd00::/8]"], "fd00:ec2::254", None),
        (["a.b", "[fd00:ec2::254]"], "fd00:ec2::254", "[fd00:ec2::254]"),
        (["a.b", "169.254.0.0/16"], "169.254.1.1", "169.254.0.0/16"),
        (["a.b", "169.254.0.0/16"], "169.254.169.254", None),
        (["a.b", "169.254.169.254/31"], "169.254.169.254", None),
        (["a.b", "169.254.0.0/16", "169.254.169.254/32"], "169.254.169.254", "169.254.169.254/32"),
        (["a.b", "[64:ff9b::/96]"], "64:ff9b::808:808", "[64:ff9b::/96]"),
        (["a.b", "[64:ff9b::/96]"], "64:ff9b::a00:1", None),
        (["a.b", "[64:ff9b::/96]"], "64:ff9b::7f00:1", None),
        (["a.b", "[64:ff9b::/96]", "10.0.0.0/8"], "64:ff9b::a00:1", "[64:ff9b::/96]"),
        (["a.b", "[64:ff9b::/96]", "169.254.0.0/16"], "64:ff9b::a9fe:a9fe", None),
        (["a.b", "[64:ff9b::a00:1]"], "64:ff9b::a00:1", "[64:ff9b::a00:1]"),
        (["a.b", "[2002::/16]"], "2002:a00:1::", None),
        (["8.8.8.8", "9.9.9.9"], "8.8.8.8", "8.8.8.8"),
        (["8.8.8.8"], "1.1.1.1", None),
        (["8.8.8.0/24"], "8.8.9.1", None),
    ],
)
def test_a_network_rule_allows_what_it_names(lines: list[str], address: str, allowed_by: str | None) -> None:
    rules = Rules.parse(lines)
    decision = rules.vet(address, 443, rules.rules[0])
    assert (decision.rule.text if decision.rule else None) == allowed_by
    assert decision.allow is (allowed_by is not None)


def test_localhost_is_only_the_loopback_addresses() -> None:
    rules = Rules.parse(["localhost:80", "10.0.0.1:80"])
    for address in ("127.0.0.1", "::1"):
        assert rules.vet(address, 80, rules.rules[0]).rule == rules.rules[0]
    for address in ("127.0.0.2", "10.0.0.1", "8.8.8.8", "::ffff:127.0.0.1", "0.0.0.0", "::"):
        decision = rules.vet(address, 80, rules.rules[0])
        assert not decision.allow and "localhost is 127.0.0.1 or ::1" in decision.reason


def test_a_rule_is_for_its_port() -> None:
    rules = Rules.parse(["example.com"])
    decision = rules.vet("8.8.8.8", 80, rules.rules[0])
    assert (decision.allow, decision.reason) == (False, "rule example.com is for port 443")


def test_what_sits_inside_another_class_comes_before_it() -> None:
    for index, (network, name, _) in enumerate(SPECIAL):
        for earlier, other, _ in SPECIAL[:index]:
            assert earlier.version != network.version or not network.subnet_of(earlier), (name, other)  # type: ignore[arg-type]
    assert {name for _, name, _ in SPECIAL} > UNNAMEABLE | EXACT


WORDS = st.sampled_from(["example", "evil-example", "com", "org", "a", "local", "localhost", "xn--bcher-kva", "BÜCHER"])
LABELS = st.one_of(WORDS, st.sampled_from(["", "1", "*"]))
NAMES = st.one_of(
    st.lists(LABELS, max_size=4).map(".".join),
    st.sampled_from(["localhost", "10.0.0.1", "fd00::1", "::ffff:10.0.0.1", "169.254.169.254"]),
    st.ip_addresses().map(str),
    st.text(),
    st.text("0123456789.:xabcdef[]%/-", max_size=20),
    st.characters(min_codepoint=0x80).map("ex{}mple.com".format),
)
PIECES = "tcp:// https:// * *. [ ] [fd00:: ::1 10.0.0.1 127.1 /8 /128 / : :80 :0 @ , . example .com localhost xn-- % é"
LINES = st.one_of(NAMES, st.lists(st.sampled_from([*PIECES.split(), " ", "\0"]), max_size=7).map("".join))
PORTS = st.one_of(st.sampled_from([80, 443, 8443]), st.integers())


def parsed(lines: list[str]) -> Rules:
    """The rules among ``lines``; parsing raises nothing but RuleError."""
    found: list[Rule] = []
    for line in lines:
        try:
            found += Rules.parse([line]).rules
        except RuleError as error:
            assert error.reason.isascii() and str(error).isprintable() and error.form
    return Rules(tuple(found))


GOOD = ["example.com", "*.example.com:80", "*", "*:80", "localhost:80", "10.0.0.0/8", "[fd00::/8]:80", "a.org:8443"]
RULES = st.lists(st.one_of(st.sampled_from(GOOD), LINES), max_size=5).map(parsed)


@given(RULES, NAMES, PORTS)
def test_what_is_allowed_is_matched_at_a_label_boundary(rules: Rules, name: str, port: int) -> None:
    decision = rules.decide(name, port)
    assert decision.reason and decision.allow is (decision.rule is not None)
    if decision.rule is None:
        return
    host = normalise(name)
    assert decision.rule in rules.rules and decision.rule.port == port and decision.remedy == ""
    match decision.rule.kind:
        case "host" | "localhost":
            assert host == decision.rule.host
        case "subdomains":
            assert host.split(".")[-len(decision.rule.host.split(".")) :] == decision.rule.host.split(".")
            assert host != decision.rule.host
        case "any":
            assert "." in host
        case "network":
            assert (IPv6Address(host) if ":" in host else IPv4Address(host)) in ip_network(decision.rule.host)
    assert decision.rule.kind == "network" or rules.decide_name(name).allow


@given(RULES, NAMES, PORTS)
def test_a_remedy_allows_what_was_denied(rules: Rules, name: str, port: int) -> None:
    decision = rules.decide(name, port)
    if decision.remedy and not decision.remedy.startswith("localhost:"):
        assert Rules((*rules.rules, rule(decision.remedy))).decide(name, port).allow


@given(NAMES)
def test_normalising_twice_is_normalising_once(name: str) -> None:
    try:
        host = normalise(name)
    except RuleError as error:
        assert str(error).isascii() and str(error).isprintable()
    else:
        assert normalise(host) == host and host.isascii() and host == host.lower() and 0 < len(host) <= 253


@given(RULES, st.lists(st.one_of(WORDS, st.from_regex("[a-z][a-z0-9]{0,9}", fullmatch=True)), min_size=1), PORTS)
def test_case_and_one_trailing_dot_make_no_difference(rules: Rules, labels: list[str], port: int) -> None:
    name = ".".join(labels[:9])
    for other in (name.upper(), name.lower(), name + ".", name.title() + "."):
        assert normalise(other) == normalise(name)
        assert rules.decide(other, port) == rules.decide(name, port)
        assert rules.decide_name(other) == rules.decide_name(name)


@given(LINES)
def test_a_rule_reads_the_same_again(line: str) -> None:
    for found in parsed([line]).rules:
        assert found.text == line and rule(found.text) == found
        assert 1 <= found.port <= 65535 and found.host


SPECIAL_ADDRESSES = st.sampled_from([network for network, _, _ in SPECIAL]).flatmap(
    lambda network: st.ip_addresses(network=network).map(str)
)


@given(RULES, st.one_of(SPECIAL_ADDRESSES, st.ip_addresses().map(str), NAMES), PORTS, st.sampled_from(GOOD))
def test_no_special_address_is_dialled_unless_a_network_rule_names_it(
    rules: Rules, address: str, port: int, line: str
) -> None:
    by = rule(line)
    decision = rules.vet(address, by.port if port < 0 else port, by)
    assert decision.reason and decision.allow is (decision.rule is not None)
    if decision.rule and any(_in(address, str(network)) for network, _, _ in SPECIAL):
        if by.kind == "localhost":
            assert address in ("127.0.0.1", "::1")
        else:
            assert decision.rule.kind == "network" and decision.rule in rules.rules
            assert decision.rule.port == by.port and _in(address, decision.rule.host)


def _in(address: str, network: str) -> bool:
    return (IPv6Address(address) if ":" in address else IPv4Address(address)) in ip_network(network)
