"""What is different between two definitions, to be read by people. No I/O.

Lines are bounded in what they show and in the time they take, whatever the definitions are; what cannot be seen in a
text, or looks like something else, is shown as its code points.
"""

from __future__ import annotations

import difflib
import json
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from msgspec import Struct

from mcpbox.naming import is_unseen
from mcpbox.texts import Path

#: Differences that are shown of one definition, and characters of each side of one.
MOST = 100
SHOWN = 4000
#: Differences whose words are compared, and words that are: it takes time that grows with more than their product.
CLOSE = 10
WORDS = 100
#: A text of fewer characters is shown whole, old and new.
SHORT = 60
#: Words around a difference.
AROUND = 4


class Difference(Struct, frozen=True):
    """``old`` and ``new`` are None where there is nothing on that side (JSON's null is the text "null")."""

    path: Path
    old: str | None
    new: str | None


def differences(old: Any, new: Any, most: int | None = None) -> list[Difference]:
    """Where the two differ, field by field, at most ``most``; ``old`` is None where there was nothing."""
    return list(islice(_walk((), {} if old is None and isinstance(new, dict) else old, new), most))


def lines(old: Any, new: Any, close: int = CLOSE) -> list[str]:
    """The differences in lines that begin with " ", "-" or "+".

    Of the first ``close`` also what is the same between words that differ is told apart.
    """
    found = differences(old, new, MOST)
    text = [line for at, each in enumerate(found) for line in _lines(each, at < close)]
    return [*text, "  … and perhaps more: mcpbox tools diff --json has all of it"] if len(found) == MOST else text


def plain(text: str) -> str:
    """The text with what is not seen, or not seen for what it is, as code points; on one line."""
    # What tags spell is ASCII that only a model reads (U+E0000 block).
    shown = []
    for at, letter in enumerate(text):
        if letter == "\n":
            shown.append("\\n")
        elif 0xE0020 <= ord(letter) < 0xE007F:
            shown.append(f"<TAG {chr(ord(letter) - 0xE0000)}>")
        elif is_unseen(letter) or (letter.isspace() and letter != " ") or _is_posing(text, at):
            shown.append(f"{letter if letter.isalpha() and not is_unseen(letter) else ''}<U+{ord(letter):04X}>")
        else:
            shown.append(letter)
    return "".join(shown)


def _is_posing(text: str, at: int) -> bool:
    """Whether a letter of another script stands beside one of ASCII, as in a word that is to look like another."""
    letter = text[at]
    if letter.isascii() or not letter.isalpha() or unicodedata.east_asian_width(letter) == "W":
        return False
    if unicodedata.normalize("NFD", letter)[0].isascii():
        return False
    beside = text[max(at - 1, 0) : at] + text[at + 1 : at + 2]
    return any(other.isascii() and other.isalpha() for other in beside)


def _walk(path: Path, old: Any, new: Any) -> Iterator[Difference]:
    """Steps through both at once; below what is only in one of them everything is."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys((*old, *new)):
            if key not in old:
                yield Difference((*path, key), None, _text(new[key]))
            elif key not in new:
                yield Difference((*path, key), _text(old[key]), None)
            else:
                yield from _walk((*path, key), old[key], new[key])
    elif isinstance(old, list) and isinstance(new, list):
        for at in range(max(len(old), len(new))):
            if at >= len(old):
                yield Difference((*path, at), None, _text(new[at]))
            elif at >= len(new):
                yield Difference((*path, at), _text(old[at]), None)
            else:
                yield from _walk((*path, at), old[at], new[at])
    elif old is None and new is not None and not path:
        yield Difference(path, None, _text(new))
    elif type(old) is not type(new) or old != new:
        yield Difference(path, _text(old), _text(new))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _lines(each: Difference, close: bool) -> Iterator[str]:
    where = ".".join(plain(str(step)) for step in each.path)
    yield f"  {where[:SHOWN] or 'all of it'}:"
    if each.old is None or each.new is None:
        mark, text = ("+", each.new) if each.old is None else ("-", each.old)
        yield from (f"{mark} {_cut(line)}" for line in _broken(text or ""))
    elif max(len(each.old), len(each.new)) <= SHORT:
        yield f"- {plain(each.old)}"
        yield f"+ {plain(each.new)}"
    else:
        yield from _words(each.old.split(" "), each.new.split(" "), close)


def _words(old: list[str], new: list[str], close: bool) -> Iterator[str]:
    """The words that differ, with a few around them."""
    lead = max(_common(old, new) - AROUND, 0)
    tail = max(_common(old[lead:][::-1], new[lead:][::-1]) - AROUND, 0)
    one, other = old[lead : len(old) - tail], new[lead : len(new) - tail]
    parts = [(slice(None), slice(None))]
    if close and len(one) <= WORDS and len(other) <= WORDS:
        groups = difflib.SequenceMatcher(None, one, other, autojunk=False).get_grouped_opcodes(AROUND)
        parts = [(slice(group[0][1], group[-1][2]), slice(group[0][3], group[-1][4])) for group in groups]
    for before, after in parts:
        yield f"- {'… ' * bool(lead or before.start)}{_cut(' '.join(one[before]))}"
        yield f"+ {'… ' * bool(lead or after.start)}{_cut(' '.join(other[after]))}"


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _broken(text: str) -> list[str]:
    return text[:SHOWN].split("\n") if len(text) <= SHOWN else [text]


def _cut(text: str) -> str:
    return plain(text) if len(text) <= SHOWN else f"{plain(text[:SHOWN])} … {len(text) - SHOWN} characters more"
