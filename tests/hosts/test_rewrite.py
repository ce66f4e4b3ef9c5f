"""Which servers go behind mcpbox, and that writing them so, and back, touches nothing else."""

from __future__ import annotations

import json
import os
from random import Random
from typing import Any

import pytest
from hosts import golden
from hosts.written import JsonWriter
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpbox import options as cli
from mcpbox.errors import UsageError
from mcpbox.hosts import by_id, rewrite, survey
from mcpbox.hosts.document import Document, DocumentError, apply, parse
from mcpbox.hosts.entries import entries
from mcpbox.hosts.model import Entry, Host, Key, Shape
from mcpbox.hosts.rewrite import Written, put_behind, take_out
from mcpbox.hosts.shapes import CODEX, LIBRECHAT, OPENCODE, PLAIN, VSCODE, ZED

PROGRAM = "/opt/mcpbox/bin/mcpbox"
HOST = Host("some-host", "Some Host")


def read(text: str, shape: Shape = PLAIN) -> list[Entry]:
    return entries(parse(text, shape.format), shape)


def protected(text: str, shape: Shape = PLAIN, host: Host = HOST) -> Written:
    plans = [rewrite.plan(entry, host, shape) for entry in read(text, shape)]
    wanted = {plan.entry.path: survey.variables(plan.entry) for plan in plans if plan.action == "wrap"}
    return put_behind(text, shape, wanted, program=PROGRAM, host=host.id)


def restored(written: Written, shape: Shape = PLAIN) -> str:
    return take_out(written.text, shape, wrapped(written.text, shape), written.originals.values())


def wrapped(text: str, shape: Shape) -> list[tuple[Key, ...]]:
    return [entry.path for entry in read(text, shape) if rewrite.is_wrapped(entry)]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ('"url": "https://example.com/mcp"', "is remote"),
        ('"type": "sse", "url": "https://example.com/mcp"', "is remote"),
        ('"serverUrl": "https://example.com/mcp"', "is remote"),
        ('"type": "streamable-http"', "is remote"),
        ('"type": "builtin", "name": "developer"', "is a part of Some Host"),
        ('"settings": {}', "has no command"),
        ('"command": ""', "has no command"),
        ('"command": "x", "env": {"PYTHONPATH": "/x", "A": "b"}', "sets PYTHONPATH, which mcpbox itself would obey"),
        ('"command": "x", "env": {"LD_PRELOAD": "/x", "HOME": "/"}', "sets LD_PRELOAD and HOME, which mcpbox itself"),
        ('"command": "x", "env": {"XDG_CONFIG_HOME": "/x"}', "command: env XDG_CONFIG_HOME=VALUE COMMAND"),
        ('"command": "x", "env": {"OPENSSL_CONF": "/x"}', "sets OPENSSL_CONF, which mcpbox itself would obey"),
        ('"command": "x", "envFile": ".env"', "envFile"),
        ('"command": "x", "args": "-y"', "something else than a list"),
        ('"command": "/usr/bin/mcpbox", "args": ["wrap", "--", "x"]', "is behind mcpbox already"),
        (r'"command": "C:\\bin\\mcpbox.exe", "args": ["wrap", "--", "x"]', "is behind mcpbox already"),
        ('"command": "mcpbox", "args": ["audit", "serve"]', "is mcpbox itself"),
        ('"command": "python3", "args": ["-m", "mcpbox"]', "is mcpbox itself"),
        ('"command": "uvx", "args": ["mcpbox"]', "is mcpbox itself"),
        ('"command": "docker", "args": ["exec", "-i", "box", "server"]', "needs the container engine itself"),
        ('"command": "docker", "args": ["run", "--privileged", "image"]', "--privileged"),
        ('"command": "podman", "args": ["run", "--network", "host", "image"]', "--network"),
        ('"command": "docker", "args": ["run", "-v", "/var/run/docker.sock:/s", "image"]', "filesystem"),
        (r'"command": "x", "args": ["\ud800"]', "has a character in its name or command that no program"),
        (r'"command": "x\u0000"', "has a character in its name or command that no program"),
        ('"command": "docker", "args": ["run", "-i", "--rm", "image"]', ""),
        ('"command": "npx", "args": ["-y", "mcp-remote", "https://example.com"]', ""),
        ('"command": "npx -y some-server"', ""),
        ('"command": "x", "disabled": true', ""),
        ('"command": "x", "args": null', ""),
        ('"command": "/srv/mcpbox/server"', ""),
        # A host may start the command, whatever stands beside it.
        ('"command": "x", "type": "http"', ""),
        ('"command": "x", "type": "builtin"', ""),
        ('"command": "x", "url": "https://example.com"', ""),
        ('"command": "x", "experimental_environment": "remote"', ""),
        ('"command": "x", "sandboxEnabled": true', ""),
        ('"command": "x", "env": {"PYTHONUNBUFFERED": "1", "PATH": "/bin", "PYTHONPATH": null}', ""),
        ('"command": "uvx", "args": ["some-server", "mcpbox"]', ""),
        ('"command": "uvx", "args": ["--from", "some-server", "mcpbox"]', ""),
        ('"command": "x", "args": ["-m", "mcpbox"]', ""),
    ],
)
def test_what_must_not_be_wrapped_is_left_alone_with_the_reason(entry: str, reason: str) -> None:
    (found,) = read(f'{{"mcpServers": {{"a": {{{entry}}}}}}}')
    plan = rewrite.plan(found, HOST, PLAIN)
    assert (plan.action, bool(plan.reason)) == (("leave", True) if reason else ("wrap", False))
    assert reason in plan.reason


@pytest.mark.parametrize(
    "servers",
    [
        "a: {<<: *base}",
        "a: {<<: *base, command: y}",
        "a: {command: y, env: {<<: *base}}",
        "<<: {a: *base}",
    ],
)
def test_what_takes_parts_from_elsewhere_is_neither_passed_over_nor_wrapped(servers: str) -> None:
    (found,) = read(f"base: &base {{command: x}}\nmcpServers: {{{servers}}}\n", LIBRECHAT)
    plan = rewrite.plan(found, HOST, LIBRECHAT)
    assert (plan.action, plan.mendable) == ("leave", True) and "(<<)" in plan.reason


@pytest.mark.parametrize(
    ("host", "shape", "entry", "reason"),
    [
        ("vscode", VSCODE, '{"servers": {"a": {"command": "x", "sandboxEnabled": true}}}', "VS Code's own sandbox"),
        ("codex", CODEX, '[mcp_servers.a]\ncommand = "x"\nexperimental_environment = "remote"\n', "is remote"),
    ],
)
def test_what_one_host_alone_knows_counts_for_that_host(host: str, shape: Shape, entry: str, reason: str) -> None:
    (found,) = read(entry, shape)
    assert reason in rewrite.plan(found, by_id(host), shape).reason
    assert rewrite.plan(found, HOST, shape).action == "wrap"


@pytest.mark.parametrize(
    ("args", "options", "command"),
    [
        (["--profile", "p", "--", "x"], {"--profile": "p"}, ("x",)),
        (["--profile=p", "--learn-network", "--", "x"], {"--profile": "p", "--learn-network": ""}, ("x",)),
        (["--learn-network", "--profile", "p", "--", "x"], {"--profile": "p", "--learn-network": ""}, ("x",)),
        (["--learn", "--profile", "p", "--", "x"], {"--profile": "p", "--learn": ""}, ("x",)),
        (["--profile", "a", "--profile", "b", "x", "--", "y"], {"--profile": "b"}, ("x", "--", "y")),
        (["--name", "--", "--profile", "p", "x"], {"--name": "--", "--profile": "p"}, ("x",)),
        (["--", "--profile", "p"], {}, ("--profile", "p")),
        (["--unknown", "--", "x"], {}, ("--unknown", "--", "x")),
        (["--profile"], {}, ("--profile",)),
        ([], {}, ()),
    ],
)
def test_a_wrapped_entry_says_what_wrap_would_do(
    args: list[str], options: dict[str, str], command: tuple[str, ...]
) -> None:
    (found,) = read(json.dumps({"mcpServers": {"a": {"command": "mcpbox", "args": ["wrap", *args]}}}))
    assert (rewrite.options(found), rewrite.unwrapped(found)) == (options, command)
    if set(options) >= {"--profile"}:
        context = cli.wrap.make_context("wrap", list(args), resilient_parsing=True)
        assert context.params["profile"] == options["--profile"] and context.params["command"] == command


@pytest.mark.parametrize(
    ("shape", "before", "after"),
    [
        (
            PLAIN,
            '{"mcpServers":{"a":{"command":"npx","args":["-y","p"],"env":{"K":"v","L":""}}}}',
            '{"mcpServers":{"a":{"command":"/opt/mcpbox/bin/mcpbox","args":["wrap","--host","some-host","--name","a",'
            '"--env","K","--env","L","--","npx","-y","p"],"env":{"K":"v","L":""}}}}',
        ),
        (
            PLAIN,
            '{"mcpServers": {"-a": {"command": "npx -y p", "x": 1}}}',
            '{"mcpServers": {"-a": {"command": "/opt/mcpbox/bin/mcpbox", "args": ["wrap", "--host", "some-host", '
            '"--name", "a", "--", "npx -y p"], "x": 1}}}',
        ),
        (
            OPENCODE,
            '{"mcp": {"a": {"command": ["bun", "x"], /* c */ "environment": {"K": "v"}}}}',
            '{"mcp": {"a": {"command": ["/opt/mcpbox/bin/mcpbox", "wrap", "--host", "some-host", "--name", "a", '
            '"--env", "K", "--", "bun", "x"], /* c */ "environment": {"K": "v"}}}}',
        ),
        (
            ZED,
            '{"context_servers": {"a": {"command": {"path": "srv", "args": ["-x"], "env": {"K": "v"}}}}}',
            '{"context_servers": {"a": {"command": {"path": "/opt/mcpbox/bin/mcpbox", "args": ["wrap", "--host", '
            '"some-host", "--name", "a", "--env", "K", "--", "srv", "-x"], "env": {"K": "v"}}}}}',
        ),
        (
            CODEX,
            '[mcp_servers.a]\ncommand = "npx" # c\nargs = ["-y", "p"]\nenv_vars = ["T"]\n',
            '[mcp_servers.a]\ncommand = "/opt/mcpbox/bin/mcpbox" # c\nargs = ["wrap", "--host", "some-host", "--name", '
            '"a", "--env", "T", "--", "npx", "-y", "p"]\nenv_vars = ["T"]\n',
        ),
    ],
)
def test_the_form_written(shape: Shape, before: str, after: str) -> None:
    written = protected(before, shape)
    assert written.text == after
    assert restored(written, shape) == before


@pytest.mark.parametrize("args", ['"args": []', '"args": [ ]', '"args": null', '"args": [\n\t// none\n]', '"x": 1'])
@pytest.mark.parametrize("command", ["npx", r"C:\\np\u0078", "np\\/x"])
def test_what_cannot_be_told_from_what_was_written_is_remembered(args: str, command: str) -> None:
    text = f'{{"servers": {{"a": {{"command": "{command}", {args}}}, "b": {{"command": "b"}}}}}}'
    written = protected(text, VSCODE)
    assert restored(written, VSCODE) == text
    # Without the register it is the same command, if not the same bytes.
    again = take_out(written.text, VSCODE, wrapped(written.text, VSCODE))
    assert [(e.command, e.args) for e in read(again, VSCODE)] == [(e.command, e.args) for e in read(text, VSCODE)]


def test_nothing_that_could_be_secret_is_remembered_of_an_ordinary_entry() -> None:
    text = '{"mcpServers": {"a": {"command": "npx", "args": ["--key", "hunter2"], "env": {"TOKEN": "hunter2"}}}}'
    assert not protected(text).originals


def test_what_the_user_changed_in_a_wrapped_entry_stays_changed() -> None:
    text = '{"mcpServers": {"a": {"command": "npx", "args": ["-y", "p"]}, "b": {"command": "b", "args": []}}}'
    written = protected(text)
    edited = written.text.replace('"-y", "p"]', '"-y", "p@2", /* mine */ "--flag"], "env": {"K": "v"}')
    edited = edited.replace('"b"]', '"b", "more"]')
    after = take_out(edited, PLAIN, wrapped(edited, PLAIN), written.originals.values())
    assert after == (
        '{"mcpServers": {"a": {"command": "npx", "args": ["-y", "p@2", /* mine */ "--flag"], "env": {"K": "v"}}, '
        '"b": {"command": "b", "args": ["more"]}}}'
    )


@pytest.mark.parametrize("args", ['["wrap"]', '["wrap", "--host", "x"]', '["wrap", "--host", "x", "--"]'])
def test_a_wrapped_entry_without_a_command_is_refused(args: str) -> None:
    text = f'{{"mcpServers": {{"a": {{"command": "mcpbox", "args": {args}}}}}}}'
    with pytest.raises(UsageError, match="a: there is no command behind mcpbox"):
        take_out(text, PLAIN, wrapped(text, PLAIN))


def test_of_two_entries_of_one_name_the_one_that_the_host_takes_is_changed() -> None:
    text = '{"mcpServers": {"a": {"command": "one"}, "a": {"command": "two"}}}'
    written = protected(text)
    assert '{"command": "one"}' in written.text and '"--", "two"]' in written.text
    assert restored(written) == text


def test_two_hundred_servers_at_once() -> None:
    rows = ",\n".join(
        f'  "s{n}": {{"command": "npx", "args": ["-y", "p{n}"], "env": {{"K": "v"}}}}' for n in range(200)
    )
    text = f'{{"mcpServers": {{\n{rows}\n}}}}\n'
    written = protected(text)
    assert written.text.count(PROGRAM) == 200
    assert restored(written) == text


@pytest.mark.parametrize("file", golden.FILES)
def test_every_hosts_file_before_and_after(file: str) -> None:
    shape, host, before = golden.place_of(file).shape, golden.host_of(file), golden.text(file)
    written = protected(before, shape, host)
    golden_file = golden.DATA / file.replace(".before.", ".after.")
    if os.environ.get("MCPBOX_WRITE_GOLDEN"):
        golden_file.write_bytes(written.text.encode())
    assert written.text == golden_file.read_bytes().decode()
    assert restored(written, shape) == before
    assert protected(written.text, shape, host).text == written.text
    same_but_for_the_entries(before, written.text, shape)
    left = {plan.entry.name for e in read(before, shape) if (plan := rewrite.plan(e, host, shape)).action == "leave"}
    assert {entry.name for entry in read(written.text, shape) if not rewrite.is_wrapped(entry)} == left


def outside(document: Document, paths: list[tuple[Key, ...]]) -> str:
    """The text without the entries."""
    kept, at = "", 0
    for start, end in sorted(document.span(path) for path in paths):
        kept, at = kept + document.text[at:start] + "…", end
    return kept + document.text[at:]


def same_but_for_the_entries(before: str, after: str, shape: Shape) -> None:
    if shape.format in ("toml", "yaml"):
        # There an entry ends with its last line, and what is said behind that is not inside it.
        assert other_lines(before) == other_lines(after)
        return
    paths = wrapped(after, shape)
    one, other = parse(before, shape.format), parse(after, shape.format)
    assert outside(one, paths) == outside(other, paths)


def other_lines(text: str) -> list[str]:
    words = ("command", "cmd", "args", "- ", "]", '"', "'")
    return [line for line in text.splitlines(keepends=True) if not line.strip().startswith(words)]


class ServersWriter(JsonWriter):
    """A host's file with servers in it, written in any way."""

    def servers(self, key: str) -> str:
        members = [f"{self.key(name)}:{self.server()}" for name in self.random.sample(NAMES, self.random.randint(0, 4))]
        table = "{" + self.space() + self.glue(members) + "}"
        junk = [f"{self.key('x')}: {self.container(1, table=True)[0]}" for _ in range(self.random.randint(0, 2))]
        rows = [*junk, f"{self.key(key)}{self.space()}:{self.space()}{table}"]
        self.random.shuffle(rows)
        return str(self.one("", "\ufeff")) + self.space() + "{" + self.glue(rows) + "}" + str(self.one("", self.end))

    def server(self) -> str:
        members = []
        if self.one(True, True, True, False):
            members.append(f"{self.key('command')}: {self.string(self.one('npx', 'a b', 'C:/x', 'é'))}")
        words = ", ".join(
            self.string(self.one("-y", "p@1", "", "a\nb", "--")) for _ in range(self.random.randint(0, 3))
        )
        args = self.one("null", f"[{self.space()}{words}{self.space()}]", f"[{self.end}{self.unit}{words}{self.end}]")
        if self.one(True, True, False):
            members.append(f"{self.key('args')}:{self.space()}{args}")
        if self.one(True, False):
            members.append(f"{self.key('env')}: {{{self.string('A_TOKEN')}: {self.string('s3cr3t')}}}")
        members += [f"{self.key('z')}: {self.scalar()[0]}" for _ in range(self.random.randint(0, 1))]
        self.random.shuffle(members)
        return "{" + self.space() + self.glue(members) + "}"

    def glue(self, members: list[str]) -> str:
        between = self.one(",", ", ", f",{self.end}{self.unit}", f"{self.space()},{self.space()}")
        trailing = self.one("", ",") if members and self.trailing and self.format != "json" else ""
        return str(between.join(members)) + trailing + self.space()


NAMES = ("a", "b c", "-d", "é", "", "x/y")


class LinesWriter:
    """YAML and TOML files with servers in them, as people write them."""

    def __init__(self, seed: int, format: str) -> None:
        self.random = Random(seed)
        self.format = format
        self.end = self.one("\n", "\r\n")
        self.unit = self.one("  ", "    ")

    def one(self, *options: str) -> str:
        return self.random.choice(options)

    def servers(self, key: str) -> str:
        names = self.random.sample(("a", "b-c", "d"), self.random.randint(0, 3))
        rows = [self.rest("", f"first{self.equals}1")]
        if self.format == "yaml":
            rows += [self.rest("", f"{key}:")] if names else []
        for name in names:
            rows += self.table(key, name)
        rows += [] if self.format == "toml" else [self.rest("", "last: [1, 2]")]
        text = "".join(rows)
        return self.one("", "\ufeff", "") + self.one(text, text.removesuffix(self.end))

    @property
    def equals(self) -> str:
        return ": " if self.format == "yaml" else self.one(" = ", "=")

    def table(self, key: str, name: str) -> list[str]:
        inside = self.unit * 2 if self.format == "yaml" else ""
        head = self.rest(self.unit, f"{name}:") if self.format == "yaml" else self.rest("", f"[{key}.{name}]")
        rows = [self.rest(inside, f"command{self.equals}{self.string(self.one('npx', 'a b', 'C:/x'))}")]
        words = [self.string(self.one("-y", "p@1", "", "--", "it's")) for _ in range(self.random.randint(0, 3))]
        if self.one("list", "list", "") and not (words and self.format == "yaml" and self.one("flow", "")):
            rows.append(self.rest(inside, f"args{self.equals}[{', '.join(words)}]"))
        elif words and self.format == "yaml":
            rows.append(self.rest(inside, "args:") + "".join(self.rest(inside + "  ", f"- {word}") for word in words))
        if self.one("env", ""):
            env = "{A_TOKEN: s3cr3t}" if self.format == "yaml" else '{ A_TOKEN = "s3cr3t" }'
            rows.append(self.rest(inside, f"env{self.equals}{env}"))
        self.random.shuffle(rows)
        return [head, *rows]

    def string(self, value: str) -> str:
        plain = value if self.format == "yaml" and value.isalnum() else f'"{value}"'
        return self.one(plain, f'"{value}"', f"'{value}'" if "'" not in value else f'"{value}"')

    def rest(self, indent: str, line: str) -> str:
        comment = f"{indent}# mine{self.end}"
        return self.one("", "", comment, self.end) + indent + line + self.one("", "", " # c") + self.end


@pytest.mark.parametrize("format", ["json", "jsonc", "json5", "yaml", "toml"])
@settings(max_examples=150)
@given(seed=st.integers(0, 1 << 32))
def test_protect_and_unprotect_are_each_others_inverse_and_change_the_entries_alone(format: Any, seed: int) -> None:
    shape = Shape(format, ("mcpServers",))
    writer = LinesWriter(seed, format) if format in ("yaml", "toml") else ServersWriter(seed, format)
    text = writer.servers("mcpServers")
    written = protected(text, shape)
    assert restored(written, shape) == text
    assert protected(written.text, shape).text == written.text
    same_but_for_the_entries(text, written.text, shape)
    again = take_out(written.text, shape, wrapped(written.text, shape))
    assert [(e.name, e.command, e.args, e.env) for e in read(again, shape)] == [
        (e.name, e.command, e.args, e.env) for e in read(text, shape)
    ]
    if not read(text, shape):
        return
    # The user adds a server: the others still get their own bytes back.
    document = parse(written.text, format)
    try:
        grown = apply(written.text, document.insert(("mcpServers",), "new", {"command": "new", "args": ["x"]}))
    except DocumentError:
        return
    back = take_out(grown, shape, wrapped(grown, shape), written.originals.values())
    one, other = parse(text, format), parse(back, format)
    for path in wrapped(written.text, shape):
        assert one.text[slice(*one.span(path))] == other.text[slice(*other.span(path))]
