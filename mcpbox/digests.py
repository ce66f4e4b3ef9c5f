"""SHA-256 as the standard library has it for itself. No I/O.

``hashlib`` brings OpenSSL, which takes longer to load than all else on the way to the server's start; the standard
library's own ``random`` passes it by in the same way.
"""

try:
    from _sha2 import sha256 as sha256  # type: ignore[import-not-found,unused-ignore]
except ImportError:
    try:
        from _sha256 import sha256 as sha256  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        from hashlib import sha256 as sha256
