"""Runs a package manager in a sandbox of its own, which sees one directory and reaches the registry alone."""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from msgspec import Struct

from mcpbox import command, network, paths, sandbox, sessions
from mcpbox.egress import mux, program
from mcpbox.egress.gateway import Gateway, Limits, Owner
from mcpbox.egress.proxy import from_environment
from mcpbox.egress.rules import Rules
from mcpbox.errors import PackageError
from mcpbox.journal import Journal
from mcpbox.sandbox.base import Mount, Process, Relay, SandboxSpec
from mcpbox.spec import code_mounts, server_user

MEMORY, CPUS, PIDS, SCRATCH = 2 << 30, 4.0, 512, 512 << 20
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/home/mcpbox", "LANG": "C.UTF-8"}
LIMITS = Limits(connections=256, bytes=4 << 30, idle=300.0)
CHUNK = 1 << 16
KEPT_STDERR = 1 << 14


class Job(Struct, frozen=True):
    """One run of a package manager. ``work`` is writable and the current directory; ``read`` are other host paths.

    ``allow`` are egress rules, ``interpreter`` what an image has to bring ("node" or "python"), ``timeout`` seconds.
    """

    words: tuple[str, ...]
    work: Path
    interpreter: str
    read: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}
    timeout: float = 600.0


def run(job: Job, backend: str) -> bytes:
    """Standard output of a job that succeeded. Raises PackageError with what it said last, BackendError."""
    found = command.resolve(
        list(job.words), path=os.environ.get("PATH", os.defpath), cwd=str(job.work), home=str(paths.home())
    )
    mounts = {mount.target: mount for mount in code_mounts(found.trees, paths.home())}
    mounts |= {path: Mount(os.path.realpath(path), path) for path in job.read}
    mounts[str(job.work)] = Mount(os.path.realpath(job.work), str(job.work), write=True)
    ordered = tuple(sorted(mounts.values(), key=lambda mount: mount.target.count("/")))
    uid, gid = server_user(ordered)
    rules = Rules.parse(job.allow)
    with ExitStack() as stack:
        session = sessions.begin("install", backend)
        stack.callback(session.end)
        journal = Journal("install", session.id)
        stack.callback(journal.close)
        spec = SandboxSpec(
            session=session.id,
            name="install",
            command=found.argv,
            cwd=str(job.work),
            environment={**ENVIRONMENT, **job.environment},
            mounts=ordered,
            home="/home/mcpbox",
            uid=uid,
            gid=gid,
            memory=MEMORY,
            cpus=CPUS,
            pids=PIDS,
            scratch=SCRATCH,
            interpreter=job.interpreter,
            relay=_relay(rules),
        )
        journal.record({"event": "install", "command": list(job.words), "backend": backend, "allow": list(job.allow)})
        process = sandbox.load(backend).launch(spec, session.remember)
        stack.callback(process.close)
        if process.egress is not None:
            owner = Owner(journal.record, network.tell, lambda: None, lambda _: process.kill())
            gateway = Gateway(*process.egress, rules, LIMITS, owner, proxy=from_environment(os.environ))
            gateway.start()
            stack.callback(gateway.close)
        process.close_stdin()
        code, output, errors = _collect(process, time.monotonic() + job.timeout)
        journal.record({"event": "installed", "code": code})
    if code:
        last = errors.decode(errors="replace").strip().splitlines()[-3:]
        raise PackageError(f"{' '.join(job.words[:2])} failed: {' | '.join(last) or f'exit code {code}'}")
    return output


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
        verdict = rules.vet(str(entry[4][0]), port, rules.rules[0])
        if not verdict.allow and verdict.remedy:
            lines.append(verdict.remedy)
    return list(dict.fromkeys(lines))


def _collect(process: Process, deadline: float) -> tuple[int, bytes, bytes]:
    """Exit code, standard output and the end of standard error. Raises PackageError after the deadline."""
    output, errors, open_files = bytearray(), b"", {process.stdout, process.stderr}
    while open_files:
        ready, _, _ = select.select([*open_files, process.exited], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise PackageError("the package manager took too long", "try again, or install by hand")
        for fd in open_files & set(ready):
            data = os.read(fd, CHUNK)
            if not data:
                open_files.discard(fd)
            elif fd == process.stdout:
                output += data
            else:
                errors = (errors + data)[-KEPT_STDERR:]
                if sys.stderr.isatty():
                    sys.stderr.write(data.decode(errors="replace"))
        if process.exited in ready and not open_files & set(ready):
            break
    while (code := process.poll()) is None:
        if time.monotonic() > deadline:
            raise PackageError("the package manager took too long", "try again, or install by hand")
        select.select([process.exited], [], [], 0.1)
    return code, bytes(output), errors
