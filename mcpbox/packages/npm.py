"""Packages of npm registries: resolved, fetched and laid out by npm itself, with strict flags, in an install sandbox.

What npm makes of a request is judged (see ``npmtree``) before anything is fetched, and looked at again afterwards.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from mcpbox import paths
from mcpbox.errors import PackageError
from mcpbox.packages import installer, npmrc, npmtree
from mcpbox.packages.model import Package, Plan, Request
from mcpbox.packages.npmtree import Platform
from mcpbox.packages.store import give

FLAGS = (
    *("--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund", "--no-update-notifier", "--no-progress"),
    *("--loglevel=error", "--logs-max=0", "--install-strategy=hoisted"),
    # npm prepares what git has by an npm of its own, which obeys the .npmrc that is there, and with it names a program.
    *("--allow-git=none", "--git=/bin/false"),
)
#: What a tree may come to, in bytes and files.
SIZE, COUNT = 2 << 30, 300_000
MAX_LOCK = 64 << 20
HOME = installer.ENVIRONMENT["HOME"]
#: What npm 11 finds out about its own platform, and earlier ones too.
ASK_PLATFORM = """
process.report.excludeNetwork = true
const report = process.report.getReport()
const libc = report.header.glibcVersionRuntime ? "glibc" : process.platform === "linux" ? "musl" : ""
console.log(JSON.stringify({ os: process.platform, cpu: process.arch, libc }))
"""
FROM_GIT = "a package depends on a git repository, which cannot be pinned"
ASK = "ask its author to publish the dependency"
#: What npm says on standard error, in what is wrong and what to do. The first that is found counts.
EXPLAINED = (
    (r"EINTEGRITY|integrity checksum failed", "a package is not the one that its hash stands for", ""),
    (r"ETARGET|notarget", "the registry has no such version", "it may have been withdrawn: see mcpbox package update"),
    (r"\bE404\b|404 Not Found", "the registry does not have it", "check the name and your npm configuration"),
    (
        r"\bE40[13]\b|ENEEDAUTH|40[13] (Unauthorized|Forbidden)",
        "the registry wants other credentials",
        "check them: npm whoami --registry=URL",
    ),
    (r"ls-remote", FROM_GIT, ASK),
    (r"spawn git|EALLOWGIT|git@|git\+|unknown git error", FROM_GIT, ASK),
    (
        r"enoent ENOENT.*package\.json|EUNSUPPORTEDPROTOCOL|Unsupported URL Type|EALLOWFILE",
        "a package depends on something that no registry has",
        ASK,
    ),
    (
        r"ENOTFOUND|EAI_AGAIN|EALLOWREMOTE",
        "a package wants to be fetched from a host that is none of the configured registries",
        "a package like this cannot be pinned",
    ),
    (
        r"ECONNREFUSED|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ECONNRESET|socket hang up|ERR_SOCKET_TIMEOUT",
        "the registry does not answer",
        "try again; servers that are installed start without it",
    ),
    (r"ENOSPC", "the package is too large to unpack", "install it by hand and wrap the program itself"),
    (r"EBADPLATFORM", "a package is not for this platform", "try the other backend"),
    (
        r"CERT_|SELF_SIGNED|UNABLE_TO_(GET|VERIFY)",
        "the registry's certificate is not trusted",
        "name its authority: npm config set cafile=FILE",
    ),
)


def sources(backend: str) -> npmrc.Sources:
    """Where the user's npm configuration has packages come from. Raises PackageError."""
    cwd, home = Path.cwd(), paths.home()
    values = npmrc.read(os.environ, cwd, home)
    return npmrc.sources(values, lambda: _default_registry(backend), os.environ, cwd, home, HOME)


def resolve(request: Request, backend: str, work: Path, *, scripts: Sequence[str] = ()) -> Plan:
    """The whole tree that ``request`` comes to now, for the platform of ``backend``. ``work`` is an empty directory.

    Which ``scripts`` may run makes no difference to it. Raises PackageError.
    """
    wanted = dict(map(npmtree.requirement, request.packages))
    found, platform = sources(backend), _platform(backend)
    give(work)
    _write(work / "package.json", {"private": True, "dependencies": wanted})
    try:
        _npm(("install", "--package-lock-only", "--lockfile-version=3"), work, backend, found)
    except installer.JobError as error:
        raise _explained(error, f"{' '.join(request.packages)} cannot be resolved") from None
    lock = _read(work / "package-lock.json")
    packages = npmtree.check(npmtree.read(lock), found, platform)
    roots = {name: packages[f"node_modules/{name}"].version for name in wanted}
    lock["packages"][""] = {"dependencies": roots}
    kept = {"lockfileVersion": 3, "requires": True, "packages": lock["packages"]}
    whole = {"platform": msgspec.structs.asdict(platform), "lock": kept}
    return Plan(
        "npm",
        packages[f"node_modules/{next(iter(wanted))}"],
        tuple(packages.values()),
        json.dumps(whole, sort_keys=True, separators=(",", ":")).encode(),
    )


def fits(plan: Plan, backend: str, python: str = "") -> bool:
    """Whether a plan, perhaps made elsewhere, is for the platform of ``backend``. Raises PackageError."""
    return Platform(**json.loads(plan.lockfile)["platform"]) == _platform(backend)


def install(plan: Plan, backend: str, staging: Path, *, scripts: Sequence[str] = ()) -> None:
    """Fill ``staging``, an empty directory, with what ``plan`` says and nothing else, each tarball's sha512 checked.

    Packages named in ``scripts`` then run their install scripts, each able to write to its own directory alone, with
    no network. Raises PackageError; ``staging`` is then of no use.
    """
    whole = json.loads(plan.lockfile)
    lock, found = whole["lock"], sources(backend)
    entries = npmtree.read(lock)
    packages = npmtree.check(entries, found, Platform(**whole["platform"]))
    if tuple(packages.values()) != plan.packages:
        raise PackageError("the plan does not agree with its lock", "resolve it again: mcpbox package update")
    if unknown := set(scripts) - {package.name for package in plan.packages}:
        raise PackageError(f"{', '.join(sorted(unknown))}: not in the tree, so its scripts cannot be run")
    give(staging)
    _write(staging / "package.json", {"private": True, **lock["packages"][""]})
    _write(staging / "package-lock.json", lock)
    try:
        _npm(("ci",), staging, backend, found)
    except installer.JobError as error:
        what = f"{plan.root.name} {plan.root.version} cannot be installed"
        raise _sent_away(error, what, found) or _explained(error, what) from None
    _compare(staging, entries, packages)
    for name in dict.fromkeys(scripts):
        _build(name, [path for path, package in packages.items() if package.name == name], staging, backend)


def entry(request: Request, tree: Path) -> tuple[str, ...]:
    """The words that start the request's program from the installed ``tree``, as npx has it. Raises PackageError."""
    modules = tree / "node_modules"
    names = [npmtree.requirement(text)[0] for text in request.packages]
    program = request.program
    for name in names if program else names[:1]:
        bins = _bins(modules / name, name)
        if script := bins.get(program) if program else _own_program(name, bins):
            return _words(_inside(modules / name / script, tree))
    if not re.fullmatch(r"[\w][\w.+-]*", program):
        raise PackageError(f"{program}: not the name of a program")
    if not os.path.lexists(modules / ".bin" / program):
        raise PackageError(f"{' '.join(names)}: there is no program {program} in it", "see the package's documentation")
    return _words(_inside(modules / ".bin" / program, tree))


def maintainers(name: str, version: str, backend: str) -> tuple[str, ...]:
    """The user names of whom the registry has as those of ``name`` in ``version``. Raises PackageError."""
    found = sources(backend)
    with tempfile.TemporaryDirectory(prefix="mcpbox-npm-") as directory:
        work = Path(directory)
        give(work)
        spec = f"{npmtree.requirement(name)[0]}@{version}"
        try:
            # Of one field alone npm says the value without its name.
            said = _npm(("view", "--json", spec, "name", "maintainers"), work, backend, found)
        except installer.JobError as error:
            raise _explained(error, f"{spec} cannot be looked up") from None
    data = json.loads(said or b"{}")
    data = data if isinstance(data, dict) else {}
    return tuple(sorted(str(item).split(" ")[0] for item in data.get("maintainers", ())))


def _npm(words: tuple[str, ...], work: Path, backend: str, found: npmrc.Sources) -> bytes:
    """Run npm with the registries in reach, and the credentials for them."""
    allow: list[str] = []
    for url in found.registries():
        parts = urlsplit(url)
        assert parts.hostname
        allow += installer.rules_for(parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
    for rules in installer.named_hosts().values():
        allow += rules
    job = installer.Job(
        ("npm", *words, *FLAGS),
        work,
        "node",
        allow=tuple(dict.fromkeys(allow)),
        environment={**_CONFIGURATION, **found.environment},
        files=found.files,
        proxy=found.proxy,
        size=SIZE,
        count=COUNT,
    )
    return installer.run(job, backend)


#: No other settings than those that were laid out: not the image's, and not the host's.
_CONFIGURATION = {"npm_config_userconfig": f"{HOME}/.npmrc", "npm_config_globalconfig": f"{HOME}/.npmrc-global"}


def _build(name: str, places: Sequence[str], staging: Path, backend: str) -> None:
    """Run one package's install scripts. They see the tree, can change their own package, and reach nothing."""
    for place in places:
        # The scripts of a package that has it below may have put a link there, to anywhere on this machine.
        if os.path.realpath(staging / place) != os.path.join(os.path.realpath(staging), place):
            raise PackageError(f"{place} leads elsewhere since another install script ran", "do not use the package")
    first, *others = (staging / place for place in places)
    words = ("npm", "rebuild", name, f"--prefix={staging}", "--no-bin-links", "--foreground-scripts", *FLAGS)
    job = installer.Job(
        (*words, "--ignore-scripts=false"),
        first,
        "node",
        read=(str(staging),),
        write=tuple(map(str, others)),
        environment=_CONFIGURATION,
        size=SIZE,
        count=COUNT,
    )
    try:
        installer.run(job, backend)
    except installer.JobError as error:
        last = " | ".join(error.output.splitlines()[-3:])
        raise PackageError(
            f"the install script of {name} failed: {last}", "it ran without a network, as all install scripts do"
        ) from None


@cache
def _default_registry(backend: str) -> str:
    """The registry of an npm that is told of none."""
    return _ask(("npm", "config", "get", "registry"), backend)


@cache
def _platform(backend: str) -> Platform:
    """What a server is run on: the host, or the backend's image."""
    return msgspec.json.decode(_ask(("node", "-e", ASK_PLATFORM), backend), type=Platform)


def _ask(words: tuple[str, ...], backend: str) -> str:
    with tempfile.TemporaryDirectory(prefix="mcpbox-npm-") as directory:
        give(Path(directory))
        job = installer.Job(words, Path(directory), "node", environment=_CONFIGURATION)
        return installer.run(job, backend).decode().strip()


def _explained(error: installer.JobError, what: str) -> PackageError:
    """What npm said, as the user needs it: without its advice and log files."""
    lines = [re.sub(r"^npm (error|ERR!) ?", "", line) for line in error.output.splitlines()]
    said = [
        line
        for line in lines
        if line.strip() and not re.match(r"code |A complete log|Log files were not|\s+/|errno |syscall ", line)
    ]
    for pattern, reason, hint in EXPLAINED:
        if re.search(pattern, error.output):
            found = next((line for line in said if re.search(pattern, line)), said[0] if said else "")
            return PackageError(f"{what}: {reason}: {found[:300]}", hint)
    return PackageError(f"{what}: {' | '.join(said[:3])[:500] or error.message}")


def _sent_away(error: installer.JobError, what: str, found: npmrc.Sources) -> PackageError | None:
    """Where npm was sent by a registry and could not go: the lock's own addresses were judged before."""
    known = {urlsplit(url).netloc.lower() for url in found.registries()}
    for text in re.findall(r"request to (https?://[^\s/]+)", error.output):
        parts = urlsplit(text)
        if parts.netloc.lower() not in known and parts.hostname:
            port = parts.port or (443 if parts.scheme == "https" else 80)
            return PackageError(
                f"{what}: a registry sends to {parts.hostname}:{port} for it, which the configuration does not name",
                installer.name_it(parts.hostname, port),
            )
    return None


def _compare(staging: Path, entries: npmtree.Entries, packages: Mapping[str, Package]) -> None:
    """Raise PackageError unless what npm says it installed is what was planned."""
    made = msgspec.convert(
        _read(staging / "node_modules" / ".package-lock.json").get("packages", {}), dict[str, npmtree.Entry]
    )
    for path, entry in made.items():
        planned = entries.get(path, npmtree.Entry())
        if (entry.version, entry.resolved, entry.integrity) != (planned.version, planned.resolved, planned.integrity):
            raise PackageError(f"npm installed {path}, which is not what was planned")
        if not stat.S_ISDIR(os.lstat(staging / path).st_mode):
            raise PackageError(f"npm installed {path}, which is not a directory")
    missing = [path for path in packages if path not in made]
    # npm leaves an optional package out, and those that it alone needs, which come later here, for one good reason:
    # it is not for this version of Node.
    if missing and not (entries[missing[0]].engines and all(entries[path].optional for path in missing)):
        raise PackageError(f"npm did not install {', '.join(missing[:5])}", "try again")


def _bins(package: Path, name: str) -> dict[str, str]:
    """A package's programs and their scripts, as its package.json has them."""
    stated = _read(package / "package.json").get("bin", {})
    if isinstance(stated, str):
        return {name.rpartition("/")[2]: stated}
    return (
        {str(key).rpartition("/")[2]: str(value) for key, value in stated.items()} if isinstance(stated, dict) else {}
    )


def _own_program(name: str, bins: Mapping[str, str]) -> str:
    """Which of its programs npx runs of a package. Raises PackageError."""
    if len(set(bins.values())) == 1:
        return next(iter(bins.values()))
    if script := bins.get(name.rpartition("/")[2]):
        return script
    if not bins:
        raise PackageError(f"{name} has no program to run", "see the package's documentation for how to start it")
    raise PackageError(
        f"{name} has several programs: {', '.join(sorted(bins))}", f"name one: npx --package={name} -- PROGRAM"
    )


def _inside(path: Path, tree: Path) -> Path:
    """Where ``path`` leads, which must be a file of the tree's."""
    real, root = Path(os.path.realpath(path)), Path(os.path.realpath(tree))
    if not real.is_relative_to(root) or not real.is_file():
        raise PackageError(f"{path} is not a file of the package", "the package is broken")
    return tree / real.relative_to(root)


def _words(script: Path) -> tuple[str, ...]:
    with script.open("rb") as file:
        first = file.readline(256)
    words = first[2:].decode(errors="replace").split() if first.startswith(b"#!") else []
    if words and os.path.basename(words[0]) == "env":
        words = [word for word in words[1:] if word != "-S"]
    if words and os.path.basename(words[0]) in ("node", "nodejs"):
        return "node", *words[1:], str(script)
    if not words and script.suffix in (".js", ".mjs", ".cjs"):
        return "node", str(script)
    if not os.access(script, os.X_OK):
        raise PackageError(f"{script} is neither executable nor a script for node")
    return (str(script),)


def _write(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2, sort_keys=True) + "\n")
    if os.geteuid() == 0:
        parent = path.parent.stat()
        os.chown(path, parent.st_uid, parent.st_gid)


def _read(path: Path) -> dict[str, Any]:
    """A file that the sandbox may have made. Raises PackageError unless it is a plain one with a JSON object."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise PackageError(f"{path} is not a plain file")
            data = msgspec.json.decode(file.read(MAX_LOCK), type=dict[str, Any])
    except OSError as error:
        raise PackageError(f"{path}: {error.strerror}", "the package manager left nothing usable; try again") from None
    except (msgspec.DecodeError, ValueError) as error:
        raise PackageError(f"{path} is not JSON: {error}") from None
    return data
