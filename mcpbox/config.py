"""The user's ``config.toml``: which images the Docker backend uses, and against which advisories packages are held."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from mcpbox import paths
from mcpbox.errors import ProfileError


class Images(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The image for each kind of server, as ``NAME[:TAG][@sha256:DIGEST]``."""

    node: str = "node:22-slim"
    python: str = "python:3.12-slim"
    other: str = "debian:stable-slim"


class Docker(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    images: Images = Images()


class Packages(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``advisories`` is a dump in the OSV format, a directory or a zip of JSON files; "" is none.

    ``hosts``, as HOST[:PORT], are those that the configured registries may send to for their files.
    """

    advisories: str = ""
    hosts: tuple[str, ...] = ()

    @property
    def database(self) -> Path | None:
        """Where the dump is, "~/" being the user's home."""
        if self.advisories.startswith("~/"):
            return paths.home() / self.advisories[2:]
        return Path(self.advisories) if self.advisories else None


class Audit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether the audit is signed, and what of it is kept: sessions of so many days, so many bytes in all; 0 for any.

    ``sign`` is "auto" (where a keyring answers), "required" (or no server starts) or "off".
    """

    sign: Literal["auto", "required", "off"] = "auto"
    keep_days: Annotated[int, msgspec.Meta(ge=0, le=36500)] = 90
    keep_bytes: Annotated[int, msgspec.Meta(ge=0)] = 4 << 30


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    docker: Docker = Docker()
    packages: Packages = Packages()
    audit: Audit = Audit()


FORM = (
    "accepted: [docker.images] with node, python and other; [packages] with advisories and hosts; "
    '[audit] with sign ("auto", "required" or "off"), keep_days and keep_bytes'
)
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?")
_IMAGE = re.compile(r"[a-z0-9][\w./:-]*(@sha256:[0-9a-f]{64})?")


def file() -> Path:
    return paths.config_file()


def load() -> Config:
    """The configuration; the defaults where there is no file. Raises ProfileError."""
    path = file()
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        config = msgspec.convert(data, Config)
    except FileNotFoundError:
        return Config()
    except (OSError, ValueError) as error:
        raise ProfileError(f"{path}: {error}", FORM) from None
    for kind, image in msgspec.structs.asdict(config.docker.images).items():
        if not _IMAGE.fullmatch(image):
            raise ProfileError(f'{path}: docker.images.{kind} = "{image}": not accepted', "accepted: NAME:TAG@DIGEST")
    advisories = config.packages.advisories
    if advisories and not advisories.startswith(("/", "~/")):
        raise ProfileError(
            f'{path}: packages.advisories = "{advisories}": not accepted',
            "accepted: the absolute path of a directory or zip of OSV JSON files, or one below ~/",
        )
    for host in config.packages.hosts:
        if not _HOST.fullmatch(host):
            raise ProfileError(f'{path}: packages.hosts: "{host}": not accepted', "accepted: HOST or HOST:PORT")
    return config


def set_images(image: str) -> Path:
    """Use ``image`` for every kind of server; the rest of the file stays as it is, comments included."""
    import tomlkit

    path = file()
    document = tomlkit.parse(path.read_text(encoding="utf-8-sig")) if path.exists() else tomlkit.document()
    images = document.setdefault("docker", tomlkit.table(True)).setdefault("images", tomlkit.table())
    for kind in Images.__struct_fields__:
        images[kind] = image
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(tomlkit.dumps(document), encoding="utf-8")
    os.replace(temporary, path)
    return path
