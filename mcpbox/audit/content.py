"""What a record keeps of a message's content: a digest that only this installation can make, or all of it."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from mcpbox import paths
from mcpbox.audit import chain
from mcpbox.digests import fastest
from mcpbox.errors import McpboxError

KEY_BYTES = 32
#: What SHA-256 takes at a time (FIPS 180-4).
_BLOCK = 64


def kept(value: Any, key: bytes, *, full: bool) -> dict[str, Any]:
    """ "digest": HMAC-SHA256 of the content's JSON; in full also "content": that JSON as a string, cut where too long.

    The key keeps what is short from being guessed by trying.
    """
    text = chain.content(value)
    inner, outer = _keyed(key, fastest(len(text)))
    inner, outer = inner.copy(), outer.copy()
    inner.update(text)
    outer.update(inner.digest())
    found: dict[str, Any] = {"digest": f"hmac-sha256:{outer.hexdigest()}"}
    if full:
        found["content"] = text[: chain.MAX_CONTENT].decode(errors="ignore")
        if len(text) > chain.MAX_CONTENT:
            found["content_bytes"] = len(text)
    return found


@lru_cache(maxsize=4)
def _keyed(key: bytes, sha256: Any) -> tuple[Any, Any]:
    """The two hashes of HMAC (RFC 2104) after the key: to copy them takes half the time of beginning anew."""
    block = key.ljust(_BLOCK, b"\0")
    return sha256(bytes(each ^ 0x36 for each in block)), sha256(bytes(each ^ 0x5C for each in block))


def file() -> Path:
    return paths.data_dir() / "audit.key"


def key() -> bytes:
    """The key of this installation, made where there is none. Raises OSError, McpboxError."""
    if not file().exists():
        with suppress(FileExistsError):
            _make()
    data = file().read_bytes()
    if len(data) != KEY_BYTES:
        raise McpboxError(f"{file()} is not the key of {KEY_BYTES} bytes that mcpbox made", "remove it")
    return data


def _make() -> None:
    """A key, whole or not there at all, and the first of two that are made at once."""
    directory = paths.private_dir(paths.data_dir())
    temporary = directory / f".audit.key.{os.urandom(6).hex()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, os.urandom(KEY_BYTES))
        os.fsync(descriptor)
        os.link(temporary, file())
    finally:
        os.close(descriptor)
        temporary.unlink()
