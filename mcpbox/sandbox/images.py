"""What an image brings, and what it has to bring for a server to run in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from mcpbox.errors import BackendError
from mcpbox.sandbox.base import SandboxSpec

if TYPE_CHECKING:
    from docker.api import APIClient


def require(client: APIClient, image: str) -> Mapping[str, Any]:
    """The configuration that an image brings. Raises BackendError if it is not here."""
    try:
        found: Mapping[str, Any] = client.inspect_image(image)["Config"]
        return found
    except Exception as error:
        if gone(error):
            raise BackendError(f"the image {image} is not here; mcpbox never pulls at start", remedy(image)) from None
        raise


def entry_point(spec: SandboxSpec, image: Mapping[str, Any]) -> tuple[list[str], SandboxSpec]:
    """The entry point of an image that the spec names, and the spec with the image's words where it has none.

    An engine forgets both once it is asked for another program, which is what secrets take.
    """
    if not spec.image or not spec.secrets:
        return [], spec
    found = list(image.get("Entrypoint") or ())
    return found, replace(spec, command=spec.command or tuple(image.get("Cmd") or ()))


def require_shell(client: APIClient, container: str, image: str) -> None:
    """Raises BackendError if there is no shell in a container that was made of ``image``."""
    try:
        client.get_archive(container, "/bin/sh")[0].close()
    except Exception as error:
        if not gone(error):
            raise
        message = f"the image {image} has no shell, which is what hands a server its secrets under Docker"
        raise BackendError(message, "use an image with /bin/sh, or the server's npm or PyPI package") from None


def venv_by_name(spec: SandboxSpec) -> SandboxSpec:
    """A virtual environment over the system's Python: the image has that Python elsewhere, so it is called by name."""
    if not spec.command or spec.image:
        return spec
    program = spec.command[0]
    venv = os.path.dirname(os.path.dirname(program))
    base = os.path.realpath(program)
    if not os.path.isfile(f"{venv}/pyvenv.cfg") or not base.startswith("/usr/"):
        return spec
    name = os.path.basename(base)
    site = f"{venv}/lib/{name}/site-packages"
    return replace(spec, command=(name, *spec.command[1:]), environment={**spec.environment, "PYTHONPATH": site})


def remedy(image: str) -> str:
    """How to get it."""
    return f"run: docker pull {image} (or podman), or without a registry: mcpbox image build"


def gone(error: Exception) -> bool:
    """Whether the engine says that there is no such thing."""
    from docker.errors import NotFound

    return isinstance(error, NotFound)
