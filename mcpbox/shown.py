"""Texts of strangers, fit to be shown. No I/O."""

from __future__ import annotations


def plain(text: str, most: int = 0) -> str:
    """``text`` on one line, with blanks for what a terminal obeys or nobody sees (CWE-150).

    It is cut to ``most`` characters, where that is not 0.
    """
    cut = text[: most + 1] if most else text
    shown = cut if cut.isprintable() else "".join(letter if letter.isprintable() else " " for letter in cut)
    return f"{shown[: most - 1]}…" if most and len(shown) > most else shown
