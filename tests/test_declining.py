"""What a host hears of a server that did not start."""

from __future__ import annotations

import json
import os

from mcpbox.declining import decline
from mcpbox.errors import McpboxError

DISCOVER, INITIALIZE = (
    json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": {}}).encode() + b"\n"
    for id, method in enumerate(("server/discover", "initialize"))
)


def answers(said: bytes) -> list[tuple[int, str]]:
    """The ids and messages that a host gets which says this and waits; it is left once it has its answer."""
    host_in, to_host = os.pipe()
    from_host, host_out = os.pipe()
    os.write(to_host, said)
    decline(McpboxError("no", "do"), host_in=host_in, host_out=host_out, patience=20)
    for fd in (host_in, to_host, host_out):
        os.close(fd)
    with open(from_host, "rb") as lines:
        return [(answer["id"], answer["error"]["message"]) for answer in map(json.loads, lines)]


def test_the_first_request_is_answered_whatever_comes_before_it() -> None:
    noise = b'no JSON\n[]\n{"jsonrpc":"2.0","method":"x"}\n'
    assert answers(noise + INITIALIZE + DISCOVER) == [(1, "mcpbox: no (do)")]


def test_a_host_that_takes_the_error_for_an_older_protocol_is_told_again() -> None:
    assert answers(DISCOVER + INITIALIZE) == [(0, "mcpbox: no (do)"), (1, "mcpbox: no (do)")]
