from __future__ import annotations

import base64
import json
import random
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from detect.fakes import word
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from mcpbox import jsonrpc
from mcpbox.detect import unicode
from mcpbox.detect.masks import MAX_NUMBERED
from mcpbox.detect.sensitive import finder
from mcpbox.policy.base import Alert, Change, Refuse, Rules, Side, Verdict
from mcpbox.policy.sensitive import SensitiveData
from mcpbox.session import Record, Send, Session

CLIENT, SERVER = Side.CLIENT, Side.SERVER
TOKEN = "ghp_" + "a1B2" * 9
OTHER = "xoxb-" + "2810492751-" * 2 + "aB3dE5gH7jK9mN1pQ3sT"
HELD = "Zq8v/TnW3xK5m+R7yB2cD4fG6hJ9kL0pQsA1e"
CARD = "4539578763621486"
SAID = {"role": "user", "content": {"type": "text", "text": TOKEN}}
PEM = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEpAIBAAKCAQEA\n" * 8 + "-----END RSA PRIVATE KEY-----"


def policy(**rules: Any) -> SensitiveData:
    given: dict[str, Any] = {"secrets": "redact", "secrets_held": lambda: {HELD: "github/TOKEN"}}
    return SensitiveData(Rules(**given | rules))


def asked(method: str, **params: Any) -> jsonrpc.Message:
    return jsonrpc.classify({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})


def told(method: str, **params: Any) -> jsonrpc.Message:
    return jsonrpc.classify({"jsonrpc": "2.0", "method": method, "params": params})


def answer(method: str, **parts: Any) -> jsonrpc.Message:
    request = asked(method, name="t", arguments={})
    return replace(jsonrpc.classify({"jsonrpc": "2.0", "id": 1, **parts}), request=request)


def result(*blocks: Any, **more: Any) -> jsonrpc.Message:
    content = [{"type": "text", "text": block} if isinstance(block, str) else block for block in blocks]
    return answer("tools/call", result={"content": content, **more})


def changed(verdict: Verdict) -> Any:
    assert isinstance(verdict, Change), verdict
    return verdict.value


def texts(verdict: Verdict) -> list[str]:
    return [block["text"] for block in changed(verdict)["result"]["content"]]


@pytest.fixture
def patience() -> Iterator[None]:
    """Ends a test that would not end."""
    signal.alarm(120)
    yield
    signal.alarm(0)


@pytest.mark.parametrize(
    ("side", "message", "place"),
    [
        (CLIENT, asked("tools/call", name="t", arguments={"a": [{"b": TOKEN}]}), "arguments.a[].b"),
        (CLIENT, asked("tools/call", name="t", arguments={TOKEN: 1}), "arguments.…"),
        (CLIENT, asked("prompts/get", name="p", arguments={"a": TOKEN}), "arguments.a"),
        (CLIENT, asked("completion/complete", ref={}, argument={"name": "a", "value": TOKEN}), "argument.value"),
        (CLIENT, asked("resources/read", uri=f"x://h/{TOKEN}"), "uri"),
        (CLIENT, answer("sampling/createMessage", result={"content": {"type": "text", "text": TOKEN}}), "content.text"),
        (CLIENT, answer("elicitation/create", result={"action": "accept", "content": {"k": TOKEN}}), "content.k"),
        (CLIENT, told("notifications/cancelled", requestId=1, reason=TOKEN), "reason"),
        (CLIENT, asked("tools/call", name="t", arguments={}, inputResponses={"a": {"k": TOKEN}}), "inputResponses.a.k"),
        (SERVER, result(f"the token is {TOKEN}."), "content[].text"),
        (SERVER, result(structuredContent={"a": {"b": TOKEN}}), "structuredContent.a.b"),
        (SERVER, result({"type": "resource", "resource": {"uri": "x:", "text": TOKEN}}), "content[].resource.text"),
        (SERVER, result({"type": "resource_link", "uri": f"x://{TOKEN}", "name": "n"}), "content[].uri"),
        (SERVER, answer("resources/read", result={"contents": [{"uri": "x:", "text": TOKEN}]}), "contents[].text"),
        (SERVER, answer("resources/list", result={"resources": [{"uri": "x:", "name": TOKEN}]}), "resources[].name"),
        (SERVER, answer("prompts/get", result={"messages": [SAID]}), "messages[].content.text"),
        (SERVER, answer("tools/call", error={"code": 1, "message": TOKEN}), "message"),
        (SERVER, answer("tools/list", error={"code": 1, "message": "x", "data": {"env": [TOKEN]}}), "data.env[]"),
        (SERVER, told("notifications/message", level="info", data={"x": TOKEN}), "data.x"),
        (SERVER, told("notifications/progress", progressToken=1, progress=1, message=TOKEN), "message"),
        (SERVER, asked("sampling/createMessage", messages=[SAID]), "messages[].content.text"),
        (SERVER, asked("elicitation/create", message=TOKEN), "message"),
        (SERVER, answer("tools/call", result={"inputRequests": {"a": {"message": TOKEN}}}), "inputRequests.a.message"),
    ],
)  # fmt: skip
def test_a_token_is_masked_wherever_text_is(side: Side, message: jsonrpc.Message, place: str) -> None:
    verdict = policy().judge(side, message)
    value = changed(verdict)
    assert TOKEN not in json.dumps(value) and "secret github-token" in json.dumps(value).replace("%20", " ")
    assert isinstance(verdict, Change) and verdict.reason == "masked: 1 secret github-token"
    assert verdict.found["kinds"] == {"secret github-token": 1} and verdict.found["places"] == [place]
    assert TOKEN not in json.dumps(verdict.found)
    # What is not text stays as it was.
    assert value.keys() == message.value.keys() and value.get("id") == message.value.get("id")


@pytest.mark.parametrize(
    ("side", "message"),
    [
        (SERVER, answer("tools/list", result={"tools": [{"name": "t", "description": TOKEN}]})),
        (SERVER, answer("initialize", result={"instructions": TOKEN})),
        (SERVER, answer("tools/list", result={"nextCursor": TOKEN, "tools": []})),
        (SERVER, answer("resources/list", result={"nextCursor": TOKEN, "resources": []})),
        (SERVER, answer("tools/call", result={"requestState": TOKEN})),
        (CLIENT, asked("resources/list", cursor=TOKEN)),
        (CLIENT, asked("tools/call", name="t", requestState=TOKEN)),
        (CLIENT, asked("initialize", clientInfo={"name": TOKEN})),
        (CLIENT, jsonrpc.classify({"jsonrpc": "2.0", "id": 1, "method": "ping"})),
        (SERVER, result("nothing", "of interest", structuredContent={"n": 1, "f": 1.5, "b": True, "z": None})),
        (SERVER, result({"type": "image", "data": base64.b64encode(b"\x89PNG" * 999 + TOKEN.encode()).decode()})),
        (SERVER, result("ghp_" + "x" * 36, "x://user:password@h/", "x://u:${PASSWORD}@h/", "AKIAIOSFODNN7EXAMPLE")),
        (SERVER, result("ghp_", "SK", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----")),
    ],
)  # fmt: skip
def test_what_is_no_secret_or_no_text_passes(side: Side, message: jsonrpc.Message) -> None:
    assert policy(personal="redact", reversible=True).judge(side, message) is None


@pytest.mark.parametrize("params", [None, [], [TOKEN], {"name": 1}, {"name": None, "arguments": TOKEN}, 5, {}])
def test_odd_shapes_do_not_raise(params: Any) -> None:
    value = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    verdict = policy().judge(CLIENT, jsonrpc.classify(value))
    assert TOKEN not in json.dumps(changed(verdict) if verdict else {})
    odd = replace(jsonrpc.classify({"jsonrpc": "2.0", "id": 1, "result": params}), request=None)
    verdict = policy().judge(SERVER, odd)
    assert TOKEN not in json.dumps(changed(verdict) if verdict else {})


def test_secrets_of_mcpbox_are_masked_by_name_and_in_any_form() -> None:
    encoded = base64.b64encode(f"Authorization: Bearer {HELD}".encode()).decode()
    verdict = policy().judge(SERVER, result(HELD, encoded, HELD.encode().hex(), HELD[::-1], f"a{HELD}b"))
    name = "<secret github/TOKEN #1>"
    assert texts(verdict) == [name, name, name, name, f"a{name}b"]


@pytest.mark.parametrize("secret", [TOKEN, HELD, PEM])
def test_a_secret_over_several_blocks_is_masked(secret: str) -> None:
    for at in (12, 20, len(secret) // 2):
        verdict = policy().judge(SERVER, result(f"a {secret[:at]}", f"{secret[at:]} b"))
        first, second = texts(verdict)
        assert first.startswith("a <secret") and second == " b"
    thirds = policy().judge(SERVER, result("a", secret[:12], secret[12:24], secret[24:], "b"))
    assert texts(thirds)[0] == "a" and texts(thirds)[2:] == ["", "", "b"]


def test_a_secret_over_several_lines_is_masked() -> None:
    broken = result(f"k: {TOKEN[:20]}\n   {TOKEN[20:]}\n- next", f"{HELD[:9]}\n\t{HELD[9:]}\nnext")
    masked = ["k: <secret github-token #1>\n- next", "<secret github/TOKEN #2>\nnext"]
    assert texts(policy().judge(SERVER, broken)) == masked
    short = result(f"{TOKEN[:20]}\n{TOKEN[20:]}")
    assert texts(policy(secrets_held=dict).judge(SERVER, short)) == ["<secret github-token #1>"]


def test_base64_of_a_text_with_a_secret_is_masked_as_a_whole() -> None:
    text = f"A=1\nTOKEN={TOKEN}\n" + "B=2\n" * 40
    for encoded in (base64.b64encode(text.encode()).decode(), base64.encodebytes(text.encode()).decode().strip()):
        assert texts(policy().judge(SERVER, result(f"data:{encoded}"))) == ["data:<secret github-token #1>"]
        message = answer("resources/read", result={"contents": [{"uri": "x:", "blob": encoded}]})
        assert changed(policy().judge(SERVER, message))["result"]["contents"][0]["blob"] == "<secret github-token #1>"


def test_the_same_value_has_the_same_mask_in_a_session() -> None:
    session = policy()
    assert texts(session.judge(SERVER, result(TOKEN, OTHER))) == [
        "<secret github-token #1>",
        "<secret slack-bot-token #2>",
    ]
    assert texts(session.judge(SERVER, result(f"again {TOKEN}"))) == ["again <secret github-token #1>"]


def test_structured_content_keeps_its_types() -> None:
    text = json.dumps({"card": int(CARD), "t": TOKEN})
    message = result(text, structuredContent={"card": int(CARD), "t": TOKEN, "n": 17, "ok": True})
    value = changed(policy(personal="redact").judge(SERVER, message))["result"]
    assert value["structuredContent"] == {"card": 0, "t": "<secret github-token #2>", "n": 17, "ok": True}
    assert CARD not in value["content"][0]["text"]


@pytest.mark.parametrize(
    ("action", "expected"), [("off", None), ("alert", Alert), ("redact", Change), ("block", Refuse)]
)
def test_personal_numbers_and_secrets_each_have_their_action(action: str, expected: Any) -> None:
    message = result(f"pay with {CARD}")
    verdict = policy(secrets="off", personal=action).judge(SERVER, message)
    assert (verdict is None) if expected is None else isinstance(verdict, expected)
    both = policy(secrets="alert", personal=action).judge(SERVER, result(f"{TOKEN} {CARD}"))
    assert isinstance(both, expected or Alert)
    if isinstance(both, Refuse):
        assert both.reason == "sensitive data in it: card" and "[messages]" in both.hint
    if isinstance(both, Change):
        assert texts(both) == [f"{TOKEN} <card #1>"]
    if isinstance(verdict, Alert):
        assert verdict.found == {"kinds": {"card": 1}, "places": ["content[].text"], "tool": "t"}


def test_a_tool_has_its_own_rules_the_first_that_matches() -> None:
    rules = (("vault_*", "off", None), ("*", None, "block"), ("vault_x", "block", None))
    session = policy(tool_sensitive=rules, personal="redact")
    assert session.judge(CLIENT, asked("tools/call", name="vault_x", arguments={"a": TOKEN})) is None
    other = session.judge(CLIENT, asked("tools/call", name="send", arguments={"a": f"{TOKEN} {CARD}"}))
    assert isinstance(other, Refuse) and other.found["tool"] == "send"
    assert isinstance(session.judge(CLIENT, asked("prompts/get", name="vault_x", arguments={"a": TOKEN})), Change)


def test_a_tools_rules_hold_for_what_its_task_returns() -> None:
    session = policy(tool_sensitive=(("vault_*", "block", None),), secrets="alert")

    def returned(request: jsonrpc.Message, given: dict[str, Any]) -> Verdict:
        answer = jsonrpc.classify({"jsonrpc": "2.0", "id": 1, "result": given})
        return session.judge(SERVER, replace(answer, request=request))

    for tool in ("vault_x", "other"):
        assert returned(asked("tools/call", name=tool), {"task": {"taskId": f"of {tool}"}}) is None
    later = {"content": [{"type": "text", "text": TOKEN}]}
    first, *others = [returned(asked("tasks/result", taskId=f"of {tool}"), later) for tool in ("vault_x", "other", "")]
    assert isinstance(first, Refuse) and first.found["tool"] == "vault_x"
    assert all(isinstance(each, Alert) for each in others)


def test_masks_are_turned_back_for_the_server_that_sent_the_value() -> None:
    session = policy(reversible=True)
    session.judge(SERVER, result(f"id {TOKEN}"))
    mask, url = "<secret github-token #1>", "%3Csecret%20github-token%20%231%3E"
    call = asked("tools/call", name="t", arguments={"a": f"Bearer {mask}", "uri": f"x://{url}", "b": "<card #7>"})
    verdict = session.judge(CLIENT, call)
    arguments = changed(verdict)["params"]["arguments"]
    assert arguments == {"a": f"Bearer {TOKEN}", "uri": f"x://{TOKEN}", "b": "<card #7>"}
    assert isinstance(verdict, Change) and verdict.reason == "turned back: 2" and TOKEN not in json.dumps(verdict.found)
    assert policy(reversible=True).judge(CLIENT, call) is None
    assert session.judge(CLIENT, answer("sampling/createMessage", result={"content": {"text": mask}})) is None


def test_what_the_host_sent_is_not_turned_back() -> None:
    session = policy(reversible=True)
    sent = changed(session.judge(CLIENT, asked("tools/call", name="t", arguments={"a": OTHER})))
    mask = sent["params"]["arguments"]["a"]
    assert mask == "<secret slack-bot-token #1>"
    assert session.judge(CLIENT, asked("tools/call", name="t", arguments={"a": mask})) is None


KEYS = st.sampled_from(["text", "blob", "data", "uri", "cursor", TOKEN, "a"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
    | st.sampled_from([TOKEN, HELD, CARD, int(CARD), TOKEN[:20], HELD[9:], PEM, "text", "blob", "uri", "<card #1>"]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS | st.text(), inner, max_size=5),
    max_leaves=25,
)  # fmt: skip


@given(JSON, st.sampled_from([CLIENT, SERVER]))
def test_any_value_comes_out_without_a_secret_and_otherwise_the_same(value: Any, side: Side) -> None:
    session = policy(personal="redact", reversible=True)
    message = answer("tools/call", result={"x": value})
    verdict = session.judge(side, message)
    out = message.value if verdict is None else changed(verdict)
    jsonrpc.encode(out)
    text = json.dumps(out["result"])
    assert not any(each in text for each in (TOKEN, HELD, CARD))
    if verdict is None:
        assert not any(each in json.dumps(value) for each in (TOKEN, HELD, CARD))
    # Masked once is masked: nothing in a mask looks like a secret.
    assert session.judge(side, answer("tools/call", **{"result": out["result"]})) is None


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize(
    "text",
    [
        f"{TOKEN} " * 5_000, "ghp_" * 100_000, "ghp_\n" * 50_000, "://" * 100_000, "a://b:" * 50_000 + "@",
        "<" * 300_000, "A" * 300_000, ("A" * 60 + "\n") * 5_000, ("QUJD" * 20 + " ") * 5_000,
        "-----BEGIN RSA PRIVATE KEY-----" * 10_000,
        f"{HELD[:9]}\n" * 30_000, f"{CARD} " * 10_000, "eyJ" * 100_000, "4 " * 100_000, "<secret a #1>" * 30_000,
        "\x90" * 300_000, "\x9d a" * 100_000, "a\u200b" * 100_000,
    ],
)  # fmt: skip
def test_no_text_is_slow(text: str) -> None:
    session = policy(personal="redact", reversible=True)
    session.judge(SERVER, result(text))
    session.judge(SERVER, result(*[text[at : at + 3] for at in range(0, 60_000, 3)]))
    session.judge(CLIENT, asked("tools/call", name="t", arguments={"a": text}))


def test_tables_and_records_stay_small() -> None:
    session, rng = policy(), random.Random(6)
    tokens = ["ghp_" + word(rng, 36) for _ in range(6_000)]
    verdict = session.judge(SERVER, result(structuredContent={token: token for token in tokens}))
    assert isinstance(verdict, Change) and len(json.dumps(verdict.found)) < 4_000
    told = json.dumps(verdict.value)
    assert not any(token in told for token in tokens)


def test_off_looks_at_nothing_and_needs_nothing() -> None:
    assert SensitiveData(Rules()).judge(SERVER, result(TOKEN)) is None


@pytest.mark.parametrize(
    ("secrets", "numbers", "found"),
    [(False, False, [3, 4]), (True, False, [0, 1, 3, 4]), (True, True, [0, 1, 2, 3, 4])],
)
def test_what_comes_after_is_told_of_masks_and_of_what_was_let_through(
    secrets: bool, numbers: bool, found: list[int]
) -> None:
    finds = finder({HELD: "a/b"}, secrets=secrets, numbers=numbers)
    said = [f"a {TOKEN}", f"a {HELD}", f"a {CARD}", "a <card #12> b", "x://%3Ccard%20%2312%3E", "a", "<b #x>", ""]
    assert [number for number, text in enumerate(said) if finds(text)] == found
    for blank in "\n\t\r":
        written = [json.dumps(text.replace(" ", blank, 1)) for text in said]
        assert [number for number, text in enumerate(written) if finds(text)] == found
        assert [number for number, text in enumerate(written) if finds(json.dumps(text))] == found


@pytest.mark.parametrize("token", ["npm_" + "a1B2" * 9, "r8_" + "a1B2" * 10, "tvly-" + "a1B2" * 8])
def test_a_letter_after_a_backslash_is_of_the_token_or_of_a_line_end(token: str) -> None:
    finds = finder({}, secrets=True, numbers=True)
    for text in (token, f"C:\\{token}", f"a\n{token}", f"\\\\{token}", f"\\\n{token}"):
        assert finds(json.dumps(text)) and finds(json.dumps(json.dumps(text)))


@pytest.mark.parametrize(
    "shown",
    [
        TOKEN[:9] + "\u200b" + TOKEN[9:],
        "g\u2060hp_" + TOKEN[4:],
        "\x1b[32m" + TOKEN + "\x1b[0m",
        TOKEN[:20] + "\x1b[0m\x1b[1m" + TOKEN[20:],
        "".join(f"{each}\u00ad" for each in TOKEN),
        "".join(f"{each}\U000e0061" for each in TOKEN),
        TOKEN[:9] + "\x00" + TOKEN[9:],
    ],
)
def test_a_token_with_invisible_text_in_it_is_masked(shown: str) -> None:
    (text,) = texts(policy().judge(SERVER, result(f"a \N{SNOWMAN}\u200b {shown} z")))
    assert text.startswith("a \N{SNOWMAN}\u200b ") and text.endswith(" z") and "<secret github-token #1>" in text
    assert "B2a1" not in text and "a1B" not in unicode.visible(text)


def test_data_is_a_file_only_where_it_says_of_what() -> None:
    lines = "\n".join(["AKIA" + "QYLPMN5HHHFPZAM2", *("8d969eef6ecad3c2"[:n] for n in range(4, 16))] * 12)
    assert "AKIA" not in json.dumps(changed(policy().judge(SERVER, told("notifications/message", data=lines))))
    call = asked("tools/call", name="t", arguments={"data": lines})
    assert "AKIA" not in json.dumps(changed(policy().judge(CLIENT, call)))
    picture = base64.b64encode(bytes(range(256)) * 8).decode()
    block = {"type": "image", "mimeType": "image/png", "data": picture}
    assert policy().judge(SERVER, result(block)) is None


def test_a_value_in_digits_is_found_as_a_number_too() -> None:
    session = policy(secrets_held=lambda: {"48151623421": "bank/PIN"})
    value = changed(session.judge(SERVER, result(structuredContent={"pin": 48151623421, "n": 4815162342})))
    assert value["result"]["structuredContent"] == {"pin": 0, "n": 4815162342}


def test_keys_that_get_the_same_mask_are_all_there() -> None:
    rng = random.Random(5)
    session = policy()
    table = {"ghp_" + word(rng, 36): number for number in range(MAX_NUMBERED + 9)}
    value = changed(session.judge(SERVER, result(structuredContent=table)))
    assert sorted(value["result"]["structuredContent"].values()) == sorted(table.values())


def test_an_address_that_the_server_gave_still_leads_there() -> None:
    session = policy()
    uri = "db://app:Wq8-zT5_rN2x@h/items"
    listed = session.judge(SERVER, answer("resources/list", result={"resources": [{"uri": uri, "name": "items"}]}))
    (given,) = changed(listed)["result"]["resources"]
    assert "Wq8" not in given["uri"]
    for method in ("resources/read", "resources/subscribe", "resources/unsubscribe"):
        verdict = session.judge(CLIENT, asked(method, uri=given["uri"]))
        assert changed(verdict)["params"]["uri"] == uri
        assert isinstance(verdict, Change) and verdict.recorded == {"uri": given["uri"]}
    other = session.judge(CLIENT, asked("tools/call", name="t", arguments={"uri": given["uri"]}))
    assert isinstance(other, Refuse) and "would be lost" in other.reason
    assert policy().judge(CLIENT, asked("resources/read", uri=given["uri"])) is None


def test_an_address_that_has_the_end_of_a_value_still_leads_there() -> None:
    session = policy()
    linked = {"type": "resource_link", "name": HELD[:20], "uri": f"{HELD[20:]}:items"}
    (given,) = changed(session.judge(SERVER, result(linked)))["result"]["content"]
    assert given["name"].startswith("<secret") and given["uri"] == ":items"
    verdict = session.judge(CLIENT, asked("resources/read", uri=given["uri"]))
    assert changed(verdict)["params"]["uri"] == linked["uri"]


def test_what_is_turned_back_is_not_what_goes_on_record() -> None:
    session = policy(reversible=True)
    session.judge(SERVER, result(f"id {TOKEN}"))
    arguments = {"a": "<secret github-token #1>"}
    verdict = session.judge(CLIENT, asked("tools/call", name="t", arguments=arguments))
    assert changed(verdict)["params"]["arguments"] == {"a": TOKEN}
    assert isinstance(verdict, Change) and verdict.recorded == {"name": "t", "arguments": arguments}


@pytest.mark.parametrize(
    "message",
    [
        told("notifications/progress", progressToken=int(CARD), progress=1),
        asked("tools/call", name="t", arguments={}, _meta={"progressToken": int(CARD)}),
        told("notifications/cancelled", requestId=int(CARD)),
        answer("tools/call", result={"content": [], "requestState": TOKEN}),
    ],
)
def test_what_programs_compare_stays(message: jsonrpc.Message) -> None:
    assert policy(personal="redact").judge(SERVER, message) is None


def test_what_goes_back_as_it_is_is_a_word_and_no_place_to_speak() -> None:
    for key in ("nextCursor", "requestState", "progressToken"):
        assert TOKEN not in json.dumps(changed(policy().judge(SERVER, result(**{key: {"text": TOKEN}}))))


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://abc:xyz@example.com/", False),
        ("http://user:flabada@www.example.org", False),
        ("postgres://postgres:postgres@localhost/db", False),
        ("//registry.example.com/:_password, https://u:&lt;password&gt;]@proxy.corp:8080", False),
        ("http://a:b@c.d", False),
        ("db://app:%3Csecret%20url-password%20%231%3E@h/items", False),
        ("postgres://app:Wq8zT5rN2x@db.corp/x", True),
        ("postgres://app:hunter22@example.community/x", True),
        ("https://u:p4ss@w0rd@h.corp/", True),
    ],
)
def test_the_password_of_a_url_is_one_where_it_can_be(url: str, found: bool) -> None:
    verdict = policy().judge(SERVER, result(f"see {url} there"))
    assert isinstance(verdict, Change) is found


def test_on_record_are_masks_and_not_what_they_stand_for() -> None:
    session = Session([policy(reversible=True)], 1 << 20)
    hello = {"jsonrpc": "2.0", "id": 0, "method": "tools/call", "params": {"name": "t", "arguments": {}}}
    session.receive(CLIENT, jsonrpc.encode(hello))
    uri = f"x://h/{TOKEN}"
    session.receive(SERVER, jsonrpc.encode({"jsonrpc": "2.0", "id": 0, "result": {"content": [], "uri": uri}}))
    masked = "x://h/%3Csecret%20github-token%20%231%3E"
    read = {"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": masked}}
    actions = session.receive(CLIENT, jsonrpc.encode(read))
    actions += session.receive(SERVER, jsonrpc.encode({"jsonrpc": "2.0", "id": 1, "result": {"contents": []}}))
    sent = [each for each in actions if isinstance(each, Send)]
    records = [each for each in actions if isinstance(each, Record)]
    assert TOKEN.encode() in sent[0].data and TOKEN not in repr(records)
    assert [each.event["target"] for each in records if each.event["event"] in ("call", "result")] == [masked] * 2


def test_a_token_of_the_documentation_is_nobodys() -> None:
    head = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
    signature = "SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJVadQssw5c"
    for claims, secret in (
        ({"sub": "1234567890", "name": "John Doe", "iat": 1516239022}, False),
        ({"some": "payload"}, False),
        ({"sub": "9824110573", "name": "John Doe", "iat": 1516239022}, True),
    ):
        body = base64.urlsafe_b64encode(json.dumps(claims, separators=(",", ":")).encode()).decode().rstrip("=")
        verdict = policy().judge(SERVER, result(f"curl -H 'Authorization: {head}.{body}.{signature}'"))
        assert isinstance(verdict, Change) is secret


def test_a_file_that_was_read_with_masks_is_not_written_with_them() -> None:
    session = policy()
    (read,) = texts(session.judge(SERVER, result(f"PORT=80\nTOKEN={TOKEN}\n")))
    verdict = session.judge(CLIENT, asked("tools/call", name="write_file", arguments={"content": read}))
    assert isinstance(verdict, Refuse) and "would be lost" in verdict.reason and "reversible" in verdict.hint
    edit = asked("tools/call", name="edit_file", arguments={"old": "PORT=80", "new": "PORT=81"})
    assert session.judge(CLIENT, edit) is None
    assert session.judge(CLIENT, asked("tools/call", name="t", arguments={"a": "<secret jwt #9> <card #1>"})) is None
    assert policy().judge(CLIENT, asked("tools/call", name="write_file", arguments={"content": read})) is None
    back = policy(reversible=True)
    back.judge(SERVER, result(TOKEN))
    assert isinstance(back.judge(CLIENT, asked("tools/call", name="w", arguments={"c": read})), Change)


def test_the_model_is_told_of_what_was_masked_in_its_own_words() -> None:
    session = policy()
    call = asked("tools/call", name="write_file", arguments={"content": f"TOKEN={TOKEN}"})
    sent = jsonrpc.classify(changed(session.judge(CLIENT, call)))
    assert isinstance(sent, jsonrpc.Request)
    structure = {"content": [{"type": "text", "text": "ok"}], "structuredContent": {"n": 1}}
    done = replace(jsonrpc.classify({"jsonrpc": "2.0", "id": 1, "result": structure}), request=sent)
    verdict = session.judge(SERVER, done)
    first, note = changed(verdict)["result"]["content"]
    assert first["text"] == "ok" and changed(verdict)["result"]["structuredContent"] == {"n": 1}
    assert note["text"].startswith("mcpbox: ") and "1 secret github-token" in note["text"]
    assert session.judge(SERVER, done) is None
    assert session.judge(SERVER, result("ok")) is None
