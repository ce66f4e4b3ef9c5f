"""What Podman does otherwise than Docker behind the same API, as of 4.3, and what it is therefore asked for."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from mcpbox import paths
from mcpbox.sandbox import seccomp

#: Podman's own file would name the host's addresses, and whatever else the host's /etc/hosts names.
HOSTS = "127.0.0.1\tlocalhost\n::1\tlocalhost\n"
#: Without a network of its own Podman leaves the image's file; where there is an egress relay, it answers here.
RESOLVER = "nameserver 127.0.0.1\n"
ROOTLESS = "run the server itself instead of its image, or use Podman as root, a newer Podman, or Docker"


class Needs(Struct, frozen=True):
    """What Podman has to be given: files of the user's own, on the engine's machine, and a limit that it can set.

    ``seccomp`` is the file of the seccomp profile, since Podman takes a profile's name only, ``hosts`` and ``resolver``
    are those for /etc/hosts and /etc/resolv.conf, and ``processes`` is the hard limit of processes per user.
    """

    seccomp: str = ""
    hosts: str = ""
    resolver: str = ""
    processes: int = 0


def needs() -> Needs:
    """What a Podman on this machine needs; the files are written."""
    # Podman lowers its own limit to pid_max, and the user's may be lower still.
    most = int(Path("/proc/sys/kernel/pid_max").read_text())
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    return Needs(
        seccomp=str(paths.private_file("seccomp.json", seccomp.docker_profile())),
        hosts=str(paths.private_file("hosts", HOSTS)),
        resolver=str(paths.private_file("resolv.conf", RESOLVER)),
        processes=most if hard == resource.RLIM_INFINITY else min(hard, most),
    )


def adapt(body: dict[str, Any], needs: Needs, *, rootless: bool, scratch: int) -> None:
    """Change a request to create a container into one that comes to the same on Podman. ``scratch`` is in bytes."""
    # Podman schedules "NONE" like any other command, every 30 s.
    del body["Healthcheck"]
    given = {variable.partition("=")[0] for variable in body.get("Env", ())}
    body["UnsetEnv"] = [name for name in ("TERM", "container") if name not in given]
    host = body["HostConfig"]
    # A tmpfs has no owner here; then everyone inside may write to it, and only the server is inside.
    own = f"mode=1777,size={scratch},nosuid,nodev,exec"
    host["Tmpfs"] = {path: own for path in host.get("Tmpfs", ())}
    # On a read-only root Podman adds these by itself, writable and without a bound.
    host["Tmpfs"].setdefault("/run", f"mode=0755,size={scratch},nosuid,nodev,noexec")
    host["Tmpfs"].setdefault("/var/tmp", "ro,mode=0755,size=4096,nosuid,nodev,noexec")
    for source, target in ((needs.hosts, "/etc/hosts"), (needs.resolver, "/etc/resolv.conf")):
        host["Mounts"].append({"Type": "bind", "Source": source, "Target": target, "ReadOnly": True})
    # Podman would ask for 1048576, which fails where it may not raise its own limit. The kernel counts all processes
    # of the user for this one; the sandbox's own number of them is PidsLimit.
    host["Ulimits"].append({"Name": "nproc", "Soft": needs.processes, "Hard": needs.processes})
    host["UsernsMode"] = "keep-id" if rootless else ""


def dropped(asked: Mapping[str, Any], kept: Mapping[str, Any]) -> list[str]:
    """The limits of the ``HostConfig`` asked for that a created container does not have.

    Rootless on cgroup v1 Podman leaves them all out, without a warning, and says in ``/info`` that it can set them.
    A processor's share comes back rounded down to the quota's microseconds.
    """
    keys = {"Memory": "memory", "MemorySwap": "swap", "PidsLimit": "processes", "NanoCpus": "processors"}
    return [name for key, name in keys.items() if key in asked and not 0 < (kept.get(key) or 0) <= asked[key]]


def bounds_files(kept: Mapping[str, Any], most: int) -> bool:
    """Whether a created container has a limit of open files of at most ``most``; rootless, Podman takes none."""
    limits: dict[str, int] = {limit["Name"]: limit["Hard"] for limit in kept.get("Ulimits") or ()}
    return 0 <= limits.get("RLIMIT_NOFILE", -1) <= most
