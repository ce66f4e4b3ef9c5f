"""What a command and a profile come to: the sandbox's mounts, user, environment and limits."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from mcpbox import command, filesystem, paths, profile
from mcpbox.errors import BackendError, UsageError
from mcpbox.sandbox.base import Mount, SandboxSpec

#: Whom the server runs as when mcpbox runs as root and no mounted path belongs to anybody else.
NOBODY = 65534

_TREE = re.compile(r"[0-9a-f]{64}")
_UNSAFE_NAME = re.compile(r"[^a-z0-9._-]+")


def build_spec(
    server: command.Command,
    resolved: profile.Resolved,
    *,
    session: str,
    name: str,
    home: Path,
    cwd: Path,
    passed: Mapping[str, str] = {},
) -> SandboxSpec:
    """What the profile and the command come to; ``passed`` are variables of the host's, which go before the profile's.

    Raises UsageError and ProfileError.
    """
    wanted = resolved.profile
    mounts = {mount.target: mount for mount in code_mounts(server.trees, home)}
    own = own_environment(server, resolved, passed)
    for mount in filesystem.mounts(
        wanted.filesystem, server.arguments, home=home, cwd=cwd, source=resolved.source, environment=own
    ):
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
        **passed,
    }
    return SandboxSpec(
        session=session,
        name=name,
        command=server.argv,
        cwd=str(cwd) if any(filesystem.within(str(cwd), mount.target) for mount in ordered) else inside,
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


def own_environment(server: command.Command, resolved: profile.Resolved, passed: Mapping[str, str]) -> dict[str, str]:
    """What the user's configuration gives the server: its values may name hosts and paths of this machine.

    Not what a profile says of the sandbox's own home directory.
    """
    wanted = resolved.profile.environment
    inside = {key for key, value in wanted.items() if value.startswith("~/")}
    return {**{k: v for k, v in {**server.environment, **wanted}.items() if k not in inside}, **passed}


def code_mounts(trees: Sequence[str], home: Path) -> list[Mount]:
    """Read-only mounts of the server's own code and interpreter, at the path as written and behind its links."""
    mounts = []
    for tree in trees:
        real = os.path.realpath(tree)
        for target in dict.fromkeys((tree, real)):
            if not _is_package(target) and (reason := filesystem.exposure(target, home)):
                raise UsageError(f"cannot mount the server's own code, {target}: {reason}", "move it elsewhere")
            mounts.append(Mount(real, target, tree=os.path.basename(real) if _is_package(target) else ""))
    return mounts


def _is_package(tree: str) -> bool:
    """Whether it is an installed package: it lies among mcpbox's own files, the one thing of them to be shown."""
    directory, name = os.path.split(tree)
    own = paths.packages_dir()
    return bool(_TREE.fullmatch(name)) and directory in (str(own), os.path.realpath(own))


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


def _expanded(value: str, home: str) -> str:
    """A value beginning with "~/" means the sandbox's home directory."""
    return home + value[1:] if value.startswith("~/") else value


def _timezone() -> str:
    if zone := os.environ.get("TZ"):
        return zone
    found = os.path.realpath("/etc/localtime").partition("/zoneinfo/")[2]
    return found or "UTC"
