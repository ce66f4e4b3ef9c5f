from __future__ import annotations

import random
import re
import subprocess
import sys

import pytest
from detect.fakes import fake
from hypothesis import example, given
from hypothesis import strategies as st

from mcpbox.detect import tokens
from mcpbox.detect.engine import NEAR_RUN, Engine, Literals

EACH = pytest.mark.parametrize("row", tokens.TOKENS, ids=lambda row: row.kind)
ENGINE = Engine(["://"])
LONG = 256 << 10

#: What texts are made of: tokens, their beginnings and ends, their marks, and what stands around them.
PIECES = st.one_of(
    st.builds(lambda row, seed: fake(row.pattern, random.Random(seed)), st.sampled_from(tokens.TOKENS), st.integers()),
    st.builds(
        lambda row, seed, cut: fake(row.pattern, random.Random(seed))[slice(*cut)],
        st.sampled_from(tokens.TOKENS),
        st.integers(),
        st.sampled_from([(1, None), (None, -1), (5, None), (None, 20)]),
    ),
    st.sampled_from([mark for row in tokens.TOKENS for mark in row.marks]),
    st.sampled_from([" ", "\n", '"', "=", "-", ".", "/", "a", "_", "+", "é", "€", "😀", "\ud800", "İ", "\0"]),
    st.text(max_size=30),
)


@given(st.lists(PIECES, max_size=12).map("".join))
@example("sk-sk-" * 500)
@example("." * 500)
def test_tokens_are_those_that_trying_every_pattern_finds(text: str) -> None:
    assert ENGINE.find(text).tokens == list(tokens.scan(text))
    # Among so much other text that no pattern goes over all of it.
    padded = f"{text}{' padding' * 2000}{text}"
    assert ENGINE.find(padded).tokens == list(tokens.scan(padded))


@EACH
def test_a_mark_stands_where_the_format_says(row: tokens.Format) -> None:
    rng = random.Random(row.kind)
    least, most = row.before
    places = set()
    for _ in range(200):
        token = fake(row.pattern, rng)
        found = {at for mark in row.marks for at in range(least, most + 1) if token.startswith(mark, at)}
        assert found, token
        places |= found
    assert {min(places), max(places)} <= set(range(least, most + 1))


@given(
    st.lists(st.text(min_size=1, max_size=3) | st.text("ab", min_size=1, max_size=50), max_size=5),
    st.text() | st.text("ab", max_size=200),
)
def test_every_occurrence_of_a_literal_is_found(wanted: list[str], text: str) -> None:
    expected = [
        (start, index)
        for index, literal in enumerate(wanted)
        for start in range(len(text))
        if text.startswith(literal, start)
    ]
    # And in front of so much that is none of them that it is looked for in another way.
    letters = set("".join((*wanted, text)))
    padding = next(each for each in map(chr, range(32, 1 << 16)) if each not in letters)
    literals = Literals(wanted)
    for longer in (text, text + padding * LONG, text):
        found = literals.find(longer)
        assert sorted((start, index) for index, start in found) == sorted(expected)
        assert [start for _, start in found] == sorted(start for _, start in found)


def test_literals_of_the_caller_are_found_along_with_tokens() -> None:
    token = "ghp_" + "a1B2" * 9
    engine = Engine(["a secret", "a secret of more than thirty-two characters"])
    found = engine.find(f"é {token} a secret of more than thirty-two dogs")
    assert found.tokens == [(2, 2 + len(token), "github-token")]
    assert found.literals == [(0, 3 + len(token))]


def test_an_empty_literal_is_refused() -> None:
    with pytest.raises(ValueError, match="an empty literal"):
        Literals(["a", ""])


def test_the_library_is_imported_when_it_is_needed_and_no_earlier() -> None:
    code = (
        "import sys, mcpbox.detect.engine as e; before = 'ahocorasick_rs' in sys.modules; "
        "e.Engine([]); print(before, 'ahocorasick_rs' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


@pytest.mark.parametrize("row", [row for row in tokens.TOKENS if row.near], ids=lambda row: row.kind)
def test_a_token_with_a_common_mark_has_a_long_run(row: tokens.Format) -> None:
    rng = random.Random(row.kind)
    for _ in range(100):
        assert re.search(rf"[A-Za-z0-9_-]{{{NEAR_RUN}}}", fake(row.pattern, rng))
