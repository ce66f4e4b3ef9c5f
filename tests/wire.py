"""A host for tests: starts a command, speaks JSON lines with it, with a deadline on every read."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

SECONDS = 30


class Host:
    """A context manager around one server process."""

    def __init__(
        self, words: Sequence[str], env: Mapping[str, str], *, user: int | None = None, groups: Sequence[int] = ()
    ) -> None:
        self.process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(env),
            user=user,
            group=user,
            extra_groups=None if user is None else list(groups),
        )
        assert self.process.stdin and self.process.stdout and self.process.stderr
        self.stdin, self.stdout, self.stderr = self.process.stdin, self.process.stdout, self.process.stderr
        self._held = b""
        self._id = 0

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.stdin, self.stdout, self.stderr):
            try:
                pipe.close()
            except BrokenPipeError:
                pass

    def write(self, data: bytes) -> None:
        self.stdin.write(data)
        self.stdin.flush()

    def line(self) -> bytes:
        """The next line, or what is left at the end of the stream."""
        deadline = time.monotonic() + SECONDS
        while b"\n" not in self._held:
            if not select.select([self.stdout], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"no line within {SECONDS} s; so far: {self._held[:200]!r}")
            data = os.read(self.stdout.fileno(), 1 << 20)
            if not data:
                break
            self._held += data
        line, newline, self._held = self._held.partition(b"\n")
        return line + newline

    def request(self, method: str, params: Any = None) -> dict[str, Any]:
        """The response; other messages on the way are skipped."""
        self._id += 1
        self.write(json.dumps({"jsonrpc": "2.0", "id": self._id, "method": method, "params": params}).encode() + b"\n")
        while True:
            line = self.line()
            if not line:
                raise EOFError(self.stderr.read().decode(errors="replace"))
            message: dict[str, Any] = json.loads(line)
            if message.get("id") == self._id and "method" not in message:
                return message

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        answer = self.request("tools/call", {"name": tool, "arguments": arguments})
        assert "result" in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def initialize(self) -> dict[str, Any]:
        client = {"name": "tests", "version": "1"}
        answer = self.request("initialize", {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client})
        if "result" in answer:
            # What has refused to start may be gone by now.
            self.write(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
        return answer


def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether ``condition`` comes true within ``seconds``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()
