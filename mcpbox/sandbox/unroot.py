"""Giving up root before bubblewrap runs, in the child process: only where mcpbox itself was started as root.

The server must not run as root, not even as one without capabilities: owning /proc/sys and every file of the system is
enough to do harm. But the unprivileged user may be unable to reach what is to be mounted (an interpreter below /root),
so that is first bound to places it can reach, in a mount namespace of the child's own that ends with it. That takes
milliseconds, and is left out where any user can reach everything, and what is mounted later stays outside anyway.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

#: Exists everywhere, and nothing that bubblewrap needs lies below it. Covered in the private namespace only.
STAGE = "/mnt"

CLONE_NEWNS = 0x00020000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18


def must_stage(sources: Sequence[str]) -> bool:
    """Whether ``sources``, absolute paths free of symlinks, cannot be left to bubblewrap as they are."""
    try:
        with open("/proc/self/mountinfo", errors="surrogateescape") as file:
            mounts = file.read()
        return not all(is_open(each) and not is_joined(each, mounts) for each in sources)
    except OSError:
        # ``stage`` will say what is wrong.
        return True


def is_open(source: str) -> bool:
    """Whether every user can reach ``source``, and nobody but root can replace any part of it. Raises OSError."""
    entry = os.lstat(source)
    while source != "/":
        source = os.path.dirname(source)
        directory = os.lstat(source)
        mode = directory.st_mode
        # In a sticky directory, such as /tmp, users can replace what is their own.
        fixed = not mode & 0o022 or (mode & stat.S_ISVTX and entry.st_uid == 0)
        if not (mode & 0o011 == 0o011 and directory.st_uid == 0 and fixed):
            return False
        entry = directory
    return True


def is_joined(source: str, mounts: str) -> bool:
    """Whether what is mounted later at or below ``source`` turns up in a sandbox that has it: writable there, though
    the sandbox may only read the rest (mount_namespaces(7)). ``mounts`` is proc_pid_mountinfo(5)."""
    for line in mounts.splitlines():
        _, _, _, _, point, _, *more = line.partition(" - ")[0].split(" ")
        if any(each.startswith(("shared:", "master:")) for each in more):
            # A backslash stands for a blank and the like, of which nobody makes much use there.
            if "\\" in point or _is_within(source, point) or _is_within(point, source):
                return True
    return False


def _is_within(path: str, directory: str) -> bool:
    return f"{path}/".startswith(f"{directory.rstrip('/')}/")


def staged(index: int) -> str:
    """Where ``stage`` puts the mount of this index."""
    return f"{STAGE}/{index}"


def stage(sources: Sequence[str]) -> None:
    """Bind each source below ``STAGE``, in a new mount namespace of the calling process. Raises OSError."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)

    def check(result: int, what: str) -> None:
        if result:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), what)

    check(libc.unshare(CLONE_NEWNS), "unshare")
    check(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None), "/")
    # Opened before the stage covers anything, and without following a link that appeared since the path was judged.
    opened = [os.open(source, os.O_PATH | os.O_NOFOLLOW) for source in sources]
    check(libc.mount(b"tmpfs", STAGE.encode(), b"tmpfs", MS_NOSUID | MS_NODEV, b"mode=0755,size=1m"), STAGE)
    for index, fd in enumerate(opened):
        target = staged(index)
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            os.mkdir(target)
        else:
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
        check(libc.mount(f"/proc/self/fd/{fd}".encode(), target.encode(), None, MS_BIND | MS_REC, None), target)
        os.close(fd)


def become(uid: int, gid: int) -> None:
    """Be an ordinary user for good."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
