"""Which session of a host this is: the process that started the servers, as long as it lives.

A process id alone is used again, so the time of its start goes with it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mcpbox import paths

#: Of the files in it.
FORMAT = 2
#: Shells and launchers between the host and this process.
_LAUNCHERS = 8
_SHELLS = frozenset((b"sh", b"bash", b"dash", b"zsh", b"ksh", b"fish", b"ash", b"busybox"))


def directory() -> Path:
    """What the servers of this host share, mode 0700; made if it is not there. Raises OSError or McpboxError."""
    process, started = _host()
    # Hashes differ between interpreters, and files between versions of mcpbox, so two of them share nothing.
    return paths.private_dir(_root() / f"{process}-{started}-{sys.implementation.cache_tag}-{FORMAT}")


def reap() -> None:
    """Remove what hosts that have gone left behind."""
    for found in _root().iterdir():
        process, _, rest = found.name.partition("-")
        started = rest.partition("-")[0]
        if process.isdigit() and _started(int(process)) != started:
            with suppress(OSError):
                for file in found.iterdir():
                    file.unlink()
                found.rmdir()


def _root() -> Path:
    return paths.private_dir(paths.runtime_dir() / "flows")


def _host() -> tuple[int, str]:
    """The process that asked for this server, past shells and launchers (uvx, npx) whose command is ``mcpbox wrap``."""
    process = os.getppid()
    for _ in range(_LAUNCHERS):
        words = _command(process)
        parent = _parent(process)
        if parent <= 0 or not launches(words.split(b"\0")):
            break
        process = parent
    return process, _started(process)


def launches(words: Sequence[bytes]) -> bool:
    """Whether these start ``mcpbox wrap``; a host may be given its servers' commands in an argument, and does not."""
    if b"wrap" in words:
        return any(b"mcpbox" in word for word in words)
    shell = words[0].rpartition(b"/")[2].lstrip(b"-") in _SHELLS
    return shell and any(b"mcpbox" in word and b"wrap" in word for word in words[1:])


if sys.platform == "linux":

    def _stat(process: int) -> list[str]:
        """The fields of proc(5) after the name, of which the first is the state."""
        text = ""
        with suppress(OSError):
            text = Path(f"/proc/{process}/stat").read_text(errors="replace")
        return text.rpartition(")")[2].split()

    def _started(process: int) -> str:
        """In clock ticks since the machine started; "" if there is no such process, or it has ended."""
        fields = _stat(process)
        return fields[19] if len(fields) > 19 and fields[0] not in "ZX" else ""

    def _parent(process: int) -> int:
        fields = _stat(process)
        return int(fields[1]) if len(fields) > 1 else 0

    def _command(process: int) -> bytes:
        with suppress(OSError):
            return Path(f"/proc/{process}/cmdline").read_bytes()
        return b""

else:

    def _started(process: int) -> str:
        """In microseconds since 1970; "" if there is no such process, or it has ended."""
        import psutil

        with suppress(psutil.Error):
            found = psutil.Process(process)
            if found.status() != psutil.STATUS_ZOMBIE:
                return str(int(found.create_time() * 1_000_000))
        return ""

    def _parent(process: int) -> int:
        import psutil

        with suppress(psutil.Error):
            return int(psutil.Process(process).ppid())
        return 0

    def _command(process: int) -> bytes:
        import psutil

        with suppress(psutil.Error):
            return "\0".join(psutil.Process(process).cmdline()).encode()
        return b""
