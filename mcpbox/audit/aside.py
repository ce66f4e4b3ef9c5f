"""The work that nobody waits for, in a process of its own that goes on when ``wrap`` and its host are gone."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress

from mcpbox import config
from mcpbox.audit import ledger, signing, upkeep
from mcpbox.errors import McpboxError

_children: list[int] = []


def sign() -> None:
    """Have the ledger signed; nothing where it is not to be, or where there is no keyring. Raises OSError."""
    if config.load().audit.sign != "off" and signing.possible():
        _start()


def tend() -> None:
    """Have killed sessions closed, and old ones removed, if there may be any; why that fails is said on stderr."""
    try:
        if ledger.exists() and (not all(ledger.unclosed().values()) or upkeep.is_due()):
            _start()
    except (OSError, McpboxError) as error:
        sys.stderr.write(f"[mcpbox] cannot see to the audit: {error}\n")


def main() -> None:
    """What the process does. Why something failed is told by the next command that needs it."""
    with suppress(McpboxError, OSError):
        upkeep.close_dead()
    with suppress(McpboxError, OSError):
        if config.load().audit.sign != "off" and signing.possible():
            signing.sign_or_say(signing.ASIDE)
    with suppress(McpboxError, OSError):
        # What takes something away wants the key too, and a keyring that has just been asked is not asked again.
        if not signing.refused_lately() and upkeep.is_due(take=True):
            upkeep.prune(config.load().audit)
            upkeep.fold()


def _start() -> None:
    # -P: the current directory is the host's choice, and no place to import from.
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", "from mcpbox.audit import aside; aside.main()"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )
    # Nobody waits for it in the end; init will. What has ended meanwhile must not stay in the table of processes.
    child.returncode = 0
    _children.append(child.pid)
    for pid in tuple(_children):
        with suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG)[0]:
                _children.remove(pid)
