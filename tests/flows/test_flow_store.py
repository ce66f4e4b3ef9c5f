from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mcpbox import paths
from mcpbox.flows import hostsession, store
from mcpbox.flows.store import KEPT, Store
from mcpbox.policy.base import Origin


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return paths.private_dir(tmp_path / "shared")


def test_one_server_sees_what_another_kept(place: Path) -> None:
    files, mail = Store("files", place), Store("mail", place)
    assert not mail.alone() and dict(mail.elsewhere()) == {} and files.key == mail.key
    files.keep("read", {1, -2, 2**63 - 1, -(2**63)})
    files.note("read")
    assert dict(mail.elsewhere()) == dict.fromkeys((1, -2, 2**63 - 1, -(2**63)), Origin("files", "read"))
    assert list(mail.used()) == [Origin("files", "read")]
    files.keep("list", {7})
    assert mail.elsewhere()[7] == Origin("files", "list")
    assert dict(files.elsewhere()) == {} and list(files.used()) == []


def test_a_server_that_comes_later_sees_all_of_it(place: Path) -> None:
    files = Store("files", place)
    assert files.alone()
    files.keep("read", {1})
    assert 1 in Store("mail", place).elsewhere() and not files.alone()


def test_two_processes_of_one_server_share_a_file(place: Path) -> None:
    one, two, mail = Store("files", place), Store("files", place), Store("mail", place)
    one.keep("a", {1})
    two.keep("b", {2})
    assert set(mail.elsewhere()) == {1, 2} and not one.elsewhere()


def test_what_is_too_much_leaves_the_newest_and_all_names(place: Path) -> None:
    files, early, late = Store("files", place), Store("early", place), Store("late", place)
    files.note("first")
    for number in range(12):
        files.keep(f"t{number}", range(number * KEPT // 2, (number + 1) * KEPT // 2))
        assert early.elsewhere()[(number + 1) * KEPT // 2 - 1] == Origin("files", f"t{number}")
    known = late.elsewhere()
    assert 12 * KEPT // 2 - 1 in known and 0 not in known
    assert len(known) <= store.TOTAL and len(early.elsewhere()) <= store.TOTAL
    assert Origin("files", "first") in late.used()
    assert sum(file.stat().st_size for file in place.iterdir()) < 4 << 20


def test_nothing_of_a_result_is_on_disk(place: Path) -> None:
    from mcpbox.flows.fingerprint import Prints

    files = Store("files", place)
    files.keep("read", Prints(files.key).of("the quick brown fox jumps over acct_1A2b3C4d5E6f7G8h " * 9))
    assert all(b"quick" not in file.read_bytes() and b"acct" not in file.read_bytes() for file in place.iterdir())
    assert all(file.stat().st_mode & 0o077 == 0 for file in place.iterdir())


@pytest.mark.parametrize("cut", [1, 15, 16, 20, 30])
def test_a_writer_that_was_killed_leaves_a_whole_file(place: Path, cut: int) -> None:
    """Whatever part of a record lies behind the valid end."""
    files, mail = Store("files", place), Store("mail", place)
    files.keep("read", {1})
    (file,) = place.glob(f"{b'files'.hex()}*")
    with open(file, "ab") as half:
        half.write(b"\xff" * cut)
    assert set(mail.elsewhere()) == {1}
    files.keep("read", {2})
    assert set(mail.elsewhere()) == {1, 2}


def test_a_file_that_is_damaged_is_not_written_to(place: Path) -> None:
    files = Store("files", place)
    next(place.glob("*.prints")).write_bytes(b"x" * 8192)
    with pytest.raises(OSError, match="damaged"):
        files.keep("read", {1})


def test_what_is_old_is_forgotten(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: now - store.AGE - 10)
        Store("files", place).keep("read", {1})
    assert dict(Store("mail", place).elsewhere()) == {}


def test_tools_without_end_are_an_error(place: Path) -> None:
    files = Store("files", place)
    with pytest.raises(OSError, match="tools"):
        for number in range(store.NAMES + 1):
            files.note(str(number))


WHERE = "from mcpbox.flows import hostsession; print(hostsession.directory(), flush=True)"


def test_a_host_is_known_through_the_shell_that_it_uses() -> None:
    plain = subprocess.check_output([sys.executable, "-c", WHERE], text=True).strip()
    shell = f"{sys.executable} -c '{WHERE}'; : mcpbox wrap"
    assert subprocess.check_output(["/bin/sh", "-c", shell], text=True).strip() == plain
    assert plain.startswith(f"{paths.runtime_dir()}/flows/{os.getpid()}-")
    other = subprocess.check_output(["/bin/sh", "-c", f"{sys.executable} -c '{WHERE}'; :"], text=True).strip()
    assert other != plain


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([b"/bin/sh", b"-c", b"exec mcpbox wrap -- node a.js"], True),
        ([b"-zsh", b"-lc", b"mcpbox wrap -- node a.js"], True),
        ([b"uvx", b"mcpbox", b"wrap", b"--", b"node"], True),
        ([b"python3", b"-m", b"mcpbox", b"wrap"], True),
        ([b"claude", b"--mcp-config", b'{"a": {"command": "mcpbox", "args": ["wrap", "--", "node"]}}'], False),
        ([b"codex", b"-c", b'mcp_servers.a.command="mcpbox"', b"-c", b'mcp_servers.a.args=["wrap"]'], False),
        ([b"/bin/sh", b"-c", b"claude"], False),
        ([b""], False),
    ],
)
def test_a_host_that_is_told_its_servers_is_no_launcher(words: list[bytes], expected: bool) -> None:
    assert hostsession.launches(words) is expected


def test_what_a_host_left_is_removed_when_it_has_gone() -> None:
    host = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WHERE!r}]); input()"],
        stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True,
    )  # fmt: skip
    with host:
        assert host.stdout
        left = Path(host.stdout.readline().strip())
        Store("files", left).keep("read", {1})
        hostsession.reap()
        assert left.is_dir()
        host.send_signal(signal.SIGKILL)
        host.wait()
        hostsession.reap()
    assert not left.exists()
