"""What a start needs of the servers that were put behind mcpbox (``hosts.register``): where their programs are."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from mcpbox import paths
from mcpbox.errors import McpboxError

VERSION = 1
MEND = "move it away, and put the servers behind mcpbox anew: mcpbox unprotect, then mcpbox protect"


class Start(msgspec.Struct, frozen=True):
    """What of a server's record counts here; ``start`` is the ``checksum`` of its command."""

    host: str
    name: str
    start: int
    path: str


class Starts(msgspec.Struct, frozen=True):
    """The file, read no further than needed."""

    version: int
    servers: tuple[Start, ...] = ()


Table = TypeVar("Table", bound=msgspec.Struct)


def file() -> Path:
    return paths.data_dir() / "protected.json"


def path_for(host: str, name: str, words: Sequence[str]) -> str | None:
    """The PATH in which the command of a registered server was found; None for a server that is not registered.

    Hosts that a desktop starts have a shorter one than the shell in which the user tried the command.
    """
    servers = [server for server in decode(Starts).servers if (server.host, server.name) == (host, name)]
    if not servers:
        return None
    wanted = checksum(words)
    # The host may have replaced something in the words; the name is then as good.
    return next((server for server in servers if server.start == wanted), servers[0]).path


def checksum(words: Sequence[str]) -> int:
    """To find a record by; ``hashlib`` would cost each start some milliseconds."""
    return zlib.crc32("\0".join(words).encode(errors="surrogatepass"))


def decode(kind: type[Table]) -> Table:
    """The file; without any server where there is none. Raises McpboxError if it is damaged."""
    path = file()
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        data = b'{"version": %d}' % VERSION
    except OSError as error:
        raise McpboxError(f"{path}: {error}", MEND) from None
    try:
        version = msgspec.json.decode(data, type=Starts).version
        found = msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise McpboxError(f"{path}: {error}", MEND) from None
    if version != VERSION:
        raise McpboxError(f"{path}: version = {version}: not accepted", f"accepted: {VERSION}; or update mcpbox")
    return found
