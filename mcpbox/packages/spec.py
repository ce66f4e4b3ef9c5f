"""Reads commands such as ``npx -y PKG`` and ``uvx PKG`` into what they ask for. No I/O.

Nothing is guessed: a flag or a requirement that is not understood is an error that names what is.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from mcpbox.errors import UsageError
from mcpbox.packages.model import Ecosystem, Request, normalised

ELSEWHERE = "the registry is what your own configuration of npm, pip or uv names: set it there"
PROJECT = "install the project, then give its own program: mcpbox wrap -- DIR/.venv/bin/python server.py"
UPDATE = "leave it out: a version changes only by mcpbox package update"
SHELL = "give the program and its arguments instead of a shell's line"
SCRIPTS = "leave it out; install scripts are allowed by: mcpbox package add --allow-scripts NAME …"

NPM_REFUSED = {
    "-c": SHELL,
    "--call": SHELL,
    "--registry": ELSEWHERE,
    "--workspace": PROJECT,
    "-w": PROJECT,
    "--prefix": PROJECT,
}
PNPM_REFUSED = {"-c": SHELL, "--shell-mode": SHELL, "--allow-build": SCRIPTS, "-C": PROJECT, "--dir": PROJECT}
BUN_REFUSED = {"--bun": "leave it out: mcpbox runs the server with node"}
UV_REFUSED = {
    **dict.fromkeys(("--index", "--default-index", "--index-url", "-i", "--extra-index-url"), ELSEWHERE),
    **dict.fromkeys(("--find-links", "-f", "--index-strategy", "--no-config", "--no-index"), ELSEWHERE),
    **dict.fromkeys(("--refresh", "--refresh-package", "--upgrade", "-U", "--reinstall"), UPDATE),
    **dict.fromkeys(("--with-editable", "--with-requirements", "--directory", "--project", "--script", "-m"), PROJECT),
    "--env-file": "write the variables in the profile: [environment]",
}
PIPX_REFUSED = {
    "--index-url": ELSEWHERE,
    "-i": ELSEWHERE,
    "--pip-args": ELSEWHERE,
    "--path": PROJECT,
    "--system-site-packages": PROJECT,
}


class Tool(Struct, frozen=True):
    """A command that fetches a package at each start, and what its options mean.

    ``plain`` say nothing that pinning does not settle, ``valued`` neither, and take a value. ``package`` names the
    package whose program is run, ``beside`` one more. ``refused`` are options with what to do instead. ``mixed`` tools
    read options after the package's name too, up to "--".
    """

    words: tuple[str, ...]
    ecosystem: Ecosystem
    plain: tuple[str, ...] = ()
    valued: tuple[str, ...] = ()
    package: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    python: tuple[str, ...] = ()
    refused: Mapping[str, str] = {}
    mixed: bool = False

    @property
    def title(self) -> str:
        return " ".join(self.words)

    @property
    def options(self) -> tuple[str, ...]:
        return (*self.plain, *self.valued, *self.package, *self.beside, *self.python)


_NPX = ("-y", "--yes", "--no", "--no-install", "-q", "--quiet", "-s", "--silent", "--prefer-offline", "--prefer-online")
_PNPM = ("-s", "--silent", "-y", "--yes")
_BUN = ("-y", "--yes", "--no-install", "--silent", "--verbose")
_UV = ("-q", "--quiet", "-v", "--verbose", "-n", "--no-cache", "--no-progress", "--isolated", "--offline")
_UV_VALUED = ("--color", "--cache-dir", "--link-mode")
_PIPX = ("--no-cache", "-q", "--quiet", "-v", "--verbose", "--fetch-missing-python")
_UV_PYTHON = ("--python", "-p")
_NPM_NAMED = ("-p", "--package")

TOOLS = (
    Tool(("npx",), "npm", (*_NPX, "--offline"), ("--loglevel",), _NPM_NAMED, refused=NPM_REFUSED),
    Tool(("npm", "exec"), "npm", (*_NPX, "--offline"), ("--loglevel",), _NPM_NAMED, refused=NPM_REFUSED, mixed=True),
    Tool(("npm", "x"), "npm", (*_NPX, "--offline"), ("--loglevel",), _NPM_NAMED, refused=NPM_REFUSED, mixed=True),
    Tool(("pnpm", "dlx"), "npm", _PNPM, ("--reporter",), ("--package",), refused=PNPM_REFUSED),
    Tool(("pnpx",), "npm", _PNPM, ("--reporter",), ("--package",), refused=PNPM_REFUSED),
    Tool(("yarn", "dlx"), "npm", ("-q", "--quiet"), (), _NPM_NAMED),
    Tool(("bunx",), "npm", _BUN, (), _NPM_NAMED, refused=BUN_REFUSED),
    Tool(("bun", "x"), "npm", _BUN, (), _NPM_NAMED, refused=BUN_REFUSED),
    Tool(("uvx",), "pypi", _UV, _UV_VALUED, ("--from",), ("--with", "-w"), _UV_PYTHON, UV_REFUSED),
    Tool(("uv", "tool", "run"), "pypi", _UV, _UV_VALUED, ("--from",), ("--with", "-w"), _UV_PYTHON, UV_REFUSED),
    Tool(
        ("uv", "run"), "pypi", (*_UV, "--no-project"), _UV_VALUED, (), ("--with", "-w"), _UV_PYTHON, UV_REFUSED
    ),
    Tool(("pipx", "run"), "pypi", _PIPX, (), ("--spec",), ("--with",), ("--python",), PIPX_REFUSED),
)  # fmt: skip

#: Refused or global options with a value, so that the value is not taken for the subcommand.
_ALSO_VALUED = ("--directory", "--project", "--prefix", "-C", "--dir", "--filter", "-F", "--cwd", "--config-file")
_NPM_NAME = re.compile(r"(@[A-Za-z0-9~][\w.~-]*/)?[A-Za-z0-9~][\w.~-]*", re.ASCII)
#: A version, a range or a dist-tag; never a path, an address or an alias.
_NPM_WANTED = re.compile(r"[\w.+*^~<>=| -]+", re.ASCII)
_PYPI = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*"
    r"(?:\[(?P<extras>[A-Za-z0-9._,\s-]*)\])?\s*"
    r"(?P<wanted>(?:(?:===|==|~=|!=|<=|>=|<|>)\s*[\w.*+!-]+\s*,?\s*)*)",
    re.ASCII,
)
_VERSION = re.compile(r"v?\d[\w.+!-]*", re.ASCII)
#: In an address, where people put tokens.
_USER = re.compile(r"//[^/]*@")
_PYTHON = re.compile(r"(?:c?python@?)?(\d+(?:\.\d+){0,2})")
_ACCEPTED: dict[Ecosystem, str] = {
    "npm": "NAME, @SCOPE/NAME, each with @VERSION, @RANGE or @TAG, from the registry",
    "pypi": "NAME, NAME==VERSION or a range such as NAME>=1,<2, with [EXTRAS] if need be, from the index",
}


def read(words: Sequence[str]) -> Request | None:
    """What the command asks for; None if it is none that fetches a package. Raises UsageError."""
    program = posixpath.basename(words[0]) if words else ""
    for tool in TOOLS:
        if program == tool.words[0] and (rest := _after(tool, words[1:])) is not None:
            return _read(tool, rest)
    return None


def read_requirement(text: str) -> Request:
    """What "npm:PKG@1" or "pypi:PKG==1" asks for. Raises UsageError."""
    ecosystem, colon, requirement = text.partition(":")
    if not colon or ecosystem not in ("npm", "pypi"):
        raise UsageError(f"{text}: not a package", "accepted: npm:NAME[@VERSION], pypi:NAME[==VERSION]")
    kind: Ecosystem = "npm" if ecosystem == "npm" else "pypi"
    return Request(kind, (_requirement(kind, requirement),))


def identity(request: Request) -> str:
    """What profiles call the package: "npm:NAME" or "pypi:NAME", normalised (PEP 503)."""
    return f"{request.ecosystem}:{name(request)}"


def name(request: Request) -> str:
    """The name of the package whose program is run."""
    return split(request.ecosystem, request.packages[0])[0]


def split(ecosystem: Ecosystem, requirement: str) -> tuple[str, str]:
    """A requirement's name and the rest, which is "" if any version will do."""
    if ecosystem == "npm":
        before, _, wanted = requirement[1:].partition("@")
        return requirement[:1] + before, wanted
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None
    return found[0], requirement[found.end() :]


def exactly(request: Request, version: str) -> Request:
    """The same request for one version of its first package."""
    first = request.packages[0]
    found = re.match(r"[a-z0-9-]+(\[[^\]]*\])?", first)
    pinned = f"{found[0]}=={version}" if request.ecosystem == "pypi" and found else f"{name(request)}@{version}"
    return replace(request, packages=(pinned, *request.packages[1:]))


def words(request: Request) -> tuple[str, ...]:
    """A command that asks for the same, without the server's arguments."""
    first, *others = request.packages
    if request.ecosystem == "npm":
        named = [f"--package={package}" for package in request.packages] if request.program else [first]
        return ("npx", "-y", *named, *(["--", request.program] if request.program else []))
    python = [f"--python={request.python}"] if request.python else []
    beside = [f"--with={package}" for package in others]
    last = [f"--from={first}", request.program] if request.program else [first]
    return ("uvx", *python, *beside, *last)


def _after(tool: Tool, words: Sequence[str]) -> list[str] | None:
    """The words without the tool's subcommand, which its options may precede; None if it is another one."""
    before: list[str] = []
    rest = list(words)
    subcommand = tool.words[1:]
    takes = {*tool.valued, *tool.package, *tool.beside, *tool.python, *_ALSO_VALUED}
    while subcommand and rest and rest[0].startswith("-"):
        before.append(rest.pop(0))
        if before[-1] in takes and rest:
            before.append(rest.pop(0))
    if tuple(rest[: len(subcommand)]) != subcommand:
        return None
    return [*before, *rest[len(subcommand) :]]


def _read(tool: Tool, words: list[str]) -> Request:
    named: list[str] = []
    beside: list[str] = []
    plain: list[str] = []
    python = ""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            plain += rest
            break
        if not word.startswith("-") or word == "-":
            plain.append(word)
            if not tool.mixed:
                plain += rest
                break
            continue
        option, joined, value = word.partition("=")
        if option in tool.plain and not joined:
            continue
        if option not in (*tool.valued, *tool.package, *tool.beside, *tool.python):
            raise _unknown(tool, option)
        if not joined:
            if not rest:
                raise UsageError(f"{tool.title}: {option} needs a value")
            value = rest.pop(0)
        if option in tool.package:
            named.append(value)
        elif option in tool.beside:
            beside += _list(value) if tool.words[0] != "pipx" else [value]
        elif option in tool.python:
            python = _python(tool, value)
    return _request(tool, named, beside, plain, python)


def _request(tool: Tool, named: list[str], beside: list[str], plain: list[str], python: str) -> Request:
    kind = tool.ecosystem
    if not plain:
        raise UsageError(f"{tool.title}: no package", f"accepted: {tool.title} PACKAGE ARGUMENT…")
    first, *arguments = plain
    if tool.words == ("uv", "run"):
        return _uv_run(beside, first, arguments, python)
    if named:
        if kind == "pypi" and len(named) > 1:
            raise UsageError(f"{tool.title}: {tool.package[0]} is given twice", "use --with for the others")
        # With the package named apart, the first word is a program of it.
        if "/" in first or "@" in first:
            raise UsageError(f"{tool.title}: {first} is not a program's name", "name the program of the package")
        packages = [_requirement(kind, text) for text in (*named, *beside)]
        return Request(kind, tuple(packages), first, tuple(arguments), python)
    packages = [_requirement(kind, text, at=tool.words[0] != "pipx") for text in (first, *beside)]
    return Request(kind, tuple(packages), "", tuple(arguments), python)


def _uv_run(beside: list[str], program: str, arguments: list[str], python: str) -> Request:
    if not beside:
        raise UsageError("uv run without --with runs a project, which is not a package", PROJECT)
    if "/" in program or program.endswith(".py") or re.fullmatch(r"python[\d.]*", program):
        raise UsageError(f"uv run: {program} is not a program of a package", PROJECT)
    return Request("pypi", tuple(_requirement("pypi", text) for text in beside), program, tuple(arguments), python)


def _unknown(tool: Tool, option: str) -> UsageError:
    if option in tool.refused:
        return UsageError(f"{tool.title} {option}: not accepted", tool.refused[option])
    return UsageError(f"{tool.title} {option}: not understood", f"accepted: {', '.join(tool.options)}")


def _python(tool: Tool, value: str) -> str:
    if not (found := _PYTHON.fullmatch(value)):
        raise UsageError(f"{tool.title}: Python {value!r}: not understood", "accepted: a version such as 3.12")
    return found[1]


def _list(value: str) -> list[str]:
    """uv takes several at once, "a,b", but the commas of "a>=1,<2" and "a[x,y]" belong to one."""
    return re.split(r",(?=\s*[A-Za-z0-9])(?![^\[]*\])", value)


def _requirement(kind: Ecosystem, text: str, *, at: bool = False) -> str:
    """The requirement in its one form; ``at`` for a tool that takes ``NAME@VERSION`` for a Python package."""
    text = text.strip()
    if (what := _elsewhere(kind, text)) or not (found := _npm(text) if kind == "npm" else _pypi(text, at)):
        text = _USER.sub("//…@", text)
        raise UsageError(f"{text}: {what or 'not a requirement that can be pinned'}", f"accepted: {_ACCEPTED[kind]}")
    return found


def _elsewhere(kind: Ecosystem, text: str) -> str:
    """Why this is not a registry's package; "" if it may be one."""
    if "git+" in text or text.startswith(("github:", "gitlab:", "bitbucket:", "gist:", "git:", "git@")):
        return "a repository has no version that could be pinned with its integrity"
    if "://" in text:
        return "an address is not a package of the registry"
    if text.startswith((".", "/", "~/", "file:", "link:")) or text.endswith((".tgz", ".tar.gz", ".whl", ".zip", ".py")):
        return "a file or directory is not a package of the registry; give its program, such as: node DIR/index.js"
    if ":" in text:
        return "an alias is not pinned"
    if kind == "npm" and "/" in text and not text.startswith("@"):
        return "a repository has no version that could be pinned with its integrity"
    return ""


def _npm(text: str) -> str:
    named, wanted = split("npm", text) if text else ("", "")
    if not _NPM_NAME.fullmatch(named) or text.endswith("@") or (wanted and not _NPM_WANTED.fullmatch(wanted)):
        return ""
    # Without a version, npx takes the tag "latest".
    return named if wanted in ("", "latest") else f"{named}@{wanted.strip()}"


def _pypi(text: str, at: bool) -> str:
    before, joint, version = text.partition("@")
    if joint:
        if not at or not (version == "latest" or _VERSION.fullmatch(version)):
            return ""
        text = before if version == "latest" else f"{before}=={version}"
    if not (found := _PYPI.fullmatch(text)):
        return ""
    extras = sorted(filter(None, (normalised(extra.strip()) for extra in (found["extras"] or "").split(","))))
    wanted = re.sub(r"\s+", "", found["wanted"]).strip(",")
    return normalised(found["name"]) + (f"[{','.join(extras)}]" if extras else "") + wanted
