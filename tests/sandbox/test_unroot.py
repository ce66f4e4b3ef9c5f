from __future__ import annotations

import os
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
    [(0o700, 0), (0o750, 0), (0o777, 0), (0o775, 0), (0o755, 1000)],
    ids=["closed", "closed to others", "anybody's", "a group's", "a user's"],
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
