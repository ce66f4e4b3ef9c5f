"""Where else on this machine a secret may stand that was moved out of a file: places to look at, never changed here.

Every search is bounded; nothing below a project or a home directory is walked.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from mcpbox.hosts.values import escaped

#: Values that are shorter stand in many texts by chance.
SHORTEST = 8
#: … and a line of a longer one tells it if it is this long.
TELLING = 32
MAX_BYTES, MAX_FILES = 4 << 20, 4_000
GIT_SECONDS, GIT_BYTES = 10.0, 64 << 20
HISTORIES = (
    *(".bash_history", ".zsh_history", ".history", ".sh_history", ".ash_history", ".node_repl_history"),
    *(".python_history", ".psql_history", ".mysql_history", ".local/share/fish/fish_history"),
    *(".local/share/powershell/PSReadLine/ConsoleHost_history.txt", ".config/fish/fish_history"),
)
STARTED = (".bashrc", ".bash_profile", ".profile", ".zshrc", ".zshenv", ".zprofile", ".config/fish/config.fish", ".env")
#: A host's own copies of its file, below the home directory.
HOSTS = (".claude/backups/*", ".claude.json.*", ".claude/.claude.json.*", ".claude/debug/*", ".codex/history.jsonl")
EDITORS = ("Code", "Code - Insiders", "VSCodium", "Cursor", "Windsurf", "Trae", "Kiro")
SETTINGS = (".config", "Library/Application Support", "AppData/Roaming", ".vscode-server/data", ".cursor-server/data")
SYNCED = {
    "Dropbox": "Dropbox",
    "OneDrive": "OneDrive",
    "Mobile Documents": "iCloud",
    "CloudStorage": "a cloud drive",
    "Google Drive": "Google Drive",
    "GoogleDrive": "Google Drive",
    "My Drive": "Google Drive",
    "Nextcloud": "Nextcloud",
    "pCloudDrive": "pCloud",
    "Box": "Box",
    "Sync": "a synchronised folder",
}


class Copy(Struct, frozen=True, order=True):
    """A place: ``path``, ``what`` it is, and ``remedy``."""

    path: str
    what: str
    remedy: str


def find(
    values: Iterable[str],
    file: str,
    others: Iterable[str] = (),
    *,
    home: Path,
    environ: Mapping[str, str],
    backups: Iterable[Path] = (),
) -> list[Copy]:
    """Where any of the values that were in ``file`` (its real path) stands besides, as far as one can look.

    ``others`` are files of hosts, ``backups`` mcpbox's own of any file.
    """
    sought = _forms(value for value in values if len(value) >= SHORTEST)
    found = [*_synced(file)]
    if sought:
        remedy = "run: mcpbox protect, then mcpbox migrate-secrets"
        found += [Copy(path, "another file with servers", remedy) for path in others if _holds(Path(path), sought)]
        kept, drop = "mcpbox's own backup of another file, or of this one by another name", "remove it"
        found += [Copy(str(path), kept, drop) for path in backups if _holds(path, sought)]
        found += _histories(sought, home, environ)
        found += _beside(sought, file)
        found += _kept(sought, home)
        found += _editors(sought, home)
        found += _git(sought, file)
    return sorted(set(found))


def _forms(values: Iterable[str]) -> list[bytes]:
    forms = {form for value in values for form in (value, escaped(value), _core(value))}
    return sorted(form.encode(errors="surrogateescape") for form in forms)


def _core(value: str) -> str:
    """What of several lines there is however they are written: the longest, if it is of the secret itself."""
    longest = max((line.strip() for line in value.splitlines()), key=len, default="")
    return value if len(longest) < TELLING or longest.startswith("-----") else longest


def _histories(sought: list[bytes], home: Path, environ: Mapping[str, str]) -> Iterator[Copy]:
    own = environ.get("HISTFILE", "")
    for path in dict.fromkeys([*(home / name for name in HISTORIES), *([Path(own)] if os.path.isabs(own) else [])]):
        if _holds(path, sought):
            yield Copy(str(path), "a history of commands", "remove its lines, in every open shell too")
    for path in (home / name for name in STARTED):
        if _holds(path, sought):
            yield Copy(str(path), "a file of settings", "remove it there, if nothing else needs it")


def _beside(sought: list[bytes], file: str) -> Iterator[Copy]:
    """Copies that people and editors make next to a file."""
    directory, name = os.path.split(file)
    stem = name.lstrip(".").partition(".")[0]
    for path in _entries(Path(directory)):
        alike = path.name != name and (stem in path.name or path.name.startswith(".env"))
        if alike and _holds(path, sought):
            yield Copy(str(path), "beside the file", "remove it, or the value in it")


def _kept(sought: list[bytes], home: Path) -> Iterator[Copy]:
    for pattern in HOSTS:
        directory, _, names = pattern.rpartition("/")
        for path in _entries(home / directory):
            if path.match(names) and _holds(path, sought):
                yield Copy(str(path), "the host's own copy", "remove it")


def _editors(sought: list[bytes], home: Path) -> Iterator[Copy]:
    histories = [home / base / editor / "User/History" for base in SETTINGS for editor in EDITORS]
    histories += [home / base / "User/History" for base in SETTINGS]
    files = (file for history in histories for folder in _entries(history) for file in _entries(folder))
    for count, file in enumerate(files):
        if count >= MAX_FILES:
            break
        if _holds(file, sought):
            yield Copy(str(file.parent), "an editor's local history", "remove it")
    for undo in (home / ".local/state/nvim/undo", home / ".vim/undo", home / ".local/state/nvim/swap"):
        for file in _entries(undo):
            if _holds(file, sought):
                yield Copy(str(file), "an editor's undo history", "remove it")


def _synced(file: str) -> Iterator[Copy]:
    for part in Path(file).parts[:-1]:
        for mark, service in SYNCED.items():
            if part == mark or (mark in ("Dropbox", "OneDrive") and part.startswith(f"{mark} ")):
                remedy = "remove its former versions there; its other devices hold them too"
                yield Copy(file, f"in a folder that {service} copies", remedy)


def _git(sought: list[bytes], file: str) -> Iterator[Copy]:
    """Commits that hold a value.

    The value is never a word of git's command line; git is asked for all changes of the file. Nothing that the
    repository's own settings name is run: no program for signatures, differences (of a repository within it too) or
    file systems, and none that would fetch what the repository lacks.
    """
    directory, name = os.path.split(file)
    words = ["git", "-C", directory, "--no-pager", "-c", "core.fsmonitor=false", "-c", "log.showSignature=false"]
    words += ["log", "--all", "--format=", "-p", "--no-color", "--no-ext-diff", "--no-textconv", "--submodule=short"]
    words += ["--", name]
    quiet = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    # Versions before 2.45 do not know the first; of transports none is called "none".
    quiet |= {"GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none"}
    try:
        git = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=quiet
        )
    except OSError:
        return
    assert git.stdout
    patience = threading.Timer(GIT_SECONDS, git.kill)
    patience.start()
    longest = max(map(len, sought))
    found, tail, read = False, b"", 0
    with git:
        while not found and read < GIT_BYTES and (data := os.read(git.stdout.fileno(), 1 << 16)):
            found = any(form in tail + data for form in sought)
            tail, read = (tail + data)[-longest:], read + len(data)
        patience.cancel()
        git.kill()
    if found:
        remedy = "make the secret invalid and take a new one; a history that others have cannot be mended"
        yield Copy(directory, f"the history of {name} in git", remedy)


def _entries(directory: Path) -> Iterator[Path]:
    try:
        with os.scandir(directory) as found:
            for count, entry in enumerate(found):
                if count >= MAX_FILES:
                    return
                yield Path(entry.path)
    except OSError:
        return


def _holds(path: Path, sought: list[bytes]) -> bool:
    try:
        # Not to wait for the other end of a FIFO.
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as opened:
            data = opened.read(MAX_BYTES)
    except OSError:
        return False
    return any(form in data for form in sought)
