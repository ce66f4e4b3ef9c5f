"""Whether the texts of a definition or of a result attack the model, and by which of them. No I/O."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from mcpbox.detect import unicode
from mcpbox.detect.hits import THRESHOLD, Hit, score
from mcpbox.detect.instructions import Where, may_speak, scan_text
from mcpbox.texts import Path

#: Spans that go on record, of many; and how much of the names of their places.
_SPANS, _STEPS, _STEP = 12, 8, 40
#: A kind on its own says little below this weight.
_TELLING = 20
#: Characters of a text up to which it pays to find out first whether it can have anything.
_BRIEF = 4096
#: Further from where two texts meet nothing is that belongs to both: the longest blob that is decoded has half of it.
_END = 8192


class Attack(Struct, frozen=True):
    """``hits`` are of the texts joined by line ends, heaviest first; ``found`` says of them what may go on record."""

    score: int
    hits: tuple[Hit, ...]
    found: dict[str, Any]

    @property
    def kinds(self) -> str:
        """In words, the heaviest first."""
        return ", ".join(self.found["kinds"])


class Read(Struct, frozen=True):
    """Texts read as one: the hits in them and what these amount to, how many characters lie between two, and what else
    there is."""

    hits: list[Hit]
    score: int
    gap: int
    traits: unicode.Traits


def read(parts: Sequence[str], where: Where) -> Read:
    """``parts`` as one text, in their order, since an instruction may be spread over several; and where there are
    several, a second time without anything between them, since a word may be."""
    joined = "\n".join(parts)
    known = unicode.traits(joined)
    if len(joined) <= _BRIEF and not known.beyond and not known.hides and not may_speak(joined, where):
        if len(parts) < 2 or not may_speak("".join(parts), where):
            return Read([], 0, 1, known)
    hits = [
        *scan_text(joined, where=where, known=known),
        *unicode.scan(joined, known, printed=where == "data"),
    ]
    total = score(hits)
    if len(parts) > 1 and total < THRESHOLD and _spans_two(parts, where):
        glued = [hit for hit in scan_text("".join(parts), where=where) if hit.weight >= _TELLING]
        if (more := score(glued)) > total and more >= THRESHOLD:
            return Read(glued, more, 0, known)
    return Read(hits, total, 1, known)


def _spans_two(parts: Sequence[str], where: Where) -> bool:
    """Whether something telling begins in one part and ends in another, which only their ends can say."""
    ends: list[str] = []
    seams: list[int] = []
    at = 0
    for part in parts:
        if len(part) > 2 * _END:
            part = f"{part[:_END]}\n\n{part[-_END:]}"
        ends.append(part)
        at += len(part)
        seams.append(at)
    return any(
        hit.weight >= _TELLING and seams[bisect.bisect_right(seams, hit.start)] < hit.end
        for hit in scan_text("".join(ends), where=where)
    )


def attack_in(texts: Sequence[tuple[Path, str]], where: Where) -> Attack | None:
    """The attack that ``texts``, each with its place, are taken for; None if they are not."""
    return attack_of(texts, read([text for _, text in texts], where))


def attack_of(texts: Sequence[tuple[Path, str]], found: Read) -> Attack | None:
    """The same, where they have been read."""
    hits, total, gap = found.hits, found.score, found.gap
    if total < THRESHOLD:
        return None
    starts, at = [], 0
    for _, text in texts:
        starts.append(at)
        at += len(text) + gap
    heaviest = sorted(hits, key=lambda hit: -hit.weight)
    spans = []
    for hit in heaviest[:_SPANS]:
        index = bisect.bisect_right(starts, hit.start) - 1
        spans.append([place(texts[index][0]), hit.start - starts[index], hit.end - starts[index], hit.kind, hit.weight])
    kinds = list(dict.fromkeys(hit.kind for hit in heaviest if hit.weight >= _TELLING))
    return Attack(total, tuple(heaviest), {"score": total, "kinds": kinds, "spans": spans})


def place(path: Path) -> str:
    """A path as it goes on record: the server's own names in it are cut short."""
    return ".".join(str(step)[:_STEP] for step in path[:_STEPS]) + ("…" if len(path) > _STEPS else "")
