"""The user's own HTTP proxy: which one it is, for which hosts, and a tunnel through it (RFC 9110, section 9.3.6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from mcpbox.errors import UsageError

if TYPE_CHECKING:
    import socket

    from mcpbox.egress.resolve import Resolver

#: Bytes of the proxy's answer at most.
MAX_HEAD = 1 << 14


class Proxy(Struct, frozen=True):
    """Where the proxy listens, what it wants to be told, and the hosts that are reached without it."""

    host: str
    port: int
    authorization: str
    bypass: tuple[str, ...]

    def serves(self, name: str) -> bool:
        """Whether ``name`` is reached through the proxy; NO_PROXY names it, a parent domain of it, or "*"."""
        return not any(entry == "*" or name == entry or name.endswith(f".{entry}") for entry in self.bypass)


def from_environment(environment: Mapping[str, str]) -> Proxy | None:
    """The proxy of HTTPS_PROXY or ALL_PROXY, lower-case names first as curl has it. Raises UsageError."""
    for variable in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        if value := environment.get(variable, "").strip():
            break
    else:
        return None
    import base64
    from urllib.parse import unquote, urlsplit

    form = "accepted: http://[USER:PASSWORD@]HOST:PORT"
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        host, port = parts.hostname, parts.port or 80
    except ValueError as error:
        raise UsageError(f"{variable}: {error}", form) from None
    if parts.scheme != "http" or not host:
        raise UsageError(f"{variable}: mcpbox cannot use a proxy of the kind {parts.scheme}://", form)
    authorization = ""
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = f"Basic {base64.b64encode(user.encode()).decode()}"
    excepted = environment.get("no_proxy", environment.get("NO_PROXY", ""))
    bypass = tuple(
        entry.strip().lstrip("*").lstrip(".").lower() or "*" for entry in excepted.split(",") if entry.strip()
    )
    return Proxy(host, port, authorization, bypass)


async def tunnel(proxy: Proxy, resolver: Resolver, name: str, port: int) -> socket.socket:
    """A connection to ``name`` through the proxy, which resolves it. Raises OSError."""
    import asyncio

    from aiohappyeyeballs import start_connection

    loop = asyncio.get_running_loop()
    infos = await resolver.look_up(proxy.host, proxy.port)
    sock = await start_connection(infos, happy_eyeballs_delay=0.25)
    try:
        lines = [f"CONNECT {name}:{port} HTTP/1.1", f"Host: {name}:{port}"]
        if proxy.authorization:
            lines.append(f"Proxy-Authorization: {proxy.authorization}")
        await loop.sock_sendall(sock, "\r\n".join([*lines, "", ""]).encode("ascii"))
        head = b""
        # One byte at a time: what comes after the head is the remote host's, for whoever reads the socket then.
        while not head.endswith(b"\r\n\r\n"):
            piece = await loop.sock_recv(sock, 1)
            if not piece or len(head) > MAX_HEAD:
                raise OSError("the proxy did not answer CONNECT")
            head += piece
        status = head.split(b"\r\n", 1)[0].decode("ascii", "replace")
        if status.split(" ")[1:2] != ["200"]:
            raise OSError(f"the proxy refused: {ascii(status)[1:-1]}")
    except BaseException:
        sock.close()
        raise
    return sock
