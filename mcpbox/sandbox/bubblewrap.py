"""The bubblewrap backend: namespaces, an empty root, a seccomp filter and quotas, without an engine or an image.

``arguments`` is the pure translation of a spec into bubblewrap's options; ``launch`` runs them.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any

from msgspec import Struct

from mcpbox.errors import BackendError
from mcpbox.sandbox import bwrap, companion, kernel, quota, seccomp, unroot
from mcpbox.sandbox.base import Finding, Mount, Remember, SandboxSpec, Usage, nothing
from mcpbox.sandbox.child import NOT_RUN, Child

#: What bubblewrap starts. It says that it runs, and becomes the server at a line of input, which it gets once all of
#: bubblewrap has asked the kernel to be killed with mcpbox. No server runs whose mcpbox is gone.
GUARD = ("/bin/sh", "-c", 'echo && read -r go && exec "$@"')
#: Seconds that setting up a sandbox may take.
SET_UP = 10.0

#: What programs read below /etc to be able to start at all: the linker's cache, Debian's alternatives, certificates.
ETC = (
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/crypto-policies",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/pki/ca-trust",
    "/etc/pki/tls",
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/openssl.cnf",
)
#: What Docker masks too, of what a process that is not root could read.
MASKED = ("/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/timer_list")


class Host(Struct, frozen=True):
    """What of the host's layout decides the arguments: where /bin, /lib … lead, and which files of /etc there are."""

    links: Mapping[str, str]
    directories: tuple[str, ...]
    etc: tuple[str, ...]
    masked: tuple[str, ...]


def arguments(spec: SandboxSpec, host: Host, sources: Mapping[Mount, str | int], fds: Mapping[str, int]) -> list[str]:
    """The options of bubblewrap for ``spec``, without the program and its command.

    ``sources`` are the mounts to make, each with the path or the descriptor of what is mounted; ``fds`` holds
    descriptors for "seccomp", "status", "block", "variables" and for each file of /etc that is made for the sandbox.
    """
    size = ("--size", str(spec.scratch))
    words = [
        *("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup", "--unshare-net"),
        *("--disable-userns", "--die-with-parent", "--new-session", "--cap-drop", "ALL"),
        *("--uid", str(spec.uid), "--gid", str(spec.gid), "--hostname", "mcpbox"),
        *("--ro-bind", "/usr", "/usr"),
    ]
    for path, target in host.links.items():
        words += ["--symlink", target, path]
    for path in (*host.directories, *host.etc):
        words += ["--ro-bind", path, path]
    for name in ETC_FILES:
        words += ["--ro-bind-data", str(fds[name]), f"/etc/{name}"]
    words += ["--proc", "/proc"]
    for path in host.masked:
        words += ["--ro-bind", "/dev/null", path]
    # Both /dev and the root are memory file systems without a bound, so neither may stay writable.
    words += ["--dev", "/dev", *size, "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]
    words += [*size, "--tmpfs", "/tmp", "--dir", "/run", "--dir", "/var/tmp"]
    words += [*size, "--tmpfs", spec.home]
    for path, room in spec.rooms.items():
        words += ["--size", str(room), "--tmpfs", path]
    for mount, source in sources.items():
        option = "--bind" if mount.write else "--ro-bind"
        words += [option if isinstance(source, str) else f"{option}-fd", str(source), mount.target]
    words += ["--remount-ro", "/", "--chdir", spec.cwd]
    words += ["--seccomp", str(fds["seccomp"]), "--json-status-fd", str(fds["status"]), "--block-fd", str(fds["block"])]
    return [*words, "--args", str(fds["variables"])]


def variables(environment: Mapping[str, str]) -> bytes:
    """The options that give the server its environment, for bubblewrap to read.

    Not in its own, where its loader would obey LD_PRELOAD and the like, and what they name run outside of any sandbox;
    nor among its words, which every user can read.
    """
    words = (word for name, value in environment.items() for word in ("--setenv", name, value))
    return "\0".join(words).encode(errors="surrogateescape")


def etc_files(uid: int, gid: int, home: str) -> dict[str, str]:
    """The files of /etc that exist only in the sandbox; none says anything about the host."""
    return {
        "passwd": f"mcpbox:x:{uid}:{gid}:mcpbox:{home}:/bin/sh\n",
        "group": f"mcpbox:x:{gid}:\n",
        "hosts": "127.0.0.1 localhost mcpbox\n::1 localhost\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
        "resolv.conf": "nameserver 127.0.0.1\n",
    }


ETC_FILES = tuple(etc_files(0, 0, ""))


def available() -> Finding:
    if sys.platform != "linux":
        return Finding("bubblewrap", "missing", "bubblewrap exists on Linux only", "use Docker")
    try:
        path, origin = bwrap.find()
    except BackendError as error:
        return Finding("bubblewrap", "missing", error.message, error.hint)
    return Finding("bubblewrap", "ok", f"{path}, {origin}")


def launch(spec: SandboxSpec, remember: Remember, meanwhile: Callable[[], None] = nothing) -> Bubble:
    """Start the server. Raises BackendError; on any error nothing is left running."""
    if spec.image:
        raise BackendError(
            f"the image {spec.image} needs an engine",
            "use: --backend docker; what that lacks here says: mcpbox doctor",
        )
    program, _ = bwrap.find()
    # One that a profile mounts something over is the host's.
    rooms = {"/tmp", "/dev/shm", spec.home, *spec.rooms} - {mount.target for mount in spec.mounts}
    with ExitStack() as stack:
        limits = quota.acquire(
            spec.session, memory=spec.memory, cpus=spec.cpus, pids=spec.pids, rooms=rooms, remember=remember
        )
        stack.callback(limits.remove)
        if limits.notice:
            sys.stderr.write(f"[mcpbox] {limits.notice}\n")
        bubble = _start(spec, program, limits, stack, meanwhile)
        remember({"init": bubble.init, "init_started": kernel.started(bubble.init)})
        stack.pop_all()
        return bubble


def _start(
    spec: SandboxSpec, program: str, limits: quota.Quota, stack: ExitStack, meanwhile: Callable[[], None]
) -> Bubble:
    ours = ExitStack()
    theirs = stack.enter_context(ExitStack())
    stack.push(ours)

    def pipe(reads: bool) -> tuple[int, int]:
        """Our end and the sandbox's; ``reads`` says whether we read."""
        read, write = os.pipe()
        mine, other = (read, write) if reads else (write, read)
        ours.callback(_close, mine)
        theirs.callback(_close, other)
        return mine, other

    stdin, child_in = pipe(False)
    stdout, child_out = pipe(True)
    stderr, child_err = pipe(True)
    status, child_status = pipe(True)
    block, child_block = pipe(False)
    files = etc_files(spec.uid, spec.gid, spec.home)
    data = {name: text.encode() for name, text in files.items()} | {"seccomp": seccomp.bpf(limits.refused)}
    data["variables"] = variables({**spec.environment, **spec.secrets})
    fds = {name: _memory_file(name, content, theirs) for name, content in data.items()}
    fds |= {"status": child_status, "block": child_block}
    root = os.geteuid() == 0
    beside = None if spec.relay is None else companion.RelayProcess(spec.relay, ours)
    mounts = _to_make(spec.mounts)
    sources: dict[Mount, str | int] = {
        mount: unroot.staged(i) if root else _opened(mount, theirs) for i, mount in enumerate(mounts)
    }

    def prepare() -> None:
        """In the child, before bubblewrap. Limits set from outside would need CAP_SYS_RESOURCE."""
        quota.limit_files()
        limits.join()
        if root:
            unroot.stage([mount.source for mount in mounts])
            unroot.become(spec.uid, spec.gid)

    words = [program, *arguments(spec, host_layout(), sources, fds), "--", *GUARD, _mark(spec.session), *spec.command]
    monitor = Child(
        [*limits.prefix, *words],
        limits.environment,
        streams=(child_in, child_out, child_err),
        keep=(*fds.values(), *(source for source in sources.values() if isinstance(source, int))),
        prepare=prepare,
    )
    ours.callback(monitor.end)
    theirs.close()
    meanwhile()
    init = kernel.child_pid(status, SET_UP)
    if init is None:
        raise _complaint(monitor, stderr)
    try:
        first = os.pidfd_open(init)
    except ProcessLookupError:
        raise _complaint(monitor, stderr) from None
    ours.callback(_close, first)
    try:
        limits.enter(init)
    except BackendError:
        if kernel.alive(init):
            raise
        raise _complaint(monitor, stderr) from None
    egress = None if beside is None else beside.join(init)
    with suppress(BrokenPipeError):
        os.write(block, b"x")
    _close(block)
    if not (kernel.readable(stdout, SET_UP) and os.read(stdout, 1) and kernel.confined(init, SET_UP)):
        raise _complaint(monitor, stderr)
    with suppress(BrokenPipeError):
        os.write(stdin, b"\n")
    for fd in (stdin, stdout, stderr):
        os.set_blocking(fd, False)
    return Bubble(stdin, stdout, stderr, egress, first, init, monitor, limits, ours.pop_all())


class Bubble:
    """A running sandbox: bubblewrap's monitor process outside, and ``init``, the first process of its namespace."""

    def __init__(
        self,
        stdin: int,
        stdout: int,
        stderr: int,
        egress: tuple[int, int] | None,
        first: int,
        init: int,
        monitor: Child,
        limits: quota.Quota,
        resources: ExitStack,
    ) -> None:
        self.stdin, self.stdout, self.stderr, self.exited = stdin, stdout, stderr, monitor.exited
        self.egress, self.image = egress, ""
        self.init = init
        self._processes = first, monitor.exited
        self._monitor = monitor
        self._limits = limits
        self._resources = resources
        self._stdin_open = True

    def poll(self) -> int | None:
        return self._monitor.poll()

    def kill(self) -> None:
        # The kernel ends the rest of init's namespace.
        for pidfd in self._processes:
            with suppress(OSError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)

    def why(self) -> str:
        return self._limits.reason()

    def close_stdin(self) -> None:
        if self._stdin_open:
            self._stdin_open = False
            # The number must stay taken: the resources close it in the end.
            null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            os.dup2(null, self.stdin, inheritable=False)
            os.close(null)

    def close(self) -> None:
        self.kill()
        self._resources.close()
        self._limits.remove()


def reap(record: Mapping[str, Any]) -> None:
    init = record.get("init")
    if isinstance(init, int) and init > 1 and kernel.started(init) == record.get("init_started"):
        with suppress(OSError):
            os.kill(init, signal.SIGKILL)
    # Killed at the wrong moment, mcpbox leaves a bubblewrap that waits for one that is gone, and that nobody recorded.
    import glob

    mark = _mark(str(record.get("id"))).encode()
    for path in glob.iglob("/proc/[0-9]*/cmdline"):
        with suppress(OSError):
            with open(path, "rb") as file:
                words = file.read().split(b"\0")
            if mark in words:
                os.kill(int(path.split("/")[2]), signal.SIGKILL)
    quota.reap(record)


def usage(record: Mapping[str, Any]) -> Usage | None:
    init = record.get("init")
    if not isinstance(init, int) or kernel.started(init) != record.get("init_started"):
        return None
    return quota.usage(init)


def sees_files() -> bool:
    return True


def provide(tree: str, source: str, interpreter: str) -> None:
    """Nothing to do: a package is where it is."""


def withdraw(keep: Collection[str]) -> None:
    """Nothing was brought anywhere."""


def check() -> list[Finding]:
    findings = [available()]
    if findings[0].status == "missing":
        return findings
    findings.append(kernel.user_namespaces())
    findings.append(kernel.seccomp())
    machine = quota.inspect()
    kind = quota.choose(machine)
    if kind == "watchdog":
        remedy = quota.remedy(machine)
        findings.append(Finding("quotas", "degraded", "resource limits and a watchdog; no cgroup here", remedy))
    else:
        findings.append(Finding("quotas", "ok", f"memory, processors and processes by {kind}"))
    return findings


def _mark(session: str) -> str:
    """What the guard is called in its command line, by which a leftover is found."""
    return f"mcpbox-{session}"


def host_layout() -> Host:
    """Read from the file system what ``arguments`` needs to know."""
    links, directories = {}, []
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = f"/{name}"
        with suppress(OSError):
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                links[path] = os.readlink(path)
            else:
                directories.append(path)
    etc = tuple(path for path in ETC if os.path.exists(path))
    masked = tuple(path for path in MASKED if os.path.exists(path))
    return Host(links, tuple(directories), etc, masked)


def _to_make(mounts: Sequence[Mount]) -> list[Mount]:
    """Without those at a link within another mount: they are seen through it, and nothing can be mounted on a link."""
    made: list[Mount] = []
    for mount in mounts:
        around = next((other for other in reversed(made) if mount.target.startswith(f"{other.target}/")), None)
        there = f"{around.source}{mount.target.removeprefix(around.target)}" if around else mount.source
        if there == mount.source or os.path.realpath(there) != mount.source:
            made.append(mount)
    return made


def _opened(mount: Mount, stack: ExitStack) -> int:
    fd = kernel.opened(mount)
    stack.callback(_close, fd)
    return fd


def _memory_file(name: str, content: bytes, stack: ExitStack) -> int:
    fd = os.memfd_create(f"mcpbox-{name}", os.MFD_CLOEXEC)
    stack.callback(_close, fd)
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _complaint(monitor: Child, stderr: int) -> BackendError:
    kernel.readable(monitor.exited, 2)
    hint = bwrap.INSTALL if monitor.poll() == NOT_RUN else "run: mcpbox doctor"
    os.set_blocking(stderr, False)
    with suppress(BlockingIOError):
        if text := os.read(stderr, 4096).decode(errors="replace").strip():
            return BackendError(f"bubblewrap could not start the sandbox: {text}", hint)
    return BackendError("bubblewrap could not start the sandbox, and did not say why", hint)


def _close(fd: int) -> None:
    with suppress(OSError):
        os.close(fd)
