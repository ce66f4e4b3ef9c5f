"""Finds where a text tells the model what to do about another server's tools. No I/O.

A name alone says nothing: servers are described in the words of their trade, and some name their neighbours in all
honesty ("to read the file, use the filesystem server"). What counts is a name with an instruction that changes how that
other tool is used: when it is called, do this first; use this instead; it is broken; it must be given that.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from itertools import islice

from msgspec import Struct

from mcpbox.detect.confusable import spelling, unhidden
from mcpbox.patterns import lazily

#: Characters around a name in which the instruction stands.
AROUND = 160
#: Names looked at in one text, and the characters of it.
EXAMINED = 256
LONGEST = 1 << 20

_NAME = lazily(r"[A-Za-z0-9_][\w-]{2,127}")
#: With NUL in the place of the name: what is to be done when it is used, instead of it, with it.
_CHANGES = lazily(
    r"\b(?:when(?:ever)?|before|after|if|once|prior\sto|every\stime|each\stime|as\ssoon\sas|upon)\s"
    r"[^.\n]{0,60}\x00[^.\n]{0,40}(?:\b(?:call|us|invok|run|execut|trigger|present|available|active)(?:s|e|es|ed|ing)?\b)?"
    r"[^\n]{0,80}\b(?:must|should|shall|always|first|never|do\snot|don'?t|instead|need(?:s)?\sto|ha(?:ve|s)\sto|ensure"
    r"|make\ssure|call|invoke|add|set|change|replace|include|append|send|bcc|cc|redirect)\b"
    r"|\b(?:instead\sof|rather\sthan|in\s(?:the\s)?place\sof|in\slieu\sof|replac(?:es?|ing|ement\sfor)|supersed(?:es?|ing)"
    r"|overrid(?:es?|ing)|shadow(?:s|ing)?|intercept(?:s|ing)?|takes?\sprecedence\sover|prefer(?:red)?\s(?:this\s)?(?:over|to)"
    r"|do\snot\s(?:use|call|invoke|run)|don'?t\s(?:use|call|invoke|run)|never\s(?:use|call|invoke|run)|avoid\s(?:using)?"
    r"|stop\s(?:using|calling)|ignore|disable|disregard)\b[^.\n]{0,60}\x00"
    r"|\x00[^.\n]{0,60}\b(?:is|are|was|has\sbeen|have\sbeen)\s(?:now\s)?(?:deprecated|disabled|broken|unsafe|insecure"
    r"|compromised|replaced|superseded|obsolete|removed|unavailable|no\slonger|not\ssafe|forbidden)\b"
    r"|\x00[^.\n]{0,80}\b(?:must|shall|always|never|(?:should|may)\s(?:only|always|never|not)|(?:has|have|needs?)\sto)\b"
    r"|\b(?:must|shall|always|never|(?:has|have|needs?)\sto|make\ssure|ensure|remember\sto)\b[^.\n]{0,80}\x00",
    re.I,
)
#: For a name that the server's own tools have as well, the text has to say that another's is meant.
_OTHERS = lazily(
    r"\b(?:other|another|any\sother|all\sother|original|existing|built-?in|default|official|legitimate|old|previous|real"
    r"|different)\s(?:\w+\s){0,2}(?:tools?|servers?|versions?|implementations?|mcps?|\x00)",
    re.I,
)
_SERVER = lazily(r"\x00\W{0,2}\s(?:mcp\s)?(?:server|mcp|tools?)\b|\b(?:mcp\s)?(?:server|mcp)\W{0,2}\s\W?\x00", re.I)


#: Servers that are called so cannot be told from the word.
_GENERIC = frozenset("mcp server mcpserver tool tools api test default local the this main".split())


class Mention(Struct, frozen=True):
    """An instruction about ``name``, a tool of another server or that server, at ``start`` to ``end`` of the text."""

    start: int
    end: int
    name: str
    server: str


class Others:
    """The tools of other servers, and the servers, by their names."""

    def __init__(self, tools: Iterable[tuple[str, str]]) -> None:
        self._tools: dict[str, tuple[str, str]] = {}
        self._servers: dict[str, str] = {}
        for server, name in tools:
            self._tools.setdefault(key(name), (server, name))
            if key(server) not in _GENERIC:
                self._servers.setdefault(key(server), server)

    def told_of(self, text: str, own: Collection[str]) -> Mention | None:
        """The first instruction about one of them; ``own`` are the server's own tools, by ``key``."""
        if not self._tools:
            return None
        plain = unhidden(text[:LONGEST])
        for match in islice(self._named(plain), EXAMINED):
            named = key(match[0])
            start, end = match.span()
            around = plain[max(0, start - AROUND) : start] + "\x00" + plain[end : end + AROUND]
            if not _CHANGES.search(around):
                continue
            if named in self._tools and _is_distinct(match[0], plain, start, end):
                if named not in own or _OTHERS.search(around):
                    server, name = self._tools[named]
                    return Mention(start, end, name, server)
            if named in self._servers and named not in own and _SERVER.search(around):
                return Mention(start, end, self._servers[named], self._servers[named])
        return None

    def _named(self, text: str) -> Iterable[re.Match[str]]:
        return (
            match for match in _NAME.finditer(text) if key(match[0]) in self._tools or key(match[0]) in self._servers
        )


def key(name: str) -> str:
    """What names are compared by."""
    return spelling(unhidden(name))


def _is_distinct(name: str, text: str, start: int, end: int) -> bool:
    """Whether it is meant as a name: of two words and more, or marked as one; "search" is a word as well."""
    if "_" in name[1:-1] or re.search(r"[a-z][A-Z]", name):
        return True
    before, after = text[max(0, start - 1) : start], text[end : end + 1]
    return (before in _OPENING and after in _CLOSING) or bool(_IS_TOOL.match(text, end))


_OPENING = frozenset("`<")
_CLOSING = frozenset("`>")
_IS_TOOL = lazily(r"\(|\W{0,2}\s(?:tool|function|command)\b", re.I)
