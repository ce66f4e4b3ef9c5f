"""Giving up root before bubblewrap runs, in the child process: only where mcpbox itself was started as root.

The server must not run as root, not even as one without capabilities: owning /proc/sys and every file of the system is
enough to do harm. But the unprivileged user may be unable to reach what is to be mounted (an interpreter below /root),
so that is first bound to places it can reach, in a mount namespace of the child's own that ends with it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from mcpbox.sandbox import kernel

#: Exists everywhere, and nothing that bubblewrap needs lies below it. Covered in the private namespace only.
STAGE = "/mnt"

CLONE_NEWNS = 0x00020000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18


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
    opened = [kernel.open_plain(source) for source in sources]
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
