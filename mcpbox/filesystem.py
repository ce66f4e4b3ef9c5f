"""Which host paths a server sees: a profile's entries and arguments turned into mounts, and the paths never shown.

Both the path as written and the path behind its symlinks are judged, so a link to ~/.ssh is ~/.ssh.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from mcpbox import paths
from mcpbox.arguments import options
from mcpbox.errors import ProfileError
from mcpbox.sandbox.base import Mount
from mcpbox.tables import Filesystem, Listed, Use

#: The system's own: nothing of them, and nothing that contains them.
SYSTEM = ("/etc", "/proc", "/sys", "/dev", "/run", "/var/run", "/boot", "/root", "/var/lib/docker")
#: An agent's socket in one of these would let a server use the user's keys.
SHARED = ("/tmp", "/var", "/var/tmp")
#: Below the home directory: credentials, sessions, and files whose change is code that runs later.
PRIVATE = [
    *(
        ".ssh .gnupg .password-store .aws .azure .config/gcloud .kube .docker .netrc .npmrc .pypirc .git-credentials "
        ".config/git/credentials .config/gh .config/hub .config/glab-cli .local/share/keyrings .local/share/kwalletd "
        "Library/Keychains .mozilla .config/google-chrome .config/chromium .config/BraveSoftware "
        ".config/microsoft-edge .thunderbird Library/Cookies Library/Mail .bash_history .zsh_history .python_history "
        ".node_repl_history .psql_history .mysql_history .pgpass .my.cnf .config/autostart .config/systemd "
        ".config/environment.d .local/share/systemd Library/LaunchAgents .bashrc .bash_profile .bash_login "
        ".profile .zshrc .zprofile .zshenv .zlogin .config/fish .xsession .xinitrc .pam_environment "
        ".terraform.d .vault-token .config/op .config/rclone .cargo/credentials.toml .m2/settings.xml "
        # Container engines keep the sockets there by which one becomes the machine's root.
        ".colima .lima .orbstack .rd .local/share/containers "
        # Of MCP hosts, whose files say what is started, and outside any sandbox.
        ".claude .claude.json .mcp.json .cursor .codeium .codex .gemini .continue .config/Claude .vscode "
        ".vscode-server/data .vscode-server-insiders/data .cursor-server/data .windsurf-server/data .config/amp "
        ".boltai/mcp.json .cline/data .copilot .config/github-copilot .config/crush .config/enconvo .factory/mcp.json "
        ".config/goose .config/Block .hermes/config.yaml .junie/mcp .config/kilo .kilocode/cli .kimi/mcp.json "
        ".kiro/settings .kiro/agents .lmstudio/mcp.json .cache/lm-studio/mcp.json .mcporter .vibe/config.toml "
        ".openclaw/openclaw.json .agents/mcp.json .config/opencode .opencode/opencode.json .opencode/opencode.jsonc "
        ".config/Qoder .qoder/mcp.json .qwen/settings.json .sema4ai/sema4ai-studio .tome/mcp_config.json .warp "
        ".config/Witsy .config/zed .config/Zed"
    ).split(),
    *(
        f"Library/Application Support/{name}"
        for name in (
            *("Google/Chrome", "BraveSoftware", "Firefox", "Microsoft Edge", "Chromium"),
            *("Claude", "amp", "Block", "Qoder", "Witsy", "Zed"),
        )
    ),
    *(
        f"{base}/{name}/User"
        for base in (".config", "Library/Application Support")
        for name in ("Code", "Code - Insiders", "VSCodium", "Cursor", "Windsurf", "Kiro", "Trae", "Antigravity")
    ),
    "Amazon Bedrock Client",
]

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^?#]*).*")


def mounts(
    table: Filesystem,
    arguments: Sequence[str],
    *,
    home: Path,
    cwd: Path,
    source: str,
    environment: Mapping[str, str] = {},
) -> tuple[Mount, ...]:
    """The mounts of a profile, parents before what lies in them, each path once; writing wins over reading.

    An argument counts if it names an existing path, also as the value in ``--option=PATH``; ``environment`` is what the
    user's own configuration gives the server. What ``Use`` says is to be made where it is missing is made.
    Raises ProfileError.
    """
    found: dict[str, Mount] = {}
    meant: dict[str, bool] = {}

    def add(path: str, key: str, *, write: bool, unsafe: bool = False, optional: bool = False, make: str = "") -> None:
        written = os.path.normpath(os.path.join(cwd, expanded(path, home)))
        resolved = os.path.realpath(written)
        unsafe = unsafe or (written in meant and (meant[written] or not write))
        _require_unexposed(path, f"{source}: {key}", home, (written, resolved), unsafe=unsafe)
        try:
            if make and not os.path.lexists(resolved):
                _make(resolved, make)
            mode = os.stat(resolved).st_mode
        except OSError as error:
            if optional and isinstance(error, FileNotFoundError):
                return
            raise ProfileError(f"{source}: {key}: {path}: {error.strerror}", "name a path that exists") from None
        if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            raise ProfileError(f"{source}: {key}: {path}: neither a file nor a directory")
        for candidate in dict.fromkeys((written, resolved)):
            before = found.get(candidate)
            found[candidate] = Mount(resolved, candidate, write or bool(before and before.write))

    for key, listed in _listed(table):
        if listed.unsafe:
            meant[os.path.normpath(expanded(listed.path, home))] = key == "write"
        add(listed.path, f"filesystem.{key}", write=key == "write", unsafe=listed.unsafe, optional=listed.optional)
    if table.arguments != "none":
        for argument in arguments:
            for value in {argument, argument.partition("=")[2]}:
                if value and _names_path(value) and os.path.exists(os.path.join(cwd, value)):
                    add(value, "an argument", write=table.arguments == "write")
    named = [(name, environment.get(name, ""), use) for name, use in table.from_environment.items()]
    named += [(name, value, table.from_arguments[name]) for name, value in options(arguments, table.from_arguments)]
    for key, value, use in named:
        for path in _paths(value, use):
            if not path.startswith(("/", "~/")):
                raise ProfileError(f"{source}: {key}: {path}: not an absolute path", 'it begins with "/" or "~/"')
            if use == "beside":
                path = os.path.dirname(path.rstrip("/"))
            add(path, key, write=use != "read", make=use if use in ("file", "directory") else "")
    _require_own_links(found.values(), source)
    return tuple(sorted(found.values(), key=lambda mount: mount.target.count("/") if mount.target != "/" else 0))


def _require_own_links(found: Collection[Mount], source: str) -> None:
    """Raises ProfileError for a link in what the server may write to: an earlier session of its may have made it."""
    for around in (mount for mount in found if mount.write):
        for mount in found:
            if within(mount.target, around.target) and not within(mount.source, around.source):
                raise ProfileError(
                    f"{source}: {mount.target} leads to {mount.source}, by a link in {around.target}, where the server "
                    "can make such links itself",
                    f"if that is where it should lead, name {mount.source} instead",
                )


def require_unexposed(table: Filesystem, *, home: Path, source: str) -> None:
    """Raises ProfileError for a path of the profile's own that no start would show, whether or not it is there."""
    meant: dict[str, bool] = {}
    for key, listed in _listed(table):
        written = os.path.normpath(expanded(listed.path, home))
        if listed.unsafe:
            meant[written] = key == "write"
        unsafe = written in meant and (meant[written] or key == "read")
        both = written, os.path.realpath(written)
        _require_unexposed(listed.path, f"{source}: filesystem.{key}", home, both, unsafe=unsafe)


def _listed(table: Filesystem) -> list[tuple[str, Listed]]:
    found = [(key, item) for key in ("read", "write") for item in getattr(table, key)]
    return [(key, Listed(path=item) if isinstance(item, str) else item) for key, item in found]


def _require_unexposed(path: str, where: str, home: Path, candidates: Sequence[str], *, unsafe: bool) -> None:
    for candidate in dict.fromkeys(candidates):
        if reason := exposure(candidate, home, unsafe=unsafe):
            hint = f'if it is meant: {{ path = "{path}", unsafe = true }} in filesystem.read or filesystem.write'
            raise ProfileError(f"{where}: {path}: {reason}", hint)


def _paths(value: str, use: Use) -> list[str]:
    """What a variable or an option names: a path, or several to read with ":" between them, or a URL of a file."""
    if url := _URL.fullmatch(value):
        local = url[1].lower().partition("+")[0] in ("file", "sqlite", "sqlite3", "duckdb")
        value = f"/{url[2].lstrip('/')}" if local else ""
    if value in ("", "/", ":memory:", "/:memory:"):
        return []
    return [path for path in value.split(":") if path] if use == "read" else [value]


def _make(path: str, use: str) -> None:
    """An empty file or directory of the user's own. Raises OSError; what it is to lie in must be there."""
    if use == "directory":
        os.mkdir(path, 0o700)
    else:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    if os.geteuid() == 0:
        # The server never runs as root, and what lies around it tells whose files these are. That owner may have put
        # a link in its place meanwhile.
        owner = os.stat(os.path.dirname(path))
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def expanded(path: str, home: Path) -> str:
    """``path``, "~" being the user's home."""
    return f"{home}{path[1:]}" if path == "~" or path.startswith("~/") else path


def exposure(path: str, home: Path, *, unsafe: bool = False) -> str:
    """Why ``path`` must not be shown to a server; "" if it may. ``unsafe`` leaves only what no profile can allow.

    Letters count alike in both cases, as in the file systems of macOS and Windows.
    """
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
        if within(directory.casefold(), path.casefold()):
            return "it holds the whole home directory"
        for name in PRIVATE:
            if _overlap(path, f"{directory}/{name}"):
                return f"it holds credentials, history or start-up files (~/{name})"
    for directory in SYSTEM:
        if _overlap(path, directory) and not any(within(path, own) for own in homes):
            return f"it belongs to the system ({directory})"
    return ""


def _names_path(value: str) -> bool:
    return "\0" not in value and "\n" not in value and ("/" in value or value.startswith("."))


def within(path: str, directory: str) -> bool:
    """Whether it is that directory, or lies in it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _overlap(one: str, other: str) -> bool:
    one, other = one.casefold(), other.casefold()
    return within(one, other) or within(other, one)
