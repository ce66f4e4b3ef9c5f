"""Jobs in the install sandbox: what they may leave behind, and what they may say."""

from __future__ import annotations

import os
import sys
import tty
from pathlib import Path

import pytest

from mcpbox.errors import PackageError
from mcpbox.packages import installer, store

BACKEND = "bubblewrap"


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """Two directories that a job can write to."""
    made = tmp_path / "work", tmp_path / "other"
    for directory in made:
        directory.mkdir()
        store.give(directory)
    return made


def job(places: tuple[Path, Path], line: str, size: int = 1 << 20) -> installer.Job:
    work, other = places
    (work / "script").write_text(line)
    return installer.Job(("sh", "script", str(other)), work, "node", write=(str(other),), size=size)


@pytest.mark.parametrize("where", [".", "$1"])
def test_whatever_a_job_can_write_to_is_counted(where: str, places: tuple[Path, Path]) -> None:
    installer.run(job(places, f"head -c 100000 /dev/zero >{where}/file"), BACKEND)
    with pytest.raises(PackageError, match="the package is too large: over 1 MiB"):
        installer.run(job(places, f"head -c 3000000 /dev/zero >{where}/file"), BACKEND)


def test_what_a_job_says_gives_no_orders_to_a_terminal(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An install script can be any package's, and what npm says quotes any registry (CWE-150)."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    with open(theirs, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        installer.run(job(places, r"printf 'gr\303\274n\n\033]0;title\007\033[2J\302\2332Jend\n' >&2"), BACKEND)
        terminal.flush()
        said = os.read(ours, 1000)
    os.close(ours)
    assert said.decode() == "grün\n ]0;title  [2J 2Jend\n"
