"""Which limits a machine offers, and whether systemd's are what was asked for; the limits at work are in test_walls."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest
from conftest import PYTHON, Runner, make_runner, must_work

from mcpbox.sandbox import kernel, quota, scope
from mcpbox.sandbox.quota import Machine

ALL = frozenset({"cpu", "memory", "pids", "io"})
NONE: frozenset[str] = frozenset()
TREE = Path("/sys/fs/cgroup")
SETTINGS = quota.cgroup2_settings(1 << 29, 0.5, 128)[""]


@pytest.mark.parametrize(
    ("machine", "kind", "remedy"),
    [
        (Machine(ALL, None, NONE), "systemd", None),
        # Where both are to be had, systemd is the one who looks after the tree.
        (Machine(ALL, TREE, NONE), "systemd", None),
        (Machine(NONE, TREE, NONE), "cgroup2", None),
        (Machine(NONE, None, ALL), "cgroup1", None),
        # Older releases of systemd delegate no processors, and leaves out what it cannot set.
        (Machine(frozenset({"memory", "pids"}), None, NONE), "watchdog", "Delegate=cpu memory pids"),
        (Machine(NONE, None, frozenset({"memory", "pids"})), "watchdog", "loginctl enable-linger"),
        (Machine(NONE, None, NONE), "watchdog", "loginctl enable-linger"),
    ],
)
def test_the_mechanism_is_the_first_that_enforces_everything(machine: Machine, kind: str, remedy: str | None) -> None:
    assert quota.choose(machine) == kind
    if remedy:
        assert remedy in quota.remedy(machine)


def group(path: Path, controllers: str, processes: str = "", *, kind: str = "domain\n") -> Path:
    """The files of a cgroup that decide whether others can be made below it."""
    path.mkdir(parents=True)
    for name, text in {"cgroup.controllers": controllers, "cgroup.procs": processes, "cgroup.type": kind}.items():
        if text or name != "cgroup.type":
            (path / name).write_text(text)
    (path / "cgroup.subtree_control").write_text("")
    return path


def test_groups_are_made_at_the_root_or_where_nothing_runs(tmp_path: Path) -> None:
    everything = "cpuset cpu io memory pids"
    top = group(tmp_path / "top", everything, "1\n2\n", kind="")
    held = group(top / "service", everything, "3\n")
    group(held / "own", everything, "4\n")
    free = group(top / "delegated", everything)
    group(free / "main", everything, "5\n")
    group(top / "poor", "memory pids")
    group(top / "poor/own", "memory pids", "6\n")
    assert quota.base(top, "/service/own", root=True) == top
    assert quota.base(top, "/delegated/main", root=False) == free
    # Of a container the root is a cgroup like any other, and holds its processes.
    (top / "cgroup.type").write_text("domain\n")
    assert quota.base(top, "/service/own", root=False) is None
    assert quota.base(top, "/poor/own", root=True) is None
    assert quota.base(top, "/", root=True) is None
    assert quota.base(top, "", root=False) is None
    assert quota.base(top, "/../elsewhere", root=True) is None


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({}, []),
        # The kernel rounds down to pages, systemd to hundredths.
        ({"memory.max": "536866816\n", "cpu.max": "49000 100000\n"}, []),
        ({"cpu.max": "5000 10000\n"}, []),
        ({"cpu.max": "max 100000\n"}, ["cpu.max"]),
        ({"cpu.max": "50000 10000\n"}, ["cpu.max"]),
        ({"memory.max": "max\n", "pids.max": "max\n"}, ["memory.max", "pids.max"]),
        ({"pids.max": "129\n"}, ["pids.max"]),
        ({"memory.swap.max": "max\n"}, ["memory.swap.max"]),
        ({"memory.swap.max": None}, []),
        ({"cpu.max.burst": None}, []),
        ({"cpu.max.burst": "50001\n"}, ["cpu.max.burst"]),
        ({"cpu.max": None}, ["cpu.max"]),
    ],
)
def test_what_is_enforced_is_read_back(tmp_path: Path, changed: dict[str, str | None], found: list[str]) -> None:
    for name, text in {**SETTINGS, **changed}.items():
        if text is not None:
            (tmp_path / name).write_text(text)
    assert scope.lacking(tmp_path, SETTINGS) == found


@pytest.mark.parametrize(
    ("events", "killed"),
    [
        ("low 0\nhigh 0\nmax 31\noom 0\noom_kill 0\noom_group_kill 0\n", False),
        ("low 0\nhigh 0\nmax 31\noom 1\noom_kill 3\noom_group_kill 1\n", True),
        ("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n", True),
        ("", False),
    ],
)
def test_the_count_of_killed_processes(events: str, killed: bool) -> None:
    assert scope.killed(events) is killed


@pytest.mark.parametrize(
    ("cpus", "share"), [(1.0, "100%"), (0.5, "50%"), (0.019, "1%"), (0.001, "1%"), (0.29, "28%"), (64, "6400%")]
)
def test_a_share_of_the_processors_is_never_none_and_never_more(cpus: float, share: str) -> None:
    assert f"CPUQuota={share}" in quota.scope_properties(1 << 29, cpus, 128)


def test_nothing_that_systemd_run_needs_or_adds_reaches_bubblewrap() -> None:
    bus = {"XDG_RUNTIME_DIR": "/run/user/1", "DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/user/1/bus"}
    words = scope.command("/usr/bin/systemd-run", "mcpbox-x.scope", (), bus)
    end = words.index("/usr/bin/env")
    seen = subprocess.run(
        [*words[end:], "/usr/bin/env"],
        env={**bus, "INVOCATION_ID": "1", "LANG": "C"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert seen.stdout == "LANG=C\n"


@pytest.fixture
def limited(home: Path) -> Runner:
    if quota.choose(quota.inspect()) == "watchdog":
        must_work("no cgroup can be used here")
    return make_runner("bubblewrap", "root" if os.geteuid() == 0 else "ordinary", home)


def test_too_much_memory_is_said_to_be_the_reason(limited: Runner) -> None:
    code = "held = []\nwhile True: held.append(bytearray(1 << 22))"
    with limited.wrap(PYTHON, "-c", code, profile='[sandbox]\nmemory = "64MiB"\n') as host:
        assert "more memory than its profile allows" in host.initialize()["error"]["message"]
        assert host.process.wait(10) == 137


def test_the_first_process_knows_no_variable(limited: Runner) -> None:
    code = "import sys; sys.stderr.write('known: ' + open('/proc/1/environ').read())"
    with limited.wrap(PYTHON, "-c", code, profile='[environment]\nXDG_RUNTIME_DIR = "/tmp"\n') as host:
        host.stdin.close()
        assert host.stderr.read().decode().splitlines()[-1] == "known: "


#: Fills what connections to itself take without anybody reading, and says how many MiB that were.
UNREAD = """
import socket, sys
listener, held, sent = socket.create_server(("127.0.0.1", 0)), [], 0
for _ in range(100):
    one = socket.create_connection(listener.getsockname())
    held += [one, listener.accept()[0]]
    one.setblocking(False)
    try:
        while True: sent += one.send(bytes(65536))
    except BlockingIOError: pass
sys.stderr.write(f"unread: {sent >> 20}")
"""


def test_what_waits_in_connections_is_bounded_too(limited: Runner) -> None:
    with limited.wrap(PYTHON, "-c", UNREAD, profile='[sandbox]\nmemory = "64MiB"\n') as host:
        assert host.process.wait(30) >= 0
        said = host.stderr.read().decode()
    # On cgroup v2 it counts with the rest, which may be the end of the server.
    assert "more memory than its profile allows" in said or int(said.rpartition("unread: ")[2]) < 128


@pytest.mark.parametrize("call", ["semget(0, 32000, 0o600)", "msgget(0, 0o600)"])
def test_the_watchdog_lets_nobody_hold_memory_of_the_kernels(home: Path, call: str) -> None:
    code = f"import ctypes, sys; ctypes.CDLL(None, use_errno=True).{call}; sys.stderr.write(str(ctypes.get_errno()))"
    with make_runner("bubblewrap", "ordinary", home).wrap(PYTHON, "-c", code) as host:
        host.stdin.close()
        said = host.stderr.read().decode()
    if "watched from outside" not in said:
        pytest.skip("this user has cgroups")
    assert said.splitlines()[-1] == str(errno.EPERM)


def test_the_watchdog_counts_empty_files(home: Path) -> None:
    code = "n = 0\nwhile n < 90_000: open(f'/tmp/{n}', 'x').close(); n += 1\ninput(); input()"
    runner = make_runner("bubblewrap", "ordinary", home)
    with runner.wrap(PYTHON, "-c", code, profile='[sandbox]\nmemory = "64MiB"\n') as host:
        message = host.initialize()["error"]["message"]
    if "more memory than its profile allows" in message:
        pytest.skip("this user has cgroups")
    assert "MiB of memory, its profile allows 64" in message


def test_the_host_s_own_files_never_count() -> None:
    # As it is for a moment at the start, which would be the end of the sandbox.
    assert os.statvfs("/").f_files and kernel.files_in(os.getpid(), ("/",)) == 0
