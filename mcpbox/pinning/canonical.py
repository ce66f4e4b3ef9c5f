"""The digest of a JSON value: the same however the value is written, another for any other value. No I/O.

A value within RFC 8785 (JSON Canonicalization Scheme) has the SHA-256 of its canonical form. Numbers there are IEEE
754 doubles, so 1, 1.0 and 1e0 are one value, as they are for a host in JavaScript. What a line may hold besides,
integers beyond 2^53 and numbers that overflow, has no canonical form: such a value's digest is that of another in its
place, with each list marked, and each number a list of its own that holds its digits.
"""

from __future__ import annotations

import json
from typing import Any

from mcpbox.digests import sha256
from mcpbox.patterns import lazily

#: What no canonical form of RFC 8785 begins with.
BEYOND = b"\0"

_PLAIN = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
# Outside strings, where Python and ECMAScript write a number differently.
_NUMBER = lazily(r"[\[:,]-?[0-9]+(?:[.e]|(?<=[0-9]{16}))")
_STRING = lazily(r'"[^"\\]*(?:\\.[^"\\]*)*"')
_STRING_OR_KEY = lazily(r'"[^"\\]*(?:\\.[^"\\]*)*"(:?)')
#: First bytes of the UTF-8 of characters beyond U+FFFF.
_OF_FOUR = bytes(range(0xF0, 0xF5))


def digest(value: Any) -> str:
    """The SHA-256, in hex, of anything that ``jsonrpc.parse`` returns."""
    found: str = sha256(encode(value)).hexdigest()
    return found


def encode(value: Any) -> bytes:
    """What is digested: the form of RFC 8785 where there is one."""
    try:
        text = _PLAIN.encode(value)
        # Texts speak of versions and of lists of numbers; only a number of the value itself matters.
        differs = _NUMBER.search(f"[{text}") and _NUMBER.search(f"[{_STRING.sub('', text)}")
        if not differs and (text.isascii() or _in_order(text)):
            return text.encode()
    except ValueError:
        pass
    import rfc8785

    try:
        return rfc8785.dumps(value)
    except rfc8785.CanonicalizationError:
        return BEYOND + rfc8785.dumps(_marked(value))


def _in_order(text: str) -> bool:
    """Whether UTF-16, by which RFC 8785 sorts keys, orders those in ``text`` as their code points do.

    Raises ValueError for half a surrogate pair.
    """
    if not _has_pairs(text):
        return True
    return not _has_pairs("".join(match[0] for match in _STRING_OR_KEY.finditer(text) if match[1]))


def _has_pairs(text: str) -> bool:
    """Whether ``text`` has a character that is two in UTF-16, and four bytes in UTF-8."""
    data = text.encode()
    return len(data.translate(None, _OF_FOUR)) != len(data)


def _marked(value: Any) -> Any:
    import rfc8785

    if isinstance(value, dict):
        return {key: _marked(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return ["list", *map(_marked, value)]
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return ["number", rfc8785.dumps(value).decode()]
        except rfc8785.CanonicalizationError:
            return ["number", repr(value)]
    return value
