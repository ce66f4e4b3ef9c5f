"""``mcpbox image build``: a base image from Debian packages, for machines that reach no image registry."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import click

from mcpbox import config
from mcpbox.errors import BackendError, McpboxError
from mcpbox.sandbox import dial, engine

PACKAGES = ("ca-certificates", "git", "nodejs", "npm", "python3", "python3-pip")


def build(tag: str, rootfs: str | None, suite: str, configure: bool) -> int:
    """Import a root file system as an image: the user's own tar, or one that mmdebstrap makes now."""
    endpoint = engine.find()
    why = dial.problem(endpoint)[0] if endpoint else engine.absence()[0]
    if endpoint is None or why:
        raise BackendError(
            why, "install and start Docker or Podman, as a user who may use it; bubblewrap needs no image"
        )
    with tempfile.TemporaryDirectory(prefix="mcpbox-image-") as directory:
        tar = Path(rootfs) if rootfs else _bootstrap(Path(directory) / "rootfs.tar", suite or _suite())
        if not tar.is_file():
            raise McpboxError(f"{tar}: no such file", "give the path of a tar of a root file system")
        click.echo(f"importing {tar.stat().st_size >> 20} MiB as {tag}", err=True)
        repository, _, version = tag.rpartition(":") if ":" in tag.rpartition("/")[2] else (tag, "", "latest")
        with engine.connect(endpoint) as client:
            client.timeout = 600
            changes = ['CMD ["/bin/sh"]', "LABEL mcpbox.image=base"]
            client.import_image(str(tar), repository=repository, tag=version, changes=changes)
            digest = client.inspect_image(tag)["Id"]
    click.echo(f"{tag} {digest}")
    if configure:
        click.echo(f"used for all servers from now on: {config.set_images(tag)}", err=True)
    return 0


def _bootstrap(tar: Path, suite: str) -> Path:
    program = shutil.which("mmdebstrap")
    if program is None:
        raise McpboxError(
            "mmdebstrap is not installed", "run: apt install mmdebstrap, or bring a tar: --from ROOTFS.tar"
        )
    click.echo(f"bootstrapping Debian {suite} with {', '.join(PACKAGES)}", err=True)
    command = [program, "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}", suite, str(tar)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise McpboxError(f"mmdebstrap failed: {done.stderr.strip()[-500:]}", "see its message; apt must work here")
    return tar


def _suite() -> str:
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        lines = []
    facts = dict(line.split("=", 1) for line in lines if "=" in line)
    # Debian's own testing and unstable may have no name there.
    return facts.get("VERSION_CODENAME", "stable").strip('"') if facts.get("ID") == "debian" else "stable"
