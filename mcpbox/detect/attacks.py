"""Whether the texts of a definition or of a result attack the model, and by which of them. No I/O."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from mcpbox.detect import unicode
from mcpbox.detect.hits import THRESHOLD, Hit, score
from mcpbox.detect.instructions import Where, scan_text
from mcpbox.texts import Path

#: Spans that go on record, of many; and how much of the names of their places.
_SPANS, _STEPS, _STEP = 12, 8, 40
#: A kind on its own says little below this weight.
_TELLING = 20


class Attack(Struct, frozen=True):
    """``hits`` are of the texts joined by line ends, heaviest first; ``found`` says of them what may go on record."""

    score: int
    hits: tuple[Hit, ...]
    found: dict[str, Any]

    @property
    def kinds(self) -> str:
        """In words, the heaviest first."""
        return ", ".join(self.found["kinds"])


def attack_in(texts: Sequence[tuple[Path, str]], where: Where) -> Attack | None:
    """The attack that ``texts``, each with its place, are taken for; None if they are not.

    They are read as one, in their order, since an instruction may be spread over several; and where there are several,
    a second time without anything between them, since a word may be.
    """
    parts = [text for _, text in texts]
    joined = "\n".join(parts)
    beyond = unicode.odd(joined)
    hits = [*scan_text(joined, where=where, beyond=beyond), *unicode.scan(joined, beyond)]
    if len(parts) > 1 and (total := score(hits)) < THRESHOLD:
        glued = [hit for hit in scan_text("".join(parts), where=where) if hit.weight >= _TELLING]
        if score(glued) > total and score(glued) >= THRESHOLD:
            hits, parts = glued, [part.removesuffix("\n") for part in parts]
            return _attack(texts, hits, 0)
    return _attack(texts, hits, 1)


def _attack(texts: Sequence[tuple[Path, str]], hits: list[Hit], gap: int) -> Attack | None:
    total = score(hits)
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
