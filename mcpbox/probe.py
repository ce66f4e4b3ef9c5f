"""A hostile MCP server: each of its attempts tries one way out of the sandbox and says how far it got.

It runs inside, where mcpbox is not installed, so it needs nothing but the standard library. Run as a program with
``--attempt NAME``, it makes the attempt right where it is: the positive control, without which "blocked" says nothing.
Every attempt is a child process of its own, so that none masks or kills the next.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import pty
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
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
TIOCSTI = 0x5412
SECONDS = 12
DNS_QUERY = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01"
LISTENERS: list = []


class Blocked(Exception):
    """The attempt did not get through; the text says what stopped it."""


def call(name, *arguments):
    """A raw system call; its result, or OSError."""
    ctypes.set_errno(0)
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    result = libc.syscall(ctypes.c_long(NUMBERS[name][ARM]), *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def reads(path):
    with open(path, "rb") as file:
        return f"read {len(file.read(4096))} bytes of {path}"


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
    held = []
    try:
        while len(held) < limit:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        raise Blocked(f"{error.strerror} after {len(held)} files") from None
    return f"{limit} open files"


def burns(processors, seconds):
    """Processor time that this many busy processes get, against what ``processors`` allow (with a half to spare)."""
    children = []
    before = time.monotonic()
    for _ in range(max(2, os.cpu_count() or 2)):
        child = os.fork()
        if child == 0:
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
    """Processes that are not this server's own."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    known = {b"bwrap", b"docker-init", b"tini", b"catatonit", b"sh", b"python3", b"python", b"node"}
    foreign = [p for p in pids if not any(word in _comm(p) for word in known)]
    if not foreign:
        raise Blocked(f"{len(pids)} processes to be seen, all the sandbox's own")
    return f"sees {len(foreign)} other processes"


def _comm(pid):
    try:
        with open(f"/proc/{pid}/comm", "rb") as file:
            return file.read().strip()
    except OSError:
        return b"sh"


def privileges():
    """Any capability, a missing no_new_privs, or a missing seccomp filter counts as getting through."""
    with open("/proc/self/status") as file:
        status = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
    sets = {name: int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")}
    lacking = [name for name, value in sets.items() if value and name != "CapBnd"]
    if sets["CapBnd"] and status["NoNewPrivs"] != "1":
        lacking.append("CapBnd")
    if status["NoNewPrivs"] != "1":
        lacking.append("NoNewPrivs")
    if status["Seccomp"] != "2":
        lacking.append("Seccomp")
    if os.geteuid() == 0:
        lacking.append("root")
    if not lacking:
        raise Blocked("no capability, no_new_privs, seccomp filter")
    return "has or lacks: " + ", ".join(lacking)


def types_into_terminal(request):
    """On a terminal of this process's own, which is its controlling one."""
    os.setsid()
    _, other = pty.openpty()
    import fcntl
    import termios

    fcntl.ioctl(other, termios.TIOCSCTTY, 0)
    if libc.ioctl(other, ctypes.c_ulong(request), ctypes.c_char_p(b"x")) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "typed a character"


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


def gains(directory):
    """A set-user-id program: whether running one changes who this is."""
    for program in ("/usr/bin/su", "/bin/su", "/usr/bin/passwd", "/usr/bin/mount"):
        if os.path.exists(program) and os.stat(program).st_mode & 0o4000:
            break
    else:
        raise Blocked("no set-user-id program to be seen")
    if os.statvfs(program).f_flag & os.ST_NOSUID:
        raise Blocked("mounted nosuid")
    with open("/proc/self/status") as file:
        if "NoNewPrivs:\t1" in file.read():
            raise Blocked("no_new_privs")
    return f"{program} would run as root"


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


NEW = {"mnt": 0x20000, "user": 0x10000000, "net": 0x40000000, "pid": 0x20000000, "ipc": 0x8000000, "uts": 0x4000000}

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
    "setuid": ("files", "gain rights from a set-user-id program", lambda a: gains(a["WRITABLE"])),
    "environment": ("host", "see the host's environment", lambda a: sees(a["VARIABLE"])),
    "init-environment": ("host", "read another process's environment", lambda a: init_environment(a["PID"])),
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
    "clone3": ("kernel", "call clone3", lambda a: call("clone3", 0, 0)),
    "setns": ("kernel", "enter another namespace", lambda a: call("setns", os.open("/proc/self/ns/uts", 0), 0)),
    "mount": ("kernel", "mount a file system", lambda a: mounts()),
    "umount": ("kernel", "unmount one", lambda a: call("umount2", b"/proc", 2)),
    "open-tree": ("kernel", "detach a mount", lambda a: call("open_tree", -100, b"/", 0x8001)),
    "fsopen": ("kernel", "open a file system", lambda a: call("fsopen", b"tmpfs", 0)),
    "pivot-root": ("kernel", "pivot the root", lambda a: call("pivot_root", b".", b".")),
    "chroot": ("kernel", "change the root", lambda a: escapes_chroot()),
    "keyctl": ("kernel", "use the kernel's keyring", lambda a: call("keyctl", 0, -3, 0)),
    "add-key": ("kernel", "add a key to it", lambda a: call("add_key", b"user", b"mcpbox", b"x", 1, -2)),
    "bpf": ("kernel", "load BPF", lambda a: call("bpf", 0, bpf_attributes(), 72)),
    "perf": ("kernel", "use performance events", lambda a: call("perf_event_open", perf_attributes(), 0, -1, -1, 0)),
    "io-uring": ("kernel", "set up io_uring", lambda a: call("io_uring_setup", 4, ctypes.create_string_buffer(120))),
    "userfaultfd": ("kernel", "handle page faults", lambda a: call("userfaultfd", 1)),
    "ptrace": ("kernel", "trace a process", lambda a: traces()),
    "process-vm": ("kernel", "read a process's memory", lambda a: peeks()),
    "init-module": ("kernel", "load a kernel module", lambda a: call("init_module", b"", 0, b"")),
    "kexec": ("kernel", "load another kernel", lambda a: call("kexec_load", 0, 0, None, 0)),
    "handle": ("kernel", "open a file by its handle", lambda a: call("open_by_handle_at", -100, bytes(32), 0)),
    "personality": ("kernel", "switch off address randomisation", lambda a: call("personality", 0x40000)),
    "kernel-log": ("kernel", "read the kernel's log", lambda a: call("syslog", 10, None, 0)),
    "tiocsti": ("kernel", "type into a terminal", lambda a: types_into_terminal(TIOCSTI)),
    "tiocsti-high": ("kernel", "… with a high bit set", lambda a: types_into_terminal(TIOCSTI | 1 << 32)),
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
    "disk-bomb-tmp": ("quotas", "fill /tmp", lambda a: fills("/tmp", a["DISK"])),
    "disk-bomb-home": ("quotas", "fill the home directory", lambda a: fills(os.path.expanduser("~"), a["DISK"])),
    "disk-bomb-shm": ("quotas", "fill /dev/shm", lambda a: fills("/dev/shm", a["DISK"])),
    "disk-bomb-dev": ("quotas", "fill /dev", lambda a: fills("/dev", a["DISK"])),
    "file-bomb": ("quotas", "open files without end", lambda a: descriptors(a["FILES"])),
    "cpu-burn": ("quotas", "use every processor", lambda a: burns(a["CPUS"], 2.0)),
}  # fmt: skip

#: Attempts that need rights which an ordinary user has only as root of a user namespace of its own: their positive
#: control runs in one, which has its own network too, so that no address out of it is ever tried.
IN_NAMESPACE = frozenset(
    "icmp metadata gateway raw-socket packet-socket "
    "unshare-mnt unshare-net unshare-pid unshare-ipc unshare-uts setns mount umount open-tree fsopen pivot-root chroot "
    "privileges".split()
)
#: Attempts without a positive control, and why there is none.
NO_CONTROL = {
    "root-home": "only root can, and the control never is",
    "shadow": "only root can, and the control never is",
    "write-root": "only root can, and the control never is",
    "write-usr": "only root can, and the control never is",
    "write-etc": "only root can, and the control never is",
    "alg-socket": "depends on the kernel's configuration",
    "bpf": "root only since kernel.unprivileged_bpf_disabled",
    "perf": "depends on kernel.perf_event_paranoid",
    "userfaultfd": "depends on vm.unprivileged_userfaultfd",
    "io-uring": "depends on kernel.io_uring_disabled",
    "vsock": "depends on the kernel's configuration",
    "init-module": "root only",
    "kexec": "root only",
    "kernel-log": "root only",
    "tiocsti": "root only since dev.tty.legacy_tiocsti",
    "tiocsti-high": "root only since dev.tty.legacy_tiocsti",
    "dev-mem": "root only",
    "dev-kmsg": "root only",
    "dev-disk": "depends on the machine",
    "mknod": "root only",
    "sys-write": "root only",
    "proc-sys-write": "root only",
    "core-pattern": "root only",
    "sysrq": "root only",
    "kcore": "root only",
    "disk-bomb-home": "the control has no home directory to fill",
    "disk-bomb-dev": "root only",
    "docker-socket": "depends on whether an engine runs, and for whom",
    "handle": "depends on the file system",
    "hardlink": "depends on fs.protected_hardlinks",
    "setuid": "depends on the programs installed",
}


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
    """Make one attempt in a child; ``{"outcome": "allowed" | "blocked", "detail": TEXT}``."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        os.close(read)
        # The attempt, not the probe, is what a shortage of memory should end.
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.write(write, json.dumps(_judge(name, arguments)).encode())
        os._exit(0)
    os.close(write)
    answer, deadline = b"", time.monotonic() + SECONDS
    import select

    while time.monotonic() < deadline and select.select([read], [], [], max(0, deadline - time.monotonic()))[0]:
        data = os.read(read, 65536)
        if not data:
            break
        answer += data
    os.close(read)
    try:
        os.killpg(child, signal.SIGKILL)
    except OSError:
        pass
    _, status = os.waitpid(child, 0)
    if answer:
        return json.loads(answer)
    if os.WIFSIGNALED(status):
        return {"outcome": "blocked", "detail": f"ended by {signal.Signals(os.WTERMSIG(status)).name}"}
    return {"outcome": "blocked", "detail": "no answer"}


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
    except Exception as error:
        return {"outcome": "blocked", "detail": f"{type(error).__name__}: {error}"}


#: Attempts whose arguments are deliberately wrong, with the errors that only an open call gives.
PASSED_IN = {
    "clone3": ("EINVAL", "EFAULT"),
    "setns": ("EINVAL",),
    "pivot-root": ("EINVAL", "EBUSY"),
    "umount": ("EBUSY", "EINVAL"),
    "init-module": ("ENOEXEC", "EFAULT", "EINVAL"),
    "kexec": ("EINVAL", "EADDRNOTAVAIL"),
    "handle": ("EINVAL", "ESTALE", "EBADF"),
    "io-uring": ("EINVAL", "EFAULT"),
    "keyctl": ("ENOKEY",),
}


def listen_alone(arguments):
    """In a network namespace of the control's own: give it the addresses that the attempts aim at, and listen there."""
    for command in (
        "ip link set lo up",
        "ip address add 169.254.169.254/32 dev lo",
        "ip address add 172.17.0.1/32 dev lo",
    ):
        subprocess.run(command.split(), check=True)
    with open("/proc/sys/net/ipv4/ping_group_range", "w") as file:
        file.write("0 0")
    for host, port in (("169.254.169.254", 80), ("172.17.0.1", arguments["TCP4"])):
        listener = socket.create_server((host, int(port)))
        listener.set_inheritable(True)
        LISTENERS.append(listener)


def serve():
    """Speak MCP on standard input and output, protocol 2025-06-18."""
    tools = [
        {"name": "echo", "description": "Returns its text.", "inputSchema": {"type": "object"}},
        {"name": "attempt", "description": "Makes one attempt to get out.", "inputSchema": {"type": "object"}},
    ]
    for line in sys.stdin:
        message = json.loads(line)
        method, parameters = message.get("method"), message.get("params") or {}
        if "id" not in message:
            continue
        if method == "initialize":
            result = {
                "protocolVersion": parameters.get("protocolVersion", "2025-06-18"),
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "probe", "version": "1"},
            }
        elif method == "tools/list":
            result = {"tools": tools}
        elif method == "tools/call" and parameters.get("name") == "attempt":
            given = parameters["arguments"]
            outcome = attempt(given["name"], given.get("arguments", {}))
            result = {"content": [{"type": "text", "text": json.dumps(outcome)}], "structuredContent": outcome}
        else:
            result = {"content": [{"type": "text", "text": json.dumps(parameters)}]}
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--attempt"]:
        if sys.argv[4:5] == ["--alone"]:
            listen_alone(json.loads(sys.argv[3]))
        sys.stdout.write(json.dumps(attempt(sys.argv[2], json.loads(sys.argv[3]))) + "\n")
    else:
        serve()
