"""Docker on another machine, over TLS: packages are brought to it as layers of images, and nothing else is."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import IMAGE, SERVERS, Runner, make_runner
from elsewhere import Elsewhere, elsewhere, environment
from packages.pypi_index import wheel
from wire import Host, eventually

from mcpbox import probe, walls
from mcpbox.errors import BackendError
from mcpbox.sandbox import dial, engine, layers
from mcpbox.sandbox.container import LABEL
from mcpbox.sandbox.dial import Endpoint

ECHO = Path(__file__).parents[1] / "servers" / "echo.py"
#: One or two of each kind: the suite for all is ``test_walls``.
ATTEMPTS = (
    "ssh-key", "proc-root", "write-usr", "environment", "processes", "privileges", "tcp4", "dns", "docker-socket",
    "abstract-socket", "mount", "unshare-user", "ptrace", "keyctl", "io-uring", "mknod", "fork-bomb", "memory-bomb",
    "disk-bomb-tmp", "file-bomb",
)  # fmt: skip


@pytest.fixture(scope="module")
def remote() -> Iterator[Elsewhere]:
    with elsewhere() as found:
        yield found


@pytest.fixture
def runner(remote: Elsewhere, home: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """An ordinary user with an index of two packages: the echo server and the probe."""
    for name, value in remote.environment.items():
        monkeypatch.setenv(name, value)
    return with_packages(make_runner("docker", "ordinary", home))


def with_packages(runner: Runner) -> Runner:
    publish(runner.home / "wheels")
    return replace(runner, variables=configured(runner.home / "wheels"))


def configured(wheels: Path) -> dict[str, str]:
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": os.devnull}


def publish(directory: Path) -> None:
    directory.mkdir()
    echo = ECHO.read_text().rpartition("main()")[0]
    attacks = Path(probe.__file__).read_text().partition('if __name__ == "__main__"')[0]
    for name, text, call in (("far-echo", echo, "main"), ("far-probe", attacks, "serve")):
        module = name.replace("-", "_")
        data = wheel(name, "1.0", {f"{module}.py": text}, scripts={name: f"{module}:{call}"})
        (directory / f"{module}-1.0-py3-none-any.whl").write_bytes(data)


def mcpbox(runner: Runner, *words: str) -> tuple[int, str]:
    """The exit code of a command and all that it said."""
    with runner.host([sys.executable, "-m", "mcpbox", *words]) as host:
        host.stdin.close()
        said = host.stdout.read() + host.stderr.read()
        return host.process.wait(60), said.decode()


def images(endpoint: Endpoint, label: str = layers.TREE) -> list[dict[str, Any]]:
    with engine.connect(endpoint) as client:
        return list(client.images(filters={"label": label}))


def containers(endpoint: Endpoint) -> list[str]:
    with engine.connect(endpoint) as client:
        return [found["Id"] for found in client.containers(all=True, filters={"label": LABEL})]


def test_a_package_runs_there_and_is_brought_once(runner: Runner, remote: Elsewhere) -> None:
    code, said = mcpbox(runner, "package", "add", "--backend", "docker", "--", "uvx", "far-echo")
    assert code == 0, said
    (layer,) = images(remote.endpoint)
    with runner.wrap("uvx", "far-echo") as host:
        assert host.initialize()["result"]["serverInfo"]["name"] == "echo"
        assert host.call("echo", n=1)["content"][0]["text"] == '{"n": 1}'
        with runner.host([*runner.words()[:3], "ps", "--json"]) as ps:
            assert b'"memory"' in ps.stdout.read()
        # The whole answer, many records of TLS long; and the end of input, which closes one half of the connection.
        text = "x" * (4 << 20)
        assert len(host.call("echo", text=text)["content"][0]["text"]) > len(text)
        host.stdin.close()
        assert host.process.wait(10) == 0
    assert [found["Id"] for found in images(remote.endpoint)] == [layer["Id"]]
    assert eventually(lambda: not containers(remote.endpoint))
    tree = layer["Labels"][layers.TREE]
    assert layer["RepoTags"][0].startswith(f"{layers.REPOSITORY}:{tree[:48]}-")

    # What of it is lost is brought again; what is needed no more, removed.
    with engine.connect(remote.endpoint) as client:
        client.remove_image(layer["Id"])
    with runner.wrap("uvx", "far-echo") as host:
        assert "result" in host.initialize()
        assert len(images(remote.endpoint)) == 1 and containers(remote.endpoint)
        host.process.kill()
        host.process.wait()
        assert eventually(lambda: not containers(remote.endpoint), 10), "killed, it leaves nothing there"
    assert mcpbox(runner, "package", "gc")[0] == 0 and len(images(remote.endpoint)) == 1
    assert mcpbox(runner, "package", "rm", "far-echo")[0] == 0 and images(remote.endpoint) == []


def test_a_network_rule_leads_out_of_there_through_here(runner: Runner) -> None:
    """The relay runs beside the server, and the connection is made from this machine."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        rule = f'[network]\nallow = ["localhost:{port}"]\n'
        with runner.wrap("uvx", "far-probe", profile=rule) as host:
            assert "result" in host.initialize()
            arguments = {"name": "tcp4", "arguments": {"TCP4": port}}
            found = host.call("attempt", **arguments)["structuredContent"]
            assert found["outcome"] == "allowed", found
            listener.settimeout(5)
            listener.accept()[0].close()


@pytest.mark.parametrize("what", ["code", "profile"])
def test_what_only_this_machine_has_is_refused(what: str, runner: Runner, remote: Elsewhere) -> None:
    shared = runner.home / "notes"
    shared.mkdir()
    if what == "code":
        host, path = runner.echo(), runner.home / "servers"
    else:
        host, path = runner.wrap("docker", "run", "-i", IMAGE, profile=f'[filesystem]\nread = ["{shared}"]\n'), shared
    with host:
        message = host.initialize()["error"]["message"]
    assert f"the engine at {remote.endpoint.url} is another machine's and does not see {path}" in message
    assert "npx, uvx" in message and not containers(remote.endpoint)


class There(walls.Walls):
    """The probe as a package; the decoys stay here."""

    wheels: Path
    remote: Elsewhere

    def _start(self) -> walls.Server:
        words = [sys.executable, "-m", "mcpbox", "wrap", "--backend", "docker", "--profile", str(self._profile)]
        server = walls.Server([*words, "--", "uvx", "far-probe"], self._environment())
        answer = server.initialize()
        assert answer and "result" in answer, answer
        self._server = server
        return server

    def _environment(self) -> dict[str, str]:
        return {**super()._environment(), **self.remote.environment, **configured(self.wheels)}


def test_nothing_gets_out(runner: Runner, remote: Elsewhere, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = walls.PROFILE.partition("[filesystem]")[0]
    monkeypatch.setattr(walls, "PROFILE", profile)
    pictures = "".join(f'{kind} = "{IMAGE}"\n' for kind in ("node", "python", "other"))
    attacked = There("docker", config=f"[docker.images]\n{pictures}")
    attacked.wheels, attacked.remote = runner.home / "wheels", remote
    with attacked:
        results = list(attacked.results(ATTEMPTS))
        assert [result for result in results if result.inside != "blocked"] == []
        assert attacked.inside("memory-bomb", MEMORY=64 << 20)["outcome"] == "allowed"
        tree = attacked.inside("write-read-only", READ_ONLY=f"{layers.INSIDE}/new")
        assert tree["outcome"] == "blocked", tree
    uncontrolled = {result.name for result in results if result.outside != "allowed"}
    assert uncontrolled <= {"mknod", "privileges", "io-uring"}


@pytest.mark.parametrize(
    ("which", "said"),
    [
        ("stranger", "is not one that {certificates}/ca.pem vouches for"),
        ("uninvited", "does not take {certificates}/cert.pem"),
    ],
)
def test_a_wrong_certificate_is_refused(
    which: str, said: str, runner: Runner, remote: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint: Endpoint = getattr(remote, which)
    for name, value in environment(endpoint).items():
        monkeypatch.setenv(name, value)
    # What others use to add authorities has no say here.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", f"{remote.endpoint.certificates}/ca.pem")
    said = said.format(certificates=endpoint.certificates)
    with runner.wrap("docker", "run", "-i", IMAGE) as host:
        message = host.initialize()["error"]["message"]
        assert said in message and "DOCKER_CERT_PATH" in message
    assert said in mcpbox(runner, "doctor")[1]
    with pytest.raises(BackendError):
        engine.attach(Endpoint(endpoint.url, f"{endpoint.certificates}/none"), "x")


def test_an_engine_that_does_not_answer_says_why(remote: Elsewhere, home: Path) -> None:
    plain = dial.problem(Endpoint(remote.endpoint.url))
    assert plain[0] == f"{remote.endpoint.url} wants TLS" and "DOCKER_TLS_VERIFY=1" in plain[1]
    assert "none" in dial.problem(Endpoint(remote.endpoint.url, str(home / "none")))[0]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        refused = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
    assert dial.problem(Endpoint(refused)) == (f"no engine answers at {refused}: Connection refused", "")


@pytest.mark.parametrize(
    "url", ["ssh://-oProxyCommand=x", "ssh://a:b@host", "ssh://-x@host", "ssh://host/socket", "npipe:////x", "x"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    message, hint = dial.problem(Endpoint(url))
    assert message.endswith("not the address of an engine") and hint == dial.FORM


def test_ssh_is_told_where_and_asks_nothing() -> None:
    assert dial.ssh_words("ssh://me@host:2222") == [
        *("ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20", "-l", "me", "-p", "2222"),
        *("--", "host", "docker", "system", "dial-stdio"),
    ]


@contextmanager
def reached_by_ssh(remote: Elsewhere, home: Path) -> Iterator[str]:
    """An ssh server of the test's own, where ``docker`` leads to the engine elsewhere; yields an address."""
    where = home / "ssh"
    (where / "bin").mkdir(parents=True)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", where / name], check=True)
    (where / "authorized").write_bytes((where / "user.pub").read_bytes())
    (where / "environment.json").write_text(json.dumps(dict(remote.environment)))
    (where / "config").write_text(f"IdentityFile {where}/user\nUserKnownHostsFile {where}/known\n")
    # ssh reads the real home's files, whatever HOME says.
    (where / "bin" / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {where}/config "$@"\n')
    (where / "bin" / "ssh").chmod(0o755)
    words: list[str | Path] = [sys.executable, SERVERS / "ssh.py", where]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout
    try:
        port = int(process.stdout.readline())
        (where / "known").write_text(f"[127.0.0.1]:{port} {(where / 'host.pub').read_text()}")
        yield f"ssh://root@127.0.0.1:{port}"
    finally:
        process.kill()
        process.communicate()


def test_the_same_over_ssh(remote: Elsewhere, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = with_packages(make_runner("docker", "root", home))
    with reached_by_ssh(remote, home) as url:
        monkeypatch.setenv("DOCKER_HOST", url)
        path = f"{home}/ssh/bin:{runner.env['PATH']}"
        monkeypatch.setenv("PATH", path)
        assert eventually(lambda: engine.answers(Endpoint(url)), 10), dial.problem(Endpoint(url))
        with Host(runner.words("uvx", "far-echo"), {**runner.env, "PATH": path}) as host:
            answer = host.initialize()
            assert "result" in answer, answer
            assert host.call("echo", text="x" * (1 << 20))["content"]
            assert containers(remote.endpoint)
            host.stdin.close()
            assert host.process.wait(10) == 0
        assert eventually(lambda: not containers(remote.endpoint), 10)
        with Host(runner.words("uvx", "far-echo"), {**runner.env, "PATH": path}) as host:
            assert "result" in host.initialize()
            host.process.kill()
            host.process.wait()
            assert eventually(lambda: not containers(remote.endpoint), 15)
        # A key that is not let in: said in ssh's words.
        (home / "ssh" / "authorized").write_text("")
        assert "Permission denied" in dial.problem(Endpoint(url))[0]
