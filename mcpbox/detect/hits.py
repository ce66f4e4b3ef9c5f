"""What a detector found in a text, and what several of them amount to. No I/O."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

#: The score from which on a text is taken for an attack; whole numbers, like all that goes on record.
THRESHOLD = 100
#: Hits further apart, in characters, do not speak of the same thing: a long manual has a little of everything.
NEAR = 1500


class Hit(Struct, frozen=True):
    """``text[start:end]`` is of the kind ``kind``; ``weight`` is its part of THRESHOLD."""

    start: int
    end: int
    kind: str
    weight: int


def score(hits: Iterable[Hit]) -> int:
    """The most that hits within ``NEAR`` characters add up to, each kind counting once, with its heaviest hit."""
    ordered = sorted(hits, key=lambda hit: hit.start)
    best = first = 0
    weights: dict[str, list[int]] = {}
    total = 0
    for last, hit in enumerate(ordered):
        while hit.start - ordered[first].start > NEAR:
            total -= _leave(weights, ordered[first])
            first += 1
        total += _enter(weights, hit)
        best = max(best, total)
        assert last >= first
    return best


def _enter(weights: dict[str, list[int]], hit: Hit) -> int:
    """By how much the sum grows. Weights of a kind are kept falling, so that the first is the heaviest still near."""
    held = weights.setdefault(hit.kind, [])
    before = held[0] if held else 0
    while held and held[-1] < hit.weight:
        held.pop()
    held.append(hit.weight)
    return held[0] - before


def _leave(weights: dict[str, list[int]], hit: Hit) -> int:
    held = weights[hit.kind]
    if held[0] != hit.weight:
        return 0
    del held[0]
    return hit.weight - (held[0] if held else 0)
