"""Where the user's pip or uv takes packages from: indexes, directories, certificates, credentials. Reads files only."""

from __future__ import annotations

import base64
import configparser
import netrc
import os
import re
import ssl
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from msgspec import Struct

from mcpbox import paths
from mcpbox.errors import PackageError

Strategy = Literal["first-index", "unsafe-best-match"]

#: Where certificate authorities are on one system or another, when neither the user nor Python's OpenSSL knows.
BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
STRATEGIES: Mapping[str, Strategy] = {"first-index": "first-index", "unsafe-best-match": "unsafe-best-match"}
FORM = "accepted: https://HOST[:PORT]/PATH, file:///DIRECTORY, or http:// for localhost and trusted hosts"


class Index(Struct, frozen=True):
    """One place that has packages: a "simple" index (PEP 503, PEP 691), or "links", a directory or page of files.

    ``url`` has no credentials; "" stands for the index that the tool uses when told nothing. ``authorization`` is the
    value of that header. ``insecure``: its certificate is not looked at, or it is plain HTTP.
    """

    url: str
    kind: Literal["simple", "links"] = "simple"
    authorization: str = ""
    insecure: bool = False

    def __repr__(self) -> str:
        return f"Index({self.url!r}, {self.kind!r})"


class Sources(Struct, frozen=True):
    """``indexes`` are in the order in which they count; ``certificates`` and ``client`` are PEM files' paths or ""."""

    indexes: tuple[Index, ...]
    strategy: Strategy = "first-index"
    certificates: str = ""
    client: str = ""


def read(environment: Mapping[str, str], *, system: Path = Path("/")) -> Sources:
    """uv's configuration if it names any index, else pip's. ``system`` is the root of the system's own files.

    The order is uv's: links, then the extra indexes, then the main one. Raises PackageError.
    """
    home = Path(environment.get("HOME") or paths.home())
    uv = _uv(environment, home, system)
    pip = _pip(environment, home, system)
    chosen = uv if uv.named else pip
    certificates = environment.get("SSL_CERT_FILE", "") if uv.named else pip.certificates
    passwords = _Passwords(environment, home)
    indexes = [_index(url, "links", chosen.trusted, passwords, {}) for url in chosen.links]
    indexes += [_index(url, "simple", chosen.trusted, passwords, chosen.logins) for url in chosen.extra]
    if not chosen.none:
        indexes.append(
            _index(chosen.main, "simple", chosen.trusted, passwords, chosen.logins) if chosen.main else Index("")
        )
    if not indexes:
        raise PackageError("the pip configuration has no-index and no find-links", "name one of them")
    return Sources(
        tuple(dict.fromkeys(indexes)),
        uv.strategy,
        _existing(certificates) or _system_bundle(environment),
        _existing(pip.client),
    )


class _Found(Struct):
    main: str = ""
    extra: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()
    none: bool = False
    strategy: Strategy = "first-index"
    certificates: str = ""
    client: str = ""
    #: user and password by URL, and uv's URLs by the names that their logins go by
    logins: dict[str, tuple[str, str]] = {}
    urls: dict[str, str] = {}

    @property
    def named(self) -> bool:
        return bool(self.main or self.extra or self.links or self.none)


def _pip(environment: Mapping[str, str], home: Path, system: Path) -> _Found:
    values: dict[str, str] = {}
    own = environment.get("PIP_CONFIG_FILE", "")
    if own != os.devnull:
        config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
        files = [system / "etc/xdg/pip/pip.conf", system / "etc/pip.conf", home / ".pip/pip.conf"]
        if sys.platform == "darwin":
            files.append(home / "Library/Application Support/pip/pip.conf")
        files.append(config / "pip/pip.conf")
        # Not a virtual environment's: that is a project's, and may have come with a checkout.
        for file in [*files, *([Path(own)] if own else [])]:
            values |= _pip_file(file)
    for name in ("index_url", "extra_index_url", "find_links", "trusted_host", "no_index", "cert", "client_cert"):
        if value := environment.get(f"PIP_{name.upper()}"):
            values[name.replace("_", "-")] = value
    return _Found(
        main=values.get("index-url", ""),
        extra=tuple(values.get("extra-index-url", "").split()),
        links=tuple(values.get("find-links", "").split()),
        trusted=tuple(values.get("trusted-host", "").split()),
        none=values.get("no-index", "").lower() in ("1", "true", "yes", "on", "y", "t"),
        certificates=values.get("cert") or environment.get("REQUESTS_CA_BUNDLE", ""),
        client=values.get("client-cert", ""),
    )


def _pip_file(file: Path) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, configparser.Error) as error:
        raise PackageError(f"{file}: {error}", "mend it: pip reads it too") from None
    values: dict[str, str] = {}
    for section in ("global", "install"):
        if parser.has_section(section):
            values |= {key.lower().replace("_", "-"): value for key, value in parser.items(section)}
    return values


def _uv(environment: Mapping[str, str], home: Path, system: Path) -> _Found:
    found = _Found()
    config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    own = environment.get("UV_CONFIG_FILE")
    files = [Path(own)] if own else [system / "etc/uv/uv.toml", config / "uv/uv.toml"]
    named: list[str] = []
    if environment.get("UV_NO_CONFIG", "") in ("", "0", "false"):
        for file in files:
            named = _uv_file(file, found) + named
    extra = [_named(word, found) for word in environment.get("UV_INDEX", "").split()]
    extra += environment.get("UV_EXTRA_INDEX_URL", "").split()
    found.extra = tuple(dict.fromkeys([*extra, *named, *found.extra]))
    default = environment.get("UV_DEFAULT_INDEX") or environment.get("UV_INDEX_URL", "")
    found.main = _named(default, found) if default else found.main
    links = environment.get("UV_FIND_LINKS", "")
    found.links = tuple(filter(None, re.split(r"[,\s]+", links))) or found.links
    found.trusted = tuple(environment.get("UV_INSECURE_HOST", "").split()) or found.trusted
    found.none = found.none or environment.get("UV_NO_INDEX", "") in ("1", "true")
    found.strategy = _strategy(environment.get("UV_INDEX_STRATEGY", ""), "UV_INDEX_STRATEGY") or found.strategy
    for name, url in found.urls.items():
        variable = f"UV_INDEX_{re.sub(r'[^A-Z0-9]', '_', name.upper())}"
        login = environment.get(f"{variable}_USERNAME", ""), environment.get(f"{variable}_PASSWORD", "")
        if any(login):
            found.logins[_plain(urlsplit(url))] = login
    return found


def _named(word: str, found: _Found) -> str:
    """The URL of ``NAME=URL`` or ``URL``."""
    if given := re.fullmatch(r"([A-Za-z0-9._-]+)=(.+)", word):
        found.urls[given[1]] = given[2]
        return given[2]
    return word


def _uv_file(file: Path, found: _Found) -> list[str]:
    """Take over what a uv.toml says; the extra ``[[index]]`` tables are given back, which go before the older keys."""
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise PackageError(f"{file}: {error}", "mend it: uv reads it too") from None
    named = []
    for table in _list(data.get("index")):
        if not isinstance(table, dict) or not isinstance(url := table.get("url"), str):
            raise PackageError(f"{file}: an [[index]] without a url", FORM)
        if isinstance(name := table.get("name"), str):
            found.urls[name] = url
        # An explicit index is for packages that a project names, never for others.
        if table.get("explicit"):
            continue
        if table.get("format") == "flat":
            found.links = (*found.links, url)
        elif table.get("default"):
            found.main = url
        else:
            named.append(url)
    found.main = data.get("index-url") or found.main
    found.extra = (*map(str, _list(data.get("extra-index-url"))), *found.extra)
    found.links = (*map(str, _list(data.get("find-links"))), *found.links)
    found.trusted = (*map(str, _list(data.get("allow-insecure-host"))), *found.trusted)
    found.none = bool(data.get("no-index", found.none))
    found.strategy = _strategy(str(data.get("index-strategy", "")), str(file)) or found.strategy
    return named


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else []


def _strategy(text: str, where: str) -> Strategy | None:
    if not text:
        return None
    if text not in STRATEGIES:
        raise PackageError(f"{where}: index-strategy {text!r}: not known", f"accepted: {', '.join(STRATEGIES)}")
    return STRATEGIES[text]


class _Passwords:
    """What the user's netrc file says of a host; read when it is needed."""

    def __init__(self, environment: Mapping[str, str], home: Path) -> None:
        self._file = Path(environment.get("NETRC") or home / ".netrc")
        self._read: netrc.netrc | None = None

    def of(self, host: str) -> tuple[str, str]:
        if self._read is None and not self._file.is_file():
            return "", ""
        try:
            self._read = self._read or netrc.netrc(str(self._file))
        except (OSError, netrc.NetrcParseError) as error:
            raise PackageError(f"{self._file}: {error}", "mend it: pip reads it too") from None
        found = self._read.authenticators(host)
        return (found[0] or found[1] or "", found[2] or "") if found else ("", "")


def _index(
    text: str,
    kind: Literal["simple", "links"],
    trusted: Sequence[str],
    passwords: _Passwords,
    logins: Mapping[str, tuple[str, str]],
) -> Index:
    """What a URL or a path of the configuration means. Raises PackageError, without the credentials in it."""
    if "://" not in text and not text.startswith("file:"):
        # A directory of files, as pip and uv have it.
        directory = os.path.expanduser(text)
        if not os.path.isabs(directory):
            raise PackageError(
                f"{text}: another directory in each project, while a package is pinned for all of them",
                "name it by its absolute path in the configuration of pip or uv",
            )
        return Index(Path(os.path.normpath(directory)).as_uri(), kind)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise PackageError(f"the URL of an index cannot be read: {error}", FORM) from None
    plain = _plain(parts)
    if parts.scheme == "file":
        if host not in ("", "localhost"):
            raise PackageError(f"{plain}: a file of another machine", FORM)
        return Index(f"file://{quote(os.path.normpath(unquote(parts.path)))}", kind)
    exempt = host in trusted or (port is not None and f"{host}:{port}" in trusted)
    local = host in ("localhost", "127.0.0.1", "::1")
    if not host or parts.scheme not in ("https", "http") or (parts.scheme == "http" and not (exempt or local)):
        raise PackageError(f"{plain}: not an index that mcpbox uses", FORM)
    if parts.username is not None or parts.password is not None:
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
    else:
        user, password = logins.get(plain) or passwords.of(host)
    login = base64.b64encode(f"{user}:{password}".encode()).decode() if user or password else ""
    return Index(plain, kind, f"Basic {login}" if login else "", exempt)


def _plain(parts: SplitResult) -> str:
    """The URL without credentials, query and fragment."""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))


def _existing(path: str) -> str:
    if path and not os.path.isfile(path):
        raise PackageError(f"{path}, named in the pip configuration, is not a file", "accepted: a file of certificates")
    return path


def _system_bundle(environment: Mapping[str, str]) -> str:
    candidates = (environment.get("SSL_CERT_FILE", ""), ssl.get_default_verify_paths().cafile or "", *BUNDLES)
    return next((path for path in candidates if path and os.path.isfile(path)), "")
