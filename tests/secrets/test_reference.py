"""References to secrets within texts, and what stands in their place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpbox.errors import SecretError, UsageError
from mcpbox.secrets.reference import Reference, parse, references, substitute

PG, XY = Reference("pg", "password"), Reference("x", "Y_1.z-")


@pytest.mark.parametrize(
    ("text", "found", "after"),
    [
        ("mcpbox-secret:pg/password", [PG], "<pg/password>"),
        ("postgresql://u:mcpbox-secret:pg/password@h/db", [PG], "postgresql://u:<pg/password>@h/db"),
        ("Bearer mcpbox-secret:x/Y_1.z-", [XY], "Bearer <x/Y_1.z->"),
        ("mcpbox-secret:pg/password mcpbox-secret:x/Y_1.z-", [PG, XY], "<pg/password> <x/Y_1.z->"),
        ("mcpbox-secret:pg/passwordmcpbox-secret:x/y", None, ""),
        ("no secret", [], "no secret"),
        ("", [], ""),
    ],
)
def test_every_reference_and_nothing_else_is_replaced(text: str, found: list[Reference] | None, after: str) -> None:
    if found is None:
        with pytest.raises(SecretError, match="is not a reference to a secret"):
            references(text)
        return
    assert references(text) == found
    assert substitute(text, {reference: f"<{reference}>" for reference in found}) == after


@pytest.mark.parametrize(
    "text",
    [
        "mcpbox-secret:",
        "mcpbox-secret:Upper/x",
        "mcpbox-secret:server",
        "mcpbox-secret:server/",
        "mcpbox-secret:/x",
        f"mcpbox-secret:server/{'n' * 129}",
        f"mcpbox-secret:{'s' * 65}/x",
        "mcpbox-secret:good/x mcpbox-secret:-bad/x",
    ],
)
def test_a_reference_that_is_begun_is_whole_or_an_error(text: str) -> None:
    for function in (references, lambda text: substitute(text, {Reference("good", "x"): "v"})):
        with pytest.raises(SecretError, match="is not a reference to a secret"):
            function(text)


def test_a_value_is_not_read_again() -> None:
    assert substitute("mcpbox-secret:pg/password", {PG: f"mcpbox-secret:{XY} \\1"}) == f"mcpbox-secret:{XY} \\1"


def test_what_has_no_value_is_named() -> None:
    with pytest.raises(SecretError, match="there is no secret pg/password") as failure:
        substitute("mcpbox-secret:pg/password", {})
    assert failure.value.hint == "run: mcpbox secrets set pg/password"


@given(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}/[A-Za-z0-9_.-]{1,128}", fullmatch=True), st.text(), st.text())
def test_any_name_is_found_whatever_is_around_it(name: str, before: str, after: str) -> None:
    text = f"{before}mcpbox-secret:{name}\n{after}"
    assert references(text)[0] == parse(name)
    assert substitute(text, {parse(name): ""}) == f"{before}\n{after}"


@pytest.mark.parametrize("name", ["", "x", "a/b/c", "A/b", "a/b c", "a/"])
def test_a_name_on_the_command_line_is_a_name(name: str) -> None:
    with pytest.raises(UsageError, match="is not the name of a secret"):
        parse(name)
