"""SHA-256 as the standard library has it for itself. No I/O.

``hashlib`` brings OpenSSL, which takes longer to load than all else on the way to the server's start; the standard
library's own ``random`` passes it by in the same way. OpenSSL's digests, once it is loaded, take a third of the time.
"""

import sys
from typing import Any

try:
    from _sha2 import sha256 as sha256  # type: ignore[import-not-found,unused-ignore]
except ImportError:
    try:
        from _sha256 import sha256 as sha256  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        from hashlib import sha256 as sha256

#: Bytes for which OpenSSL is worth being loaded.
_LARGE = 256 << 10


def fastest(size: int) -> Any:
    """What makes the digest of so many bytes in the least time, as things are: the digests are the same."""
    if "hashlib" not in sys.modules and size < _LARGE:
        return sha256
    import hashlib

    return hashlib.sha256
