"""What the own code of an installed package names: hosts, variables, options. It reads files and runs nothing.

A lead for whoever writes a profile, not a finding: code names what it never uses, and puts names together as it runs.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from mcpbox.errors import PackageError
from mcpbox.packages import lock, spec, store
from mcpbox.packages.model import Request, normalised

#: Read of one package at most: code that is bundled with all its dependencies goes on for long and says little.
MAX_BYTES = 24 << 20
CODE = {".js", ".mjs", ".cjs", ".ts", ".mts", ".py"}
#: Hosts of specifications, examples and licences, of which code is full.
NEVER_REACHED = re.compile(
    r"(.*\.)?(w3\.org|json-schema\.org|schema\.org|ietf\.org|rfc-editor\.org|whatwg\.org|ecma-international\.org|"
    r"opensource\.org|apache\.org|spdx\.org|unicode\.org|iana\.org|mozilla\.org|nodejs\.org|python\.org|"
    r"modelcontextprotocol\.io|example\.(com|org|net)|test|example|invalid|local|localhost)"
)
#: Variables that say nothing about the server: of its language, its tests and its terminal, or mcpbox's to set.
COMMON = {
    "NODE_ENV",
    "NODE_DEBUG",
    "CI",
    "PATH",
    "HOME",
    "LANG",
    "TZ",
    "TERM",
    "TEST",
    "VITEST",
    "PWD",
    "USER",
    "SHELL",
}
COMMON |= {"APPDATA", "LOCALAPPDATA", "USERPROFILE", "HOMEPATH", "TMPDIR", "TEMP", "TMP", "FORCE_COLOR", "NO_COLOR"}

_HOST = re.compile(r"(?:https?|wss?)://((?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,24})(?![\w.${@-])")
_NAME = r"[A-Z][A-Z0-9_]{1,63}"
_VARIABLES = tuple(
    re.compile(pattern)
    for pattern in (
        rf"\b(?:process\.)?env\.({_NAME})\b",
        rf"\benv\[\s*[\"']({_NAME})[\"']",
        rf"\benviron(?:\.get\(|\[)\s*[\"']({_NAME})[\"']",
        rf"\bgetenv\(\s*[\"']({_NAME})[\"']",
        rf"\b(?:envvar|alias|validation_alias)\s*=\s*[\"']({_NAME})[\"']",
    )
)
_DESTRUCTURED = re.compile(r"\{([^{}]{1,2000})\}\s*=\s*process\.env\b")
_README = re.compile(rf"[\"']({_NAME}_{_NAME})[\"']\s*:")
_OPTION = re.compile(r"[\"'](--[a-z][a-z0-9-]{1,40})[\"']")


class Survey(Struct, frozen=True):
    """Hosts with how often code names them, most often first; names of variables and options in alphabetical order.

    ``hinted`` are variables that only the README shows. ``complete`` says that all of the package was read.
    """

    identity: str
    version: str
    description: str
    hosts: dict[str, int]
    variables: tuple[str, ...]
    hinted: tuple[str, ...]
    options: tuple[str, ...]
    complete: bool


def survey(request: Request) -> Survey:
    """What the package of ``request`` names, as it is installed. Raises PackageError where it is not."""
    entry = lock.load().get(request.key)
    trees = [store.path(tree.tree) for tree in entry.trees.values()] if entry else []
    tree = next((path for path in trees if path.is_dir()), None)
    name = spec.name(request)
    if entry is None or tree is None:
        raise PackageError(f"{name} is not installed", f"run: mcpbox package add '{request.key}'")
    description, readme, code = _npm(tree, name) if request.ecosystem == "npm" else _pypi(tree, name)
    text, complete = _read(code)
    variables = _variables(text)
    return Survey(
        spec.identity(request),
        entry.version,
        description,
        _hosts(text),
        tuple(sorted(variables)),
        tuple(sorted(set(_README.findall(readme)) - variables - COMMON)),
        tuple(sorted(set(_OPTION.findall(text)))),
        complete,
    )


def _hosts(text: str) -> dict[str, int]:
    found = Counter(host.lower() for host in _HOST.findall(text))
    return {host: count for host, count in found.most_common() if not NEVER_REACHED.fullmatch(host)}


def _variables(text: str) -> set[str]:
    found = {name for pattern in _VARIABLES for name in pattern.findall(text)}
    for names in _DESTRUCTURED.findall(text):
        found |= set(re.findall(rf"(?:^|,)\s*({_NAME})\b", names))
    return found - COMMON


def _npm(tree: Path, name: str) -> tuple[str, str, Iterator[Path]]:
    root = tree / "node_modules" / name
    try:
        stated = json.loads((root / "package.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PackageError(f"{root / 'package.json'}: {error}") from None
    description = stated.get("description") if isinstance(stated, dict) else ""
    readmes = sorted(
        path for path in root.glob("[Rr][Ee][Aa][Dd][Mm][Ee]*") if path.is_file() and not path.is_symlink()
    )
    readme = "".join(path.read_bytes()[:MAX_BYTES].decode(errors="replace") for path in readmes)
    code = (path for path in sorted(root.rglob("*")) if "node_modules" not in path.relative_to(root).parts)
    return str(description or ""), readme, code


def _pypi(tree: Path, name: str) -> tuple[str, str, Iterator[Path]]:
    for directory in sorted(tree.glob("*.dist-info")):
        if normalised(directory.name.partition("-")[0]) == name:
            break
    else:
        raise PackageError(f"{tree}: {name} is not in it", "run: mcpbox package verify")
    head, _, readme = (directory / "METADATA").read_text(encoding="utf-8", errors="replace").partition("\n\n")
    description = re.search(r"^Summary: (.*)$", head, re.MULTILINE)
    listed = (line.partition(",")[0] for line in (directory / "RECORD").read_text(encoding="utf-8").splitlines())
    code = (tree / line for line in sorted(listed) if not line.startswith("/") and ".." not in line.split("/"))
    return description[1] if description else "", readme, code


def _read(files: Iterator[Path]) -> tuple[str, bool]:
    texts, left = [], MAX_BYTES
    for path in files:
        if path.suffix in CODE and not path.name.endswith(".d.ts") and path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                data = file.read(left + 1)
            texts.append(data[:left].decode(errors="replace"))
            left -= len(data)
            if left < 0:
                return "\n".join(texts), False
    return "\n".join(texts), True
