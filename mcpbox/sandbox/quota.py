"""Memory, processor and process limits for a sandbox that no engine limits: cgroups, or else a watchdog.

``choose`` tells which mechanism a machine offers, ``acquire`` takes it. A sandboxed process enters its limits while
bubblewrap still holds it back, so nothing of the server ever runs without them.
"""

from __future__ import annotations

import math
import os
import resource
import signal
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from msgspec import Struct, field

from mcpbox.errors import BackendError
from mcpbox.sandbox import kernel, scope
from mcpbox.sandbox.base import Remember, Usage

CGROUP_ROOT = Path("/sys/fs/cgroup")
#: Every cgroup that mcpbox makes lies in a directory of this name, and nothing else does.
GROUP = "mcpbox"
CONTROLLERS = ("memory", "pids", "cpu")
OPEN_FILES = 4096
#: A processor's share is per period, and what was left of one period's may be used in the next (``burst``, Linux 5.14
#: and later). Without that a server with threads stands still while it starts: Node answers 20 ms later. On average the
#: share is the same.
PERIOD_US = 100_000
#: Bytes of the kernel's that each file of a memory file system takes, be it empty.
FILE = 1024
#: Files that some kernels do not have.
OPTIONAL = (*scope.OPTIONAL, "memory.memsw.limit_in_bytes", "memory.kmem.tcp.limit_in_bytes", "cpu.cfs_burst_us")


class Quota(Protocol):
    """The limits of one sandbox."""

    #: what to put before the bubblewrap command
    prefix: tuple[str, ...]
    #: what that prefix needs in its environment, and the server must not see
    environment: Mapping[str, str]
    #: system calls to refuse on top: ways to memory that the mechanism does not see
    refused: tuple[str, ...]
    #: what the mechanism cannot do; empty where it enforces everything
    notice: str

    def join(self) -> None:
        """Put the calling process under the limits; called in the child that becomes bubblewrap. Raises OSError."""
        ...

    def enter(self, pid: int) -> None:
        """Limit the sandbox's first process, before anything of the server runs. Raises BackendError."""
        ...

    def reason(self) -> str:
        """Why the quota ended the sandbox, or "" if it did not."""
        ...

    def remove(self) -> None:
        """Free what belongs to the quota, after the sandbox has ended. Idempotent."""
        ...


class Machine(Struct, frozen=True):
    """The facts that decide which mechanism is used."""

    #: the controllers that the user's own systemd has to give; none where it cannot be asked
    systemd: frozenset[str]
    #: the directory of cgroup v2 below which this user may make cgroups with all the limits
    v2_base: Path | None
    v1_writable: frozenset[str]


def inspect() -> Machine:
    """This machine's facts; a few file look-ups."""
    uid = os.geteuid()
    if not (CGROUP_ROOT / "cgroup.controllers").is_file():
        return Machine(frozenset(), None, frozenset(c for c in CONTROLLERS if os.access(CGROUP_ROOT / c, os.W_OK)))
    asked = uid != 0 and systemd_run() and Path(f"/run/user/{uid}/systemd/private").exists()
    controllers = scope.delegated(CGROUP_ROOT, uid) if asked else frozenset()
    return Machine(controllers, base(CGROUP_ROOT, scope.of_process("self"), root=uid == 0), frozenset())


def systemd_run() -> str:
    """The program's path, "" if there is none. The system's first: it is started outside of any sandbox."""
    for directory in ("/usr/bin", *os.environ.get("PATH", "").split(":")):
        path = os.path.join(directory, "systemd-run")
        if os.path.isabs(path) and os.access(path, os.X_OK):
            return path
    return ""


def base(top: Path, own: str, *, root: bool) -> Path | None:
    """Where below the tree ``top`` of cgroup v2 a process in its cgroup ``own`` may make cgroups with all the limits.

    The tree's root for root; for others what was delegated to them. A cgroup that holds processes has no limited ones
    below it, and a process moves only between cgroups below one that is the user's.
    """
    above = [top / path.relative_to("/") for path in PurePosixPath("/", own).parents]
    for group in (top, *above) if root else above:
        files = [group / name for name in ("cgroup.procs", "cgroup.subtree_control")]
        if not all(os.access(path, os.W_OK) for path in (group, *files)):
            continue
        if not set(CONTROLLERS).issubset((group / "cgroup.controllers").read_text().split()):
            continue
        # Only the root of the whole tree has no type, and may hold processes all the same.
        if not (group / "cgroup.type").exists() or not files[0].read_text():
            return group
    return None


def choose(machine: Machine) -> str:
    """``systemd``, ``cgroup2``, ``cgroup1`` or ``watchdog``: the first that enforces all three limits.

    Where systemd looks after a user's cgroups only it may make more of them; root makes them without asking.
    """
    if machine.systemd.issuperset(CONTROLLERS):
        return "systemd"
    if machine.v2_base:
        return "cgroup2"
    if machine.v1_writable.issuperset(CONTROLLERS):
        return "cgroup1"
    return "watchdog"


def remedy(machine: Machine) -> str:
    """What gives the machine cgroups that it does not have."""
    if machine.systemd:
        unit = "/etc/systemd/system/user@.service.d/delegate.conf"
        return (
            f"write '[Service]' and 'Delegate=cpu memory pids' to {unit} and run: systemctl daemon-reload; log in anew"
        )
    return (
        "on a machine with systemd and cgroup v2 a login session has them, and any other of the user's after: "
        f"loginctl enable-linger {os.geteuid()}; or use Docker"
    )


def acquire(session: str, *, memory: int, cpus: float, pids: int, rooms: Collection[str], remember: Remember) -> Quota:
    """The limits for one session: ``memory`` in bytes, ``cpus`` in processors. Raises BackendError.

    ``rooms`` are the directories of the sandbox's that are in memory.
    """
    machine = inspect()
    kind = choose(machine)
    if kind == "systemd":
        runtime = f"/run/user/{os.geteuid()}"
        # Where systemd-run finds its manager; hosts strip both.
        bus = {"XDG_RUNTIME_DIR": runtime, "DBUS_SESSION_BUS_ADDRESS": f"unix:path={runtime}/bus"}
        unit = f"{GROUP}-{session}.scope"
        words = scope.command(systemd_run(), unit, scope_properties(memory, cpus, pids), bus)
        return scope.Scope(words, bus, CGROUP_ROOT, unit, cgroup2_settings(memory, cpus, pids)[""])
    if kind == "watchdog":
        return Watchdog(memory, cpus, pids, rooms)
    settings = cgroup2_settings(memory, cpus, pids) if kind == "cgroup2" else cgroup1_settings(memory, cpus, pids)
    tree = machine.v2_base or CGROUP_ROOT
    groups = {str(tree / top / GROUP / session): values for top, values in settings.items()}
    remember({"cgroups": list(groups)})
    group = Cgroup(groups)
    try:
        group.create()
    except OSError as error:
        group.remove()
        raise BackendError(f"cannot limit the server: {error}", "run: mcpbox doctor") from None
    return group


def cgroup2_settings(memory: int, cpus: float, pids: int) -> dict[str, dict[str, str]]:
    """File names and contents, below the one tree of cgroup v2."""
    return {
        "": {
            "memory.max": str(memory),
            "memory.swap.max": "0",
            "memory.oom.group": "1",
            "pids.max": str(pids),
            "cpu.max": f"{_cpu_quota(cpus)} {PERIOD_US}",
            "cpu.max.burst": str(_cpu_quota(cpus)),
        }
    }


def cgroup1_settings(memory: int, cpus: float, pids: int) -> dict[str, dict[str, str]]:
    """File names and contents, by the hierarchy of cgroup v1 that they belong to."""
    share = str(_cpu_quota(cpus))
    # What waits in TCP's buffers counts by itself here, and on v2 with the rest.
    bounded = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.kmem.tcp.limit_in_bytes")
    return {
        "memory": dict.fromkeys(bounded, str(memory)),
        "pids": {"pids.max": str(pids)},
        "cpu": {"cpu.cfs_period_us": str(PERIOD_US), "cpu.cfs_quota_us": share, "cpu.cfs_burst_us": share},
    }


def scope_properties(memory: int, cpus: float, pids: int) -> tuple[str, ...]:
    """What to ask systemd for. A processor's share is in whole hundredths."""
    share = max(1, math.floor(cpus * 100))
    return f"MemoryMax={memory}", "MemorySwapMax=0", f"TasksMax={pids}", f"CPUQuota={share}%"


def limit_files() -> None:
    """Bound what no cgroup bounds, for this process: open files, core dumps (which would put secrets on the disk)."""
    allowed = min(OPEN_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, allowed))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class Cgroup(Struct):
    """Directories that mcpbox makes itself, in cgroup v1 or v2."""

    groups: Mapping[str, Mapping[str, str]]
    prefix: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    refused: tuple[str, ...] = ()
    notice: str = ""

    def create(self) -> None:
        for path, settings in self.groups.items():
            group = Path(path)
            if (CGROUP_ROOT / "cgroup.controllers").is_file():
                for parent in (group.parent.parent, group.parent):
                    parent.mkdir(exist_ok=True)
                    (parent / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in CONTROLLERS))
            group.mkdir(parents=True)
            for name, value in settings.items():
                if name not in OPTIONAL or (group / name).exists():
                    (group / name).write_text(value)

    def join(self) -> None:
        for path in self.groups:
            # A thread that moves itself waits for nobody; moving a process makes the kernel wait for all processors,
            # which takes milliseconds. Only v1 has this file.
            tasks = Path(path, "tasks")
            (tasks if tasks.exists() else Path(path, "cgroup.procs")).write_text("0")

    def enter(self, pid: int) -> None:
        """It joined before it was started."""

    def reason(self) -> str:
        for path in self.groups:
            for name in ("memory.oom_control", "memory.events"):
                with suppress(OSError):
                    if scope.killed((Path(path) / name).read_text()):
                        return scope.EXCEEDED
        return ""

    def remove(self) -> None:
        reap({"cgroups": list(self.groups)})


class Watchdog(Struct):
    """No cgroup to be had: resource limits, and a thread that looks at the sandbox's processes and ends them all."""

    memory: int
    cpus: float
    pids: int
    rooms: Collection[str] = ()
    prefix: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    refused: tuple[str, ...] = ("memfd_create", "shmget", "semget", "msgget")
    notice: str = "no cgroup can be used here: memory and processor time are watched from outside instead"
    _why: list[str] = field(default_factory=list)
    _stopped: list[bool] = field(default_factory=list)

    def join(self) -> None:
        """Outside its user namespace the limit would count the user's other processes."""

    def enter(self, pid: int) -> None:
        # Inside its user namespace the sandbox's processes are counted on their own (Linux 5.14 and later).
        try:
            resource.prlimit(pid, resource.RLIMIT_NPROC, (self.pids, self.pids))
        except OSError as error:
            raise BackendError(f"cannot limit the server's processes: {error}", "run: mcpbox doctor") from None
        import threading

        threading.Thread(target=self._watch, args=(pid,), name="watchdog", daemon=True).start()

    def reason(self) -> str:
        return self._why[0] if self._why else ""

    def remove(self) -> None:
        self._stopped.append(True)

    def _watch(self, init: int) -> None:
        allowance = 0.0
        spent: dict[int, float] = {}
        before = time.monotonic()
        while not self._stopped:
            memory, delta, tree = kernel.files_in(init, self.rooms) * FILE, 0.0, _tree(init)
            kept = memory
            if not tree:
                return
            for pid in tree:
                resident, seconds = _used(pid)
                memory += resident
                delta += max(0.0, seconds - spent.get(pid, 0.0))
                spent[pid] = seconds
            if memory > self.memory and (excess := _private_memory(tree) + kept) > self.memory:
                allowed = f"its profile allows {self.memory >> 20}"
                self._why.append(f"the server used {excess >> 20} MiB of memory, {allowed}")
                with suppress(ProcessLookupError):
                    os.kill(init, signal.SIGKILL)
                return
            now = time.monotonic()
            # A bucket of one second: what was not used may be, what was used too much is waited for.
            allowance = min(allowance + (now - before) * self.cpus, self.cpus) - delta
            before = now
            if allowance < 0:
                self._pause(tree, min(-allowance / self.cpus, 1.0))
            time.sleep(watch_interval(memory, self.memory))

    @staticmethod
    def _pause(tree: list[int], seconds: float) -> None:
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for pid in tree:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            if number == signal.SIGSTOP:
                time.sleep(seconds)


def watch_interval(used: int, allowed: int) -> float:
    """Seconds until the next look: seldom while there is much room, since each look costs, often near the limit."""
    return 0.02 if used * 2 > allowed else 0.25


def reap(record: Mapping[str, Any]) -> None:
    """Remove the cgroups a record names, and whatever is still in them; only directories of mcpbox's own making."""
    for name in record.get("cgroups", ()):
        group = Path(str(name))
        if ".." in group.parts or CGROUP_ROOT not in group.parents or group.parent.name != GROUP:
            continue
        deadline = time.monotonic() + 2
        while group.is_dir() and time.monotonic() < deadline:
            with suppress(OSError):
                for pid in (group / "cgroup.procs").read_text().split():
                    os.kill(int(pid), signal.SIGKILL)
            try:
                group.rmdir()
            except OSError:
                time.sleep(0.01)


def usage(init: int) -> Usage:
    """What the sandbox whose first process is ``init`` uses now."""
    tree = _tree(init)
    used = [_used(pid) for pid in tree]
    return Usage(sum(memory for memory, _ in used), sum(seconds for _, seconds in used), len(tree))


def _used(pid: int) -> tuple[int, float]:
    """Resident bytes and seconds of processor time; of a process that has ended, none.

    Not by psutil, whose import holds up a start by 13 ms where the watchdog is needed.
    """
    fields = kernel.status(pid)
    if len(fields) < 22:
        return 0, 0.0
    seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return int(fields[21]) * os.sysconf("SC_PAGE_SIZE"), seconds


def _tree(init: int) -> list[int]:
    """The processes below ``init``, itself included. Orphans of a PID namespace stay below its first process."""
    found, todo = [], [init]
    while todo:
        pid = todo.pop()
        try:
            tasks = os.listdir(f"/proc/{pid}/task")
        except OSError:
            continue
        found.append(pid)
        for task in tasks:
            with suppress(OSError), open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as children:
                todo += map(int, children.read().split())
    return found


def _private_memory(tree: list[int]) -> int:
    """Proportional memory in bytes: pages that the processes share count once. Dearer than the resident size."""
    total = 0
    for pid in tree:
        with suppress(OSError, ValueError), open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
            total += sum(int(line.split()[1]) << 10 for line in rollup if line.startswith("Pss:"))
    return total


def _cpu_quota(cpus: float) -> int:
    return max(1000, round(cpus * PERIOD_US))
