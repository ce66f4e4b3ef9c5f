"""``mcpbox secrets`` as people and scripts run it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from secretservice import LOCK, SecretService

VALUE = "ghp_Zq8vTnW3xK5mR7yB2cD4fG6hJ9kL0pQsA1e"
#: Has the Secret Service's name on the bus, and never answers.
SILENT = (
    "from jeepney import message_bus; from jeepney.io.blocking import Proxy, open_dbus_connection; "
    "bus = open_dbus_connection(); Proxy(message_bus, bus).RequestName('org.freedesktop.secrets'); "
    "print('ready', flush=True)\nwhile True: bus.receive()"
)
GET = (
    "import sys; from mcpbox.secrets.store import open_store; from mcpbox.secrets.reference import parse\n"
    "try: open_store(seconds=float(sys.argv[1])).get(parse('github/TOKEN'))\n"
    "except Exception as error: print(type(error).__name__, error.message, '|', error.hint)"
)


def mcpbox(*words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "mcpbox", *words], input=stdin, capture_output=True, check=False)


@pytest.fixture
def service(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SecretService]:
    with SecretService(home) as found:
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", found.variables["DBUS_SESSION_BUS_ADDRESS"])
        yield found


def test_set_list_and_rm_never_print_a_value(service: SecretService, home: Path) -> None:
    done = mcpbox("secrets", "set", "github/TOKEN", "--for", "npm:a", "--for", "file:~/x/../s.js", stdin=VALUE.encode())
    assert done.returncode == 0 and done.stdout == b""
    assert done.stderr.decode() == f"github/TOKEN is kept, for npm:a, file:{home}/s.js\n"
    # Set again, it is for the same.
    assert b"for npm:a, file:" in mcpbox("secrets", "set", "github/TOKEN", stdin=b"other\n").stderr
    listed = mcpbox("secrets", "list", "--json")
    (row,) = json.loads(listed.stdout)
    assert (row["name"], row["for"], row["place"]) == ("github/TOKEN", ["npm:a", f"file:{home}/s.js"], "secret-service")
    assert mcpbox("secrets", "list").stdout.startswith(b"github/TOKEN ")
    removed = mcpbox("secrets", "rm", "github/TOKEN")
    assert (removed.returncode, removed.stdout) == (0, b"")
    assert mcpbox("secrets", "list").stdout == b""
    missing = mcpbox("secrets", "rm", "github/TOKEN")
    assert missing.returncode == 3 and b"there is no secret github/TOKEN" in missing.stderr


@pytest.mark.parametrize(
    ("typed", "kept"),
    [(b"one\n", "one"), (b"one\r\n", "one"), (b"one", "one"), (b"a\nb\n", "a\nb\n"), (b"\xff\n", "\udcff")],
)
def test_standard_input_is_kept_as_it_is_but_for_the_end_of_a_single_line(
    service: SecretService, typed: bytes, kept: str
) -> None:
    assert mcpbox("secrets", "set", "s/n", "--for", "npm:a", stdin=typed).returncode == 0
    code = (
        "import os, sys; from mcpbox.secrets.store import open_store; from mcpbox.secrets.reference import parse\n"
        "sys.stdout.buffer.write(os.fsencode(open_store().get(parse('s/n'))))"
    )
    assert service.run("env", *_homes(), sys.executable, "-c", code) == os.fsencode(kept)


def _homes() -> list[str]:
    return [f"{name}={value}" for name, value in os.environ.items() if name.startswith(("XDG_", "HOME"))]


def test_at_a_terminal_it_is_asked_for_and_not_shown(service: SecretService) -> None:
    parent, child = pty.openpty()
    words = [sys.executable, "-m", "mcpbox", "secrets", "set", "s/n", "--for", "npm:a"]
    with subprocess.Popen(words, stdin=child, stdout=child, stderr=child, start_new_session=True) as process:
        os.close(child)
        shown = b""
        while b"Value of s/n: " not in shown:
            shown += os.read(parent, 1024)
        os.write(parent, VALUE.encode() + b"\n")
        while b"is kept" not in shown:
            shown += os.read(parent, 1024)
        assert process.wait(20) == 0
    os.close(parent)
    assert VALUE.encode() not in shown


def test_a_new_secret_is_for_the_packages_of_its_servers_profile(service: SecretService, home: Path) -> None:
    profiles = Path(os.environ["XDG_CONFIG_HOME"]) / "mcpbox" / "profiles"
    profiles.mkdir(parents=True)
    (profiles / "mine.toml").write_text('version = 1\nname = "mine"\nmatches = ["npm:mine", "pypi:mine"]\n')
    assert b"for npm:mine, pypi:mine" in mcpbox("secrets", "set", "mine/KEY", stdin=b"value").stderr
    nobody = mcpbox("secrets", "set", "other/KEY", stdin=b"value")
    assert nobody.returncode == 2 and b"whom is other/KEY for?" in nobody.stderr and b"--for IDENTITY" in nobody.stderr


def test_a_locked_keyring_is_told(service: SecretService) -> None:
    assert mcpbox("secrets", "set", "github/TOKEN", "--for", "npm:a", stdin=VALUE.encode()).returncode == 0
    service.run(sys.executable, "-c", LOCK)
    locked = mcpbox("secrets", "set", "github/TOKEN", stdin=b"other value")
    assert locked.returncode == 3 and b"the Secret Service is locked" in locked.stderr
    (row,) = json.loads(mcpbox("secrets", "list", "--json").stdout)
    assert row["for"] == ["npm:a"]


def test_a_keyring_that_does_not_answer_is_not_waited_for(service: SecretService, home: Path) -> None:
    assert mcpbox("secrets", "set", "github/TOKEN", "--for", "npm:a", stdin=VALUE.encode()).returncode == 0
    with SecretService(home, daemon=False) as silent:
        environment = {**os.environ, **silent.variables}
        with subprocess.Popen([sys.executable, "-c", SILENT], env=environment, stdout=subprocess.PIPE) as process:
            assert process.stdout and process.stdout.readline() == b"ready\n"
            done = subprocess.run([sys.executable, "-c", GET, "1"], env=environment, capture_output=True, check=True)
            process.kill()
    assert done.stdout.startswith(
        b"SecretError the Secret Service did not answer within 1 s; it may be locked | unlock it"
    )


def test_a_machine_without_a_keyring_says_what_to_do(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere")
    failed = mcpbox("secrets", "set", "s/n", "--for", "npm:a", stdin=b"value")
    assert failed.returncode == 3 and b"there is no keyring here" in failed.stderr
    assert b"mcpbox secrets init --file" in failed.stderr
    assert mcpbox("secrets", "init").returncode == 2
    both = mcpbox("secrets", "init", "--file", "--key-file", str(home / "key"), "--systemd")
    assert both.returncode == 2 and b"two sources of one key" in both.stderr
    typed = mcpbox("secrets", "init", "--file")
    assert typed.returncode == 2 and b"a passphrase has to be typed" in typed.stderr
    assert mcpbox("secrets", "init", "--file", "--key-file", str(home / "key")).returncode == 0
    assert mcpbox("secrets", "set", "s/n", "--for", "npm:a", stdin=b"value").returncode == 0
    assert json.loads(mcpbox("secrets", "list", "--json").stdout)[0]["place"] == "file"


def test_a_bug_is_written_down_without_the_value(home: Path) -> None:
    code = (
        "from mcpbox import cli\nfrom mcpbox.secrets import held\n"
        f"held.hold('s/n', {VALUE!r})\n"
        f"cli._bug(ValueError('a text with ' + {VALUE!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    log = Path(os.environ["XDG_STATE_HOME"]) / "mcpbox" / "crash.log"
    assert b"a text with <secret s/n>" in done.stderr and "a text with <secret s/n>" in log.read_text()
    assert VALUE not in log.read_text()
