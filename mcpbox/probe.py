"""A hostile MCP server: each of its attempts tries one way out of the sandbox and says how far it got.

It runs inside, where mcpbox is not installed, so it needs nothing but the standard library. Run as a program with
``--attempt NAME``, it makes the attempt right where it is: the positive control, without which "blocked" says nothing.
Every attempt is a child process of its own, so that none masks or kills the next. "blocked" is said only of what the
system refused; an attempt that crashes, hangs or cannot be made is "unavailable", which nobody may take for a wall.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import mmap
import os
import platform
import pty
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time

libc = ctypes.CDLL(None, use_errno=True)
ARM = platform.machine() == "aarch64"
#: Numbers of the raw system calls: x86_64, aarch64.
NUMBERS = {
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268), "clone": (56, 220), "clone3": (435, 435), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "keyctl": (250, 219), "add_key": (248, 217), "bpf": (321, 280),
    "perf_event_open": (298, 241), "io_uring_setup": (425, 425), "userfaultfd": (323, 282),
    "init_module": (175, 105), "finit_module": (313, 273), "kexec_load": (246, 104),
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264), "open_tree": (428, 428), "fsopen": (430, 430),
    "swapon": (167, 224), "reboot": (169, 142), "sethostname": (170, 161), "settimeofday": (164, 170),
    "personality": (135, 92), "acct": (163, 89), "quotactl": (179, 60), "syslog": (103, 116),
}  # fmt: skip
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
SECONDS = 12
#: System V shared memory is taken in segments of this many bytes, under consecutive keys.
SEGMENT, SEGMENT_KEY = 16 << 20, 0x6D637062
DNS_QUERY = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01"
LISTENERS: list = []


class Blocked(Exception):
    """The attempt did not get through; the text says what stopped it."""


def call(name, *arguments):
    """A raw system call; its result, or OSError."""
    return libc_call(NUMBERS[name][ARM], *arguments)


def libc_call(number, *arguments):
    ctypes.set_errno(0)
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    result = libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def reads(path):
    with open(path, "rb") as file:
        data = file.read(4096)
    if not data:
        # Such as /dev/null, which engines put over files of /proc.
        raise Blocked(f"{path} is empty")
    return f"read {len(data)} bytes of {path}"


def writes(path):
    existed = os.path.exists(path)
    with open(path, "ab"):
        pass
    if not existed:
        os.unlink(path)
    return f"opened {path} for writing"


def opens(path, flags):
    os.close(os.open(path, flags))
    return f"opened {path}"


def gets(family, kind, protocol=0):
    socket.socket(family, kind, protocol).close()
    return "got such a socket"


def tcp(host, port):
    with socket.create_connection((host, int(port)), timeout=2) as connection:
        return f"connected to {connection.getpeername()[0]}"


def udp(host, port, payload=b"mcpbox"):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(2)
        client.sendto(payload, (host, int(port)))
        return f"answered with {len(client.recv(512))} bytes"


def unix(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(2)
        client.connect(path)
        return "connected"


def forks(limit):
    """How many processes can live at a time, up to ``limit``."""
    children, read_write = [], os.pipe()
    try:
        while len(children) < limit:
            child = os.fork()
            if child == 0:
                os.close(read_write[1])
                os.read(read_write[0], 1)
                os._exit(0)
            children.append(child)
    except OSError as error:
        raise Blocked(f"{error.strerror} after {len(children)} processes") from None
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return f"{limit} processes at once"


def allocates(limit):
    held = []
    for _ in range(limit >> 20):
        held.append(bytearray(b"x" * (1 << 20)))
    return f"{limit >> 20} MiB of memory"


def fills(directory, limit):
    path = os.path.join(directory, f"mcpbox-fill-{os.getpid()}")
    written = 0
    try:
        with open(path, "wb", buffering=0) as file:
            while written < limit:
                written += file.write(b"x" * (1 << 20))
    except OSError as error:
        raise Blocked(f"{error.strerror} after {written >> 20} MiB") from None
    finally:
        if os.path.exists(path):
            os.unlink(path)
    return f"wrote {written >> 20} MiB"


def descriptors(limit):
    # The soft limit is anybody's to raise as far as the hard one.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    held = []
    try:
        while len(held) < limit:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        raise Blocked(f"{error.strerror} after {len(held)} files") from None
    return f"{limit} open files"


def burns(processors, seconds):
    """Processor time that busy processes get, against what ``processors`` allow (with a half to spare).

    Long enough for what a quota lets a process save up, commonly a second, to be used up.
    """
    children = []
    before = time.monotonic()
    # More of them than processors, each with a share of its own, lest a busy machine be taken for a quota.
    for _ in range(min(32, 4 * (os.cpu_count() or 2))):
        child = os.fork()
        if child == 0:
            os.setsid()
            while time.monotonic() - before < seconds:
                pass
            os._exit(0)
        children.append(child)
    used = 0.0
    for child in children:
        usage = os.wait4(child, 0)[2]
        used += usage.ru_utime + usage.ru_stime
    share = used / (time.monotonic() - before)
    if share < processors * 1.5:
        raise Blocked(f"held to {share:.2f} processors")
    return f"used {share:.2f} processors"


def others():
    """Processes that are no ancestors of this one. Going by their names would overlook a python3 of the host's."""
    parents = {pid: _parent(pid) for pid in map(int, filter(str.isdigit, os.listdir("/proc")))}
    family, pid = {1}, os.getpid()
    while pid:
        family.add(pid)
        pid = parents.get(pid, 0)
    foreign = [pid for pid, parent in parents.items() if parent is not None and pid not in family]
    if not foreign:
        raise Blocked(f"{len(parents)} processes to be seen, all the sandbox's own")
    return f"sees {len(foreign)} other processes"


def _parent(pid):
    """None for a process that has ended meanwhile."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except OSError:
        return None


def privileges():
    """Any capability, a missing no_new_privs, or a missing seccomp filter counts as getting through."""
    status = _status("self")
    lacking = [name for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb", "CapInh") if int(status[name], 16)]
    lacking += [name for name, wanted in (("NoNewPrivs", "1"), ("Seccomp", "2")) if status[name] != wanted]
    if 0 in (*os.getresuid(), *os.getresgid(), *os.getgroups()):
        lacking.append("root")
    if not lacking:
        raise Blocked("no capability, no_new_privs, seccomp filter")
    return "has or lacks: " + ", ".join(lacking)


def _status(pid):
    with open(f"/proc/{pid}/status") as file:
        return dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)


def asks_terminal(request):
    """A request to a terminal of this process's own, which becomes its controlling one."""
    _, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    ctypes.set_errno(0)
    if libc.ioctl(terminal, ctypes.c_ulong(request), ctypes.c_char_p(b"x")) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "typed a character"


def calls_as_32_bit():
    """getpid by the gate of 32-bit programs, whose call numbers mean something else to a filter for 64 bits."""
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(b"\x53\xb8\x14\x00\x00\x00\xcd\x80\x5b\xc3")  # push rbx; mov eax, 20; int 0x80; pop rbx; ret
    result = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return f"a 32-bit call answered {result}"


def traces():
    pid = os.fork()
    if pid == 0:
        signal.pause()
    try:
        call("ptrace", 16, pid, 0, 0)
    finally:
        os.kill(pid, signal.SIGKILL)
    return f"attached to process {pid}"


def peeks():
    buffer = ctypes.create_string_buffer(b"secret")
    target = ctypes.create_string_buffer(6)
    local = struct.pack("PN", ctypes.addressof(target), 6)
    remote = struct.pack("PN", ctypes.addressof(buffer), 6)
    call("process_vm_readv", os.getpid(), local, 1, remote, 1, 0)
    return "read a process's memory"


def unshares(flag):
    def new_namespace(_):
        call("unshare", flag)
        return "made a namespace"

    return new_namespace


def clones(flags):
    child = call("clone", flags | signal.SIGCHLD, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return "made a process in a namespace of its own"


def mounts():
    call("mount", b"none", tempfile.mkdtemp().encode(), b"tmpfs", 0, None)
    return "mounted a file system"


def escapes_chroot():
    os.chroot(tempfile.mkdtemp())
    return "changed the root directory"


def links(directory, target):
    """A symlink in a writable mount, followed to what lies outside of it."""
    path = os.path.join(directory, f"mcpbox-link-{os.getpid()}")
    os.symlink(target, path)
    try:
        return reads(path)
    finally:
        os.unlink(path)


def hardlinks(directory, target):
    path = os.path.join(directory, f"mcpbox-hardlink-{os.getpid()}")
    os.link(target, path)
    os.unlink(path)
    return "made a hard link"


def gains():
    """Run a set-user-id program of root's and look who it is."""
    for program in ("/usr/bin/su", "/bin/su", "/usr/bin/passwd", "/usr/bin/mount"):
        if os.path.exists(program) and os.stat(program).st_mode & 0o4000:
            break
    else:
        raise Blocked("no set-user-id program to be seen")
    child, terminal = pty.fork()
    if child == 0:
        os.execv(program, [program])
    # The program may have ended by now; until it is waited for, its identity can still be read.
    deadline = time.monotonic() + 5
    while (status := _status(child))["Name"] != os.path.basename(program):
        if status["State"].startswith("Z") or time.monotonic() > deadline:
            raise RuntimeError(f"{program} did not start")
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(terminal)
    real, effective = status["Uid"].split()[:2]
    if real == effective:
        raise Blocked(f"{program} ran as the same user, {effective}")
    return f"{program} ran as user {effective}"


def plants(directory):
    """A program in a writable mount that makes root of whoever runs it."""
    path = os.path.join(directory, f"mcpbox-setuid-{os.getpid()}")
    with open(path, "wb") as file:
        file.write(b"#!/bin/sh\n")
    try:
        os.chown(path, 0, 0)
        os.chmod(path, 0o4755)
        if os.stat(path).st_mode & 0o4000:
            return "made a set-user-id program of root's"
        raise Blocked("the set-user-id bit was taken away")
    finally:
        os.unlink(path)


def through_proc(path):
    """The root directory of any process that can be seen."""
    refused = OSError(errno.ENOENT, "no process to be seen")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            return reads(f"/proc/{pid}/root{path}")
        except OSError as error:
            refused = error
    raise refused


def holds_in_memfd(limit):
    """Memory that no process maps, which shows in no resident size."""
    descriptor, written = os.memfd_create("mcpbox"), 0
    while written < limit:
        written += os.write(descriptor, b"x" * (1 << 20))
    # Long enough for whoever watches from outside to look.
    time.sleep(1)
    return f"{written >> 20} MiB of memory that is not mapped"


def holds_in_segments(limit):
    """The same in segments that outlive who made them, until the IPC namespace ends: never to try in the host's."""
    libc.shmat.restype, libc.shmdt.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    held = 0
    while held * SEGMENT < limit:
        ctypes.set_errno(0)
        identity = libc.shmget(SEGMENT_KEY + held, ctypes.c_size_t(SEGMENT), 0o1600)
        if identity < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        held += 1
        address = libc.shmat(identity, None, 0)
        ctypes.memset(address, 120, SEGMENT)
        libc.shmdt(address)
    time.sleep(1)
    return f"{held * SEGMENT >> 20} MiB of memory that nobody is attached to"


def drops_segments():
    key = SEGMENT_KEY
    while (identity := libc.shmget(key, ctypes.c_size_t(0), 0)) >= 0:
        libc.shmctl(identity, 0, None)
        key += 1


def pings(host):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as client:
        client.settimeout(2)
        client.sendto(b"\x08\x00\xf7\xff\x00\x00\x00\x00", (host, 0))
        client.recv(512)
        return "answered"


def interfaces():
    found = [name for _, name in socket.if_nameindex() if name != "lo"]
    if not found:
        raise Blocked("no interface but lo")
    return f"interfaces: {', '.join(found)}"


def sees(variable):
    value = os.environ.get(variable)
    if value is None:
        raise Blocked(f"{variable} is not set")
    return f"{variable} is set"


def init_environment(pid):
    with open(f"/proc/{pid}/environ", "rb") as file:
        names = {item.partition(b"=")[0] for item in file.read().split(b"\0") if item}
    foreign = names - {b"PATH", b"HOME", b"LANG", b"TZ", b"PWD", b"HOSTNAME", b"container", b"LC_CTYPE", b"TERM"}
    if not foreign:
        raise Blocked("holds nothing of the host's")
    return f"holds {len(foreign)} more variables"


def signals(pid):
    os.kill(pid, 0)
    return f"can signal process {pid}"


NEW = {
    "mnt": 0x20000, "user": 0x10000000, "net": 0x40000000, "pid": 0x20000000, "ipc": 0x8000000, "uts": 0x4000000,
    "cgroup": 0x2000000, "time": 0x80,
}  # fmt: skip

#: name: (category, what it tries, how). Arguments in capitals are given by whoever runs the probe.
ATTEMPTS = {
    "ssh-key": ("files", "read a key in ~/.ssh", lambda a: reads(a["SSH_KEY"])),
    "shadow": ("files", "read /etc/shadow", lambda a: reads("/etc/shadow")),
    "home": ("files", "read the home directory", lambda a: reads(a["HOME_FILE"])),
    "root-home": ("files", "list /root", lambda a: listed("/root")),
    "write-root": ("files", "write to /", lambda a: writes("/mcpbox-probe")),
    "write-usr": ("files", "write to /usr", lambda a: writes("/usr/mcpbox-probe")),
    "write-etc": ("files", "write to /etc", lambda a: writes("/etc/mcpbox-probe")),
    "write-read-only": ("files", "write to a read-only mount", lambda a: writes(a["READ_ONLY"])),
    "symlink": ("files", "follow a symlink out of a writable mount", lambda a: links(a["WRITABLE"], a["SSH_KEY"])),
    "hardlink": ("files", "hard-link a file into a writable mount", lambda a: hardlinks(a["WRITABLE"], a["SSH_KEY"])),
    "hardlink-read-only": ("files", "hard-link a read-only file", lambda a: hardlinks(a["WRITABLE"], a["READ_ONLY"])),
    "proc-root": ("files", "leave through /proc/PID/root", lambda a: through_proc(a["SSH_KEY"])),
    "setuid": ("files", "gain rights from a set-user-id program", lambda a: gains()),
    "plant-setuid": ("files", "leave a set-user-id program of root's", lambda a: plants(a["WRITABLE"])),
    "environment": ("host", "see the host's environment", lambda a: sees(a["VARIABLE"])),
    "init-environment": ("host", "read another process's environment", lambda a: init_environment(a["PID"])),
    "first-environment": ("host", "read the first process's environment", lambda a: init_environment(1)),
    "processes": ("host", "see other processes", lambda a: others()),
    "signal": ("host", "signal a host process", lambda a: signals(a["PID"])),
    "privileges": ("host", "run with privileges", lambda a: privileges()),
    "interfaces": ("network", "find a network interface", lambda a: interfaces()),
    "tcp4": ("network", "connect over IPv4", lambda a: tcp("127.0.0.1", a["TCP4"])),
    "tcp6": ("network", "connect over IPv6", lambda a: tcp("::1", a["TCP6"])),
    "udp": ("network", "send over UDP", lambda a: udp("127.0.0.1", a["UDP"])),
    "dns": ("network", "ask a name server", lambda a: udp("127.0.0.1", a["UDP"], DNS_QUERY)),
    "icmp": ("network", "ping", lambda a: pings("172.17.0.1")),
    "metadata": ("network", "reach the cloud's metadata service", lambda a: tcp("169.254.169.254", 80)),
    "gateway": ("network", "reach the bridge's gateway", lambda a: tcp("172.17.0.1", a["TCP4"])),
    "abstract-socket": ("network", "connect to an abstract Unix socket", lambda a: unix("\0" + a["ABSTRACT"])),
    "docker-socket": ("network", "talk to the container engine", lambda a: unix("/var/run/docker.sock")),
    "dbus": ("network", "talk to D-Bus", lambda a: unix(a["DBUS"])),
    "raw-socket": ("network", "open a raw socket", lambda a: gets(socket.AF_INET, socket.SOCK_RAW, 1)),
    "packet-socket": ("network", "open a packet socket", lambda a: gets(socket.AF_PACKET, socket.SOCK_RAW, 3)),
    "vsock": ("network", "open a socket to the hypervisor", lambda a: gets(40, socket.SOCK_STREAM)),
    "alg-socket": ("network", "open a kernel crypto socket", lambda a: gets(38, socket.SOCK_SEQPACKET)),
    **{
        f"unshare-{kind}": ("kernel", f"make a {kind} namespace", unshares(flag))
        for kind, flag in NEW.items()
    },
    "clone-newuser": ("kernel", "clone into a user namespace", lambda a: clones(NEW["user"])),
    "clone-high-bit": ("kernel", "clone into one, a high bit set", lambda a: clones(NEW["user"] | 1 << 40)),
    "clone3": ("kernel", "call clone3", lambda a: call("clone3", 0, 0)),
    "setns": ("kernel", "enter another namespace", lambda a: call("setns", os.open("/proc/self/ns/uts", 0), 0)),
    "mount": ("kernel", "mount a file system", lambda a: mounts()),
    "umount": ("kernel", "unmount a file system", lambda a: call("umount2", b"/proc", 2)),
    "open-tree": ("kernel", "detach a mount", lambda a: call("open_tree", -100, b"/", 0x8001)),
    "fsopen": ("kernel", "open a file system", lambda a: call("fsopen", b"tmpfs", 0)),
    "pivot-root": ("kernel", "pivot the root", lambda a: call("pivot_root", b".", b".")),
    "chroot": ("kernel", "change the root", lambda a: escapes_chroot()),
    "keyctl": ("kernel", "use the kernel's keyring", lambda a: call("keyctl", 0, -3, 0)),
    "add-key": ("kernel", "add a key to a keyring", lambda a: call("add_key", b"user", b"mcpbox", b"x", 1, -2)),
    "bpf": ("kernel", "load BPF", lambda a: call("bpf", 0, bpf_attributes(), 72)),
    "perf": ("kernel", "use performance events", lambda a: call("perf_event_open", perf_attributes(), 0, -1, -1, 0)),
    "io-uring": ("kernel", "set up io_uring", lambda a: call("io_uring_setup", 4, ctypes.create_string_buffer(120))),
    "userfaultfd": ("kernel", "handle page faults", lambda a: call("userfaultfd", 1)),
    "ptrace": ("kernel", "trace a process", lambda a: traces()),
    "process-vm": ("kernel", "read a process's memory", lambda a: peeks()),
    "init-module": ("kernel", "load a kernel module", lambda a: call("init_module", b"", 0, b"")),
    "finit-module": ("kernel", "load one from a file", lambda a: call("finit_module", -1, b"", 0)),
    "kexec": ("kernel", "load another kernel", lambda a: call("kexec_load", 0, 0, None, 0)),
    **({} if ARM else {
        "int80": ("kernel", "call as a 32-bit program", lambda a: calls_as_32_bit()),
        "x32": ("kernel", "call by x32 numbers", lambda a: libc_call(0x40000000 | 39)),
    }),
    "handle": ("kernel", "open a file by its handle", lambda a: call("open_by_handle_at", -100, bytes(32), 0)),
    "personality": ("kernel", "switch off address randomisation", lambda a: call("personality", 0x40000)),
    "kernel-log": ("kernel", "read the kernel's log", lambda a: call("syslog", 10, None, 0)),
    "tiocsti": ("kernel", "type into a terminal", lambda a: asks_terminal(TIOCSTI)),
    "tiocsti-high": ("kernel", "type into one, a high bit set", lambda a: asks_terminal(TIOCSTI | 1 << 32)),
    "tioclinux": ("kernel", "paste into a console", lambda a: asks_terminal(TIOCLINUX)),
    "dev-mem": ("devices", "open /dev/mem", lambda a: opens("/dev/mem", os.O_RDONLY)),
    "dev-kmsg": ("devices", "open /dev/kmsg", lambda a: opens("/dev/kmsg", os.O_RDONLY)),
    "dev-disk": ("devices", "see a disk", lambda a: disk()),
    "mknod": ("devices", "make a device node", lambda a: os.mknod(f"{tempfile.mkdtemp()}/null", 0o20666, 0x103)),
    "sys-write": ("devices", "write to /sys", lambda a: opens("/sys/kernel/mm/ksm/run", os.O_WRONLY)),
    "proc-sys-write": ("devices", "write to /proc/sys", lambda a: opens("/proc/sys/kernel/domainname", os.O_WRONLY)),
    "core-pattern": ("devices", "set the core pattern", lambda a: opens("/proc/sys/kernel/core_pattern", os.O_WRONLY)),
    "sysrq": ("devices", "open sysrq-trigger", lambda a: opens("/proc/sysrq-trigger", os.O_WRONLY)),
    "kcore": ("devices", "read the kernel's memory", lambda a: reads("/proc/kcore")),
    "fork-bomb": ("quotas", "fork without end", lambda a: forks(a["FORKS"])),
    "memory-bomb": ("quotas", "take memory without end", lambda a: allocates(a["MEMORY"])),
    "memfd-bomb": ("quotas", "take memory that no process maps", lambda a: holds_in_memfd(a["MEMORY"])),
    "segment-bomb": ("quotas", "take System V shared memory", lambda a: holds_in_segments(a["MEMORY"])),
    "disk-bomb-tmp": ("quotas", "fill /tmp", lambda a: fills("/tmp", a["DISK"])),
    "disk-bomb-var-tmp": ("quotas", "fill /var/tmp", lambda a: fills("/var/tmp", a["DISK"])),
    "disk-bomb-home": ("quotas", "fill the home directory", lambda a: fills(os.path.expanduser("~"), a["DISK"])),
    "disk-bomb-shm": ("quotas", "fill /dev/shm", lambda a: fills("/dev/shm", a["DISK"])),
    "disk-bomb-dev": ("quotas", "fill /dev", lambda a: fills("/dev", a["DISK"])),
    "file-bomb": ("quotas", "open files without end", lambda a: descriptors(a["FILES"])),
    "cpu-burn": ("quotas", "use every processor", lambda a: burns(a["CPUS"], 5.0)),
}  # fmt: skip

#: Attempts that need rights which an ordinary user has only as root of a user namespace of its own: their positive
#: control runs in one, which has its own network too, so that no address out of it is ever tried. ``STAGES`` puts
#: there what only root has elsewhere.
IN_NAMESPACE = frozenset(
    "icmp metadata gateway raw-socket packet-socket privileges plant-setuid "
    "unshare-mnt unshare-net unshare-pid unshare-ipc unshare-uts unshare-cgroup unshare-time "
    "setns mount umount open-tree fsopen pivot-root chroot "
    "shadow root-home write-root write-usr write-etc docker-socket dev-mem dev-kmsg dev-disk disk-bomb-dev "
    "sys-write proc-sys-write core-pattern segment-bomb".split()
)
#: Attempts whose positive control gets through on some machines only, and what decides.
DEPENDS = {
    "alg-socket": "the kernel's configuration",
    "bpf": "kernel.unprivileged_bpf_disabled",
    "handle": "the kernel's version",
    "int80": "the kernel's configuration",
    "io-uring": "kernel.io_uring_disabled",
    "kernel-log": "kernel.dmesg_restrict",
    "perf": "kernel.perf_event_paranoid",
    "setuid": "the programs installed",
    "tioclinux": "dev.tty.legacy_tiocsti",
    "tiocsti": "dev.tty.legacy_tiocsti",
    "tiocsti-high": "dev.tty.legacy_tiocsti",
    "userfaultfd": "the kernel's configuration",
    "vsock": "the kernel's configuration",
    "x32": "the kernel's configuration",
}
#: Attempts without a positive control, and why there is none.
NO_CONTROL = {
    "finit-module": "root only",
    "first-environment": "root only: the first process outside is root's",
    "init-module": "root only",
    "kcore": "root only",
    "kexec": "root only",
    "mknod": "root only, and not in a user namespace",
    "sysrq": "root only",
}
#: Attempts that a signal ends, where that is what the wall does: a quota, or a filter that kills. A kernel without
#: calls for 32 bits faults.
ENDED = {
    "int80": (signal.SIGSYS, signal.SIGSEGV),
    "x32": (signal.SIGSYS,),
    "memory-bomb": (signal.SIGKILL,),
    "memfd-bomb": (signal.SIGKILL,),
    "segment-bomb": (signal.SIGKILL,),
}


#: What is to do after an attempt that may have been ended before it could do it.
AFTER = {"segment-bomb": drops_segments}


def listed(path):
    if not (names := os.listdir(path)):
        raise Blocked("empty")
    return f"{len(names)} entries in {path}"


def disk():
    found = [name for name in os.listdir("/dev") if name.startswith(("sd", "vd", "nvme", "xvd", "dm-", "loop"))]
    if not found:
        raise Blocked("no disk in /dev")
    return f"sees {found[0]}"


def bpf_attributes():
    """An array map of one entry."""
    return struct.pack("IIIII", 2, 4, 4, 1, 0) + bytes(52)


def perf_attributes():
    """A software event, the processor clock, of this process, without the kernel's part."""
    return struct.pack("IIQQQQQ", 1, 112, 0, 0, 0, 0, 1 << 5 | 1 << 6) + bytes(64)


def attempt(name, arguments):
    """Make one attempt in a child; ``{"outcome": "allowed" | "blocked" | "unavailable", "detail": TEXT}``."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        # A session of its own, so that it may have a terminal; and never return into the parent's code.
        try:
            os.setsid()
            os.close(read)
            # The attempt, not the probe, is what a shortage of memory should end.
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write("1000")
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.write(write, json.dumps(_judge(name, arguments)).encode())
        finally:
            os._exit(1)
    os.close(write)
    answer, deadline = b"", time.monotonic() + SECONDS
    while select.select([read], [], [], max(0, deadline - time.monotonic()))[0]:
        data = os.read(read, 65536)
        if not data:
            break
        answer += data
    late = time.monotonic() >= deadline
    os.close(read)
    # Before it is waited for, so that the number is still its own.
    try:
        os.killpg(child, signal.SIGKILL)
    except OSError:
        pass
    _, status = os.waitpid(child, 0)
    AFTER.get(name, lambda: None)()
    if answer:
        return json.loads(answer)
    if late:
        return {"outcome": "unavailable", "detail": f"no answer within {SECONDS} s"}
    if os.WIFSIGNALED(status):
        number = signal.Signals(os.WTERMSIG(status))
        outcome = "blocked" if number in ENDED.get(name, ()) else "unavailable"
        return {"outcome": outcome, "detail": f"ended by {number.name}"}
    return {"outcome": "unavailable", "detail": "the attempt could not be made"}


def _judge(name, arguments):
    try:
        return {"outcome": "allowed", "detail": str(ATTEMPTS[name][2](arguments))}
    except Blocked as error:
        return {"outcome": "blocked", "detail": str(error)}
    except OSError as error:
        what = errno.errorcode.get(error.errno or 0, type(error).__name__)
        # Refused for what was passed, not for who asked: the call itself is open.
        if what in PASSED_IN.get(name, ()):
            return {"outcome": "allowed", "detail": f"the kernel looked at the arguments ({what})"}
        return {"outcome": "blocked", "detail": f"{what}: {error.strerror or error}"}
    except MemoryError:
        return {"outcome": "blocked", "detail": "no more memory"}
    except Exception as error:
        return {"outcome": "unavailable", "detail": f"{type(error).__name__}: {error}"}


#: Attempts whose arguments are deliberately wrong, with the errors that only an open call gives.
PASSED_IN = {
    "clone3": ("EINVAL", "EFAULT"),
    "setns": ("EINVAL",),
    "pivot-root": ("EINVAL", "EBUSY"),
    "umount": ("EBUSY", "EINVAL"),
    "init-module": ("ENOEXEC", "EFAULT", "EINVAL"),
    "finit-module": ("EBADF", "EINVAL"),
    "kexec": ("EINVAL", "EADDRNOTAVAIL"),
    "handle": ("EINVAL", "ESTALE", "EBADF"),
    "io-uring": ("EINVAL", "EFAULT"),
    "keyctl": ("ENOKEY",),
    "tioclinux": ("ENOTTY", "EINVAL"),
}


def covers_file(path):
    """Another file in the place of one of root's, for this mount namespace alone."""
    with tempfile.NamedTemporaryFile(delete=False) as file:
        file.write(b"staged")
    call("mount", file.name.encode(), path.encode(), None, 0x1000, None)
    os.unlink(file.name)


def covers_directory(path, *names):
    """An empty directory of this namespace's own in the place of root's, with these files in it."""
    call("mount", b"none", path.encode(), b"tmpfs", 0, None)
    for name in names:
        with open(os.path.join(path, name), "wb"):
            pass


def covers_root():
    directory = tempfile.mkdtemp()
    covers_directory(directory)
    os.mkdir(f"{directory}/proc")
    call("mount", b"/proc", f"{directory}/proc".encode(), None, 0x5000, None)
    os.chroot(directory)
    os.chdir("/")


def listens_as_engine():
    covers_directory(os.path.realpath("/var/run"))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("/var/run/docker.sock")
    listener.listen()
    LISTENERS.append(listener)


def listens(arguments):
    """Give this network namespace the addresses that the attempts aim at, and listen there."""
    for command in (
        "ip link set lo up",
        "ip address add 169.254.169.254/32 dev lo",
        "ip address add 172.17.0.1/32 dev lo",
    ):
        subprocess.run(command.split(), check=True)
    with open("/proc/sys/net/ipv4/ping_group_range", "w") as file:
        file.write("0 0")
    for host, port in (("169.254.169.254", 80), ("172.17.0.1", arguments["TCP4"])):
        LISTENERS.append(socket.create_server((host, int(port))))


#: What a positive control in namespaces of its own has to find there.
STAGES = {
    "icmp": listens,
    "metadata": listens,
    "gateway": listens,
    "docker-socket": lambda a: listens_as_engine(),
    "shadow": lambda a: covers_file("/etc/shadow"),
    "root-home": lambda a: covers_directory("/root", "letter"),
    "write-root": lambda a: covers_root(),
    "write-usr": lambda a: covers_directory("/usr"),
    "write-etc": lambda a: covers_directory("/etc"),
    "dev-mem": lambda a: covers_directory("/dev", "mem"),
    "dev-kmsg": lambda a: covers_directory("/dev", "kmsg"),
    "dev-disk": lambda a: covers_directory("/dev", "sda"),
    "disk-bomb-dev": lambda a: covers_directory("/dev"),
    "sys-write": lambda a: covers_file("/sys/kernel/mm/ksm/run"),
    "proc-sys-write": lambda a: covers_file("/proc/sys/kernel/domainname"),
    "core-pattern": lambda a: covers_file("/proc/sys/kernel/core_pattern"),
}


class Refused(Exception):
    """A request that this server does not answer: JSON-RPC's code, and the text."""


def answer(method, parameters):
    if method == "initialize":
        return {
            "protocolVersion": parameters.get("protocolVersion", "2025-06-18"),
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "probe", "version": "1"},
        }
    if method == "ping":
        return {}
    if method == "tools/list":
        return {"tools": TOOLS}
    if method != "tools/call":
        raise Refused(-32601, f"no method {method}")
    name, given = parameters.get("name"), parameters.get("arguments") or {}
    if name == "echo":
        return _content(given.get("message", ""))
    if name == "list_attempts":
        rows = [{"name": name, "category": row[0], "title": row[1]} for name, row in ATTEMPTS.items()]
        return {**_content(json.dumps(rows)), "structuredContent": {"attempts": rows}}
    if name != "attempt":
        raise Refused(-32602, f"no tool {name}")
    if given.get("name") not in ATTEMPTS:
        raise Refused(-32602, f"no attempt {given.get('name')}")
    outcome = attempt(given["name"], given.get("arguments", {}))
    return {**_content(json.dumps(outcome)), "structuredContent": outcome}


def _content(text):
    return {"content": [{"type": "text", "text": text}]}


TOOLS = [
    {
        "name": "echo",
        "description": "Returns its message.",
        "inputSchema": {"type": "object", "properties": {"message": {"type": "string"}}},
    },
    {
        "name": "list_attempts",
        "description": "Lists the attempts that can be made.",
        "inputSchema": {"type": "object"},
        "annotations": {"readOnlyHint": True},
    },
    {
        "name": "attempt",
        "description": "Makes one attempt to get out.",
        "inputSchema": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "arguments": {"type": "object"}},
            "required": ["name"],
        },
    },
]


def serve():
    """Speak MCP on standard input and output, protocol 2025-06-18."""
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        reply = {"jsonrpc": "2.0", "id": message["id"]}
        try:
            reply["result"] = answer(message.get("method"), message.get("params") or {})
        except Refused as refused:
            reply["error"] = {"code": refused.args[0], "message": refused.args[1]}
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


def main(words):
    if words[:1] != ["--attempt"]:
        return serve()
    name, arguments = words[1], json.loads(words[2]) if len(words) > 2 else {}
    if words[3:] == ["--alone"] and name in STAGES:
        STAGES[name](arguments)
    sys.stdout.write(json.dumps(attempt(name, arguments)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
