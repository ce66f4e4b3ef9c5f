"""Who runs what: the first record of a session."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from mcpbox import __version__
from mcpbox.audit import chain
from mcpbox.command.model import Command
from mcpbox.profile import Resolved
from mcpbox.sandbox.base import SandboxSpec


def who(server: Command, resolved: Resolved, spec: SandboxSpec, *, host: str, backend: str) -> dict[str, Any]:
    """The user, the application that starts the server, and what exactly is started, by digests where there are any.

    ``trees`` are the installed packages by the hashes of their locks.
    """
    return {
        "user": user(),
        "uid": os.getuid(),
        "host": host,
        "pid": os.getpid(),
        "ppid": os.getppid(),
        "parent": program(os.getppid()),
        "command": list(server.program),
        "arguments": len(server.arguments),
        "package": server.package,
        "identities": list(server.identities),
        "trees": [mount.tree for mount in spec.mounts if mount.tree],
        "image": spec.image,
        # The names of the variables: of the values there is nothing on record.
        "secrets": sorted(spec.secrets),
        "profile": resolved.source,
        "profile_digest": _profile_digest(resolved),
        "backend": backend,
        "version": __version__,
    }


def user() -> str:
    """The name of this process's user; "" where it has none."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return ""


def program(pid: int) -> str:
    """What a process runs; "" where the system does not say."""
    with suppress(OSError):
        return os.readlink(f"/proc/{pid}/exe")
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    return ""


def _profile_digest(resolved: Resolved) -> str:
    return f"sha256:{chain.digest(resolved.path.read_bytes())}" if resolved.path else ""
