"""Patterns that are compiled when first used: as good as compiled ones, and none of the package's is wrong."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import mcpbox
from mcpbox.patterns import Uncompiled, lazily

PACKAGE = Path(mcpbox.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if "import lazily" in path.read_text()
)


def uncompiled(value: object) -> Iterator[Uncompiled]:
    if isinstance(value, Uncompiled):
        yield value
    elif isinstance(value, tuple):
        for inner in value:
            yield from uncompiled(inner)


@pytest.mark.parametrize("module", MODULES)
def test_every_pattern_of_a_module_compiles(module: str) -> None:
    found = [each for value in vars(importlib.import_module(module)).values() for each in uncompiled(value)]
    assert found
    for each in found:
        re.compile(each.source, each.flags)


def test_a_pattern_does_what_a_compiled_one_does() -> None:
    source, text = r"(B)(\d)", "b1 B2 c3 b4"
    for name in ("match", "fullmatch", "search"):
        mine, real = getattr(lazily(source, re.I), name)(text), getattr(re.compile(source, re.I), name)(text)
        assert (mine and mine.span()) == (real and real.span()), name
    pattern, compiled = lazily(source, re.I), re.compile(source, re.I)
    assert [each.groups() for each in pattern.finditer(text)] == [each.groups() for each in compiled.finditer(text)]
    assert pattern.match(text, 3, 5) is not None and pattern.match(text, 2) is None
    assert (pattern.findall(text), pattern.split(text)) == (compiled.findall(text), compiled.split(text))
    assert (pattern.sub("-", text), pattern.subn("-", text)) == (compiled.sub("-", text), compiled.subn("-", text))
    assert lazily(rb"[0-9]+").findall(b"a1 22") == [b"1", b"22"]


def test_it_is_compiled_at_the_first_use_and_once() -> None:
    pattern = lazily("a(")
    with pytest.raises(re.error, match="unterminated"):
        pattern.search("a")
    kept = lazily("a+")
    assert kept.match == kept.match and kept.match("aa") is not None
    assert "search" in vars(kept), "the next use goes to the compiled pattern itself"


def test_what_it_does_not_have_is_told() -> None:
    with pytest.raises(AttributeError, match="'groupindex' is not among match, "):
        _ = lazily("a").groupindex
