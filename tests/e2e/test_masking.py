"""A server that leaks its secret, in the sandbox, under the official client with its schemas."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import anyio
import pytest
from conftest import PYTHON, Runner, make_runner
from mcp import ClientSession, StdioServerParameters, types
from mcp.client.stdio import stdio_client
from secretservice import SecretService

VALUE = "Zq8v/TnW3xK5m+R7yB2cD4fG6hJ9kL0pQsA1e"
FOREIGN = "ghp_" + "a1B2" * 9
CARD = "4539578763621486"


@pytest.fixture
def bubble(home: Any) -> Iterator[Runner]:
    runner = make_runner("bubblewrap", "ordinary", home)
    with SecretService(runner.home, runner.uid) as service:
        yield replace(runner, variables=service.variables)


def called(runner: Runner, profile: str, *calls: dict[str, Any]) -> tuple[list[types.CallToolResult], list[str]]:
    """The results of the tool, called with each of the arguments, and what the server logged."""
    code = runner.home / "servers" / "leaky.py"
    words = [sys.executable, "-m", "mcpbox", "secrets", "set", "test/TOKEN", "--for", f"file:{code}"]
    subprocess.run(words, input=VALUE.encode(), env=runner.env, user=runner.uid, group=runner.uid, check=True)
    env = {**runner.env, "TOKEN": "mcpbox-secret:test/TOKEN"}
    words = runner.words(PYTHON, code, profile=profile, options=("--env", "TOKEN"))
    drop = ["setpriv", f"--reuid={runner.uid}", f"--regid={runner.uid}", "--clear-groups", "--"]
    words = words if os.geteuid() == runner.uid else [*drop, *words]
    logged: list[str] = []

    async def on_log(params: types.LoggingMessageNotificationParams) -> None:
        logged.append(str(params.data))

    async def run() -> list[types.CallToolResult]:
        with anyio.fail_after(60), open(os.devnull, "w") as quiet:
            parameters = StdioServerParameters(command=words[0], args=words[1:], env=env)
            async with (
                stdio_client(parameters, errlog=quiet) as (read, write),
                ClientSession(read, write, logging_callback=on_log) as session,
            ):
                await session.initialize()
                await session.list_tools()
                return [await session.call_tool("leak", arguments) for arguments in calls]

    return anyio.run(run), logged


def test_the_host_sees_masks_and_the_results_keep_to_their_schema(bubble: Runner) -> None:
    results, logged = called(
        bubble, '[messages]\npersonal = "redact"\n', {}, {"key": FOREIGN, "note": f"from {VALUE[:20]}", "n": 1}
    )
    own = "<secret test/TOKEN #1>"
    assert logged == [f"using {own}"] * 2
    for result in results:
        seen = result.model_dump_json()
        assert VALUE not in seen and VALUE[::-1] not in seen and VALUE.encode().hex() not in seen and CARD not in seen
        # The number is the length that the server knows it to have.
        expected = {"token": own, "encoded": [own, own, own], "card": 0, "count": len(VALUE)}
        assert result.model_dump(by_alias=True)["structuredContent"] == expected
        texts = [block.text for block in result.content if isinstance(block, types.TextContent)]
        assert texts[:2] == [f"first {own}", " second"]
        (embedded,) = (block for block in result.content if isinstance(block, types.EmbeddedResource))
        assert isinstance(embedded.resource, types.BlobResourceContents) and embedded.resource.blob == own
    said = json.dumps({"key": "<secret github-token #3>", "note": f"from {VALUE[:20]}", "n": 1})
    assert isinstance(results[1].content[2], types.TextContent) and results[1].content[2].text.endswith(said)


def test_a_mask_is_turned_back_for_its_server_where_the_profile_says_so(bubble: Runner) -> None:
    own = "<secret test/TOKEN #1>"
    _, result = called(bubble, "[messages]\nreversible = true\n", {}, {"key": own})[0]
    assert isinstance(result.content[2], types.TextContent)
    # The server's own count of what it got, since what it says back is masked again.
    size = len(json.dumps({"key": ""})) + len(VALUE)
    assert result.content[2].text == f"got {size} characters: " + json.dumps({"key": own})


def test_a_mask_is_not_sent_in_the_place_of_what_it_stands_for(bubble: Runner) -> None:
    results, logged = called(bubble, "", {}, {"key": "<secret test/TOKEN #1>"})
    assert "placeholder" in results[1].model_dump_json() and len(logged) == 1


def test_what_is_to_be_blocked_is_not_sent_and_not_shown(bubble: Runner) -> None:
    profile = '[messages]\nredact_secrets = false\n[messages.tool."le*"]\nsecrets = "block"\n'
    (result,), logged = called(bubble, profile, {"key": FOREIGN})
    assert "sensitive data in it: secret github-token" in result.model_dump_json() and not logged
    with pytest.raises(BaseExceptionGroup) as raised:
        called(bubble, profile, {})
    told = "".join(traceback.format_exception(raised.value))
    assert "sensitive data in it: secret test/TOKEN" in told and VALUE not in told
