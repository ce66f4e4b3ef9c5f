"""A real Secret Service for tests: a bus and a keyring daemon of their own, unlocked without anybody's help."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from pathlib import Path

from wire import eventually

PASSWORD = b"the password of the login keyring"
LOCK = "import secretstorage; bus = secretstorage.dbus_init(); secretstorage.get_default_collection(bus).lock()"


class SecretService:
    """A context manager; ``variables`` is what reaches it. Its keyring lies below ``home``, which is ``user``'s.

    Without a ``daemon`` there is only the bus. ``socket`` is where to have it, for those who know no address.
    """

    def __init__(self, home: Path, user: int | None = None, *, daemon: bool = True, socket: Path | None = None) -> None:
        self._home, self._user, self._daemon = home, user, daemon
        self._address = f"unix:path={socket}" if socket else f"unix:dir={home}"
        self._stack = ExitStack()
        self.variables: dict[str, str] = {}

    def __enter__(self) -> SecretService:
        self.run("mkdir", "-p", "-m", "700", str(self._home / ".runtime"))
        bus = subprocess.Popen(
            [
                "dbus-daemon",
                "--session",
                "--nofork",
                "--nopidfile",
                "--print-address=1",
                f"--address={self._address}",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self._environment(),
            user=self._user,
            group=self._user,
        )
        self._stack.callback(bus.wait)
        self._stack.callback(bus.kill)
        assert bus.stdout
        self._stack.enter_context(bus.stdout)
        self.variables = {"DBUS_SESSION_BUS_ADDRESS": bus.stdout.readline().decode().strip()}
        if self._daemon:
            self._start_daemon()
        return self

    def _start_daemon(self) -> None:
        daemon = subprocess.Popen(
            ["gnome-keyring-daemon", "--foreground", "--unlock", "--components=secrets"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self._environment() | self.variables,
            user=self._user,
            group=self._user,
        )
        self._stack.callback(daemon.wait)
        self._stack.callback(daemon.kill)
        assert daemon.stdin
        with daemon.stdin:
            daemon.stdin.write(PASSWORD)
        assert eventually(self._has_owner, 20), "the keyring daemon does not start"

    def _has_owner(self) -> bool:
        asked = ("--dest=org.freedesktop.DBus", "/", "org.freedesktop.DBus.NameHasOwner")
        words = ("dbus-send", "--session", "--print-reply", *asked, "string:org.freedesktop.secrets")
        return b"boolean true" in self.run(*words)

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, *words: str, stdin: bytes = b"") -> bytes:
        """The output of a command on this bus."""
        done = subprocess.run(
            words,
            input=stdin,
            capture_output=True,
            env=self._environment() | self.variables,
            user=self._user,
            group=self._user,
            check=True,
            timeout=20,
        )
        return done.stdout

    def _environment(self) -> dict[str, str]:
        return {"HOME": str(self._home), "PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(self._home / ".runtime")}
