"""What comes back from an install sandbox on another machine: its files, and nothing anywhere else."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from mcpbox.errors import PackageError
from mcpbox.packages import carry

Member = tuple[tarfile.TarInfo, bytes]


def answer(*members: Member, said: bytes = b"done") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for info, data in members:
            info.size = len(data) if info.isreg() else info.size
            tar.addfile(info, io.BytesIO(data))
    return b"%d\n" % len(said) + said + made.getvalue()


def member(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", data: bytes = b"x"
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o755 if kind == tarfile.DIRTYPE else 0o644
    return info, data if kind == tarfile.REGTYPE else b""


def contents(directory: Path) -> dict[str, str]:
    found = {}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        found[name] = f"-> {os.readlink(path)}" if path.is_symlink() else path.read_text() if path.is_file() else "/"
    return found


def test_there_and_back(tmp_path: Path) -> None:
    """By a shell and tar, as in the sandbox: what the words did to the directory is what comes back."""
    work, there = tmp_path / "work", tmp_path / "there"
    (work / "sub").mkdir(parents=True)
    (work / "sub" / "old").write_text("old")
    (work / "gone").write_text("gone")
    (work / "program").write_text("#!/bin/sh\n")
    (work / "program").chmod(0o755)
    there.mkdir()
    packed = carry.pack([str(work), str(work / "sub")])
    command = f"cd {there}{work}; rm gone; echo new >sub/new; ln -s sub/new link; ln sub/new hard; echo said"
    words = list(carry.words(("sh", "-c", command), [str(work)]))
    words[2] = words[2].replace("-C /", f"-C {there}")
    done = subprocess.run(words, input=packed, env={**os.environ, "HOME": str(there)}, capture_output=True, check=True)
    assert carry.unpack(done.stdout, [str(work)], size=1 << 20, count=100) == b"said\n"
    assert contents(work) == {
        "hard": "new\n", "link": "-> sub/new", "program": "#!/bin/sh\n",
        "sub": "/", "sub/new": "new\n", "sub/old": "old",
    }  # fmt: skip
    assert os.access(work / "program", os.X_OK) and not os.access(work / "hard", os.X_OK)
    assert (work / "hard").stat().st_nlink == 1


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ([("{top}/../outside",)], "not below its directories"),
        ([("outside",)], "not below its directories"),
        ([("/{top}/x",)], "not below its directories"),
        ([("{top}/no/parent",)], "not below its directories"),
        ([("{top}/link", tarfile.SYMTYPE, "/etc"), ("{top}/link/passwd",)], "not below its directories"),
        ([("{top}/x", tarfile.SYMTYPE, "{outside}"), ("{top}/x",)], "no archive"),
        ([("{top}/x",), ("{top}/x",)], "no archive"),
        ([("{top}/x", tarfile.LNKTYPE, "etc/passwd")], "no file, directory or symlink"),
        ([("{top}/x", tarfile.CHRTYPE)], "no file, directory or symlink"),
        ([("{top}/x", tarfile.FIFOTYPE)], "no file, directory or symlink"),
        ([("{top}/x", tarfile.REGTYPE, "", b"x" * 5000)], "too large"),
        ([("{top}/x", tarfile.REGTYPE, "", b"x" * 3000), ("{top}/y", tarfile.LNKTYPE, "{top}/x")], "too large"),
        ([(f"{{top}}/{number}",) for number in range(20)], "too large"),
    ],
)
def test_nothing_is_written_anywhere_else(
    members: list[tuple[str] | tuple[str, bytes, str] | tuple[str, bytes, str, bytes]], why: str, tmp_path: Path
) -> None:
    work, outside = tmp_path / "work", tmp_path / "outside"
    work.mkdir()
    outside.write_text("untouched")
    top = str(work).strip("/")
    made = [member(top, tarfile.DIRTYPE)]
    for name, *rest in members:
        words = [part.format(top=top, outside=outside) if isinstance(part, str) else part for part in rest]
        made.append(member(name.format(top=top), *words))  # type: ignore[arg-type]
    with pytest.raises(PackageError) as caught:
        carry.unpack(answer(*made), [str(work)], size=4096, count=16)
    assert why in caught.value.message
    assert outside.read_text() == "untouched" and set(os.listdir(tmp_path)) == {"work", "outside"}


@pytest.mark.parametrize("text", [b"", b"12", b"x\n", b"9\nshort", b"4\ndoneno tar", b"-1\n"])
def test_what_is_no_answer_is_refused(text: bytes, tmp_path: Path) -> None:
    with pytest.raises(PackageError):
        carry.unpack(text, [str(tmp_path)], size=1, count=1)


def test_a_path_that_a_shell_would_take_apart_is_refused() -> None:
    with pytest.raises(PackageError):
        carry.words(("true",), ["/a b"])
