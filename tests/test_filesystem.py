from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpbox import filesystem, paths
from mcpbox.errors import ProfileError
from mcpbox.hosts import HOSTS
from mcpbox.hosts.discover import BASES
from mcpbox.hosts.model import System
from mcpbox.sandbox.base import Mount
from mcpbox.tables import Filesystem, Listed, Use

HOME = Path("/home/somebody")


def mounts(table: Filesystem, home: Path, *arguments: str, **environment: str) -> tuple[Mount, ...]:
    return filesystem.mounts(table, arguments, home=home, cwd=home, source="f.toml", environment=environment)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/", "whole file system"),
        ("/home", "whole home"),
        ("/home/somebody", "whole home"),
        ("/home/somebody/.ssh", "~/.ssh"),
        ("/home/somebody/.ssh/id_ed25519", "~/.ssh"),
        ("/home/somebody/.config", "credentials"),
        ("/home/somebody/.local/share", "credentials"),
        ("/home/somebody/.local/share/keyrings", "keyrings"),
        ("/home/somebody/.mozilla/firefox", "~/.mozilla"),
        ("/home/somebody/.bashrc", "~/.bashrc"),
        ("/home/somebody/.git-credentials", "~/.git-credentials"),
        ("/home/somebody/.SSH/id_ed25519", "~/.ssh"),
        ("/HOME/somebody", "whole home"),
        ("/home/somebody/.colima/default/docker.sock", "~/.colima"),
        ("/home/somebody/.lmstudio", "~/.lmstudio/mcp.json"),
        ("/home/somebody/.claude.json", "~/.claude.json"),
        ("/etc", "/etc"),
        ("/etc/ssl", "/etc"),
        ("/proc/self", "/proc"),
        ("/run/user/1000/bus", "/run"),
        ("/var/run/docker.sock", "/var/run"),
        ("/root", "/root"),
        ("/dev/shm", "/dev"),
        ("/tmp", "sockets"),
        ("/var/tmp", "sockets"),
    ],
)
def test_paths_that_are_never_shown(path: str, reason: str) -> None:
    assert reason in filesystem.exposure(path, HOME)
    if path not in ("/", "/tmp"):
        assert not filesystem.exposure(path, HOME, unsafe=True)


@pytest.mark.parametrize(
    "path",
    "/home/somebody/projects /home/somebody/.sshfoo /srv/data /home/somebody2 /home/somebody/credentials "
    "/home/somebody/.local/bin/server /home/somebody/.lmstudio/extensions".split(),
)
def test_paths_that_may_be(path: str) -> None:
    assert filesystem.exposure(path, HOME) == ""


@pytest.mark.parametrize("system", ["linux", "macos"])
def test_no_server_sees_the_file_of_a_host(system: System) -> None:
    """Who can write it starts what he likes, in no sandbox."""
    for host in HOSTS:
        for place in host.places:
            if place.scope != "user" or system not in place.systems:
                continue
            base, _, rest = place.path.partition("/")
            known = BASES.get(base.strip("{}"), ("~",))
            starts = known if isinstance(known, tuple) else known[system]
            for start in (start for start in starts if start.startswith("~")):
                path = f"{start}/{rest}".replace("/*/User", "/Code/User").replace("/.*-", "/.vscode-")
                path = path.replace("*", "").rstrip("/")
                assert filesystem.exposure(path.replace("~", str(HOME), 1), HOME), path


def test_nothing_makes_mcpboxs_own_files_visible() -> None:
    for own in (paths.config_dir(), paths.data_dir(), paths.state_dir(), paths.state_dir().parent):
        assert "mcpbox's own" in filesystem.exposure(str(own), HOME, unsafe=True)


def test_a_link_to_a_secret_is_the_secret(home: Path) -> None:
    (home / ".ssh").mkdir()
    (home / "projects").symlink_to(home / ".ssh")
    with pytest.raises(ProfileError, match=r"~/\.ssh"):
        mounts(Filesystem(read=("~/projects",)), home)


def test_a_linked_path_is_mounted_where_it_is_named_and_where_it_leads(home: Path) -> None:
    (home / "real").mkdir()
    (home / "link").symlink_to("real")
    real, link = str(home / "real"), str(home / "link")
    assert set(mounts(Filesystem(read=("~/link",)), home)) == {Mount(real, link), Mount(real, real)}


def test_a_link_that_the_server_could_have_made_is_not_followed(home: Path) -> None:
    (home / "other").mkdir()
    (home / "work" / "settings").mkdir(parents=True)
    (home / "work" / "settings" / "file").symlink_to("../../other")
    argument = str(home / "work" / "settings" / "file")
    with pytest.raises(ProfileError, match=r"f\.toml: .*settings/file leads to .*/other, by a link in ") as raised:
        mounts(Filesystem(write=("~/work",), arguments="read"), home, argument)
    assert f"name {home}/other instead" in raised.value.hint
    assert len(mounts(Filesystem(read=("~/work",), arguments="read"), home, argument)) == 3
    (home / "work" / "settings" / "file").unlink()
    (home / "work" / "settings" / "file").symlink_to("../inner")
    (home / "work" / "inner").mkdir()
    assert len(mounts(Filesystem(write=("~/work",), arguments="read"), home, argument)) == 3


def test_writing_wins_and_parents_come_first(home: Path) -> None:
    (home / "a" / "b").mkdir(parents=True)
    table = Filesystem(read=("~/a/b", "~/a"), write=("~/a/b",))
    assert [(Path(m.target).name, m.write) for m in mounts(table, home)] == [("a", False), ("b", True)]


@pytest.mark.parametrize("argument", ["{}/data", "--dir={}/data", "data/", "./data"])
def test_arguments_that_name_paths(home: Path, argument: str) -> None:
    (home / "data").mkdir()
    (mount,) = mounts(Filesystem(arguments="write"), home, argument.format(home), "--flag", "word", "/not/there")
    assert mount == Mount(str(home / "data"), str(home / "data"), True)
    assert mounts(Filesystem(), home, argument.format(home)) == ()


def test_an_argument_cannot_be_unsafe(home: Path) -> None:
    with pytest.raises(ProfileError) as caught:
        mounts(Filesystem(arguments="read"), home, "/etc/passwd")
    assert "/etc" in caught.value.message and "unsafe = true" in caught.value.hint


def test_unsafe_is_said_per_path(home: Path) -> None:
    (home / ".ssh").mkdir()
    (mount,) = mounts(Filesystem(read=(Listed(path="~/.ssh", unsafe=True),)), home)
    assert mount.target == str(home / ".ssh")


def test_a_missing_path_names_file_and_key(home: Path) -> None:
    with pytest.raises(ProfileError, match=r"f\.toml: filesystem\.read: ~/nowhere"):
        mounts(Filesystem(read=("~/nowhere",)), home)


@given(st.lists(st.sampled_from(["..", ".", ".ssh", "etc", "home", "x", "/", ""]), max_size=6))
def test_no_spelling_of_a_path_shows_what_is_refused(parts: list[str]) -> None:
    try:
        found = mounts(Filesystem(read=("/" + "/".join(parts),)), Path("/home/somebody"))
    except ProfileError:
        return
    assert all(not filesystem.exposure(mount.source, HOME) for mount in found)


# What variables and options name


def test_a_missing_path_that_may_be_missing_is_left_out(home: Path) -> None:
    table = Filesystem(read=(Listed(path="~/.gitconfig", optional=True),))
    assert mounts(table, home) == ()
    (home / ".gitconfig").touch()
    assert mounts(table, home) == (Mount(str(home / ".gitconfig"), str(home / ".gitconfig")),)


def test_a_variable_or_an_option_names_a_path(home: Path) -> None:
    key, store = home / "keys" / "key.json", home / "store"
    key.parent.mkdir()
    key.touch()
    store.mkdir()
    table = Filesystem(from_environment={"KEY": "read"}, from_arguments={"--store": "write", "-s": "write"})
    assert mounts(table, home) == ()
    assert mounts(table, home, KEY="") == ()
    assert mounts(table, home, KEY=str(key)) == (Mount(str(key), str(key)),)
    assert mounts(table, home, KEY="~/keys/key.json") == (Mount(str(key), str(key)),)
    for words in (("--store", str(store)), (f"--store={store}",), ("-s", "~/store")):
        assert mounts(table, home, *words) == (Mount(str(store), str(store), write=True),)
    assert mounts(table, home, "--other", str(store)) == ()
    assert {m.target for m in mounts(table, home, KEY=f"{key}:{store}")} == {str(key), str(store)}


def test_a_database_gets_its_directory(home: Path) -> None:
    directory = home / "data"
    directory.mkdir()
    table = Filesystem(from_environment={"DB": "beside"}, from_arguments={"--db-path": "beside"})
    expected = (Mount(str(directory), str(directory), write=True),)
    assert mounts(table, home, "--db-path", str(directory / "new.db")) == expected
    assert mounts(table, home, DB=f"sqlite:///{directory}/new.db?mode=rwc") == expected
    assert mounts(table, home, DB=f"sqlite+aiosqlite:////{directory}/new.db") == expected
    for other in ("postgresql://db.example.com/x", ":memory:", "sqlite:///:memory:", "sqlite://"):
        assert mounts(table, home, DB=other) == (), other


def test_what_is_to_be_made_is_made_for_the_user_alone(home: Path) -> None:
    table = Filesystem(from_environment={"FILE": "file", "DIRECTORY": "directory"})
    file, directory = home / "memory.jsonl", home / "papers"
    found = mounts(table, home, FILE=str(file), DIRECTORY=str(directory))
    assert {(m.target, m.write) for m in found} == {(str(file), True), (str(directory), True)}
    assert (file.stat().st_mode & 0o777, file.read_bytes()) == (0o600, b"")
    assert directory.stat().st_mode & 0o777 == 0o700
    file.write_text("kept")
    mounts(table, home, FILE=str(file))
    assert file.read_text() == "kept"
    with pytest.raises(ProfileError, match=r"FILE.*No such file"):
        mounts(table, home, FILE=str(home / "not" / "there" / "memory.jsonl"))


@pytest.mark.parametrize(
    ("use", "value", "reason"),
    [
        ("read", "~/.ssh/id_ed25519", "~/.ssh"),
        ("read", "~/.kube/config", "~/.kube"),
        ("beside", "~/memory.db", "mcpbox's own"),
        ("directory", "~/.config/autostart", "~/.config/autostart"),
        ("file", "~/.bashrc", "~/.bashrc"),
        ("write", "/etc/cron.d", "/etc"),
        ("directory", "/tmp", "sockets"),
        ("read", "memory.json", "not an absolute path"),
        ("read", "/nonexistent/x", "No such file"),
        ("read", "mcpbox-secret:a/b", "not an absolute path"),
    ],
)
def test_what_variables_name_is_judged_like_anything_else(use: Use, value: str, reason: str, home: Path) -> None:
    for table, words, environment in (
        (Filesystem(from_environment={"X": use}), (), {"X": value}),
        (Filesystem(from_arguments={"--x": use}), ("--x", value), {}),
    ):
        with pytest.raises(ProfileError) as caught:
            mounts(table, home, *words, **environment)
        assert reason in caught.value.message
    assert not (home / ".bashrc").exists() and not (home / ".config" / "autostart").exists()


def test_the_users_word_in_the_profile_holds_for_the_same_path_in_a_variable(home: Path) -> None:
    kubeconfig = home / ".kube" / "config"
    kubeconfig.parent.mkdir()
    kubeconfig.touch()
    meant = (Listed(path="~/.kube/config", unsafe=True),)
    table = Filesystem(read=meant, from_environment={"KUBECONFIG": "read"})
    assert mounts(table, home, KUBECONFIG=str(kubeconfig)) == (Mount(str(kubeconfig), str(kubeconfig)),)
    with pytest.raises(ProfileError, match=r"~/\.kube"):
        mounts(Filesystem(read=meant, from_environment={"KUBECONFIG": "write"}), home, KUBECONFIG=str(kubeconfig))
