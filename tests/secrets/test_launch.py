"""Who a program is to the owners of a secret."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpbox.command.model import Command
from mcpbox.errors import SecretError
from mcpbox.profile import Profile, Resolved
from mcpbox.sandbox.base import SandboxSpec
from mcpbox.secrets import held, launch
from mcpbox.secrets.launch import identity_of, inject

NODE, PYTHON = "/usr/bin/node", "/usr/bin/python3"
SHELL = tuple(dict.fromkeys(("file:/bin/sh", f"file:{os.path.realpath('/bin/sh')}")))


@pytest.mark.parametrize(
    ("command", "identities"),
    [
        (Command(("stdio",), image="ghcr.io/a/b:1"), ("image:ghcr.io/a/b", "image:ghcr.io/a/b:1")),
        (Command((), image="host:5000/a@sha256:00"), ("image:host:5000/a", "image:host:5000/a@sha256:00")),
        (Command((), image="a"), ("image:a",)),
        (Command(("/x.js", "a"), image="node:22"), ("image:node#/x.js", "image:node:22#/x.js")),
        (Command(("-e", "code"), image="node:22"), ()),
        (Command((NODE, "/s/x.js"), "node", identities=("npm:x",), package="npm:x"), ("npm:x",)),
        # A node_modules of anybody's can say that it is any package.
        (Command((NODE, "/s/x.js"), "node", identities=("npm:x",)), ("file:/s/x.js",)),
        (Command((NODE, "--trace-warnings", "/s/x.js", "a"), "node", arguments=("a",)), ("file:/s/x.js",)),
        (Command((PYTHON, "-u", "/s/x.py", "-m"), "python", arguments=("-m",)), ("file:/s/x.py",)),
        (Command((PYTHON, "-m", "mod", "a"), "python", arguments=("a",)), (f"file:{PYTHON}#mod",)),
        (Command(("/s/server", "a"), arguments=("a",)), ("file:/s/server",)),
        (Command((PYTHON, "-c", "code"), "python"), ()),
        (Command((NODE, "-e", "code"), "node"), ()),
        (Command((NODE,), "node"), ()),
        (Command((NODE, "--no-warnings", "--max-old-space-size=99", "--", "/s/x.js"), "node"), ("file:/s/x.js",)),
        (Command((PYTHON, "-u", "-W", "ignore", "-Xdev", "-m", "m"), "python"), (f"file:{PYTHON}#m",)),
        # Other code than the script's.
        (Command((NODE, "--import", "data:text/javascript,1", "/s/x.js"), "node"), ()),
        (Command((NODE, "--import=data:text/javascript,1", "/s/x.js"), "node"), ()),
        (Command((NODE, "-r", "./other", "/s/x.js"), "node"), ()),
        (Command((NODE, "--eval=code", "/s/x.js"), "node"), ()),
        (Command((NODE, "-pe", "/s/x.js"), "node"), ()),
        (Command((NODE, "--env-file=options", "/s/x.js"), "node"), ()),
        (Command((NODE, "--title", "/s/x.js", "-e", "code"), "node", arguments=("-e", "code")), ()),
        (Command((PYTHON, "-ccode", "/s/x.py"), "python"), ()),
        (Command((PYTHON, "-Ic", "/s/x.py"), "python"), ()),
        (Command((PYTHON, "-mpdb", "/s/x.py"), "python"), ()),
        (Command((PYTHON, "-", "/s/x.py"), "python"), ()),
        (Command((PYTHON, "-X", "-m", "mod"), "python"), ()),
        (Command((PYTHON, "-X", "pycache_prefix=/t", "/s/x.py"), "python"), ()),
        (Command((PYTHON, "-W", "error::other.Warn", "/s/x.py"), "python"), ()),
        (Command((PYTHON, "-x"), "python", package="pypi:a b", identities=("pypi:a",), beside=("b",)), ("pypi:a+b",)),
        (
            Command(
                (NODE, "/s/cli.mjs"), "node", package="npm:tsx", identities=("npm:tsx",), arguments=("/bin/sh", "a")
            ),
            ("npm:tsx#/bin/sh",),
        ),
        (
            Command(
                (PYTHON, "-c", "x"), "python", package="pypi:mcp", identities=("pypi:mcp",), arguments=("run", "x")
            ),
            (),
        ),
        (
            Command((NODE, "/s/node_modules/npm/cli.js", "start"), "node", arguments=("start",)),
            (),
        ),
        # A program that runs whatever it is told.
        (Command(("/usr/bin/perl", "/bin/sh", "a"), arguments=("/bin/sh", "a")), SHELL),
        (Command(("/usr/bin/perl", "-n", "/bin/sh", "a")), ("file:/usr/bin/perl#-n /bin/sh",)),
        # A name holds no secret.
        (Command(("/usr/bin/perl", "--token", "hidden", "/bin/sh")), ()),
        (Command(("/usr/bin/perl", "-e", "code"), arguments=("-e", "code")), ()),
        (Command(("/usr/bin/python3.11-perl", "-e", "code")), ("file:/usr/bin/python3.11-perl",)),
        (Command(("/bin/bash", "-xc", "code")), ()),
    ],
)
def test_a_program_is_its_package_or_its_file(command: Command, identities: tuple[str, ...]) -> None:
    assert identity_of(command) == identities


def test_a_link_is_also_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "real").touch()
    (tmp_path / "link").symlink_to("real")
    assert identity_of(Command((f"{tmp_path}/link",))) == (f"file:{tmp_path}/link", f"file:{tmp_path}/real")


SPEC = SandboxSpec(
    session="s", name="n", command=(NODE, "/s/x.js"), cwd="/", environment={"T": "mcpbox-secret:s/T"}, mounts=(),
    home="/h", uid=1, gid=1, memory=1, cpus=1, pids=1, scratch=1,
)  # fmt: skip


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            Command((NODE, "/s/x.js"), "node", environment={"NODE_OPTIONS": "--import=data:"}),
            "cannot have NODE_OPTIONS",
        ),
        (Command((NODE, "--x=mcpbox-secret:s/T", "/s/x.js"), "node"), "only an argument of a server"),
        (Command(("mcpbox-secret:s/T",), arguments=("mcpbox-secret:s/T",), image="i"), "only an argument of a server"),
    ],
)
def test_what_would_run_other_code_or_show_the_value_is_refused(command: Command, message: str) -> None:
    with pytest.raises(SecretError, match=message):
        inject(SPEC, command, Resolved(Profile(), None, frozenset()), (), lambda _: None)


def test_a_module_is_not_looked_for_in_the_project_that_the_host_has_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_released", lambda named, _: dict.fromkeys(named, "value"))
    nothing = Resolved(Profile(), None, frozenset())
    for words, expected in (((PYTHON, "-u", "-m", "mod"), "1"), ((PYTHON, "/s/x.py"), None)):
        spec = inject(SPEC, Command(words, "python"), nothing, (), lambda _: None)
        assert spec.environment.get("PYTHONSAFEPATH") == expected
        assert dict(spec.secrets) == {"T": "value"}


def test_held_values_show_in_nothing_that_is_printed() -> None:
    assert repr(held.Values(TOKEN="value")) == "<1 secret values>"
    held.hold("s/N", "line one\nline two")
    assert held.redact("x line one\nline two y") == "x <secret s/N> y"
    assert held.redact(repr(ValueError("line one\nline two"))) == "ValueError('<secret s/N>')"
    events: list[object] = []
    events.append(held.redacted({"reason": ["line one\nline two", 3]}))
    assert events == [{"reason": ["<secret s/N>", 3]}]
    held.hold("s/SHORT", "abc")
    assert held.redact("abc") == "abc"


@settings(max_examples=300)
@given(st.lists(st.sampled_from(["ab", "abac", "abacab", "c", "\n", "ba", "é"]), max_size=12), st.data())
def test_a_value_leaves_a_stream_however_it_is_cut(words: list[str], data: st.DataObject) -> None:
    held.hold("s/ONE", "abacabé")
    held.hold("s/TWO", "caba\nb")
    text = "".join(words).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    stream = held.Stream()
    pieces = [text[first:last] for first, last in pairwise([0, *cuts, len(text)])]
    written = b"".join(stream.feed(piece) for piece in pieces if piece) + stream.feed(b"")
    for value in ("abacabé", "caba\nb"):
        assert value.encode() not in written
    kept = written.decode()
    for name in ("ONE", "TWO"):
        kept = kept.replace(f"<secret s/{name}>", {"ONE": "abacabé", "TWO": "caba\nb"}[name])
    assert kept.encode() == text
