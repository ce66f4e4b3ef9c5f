from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpbox import filesystem, paths
from mcpbox.errors import ProfileError
from mcpbox.profile import Filesystem, Unsafe
from mcpbox.sandbox.base import Mount

HOME = Path("/home/somebody")


def mounts(table: Filesystem, home: Path, *arguments: str) -> tuple[Mount, ...]:
    return filesystem.mounts(table, arguments, home=home, cwd=home, source="f.toml")


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


@pytest.mark.parametrize("path", ["/home/somebody/projects", "/home/somebody/.sshfoo", "/srv/data", "/home/somebody2"])
def test_paths_that_may_be(path: str) -> None:
    assert filesystem.exposure(path, HOME) == ""


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
    (mount,) = mounts(Filesystem(read=(Unsafe(path="~/.ssh", unsafe=True),)), home)
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
