"""Clients as they are, in the sandbox: each gets what its profile allows, and what it would get without mcpbox."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import CACHE, IMAGE, ORDINARY, SERVERS, Runner, must_work
from internet import Internet
from servers.pattern import pattern, summed
from wire import Host, eventually

from mcpbox.sandbox import engine

CA_VARIABLES = ("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO")
PROFILE = """
[network]
allow = [{rules}]
idle_seconds = {idle}
[sandbox]
memory = "1GiB"
pids = 512
[filesystem]
read = ["{home}/servers", "{home}/ca.pem"]
[environment]
{variables}
"""
RULES = (
    *(f"api.example.com{port}" for port in ("", ":80", ":7", ":9", ":10", ":25", ":8080", ":8443", ":8444")),
    *("unreachable.example.com", "half-reachable.example.com:7", "nowhere.example.com", "localhost:5432"),
)
LONG = 3600
#: curl's exit codes where a connection is reset: before it knows that it has one, and in the TLS handshake.
CURL_CANNOT = (7, 35)
PROFILES = Path(__file__).parents[2] / "profiles"
WHEEL = "thing-1.0-py3-none-any.whl"
PROJECT = {
    "id": 7,
    "name": "found",
    "path_with_namespace": "group/found",
    "visibility": "public",
    "web_url": "https://gitlab.example/group/found",
    "description": "what was looked for",
    "ssh_url_to_repo": "git@gitlab.example:group/found.git",
    "http_url_to_repo": "https://gitlab.example/group/found.git",
    "created_at": "2024-01-01T00:00:00Z",
    "last_activity_at": "2024-01-02T00:00:00Z",
    "default_branch": "main",
}
GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main")


@pytest.fixture(scope="module")
def world() -> Iterator[Internet]:
    """Both namespaces with everything that listens in them: PostgreSQL on the machine's loopback interface."""
    if os.geteuid() != 0:
        must_work("only root can make a network namespace with public addresses")
    if not (CACHE / "clients-py").is_dir():
        must_work(f"{CACHE} is not provisioned; run scripts/provision")
    directory = Path(tempfile.mkdtemp(prefix="mcpbox-world-"))
    directory.chmod(0o755)
    publish(directory)
    with Internet(directory) as internet, services(internet), database(internet):
        yield internet
    shutil.rmtree(directory)


def publish(directory: Path) -> None:
    """A repository for Git, a package for installers and an API's answer."""
    work, bare = directory / "work", directory / "git/repo.git"
    git("init", "-q", work)
    (work / "big").write_bytes(b"".join(pattern(3 << 20)))
    git("-C", work, "add", "big")
    git("-C", work, "commit", "-q", "-m", "first")
    git("clone", "-q", "--bare", work, bare)
    git("-C", bare, "config", "http.receivepack", "true")
    packages, projects = directory / "www/simple/thing", directory / "www/api/v4/projects"
    packages.mkdir(parents=True)
    (packages / "index.html").write_text(f'<a href="{WHEEL}">{WHEEL}</a>')
    with zipfile.ZipFile(packages / WHEEL, "w") as wheel:
        wheel.writestr("thing.py", "answer = 42\n")
        wheel.writestr("thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n")
        wheel.writestr("thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("thing-1.0.dist-info/RECORD", "thing.py,,\n")
    projects.parent.mkdir(parents=True)
    projects.write_text(json.dumps([PROJECT]))


def git(*words: str | Path) -> str:
    """Git outside of any sandbox, without anybody's configuration."""
    environment = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    return subprocess.run([*GIT, *words], check=True, env=environment, stdout=subprocess.PIPE, text=True).stdout


@contextmanager
def services(internet: Internet) -> Iterator[None]:
    with listening(internet.out([sys.executable, SERVERS / "services.py", internet.directory]), "ready"):
        yield


@contextmanager
def database(internet: Internet) -> Iterator[None]:
    """A PostgreSQL server of its own, with a password; it does not run as root."""
    if not (found := sorted(Path("/usr/lib/postgresql").glob("*/bin"))):
        must_work("there is no PostgreSQL; run scripts/provision")
    programs = found[-1]
    directory = internet.directory / "postgres"
    directory.mkdir()
    shutil.chown(directory, "postgres")
    (internet.directory / "password").write_text("secret\n")
    as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    make: list[str | Path] = [
        programs / "initdb",
        "-D",
        directory,
        "-U",
        "postgres",
        "-N",
        "--auth=scram-sha-256",
        "-E",
        "UTF8",
    ]
    made = internet.run(*as_postgres, *make, f"--pwfile={internet.directory / 'password'}")
    assert made.returncode == 0, made.stderr
    settings = ("listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "shared_buffers=8MB")
    words: list[str | Path] = [*as_postgres, programs / "postgres", "-D", directory]
    for setting in settings:
        words += ["-c", setting]
    # To PostgreSQL, SIGINT says: end now, and orderly.
    with listening(internet.enter(words), "ready to accept", signal.SIGINT):
        yield


@contextmanager
def listening(words: list[str], sign: str, end: signal.Signals = signal.SIGTERM) -> Iterator[None]:
    """A server; ``sign`` is in the line that says that it listens."""
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True
    )
    assert process.stdout
    try:
        said = ""
        while sign not in (line := process.stdout.readline()):
            said += line
            assert line, said
        yield
    finally:
        process.send_signal(end)
        process.communicate()


class Box:
    """A sandbox whose server runs commands."""

    def __init__(self, host: Host, runner: Runner, internet: Internet) -> None:
        self.host, self.runner, self.internet = host, runner, internet

    def run(self, *words: str, seconds: int = 60, codes: Sequence[int] = (0,), **environment: str) -> str:
        """What a command in the sandbox says."""
        result = self.host.call("run", words=words, timeout=seconds, environment=environment)["structuredContent"]
        assert result["code"] in codes, result
        return str(result["out"])

    def python(self, name: str, *arguments: str) -> Any:
        return json.loads(self.run("python3", f"{self.runner.home}/servers/client.py", name, *arguments))

    def node(self, name: str, *arguments: str) -> Any:
        return json.loads(self.run("node", f"{self.runner.home}/servers/client.mjs", name, *arguments))

    def records(self) -> list[dict[str, Any]]:
        """What is on record of egress."""
        (file,) = (self.runner.home / ".state/mcpbox/audit/sessions/test").iterdir()
        return [record for record in map(json.loads, file.read_text().splitlines()) if record["event"] == "egress"]


@contextmanager
def home_of(backend: str, internet: Internet) -> Iterator[Runner]:
    """The home directory of a user of ``backend``, with the programs and the certificate that are tried."""
    home = Path(tempfile.mkdtemp(prefix="mcpbox-home-"))
    home.chmod(0o755)
    shutil.copytree(SERVERS, home / "servers")
    shutil.copy(internet.ca, home / "ca.pem")
    config = home / ".config/mcpbox"
    config.mkdir(parents=True)
    images = "".join(f'{kind} = "{IMAGE}"\n' for kind in ("node", "python", "other"))
    (config / "config.toml").write_text(f"[docker.images]\n{images}")
    runner = Runner(backend, 0 if backend == "docker" else ORDINARY, home)
    runner.give(home)
    yield runner
    shutil.rmtree(home, ignore_errors=True)


@contextmanager
def sandbox(
    backend: str,
    internet: Internet,
    rules: tuple[str, ...] = RULES,
    idle: int = LONG,
    environment: Mapping[str, str] = {},
) -> Iterator[Box]:
    with home_of(backend, internet) as runner:
        profile = written(runner, rules, idle)
        words = runner.words(CACHE / "clients-py/bin/python", runner.home / "servers/run.py", profile=profile)
        with internet.host(runner, words, **environment) as host:
            host.initialize()
            yield Box(host, runner, internet)


def written(runner: Runner, rules: tuple[str, ...], idle: int = LONG, more: Mapping[str, str] = {}) -> str:
    variables = {**dict.fromkeys(CA_VARIABLES, f"{runner.home}/ca.pem"), **more}
    return PROFILE.format(
        rules=", ".join(f'"{rule}"' for rule in rules),
        idle=idle,
        home=runner.home,
        variables="".join(f'{name} = "{value}"\n' for name, value in variables.items()),
    )


@pytest.fixture(scope="module", params=["docker", "bubblewrap"])
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    endpoint = engine.find()
    if name == "docker" and (endpoint is None or not engine.answers(endpoint)):
        must_work("no container engine answers")
    return name


@pytest.fixture(scope="module")
def box(backend: str, world: Internet) -> Iterator[Box]:
    with sandbox(backend, world) as found:
        yield found


def arrived(path: str, version: str = "1.1", received: int = 0) -> dict[str, Any]:
    return {"host": "api.example.com", "path": path, "received": received, "version": version}


# HTTP


def test_node_fetch(box: Box) -> None:
    assert box.node("fetch") == [arrived("/fetch", received=70_000)] * 2


def test_node_https(box: Box) -> None:
    """Three requests on one connection, kept alive, and one in plain text."""
    expected = [arrived("/https")] * 3 + [arrived("/http")]
    assert box.node("https") == expected


def test_node_http2(box: Box) -> None:
    assert box.node("http2") == [["2", f"/{number}"] for number in range(20)]


def test_urllib(box: Box) -> None:
    assert box.python("over_urllib") == [arrived("/urllib")] * 2


def test_requests(box: Box) -> None:
    assert box.python("over_requests") == [arrived("/requests", received=70_000)] * 3


def test_httpx(box: Box) -> None:
    assert box.python("over_httpx") == [arrived("/httpx")] * 2


def test_httpx_http2(box: Box) -> None:
    assert box.python("over_http2") == [["HTTP/2", f"/{number}"] for number in range(50)]


def test_aiohttp(box: Box) -> None:
    assert box.python("over_aiohttp") == arrived("/aiohttp")


@pytest.mark.parametrize(("option", "version"), [("--http1.1", "1.1"), ("--http2", "2")])
def test_curl(box: Box, option: str, version: str) -> None:
    said = box.run("curl", "-sS", option, "-w", "\n%{http_version}", "--data", "x" * 3000, "https://api.example.com/c")
    body, _, spoken = said.rpartition("\n")
    assert (json.loads(body), spoken) == (arrived("/c", version, 3000), version)


def test_git(box: Box) -> None:
    """A clone, and a push of what is made of it."""
    url, at, new = "https://api.example.com:8443/git/repo.git", "/tmp/repo", box.runner.backend
    box.run("git", "clone", "-q", url, at)
    assert box.run("sha256sum", f"{at}/big").split()[0] == summed(pattern(3 << 20))["sha256"]
    box.run("git", "-C", at, "mv", "big", new)
    box.run(*GIT, "-C", at, "commit", "-q", "-m", f"from {new}")
    box.run("git", "-C", at, "push", "-q", "origin", f"HEAD:refs/heads/{new}")
    bare = box.internet.directory / "git/repo.git"
    assert git("-C", bare, "log", "--format=%s", "-1", new) == f"from {new}\n"


def test_program_in_rust(box: Box) -> None:
    """uv, with the TLS and the resolver's client of its language, installs a package from an index."""
    index = ["--index-url", "https://api.example.com:8443/simple/", "--target", "/tmp/installed"]
    box.run(f"{CACHE}/clients-py/bin/uv", "pip", "install", *index, "thing", UV_CACHE_DIR="/tmp/uv")
    assert box.run("python3", "-c", "import thing; print(thing.answer)", PYTHONPATH="/tmp/installed") == "42\n"


def test_program_in_go(box: Box) -> None:
    """hey, with the resolver that Go has instead of the C library's, on fifty connections and more."""
    said = box.run("hey", "-n", "200", "-c", "50", "https://api.example.com/hey", GODEBUG="netdns=go")
    assert "[200]\t200 responses" in said, box.records()[-1]


def test_events(box: Box) -> None:
    expected = [f"data: {number}" for number in range(3)]
    assert box.python("events") == box.node("events") == expected


def test_websocket(box: Box) -> None:
    """In TLS, and in plain text, where what follows the upgrade is no longer HTTP."""
    assert box.python("websocket") == [5, 100_000, 5, 100_000]


# Much, and many at once


def test_download_of_100_mebibytes(box: Box) -> None:
    assert box.python("download") == summed(pattern(100 << 20))


def test_upload_of_100_mebibytes(box: Box) -> None:
    assert box.python("upload") == summed(pattern(100 << 20))


def test_upload_in_plain_text(box: Box) -> None:
    """Chunked, where every byte is looked through for the next request."""
    assert box.python("upload_plain") == summed(pattern(10 << 20))


def test_200_connections_at_once(box: Box) -> None:
    """None is answered before all of them have asked."""
    assert box.python("together") == ["together"] * 200
    assert box.node("together") == [200] * 200
    assert box.python("together_plain") == [True] * 200


# Ends


def test_client_ends_first(box: Box) -> None:
    """What the server says after the client's end arrives, and it knows of that end."""
    assert box.python("client_ends_first") == [3 << 20, 2 << 20]


def test_server_ends_first(box: Box) -> None:
    """All that the client says after the server's end arrives, and its own end; the last of it waits for credit."""
    before = len(box.internet.seen())
    assert box.python("server_ends_first", "40") == ["bye"]
    heard = {"last_word": summed(pattern(3 << 20))}
    assert eventually(lambda: box.internet.seen()[before:].count(heard) == 40), box.internet.seen()[before:]


def test_server_speaks_first(box: Box) -> None:
    assert box.python("speaks_first") == [250, "NOOP"]


def test_idle_connection_lives(box: Box) -> None:
    assert box.python("idle", "3") == ["alive", "z"]


def test_idle_connection_is_ended_where_the_profile_says_so(backend: str, world: Internet) -> None:
    """And no other: the one on which something was said goes on."""
    with sandbox(backend, world, idle=1) as box:
        assert box.python("idle", "30") == ["reset", "y"]
        denied = [record["reason"] for record in box.records() if record["decision"] == "deny"]
        assert denied == ["nothing was said for 1 s"]


# What cannot be reached


@pytest.mark.parametrize(
    ("name", "port", "decision", "reason"),
    [
        ("api.example.com", 8444, "failed", "Errno 111"),
        ("unreachable.example.com", 443, "failed", "Errno 113"),
        ("nowhere.example.com", 443, "deny", "it cannot be resolved"),
    ],
)
def test_unreachable(box: Box, name: str, port: int, decision: str, reason: str) -> None:
    """An error, and no waiting for what will not come: none of these is a client's time-out."""
    assert box.python("refused", f"https://{name}:{port}/") in ("ConnectionResetError", "BrokenPipeError")
    assert box.node("refused", f"https://{name}:{port}/") in ("ECONNRESET", "EPIPE")
    box.run("curl", "-sS", "--max-time", "20", f"https://{name}:{port}/", codes=CURL_CANNOT)
    found = [record for record in box.records() if name in record["name"] and record["decision"] == decision]
    assert len(found) == 3 and all(reason in record["reason"] for record in found), found


def test_a_name_that_is_not_allowed_is_none(box: Box) -> None:
    assert box.python("refused", "https://other.example.com/") == "gaierror"
    assert box.node("refused", "https://other.example.com/") == "ENOTFOUND"
    box.run("curl", "-sS", "https://other.example.com/", codes=[6])


def test_a_port_that_no_rule_names_is_refused(box: Box) -> None:
    assert box.python("refused", "https://api.example.com:8445/") == "ConnectionRefusedError"
    assert box.node("refused", "https://api.example.com:8445/") == "ECONNREFUSED"


def test_an_unreachable_address_beside_a_good_one(box: Box) -> None:
    assert box.python("echo", "half-reachable.example.com") == "hello"


# The user's own machine


def test_postgresql_on_localhost(box: Box) -> None:
    assert box.python("postgres") == [20_000, 199_990_000, 1_000_000, 4_000_000]


# The user's own proxy

PROXIED = ("api.example.com:443", "hidden.example.com:80", "other.example.com:443", "localhost:5432")


def test_proxy(backend: str, world: Internet) -> None:
    """It is given the name, to which it alone may have the address; not what NO_PROXY names, nor the user's machine."""
    variables = {"HTTPS_PROXY": "http://user:p%40ss@10.0.0.1:3128", "NO_PROXY": "other.example.com"}
    before = len(world.seen())
    with sandbox(backend, world, PROXIED, environment=variables) as box:
        for url in ("https://api.example.com", "http://hidden.example.com", "https://other.example.com"):
            assert json.loads(box.run("curl", "-sS", url))["host"] == url.partition("//")[2]
        assert box.python("postgres")[0] == 20_000
        asked = [line for line in world.seen()[before:] if "proxy" in line]
        assert asked == [
            {"proxy": f"CONNECT {target} HTTP/1.1", "host": f"Host: {target}", "authorized": True}
            for target in ("api.example.com:443", "hidden.example.com:80")
        ]
        through = {record["name"]: record.get("proxy") for record in box.records() if record["decision"] == "allow"}
        proxy = "10.0.0.1:3128"
        assert through == {
            "api.example.com": proxy,
            "hidden.example.com": proxy,
            "other.example.com": None,
            "localhost": None,
        }
        assert "p@ss" not in json.dumps(box.records())


def test_proxy_that_refuses(backend: str, world: Internet) -> None:
    """There is no way around it."""
    variables = {"HTTPS_PROXY": "http://user:wrong@10.0.0.1:3128"}
    with sandbox(backend, world, PROXIED, environment=variables) as box:
        box.run("curl", "-sS", "https://api.example.com", codes=CURL_CANNOT)
        (failed,) = (record for record in box.records() if record["decision"] == "failed")
        assert failed["reason"] == "the proxy refused: HTTP/1.1 407 Proxy Authentication Required"


# Published servers


def called(internet: Internet, runner: Runner, wrapped: list[str], tool: str, **arguments: Any) -> str:
    """The text with which a published server answers one call."""
    with internet.host(runner, wrapped) as host:
        host.initialize()
        result = host.call(tool, **arguments)
        assert not result.get("isError"), result
        return str(result["content"][0]["text"])


def test_mcp_server_fetch(backend: str, world: Internet) -> None:
    """With its profile, in plain text; over TLS too, with the certificate of the stand-ins and nothing more.

    It would refuse names that lead to loopback addresses, as all of them do in the sandbox; mcpbox sees to that itself.
    """
    server: list[str | Path] = [CACHE / "servers-py/bin/mcp-server-fetch", "--allow-private-ips"]
    with home_of(backend, world) as runner:
        said = called(world, runner, runner.words(*server), "fetch", url="http://api.example.com/plain", raw=True)
        assert '"path":"/plain"' in said.replace(" ", "")
        certified, ca = runner.home / "certified.toml", runner.home / "ca.pem"
        trust = f'[filesystem]\nread = ["{ca}"]\n[environment]\nSSL_CERT_FILE = "{ca}"\n'
        certified.write_text((PROFILES / "fetch.toml").read_text() + trust)
        wrapped = runner.words(*server, options=["--profile", str(certified)])
        said = called(world, runner, wrapped, "fetch", url="https://api.example.com/tls", raw=True)
        assert '"path":"/tls"' in said.replace(" ", "")


def test_server_of_an_api(backend: str, world: Internet) -> None:
    """server-gitlab, whose API is where its environment says."""
    server = CACHE / "servers/node_modules/@modelcontextprotocol/server-gitlab/dist/index.js"
    more = {
        "GITLAB_API_URL": "https://api.example.com:8443/api/v4",
        "GITLAB_PERSONAL_ACCESS_TOKEN": f"of-{backend}",
    }
    with home_of(backend, world) as runner:
        profile = written(runner, ("api.example.com:8443",), more=more)
        said = called(world, runner, runner.words("node", server, profile=profile), "search_repositories", search="it")
        assert json.loads(said)["items"] == [PROJECT]
        asked = [line for line in world.seen() if line.get("token") == f"Bearer of-{backend}"]
        assert [line["query"] for line in asked] == ["search=it&page=1&per_page=20"]


def test_mcp_server_postgres(backend: str, world: Internet) -> None:
    """Prepared with a network, run without one but for the user's own database."""
    package = "@modelcontextprotocol/server-postgres"
    with home_of(backend, world) as runner:
        with runner.host([*runner.words()[:3], "package", "add", "--backend", backend, f"npm:{package}"]) as host:
            assert host.process.wait(120) == 0, host.stderr.read()
        profile = '[network]\nallow = ["localhost:5432"]\n'
        wrapped = runner.words(
            "npx", "-y", package, "postgresql://postgres:secret@localhost:5432/postgres", profile=profile
        )
        assert json.loads(called(world, runner, wrapped, "query", sql="SELECT 6 * 7 AS answer")) == [{"answer": 42}]
