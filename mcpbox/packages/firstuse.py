"""The first sight of a package by ``wrap``: it is prepared here for a terminal, and in the background for a host.

A host waits only so long for its first answer. What is not ready by then goes on in a process of its own, and the next
start finds it.
"""

from __future__ import annotations

import fcntl
import os
import select
import subprocess
import sys
import termios
import time
from pathlib import Path

from mcpbox import paths
from mcpbox.errors import PackageError, Unprepared
from mcpbox.packages import lock, spec, store
from mcpbox.packages.model import Request
from mcpbox.shown import plain

#: How often it is looked whether another process is done.
INTERVAL_MS = 100
MAX_LOG = 1 << 16
MARK = "mcpbox: "


def ensure(missing: Unprepared, deadline: float) -> None:
    """Return when the package is installed; ``deadline`` is on the monotonic clock. Raises PackageError if it is not.

    With a terminal as standard input the person there is shown the progress and asked, and there is no deadline.
    """
    if os.isatty(0):
        _here(missing)
    else:
        _beside(missing, deadline)


def _here(missing: Unprepared) -> None:
    from mcpbox.packages import prepare, terminal

    with terminal.Line() as line:
        entry = prepare.prepare(
            missing.request, missing.backend, approve=terminal.approve, progress=line.show, approved="user"
        )
    if notice := prepare.notice(entry):
        sys.stderr.write(f"[mcpbox] {plain(notice)}\n")


def _beside(missing: Unprepared, deadline: float) -> None:
    request, key = missing.request, missing.request.key
    log = _log(request)
    before = _failure(log) if _is_newer(log, lock.file()) else None
    child: subprocess.Popen[bytes] | None = None
    host = select.poll()
    # Only the end of the host's stream: what it has sent is for the server.
    host.register(0, 0)
    while True:
        if child is None and not lock.is_held(key):
            if _ready(missing):
                return
            child = _start(missing, log)
        if child is not None and (code := child.poll()) is not None:
            if code == 0 and _ready(missing):
                return
            message, hint = _failure(log) or (f"preparing {key} ended with exit code {code}", f"see {log}")
            raise PackageError(message, hint)
        if time.monotonic() > deadline:
            failed = f"; the last try failed: {before[0]}" if before else ""
            raise PackageError(f"{key} is being prepared and will be ready on the next start{failed}", f"see {log}")
        if any(mask & select.POLLHUP for _, mask in host.poll(INTERVAL_MS)):
            if _sent_something():
                # It asked and closed its end, and may yet read the answer.
                time.sleep(INTERVAL_MS / 1000)
                continue
            raise PackageError(f"the host left while {key} was being prepared", f"see {log}")


def _sent_something() -> bool:
    return bool(int.from_bytes(fcntl.ioctl(0, termios.FIONREAD, bytes(4)), sys.byteorder))


def _ready(missing: Unprepared) -> bool:
    entry = lock.load().get(missing.request.key)
    tree = entry.trees.get(lock.variant(missing.backend)) if entry else None
    return tree is not None and store.path(tree.tree).is_dir()


def _start(missing: Unprepared, log: Path) -> subprocess.Popen[bytes]:
    """A process that goes on when this one and the host are gone."""
    # -P: the current directory is the host's choice, and no place to import from.
    words = [sys.executable, "-P", "-m", "mcpbox", "package", "add", "--backend", missing.backend, "--"]
    if log.exists() and log.stat().st_size > MAX_LOG:
        log.unlink()
    with log.open("ab") as opened:
        opened.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {missing.request.key}\n".encode())
        opened.flush()
        return subprocess.Popen(
            [*words, *spec.words(missing.request)],
            stdin=subprocess.DEVNULL,
            stdout=opened,
            stderr=opened,
            cwd=os.getcwd() if os.path.isdir(".") else "/",
            start_new_session=True,
        )


def _log(request: Request) -> Path:
    directory = paths.private_dir(paths.private_dir(paths.state_dir()) / "log")
    name = "".join(letter if letter.isalnum() else "-" for letter in spec.identity(request))
    return directory / f"package-{name}.log"


def _is_newer(file: Path, than: Path) -> bool:
    try:
        return file.stat().st_mtime_ns > than.stat().st_mtime_ns
    except FileNotFoundError:
        return not than.exists()


def _failure(log: Path) -> tuple[str, str] | None:
    """Message and hint with which the last process ended, as the command line prints them; None if it did not fail."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return None
    for at in (-1, -2):
        if len(lines) >= -at and lines[at].startswith(MARK):
            return lines[at].removeprefix(MARK), "".join(lines[at + 1 :] if at == -2 else ()).strip()
    return None
