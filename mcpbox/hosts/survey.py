"""What there is on this machine: the hosts' files, the servers in them, and what each would run."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from msgspec import Struct

from mcpbox import command, paths, profile, sandbox
from mcpbox.errors import McpboxError, Unprepared, UsageError
from mcpbox.hosts import HOSTS, OTHER, by_id, configfile, discover, rewrite
from mcpbox.hosts.document import DocumentError, parse
from mcpbox.hosts.entries import entries
from mcpbox.hosts.model import Entry, Place, Shape
from mcpbox.hosts.record import Record
from mcpbox.hosts.rewrite import Plan

NONE = "no MCP application's file was found"


class Surveyed(Struct, frozen=True):
    """One file of a host. ``broken`` is why it cannot be read, "" if it can; ``named`` says that the user named it."""

    found: discover.Found
    real: str
    text: str
    servers: tuple[Plan, ...]
    named: bool
    broken: str = ""
    hint: str = ""


class Facts(Struct, frozen=True):
    """What a command comes to now: what ``status`` compares with what was approved.

    ``profile`` is its name, or its path where the entry names a file that is not among the user's profiles; it and
    ``digest`` are "" for the defaults; ``package`` is the lock's key and the pinned version. ``fault``
    is why the command cannot be run, "" if nothing speaks against it. ``claim`` is the package that code calls itself
    which mcpbox did not install, "" where the profile does not rest on that. ``named`` is the SHA-256 of the hosts and
    paths that variables name where the profile lets them, "" where they name none; ``files`` are the variables that the
    profile lets name paths.
    """

    identities: tuple[str, ...] = ()
    profile: str = ""
    digest: str = ""
    package: str = ""
    fault: str = ""
    claim: str = ""
    named: str = ""
    files: tuple[str, ...] = ()


def survey(hosts: Sequence[str], configs: Sequence[str], also: Sequence[str] = ()) -> list[Surveyed]:
    """The files of the hosts of these ids, of all for none, or ``configs`` alone where only they are named.

    ``also`` are files that are looked at with the hosts', where they are still there. Raises UsageError.
    """
    chosen = [by_id(id) for id in hosts] or list(HOSTS)
    where: dict[str, Any] = {
        "home": paths.home(),
        "environ": os.environ,
        "system": discover.system(),
        "root": _project(),
    }
    found: dict[tuple[str, tuple[str, ...]], tuple[discover.Found, bool]] = {}
    if hosts or not configs:
        others = discover.other_homes(discover.system(), os.environ)
        for one in discover.find(chosen, **where, others=others):
            key = (os.path.realpath(one.path), one.place.shape.servers)
            # A project may have links to the user's own files, and these stay the user's.
            if key not in found or (found[key][0].place.scope == "project" != one.place.scope):
                found[key] = one, False
    known = {real for real, _ in found}
    for path in configs:
        one = discover.at(path, HOSTS, **where)
        found[os.path.realpath(path), one.place.shape.servers] = (one, True)
    files = [_read(one, named) for one, named in found.values()]
    for path in also:
        if path not in known and os.path.isfile(path):
            try:
                files.append(_read(discover.at(path, HOSTS, **where), True))
            except UsageError as error:
                nobody = Place((discover.system(),), path, Shape("json", ()))
                one = discover.Found(OTHER, nobody, path, discover.system())
                files.append(Surveyed(one, path, "", (), True, error.message, error.hint))
    return files


def policy(file: Surveyed) -> str:
    """Why servers in the file are never put behind mcpbox unasked, in the user's words; "" if they are."""
    found = file.found
    if found.place.scope == "managed":
        return "is managed by this machine's administrator"
    if found.system != discover.system():
        return f"belongs to a host on {found.system}, which cannot start this mcpbox"
    if found.place.scope == "project" and not file.named:
        return (
            "belongs to a project, and those who share it have no mcpbox at this machine's path; "
            f"if it is yours alone: --config {found.path}"
        )
    return ""


def overwriter(file: Surveyed) -> str:
    """Why a change of the file would be lost; "" if it would not be."""
    host = file.found.host
    if host.overwrites and discover.running(host):
        return f"would be written over by {host.name}, which is running: quit it, and run this again"
    return ""


def advice(file: Surveyed) -> str:
    """What the user has to know once the file was changed; "" for nothing."""
    host = file.found.host
    if host.overwrites:
        # Its note says what to do before, which has been done.
        return f"{host.name}: start it again"
    return f"{host.name}: {host.note}" if host.note else ""


def facts(
    words: Sequence[str],
    path: str,
    *,
    chosen: str | None = None,
    cwd: str = "",
    environment: Mapping[str, str] = {},
) -> Facts:
    """What the command of a server comes to, looked up in ``path``.

    Its entry names the profile ``chosen``, if any, and sets the variables ``environment``.
    """
    home = paths.home()
    backends: dict[tuple[str, ...], str] = {}

    def backend(identities: tuple[str, ...]) -> str:
        wanted = profile.resolve(chosen, identities).profile.sandbox.backend
        return backends.setdefault(identities, sandbox.choose(wanted))

    identities: tuple[str, ...] = ()
    fault = claim = ""
    try:
        found = command.resolve(words, path=path, cwd=cwd or str(home), home=str(home), backend=backend)
        identities = found.identities
        if not (chosen or found.package or found.image):
            claim = next(iter(identities), "")
    except Unprepared as missing:
        from mcpbox.packages import spec

        identities = (spec.identity(missing.request),)
    except McpboxError as error:
        fault = f"{error.message}; {error.hint}" if error.hint else error.message
    try:
        resolved = profile.resolve(chosen, identities)
    except McpboxError as error:
        return Facts(identities, fault=fault or error.message)
    package = _pinned(words)
    if resolved.path is None:
        return Facts(identities, package=package, fault=fault)
    stated = sha256(resolved.path.read_bytes()).hexdigest()
    kept = resolved.path.parent in (paths.user_profiles(), paths.builtin_profiles())
    return Facts(
        identities,
        resolved.profile.name if kept else str(resolved.path),
        stated,
        package,
        fault,
        claim,
        _named(resolved.profile, environment),
        tuple(resolved.profile.filesystem.from_environment),
    )


def _named(tables: profile.Profile, environment: Mapping[str, str]) -> str:
    """The digest of the hosts and paths that variables name, and not of what stands beside them: passwords move."""
    from mcpbox.egress import endpoints

    found = [
        f"{name}={environment[name]}" for name in sorted(tables.filesystem.from_environment) if name in environment
    ]
    for item in tables.network.from_environment:
        host, port = (item, "") if isinstance(item, str) else (item.host, item.port)
        try:
            found += [rule.text for rule in endpoints.read(environment.get(host, ""), host)]
        except UsageError:
            # A host in a secret is known only when the server starts.
            found.append(host)
        found += [f"{port}={environment[port]}"] if port in environment else []
    return digest(found) if found else ""


def programs() -> list[str]:
    """Where this mcpbox can be started, the likeliest first."""
    given = sys.argv[0]
    candidates = [str(Path(sys.executable).parent / "mcpbox"), shutil.which("mcpbox") or ""]
    if os.path.basename(given) == "mcpbox":
        candidates.insert(0, os.path.abspath(given))
    return [path for path in candidates if os.path.isfile(path) and os.access(path, os.X_OK)]


def unsound(entry: Entry) -> list[str]:
    """Why a server behind mcpbox is less confined than its profile says, in the user's words. No approval mends it."""
    found = [reason] if (reason := _impostor(entry)) else []
    if not rewrite.is_wrapped(entry):
        return found
    options = rewrite.options(entry)
    if names := rewrite.obeyed(entry):
        found.append(f"it sets {' and '.join(names)}, which mcpbox itself obeys")
    if rewrite.is_merged(entry):
        found.append(f"it takes a part of itself from elsewhere in the file ({rewrite.MERGE})")
    for option in ("--learn-network", "--learn"):
        if option in options:
            found.append(f"it may reach every public host ({option})")
    # By hand, it is what the user wants.
    if "--host" in options and (more := sorted({*rewrite.passed(entry)} - {*entry.variables})):
        found.append(f"it is passed {' and '.join(more)} of the host's own variables")
    return found


def _impostor(entry: Entry) -> str:
    if not rewrite.is_mcpbox(entry):
        return ""
    found = shutil.which(entry.command, path=search_path(entry))
    if not found or ("/" in entry.command and not os.path.isabs(entry.command)):
        return f"there is no mcpbox at {entry.command} any more"
    if os.path.realpath(found) not in map(os.path.realpath, programs()):
        return f"{found} is not this mcpbox, and may do anything"
    return ""


def drift(plan: Plan, record: Record | None, now: Facts) -> list[str]:
    """What is not as it was approved, in the user's words. ``now`` is of the server's own command."""
    entry = plan.entry
    found = unsound(entry)
    if not rewrite.is_wrapped(entry):
        return [*found, "was behind mcpbox, and its entry was written over since"] if record else found
    words = rewrite.unwrapped(entry)
    if record is None:
        # By hand, it is nobody's to approve.
        return [*found, "its approval is not on record"] if "--host" in rewrite.options(entry) else found
    if record.command != digest(words[:1]):
        found.append("its command is another than was approved")
    if record.arguments != digest(words[1:]):
        found.append("its arguments are others than were approved")
    if record.profile != now.profile:
        was, now_is = record.profile or "none", now.profile or "none"
        found.append(f"its profile is {now_is}, and was {was} when it was approved")
    elif record.digest != now.digest:
        found.append(f"its profile {now.profile} says something else than when it was approved")
    if record.named != now.named:
        found.append("its variables name other hosts or paths than were approved")
    # Its first start may have been what pinned it.
    if record.package and record.package != now.package:
        found.append(f"its package is {now.package or 'not pinned'}, and was {record.package} when it was approved")
    return found


def digest(words: Sequence[str]) -> str:
    """What a register keeps of words, which may hold secrets: their SHA-256."""
    return sha256("\0".join(words).encode(errors="surrogatepass")).hexdigest()


def variables(entry: Entry) -> tuple[str, ...]:
    """The variables that the host sets for the server and that may be passed on to it."""
    return tuple(name for name in entry.variables if profile.is_settable(name))


def search_path(entry: Entry | None) -> str:
    """The PATH to look the server's command up in: the entry's own, if it counts, then this shell's."""
    own = entry.env.get("PATH", "") if entry else ""
    shell = os.environ.get("PATH", os.defpath)
    # Where the host replaces something in it, only the host knows what comes out.
    parts = [*("" if "$" in own or "{" in own else own).split(os.pathsep), *shell.split(os.pathsep)]
    return os.pathsep.join(dict.fromkeys(part for part in parts if os.path.isabs(part) and part.isprintable()))


def about(file: Surveyed, message: str) -> str:
    """``message`` with the file's path before it, which some of them have."""
    path = file.found.path
    return message if message.startswith(path) else f"{path}: {message}"


def _read(found: discover.Found, named: bool) -> Surveyed:
    try:
        found.path.encode()
        content = configfile.read(found.path)
    except UnicodeEncodeError:
        return Surveyed(found, os.path.realpath(found.path), "", (), named, "its path is not UTF-8", "rename it")
    except McpboxError as error:
        return Surveyed(found, os.path.realpath(found.path), "", (), named, error.message, error.hint)
    shape = found.place.shape
    try:
        document = parse(content.text, shape.format)
        servers = tuple(rewrite.plan(entry, found.host, shape) for entry in entries(document, shape))
    except DocumentError as error:
        reason = f"line {error.line}, column {error.column}: {error.message}"
        return Surveyed(found, content.real, content.text, (), named, reason, "mend the file, and run this again")
    except UsageError as error:
        return Surveyed(found, content.real, content.text, (), named, f"{found.path}: {error.message}", error.hint)
    return Surveyed(found, content.real, content.text, servers, named)


def _project() -> Path | None:
    try:
        return Path.cwd()
    except OSError:
        return None


def _pinned(words: Sequence[str]) -> str:
    """The package that the words ask for and the version that ``mcpbox.lock`` has of it."""
    from mcpbox.packages import lock, spec

    try:
        request = spec.read(command.plain(words)[0])
    except McpboxError:
        return ""
    entry = lock.load().get(request.key) if request else None
    return f"{request.key} {entry.version}" if request and entry else ""
