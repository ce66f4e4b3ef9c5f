from __future__ import annotations

import os
import selectors
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
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


@pytest.mark.parametrize(
    "content",
    [b"x" * 8192, b"x", struct.pack("=8sQ", b"flows 2\0", 1 << 40), struct.pack("=8sQ", b"flows 2\0", 4096)],
)
def test_a_file_that_is_damaged_is_neither_written_to_nor_passed_over(place: Path, content: bytes) -> None:
    files, mail = Store("files", place), Store("mail", place)
    files.keep("read", {1})
    assert not mail.alone()
    (file,) = place.glob(f"{b'files'.hex()}*")
    file.write_bytes(content)
    with pytest.raises(OSError, match="damaged"):
        files.keep("read", {2})
    Store("other", place)
    for look in (mail.elsewhere, mail.elsewhere, mail.used, mail.alone):
        with pytest.raises(OSError, match="damaged"):
            look()


def test_a_record_that_is_not_whole_is_damage(place: Path) -> None:
    files, mail = Store("files", place), Store("mail", place)
    files.keep("read", {1})
    (file,) = place.glob(f"{b'files'.hex()}*")
    os.truncate(file, file.stat().st_size - 1)
    file.write_bytes(struct.pack("=8sQ", b"flows 2\0", file.stat().st_size) + file.read_bytes()[16:])
    with pytest.raises(OSError, match="damaged"):
        mail.elsewhere()


def test_a_directory_that_was_removed_is_seen_to_be_gone(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Store("files", place)
    assert files.alone()
    for file in place.iterdir():
        file.unlink()
    place.rmdir()
    with pytest.raises(OSError, match="No such file"):
        files.keep("read", {1})
    monkeypatch.setattr(store, "_GONE", -1)
    with pytest.raises(OSError, match="removed"):
        files.elsewhere()


def test_a_key_that_was_removed_is_not_made_anew(place: Path) -> None:
    Store("files", place)
    (place / "key").unlink()
    with pytest.raises(OSError, match="restart the host"):
        Store("mail", place)


def test_small_results_leave_room_for_more_when_the_file_is_full(place: Path) -> None:
    files, mail = Store("files", place), Store("mail", place)
    (file,) = place.glob(f"{b'files'.hex()}*")
    replaced = set()
    for number in range(40_000):
        files.keep("a tool with a name that is longer than its results are", {number})
        replaced.add(file.stat().st_ino)
    assert len(replaced) < 5 and file.stat().st_size < 2 << 20
    assert 39_999 in mail.elsewhere()


#: A server that keeps numbers and says so of each; it goes on when it is told to.
SERVER = """
import sys
from pathlib import Path
from mcpbox.flows.store import Store
store = Store(sys.argv[1], Path(sys.argv[2]))
print("joined", flush=True)
input()
for number in range(int(sys.argv[3]), int(sys.argv[4])):
    store.keep(f"tool{number % 7}", [number])
    print(number, flush=True)
    input()
"""


def server(name: str, place: Path, first: int, end: int) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", SERVER, name, str(place), str(first), str(end)]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def kept(server: subprocess.Popen[str]) -> str:
    """The next number that it has kept, "" if there are no more."""
    assert server.stdin and server.stdout
    line = server.stdout.readline().strip()
    with suppress(BrokenPipeError):
        os.write(server.stdin.fileno(), b"\n")
    return line


def test_what_servers_keep_at_once_is_seen_as_soon_as_they_say_so(place: Path) -> None:
    mail = Store("mail", place)
    assert mail.alone()
    with ExitStack() as stack:
        # Two of them are one server, started twice.
        servers = [
            stack.enter_context(server(name, place, first, first + 500))
            for name, first in (("a", 0), ("b", 10_000), ("b", 20_000), ("c", 30_000))
        ]
        waiting = stack.enter_context(selectors.DefaultSelector())
        for each in servers:
            assert each.stdout
            waiting.register(each.stdout, selectors.EVENT_READ, each)
        said = 0
        while waiting.get_map():
            for key, _ in waiting.select():
                line = kept(key.data)
                if not line:
                    waiting.unregister(key.fileobj)
                elif line == "joined":
                    assert not mail.alone()
                else:
                    said += 1
                    assert int(line) in mail.elsewhere()
    assert said == 4 * 500 and len(mail.elsewhere()) == said


def test_what_a_server_kept_is_seen_wherever_it_is_killed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file is full again and again meanwhile, and the one in its place is read from the beginning."""
    small = "import mcpbox.flows.store as s; s._FULL, s.KEPT = 6000, 64\n"
    monkeypatch.setattr(sys.modules[__name__], "SERVER", small + SERVER)
    mail = Store("mail", place)
    for first in range(0, 16_000, 1000):
        with server("files", place, first, first + 1000) as files:
            assert kept(files) == "joined"
            # From one to the next it gets a little further.
            for number in range(first, first + 30 + first // 1000 % 8):
                assert kept(files) == str(number)
                assert number in mail.elsewhere()
            files.kill()
    assert not list(_open_readers(place))


def _open_readers(place: Path) -> Iterator[str]:
    """Files that were replaced and are still open."""
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if str(place) in (target := os.readlink(link)) and target.endswith("(deleted)"):
                yield target


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
    assert plain.endswith(f"-{hostsession.FORMAT}")
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
