"""Nothing gets out but what the rules allow: each way round them from inside the sandbox, and outside as the control.

The sandboxes are real, on each backend and for each user; the internet is a network namespace with stand-ins.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import ssl
import subprocess
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from types import MappingProxyType
from typing import Any, NamedTuple

import psutil
import pytest
from conftest import ORDINARY, PYTHON, USERS, Runner, make_home, make_runner, must_have, must_work
from internet import OWN, Internet
from wire import Host, eventually

from mcpbox.sandbox import engine

PUBLIC, PUBLIC6, EVIL, PRIVATE = "93.184.216.34", "2606:2800:220:1::34", "93.184.216.35", "10.0.0.1"
CASES = [(backend, user) for backend in ("docker", "bubblewrap") for user in USERS]

#: The rules of the sandbox that most attempts are made in.
ALLOW = (
    "api.example.com",
    "api.example.com:80",
    "*.example.com:7",
    "deep.sub.example.com:25",
    "deep.sub.example.com:2525",
    "to-both.example.com:70",
    "localhost:7",
)
#: Of one beside it that is allowed other things.
OTHER_ALLOW = ("evil.com:7", f"{PRIVATE}:7", "[fd00:7::/64]:7")

NO_ROUTE = "ENETUNREACH|EADDRNOTAVAIL"
REFUSED = "ECONNREFUSED"
NO_NAME = "no such name"
CLOSED = "ECONNRESET|EPIPE|SSLEOFError|RemoteDisconnected|closed"


class Row(NamedTuple):
    """One attempt: what stops it inside, and the denial that the user reads, as patterns; "" for none.

    ``asked`` are the names that the gateway itself may resolve for it; ``arrives`` is what of it may get to the
    stand-ins: the host fields of requests.
    """

    attempt: str
    arguments: dict[str, Any]
    stops: str
    denied: str = ""
    asked: tuple[str, ...] = ()
    arrives: tuple[str, ...] = ()
    environment: Mapping[str, str] = MappingProxyType({})


def hello(name: str) -> str:
    """A ClientHello that names ``name``, as text of Latin-1."""
    out = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), out, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return out.read().decode("latin-1")


def tcp(host: str, port: int, stops: str, denied: str = "", **more: Any) -> Row:
    return Row("tcp", {"host": host, "port": port}, stops, denied, **more)


def says(port: int, text: str, denied: str) -> Row:
    """Bytes on a connection to an allowed name."""
    arguments = {"host": "api.example.com", "port": port, "send": text}
    return Row("tcp", arguments, CLOSED, f"api.example.com:{port}: {denied}", ("api.example.com",))


def dns(name: str, kind: str, stops: str, denied: str = "", **more: Any) -> Row:
    """``name`` has its labels apart by dots or, where one has dots, by "|"."""
    labels = name.split("|" if "|" in name else ".")
    return Row("dns", {"labels": labels, "kind": kind, **more}, stops, denied)


def http(denied: str, *requests: Sequence[str], arrives: Sequence[str] = ()) -> Row:
    arguments = {"host": "api.example.com", "port": 80, "requests": requests}
    stops = f"after {len(arrives)} answers: ({CLOSED})"
    return Row("web", arguments, stops, f"api.example.com:80: {denied}", ("api.example.com",), tuple(arrives))


def https(sni: str, denied: str, host: str = "api.example.com") -> Row:
    arguments = {"host": host, "port": 443, "sni": sni, "requests": [["GET", "/dns-query?dns=AAAB", sni or "evil.com"]]}
    return Row("web", arguments, f"after 0 answers: ({CLOSED})", f"{host}:443: {denied}", (host,))


def resolves(name: str, address: str, kind: str) -> Row:
    """An allowed name that leads elsewhere."""
    full = f"{name}.example.com"
    return tcp(full, 7, CLOSED, f"^{full}:7: {address} is {kind}", asked=(full,))


LONG = "|".join(["a" * 63] * 3)
NOT_NAMED = 'no rule names {0}; to allow it: .network. allow = ."{0}:443"'
ROWS = {
    "direct IPv4": tcp(PUBLIC, 7, NO_ROUTE),
    "direct IPv4, a port that the relay listens to": tcp(PUBLIC, 25, NO_ROUTE),
    "direct IPv6": tcp(PUBLIC6, 7, NO_ROUTE),
    "direct IPv4 by way of IPv6": Row("mapped", {"host": PUBLIC, "port": 7}, NO_ROUTE),
    "direct to a private address": tcp(PRIVATE, 7, NO_ROUTE),
    "direct to the metadata service": tcp("169.254.169.254", 7, NO_ROUTE),
    "UDP over IPv4": Row("udp", {"host": PUBLIC, "port": 7}, NO_ROUTE),
    "UDP over IPv6": Row("udp", {"host": PUBLIC6, "port": 7}, NO_ROUTE),
    "QUIC to an allowed name": Row("udp", {"host": "api.example.com", "port": 443}, REFUSED),
    "ICMP": Row("icmp", {"host": PUBLIC}, f"{NO_ROUTE}|EACCES|EPERM"),
    "ICMP over IPv6": Row("icmp", {"host": PUBLIC6}, f"{NO_ROUTE}|EACCES|EPERM"),
    "another name server": dns("api.example.com", "A", NO_ROUTE, server="8.8.8.8"),
    "another name server over TCP": dns("api.example.com", "A", NO_ROUTE, server="8.8.8.8", over_tcp=True),
    "a tunnel of A": dns("data.evil.com", "A", "code 3", f"data.evil.com: {NOT_NAMED.format('data.evil.com')}"),
    "a tunnel of A over TCP": dns("data2.evil.com", "A", "code 3", "data2.evil.com: no rule", over_tcp=True),
    "a tunnel of long labels": dns(f"{LONG}|evil|com", "A", "code 3", "evil.com: no rule"),
    "a tunnel of TXT": dns("x.evil.com", "TXT", "code 3", "x.evil.com: no rule"),
    "a tunnel of TXT of an allowed name": dns("api.example.com", "TXT", "code 0, no record"),
    "a tunnel of TXT over TCP": dns("api.example.com", "TXT", "code 0, no record", over_tcp=True),
    "AAAA of an allowed name": dns("six.example.com", "AAAA", "code 0, no record"),
    "NUL in a name": dns("api\0|example|com", "A", "code 3"),
    "NUL after an allowed name": dns("api|example|com\0|evil|com", "A", "code 3"),
    "CRLF in a name": dns("api|example|com\r\n", "A", "code 3"),
    "a dot in a label": dns("api.example|com", "A", "code 3"),
    "Latin-1 in a name": dns("\xe4pi|example|com", "A", "code 3"),
    "a number for a name": dns("0x7f|1", "A", "code 3", "0x7f.1: '0x7f.1' ends in a number"),
    "HTTPS to another of a host's names": https("other.example.com", "the TLS SNI is other.example.com, not api"),
    "DNS over HTTPS to a name that is not allowed": https("evil.com", "the TLS SNI is evil.com, not api"),
    "TLS without a name": https("", "the TLS ClientHello has no SNI"),
    "TLS with another name on another port": says(7, hello("evil.com"), "the TLS SNI is evil.com"),
    "HTTP with another name on another port": says(
        7, "GET / HTTP/1.1\r\nHost: evil.com\r\n\r\n", "the HTTP Host is evil"
    ),
    "a port that is for another name": https(
        "deep.sub.example.com", "deep.sub.example.com is allowed on 7, 25, 2525, not on 443", "deep.sub.example.com"
    )._replace(asked=()),
    "a port that is for another name, 25": tcp(
        "api.example.com", 25, CLOSED, 'allowed on 7, 80, 443, not on 25; .*:25"'
    ),
    "HTTP to another name": http("the HTTP Host is evil.com", ["GET", "/", "evil.com"]),
    "HTTP to an address": http("the HTTP Host is 169.254.169.254", ["GET", "/", "169.254.169.254"]),
    "HTTP to another name, second": http(
        "the HTTP Host is evil.com",
        *(["GET", "/", "api.example.com"], ["GET", "/", "evil.com"]),
        arrives=["api.example.com"],
    ),
    "HTTP to another name, absolute": http(
        "the HTTP target is at evil.com", ["GET", "http://evil.com/", "api.example.com"]
    ),
    "CONNECT through an allowed host": http("the HTTP method CONNECT", ["CONNECT", "evil.com:443", "evil.com:443"]),
    "a name for 127.0.0.1": resolves("to-loopback", "127.0.0.1", "loopback"),
    "a name for ::1": resolves("to-loopback6", "::1", "loopback"),
    "a name for 10/8": resolves("to-private", PRIVATE, f'private .*allow = ."{PRIVATE}:7"'),
    "a name for the metadata service": resolves("to-metadata", "169.254.169.254", "a cloud metadata service"),
    "a name for ::ffff:10.0.0.1": resolves("to-mapped", "::ffff:[0-9a.:]+", "IPv4-mapped"),
    "a name for 64:ff9b::": resolves("to-nat64", "64:ff9b::a00:1", "IPv4 by NAT64"),
    "a name for 2002::": resolves("to-6to4", "2002:a00:1::", "IPv4 by 6to4"),
    "a name for the machine's own address": tcp(
        "to-own.example.com",
        7,
        CLOSED,
        rf'^to-own.example.com:7: {OWN} is this machine\'s own; .*allow = ."{OWN}:7"',
        asked=("to-own.example.com",),
    ),
    "a name for 0.0.0.0": resolves("to-zero", "0.0.0.0", "unspecified"),
    "evil-example.com": tcp("evil-example.com", 7, NO_NAME, NOT_NAMED.format("evil-example.com")),
    "example.com.evil.com": tcp("example.com.evil.com", 7, NO_NAME, NOT_NAMED.format("example.com.evil.com")),
    "a look-alike": tcp("api.\u0435xample.com", 7, NO_NAME, NOT_NAMED.format("api.xn--xample-2of.com")),
    "a service of the machine's": tcp("127.0.0.1", 25, CLOSED, r"localhost:25: .*allow = .\"localhost:25\""),
    "a service of the machine's by name": tcp("localhost", 25, CLOSED, "localhost:25"),
    "a service of the machine's by 0x7f.1": tcp("0x7f.1", 25, CLOSED, "localhost:25"),
    "a service of the machine's by a number": tcp("2130706433", 25, CLOSED, "localhost:25"),
    "a service of the machine's by 0": tcp("0.0.0.0", 25, CLOSED, "localhost:25"),
    "a service of the machine's over IPv6": tcp("::1", 25, f"{REFUSED}|{NO_ROUTE}"),
    "a service of the machine's by way of IPv6": Row(
        "mapped", {"host": "127.0.0.1", "port": 25}, CLOSED, "localhost:25"
    ),
    "the Docker API over TCP": tcp("127.0.0.1", 2375, REFUSED),
    "the Docker API's socket": Row("unix", {"path": "/var/run/docker.sock"}, "ENOENT"),
    "a proxy elsewhere": Row(
        "url",
        {"address": "http://api.example.com/"},
        NO_NAME,
        "evil.com: no rule",
        environment={"http_proxy": "http://evil.com:80", "ALL_PROXY": "http://evil.com:80"},
    ),
    "a proxy of the machine's": Row(
        "url",
        {"address": "http://api.example.com/"},
        CLOSED,
        "localhost:80",
        environment={"http_proxy": "http://127.0.0.1:80"},
    ),
}

#: What has to get through: without it, nothing in ``ROWS`` would say anything. Attempt, arguments, what arrives.
OPEN: dict[str, tuple[str, dict[str, Any], list[Any]]] = {
    "a name": ("tcp", {"host": "api.example.com", "port": 7}, [[PUBLIC, 7]]),
    "an upper-case name with a dot": ("tcp", {"host": "API.EXAMPLE.com.", "port": 7}, [[PUBLIC, 7]]),
    "a name of IPv6": ("tcp", {"host": "six.example.com", "port": 7}, [[PUBLIC6, 7]]),
    "the machine's own port": ("tcp", {"host": "localhost", "port": 7}, [["127.0.0.1", 7]]),
    "the machine's own port by address": ("tcp", {"host": "127.0.0.1", "port": 7}, [["127.0.0.1", 7]]),
    "the server speaks first": ("tcp", {"host": "deep.sub.example.com", "port": 25, "send": "a\r\n"}, [[PUBLIC, 25]]),
    "HTTP, an upper-case host": (
        "web",
        {"host": "api.example.com", "port": 80, "requests": [["GET", "/", "API.example.COM."]] * 2},
        ["API.example.COM."] * 2,
    ),
    "HTTPS": (
        "web",
        {
            "host": "api.example.com",
            "port": 443,
            "sni": "api.example.com",
            "requests": [["GET", "/", "api.example.com"]],
        },
        ["api.example.com"],
    ),
    # Nobody is asked until there is a connection.
    "a long name below an allowed one": ("dns", {"labels": [*LONG.split("|"), "example", "com"], "kind": "A"}, []),
    "no proxy": ("url", {"address": "http://api.example.com/"}, ["api.example.com"]),
    "a port of its own": ("bind", {"address": "127.0.0.1", "port": 5432}, []),
}

#: Being the relay in the eyes of others, or becoming more than a server.
POSING: dict[str, tuple[str, dict[str, Any], str]] = {
    "the name server": ("bind", {"address": "127.0.0.1", "port": 53, "datagrams": True}, "EADDRINUSE|EACCES"),
    "the name server, shared": (
        "bind",
        {"address": "127.0.0.1", "port": 53, "datagrams": True, "shared": True},
        "EADDRINUSE|EACCES",
    ),
    "the name server over TCP": ("bind", {"address": "127.0.0.1", "port": 53}, "EADDRINUSE|EACCES"),
    "a port": ("bind", {"address": "0.0.0.0", "port": 2525}, "EADDRINUSE"),
    "a port, shared": ("bind", {"address": "0.0.0.0", "port": 2525, "shared": True}, "EADDRINUSE"),
    "a port of one address": ("bind", {"address": "127.64.0.1", "port": 2525}, "EADDRINUSE"),
    "a port of one address, shared": ("bind", {"address": "127.0.0.1", "port": 2525, "shared": True}, "EADDRINUSE"),
    "an address that nothing stands for": ("tcp", {"host": "127.64.200.200", "port": 7}, CLOSED),
    "an address of 127/8": ("tcp", {"host": "127.0.0.2", "port": 7}, CLOSED),
    "a route": ("route", {"network": PUBLIC}, "EPERM"),
}


class Sandbox:
    """One session of mcpbox in the namespace, with the server that makes attempts."""

    def __init__(
        self, internet: Internet, runner: Runner, name: str, allow: Sequence[str], options: Sequence[str] = ()
    ) -> None:
        self.internet, self.runner, self.name = internet, runner, name
        self.profile = runner.home / f"{name}.toml"
        self.attempts = runner.home / "servers" / "attempts.py"
        self.allow(allow)
        server = runner.home / "servers" / "run.py"
        words = runner.words(PYTHON, server, options=[*options, "--profile", str(self.profile)])
        self.host: Host = internet.host(runner, words)
        self._told = b""

    def __enter__(self) -> Sandbox:
        self.host.initialize()
        os.set_blocking(self.host.stderr.fileno(), False)
        return self

    def __exit__(self, *_: object) -> None:
        self.host.__exit__()

    def allow(self, lines: Sequence[str]) -> None:
        self.write(f'version = 1\nname = "{self.name}"\n[network]\nallow = {json.dumps(lines)}\n')

    def write(self, profile: str) -> None:
        """As editors do, so that it is never seen half written."""
        new = self.profile.with_suffix(".new")
        new.write_text(profile)
        new.replace(self.profile)

    def attempt(self, name: str, arguments: Mapping[str, Any], environment: Mapping[str, str] = {}) -> dict[str, str]:
        words = ["python3", str(self.attempts), name, json.dumps(arguments)]
        return outcome(self.host.call("run", words=words, environment=dict(environment))["structuredContent"]["out"])

    def told(self) -> str:
        """All of standard error so far."""
        try:
            while data := os.read(self.host.stderr.fileno(), 1 << 16):
                self._told += data
        except BlockingIOError:
            pass
        return self._told.decode()

    def denials(self) -> list[str]:
        return re.findall(r"(?m)^\[mcpbox\] egress denied: (.*)$", self.told())

    def records(self) -> list[dict[str, Any]]:
        """What is on record of its egress."""
        (log,) = (self.runner.home / ".state/mcpbox/audit/sessions" / self.name).iterdir()
        records = [json.loads(line) for line in log.read_text().splitlines()]
        return [record for record in records if record["event"] == "egress"]

    def relay(self) -> psutil.Process:
        """The relay's process as the machine sees it."""
        if self.runner.backend == "docker":
            with engine.connect(self._endpoint()) as client:
                (container,) = self.containers(" egress")
                children = psutil.Process(client.inspect_container(container)["State"]["Pid"]).children(recursive=True)
        else:
            children = psutil.Process(self.host.process.pid).children(recursive=True)
        (found,) = (child for child in children if any("mcpbox.egress" in word for word in child.cmdline()))
        return found

    def containers(self, suffix: str = "") -> list[str]:
        """Ids of this session's containers, the server's or (" egress") the relay's."""
        with engine.connect(self._endpoint()) as client:
            return [
                item["Id"]
                for item in client.containers(all=True, filters={"label": f"mcpbox.name={self.name}{suffix}"})
                if any(str(self.runner.home) in mount.get("Source", "") for mount in item["Mounts"])
            ]

    def _endpoint(self) -> engine.Endpoint:
        endpoint = engine.find()
        assert endpoint
        return endpoint


def outcome(text: str) -> dict[str, str]:
    """What an attempt printed."""
    return dict(json.loads(text or '{"outcome": "", "detail": "it printed nothing"}'))


class Case(NamedTuple):
    internet: Internet
    runner: Runner
    main: Sandbox
    other: Sandbox


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(case))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    """Two sandboxes and the internet, for all attempts of a backend and a user."""
    backend, user = request.param
    must_have(backend)
    if os.geteuid() != 0:
        must_work("only root can make the network namespace")
    with ExitStack() as stack:
        internet = stack.enter_context(Internet(tmp_path_factory.mktemp("internet")))
        home = make_home()
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        runner = make_runner(backend, user, home)
        main = stack.enter_context(Sandbox(internet, runner, "main", ALLOW))
        other = stack.enter_context(Sandbox(internet, runner, "other", OTHER_ALLOW))
        yield Case(internet, runner, main, other)


#: What the controls came to; they depend on neither backend nor user of the sandbox.
_OUTSIDE: dict[str, tuple[dict[str, str], list[dict[str, Any]]]] = {}


def outside(case: Case, title: str, row: Row, uid: int = ORDINARY) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """The positive control: the same attempt without the sandbox, and what arrived of it."""
    if title not in _OUTSIDE:
        before = len(case.internet.seen())
        variables = [f"{name}={value}" for name, value in row.environment.items()]
        attempt = [PYTHON, str(case.main.attempts), row.attempt, json.dumps(row.arguments)]
        words = case.internet.enter(["env", *variables, *attempt], uid)
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        _OUTSIDE[title] = outcome(done.stdout), case.internet.seen()[before:]
    return _OUTSIDE[title]


def inside(case: Case, sandbox: Sandbox, row: Row) -> tuple[dict[str, str], list[dict[str, Any]]]:
    before = len(case.internet.seen())
    found = sandbox.attempt(row.attempt, row.arguments, row.environment)
    return found, case.internet.seen()[before:]


@pytest.mark.parametrize("title", ROWS)
def test_no_way_round(case: Case, title: str) -> None:
    row = ROWS[title]
    control, arrived = outside(case, title, row)
    if row.attempt == "dns":
        assert any("dns" in event for event in arrived), f"the positive control failed: {control}"
    else:
        assert control["outcome"] == "allowed", f"the positive control failed: {control}"
    found, arrived = inside(case, case.main, row)
    assert found["outcome"] == "blocked", found
    assert re.search(row.stops, found["detail"]), f"blocked, but not by this wall: {found}"
    assert {event["dns"] for event in arrived if "dns" in event} <= set(row.asked)
    assert [event["host"] for event in arrived if "request" in event] == list(row.arrives)
    reached = [event["connection"][0] for event in arrived if "connection" in event]
    assert not [event for event in arrived if "datagram" in event]
    # To dial an allowed name's address is not yet to be heard there.
    assert set(reached) <= ({PUBLIC} if "api.example.com" in row.asked else set())
    if row.denied:
        assert any(re.search(row.denied, line) for line in case.main.denials()), case.main.denials()


@pytest.mark.parametrize("title", OPEN)
def test_what_is_allowed_works(case: Case, title: str) -> None:
    attempt, arguments, expected = OPEN[title]
    before = len(case.main.records())
    found, arrived = inside(case, case.main, Row(attempt, arguments, ""))
    assert found["outcome"] == "allowed", (found, case.main.told())
    reached = [event["connection"] for event in arrived if "connection" in event]
    assert reached + [event["host"] for event in arrived if "request" in event] == expected
    # One decision for each connection, and a record of it.
    connections = min(1, len(expected))
    assert [record["decision"] for record in case.main.records()[before:]] == ["allow"] * connections
    if attempt == "dns":
        assert not arrived


@pytest.mark.parametrize("title", POSING)
def test_nobody_takes_the_relays_place(case: Case, title: str) -> None:
    attempt, arguments, stops = POSING[title]
    found = case.main.attempt(attempt, arguments)
    assert found["outcome"] == "blocked" and re.search(stops, found["detail"]), found


@pytest.mark.parametrize(
    ("attempt", "stops", "controlled"),
    [
        ("find", "no process of", True),
        ("send_signal", "ESRCH", True),
        ("read_files", "ENOENT", True),
        ("read_memory", "ENOENT", True),
        # Tracing the relay would stop it; a process of the server's own is the control.
        ("trace", "EPERM|ESRCH", False),
    ],
)
def test_the_relay_is_out_of_reach(case: Case, attempt: str, stops: str, controlled: bool) -> None:
    arguments: dict[str, Any] = {"word": "mcpbox.egress"} if attempt == "find" else {"pid": case.main.relay().pid}
    row = Row(attempt, arguments, stops)
    if controlled:
        control, _ = outside(case, f"{attempt} {arguments}", row, uid=0)
        assert control["outcome"] == "allowed", f"the positive control failed: {control}"
    found = case.main.attempt(attempt, arguments)
    assert found["outcome"] == "blocked" and re.search(stops, found["detail"]), found


def test_only_the_public_one_of_several_addresses_is_dialled(case: Case) -> None:
    found, arrived = inside(case, case.main, tcp("to-both.example.com", 7, ""))
    assert found["outcome"] == "allowed"
    assert [event["connection"][0] for event in arrived if "connection" in event] == [PUBLIC]
    assert case.main.records()[-1]["dropped"] == [f"{PRIVATE} is private (RFC 1918, RFC 4193)"]
    # On this port, only the other one listens.
    row = tcp("to-both.example.com", 70, "")
    control, _ = outside(case, "both", row)
    assert control["detail"].endswith(PRIVATE), f"the positive control failed: {control}"
    found, arrived = inside(case, case.main, row)
    assert found["outcome"] == "blocked"
    assert not [event for event in arrived if "connection" in event]


def test_a_name_that_changes_is_judged_each_time(case: Case) -> None:
    controls = [outside(case, f"flips {turn}", tcp("flips-too.example.com", 7, ""))[0]["detail"] for turn in range(2)]
    assert [control.split()[-1] for control in controls] == [PUBLIC, PRIVATE]
    for expected, reached in (("allowed", [PUBLIC]), ("blocked", [])):
        found, arrived = inside(case, case.main, tcp("flips.example.com", 7, ""))
        assert found["outcome"] == expected, found
        assert [event["connection"][0] for event in arrived if "connection" in event] == reached
        # Looked up once: a second answer could be another one.
        assert sorted(event["type"] for event in arrived if "dns" in event) == ["A", "AAAA"]
    assert any(line.startswith(f"flips.example.com:7: {PRIVATE} is private") for line in case.main.denials())


def test_another_sandbox_is_not_there(case: Case) -> None:
    socket = f"@egress-{case.runner.home.name}"
    assert case.other.attempt("listen", {"path": socket, "port": 5599})["outcome"] == "allowed"
    attempts: list[tuple[str, dict[str, Any]]] = [
        ("tcp", {"host": "127.0.0.1", "port": 5599}),
        ("unix", {"path": socket}),
    ]
    for attempt, arguments in attempts:
        control = case.other.attempt(attempt, arguments)
        assert control["outcome"] == "allowed", control
        found = case.main.attempt(attempt, arguments)
        assert found == {"outcome": "blocked", "detail": REFUSED}
    # What one is allowed, the other is not.
    assert inside(case, case.other, tcp("evil.com", 7, ""))[0]["outcome"] == "allowed"
    found, arrived = inside(case, case.main, tcp("evil.com", 7, ""))
    assert found["outcome"] == "blocked" and not arrived


@pytest.mark.parametrize(("address", "shown"), [(PRIVATE, PRIVATE), ("fd00:7::1", "[fd00:7::1]")])
def test_a_network_is_reached_where_a_rule_names_it(case: Case, address: str, shown: str) -> None:
    found, arrived = inside(case, case.other, tcp(address, 7, ""))
    assert found["outcome"] == "allowed", (found, case.other.told())
    assert arrived == [{"connection": [address, 7]}]
    found, arrived = inside(case, case.other, tcp(address, 80, ""))
    assert found["outcome"] == "blocked" and not arrived
    assert any(f'allow = ["{shown}:80"]' in line for line in case.other.denials()), case.other.denials()
    found, arrived = inside(case, case.main, tcp(address, 7, ""))
    assert re.search(NO_ROUTE, found["detail"]) and not arrived


def test_every_denial_is_on_record(case: Case) -> None:
    """What is told to the user is in the log, in the same words, once."""
    assert case.main.attempt("tcp", {"host": "told.evil.com", "port": 7})["outcome"] == "blocked"
    told = [line.split("; to allow it")[0] for line in case.main.denials()]
    assert "told.evil.com: no rule names told.evil.com" in told
    records = [record for record in case.main.records() if record.get("decision") == "deny"]
    assert {f"{record['name']}: {record['reason']}" for record in records} == set(told)
    assert len(told) == len(set(told))
    assert all(record["event"] == "egress" and record["session"] and record["time"] for record in records)


def test_a_changed_profile_counts_at_once(case: Case) -> None:
    api, other = ({"host": f"{name}.example.com", "port": 7} for name in ("api", "other"))
    with Sandbox(case.internet, case.runner, "changing", ["api.example.com:7"]) as changing:

        def becomes(expected: str, arguments: Mapping[str, Any]) -> bool:
            return eventually(lambda: changing.attempt("tcp", arguments)["outcome"] == expected, 10)

        assert changing.attempt("tcp", api)["outcome"] == "allowed"
        assert changing.attempt("hold", {**api, "path": "/tmp/held"}) == {"outcome": "allowed", "detail": "held"}
        assert changing.attempt("tcp", other)["outcome"] == "blocked"
        changing.allow(["other.example.com:7"])
        assert becomes("allowed", other)
        # The connection that was open is not, and there is no new one.
        assert changing.attempt("appears", {"path": "/tmp/held"})["detail"] == "ECONNRESET"
        assert changing.attempt("tcp", api)["outcome"] == "blocked"
        assert any(line.startswith("api.example.com:7: revoked: no rule names api") for line in changing.denials())

        assert changing.attempt("hold", {**other, "path": "/tmp/held2"})["outcome"] == "allowed"
        changing.write('version = 1\nname = "changing"\n[network]\nallow = ["*.com", "https://example.com"')
        assert becomes("blocked", other)
        assert changing.attempt("appears", {"path": "/tmp/held2"})["detail"] == "ECONNRESET"
        assert "egress: nothing is allowed any more" in changing.told()
        changing.allow(["other.example.com:7"])
        assert becomes("allowed", other)
        changing.profile.unlink()
        assert becomes("blocked", other)
        reloads = [record["allow"] for record in changing.records() if record.get("decision") == "reload"]
        assert reloads == [["other.example.com:7"]] * 2


def test_learning_lets_public_hosts_through_and_says_what_they_were(case: Case) -> None:
    web = {"host": "evil.com", "port": 443, "sni": "evil.com", "requests": [["GET", "/", "evil.com"]]}
    with Sandbox(case.internet, case.runner, "learning", ["api.example.com"], ["--learn-network"]) as learning:
        assert learning.attempt("web", web)["outcome"] == "allowed"
        assert learning.attempt("tcp", {"host": "deep.sub.example.com", "port": 25})["outcome"] == "allowed"
        for host in ("to-private.example.com", "to-metadata.example.com", PRIVATE, "localhost"):
            found, arrived = inside(case, learning, tcp(host, 25, ""))
            assert found["outcome"] == "blocked", host
            assert not [event for event in arrived if "connection" in event]
        learning.host.stdin.close()
        assert learning.host.process.wait(10) == 0
        table = learning.told().partition("to allow what was used:\n")[2]
        expected = ["api.example.com", "deep.sub.example.com:25", "evil.com:443"]
        assert tomllib.loads(table)["network"]["allow"] == expected


def test_a_flood_ends_with_the_flood(case: Case) -> None:
    api = {"host": "api.example.com", "port": 7}
    with Sandbox(case.internet, case.runner, "flooded", ["api.example.com:7", "localhost:7"]) as flooded:
        before = len(case.internet.seen())
        flood = {"garbage": 3000, "connections": 600, "ports": [53, 7, 80, 443]}
        assert flooded.attempt("flood", flood)["outcome"] == "allowed"
        assert not [event for event in case.internet.seen()[before:] if "dns" in event]
        assert eventually(lambda: flooded.attempt("tcp", api)["outcome"] == "allowed", 20), flooded.told()
        # As many as may be, and no more; and once these are gone, as many again.
        many = {**api, "count": 300}
        for _ in range(2):
            assert eventually(lambda: flooded.attempt("many", many)["detail"] == "256 answered", 10), flooded.told()
        assert any(record.get("reason") == "more than 256 connections at once" for record in flooded.records())


def test_the_relay_is_there_before_the_server(case: Case) -> None:
    """What a server does first may be to look for a name, and quicker than any Python starts."""
    server = case.runner.home / "servers" / "first"
    server.write_text("#!/bin/sh\ngetent hosts api.example.com >&2\n")
    server.chmod(0o755)
    words = case.runner.words(server, options=["--profile", str(case.main.profile)])
    for _ in range(3):
        with case.internet.host(case.runner, words) as host:
            assert host.process.wait(20) == 0
            assert b"127.64.0.1" in host.stderr.read()


@pytest.mark.parametrize("victim", ["relay", "wrap"])
def test_the_relay_and_the_session_end_together(case: Case, victim: str) -> None:
    with Sandbox(case.internet, case.runner, f"ending-{victim}", ["api.example.com:7"]) as ending:
        assert ending.attempt("tcp", {"host": "api.example.com", "port": 7})["outcome"] == "allowed"
        relay = ending.relay()
        wrap = psutil.Process(ending.host.process.pid)
        theirs = [relay]
        if case.runner.backend == "bubblewrap":
            theirs += wrap.children(recursive=True)
        else:
            with engine.connect(ending._endpoint()) as client:
                for container in (*ending.containers(), *ending.containers(" egress")):
                    theirs += psutil.Process(client.inspect_container(container)["State"]["Pid"]).children(True)
        (relay if victim == "relay" else wrap).kill()
        code = ending.host.process.wait(10)
        if victim == "relay":
            assert "egress ended, and the server with it: the relay ended" in ending.told()
            assert code == 137, ending.told()
        assert eventually(lambda: not any(process.is_running() for process in theirs), 10), theirs
        if case.runner.backend == "docker":
            assert eventually(lambda: not ending.containers() and not ending.containers(" egress"), 10)
