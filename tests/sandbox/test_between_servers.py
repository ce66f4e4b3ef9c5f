"""Several servers of one host, each behind a ``wrap`` of its own: what one returned, and the other is given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import PYTHON, Runner
from wire import Host, eventually

SECRET = "The offer to Northwind is 4.2 million, and Contoso must not hear of it before the board meets on Friday."
COPIED = "Contoso must not hear of it before the board meets on Friday"
POEM = "Two roads diverged in a yellow wood, and sorry I could not travel both and be one traveler, long I stood."


def started(runner: Runner, name: str, profile: str) -> Host:
    return runner.wrap(PYTHON, runner.home / "servers" / "echo.py", profile=profile, options=("--name", name))


def records(runner: Runner, name: str) -> list[dict[str, Any]]:
    found = []
    for file in (runner.home / ".state").rglob("*.jsonl"):
        for line in file.read_text().splitlines():
            record: dict[str, Any] = json.loads(line)
            if record.get("policy") == name:
                found.append(record)
    return found


def refused(result: dict[str, Any]) -> str:
    assert result["isError"], result
    text: str = result["content"][0]["text"]
    return text


def test_what_one_server_returned_is_not_given_to_another(runner: Runner) -> None:
    with started(runner, "files", '[flows]\nsensitive = ["echo"]\n') as files:
        files.initialize()
        with started(runner, "mail", '[flows]\narriving = "block"\n') as mail:
            mail.initialize()
            # No echo of it: what the server has had itself would be its own.
            assert "isError" not in mail.call("text", size=1, body=COPIED)
            files.call("echo", text=SECRET)
            assert "data that came from files" in refused(mail.call("echo", body=f"FYI: {COPIED}"))
            assert "data that came from files" in refused(mail.call("echo", body=COPIED.encode().hex()))
            assert "isError" not in mail.call("echo", body=POEM)
            # Its own data is the server's.
            assert "isError" not in files.call("echo", text=SECRET)
            (record, *_) = records(runner, "Flows")
            assert record["origins"][0]["from"] == "files" and record["origins"][0]["percent"] >= 20
            assert "Contoso" not in json.dumps(records(runner, "Flows"))


def test_by_default_it_is_put_on_record(runner: Runner) -> None:
    with started(runner, "files", '[flows]\nsensitive = ["*"]\n') as files, started(runner, "mail", "") as mail:
        files.initialize()
        mail.initialize()
        files.call("echo", text=SECRET)
        assert "isError" not in mail.call("echo", body=COPIED)
        assert [record["event"] for record in records(runner, "Flows")] == ["alert"]


def test_what_may_not_follow_another_servers_call(runner: Runner) -> None:
    rule = '[[calls.sequences]]\nafter = "files:ech*"\nthen = "text"\n'
    with started(runner, "files", "") as files:
        files.initialize()
        with started(runner, "mail", rule) as mail:
            mail.initialize()
            assert "isError" not in mail.call("text", size=1)
            files.call("echo", text="x")
            assert "'text' is called after 'files:echo'" in refused(mail.call("text", size=1))
            assert "isError" not in mail.call("echo", text="x")


@pytest.mark.parametrize(("tools", "seen"), [(("send_emai1", "weather"), ["weather"]), (("send_sms",), ["send_sms"])])
def test_a_newcomer_that_looks_like_another_server(runner: Runner, tools: tuple[str, ...], seen: list[str]) -> None:
    with named(runner, "mail", "send_email") as mail:
        mail.initialize()
        mail.request("tools/list")
    with named(runner, "new", *tools) as new:
        new.initialize()
        answer = new.request("tools/list")
        assert "result" in answer, answer
        listed = answer["result"]["tools"]
        assert [tool["name"] for tool in listed] == seen
        called = new.call(tools[0])
        assert ("looks like 'send_email'" in refused(called)) if tools[0] not in seen else "isError" not in called


LISTING = """
import json, sys
tools = [{"name": name, "inputSchema": {"type": "object"}} for name in sys.argv[1:]]
for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        result = {"tools/list": {"tools": tools}, "tools/call": {"content": []}}.get(message["method"]) or {
            "protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "x", "version": "1"}}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""


def named(runner: Runner, name: str, *tools: str) -> Host:
    script = runner.home / "servers" / "listing.py"
    script.write_text(LISTING)
    return runner.wrap(PYTHON, runner.give(script), *tools, options=("--name", name))


def test_nothing_is_left_when_the_host_has_gone(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    from mcpbox.flows import hostsession

    with started(runner, "files", '[flows]\nsensitive = ["*"]\n') as files:
        files.initialize()
        files.call("echo", text=SECRET)
        held = [path for path in shared(runner) if path.name == "key"]
        assert len(held) == 1 and held[0].stat().st_mode & 0o077 == 0
        assert all(b"Contoso" not in path.read_bytes() for path in shared(runner))
    monkeypatch.setattr(hostsession, "_root", lambda: held[0].parent.parent)
    monkeypatch.setattr(hostsession, "_started", lambda process: "")
    hostsession.reap()
    assert eventually(lambda: not held[0].parent.exists())


def shared(runner: Runner) -> list[Path]:
    """What the servers of the tests' own session share, wherever such things are kept for this user."""
    places = [Path(f"/run/user/{runner.uid}/mcpbox/flows"), runner.home / ".state" / "mcpbox" / "run" / "flows"]
    return [path for place in places if place.is_dir() for path in place.rglob("*") if path.is_file()]
