"""Puts on record what its user has mcpbox do: what was approved, pinned, set or let out, by whom, before it is done."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from mcpbox import __version__
from mcpbox.audit.who import program, user
from mcpbox.audit.writer import Log
from mcpbox.errors import McpboxError

#: Whose sessions they are, each of one command.
NAME = "mcpbox"
#: How many things are named, and characters of each: servers choose the names of their tools.
MAX_NAMED, MAX_NAME = 200, 200


def commanded(command: str, about: Sequence[str] = (), *, undoing: bool = False, **more: Any) -> None:
    """Record ``command`` (its words, never a value of a secret) and what it is about, as a session of its own.

    Raises McpboxError where that cannot be written: then it must not be done. Only who takes mcpbox out again
    (``undoing``) is merely told.
    """
    who = {
        "user": user(),
        "uid": os.getuid(),
        "pid": os.getpid(),
        "parent": program(os.getppid()),
        "terminal": os.isatty(0),
        "version": __version__,
    }
    names = [name[:MAX_NAME] for name in about[:MAX_NAMED]]
    event = {"event": "command", "message": command[:MAX_NAME], "about": names, **more}
    if len(about) > len(names):
        event["in_all"] = len(about)
    try:
        log = Log(NAME, os.urandom(6).hex(), who=who)
        try:
            log.record(event)
        finally:
            log.close()
    except (OSError, McpboxError) as error:
        why = error.message if isinstance(error, McpboxError) else str(error)
        if undoing:
            sys.stderr.write(f"[mcpbox] {command} is not on record: {why}\n")
            return
        raise McpboxError(
            f"{command} cannot be put on record, so it is not done: {why}", "run: mcpbox doctor"
        ) from None
