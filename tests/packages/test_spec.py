from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpbox.errors import UsageError
from mcpbox.packages import spec
from mcpbox.packages.model import Request

EVERYTHING = "@modelcontextprotocol/server-everything"


@pytest.mark.parametrize(
    ("line", "key", "program", "arguments"),
    [
        (f"npx -y {EVERYTHING}", f"npm:{EVERYTHING}", "", ()),
        (f"/usr/bin/npx --yes {EVERYTHING}@latest stdio", f"npm:{EVERYTHING}", "", ("stdio",)),
        (f"npx {EVERYTHING}@2025.1.0 -y -- x", f"npm:{EVERYTHING}@2025.1.0", "", ("-y", "--", "x")),
        ("npx -y -- server --flag", "npm:server", "", ("--flag",)),
        ("npx --no-install server@^1.2", "npm:server@^1.2", "", ()),
        ("npx -p @a/b -p c -- bin --flag", "npm:@a/b c", "bin", ("--flag",)),
        ("npx --package=@a/b@1 bin -p x", "npm:@a/b@1", "bin", ("-p", "x")),
        ("npm exec --package=@a/b -- bin --flag", "npm:@a/b", "bin", ("--flag",)),
        ("npm --loglevel error exec -- server@next --flag", "npm:server@next", "", ("--flag",)),
        ("npm x server -y -- --flag", "npm:server", "", ("--flag",)),
        ("pnpm dlx server@1.x --flag", "npm:server@1.x", "", ("--flag",)),
        ("pnpm --package=a dlx bin", "npm:a", "bin", ()),
        ("pnpx server", "npm:server", "", ()),
        ("yarn dlx -q -p a b", "npm:a", "b", ()),
        ("bunx -y @a/b@beta", "npm:@a/b@beta", "", ()),
        ("bun x server --bun", "npm:server", "", ("--bun",)),
        ("uvx mcp-server-time --local-timezone=UTC", "pypi:mcp-server-time", "", ("--local-timezone=UTC",)),
        ("uvx MCP_Server.Time@latest", "pypi:mcp-server-time", "", ()),
        ("uvx mcp-server-time@1.2.3", "pypi:mcp-server-time==1.2.3", "", ()),
        ("uvx 'pkg[B,a]>=1, <2' --from x", "pypi:pkg[a,b]>=1,<2", "", ("--from", "x")),
        ("uvx --python 3.12 --with a,B --from pkg==1 bin x", "pypi:pkg==1 a b python=3.12", "bin", ("x",)),
        ("uvx --with 'a[x,y]>=1,<2,b' pkg", "pypi:pkg a[x,y]>=1,<2 b", "", ()),
        ("uvx -p python3.11 pkg", "pypi:pkg python=3.11", "", ()),
        ("uv --quiet tool run --from=pkg bin", "pypi:pkg", "bin", ()),
        ("uv run --with mcp mcp run", "pypi:mcp", "mcp", ("run",)),
        ("pipx run pkg --flag", "pypi:pkg", "", ("--flag",)),
        ("pipx run --spec pkg==1.0 bin", "pypi:pkg==1.0", "bin", ()),
        ("pipx run --python 3.11 pkg==1.0", "pypi:pkg==1.0 python=3.11", "", ()),
    ],
)
def test_a_command_is_read_as_its_own_tool_reads_it(
    line: str, key: str, program: str, arguments: tuple[str, ...]
) -> None:
    found = spec.read(shlex.split(line))
    assert found is not None
    assert (found.key, found.program, found.arguments) == (key, program, arguments)
    # Its canonical form asks for the same.
    assert spec.read(spec.words(found)) == Request(found.ecosystem, found.packages, found.program, (), found.python)


@pytest.mark.parametrize("line", ["node x", "npm run start", "npm install x", "uv sync", "yarn start", "pipx list", ""])
def test_other_commands_are_left_alone(line: str) -> None:
    assert spec.read(line.split()) is None


@pytest.mark.parametrize(
    ("line", "reason", "hint"),
    [
        ("npx", "no package", "npx PACKAGE"),
        ("npx -y", "no package", "npx PACKAGE"),
        ("npx -c 'a b'", "npx -c: not accepted", "instead of a shell's line"),
        ("npx --node-options=x p", "npx --node-options: not understood", "--package"),
        ("npx --registry=x p", "--registry: not accepted", "your own configuration"),
        ("npx -p", "-p needs a value", ""),
        ("npx user/repo", "a repository", "NAME, @SCOPE/NAME"),
        ("npx github:user/repo", "a repository", "from the registry"),
        ("npx git+ssh://git@example.org/x", "a repository", "from the registry"),
        ("npx https://example.org/x", "an address", "from the registry"),
        ("npx ./server", "a file or directory", "from the registry"),
        ("npx .", "a file or directory", "from the registry"),
        ("npx x.tgz", "a file or directory", "from the registry"),
        ("npx x@npm:y", "an alias", "from the registry"),
        ("npx x@", "not a requirement", "from the registry"),
        ("npx @scope", "not a requirement", "from the registry"),
        ("npx -p a ./bin", "not a program's name", "name the program"),
        ("npm exec p --flag", "npm exec --flag: not understood", "--package"),
        ("pnpm dlx --allow-build=x p", "--allow-build: not accepted", "--allow-scripts"),
        ("bunx --bun p", "--bun: not accepted", "node"),
        ("uvx --index-url x p", "--index-url: not accepted", "your own configuration"),
        ("uvx --refresh p", "--refresh: not accepted", "mcpbox package update"),
        ("uvx --from git+https://example.org/x b", "a repository", "from the index"),
        ("uvx --from 'p @ file:///x' b", "an address", "from the index"),
        ("uvx --from a --from b c", "given twice", "--with"),
        ("uvx --from p b@1", "not a program's name", "name the program"),
        ("uvx --python pypy p", "Python 'pypy'", "3.12"),
        ("uvx 'p; python_version>\"3\"'", "not a requirement", "from the index"),
        ("uvx p@main", "not a requirement", "from the index"),
        ("uv run server.py", "without --with", "install the project"),
        ("uv run --directory /x server.py", "--directory: not accepted", "install the project"),
        ("uv run --with mcp server.py", "not a program of a package", "install the project"),
        ("pipx run --pip-args=x p", "--pip-args: not accepted", "your own configuration"),
        ("pipx run https://example.org/x.py", "an address", "from the index"),
    ],
)
def test_what_cannot_be_pinned_says_why(line: str, reason: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        spec.read(shlex.split(line))
    assert reason in caught.value.message and hint in caught.value.hint


@pytest.mark.parametrize(
    ("line", "identity", "pinned"),
    [
        ("npx -y @a/b@^1 x", "npm:@a/b", "npm:@a/b@1.2.3"),
        ("npx b", "npm:b", "npm:b@1.2.3"),
        ("uvx --with y 'X_y[z]>1'", "pypi:x-y", "pypi:x-y[z]==1.2.3 y"),
    ],
)
def test_a_request_has_an_identity_and_can_be_narrowed(line: str, identity: str, pinned: str) -> None:
    found = spec.read(shlex.split(line))
    assert found is not None and spec.identity(found) == identity
    assert spec.exactly(found, "1.2.3").key == pinned


def test_a_package_can_be_named_without_a_command() -> None:
    assert spec.read_requirement("npm:@a/b@1") == Request("npm", ("@a/b@1",))
    assert spec.read_requirement("pypi:A_b==1").key == "pypi:a-b==1"
    for wrong in ("a", "cargo:a", "npm:", "npm:-x", "pypi:a b", "pypi:"):
        with pytest.raises(UsageError):
            spec.read_requirement(wrong)


@given(
    st.sampled_from([["npx"], ["npm", "exec"], ["uvx"], ["uv", "run"], ["pipx", "run"], ["bunx"]]),
    st.lists(st.text(max_size=12) | st.sampled_from(["-p", "--", "--with", "--from", "a@1", "@a/b", "-y"]), max_size=5),
)
def test_any_words_are_read_or_refused_and_never_reach_a_tool_as_an_option(tool: list[str], words: list[str]) -> None:
    try:
        found = spec.read([*tool, *words])
    except UsageError:
        return
    assert found is not None
    assert all(package and not package.startswith("-") for package in found.packages)
    assert all(character.isprintable() for package in found.packages for character in package)
    # What is pinned is read again as the same.
    if len(found.packages) == 1 and not found.python:
        assert spec.read_requirement(found.key).key == found.key
