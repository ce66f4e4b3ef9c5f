from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ORDINARY, PYTHON, must_work
from hypothesis import given
from hypothesis import strategies as st

from mcpbox import paths
from mcpbox.errors import McpboxError
from mcpbox.sandbox import seccomp

REFUSED = (
    "mount umount2 pivot_root chroot unshare setns keyctl add_key request_key bpf ptrace process_vm_readv "
    "process_vm_writev perf_event_open io_uring_setup io_uring_enter io_uring_register userfaultfd init_module "
    "finit_module delete_module kexec_load kexec_file_load open_by_handle_at name_to_handle_at fsopen fsconfig fsmount "
    "fspick open_tree move_mount mount_setattr swapon swapoff reboot acct quotactl quotactl_fd settimeofday "
    "clock_settime syslog lookup_dcookie iopl ioperm vhangup nfsservctl fanotify_init kcmp process_madvise pidfd_getfd "
    "modify_ldt uselib"
).split()
AF_ALG, AF_PACKET, AF_VSOCK = 38, 17, 40
KINDS = (0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)


def allowed(call: str, argument: int, value: int) -> bool:
    """What the kernel makes of the rules for a call: allowed if any of them matches."""
    return any(
        value & rule.mask == rule.value for rule in seccomp.rules() if (rule.syscall, rule.argument) == (call, argument)
    )


def test_what_exploits_need_is_not_on_the_list() -> None:
    named = {*seccomp.PLAIN, *(rule.syscall for rule in seccomp.rules())}
    assert not named & set(REFUSED)
    assert not {*seccomp.PLAIN} & {rule.syscall for rule in seccomp.rules()}, "a plain call needs no rule"
    assert len(seccomp.PLAIN) == len(set(seccomp.PLAIN))


@given(st.sets(st.integers(0, 255), min_size=1, max_size=5), st.integers(0, 2**20))
def test_all_but_matches_everything_else(refused: set[int], number: int) -> None:
    pairs = seccomp.all_but(tuple(refused), bits=8)
    # Bits above are ignored, so a number that only looks different does not slip through.
    assert any(number & mask == value for mask, value in pairs) == (number & 255 not in refused)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_a_terminal_request_is_judged_by_its_low_bits_alone(upper: int, request: int) -> None:
    for number in (seccomp.TIOCSTI, seccomp.TIOCLINUX, request):
        expected = number not in (seccomp.TIOCSTI, seccomp.TIOCLINUX)
        assert allowed("ioctl", 1, upper << 32 | number) == expected


@given(st.sets(st.sampled_from(KINDS), min_size=1), st.integers(0, 2**64 - 1))
def test_clone_with_any_namespace_flag_is_refused(kinds: set[int], others: int) -> None:
    assert not allowed("clone", 0, others | sum(kinds))
    assert allowed("clone", 0, others & ~sum(KINDS))


@given(st.integers(0, 2**32 - 1), st.integers(0, 255))
def test_only_known_families_get_a_socket(upper: int, family: int) -> None:
    # The kernel reads an int, so upper bits must neither open a family nor close one.
    assert allowed("socket", 0, upper << 32 | family) == (family in (1, 2, 10, 16))
    assert not {AF_ALG, AF_PACKET, AF_VSOCK} & {1, 2, 10, 16}


def test_the_profile_for_engines_says_what_the_compiled_filter_says() -> None:
    profile = json.loads(seccomp.docker_profile())
    assert (profile["defaultAction"], profile["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", 1)
    assert all(not found["subArchitectures"] for found in profile["archMap"])
    plain = [group for group in profile["syscalls"] if group["action"] == "SCMP_ACT_ALLOW" and "args" not in group]
    assert [group["names"] for group in plain] == [seccomp.PLAIN]
    conditions = [
        (group["names"][0], condition["index"], condition["value"], condition["valueTwo"], condition["op"])
        for group in profile["syscalls"]
        for condition in group.get("args", ())
    ]
    assert conditions == [(r.syscall, r.argument, r.mask, r.value, "SCMP_CMP_MASKED_EQ") for r in seccomp.rules()]
    (absent,) = (group for group in profile["syscalls"] if group["action"] == "SCMP_ACT_ERRNO")
    assert (absent["names"], absent["errnoRet"]) == (["clone3"], 38)


def kept() -> Path:
    (found,) = paths.state_dir().glob("seccomp-*.bpf")
    return found


def test_the_filter_is_compiled_once_and_kept_for_this_user_alone() -> None:
    program = seccomp.bpf()
    assert program == seccomp.compile_filter()
    before = kept().stat()
    assert kept().parent.stat().st_mode & 0o077 == 0
    assert seccomp.bpf() == program
    assert kept().stat().st_ino == before.st_ino


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:3],
        lambda data: data[: seccomp.SUM],
        # The kernel loads a filter that lost its last instruction, and one that allows more.
        lambda data: data[:-8],
        lambda data: bytes(len(data)),
        lambda data: data.replace(b"\x06\0\0\0\x01\0\x05\0", b"\x06\0\0\0\0\0\xff\x7f"),
    ],
    ids=["empty", "shorter than the sum", "nothing but the sum", "cut short", "zeros", "changed"],
)
def test_a_damaged_filter_is_compiled_anew(damage: Any) -> None:
    program = seccomp.bpf()
    data = kept().read_bytes()
    assert damage(data) != data
    kept().write_bytes(damage(data))
    assert seccomp.bpf() == program
    assert kept().read_bytes() == data


def test_a_filter_is_not_taken_from_where_others_can_write() -> None:
    seccomp.bpf()
    kept().parent.chmod(0o777)
    with pytest.raises(McpboxError, match="only this user can write to"):
        seccomp.bpf()


def under_filter(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a program under the filter and nothing else of mcpbox's, as an ordinary user."""
    if not (bwrap := shutil.which("bwrap")):
        must_work("no bwrap")
    options = ["--unshare-all", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"]
    fd = os.memfd_create("filter", 0)
    try:
        os.write(fd, seccomp.compile_filter())
        os.lseek(fd, 0, os.SEEK_SET)
        who: dict[str, Any] = {"user": ORDINARY, "group": ORDINARY, "extra_groups": []} if os.geteuid() == 0 else {}
        return subprocess.run(
            [str(bwrap), *options, "--chdir", "/tmp", "--seccomp", str(fd), "--", *words],
            env={"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"},
            pass_fds=[fd], capture_output=True, text=True, check=False, **who,
        )  # fmt: skip
    finally:
        os.close(fd)


PYTHON_WORK = """
import asyncio, concurrent.futures, multiprocessing, os, sqlite3, ssl, subprocess, tempfile, threading
async def main():
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    await (await asyncio.create_subprocess_exec("/bin/true")).wait()
    await asyncio.to_thread(os.getpid)
    server.close()
asyncio.run(main())
with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
    assert list(pool.map(abs, [-1, -2])) == [1, 2]
sqlite3.connect(tempfile.mktemp()).execute("create table a (b)")
ssl.create_default_context()
print("worked", subprocess.run(["uname"], capture_output=True, text=True, check=True).stdout)
"""
NODE_WORK = """
const { Worker } = require("worker_threads"), { execFileSync } = require("child_process"), fs = require("fs");
fs.watch("/tmp"); fs.writeFileSync("/tmp/a", "x"); fs.cpSync("/tmp/a", "/tmp/b");
require("net").createServer().listen(0, "127.0.0.1", () =>
  new Worker("1", { eval: true }).on("exit", () => {
    console.log("worked", process.version, execFileSync("/bin/echo", ["child"]).toString());
    process.exit(0);
  }));
"""
GIT_WORK = (
    "git init -q r && cd r && echo a >a && git add a && git -c user.name=a -c user.email=a@b commit -qm a && "
    "git clone -q . ../c && git -C ../c gc -q && git -C ../c log --format='worked %s'"
)


@pytest.mark.parametrize(
    "words",
    [(PYTHON, "-c", PYTHON_WORK), ("node", "-e", NODE_WORK), ("/bin/sh", "-ec", GIT_WORK)],
    ids=["python", "node", "git"],
)
def test_what_servers_are_made_of_works_under_the_filter(words: tuple[str, ...]) -> None:
    if shutil.which(words[0], path="/usr/bin:/bin") is None:
        must_work(f"no {words[0]} in /usr/bin")
    done = under_filter(*words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("worked"), done


#: name, number on x86_64 and aarch64, what it answers, and why
ANSWERS = [
    ("clone3", 435, "ENOSYS", "so that libc uses clone"),
    ("later than the list", 463, "ENOSYS", "so that libc uses an older call"),
    ("later than any kernel", 511, "ENOSYS", "likewise"),
    ("io_uring_setup", 425, "EPERM", "refused, whatever its arguments"),
    ("fsopen", 430, "EPERM", "likewise"),
    ("openat2", 437, "EINVAL", "the kernel's answer to no arguments: the call is open"),
]


@pytest.mark.parametrize(("name", "number", "expected", "reason"), ANSWERS, ids=[row[0] for row in ANSWERS])
def test_what_a_call_is_answered(name: str, number: int, expected: str, reason: str) -> None:
    code = (
        "import ctypes, errno; libc = ctypes.CDLL(None, use_errno=True); "
        f"libc.syscall({number}, -100, 0, 0, 0); print(errno.errorcode[ctypes.get_errno()])"
    )
    assert under_filter(PYTHON, "-c", code).stdout.strip() == expected, reason


def test_nothing_is_loaded_for_the_filter_until_it_is_compiled() -> None:
    code = "import sys, mcpbox.sandbox.seccomp; print('pyseccomp' in sys.modules, 'ctypes' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
