"""Finding the hosts' files, in homes laid out for the test, and telling what a file is that the user names."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from conftest import ORDINARY
from hosts import golden

from mcpbox.errors import UsageError
from mcpbox.hosts import ALL, HOSTS, OTHER, by_id
from mcpbox.hosts.discover import Found, at, find, other_homes, running, system
from mcpbox.hosts.document import parse
from mcpbox.hosts.entries import entries
from mcpbox.hosts.model import Host, Place, System
from mcpbox.hosts.shapes import EXPANDED, PLAIN

#: Where desktop applications keep their settings.
APP = {"linux": ".config", "macos": "Library/Application Support", "windows": "AppData/Roaming"}
SETTINGS = "saoudrizwan.claude-dev/settings/cline_mcp_settings.json"


def put(path: Path, text: str = '{"mcpServers": {"x": {"command": "true"}}}') -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def look(
    home: Path, system: System = "linux", root: Path | None = None, environ: Mapping[str, str] | None = None
) -> list[tuple[str, str]]:
    """The hosts found, and their files below the home."""
    found = find(HOSTS, home=home, root=root, environ=environ or {}, system=system)
    return [(row.host.id, os.path.relpath(row.path, home)) for row in found]


def laid_out(file: str, home: Path, root: Path, system: System) -> Path:
    """The place of one of the golden files in a home, with names in place of its patterns."""
    base, _, rest = golden.FILES[file][0].partition("/")
    start = {
        "~": home,
        "{ROOT}": root,
        "{APP}": home / APP[system],
        "{CONFIG}": home / ".config",
        "{LOCALAPPDATA}": home / "AppData/Local",
        "{CLAUDE_CONFIG_DIR}": home,
        "{CLAUDE_PLUGINS}": home / ".claude/plugins",
        "{CLINE_DIR}": home / ".cline",
        "{CODEX_HOME}": home / ".codex",
        "{COPILOT_HOME}": home / ".copilot",
        "{HERMES_HOME}": home / ".hermes",
        "{OPENCODE_CONFIG_DIR}": home / ".config/opencode",
    }[base]
    return Path(start, rest.replace("*", "any"))


@pytest.mark.parametrize(
    ("file", "system"),
    [(file, system) for file in golden.FILES for system in ALL if system in golden.place_of(file).systems],
)
def test_every_host_is_found_where_it_keeps_its_file(file: str, system: System, tmp_path: Path) -> None:
    home, root = tmp_path / "home", tmp_path / "project"
    path = laid_out(file, home, root, system)
    path.parent.mkdir(parents=True)
    shutil.copy(golden.DATA / file, path)
    found = find(HOSTS, home=home, root=root, environ={}, system=system)
    (row,) = (row for row in found if row.host == golden.host_of(file))
    assert (row.path, row.place, row.system) == (str(path), golden.place_of(file), system)
    assert not [
        row for row in find(HOSTS, home=home, root=None, environ={}, system=system) if row.place.scope == "project"
    ]


@pytest.mark.parametrize("system", ALL)
def test_an_empty_home_has_no_hosts(system: System, tmp_path: Path) -> None:
    assert look(tmp_path, system, tmp_path) == []
    assert look(tmp_path / "missing", system) == []


@pytest.mark.parametrize("system", ALL)
def test_profiles_and_what_is_made_of_vs_code(system: System, tmp_path: Path) -> None:
    app = APP[system]
    for editor in ("Code", "Code - Insiders", "VSCodium", "Cursor", "Windsurf"):
        put(tmp_path / app / editor / "User/globalStorage" / SETTINGS)
    for profile in ("-3f1", "work"):
        put(tmp_path / app / "Code/User/profiles" / profile / "mcp.json", '{"servers": {}}')
    put(tmp_path / app / "Code - Insiders/User/mcp.json")
    put(tmp_path / app / "Code/User/globalStorage/deep/er" / SETTINGS)
    assert look(tmp_path, system) == [
        ("vscode", f"{app}/Code/User/profiles/-3f1/mcp.json"),
        ("vscode", f"{app}/Code/User/profiles/work/mcp.json"),
        ("vscode-insiders", f"{app}/Code - Insiders/User/mcp.json"),
        *[
            ("cline", f"{app}/{editor}/User/globalStorage/{SETTINGS}")
            for editor in ("Code", "Code - Insiders", "Cursor", "VSCodium", "Windsurf")
        ],
    ]


def test_remote_editors(tmp_path: Path) -> None:
    put(tmp_path / ".vscode-server/data/User/mcp.json")
    put(tmp_path / ".vscode-server-insiders/data/User/mcp.json")
    put(tmp_path / ".cursor-server/data/User/globalStorage" / SETTINGS)
    assert look(tmp_path) == [
        ("vscode-server", ".vscode-server/data/User/mcp.json"),
        ("vscode-server", ".vscode-server-insiders/data/User/mcp.json"),
        ("cline", f".cursor-server/data/User/globalStorage/{SETTINGS}"),
    ]


def test_both_installations_of_claude_desktop_on_windows(tmp_path: Path) -> None:
    package = "AppData/Local/Packages/Claude_pzs8sxrjxfjjc/LocalCache/Roaming/Claude/claude_desktop_config.json"
    put(tmp_path / package)
    put(tmp_path / "AppData/Roaming/Claude/claude_desktop_config.json")
    assert look(tmp_path, "windows") == [
        ("claude-desktop", package),
        ("claude-desktop", "AppData/Roaming/Claude/claude_desktop_config.json"),
    ]


@pytest.mark.parametrize(
    ("variable", "value", "file", "host", "system"),
    [
        ("CLAUDE_CONFIG_DIR", "cc", "cc/.claude.json", "claude-code", "linux"),
        ("CLAUDE_CONFIG_DIR", "cc", "cc/plugins/cache/market/tool/1.0/.mcp.json", "claude-code", "macos"),
        ("CODEX_HOME", "cx", "cx/config.toml", "codex", "windows"),
        ("CODEX_HOME", "cx", "cx/work.config.toml", "codex", "linux"),
        ("XDG_CONFIG_HOME", "xdg", "xdg/zed/settings.json", "zed", "linux"),
        ("XDG_CONFIG_HOME", "xdg", "xdg/Code/User/mcp.json", "vscode", "linux"),
        ("XDG_CONFIG_HOME", "xdg", "xdg/.copilot/mcp-config.json", "copilot-cli", "linux"),
        ("XDG_CONFIG_HOME", "xdg", "xdg/opencode/opencode.json", "opencode", "macos"),
        ("APPDATA", "roaming", "roaming/Code/User/mcp.json", "vscode", "windows"),
        ("LOCALAPPDATA", "local", "local/crush/crush.json", "crush", "windows"),
        ("PROGRAMFILES", "pf", "pf/ClaudeCode/managed-mcp.json", "claude-code", "windows"),
        ("PROGRAMDATA", "pd", "pd/OpenAI/Codex/config.toml", "codex", "windows"),
        ("CLINE_DIR", "cl", "cl/data/settings/cline_mcp_settings.json", "cline-cli", "linux"),
        ("OPENCODE_CONFIG", "my.json", "my.json", "opencode", "linux"),
        ("OPENCLAW_CONFIG_PATH", "claw.json", "claw.json", "openclaw", "linux"),
        ("HERMES_HOME", "h", "h/config.yaml", "hermes", "linux"),
        ("VSCODE_PORTABLE", "p", "p/user-data/User/mcp.json", "vscode", "windows"),
    ],
)
def test_variables_that_move_a_host(
    variable: str, value: str, file: str, host: str, system: System, tmp_path: Path
) -> None:
    put(tmp_path / file)
    assert look(tmp_path, system) == []
    assert look(tmp_path, system, environ={variable: str(tmp_path / value)}) == [(host, file)]
    assert look(tmp_path, system, environ={variable: ""}) == []


def test_the_usual_place_is_looked_at_beside_the_one_that_a_variable_names(tmp_path: Path) -> None:
    put(tmp_path / ".codex/config.toml", "")
    put(tmp_path / "other/config.toml", "")
    found = look(tmp_path, environ={"CODEX_HOME": str(tmp_path / "other")})
    assert found == [("codex", "other/config.toml"), ("codex", ".codex/config.toml")]
    assert look(tmp_path, environ={"CODEX_HOME": str(tmp_path / ".codex")}) == [("codex", ".codex/config.toml")]


def test_an_empty_variable_names_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "config.toml", "")
    monkeypatch.chdir(tmp_path)
    assert look(tmp_path / "home", environ={"CODEX_HOME": ""}) == []


def test_a_variable_of_another_system_moves_nothing(tmp_path: Path) -> None:
    put(tmp_path / "xdg/Code/User/mcp.json")
    assert look(tmp_path, "macos", environ={"XDG_CONFIG_HOME": str(tmp_path / "xdg")}) == []


def test_a_file_of_a_project_that_several_hosts_read_is_listed_once_for_each_of_its_tables(tmp_path: Path) -> None:
    put(tmp_path / ".mcp.json")
    assert look(tmp_path / "home", "linux", tmp_path) == [("claude-code", "../.mcp.json")]
    assert look(tmp_path / "home", "windows", tmp_path) == [
        ("claude-code", "../.mcp.json"),
        ("visual-studio", "../.mcp.json"),
    ]
    assert look(tmp_path, "linux", None) == []


def test_the_first_of_the_hosts_that_read_the_same_servers_has_the_file(tmp_path: Path) -> None:
    put(tmp_path / "shared.json")
    hosts = [Host(id, id, (Place(ALL, "~/shared.json", shape),)) for id, shape in (("a", PLAIN), ("b", EXPANDED))]
    for order in (hosts, hosts[::-1]):
        found = find(order, home=tmp_path, root=None, environ={}, system="linux")
        assert [row.host.id for row in found] == [order[0].id]


def test_links_are_kept_as_the_host_spells_them(tmp_path: Path) -> None:
    real = put(tmp_path / "dotfiles/cursor.json")
    (tmp_path / ".cursor").mkdir()
    (tmp_path / ".cursor/mcp.json").symlink_to(real)
    (tmp_path / ".kiro").symlink_to(tmp_path / "dotfiles")
    put(tmp_path / "dotfiles/settings/mcp.json")
    assert look(tmp_path) == [("cursor", ".cursor/mcp.json"), ("kiro", ".kiro/settings/mcp.json")]


def test_what_is_no_file_is_not_found(tmp_path: Path) -> None:
    (tmp_path / ".cursor/mcp.json").mkdir(parents=True)
    (tmp_path / ".kimi").mkdir()
    os.mkfifo(tmp_path / ".kimi/mcp.json")
    (tmp_path / ".lmstudio").mkdir()
    (tmp_path / ".lmstudio/mcp.json").symlink_to(tmp_path / "gone.json")
    (tmp_path / ".warp").mkdir()
    (tmp_path / ".warp/.mcp.json").symlink_to(".mcp.json")
    (tmp_path / ".config").write_text("not a directory")
    assert look(tmp_path) == []


def as_ordinary_user(code: str, *arguments: str) -> str:
    """What the code prints where file permissions count, which for root they do not."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=True,
        user=ORDINARY if os.getuid() == 0 else None,
        cwd="/",
        env={"PYTHONPATH": str(Path(golden.__file__).parents[2]), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    return done.stdout


def test_a_file_that_cannot_be_read_is_found_and_a_closed_directory_is_passed_over(home: Path) -> None:
    put(home / ".cursor/mcp.json").chmod(0)
    put(home / ".kiro/settings/mcp.json")
    put(home / ".config/Code/User/globalStorage" / SETTINGS)
    (home / ".kiro").chmod(0)
    (home / ".config").chmod(0)
    if os.getuid() == 0:
        for path in (home / ".cursor", home / ".cursor/mcp.json", home / ".kiro", home / ".config"):
            os.chown(path, ORDINARY, ORDINARY)
    code = (
        "import sys; from pathlib import Path; from mcpbox.errors import UsageError\n"
        "from mcpbox.hosts import HOSTS, discover; where = dict(home=Path(sys.argv[1]), root=None, environ={})\n"
        "found = discover.find(HOSTS, system='linux', **where); print(*(row.host.id for row in found))\n"
        "try: discover.at(found[0].path, HOSTS, system='linux', **where)\n"
        "except UsageError as error: print(error.message)"
    )
    try:
        assert as_ordinary_user(code, str(home)).splitlines() == [
            "cursor",
            f"{home}/.cursor/mcp.json cannot be read: Permission denied",
        ]
    finally:
        (home / ".kiro").chmod(0o755)
        (home / ".config").chmod(0o755)


def test_only_directories_with_a_pattern_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[str] = []
    real = os.listdir

    def listdir(path: Path) -> list[str]:
        listed.append(os.path.relpath(path, tmp_path))
        return real(path)

    for name in ("a/b/c/d", "Code/User/profiles/x/y/z", "Code/User/globalStorage"):
        (tmp_path / ".config" / name).mkdir(parents=True)
    for name in ("src/deep/er", ".cache/deep", ".claude/plugins/cache/m/p/1/servers/node_modules"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr("mcpbox.hosts.discover.os.listdir", listdir)
    assert look(tmp_path, "linux", tmp_path / "src") == []
    seen = {path for path in listed if (tmp_path / path).is_dir()}
    assert seen == {
        ".",
        "src",
        ".config",
        ".config/Code/User/profiles",
        ".claude/plugins/cache",
        ".claude/plugins/cache/m",
        ".claude/plugins/cache/m/p",
    }


def test_homes_of_windows_seen_from_wsl(tmp_path: Path) -> None:
    put(tmp_path / "mnt/c/Users/anna/AppData/Roaming/Claude/claude_desktop_config.json")
    for name in ("Public", "Default", "wsl/instances"):
        (tmp_path / "mnt/c/Users" / name).mkdir(parents=True)
    assert other_homes("linux", {}, drives=tmp_path / "mnt") == []
    assert other_homes("macos", {"WSL_DISTRO_NAME": "x"}, drives=tmp_path / "mnt") == []
    others = other_homes("linux", {"WSL_DISTRO_NAME": "Ubuntu"}, drives=tmp_path / "mnt")
    assert others == [(tmp_path / "mnt/c/Users/anna", "windows")]
    (row,) = find(HOSTS, home=tmp_path / "home", root=None, environ={}, system="linux", others=others)
    assert (row.host.id, row.system) == ("claude-desktop", "windows")


def test_the_system_is_this_one() -> None:
    assert system() == {"linux": "linux", "darwin": "macos"}[sys.platform]


def named(path: Path, home: Path | None = None, root: Path | None = None) -> Found:
    return at(str(path), HOSTS, home=home or path.parent / "home", root=root, environ={}, system="linux")


@pytest.mark.parametrize("file", golden.FILES)
def test_a_file_elsewhere_is_read_as_the_host_that_it_is_of_would_read_it(file: str, tmp_path: Path) -> None:
    place = golden.place_of(file)
    path = laid_out(file, tmp_path / "backup/home", tmp_path / "backup/project", place.systems[0])
    path.parent.mkdir(parents=True)
    shutil.copy(golden.DATA / file, path)
    found = named(path, home=tmp_path / "home")
    read = [entries(parse(golden.text(file), shape.format), shape) for shape in (found.place.shape, place.shape)]
    assert read[0] == read[1]
    assert found.path == str(path)


@pytest.mark.parametrize("file", golden.FILES)
def test_a_file_of_any_name_is_read_by_what_is_in_it(file: str, tmp_path: Path) -> None:
    shape = golden.place_of(file).shape
    path = tmp_path / f"mine.{shape.format}"
    shutil.copy(golden.DATA / file, path)
    found = named(path)
    read = [entries(parse(golden.text(file), kind.format), kind) for kind in (found.place.shape, shape)]
    assert read[0] == read[1]
    assert found.host is OTHER


@pytest.mark.parametrize(
    ("name", "text", "host", "servers"),
    [
        ("claude_desktop_config.json", "{}", "claude-desktop", ("mcpServers",)),
        ("claude_desktop_config.json", '{"mcpServers": {"x": {"command": "y"}}}', "claude-desktop", ("mcpServers",)),
        (".mcp.json", '{"mcpServers": {"x": {"command": "y"}}}', "claude-code", ("mcpServers",)),
        (".mcp.json", '{"servers": {"x": {"command": "y"}}}', "visual-studio", ("servers",)),
        ("repo/.vscode/mcp.json", '{"servers": {}}', "vscode", ("servers",)),
        ("repo/.cursor/mcp.json", '{"mcpServers": {}}', "cursor", ("mcpServers",)),
        ("repo/.roo/mcp.json", "{}", "roo-code", ("mcpServers",)),
        ("crush.json", '{"mcp": {"x": {"command": "y"}}}', "crush", ("mcp",)),
        ("mcp.json", '{"mcpServers": {"x": {"command": "y"}}}', "other", ("mcpServers",)),
        ("mcp.json", '{"servers": {"x": {"command": "y"}}}', "other", ("servers",)),
        ("settings.json", '{"context_servers": {"x": {"command": "y"}}}', "zed", ("context_servers",)),
        ("settings.json", '{"amp.mcpServers": {}, "editor.fontSize": 12}', "amp", ("amp.mcpServers",)),
        ("config.toml", '[[mcp_servers]]\nname = "x"\ncommand = "y"\n', "other", ("mcp_servers",)),
        ("noending", '{"mcpServers": {"x": {"command": "y"}}}', "other", ("mcpServers",)),
        ("noending", "extensions:\n  x:\n    cmd: y\n", "other", ("extensions",)),
        ("mine.json", '{"mcp": {"servers": {"x": {"command": "y"}}}}', "other", ("mcp", "servers")),
        ("mine.json", '{"mcp": {"x": {"command": ["y"], "environment": {"A": "1"}}}}', "other", ("mcp",)),
        ("mine.json", '{"x": {"command": "y"}}', "other", ("mcpServers",)),
        ("mine.json", '// mine\n{"mcpServers": {}, }', "other", ("mcpServers",)),
    ],
)
def test_what_a_named_file_is(name: str, text: str, host: str, servers: tuple[str, ...], tmp_path: Path) -> None:
    found = named(put(tmp_path / name, text))
    assert (found.host.id, found.place.shape.servers) == (host, servers)


def test_a_known_place_is_told_through_links(tmp_path: Path) -> None:
    real = put(tmp_path / "dotfiles/x.json", '{"mcpServers": {}}')
    (tmp_path / ".cursor").mkdir()
    (tmp_path / ".cursor/mcp.json").symlink_to(real)
    found = named(real, home=tmp_path)
    assert (found.host.id, found.path) == ("cursor", str(tmp_path / ".cursor/mcp.json"))


@pytest.mark.parametrize("file", [".cursor/mcp.json", ".config/Code/User/settings.json"])
def test_a_known_place_without_servers_is_its_hosts(file: str, tmp_path: Path) -> None:
    found = named(put(tmp_path / file, "{}"), home=tmp_path)
    assert (found.host.id, found.path) == ({".cursor": "cursor"}.get(file[:7], "vscode"), str(tmp_path / file))


def test_a_path_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "sub/claude_desktop_config.json")
    monkeypatch.chdir(tmp_path / "sub")
    found = at("claude_desktop_config.json", HOSTS, home=tmp_path, root=None, environ={}, system="linux")
    assert (found.host.id, found.path) == ("claude-desktop", str(tmp_path / "sub/claude_desktop_config.json"))


def test_a_file_in_a_project_is_its_hosts(tmp_path: Path) -> None:
    path = put(tmp_path / ".mcp.json", "{}")
    assert named(path, root=tmp_path).host.id == "claude-code"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "package.json",
            b'{"name": "x", "scripts": {"start": "node ."}}',
            "has no servers in a form that mcpbox knows",
        ),
        ("x.json", b"[]", "has no servers in a form that mcpbox knows"),
        ("x.json", b'"text"', "has no servers in a form that mcpbox knows"),
        ("x.yaml", b"a: 1\n", "has no servers in a form that mcpbox knows"),
        ("x.toml", b"a = 1\n", "has no servers in a form that mcpbox knows"),
        ("mcp.json", b"{}", "has no servers in a form that mcpbox knows"),
        ("mcp.json", b"", "has no servers in a form that mcpbox knows"),
        ("mcp.json", b"\xff\xfe{\x00}\x00", "is not UTF-8 at byte 0"),
    ],
)
def test_a_file_of_no_known_form_is_refused(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UsageError) as error:
        named(path)
    assert error.value.message == f"{path} {message}"
    if "form" in message:
        assert error.value.hint.startswith("it has to have one of the keys ")
        wanted = {"json": "context_servers", "yaml": "extensions", "toml": "mcp_servers"}[name.partition(".")[2]]
        assert wanted in error.value.hint
    else:
        assert error.value.hint == "save it as UTF-8"


def test_a_broken_file_is_refused_with_the_line(tmp_path: Path) -> None:
    path = put(tmp_path / "mcp.json", '{\n  "mcpServers": {\n    "x": \n')
    with pytest.raises(UsageError) as error:
        named(path)
    assert error.value.message.startswith(f"{path}:4:1: ")
    assert error.value.hint == "mend the file and try again"


@pytest.mark.parametrize("kind", ["missing", "directory", "fifo"])
def test_what_is_no_file_cannot_be_named(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    with pytest.raises(UsageError) as error:
        named(path)
    missing = kind == "missing"
    assert (
        error.value.message == f"{path} {'cannot be read: No such file or directory' if missing else 'is not a file'}"
    )
    assert error.value.hint


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A real process of a name that no other has."""
    program = tmp_path / "Applications/mcpbox-a-host"
    program.parent.mkdir()
    shutil.copy("/bin/sleep", program)
    with subprocess.Popen([program, "600"]) as process:
        yield process
        process.kill()


@pytest.mark.parametrize(
    ("names", "seen"),
    [
        (("mcpbox-a-host",), True),
        (("*/Applications/mcpbox-a-*",), True),
        (("other", "mcpbox-a-host"), True),
        (("Mcpbox-A-Host",), False),
        (("mcpbox-a",), False),
        (("*/Programs/mcpbox-a-host",), False),
        ((), False),
    ],
)
def test_a_host_that_runs_is_seen(names: tuple[str, ...], seen: bool, process: subprocess.Popen[bytes]) -> None:
    host = Host("test", "Test", processes=names)
    assert running(host) == ([process.pid] if seen else [])


def test_a_host_that_has_ended_is_not_seen(process: subprocess.Popen[bytes]) -> None:
    host = Host("test", "Test", processes=("mcpbox-a-host",))
    assert running(host)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert running(host) == [], "it has ended, though nobody has asked for its exit code"


def test_processes_of_other_users_do_not_count(process: subprocess.Popen[bytes]) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can start a process as somebody else")
    code = (
        "import sys; from mcpbox.hosts import discover; from mcpbox.hosts.model import Host\n"
        "print(discover.running(Host('test', 'Test', processes=('mcpbox-a-host',))))"
    )
    assert as_ordinary_user(code) == "[]\n"


def test_a_place_may_be_absolute(tmp_path: Path) -> None:
    managed = put(tmp_path / "etc/managed.json")
    host = Host("test", "Test", (Place(("linux",), str(managed), EXPANDED, "managed"),))
    for kind, count in (("linux", 1), ("macos", 0)):
        assert len(find([host], home=tmp_path, root=None, environ={}, system=kind)) == count  # type: ignore[arg-type]


def test_claude_code_is_not_taken_for_claude_desktop() -> None:
    assert not set(by_id("claude-code").processes) & set(by_id("claude-desktop").processes)
    assert by_id("claude-desktop").places[-1].shape == PLAIN
