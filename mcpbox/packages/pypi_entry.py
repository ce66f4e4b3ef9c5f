"""The words that start a program of an installed tree, whatever else its Python has installed. Reads the tree only."""

from __future__ import annotations

import re
from pathlib import Path

from mcpbox.errors import PackageError
from mcpbox.packages.model import Request, normalised

#: What an installed tree says of the Python it is for.
ABI = ".abi"
#: The system's own packages are not seen, nor the environment's settings; children find the tree, as in an environment.
START = """
import sys
from importlib.machinery import EXTENSION_SUFFIXES as suffixes
tree, abi, program, module, call = {values}
if suffixes[0].strip(".").rpartition(".")[0] != abi:
    sys.exit("[mcpbox] installed for " + abi + ", and this Python is another: run mcpbox package update")
import os, site
site.setquit()
site.addsitedir(tree)
os.environ["PYTHONPATH"] = tree
sys.argv[0] = program
if not module:
    import runpy
    runpy.run_path(program, run_name="__main__")
    sys.exit()
from importlib import import_module
found = import_module(module)
for name in call.split("."):
    found = getattr(found, name)
sys.exit(found())
"""

REQUIREMENT = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(\[[A-Za-z0-9._, -]*\])?\s*([<>=!~][^@;/\\]*)?")
_ENTRY = re.compile(r"([^=\s]+)\s*=\s*([\w.]+)\s*:\s*([\w.]+)\s*(\[.*\])?")


def entry(request: Request, tree: Path) -> tuple[str, ...]:
    """The words that start the program from the installed ``tree``, whatever else that Python has installed.

    Raises PackageError where there is no such program, with those that there are.
    """
    abi = (tree / ABI).read_text(encoding="ascii").strip()
    root = normalised(required(request.packages[0]))
    scripts: dict[str, tuple[str, str]] = {}
    own: dict[str, tuple[str, str]] = {}
    for directory in sorted(tree.glob("*.dist-info")):
        listed = _console_scripts(directory / "entry_points.txt")
        scripts = {**listed, **scripts}
        if normalised(directory.name.partition("-")[0]) == root:
            own = listed
    program = request.program or _default(root, own, tree)
    module, call = own.get(program) or scripts.get(program) or ("", "")
    path = tree / "bin" / program
    if not module:
        if not program or "/" in program or not path.is_file():
            known = ", ".join(sorted(own or scripts)) or "none"
            raise PackageError(
                f"{root} has no program {program}" if program else f"{root} has no program of its own name",
                f"it has: {known}; uvx --from {root} PROGRAM",
            )
        with open(path, "rb") as file:
            line = file.readline(256)
        if not (line.startswith(b"#!") and b"python" in line):
            return (str(path),)
    values = repr((str(tree), abi, str(path), module, call))
    return (f"python{request.python or 3}", "-I", "-S", "-c", START.replace("{values}", values))


def required(requirement: str) -> str:
    """The name in a requirement; "" if it is none."""
    found = REQUIREMENT.fullmatch(requirement.strip())
    return found[1] if found else ""


def _console_scripts(file: Path) -> dict[str, tuple[str, str]]:
    """Module and what to call in it, by the program's name."""
    found: dict[str, tuple[str, str]] = {}
    section = ""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    for line in map(str.strip, lines):
        if line.startswith("["):
            section = line.strip("[]").strip()
        elif section in ("console_scripts", "gui_scripts") and (entry := _ENTRY.fullmatch(line)):
            found[entry[1]] = entry[2], entry[3]
    return found


def _default(root: str, own: dict[str, tuple[str, str]], tree: Path) -> str:
    """The program that a package means without naming one: of its own name, or its only one."""
    for name in own:
        if normalised(name) == root:
            return name
    if len(own) == 1:
        return next(iter(own))
    return root if (tree / "bin" / root).is_file() else ""
