"""Carries a job's directories to a sandbox that sees no file of this machine, and back: as tar, over its streams."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from mcpbox.errors import PackageError
from mcpbox.packages.store import discard

#: Lays the directories out, runs the words, and gives back what they printed and the directories named before "--".
SCRIPT = (
    'tar -xpf - -C / || exit 125; back=; while [ "$1" != -- ]; do back="$back $1"; shift; done; shift; '
    '"$@" </dev/null >"$HOME/.said" || exit; wc -c <"$HOME/.said" && cat "$HOME/.said" && exec tar -cf - -C / $back'
)
#: A path that a shell leaves in one piece.
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+@=,:%")


def words(command: Sequence[str], back: Iterable[str]) -> tuple[str, ...]:
    """The command in the sandbox, which gives back these directories. Raises PackageError."""
    names = [path.strip("/") for path in outermost(back)]
    for name in names:
        if set(name) - _PLAIN:
            raise PackageError(f"/{name}: a path that cannot be carried to another machine", "set XDG_DATA_HOME")
    return ("/bin/sh", "-c", SCRIPT, "sh", *names, "--", *command)


def outermost(paths: Iterable[str]) -> list[str]:
    """Those that are within none of the others."""
    found: list[str] = []
    for path in sorted(set(paths)):
        if not any(f"{path}/".startswith(f"{other}/") for other in found):
            found.append(path)
    return found


def pack(paths: Iterable[str]) -> bytes:
    """The directories, each at its own path."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in outermost(paths):
            tar.add(path, path.strip("/"))
    return made.getvalue()


def unpack(answer: bytes, back: Iterable[str], *, size: int, count: int) -> bytes:
    """What the command printed; the directories then are as they are in the answer. Raises PackageError.

    The answer is a stranger's: nothing is written but below those directories, and no link is followed.
    """
    first, _, rest = answer.partition(b"\n")
    if not first.strip().isdigit() or len(rest) < (length := int(first)):
        raise PackageError("what the install sandbox gave back cannot be read", "run: mcpbox doctor")
    said, archive = rest[:length], io.BytesIO(memoryview(rest)[length:])
    tops = {path.strip("/"): path for path in outermost(back)}
    for path in tops.values():
        _empty(path)
    try:
        with tarfile.open(fileobj=archive, mode="r:") as tar:
            _lay_out(tar, tops, size, count)
    except (tarfile.TarError, UnicodeError, FileExistsError) as error:
        raise PackageError(f"what the install sandbox gave back is no archive of its files: {error}") from None
    return said


def _lay_out(tar: tarfile.TarFile, tops: dict[str, str], size: int, count: int) -> None:
    directories, files = {os.path.dirname(name) for name in tops}, dict[str, int]()
    links: list[tuple[str, str]] = []
    modes: list[tuple[str, int]] = []
    for member in tar:
        name = member.name.rstrip("/")
        # Another name of a file brings no bytes of its own, and becomes a copy.
        own = files.get(member.linkname, 0) if member.islnk() else member.size
        size, count = size - own, count - 1
        if own < 0 or size < 0 or count < 0:
            raise PackageError("the package is too large when unpacked", "install it by hand and wrap the program")
        within = any(f"{name}/".startswith(f"{top}/") for top in tops)
        if not within or ".." in name.split("/") or "\0" in name or os.path.dirname(name) not in directories:
            raise PackageError(f"the install sandbox gave back {name!a}, which is not below its directories")
        path = f"/{name}"
        if member.isdir():
            if name not in tops:
                os.mkdir(path, 0o700)
                modes.append((path, member.mode & 0o777))
            directories.add(name)
        elif member.issym():
            links.append((member.linkname, path))
        elif member.isreg() or (member.islnk() and member.linkname in files):
            content = tar.extractfile(member)
            assert content is not None
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
                shutil.copyfileobj(content, file)
                os.fchmod(file.fileno(), member.mode & 0o777)
            files[name] = own
        else:
            raise PackageError(f"the install sandbox gave back {name!a}, which is no file, directory or symlink")
    # Last, so that nothing was written through one of them, and into directories that may be read-only.
    for target, path in links:
        os.symlink(target, path)
    for path, mode in reversed(modes):
        os.chmod(path, mode)


def _empty(directory: str) -> None:
    for entry in list(os.scandir(directory)):
        if entry.is_dir(follow_symlinks=False):
            discard(Path(entry.path))
        else:
            os.unlink(entry.path)
