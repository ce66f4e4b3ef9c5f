"""What the parts of ``packages`` hand each other. No I/O."""

from __future__ import annotations

import re
from typing import Literal

from msgspec import Struct

Ecosystem = Literal["npm", "pypi"]


def normalised(name: str) -> str:
    """The one form of a PyPI project's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


class Request(Struct, frozen=True):
    """What a command such as ``npx -y PKG@1 --flag`` asks for.

    ``packages`` are requirements as the ecosystem's own tool reads them, the one whose program is run first.
    ``program`` is the program's name, or "" for the package's own. ``arguments`` are the server's. ``python`` is the
    version asked for, such as "3.12", or "".
    """

    ecosystem: Ecosystem
    packages: tuple[str, ...]
    program: str = ""
    arguments: tuple[str, ...] = ()
    python: str = ""

    @property
    def key(self) -> str:
        """What the lock calls it: the same for every command that wants the same packages."""
        return f"{self.ecosystem}:{' '.join(self.packages)}" + (f" python={self.python}" if self.python else "")


class Package(Struct, frozen=True):
    """One package of a resolved tree. ``integrity`` is as the ecosystem writes it: "sha512-BASE64", "sha256:HEX".

    ``url`` is where it is fetched from; ``scripts`` says that it wants to run a script when it is installed.
    """

    name: str
    version: str
    integrity: str
    url: str
    scripts: bool = False


class Plan(Struct, frozen=True, omit_defaults=True):
    """A whole tree, resolved: what ``install`` will fetch, byte for byte. ``lockfile`` is the ecosystem's own lock.

    ``build`` has the packages that a package of the tree, by its name, is built with.
    """

    ecosystem: Ecosystem
    root: Package
    packages: tuple[Package, ...]
    lockfile: bytes
    build: dict[str, tuple[Package, ...]] = {}

    @property
    def everything(self) -> tuple[Package, ...]:
        """What is run at some time or other: the tree, and what builds it."""
        return tuple(dict.fromkeys((*self.packages, *(each for built in self.build.values() for each in built))))
