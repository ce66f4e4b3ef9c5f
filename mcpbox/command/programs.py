"""Programs on the host: found by following PATH, symlinks, shebangs and version managers' shims.

Interpreters outside /usr (nvm, pyenv, conda, a virtual environment …) bring a directory tree along, and so does the
server's own code; the trees named here are as small as the layout allows, and never the home directory.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import partial

import msgspec
from msgspec import Struct

from mcpbox.command.model import Command
from mcpbox.errors import UsageError

SYSTEM = ("/usr/", "/bin/", "/sbin/", "/lib/", "/lib64/")
#: Interpreter options that take a value of their own, so that the value is not taken for the script.
NODE_VALUED = {"-r", "--require", "--import", "--loader", "--experimental-loader", "-C", "--conditions", "--env-file"}
PYTHON_VALUED = {"-W", "-X", "--check-hash-based-pycs"}
#: Of a file beside the server's code, which may be a link to one without an end.
MOST = 32 << 20
#: As many interpreters that are scripts themselves as Linux follows.
MAX_SCRIPTS = 4
PROJECT_FILES = ("pyproject.toml", "setup.py", "setup.cfg", "requirements.txt")
#: Version managers whose shims are programs of their own, and where those lie below the home directory. Each can be
#: asked which program it means; one that lies elsewhere may be anybody's, and asking it would run it.
SHIMS = {
    "pyenv": ".pyenv/shims",
    "nodenv": ".nodenv/shims",
    "asdf": ".asdf/shims",
    "mise": ".local/share/mise/shims",
    "volta": ".volta/bin",
}

_PYTHON = re.compile(r"python(\d+(\.\d+)?)?|pypy3?")
_NODE = re.compile(r"node(js)?")


class Place(Struct, frozen=True):
    """Where the host would have started the command."""

    path: str
    cwd: str
    home: str


def resolve(words: list[str], environment: dict[str, str], place: Place, *, scripts: int = 0) -> Command:
    """The command that ``words`` names, behind ``scripts`` scripts that name it. Raises UsageError."""
    program = _find(words[0], place)
    arguments = words[1:]
    if interpreter := shebang(program):
        if scripts == MAX_SCRIPTS:
            raise UsageError(f"{program}: its first line leads to one script after the other")
        # A console script or a script of the user's: the interpreter is the program, the script its first argument.
        return resolve([*interpreter, program, *arguments], environment, place, scripts=scripts + 1)
    name = os.path.basename(program)
    if _NODE.fullmatch(name) or _NODE.fullmatch(os.path.basename(words[0])):
        return _node(program, arguments, environment, place)
    if _PYTHON.fullmatch(name) or _PYTHON.fullmatch(os.path.basename(words[0])):
        return _python(program, arguments, environment, place)
    trees = _within_home_rules(_program_trees(program, place), place)
    return Command((program, *arguments), "other", trees, (), tuple(arguments), environment)


def _node(program: str, arguments: list[str], environment: dict[str, str], place: Place) -> Command:
    at = _script_at(arguments, NODE_VALUED, ("-e", "--eval", "-p", "--print"))
    trees = list(_program_trees(program, place))
    if at is None:
        return Command((program, *arguments), "node", _within_home_rules(trees, place), (), (), environment)
    script = _existing(arguments[at], place, ("", ".js", ".mjs", ".cjs", "/index.js"))
    arguments = [*arguments[:at], script, *arguments[at + 1 :]]
    # Node follows the symlink of its main script, so the code lies where the link leads.
    real = os.path.realpath(script)
    trees += [*_node_trees(script, place), *_node_trees(real, place)]
    return Command(
        (os.path.realpath(program), *arguments),
        "node",
        _within_home_rules(trees, place),
        tuple(_node_identity(real)),
        tuple(arguments[at + 1 :]),
        environment,
    )


def _node_trees(script: str, place: Place) -> Iterator[str]:
    outermost, inside, _ = script.partition("/node_modules/")
    if inside:
        modules = f"{outermost}/node_modules"
        yield modules
        yield from _linked(modules)
        return
    root = _ancestor_with(script, ("package.json",), place)
    yield root or script
    if root:
        yield from _linked(f"{root}/node_modules")
    # Hoisted dependencies: Node looks in the node_modules of every ancestor.
    directory = os.path.dirname(root or script)
    while directory not in ("/", place.home):
        modules = f"{directory}/node_modules"
        # Whoever wrote a checkout could have it be a link to anything.
        if os.path.isdir(modules) and os.path.basename(os.path.realpath(modules)) == "node_modules":
            yield modules
        directory = os.path.dirname(directory)


def _linked(modules: str) -> Iterator[str]:
    """Where the symlinks right in a node_modules directory lead, if out of it to packages (npm link, workspaces).

    To nothing else: whoever wrote a checkout could have them lead to any directory of the user's.
    """
    try:
        entries = list(os.scandir(modules))
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith("@") and entry.is_dir():
            entries += os.scandir(entry.path)
    for entry in entries:
        target = os.path.realpath(entry.path) if entry.is_symlink() else ""
        outside = target and not target.startswith(f"{os.path.realpath(modules)}/")
        if outside and os.path.isfile(f"{target}/package.json"):
            yield target


def _node_identity(script: str) -> Iterator[str]:
    """The npm name of a package under node_modules, if the directory and its package.json agree on it."""
    before, inside, rest = script.rpartition("/node_modules/")
    if not inside:
        return
    name = "/".join(rest.split("/")[: 2 if rest.startswith("@") else 1])
    try:
        with open(f"{before}/node_modules/{name}/package.json", "rb") as file:
            stated = msgspec.json.decode(file.read(MOST))
    except (OSError, ValueError):
        return
    if isinstance(stated, dict) and stated.get("name") == name:
        yield f"npm:{name}"


def _python(program: str, arguments: list[str], environment: dict[str, str], place: Place) -> Command:
    trees: list[str] = []
    base = os.path.realpath(program)
    if venv := _venv(program):
        trees += [venv, *_path_files(venv)]
        environment = {"VIRTUAL_ENV": venv, **environment}
        argv0 = program
    else:
        argv0 = base
    trees += _program_trees(program, place)
    user_site = f"{place.home}/.local/lib/{os.path.basename(base)}/site-packages"
    if not venv and base.startswith(SYSTEM) and os.path.isdir(user_site):
        trees.append(user_site)
    at = _script_at(arguments, PYTHON_VALUED, ("-c",))
    done = partial(Command, interpreter="python", environment=environment)
    module_at = next((i for i, word in enumerate(arguments[: at if at is not None else None]) if word == "-m"), None)
    if module_at is not None and module_at + 1 < len(arguments):
        module = arguments[module_at + 1]
        prefix = venv or os.path.dirname(os.path.dirname(base))
        owners = _distributions(prefix, module.partition(".")[0])
        own = tuple(arguments[module_at + 2 :])
        return done((argv0, *arguments), trees=_within_home_rules(trees, place), identities=owners, arguments=own)
    if at is None:
        return done((argv0, *arguments), trees=_within_home_rules(trees, place))
    script = _existing(arguments[at], place, ("", "/__main__.py"))
    arguments = [*arguments[:at], script, *arguments[at + 1 :]]
    owners = ()
    if venv and os.path.dirname(script) == f"{venv}/bin":
        owners = _script_owner(venv, os.path.basename(script))
    else:
        root = _ancestor_with(script, PROJECT_FILES, place) or os.path.dirname(script)
        trees.append(script if _too_wide(root, place) else root)
    own = tuple(arguments[at + 1 :])
    return done((argv0, *arguments), trees=_within_home_rules(trees, place), identities=owners, arguments=own)


def _venv(program: str) -> str:
    directory = os.path.dirname(os.path.dirname(program))
    return directory if os.path.isfile(f"{directory}/pyvenv.cfg") else ""


def _site_packages(prefix: str) -> Iterator[str]:
    for lib in ("lib", "lib64", "local/lib"):
        try:
            versions = sorted(name for name in os.listdir(f"{prefix}/{lib}") if name.startswith("python3"))
        except OSError:
            continue
        for version in versions:
            for kind in ("site-packages", "dist-packages"):
                if os.path.isdir(found := f"{prefix}/{lib}/{version}/{kind}"):
                    yield found


def _path_files(venv: str) -> Iterator[str]:
    """Directories outside that ``.pth`` files add: editable installs."""
    for site in _site_packages(venv):
        for name in os.listdir(site):
            if not name.endswith(".pth"):
                continue
            with open(f"{site}/{name}", encoding="utf-8", errors="replace") as file:
                for line in file.read(MOST).splitlines():
                    if line.startswith("/") and os.path.isdir(line):
                        yield line


def _distributions(prefix: str, module: str) -> tuple[str, ...]:
    """The installed distribution that a top-level module belongs to, by the RECORDs of the interpreter's packages."""
    return _recorded(prefix, (f"{module}/__init__.py,", f"{module}.py,", f"{module}/__main__.py,"))


def _script_owner(prefix: str, script: str) -> tuple[str, ...]:
    return _recorded(prefix, (f"../../../bin/{script},",))


def _recorded(prefix: str, entries: tuple[str, ...]) -> tuple[str, ...]:
    for site in _site_packages(prefix):
        for name in os.listdir(site):
            if not name.endswith(".dist-info"):
                continue
            try:
                with open(f"{site}/{name}/RECORD", encoding="utf-8", errors="replace") as file:
                    lines = file.read(MOST).splitlines()
                if any(line.startswith(entries) for line in lines):
                    from mcpbox.packages.model import normalised

                    return (f"pypi:{normalised(name.partition('-')[0])}",)
            except OSError:
                continue
    return ()


def _find(name: str, place: Place) -> str:
    """The absolute path of a program; a version manager's shim is followed to the program it stands for."""
    if "/" in name:
        candidates = [os.path.join(place.cwd, os.path.expanduser(name) if name.startswith("~/") else name)]
    else:
        candidates = [os.path.join(place.cwd, directory, name) for directory in place.path.split(":") if directory]
    for candidate in map(os.path.normpath, candidates):
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return _unshim(candidate, place)
    if "/" in name:
        raise UsageError(f"{name}: no such program, or not executable")
    raise UsageError(
        f"{name}: not found in PATH ({place.path})",
        "a host started from the desktop has a short PATH: give the program's absolute path",
    )


def _unshim(path: str, place: Place) -> str:
    directory = os.path.realpath(os.path.dirname(path))
    shims = {os.path.realpath(f"{place.home}/{below}"): name for name, below in SHIMS.items()}
    if not (manager := shims.get(directory)):
        if looks := re.search(rf"/\.?({'|'.join(SHIMS)})/shims$", os.path.abspath(directory)):
            raise UsageError(
                f"{path} looks like a shim of {looks[1]}, and is not in ~/{SHIMS[looks[1]]}",
                "give the program's real path",
            )
        return path
    root = os.path.dirname(directory)
    # It is run outside of any sandbox: not one that the directory has which the host has open.
    places = [f"{root}/bin", f"{root}/libexec", *filter(os.path.isabs, place.path.split(":"))]
    program = next((f"{d}/{manager}" for d in places if os.access(f"{d}/{manager}", os.X_OK)), "")
    if not program:
        raise UsageError(f"{path} is a shim of {manager}, which is not found", "give the program's real path")
    import subprocess

    try:
        # The manager alone knows its rules (version files, global settings); it is the user's own program.
        asked = subprocess.run(
            [program, "which", os.path.basename(path)],
            cwd=place.cwd,
            env={"PATH": f"{place.path}:/usr/bin:/bin", "HOME": place.home, f"{manager.upper()}_ROOT": root},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"{path} is a shim of {manager}, which does not answer: {error}") from None
    found = asked.stdout.strip()
    if asked.returncode or not os.access(found, os.X_OK):
        raise UsageError(
            f"{path} is a shim of {manager}, which names no program: {asked.stderr.strip()}",
            "give the program's real path",
        )
    return found


def shebang(program: str) -> list[str]:
    """The words of a script that start its interpreter; none for what is started by itself. Raises UsageError."""
    try:
        with open(program, "rb") as file:
            line = file.readline(512)
    except OSError as error:
        raise UsageError(f"{program}: cannot be read: {error.strerror}") from None
    if not line.startswith(b"#!"):
        return []
    import shlex

    try:
        words = shlex.split(line[2:].decode(errors="replace").strip())
    except ValueError:
        words = []
    if words and os.path.basename(words[0]) == "env":
        words = words[1:]
        if words[:1] == ["-S"]:
            words = words[1:]
    if not words or words[0].startswith("-"):
        raise UsageError(f"{program}: its first line cannot be read: {line.decode(errors='replace').strip()}")
    # A shell script is a program of its own; its shell comes from the sandbox's /usr.
    return [] if words[0] in ("/bin/sh", "/bin/bash", "/usr/bin/bash", "/usr/bin/sh") else words


def _program_trees(program: str, place: Place) -> Iterator[str]:
    """What a program outside /usr needs: the prefix (what holds bin and lib) of each link on the way to it."""
    for hop in _hops(program):
        if hop.startswith(SYSTEM):
            continue
        directory = os.path.dirname(hop)
        prefix = os.path.dirname(directory)
        # ~/.local has a bin and a lib, and the desktop's keyrings too.
        if os.path.basename(directory) == "bin" and os.path.isdir(f"{prefix}/lib") and prefix != f"{place.home}/.local":
            yield prefix
        else:
            yield hop


def _hops(program: str) -> Iterator[str]:
    """``program``, what its symlink names, and so on, and at last the path without any link in it."""
    path = program
    for _ in range(40):
        yield path
        if not os.path.islink(path):
            break
        named = os.path.join(os.path.dirname(path), os.readlink(path))
        path = os.path.normpath(named)
        if os.path.realpath(path) != os.path.realpath(named):
            # ".." behind another link: by its text alone it would be something else, of whoever made the link choosing.
            break
    yield os.path.realpath(program)


def _within_home_rules(trees: Iterator[str] | list[str], place: Place) -> tuple[str, ...]:
    """Each tree once, none inside another, none that would show the home directory or more."""
    kept: list[str] = []
    for tree in sorted(dict.fromkeys(trees), key=len):
        if tree.startswith(SYSTEM) or any(tree == other or tree.startswith(f"{other}/") for other in kept):
            continue
        if _too_wide(tree, place):
            hint = "move the server's code into a directory of its own"
            raise UsageError(f"running this would show the server all of {tree}", hint)
        kept.append(tree)
    return tuple(kept)


def _too_wide(directory: str, place: Place) -> bool:
    homes = {place.home, os.path.realpath(place.home)}
    return directory == "/" or any(home == directory or home.startswith(f"{directory}/") for home in homes)


def _ancestor_with(file: str, names: tuple[str, ...], place: Place) -> str:
    directory = os.path.dirname(file)
    while not _too_wide(directory, place):
        if any(os.path.exists(f"{directory}/{name}") for name in names):
            return directory
        directory = os.path.dirname(directory)
    return ""


def _existing(script: str, place: Place, suffixes: tuple[str, ...]) -> str:
    path = os.path.normpath(os.path.join(place.cwd, script))
    for suffix in suffixes:
        if os.path.isfile(path + suffix):
            return path + suffix
    raise UsageError(f"{script}: no such file (looked in {place.cwd})", "give the script's absolute path")


def _script_at(arguments: list[str], valued: set[str], inline: tuple[str, ...]) -> int | None:
    """Where the script stands among an interpreter's arguments; None if there is none (``-c``, ``-e``, ``-m``)."""
    at = 0
    while at < len(arguments):
        word = arguments[at]
        if word in (*inline, "-m"):
            return None
        if word == "--":
            return at + 1 if at + 1 < len(arguments) else None
        if not word.startswith("-"):
            return at
        at += 2 if word in valued else 1
    return None
