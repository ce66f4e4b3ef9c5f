"""What is known of a server's command. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct, field

#: Options with which code begins.
CODE = {"node": re.compile("-[a-z]*[ep]$|--(?:eval|print)(?:=|$)"), "python": re.compile("-[A-Za-z]*c")}


class Command(Struct, frozen=True):
    """A command that a sandbox can run.

    ``argv[0]`` is the absolute path of a program; with an ``image``, ``argv`` is the arguments for its entry point.
    ``trees`` are the host paths outside /usr it needs to see, read-only. ``identities`` are what a profile's
    ``matches`` can name. ``arguments`` are the server's own, which may be paths. ``environment`` is what the program
    needs to be the same one, never copied from the host's. ``unproven`` is the lock's key of an updated package that
    has not started yet. ``passed`` are names of variables of the host's that the command itself passes on.
    ``package`` is the lock's key of the package it is, if mcpbox installed it, and ``beside`` the names of those that
    the command asks for with it, in order.
    """

    argv: tuple[str, ...]
    interpreter: str = "other"
    trees: tuple[str, ...] = ()
    identities: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    unproven: str = ""
    passed: tuple[str, ...] = ()
    package: str = ""
    beside: tuple[str, ...] = ()

    @property
    def program(self) -> tuple[str, ...]:
        """What is started, to be put on record: without arguments, variables and inline code, which may be secrets."""
        if self.image:
            return (self.image,)
        own = self.argv[: len(self.argv) - len(self.arguments)]
        if self.interpreter in CODE:
            return own[: next((at for at, word in enumerate(own) if CODE[self.interpreter].match(word)), None)]
        return own
