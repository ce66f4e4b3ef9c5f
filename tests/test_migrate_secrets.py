"""Secrets moved out of hosts' files and back, on a real Secret Service: in one of the two places whatever happens."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import must_work
from detect.fakes import word
from secretservice import LOCK, SecretService

from mcpbox import paths
from mcpbox.audit.writer import Log
from mcpbox.commands.migrate_secrets import masked, migrate_secrets
from mcpbox.commands.protect import protect, unprotect
from mcpbox.hosts import configfile, register
from mcpbox.secrets import index, vault
from mcpbox.secrets.reference import Reference
from mcpbox.secrets.store import Store, open_store

REFERENCE = "mcpbox-secret:postgres/"
RNG = random.Random(7)
TOKEN, KEY, OTHER, PEM = word(RNG, 36), word(RNG, 40), word(RNG, 24), word(RNG, 64)
SECRETS = (TOKEN, KEY, OTHER, "tiger9lion", PEM)
CONFIG = """\
// my servers
{
  "mcpServers": {
    "notes": { // the first
      "command": "%(python)s",
      "args": ["%(script)s", "--api-key", "%(key)s", "--level=3",],
      "env": {"API_TOKEN": "%(token)s", "LEVEL": "info"}
    },
\t"Data Base":{"command":"%(python)s","args":["%(script)s"], "env":{
\t\t"DATABASE_URL":"postgresql://app:tiger9lion@db.local/x",
\t\t"HEADERS": "{\\"Authorization\\": \\"Bearer %(other)s\\"}",
\t\t"PRIVATE_KEY": "-----BEGIN PRIVATE KEY-----\\n%(pem)s\\n-----END PRIVATE KEY-----\\n",
\t\t"PLACEHOLDER_KEY": "YOUR_API_KEY"}},
    "again": {"command": "%(python)s", "args": ["%(script)s"], "env": {"API_TOKEN": "%(token)s"}},
    "far": {"url": "https://mcp.example.net/", "headers": {"Authorization": "Bearer %(far)s"}}
  }
}
"""
FAR = word(RNG, 40)


@pytest.fixture
def first(home: Path) -> str:
    """The text of Cursor's file before anything of mcpbox was there."""
    script = home / "server.py"
    script.write_text("print()\n")
    shown = {"python": "/usr/bin/python3", "script": script, "key": KEY, "token": TOKEN, "other": OTHER, "pem": PEM}
    text = CONFIG % {**shown, "far": FAR}
    config = home / ".cursor/mcp.json"
    config.parent.mkdir()
    config.write_text(text)
    return text


@pytest.fixture
def config(home: Path, first: str) -> Path:
    """Cursor's file with its servers behind mcpbox."""
    path = home / ".cursor/mcp.json"
    assert protect(["cursor"], [], False, True, False) == 0
    assert path.read_text() != first
    return path


def run(*, dry_run: bool = False, restore: bool = False) -> int:
    return migrate_secrets(["cursor"], [], dry_run, True, restore)


def kept() -> dict[str, str]:
    """What the store holds, by name."""
    store = open_store(seconds=10)
    return {str(item.ref): store.get(item.ref) if item.owners else "" for item in store.names()}


@pytest.fixture
def migrated(service: SecretService, config: Path, capfd: pytest.CaptureFixture[str]) -> tuple[Path, str, str]:
    """The file, its text before and after; the secrets are in the store."""
    before = config.read_text()
    assert run() == 1, "the remote server keeps its secret"
    return config, before, capfd.readouterr().out


def test_the_secrets_are_in_the_store_and_references_in_the_file(migrated: tuple[Path, str, str]) -> None:
    config, _, out = migrated
    text = config.read_text()
    assert not [secret for secret in SECRETS if secret in text or secret in out]
    assert kept() == {
        "notes/API_KEY": KEY,
        "notes/API_TOKEN": TOKEN,
        "data-base/DATABASE_URL_PASSWORD": "tiger9lion",
        "data-base/AUTHORIZATION": OTHER,
        "data-base/PRIVATE_KEY": f"-----BEGIN PRIVATE KEY-----\n{PEM}\n-----END PRIVATE KEY-----",
        "again/API_TOKEN": TOKEN,
    }
    assert '"postgresql://app:mcpbox-secret:data-base/DATABASE_URL_PASSWORD@db.local/x"' in text
    assert '"{\\"Authorization\\": \\"Bearer mcpbox-secret:data-base/AUTHORIZATION\\"}"' in text
    assert '"--api-key", "mcpbox-secret:notes/API_KEY", "--level=3",]' in text
    assert "// the first" in text and "YOUR_API_KEY" in text and FAR in text
    owners = {owner for item in open_store().names() for owner in item.owners}
    assert all(owner.startswith("file:") and owner.endswith("server.py") for owner in owners)
    assert f"{TOKEN[:4]}…{TOKEN[-2:]} (36 characters)" in out
    assert "the server is remote: it does not run on this machine; let Cursor fill it in" in out


def test_what_was_approved_stays_approved_and_nothing_of_mcpbox_holds_a_value(
    migrated: tuple[Path, str, str], home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config, _, out = migrated
    capfd.readouterr()
    assert protect(["cursor"], [], True, True, False) == 0
    assert "nothing to do" in capfd.readouterr().out
    assert "2 of them" in out or "1 of them" in out
    for path in home.rglob("*"):
        if path.is_file() and path.suffix not in (".keyring",):
            data = path.read_bytes()
            assert not [secret for secret in SECRETS if secret.encode() in data], path
    assert configfile.backups(str(config))


def test_a_file_that_a_project_brings_is_given_no_secret_back(
    migrated: tuple[Path, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    config, before, _ = migrated
    brought = tmp_path / ".cursor/mcp.json"
    brought.parent.mkdir()
    entry = {"command": "mcpbox", "args": ["wrap", "--", "x"], "env": {"X": "mcpbox-secret:notes/API_TOKEN"}}
    brought.write_text(json.dumps({"mcpServers": {"x": entry}}))
    text = brought.read_text()
    monkeypatch.chdir(tmp_path)
    capfd.readouterr()
    assert run(restore=True) == 1
    told = capfd.readouterr()
    assert f"{brought} names secrets and belongs to a project" in told.err and str(brought) not in told.out
    assert brought.read_text() == text and config.read_text() == before
    # Another file names it still.
    assert kept() == {"notes/API_TOKEN": TOKEN}
    assert migrate_secrets([], [str(brought)], False, True, True) == 0
    assert TOKEN in brought.read_text()


def test_a_server_gets_no_secret_back_that_is_for_another(
    migrated: tuple[Path, str, str], home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config, before, _ = migrated
    other = home / "other.py"
    other.write_text("print()\n")
    entry = {"command": "/usr/bin/python3", "args": [str(other)], "env": {"X": "mcpbox-secret:notes/API_TOKEN"}}
    shared = home / ".claude/plugins/cache/a/b/c/.mcp.json"
    shared.parent.mkdir(parents=True)
    shared.write_text(json.dumps({"mcpServers": {"x": entry}}))
    text = shared.read_text()
    capfd.readouterr()
    assert migrate_secrets([], [], False, True, True) == 1
    assert f"{shared}: x names notes/API_TOKEN, which is not known to be for it" in capfd.readouterr().err
    assert shared.read_text() == text and config.read_text() == before
    assert migrate_secrets([], [str(shared)], False, True, True) == 0 and TOKEN in shared.read_text()


TOML = """\
[mcp_servers.postgres] # postgres
command = '/usr/bin/python3'
args = ['%(home)s/postgres.py', 'postgres', '--api-key', 'k1y"zq9', "%(home)s", '--token=zx98a7']
[mcp_servers.postgres.env]
DB_USER = 'postgres'
DB_PASSWORD = 'postgres'
DB_TOKEN = '''q"7w8e'''
"""


def test_mcpboxs_own_files_lose_short_values_in_any_quotes_and_keep_the_word_postgres(
    service: SecretService, home: Path
) -> None:
    (home / "postgres.py").write_text("print()\n")
    config = home / ".codex/config.toml"
    config.parent.mkdir()
    config.write_text(TOML % {"home": home})
    assert protect(["codex"], [], False, True, False) == 0
    # What a start of the server leaves.
    Log("postgres", "s", who={"command": ["python3", "--token=zx98a7"]}).close()
    assert migrate_secrets(["codex"], [], False, True, False) == 0
    assert sorted(kept().values()) == ['k1y"zq9', "postgres", 'q"7w8e', "zx98a7"]
    for path in paths.state_dir().rglob("*"):
        data = path.read_text() if path.is_file() else ""
        assert not [value for value in ("k1y", 'q"7w8e', "zx98a7") if value in data], path
    (backup,) = configfile.backups(str(config))
    expected = (TOML % {"home": home}).replace("PASSWORD = 'postgres'", f"PASSWORD = '{REFERENCE}DB_PASSWORD'")
    for value, name in (('k1y"zq9', "API_KEY"), ('q"7w8e', "DB_TOKEN"), ("zx98a7", "TOKEN")):
        expected = expected.replace(value, REFERENCE + name)
    assert backup.read_text() == expected


@pytest.mark.parametrize(
    ("value", "shown"),
    [("hunter2", "… (7 characters)"), ("x" * 15, "… (15 characters)"), ("abcdef" * 5, "abcd…ef (30 characters)")],
)
def test_what_is_shown_of_a_secret(value: str, shown: str) -> None:
    assert masked(value) == shown


def test_again_finds_nothing_to_move(migrated: tuple[Path, str, str], capfd: pytest.CaptureFixture[str]) -> None:
    text = migrated[0].read_text()
    assert run() == 1
    assert migrated[0].read_text() == text and "nothing can be moved" in capfd.readouterr().out


def test_restored_and_taken_out_the_file_has_its_first_bytes(migrated: tuple[Path, str, str], first: str) -> None:
    config, before, _ = migrated
    assert run(restore=True) == 0
    assert config.read_text() == before
    assert kept() == {}
    assert unprotect(["cursor"], [], False, True) == 0
    assert config.read_text() == first
    assert register.load() == []


def test_a_dry_run_changes_nothing_and_needs_no_keyring(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = config.read_text()
    assert run(dry_run=True) == 0
    assert config.read_text() == before and not index.file().exists()
    out = capfd.readouterr().out
    assert "becomes notes/API_TOKEN" in out and TOKEN not in out


def test_the_user_is_told_where_the_values_still_are(
    service: SecretService, config: Path, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (home / ".bash_history").write_text(f"export API_TOKEN={TOKEN}\n")
    config.write_text(config.read_text().replace("// the first", f"// {KEY}"))
    run()
    said = capfd.readouterr().err
    assert f"{home}/.bash_history, a history of commands, still holds a value that was moved" in said
    assert f"{config}:4 still holds the value of notes/API_KEY" in said
    assert not [secret for secret in SECRETS if secret in said]


def test_a_backup_of_the_file_by_another_name_is_told(
    service: SecretService, config: Path, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (backup,) = configfile.backups(str(config))
    config.rename(home / "settings.json")
    config.symlink_to(home / "settings.json")
    assert run() == 1
    assert f"{backup}, mcpbox's own backup of another file, or of this one by another name" in capfd.readouterr().err


def test_a_server_that_is_not_behind_mcpbox_keeps_its_secrets(
    service: SecretService, first: str, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run() == 1
    assert (home / ".cursor/mcp.json").read_text() == first and kept() == {}
    assert "it is not behind mcpbox: run first: mcpbox protect" in capfd.readouterr().out


def test_one_value_for_one_program_has_one_name_and_another_value_another(service: SecretService, config: Path) -> None:
    store = open_store()
    script = f"file:{config.parent.parent / 'server.py'}"
    real = f"file:{os.path.realpath(config.parent.parent / 'server.py')}"
    store.set(Reference("notes", "API_TOKEN"), TOKEN, tuple(dict.fromkeys((script, real))))
    store.set(Reference("notes", "API_KEY"), "something else", (script,))
    run()
    assert 'mcpbox-secret:notes/API_TOKEN"' in config.read_text()
    assert 'mcpbox-secret:notes/API_KEY_2"' in config.read_text()
    assert kept()["notes/API_KEY"] == "something else"


def test_a_secret_that_something_else_names_stays_in_the_store(migrated: tuple[Path, str, str], home: Path) -> None:
    paths.user_profiles().mkdir(parents=True)
    (paths.user_profiles() / "notes.toml").write_text(
        'version = 1\nname = "notes"\n[secrets]\nAPI_TOKEN = "keyring:notes/API_TOKEN"\n'
    )
    assert run(restore=True) == 0
    assert kept() == {"notes/API_TOKEN": TOKEN}


def test_a_file_that_the_host_writes_meanwhile_loses_nothing(
    service: SecretService, config: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    put, written = Store.set, config.read_text().replace(TOKEN, f"{TOKEN}2")

    def set_late(store: Store, ref: Reference, value: str, owners: Sequence[str]) -> None:
        put(store, ref, value, owners)
        config.write_text(written)

    monkeypatch.setattr(Store, "set", set_late)
    assert run() == 1
    assert config.read_text() == written and kept() == {}
    assert "mcpServers.notes.env.API_TOKEN has been changed meanwhile" in capfd.readouterr().err


def test_a_read_only_file_changes_nothing(
    service: SecretService, config: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = config.read_text()
    config.chmod(0o444)
    assert run() == 1
    assert config.read_text() == before and kept() == {}
    assert "is read-only" in capfd.readouterr().err


def python(code: str, *arguments: object, before: Sequence[str] = ()) -> list[Any]:
    """Run ``code`` in a process of its own, after PREPARED; the JSON lines that it writes."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "PYTHONDONTWRITEBYTECODE": "1"}
    words = [*before, sys.executable, "-c", PREPARED + code, *map(str, arguments)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]


PREPARED = """
import json, os, signal, subprocess, sys, traceback
from pathlib import Path
import mcpbox.secrets.keyrings
from mcpbox.commands.migrate_secrets import migrate_secrets
from mcpbox.hosts import register
from mcpbox.secrets import store as stores
config = Path(sys.argv[1])
home = config.parent.parent
shown = os.dup(1)

def run(restore=False):
    return migrate_secrets(["cursor"], [], False, True, restore)

def report(*what):
    store = stores.open_store(seconds=10)
    kept = {str(item.ref): store.find(item.ref) for item in store.names()}
    leaks = [
        str(path) for path in home.rglob("*") if path.is_file() and path != config and path.suffix != ".keyring"
        if any(secret.encode() in path.read_bytes() for secret in sys.argv[2:4])
    ]
    os.write(shown, json.dumps([*what, config.read_text(), kept, leaks]).encode() + b"\\n")
"""
LOCKED = """
put, done = stores.Store.set, []

def set_and_lock(store, ref, value, owners):
    if len(done) == 2:
        subprocess.run([sys.executable, "-c", LOCK], check=True)
    put(store, ref, value, owners)
    done.append(ref)

stores.Store.set = set_and_lock
os.write(shown, json.dumps([run(), config.read_text()]).encode() + b"\\n")
"""


def test_a_keyring_that_locks_half_way_changes_nothing_and_the_next_run_tidies_up(
    service: SecretService, config: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = config.read_text()
    assert python(f"LOCK = {LOCK!r}\n{LOCKED}", config) == [[1, before]]
    assert len(index.load()) == 2
    code = "try: run()\nexcept Exception as error: os.write(shown, json.dumps([str(error)]).encode())"
    assert python(code, config) == [["the Secret Service is locked"]]
    service.__exit__()
    with SecretService(home) as unlocked:
        monkeypatch.setenv(*next(iter(unlocked.variables.items())))
        assert run(dry_run=True) == 0
        assert config.read_text() == before
        assert run() == 1
        assert len(kept()) == 6 and TOKEN not in config.read_text()
        assert run(restore=True) == 0
        assert (config.read_text(), kept()) == (before, {})


FULL = """
where, copied = Path(sys.argv[2]), sys.argv[3]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", where], check=True)
subprocess.run(["cp", "-r", f"{copied}/.", where], check=True)
try:
    with open(where / "filler", "wb", buffering=0) as filler:
        while filler.write(b"x" * 512):
            pass
except OSError:
    pass
report(run())
"""


@pytest.mark.parametrize("where", [".cursor", ".data/mcpbox"])
def test_a_full_disk_changes_nothing(where: str, service: SecretService, config: Path, home: Path) -> None:
    if os.geteuid() != 0:
        must_work("only root can mount a small disk")
    before = config.read_text()
    shutil.copytree(home / where, home / "copied")
    status, text, held, _ = python(FULL, config, home / where, home / "copied", before=["unshare", "-m"])[0]
    assert (status, text, held) == (1, before, {})


KILLED = """
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.chmod", "fcntl.flock", "ctypes.call_function")

class Killer:
    # Counts from when the note of what is begun is written: before that, nothing is.

    def __init__(self, step):
        self.left, self.begun = step, False

    def __call__(self, event, arguments):
        self.begun = self.begun or (event == "open" and "migration.json" in str(arguments[0]) and arguments[2] & 3)
        if not self.begun:
            return
        if event in CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & 3):
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)

def child(what, step=0):
    process = os.fork()
    if process == 0:
        code = 99
        try:
            os.dup2(os.open(os.devnull, os.O_RDWR), 1)
            if step:
                sys.addaudithook(Killer(step))
            code = what() or 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

ways = [False, True]
for step in range(1, 200, int(sys.argv[4])):
    for restore in list(ways):
        status = child(lambda: run(restore), step)
        assert child(lambda: report(restore, status)) == 0
        if status == 0:
            ways.remove(restore)
        else:
            assert status == -signal.SIGKILL, status
        child(lambda: run(restore))
        assert child(lambda: report(restore, 0)) == 0
    if not ways:
        break
    if len(ways) == 1:
        child(lambda: run(not ways[0]))  # back to where the other way begins
"""


@pytest.mark.parametrize(("kept_in", "every"), [("file", 1), ("keyring", 4)])
def test_killed_at_any_step_nothing_is_lost_and_the_next_run_ends_it(
    kept_in: str, every: int, request: pytest.FixtureRequest, home: Path
) -> None:
    if kept_in == "file":
        vault.create("key-file", key_file=home / "key")
    else:
        request.getfixturevalue("service")
    config = home / ".cursor/mcp.json"
    config.parent.mkdir()
    (home / "server.py").write_text("")
    entry = {"command": "/usr/bin/python3", "args": [str(home / "server.py"), f"--key={KEY}"], "env": {"TOKEN": TOKEN}}
    config.write_text(json.dumps({"mcpServers": {"a": entry}}))
    assert protect(["cursor"], [], False, True, False) == 0
    before = config.read_text()
    after = before.replace(KEY, "mcpbox-secret:a/KEY").replace(TOKEN, "mcpbox-secret:a/TOKEN")
    states = python(KILLED, config, KEY, TOKEN, every)
    assert len(states) > 100 / every
    for restore, status, text, held, leaks in states:
        assert text in (before, after)
        if text == after:
            assert held == {"a/KEY": KEY, "a/TOKEN": TOKEN}
        if status == 0:
            assert (text, held) == ((before, {}) if restore else (after, {"a/KEY": KEY, "a/TOKEN": TOKEN}))
            assert restore or leaks == []
    assert {status for _, status, *_ in states} == {0, -signal.SIGKILL}
