"""Texts that a regular expression matches, drawn at random."""

from __future__ import annotations

import importlib
import random
import string
from typing import Any

_PARSER: Any = importlib.import_module("re._parser")
#: What repetitions without an upper bound, and very long ones, are cut to.
_LONGEST = 200
_CATEGORIES = {
    "CATEGORY_WORD": string.ascii_letters + string.digits + "_",
    "CATEGORY_DIGIT": string.digits,
    "CATEGORY_SPACE": " ",
}


def fake(pattern: str, rng: random.Random) -> str:
    """A text that ``pattern`` matches as a whole, as long as a real one; look-arounds are not looked at."""
    return _sequence(_PARSER.parse(pattern), rng)


def word(rng: random.Random, length: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    return "".join(rng.choices(alphabet, k=length))


def _sequence(nodes: Any, rng: random.Random) -> str:
    return "".join(_node(str(operator), argument, rng) for operator, argument in nodes)


def _node(operator: str, argument: Any, rng: random.Random) -> str:
    match operator:
        case "LITERAL":
            return chr(argument)
        case "NOT_LITERAL":
            return rng.choice([char for char in string.ascii_letters if ord(char) != argument])
        case "IN":
            return rng.choice(_members(argument))
        case "BRANCH":
            plain = [branch for branch in argument[1] if not any(str(each[0]) == "ASSERT_NOT" for each in branch)]
            return _sequence(rng.choice(plain), rng)
        case "SUBPATTERN":
            return _sequence(argument[3], rng)
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            low, high, inner = argument
            times = rng.randint(low, max(low, min(int(high), low + 8, _LONGEST)))
            return "".join(_sequence(inner, rng) for _ in range(times))
        case "ASSERT" | "ASSERT_NOT" | "AT":
            return ""
    raise AssertionError(f"no text can be drawn for {operator}")


def _members(items: Any) -> str:
    found = ""
    for operator, argument in items:
        match str(operator):
            case "LITERAL":
                found += chr(argument)
            case "RANGE":
                found += "".join(map(chr, range(argument[0], argument[1] + 1)))
            case "CATEGORY":
                found += _CATEGORIES[str(argument)]
            case "NEGATE":
                return "".join(char for char in string.ascii_letters + string.digits + "+/\n")
            case other:
                raise AssertionError(f"no character can be drawn for {other}")
    return found


def widths(pattern: str) -> tuple[int, int]:
    """Length of the shortest and of the longest text that ``pattern`` matches."""
    shortest, longest = _PARSER.parse(pattern).getwidth()
    return int(shortest), int(longest)
