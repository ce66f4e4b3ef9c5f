"""Every test has a home directory of its own, and touching the real one is an error."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from secretservice import SecretService
from wire import Host

from mcpbox.pinning.store import Store, open_store
from mcpbox.sandbox import engine

CACHE = Path(os.environ.get("MCPBOX_TEST_CACHE", "/var/tmp/mcpbox-test"))
IMAGE = "mcpbox/test:latest"
ORDINARY = 1000
SERVERS = Path(__file__).parent / "servers"
PYTHON = "/usr/bin/python3"
ENGINES = ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")
#: Another engine than the machine's own for the Docker backend's tests, as DOCKER_HOST has it.
ENGINE = os.environ.get("MCPBOX_TEST_ENGINE", "")
if ENGINE:
    os.environ["DOCKER_HOST"] = ENGINE

# How long an example takes says how busy the machine is.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

_REAL_HOME = os.path.realpath(os.path.expanduser("~"))
_FORBIDDEN = tuple(
    f"{_REAL_HOME}/{name}"
    for name in (".ssh", ".config/mcpbox", ".local/share/mcpbox", ".local/state/mcpbox", ".claude.json", ".cursor")
)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("open", "os.mkdir", "os.remove", "os.rename") and arguments and isinstance(arguments[0], str):
        if arguments[0].startswith(_FORBIDDEN):
            raise AssertionError(f"a test touches the real home directory: {event} {arguments[0]}")


sys.addaudithook(_audit)


def must_work(reason: str) -> None:
    """Skip where something is missing, unless MCPBOX_MUST_WORK says that nothing may be."""
    if os.environ.get("MCPBOX_MUST_WORK"):
        pytest.fail(reason)
    pytest.skip(reason)


def make_home() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="mcpbox-home-"))
    directory.chmod(0o755)
    config = directory / ".config" / "mcpbox"
    config.mkdir(parents=True)
    images = "".join(f'{kind} = "{IMAGE}"\n' for kind in ("node", "python", "other"))
    (config / "config.toml").write_text(f"[docker.images]\n{images}")
    return directory


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A fresh, world-readable home directory, and no trace of the real one in the environment."""
    directory = make_home()
    monkeypatch.setenv("HOME", str(directory))
    for name in ("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", *ENGINES, "DOCKER_CONTEXT", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    if ENGINE:
        monkeypatch.setenv("DOCKER_HOST", ENGINE)
    for kind in ("CONFIG", "DATA", "STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(directory / f".{kind.lower()}"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@dataclass(frozen=True)
class Runner:
    """Runs ``mcpbox`` on one backend as one user, from a home directory of that user's, with ``variables`` set."""

    backend: str
    uid: int
    home: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        kinds = {
            f"XDG_{kind}_HOME": str(self.home / f".{kind.lower()}") for kind in ("CONFIG", "DATA", "STATE", "CACHE")
        }
        chosen = {name: os.environ[name] for name in ENGINES if name in os.environ}
        return {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.home), **kinds, **chosen, **self.variables}

    def words(self, *command: str | Path, profile: str = "", options: Sequence[str] = ()) -> list[str]:
        if profile:
            file = self.home / "profile.toml"
            file.write_text(f'version = 1\nname = "test"\n{profile}')
            options = [*options, "--profile", str(file)]
        mcpbox = [sys.executable, "-m", "mcpbox", "wrap", "--backend", self.backend]
        return [*mcpbox, *options, "--", *map(str, command)]

    def wrap(self, *command: str | Path, profile: str = "", options: Sequence[str] = ()) -> Host:
        return self.host(self.words(*command, profile=profile, options=options))

    def host(self, words: Sequence[str]) -> Host:
        """Any command, as this runner's user."""
        if os.geteuid() == self.uid:
            return Host(words, self.env)
        return Host(words, self.env, user=self.uid, groups=docker_groups())

    def give(self, path: Path) -> Path:
        """Make a path this runner's user's own."""
        if os.geteuid() == 0:
            for found in (path, *path.rglob("*")):
                os.chown(found, self.uid, self.uid, follow_symlinks=False)
        return path

    def echo(self, mode: str = "plain", **options: Any) -> Host:
        return self.wrap(PYTHON, self.home / "servers" / "echo.py", mode, **options)


def docker_groups() -> list[int]:
    """The group that may talk to the engine."""
    endpoint = engine.find()
    try:
        return [os.stat(endpoint.url.removeprefix("unix://")).st_gid] if endpoint else []
    except OSError:
        return []


USERS = ("root", "ordinary") if os.geteuid() == 0 else ("ordinary",)


@pytest.fixture(params=["docker", "bubblewrap"])
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    must_have(name)
    return name


def must_have(backend: str) -> None:
    endpoint = engine.find()
    if backend == "docker" and (endpoint is None or not engine.answers(endpoint)):
        must_work("no container engine answers")


@pytest.fixture(params=USERS)
def runner(request: pytest.FixtureRequest, backend: str, home: Path) -> Runner:
    """mcpbox on each backend, as root and as an ordinary user."""
    return make_runner(backend, request.param, home)


def make_runner(backend: str, user: str, home: Path) -> Runner:
    """``user`` is one of USERS."""
    uid = 0 if user == "root" else (ORDINARY if os.geteuid() == 0 else os.geteuid())
    shutil.copytree(SERVERS, home / "servers")
    found = Runner(backend, uid, home)
    found.give(home)
    return found


@pytest.fixture
def service(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SecretService]:
    """A keyring of this test's own, where mcpbox looks for the user's."""
    with SecretService(home) as found:
        for name, value in found.variables.items():
            monkeypatch.setenv(name, value)
        yield found


@pytest.fixture
def patience() -> Iterator[None]:
    """Ends a test that would not end."""
    signal.alarm(60)
    yield
    signal.alarm(0)


@pytest.fixture
def pins() -> Iterator[Store]:
    """The definitions of this test's servers."""
    opened = open_store()
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def cache() -> Path:
    if not (CACHE / "servers").is_dir():
        must_work(f"{CACHE} is not provisioned; run scripts/provision")
    return CACHE
