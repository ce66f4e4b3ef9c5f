"""Names that servers give things: what is in them that nobody sees, and which of them a profile allows. No I/O.

Two names are one only if they have the same code points: that is what a host sends, and a server looks up.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from fnmatch import fnmatchcase

from msgspec import Struct

from mcpbox.patterns import lazily

#: Characters of a name; the specification wants tools' to have 128 at most (server/tools, "Tool Names").
MAX_NAME = 1024
#: Characters of a URI.
MAX_URI = 8192

# Control, format (bidirectional, zero-width, tags), surrogate, private, unassigned, line and paragraph separators.
_UNSEEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
# Letters and marks without a form of their own: fillers, joiners, variation selectors, the empty Braille cell.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | {
    chr(code) for low, high in ((0x180B, 0x180F), (0xFE00, 0xFE0F), (0xE0100, 0xE01EF)) for code in range(low, high + 1)
}
_DOTS = lazily(r"(?:^|[/\\])\.{1,2}(?:$|[/\\?#])")
#: How often a percent sign may itself be encoded; a URI that is deeper is nobody's.
_LAYERS = 4


def is_unseen(letter: str) -> bool:
    """Whether a character leaves no trace of itself on a screen, or changes how others stand there."""
    return unicodedata.category(letter) in _UNSEEN or letter in _BLANK


def is_plain(name: str) -> bool:
    """Whether a name is what it looks like: in normal form (NFC), of seen characters and plain spaces only."""
    if name.isascii():
        return 0 < len(name) <= MAX_NAME and name.isprintable()
    return (
        len(name) <= MAX_NAME
        and unicodedata.is_normalized("NFC", name)
        and not any(is_unseen(letter) or (letter.isspace() and letter != " ") for letter in name)
    )


def is_plain_uri(uri: str) -> bool:
    """The same of a URI, which may be of a file whose name is not in normal form."""
    if uri.isascii():
        return 0 < len(uri) <= MAX_URI and uri.isprintable()
    return len(uri) <= MAX_URI and not any(map(is_unseen, uri))


class Globs(Struct, frozen=True):
    """Pairs of globs that allow and that deny, each of which has to let a name pass: one can only narrow another."""

    layers: tuple[tuple[Sequence[str], Sequence[str]], ...] = ((("*",), ()),)

    def allow(self, name: str) -> bool:
        """Whether they let the name pass."""
        return all(
            any(fnmatchcase(name, glob) for glob in allow) and not any(fnmatchcase(name, glob) for glob in deny)
            for allow, deny in self.layers
        )

    def allow_uri(self, uri: str) -> bool:
        """Whether they let a URI pass however its server reads it: as it is, and percent-decoded.

        A glob that denies does so whatever the case, and one that allows only some does not allow a path that leads
        back up.
        """
        if all(tuple(allow) == ("*",) and not deny for allow, deny in self.layers):
            return True
        from urllib.parse import unquote

        forms = [uri]
        while len(forms) <= _LAYERS and (decoded := unquote(forms[-1])) != forms[-1]:
            forms.append(decoded)
        if len(forms) > _LAYERS or any(_DOTS.search(form) or not is_plain_uri(form) for form in forms):
            return False
        return all(
            any(fnmatchcase(form, glob) for glob in allow)
            and not any(fnmatchcase(form.casefold(), glob.casefold()) for glob in deny)
            for allow, deny in self.layers
            for form in forms
        )
