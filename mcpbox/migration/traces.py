"""Takes values out of what mcpbox itself has written down: the commands in its log, and those that it remembers."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from contextlib import suppress

from mcpbox import paths
from mcpbox.hosts.values import escaped


def erase(telling: Collection[str], strings: Mapping[str, Collection[str]]) -> None:
    """Blot out the values wherever they stand, those of ``strings`` only in such a whole string.

    A log may be written to meanwhile, so that its bytes keep their places. Raises OSError.
    """
    state = paths.state_dir()
    blots = {form: b"*" * len(form) for value in telling for form in _forms(value)}
    for text, values in strings.items():
        for form in _forms(text):
            blot = form
            for part in sorted({part for value in values for part in _forms(value)}, key=len, reverse=True):
                blot = blot.replace(part, b"*" * len(part))
            blots[b'"' + form + b'"'] = b'"' + blot + b'"'
    for file in (*(state / "log").glob("*.jsonl*"), state / "crash.log"):
        with suppress(FileNotFoundError):
            _blot(str(file), blots)
    for file in (state / "starts").glob("*"):
        with suppress(FileNotFoundError):
            if any(form in file.read_bytes() for form in blots):
                file.unlink()


def _blot(file: str, blots: Mapping[bytes, bytes]) -> None:
    with open(os.open(file, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW), "r+b", buffering=0) as opened:
        data = opened.read()
        for form, blot in blots.items():
            at = data.find(form)
            while at >= 0:
                os.pwrite(opened.fileno(), blot, at)
                at = data.find(form, at + len(form))


def _forms(text: str) -> set[bytes]:
    """A text as it stands in JSON with and without escapes, and by itself."""
    return {form.encode(errors="surrogateescape") for form in (text, escaped(text), json.dumps(text)[1:-1])}
