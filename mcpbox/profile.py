"""Profiles: what one server may do, read from TOML, refused where anything in them is not understood.

A profile is resolved from the built-in defaults, which allow nothing, and one file. Every error names the file, the
key, the value and the accepted form.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec
from msgspec import Struct

from mcpbox import paths
from mcpbox.errors import ProfileError, UsageError
from mcpbox.secrets import PREFIX
from mcpbox.tables import FROM_HOST, UNITS, Endpoint, Listed, Network, Profile, Size, Table

__all__ = [
    "FROM_HOST", "Network", "Profile", "Resolved", "Size", "available", "find", "is_settable", "load",
    "parse", "parse_size", "resolve",
]  # fmt: skip


class Resolved(Struct, frozen=True):
    """A profile in force and where it comes from; ``given`` are the keys its file sets ("sandbox.memory")."""

    profile: Profile
    path: Path | None
    given: frozenset[str]

    @property
    def source(self) -> str:
        return str(self.path) if self.path else "the defaults"


#: Variables that decide what code runs, or that the sandbox sets itself.
RESERVED = frozenset(
    """PATH HOME LANG TZ NODE_OPTIONS BUN_OPTIONS PYTHONSTARTUP PYTHONHOME PYTHONINSPECT PYTHONBREAKPOINT BASH_ENV ENV
    SHELLOPTS BASHOPTS PS4 PROMPT_COMMAND IFS PERL5OPT PERL5DB RUBYOPT LUA_INIT JAVA_TOOL_OPTIONS JDK_JAVA_OPTIONS
    _JAVA_OPTIONS DOTNET_STARTUP_HOOKS GCONV_PATH""".split()
)

SETTABLE = "letters, digits and '_', for a variable that neither loads code nor is mcpbox's to set"

MAX_BYTES = Size(1 << 20)

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET = r"[A-Za-z0-9_.-]{1,128}"
_SIZE = re.compile(r"([0-9]{1,12})(B|KiB|MiB|GiB)")
_NPM = re.compile(r"npm:(@[a-z0-9~-][a-z0-9._~-]*/)?[a-z0-9~-][a-z0-9._~-]*")
_PYPI = re.compile(r"pypi:[a-z0-9]+(-[a-z0-9]+)*")
#: As ``docker run`` takes it, without a tag or digest; what is on Docker Hub without that registry's name.
_IMAGE = re.compile(
    r"image:(?!docker\.io/|library/)[a-z0-9]+([._-]+[a-z0-9]+)*(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
)
_OPTION = re.compile(r"--?[A-Za-z0-9][A-Za-z0-9_.-]*")
_PLACE = re.compile(r" - at `\$\.?(.*)`$")
_UNKNOWN = re.compile(r"unknown field `(.+)`")
_MINIMA = {
    "sandbox.memory": 16 << 20,
    "sandbox.scratch": 1 << 20,
    "messages.max_bytes": 64 << 10,
    "network.max_bytes": 64 << 10,
}


def is_settable(name: str) -> bool:
    """Whether it is the name of a variable that a server may be given."""
    return bool(_VARIABLE.fullmatch(name)) and name not in RESERVED and not name.startswith(("LD_", "DYLD_"))


def parse_size(text: str) -> Size:
    """Bytes from "512MiB". Raises ValueError naming the accepted form; decimal units are ambiguous and refused."""
    if not (found := _SIZE.fullmatch(text)):
        raise ValueError('a whole number and one of B, KiB, MiB, GiB, such as "512MiB"')
    return Size(int(found[1]) * UNITS[found[2]])


def parse(text: str, source: str) -> Resolved:
    """The profile in ``text``; ``source`` is what errors call it. Raises ProfileError."""
    import tomllib

    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"{source}: not TOML: {error}", "see: mcpbox profile new") from None
    if "version" not in data:
        raise ProfileError(f"{source}: version: missing", "the first line of a profile is: version = 1")
    try:
        profile = msgspec.convert(data, Profile, dec_hook=_convert)
    except msgspec.ValidationError as error:
        raise _explain(str(error), data, source) from None
    _check(profile, source)
    return Resolved(profile, Path(source), frozenset(_keys(data)))


def load(path: Path) -> Resolved:
    """Read and check one file. Raises ProfileError."""
    try:
        # A host's file may name any, and a device or a pipe would never end.
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            path.stat()
            raise ProfileError(f"{path}: not a file of up to {MAX_BYTES}")
        return parse(path.read_text(encoding="utf-8-sig"), str(path))
    except OSError as error:
        raise ProfileError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ProfileError(f"{path}: not UTF-8") from None


def available() -> dict[str, Path]:
    """Every profile's file by name; a user's own hides the built-in one of the same name."""
    found: dict[str, Path] = {}
    for directory in (paths.builtin_profiles(), paths.user_profiles()):
        if directory.is_dir():
            found |= {path.stem: path for path in sorted(directory.glob("*.toml"))}
    return found


def find(name: str) -> Path:
    """The file of a profile, named, or given as a path (anything with a "/" or ending in .toml)."""
    if "/" in name or name.endswith(".toml"):
        return Path(name).expanduser()
    names = available()
    if name not in names:
        import difflib

        near = difflib.get_close_matches(name, names, 3) or sorted(names)
        raise ProfileError(f"no profile is called {name!r}", f"there are: {', '.join(near)}; or give a path")
    return names[name]


def _matching(identities: Iterable[str]) -> Resolved | None:
    """The one profile whose ``matches`` names a package, the user's before the built-in ones.

    Raises ProfileError if two of the same origin do: which of them holds must not depend on chance.
    """
    wanted = set(identities)
    if not wanted:
        return None
    marks = [identity.encode() for identity in wanted]
    for directory in (paths.user_profiles(), paths.builtin_profiles()):
        found = []
        for path in _files(directory):
            # Most files do not even contain the name, and parsing all of them at each start would be felt.
            text = _bytes(path)
            if any(mark in text for mark in marks):
                resolved = load(Path(path))
                if wanted & set(resolved.profile.matches):
                    found.append(resolved)
        if len(found) > 1:
            raise ProfileError(
                f"{found[0].path}: matches: {found[1].path} names the same package",
                "remove it from one of the two, or choose with --profile",
            )
        if found:
            return found[0]
    return None


def resolve(name: str | None, identities: Iterable[str]) -> Resolved:
    """The profile called ``name``; without a name, the one that matches a package; else the defaults."""
    found = load(find(name)) if name else _matching(identities)
    return found or Resolved(Profile(), None, frozenset())


def _files(directory: Path) -> list[str]:
    """The profiles in it, as strings: a start reads each, and paths take longer to make than files to read."""
    try:
        return [f"{directory}/{name}" for name in sorted(os.listdir(directory)) if name.endswith(".toml")]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ProfileError(f"{directory}: cannot be read: {error.strerror}") from None


def _bytes(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise ProfileError(f"{path}: cannot be read: {error.strerror}") from None


def _check(profile: Profile, source: str) -> None:
    """What types cannot say."""

    def wrong(key: str, value: Any, form: str) -> ProfileError:
        return ProfileError(f"{source}: {key} = {_toml(value)}: not accepted", f"accepted: {form}")

    if not _NAME.fullmatch(profile.name):
        raise wrong("name", profile.name, "lower-case letters, digits, '.', '_' and '-'")
    for entry in profile.matches:
        if not any(form.fullmatch(entry) for form in (_NPM, _PYPI, _IMAGE)):
            form = '"npm:NAME", "pypi:NAME" (normalised as in PEP 503) or "image:NAME" (without a tag); never a pattern'
            raise wrong("matches", entry, form)
    for key, minimum in _MINIMA.items():
        table, _, name = key.partition(".")
        if (size := getattr(getattr(profile, table), name)) < minimum:
            raise wrong(key, str(size), f"at least {Size(minimum)}")
    for name, value in profile.environment.items():
        if not is_settable(name) or "\0" in value:
            raise wrong(f"environment.{name}", value, f"{SETTABLE}, and a value without NUL")
        if PREFIX in value:
            raise wrong(f"environment.{name}", value, f'under [secrets]: {name} = "keyring:{profile.name}/NAME"')
    for name, value in profile.secrets.items():
        # A secret of one server can never be named by the profile of another.
        stored = re.fullmatch(rf"keyring:{re.escape(profile.name)}/{_SECRET}", value)
        if not is_settable(name) or not (stored or value == FROM_HOST):
            raise wrong(f"secrets.{name}", value, f'"keyring:{profile.name}/NAME", or "host" for what the host passes')
    for id in profile.tools.host:
        from mcpbox.hosts import by_id

        try:
            by_id(id)
        except UsageError as error:
            raise ProfileError(f"{source}: tools.host.{id}: {error.message}", error.hint) from None
    _check_sources(profile, wrong)
    if profile.network.allow:
        from mcpbox.egress.rules import RuleError, Rules

        for line in profile.network.allow:
            try:
                Rules.parse([line])
            except RuleError as error:
                message = f"{source}: network.allow = {_toml(line)}: {error.reason}"
                raise ProfileError(message, f"accepted: {error.form}") from None
    for key in ("read", "write"):
        for item in getattr(profile.filesystem, key):
            path = item.path if isinstance(item, Listed) else item
            if not path.startswith(("/", "~/")) or re.search(r"[\0-\x1f]", path):
                raise wrong(f"filesystem.{key}", path, 'an absolute path, or one that begins with "~/"')


def _check_sources(profile: Profile, wrong: Callable[[str, Any, str], ProfileError]) -> None:
    """The names of variables and options that hosts and paths are taken from."""
    network = profile.network
    variables = [("filesystem.from_environment", name) for name in profile.filesystem.from_environment]
    options = [("filesystem.from_arguments", name) for name in profile.filesystem.from_arguments]
    if not isinstance(network.from_arguments, bool):
        options += [("network.from_arguments", name) for name in network.from_arguments]
    for item in network.from_environment:
        named = (item.host, item.port) if isinstance(item, Endpoint) else (item,)
        variables += [("network.from_environment", name) for name in named if name or not isinstance(item, Endpoint)]
        if isinstance(item, Endpoint) and (item.default or not item.host):
            from mcpbox.egress.endpoints import default
            from mcpbox.egress.rules import RuleError

            try:
                default(item.default)
            except RuleError as error:
                raise wrong("network.from_environment.default", item.default, error.form or "HOST[:PORT]") from None
    for key, name in variables:
        if not is_settable(name):
            raise wrong(key, name, SETTABLE)
    for key, name in options:
        if not _OPTION.fullmatch(name):
            raise wrong(key, name, 'an option as the server takes it, such as "--host"')


def _convert(kind: type, value: Any) -> Any:
    if kind is Size and isinstance(value, str):
        return parse_size(value)
    raise ValueError('a string such as "512MiB"')


def _explain(text: str, data: dict[str, Any], source: str) -> ProfileError:
    place = found[1] if (found := _PLACE.search(text)) else ""
    what = _PLACE.sub("", text)
    if unknown := _UNKNOWN.search(what):
        import difflib

        fields = [field.name for field in msgspec.structs.fields(_type_of(place))]
        near = difflib.get_close_matches(unknown[1], fields, 1)
        key = ".".join(filter(None, (place, unknown[1])))
        hint = f"did you mean {near[0]}?" if near else f"known are: {', '.join(fields)}"
        return ProfileError(f"{source}: {key}: unknown key", hint)
    what = what.removeprefix("Expected ")
    if what.startswith("Invalid enum value"):
        what = " or ".join(map(_toml, get_args(_type_of(place))))
    value: Any = data
    for step in re.findall(r"[^.\[\]]+", place.replace("[...]", "")):
        value = value.get(step) if isinstance(value, dict) else value
    return ProfileError(f"{source}: {place} = {_toml(value)}: not accepted", f"accepted: {what}")


def _type_of(place: str) -> Any:
    """The type that a key such as "sandbox.backend" has in ``Profile``; of an item of a list, the table it may be."""
    found: Any = Profile
    for step in filter(None, place.replace("[...]", "[]").split(".")):
        name, _, item = step.partition("[")
        found = {field.name: field.type for field in msgspec.structs.fields(found)}[name]
        if item:
            # (str, VALUE) of a dictionary, (ITEM, ...) of a tuple.
            inner = get_args(found)[1 if get_origin(found) is dict else 0]
            tables = (kind for kind in get_args(inner) if isinstance(kind, type) and issubclass(kind, Table))
            found = next(tables, inner)
    return found


def _keys(data: dict[str, Any], prefix: str = "") -> Iterable[str]:
    for key, value in data.items():
        yield prefix + key
        if isinstance(value, dict):
            yield from _keys(value, f"{prefix}{key}.")


def _toml(value: Any) -> str:
    """A value as it would stand in a profile, for messages."""
    if isinstance(value, Size):
        value = str(value)
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
