"""What the host is told where there is no server that could answer it."""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress

from mcpbox import jsonrpc
from mcpbox.definitions import DISCOVER
from mcpbox.errors import McpboxError

#: Of one message of the host's, and of what is read at a time.
MAX_BYTES = 1 << 20
#: How long the host's first request is waited for where there is no server to answer it.
DECLINE_SECONDS = 10.0


def decline(failure: McpboxError, *, host_in: int = 0, host_out: int = 1, patience: float = DECLINE_SECONDS) -> None:
    """Answer the host's greeting with ``failure`` and its hint, since there is no server that could.

    To a host of 2026-07-28 an error means that the server is of an older protocol: it tells its user only of that with
    which its next greeting is answered.
    """
    lines = jsonrpc.Lines(MAX_BYTES)
    deadline = time.monotonic() + patience
    poll = select.poll()
    poll.register(host_in, select.POLLIN)
    while (left := deadline - time.monotonic()) > 0 and poll.poll(left * 1000):
        data = os.read(host_in, MAX_BYTES)
        if not data:
            return
        for line in lines.feed(data):
            request = _request(line)
            if request is None:
                continue
            data_field = {"hint": failure.hint} if failure.hint else None
            text = f"mcpbox: {failure.message}" + (f" ({failure.hint})" if failure.hint else "")
            answer = jsonrpc.error(request.id, jsonrpc.NOT_STARTED, text, data_field)
            with suppress(OSError):
                os.write(host_out, jsonrpc.encode(answer))
            if request.method != DISCOVER:
                return


def _request(line: jsonrpc.Line | jsonrpc.Oversized) -> jsonrpc.Request | None:
    if isinstance(line, jsonrpc.Oversized):
        return None
    try:
        message = jsonrpc.classify(jsonrpc.parse(line.data))
    except jsonrpc.ParseError:
        return None
    return message if isinstance(message, jsonrpc.Request) else None
