"""The tables of a profile, with what holds where a file says nothing. No I/O.

Without ``from __future__ import annotations``: evaluating the types as text takes every start longer than the rest.
"""

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


class Names(Table, frozen=True):
    """Globs of names; what ``deny`` matches is not allowed, whatever ``allow`` says."""

    allow: tuple[str, ...] = ("*",)
    deny: tuple[str, ...] = ()


class Tools(Names, frozen=True):
    """``destructive`` marks what deletes, overwrites or sends for good, and hides none of it: ``deny`` does.

    ``hide`` are annotations of the server's own that hide a tool, and ``host`` what one host application may have of
    all this. ``first`` is what a server's definitions are when none of it has been seen: pinned, or waiting for
    approval like every later one that is ``new``. ``describe`` are descriptions to show instead of the server's.
    """

    destructive: tuple[str, ...] = ()
    hide: tuple[Literal["destructive", "not-read-only", "open-world"], ...] = ()
    host: dict[str, Names] = {}
    first: Literal["pin", "wait"] = "pin"
    new: Literal["block", "allow"] = "block"
    changed: Literal["block", "allow"] = "block"
    scan: Literal["off", "alert", "block"] = "block"
    shadowing: Literal["off", "alert", "block"] = "block"
    describe: dict[str, str] = {}


#: What is done with something found in a message: nothing, a record of it, something else in its place, a refusal.
Found = Literal["off", "alert", "redact", "block"]


class ToolMessages(Table, frozen=True):
    """What holds for the messages of some tools instead; None for what holds for all."""

    secrets: Found | None = None
    personal: Found | None = None
    injection: Literal["off", "annotate", "block"] | None = None


class Messages(Table, frozen=True):
    """``redact_secrets`` is about what looks like a secret, and the values that mcpbox knows to be one; ``personal``
    about numbers of cards, accounts and the like. ``reversible``: a placeholder that comes back in an argument of the
    same server is turned back. ``tool`` has other rules for some tools, by globs, the first of which counts.
    """

    max_bytes: Size = Size(16 << 20)
    redact_secrets: bool = True
    personal: Found = "off"
    reversible: bool = False
    injection: Literal["off", "annotate", "block"] = "annotate"
    spotlight: bool = False
    tool: dict[str, ToolMessages] = {}
    sampling: Literal["deny", "allow"] = "deny"
    elicitation: Literal["deny", "allow"] = "allow"
    roots: Literal["deny", "intersect", "allow"] = "intersect"


class Flows(Table, frozen=True):
    """What of one server's results may go into another's arguments, within one session of a host.

    ``sensitive`` are the tools whose results are, besides results with secrets or personal data; ``arriving`` is what
    happens where such data comes in the arguments of this server's tools.
    """

    sensitive: tuple[str, ...] = ()
    arriving: Literal["off", "alert", "ask", "block"] = "alert"


class Sequence(Table, frozen=True):
    """A call to a tool like ``then`` after one to a tool like ``after`` in the same session."""

    after: str
    then: str
    action: Literal["alert", "ask", "block"] = "block"


class Calls(Table, frozen=True):
    """How tools may be called in a session: so many times a minute, so many times in a row with the same arguments; 0
    for any number."""

    per_minute: Annotated[int, msgspec.Meta(ge=0, le=1 << 20)] = 0
    repeats: Annotated[int, msgspec.Meta(ge=0, le=1 << 20)] = 0
    sequences: tuple[Sequence, ...] = ()


class Audit(Table, frozen=True):
    """What goes on record of arguments and results: keyed digests, or all of it as it was passed on."""

    content: Literal["digest", "full"] = "digest"


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
    resources: Names = Names()
    prompts: Names = Names()
    messages: Messages = Messages()
    flows: Flows = Flows()
    calls: Calls = Calls()
    audit: Audit = Audit()

    @property
    def required_secrets(self) -> dict[str, str]:
        """The secrets that mcpbox itself has to find, by variable: "keyring:PROFILE/NAME"."""
        return {name: source for name, source in self.secrets.items() if source != FROM_HOST}
