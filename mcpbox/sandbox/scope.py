"""Limits by systemd: a transient scope of the user's own manager, for an ordinary user on cgroup v2.

systemd makes the cgroup and removes it when it is empty. What it cannot set it leaves out without a word, so what the
kernel enforces is read back before anything of the server runs.
"""

from __future__ import annotations

import os
import select
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct, field

from mcpbox.errors import BackendError

REMEDY = "run: mcpbox doctor"
#: Files that some kernels do not have: where it does not count swap, which doctor says, and before Linux 5.14.
OPTIONAL = ("memory.swap.max", "cpu.max.burst")
EXCEEDED = "the server used more memory than its profile allows"


class Scope(Struct):
    """A ``Quota``: the whole of bubblewrap runs in the unit."""

    prefix: tuple[str, ...]
    environment: Mapping[str, str]
    top: Path
    unit: str
    settings: Mapping[str, str]
    refused: tuple[str, ...] = ()
    notice: str = ""
    _events: list[int] = field(default_factory=list)
    _exceeded: list[bool] = field(default_factory=list)

    def join(self) -> None:
        """systemd-run does."""

    def enter(self, pid: int) -> None:
        try:
            group = self.top / of_process(pid).lstrip("/")
            if group.name != self.unit:
                raise BackendError(f"systemd put the server into {group.name}, not into {self.unit}", REMEDY)
            # Else the kernel would end one process and leave the others.
            (group / "memory.oom.group").write_text("1")
            # systemd has no property for it.
            with suppress(FileNotFoundError):
                (group / "cpu.max.burst").write_text(self.settings["cpu.max.burst"])
            if unlimited := lacking(group, self.settings):
                raise BackendError(f"systemd does not limit the server's {', '.join(unlimited)}", REMEDY)
            self._events.append(os.open(group / "memory.events", os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            raise BackendError(f"cannot limit the server: {error}", REMEDY) from None
        import threading

        # systemd removes the cgroup, and with it the count, as soon as the last process has ended.
        threading.Thread(target=self._watch, name="scope", daemon=True).start()

    def reason(self) -> str:
        self._look()
        return EXCEEDED if self._exceeded else ""

    def remove(self) -> None:
        """systemd does."""

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(self._events[0], select.POLLPRI)
        while self._look():
            poll.poll()

    def _look(self) -> bool:
        """Whether there is more to come."""
        try:
            if self._events and killed(os.pread(self._events[0], 4096, 0).decode()):
                self._exceeded.append(True)
        except OSError:
            return False
        return not self._exceeded


def of_process(pid: int | str) -> str:
    """The cgroup of version 2 that a process is in, from the root of the tree; "" if it has none. Raises OSError."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return line[3:]
    return ""


def lacking(group: Path, settings: Mapping[str, str]) -> list[str]:
    """The files of ``settings`` whose content in a cgroup allows more than asked for, or that are not there."""
    found = []
    for name, asked in settings.items():
        try:
            kept = (group / name).read_text()
        except FileNotFoundError:
            if name not in OPTIONAL:
                found.append(name)
            continue
        if name != "memory.oom.group" and not _amount(kept) <= _amount(asked):
            found.append(name)
    return found


def killed(events: str) -> bool:
    """Whether ``memory.events`` or ``memory.oom_control`` counts a process that was killed for its memory."""
    words = events.split()
    return int(dict(zip(words[::2], words[1::2], strict=False)).get("oom_kill", "0")) > 0


def command(program: str, unit: str, properties: Sequence[str], environment: Mapping[str, str]) -> tuple[str, ...]:
    """What to put before bubblewrap's words; ``unit`` is the scope's name.

    Process 1 of the sandbox is bubblewrap, and its environment can be read there: neither what systemd-run needs nor
    what it adds may come so far.
    """
    options = (word for value in properties for word in ("-p", value))
    forgotten = (word for name in (*environment, "INVOCATION_ID") for word in ("-u", name))
    run = (program, "--user", "--scope", "--quiet", "--collect", f"--unit={unit}", *options, "--")
    return (*run, "/usr/bin/env", *forgotten)


def delegated(top: Path, uid: int) -> frozenset[str]:
    """The controllers that systemd lets a user's own units use; of older releases, processors are not among them."""
    with suppress(OSError):
        manager = top / f"user.slice/user-{uid}.slice/user@{uid}.service"
        return frozenset((manager / "cgroup.controllers").read_text().split())
    return frozenset()


def _amount(text: str) -> float:
    """``max``, a number, or a quota and its period."""
    quota, *period = text.split()
    return float("inf") if quota == "max" else int(quota) / int(period[0] if period else 1)
