"""The profiles that come with mcpbox: each is exact in whom it is for, and gives no more than its server needs."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from mcpbox import filesystem, paths, profile, tables
from mcpbox.options import cli
from mcpbox.tables import Endpoint, Listed, Profile

LIBRARY = {path.stem: profile.load(path).profile for path in sorted(paths.builtin_profiles().glob("*.toml"))}
HOME = Path("/home/somebody")

#: Servers that fetch what they are told to.
ANYWHERE = {"chrome-devtools", "duckduckgo", "fetch", "markitdown", "playwright", "puppeteer"}
#: Services with a host per account, region or bucket, which nobody can list.
SUBDOMAINS = {
    "aws-api": {"*.amazonaws.com"},
    "azure": {
        "*.blob.core.windows.net",
        "*.table.core.windows.net",
        "*.vault.azure.net",
        "*.documents.azure.com",
        "*.servicebus.windows.net",
    },
    "browserbase": {"*.browserbase.com"},
    "heroku": {"*.heroku.com"},
    "neon": {"*.neon.tech", "*.neon.tech:5432"},
    "qdrant": {"*.hf.co"},
}
#: Servers whose whole purpose is a port of the user's own machine.
LOOPBACK = {"redis"}

#: What people have in their configurations most.
COMMON = """
npm:@playwright/mcp npm:chrome-devtools-mcp npm:@upstash/context7-mcp npm:@modelcontextprotocol/server-filesystem
npm:mcp-remote npm:@modelcontextprotocol/server-sequential-thinking npm:@azure-devops/mcp
npm:@supabase/mcp-server-supabase npm:@modelcontextprotocol/server-github image:ghcr.io/github/github-mcp-server
npm:@modelcontextprotocol/server-memory npm:@modelcontextprotocol/server-postgres npm:@azure/mcp
npm:@modelcontextprotocol/server-everything npm:@notionhq/notion-mcp-server
npm:@modelcontextprotocol/server-google-maps npm:@gongrzhe/server-gmail-autoauth-mcp
npm:@circleci/mcp-server-circleci npm:n8n-mcp npm:mongodb-mcp-server npm:@stripe/mcp npm:tavily-mcp
npm:@modelcontextprotocol/server-slack npm:slack-mcp-server npm:@zereight/mcp-gitlab
npm:@modelcontextprotocol/server-gitlab npm:firecrawl-mcp npm:@wonderwhy-er/desktop-commander
npm:@modelcontextprotocol/server-brave-search npm:@brave/brave-search-mcp-server npm:@sentry/mcp-server
npm:@modelcontextprotocol/server-puppeteer npm:figma-developer-mcp npm:@winor30/mcp-server-datadog
npm:@cocal/google-calendar-mcp npm:@bytebase/dbhub npm:@perplexity-ai/mcp-server npm:@apify/actors-mcp-server
npm:exa-mcp-server npm:@benborla29/mcp-server-mysql pypi:mysql-mcp-server npm:mcp-server-kubernetes
npm:airtable-mcp-server pypi:mcp-server-git pypi:mcp-server-fetch pypi:mcp-server-time pypi:mcp-atlassian
pypi:mcp-server-sqlite pypi:mcp-server-qdrant npm:@modelcontextprotocol/server-redis
npm:@modelcontextprotocol/server-gdrive pypi:awslabs-aws-documentation-mcp-server pypi:awslabs-aws-api-mcp-server
pypi:arxiv-mcp-server pypi:duckduckgo-mcp-server image:hashicorp/terraform-mcp-server npm:@heroku/mcp-server
npm:@neondatabase/mcp-server-neon npm:@browserbasehq/mcp pypi:semgrep-mcp pypi:mcp-grafana
npm:@elastic/mcp-server-elasticsearch pypi:mcp-clickhouse pypi:mcp-neo4j-cypher pypi:mcp-obsidian
pypi:markitdown-mcp npm:@jetbrains/mcp-proxy pypi:blender-mcp
""".split()


@pytest.fixture(params=sorted(LIBRARY))
def entry(request: pytest.FixtureRequest) -> tuple[str, Profile]:
    return request.param, LIBRARY[request.param]


@pytest.mark.parametrize("identity", COMMON)
def test_what_people_use_most_has_a_profile(identity: str) -> None:
    found = profile.resolve(None, [identity]).path
    assert found is not None and identity in LIBRARY[found.stem].matches


def test_no_package_has_two_profiles() -> None:
    named = Counter(identity for found in LIBRARY.values() for identity in found.matches)
    assert [identity for identity, count in named.items() if count > 1] == []


def test_a_profile_is_for_names_and_never_for_what_resembles_them(entry: tuple[str, Profile]) -> None:
    name, found = entry
    assert found.name == name and found.matches
    for identity in found.matches:
        assert re.fullmatch(r"(npm|pypi|image):[a-z0-9@/._-]+", identity)
        assert profile.resolve(None, [f"{identity}-x"]).path is None
    assert 0 < len(found.description) <= 120 and not found.description.endswith(".")


def test_egress_is_to_named_hosts(entry: tuple[str, Profile]) -> None:
    name, found = entry
    wide = {line for line in found.network.allow if "*" in line}
    assert wide == ({"*:443", "*:80"} if name in ANYWHERE else SUBDOMAINS.get(name, set()))
    local = [line for line in found.network.allow if "localhost" in line]
    assert not local or name in LOOPBACK
    defaults = [item.default for item in found.network.from_environment if isinstance(item, Endpoint)]
    # By literal, no address: what is at it is somebody else's on another network.
    assert not [line for line in (*found.network.allow, *defaults) if re.match(r"(tcp://)?(\d+\.\d+\.|\[)", line)]


def test_no_mount_is_one_that_mcpbox_would_refuse(entry: tuple[str, Profile]) -> None:
    _, found = entry
    for item in (*found.filesystem.read, *found.filesystem.write):
        assert isinstance(item, Listed) and item.optional and not item.unsafe, "it may not be there for every user"
        path = item.path.replace("~", str(HOME), 1)
        assert filesystem.exposure(path, HOME) == ""


def test_secrets_are_named_and_asked_of_nobody(entry: tuple[str, Profile]) -> None:
    _, found = entry
    assert set(found.secrets.values()) <= {profile.FROM_HOST}
    assert not set(found.secrets) & set(found.environment)


def test_limits_stay_modest_and_nothing_is_hidden(entry: tuple[str, Profile]) -> None:
    name, found = entry
    browser = name in ANYWHERE and found.sandbox.pids > 128
    assert found.sandbox.memory <= 2 << 30 and found.sandbox.scratch <= 512 << 20 and found.sandbox.cpus <= 2
    assert found.sandbox.pids <= (1024 if browser else 512)
    assert found.tools.allow == ("*",) and found.tools.deny == ()
    assert found.messages == tables.Messages()


def test_what_show_prints_is_the_profile(entry: tuple[str, Profile]) -> None:
    name, found = entry
    shown = CliRunner().invoke(cli, ["profile", "show", name], catch_exceptions=False).output
    assert profile.parse(shown, name).profile == found


def test_what_show_prints_of_tables_within_tables_is_the_profile(tmp_path: Path) -> None:
    file = tmp_path / "nested.toml"
    file.write_text(
        'version = 1\nname = "nested"\n[tools.host.cursor]\nallow = ["read_*"]\n[tools.describe]\n"a b" = ""\n'
        '[messages.tool."export_*"]\nsecrets = "block"\n[filesystem.from_arguments]\n"--db" = "file"\n'
    )
    found = profile.load(file).profile
    shown = CliRunner().invoke(cli, ["profile", "show", str(file)], catch_exceptions=False).output
    assert profile.parse(shown, "nested").profile == found
    told = CliRunner().invoke(cli, ["profile", "show", "--json", str(file)], catch_exceptions=False).output
    assert json.loads(told)["profile"]["tools"]["host"] == {"cursor": {"allow": ["read_*"], "deny": []}}
