"""Podman behind the Docker backend: a service of the test's own, as root and as an ordinary user."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from conftest import CACHE, ORDINARY, PYTHON, SERVERS, Runner, must_work
from wire import eventually

from mcpbox import walls
from mcpbox.sandbox import engine
from mcpbox.sandbox.container import LABEL

IMAGE = "localhost/mcpbox/test:latest"
CONFIG = "[docker.images]\n" + "".join(f'{kind} = "{IMAGE}"\n' for kind in ("node", "python", "other"))
#: One or two of each kind, and what Podman does otherwise than Docker: the suite for all is ``test_walls``.
ATTEMPTS = (
    "ssh-key", "proc-root", "write-usr", "write-read-only", "environment", "processes", "privileges", "tcp4", "dns",
    "abstract-socket", "docker-socket", "mount", "unshare-user", "ptrace", "keyctl", "io-uring", "mknod", "fork-bomb",
    "memory-bomb", "disk-bomb-tmp", "disk-bomb-var-tmp", "disk-bomb-home", "disk-bomb-shm", "file-bomb", "cpu-burn",
)  # fmt: skip


@contextmanager
def service(uid: int) -> Iterator[engine.Endpoint]:
    """A Podman service of ``uid``'s, all of whose own files are in one temporary directory, but root's images."""
    if shutil.which("podman") is None:
        must_work("podman is not installed")
    # A socket's name has 107 bytes at most, and Podman makes more of them below.
    root = Path(tempfile.mkdtemp(prefix="p"))
    os.chown(root, uid, uid)
    endpoint = engine.Endpoint(f"unix://{root}/s")
    environment = {"PATH": os.environ["PATH"], "HOME": str(root), "XDG_RUNTIME_DIR": str(root)}
    words = ["podman", "system", "service", "--time=0", endpoint.url]
    as_user = {} if uid == os.geteuid() else {"user": uid, "group": uid, "extra_groups": ()}
    with (root / "log").open("wb") as log:
        # conmon leaves a file named "oom" in its working directory when a container runs out of memory.
        podman = subprocess.Popen(  # type: ignore[call-overload]
            words, env=environment, cwd=root, stdout=log, stderr=log, start_new_session=True, **as_user
        )
    try:
        assert eventually(lambda: engine.answers(endpoint), 30), (root / "log").read_text()
        yield endpoint
    finally:
        # Rootless, the service is a child of what was started, which need not pass a signal on.
        os.killpg(podman.pid, signal.SIGTERM)
        podman.wait()
        assert eventually(lambda: not engine.answers(endpoint))
        if uid == os.geteuid() != 0:
            # What it imported belongs to subordinate users.
            subprocess.run(["podman", "unshare", "rm", "-rf", f"{root}/.local"], env=environment, check=True)
        # Rootless, a process of its own holds the user namespace open.
        with suppress(OSError, ValueError):
            os.kill(int((root / "libpod/tmp/pause.pid").read_text()), signal.SIGKILL)
        shutil.rmtree(root)


def runner(uid: int, home: Path, endpoint: engine.Endpoint, monkeypatch: pytest.MonkeyPatch) -> Runner:
    monkeypatch.setenv("DOCKER_HOST", endpoint.url)
    (home / ".config/mcpbox/config.toml").write_text(CONFIG)
    shutil.copytree(SERVERS, home / "servers")
    found = Runner("docker", uid, home)
    found.give(home)
    return found


def containers(endpoint: engine.Endpoint) -> list[str]:
    with engine.connect(endpoint) as client:
        return [str(found["Id"]) for found in client.containers(all=True, filters={"label": LABEL})]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[engine.Endpoint]:
    if os.geteuid() != 0:
        pytest.skip("root's Podman is root's to start")
    with service(0) as found:
        yield found


@pytest.fixture
def root(home: Path, endpoint: engine.Endpoint, monkeypatch: pytest.MonkeyPatch) -> Runner:
    return runner(0, home, endpoint, monkeypatch)


def test_a_published_server_answers(root: Runner, cache: Path, endpoint: engine.Endpoint) -> None:
    index = cache / "servers/node_modules/@modelcontextprotocol/server-everything/dist/index.js"
    with root.wrap("/usr/bin/node", index) as host:
        assert host.initialize()["result"]["serverInfo"]["name"] == "mcp-servers/everything"
        assert host.call("echo", message="hello")["content"][0]["text"] == "Echo: hello"
        with root.host([*root.words()[:3], "ps", "--json"]) as ps:
            (row,) = json.loads(ps.stdout.read())
        assert row["memory"] > 1 << 20 and row["processes"] >= 1
        with root.host([*root.words()[:3], "stop", "--all"]) as stop:
            assert stop.stdout.read() == b"stopped\n"
        assert host.process.wait(10) == 143
    assert eventually(lambda: not containers(endpoint))


def test_a_killed_wrap_leaves_nothing(root: Runner, endpoint: engine.Endpoint) -> None:
    with root.echo("stubborn") as host:
        host.initialize()
        assert containers(endpoint)
        host.process.kill()
        host.process.wait()
        assert eventually(lambda: not containers(endpoint), 5)


def test_what_is_not_the_servers_to_know(root: Runner) -> None:
    """The host's names, its variables and a writable place without a bound are Podman's by default."""
    code = (
        "import os,sys,json; print(json.dumps([open('/etc/hosts').read(), dict(os.environ),"
        " [line.split() for line in open('/proc/mounts')]]), file=sys.stderr)"
    )
    with root.wrap(PYTHON, "-c", code) as host:
        host.stdin.close()
        hosts, environment, mounts = json.loads(host.stderr.read().splitlines()[-1])
    assert hosts.split() == ["127.0.0.1", "localhost", "::1", "localhost"]
    assert set(environment) <= {"PATH", "HOME", "LANG", "TZ", "PWD", "HOSTNAME", "LC_CTYPE"}
    writable = {mount[1]: mount[3] for mount in mounts if mount[2] == "tmpfs" and mount[3].startswith("rw")}
    unbounded = {path for path, options in writable.items() if "size=" not in options}
    # Root's alone, and read-only below.
    assert unbounded <= {"/sys/fs/cgroup"} and "/tmp" in writable


def test_nothing_gets_out(root: Runner) -> None:
    with walls.Walls("docker", config=CONFIG) as attacked:
        results = list(attacked.results(ATTEMPTS))
    assert [result.name for result in results] == list(ATTEMPTS)
    assert [result for result in results if result.inside != "blocked"] == []
    uncontrolled = {result.name for result in results if result.outside != "allowed"}
    assert uncontrolled <= {"mknod", "privileges", "io-uring"}


def test_rootless_is_refused_where_it_has_no_limits(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = os.geteuid() or ORDINARY
    with service(uid) as endpoint:
        ordinary = runner(uid, home, endpoint, monkeypatch)
        with engine.connect(endpoint) as client:
            second = client.info()["CgroupVersion"] != "1"
            if second:
                client.timeout = 120
                client.import_image(str(CACHE / "rootfs.tar"), repository="localhost/mcpbox/test")
        with ordinary.echo() as host:
            answer = host.initialize()
            if second and "result" in answer:
                assert host.call("echo", n=1)["content"][0]["text"] == '{"n": 1}'
            elif second:
                # No controller has been delegated to this session, and the runtime says so.
                assert "cgroup" in answer["error"]["message"]
            else:
                message = answer["error"]["message"]
                assert "this engine cannot limit: memory, swap, processes, processors" in message
        assert eventually(lambda: not containers(endpoint))
