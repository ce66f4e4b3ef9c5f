from __future__ import annotations

import os
import threading
import tomllib
from pathlib import Path

import pytest
from msgspec.structs import replace

from mcpbox.errors import PackageError
from mcpbox.packages import lock
from mcpbox.packages.model import Package, Plan

KEY = "npm:@a/b"
ENTRY = lock.Entry(
    "npm", ("@a/b",), "@a/b", "1.2.3", "sha512-x", "registry.test", "2026-01-02T03:04:05Z", "user", "1.2.3",
    {lock.variant("docker"): lock.Tree("a" * 64, "b" * 64)}, scripts=("c",),
)  # fmt: skip
ROOT = Package("@a/b", "1.2.3", "sha512-x", "https://registry.test/b.tgz")
PLAN = Plan("npm", ROOT, (ROOT, Package("c", "1.0.0", "sha512-y", "https://registry.test/c.tgz")), b"\x00lock")


def test_what_is_put_is_loaded_and_what_is_removed_is_gone() -> None:
    assert lock.load() == {}
    lock.put(KEY, ENTRY)
    assert lock.load() == {KEY: ENTRY}
    newer = replace(ENTRY, version="2.0.0", previous=lock.Previous("1.2.3", "sha512-x", ENTRY.trees), scripts=())
    lock.put(KEY, newer)
    assert lock.load() == {KEY: newer}
    lock.remove(KEY)
    assert lock.load() == {}
    with pytest.raises(KeyError):
        lock.remove(KEY)


def test_comments_and_other_entries_stay() -> None:
    lock.put(KEY, ENTRY)
    text = lock.file().read_text().replace("floor", "# as tested in May\nfloor")
    lock.file().write_text(text)
    lock.put("npm:z", replace(ENTRY, requested=("z",), name="z"))
    assert lock.file().read_text().startswith(text)
    assert set(lock.load()) == {KEY, "npm:z"}


def test_the_file_stays_a_link_to_where_the_user_keeps_it(home: Path) -> None:
    kept = home / "dotfiles.lock"
    lock.file().parent.mkdir(parents=True, exist_ok=True)
    lock.file().symlink_to(kept)
    lock.put(KEY, ENTRY)
    assert lock.file().is_symlink() and KEY in tomllib.loads(kept.read_text())["packages"]


def test_writers_at_once_lose_nothing() -> None:
    def write(number: int) -> None:
        lock.put(f"npm:p{number}", replace(ENTRY, requested=(f"p{number}",)))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lock.load()) == 8
    assert [name for name in os.listdir(lock.file().parent) if "lock" in name] == ["mcpbox.lock"]


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ('floor = "1.2.3"', "floor = 1", "Expected `str`"),
        ('floor = "1.2.3"', 'flor = "1.2.3"', "flor"),
        ("version = 1\n", "version = 2\n", "version = 2: not accepted"),
        ("version = 1\n", "", "missing required field `version`"),
        ('requested = ["@a/b"]', 'requested = ["evil"]', "is an entry for npm:evil"),
        (f'tree = "{"a" * 64}"', 'tree = "../../etc"', "not the name of a tree"),
        ('ecosystem = "npm"', 'ecosystem = "cargo"', "cargo"),
        ('ecosystem = "npm"', "ecosystem =", "Invalid value"),
    ],
)
def test_a_file_that_is_not_understood_is_refused(before: str, after: str, reason: str) -> None:
    lock.put(KEY, ENTRY)
    text = lock.file().read_text()
    assert before in text
    lock.file().write_text(text.replace(before, after, 1))
    for act in (lock.load, lambda: lock.put("npm:z", ENTRY)):
        with pytest.raises(PackageError) as caught:
            act()
        assert reason in caught.value.message and str(lock.file()) in caught.value.message
    assert lock.file().read_text() == text.replace(before, after, 1)


def test_an_entry_under_another_name_is_never_written() -> None:
    with pytest.raises(PackageError):
        lock.put("npm:other", ENTRY)
    assert lock.load() == {}


def test_a_plan_is_kept_under_the_hash_of_all_that_it_says() -> None:
    tree = lock.tree_name(PLAN)
    lock.keep_plan(PLAN)
    assert lock.plan(tree) == PLAN and lock.plan("f" * 64) is None
    for other in (
        replace(PLAN, lockfile=b"other"),
        replace(PLAN, root=replace(ROOT, integrity="sha512-z")),
        replace(PLAN, packages=PLAN.packages[:1]),
    ):
        assert lock.tree_name(other) != tree
    assert lock.tree_name(PLAN, ["c"]) != tree == lock.tree_name(PLAN, [])
    path = lock.file().with_name("mcpbox.lock.d") / f"{tree}.json"
    path.write_bytes(path.read_bytes().replace(b"c.tgz", b"d.tgz"))
    with pytest.raises(PackageError) as caught:
        lock.plan(tree)
    assert "it was changed" in caught.value.message


def test_plans_of_trees_that_are_gone_go_too() -> None:
    other = replace(PLAN, lockfile=b"other")
    lock.keep_plan(PLAN)
    lock.keep_plan(other, ["c"])
    lock.forget_plans({lock.tree_name(other, ["c"])})
    assert lock.plan(lock.tree_name(PLAN)) is None and lock.plan(lock.tree_name(other, ["c"]), ["c"]) == other
