"""The hosts that a user's own configuration names: in variables, and in arguments that are URLs. No I/O.

What the user wrote himself may be at a private address, which a name in a profile may not; a cloud's metadata service
never. No error repeats a value, which may hold a password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING

from msgspec.structs import replace

from mcpbox.arguments import options, value
from mcpbox.egress.rules import DEFAULT_PORT, METADATA, TRANSLATED, Rule, RuleError, Rules, classify
from mcpbox.errors import UsageError
from mcpbox.secrets.reference import masked

if TYPE_CHECKING:
    from mcpbox.tables import Network

#: Schemes and the port that is meant where a URL names none: IANA's, or the vendor's documentation. What libraries put
#: behind a "+" (postgresql+psycopg) says nothing about the port.
PORTS = {
    "http": 80, "https": 443, "ws": 80, "wss": 443,
    "postgres": 5432, "postgresql": 5432, "mysql": 3306, "mariadb": 3306, "mssql": 1433, "sqlserver": 1433,
    "oracle": 1521, "redis": 6379, "rediss": 6379, "valkey": 6379, "valkeys": 6379, "mongodb": 27017,
    "neo4j": 7687, "bolt": 7687, "clickhouse": 9000, "cockroachdb": 26257, "memcached": 11211,
    "amqp": 5672, "amqps": 5671, "mqtt": 1883, "mqtts": 8883, "nats": 4222, "kafka": 9092,
    "ldap": 389, "ldaps": 636, "smtp": 25, "smtps": 465, "imap": 143, "imaps": 993, "ssh": 22, "sftp": 22,
}  # fmt: skip
#: Schemes that name no host.
LOCAL = {"file", "sqlite", "sqlite3", "duckdb", "unix", "data", "memory"}
#: How the machine itself is written in configurations.
OWN = {"localhost", "127.0.0.1", "::1", "0.0.0.0"}
FORM = "SCHEME://[USER:PASSWORD@]HOST[:PORT]/… with special characters in the password as %XX, or HOST[:PORT]"

_NUMBER = re.compile(r"[1-9][0-9]{0,4}")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#\\]*)")
#: What stands for a secret, often for a password alone.
_HIDDEN = "\0"


def find(table: Network, environment: Mapping[str, str], arguments: Sequence[str]) -> tuple[Rule, ...]:
    """The rules for what the variables and arguments that ``table`` lists name. Raises UsageError."""
    argued: list[Rule] = []
    if table.from_arguments is True:
        for position, word in enumerate(arguments, 1):
            if _URL.match(text := value(word)):
                argued += read(text, f"argument {position}")
    elif table.from_arguments:
        for option, text in options(arguments, table.from_arguments):
            argued += read(text, option)
    found: list[Rule] = []
    for item in table.from_environment:
        variable = item if isinstance(item, str) else item.host
        text = environment.get(variable, "")
        if isinstance(item, str):
            found += read(text, variable)
            continue
        host, usual = default(item.default)
        port = _port(environment.get(item.port, ""), item.port) or usual
        if text:
            found += read(text, variable, port)
        elif host and not argued:
            # What an argument names is what the server uses then, and often the default is this machine.
            found += Rules.parse([f"{host}:{port}"]).rules
    return tuple(dict.fromkeys([*found, *argued]))


def read(text: str, where: str, default_port: int = DEFAULT_PORT) -> list[Rule]:
    """The rules for the hosts in a URL or HOST[:PORT], of which there may be several; none for a local file.

    ``where`` is what errors call it. Raises UsageError.
    """
    text = masked(text.strip(), _HIDDEN)
    if not text:
        return []
    port = default_port
    if url := _URL.match(text):
        scheme = url[1].lower()
        if scheme == "mongodb+srv":
            hint = "use the form mongodb://HOST:PORT,HOST:PORT/… that the database's own console shows"
            raise UsageError(f"{where}: mongodb+srv finds its hosts by SRV records, which a sandbox cannot", hint)
        base = scheme.partition("+")[0]
        if base in LOCAL:
            return []
        if base not in PORTS:
            raise UsageError(
                f"{where}: no port is known for {scheme}://", "write the rule in a profile of your own: network.allow"
            )
        port, text = PORTS[base], url[2]
        if not text:
            # redis:///0, postgresql:///name: the library's own idea of where, on this machine.
            return []
    else:
        text = re.split(r"[/?#\\]", text, maxsplit=1)[0]
    return [_rule(host, port, where) for host in text.rpartition("@")[2].split(",")]


def default(text: str) -> tuple[str, int]:
    """Host and port of HOST[:PORT], where HOST is a name, or of :PORT, which names none. Raises RuleError."""
    if not text:
        return "", DEFAULT_PORT
    form = "HOST[:PORT] or :PORT"
    if text.startswith(":"):
        if not (_NUMBER.fullmatch(text[1:]) and int(text[1:]) <= 65535):
            raise RuleError("not a port", form)
        return "", int(text[1:])
    (rule,) = Rules.parse([text]).rules
    if rule.kind not in ("host", "localhost") or rule.opaque:
        raise RuleError("not one name", form)
    return rule.host, rule.port


def _rule(text: str, default_port: int, where: str) -> Rule:
    wrong = UsageError(f"{where}: no host can be read from it", f"accepted: {FORM}")
    if _HIDDEN in text:
        raise UsageError(f"{where}: the host is part of a secret", "make only the password a secret")
    if not (parts := re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::([0-9]+)?)?", text)):
        raise wrong
    host, port = parts[1], parts[2] or str(default_port)
    if host.strip("[]").lower() in OWN:
        host = "localhost"
    try:
        (rule,) = Rules.parse([f"{host}:{port}"]).rules
    except RuleError:
        raise wrong from None
    if rule.kind in ("any", "subdomains"):
        raise wrong
    name = classify(ip_address(rule.host.partition("/")[0]))[0] if rule.kind == "network" else ""
    if name == METADATA:
        raise UsageError(f"{where}: {host} is {METADATA}, which hands out credentials", "no server may reach it")
    if name in TRANSLATED:
        # What is behind it may be one of those.
        raise UsageError(f"{where}: {host} is {name}, an IPv4 address in disguise", "write the IPv4 address")
    return replace(rule, named=True)


def _port(text: str, where: str) -> int:
    """The number that a variable holds; 0 if it is not set. Raises UsageError."""
    if text and not (_NUMBER.fullmatch(text) and int(text) <= 65535):
        raise UsageError(f"{where}: not a port", "accepted: one number from 1 to 65535")
    return int(text or 0)
