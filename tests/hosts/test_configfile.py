"""A host's file is replaced as a whole or not at all, and what others write is never lost."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import must_work
from hosts import kills

from mcpbox import paths
from mcpbox.errors import McpboxError
from mcpbox.hosts import configfile

WRITER = """
import json, os, sys, time
path, how = sys.argv[1:]
for n in range(1, 100_000):
    if os.path.exists(path + ".stop"):
        break
    found = {"n": -1}
    deadline = time.monotonic() + 10
    # For a moment an older form may be seen, never for good.
    while found["n"] != n - 1:
        if time.monotonic() > deadline:
            sys.exit(f"{n - 1} is lost: {found['n']}")
        with open(path) as opened:
            found = json.load(opened)
    text = json.dumps({"n": n, "ours": found["ours"], "pad": "x" * 5000})
    target = path if how == "in place" else path + ".writer"
    with open(target, "w") as opened:
        opened.write(text[:100])
        opened.flush()
        opened.write(text[100:])
    if how == "by renaming":
        os.rename(target, path)
    if n == 1:
        print("started", flush=True)
    time.sleep(0.002)
print(n - 1)
"""


@pytest.fixture
def file(home: Path) -> Path:
    path = home / "settings" / "mcp.json"
    path.parent.mkdir()
    path.write_bytes(b"\xef\xbb\xbf{\r\n}")
    return path


def beside(path: Path) -> list[str]:
    return sorted(found.name for found in path.parent.iterdir() if found != path)


def test_bytes_go_in_and_out_as_they_are(file: Path) -> None:
    assert configfile.read(str(file)).text == "\ufeff{\r\n}"
    changed = configfile.change(str(file), lambda text: text + "ü\r\n")
    assert changed and (changed.before, changed.after) == ("\ufeff{\r\n}", "\ufeff{\r\n}ü\r\n")
    assert file.read_bytes() == b"\xef\xbb\xbf{\r\n}\xc3\xbc\r\n" and beside(file) == []


def test_no_change_writes_nothing(file: Path) -> None:
    before = file.stat()
    assert configfile.change(str(file), lambda text: text) is None
    assert file.stat() == before and configfile.backups(str(file)) == []


def test_mode_owner_attributes_and_symlinks_stay(file: Path, home: Path) -> None:
    file.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(file, 1000, 1001)
    try:
        os.setxattr(file, "user.note", b"mine")
    except OSError:
        must_work("no extended attributes here")
    before, link = file.stat(), home / "link.json"
    (home / "hop.json").symlink_to(file)
    link.symlink_to("hop.json")
    configfile.change(str(link), lambda text: text + " ")
    after = file.stat()
    assert link.is_symlink() and os.readlink(link) == "hop.json" and link.read_bytes() == file.read_bytes()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino and os.getxattr(file, "user.note") == b"mine"


def test_backups_are_private_and_the_first_and_the_newest_stay(file: Path) -> None:
    texts = [configfile.read(str(file)).text]
    for _ in range(15):
        changed = configfile.change(str(file), lambda text: str(len(texts)))
        assert changed and changed.backup and changed.backup.read_bytes().decode() == texts[-1]
        texts.append(str(len(texts)))
    kept = configfile.backups(str(file))
    assert [path.read_bytes().decode() for path in kept] == [texts[0], *texts[6:15]]
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}
    assert stat.S_IMODE(kept[0].parent.stat().st_mode) == 0o700


def test_without_a_backup_none_is_left(file: Path) -> None:
    configfile.change(str(file), lambda text: "{}", backup=False)
    assert file.read_text() == "{}" and configfile.backups(str(file)) == []


def test_a_backup_that_was_cut_off_goes_with_the_next_change(file: Path) -> None:
    configfile.change(str(file), lambda text: text + "1")
    (kept,) = configfile.backups(str(file))
    unfinished = kept.with_suffix(".new")
    unfinished.write_text("a secret")
    configfile.change(str(file), lambda text: text + "2", backup=False)
    assert list(kept.parent.iterdir()) == [kept]


HOLDER = """
import fcntl, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGIO])
file = open(sys.argv[1])
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("held", flush=True)
signal.sigwait([signal.SIGIO])
"""


def test_a_file_that_another_process_has_alone_is_waited_for(file: Path) -> None:
    for use in (lambda path: configfile.read(path).text, lambda path: configfile.change(path, lambda text: text + " ")):
        with subprocess.Popen([sys.executable, "-c", HOLDER, str(file)], stdout=subprocess.PIPE) as holder:
            assert holder.stdout and holder.stdout.readline() == b"held\n"
            try:
                assert use(str(file))
            finally:
                holder.kill()


@pytest.mark.parametrize("step", ["_require_replaceable", "_settled"])
def test_a_file_that_goes_away_at_the_last_moment_is_no_bug(
    file: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = getattr(configfile, step)

    def gone(real: str, *more: str) -> object:
        os.unlink(real)
        return before(real, *more)

    monkeypatch.setattr(configfile, step, gone)
    with pytest.raises(configfile.Unwritable, match="No such file"):
        configfile.change(str(file), str.upper)


def loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("make", "message", "hint"),
    [
        (lambda path: path.write_bytes("{}".encode("utf-16")), "UTF-16", "save it as UTF-8"),
        (lambda path: path.write_bytes(b'{"a": "\xff"}'), "not UTF-8 (byte 7)", "save it as UTF-8"),
        (lambda path: os.truncate(path, (64 << 20) + 1), "no regular file of up to 64 MiB", ""),
        (fifo, "regular file", ""),
        (Path.unlink, "cannot be read: No such file", ""),
        (loop, "cannot be read", ""),
        (lambda path: path.chmod(0o444), "is read-only", "chmod u+w"),
        (lambda path: os.link(path, f"{path}.other"), "has 2 names", "symbolic link"),
    ],
)
def test_what_cannot_be_replaced_is_refused(file: Path, make: object, message: str, hint: str) -> None:
    assert callable(make)
    make(file)
    with pytest.raises(McpboxError) as caught:
        configfile.change(str(file), lambda text: "changed")
    assert message in caught.value.message and str(file) in caught.value.message and hint in caught.value.hint
    assert configfile.backups(str(file)) == [] if file.exists() else True


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away")
def test_another_users_file_is_not_to_be_made_writable(file: Path) -> None:
    file.chmod(0o444)
    os.chown(file, 65534, 65534)
    with pytest.raises(McpboxError) as caught:
        configfile.change(str(file), lambda text: "changed")
    assert "is read-only" in caught.value.message and "belongs to user 65534" in caught.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away")
def test_a_file_of_a_group_that_a_new_one_could_not_have_is_left_alone() -> None:
    code = "import sys; from mcpbox.hosts import configfile; configfile.change(sys.argv[1], str.upper)"
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "mcp.json"
        file.write_text("{a}")
        os.chown(directory, 65534, 65534)
        os.chown(file, 65534, 0)
        done = subprocess.run(
            [sys.executable, "-c", code, str(file)],
            env={"HOME": directory, "PYTHONPATH": str(Path(configfile.__file__).parents[2])},
            capture_output=True,
            text=True,
            check=False,
            user=65534,
            group=65534,
            extra_groups=[],
        )
        assert file.read_text() == "{a}" and beside(file) == [".local"]
    assert f"{file} belongs to user 65534 and group 0" in done.stderr.splitlines()[-1]


def test_what_the_edit_raises_leaves_the_file_alone(file: Path) -> None:
    def edit(text: str) -> str:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        configfile.change(str(file), edit)
    assert file.read_bytes() == b"\xef\xbb\xbf{\r\n}" and beside(file) == []


def test_a_file_that_is_changed_meanwhile_is_worked_out_anew(file: Path) -> None:
    seen = []

    def edit(text: str) -> str:
        seen.append(text)
        if len(seen) < 4:
            file.write_text(f"theirs {len(seen)}")
        return f"{text} and ours"

    changed = configfile.change(str(file), edit)
    assert seen[1:] == ["theirs 1", "theirs 2", "theirs 3"]
    assert file.read_text() == "theirs 3 and ours" and changed and changed.before == "theirs 3"
    assert [path.read_text() for path in configfile.backups(str(file))] == ["theirs 3"]


@pytest.mark.parametrize("how", ["in place", "by renaming"])
def test_a_host_that_writes_all_the_time_loses_nothing(file: Path, how: str) -> None:
    file.write_text('{"n": 0, "ours": 0}')
    writer = subprocess.Popen([sys.executable, "-c", WRITER, file, how], stdout=subprocess.PIPE, text=True)
    assert writer.stdout and writer.stdout.readline() == "started\n"
    last = 0

    def edit(text: str) -> str:
        nonlocal last
        found = json.loads(text)
        # What the host wrote never comes back in an older form.
        assert found["n"] >= last
        last = found["n"]
        return json.dumps({**found, "ours": found["ours"] + 1})

    try:
        for _ in range(20):
            with suppress(configfile.Unwritable):
                configfile.change(str(file), edit, backup=False)
    finally:
        Path(f"{file}.stop").touch()
        wrote = int(writer.communicate()[0] or 0)
    assert writer.returncode == 0 and json.loads(file.read_text())["n"] == wrote
    configfile.change(str(file), edit, backup=False)
    assert json.loads(file.read_text())["n"] == wrote
    assert [name for name in beside(file) if "mcpbox" in name] == []


CHANGER = """
import sys
from mcpbox.hosts import configfile
print("ready", flush=True)
sys.stdin.readline()
for _ in range(25):
    configfile.change(sys.argv[1], lambda text: str(int(text) + 1))
"""


def test_two_of_us_at_once(file: Path) -> None:
    file.write_text("0")
    both = [
        subprocess.Popen([sys.executable, "-c", CHANGER, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    for one in both:
        assert one.stdout and one.stdout.readline() == b"ready\n"
    for one in both:
        one.communicate(b"\n")
        assert one.returncode == 0
    assert file.read_text() == "50"


KILLED = """
import sys
from mcpbox.hosts import configfile
path = sys.argv[1]
before = lambda: open(path, "w").write("theirs")
kills.at_every_step(before, lambda: configfile.change(path, lambda text: text + " ours"), path)
"""


def test_killed_at_any_step_the_file_is_whole_and_the_next_change_mends_the_rest(file: Path) -> None:
    outcomes = kills.run(KILLED, file)
    assert {text for _, text, _ in outcomes} == {"theirs", "theirs ours"}
    assert {text for killed, text, _ in outcomes if killed} == {"theirs", "theirs ours"}
    assert any(left for _, _, left in outcomes) and outcomes[-1] == (False, "theirs ours", [])
    assert all(path.read_text() in ("theirs", "theirs ours", "") for path in configfile.backups(str(file)))


FULL = """
import os, sys
from pathlib import Path
from mcpbox.errors import McpboxError
from mcpbox.hosts import configfile
where, path = Path(sys.argv[1]), sys.argv[1] + "/mcp.json"
Path(path).write_text("theirs")
with open(where / "filler", "wb", buffering=0) as filler:
    try:
        while True:
            filler.write(bytes(4096))
    except OSError:
        pass
try:
    configfile.change(path, lambda text: "x" * 10_000)
except McpboxError as error:
    print(error.message)
print(Path(path).read_text(), sorted(os.listdir(where)))
"""


@pytest.mark.parametrize("what", ["file", "state"])
def test_a_full_disk_leaves_the_file_as_it_was(home: Path, what: str) -> None:
    full = home / "full"
    full.mkdir()
    state = f"XDG_STATE_HOME={full}/state" if what == "state" else "A=b"
    where = home / "elsewhere" if what == "state" else full
    where.mkdir(exist_ok=True)
    script = f'mount -t tmpfs -o size=256k tmpfs "{full}" && exec env {state} "$@"'
    filled = FULL if what == "file" else FULL.replace('where / "filler"', f'"{full}/filler"')
    words = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    done = subprocess.run(
        [*words, sys.executable, "-c", filled, str(where)], capture_output=True, text=True, check=False
    )
    if "unshare" in done.stderr:
        must_work("no user namespaces here")
    first, second = done.stdout.splitlines()
    assert "No space left on device" in first and "is as it was" in first
    assert second.startswith("theirs ") and "mcpbox-" not in second


def test_a_read_only_directory_is_said(file: Path) -> None:
    script = (
        'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && exec "$2" -c '
        "'import sys; from mcpbox.hosts import configfile; configfile.change(sys.argv[1], str.upper)' \"$1/mcp.json\""
    )
    words = [
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        script,
        "sh",
        str(file.parent),
        sys.executable,
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert "read-only" in done.stderr.splitlines()[-1]
    assert file.read_bytes() == b"\xef\xbb\xbf{\r\n}"


def test_the_lock_is_by_the_real_file(file: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "link.json").symlink_to(file)
    monkeypatch.setattr(configfile, "PATIENCE", 0.1)
    with configfile.locked(str(file)):
        with pytest.raises(McpboxError, match="is being changed by another mcpbox"):
            configfile.change(str(home / "link.json"), str.upper)
    assert len(list((paths.state_dir() / "locks").iterdir())) == 1
