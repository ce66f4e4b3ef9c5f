"""Runs a package manager in a sandbox of its own, which sees one directory and reaches the registry alone."""

from __future__ import annotations

import codecs
import os
import select
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from msgspec import Struct

from mcpbox import command, config, network, paths, sandbox, sessions
from mcpbox.audit.writer import Log
from mcpbox.egress import mux, program
from mcpbox.egress.gateway import Gateway, Limits, Owner
from mcpbox.egress.proxy import from_environment
from mcpbox.egress.resolve import is_own
from mcpbox.egress.rules import Rules
from mcpbox.errors import BackendError, PackageError
from mcpbox.packages import carry
from mcpbox.sandbox.base import Mount, Process, Relay, SandboxSpec
from mcpbox.shown import plain
from mcpbox.spec import code_mounts, server_user

MEMORY, PIDS, SCRATCH = 2 << 30, 512, 512 << 20
#: An engine refuses more processors than there are.
CPUS = float(min(4, os.cpu_count() or 1))
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/home/mcpbox", "LANG": "C.UTF-8"}
LIMITS = Limits(connections=256, bytes=4 << 30, idle=300.0)
CHUNK = 1 << 16
KEPT_STDERR = 1 << 14
MAX_OUTPUT = 64 << 20
MEASURE_SECONDS = 1.0
#: Seconds between the end of a program and the end of what it said.
LAST_WORDS = 10.0
#: Bytes in memory for each directory, where a sandbox sees none of this machine's.
ROOM = 2 << 30
#: Reads the files that standard input brings, one after the other, before the program runs. With that block size and
#: "fullblock", dd takes exactly a file's bytes and not one of the next.
LAY_OUT = (
    'umask 077; while [ "$1" != -- ]; do mkdir -p "$(dirname "$HOME/$2")" && : >"$HOME/$2" && '
    '{ [ "$1" = 0 ] || dd of="$HOME/$2" bs="$1" count=1 iflag=fullblock 2>/dev/null; } || exit 125; '
    'shift 2; done; shift; exec "$@"'
)


class Job(Struct, frozen=True):
    """One run of a package manager. ``work`` is writable and the current directory; ``read`` are other host paths.

    ``allow`` are egress rules, ``interpreter`` what an image has to bring ("node" or "python"), ``timeout`` seconds.
    Where the sandbox is an image, a program that ``words`` only name is the image's. ``write`` are more host paths to
    write to. ``files`` are laid below HOME inside the sandbox, in memory, by their names there: for tokens, which are
    then neither on the disk nor in a container's configuration. ``proxy`` is read instead of the environment's
    variables where it has any. ``size`` and ``count`` are what the files in ``work`` and ``write`` may come to: bytes
    and files.
    """

    words: tuple[str, ...]
    work: Path
    interpreter: str
    read: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}
    timeout: float = 600.0
    write: tuple[str, ...] = ()
    files: Mapping[str, bytes] = {}
    proxy: Mapping[str, str] = {}
    size: int = 4 << 30
    count: int = 500_000


class JobError(PackageError):
    """A job ran and failed. ``output`` is the end of what it said on standard error."""

    def __init__(self, message: str, output: str) -> None:
        super().__init__(message)
        self.output = output


def run(job: Job, backend: str) -> bytes:
    """Standard output of a job that succeeded. Raises JobError with what it said last, PackageError, BackendError."""
    shared = sandbox.load(backend).sees_files()
    words, trees = _program(job, backend)
    ordered: tuple[Mount, ...] = ()
    rooms: dict[str, int] = {}
    given, most = b"".join(job.files.values()), MAX_OUTPUT
    back = (str(job.work), *job.write)
    if shared:
        mounts = {mount.target: mount for mount in code_mounts(trees, paths.home())}
        mounts |= {path: Mount(os.path.realpath(path), path) for path in job.read}
        mounts |= {path: Mount(os.path.realpath(path), path, write=True) for path in job.write}
        mounts[str(job.work)] = Mount(os.path.realpath(job.work), str(job.work), write=True)
        ordered = tuple(sorted(mounts.values(), key=lambda mount: mount.target.count("/")))
    else:
        carried = carry.outermost((*back, *job.read))
        words, given, rooms = carry.words(words, back), given + carry.pack(carried), dict.fromkeys(carried, ROOM)
        most += job.size
    if job.files:
        sizes = [word for name, data in job.files.items() for word in (str(len(data)), name)]
        words = ("/bin/sh", "-c", LAY_OUT, "sh", *sizes, "--", *words)
    uid, gid = server_user(ordered)
    rules = Rules.parse(job.allow)
    with ExitStack() as stack:
        session = sessions.begin("install", backend)
        stack.callback(session.end)
        log = Log("install", session.id, who={})
        stack.callback(log.close)
        spec = SandboxSpec(
            session=session.id,
            name="install",
            command=words,
            cwd=str(job.work),
            environment={**ENVIRONMENT, **job.environment},
            mounts=ordered,
            home="/home/mcpbox",
            uid=uid,
            gid=gid,
            memory=MEMORY + (0 if shared else ROOM),
            cpus=CPUS,
            pids=PIDS,
            scratch=SCRATCH,
            interpreter=job.interpreter,
            relay=_relay(rules),
            rooms=rooms,
        )
        log.record({"event": "install", "command": list(job.words), "backend": backend, "allow": list(job.allow)})
        process = sandbox.load(backend).launch(spec, session.remember)
        stack.callback(process.close)
        if process.egress is not None:
            owner = Owner(log.record, _tell, lambda: None, lambda _: process.kill())
            gateway = Gateway(*process.egress, rules, LIMITS, owner, proxy=from_environment(job.proxy or os.environ))
            gateway.start()
            stack.callback(gateway.close)
        code, output, errors = _collect(process, job, given, most)
        why = process.why() if code else ""
        log.record({"event": "installed", "code": code})
    if code:
        said = errors.decode(errors="replace").strip()
        last = " | ".join(said.splitlines()[-3:]) or f"exit code {code}"
        if why:
            raise BackendError(f"{' '.join(job.words[:2])} failed: {why}: {last}", "try again, or run: mcpbox doctor")
        raise JobError(f"{' '.join(job.words[:2])} failed: {last}", said)
    return output if shared else carry.unpack(output, back, size=job.size, count=job.count)


def _program(job: Job, backend: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words to run, and the host paths outside /usr that they need."""
    if backend == "docker" and "/" not in job.words[0]:
        return (f"/usr/bin/{job.words[0]}", *job.words[1:]), ()
    home = str(paths.home())
    # Not from the work directory: above it are places that anybody can write a version manager's file to.
    found = command.resolve(list(job.words), path=os.environ.get("PATH", os.defpath), cwd=home, home=home)
    return found.argv, found.trees


def _tell(line: str) -> None:
    """Without the line for a profile that would allow it: none has a say here."""
    network.tell(line.partition("; to allow it")[0])


def _relay(rules: Rules) -> Relay | None:
    if not rules.rules:
        return None
    return Relay(program.arguments(), program.plan(rules), mux.READY, routes=bool(rules.networks()))


def rules_for(url_host: str, port: int) -> list[str]:
    """Egress rules for a registry that the user's configuration names: its addresses may then be private ones too."""
    if url_host in ("localhost", "127.0.0.1", "::1"):
        return [f"localhost:{port}"]
    rules = Rules.parse([f"{url_host}:{port}"])
    lines = [f"{url_host}:{port}"]
    try:
        found = socket.getaddrinfo(url_host, port, type=socket.SOCK_STREAM)
    except OSError:
        # Only a proxy may know it.
        return lines
    for entry in found:
        address = str(entry[4][0])
        verdict = rules.vet(address, port, rules.rules[0], own=is_own(address))
        if not verdict.allow and verdict.remedy:
            lines.append(verdict.remedy)
    return list(dict.fromkeys(lines))


def named_hosts() -> dict[tuple[str, int], list[str]]:
    """Egress rules, by host and port, for where the user lets registries send to."""
    found = {}
    for text in config.load().packages.hosts:
        host, _, port = text.lower().partition(":")
        found[host, int(port or 443)] = rules_for(host, int(port or 443))
    return found


def name_it(host: str, port: int) -> str:
    """What lets the registries send to a host."""
    return f'if that is right, in {config.file()}: [packages] hosts = ["{host}{f":{port}" if port != 443 else ""}"]'


def _collect(process: Process, job: Job, given: bytes, most: int) -> tuple[int, bytes, bytes]:
    """Exit code, standard output (``most`` bytes) and the end of standard error of a process ``given`` some input.

    Raises PackageError when it takes too long or writes too much.
    """
    output, errors, open_files = bytearray(), b"", {process.stdout, process.stderr}
    exited, left, decoder = [process.exited], memoryview(given), codecs.getincrementaldecoder("utf-8")("replace")
    deadline = time.monotonic() + job.timeout
    measured = time.monotonic()
    if not left:
        process.close_stdin()
    while open_files:
        feeding = [process.stdin] if left else []
        ready, writable, _ = select.select([*open_files, *exited], feeding, [], MEASURE_SECONDS)
        now = time.monotonic()
        if now > deadline:
            if not exited:
                break
            raise PackageError("the package manager took too long", "try again, or install by hand")
        if now - measured >= MEASURE_SECONDS:
            _require_small(job)
            measured = time.monotonic()
        if writable:
            try:
                left = left[os.write(process.stdin, left[:CHUNK]) :]
            except BrokenPipeError:
                left = left[:0]
            if not left:
                process.close_stdin()
        for fd in open_files & set(ready):
            data = os.read(fd, CHUNK)
            if not data:
                open_files.discard(fd)
            elif fd == process.stdout:
                output += data
                if len(output) > most:
                    raise PackageError("the package manager printed too much")
            else:
                errors = (errors + data)[-KEPT_STDERR:]
                if sys.stderr.isatty():
                    sys.stderr.write("\n".join(map(plain, decoder.decode(data).split("\n"))))
        if exited and process.exited in ready:
            # What it said last may still be on its way from another machine.
            exited, deadline = [], min(deadline, now + LAST_WORDS)
    deadline = time.monotonic() + LAST_WORDS if not exited else deadline
    while (code := process.poll()) is None:
        if time.monotonic() > deadline:
            raise PackageError("the package manager took too long", "try again, or install by hand")
        select.select([process.exited], [], [], 0.1)
    _require_small(job)
    return code, bytes(output), errors


def _require_small(job: Job) -> None:
    """Raise PackageError if the files in the job's directories have become more than they may.

    The directories are on the host's disk, where an ordinary user can set no quota, so it is looked at now and then.
    """
    size, count, pending = 0, 0, carry.outermost((str(job.work), *job.write))
    while pending:
        # What is listed may be gone by the time it is looked at.
        with suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    count += 1
                    size += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
    if size > job.size or count > job.count:
        raise PackageError(
            f"the package is too large: over {job.size >> 20} MiB or {job.count} files when unpacked",
            "if it is meant to be that large, install it by hand and wrap the program itself",
        )
