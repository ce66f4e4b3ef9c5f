"""Finds and removes what a reader does not see in a text and a model does: hidden and confusable Unicode. No I/O.

What is part of how a language or an emoji is written stays: joiners between letters that join, variation selectors
after what has variants, the tags of regional flags, marks of direction in a text that has letters from right to left.
"""

# ruff: noqa: RUF001, RUF002, RUF003 (letters that look like others are what this is about)

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from msgspec import Struct

from mcpbox.detect.hits import Hit
from mcpbox.patterns import lazily

#: Control characters but tab and line ends, as bytes of UTF-8.
_CONTROL_BYTES = bytes(code for code in (*range(32), 127) if chr(code) not in "\t\n\r")
#: Unicode's Default_Ignorable_Code_Point, with the rest of what has no picture: controls of direction, annotation
#: characters, C0 and C1 (U+0085, a line end, excepted). Private use is apart: icon fonts have pictures there.
INVISIBLE = (
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"
)
#: ECMA-48: control sequences, and control strings to their terminator, which no terminal shows. None within another:
#: each character is then looked at once, however many begin and never end.
_ESCAPE = (
    "(?:\x1b\\[|\x9b)[0-?]{0,64}[ -/]{0,8}[@-~]"
    "|(?:\x1b[\\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x90\x98\x9c-\x9f]{0,4096}(?:\x07|\x1b\\\\|\x9c)"
    "|\x1b[ -/]{0,8}[0-~]"
)
_ASCII = bytes(range(128))
#: By which a letter of ASCII is seen to stand beside a character that is none.
_SIDES = bytes(0x78 if code > 127 else 0x61 if chr(code).isalpha() else 0x20 for code in range(256))
#: So many different characters of a text are replaced one after the other.
_FEW = 16
_MARK = "\u0300-\u034e\u0350-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
#: Marks on one letter that some language or notation uses; more of them are there to hide or to flood.
_MARKS = 4
_SUSPECT = lazily(f"[{INVISIBLE}{_MARK}]+")
#: Of several in a row that might begin a sequence only the last one does.
_RUN = lazily(
    "[\x1b\x90\x98\x9b\x9d-\x9f]+(?=[\x1b\x90\x98\x9b\x9d-\x9f])"
    f"|[\x1b\x90\x98\x9b\x9d-\x9f]?[^\x1b\x90\x98\x9b\x9d-\x9f{_MARK}]*"
)
_FLOOD = lazily(f"[{_MARK}]+")
_ESCAPES = lazily(_ESCAPE)
_UNSEEN = lazily(f"{_ESCAPE}|[{INVISIBLE}]+")
#: What programs print to a terminal, but for what conceals (SGR 8): colours, moves of the cursor, and links.
_PRINTED = lazily("(?:\x1b\\[|\x9b)(?!(?:[0-9]{0,2};)?8[;m])[0-?]{0,64}[A-Za-z]|\x1b\\]8;")
_ESCAPING = frozenset("\x1b\x90\x98\x9b\x9d\x9e\x9f")
_PRIVATE = lazily("[\ue000-\uf8ff\U000f0000-\U0010fffd]+")

#: Of characters without a picture in a row so many may say something.
_MESSAGE = 4

_RIGHT_TO_LEFT = lazily("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]")
#: Letters that a joiner or a non-joiner after them may shape: Arabic, Syriac, N'Ko, Mongolian and the Indic scripts.
_JOINING = lazily(
    "[\u0600-\u08ff\u0900-\u0dff\u0f00-\u109f\u1780-\u18af\u1900-\u1cff\ua800-\uabff\ufb50-\ufdff\ufe70-\ufefc"
    "\U00010a00-\U00011fff]"
)
#: Scripts without spaces, whose lines U+200B lets break.
_SPACELESS = lazily("[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
_PICTURE = lazily("[#*0-9\u00a9\u00ae\u2010-\u205e\u2100-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff]")
_IDEOGRAPH = lazily("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U000323af]")
#: Regional flags: U+1F3F4 and the tags of a subdivision (UTS #51, section 2.6).
_FLAG = lazily("[\U000e0061-\U000e007a]{2}[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,3}\U000e007f")
#: What a hidden character is called, first match.
_KINDS = tuple(
    (kind, lazily(f"[{chars}]"))
    for kind, chars in (
        ("tag-characters", "\U000e0000-\U000e007f"),
        ("variation-selectors", "\ufe00-\ufe0f\U000e0100-\U000e01ef"),
        ("bidi-controls", "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"),
        ("zero-width", "\u200b-\u200d\u2060\ufeff"),
        ("control-characters", "\x00-\x1f\x7f-\x9f"),
        ("invisible-characters", "\\s\\S"),
    )
)
#: Weight of one hidden character, by kind. A stray joiner or byte order mark is nobody's attack; a hidden text is.
_WEIGHTS = {
    "tag-characters": 50,
    "variation-selectors": 10,
    "bidi-controls": 34,
    "zero-width": 5,
    "control-characters": 10,
    "invisible-characters": 10,
}

#: Cyrillic, Greek, Armenian and Latin letters that are drawn like an ASCII letter: the part of Unicode's
#: confusables.txt (UTS #39) that is used to write English words.
LOOKALIKES = {
    "а": "a", "в": "b", "с": "c", "ԁ": "d", "е": "e", "ё": "e", "һ": "h", "і": "i", "ї": "i", "ј": "j", "к": "k",
    "ӏ": "l", "м": "m", "н": "h", "о": "o", "р": "p", "ԛ": "q", "г": "r", "ѕ": "s", "т": "t", "у": "y", "ѵ": "v",
    "ԝ": "w", "х": "x", "А": "A", "В": "B", "С": "C", "Е": "E", "Н": "H", "І": "I", "Ј": "J", "К": "K", "М": "M",
    "О": "O", "Р": "P", "Ѕ": "S", "Т": "T", "Х": "X", "У": "Y", "Ү": "Y", "Ζ": "Z", "α": "a", "ε": "e", "η": "n",
    "ι": "i", "κ": "k", "ν": "v", "ο": "o", "ρ": "p", "σ": "o", "τ": "t", "υ": "u", "χ": "x", "γ": "y", "Α": "A",
    "Β": "B", "Ε": "E", "Η": "H", "Ι": "I", "Κ": "K", "Μ": "M", "Ν": "N", "Ο": "O", "Ρ": "P", "Τ": "T", "Υ": "Y",
    "Χ": "X", "ա": "w", "հ": "h", "ո": "n", "ս": "u", "օ": "o", "ց": "g", "ɑ": "a", "ɡ": "g", "ɩ": "i", "ı": "i",
    "ǃ": "!", "ⅼ": "l", "ʏ": "y", "ɪ": "i", "ɴ": "n", "ʀ": "r", "ʟ": "l", "ɢ": "g", "ʙ": "b", "ʜ": "h",
}  # fmt: skip
_ALIKE = "".join(LOOKALIKES)
_GREEK = frozenset("αεηικνρστυχγΑΒΕΗΙΚΜΝΟΡΤΥΧΖ")
#: The letter of Turkish, Azeri, Kazakh and others, whose words have it among ASCII letters.
_DOTLESS = "\u0131"
#: Of those, the ones that no reader can tell from an ASCII letter.
_GREEK_TWINS = frozenset("ικνορτυΑΒΕΗΙΚΜΝΟΡΤΥΧΖ")
_BESIDE = lazily(f"[{_ALIKE}](?:(?<=[A-Za-z].)|(?=[A-Za-z]))")
_WORD = lazily(f"[A-Za-z{_ALIKE}]+")
#: Longer words are not looked at to their ends.
_LONGEST_WORD = 64
#: Where characters begin that are folded: beyond punctuation and the letters of most languages.
_FOLDED = lazily(
    "[\u00c0-\u017f\u1d00-\u1eff\u2070-\u209f\u2100-\u218f\u2460-\u24ff\uff01-\uff5e\U0001d400-\U0001d7ff\U0001f110-\U0001f169]"
)
#: Compatibility forms of ASCII characters one for one (NFKC), and letters with accents: by which to compare.
_FOLDS = (
    (0xA0, 0x250), (0x1D00, 0x1DC0), (0x1E00, 0x1F00), (0x2000, 0x20A0), (0x2100, 0x2190), (0x2460, 0x2500),
    (0xFF01, 0xFF5F), (0x1D400, 0x1D800), (0x1F110, 0x1F16A),
)  # fmt: skip


class Traits(Struct, frozen=True):
    """What a text has: characters ``beyond`` ASCII, in most a few quotation marks and dashes; and whether something
    may be hidden in it, or words be mixed.

    The functions below take it, so that a long text is gone through for it once.
    """

    beyond: frozenset[str]
    hides: bool
    mixes: bool


def traits(text: str) -> Traits:
    data = text.encode("utf-8", "surrogatepass")
    hides = len(data.translate(None, _CONTROL_BYTES)) != len(data)
    if text.isascii():
        return Traits(frozenset(), hides, False)
    beyond = frozenset(data.translate(None, _ASCII).decode("utf-8", "surrogatepass"))
    mixes = False
    if not beyond.isdisjoint(LOOKALIKES):
        sides = data.translate(_SIDES)
        mixes = b"ax" in sides or b"xa" in sides
    return Traits(beyond, hides or any(map(_SUSPECT.match, beyond)), mixes)


def hidden(text: str, known: Traits | None = None) -> Iterator[tuple[int, int, str]]:
    """The spans that ``visible`` removes, in order, each with the kind of its first character. Linear in time."""
    if not (known or traits(text)).hides:
        return
    right_to_left: bool | None = None
    done = 0
    for match in _SUSPECT.finditer(text):
        at, end = max(match.start(), done), match.end()
        while at < end:
            if text[at] in _ESCAPING and (escape := _ESCAPES.match(text, at)):
                at = done = escape.end()
                yield *escape.span(), "escape-sequences"
            elif flood := _FLOOD.match(text, at):
                at = flood.end()
                if at - flood.start() > _MARKS:
                    yield flood.start() + _MARKS, at, "combining-flood"
            else:
                if right_to_left is None:
                    right_to_left = _RIGHT_TO_LEFT.search(text) is not None
                stop = _RUN.match(text, at, end).end()  # type: ignore[union-attr]
                yield from _hidden_in(text, at, stop, right_to_left)
                at = stop


def visible(text: str) -> str:
    """``text`` without what cannot be seen; ``text`` itself where there is nothing of the kind."""
    parts: list[str] = []
    at = 0
    for start, end, _ in hidden(text):
        parts.append(text[at:start])
        at = end
    return "".join([*parts, text[at:]]) if at else text


def scan(text: str, known: Traits | None = None, *, printed: bool = False) -> list[Hit]:
    """What is hidden, and words in letters of several scripts that look alike; in the order of the text, by kind.

    With ``printed`` the text may be what a program printed to a terminal, a page of the web, or no text at all: that it
    has control characters, colours and breaks within long words says nothing then.
    One hit for each kind, from the first to the last of it: many characters, however scattered, are one hidden text.
    """
    spans: dict[str, tuple[int, int, int]] = {}

    def add(kind: str, start: int, end: int, weight: int) -> None:
        first, _, before = spans.get(kind, (start, end, 0))
        spans[kind] = (first, end, min(100, before + weight))

    known = known or traits(text)
    for start, end, kind in hidden(text, known):
        if printed and _is_printed(text, start, end, kind):
            continue
        add(kind, start, end, _WEIGHTS.get(kind, 25) * (end - start if kind in _WEIGHTS else 1))
    for match in _PRIVATE.finditer(text) if any(map(_PRIVATE.match, known.beyond)) else ():
        add("private-use", *match.span(), (match.end() - match.start()) // 2)
    for start, end in mixed_words(text) if known.mixes else ():
        add("mixed-scripts", start, end, 40)
    return [Hit(start, end, kind, weight) for kind, (start, end, weight) in spans.items() if weight]


def _is_printed(text: str, start: int, end: int, kind: str) -> bool:
    few = kind in ("zero-width", "invisible-characters") and end - start < _MESSAGE
    return few or kind == "control-characters" or _PRINTED.match(text, start, end) is not None


def mixed_words(text: str) -> Iterator[tuple[int, int]]:
    """Words of ASCII letters and of others that look like them, and of nothing else: аdmin, with a Cyrillic а."""
    done = 0
    for beside in _BESIDE.finditer(text):
        if beside.start() < done:
            continue
        start = beside.start()
        while start > done and beside.start() - start < _LONGEST_WORD and _WORD.match(text[start - 1]):
            start -= 1
        end = done = _WORD.match(text, start, start + _LONGEST_WORD).end()  # type: ignore[union-attr]
        word = text[start:end]
        whole = not (text[start - 1 : start].isalpha() or text[end : end + 1].isalpha())
        if whole and sum(map(str.isascii, word)) >= 2:
            # Units and formulas have a Greek letter at one end (μs, TNFα); a disguise has it anywhere.
            foreign = any(letter > "\x7f" and letter not in _GREEK and letter != _DOTLESS for letter in word)
            if foreign or any(letter in _GREEK_TWINS for letter in word[1:-1]):
                yield start, end


def folded(text: str, known: Traits | None = None) -> tuple[str, list[tuple[int, int]]]:
    """``text`` in lower case, ASCII for what looks like it, without the invisible, to be searched for English words.

    The second part says where that is in ``text``: pairs of a position in the folded text and one in ``text``, from
    which on the two run alike.
    """
    known = known or traits(text)
    if not known.beyond and not known.hides:
        # Of ASCII alone, which bytes.lower() takes half the time for.
        return text.encode().lower().decode(), [(0, 0)]
    parts: list[str] = []
    pairs: list[tuple[int, int]] = [(0, 0)]
    at = size = 0
    for start, end, _ in hidden(text, known):
        parts.append(text[at:start])
        size += start - at
        at = end
        pairs.append((size, end))
    kept = "".join([*parts, text[at:]])
    # What was hidden may have stood between the letters of a word.
    if known.mixes or (at and not known.beyond.isdisjoint(LOOKALIKES)):
        kept = _unmixed(kept)
    if any(map(_FOLDED.match, known.beyond)):
        kept = _unfolded(kept, known.beyond)
    return _lower(kept, known.beyond), pairs


def _unfolded(text: str, beyond: frozenset[str]) -> str:
    """As ``text.translate(_plain())``, which takes 50 ns for each character of a text that is not of ASCII alone."""
    table = _plain()
    found = [each for each in beyond if ord(each) in table]
    if len(found) > _FEW:
        return text.translate(table)
    for each in found:
        text = text.replace(each, table[ord(each)])
    return text


def _lower(text: str, beyond: frozenset[str]) -> str:
    """As ``text.lower()``, which is several times slower where the text is not of ASCII alone."""
    capitals = () if text.isascii() else [each for each in beyond if each != each.lower()]
    # The small form of sigma depends on where it stands.
    if len(capitals) > _FEW or "\u03a3" in capitals:
        return text.lower()
    text = text.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")
    for each in capitals:
        text = text.replace(each, each.lower())
    return text


def hides(text: str, controls: int) -> bool:
    """Whether anything in ``text`` could be invisible, but for so many control characters; quick, not exact."""
    if not text.isascii() and any(map(_SUSPECT.match, traits(text).beyond)):
        return True
    data = text.encode("latin-1", "replace")
    return len(data) - len(data.translate(None, _CONTROL_BYTES)) > controls


def unseen(text: str) -> Iterator[tuple[int, int]]:
    """The spans that nobody sees, the joiners and hyphens that ``visible`` leaves among them. Linear in time."""
    return (match.span() for match in _UNSEEN.finditer(text))


def _unmixed(text: str) -> str:
    parts: list[str] = []
    at = 0
    for start, end in mixed_words(text):
        parts += (text[at:start], text[start:end].translate(_alike()))
        at = end
    return "".join([*parts, text[at:]])


def _hidden_in(text: str, start: int, end: int, right_to_left: bool) -> Iterator[tuple[int, int, str]]:
    """What of the run ``text[start:end]`` of invisible characters has no business between its neighbours."""
    before, after = text[start - 1 : start], text[end : end + 1]
    if before == "\U0001f3f4" and (flag := _FLAG.match(text, start, end)):
        start = flag.end()
    selected = joined = False
    dropped = -1
    for at in range(start, end):
        char = text[at]
        keep = False
        if "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef":
            keep = not selected and at == start and _selects(before, char)
            selected = True
        elif char in "\u200c\u200d":
            keep = not joined and _joins(before, after, char)
            joined = True
        elif char in "\u200e\u200f\u061c\u202a\u202b\u202c\u2066\u2067\u2068\u2069":
            keep = right_to_left
        elif char == "\u200b":
            keep = bool(at == start and before and _SPACELESS.match(before))
        elif char == "\u00ad":
            keep = end - start == 1 and before.isalpha() and after.isalpha()
        elif char == "\ufeff":
            keep = at == 0
        elif "\u180b" <= char <= "\u180f":
            keep = at == start and "\u1800" <= before <= "\u18af"
        elif char in "\u115f\u1160":
            keep = "\u1100" <= before <= "\u11ff" or "\u1100" <= after <= "\u11ff"
        elif char == "\u034f":
            keep = at == start and "\u0300" <= before <= "\u05ff"
        if keep and dropped >= 0:
            yield dropped, at, _kind(text[dropped])
            dropped = -1
        elif not keep and dropped < 0:
            dropped = at
    if dropped >= 0:
        yield dropped, end, _kind(text[dropped])


def _selects(before: str, selector: str) -> bool:
    if selector in "\ufe0e\ufe0f":
        return bool(before) and _PICTURE.match(before) is not None
    if selector >= "\U000e0100":
        return bool(before) and _IDEOGRAPH.match(before) is not None
    return bool(before) and (_IDEOGRAPH.match(before) is not None or "\u2200" <= before <= "\u22ff")


def _joins(before: str, after: str, joiner: str) -> bool:
    if before and _JOINING.match(before):
        return True
    pictures = bool(before and after) and before > "\u2100" and after > "\u2100"
    return joiner == "\u200d" and pictures and bool(_PICTURE.match(before) and _PICTURE.match(after))


def _kind(char: str) -> str:
    return next(kind for kind, pattern in _KINDS if pattern.match(char))


_tables: dict[str, dict[int, str]] = {}


def _alike() -> dict[int, str]:
    return _tables.setdefault("alike", str.maketrans(LOOKALIKES))


def _plain() -> dict[int, str]:
    if "plain" not in _tables:
        table = {}
        for first, last in _FOLDS:
            for code in range(first, last):
                plain = unicodedata.normalize("NFKD", chr(code))[:1]
                if plain.isascii() and plain != " " * len(plain) and len(plain) == 1:
                    table[code] = plain
        # Signs that stand between words, and the one letter whose small form is two characters,
        # and the one that is no other script's.
        _tables["plain"] = table | {0xA0: " ", 0x2019: "'", 0x2018: "'", 0x130: "i", 0x131: "i"}
    return _tables["plain"]
