"""The user's npm configuration, as far as it says where packages come from: registries, credentials, certificates.

npm itself does not tell the credentials it knows, and may not be on the host at all, so its files are read here, as
npm's documentation of ``npmrc`` has them. Only what concerns the registries in use is passed on.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from mcpbox.errors import PackageError

#: Settings that change what is resolved or how it is fetched, and cannot run anything.
PASSED = (
    *("before", "legacy-peer-deps", "strict-peer-deps", "strict-ssl", "replace-registry-host", "ca"),
    *("fetch-retries", "fetch-retry-factor", "fetch-retry-maxtimeout", "fetch-retry-mintimeout", "fetch-timeout"),
    *("maxsockets", "cert", "key"),
)
CREDENTIALS = ("_authToken", "_auth", "username", "_password", "email")
CLIENT_FILES = ("certfile", "keyfile")
#: Credentials for any registry at all; npm 9 refuses them too.
UNSCOPED = ("_auth", "_authToken", "_password", "username")
FORM = "accepted: http[s]://HOST[:PORT]/[PATH/]"
#: Bytes of a file: a checkout's may be a link to one without an end.
MOST = 1 << 20
#: Below HOME.
DIRECTORY = ".npm-sources"

Values = dict[str, str | list[str]]

_VARIABLE = re.compile(r"(?<!\\)(\\*)\$\{([^${}?]+)(\?)?\}")
_KEY = re.compile(r"//[A-Za-z0-9._~:@%/\[\]-]+")


class Sources(Struct, frozen=True):
    """Where packages come from. ``scopes`` maps "@scope" to its registry.

    ``files`` is what npm needs below its HOME, credentials among it: for an install sandbox and nothing else.
    ``environment`` goes with it; ``proxy`` is in the form of the environment's variables, empty where npm has none.
    """

    registry: str
    scopes: Mapping[str, str]
    files: Mapping[str, bytes]
    environment: Mapping[str, str]
    proxy: Mapping[str, str]

    def __repr__(self) -> str:
        # Never the files: a traceback must not show a token.
        return f"Sources({self.registry!r}, {dict(self.scopes)!r})"

    def of(self, name: str) -> str:
        """The registry of the package ``name``: its scope's alone, where the scope has one."""
        return self.scopes.get(name.partition("/")[0], self.registry) if name.startswith("@") else self.registry

    def registries(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.registry, *self.scopes.values())))


def read(environment: Mapping[str, str], cwd: Path, home: Path) -> Values:
    """npm's settings from its global and user files and the environment; the later win. Raises PackageError.

    A project's file is none of the user's configuration. A package is pinned for all of the user's servers, whatever
    checkout the host has open at its first start: whoever wrote that could else say where the package comes from, and
    by which proxy the logins go there.
    """
    given = _from_environment(environment)
    user = _path(given.get("userconfig"), cwd, home) or home / ".npmrc"
    personal = _file(user, lambda name: environment.get(name))
    values: Values = {}
    for path in _global(given, personal, environment, cwd, home):
        values |= _file(path, lambda name: environment.get(name))
    values |= personal
    return values | given


def sources(
    values: Values, default: Callable[[], str], environment: Mapping[str, str], cwd: Path, home: Path, inside: str
) -> Sources:
    """What of the settings an install sandbox is given, whose HOME is ``inside``. Raises PackageError.

    ``default`` tells npm's own registry, and is asked only where the settings name none.
    """
    for key in UNSCOPED:
        if key in values:
            raise PackageError(
                f"npm's setting {key} does not say for which registry it is", f"write it as: //HOST/PATH/:{key} = …"
            )
    registry = _url(_text(values, "registry") or default(), "registry")
    scopes = {
        key.removesuffix(":registry"): _url(_text(values, key), key)
        for key in values
        if key.startswith("@") and key.endswith(":registry")
    }
    own = {"registry": registry, **{f"{scope}:registry": url for scope, url in scopes.items()}}
    for key, url in _of_project(cwd, home).items():
        # npm too lets the environment go before it.
        if key not in _from_environment(environment) and own.get(key, "").rstrip("/") != url.rstrip("/"):
            raise PackageError(
                f"{_project(cwd, home) / '.npmrc'} names another registry than your own npm configuration: {key}",
                "a package is pinned for all projects: if that registry is right for it, name it in ~/.npmrc",
            )
    hosts = {urlsplit(url).netloc.lower() for url in (registry, *scopes.values())}
    files: dict[str, bytes] = {}

    def copied(path: Path | None, name: str, key: str) -> str:
        try:
            files[f"{DIRECTORY}/{name}"] = path.read_bytes() if path else b""
        except OSError as error:
            raise PackageError(f"npm's setting {key}: {path}: {error.strerror}") from None
        return f"{inside}/{DIRECTORY}/{name}"

    settings: Values = {**own, **{key: values[key] for key in PASSED if key in values}}
    if days := _text(values, "min-release-age"):
        settings["before"] = _before(days)
    if cafile := _path(values.get("cafile"), cwd, home):
        settings["cafile"] = copied(cafile, "ca.pem", "cafile")
    for number, key in enumerate(sorted(values)):
        place, _, what = key.rpartition(":")
        if not key.startswith("//") or place[2:].partition("/")[0].lower() not in hosts or not _KEY.fullmatch(place):
            continue
        if what in CREDENTIALS:
            settings[key] = values[key]
        elif what in CLIENT_FILES:
            settings[key] = copied(_path(values[key], cwd, home), f"{what}{number}.pem", key)
    extra = {}
    if path := environment.get("NODE_EXTRA_CA_CERTS"):
        extra["NODE_EXTRA_CA_CERTS"] = copied(Path(path), "extra.pem", "NODE_EXTRA_CA_CERTS")
    files[".npmrc"] = _write(settings)
    return Sources(registry, scopes, files, extra, _proxy(values))


def _global(given: Values, personal: Values, environment: Mapping[str, str], cwd: Path, home: Path) -> list[Path]:
    """Where npm's global file can be: Debian's npm has it in /etc, others below npm's prefix."""
    if path := _path(given.get("globalconfig") or personal.get("globalconfig"), cwd, home):
        return [path]
    prefix = _path(given.get("prefix") or personal.get("prefix"), cwd, home)
    # Not a "node" of the directory that the host has open, which could have variables sent to anybody.
    own = os.pathsep.join(filter(os.path.isabs, environment.get("PATH", os.defpath).split(os.pathsep)))
    if prefix is None and (node := shutil.which("node", path=own)):
        prefix = Path(os.path.realpath(node)).parent.parent
    return [Path("/etc/npmrc"), *([prefix / "etc" / "npmrc"] if prefix else [])]


def _of_project(cwd: Path, home: Path) -> dict[str, str]:
    """The registries that a project's file names: to take from elsewhere what it has there might be a stranger's."""
    project = _project(cwd, home)
    named = {} if project.resolve() == home.resolve() else _file(project / ".npmrc", lambda name: f"${{{name}}}")
    return {key: str(url) for key, url in named.items() if key == "registry" or re.fullmatch("@.*:registry", key)}


def _project(cwd: Path, home: Path) -> Path:
    for directory in (cwd, *cwd.parents):
        if directory in (home, Path("/")):
            break
        if (directory / "package.json").exists() or (directory / "node_modules").exists():
            return directory
    return cwd


def _from_environment(environment: Mapping[str, str]) -> Values:
    found: Values = {}
    for variable, value in environment.items():
        if variable[:11].lower() == "npm_config_" and value:
            key = variable[11:]
            if not key.startswith("//"):
                key = key[:1] + key[1:].replace("_", "-")
                key = key if key.startswith("_") else key.lower()
            found[key] = value
    return found


def _file(path: Path, variable: Callable[[str], str | None]) -> Values:
    """The settings of one file; those that need a variable which is not set are left out."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST + 1)
        if len(data) > MOST:
            raise ValueError(f"larger than {MOST >> 20} MiB")
        text = data.decode()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise PackageError(f"{path}: cannot be read: {error}", "npm reads it too: mend it") from None
    found: Values = {}
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("["):
            if line.endswith("]"):
                # Keys of a section are none of npm's.
                break
        if not line or line[0] in ";#":
            continue
        name, equals, value = line.partition("=")
        try:
            key, content = _expand(_plain(name), variable), _expand(_plain(value) if equals else "true", variable)
        except LookupError:
            continue
        if key.endswith("[]"):
            before = found.get(key[:-2], [])
            found[key[:-2]] = [*(before if isinstance(before, list) else [before]), content]
        else:
            found[key] = content
    return found


def _plain(text: str) -> str:
    """A key or a value without its quotes, its comment and its escapes, as the package "ini" reads it."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        if text[0] == "'":
            return text[1:-1]
        try:
            return str(json.loads(text))
        except ValueError:
            return text
    end = re.search(r"(?<!\\)[;#]", text)
    return re.sub(r"\\([;#\\])", r"\1", text[: end.start()] if end else text).strip()


def _expand(text: str, variable: Callable[[str], str | None]) -> str:
    def replaced(match: re.Match[str]) -> str:
        if len(match[1]) % 2:
            return match[0]
        value = variable(match[2])
        if value is None and not match[3]:
            raise LookupError(match[2])
        return match[1][: len(match[1]) // 2] + (value or "")

    return _VARIABLE.sub(replaced, text)


def _text(values: Values, key: str) -> str:
    value = values.get(key, "")
    return "" if value in ("null", "undefined") or isinstance(value, list) else value


def _path(value: str | list[str] | None, cwd: Path, home: Path) -> Path | None:
    if not isinstance(value, str) or value in ("", "null"):
        return None
    return home / value[2:] if value.startswith("~/") else cwd / value


def _url(url: str, key: str) -> str:
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port)
    except ValueError:
        fine = False
    if not fine or parts.username or parts.query or parts.fragment:
        shown = re.sub(r"//[^/@]*@", "//…@", url)
        raise PackageError(f"npm's setting {key} = {shown} is not a registry's address", FORM)
    return url if url.endswith("/") else f"{url}/"


def _before(days: str) -> str:
    """The date that npm makes of "min-release-age", which releases before 11 do not know."""
    try:
        return (datetime.now(UTC) - timedelta(days=float(days))).isoformat()
    except (ValueError, OverflowError):
        raise PackageError(f"npm's setting min-release-age = {days} is not a number of days") from None


def _proxy(values: Values) -> dict[str, str]:
    proxy = _text(values, "https-proxy") or _text(values, "proxy")
    if not proxy or proxy == "false":
        return {}
    return {"https_proxy": proxy, "no_proxy": _text(values, "noproxy")}


def _write(settings: Values) -> bytes:
    lines = []
    for key, value in settings.items():
        if isinstance(value, list):
            lines += [f"{key}[]={json.dumps(item)}" for item in value]
        else:
            lines.append(f"{key}={json.dumps(value)}")
    return "\n".join([*lines, ""]).encode()
