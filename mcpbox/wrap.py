"""Composition root of ``mcpbox wrap``: command → profile → spec → sandbox → relay, undone in reverse order."""

from __future__ import annotations

import gc
import os
import re
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from mcpbox import command, filesystem, paths, policy, profile, relay, sandbox, sessions
from mcpbox.errors import BackendError, McpboxError, UsageError
from mcpbox.journal import Journal
from mcpbox.policy.base import Rules
from mcpbox.sandbox.base import Mount, SandboxSpec
from mcpbox.session import Session

#: Seconds a host waits for the answer to its first request, where that is known; mcpbox answers in its place just
#: before. The SDKs' default is 60 s.
HOST_PATIENCE = {"opencode": 5, "codex": 10, "continue": 20, "claude-code": 30, "qwen": 30}
DEFAULT_PATIENCE = 60

#: Whom the server runs as when mcpbox runs as root and no mounted path belongs to anybody else.
NOBODY = 65534

_UNSAFE_NAME = re.compile(r"[^a-z0-9._-]+")


class Options(Struct, frozen=True):
    """The options of ``wrap``; None for what the profile decides."""

    profile: str | None = None
    backend: str | None = None
    name: str | None = None
    host: str = ""
    learn_network: bool = False


def run(argv: Sequence[str], options: Options) -> int:
    """Run one server for the host on standard input and output; the exit code of ``wrap``.

    A failure to start is told to the host as the answer to its first request, and raised as McpboxError.
    """
    try:
        with ExitStack() as stack:
            return _run(stack, argv, options)
    except _NotStarted as failure:
        # A person at a terminal sends no request, and reads the same on stderr.
        if not os.isatty(0):
            relay.decline(failure.error)
        raise failure.error from None


class _NotStarted(Exception):
    """The sandbox is not running, so the host's first request is still unanswered."""

    def __init__(self, error: McpboxError) -> None:
        super().__init__(error.message)
        self.error = error


def _run(stack: ExitStack, argv: Sequence[str], options: Options) -> int:
    try:
        home = paths.home()
        cwd = _cwd()
        server = command.resolve(argv, path=os.environ.get("PATH", os.defpath), cwd=str(cwd), home=str(home))
        resolved = profile.resolve(options.profile, server.identities)
        profile.require_enforceable(resolved)
        name = server_name(options.name or resolved.profile.name, server)
        chosen = sandbox.choose(options.backend or resolved.profile.sandbox.backend)
        session = sessions.begin(name, chosen)
        stack.callback(session.end)
        journal = Journal(name, session.id)
        stack.callback(journal.close)
        spec = build_spec(server, resolved, session=session.id, name=name, home=home, cwd=cwd)
        if options.learn_network or resolved.profile.network.allow:
            from mcpbox import network

            spec = replace(spec, relay=network.relay(resolved, learn=options.learn_network))
        journal.record(
            {
                "event": "launch",
                "command": list(argv),
                "backend": chosen,
                "profile": resolved.source,
                "host": options.host,
            }
        )
        process = sandbox.load(chosen).launch(spec, session.remember)
    except McpboxError as error:
        raise _NotStarted(error) from None
    except OSError as error:
        raise _NotStarted(McpboxError(str(error), "run: mcpbox doctor")) from None
    stack.callback(process.close)
    if process.egress is not None:
        gateway = network.open_gateway(process, resolved, journal.record, learn=options.learn_network)
        stack.callback(gateway.close)
        if options.learn_network:
            stack.callback(lambda: network.tell(f"to allow what was used:\n{network.learned(gateway, resolved)}"))
    # What earlier crashes left; after the start, which it must not delay.
    threading.Thread(target=sessions.reap, name="reap", daemon=True).start()
    messages = resolved.profile.messages
    rules = Rules(
        tools_allow=resolved.profile.tools.allow,
        tools_deny=resolved.profile.tools.deny,
        sampling=messages.sampling,
        elicitation=messages.elicitation,
        roots=messages.roots,
        visible=tuple(mount.target for mount in spec.mounts),
    )
    gc.freeze()
    gc.enable()
    code = relay.Relay(
        Session(policy.build(rules), int(messages.max_bytes)),
        process,
        journal.record,
        answer_within=HOST_PATIENCE.get(options.host, DEFAULT_PATIENCE) * 0.9,
    ).run()
    journal.record({"event": "end", "code": code})
    return code


def build_spec(
    server: command.Command, resolved: profile.Resolved, *, session: str, name: str, home: Path, cwd: Path
) -> SandboxSpec:
    """What the profile and the command come to. Raises UsageError and ProfileError."""
    wanted = resolved.profile
    mounts = {mount.target: mount for mount in code_mounts(server.trees, home)}
    for mount in filesystem.mounts(wanted.filesystem, server.arguments, home=home, cwd=cwd, source=resolved.source):
        mounts[mount.target] = mount
    uid, gid = server_user(list(mounts.values()))
    inside = _home_inside(home)
    if wanted.filesystem.state:
        mounts[f"{inside}/.state"] = Mount(str(_state(wanted.name, uid, gid)), f"{inside}/.state", write=True)
    ordered = tuple(sorted(mounts.values(), key=lambda mount: mount.target.count("/")))
    program = os.path.dirname(server.argv[0]) if server.argv and not server.image else ""
    environment = {
        "PATH": ":".join(dict.fromkeys(filter(None, (program, "/usr/local/bin", "/usr/bin", "/bin")))),
        "HOME": inside,
        "LANG": "C.UTF-8",
        "TZ": _timezone(),
        **server.environment,
        **{key: _expanded(value, inside) for key, value in wanted.environment.items()},
    }
    return SandboxSpec(
        session=session,
        name=name,
        command=server.argv,
        cwd=str(cwd) if any(_is_below(str(cwd), mount.target) for mount in ordered) else inside,
        environment=environment,
        mounts=ordered,
        home=inside,
        uid=uid,
        gid=gid,
        memory=int(wanted.sandbox.memory),
        cpus=wanted.sandbox.cpus,
        pids=wanted.sandbox.pids,
        scratch=int(wanted.sandbox.scratch),
        interpreter=server.interpreter,
        image=server.image,
    )


def code_mounts(trees: Sequence[str], home: Path) -> list[Mount]:
    """Read-only mounts of the server's own code and interpreter, at the path as written and behind its links."""
    mounts = []
    for tree in trees:
        real = os.path.realpath(tree)
        for target in dict.fromkeys((tree, real)):
            if reason := filesystem.exposure(target, home):
                raise UsageError(f"cannot mount the server's own code, {target}: {reason}", "move it elsewhere")
            mounts.append(Mount(real, target))
    return mounts


def server_user(mounts: Sequence[Mount]) -> tuple[int, int]:
    """The user and group the server runs as: never root.

    The caller's own; for root, the owner of the first mounted path (those to be written to first) that is not root's.
    Raises BackendError if root's server could then not use a path the profile promises.
    """
    if os.geteuid() != 0:
        return os.getuid(), os.getgid()
    uid, gid = NOBODY, NOBODY
    for mount in sorted(mounts, key=lambda mount: not mount.write):
        owner = os.stat(mount.source)
        if owner.st_uid != 0:
            uid, gid = owner.st_uid, owner.st_gid or NOBODY
            break
    for mount in mounts:
        found = os.stat(mount.source)
        shift = 6 if found.st_uid == uid else 3 if found.st_gid == gid else 0
        needed = (2 if mount.write else 0) | 4
        if (found.st_mode >> shift) & needed != needed:
            verb = "write to" if mount.write else "read"
            raise BackendError(
                f"as root, mcpbox runs the server as user {uid}, who cannot {verb} {mount.target}",
                "run mcpbox as the user who owns the files, or give that user the right to them",
            )
    return uid, gid


def server_name(given: str, server: command.Command) -> str:
    """A name for logs and ``ps``: the one given, or made from the package, the script or the image."""
    if not given:
        words = [word for word in server.argv if not word.startswith("-")]
        script = words[1] if server.interpreter in ("node", "python") and len(words) > 1 else "".join(words[:1])
        given = next(iter(server.identities), "") or server.image or os.path.basename(script) or "server"
        given = given.rpartition(":")[2].rpartition("/")[2]
    return _UNSAFE_NAME.sub("-", given.lower()).strip("-.")[:64] or "server"


def _home_inside(home: Path) -> str:
    """HOME in the sandbox: the same path, so that what is mounted below it is found; not one that would hide /usr."""
    path = os.path.normpath(home)
    taken = path == "/" or path.startswith(("/usr", "/proc", "/dev", "/etc", "/sys", "/bin"))
    return "/home/mcpbox" if taken else path


def _state(name: str, uid: int, gid: int) -> Path:
    if not name:
        raise UsageError("filesystem.state needs a profile with a name")
    directory = paths.private_dir(paths.private_dir(paths.data_dir()) / "state") / name
    directory.mkdir(mode=0o700, exist_ok=True)
    if os.geteuid() == 0:
        os.chown(directory, uid, gid, follow_symlinks=False)
    return directory


def _cwd() -> Path:
    try:
        return Path.cwd()
    except OSError:
        return Path("/")


def _expanded(value: str, home: str) -> str:
    """A value beginning with "~/" means the sandbox's home directory."""
    return home + value[1:] if value.startswith("~/") else value


def _timezone() -> str:
    if zone := os.environ.get("TZ"):
        return zone
    found = os.path.realpath("/etc/localtime").partition("/zoneinfo/")[2]
    return found or "UTC"


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")
