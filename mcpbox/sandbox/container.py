"""What an engine is asked for: a locked-down container for a spec, and one for its egress relay. Asks nothing."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from mcpbox.sandbox import companion, engine, podman, seccomp
from mcpbox.sandbox.base import Relay, SandboxSpec
from mcpbox.sandbox.dial import Endpoint
from mcpbox.sandbox.podman import Needs

LABEL = "mcpbox.session"
INSIDE = "/run/mcpbox"
OPEN_FILES = 4096
#: exec, so that the server itself is what init starts and reaps. Opening "up" tells that the server's input is open,
#: before which its end of file would be lost. The limits are for rootless Podman, which takes none from its API
#: (Podman's issue 25881); one that is lower already stays.
SHIM = f"ulimit -n {OPEN_FILES}; ulimit -c 0; exec <{INSIDE}/in; : >{INSIDE}/up; exec 2>{INSIDE}/err; "
RUN = f'exec "$@" >{INSIDE}/out'
CHANGED = "mcpbox: one of the profile's paths leads elsewhere than when it was judged"
#: Becomes the server with more variables, one line of standard input for the value of each name before "--", in the
#: form of printf's %b. Shells drop the line ends at the end of what a command prints, hence the "." after it. "read"
#: takes no byte beyond the line.
EXPORT = (
    'while [ "$1" != -- ]; do IFS= read -r mcpbox_value && mcpbox_value=$(printf "%b." "$mcpbox_value") && '
    'export "$1=${mcpbox_value%.}" || exit 125; shift; done; shift; unset mcpbox_value; exec "$@"'
)
_ESCAPED = re.compile(rb"[^ -\[\]-~]")


class Facts(Struct, frozen=True):
    """What an engine is, as far as a container's configuration depends on it."""

    podman: bool = False
    rootless: bool = False
    #: whether its containers run on this kernel, so that a FIFO works between us and them
    same_kernel: bool = False
    #: whether it is another machine's, which sees no file of ours
    remote: bool = False
    cgroup_namespaces: bool = True
    needs: Needs = Needs()


def facts(version: Mapping[str, Any], info: Mapping[str, Any], endpoint: Endpoint, kernel_release: str) -> Facts:
    """Read an engine's ``/version`` and ``/info``. Docker Desktop answers on a local socket, from a virtual machine."""
    platform = str((version.get("Platform") or {}).get("Name", ""))
    local = not endpoint.remote and version.get("KernelVersion") == kernel_release
    api = tuple(int(number) for number in str(version.get("ApiVersion", "1.41")).split(".")[:2])
    return Facts(
        podman=engine.is_podman(version),
        rootless=engine.is_rootless(info),
        same_kernel=local and "Desktop" not in platform,
        remote=endpoint.remote,
        cgroup_namespaces=api >= (1, 41),
    )


def container_config(
    spec: SandboxSpec,
    image: str,
    engine_facts: Facts,
    streams: str = "",
    volumes: Sequence[str] = (),
    entry_point: Sequence[str] = (),
    judged: Mapping[str, str] = {},
) -> dict[str, Any]:
    """The body of ``POST /containers/create``.

    ``streams`` is the directory of the FIFOs, or "" for the attach stream; ``volumes`` are the image's. The image's own
    environment stays, under the spec's; it says nothing about the host. With secrets, ``entry_point`` is what an image
    that the spec names would run, and ``secret_lines`` has to be written to the container's input. ``judged`` is what
    has to be at the mounts' targets, by ``kernel.identity``; only a container with FIFOs looks.
    """
    attached = not streams
    user = f"{spec.uid}:{spec.gid}"
    if engine_facts.rootless and not engine_facts.podman:
        # Root of a rootless engine's containers is the user who runs the engine, and nobody else can read the mounts.
        user = "0:0"
    command = list(spec.command) if spec.image else _command(spec)
    if spec.secrets:
        command = ["/bin/sh", "-c", EXPORT, "sh", *spec.secrets, "--", *entry_point, *command]
    mounts = [
        {
            "Type": "bind",
            "Source": mount.source,
            "Target": mount.target,
            "ReadOnly": not mount.write,
            "BindOptions": {"Propagation": "rprivate"},
        }
        for mount in spec.mounts
    ]
    if streams:
        mounts.append({"Type": "bind", "Source": streams, "Target": INSIDE, "ReadOnly": True})
        command = ["/bin/sh", "-c", SHIM + _require(judged) + RUN, "sh", *command]
    own = f"mode=0700,uid={spec.uid},gid={spec.gid}"
    options = f"size={spec.scratch},nosuid,nodev,exec"
    environment = dict(spec.environment)
    if spec.image:
        del environment["PATH"]
    host: dict[str, Any] = {
        **locked_down(engine_facts),
        "NetworkMode": "none",
        "Memory": spec.memory,
        "MemorySwap": spec.memory,
        "NanoCpus": round(spec.cpus * 1e9),
        "PidsLimit": spec.pids,
        "ShmSize": spec.scratch,
        # A volume of the image's would be a place on the disk, writable and without a bound.
        "Tmpfs": {
            **{volume: f"{own},{options}" for volume in volumes},
            "/tmp": f"mode=1777,{options}",
            spec.home: f"{own},{options}",
            **{path: f"{own},size={size},nosuid,nodev,exec" for path, size in spec.rooms.items()},
        },
        "Ulimits": [
            {"Name": "nofile", "Soft": OPEN_FILES, "Hard": OPEN_FILES},
            {"Name": "core", "Soft": 0, "Hard": 0},
        ],
        "Mounts": mounts,
    }
    body: dict[str, Any] = {
        "Image": image,
        "User": user,
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "WorkingDir": spec.cwd,
        "Hostname": "mcpbox",
        "NetworkDisabled": True,
        "AttachStdin": attached,
        "AttachStdout": attached,
        "AttachStderr": attached,
        "OpenStdin": attached,
        "StdinOnce": attached,
        "Tty": False,
        "Healthcheck": {"Test": ["NONE"]},
        "Labels": {LABEL: spec.session, "mcpbox.name": spec.name, engine.OWNER: str(os.getuid())},
        "HostConfig": host,
        "Cmd": command,
    }
    if not spec.image or spec.secrets:
        body["Entrypoint"] = []
    if spec.relay is not None:
        # The namespace, and with it the host name and the files of name resolution, are the relay's.
        host["NetworkMode"] = f"container:{relay_name_of(spec.session)}"
        del body["Hostname"], body["NetworkDisabled"]
    if engine_facts.podman:
        podman.adapt(body, engine_facts.needs, rootless=engine_facts.rootless, scratch=spec.scratch)
    return body


def secret_lines(secrets: Mapping[str, str]) -> bytes:
    """What ``EXPORT`` reads."""

    def escaped(value: str) -> bytes:
        return _ESCAPED.sub(lambda byte: b"\\0%03o" % byte[0][0], value.encode(errors="surrogateescape"))

    return b"".join(escaped(value) + b"\n" for value in secrets.values())


def relay_config(spec: SandboxSpec, relay: Relay, image: str, engine_facts: Facts, streams: str) -> dict[str, Any]:
    """The body of ``POST /containers/create`` for the container that owns the network namespace the server joins."""
    command = ["python3", *relay.arguments]
    mounts = []
    if streams:
        mounts = [{"Type": "bind", "Source": streams, "Target": INSIDE, "ReadOnly": True}]
        command = ["/bin/sh", "-c", SHIM + RUN, "sh", *command]
    sysctls = {"net.ipv4.ip_unprivileged_port_start": "0"}
    if any(":" in network for network in relay.plan["networks"]):
        # An engine turns IPv6 off where a container has no network.
        sysctls["net.ipv6.conf.all.disable_ipv6"] = "0"
    body: dict[str, Any] = {
        "Image": image,
        # Only "root" can be given a capability; it gives it up before it listens.
        "User": "0:0" if relay.routes else f"{companion.NOBODY}:{companion.NOBODY}",
        "WorkingDir": "/",
        "Hostname": "mcpbox",
        "AttachStdin": not streams,
        "AttachStdout": not streams,
        "AttachStderr": not streams,
        "OpenStdin": not streams,
        "StdinOnce": not streams,
        "Healthcheck": {"Test": ["NONE"]},
        "Labels": {LABEL: spec.session, "mcpbox.name": f"{spec.name} egress", engine.OWNER: str(os.getuid())},
        "Entrypoint": [],
        "Cmd": command,
        "HostConfig": {
            **locked_down(engine_facts),
            "NetworkMode": "none",
            "CapAdd": ["NET_ADMIN"] if relay.routes else [],
            "Dns": ["127.0.0.1"],
            "Sysctls": sysctls,
            "Memory": companion.MEMORY,
            "MemorySwap": companion.MEMORY,
            "NanoCpus": companion.NANO_CPUS,
            "PidsLimit": companion.PIDS,
            "Ulimits": [{"Name": "nofile", "Soft": OPEN_FILES, "Hard": OPEN_FILES}],
            "Mounts": mounts,
        },
    }
    if engine_facts.podman:
        podman.adapt(body, engine_facts.needs, rootless=engine_facts.rootless, scratch=companion.MEMORY)
    return body


def name_of(session: str) -> str:
    """What the server's container is called."""
    return f"mcpbox-{session}"


def relay_name_of(session: str) -> str:
    return f"mcpbox-{session}-egress"


def locked_down(engine_facts: Facts) -> dict[str, Any]:
    """What of HostConfig every container of mcpbox's has."""
    profile = engine_facts.needs.seccomp if engine_facts.podman else seccomp.docker_profile()
    host: dict[str, Any] = {
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges", f"seccomp={profile}"],
        "IpcMode": "private",
        "PidMode": "",
        "UTSMode": "",
        "Privileged": False,
        "Init": True,
        "AutoRemove": True,
        "LogConfig": {"Type": "none"},
        "OomScoreAdj": 500,
        "RestartPolicy": {"Name": "no"},
    }
    if engine_facts.cgroup_namespaces:
        host["CgroupnsMode"] = "private"
    # A remapping engine would make the user somebody else, who cannot read what is mounted.
    host["UsernsMode"] = "" if engine_facts.rootless else "host"
    return host


def _require(judged: Mapping[str, str]) -> str:
    """Ends the shell where something else is mounted: an engine looks up a path by its name once more."""
    if not judged:
        return ""
    targets, wanted = shlex.join(judged), shlex.quote("\n".join(judged.values()))
    # By the image's own program, not by one that the server brings along.
    found = f"$(PATH=/usr/bin:/bin stat -Lc %d:%i {targets})"
    return f'[ "{found}" = {wanted} ] || {{ echo "{CHANGED}" >&2; exit 1; }}; '


def _command(spec: SandboxSpec) -> list[str]:
    """The spec's command as the image can run it: what lies under /usr here is the image's own, found by name."""
    program, *rest = spec.command
    if program.startswith(("/usr/", "/bin/", "/sbin/")):
        return [os.path.basename(program), *rest]
    return [program, *rest]
