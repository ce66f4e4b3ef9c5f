"""The errors that mcpbox expects, each with what to do about it. No I/O.

Anything else that is raised is a bug in mcpbox and is reported as one (see ``cli.main``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mcpbox.packages.model import Request


class McpboxError(Exception):
    """mcpbox could not do what was asked.

    ``message`` says what is wrong, ``hint`` what mends it (a command, or the accepted form); ``exit_code`` is
    what the process ends with.
    """

    exit_code = 3

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(McpboxError):
    """The caller's words are wrong: an option, an argument, a file they wrote."""

    exit_code = 2


class ProfileError(UsageError):
    """A profile or configuration file is not valid."""


class BackendError(McpboxError):
    """A sandbox backend is missing, or cannot enforce what the profile asks for."""


class SecretError(McpboxError):
    """A secret cannot be kept, or cannot be given to a server."""


class DamagedSecret(SecretError):
    """What is kept of a secret is not its value; only setting it again helps."""


class PackageError(McpboxError):
    """A package cannot be resolved, verified or installed."""


class Unprepared(PackageError):
    """What a command asks for is not installed yet for ``backend``."""

    def __init__(self, request: Request, backend: str) -> None:
        super().__init__(f"{request.key} is not installed", "run: mcpbox package add")
        self.request = request
        self.backend = backend
