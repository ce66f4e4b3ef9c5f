"""The system calls a server may make: one allowlist, for Docker as JSON and for bubblewrap as compiled BPF.

It is what Docker allows a container without capabilities, less what no MCP server needs and exploits do: io_uring,
ptrace and process_vm_*, userfaultfd, keyrings, bpf, perf, namespaces of one's own, sockets of other families than
Unix, IP and netlink. Whatever is not named is refused with EPERM; what later kernels add is answered with ENOSYS, the
one error on which C libraries fall back to an older call.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from msgspec import Struct

from mcpbox import __version__, paths
from mcpbox.errors import BackendError

#: By purpose. openat2 is here: it opens what openat opens, and runtimes such as runc count on it.
CALLS = {
    "files and directories": """
        access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
        fadvise64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync flock fstat fstatfs
        fsync ftruncate futimesat getcwd getdents getdents64 lchown link linkat lseek lstat mkdir mkdirat mknod
        mknodat newfstatat open openat openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead
        readlink readlinkat readv rename renameat renameat2 rmdir sendfile splice stat statfs statx symlink
        symlinkat sync sync_file_range syncfs tee truncate umask unlink unlinkat utime utimensat utimes vmsplice
        write writev
    """,
    "extended attributes": """
        fgetxattr flistxattr fremovexattr fsetxattr getxattr lgetxattr listxattr llistxattr lremovexattr lsetxattr
        removexattr setxattr
    """,
    "waiting for events": """
        epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 inotify_add_watch
        inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_setup
        io_submit poll ppoll pselect6 select signalfd signalfd4
    """,
    "memory": """
        brk cachestat madvise map_shadow_stack membarrier memfd_create mincore mlock mlock2 mlockall mmap mprotect
        mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect
    """,
    "processes and threads": """
        arch_prctl capget capset execve execveat exit exit_group fork get_robust_list get_thread_area getpgid
        getpgrp getpid getppid getsid gettid kill pause pidfd_open pidfd_send_signal prctl restart_syscall rseq
        rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
        rt_tgsigqueueinfo set_robust_list set_thread_area set_tid_address setpgid setsid sigaltstack tgkill tkill
        vfork wait4 waitid
    """,
    "users and groups": """
        getegid geteuid getgid getgroups getresgid getresuid getuid setfsgid setfsuid setgid setgroups setregid
        setresgid setresuid setreuid setuid
    """,
    "sockets and pipes": """
        accept accept4 bind connect getpeername getsockname getsockopt listen pipe pipe2 recvfrom recvmmsg recvmsg
        sendmmsg sendmsg sendto setsockopt shutdown socketpair
    """,
    "locks, and messages between processes": """
        futex futex_requeue futex_wait futex_waitv futex_wake mq_getsetattr mq_notify mq_open mq_timedreceive
        mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop shmat shmctl shmdt shmget
    """,
    "scheduling and limits": """
        getcpu getpriority getrlimit getrusage ioprio_get ioprio_set prlimit64 sched_get_priority_max
        sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
        sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield
        setpriority setrlimit
    """,
    "time": """
        alarm clock_getres clock_gettime clock_nanosleep getitimer gettimeofday nanosleep setitimer time
        timer_create timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime
        timerfd_settime times
    """,
    "the system, and walls of one's own": """
        getrandom landlock_add_rule landlock_create_ruleset landlock_restrict_self sysinfo uname
    """,
}
PLAIN = " ".join(CALLS.values()).split()

#: clone3 hides its flags in memory, where a filter cannot look; ENOSYS makes the C library use clone.
ABSENT = ("clone3",)
#: The highest number on the list is mseal's. From 424 on a number means the same call on every architecture, and from
#: 512 on x86 has old ones of x32. Engines since runc 1.0 do this by themselves.
LATER = range(463, 512)

AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
#: CLONE_NEWTIME | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET | NEWNS
NAMESPACE_FLAGS = 0x7E020080
#: Terminal requests that type into a terminal (CVE-2017-5226), or paste into a console (CVE-2023-1523).
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
#: PER_LINUX, PER_LINUX32, UNAME26, both, and the query, as Docker allows.
PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
U32 = 0xFFFFFFFF
#: bytes of the checksum before a kept filter
SUM = 4


class Rule(Struct, frozen=True):
    """Allow ``syscall`` when ``argument & mask == value``."""

    syscall: str
    argument: int
    mask: int
    value: int


def all_but(refused: tuple[int, ...], bits: int = 32) -> list[tuple[int, int]]:
    """``(mask, value)`` pairs that match exactly the ``bits``-bit numbers not in ``refused``; higher bits are ignored.

    An allowlist cannot say "none of these", and comparing all 64 bits of an argument of which the kernel reads 32
    lets a set upper bit through (CVE-2019-10063). So the tree of prefixes is walked along the refused numbers, and
    each branch that leads to none of them is one pair.
    """
    pairs = []
    prefixes = {0}
    for bit in range(bits - 1, -1, -1):
        mask = ((1 << bits) - 1) & ~((1 << bit) - 1)
        alive = {number & mask for number in refused}
        pairs += [(mask, branch) for p in sorted(prefixes) for branch in (p, p | 1 << bit) if branch not in alive]
        prefixes = alive
    return pairs


def rules() -> list[Rule]:
    """The calls that are allowed for some arguments only."""
    return [
        Rule("clone", 0, NAMESPACE_FLAGS, 0),
        *(Rule("ioctl", 1, mask, value) for mask, value in all_but((TIOCSTI, TIOCLINUX))),
        *(Rule("socket", 0, U32, family) for family in (AF_UNIX, AF_INET, AF_INET6, AF_NETLINK)),
        *(Rule("personality", 0, U32, persona) for persona in PERSONALITIES),
    ]


def docker_profile() -> str:
    """The filter as Docker's seccomp JSON, for ``security_opt``; engines from 20.10 on, and Podman."""
    groups: list[dict[str, Any]] = [
        {"names": PLAIN, "action": "SCMP_ACT_ALLOW"},
        {"names": list(ABSENT), "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
    ]
    for rule in rules():
        condition = {"index": rule.argument, "value": rule.mask, "valueTwo": rule.value, "op": "SCMP_CMP_MASKED_EQ"}
        groups.append({"names": [rule.syscall], "action": "SCMP_ACT_ALLOW", "args": [condition]})
    import json

    architectures = [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": []},
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": []},
    ]
    profile = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "archMap": architectures, "syscalls": groups}
    return json.dumps(profile)


def bpf(refused: Collection[str] = ()) -> bytes:
    """The filter, less what is ``refused``, for this machine's architecture.

    It is compiled once and then kept, since loading libseccomp is felt at start. Raises BackendError if libseccomp is
    needed and missing, McpboxError if others can write where it is kept.
    """
    text = repr(
        (
            __version__,
            sorted(refused),
            PLAIN,
            ABSENT,
            LATER,
            [(r.syscall, r.argument, r.mask, r.value) for r in rules()],
        )
    )
    # Nothing tells a filter that allows everything from this one but who could have written it: this user, and no
    # server, since no profile can give one this directory. The sum is for what a full or failing disk leaves.
    directory = paths.private_dir(paths.state_dir())
    path = directory / f"seccomp-{os.uname().machine}-{zlib.crc32(text.encode()):08x}.bpf"
    with suppress(FileNotFoundError):
        kept = path.read_bytes()
        if len(kept) > SUM and kept[:SUM] == _sum(kept[SUM:]):
            return kept[SUM:]
    program = compile_filter(refused)
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_bytes(_sum(program) + program)
    temporary.rename(path)
    return program


def _sum(program: bytes) -> bytes:
    return zlib.crc32(program).to_bytes(SUM, "big")


def compile_filter(refused: Collection[str] = ()) -> bytes:
    """The filter compiled by libseccomp.

    Calls of another architecture (32-bit, x32) kill the process. Raises BackendError if libseccomp is missing.
    """
    try:
        import pyseccomp
    except (ImportError, OSError, RuntimeError) as error:
        raise BackendError(
            f"libseccomp cannot be loaded: {error}", "install it: apt install libseccomp2, or dnf install libseccomp"
        ) from None
    import errno

    program = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.EPERM))
    program.set_attr(pyseccomp.Attr.ACT_BADARCH, pyseccomp.KILL_PROCESS)
    known = {name: _number(pyseccomp, name) for name in (*PLAIN, *ABSENT, *(rule.syscall for rule in rules()))}
    for name in PLAIN:
        if known[name] is not None and name not in refused:
            program.add_rule(pyseccomp.ALLOW, known[name])
    for name in ABSENT:
        if known[name] is not None:
            program.add_rule(pyseccomp.ERRNO(errno.ENOSYS), known[name])
    for number in LATER:
        program.add_rule(pyseccomp.ERRNO(errno.ENOSYS), number)
    for rule in rules():
        condition = pyseccomp.Arg(rule.argument, pyseccomp.MASKED_EQ, rule.mask, rule.value)
        program.add_rule(pyseccomp.ALLOW, known[rule.syscall], condition)
    fd = os.memfd_create("mcpbox-seccomp", os.MFD_CLOEXEC)
    with open(fd, "w+b") as file:
        program.export_bpf(file)
        file.seek(0)
        return file.read()


def _number(library: Any, name: str) -> int | None:
    """The call's number, or None where this architecture or libseccomp does not know it: then it stays refused."""
    number: int = library.resolve_syscall(library.Arch.NATIVE, name)
    return number if number >= 0 else None
