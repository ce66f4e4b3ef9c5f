"""HTTP to a container engine over the user's own ssh, for the engine's library."""

from __future__ import annotations

import socket
import subprocess
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from mcpbox.sandbox import dial


class Connection(HTTPConnection):
    """Each has an ssh of its own; the pool keeps it for the next question."""

    endpoint: dial.Endpoint
    _process: subprocess.Popen[bytes] | None = None

    def connect(self) -> None:
        stream, self._process = dial.over_ssh(self.endpoint)
        stream.settimeout(self.timeout if isinstance(self.timeout, int | float) else None)
        self.sock: socket.socket = stream

    def close(self) -> None:
        super().close()
        process, self._process = self._process, None
        if process:
            dial.end(process)


class Adapter(HTTPAdapter):
    """Whatever the host of a URL, it is asked of the engine at ``endpoint``."""

    def __init__(self, endpoint: dial.Endpoint) -> None:
        self._pool = HTTPConnectionPool("docker", maxsize=4)
        self._pool.ConnectionCls = type("Bound", (Connection,), {"endpoint": endpoint})
        super().__init__()

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> HTTPConnectionPool:
        return self._pool

    def get_connection(self, *_: Any, **__: Any) -> HTTPConnectionPool:
        """What releases of requests before 2.32 call."""
        return self._pool

    def close(self) -> None:
        super().close()
        self._pool.close()
