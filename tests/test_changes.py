from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from mcpbox.changes import Changes


def test_another_s_change_is_seen_and_ones_own(tmp_path: Path) -> None:
    one, two = Changes(tmp_path / "page", b"first"), Changes(tmp_path / "page", b"other")
    assert one.data == two.data == b"first" and one.last() == two.last() == one.last()
    seen = {one.last()}
    for each in (one, two, two, one):
        each.tell()
        assert one.last() == two.last() and one.last() not in seen
        seen.add(one.last())
    before = one.last()
    two.tell(1)
    assert one.last(1) == two.last(1) != 0 and one.last() == before


MAKE = "import sys; from pathlib import Path; from mcpbox.changes import Changes; input()\n"
MAKE += "print(Changes(Path(sys.argv[1]), sys.argv[2].encode()).data.decode())"


def test_of_many_that_make_it_at_once_one_does(tmp_path: Path) -> None:
    with ExitStack() as stack:
        makers = [
            stack.enter_context(
                subprocess.Popen([sys.executable, "-c", MAKE, str(tmp_path / "page"), str(number)], text=True,
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            )
            for number in range(6)
        ]  # fmt: skip
        for maker in makers:
            assert maker.stdin
            maker.stdin.write("\n")
            maker.stdin.close()
        found = {maker.stdout.read() for maker in makers if maker.stdout}
    assert len(found) == 1 and found <= {f"{number}\n" for number in range(6)}
    (left,) = tmp_path.iterdir()
    assert left.name == "page" and stat.S_IMODE(left.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"x", b"changes\0", bytes(4096), b"x" * 8192])
def test_a_page_that_is_damaged_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "page").write_bytes(content)
    with pytest.raises(OSError, match=r"page is damaged"):
        Changes(tmp_path / "page")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    Changes(tmp_path / "other")
    (tmp_path / "page").symlink_to("other")
    with pytest.raises(OSError, match="page"):
        Changes(tmp_path / "page")


def test_a_page_that_was_removed_or_overwritten_is_found_out(tmp_path: Path) -> None:
    for spoil in (lambda path: path.unlink(), lambda path: os.pwrite(os.open(path, os.O_WRONLY), b"\0", 0)):
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        page = Changes(tmp_path / "page")
        page.check()
        spoil(tmp_path / "page")
        with pytest.raises(OSError, match="damaged, or was removed"):
            page.check()
