"""The parts of connection URLs and strings that are secret. No I/O."""

from __future__ import annotations

from collections.abc import Iterator

from mcpbox.detect.names import says_secret
from mcpbox.patterns import lazily

_URL = lazily(r"[A-Za-z][A-Za-z0-9+.-]{1,30}://[^\s\"'<>`\\]+")
#: A URL's authority ends at the first of these, RFC 3986 section 3.2; what stands before its last "@" is the user's.
_AUTHORITY_END = lazily(r"[/?#]")
_PARAMETER = lazily(r"[?&#;]([A-Za-z_][A-Za-z0-9_.\[\]-]{0,80})=([^&#;\s\"'<>]+)")
#: ``Server=h;User Id=u;Password=p`` and ``host=h password=p``; the value in quotes or up to the next separator.
_PAIR = lazily(
    r"(?:^|(?<=[\s;&,?(\"']))(-{0,2}[A-Za-z_][A-Za-z0-9_.-]{0,60}(?: [A-Za-z]{1,20})?)[ \t]?=[ \t]?"
    r"(\"[^\"]{1,4000}\"|'[^']{1,4000}'|[^\s;&\"']+)"
)


def spans(text: str) -> Iterator[tuple[int, int]]:
    """Where URLs with a scheme and an authority stand in ``text``."""
    for match in _URL.finditer(text):
        yield match.span()


def password(text: str, start: int, end: int) -> tuple[int, int] | None:
    """The password of the URL at ``start``:``end`` of ``text``, as written (percent-encoded), or None."""
    begin = text.index("://", start, end) + 3
    found = _AUTHORITY_END.search(text, begin, end)
    stop = found.start() if found else end
    at = text.rfind("@", begin, stop)
    colon = text.find(":", begin, max(at, begin))
    return (colon + 1, at) if 0 <= colon < at - 1 else None


def user(text: str, start: int, end: int) -> tuple[int, int] | None:
    """The user part of a URL that has no password, which is where a token stands alone."""
    begin = text.index("://", start, end) + 3
    found = _AUTHORITY_END.search(text, begin, end)
    at = text.rfind("@", begin, found.start() if found else end)
    return (begin, at) if at > begin and ":" not in text[begin:at] else None


def parameters(text: str, start: int, end: int) -> Iterator[tuple[str, int, int]]:
    """Name and span of the value of each query or fragment parameter of a URL."""
    for match in _PARAMETER.finditer(text, start, end):
        yield match[1], *match.span(2)


def pairs(text: str) -> Iterator[tuple[str, int, int]]:
    """Name and span of the value, without its quotes, of every ``name=value`` in ``text`` whose name is a secret's."""
    for match in _PAIR.finditer(text):
        start, end = match.span(2)
        if text[start] in "\"'":
            start, end = start + 1, end - 1
        for name in (match[1], match[1].rpartition(" ")[2]):
            if says_secret(name):
                yield name, start, end
                break


def is_url(text: str) -> bool:
    """Whether ``text`` is one URL and nothing else."""
    match = _URL.match(text.strip())
    return match is not None and match.end() == len(text.strip())
