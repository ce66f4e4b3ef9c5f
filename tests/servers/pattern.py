"""Bytes of which no part can be lost, doubled or moved unseen."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator
from typing import Any


def pattern(size: int) -> Iterator[bytes]:
    """``size`` bytes, in pieces of 1 MiB; always the same."""
    for number in range(-(-size >> 20)):
        yield random.Random(number).randbytes(min(1 << 20, size - (number << 20)))


def summed(pieces: Iterable[bytes]) -> dict[str, Any]:
    """Count and digest."""
    digest, size = hashlib.sha256(), 0
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
    return {"bytes": size, "sha256": digest.hexdigest()}
