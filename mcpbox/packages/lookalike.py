"""Says which well-known MCP server package a name could be mistaken for. No I/O.

The table holds names alone, those that people put into their hosts' configurations most. A name in a scope of npm can
only be published by the scope's owner, so nothing within a known scope is a look-alike.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import NamedTuple

from mcpbox.packages.model import Ecosystem, normalised

NPM = """
    @a-bonus/google-docs-mcp @aashari/mcp-server-atlassian-jira @agentdeskai/browser-tools-mcp
    @amap/amap-maps-mcp-server @antv/mcp-server-chart @apify/actors-mcp-server @atlassian-dc-mcp/bitbucket
    @atlassian-dc-mcp/confluence @atlassian-dc-mcp/jira @automattic/mcp-wordpress-remote @azure-devops/mcp @azure/mcp
    @benborla29/mcp-server-mysql @brave/brave-search-mcp-server @brightdata/mcp
    @browserbasehq/mcp-server-browserbase @browsermcp/mcp @browserstack/mcp-server @bytebase/dbhub
    @chakra-ui/react-mcp @circleci/mcp-server-circleci @cloudbase/cloudbase-mcp @cloudflare/mcp-server-cloudflare
    @cloudflare/playwright-mcp @cocal/google-calendar-mcp @codacy/codacy-mcp @composio/mcp @currents/mcp
    @cyanheads/git-mcp-server @drawio/mcp @dynatrace-oss/dynatrace-mcp-server @eslint/mcp
    @executeautomation/playwright-mcp-server @forestadmin/mcp-server @gongrzhe/server-gmail-autoauth-mcp
    @google-cloud/cloud-run-mcp @google-cloud/gcloud-mcp @google-cloud/observability-mcp @heroku/mcp-server
    @hubspot/mcp-server @ivotoby/openapi-mcp-server @larksuiteoapi/lark-mcp @launchdarkly/mcp-server
    @line/line-bot-mcp-server @mapbox/mcp-server @mastra/mcp-docs-server @mobilenext/mobile-mcp
    @modelcontextprotocol/inspector @modelcontextprotocol/sdk @modelcontextprotocol/server-aws-kb-retrieval
    @modelcontextprotocol/server-brave-search @modelcontextprotocol/server-everart
    @modelcontextprotocol/server-everything @modelcontextprotocol/server-filesystem
    @modelcontextprotocol/server-gdrive @modelcontextprotocol/server-github @modelcontextprotocol/server-gitlab
    @modelcontextprotocol/server-google-maps @modelcontextprotocol/server-memory
    @modelcontextprotocol/server-postgres @modelcontextprotocol/server-puppeteer @modelcontextprotocol/server-redis
    @modelcontextprotocol/server-sequential-thinking @modelcontextprotocol/server-slack
    @mondaydotcomorg/monday-api-mcp @morphllm/morphmcp @mui/mcp @negokaz/excel-mcp-server @netlify/mcp
    @nexus2520/bitbucket-mcp-server @notionhq/notion-mcp-server @openbnb/mcp-server-airbnb @perplexity-ai/mcp-server
    @pinecone-database/mcp @piotr-agier/google-drive-mcp @playwright/mcp @postman/postman-mcp-server
    @railway/mcp-server @roychri/mcp-server-asana @salesforce/mcp @sentry/mcp-server @shopify/dev-mcp @shortcut/mcp
    @softeria/ms-365-mcp-server @storybook/mcp @stripe/mcp @supabase/mcp-server-supabase @sveltejs/mcp
    @sylphx/pdf-reader-mcp @testsprite/testsprite-mcp @tiberriver256/mcp-server-azure-devops @upstash/context7-mcp
    @winor30/mcp-server-datadog @wonderwhy-er/desktop-commander @z_ai/mcp-server @zereight/mcp-gitlab
    airtable-mcp-server argocd-mcp backlog-mcp-server chrome-devtools-mcp exa-mcp-server expo-mcp fastmcp fetcher-mcp
    figma-console-mcp figma-developer-mcp firecrawl-mcp flightradar-mcp-server hostinger-api-mcp ios-simulator-mcp
    kubernetes-mcp-server linear-mcp mcp-deepwiki mcp-handler mcp-mermaid mcp-proxy mcp-remote mcp-searxng
    mcp-server-code-runner mcp-server-kubernetes mcp-use mcporter mongodb-mcp-server n8n-mcp next-devtools-mcp
    notebooklm-mcp nx-mcp openapi-mcp-generator playwright-mcp reddit-mcp-buddy replicate-mcp slack-mcp-server
    supergateway tavily-mcp xcodebuildmcp
"""

PYPI = """
    analytics-mcp arxiv-mcp-server awslabs-amazon-bedrock-agentcore-mcp-server awslabs-aws-api-mcp-server
    awslabs-aws-dataprocessing-mcp-server awslabs-aws-documentation-mcp-server awslabs-aws-iac-mcp-server
    awslabs-aws-location-mcp-server awslabs-aws-pricing-mcp-server awslabs-bedrock-kb-retrieval-mcp-server
    awslabs-billing-cost-management-mcp-server awslabs-cloudwatch-mcp-server awslabs-eks-mcp-server
    awslabs-memcached-mcp-server awslabs-redshift-mcp-server blender-mcp chroma-mcp cli-mcp-server databricks-mcp
    dbt-mcp django-mcp-server duckduckgo-mcp-server excel-mcp-server fastapi-mcp fastmcp ha-mcp lean-lsp-mcp
    linkedin-scraper-mcp markitdown-mcp mcp mcp-atlassian mcp-clickhouse mcp-grafana mcp-proxy mcp-proxy-for-aws
    mcp-server-duckdb mcp-server-fetch mcp-server-git mcp-server-motherduck mcp-server-qdrant mcp-server-sentry
    mcp-server-sqlite mcp-server-time mcp-use mcp-yahoo-finance mcpo mysql-mcp-server office-powerpoint-mcp-server
    office-word-mcp-server opensearch-mcp-server-py pagerduty-mcp postgres-mcp redis-mcp-server rootly-mcp-server
    snowflake-labs-mcp workspace-mcp
"""

KNOWN: Mapping[Ecosystem, frozenset[str]] = {"npm": frozenset(NPM.split()), "pypi": frozenset(PYPI.split())}

REGISTRY: Mapping[Ecosystem, str] = {"npm": "npm", "pypi": "PyPI"}

#: Words that say "an MCP server" and not which.
GENERIC = ("modelcontextprotocol", "mcp", "server", "servers", "official")

#: Characters and pairs that are read as another (Unicode TR 39's idea, for the names that registries hold or held).
CONFUSABLE = str.maketrans(
    "01іıοоаеսրсухԁɡһјӏνκѕ",  # noqa: RUF001
    "olliooaeupcyxdghjlvks",
)
PAIRS = (("rn", "m"), ("vv", "w"))

#: How many letters make two words alike, by the longer one's length: (at least, edits).
LIMITS = ((12, 2), (6, 1))


class Name(NamedTuple):
    """A name taken apart. ``scope`` is "" without one; ``own`` are the words that are not generic, sorted, in a row."""

    text: str
    scope: str
    tail: str
    words: tuple[str, ...]
    generic: frozenset[str]
    own: str
    ordered: str


def check(name: str, ecosystem: Ecosystem, known: Mapping[Ecosystem, frozenset[str]] = KNOWN) -> str | None:
    """ "looks like NAME: REASON", or None for a name that is itself known or is like none of the known ones."""
    folded = unicodedata.normalize("NFKC", name).lower()
    if ecosystem == "pypi":
        folded = normalised(folded)
    if folded.isascii() and folded in known[ecosystem]:
        return None
    asked = _read(folded)
    if folded.isascii() and asked.scope in _scopes(known[ecosystem]):
        return None
    others = [
        (exact, f"looks like {entry.text}: known on {REGISTRY[other]}, while this is {REGISTRY[ecosystem]}")
        for other, names in known.items()
        for entry in (_entries(names) if other != ecosystem else ())
        if (exact := entry.text == folded) or _compact(folded) in _forms(entry)
    ]
    if any(exact for exact, _ in others):
        return max(others)[1]
    found = []
    for entry in _entries(known[ecosystem]):
        rank, reason = _compare(asked, entry)
        if reason:
            found.append((rank, _distance(folded, entry.text), f"looks like {entry.text}: {reason}"))
    if found:
        return min(found)[2]
    return others[0][1] if others else None


def _compare(asked: Name, entry: Name) -> tuple[int, str]:
    """How close (0 closest) and why; the reason is "" where the two are not alike."""
    if _skeleton(asked.text) == _skeleton(entry.text):
        return 0, "characters that are read as others"
    if _compact(asked.text) == _compact(entry.text):
        return 1, "other separators"
    tail = _read(entry.tail) if entry.scope else entry
    if entry.scope and asked.tail == entry.tail and _distinct(entry):
        return 2, "the same name in another scope" if asked.scope else "the scope is missing"
    if entry.scope and asked.scope and _near(_compact(asked.scope), _compact(entry.scope)):
        return 3, f"its scope looks like {entry.scope}"
    for form in (entry, tail) if _distinct(entry) else (entry,):
        if reason := _words(asked, form):
            return 4, reason
    return 9, ""


def _distinct(entry: Name) -> bool:
    """Whether the name says which server it is without the scope; "bitbucket" alone is the product."""
    tail = _read(entry.tail)
    return bool(tail.own) and len(tail.words) > 1


def _forms(entry: Name) -> set[str]:
    return {_compact(entry.text), _compact(entry.tail)} if _distinct(entry) else {_compact(entry.text)}


def _words(asked: Name, form: Name) -> str:
    if not form.own or (asked.scope and asked.own != form.own and not form.scope):
        return ""
    is_mcp = {"mcp", "modelcontextprotocol"}
    same_kind = asked.generic == form.generic or bool(asked.generic & is_mcp)
    if asked.own == form.own:
        return "the same words, arranged otherwise" if same_kind else ""
    if same_kind and (_near(asked.own, form.own) or _near(asked.ordered, form.ordered)):
        return "a letter or two differ"
    if not asked.generic and form.generic and _near(_compact(asked.text), _compact(form.text)):
        return "a letter or two differ"
    return ""


@lru_cache(maxsize=4096)
def _read(text: str) -> Name:
    scope, slash, tail = text.partition("/") if text.startswith("@") else ("", "", text)
    if not slash:
        scope, tail = "", text
    words = []
    for part in re.split(r"[-_.@/]+", text):
        words += _split(part)
    joined = " ".join(words).replace("model context protocol", "modelcontextprotocol").split()
    own = [word for word in joined if _generic(word) is None]
    generic = frozenset(found for word in joined if (found := _generic(word)))
    return Name(text, scope, tail, tuple(joined), generic, "".join(sorted(own)), "".join(own))


def _split(part: str) -> list[str]:
    """ "githubmcp" → github, mcp; a rest of one or two letters is no word."""
    for word in ("modelcontextprotocol", "mcp", "server"):
        if part.endswith(word) and len(part) - len(word) > 2:
            return [*_split(part[: -len(word)]), word]
        if part.startswith(word) and len(part) - len(word) > 2:
            return [word, *_split(part[len(word) :])]
    return [part] if part else []


@cache
def _generic(word: str) -> str | None:
    """The generic word that this is, perhaps with a slip in it ("sever", "modelcontextprotocl")."""
    if word in GENERIC:
        return "server" if word == "servers" else word
    if word in ("mpc", "mccp", "mcpp"):
        return "mcp"
    for known in GENERIC:
        if len(known) > 5 and _distance(word, known) == 1:
            return known
    return None


@cache
def _entries(names: frozenset[str]) -> tuple[Name, ...]:
    return tuple(_read(name) for name in sorted(names))


@cache
def _scopes(names: frozenset[str]) -> frozenset[str]:
    return frozenset(entry.scope for entry in _entries(names) if entry.scope)


@lru_cache(maxsize=4096)
def _compact(text: str) -> str:
    return re.sub(r"[-_.@/]+", "", text)


@lru_cache(maxsize=4096)
def _skeleton(text: str) -> str:
    text = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    text = text.translate(CONFUSABLE).replace("i", "l")
    for pair, single in PAIRS:
        text = text.replace(pair, single)
    return text


def _near(one: str, other: str) -> bool:
    length = max(len(one), len(other))
    allowed = next((edits for at_least, edits in LIMITS if length >= at_least), 0)
    if abs(len(one) - len(other)) > max(allowed, 1):
        return False
    distance = _distance(one, other)
    if distance != 1 or allowed:
        return distance <= allowed
    # One letter makes another word of a short one, but swapped, doubled or dropped letters are slips.
    return length > 2 and (sorted(one) == sorted(other) or (length == 5 and len(one) != len(other)))


def _distance(one: str, other: str) -> int:
    """Damerau-Levenshtein (optimal string alignment): insertions, deletions, replacements, swaps of neighbours."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, char in enumerate(one, 1):
        older, before, row = before, row, [i]
        for j, against in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (char != against))
            if i > 1 and j > 1 and char == other[j - 2] and one[i - 2] == against:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
    return row[-1]
