"""The store: one read-only directory per installed tree, named after what it was made from.

A tree appears whole, by one rename, or not at all. Whoever makes or uses one holds a lock on its directory, which the
kernel drops however the process dies, so that ``gc`` knows what is nobody's.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

import msgspec

from mcpbox import paths
from mcpbox.errors import PackageError

MANIFEST = "MANIFEST.json"
#: An unfinished tree and one being removed; no tree's name begins like this.
_STAGING, _DOOMED = ".staging-", ".doomed-"
#: More than any known server needs, and less than fills a disk.
MAX_FILES, MAX_BYTES = 200_000, 4 << 30
NOBODY = 65534
MEND = "run: mcpbox package verify --repair"
UNFIT = "this package cannot be installed"
CHUNK = 1 << 20


class File(msgspec.Struct, frozen=True, array_like=True):
    mode: int
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """Everything in a tree by its path: files, where symlinks lead, directories."""

    files: dict[str, File]
    links: dict[str, str]
    directories: list[str]


def root() -> Path:
    return paths.packages_dir()


def path(tree: str) -> Path:
    return root() / tree


@contextmanager
def staging() -> Iterator[Path]:
    """A writable directory of this process's, for a tree that is being made; gone afterwards unless adopted."""
    directory, lock = _new(_STAGING, _prepared_root())
    try:
        give(directory)
        yield directory
    finally:
        with suppress(FileNotFoundError):
            discard(directory)
        os.close(lock)


def give(directory: Path) -> None:
    """Let the sandbox's user write to a directory, where mcpbox itself is root."""
    if os.geteuid() == 0 and directory.is_dir() and directory.stat().st_uid == 0:
        os.chown(directory, NOBODY, NOBODY)


def adopt(directory: Path, tree: str) -> str:
    """Make the staged ``directory`` the tree of this name, read-only; its manifest's SHA-256.

    A tree of this name that is there and as its manifest says is kept, and the staged one dropped. What refers to it
    has to be written before ``staging`` ends: until then ``gc`` leaves it alone. Raises PackageError
    for anything but files, directories and symlinks within, and for set-id bits.
    """
    data = _encode(_seal(directory))
    (directory / MANIFEST).write_bytes(data)
    (directory / MANIFEST).chmod(0o444)
    directory.chmod(0o555)
    _sync(directory)
    digest = sha256(data).hexdigest()
    target = path(tree)
    try:
        os.rename(directory, target)
    except OSError:
        if not target.is_dir():
            raise
        present = _digest(target)
        if not _faults(target, present):
            discard(directory)
            return present
        # Damaged, and nobody's to trust.
        discard(target)
        os.rename(directory, target)
    _sync_directory(target.parent)
    return digest


def check(tree: str, manifest: str) -> Path:
    """The tree's directory, if it is there and its manifest is the one of the lock; cheap, for every start.

    Raises PackageError. File contents are ``verify``'s: nothing but this user can write to them.
    """
    directory = path(tree)
    try:
        found = os.lstat(directory)
        digest = _digest(directory)
    except FileNotFoundError:
        raise PackageError(f"{directory} is not there", MEND) from None
    except OSError as error:
        raise PackageError(f"{directory}: {error.strerror}", MEND) from None
    if not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o222 or found.st_uid not in (os.geteuid(), 0):
        raise PackageError(f"{directory} can be written to, or is somebody else's", MEND)
    if digest != manifest:
        raise PackageError(
            f"{directory} is not what was installed: its manifest does not match mcpbox.lock",
            MEND,
        )
    return directory


def verify(tree: str, manifest: str) -> list[str]:
    """What differs from the manifest: every file's mode, size and contents, every link, and nothing besides."""
    directory = path(tree)
    if not directory.is_dir() or directory.is_symlink():
        return ["the directory is not there"]
    return _faults(directory, manifest)


def size(tree: str) -> int:
    """Bytes of the files in a tree, by its manifest; 0 if it is not there."""
    try:
        return sum(file.size for file in _decode(path(tree)).files.values())
    except (OSError, msgspec.DecodeError):
        return 0


def trees() -> list[str]:
    """The names of the trees that are there."""
    if not root().is_dir():
        return []
    return sorted(entry.name for entry in os.scandir(root()) if not entry.name.startswith("."))


def gc(keep: Collection[str]) -> list[str]:
    """Remove the trees that are neither kept nor in use, and what crashed installs left; the trees removed."""
    removed = []
    for name in [entry.name for entry in os.scandir(_prepared_root()) if entry.is_dir(follow_symlinks=False)]:
        if name in keep or (name.startswith(".") and not name.startswith((_STAGING, _DOOMED))):
            continue
        try:
            lock = _locked(root() / name, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        try:
            # It may be gone, or another by now, which is not what is locked.
            if os.path.samestat(os.fstat(lock), os.lstat(root() / name)):
                discard(root() / name)
                if not name.startswith("."):
                    removed.append(name)
        except FileNotFoundError:
            continue
        finally:
            os.close(lock)
    return removed


def sweep() -> None:
    """Remove what crashed installs left."""
    gc(trees())


def _prepared_root() -> Path:
    paths.private_dir(paths.data_dir())
    return paths.private_dir(root())


def _new(prefix: str, parent: Path) -> tuple[Path, int]:
    import tempfile

    while True:
        directory = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        # Until it is locked, gc may take it for what a crash left.
        with suppress(FileNotFoundError):
            lock = _locked(directory, fcntl.LOCK_EX)
            if os.fstat(lock).st_nlink:
                return directory, lock
            os.close(lock)


def _locked(directory: Path, how: int) -> int:
    """A descriptor that holds the lock until it is closed."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, how)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _seal(directory: Path) -> Manifest:
    """Make everything below read-only and this user's own, and list it."""
    own = os.geteuid(), os.getegid()
    os.chown(directory, *own)
    directory.chmod(0o700)
    files: dict[str, File] = {}
    links: dict[str, str] = {}
    directories: list[str] = []
    total = 0
    for found in walk(directory):
        name = os.path.relpath(found, directory)
        try:
            name.encode()
        except UnicodeEncodeError:
            raise PackageError(f"{name!r}: a file name that is not UTF-8", UNFIT) from None
        status = os.lstat(found)
        if problem := _problem(found, status, directory, name):
            raise PackageError(f"{name}: {problem}", UNFIT)
        total += status.st_size
        if total > MAX_BYTES or len(files) > MAX_FILES:
            raise PackageError(f"more than {MAX_BYTES >> 30} GiB or {MAX_FILES} files", UNFIT)
        if stat.S_ISLNK(status.st_mode):
            links[name] = os.readlink(found)
            os.chown(found, *own, follow_symlinks=False)
        elif stat.S_ISDIR(status.st_mode):
            directories.append(name)
            os.chown(found, *own)
            os.chmod(found, 0o700)
        else:
            if status.st_nlink > 1:
                _unlink_from_others(found)
            os.chown(found, *own)
            mode = 0o555 if status.st_mode & 0o111 else 0o444
            os.chmod(found, mode)
            files[name] = File(mode, status.st_size, _sha256(found))
    for name in directories:
        os.chmod(directory / name, 0o555)
    return Manifest(files, links, sorted(directories))


def _problem(found: str, status: os.stat_result, directory: Path, name: str) -> str:
    kind = status.st_mode
    if name == MANIFEST:
        return "this name is the store's own"
    if stat.S_ISLNK(kind):
        target = os.readlink(found)
        inside = os.path.normpath(os.path.join(os.path.dirname(name), target))
        if os.path.isabs(target) or inside == ".." or inside.startswith("../"):
            return f"a symlink that leads out of the package ({target})"
        # Through another link it may yet lead out.
        if not f"{os.path.realpath(found)}/".startswith(f"{os.path.realpath(directory)}/"):
            return f"a symlink that leads out of the package ({target})"
        return ""
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
        return "neither a file, a directory nor a symlink"
    # A directory hands its group on (BSD, and some mounts); that grants nothing.
    if kind & stat.S_ISUID or (kind & stat.S_ISGID and not stat.S_ISDIR(kind)):
        return "a set-id program"
    return ""


def _unlink_from_others(found: str) -> None:
    """Give a file with several names contents of its own: whoever holds another name could change it."""
    import shutil

    temporary = f"{found}.mcpbox"
    shutil.copy2(found, temporary, follow_symlinks=False)
    os.replace(temporary, found)


def walk(directory: str | Path) -> Iterator[str]:
    """Every path below, parents first, links not followed, however deep."""
    pending = [os.fspath(directory)]
    while pending:
        entries = list(os.scandir(pending.pop()))
        for entry in entries:
            yield entry.path
        pending += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]


def _faults(directory: Path, manifest: str) -> list[str]:
    try:
        if _digest(directory) != manifest:
            return [f"{MANIFEST}: not the one of mcpbox.lock"]
        expected = _decode(directory)
    except (OSError, msgspec.DecodeError) as error:
        return [f"{MANIFEST}: {error}"]
    faults = []
    seen = set()
    for found in walk(directory):
        name = os.path.relpath(found, directory)
        if name == MANIFEST:
            continue
        seen.add(name)
        status = os.lstat(found)
        if stat.S_ISLNK(status.st_mode):
            if expected.links.get(name) != os.readlink(found):
                faults.append(f"{name}: not the symlink that was installed")
        elif stat.S_ISDIR(status.st_mode):
            if name not in expected.directories or stat.S_IMODE(status.st_mode) != 0o555:
                faults.append(f"{name}: not the directory that was installed")
        elif not stat.S_ISREG(status.st_mode) or name not in expected.files:
            faults.append(f"{name}: was not installed")
        else:
            file = expected.files[name]
            if (stat.S_IMODE(status.st_mode), status.st_size) != (file.mode, file.size):
                faults.append(f"{name}: mode or size changed")
            elif _sha256(found) != file.sha256:
                faults.append(f"{name}: contents changed")
    missing = {*expected.files, *expected.links, *expected.directories} - seen
    return faults + [f"{name}: missing" for name in sorted(missing)]


def _encode(manifest: Manifest) -> bytes:
    return msgspec.json.encode(manifest, order="sorted")


def _decode(directory: Path) -> Manifest:
    return msgspec.json.decode((directory / MANIFEST).read_bytes(), type=Manifest)


def _digest(directory: Path) -> str:
    return sha256((directory / MANIFEST).read_bytes()).hexdigest()


def _sha256(file: str) -> str:
    digest = sha256()
    with open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as opened:
        while data := opened.read(CHUNK):
            digest.update(data)
    return digest.hexdigest()


def _sync(directory: Path) -> None:
    """Bring everything to the disk before the rename that makes it count; one call, not one for each of its files."""
    os.sync()
    _sync_directory(directory)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    os.fsync(descriptor)
    os.close(descriptor)


def discard(directory: Path) -> None:
    """Remove a directory, however deep and whatever its modes. Raises FileNotFoundError.

    It is moved out of sight first, so that no half of a tree is ever seen under its name; and each directory below is
    moved to the top before it is emptied: a package may have made them deeper than a path can be long.
    """
    # What is in a read-only directory cannot be removed, nor such a directory moved.
    directory.chmod(0o700)
    doomed, lock = _new(_DOOMED, directory.parent)
    try:
        pending = [f"{doomed}/0"]
        os.rename(directory, pending[0])
        moved = 0
        while pending:
            here = pending.pop()
            for entry in list(os.scandir(here)):
                if entry.is_dir(follow_symlinks=False):
                    moved += 1
                    os.chmod(entry.path, 0o700)
                    os.rename(entry.path, f"{doomed}/{moved}")
                    pending.append(f"{doomed}/{moved}")
                else:
                    os.unlink(entry.path)
            os.rmdir(here)
        doomed.rmdir()
    finally:
        os.close(lock)
