"""The tables of a profile, with what holds where a file says nothing. No I/O."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

#: The source of a secret that the host's own entry passes.
FROM_HOST = "host"
UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


class Size(int):
    """A number of bytes; in a profile a whole number and a binary unit, such as "512MiB"."""

    def __str__(self) -> str:
        unit = max((unit for unit in UNITS if self % UNITS[unit] == 0), key=UNITS.__getitem__)
        return f"{self // UNITS[unit]}{unit}"


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the profile; a key that is not a field is an error."""


class Listed(Table, frozen=True):
    """A path and more about it: that it is meant though mcpbox would refuse it, and that it may be missing."""

    path: str
    unsafe: bool = False
    optional: bool = False


class Endpoint(Table, frozen=True):
    """A host that the user's own variables name.

    ``host`` is the variable that holds a URL or HOST[:PORT], ``port`` the one that holds the port where that is apart,
    and ``default`` what the server uses where neither they nor its arguments name a host, HOST[:PORT] or, without a
    host, :PORT.
    """

    host: str
    port: str = ""
    default: str = ""


class Sandbox(Table, frozen=True):
    backend: Literal["auto", "docker", "bubblewrap"] = "auto"
    memory: Size = Size(512 << 20)
    cpus: Annotated[float, msgspec.Meta(gt=0, le=1024)] = 1.0
    pids: Annotated[int, msgspec.Meta(ge=8, le=1 << 22)] = 128
    scratch: Size = Size(64 << 20)


#: What a path that a variable or an option names is mounted as: "read" and "write" what is there; "file" a file to
#: write, made where it is missing; "directory" likewise; "beside" the directory that a file lies in, to write, for
#: servers that keep a journal next to it or put another file in its place.
Use = Literal["read", "write", "file", "directory", "beside"]


class Filesystem(Table, frozen=True):
    """``from_environment`` and ``from_arguments`` say which variables and options ("--db-path") name a path."""

    read: tuple[str | Listed, ...] = ()
    write: tuple[str | Listed, ...] = ()
    arguments: Literal["none", "read", "write"] = "none"
    from_environment: dict[str, Use] = {}
    from_arguments: dict[str, Use] = {}
    state: bool = False


class Network(Table, frozen=True):
    """``from_environment`` are the variables that name a host of the user's choice.

    ``from_arguments`` is true where each argument that is a URL does, or else lists the options ("--host") that do.
    """

    allow: tuple[str, ...] = ()
    from_environment: tuple[str | Endpoint, ...] = ()
    from_arguments: bool | tuple[str, ...] = False
    connections: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 256
    max_bytes: Size = Size(16 << 30)
    idle_seconds: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)] = 3600


class Tools(Table, frozen=True):
    """``destructive`` marks what deletes, overwrites or sends for good, and hides none of it: ``deny`` does."""

    allow: tuple[str, ...] = ("*",)
    deny: tuple[str, ...] = ()
    destructive: tuple[str, ...] = ()
    new: Literal["block", "allow"] = "allow"
    changed: Literal["block", "allow"] = "allow"


class Messages(Table, frozen=True):
    max_bytes: Size = Size(16 << 20)
    redact_secrets: bool = False
    injection: Literal["off", "annotate", "block"] = "off"
    sampling: Literal["deny", "allow"] = "deny"
    elicitation: Literal["deny", "allow"] = "allow"
    roots: Literal["deny", "intersect", "allow"] = "intersect"


class Profile(Table, frozen=True):
    """One server's profile. The defaults are what a server without a profile gets: no files, no network, no secrets.

    ``secrets`` says which variables are secret and where each comes from: "keyring:PROFILE/NAME", without which the
    server does not start, or "host": the host's own entry passes it, as a reference or not, or does not. So the
    built-in profiles name secrets without asking anybody for a keyring.
    """

    version: Literal[1] = 1
    name: str = ""
    description: str = ""
    matches: tuple[str, ...] = ()
    sandbox: Sandbox = Sandbox()
    filesystem: Filesystem = Filesystem()
    network: Network = Network()
    environment: dict[str, str] = {}
    secrets: dict[str, str] = {}
    tools: Tools = Tools()
    messages: Messages = Messages()

    @property
    def required_secrets(self) -> dict[str, str]:
        """The secrets that mcpbox itself has to find, by variable: "keyring:PROFILE/NAME"."""
        return {name: source for name, source in self.secrets.items() if source != FROM_HOST}
