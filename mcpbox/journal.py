"""The record of what happened, one JSON object a line, per server: launches, refusals, ends. Never message contents."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from mcpbox import paths

#: A file larger than this is moved aside and one older one kept: a server must not fill the disk with refusals.
ROTATE_BYTES = 8 << 20


class Journal:
    """Appends to ``STATE/log/NAME.jsonl``. Several sessions of one server may write to it at once."""

    def __init__(self, name: str, session: str) -> None:
        directory = paths.private_dir(paths.private_dir(paths.state_dir()) / "log")
        self.path = directory / f"{name}.jsonl"
        self._session = session
        # The gateway of egress records from a thread of its own.
        self._lock = threading.Lock()
        self._fd = self._open()

    def record(self, event: Mapping[str, Any]) -> None:
        """Write one event. Raises OSError: what cannot be recorded must not happen."""
        line = json.dumps({"time": round(time.time(), 3), "session": self._session, **event}).encode() + b"\n"
        with self._lock:
            if os.write(self._fd, line) != len(line):
                raise OSError(f"{self.path}: the record was written in part")
            if os.lseek(self._fd, 0, os.SEEK_CUR) > ROTATE_BYTES:
                self._rotate()

    def _rotate(self) -> None:
        # Another session of this server may be doing it, or have done it already.
        with suppress(FileNotFoundError):
            if self.path.stat().st_size > ROTATE_BYTES:
                self.path.replace(self.path.with_suffix(".jsonl.1"))
        # First the new file: a descriptor that is closed and kept would be anybody's next.
        old, self._fd = self._fd, self._open()
        os.close(old)

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def close(self) -> None:
        """Nothing can be recorded any more, by whatever thread is left."""
        with self._lock:
            os.close(self._fd)
            self._fd = -1
