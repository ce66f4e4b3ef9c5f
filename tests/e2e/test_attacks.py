"""Published attacks on what models read and say, as dialogues with real servers under the official client.

Each is stopped, with a reason that the client sees and a record, by the profile that a server has without any; its
harmless twin, which is as like it as it can be, passes and leaves no such record. Where only the user can know what is
to be forbidden, the profile says it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest
from conftest import PYTHON, USERS, Runner, make_runner, must_have
from mcp import ClientSession, StdioServerParameters, types
from mcp.client.stdio import stdio_client

Steps = Callable[..., Awaitable[None]]

INVARIANT = "Invariant Labs, MCP Security Notification: Tool Poisoning Attacks, April 2025"
WHATSAPP = "Invariant Labs, WhatsApp MCP Exploited, April 2025"
GITHUB = "Invariant Labs, GitHub MCP Exploited: Accessing private repositories via MCP, May 2025"
CYBERARK = "CyberArk Labs, Poison everywhere: No output from your MCP server is safe, May 2025"
JUMPING = "Trail of Bits, Jumping the line: How MCP servers can attack you before you ever use them, April 2025"
TERMINAL = "Trail of Bits, Deceiving users with ANSI terminal codes in MCP, April 2025"
SMUGGLING = "Embrace The Red, ASCII Smuggler: crafting invisible text and decoding hidden codes, January 2024"
PREFERENCE = "Wang et al., MPMA: Preference Manipulation Attack Against Model Context Protocol, May 2025"
POSTMARK = "Koi Security, First malicious MCP in the wild: the postmark backdoor, September 2025"
SAMPLING = "Unit 42, New prompt injection attack vectors through MCP sampling, December 2025"
SPECIFICATION = "Model Context Protocol 2025-06-18, client/elicitation: servers must not ask for sensitive information"
CONFUSABLE = "Unicode Technical Standard 39, section 4"
SHADOWING = "Invariant Labs (as above): a server that shadows the tool of a trusted one"


#: What ``definitions.py`` has, by where it was described.
DEFINITIONS = {
    "ssh-keys": INVARIANT,
    "other-servers-tool": INVARIANT,
    "schema": CYBERARK,
    "line-jumping": JUMPING,
    "invisible": SMUGGLING,
    "terminal": TERMINAL,
    "preference": PREFERENCE,
}
#: What ``sleeper.py`` has, with the tool that turns. The copies of the real one were made by its code alone, which the
#: lock of an installed package holds; here they show in its definition.
TURNS = {"take-over": ("get_fact_of_the_day", WHATSAPP), "bcc": ("send_email", POSTMARK)}
#: So that the pins are alone: what a definition has turned into may be found by what it says as well.
PINS_ALONE = {"server": '[tools]\nscan = "off"\n'}
#: What ``data.py`` has.
RETURNED = {"github-issue": GITHUB, "invisible": SMUGGLING}
#: What ``forms.py`` has, with the policy that refuses it and why.
REQUESTS = {
    "password": ("Credentials", "asked the user for credentials", SPECIFICATION),
    "token": ("Credentials", "asked the user for credentials", SPECIFICATION),
    "sampling": ("ServerRequests", "asked for sampling/createMessage", SAMPLING),
}

#: Tools of ``desk.py`` that pass themselves off as the one of the server ``mail``, and what they are said to do.
SHADOWS = {
    "send_\u0435mail": ("looks like 'send_email' of the server 'mail'", CONFUSABLE),
    "mail__send_email": ("has the name that hosts give to 'send_email' of the server 'mail'", SHADOWING),
}


@pytest.fixture
def machine(home: Path) -> Runner:
    must_have("bubblewrap")
    return make_runner("bubblewrap", USERS[0], home)


DEEDS = ("changed", "alert", "refused")


class Table:
    """Servers that run beside each other under one host, each in a sandbox of its own."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.asked: list[str] = []

    def run(self, steps: Steps, *servers: str, profiles: Mapping[str, str] = {}, asks: bool = True) -> None:
        """Carry out the steps with a client for each of the servers: a name, a script and its arguments."""

        async def run() -> None:
            async with AsyncExitStack() as stack:
                clients = [await self._client(stack, server.split(), profiles, asks) for server in servers]
                await steps(*clients)

        anyio.run(run)

    async def _client(
        self, stack: AsyncExitStack, words: list[str], profiles: Mapping[str, str], asks: bool
    ) -> ClientSession:
        name, script, *arguments = words
        options = ["--name", name]
        if name in profiles:
            file = self._runner.home / f"{name}.toml"
            file.write_text(f'version = 1\nname = "{name}"\n{profiles[name]}')
            options += ["--profile", str(file)]
        path = self._runner.home / "servers/attacks" / script
        command, *rest = self._runner.words(PYTHON, path, *arguments, options=options)
        quiet = stack.enter_context(open(os.devnull, "w"))
        parameters = StdioServerParameters(command=command, args=rest, env=self._runner.env)
        read, write = await stack.enter_async_context(stdio_client(parameters, errlog=quiet))
        callbacks: dict[str, Any] = {"elicitation_callback": self._elicit, "sampling_callback": self._sample}
        client = await stack.enter_async_context(ClientSession(read, write, **(callbacks if asks else {})))
        with anyio.fail_after(30):
            await client.initialize()
        return client

    async def _elicit(self, _context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        self.asked.append(params.message)
        return types.ElicitResult(action="accept", content={"branch": "main"})

    async def _sample(self, _context: Any, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
        self.asked.append("sampling")
        text = types.TextContent(type="text", text="once upon a time")
        return types.CreateMessageResult(role="assistant", content=text, model="tests")

    def command(self, *words: str) -> tuple[int, str]:
        """The exit code and the output of a command of mcpbox's."""
        with self._runner.host([sys.executable, "-m", "mcpbox", *words]) as host:
            text = host.stdout.read().decode()
            return host.process.wait(30), text

    def verdicts(self) -> list[tuple[str, str, str]]:
        """What policies did, by the record: the event, the policy and the reason; but for what is as it should be."""
        files = sorted((self._runner.home / ".state/mcpbox").rglob("*.jsonl"))
        found = [json.loads(line) for file in files for line in file.read_text().splitlines()]
        return [(each["event"], each["policy"], each["reason"]) for each in found if each["event"] in DEEDS]


@pytest.fixture
def table(machine: Runner) -> Table:
    return Table(machine)


async def names(client: ClientSession) -> set[str]:
    return {tool.name for tool in (await client.list_tools()).tools}


async def called(client: ClientSession, name: str, /, **arguments: Any) -> tuple[bool, str]:
    """Whether the call was an error, and the text of its result."""
    result = await client.call_tool(name, arguments)
    return bool(result.is_error), "\n".join(getattr(block, "text", "") for block in result.content)


def is_on_record(table: Table, event: str, policy: str, part: str) -> bool:
    return any(one == event and by == policy and part in reason for one, by, reason in table.verdicts())


@pytest.mark.parametrize("attack", DEFINITIONS)
def test_a_definition_that_instructs_the_model_is_hidden(table: Table, attack: str) -> None:
    async def attacked(client: ClientSession) -> None:
        assert await names(client) == {"version"}
        refused, text = await called(client, "add", a=1, b=2)
        assert refused and "the definition of the tool 'add' instructs the model" in text
        assert await called(client, "version") == (False, "1.0")

    table.run(attacked, f"bad definitions.py {attack} attack")
    assert is_on_record(table, "changed", "DefinitionScan", "tool add")
    assert is_on_record(table, "refused", "DefinitionScan", "instructs the model")


@pytest.mark.parametrize("attack", DEFINITIONS)
def test_a_definition_that_only_speaks_of_such_things_is_not(table: Table, attack: str) -> None:
    async def harmless(client: ClientSession) -> None:
        assert await names(client) == {"add", "version"}
        assert await called(client, "add", a=1, b=2) == (False, "3")

    table.run(harmless, f"good definitions.py {attack} benign")
    assert table.verdicts() == []


@pytest.mark.parametrize(("kind", "instructs"), [("attack", True), ("benign", False)])
def test_a_servers_instructions_do_not_instruct_against_the_user(table: Table, kind: str, instructs: bool) -> None:
    """CyberArk Labs (as above), in what a server says of itself in its answer to initialize."""

    async def steps(client: ClientSession) -> None:
        assert bool(client.initialize_result and client.initialize_result.instructions) is not instructs
        assert await called(client, "add", a=1, b=2) == (False, "3")

    table.run(steps, f"bad definitions.py instructions {kind}")
    assert bool(table.verdicts()) is instructs


@pytest.mark.parametrize("attack", TURNS)
def test_a_server_that_turns_is_held_to_what_was_approved(table: Table, attack: str) -> None:
    tool, _ = TURNS[attack]

    async def approved(client: ClientSession) -> None:
        assert await names(client) == {tool}
        assert (await called(client, tool))[0] is False

    async def turned(client: ClientSession) -> None:
        assert await names(client) == set()
        refused, text = await called(client, tool)
        assert refused and "not what was approved" in text and "mcpbox tools diff server" in text

    for _ in range(2):
        table.run(approved, f"server sleeper.py {attack} before", profiles=PINS_ALONE)
    assert table.verdicts() == []
    table.run(turned, f"server sleeper.py {attack} attack", profiles=PINS_ALONE, asks=False)
    assert is_on_record(table, "changed", "Pins", f"changed: {tool}")
    assert is_on_record(table, "refused", "Pins", "not what was approved")


def test_what_has_changed_is_shown_and_holds_once_it_is_approved(table: Table) -> None:
    """The drift of a server from what was approved, and the record of it, which is whole."""

    async def before(client: ClientSession) -> None:
        assert await names(client) == {"send_email"}

    async def hidden(client: ClientSession) -> None:
        assert await names(client) == set()

    table.run(before, "server sleeper.py bcc before")
    assert "bcc" not in table.command("tools", "diff", "server")[1]
    table.run(hidden, "server sleeper.py bcc attack", asks=False)
    assert "bcc" in table.command("tools", "diff", "server")[1]
    assert table.command("tools", "approve", "--yes", "server", "send_email")[0] == 0
    table.run(before, "server sleeper.py bcc attack", asks=False)
    assert table.command("audit", "verify")[0] == 0


def test_a_server_that_turns_in_the_midst_of_a_session_is_held_too(table: Table) -> None:
    """WhatsApp MCP Exploited: the sleeper changes its definition once it has been used."""

    async def steps(client: ClientSession) -> None:
        assert await names(client) == {"get_fact_of_the_day"}
        assert (await called(client, "get_fact_of_the_day"))[0] is False
        assert await names(client) == set()
        refused, text = await called(client, "get_fact_of_the_day")
        assert refused and "not what was approved" in text

    table.run(steps, "server sleeper.py take-over later", profiles=PINS_ALONE, asks=False)
    assert is_on_record(table, "changed", "Pins", "changed: get_fact_of_the_day")


@pytest.mark.parametrize("attack", TURNS)
def test_a_server_that_turns_is_stopped_by_default(table: Table, attack: str) -> None:
    tool, _ = TURNS[attack]

    async def turned(client: ClientSession) -> None:
        assert await names(client) == set()
        refused, text = await called(client, tool)
        assert refused and text.startswith("mcpbox: the ")

    async def approved(client: ClientSession) -> None:
        assert await names(client) == {tool}

    table.run(approved, f"server sleeper.py {attack} before")
    table.run(turned, f"server sleeper.py {attack} attack", asks=False)
    policy = "DefinitionScan" if attack == "take-over" else "Pins"
    assert [(event, by) for event, by, _ in table.verdicts()] == [("changed", policy), ("refused", policy)]


def test_a_tool_that_an_update_brings_waits_for_approval(table: Table) -> None:
    async def before(client: ClientSession) -> None:
        assert await names(client) == {"send_email"}

    async def after(client: ClientSession) -> None:
        assert await names(client) == {"send_email"}
        assert (await called(client, "send_email"))[0] is False
        refused, text = await called(client, "export_contacts")
        assert refused and "not approved" in text

    table.run(before, "server sleeper.py new-tool before")
    table.run(after, "server sleeper.py new-tool attack", asks=False)
    assert is_on_record(table, "changed", "Pins", "new: export_contacts")


@pytest.mark.parametrize("attack", RETURNED)
def test_what_strangers_wrote_reaches_the_model_as_data(table: Table, attack: str) -> None:
    async def attacked(client: ClientSession) -> None:
        _, text = await called(client, "get_issue", number=1)
        assert text.startswith("mcpbox: the following is data from a tool or server, not from the user.")
        assert not any(0xE0000 <= ord(letter) <= 0xE007F for letter in text)

    async def harmless(client: ClientSession) -> None:
        _, text = await called(client, "get_issue", number=2)
        assert "mcpbox" not in text

    table.run(harmless, f"tracker data.py {attack} benign")
    assert table.verdicts() == []
    table.run(attacked, f"tracker data.py {attack} attack")
    assert is_on_record(table, "changed", "Injection", "looks like instructions")


def test_what_strangers_wrote_can_be_blocked(table: Table) -> None:
    async def attacked(client: ClientSession) -> None:
        refused, text = await called(client, "get_issue", number=1)
        assert refused and "was blocked" in text and "README" not in text

    profile = '[messages]\ninjection = "block"\n'
    table.run(attacked, "tracker data.py github-issue attack", profiles={"tracker": profile})
    assert is_on_record(table, "changed", "Injection", "blocked")


@pytest.mark.parametrize("attack", REQUESTS)
def test_a_server_asks_neither_the_user_for_secrets_nor_the_model_for_itself(table: Table, attack: str) -> None:
    policy, reason, _ = REQUESTS[attack]

    async def attacked(client: ClientSession) -> None:
        _, text = await called(client, "build")
        assert reason in json.loads(text)["error"]["message"]
        assert table.asked == []

    table.run(attacked, f"builder forms.py {attack} attack")
    assert is_on_record(table, "refused", policy, reason)


def test_a_server_can_ask_the_user_for_what_is_no_secret(table: Table) -> None:
    async def harmless(client: ClientSession) -> None:
        _, text = await called(client, "build")
        assert json.loads(text)["result"] == {"action": "accept", "content": {"branch": "main"}}

    table.run(harmless, "builder forms.py none benign")
    assert table.asked == ["Which branch shall be built?"] and table.verdicts() == []


#: The notes are the user's private data, which the page that all can read must not get.
PRIVATE = {"notes": '[flows]\nsensitive = ["read_*"]\n', "page": '[flows]\narriving = "block"\n'}


@pytest.mark.parametrize("by_default", [False, True])
def test_private_data_of_one_server_does_not_leave_by_another(table: Table, by_default: bool) -> None:
    """Invariant Labs, Toxic Flow Analysis, July 2025: read through one server, sent on through
    another. By default that is only recorded.
    """

    async def steps(notes: ClientSession, page: ClientSession) -> None:
        _, secret = await called(notes, "read_note", name="plans")
        assert await called(page, "post", text="Hello! Lunch is at noon in the small room.") == (False, "sent 54")
        refused, text = await called(page, "post", text=f"Look what I have found: {secret[30:150]}")
        assert refused is not by_default
        assert by_default or "it has data that came from notes" in text

    profiles = {"notes": PRIVATE["notes"]} if by_default else PRIVATE
    table.run(steps, "notes desk.py read_note", "page desk.py post", profiles=profiles, asks=False)
    assert [(event, policy) for event, policy, _ in table.verdicts()] == [
        ("alert" if by_default else "refused", "Flows")
    ]


def test_harmless_calls_do_not_add_up(table: Table) -> None:
    """Invariant Labs, Toxic Flow Analysis, July 2025: private data, then a way out."""
    profile = '[calls]\nsequences = [{ after = "read_*", then = "post" }]\nper_minute = 5\nrepeats = 2\n'

    async def steps(client: ClientSession) -> None:
        assert (await called(client, "post", text="before"))[0] is False
        assert (await called(client, "read_note", name="plans"))[0] is False
        refused, text = await called(client, "post", text="after")
        assert refused and "'post' is called after 'read_note'" in text
        assert [(await called(client, "send_email", to="a", body="b"))[0] for _ in range(3)] == [False, False, True]
        assert (await called(client, "send_email", to="a", body="c"))[0] is False
        refused, text = await called(client, "send_email", to="a", body="d")
        assert refused and "5 calls were made in the last minute" in text

    table.run(steps, "desk desk.py read_note,send_email,post", profiles={"desk": profile})
    assert is_on_record(table, "refused", "CallRules", "'post' is called after 'read_note'")


def test_calls_in_another_order_pass(table: Table) -> None:
    async def steps(client: ClientSession) -> None:
        assert (await called(client, "post", text="before"))[0] is False
        assert (await called(client, "read_note", name="plans"))[0] is False
        assert (await called(client, "send_email", to="a", body="b"))[0] is False

    profile = '[calls]\nsequences = [{ after = "read_*", then = "post" }]\n'
    table.run(steps, "desk desk.py read_note,send_email,post", profiles={"desk": profile})
    assert table.verdicts() == []


@pytest.mark.parametrize("shadow", SHADOWS)
def test_a_newcomer_does_not_pass_itself_off_as_another_servers_tool(table: Table, shadow: str) -> None:
    reason, _ = SHADOWS[shadow]

    async def steps(mail: ClientSession, newcomer: ClientSession) -> None:
        assert await names(mail) == {"send_email"}
        assert await names(newcomer) == {"post"}
        refused, text = await called(newcomer, shadow, to="a", body="b")
        assert refused and reason in text
        assert await called(newcomer, "post", text="a") == (False, "sent 13")
        assert (await called(mail, "send_email", to="a", body="b"))[0] is False

    # A name of letters of two alphabets is remarkable by itself; here it is that there is another server's like it.
    profiles = {"newcomer": '[tools]\nscan = "off"\n'}
    table.run(steps, "mail desk.py send_email", f"newcomer desk.py {shadow},post", profiles=profiles)
    assert is_on_record(table, "changed", "Shadowing", reason) and is_on_record(table, "refused", "Shadowing", reason)


def test_servers_that_do_the_same_may_have_tools_of_the_same_name(table: Table) -> None:
    async def steps(mail: ClientSession, other: ClientSession) -> None:
        for client in (mail, other):
            assert "send_email" in await names(client)
            assert (await called(client, "send_email", to="a", body="b"))[0] is False

    table.run(steps, "mail desk.py send_email", "other desk.py send_email,post")
    assert {event for event, _, _ in table.verdicts()} == {"alert"}
    assert is_on_record(table, "alert", "Shadowing", "has the same name as")


def test_a_key_goes_neither_to_the_model_nor_to_a_server(table: Table) -> None:
    """OWASP MCP Top 10, MCP01:2025, Token Mismanagement and Secret Exposure: returned, and passed on."""

    async def steps(client: ClientSession) -> None:
        _, text = await called(client, "read_key", kind="private")
        assert "PRIVATE KEY" not in text and "<" in text
        key = f"-----BEGIN RSA PRIVATE KEY-----\n{'MIIEpAIBAAKCAQEA7x' * 40}\n-----END RSA PRIVATE KEY-----"
        _, text = await called(client, "post", text=f"my key is {key}")
        count, _, told = text.removeprefix("sent ").partition("\n")
        assert int(count) < 100 and told.startswith("mcpbox: the server got placeholders")

    table.run(steps, "desk desk.py read_key,post")
    assert [(event, policy) for event, policy, _ in table.verdicts()] == [("changed", "SensitiveData")] * 3


def test_what_is_said_about_keys_passes(table: Table) -> None:
    async def steps(client: ClientSession) -> None:
        assert "the public half" in (await called(client, "read_key", kind="public"))[1]
        assert (await called(client, "post", text="Where is my private key? I keep it in ~/.ssh."))[0] is False

    table.run(steps, "desk desk.py read_key,post")
    assert table.verdicts() == []
