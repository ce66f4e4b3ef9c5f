"""Installed packages as layers of images, for engines that do not see this machine's files.

A tree is copied once to such an engine, on top of the image that its servers run in, and found there by its name at
every later start. No registry takes part.
"""

from __future__ import annotations

import os
import tarfile
import tempfile
import time
from collections.abc import Collection
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from mcpbox.errors import BackendError
from mcpbox.sandbox.base import SandboxSpec
from mcpbox.sandbox.engine import OWNER

if TYPE_CHECKING:
    from docker.api import APIClient

#: Where trees are in the image: not below HOME, which is a file system in memory.
INSIDE = "/mcpbox"
REPOSITORY = "mcpbox/package"
TREE, BASE, MACHINE = "mcpbox.tree", "mcpbox.base", "mcpbox.machine"
#: Seconds for an engine to take a tree in.
PATIENCE = 300
#: After so many seconds nobody is making a layer any more.
ABANDONED = 3600


def placed(client: APIClient, spec: SandboxSpec, image: str) -> tuple[SandboxSpec, str]:
    """The spec without its package trees, and the image that has them instead."""
    command, environment, done = spec.command, dict(spec.environment), set()
    for mount in sorted(spec.mounts, key=lambda mount: -len(mount.target)):
        if not mount.tree:
            continue
        if mount.tree not in done:
            image = provide(client, image, mount.tree, mount.source)
            done.add(mount.tree)
        inside = f"{INSIDE}/{mount.tree}"
        # The name has 64 digits of a hash in it: nothing else is called so.
        command = tuple(word.replace(mount.target, inside) for word in command)
        environment = {name: value.replace(mount.target, inside) for name, value in environment.items()}
    others = tuple(mount for mount in spec.mounts if not mount.tree)
    return replace(spec, command=command, environment=environment, mounts=others), image


def require_none(spec: SandboxSpec, url: str) -> None:
    """Raises BackendError for what an engine on another machine cannot see."""
    if spec.mounts:
        paths = ", ".join(dict.fromkeys(mount.target for mount in spec.mounts[:3]))
        raise BackendError(
            f"the engine at {url} is another machine's and does not see {paths}",
            "there, servers come as packages (npx, uvx) or images (docker run IMAGE), and no paths are shared; "
            "for files of this machine use an engine here, or --backend bubblewrap",
        )


def provide(client: APIClient, image: str, tree: str, source: str) -> str:
    """The id of ``image`` with the tree at ``source`` on top; made where it is not there. Raises what docker raises."""
    from docker.errors import NotFound

    base = str(client.inspect_image(image)["Id"])
    tag = f"{tree[:48]}-{base.removeprefix('sha256:')[:48]}"
    with suppress(NotFound):
        found = client.inspect_image(f"{REPOSITORY}:{tag}")
        labels = found["Config"].get("Labels") or {}
        if (labels.get(TREE), labels.get(BASE)) == (tree, base):
            return str(found["Id"])
    labels = {TREE: tree, BASE: base, **_ours()}
    container = client.create_container(base, command=["true"], labels=labels, network_disabled=True)["Id"]
    try:
        with tempfile.TemporaryFile() as archive:
            _pack(source, f"{INSIDE.strip('/')}/{tree}", archive)
            client.timeout, before = PATIENCE, client.timeout
            try:
                client.put_archive(container, "/", archive)
                # The layer appears whole, under its name, or not at all.
                return str(client.commit(container, repository=REPOSITORY, tag=tag)["Id"])
            finally:
                client.timeout = before
    finally:
        client.remove_container(container, force=True)


def withdraw(client: APIClient, keep: Collection[str]) -> list[str]:
    """Remove this user's layers but those of the trees to keep, and what interrupted ones left; what was removed."""
    from docker.errors import APIError

    mine = {"label": [TREE, *(f"{name}={value}" for name, value in _ours().items())]}
    removed = []
    for container in client.containers(all=True, filters={**mine, "status": "created"}):
        if time.time() - container["Created"] > ABANDONED:
            client.remove_container(container["Id"], force=True)
    for image in client.images(filters=mine):
        tree = image["Labels"][TREE]
        # Of two that were made at once, one has the name.
        named = any(not tag.startswith("<none>") for tag in image.get("RepoTags") or ())
        if tree in keep and named:
            continue
        # One that a server runs in stays until the next time.
        with suppress(APIError):
            client.remove_image(image["Id"], noprune=False)
            removed.append(tree)
    return removed


def _ours() -> dict[str, str]:
    """Another machine's mcpbox, of a user of the same number, may use the engine too."""
    return {OWNER: str(os.getuid()), MACHINE: os.uname().nodename}


def _pack(source: str, name: str, archive: Any) -> None:
    def owned(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        top = tarfile.TarInfo(name.partition("/")[0])
        top.type, top.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(top)
        tar.add(source, name, filter=owned)
    archive.seek(0)
