"""The walls, tried from both sides: each of the probe's attempts first outside the sandbox, then inside.

An attempt that fails outside too proves nothing about the sandbox, so the two are always shown together. Outside, an
attempt runs as an ordinary user, or as root of a namespace of its own, and never as the machine's root.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcpbox import probe
from mcpbox.errors import McpboxError

#: Where an attempt that is bounded only by its quota stops by itself: above the quotas of ``PROFILE``.
BOUNDS = {"FORKS": 200, "MEMORY": 700 << 20, "DISK": 96 << 20, "FILES": 6000, "CPUS": 0.5}
VARIABLE = "MCPBOX_PROBE_DECOY"
NAMESPACES = ("unshare", "--user", "--map-root-user", "--mount", "--net", "--pid", "--fork", "--ipc", "--uts")
PROFILE = """version = 1
name = "probe"
description = "What the probe is given, to try to get more"

[sandbox]
memory = "512MiB"
cpus = 0.5
pids = 128
scratch = "64MiB"

[filesystem]
read = ["{read}"]
write = ["{write}"]
"""


@dataclass(frozen=True, slots=True)
class Result:
    """One attempt; ``outside`` and ``inside`` are "allowed" or "blocked", ``outside`` "" where there is no control."""

    name: str
    category: str
    title: str
    outside: str
    inside: str
    detail: str


class Server:
    """A stdio MCP server under ``mcpbox wrap`` and the simplest of hosts: one request at a time."""

    def __init__(
        self,
        words: Sequence[str],
        environment: dict[str, str],
        *,
        user: int | None = None,
        groups: Sequence[int] = (),
        cwd: str | None = None,
    ) -> None:
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, cwd=cwd,
            user=user, group=user, extra_groups=None if user is None else list(groups),
        )  # fmt: skip
        self._held = b""
        self._id = 0

    def request(self, method: str, params: Any, seconds: float = 60) -> dict[str, Any] | None:
        """The answer to a request, or None if the server ended or did not give one in time."""
        assert self._process.stdin and self._process.stdout
        self._id += 1
        message = {"jsonrpc": "2.0", "id": self._id, "method": method, "params": params}
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        deadline = time.monotonic() + seconds
        while True:
            line, newline, rest = self._held.partition(b"\n")
            if newline:
                self._held = rest
                answer = json.loads(line)
                if answer.get("id") == self._id and "method" not in answer:
                    return dict(answer)
                continue
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                return None
            data = os.read(self._process.stdout.fileno(), 1 << 16)
            if not data:
                return None
            self._held += data

    def initialize(self) -> dict[str, Any] | None:
        client = {"name": "mcpbox-try", "version": "1"}
        answer = self.request("initialize", {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client})
        assert self._process.stdin
        with suppress(BrokenPipeError):
            self._process.stdin.write(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
            self._process.stdin.flush()
        return answer

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class Walls:
    """Decoys and listeners outside, the probe inside one backend. A context manager."""

    def __init__(
        self, backend: str, *, wrapped_as: int | None = None, groups: Sequence[int] = (), config: str = ""
    ) -> None:
        """As root, ``wrapped_as`` and ``groups`` run mcpbox as another user; ``config`` is a config.toml to use."""
        self._backend = backend
        self._wrapped_as, self._groups = wrapped_as, groups
        self._config = config
        self._user = wrapped_as if wrapped_as is not None else (65534 if os.geteuid() == 0 else None)
        self._python = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
        self._server: Server | None = None

    def __enter__(self) -> Walls:
        self._directory = Path(tempfile.mkdtemp(prefix="mcpbox-walls-"))
        self._directory.chmod(0o755)
        # The user's home directory is the decoys', so that what is read of it is known.
        self._home = self._make("home/.ssh").parent
        (self._home / ".ssh" / "id_ed25519").write_text("decoy")
        (self._home / "letter.txt").write_text("decoy")
        read, self._writable = self._make("shared/read"), self._make("shared/write")
        (read / "file").write_text("decoy")
        code = self._make("code")
        shutil.copy(probe.__file__, code / "probe.py")
        settings = self._make("config/mcpbox")
        (settings / "config.toml").write_text(self._config or self._own_config())
        self._profile = settings / "profile.toml"
        self._profile.write_text(PROFILE.format(read=read, write=self._writable))
        for path in (self._directory, *self._directory.rglob("*")):
            path.chmod(path.stat().st_mode | 0o444)
            if self._user is not None:
                os.chown(path, self._user, self._user)
        self._listeners = Listeners(self._directory / "dbus")
        decoy = {**self._environment(), VARIABLE: "1"}
        self._decoy = subprocess.Popen(["sleep", "3600"], env=decoy, **self._as_user())
        self.arguments = {
            **BOUNDS,
            **self._listeners.arguments,
            "SSH_KEY": str(self._home / ".ssh" / "id_ed25519"),
            "HOME_FILE": str(self._home / "letter.txt"),
            "READ_ONLY": str(read / "file"),
            "WRITABLE": str(self._writable),
            "VARIABLE": VARIABLE,
            "PID": self._decoy.pid,
        }
        return self

    def __exit__(self, *_: object) -> None:
        if self._server:
            self._server.close()
        self._decoy.kill()
        self._decoy.wait()
        self._listeners.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def results(self, names: Sequence[str] = tuple(probe.ATTEMPTS)) -> Iterator[Result]:
        """Try each attempt, outside and inside."""
        for name in names:
            category, title, _ = probe.ATTEMPTS[name]
            outside = "" if name in probe.NO_CONTROL else self.outside(name)["outcome"]
            inside = self.inside(name)
            yield Result(name, category, title, outside, inside["outcome"], inside["detail"])

    def outside(self, name: str) -> dict[str, str]:
        """The positive control: the same attempt, without the sandbox."""
        words = [
            self._python,
            str(self._directory / "code" / "probe.py"),
            "--attempt",
            name,
            json.dumps(self.arguments),
        ]
        if name in probe.IN_NAMESPACE:
            words = [*NAMESPACES, *words, "--alone"]
        environment = {**self._environment(), VARIABLE: "1"}
        done = subprocess.run(words, env=environment, capture_output=True, check=False, **self._as_user())
        try:
            return dict(json.loads(done.stdout))
        except ValueError:
            return {"outcome": "unavailable", "detail": done.stderr.decode(errors="replace")[-300:]}

    def inside(self, name: str, **changed: Any) -> dict[str, str]:
        """The attempt in the sandbox, some of its arguments changed; a sandbox it brought down is started anew."""
        server = self._server or self._start()
        arguments = {"name": "attempt", "arguments": {"name": name, "arguments": {**self.arguments, **changed}}}
        answer = server.request("tools/call", arguments)
        if answer and "result" in answer:
            return dict(answer["result"]["structuredContent"])
        self._server = None
        server.close()
        return {"outcome": "blocked", "detail": (answer or {}).get("error", {}).get("message", "the sandbox was ended")}

    def _start(self) -> Server:
        command = [self._python, str(self._directory / "code" / "probe.py")]
        options = ["wrap", "--backend", self._backend, "--profile", str(self._profile), "--name", "probe"]
        environment = {**self._environment(), VARIABLE: "1"}
        words = [sys.executable, "-m", "mcpbox", *options, "--", *command]
        server = Server(words, environment, user=self._wrapped_as, groups=self._groups)
        answer = server.initialize()
        if not answer or "result" not in answer:
            server.close()
            reason = (answer or {}).get("error", {}).get("message", "no answer")
            raise McpboxError(f"the probe could not be started: {reason}", "run: mcpbox doctor")
        self._server = server
        return server

    @staticmethod
    def _own_config() -> str:
        from mcpbox import config

        return config.file().read_text(encoding="utf-8") if config.file().exists() else ""

    def _environment(self) -> dict[str, str]:
        """The decoys' home directory and configuration; of the caller's environment only what leads to an engine."""
        kept = {name: os.environ[name] for name in ("PATH", "DOCKER_HOST") if name in os.environ}
        settings = str(self._directory / "config")
        return {**kept, "HOME": str(self._home), "XDG_CONFIG_HOME": settings, "LANG": "C.UTF-8"}

    def _as_user(self) -> dict[str, Any]:
        if self._user is None or os.geteuid() != 0:
            return {}
        return {"user": self._user, "group": self._user, "extra_groups": []}

    def _make(self, name: str) -> Path:
        path = self._directory / name
        path.mkdir(parents=True)
        return path


class Listeners:
    """Real services on this machine's loopback, for the attempts to reach."""

    def __init__(self, path: Path) -> None:
        tcp4, tcp6 = socket.create_server(("127.0.0.1", 0)), socket.create_server(("::1", 0), family=socket.AF_INET6)
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", 0))
        name = f"mcpbox-{os.getpid()}-{path.parent.name}"
        abstract, bus = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        abstract.bind("\0" + name)
        bus.bind(str(path))
        path.chmod(0o666)
        for listener in (abstract, bus):
            listener.listen()
        self._sockets: list[Any] = [tcp4, tcp6, abstract, bus, self._udp]
        self.arguments = {
            "TCP4": tcp4.getsockname()[1],
            "TCP6": tcp6.getsockname()[1],
            "UDP": self._udp.getsockname()[1],
            "ABSTRACT": name,
            "DBUS": str(path),
        }
        self._wake, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._thread.start()

    def _answer(self) -> None:
        while True:
            ready: list[Any] = select.select((self._wake, *self._sockets), (), ())[0]
            if self._wake in ready:
                return
            for found in ready:
                if found is self._udp:
                    self._udp.sendto(b"answer", self._udp.recvfrom(512)[1])
                else:
                    found.accept()[0].close()

    def close(self) -> None:
        os.write(self._stop, b"x")
        self._thread.join()
        for listener in self._sockets:
            listener.close()
        os.close(self._wake)
        os.close(self._stop)
