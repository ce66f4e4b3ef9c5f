from __future__ import annotations

import os
import signal
import socket
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcpbox.errors import McpboxError, PackageError
from mcpbox.packages import starts, store

TREE = "a" * 64


def fill(directory: Path) -> None:
    (directory / "node_modules" / ".bin").mkdir(parents=True)
    (directory / "node_modules" / "index.js").write_text("code")
    program = directory / "node_modules" / "run"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (directory / "node_modules" / ".bin" / "run").symlink_to("../run")
    (directory / "empty").mkdir()


def install(tree: str = TREE, content: Callable[[Path], None] = fill) -> str:
    with store.staging() as directory:
        content(directory)
        return store.adopt(directory, tree)


def names() -> list[str]:
    return sorted(os.listdir(store.root()))


def test_a_tree_is_read_only_whole_and_as_its_manifest_says() -> None:
    manifest = install()
    directory = store.check(TREE, manifest)
    assert names() == [TREE] and store.verify(TREE, manifest) == []
    modes = {path.relative_to(directory): stat.S_IMODE(path.lstat().st_mode) for path in directory.rglob("*")}
    assert modes.pop(Path("node_modules/.bin/run")) and set(modes.values()) == {0o555, 0o444}
    assert modes[Path("node_modules/run")] == 0o555 and modes[Path("node_modules/index.js")] == 0o444
    assert stat.S_IMODE(directory.stat().st_mode) == 0o555
    assert {path.lstat().st_uid for path in directory.rglob("*")} == {os.geteuid()}
    assert store.size(TREE) == len("code") + len("#!/bin/sh\n")


def change_contents(directory: Path) -> None:
    (directory / "node_modules" / "index.js").write_text("evil")


def add_file(directory: Path) -> None:
    (directory / "node_modules" / "more.js").write_text("")


def remove_file(directory: Path) -> None:
    (directory / "node_modules" / "index.js").unlink()


def turn_link(directory: Path) -> None:
    (directory / "node_modules" / ".bin" / "run").unlink()
    (directory / "node_modules" / ".bin" / "run").symlink_to("../index.js")


def make_executable(directory: Path) -> None:
    (directory / "node_modules" / "index.js").chmod(0o555)


def replace_with_link(directory: Path) -> None:
    remove_file(directory)
    (directory / "node_modules" / "index.js").symlink_to("run")


def change_manifest(directory: Path) -> None:
    (directory / store.MANIFEST).write_text("{}")


def add_directory(directory: Path) -> None:
    (directory / "node_modules" / "more").mkdir(mode=0o555)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (change_contents, "node_modules/index.js: contents changed"),
        (add_file, "node_modules/more.js: was not installed"),
        (remove_file, "node_modules/index.js: missing"),
        (turn_link, "node_modules/.bin/run: not the symlink that was installed"),
        (make_executable, "node_modules/index.js: mode or size changed"),
        (replace_with_link, "node_modules/index.js: not the symlink that was installed"),
        (change_manifest, "MANIFEST.json: not the one of mcpbox.lock"),
        (add_directory, "node_modules/more: not the directory that was installed"),
    ],
)
def test_a_change_is_found(change: Callable[[Path], None], fault: str) -> None:
    manifest = install()
    directory = store.path(TREE)
    for path in (directory / "node_modules" / "index.js", directory / store.MANIFEST):
        path.chmod(0o644)
    for path in (directory, directory / "node_modules", directory / "node_modules" / ".bin"):
        path.chmod(0o755)
    change(directory)
    for path in (directory, directory / "node_modules", directory / "node_modules" / ".bin"):
        path.chmod(0o555)
    for path in (directory / "node_modules" / "index.js", directory / store.MANIFEST):
        if path.exists() and not path.is_symlink() and change is not make_executable:
            path.chmod(0o444)
    assert fault in store.verify(TREE, manifest)
    # Installing the same again mends it.
    assert store.verify(TREE, install()) == [] and names() == [TREE]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda directory: directory.chmod(0o755), "can be written to"),
        (change_manifest, "does not match"),
        (lambda directory: directory.rename(directory.with_name("b" * 64)), "is not there"),
        (lambda directory: directory.rename(directory.with_name("b" * 64)).parent and directory.symlink_to("b" * 64),
         "can be written to"),
    ],
)  # fmt: skip
def test_the_check_before_each_start_refuses(damage: Callable[[Path], Any], reason: str) -> None:
    manifest = install()
    (store.path(TREE) / store.MANIFEST).chmod(0o644)
    damage(store.path(TREE))
    with pytest.raises(PackageError) as caught:
        store.check(TREE, manifest)
    assert reason in caught.value.message and "mcpbox package verify" in caught.value.hint


def device(directory: Path) -> None:
    os.mknod(directory / "x", 0o600 | stat.S_IFCHR, os.makedev(1, 3))


def listener(directory: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(directory / "x"))


def set_id(directory: Path) -> None:
    (directory / "x").write_text("")
    (directory / "x").chmod(0o4755)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(
            device, "neither a file", marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
        ),
        (listener, "neither a file"),
        (lambda directory: os.mkfifo(directory / "x"), "neither a file"),
        (set_id, "set-id"),
        (lambda directory: (directory / "x").symlink_to("/etc/passwd"), "leads out"),
        (lambda directory: (directory / "x").symlink_to("../y"), "leads out"),
        (lambda directory: (directory / "x").symlink_to("a/../../y"), "leads out"),
        (lambda directory: (directory / "x").symlink_to(".."), "leads out"),
        (lambda directory: (directory / "x").symlink_to(directory), "leads out"),
        (lambda directory: (directory / store.MANIFEST).write_text("{}"), "the store's own"),
        (lambda directory: Path(os.fsdecode(os.fsencode(directory) + b"/\xff")).write_text(""), "not UTF-8"),
    ],
)
def test_what_a_package_must_not_contain_is_refused_and_leaves_nothing(
    content: Callable[[Path], Any], reason: str
) -> None:
    with pytest.raises(PackageError) as caught:
        install(content=content)
    assert reason in caught.value.message
    assert names() == []


def test_a_link_through_a_link_does_not_lead_out(tmp_path: Path) -> None:
    def content(directory: Path) -> None:
        (directory / "deep" / "er").mkdir(parents=True)
        (directory / "short").symlink_to("deep/er")
        # Lexically "deep/x"; through the link, above it.
        (directory / "deep" / "er" / "x").symlink_to("../../short/../../../outside")

    with pytest.raises(PackageError) as caught:
        install(content=content)
    assert "leads out" in caught.value.message


def test_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MAX_BYTES", 3)
    with pytest.raises(PackageError) as caught:
        install()
    assert "more than" in caught.value.message and names() == []


def test_a_file_of_several_names_gets_contents_of_its_own(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.write_text("code")

    def content(directory: Path) -> None:
        os.link(shared, directory / "x")

    manifest = install(content=content)
    shared.write_text("evil")
    assert store.verify(TREE, manifest) == []


def test_two_installs_of_one_tree_at_once_are_one() -> None:
    results: list[str] = []
    start = threading.Barrier(4)

    def once() -> None:
        start.wait()
        results.append(install())

    threads = [threading.Thread(target=once) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4 and len(set(results)) == 1
    assert names() == [TREE] and store.verify(TREE, results[0]) == []


def killed_at(event: int) -> bool:
    """Install in a process that is killed before its so many-th file system call; False if it has fewer."""
    child = os.fork()
    if child == 0:
        left = [event]

        def hook(name: str, _: object) -> None:
            if name != "os.kill" and name.startswith(("os.", "open", "shutil.", "tempfile.", "fcntl.")):
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(hook)
            install()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize("damaged", [False, True])
def test_kill_9_at_any_stage_leaves_the_whole_tree_or_none(damaged: bool) -> None:
    manifest = install()
    event = 0
    while True:
        store.gc(())
        assert names() == []
        if damaged:
            install()
            store.path(TREE).chmod(0o755)
            add_file(store.path(TREE))
            store.path(TREE).chmod(0o555)
        alive = not killed_at(event)
        store.sweep()
        assert names() in ([], [TREE])
        if TREE in names() and store.verify(TREE, manifest):
            # Not replaced yet, or about to be: never taken for good.
            assert damaged
        if alive:
            break
        event += 1
    assert event > 30 and store.verify(TREE, manifest) == []


def deep(directory: Path, levels: int) -> None:
    here = os.open(directory, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def test_directories_may_be_as_deep_as_a_path_is_long() -> None:
    """More than Python calls deep."""
    manifest = install(content=lambda directory: deep(directory, 1200))
    assert store.verify(TREE, manifest) == []
    assert store.gc(()) == [TREE] and names() == []


def test_directories_deeper_than_a_path_can_be_are_refused_and_leave_nothing() -> None:
    with pytest.raises(OSError, match="File name too long"):
        install(content=lambda directory: deep(directory, 4000))
    assert names() == []


def test_two_that_remove_the_same_do_not_get_in_each_others_way() -> None:
    def remove() -> None:
        try:
            for _ in range(40):
                store.gc(())
        except BaseException as error:
            failed.append(error)

    failed: list[BaseException] = []
    for round_ in range(6):
        for number in range(8):
            install(f"{number:064}")
        threads = [threading.Thread(target=remove) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == [] and names() == [], round_


def test_gc_leaves_what_is_kept_or_in_use() -> None:
    for tree in "abc":
        install(tree * 64)
    child = os.fork()
    if child == 0:
        starts.hold(str(store.path("b" * 64)))
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    os.waitpid(child, os.WUNTRACED)
    with store.staging() as making:
        assert store.gc({"a" * 64}) == ["c" * 64]
        assert making.is_dir()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert store.gc({"a" * 64}) == ["b" * 64]
    assert names() == ["a" * 64]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
            lambda name: name not in (".", "..", store.MANIFEST)
        ),
        st.binary(max_size=64),
        max_size=5,
    )
)
def test_any_files_come_out_as_they_went_in(files: dict[str, bytes]) -> None:
    def content(directory: Path) -> None:
        for name, data in files.items():
            (directory / name).write_bytes(data)

    try:
        manifest = install(content=content)
    except McpboxError as error:
        pytest.fail(error.message)
    assert {path.name: path.read_bytes() for path in store.path(TREE).iterdir() if path.name != store.MANIFEST} == files
    assert store.verify(TREE, manifest) == []
    store.gc(())
