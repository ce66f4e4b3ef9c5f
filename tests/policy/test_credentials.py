from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from said import answer, call, failure, request

from mcpbox.jsonrpc import Message
from mcpbox.policy.base import Refuse, Rules, Side
from mcpbox.policy.credentials import Credentials
from mcpbox.policy.requests import URL_REQUIRED


def ways(params: dict[str, Any]) -> list[Message]:
    """The ways in which a server may ask."""
    each = {"method": "elicitation/create", "params": params}
    return [
        request("elicitation/create", **params),
        answer(call("t"), {"resultType": "input_required", "inputRequests": {"a": each}}),
        failure(call("t"), {"code": URL_REQUIRED, "message": "x", "data": {"elicitations": [params]}}),
    ]


def form(message: str, **properties: Any) -> dict[str, Any]:
    return {"message": message, "requestedSchema": {"type": "object", "properties": properties}}


def judged(params: dict[str, Any]) -> list[Any]:
    return [Credentials(Rules()).judge(Side.SERVER, message) for message in ways(params)]


TEXT = {"type": "string"}


@pytest.mark.parametrize(
    "params",
    [
        form("Sign in", password=TEXT),
        form("Sign in", user=TEXT, apiKey=TEXT),
        form("Continue", value={"type": "string", "title": "GitHub token"}),
        form("Continue", value={"type": "string", "description": "Your personal access token"}),
        form("Continue", value={"type": "string", "format": "password"}),
        form("Please enter your password to continue.", value=TEXT),
        form("Please enter your pass\u200bword to continue.", value=TEXT),
        form("Please enter your pаsswоrd to continue.", value=TEXT),  # noqa: RUF001
        form("What is your OpenAI API key?", value=TEXT),
        form("To restore the wallet, type the 12 words of your seed phrase.", words=TEXT),
        form("Payment", card_number=TEXT, cvc=TEXT),
        form("Payment", n={"type": "integer", "title": "Credit card number"}),
        form("Verify it's you", value={"type": "string", "title": "6-digit verification code"}),
        form("Provide the client secret:", value=TEXT),
        form("We need your SSN", ssn=TEXT),
        form("Type your password, it is not stored.", value=TEXT),
        form("Your secrets are never saved: enter your API key", value=TEXT),
        form("Contraseña:", value=TEXT),
        form("Bitte Passwort eingeben", value=TEXT),
        form("Введите пароль", value=TEXT),
        form("请输入密码", value=TEXT),
        form("Weiter", mot_de_passe=TEXT),
        form("Go on", value={"type": "string", "description": "the 12 words of your wallet"}),
        form("Paste the string that begins with ghp_", value=TEXT),
        {"message": "Enter your password", "requestedSchema": None},
        {"message": "Enter your password"},
        {"mode": "form", "message": "x", "requestedSchema": {"title": "Enter your API key", "properties": {"v": TEXT}}},
    ],
)
def test_a_form_for_credentials_is_refused(params: dict[str, Any]) -> None:
    for verdict in judged(params):
        assert isinstance(verdict, Refuse) and "for credentials" in verdict.reason


@pytest.mark.parametrize(
    "params",
    [
        form("Which branch?", branch=TEXT, force={"type": "boolean"}),
        form("Delete the API key 'ci'?", confirm={"type": "boolean"}),
        form("Which kind of login?", method={"type": "string", "enum": ["password", "token"]}),
        form("Your name and email", name=TEXT, email={"type": "string", "format": "email"}),
        form("How many tokens may the answer have?", max_tokens={"type": "integer"}),
        form("Go on from where?", next_page_token=TEXT),
        form("How many tokens?", count={"type": "integer"}),
        form("Which object?", s3_key=TEXT, design_token=TEXT, continuation_token=TEXT),
        form("Secret santa: who takes part? Name this API.", names=TEXT, api_name=TEXT),
        form("Passport number and date of birth", passport_no=TEXT, born=TEXT),
        form("You do not have to enter your password. Which account?", account=TEXT),
        form("Issue key", key=TEXT, project_key=TEXT),
        form("No password is needed. Which account?", account_name=TEXT),
        form("Where is the password file?", path=TEXT),
        form("Shipping address", street=TEXT, postcode=TEXT, city=TEXT),
        form("Choose", items={"type": "array", "items": {"type": "string", "enum": ["access token", "none"]}}),
        {"mode": "url", "message": "Sign in to GitHub", "url": "https://github.com/login/oauth?state=abc#x"},
        {"mode": "url", "message": "Sign in", "url": "http://localhost:8080/start"},
        {"mode": "url", "message": "Sign in", "url": "http://127.0.0.1:1/start"},
    ],
)
def test_other_questions_are_let_through(params: dict[str, Any]) -> None:
    assert judged(params) == [None, None, None]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://example.com/login", "not encrypted"),
        ("http://localhost.evil.example/", "not encrypted"),
        ("https://github.com@evil.example/login", "looks like 'github.com' and leads to 'evil.example'"),
        ("https://github.com:443@evil.example/", "looks like"),
        ("https://xn--gthub-n4a.com/", "look like others"),
        ("https://gіthub.com/", "not shown"),  # noqa: RUF001
        ("https://github\u200b.com/", "not shown"),
        ("https://github.com\\@evil.example/", "not shown"),
        ("https://git hub.com/", "not shown"),
        ("javascript:alert(1)", "not an address"),
        ("file:///etc/passwd", "not an address"),
        ("https:///x", "not an address"),
        (None, "a URL that is none"),
        (5, "a URL that is none"),
    ],
)
def test_a_url_that_misleads_is_refused(url: Any, reason: str) -> None:
    for verdict in judged({"mode": "url", "message": "Sign in", "url": url}):
        assert isinstance(verdict, Refuse) and reason in verdict.reason


def test_what_the_host_says_is_its_own_affair() -> None:
    assert Credentials(Rules()).judge(Side.CLIENT, request("elicitation/create", **form("x", password=TEXT))) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


@given(JSON, JSON, JSON)
def test_anything_is_read(message: Any, properties: Any, url: Any) -> None:
    for params in (
        {"message": message, "requestedSchema": {"properties": properties, "a": message}},
        {"message": message, "requestedSchema": properties},
        {"mode": "url", "url": url},
    ):
        judged(params)


@pytest.mark.parametrize("text", ["enter password " * 60_000, "a " * 500_000, "pass" * 250_000, "\n" * 1_000_000])
def test_no_text_takes_long(text: str) -> None:
    judged(form(text, value={"type": "string", "description": text}))
