"""What this kernel lets a sandbox be made of, and what it tells of one and of its processes."""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import msgspec

from mcpbox.errors import BackendError
from mcpbox.sandbox.base import Finding, Mount

APPARMOR_REMEDY = (
    "let bwrap have user namespaces: write /etc/apparmor.d/bwrap with "
    "'abi <abi/4.0>, include <tunables/global> profile bwrap /usr/bin/bwrap flags=(unconfined) { userns, }' "
    "and run: systemctl reload apparmor"
)


def child_pid(fd: int, timeout: float) -> int | None:
    """The first process of the sandbox, as this PID namespace numbers it, from what bubblewrap writes to ``fd``.

    None if bubblewrap ended without one, or within ``timeout`` seconds said nothing (--json-status-fd).
    """
    deadline, said = time.monotonic() + timeout, b""
    while b"\n" not in said:
        if not readable(fd, max(0.0, deadline - time.monotonic())) or not (data := os.read(fd, 4096)):
            return None
        said += data
    return int(msgspec.json.decode(said.partition(b"\n")[0])["child-pid"])


def readable(fd: int, timeout: float) -> bool:
    """Whether ``fd`` has something to read, or its end, within ``timeout`` seconds."""
    return bool(select.select([fd], [], [], timeout)[0])


def confined(pid: int, timeout: float) -> bool:
    """Whether the process has a seccomp filter within ``timeout`` seconds.

    bubblewrap's first process takes it right after it has asked to die with its parent (``do_init``), which itself
    cannot be seen from outside.
    """
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{pid}/status", "rb") as file:
                if b"\nSeccomp:\t2" in file.read():
                    return True
        except OSError:
            return False
        time.sleep(0.0002)
    return False


def files_in(pid: int, directories: Collection[str]) -> int:
    """How many files the file systems at these directories of a sandbox have, whose first process is ``pid``.

    None before it has a root of its own, and after its end.
    """
    root, count = f"/proc/{pid}/root", 0
    with suppress(OSError):
        if os.stat(root).st_dev == os.stat("/").st_dev:
            return 0
        for directory in directories:
            found = os.statvfs(f"{root}{directory}")
            count += found.f_files - found.f_ffree
    return count


def opened(mount: Mount) -> int:
    """A descriptor (O_PATH) of what is to be mounted. By its name one would follow a link that took its place since.

    Raises BackendError.
    """
    try:
        return open_plain(mount.source)
    except OSError as error:
        raise BackendError(f"{mount.target} cannot be mounted: {error.strerror}") from None


def open_plain(path: str) -> int:
    """A descriptor (O_PATH) of an absolute path without any link in it, now. Raises OSError, ELOOP for a link."""
    fd = os.open("/", os.O_PATH | os.O_CLOEXEC)
    for name in filter(None, path.split("/")):
        above = fd
        try:
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
        finally:
            os.close(above)
        if stat.S_ISLNK(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    return fd


def status(pid: int) -> list[bytes]:
    """What /proc/PID/stat says behind the program's name, from the state on: field n of proc(5) is at n - 3."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split() or [b""]
    except OSError:
        return [b""]


def alive(pid: int) -> bool:
    """Whether ``pid`` still runs; a zombie does not."""
    return status(pid)[0] not in (b"", b"Z", b"X")


def started(pid: int) -> int:
    """When a process was started, in clock ticks since boot; 0 if there is no such process. A pid alone is reused."""
    fields = status(pid)
    return int(fields[19]) if len(fields) > 19 else 0


def identity(mount: Mount) -> str:
    """What ``stat -c %d:%i`` says of what is to be mounted. Raises BackendError."""
    fd = opened(mount)
    try:
        found = os.fstat(fd)
    finally:
        os.close(fd)
    return f"{found.st_dev}:{found.st_ino}"


def user_namespaces() -> Finding:
    """Whether an ordinary user can make a user namespace, tried for real."""
    subject = "user namespaces"
    if _setting("user/max_user_namespaces") == "0":
        remedy = "run: sysctl user.max_user_namespaces=15000"
        return Finding(subject, "missing", "user.max_user_namespaces is 0", remedy)
    if _setting("kernel/unprivileged_userns_clone") == "0":
        remedy = "run: sysctl kernel.unprivileged_userns_clone=1"
        return Finding(subject, "missing", "kernel.unprivileged_userns_clone is 0", remedy)
    restricted = _setting("kernel/apparmor_restrict_unprivileged_userns") == "1"
    import subprocess

    tried = subprocess.run(
        ["unshare", "--user", "--net", "true"],
        capture_output=True,
        text=True,
        check=False,
        **({"user": 65534, "group": 65534, "extra_groups": ()} if os.geteuid() == 0 else {}),  # type: ignore[call-overload]
    )
    if tried.returncode == 0:
        return Finding(subject, "ok", "an ordinary user can make them")
    if restricted:
        return Finding(subject, "missing", "AppArmor keeps them from programs without a profile", APPARMOR_REMEDY)
    return Finding(subject, "missing", tried.stderr.strip() or "unshare failed", "use: --backend docker")


def seccomp() -> Finding:
    """Whether the kernel takes filters and libseccomp can compile ours."""
    from mcpbox.errors import BackendError
    from mcpbox.sandbox import seccomp as filters

    if not Path("/proc/sys/kernel/seccomp/actions_avail").exists():
        remedy = "use a kernel with CONFIG_SECCOMP_FILTER"
        return Finding("seccomp", "missing", "this kernel has no seccomp filters", remedy)
    try:
        size = len(filters.compile_filter()) // 8
    except BackendError as error:
        return Finding("seccomp", "missing", error.message, error.hint)
    return Finding("seccomp", "ok", f"a filter of {size} instructions, {len(filters.PLAIN)} system calls allowed")


def _setting(name: str) -> str:
    try:
        return Path("/proc/sys", name).read_text().strip()
    except OSError:
        return ""
