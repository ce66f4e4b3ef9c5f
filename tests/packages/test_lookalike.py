from __future__ import annotations

from importlib.metadata import distributions

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpbox.packages.lookalike import KNOWN, _distance, check
from mcpbox.packages.model import Ecosystem

GITHUB = "looks like @modelcontextprotocol/server-github: "
FILES = "looks like @modelcontextprotocol/server-filesystem: "

#: Names that people install and that share letters or words with known ones.
ORDINARY = {
    "npm": """
        express react lodash axios typescript zod hono fastify playwright puppeteer stripe firecrawl tavily slack github
        memory filesystem server http-server json-server webpack-dev-server live-server serve next eslint figma
        @playwright/test @types/node @babel/core @azure/identity @sentry/node @supabase/supabase-js @upstash/redis
        @modelcontextprotocol/server-anything @modelcontextprotocol/client @octokit/rest @slack/web-api mongodb airtable
        @notionhq/client kubernetes-client mcp-something-else minecraft-protocol mcpe-server bitbucket mobile postgres
        apollo-server socket.io ws git fetch time sqlite inspector proxy remote mcp-tail @acme/internal-mcp
    """.split(),
    "pypi": """
        requests flask django fastapi uvicorn pydantic httpx boto3 gitpython git fetch time redis mysql postgres duckdb
        qdrant-client atlassian-python-api grafana clickhouse-connect markitdown chroma blender excel arxiv dbt-core
        awscli awslabs server http-server python-lsp-server jupyter-server jupyter-server-mathjax mcp-something-else
        pip setuptools mcstatus mp mpmath
    """.split(),
}


@pytest.mark.parametrize(
    ("name", "ecosystem", "expected"),
    [
        ("@modelcontextprotoco1/server-github", "npm", GITHUB + "characters that are read as others"),
        ("@modeIcontextprotocol/server-github", "npm", GITHUB + "characters that are read as others"),
        ("@modelcontextprotocol/server-gіthub", "npm", GITHUB + "characters that are read as others"),  # noqa: RUF001
        ("@rnodelcontextprotocol/server-github", "npm", GITHUB + "characters that are read as others"),
        ("@model-context-protocol/server-github", "npm", GITHUB + "other separators"),
        ("@modelcontextprotocol-server/github", "npm", GITHUB + "other separators"),
        ("modelcontextprotocol-server-github", "npm", GITHUB + "other separators"),
        ("@modelcontextprotocol_server-github", "npm", GITHUB + "other separators"),
        ("server-github", "npm", GITHUB + "the scope is missing"),
        ("server-filesystem", "npm", FILES + "the scope is missing"),
        ("@anthropic/server-filesystem", "npm", FILES + "the same name in another scope"),
        ("server-github-mcp", "npm", GITHUB + "the same words, arranged otherwise"),
        ("mcp-github-server", "npm", GITHUB + "the same words, arranged otherwise"),
        ("githubmcp", "npm", GITHUB + "the same words, arranged otherwise"),
        ("@mcp-servers/github", "npm", GITHUB + "the same words, arranged otherwise"),
        ("mcp-sever-github", "npm", GITHUB + "the same words, arranged otherwise"),
        ("mcp-server-githb", "npm", GITHUB + "a letter or two differ"),
        ("server-filesytem", "npm", FILES + "a letter or two differ"),
        ("@modelcontexprotocol/server-new", "npm", "its scope looks like @modelcontextprotocol"),
        ("@playwrigth/mcp", "npm", "looks like @playwright/mcp: its scope looks like @playwright"),
        ("firecrawl-mpc", "npm", "looks like firecrawl-mcp: the same words"),
        ("tavly-mcp", "npm", "looks like tavily-mcp: a letter or two differ"),
        ("mcp-server-git", "npm", "looks like mcp-server-git: known on PyPI, while this is npm"),
        ("MCP_Atlassian", "npm", "looks like mcp-atlassian: known on PyPI, while this is npm"),
        ("n8n-mcp", "pypi", "looks like n8n-mcp: known on npm, while this is PyPI"),
        ("server-filesystem", "pypi", FILES + "known on npm, while this is PyPI"),
        ("mcp-server-gti", "pypi", "looks like mcp-server-git: a letter or two differ"),
        ("git-mcp-server", "pypi", "looks like mcp-server-git: the same words, arranged otherwise"),
        ("mcpserverfetch", "pypi", "looks like mcp-server-fetch: other separators"),
        ("mcp-atlasian", "pypi", "looks like mcp-atlassian: a letter or two differ"),
        ("awslabs-aws-documentation-mcp-sever", "pypi", "looks like awslabs-aws-documentation-mcp-server: "),
    ],
)
def test_a_look_alike_is_named_with_what_it_is_like_and_why(name: str, ecosystem: Ecosystem, expected: str) -> None:
    found = check(name, ecosystem)
    assert found is not None
    assert expected in found


@pytest.mark.parametrize("ecosystem", ["npm", "pypi"])
def test_known_and_ordinary_names_raise_no_alarm(ecosystem: Ecosystem) -> None:
    names = [*KNOWN[ecosystem], *ORDINARY[ecosystem]]
    assert {name: found for name in names if (found := check(name, ecosystem))} == {}


def test_what_this_python_has_installed_raises_no_alarm() -> None:
    names = {found.metadata["Name"] for found in distributions()}
    assert len(names) > 20
    assert {name: found for name in names if (found := check(name, "pypi"))} == {}


@pytest.mark.parametrize("name", ["awslabs.aws-api-mcp-server", "AWSLabs_aws.api--mcp-server"])
def test_names_of_pypi_are_the_same_however_they_are_separated(name: str) -> None:
    assert check(name, "pypi") is None


@given(st.sampled_from(sorted(KNOWN["npm"])), st.data())
def test_two_neighbours_swapped_in_a_long_part_never_pass(name: str, data: st.DataObject) -> None:
    longest = max((part for part in name.replace("@", "").replace("/", "-").split("-")), key=len)
    if len(longest) < 6:
        return
    start = name.index(longest) + data.draw(st.integers(0, len(longest) - 2))
    swapped = name[:start] + name[start + 1] + name[start] + name[start + 2 :]
    inside = swapped.startswith("@") and swapped.partition("/")[0] == name.partition("/")[0]
    if swapped != name and not inside:
        assert check(swapped, "npm") is not None


@given(st.text(max_size=60), st.sampled_from(["npm", "pypi"]))
def test_any_text_gets_an_answer(name: str, ecosystem: Ecosystem) -> None:
    found = check(name, ecosystem)
    assert found is None or found.startswith("looks like ")


@pytest.mark.parametrize(
    ("one", "other", "edits"),
    [("", "", 0), ("ab", "ba", 1), ("abc", "ac", 1), ("abc", "abd", 1), ("kitten", "sitting", 3)],
)
def test_edits_are_counted_with_swaps(one: str, other: str, edits: int) -> None:
    assert _distance(one, other) == _distance(other, one) == edits
