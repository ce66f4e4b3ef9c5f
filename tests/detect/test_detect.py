from __future__ import annotations

import itertools
import json
import random
import string

import pytest
from detect.fakes import word
from hypothesis import example, given
from hypothesis import strategies as st

from mcpbox.detect import names, placeholders
from mcpbox.detect.entries import scan_entry, scan_value
from mcpbox.hosts.model import Entry, Shape

RNG = random.Random(5)
HEX = word(RNG, 32, "0123456789abcdef")
KEY = word(RNG, 40)
SHAPE = Shape("json", ("mcpServers",), references=(r"\$\{env:[^}]+\}", r"\$\{input:[^}]+\}"))


def found(value: str, name: str = "") -> list[tuple[str, str, str]]:
    return [(value[each.start : each.end], each.kind, each.confidence) for each in scan_value(value, name=name)]


@pytest.mark.parametrize(
    ("name", "value", "secret", "kind", "confidence"),
    [
        ("API_KEY", HEX, HEX, "api-key", "name"),
        ("openaiApiKey", KEY, KEY, "openai-api-key", "name"),
        ("X-API-Key", KEY, KEY, "x-api-key", "name"),
        ("--figma-api-key", KEY, KEY, "figma-api-key", "name"),
        ("MYSQL_PASS", "tiger9", "tiger9", "password", "name"),
        ("DB_PASSWORD", "482911", "482911", "password", "name"),
        ("REDIS_PWD", "hunter2", "hunter2", "password", "name"),
        ("Authorization", f"Bearer {KEY}", KEY, "authorization", "name"),
        ("AUTH_HEADER", f"Authorization: Bearer {KEY}", KEY, "authorization", "name"),
        ("", f"Authorization:Bearer {KEY}", KEY, "authorization", "name"),
        ("", f"X-API-Key:{KEY}", KEY, "x-api-key", "name"),
        ("HEADERS", f"Accept: text/plain\nX-API-Key: {KEY}", KEY, "x-api-key", "name"),
        ("", f"--api-key={KEY}", KEY, "api-key", "name"),
        ("", f"API_TOKEN={KEY}", KEY, "api-token", "name"),
        ("", f"--env=API_TOKEN={KEY}", KEY, "api-token", "name"),
        ("", f"-eAPI_TOKEN={KEY}", KEY, "api-token", "name"),
        ("DATABASE_URL", "postgresql://app:s3cr%40t@db:5432/x", "s3cr%40t", "url-password", "format"),
        ("", "redis://:tiger9@cache:6379/0", "tiger9", "url-password", "format"),
        ("", "mongodb+srv://app:tiger9@c.example.net/?w=1", "tiger9", "url-password", "format"),
        ("", f"https://h.example/sse?tavilyApiKey={KEY}&x=1", KEY, "tavily-api-key", "name"),
        ("", f"https://{KEY}@git.example/x.git", KEY, "url-token", "entropy"),
        ("CONN", "Server=db;User Id=sa;Password=Tiger!9;", "Tiger!9", "password", "name"),
        ("PGPASSWORD", "tiger9", "tiger9", "password", "name"),
        ("DSN", "host=db user=app password='ti ger9' dbname=x", "ti ger9", "password", "name"),
        ("ALERTS_WEBHOOK_URL", f"https://h.local/hooks/{KEY}", f"https://h.local/hooks/{KEY}", "webhook", "name"),
        ("SOMETHING", KEY, KEY, "random", "entropy"),
        ("SOMETHING", HEX, HEX, "random", "entropy"),
        ("", f"sh -c 'x --token {HEX}'", HEX, "token", "name"),
        ("", f"API_KEY={KEY} npx -y server", KEY, "api-key", "name"),
    ],
)
def test_finds(name: str, value: str, secret: str, kind: str, confidence: str) -> None:
    assert found(value, name) == [(secret, kind, confidence)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_KEY", "YOUR_API_KEY"),
        ("API_KEY", "your-api-key-here"),
        ("API_KEY", "<api key>"),
        ("API_KEY", "xxxxxxxxxxxxxxxx"),
        ("API_KEY", "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
        ("API_KEY", "sk-1234567890abcdef1234567890abcdef"),
        ("API_KEY", "changeme"),
        ("API_KEY", "..."),
        ("API_KEY", "sk-..."),
        ("API_KEY", "insert_token_here"),
        ("API_KEY", "********"),
        ("API_KEY", ""),
        ("API_KEY", "${API_KEY}"),
        ("API_KEY", "${input:key}"),
        ("API_KEY", "{env:API_KEY}"),
        ("API_KEY", "$API_KEY"),
        ("API_KEY", "%API_KEY%"),
        ("API_KEY", "${{ secrets.API_KEY }}"),
        ("API_KEY", "$(pass show x)"),
        ("API_KEY", "op://vault/item/field"),
        ("API_KEY", "mcpbox-secret:server/API_KEY"),
        ("Authorization", "Bearer ${TOKEN}"),
        ("Authorization", "Bearer mcpbox-secret:server/API_KEY"),
        ("", "Authorization: Bearer ${AUTH}"),
        ("", "--api-key=${KEY}"),
        ("DATABASE_URL", "postgresql://user:password@localhost/db"),
        ("DATABASE_URL", "postgresql://user:${PASSWORD}@localhost/db"),
        ("DATABASE_URL", "postgresql://user@localhost/db"),
        ("AUTH_TOKEN", "true"),
        ("MAX_TOKENS", "40960"),
        ("TOKEN_LIMIT", KEY),
        ("AUTH", "oauth"),
        ("AUTH_TYPE", "browser"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/home/u/keys/service-account.json"),
        ("PRIVATE_KEY_PATH", "~/.ssh/id_ed25519"),
        ("--secrets", "secrets.env"),
        ("SSH_KEY", "~/.ssh/id_ed25519"),
        ("PUBLIC_KEY", KEY),
        ("KEYBOARD_LAYOUT", "us-intl"),
        ("AUTHOR", "somebody"),
        ("JIRA_PROJECT_KEY", "MCPB1234"),
        ("NOTION_DATABASE_ID", HEX),
        ("PACKAGE", "@modelcontextprotocol/server-github@2025.4.8"),
        ("IMAGE", f"ghcr.io/x/y@sha256:{HEX}{HEX}"),
        ("TENANT", "6f1c1cf4-7d1c-4b0e-9f21-3a8c1f0c9d52"),
        ("MODEL", "sentence-transformers/all-MiniLM-L6-v2"),
        ("WORKSPACE", "/srv/projects/2025-11-21/build-1234"),
        ("", "https://registry.example/@scope/name?version=1.2.3"),
    ],
)
def test_leaves_alone(name: str, value: str) -> None:
    assert found(value, name) == []


def test_a_value_of_which_the_host_replaces_a_part_is_not_to_be_moved() -> None:
    assert scan_value(f"{HEX}${{env:REST}}", name="API_KEY", references=SHAPE.references) == []
    assert scan_value("pa$word${x}9", name="PASSWORD", references=SHAPE.references) != []


def test_within_json_the_spans_are_of_the_text_as_written() -> None:
    value = json.dumps({"Authorization": f"Bearer {KEY}", "Notion-Version": "2022-06-28", "note": 'a "b"\n'})
    assert found(value, "OPENAPI_MCP_HEADERS") == [(KEY, "authorization", "name")]
    key = "-----BEGIN PRIVATE KEY-----\\n" + word(RNG, 64) + "\\n" + "-----END PRIVATE KEY-----"
    account = f'{{"type": "service_account", "project_id": "p1", "private_key": "{key}\\n", "client_email": "a@b"}}'
    assert found(account, "GOOGLE_CREDENTIALS") == [(key + "\\n", "private-key", "name")]


def test_nested_json_and_several_secrets() -> None:
    value = json.dumps({"dev": {"password": "tiger9", "url": "https://u:lion77@h"}, "list": [{"token": HEX}]})
    assert [text for text, _, _ in found(value)] == ["tiger9", "lion77", HEX]


def entry(**raw: object) -> Entry:
    values = dict(raw)
    args = values.get("args", ())
    env = values.get("env", {})
    assert isinstance(args, (list, tuple)) and isinstance(env, dict)
    return Entry("s", ("mcpServers", "s"), str(values.get("command", "")), tuple(args), env, values)


def places(server: Entry) -> list[tuple[tuple[str | int, ...], str]]:
    return [(placed.where, placed.name) for placed in scan_entry(server, SHAPE)]


def test_places_in_an_entry() -> None:
    server = entry(
        command="docker",
        args=[
            *("run", "-e", f"GITHUB_TOKEN={KEY}", "-e", "OTHER", "--api-key", HEX, "--name", "x", "--header"),
            *(f"Authorization: Bearer {KEY}", "postgres://u:tiger9@h/d", f"--access-token={HEX}"),
        ],
        env={"API_KEY": HEX, "DATABASE_URL": "postgres://u:tiger9@h/d", "LEVEL": "info"},
    )
    assert places(server) == [
        (("args", 2), "GITHUB_TOKEN"),
        (("args", 6), "API_KEY"),
        (("args", 10), "AUTHORIZATION"),
        (("args", 11), "PASSWORD"),
        (("args", 12), "ACCESS_TOKEN"),
        (("env", "API_KEY"), "API_KEY_2"),
        (("env", "DATABASE_URL"), "DATABASE_URL_PASSWORD"),
    ]


def test_a_whole_line_in_the_command() -> None:
    assert places(entry(command=f"npx -y server --api-key {KEY}")) == [(("command",), "API_KEY")]


def test_remote_entries() -> None:
    server = entry(
        url=f"https://h.example/mcp?api_key={KEY}",
        headers={"Authorization": f"Bearer {HEX}", "Accept": "text/plain", "X-Request": "${env:ID}"},
        oauth={"clientId": "abc", "clientSecret": KEY},
        bearer_token=HEX,
    )
    assert places(server) == [
        (("url",), "API_KEY"),
        (("headers", "Authorization"), "AUTHORIZATION"),
        (("oauth", "clientSecret"), "CLIENT_SECRET"),
        (("bearer_token",), "BEARER_TOKEN"),
    ]


def test_the_words_of_mcpbox_itself_hold_no_secret() -> None:
    server = entry(
        command="/usr/bin/mcpbox",
        args=["wrap", "--host", "cursor", "--name", "github-token-2", "--env", "API_KEY", "--", "npx", "-y", "srv"],
        env={"API_KEY": "mcpbox-secret:github/API_KEY"},
    )
    assert places(server) == []


@given(st.text(), st.text(max_size=20), st.text(max_size=20))
@example('{"a":"\\"}', "", "")
def test_any_text_gives_spans_in_order_that_do_not_overlap(value: str, name: str, other: str) -> None:
    for text in (value, f"{value}={other}", f"a://{name}:{value}@{other}", json.dumps({name: value})):
        spans = [(each.start, each.end) for each in scan_value(text, name=name)]
        assert all(0 <= start < end <= len(text) for start, end in spans)
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


@given(
    st.text(string.ascii_letters + string.digits, min_size=24, max_size=64), st.sampled_from(["API_KEY", "authToken"])
)
def test_what_is_found_by_name_is_the_whole_value(value: str, name: str) -> None:
    if not placeholders.is_placeholder(value) and not placeholders.is_setting(value):
        assert [(each.start, each.end) for each in scan_value(value, name=name)] == [(0, len(value))]


@pytest.mark.parametrize(
    ("name", "spelt"),
    [("--api-key", "API_KEY"), ("tavilyApiKey", "TAVILY_API_KEY"), ("X-API-Key", "X_API_KEY"), ("", ""), ("--", "")],
)
def test_names_for_secrets(name: str, spelt: str) -> None:
    assert names.secret_name(name) == spelt
