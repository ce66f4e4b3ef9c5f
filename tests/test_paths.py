"""Where mcpbox keeps what it writes, and whose that is."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import platformdirs
import pytest

from mcpbox import paths
from mcpbox.errors import McpboxError


@pytest.fixture
def lax() -> Iterator[None]:
    """The umask of users with a group of their own."""
    before = os.umask(0o002)
    yield
    os.umask(before)


def test_what_is_made_on_the_way_is_private_too(tmp_path: Path, lax: None) -> None:
    deepest = paths.private_dir(tmp_path / "state" / "mcpbox" / "run")
    for made in (deepest, deepest.parent, deepest.parent.parent):
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
        assert paths.private_dir(made) == made


def test_what_others_may_write_to_is_refused(tmp_path: Path) -> None:
    open_to_all = tmp_path / "state"
    open_to_all.mkdir()
    open_to_all.chmod(0o770)
    with pytest.raises(McpboxError, match="only this user can write to") as refused:
        paths.private_dir(open_to_all)
    assert "chmod 700" in refused.value.hint


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is platformdirs that is asked")
@pytest.mark.parametrize("home", ["/home/somebody", "/", "relative", "", None])
@pytest.mark.parametrize("given", ["/elsewhere", "relative", "~/somewhere", "", None])
def test_the_directories_are_those_that_platformdirs_gives(
    monkeypatch: pytest.MonkeyPatch, given: str | None, home: str | None
) -> None:
    for name, value in {"HOME": home, **{variable: given for variable, _ in paths.XDG.values()}}.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    known = platformdirs.PlatformDirs("mcpbox", appauthor=False)
    assert paths.config_dir() == known.user_config_path
    assert paths.data_dir() == known.user_data_path
    assert paths.state_dir() == known.user_state_path
