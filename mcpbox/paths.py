"""Where mcpbox keeps its files. The only module that knows."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from mcpbox.errors import McpboxError

#: Below the home directory, or where the variable says (XDG Base Directory Specification).
XDG = {
    "config": ("XDG_CONFIG_HOME", ".config"),
    "data": ("XDG_DATA_HOME", ".local/share"),
    "state": ("XDG_STATE_HOME", ".local/state"),
}


def home() -> Path:
    """The user's home directory; some hosts start servers without HOME."""
    if (value := os.environ.get("HOME", "")).startswith("/"):
        return Path(value)
    import pwd

    return Path(pwd.getpwuid(os.getuid()).pw_dir)


def config_dir() -> Path:
    """``config.toml`` and the user's profiles."""
    return _base("config")


def config_file() -> Path:
    return config_dir() / "config.toml"


def data_dir() -> Path:
    """Directories that servers keep between sessions, and the bubblewrap binary where the system has none."""
    return _base("data")


def packages_dir() -> Path:
    """The installed packages, each tree in a directory of its own."""
    return data_dir() / "packages"


def state_dir() -> Path:
    """Logs."""
    return _base("state")


def audit_dir() -> Path:
    """The ledger and the records of every session."""
    return private_dir(private_dir(state_dir()) / "audit")


def user_profiles() -> Path:
    return config_dir() / "profiles"


def builtin_profiles() -> Path:
    """``profiles/``: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).parent
    shipped = package / "profiles"
    return shipped if shipped.is_dir() else package.parent / "profiles"


def runtime_dir() -> Path:
    """Files of running sessions, mode 0700 and owned by this user, in memory where the system has such a place.

    Raises McpboxError if somebody else owns the directory: what is in it decides which processes get killed.
    """
    uid = os.getuid()
    base = Path(f"/run/user/{uid}")
    try:
        owner = base.stat().st_uid
    except OSError:
        owner = -1
    path = base / "mcpbox" if owner == uid and os.access(base, os.W_OK) else state_dir() / "run"
    return private_dir(path)


def private_dir(path: Path) -> Path:
    """Make ``path`` (mode 0700) if it is not there and check that it is this user's alone."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        # Each by itself: with parents=True these would get what the umask leaves, often a group's write permission.
        for missing in reversed([place for place in (path, *path.parents) if not place.exists()]):
            missing.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise McpboxError(
            f"{path} is not a directory that only this user can write to",
            f"remove it, or run: chown {os.getuid()} {path} && chmod 700 {path}",
        )
    return path


def private_file(name: str, text: str) -> Path:
    """A file among the state that holds ``text`` and that nobody else can change, for whoever wants a path.

    Written anew each time, so that what it says is never an older version's.
    """
    path = private_dir(state_dir()) / name
    temporary = path.with_name(f"{name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.chmod(0o644)
    temporary.rename(path)
    return path


def _base(kind: str) -> Path:
    if sys.platform == "linux":
        # As platformdirs has it, which takes 5 ms of every start to import.
        variable, below = XDG[kind]
        given = os.environ.get(variable, "")
        return (Path(given) if given.startswith("/") else home() / below) / "mcpbox"
    import platformdirs

    return Path(getattr(platformdirs, f"user_{kind}_dir")("mcpbox", appauthor=False))
