"""Nothing gets out: every attempt of the probe, first outside as the positive control, then inside each sandbox."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import IMAGE, ORDINARY, USERS, docker_groups, must_work

from mcpbox import probe, walls
from mcpbox.sandbox import engine

CASES = [(backend, user) for backend in ("docker", "bubblewrap") for user in USERS]

#: What stops an attempt inside, as a pattern for its detail: blocked by anything else is not blocked by the wall. Of a
#: category where nothing is said of the attempt itself.
REASONS = {
    "files": "ENOENT|EROFS",
    "host": "ENOENT",
    "network": "EPERM",
    "kernel": "EPERM",
    "devices": "ENOENT",
    "quotas": "No space left on device after 6[0-4] MiB",
    "shadow": "ENOENT|EACCES",
    "root-home": "ENOENT|EACCES|empty",
    "hardlink-read-only": "EXDEV",
    "setuid": "ran as the same user|no set-user-id program",
    "plant-setuid": "EPERM|EINVAL",
    "environment": "is not set",
    "first-environment": "nothing of the host's",
    "processes": "all the sandbox's own",
    "signal": "ESRCH",
    "privileges": "no capability, no_new_privs, seccomp filter",
    "interfaces": "no interface but lo",
    "tcp4": "ECONNREFUSED",
    "tcp6": "ECONNREFUSED|EADDRNOTAVAIL",
    "udp": "timed out|ECONNREFUSED",
    "dns": "timed out|ECONNREFUSED",
    "icmp": "EACCES|ENETUNREACH",
    "metadata": "ENETUNREACH",
    "gateway": "ENETUNREACH",
    "abstract-socket": "ECONNREFUSED",
    "docker-socket": "ENOENT",
    "dbus": "ENOENT",
    "clone3": "ENOSYS",
    "int80": "SIGSYS|SIGSEGV",
    "x32": "SIGSYS",
    "dev-disk": "no disk in /dev",
    "mknod": "EPERM",
    "sys-write": "ENOENT|EROFS",
    "proc-sys-write": "EACCES|EROFS",
    "core-pattern": "EACCES|EROFS",
    "sysrq": "ENOENT|EACCES|EROFS",
    "kcore": "ENOENT|EACCES|EPERM|is empty",
    "fork-bomb": r"Resource temporarily unavailable after (\d\d|1[0-2]\d) processes",
    "memory-bomb": "SIGKILL|memory",
    # Where nothing but a watchdog limits memory, the filter refuses what it cannot see.
    "memfd-bomb": "SIGKILL|memory|EPERM",
    "segment-bomb": "SIGKILL|memory|EPERM",
    "disk-bomb-var-tmp": "Read-only file system after 0 MiB",
    "disk-bomb-dev": "Read-only file system after 0 MiB|Permission denied after 0 MiB",
    "file-bomb": "Too many open files after 40",
    "cpu-burn": "held to",
}
#: Of the controls that depend on the machine, those that have to get through if a setting below /proc/sys has a value.
SETTINGS = {
    "bpf": ("kernel/unprivileged_bpf_disabled", ("0",)),
    "io-uring": ("kernel/io_uring_disabled", ("0",)),
    "kernel-log": ("kernel/dmesg_restrict", ("0",)),
    "perf": ("kernel/perf_event_paranoid", ("-1", "0", "1", "2")),
    "tioclinux": ("dev/tty/legacy_tiocsti", ("0", "1")),
    "tiocsti": ("dev/tty/legacy_tiocsti", ("1",)),
    "tiocsti-high": ("dev/tty/legacy_tiocsti", ("1",)),
}


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(case))
def attacked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[walls.Walls]:
    """One sandbox with the probe in it, for all attempts of a case."""
    backend, user = request.param
    endpoint = engine.find()
    if backend == "docker" and (endpoint is None or not engine.answers(endpoint)):
        must_work("no container engine answers")
    uid = ORDINARY if user == "ordinary" and os.geteuid() == 0 else None
    images = "".join(f'{kind} = "{IMAGE}"\n' for kind in ("node", "python", "other"))
    config = f"[docker.images]\n{images}"
    with walls.Walls(backend, wrapped_as=uid, groups=docker_groups(), config=config) as found:
        yield found


def must_get_through(name: str) -> bool:
    """Whether the control of an attempt has to be allowed on this machine."""
    if name in probe.NO_CONTROL:
        return False
    if name not in probe.DEPENDS:
        return True
    setting, values = SETTINGS.get(name, ("", ()))
    path = Path("/proc/sys") / setting
    return path.is_file() and path.read_text().strip() in values


@pytest.mark.parametrize("name", probe.ATTEMPTS)
def test_blocked(attacked: walls.Walls, name: str) -> None:
    if must_get_through(name):
        outside = attacked.outside(name)
        assert outside["outcome"] == "allowed", f"the positive control failed: {outside}"
    inside = attacked.inside(name)
    assert inside["outcome"] == "blocked", inside
    reason = REASONS.get(name, REASONS[probe.ATTEMPTS[name][0]])
    assert re.search(reason, inside["detail"]), f"blocked, but not by this wall: {inside}"


def test_the_probe_notices_what_is_open(attacked: walls.Walls) -> None:
    """What the profile does give gets through, so "blocked" is not all that the probe can say."""
    shared = Path(attacked.arguments["READ_ONLY"])
    assert attacked.inside("ssh-key", SSH_KEY=str(shared))["outcome"] == "allowed"
    assert attacked.inside("write-read-only", READ_ONLY=attacked.arguments["WRITABLE"] + "/new")["outcome"] == "allowed"
    assert attacked.inside("proc-root", SSH_KEY=str(shared))["outcome"] == "allowed"
    assert attacked.inside("signal", PID=1)["outcome"] == "allowed"
    assert attacked.inside("environment", VARIABLE="PATH")["outcome"] == "allowed"
    assert attacked.inside("fork-bomb", FORKS=20)["outcome"] == "allowed"
    assert attacked.inside("memory-bomb", MEMORY=64 << 20)["outcome"] == "allowed"
    assert attacked.inside("disk-bomb-tmp", DISK=16 << 20)["outcome"] == "allowed"


def test_the_tables_speak_of_attempts_that_there_are() -> None:
    categories = {row[0] for row in probe.ATTEMPTS.values()}
    assert set(REASONS) - categories - {"int80", "x32"} <= set(probe.ATTEMPTS)
    assert categories <= set(REASONS)
    assert set(SETTINGS) <= set(probe.DEPENDS)
