from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcpbox.sandbox import unroot

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives itself up")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that anybody can reach, which pytest's own are not."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def test_what_any_user_can_reach_and_root_alone_replace_is_open(place: Path) -> None:
    (place / "inner").mkdir(mode=0o700)
    (place / "theirs").mkdir()
    os.chown(place / "theirs", 1000, 1000)
    # What becomes of the last is not asked: whether the server may read it is found out elsewhere.
    for path in ("/usr/bin", str(place), str(place / "inner"), str(place / "theirs")):
        assert unroot.is_open(path)


@pytest.mark.parametrize(
    ("mode", "owner"),
    [(0o700, 0), (0o750, 0), (0o705, 0), (0o777, 0), (0o775, 0), (0o755, 1000)],
    ids=["closed", "closed to others", "closed to a group", "anybody's", "a group's", "a user's"],
)
def test_below_what_is_closed_or_not_roots_nothing_is_open(place: Path, mode: int, owner: int) -> None:
    directory = place / "a"
    (directory / "b" / "c").mkdir(parents=True)
    directory.chmod(mode)
    os.chown(directory, owner, owner)
    assert not unroot.is_open(str(directory / "b")) and not unroot.is_open(str(directory / "b" / "c"))


def test_in_a_sticky_directory_what_is_a_users_own_is_not_open(place: Path) -> None:
    place.chmod(0o1777)
    for name, owner in (("roots", 0), ("theirs", 1000)):
        (place / name).mkdir()
        os.chown(place / name, owner, owner)
    assert unroot.is_open(str(place / "roots")) and not unroot.is_open(str(place / "theirs"))


@pytest.mark.parametrize(("propagation", "staged"), [("private", False), ("shared", True)])
def test_what_later_mounts_would_reach_is_staged(place: Path, propagation: str, staged: bool) -> None:
    code = "import sys; from mcpbox.sandbox import unroot; print(unroot.must_stage(sys.argv[1:]))"
    words = ["unshare", "--mount", "--propagation", propagation, sys.executable, "-c", code, str(place)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.stdout == f"{staged}\n", done.stderr


MOUNTS = """22 27 0:21 / / rw - ext4 /dev/vda rw
24 22 0:6 / /srv/a rw,relatime shared:7 - ext4 /dev/vdb rw
25 22 0:6 / /srv/b\\040c rw,relatime - ext4 /dev/vdc rw
26 22 0:6 / /srv/d rw,relatime master:2 propagate_from:1 - ext4 /dev/vdd rw
27 22 0:6 / /srv/e rw,relatime unbindable - ext4 shared:/master: rw
"""


@pytest.mark.parametrize(
    ("source", "joined"),
    [
        ("/usr", False), ("/srv/a", True), ("/srv/a/b", True), ("/srv/ab", False), ("/srv", True), ("/", True),
        ("/srv/b c", False), ("/srv/d/x", True), ("/srv/e", False),
    ],
)  # fmt: skip
def test_mounts_that_others_take_part_in_are_told_from_the_rest(source: str, joined: bool) -> None:
    assert unroot.is_joined(source, MOUNTS) is joined
    assert unroot.is_joined(source, MOUNTS.replace(" rw - ext4 /dev/vda", " rw shared:1 - ext4 /dev/vda"))
    odd = MOUNTS.replace("/srv/b\\040c rw,relatime -", "/srv/b\\040c rw,relatime shared:9 -")
    assert unroot.is_joined("/srv/b c", odd)


def test_what_is_not_there_is_left_to_the_stage_to_complain_of(place: Path) -> None:
    assert unroot.must_stage([str(place / "missing")]) and not unroot.must_stage(["/usr", str(place)])
