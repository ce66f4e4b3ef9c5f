from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from mcpbox import paths
from mcpbox.sandbox import seccomp

REFUSED = (
    "mount umount2 pivot_root chroot unshare setns keyctl add_key request_key bpf ptrace process_vm_readv "
    "process_vm_writev perf_event_open io_uring_setup io_uring_enter io_uring_register userfaultfd init_module "
    "finit_module delete_module kexec_load kexec_file_load open_by_handle_at name_to_handle_at fsopen open_tree "
    "move_mount mount_setattr swapon swapoff reboot acct quotactl settimeofday clock_settime syslog lookup_dcookie "
    "iopl ioperm vhangup nfsservctl fanotify_init kcmp process_madvise"
).split()


def test_what_exploits_need_is_not_on_the_list() -> None:
    allowed = {*seccomp.PLAIN, *(rule.syscall for rule in seccomp.rules())}
    assert not allowed & set(REFUSED)
    assert len(seccomp.PLAIN) == len(set(seccomp.PLAIN))


@given(st.sets(st.integers(0, 255), min_size=1, max_size=5), st.integers(0, 2**20))
def test_all_but_matches_everything_else(refused: set[int], number: int) -> None:
    pairs = seccomp.all_but(tuple(refused), bits=8)
    # Bits above are ignored, so a number that only looks different does not slip through.
    assert any(number & mask == value for mask, value in pairs) == (number & 255 not in refused)


@given(st.integers(0, 2**64 - 1))
def test_terminal_injection_is_recognised_by_its_low_bits(upper: int) -> None:
    pairs = seccomp.all_but((seccomp.TIOCSTI, seccomp.TIOCLINUX))
    for request in (seccomp.TIOCSTI, seccomp.TIOCLINUX):
        number = (upper & ~0xFFFFFFFF) | request
        assert not any(number & mask == value for mask, value in pairs)


def test_the_profile_for_engines_refuses_by_default() -> None:
    profile = json.loads(seccomp.docker_profile())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert all(not found["subArchitectures"] for found in profile["archMap"])


def test_the_filter_is_compiled_once_and_kept_for_this_user_alone() -> None:
    program = seccomp.compile_filter()
    assert len(program) % 8 == 0
    assert seccomp.bpf() == program
    (kept,) = paths.state_dir().glob("seccomp-*.bpf")
    assert kept.read_bytes() == program and kept.parent.stat().st_mode & 0o077 == 0
    kept.write_bytes(b"")
    assert seccomp.bpf() == b""
