"""Finds secrets in the values of a server's entry, with where each begins and ends. No I/O.

Three kinds of evidence, the strongest first: the format of a token, the name that a value stands under, and, where
neither speaks, that it looks drawn at random.
"""

from __future__ import annotations

import bisect
import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from mcpbox.detect import entropy, names, placeholders, tokens, urls
from mcpbox.patterns import lazily
from mcpbox.texts import strings

if TYPE_CHECKING:
    from mcpbox.hosts.model import Entry, Key, Shape

Confidence = Literal["format", "name", "entropy"]

#: Longer values are not a server's settings; the time taken stays bounded.
LONGEST = 1 << 20

_HEADER = lazily(
    r"(?:^|(?<=[\s\"'=]))([A-Za-z][A-Za-z0-9_-]{1,60})[ \t]?:(?!//)[ \t]*"
    r"((?:(?:Bearer|Basic|Token|Bot)[ \t]+)?[^\s\"'].*?)(?=[\"']|$)",
    re.I | re.M,
)
_SCHEME = lazily(r"(?:bearer|basic|token|apikey|api-key|bot|key|digest|negotiate)(?:[ \t]+|:[ \t]*)(?=\S)", re.I)
_JSON_STRING = lazily(r'"((?:[^"\\]|\\.)*)"(\s*:)?', re.S)
#: A flag with its value after a space, within a whole command line.
_FLAG = lazily(r"(?:^|(?<=\s))(--?[A-Za-z][A-Za-z0-9_.-]{1,60})[ \t]+(\"[^\"]{1,4000}\"|'[^']{1,4000}'|[^\s\"'-]\S*)")
_JOINED = lazily(r"(-{1,2}[A-Za-z][A-Za-z0-9_.:-]{0,80}|[A-Za-z_][A-Za-z0-9_.]{0,100})=")
#: ``docker run -e``, ``env``: what follows is NAME=value itself.
_VARIABLE = lazily(r"(?:-e=?|--env[=\s])(?=[A-Za-z_][A-Za-z0-9_.]{0,100}=)")
#: Flags whose next argument is a header or NAME=value, which say for themselves what they are.
_CARRIERS = frozenset({"-e", "--env", "-H", "--header", "--headers"})
#: Keys of an entry that are looked into in their own right.
_REMOTE_URLS = ("url", "serverUrl", "httpUrl", "uri")


class Finding(Struct, frozen=True, order=True):
    """A secret within a value: characters ``start`` to ``end``, of ``kind``, and what speaks for it."""

    start: int
    end: int
    kind: str
    confidence: Confidence


class Placed(Struct, frozen=True):
    """A secret of an entry.

    ``where``: ("env", variable), ("args", index), ("command",) for a whole line in the command, else the key path
    within the entry, such as ("headers", "Authorization") and ("url",). ``name``: a name for it that no other secret
    of the entry has.
    """

    where: tuple[Key, ...]
    finding: Finding
    name: str


def scan_value(value: str, *, name: str = "", references: Sequence[str] = ()) -> list[Finding]:
    """The secrets in ``value``, in order, none overlapping another.

    ``name`` is what it stands under: a variable, a flag, a header. ``references`` are regular expressions of what the
    host replaces before a server sees it.
    """
    return [finding for finding, _ in _scan(value, name, tuple(references))]


def scan_entry(entry: Entry, shape: Shape) -> list[Placed]:
    """The secrets of one server's entry, in the order of command, arguments, environment and the rest."""
    found: list[tuple[tuple[Key, ...], Finding, str]] = []

    def look(where: tuple[Key, ...], value: str, name: str, fallback: str) -> None:
        for finding, inner in _scan(value, name, shape.references):
            found.append((where, finding, names.secret_name(inner) or names.secret_name(fallback) or "SECRET"))

    if " " in entry.command:
        look(("command",), entry.command, "", "")
    flag = ""
    for index, argument in enumerate(entry.args):
        look(("args", index), argument, flag, "")
        flag = argument if argument.startswith("-") and "=" not in argument and argument not in _CARRIERS else ""
    for key, value in entry.env.items():
        look(("env", key), value, key, key)
    own = {"command", "args", "env", "name", "description", shape.command, shape.args, shape.env}
    for path, value in strings({key: value for key, value in entry.raw.items() if key not in own}):
        for finding, inner in _scan(value, str(path[-1]), shape.references):
            if finding.confidence != "entropy" or path[0] in ("headers", "http_headers", *_REMOTE_URLS):
                found.append((path, finding, names.secret_name(inner) or "SECRET"))
    taken: set[str] = set()
    placed = []
    for where, finding, wanted in found:
        chosen = next(name for name in _numbered(wanted) if name not in taken)
        taken.add(chosen)
        placed.append(Placed(where, finding, chosen))
    return placed


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}_{number}"
        number += 1


def _scan(value: str, name: str, references: tuple[str, ...], *, joined: bool = True) -> list[tuple[Finding, str]]:
    """Findings, each with the name nearest to it: a header's within a variable's value, a key's within JSON.

    ``joined``: look at what follows the first ``=`` as a value of its own, which is done once.
    """
    if not value or len(value) > LONGEST:
        return []
    if value.lstrip()[:1] in ("{", "[") and _is_json(value):
        return _in_json(value, name, references)
    found = list(_formats(value, name, references))
    parts = _in_headers(value, references) + _in_parts(value, name, references)
    if joined:
        parts += _in_pair(value, references)
    if not parts:
        # A known format says more than looks do.
        parts = [pair for pair in _whole(value, name, references) if pair[0].confidence == "name" or not found]
    return _disjoint(found + parts)


def _disjoint(found: list[tuple[Finding, str]]) -> list[tuple[Finding, str]]:
    """Of findings that overlap the widest, of equal ones the surer, which is the earlier in the list."""
    kept: list[tuple[Finding, str]] = []
    for finding, name in sorted(found, key=lambda pair: pair[0].start - pair[0].end):
        at = bisect.bisect(kept, finding.start, key=lambda pair: pair[0].start)
        before, after = kept[at - 1 : at] if at else [], kept[at : at + 1]
        if all(other.end <= finding.start for other, _ in before) and all(
            other.start >= finding.end for other, _ in after
        ):
            kept.insert(at, (finding, name))
    return kept


def _formats(value: str, name: str, references: tuple[str, ...]) -> Iterator[tuple[Finding, str]]:
    for start, end, kind in tokens.scan(value):
        text = value[start:end]
        if not placeholders.is_placeholder(text) and not placeholders.is_reference(text, references):
            yield Finding(start, end, kind, "format"), name if names.says_secret(name) else kind


def _is_json(value: str) -> bool:
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        return False
    return True


def _in_json(value: str, name: str, references: tuple[str, ...]) -> list[tuple[Finding, str]]:
    """What the strings of a JSON text hold; spans are of the text as written, escapes and all."""
    found: list[tuple[Finding, str]] = []
    key = name
    for match in _JSON_STRING.finditer(value):
        if match[2]:
            key = match[1]
            continue
        offset = match.start(1)
        for finding, inner in _scan(match[1], key, references):
            moved = Finding(offset + finding.start, offset + finding.end, finding.kind, finding.confidence)
            found.append((moved, inner))
    return found


def _in_headers(value: str, references: tuple[str, ...]) -> list[tuple[Finding, str]]:
    """``Authorization: Bearer v``, where the header's name says that it is one; a line each, or quoted in a line."""
    found: list[tuple[Finding, str]] = []
    for match in _HEADER.finditer(value):
        if names.says_secret(match[1]) and match[1] != "mcpbox-secret":
            found += _candidate(value, *match.span(2), match[1], references)
    return found


def _in_parts(value: str, name: str, references: tuple[str, ...]) -> list[tuple[Finding, str]]:
    """Passwords of URLs, their parameters, and in longer lines ``name=value`` and ``--flag value``."""
    found: list[tuple[Finding, str]] = []
    for start, end in urls.spans(value):
        if span := urls.password(value, start, end):
            text = value[slice(*span)]
            if not placeholders.is_placeholder(text) and not placeholders.is_reference(text, references):
                inner = f"{name}_password" if name and not name.startswith("-") else "password"
                found.append((Finding(*span, "url-password", "format"), inner))
        elif (span := urls.user(value, start, end)) and entropy.is_random(value[slice(*span)]):
            found.append((Finding(*span, "url-token", "entropy"), "token"))
        for parameter, first, last in urls.parameters(value, start, end):
            if names.says_secret(parameter):
                found += _candidate(value, first, last, parameter, references)
    if any(map(str.isspace, value)) or ";" in value:
        for pair, start, end in urls.pairs(value):
            found += _candidate(value, start, end, pair, references)
        for match in _FLAG.finditer(value):
            if names.says_secret(match[1]):
                quoted = match[2][0] in "\"'"
                found += _candidate(value, match.start(2) + quoted, match.end(2) - quoted, match[1], references)
    return found


def _in_pair(value: str, references: tuple[str, ...]) -> list[tuple[Finding, str]]:
    """What stands behind ``NAME=``, ``--flag=`` and ``--env=NAME=``."""
    variable = _VARIABLE.match(value)
    match = _JOINED.match(value, variable.end() if variable else 0)
    if not match or any(map(str.isspace, _SCHEME.sub("", value[match.end() :], count=1))):
        return []  # a line with more in it
    return [
        (Finding(match.end() + inner.start, match.end() + inner.end, inner.kind, inner.confidence), nearest)
        for inner, nearest in _scan(value[match.end() :], match[1], references, joined=False)
    ]


def _whole(value: str, name: str, references: tuple[str, ...]) -> list[tuple[Finding, str]]:
    """The value itself, by its name or by its looks."""
    if urls.is_url(value):
        webhook = names.words(name)[-2:] in (("webhook", "url"),) or names.words(name)[-1:] == ("webhook",)
        if webhook and not placeholders.is_placeholder(value) and _has_random_part(value):
            return [(Finding(0, len(value), "webhook", "name"), name)]
        return []
    if names.says_secret(name):
        return list(_candidate(value, 0, len(value), name, references))
    if names.says_plain(name) or ((pair := _JOINED.match(value)) and value[pair.end() :].strip("=")):
        return []
    scheme = _SCHEME.match(value)
    start = scheme.end() if scheme else 0
    text = value[start:]
    if entropy.is_random(text) and not placeholders.is_setting(text) and not placeholders.is_placeholder(text):
        return [(Finding(start, len(value), "random", "entropy"), name)]
    return []


def _has_random_part(url: str) -> bool:
    return any(len(part) >= 16 and any(map(str.isdigit, part)) for part in re.split(r"[/?&=]", url)[3:])


def _candidate(
    value: str, start: int, end: int, name: str, references: tuple[str, ...]
) -> Iterator[tuple[Finding, str]]:
    """``value[start:end]`` without an authorization scheme and quotes, if it can be the secret that ``name`` says."""
    if scheme := _SCHEME.match(value, start, end):
        start = scheme.end()
    text = value[start:end]
    stripped = text.strip().strip("\"'")
    start += text.index(stripped) if stripped else 0
    end = start + len(stripped)
    if len(stripped) < 3 or placeholders.is_reference(stripped, references) or placeholders.is_placeholder(stripped):
        return
    password = names.says_password(name)
    if placeholders.is_setting(stripped) and not (password and stripped.isdigit()):
        return
    if not password and names.says_perhaps(name) and not scheme and not _is_mixed(stripped):
        return
    if not password and len(stripped) < 6:
        return
    yield Finding(start, end, _kind(name), "name"), name


def _is_mixed(text: str) -> bool:
    """Whether it is more than words: 8 characters or more in one piece, with a digit or both cases among them."""
    if entropy.is_random(text) or entropy.is_uuid(text):
        return True
    return (
        len(text) >= 8 and text.isalnum() and (any(map(str.isdigit, text)) or text not in (text.lower(), text.upper()))
    )


def _kind(name: str) -> str:
    return "password" if names.says_password(name) else "-".join(names.words(name)[-3:]) or "secret"
