"""Questions and progress on a terminal, for what takes long or wants a person's word."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence

from mcpbox.errors import UsageError
from mcpbox.shown import plain

ERASE = "\r\x1b[K"


class Line:
    """One line on stderr that says what is being done now; lines of a log where stderr is no terminal."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            sys.stderr.write(ERASE)
            sys.stderr.flush()

    def show(self, text: str) -> None:
        shown = plain(text)
        sys.stderr.write(f"{ERASE}{shown} …" if self._live else f"[mcpbox] {shown}\n")
        sys.stderr.flush()


def approve(concerns: Sequence[str]) -> bool:
    """Ask the person at the terminal; no where there is none."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    sys.stderr.write(ERASE + "".join(f"  {plain(concern)}\n" for concern in concerns))
    return ask("Go on?")


def ask(question: str) -> bool:
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def agreed(question: str, yes: bool) -> bool:
    """Whether the user agrees, or has done so by ``yes``. Raises UsageError where there is nobody to ask."""
    if yes:
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("there is nobody to ask", "give --yes, or --dry-run to see what would be done")
    return ask(question)


def say(message: str, hint: str = "") -> None:
    """A line on standard error, as of an error that ends nothing."""
    sys.stderr.write(f"mcpbox: {plain(message)}\n" + (f"        {plain(hint)}\n" if hint else ""))


def row(lead: str, at: int, text: str) -> str:
    """``lead``, which may be coloured, and the plain form of ``text`` from column ``at`` on.

    On a terminal it is wrapped there; in a file or a pipe a row is one line.
    """
    from click import unstyle

    shown, size = plain(text), len(unstyle(lead))
    lead += " " * (at - size) if size < at else "  "
    if not sys.stdout.isatty():
        return lead + shown
    width = max(shutil.get_terminal_size().columns - at, 30)
    lines = textwrap.wrap(shown, width, break_long_words=False, break_on_hyphens=False) or [""]
    indent = "\n" + " " * at
    return (lead if size < at else lead.rstrip() + indent) + indent.join(lines)
