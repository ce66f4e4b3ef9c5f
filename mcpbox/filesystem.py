"""Which host paths a server sees: a profile's entries and arguments turned into mounts, and the paths never shown.

Both the path as written and the path behind its symlinks are judged, so a link to ~/.ssh is ~/.ssh.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from mcpbox import paths
from mcpbox.errors import ProfileError
from mcpbox.profile import Filesystem, Unsafe
from mcpbox.sandbox.base import Mount

#: The system's own: nothing of them, and nothing that contains them.
SYSTEM = ("/etc", "/proc", "/sys", "/dev", "/run", "/var/run", "/boot", "/root", "/var/lib/docker")
#: An agent's socket in one of these would let a server use the user's keys.
SHARED = ("/tmp", "/var", "/var/tmp")
#: Below the home directory: credentials, sessions, and files whose change is code that runs later.
PRIVATE = (
    ".ssh .gnupg .password-store .aws .azure .config/gcloud .kube .docker .netrc .npmrc .pypirc .git- "
    "credentials .config/gh .config/hub .local/share/keyrings .local/share/kwalletd Library/Keychains "
    ".mozilla .config/google-chrome .config/chromium .config/BraveSoftware .config/microsoft-edge "
    ".thunderbird Library/Cookies Library/Mail .bash_history .zsh_history .python_history "
    ".node_repl_history .psql_history .mysql_history .claude .claude.json .cursor .codeium .codex .gemini "
    ".continue .config/Claude .config/Code/User .vscode .config/autostart .config/systemd "
    ".config/environment.d .local/share/systemd Library/LaunchAgents .bashrc .bash_profile .bash_login "
    ".profile .zshrc .zprofile .zshenv .zlogin .config/fish .xsession .xinitrc .pam_environment "
    ".terraform.d .vault-token .config/op .config/rclone "
).split() + [
    f"Library/Application Support/{name}"
    for name in ("Google/Chrome", "BraveSoftware", "Firefox", "Microsoft Edge", "Chromium", "Claude", "Code/User")
]


def mounts(table: Filesystem, arguments: Sequence[str], *, home: Path, cwd: Path, source: str) -> tuple[Mount, ...]:
    """The mounts of a profile, parents before what lies in them, each path once; writing wins over reading.

    An argument counts if it names an existing path, also as the value in ``--option=PATH``. Raises ProfileError.
    """
    found: dict[str, Mount] = {}

    def add(path: str, key: str, *, write: bool, unsafe: bool) -> None:
        expanded = str(home / path[2:]) if path.startswith("~/") else path
        written = os.path.normpath(os.path.join(cwd, expanded))
        resolved = os.path.realpath(written)
        try:
            mode = os.stat(resolved).st_mode
        except OSError as error:
            raise ProfileError(f"{source}: {key}: {path}: {error.strerror}", "name a path that exists") from None
        if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            raise ProfileError(f"{source}: {key}: {path}: neither a file nor a directory")
        for candidate in dict.fromkeys((written, resolved)):
            if reason := exposure(candidate, home, unsafe=unsafe):
                hint = f'if it is meant: {{ path = "{path}", unsafe = true }} in filesystem.read or filesystem.write'
                raise ProfileError(f"{source}: {key}: {path}: {reason}", hint)
            before = found.get(candidate)
            found[candidate] = Mount(resolved, candidate, write or bool(before and before.write))

    for key, write in (("read", False), ("write", True)):
        for item in getattr(table, key):
            path = item.path if isinstance(item, Unsafe) else item
            add(path, f"filesystem.{key}", write=write, unsafe=isinstance(item, Unsafe) and item.unsafe)
    if table.arguments != "none":
        for argument in arguments:
            for value in {argument, argument.partition("=")[2]}:
                if value and _names_path(value) and os.path.exists(os.path.join(cwd, value)):
                    add(value, "an argument", write=table.arguments == "write", unsafe=False)
    return tuple(sorted(found.values(), key=lambda mount: mount.target.count("/") if mount.target != "/" else 0))


def exposure(path: str, home: Path, *, unsafe: bool = False) -> str:
    """Why ``path`` must not be shown to a server; "" if it may. ``unsafe`` leaves only what no profile can allow."""
    if path == "/" and not unsafe:
        return "it is the whole file system"
    if path in SHARED and not unsafe:
        return "other programs keep their sockets there; name a directory below it"
    for own in (paths.config_dir(), paths.data_dir(), paths.state_dir()):
        if _overlap(path, str(own)):
            return "it holds mcpbox's own files"
    if unsafe:
        return ""
    homes = {str(home), os.path.realpath(home)}
    for directory in homes:
        if _within(directory, path):
            return "it holds the whole home directory"
        for name in PRIVATE:
            if _overlap(path, f"{directory}/{name}"):
                return f"it holds credentials, history or start-up files (~/{name})"
    for directory in SYSTEM:
        if _overlap(path, directory) and not any(_within(path, own) for own in homes):
            return f"it belongs to the system ({directory})"
    return ""


def _names_path(value: str) -> bool:
    return "\0" not in value and "\n" not in value and ("/" in value or value.startswith("."))


def _within(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _overlap(one: str, other: str) -> bool:
    return _within(one, other) or _within(other, one)
