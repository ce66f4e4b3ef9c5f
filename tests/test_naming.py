from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpbox.naming import Globs, is_plain, is_plain_uri


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("send_email", True),
        ("send email", True),
        ("读取文件", True),
        ("\u00e9", True),
        ("e\u0301", False),
        ("\u212b", False),
        ("a\tb", False),
        ("a\u00a0b", False),
        ("a\u2028b", False),
        ("a\u200db", False),
        ("a\ufe0f", False),
        ("a\u00adb", False),
        ("\u2066a\u2069", False),
        ("\ue000", False),
        ("\U000e0061", False),
        ("\U000e0100", False),
        ("\u2800", False),
        ("", False),
        ("x" * 1024, True),
        ("x" * 1025, False),
    ],
)
def test_plain_names(name: str, plain: bool) -> None:
    assert is_plain(name) == plain


@given(st.text())
def test_a_plain_name_has_one_form_and_prints(name: str) -> None:
    if is_plain(name):
        assert unicodedata.normalize("NFC", name) == name and name.isprintable()


def test_a_uri_may_be_of_a_file_in_another_form() -> None:
    assert is_plain_uri("file:///e\u0301") and not is_plain_uri("file:///\u200b") and not is_plain_uri("")


@given(st.lists(st.text("ab*?", max_size=4), max_size=3), st.text("ab", max_size=5))
def test_another_layer_only_narrows(globs: list[str], name: str) -> None:
    base = Globs(((("a*", "b"), ("ab*",)),))
    narrowed = Globs((*base.layers, (globs, ())))
    assert base.allow(name) or not narrowed.allow(name)
    assert base.allow_uri(name) or not narrowed.allow_uri(name)


def test_nothing_allowed_is_nothing() -> None:
    assert not Globs((((), ()),)).allow("a") and not Globs((((), ()),)).allow_uri("a:b")
