from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpbox.egress import endpoints
from mcpbox.egress.rules import RuleError, Rules
from mcpbox.errors import UsageError
from mcpbox.tables import Endpoint, Network

SECRET = "hunter2hunter2"


def found(environment: dict[str, str], arguments: tuple[str, ...] = (), **table: Any) -> list[str]:
    return [rule.text for rule in endpoints.find(Network(**table), environment, arguments)]


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("", []),
        ("https://gitlab.example.com/api/v4", ["gitlab.example.com:443"]),
        ("http://gitlab.example.com", ["gitlab.example.com:80"]),
        ("HTTPS://GitLab.Example.com:8443/", ["GitLab.Example.com:8443"]),
        ("gitlab.example.com", ["gitlab.example.com:443"]),
        ("gitlab.example.com:8443/api", ["gitlab.example.com:8443"]),
        ("postgresql://u:p@db.example.com/x?sslmode=require", ["db.example.com:5432"]),
        ("postgresql+psycopg://u:p@db.example.com/x", ["db.example.com:5432"]),
        ("postgres://u:p@10.1.2.3:6432/x", ["10.1.2.3:6432"]),
        ("postgresql://u:p%40%2F@[fd00::1]/x", ["[fd00::1]:5432"]),
        ("postgresql://u:mcpbox-secret:pg/password@db.example.com/x", ["db.example.com:5432"]),
        ("redis://:mcpbox-secret:redis/p.w-d@127.0.0.1", ["localhost:6379"]),
        ("redis://localhost/0", ["localhost:6379"]),
        ("rediss://:p@ss@cache.example.com", ["cache.example.com:6379"]),
        ("neo4j+s://abc.databases.example.com", ["abc.databases.example.com:7687"]),
        ("mongodb://u:p@a.example.com,b.example.com:27018/x", ["a.example.com:27017", "b.example.com:27018"]),
        ("http://[::1]:8080", ["localhost:8080"]),
        ("sqlite:///home/somebody/x.db", []),
        ("file:///home/somebody/x.json", []),
        ("postgresql:///x", []),
    ],
)
def test_the_hosts_that_a_value_names(text: str, rules: list[str]) -> None:
    assert found({"URL": text}, from_environment=("URL",)) == rules
    if "://" in text:
        assert found({}, ("--x", text), from_arguments=True) == rules
        assert found({}, (f"--url={text}",), from_arguments=True) == rules


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("*", "no host"),
        ("*.example.com", "no host"),
        ("https://*/", "no host"),
        ("http://169.254.169.254/latest/meta-data", "metadata"),
        ("100.100.100.200", "metadata"),
        ("[fd00:ec2::254]:80", "metadata"),
        ("http://[64:ff9b::a9fe:a9fe]/latest/meta-data", "IPv4 address in disguise"),
        ("[2002:a9fe:a9fe::1]:80", "IPv4 address in disguise"),
        ("http://0x7f.1/", "no host"),
        ("http://127.0.0.2/", "no host"),
        ("https://foo.localhost", "no host"),
        ("https://a.example.com:99999", "no host"),
        (f"postgresql://u:{SECRET}/x@db.example.com/x", "no host"),
        ("mcpbox-secret:pg/url", "part of a secret"),
        ("https://mcpbox-secret:pg/host:8443/", "part of a secret"),
        ("mongodb+srv://u:p@cluster.example.com/", "SRV"),
        ("gopher://a.example.com", "no port is known for gopher"),
        ("a.example.com,", "no host"),
    ],
)
def test_what_names_no_host_that_may_be_reached_is_refused(text: str, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        found({"URL": text}, from_environment=("URL",))
    assert caught.value.message.startswith("URL: ") and reason in caught.value.message and caught.value.hint
    assert SECRET not in caught.value.message + caught.value.hint


def test_host_and_port_in_variables_of_their_own() -> None:
    table = (Endpoint(host="DB_HOST", port="DB_PORT", default="localhost:3306"),)

    def rules(**environment: str) -> list[str]:
        return found(environment, from_environment=table)

    assert rules() == ["localhost:3306"]
    assert rules(DB_PORT="3307") == ["localhost:3307"]
    assert rules(DB_HOST="db.example.com") == ["db.example.com:3306"]
    assert rules(DB_HOST="db.example.com", DB_PORT="3307") == ["db.example.com:3307"]
    assert rules(DB_HOST="https://db.example.com", DB_PORT="") == ["db.example.com:443"]
    with pytest.raises(UsageError, match="DB_PORT: not a port"):
        rules(DB_PORT="0")


def test_what_an_argument_names_takes_the_place_of_the_default() -> None:
    table = (Endpoint(host="DB_HOST", default="localhost:6379"),)
    words = ("--url", "redis://db.example.com")
    for arguments in (True, ("--url",)):
        assert found({}, words, from_environment=table, from_arguments=arguments) == ["db.example.com:6379"]
        assert found({}, ("--verbose",), from_environment=table, from_arguments=arguments) == ["localhost:6379"]


def test_only_the_listed_options_count() -> None:
    words = ("--host", "a.example.com", "--other=https://b.example.com", "--site=c.example.com", "--host")
    assert found({}, words, from_arguments=("--host", "--site")) == ["a.example.com:443", "c.example.com:443"]
    assert found({}, words, from_arguments=True) == ["b.example.com:443"]
    assert found({"URL": "https://d.example.com"}, words) == []


def test_what_the_user_names_may_be_private_and_nothing_else_may() -> None:
    named = Rules(endpoints.find(Network(from_environment=("URL",)), {"URL": "https://git.example.com"}, ()))
    given = named.rules[0]
    for address in ("10.1.2.3", "fd12::1", "192.168.0.1", "100.64.0.1", "93.184.215.14"):
        assert named.vet(address, 443, given).allow, address
    for address in ("127.0.0.1", "169.254.169.254", "100.100.100.200", "fd00:ec2::254", "169.254.1.1", "224.0.0.1"):
        assert not named.vet(address, 443, given).allow, address
    assert not named.vet("10.1.2.3", 80, given).allow
    (usual,) = Rules.parse(["git.example.com"]).rules
    assert not named.vet("10.1.2.3", 443, usual).allow
    unset = endpoints.find(Network(from_environment=(Endpoint(host="URL", default="git.example.com"),)), {}, ())
    assert not Rules(unset).vet("10.1.2.3", 443, unset[0]).allow


@pytest.mark.parametrize(
    ("name", "allow"), [("git.example.com", False), ("git.lan", True), ("git", True), ("10.1.2.3", True)]
)
def test_a_public_name_does_not_lead_to_this_machine(name: str, allow: bool) -> None:
    """Whoever answers for it could make it any address (DNS rebinding); names of the user's network are his own."""
    named = Rules(endpoints.find(Network(from_environment=("URL",)), {"URL": f"https://{name}"}, ()))
    assert named.vet("10.1.2.3", 443, named.rules[0], own=False).allow
    assert named.vet("10.1.2.3", 443, named.rules[0], own=True).allow == allow


def test_a_default_is_one_name() -> None:
    assert endpoints.default("a.example.com:8443") == ("a.example.com", 8443)
    assert endpoints.default("localhost:22") == ("localhost", 22)
    assert (endpoints.default(":22"), endpoints.default("")) == (("", 22), ("", 443))
    for text in ("*", "*.example.com", "10.0.0.1", "tcp://a.example.com", "https://a.example.com", ":", ":0", ":65536"):
        with pytest.raises(RuleError):
            endpoints.default(text)


def test_a_port_without_a_host_is_the_port_of_what_the_user_names() -> None:
    table = (Endpoint(host="SSH_HOST", port="SSH_PORT", default=":22"),)
    assert found({}, from_environment=table) == []
    assert found({"SSH_PORT": "2222"}, from_environment=table) == []
    assert found({"SSH_HOST": "a.example.com"}, from_environment=table) == ["a.example.com:22"]


@given(st.text(), st.booleans())
def test_any_text_gives_rules_of_single_hosts_or_a_usage_error(text: str, url: bool) -> None:
    try:
        rules = endpoints.read(f"https://{text}" if url else text, "X")
    except UsageError:
        return
    assert {rule.kind for rule in rules} <= {"host", "localhost", "network"}
    assert all(rule.kind != "network" or rule.host.endswith(("/32", "/128")) for rule in rules)
