"""Ten servers of five hosts with a dozen secrets: put behind mcpbox, emptied into a keyring, driven by the official
client through the files' own command lines, and given back."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import pwd
import random
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest
import yaml
from conftest import ENGINES, IMAGE, ORDINARY, SERVERS, docker_groups, must_have, must_work
from detect.fakes import word
from mcp import ClientSession, StdioServerParameters, types
from mcp.client.stdio import stdio_client
from secretservice import SecretService

from mcpbox.sandbox import engine

MCPBOX = Path(os.path.abspath(sys.executable)).parent / "mcpbox"
#: What a desktop gives to the hosts that it starts; they look for the bus where it always is.
SHORT = "/usr/bin:/bin:/usr/sbin:/sbin"
DIGESTS = "mcpbox/digests:tests"

RNG = random.Random(11)
GITHUB, LINEAR = f"ghp_{word(RNG, 36)}", f"lin_api_{word(RNG, 40)}"
SLACK = f"xoxb-4821930517-6630174928-{word(RNG, 24)}"
NOTION, CRM, SEARCH, PEM = f"ntn_{word(RNG, 46)}", word(RNG, 32), word(RNG, 28), word(RNG, 64)
DATABASE, CACHE, WEATHER, BEARER, ENTRY = (word(RNG, length) for length in (14, 18, 30, 40, 36))
SECRETS = (GITHUB, LINEAR, SLACK, NOTION, CRM, SEARCH, PEM, DATABASE, CACHE, WEATHER, BEARER, ENTRY)
#: In the header of a remote server, which is not mcpbox's to fill in.
REMOTE = word(RNG, 40)

CLAUDE = """\
{
  "globalShortcut": "",
  "mcpServers": {
    "github": {
      "command": "node",
      "args": ["%(home)s/servers/digest.mjs"],
      "env": {
        "GITHUB_PERSONAL_ACCESS_TOKEN": "%(github)s",
        "GITHUB_TOOLSETS": "repos,issues"
      }
    },
    "files": {
      "command": "node",
      "args": ["%(cache)s/@modelcontextprotocol/server-filesystem/dist/index.js", "%(home)s/documents"]
    },
    "search": {"command": "python3", "args": ["%(home)s/servers/digest.py", "--api-key", "%(search)s", "--limit", "5"]}
  }
}
"""
CURSOR = """\
// Mine: see the team's page.
{
\t"mcpServers": {
\t\t"Notion": { // the workspace
\t\t\t"command": "python3",
\t\t\t"args": ["%(home)s/servers/digest.py"],
\t\t\t"env": {
\t\t\t\t"OPENAPI_MCP_HEADERS": "{\\"Authorization\\": \\"Bearer %(notion)s\\", \\"Notion-Version\\": \\"2022-06-28\\"}",
\t\t\t},
\t\t},
\t\t"crm": {"command": "node", "args": ["%(home)s/servers/digest.mjs", "--verbose", "--api-key=%(crm)s",]},
\t\t"remote": {"url": "https://mcp.example.net/mcp", "headers": {"Authorization": "Bearer %(remote)s"}},
\t},
}
"""
VSCODE = """\
{
  "inputs": [],
  "servers": {
    "db": {
      "type": "stdio",
      "command": "/usr/bin/python3",
      "args": ["%(home)s/servers/digest.py", "postgresql://app:%(database)s@db.internal:5432/sales?sslmode=require"],
      "env": {"CACHE_URL": "redis://default:%(redis)s@cache.internal:6379/0"}
    },
    "everything": {
      "type": "stdio",
      "command": "node",
      "args": ["%(cache)s/@modelcontextprotocol/server-everything/dist/index.js", "stdio"],
      "env": {"EVERYTHING_API_KEY": "%(entry)s", "LEVEL": "info"}
    },
    "weather": {
      "command": "docker",
      "args": ["run", "-i", "--rm", "-e", "WEATHER_API_KEY=%(weather)s", "%(image)s", "python3", "/digest.py"]
    }
  }
}
"""
CODEX = """\
model = "gpt-5"

[mcp_servers.linear]  # issues
command = "python3"
args = ["%(home)s/servers/digest.py", "--header", "Authorization: Bearer %(bearer)s"]
env = { LINEAR_API_KEY = '%(linear)s', "LOG" = "1" }

[tui]
notifications = true
"""
GOOSE = """\
GOOSE_PROVIDER: anthropic
extensions:
  developer: {bundled: true, enabled: true, name: developer, type: builtin}
  slack:
    type: stdio
    name: Slack
    enabled: true
    cmd: node
    args:
    - %(home)s/servers/digest.mjs  # a wrapper of mine
    envs:
      SLACK_BOT_TOKEN: %(slack)s
      SLACK_PRIVATE_KEY: |
        -----BEGIN PRIVATE KEY-----
        %(pem)s
        -----END PRIVATE KEY-----
    timeout: 300
"""
FILES = {
    ".config/Claude/claude_desktop_config.json": CLAUDE,
    ".cursor/mcp.json": CURSOR,
    ".config/Code/User/mcp.json": VSCODE.replace("\n", "\r\n"),
    ".codex/config.toml": CODEX,
    ".config/goose/config.yaml": GOOSE,
}
#: So that one server is not in a container, and says what it got.
PROFILE = """\
version = 1
name = "everything"
matches = ["npm:@modelcontextprotocol/server-everything"]

[sandbox]
backend = "bubblewrap"

[messages]
redact_secrets = false
"""
#: Tools that tell what a server got, with their arguments; %s is the home.
ASKED: tuple[tuple[str, dict[str, str]], ...] = (
    ("digests", {}),
    ("get-env", {}),
    ("read_text_file", {"path": "%s/documents/letter.txt"}),
)


@dataclass(frozen=True)
class Entry:
    """A server of a host's file, as another program than mcpbox reads it."""

    words: list[str]
    env: dict[str, str]


@dataclass(frozen=True)
class User:
    """Somebody with a home, and a session bus where every system has it."""

    uid: int
    home: Path
    service: SecretService

    @property
    def runtime(self) -> Path:
        return Path(f"/run/user/{self.uid}")

    def mcpbox(self, *words: str, status: int = 0) -> str:
        """What the installed command prints, from this user's shell."""
        env = {"HOME": str(self.home), "PATH": os.environ["PATH"], **self.service.variables}
        done = subprocess.run(
            [MCPBOX, *words],
            env=env,
            user=self.uid,
            group=self.uid,
            extra_groups=docker_groups(),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=240,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stdout
        assert not [secret for secret in (*SECRETS, REMOTE) if secret in done.stdout], done.stdout
        return done.stdout

    def started(self, words: Sequence[str]) -> list[str]:
        """The words, as this user."""
        groups = ",".join(map(str, docker_groups()))
        who = [f"--reuid={self.uid}", f"--regid={self.uid}", f"--groups={groups}" if groups else "--clear-groups"]
        return ["setpriv", *who, "--", *words]


@pytest.fixture
def user(home: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[User]:
    for name in ENGINES:  # Hosts pass none of them on.
        monkeypatch.delenv(name, raising=False)
    must_have("docker")
    if os.geteuid() != 0:
        must_work("only root can give a user of this machine a session of the tests' own")
    for kind in ("CONFIG", "DATA", "STATE", "CACHE"):
        monkeypatch.delenv(f"XDG_{kind}_HOME")
    shutil.copytree(SERVERS, home / "servers")
    (home / "documents").mkdir()
    (home / "documents" / "letter.txt").write_text("Dear all\n")
    profiles = home / ".config/mcpbox/profiles"
    profiles.mkdir(parents=True)
    (profiles / "everything.toml").write_text(PROFILE)
    values = {name.lower(): value for name, value in globals().items() if value in (*SECRETS, REMOTE)}
    values |= {"redis": CACHE, "home": str(home), "cache": str(cache / "servers/node_modules"), "image": DIGESTS}
    for name, text in FILES.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((text % values).encode())
    with session() as uid:
        for path in (home, *home.rglob("*")):
            os.chown(path, uid, uid, follow_symlinks=False)
        with SecretService(home, uid, socket=Path(f"/run/user/{uid}/bus")) as service:
            yield User(uid, home, service)


@contextmanager
def session() -> Iterator[int]:
    """A user who has no session here, with the directory that one would have."""
    for found in pwd.getpwall():
        directory = Path(f"/run/user/{found.pw_uid}")
        if found.pw_uid in (0, ORDINARY, 65534) or directory.exists():
            continue
        directory.mkdir(mode=0o700, parents=True)
        try:
            os.chown(directory, found.pw_uid, found.pw_uid)
            yield found.pw_uid
        finally:
            shutil.rmtree(directory)
        return
    must_work("every user has a session here")


@pytest.fixture
def image() -> Iterator[None]:
    """An image with a server in it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(SERVERS / "digest.py", "digest.py")
    endpoint = engine.find()
    assert endpoint
    with engine.connect(endpoint) as client:
        container = client.create_container(IMAGE)["Id"]
        try:
            client.put_archive(container, "/", packed.getvalue())
            client.commit(container, DIGESTS)
        finally:
            client.remove_container(container)
        yield
        client.remove_image(DIGESTS)


def servers(home: Path) -> dict[str, Entry]:
    """Every local server of the five files."""

    def commented(name: str) -> Any:
        text = re.sub(r"(^|\s)//.*", "", (home / name).read_text())
        return json.loads(re.sub(r",(\s*[}\]])", r"\1", text))

    claude, cursor, vscode, codex, goose = FILES
    found = {
        **json.loads((home / claude).read_text())["mcpServers"],
        **commented(cursor)["mcpServers"],
        **commented(vscode)["servers"],
        **tomllib.loads((home / codex).read_text())["mcp_servers"],
        **yaml.safe_load((home / goose).read_text())["extensions"],
    }
    local = {name: entry for name, entry in found.items() if "url" not in entry and entry.get("type") != "builtin"}
    return {
        name: Entry(
            [entry.get("command") or entry["cmd"], *entry["args"]], dict(entry.get("env") or entry.get("envs") or {})
        )
        for name, entry in local.items()
    }


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def driven(user: User, now: Mapping[str, Entry]) -> tuple[dict[str, str], dict[str, bytes]]:
    """Start every server at once and ask it what it got; that, and what could be seen meanwhile."""
    told: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        quiet = stack.enter_context(open(os.devnull, "w"))
        for name, entry in now.items():
            words = user.started(entry.words)
            # What is not given, the client takes from its own environment: PATH, HOME, USER and the like.
            parameters = StdioServerParameters(command=words[0], args=words[1:], env=entry.env or None)
            read, write = await stack.enter_async_context(stdio_client(parameters, errlog=quiet))
            session = await stack.enter_async_context(ClientSession(read, write))
            await session.initialize()
            tools = {tool.name for tool in (await session.list_tools()).tools}
            tool, arguments = next(asked for asked in ASKED if asked[0] in tools)
            answer = await session.call_tool(tool, {key: value % user.home for key, value in arguments.items()})
            assert isinstance(answer.content[0], types.TextContent)
            told[name] = answer.content[0].text
        return told, shown(user)


def shown(user: User) -> dict[str, bytes]:
    """What a running server could be seen by, by where: command lines, containers, their layers, files."""
    found = {"command lines": b"\n".join(command_lines())}
    endpoint = engine.find()
    assert endpoint
    with engine.connect(endpoint) as client:
        for path in user.runtime.glob("mcpbox/sessions/*/record.json"):
            if name := json.loads(path.read_text()).get("container"):
                container = client.inspect_container(name)
                found[f"docker inspect {name}"] = json.dumps(container).encode()
                found |= contents(Path(container["GraphDriver"]["Data"]["UpperDir"]))
    return found | files(user)


def files(user: User) -> dict[str, bytes]:
    """Every file of the user's, the keyring's own among them."""
    return contents(user.home) | contents(user.runtime)


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file() and not path.is_symlink()}


def command_lines() -> Iterator[bytes]:
    for process in psutil.process_iter():
        with suppress(OSError):
            yield Path(f"/proc/{process.pid}/cmdline").read_bytes()


def require_unseen(places: Mapping[str, bytes]) -> None:
    forms = {form: secret for secret in SECRETS for form in (secret.encode(), base64.b64encode(secret.encode()))}
    assert not [(place, forms[form]) for place, content in places.items() for form in forms if form in content]


def rows(user: User) -> dict[str, dict[str, Any]]:
    return {row["server"]: row for row in json.loads(user.mcpbox("status", "--json"))}


def test_ten_servers_and_a_dozen_secrets(user: User, image: None, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: (user.home / name).read_bytes() for name in FILES}
    first = servers(user.home)
    assert len(first) == 10 and all(sum(text.count(each.encode()) for text in before.values()) == 1 for each in SECRETS)

    said = user.mcpbox("protect", "--yes")
    assert said.count("answers behind mcpbox") == 10, said
    assert "remote                  left alone: it is remote" in said
    now = servers(user.home)
    assert all(entry.words[:2] == [str(MCPBOX), "wrap"] for entry in now.values())
    found = rows(user)
    assert {name for name, row in found.items() if row["state"] == "protected"} == first.keys()
    # The remote server's header is the thirteenth.
    assert sum(len(row["plaintext"]) for row in found.values()) == 13
    user.mcpbox("status", "--check", status=1)

    said = user.mcpbox("migrate-secrets", "--yes", status=1)
    assert "let Cursor fill it in" in said
    now, found = servers(user.home), rows(user)
    assert {name: row["plaintext"] for name, row in found.items() if row["plaintext"]} == {
        "remote": ["headers.Authorization"]
    }
    assert sum(len(row["keyring"]) for row in found.values()) == 12 and not any(row["drift"] for row in found.values())
    cursor = user.home / ".cursor/mcp.json"
    plain = cursor.read_text()
    cursor.write_text(plain.replace(REMOTE, "${env:REMOTE_TOKEN}"))
    assert "0 of 12 need attention" in user.mcpbox("status", "--check")
    cursor.write_text(plain)

    with monkeypatch.context() as desktop:
        desktop.setenv("PATH", SHORT)
        assert "DBUS_SESSION_BUS_ADDRESS" not in os.environ
        told, seen = anyio.run(driven, user, now)
    assert told.pop("files") == "Dear all\n"
    assert json.loads(told.pop("everything")).items() >= first["everything"].env.items()
    for name, text in told.items():
        got: dict[str, Any] = json.loads(text)
        env, arguments = first[name].env, first[name].words[2:]
        if name == "weather":
            env, arguments = {"WEATHER_API_KEY": WEATHER}, []
        assert {key: got["variables"].get(key) for key in env} == {key: digest(env[key]) for key in env}, name
        assert got["arguments"] == list(map(digest, arguments)), name
    assert len([place for place in seen if place.startswith("docker inspect")]) == 9
    require_unseen(seen)
    assert list((user.home / ".local/state/mcpbox/audit/sessions").glob("*/*.jsonl"))
    require_unseen(files(user))

    user.mcpbox("unprotect", "--restore", "--yes")
    assert {name: (user.home / name).read_bytes() for name in FILES} == before
    assert json.loads(user.mcpbox("secrets", "list", "--json")) == []
