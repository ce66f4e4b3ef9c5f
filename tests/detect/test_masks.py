from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mcpbox.detect import masks
from mcpbox.detect.masks import MASK, Masks, in_url


def test_a_value_keeps_its_mask_and_another_gets_another() -> None:
    session = Masks()
    first = session.mask("secret github-token", "one")
    assert first == "<secret github-token #1>" == session.mask("secret github-token", "one")
    assert session.mask("card", "two") == "<card #2>"
    assert MASK.fullmatch(first) and MASK.fullmatch(session.mask("secret github/A_b.c-D", "three"))


def test_only_what_the_server_sent_is_turned_back_and_only_where_that_is_wanted() -> None:
    for reversible, back, expected in ((True, True, 1), (True, False, 0), (False, True, 0)):
        session = Masks(reversible=reversible)
        mask = session.mask("card", "4539", back=back)
        assert session.restored(f"a {mask}, {in_url(mask)}")[1] == 2 * expected
        assert session.holds is bool(expected)


def test_a_value_that_the_server_sends_later_is_turned_back_from_then_on() -> None:
    session = Masks(reversible=True)
    mask = session.mask("card", "4539")
    assert session.restored(mask) == (mask, 0)
    assert session.mask("card", "4539", back=True) == mask
    assert session.restored(f"[{mask}]") == ("[4539]", 1)


def test_what_is_not_wholly_a_mask_that_was_given_stays() -> None:
    session = Masks(reversible=True)
    session.mask("card", "4539", back=True)
    for text in (
        "<card #2>",
        "<card #1",
        "card #1>",
        "<card #01>",
        "<iban #1>",
        "<CARD #1>",
        "< card #1>",
        "%3Ccard#1",
    ):
        assert session.restored(text) == (text, 0)


def test_a_value_that_has_a_mask_in_it_is_turned_back_once() -> None:
    session = Masks(reversible=True)
    session.mask("card", "<card #2>", back=True)
    session.mask("card", "secret", back=True)
    assert session.restored("<card #1>") == ("<card #2>", 1)


def test_the_table_is_bounded() -> None:
    session = Masks(reversible=True)
    for number in range(masks.MAX_NUMBERED + 10):
        session.mask("card", f"{number}" * 100, back=True)
    assert session.mask("card", "one more", back=True) == "<card #0>"
    assert session.mask("card", "0" * 100) == "<card #1>"
    kept = [session.restored(f"<card #{number}>")[0] for number in range(1, masks.MAX_NUMBERED + 1)]
    assert sum(len(text) for text in kept if not text.startswith("<")) <= masks.MAX_KEPT


@given(st.lists(st.tuples(st.sampled_from(["card", "secret a/b"]), st.text(min_size=1)), max_size=10), st.text())
def test_what_was_masked_comes_back(values: list[tuple[str, str]], text: str) -> None:
    session = Masks(reversible=True)
    made = [session.mask(*value, back=True) for value in values]
    assert session.restored(" ".join(made)) == (" ".join(value for _, value in values), len(values))
    assert session.restored(text.replace("#", ""))[0] == text.replace("#", "")
