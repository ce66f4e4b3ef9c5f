"""Takes values out of what mcpbox itself has written down: in its audit, and the commands that it remembers."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from contextlib import suppress

from mcpbox import paths
from mcpbox.audit import rewrite
from mcpbox.errors import McpboxError
from mcpbox.hosts.values import escaped
from mcpbox.secrets.index import write_private


def erase(telling: Collection[str], strings: Mapping[str, Collection[str]]) -> None:
    """Blot out the values wherever they stand, those of ``strings`` only in such a whole string.

    The ledger says which sessions' records were written anew for that. Raises OSError, and McpboxError for the record
    of a session that is running.
    """
    state = paths.state_dir()
    blots = {form: b"*" * len(form) for value in telling for form in _forms(value)}
    for text, values in strings.items():
        for form in _forms(text):
            blot = form
            for part in sorted({part for value in values for part in _forms(value)}, key=len, reverse=True):
                blot = blot.replace(part, b"*" * len(part))
            for quote in (b'"', b'\\"'):
                blots[quote + form + quote] = quote + blot + quote
    with suppress(FileNotFoundError):
        crash = state / "crash.log"
        data = crash.read_bytes()
        if (blotted := _blotted(data, blots)) != data:
            write_private(crash, blotted)
    for file in (state / "starts").glob("*"):
        with suppress(FileNotFoundError):
            if any(form in file.read_bytes() for form in blots):
                file.unlink()
    running = rewrite.rewrite(lambda line: _blotted(line, blots))
    if running:
        names = " ".join(dict.fromkeys(log.name for log in running))
        raise McpboxError(
            "the record of a running server has a value that was moved", f"run: mcpbox stop {names}, and this again"
        )


def _blotted(data: bytes, blots: Mapping[bytes, bytes]) -> bytes:
    for form, blot in blots.items():
        data = data.replace(form, blot)
    return data


def _forms(text: str) -> set[bytes]:
    """A text as it stands in JSON with and without escapes, in JSON within that, and by itself."""
    once = (text, escaped(text), json.dumps(text)[1:-1])
    return {form.encode(errors="surrogateescape") for form in (*once, *map(escaped, once))}
