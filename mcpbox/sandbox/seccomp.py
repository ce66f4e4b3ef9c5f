"""The system calls a server may make: one allowlist, for Docker as JSON and for bubblewrap as compiled BPF.

It is what Docker allows a container without capabilities, less what no MCP server needs and exploits do: io_uring,
ptrace and process_vm_*, userfaultfd, keyrings, bpf, perf, namespaces of one's own, sockets of other families than
Unix, IP and netlink. Whatever is not named is refused with EPERM, and so is what a later kernel adds.
"""

from __future__ import annotations

import json
import os
import zlib
from typing import Any

from msgspec import Struct

from mcpbox import __version__, paths
from mcpbox.errors import BackendError

PLAIN = """
accept accept4 access alarm arch_prctl arm_fadvise64_64 bind brk cachestat capget capset chdir chmod chown
clock_getres clock_gettime clock_nanosleep close close_range connect copy_file_range creat dup dup2 dup3
epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 execve execveat exit
exit_group faccessat faccessat2 fadvise64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync
fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstatfs fsync ftruncate futex futex_requeue futex_wait
futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid geteuid
getgid getgroups getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresuid
getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getxattr inotify_add_watch inotify_init
inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_setup io_submit ioprio_get ioprio_set kill
landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lgetxattr link linkat listen listxattr
llistxattr lremovexattr lseek lsetxattr lstat madvise map_shadow_stack membarrier memfd_create mincore mkdir mkdirat
mknod mknodat mlock mlock2 mlockall mmap mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend
mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap nanosleep newfstatat open openat
openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll prctl pread64
preadv preadv2 prlimit64 pselect6 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recvfrom recvmmsg
recvmsg removexattr rename renameat renameat2 restart_syscall riscv_flush_icache rmdir rseq rt_sigaction rt_sigpending
rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max
sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield select semctl semget semop semtimedop
sendfile sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid setfsuid setgid setgroups
setitimer setpgid setpriority setregid setresgid setresuid setreuid setrlimit setsid setsockopt setuid setxattr shmat
shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 socketpair splice stat statfs statx symlink symlinkat sync
sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_settime
timerfd_create timerfd_gettime timerfd_settime times tkill truncate umask uname unlink unlinkat utime utimensat utimes
vfork vmsplice wait4 waitid write writev
""".split()

#: clone3 hides its flags in memory, where a filter cannot look; ENOSYS makes the C library use clone.
ABSENT = ("clone3",)

AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
#: CLONE_NEWTIME | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET | NEWNS
NAMESPACE_FLAGS = 0x7E020080
#: Terminal requests that type into a terminal (CVE-2017-5226), or paste into a console (CVE-2023-1523).
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
#: PER_LINUX, PER_LINUX32, UNAME26, both, and the query, as Docker allows.
PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
U32 = 0xFFFFFFFF


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
    architectures = [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": []},
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": []},
    ]
    profile = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "archMap": architectures, "syscalls": groups}
    return json.dumps(profile)


def bpf() -> bytes:
    """The filter for this machine's architecture, compiled once and then kept: loading libseccomp is felt at start.

    Raises BackendError if libseccomp is needed and missing.
    """
    text = repr((__version__, PLAIN, ABSENT, [(r.syscall, r.argument, r.mask, r.value) for r in rules()]))
    path = paths.state_dir() / f"seccomp-{os.uname().machine}-{zlib.crc32(text.encode()):08x}.bpf"
    try:
        # What is cut short or changed, the kernel refuses to load, and the sandbox does not start.
        return path.read_bytes()
    except FileNotFoundError:
        program = compile_filter()
    paths.private_dir(path.parent)
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_bytes(program)
    temporary.rename(path)
    return program


def compile_filter() -> bytes:
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
        if known[name] is not None:
            program.add_rule(pyseccomp.ALLOW, known[name])
    for name in ABSENT:
        if known[name] is not None:
            program.add_rule(pyseccomp.ERRNO(errno.ENOSYS), known[name])
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
