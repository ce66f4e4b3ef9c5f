"""Says which known name another could be mistaken for, and how. No I/O.

Names that are spelt alike (``send_email``, ``sendEmail``) are a coincidence as often as not, since servers do like
things; names that are different characters and look the same never are. The table of look-alikes holds what is read as
a Latin letter or a digit, after Unicode TR 39, for the alphabets in which names are faked.
"""

# ruff: noqa: RUF001

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

from mcpbox.detect.unicode import INVISIBLE, LOOKALIKES
from mcpbox.patterns import lazily

#: How a name is like another: letter for letter; but for case and separators; by other characters that look the same;
#: as hosts write the other server's tool; but for a letter or an "s".
Likeness = Literal["same", "spelling", "look-alike", "prefixed", "near"]
#: Those that no honest server has, and those that are worth a word.
DECEPTIVE = frozenset[Likeness](("look-alike", "prefixed"))
#: Letters from which on one more or less is a slip rather than another word.
LONG = 10

#: By Latin letter, what is read as it in a name, besides what would be in running text.
_ALIKE = {
    "c": "ϲ", "e": "ҽ", "j": "ϳ", "l": "ǀ", "n": "п", "o": "ᴏ०੦๐໐", "s": "ʂ", "u": "μ", "w": "ω", "y": "ў", "z": "ᴢ",
    "C": "Ϲ", "I": "Ӏ",
}  # fmt: skip
_LATIN = str.maketrans(LOOKALIKES | {alike: letter for letter, row in _ALIKE.items() for alike in row})
#: What reads alike in print, in lower case; for comparing, not for showing.
_PRINT = str.maketrans("01|!35$47@", "olllessata")
_INVISIBLE = lazily(f"[{INVISIBLE}]")
_ODD = frozenset("01|!35$47@")
# As in "emaiI"; that of "getIssue" begins a word.
_CAPITAL = lazily(r"(?<=[a-z])I(?![A-Za-z])")
_SEPARATORS = lazily(r"[\W_]+")
_SCRIPTS = ("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "HEBREW", "ARABIC")


class Likely(Struct, frozen=True):
    """The known name that another is like, with the server that has it."""

    likeness: Likeness
    server: str
    name: str


class Names:
    """Known names, each with the server it belongs to."""

    def __init__(self, known: Iterable[tuple[str, str]]) -> None:
        self._spelt: dict[str, tuple[str, str]] = {}
        self._same: dict[str, tuple[str, str]] = {}
        self._looks: dict[str, tuple[str, str]] = {}
        self._prefixed: dict[str, tuple[str, str]] = {}
        self._near: dict[str, tuple[str, str]] = {}
        for server, name in known:
            owner = (server, name)
            self._same.setdefault(name, owner)
            self._spelt.setdefault(spelling(name), owner)
            self._looks.setdefault(looks(name), owner)
            for form in (f"{server}__{name}", f"{server}.{name}", f"{server}:{name}", f"{server}/{name}"):
                self._prefixed.setdefault(unhidden(form).lower(), owner)
            for form in _slips(name):
                self._near.setdefault(form, owner)

    def like(self, name: str) -> Likely | None:
        """The closest of them, None if ``name`` is like none."""
        if owner := self._same.get(name):
            return Likely("same", *owner)
        plain = unhidden(name).lower().removeprefix("mcp__")
        if owner := self._prefixed.get(plain):
            return Likely("prefixed", *owner)
        if name.isascii() and (owner := self._spelt.get(spelling(name))) and owner[1].isascii():
            return Likely("spelling", *owner)
        if owner := self._looks.get(looks(name)):
            return Likely("look-alike", *owner)
        for form in _slips(name):
            if owner := self._near.get(form):
                return Likely("near", *owner)
        return None


def unhidden(text: str) -> str:
    """``text`` as it is read: compatibility forms and look-alikes as Latin letters, nothing invisible, no accents."""
    if text.isascii():
        return text
    shown = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).translate(_LATIN)
    return "".join(char for char in unicodedata.normalize("NFD", shown) if not unicodedata.combining(char))


def spelling(name: str) -> str:
    """The same for ``read_file``, ``readFile`` and ``Read-File``."""
    return _SEPARATORS.sub("", name).lower()


def looks(name: str) -> str:
    """The same for names that look alike in print: with 0 for o, a capital i for l, rn for m."""
    plain = _SEPARATORS.sub("", unhidden(name)).replace("I", "l").lower().translate(_PRINT).replace("i", "l")
    return plain.replace("rn", "m").replace("vv", "w")


def oddness(name: str) -> int:
    """How many characters of a name stand where another is expected: of two that look alike, which is the fake."""
    return sum(not char.isascii() or char in _ODD for char in name) + len(_CAPITAL.findall(name))


def is_mixed(name: str) -> bool:
    """Whether letters of two of the alphabets that look alike stand in one name."""
    if name.isascii():
        return False
    return len({script for char in name if char.isalpha() for script in _SCRIPTS if _in(char, script)}) > 1


def _in(char: str, script: str) -> bool:
    return unicodedata.name(char, "").startswith(script)


def _slips(name: str) -> Iterable[str]:
    """What a long name is with any one letter left out, itself among them: two names share one if a letter differs."""
    plain = spelling(unhidden(name))[:64]
    if len(plain) < LONG:
        return ()
    return {plain, *(plain[:at] + plain[at + 1 :] for at in range(len(plain)))}
