"""What stands where a secret would, and is none: references, placeholders, switches, paths, numbers. No I/O."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from mcpbox.detect.entropy import is_random
from mcpbox.patterns import lazily

#: What hosts, shells and servers replace with something else, and references to other stores of secrets.
_REFERENCE = lazily(
    r"\$\{\{[^{}]{1,200}\}\}|\$\{[^{}]{1,200}\}|\$\([^()]{1,400}\)|\$[A-Za-z_][A-Za-z0-9_]{0,100}"
    r"|\{\{[^{}]{1,200}\}\}|\{(?:env|file|input|secret):[^{}]{1,200}\}|%[A-Za-z_][A-Za-z0-9_]{1,100}%"
    r"|`[^`]{1,400}`"
    r"|(?:op|bws|vault|doppler|infisical|aws-sm|gcp-sm|akv|keyring|keychain|secretref|env|file|pass|sops)"
    r":(?://)?[A-Za-z0-9_][^\s\"']{0,400}"
)
_OWN = lazily(r"mcpbox-secret:[a-z0-9]")

_BRACKETED = lazily(r"<[^<>]{0,200}>|\[[^\[\]]{0,200}\]|\{[^{}:\"]{0,200}\}|__[A-Z0-9_]{2,100}__")
#: Nothing but words, the last of which names the thing that belongs here.
_WORDS = lazily(
    r"(?:your.*|my[a-z_ .-]{0,30}|(?:[a-z]{1,16}[-_ .]){1,6})"
    r"(?:key|token|secret|password|passwd|pass|pwd|pat|credentials?|value|here|string)",
    re.S,
)
_ANYWHERE = lazily(
    r"place.?holder|change.?me|replace.?me|replace.?with|redacted|fix.?me|to.?be.?(?:set|filled|replaced)|your[-_ .]"
    r"|[-_ ]here\b|(?:^|[-_ .])(?:dummy|fake|sample|example|mock|todo|foobar|tbd|xxx+)(?:$|[-_ .])|\.\.\.|…|\*{3,}"
    r"|^your|examplekey|example$|[•●]{3}|(?<![a-z])not[-_ ]?(?:a[-_ ])?(?:real|set|needed|required|used)"
)
_EXACT = frozenset(
    """none null nil undefined empty unset default n/a na todo tbd secret secrets password passwd passphrase pass pwd pw
    token key apikey api_key api-key api-token api_token access_token access-token auth bearer basic oauth oauth2
    credentials value string test testing example demo sample dummy fake foo bar baz user username anonymous public
    required optional enabled disabled always never auto on off yes no true false allow deny sk- sk pk pat ghp_
    hidden""".split()
)
#: Claims of the JWTs that documentation shows: the subject "1234567890" and {"some":"payload"}, in base64.
_SHOWN_CLAIMS = (".eyJzdWIiOiIxMjM0NTY3ODkw", ".eyJzb21lIjoicGF5bG9hZCJ9.")
_SEQUENCE = lazily(r"0123456|1234567|abcdefg|a1b2c3d4|deadbeefdeadbeef|987654321|qwertyui")
_PATH = lazily(r"(?:~|\.{1,2})?/[^\s:]*|~|[A-Za-z]:[\\/].*|\\\\.*|(?:file|unix|npipe|data):.*", re.S)
_FILE = lazily(
    r"[\w./\\@~ -]{1,200}\.(?:json[c5]?|env|pem|key|crt|cer|p12|pfx|jks|txt|ya?ml|toml|ini|conf|sqlite3?|db|js|mjs"
    r"|cjs|ts|py|sh|log|sock|csv|md|html?|asc|gpg|kdbx)", re.I
)  # fmt: skip
_NUMBER = lazily(r"[+-]?[0-9][0-9_,.]*(?:e[+-]?[0-9]+)?(?:[a-z]{1,3}|%)?", re.I)


@lru_cache(maxsize=256)
def pattern(references: tuple[str, ...]) -> re.Pattern[str]:
    """One pattern for a host's own ``references`` (regular expressions)."""
    return re.compile("|".join(f"(?:{reference})" for reference in references) or r"(?!)")


def is_reference(text: str, references: Sequence[str] = ()) -> bool:
    """Whether ``text`` is nothing but references, or holds one that the host itself replaces.

    A text of which the host replaces a part is not to be moved: nobody would replace it where it went.
    """
    host = pattern(tuple(references))
    if host.search(text) or _OWN.search(text):
        return True
    return _REFERENCE.search(text) is not None and not _REFERENCE.sub("", text).strip("\"' ,;:/")


def is_placeholder(text: str) -> bool:
    """Whether ``text`` tells the reader to put a secret there, or is an example of none."""
    bare = text.strip().strip("\"'")
    lower = bare.lower()
    if not bare or lower in _EXACT or not any(map(str.isalnum, bare)) or _BRACKETED.fullmatch(bare):
        return True
    if len(bare) < 200 and (_ANYWHERE.search(lower) or _WORDS.fullmatch(lower)):
        return True
    return _is_monotonous(lower) or any(claims in bare for claims in _SHOWN_CLAIMS)


def is_setting(text: str) -> bool:
    """Whether ``text`` is a number, a switch or a path."""
    if text.lower() in _EXACT or _NUMBER.fullmatch(text):
        return True
    if _FILE.fullmatch(text):
        return True
    # Random text in base64 may begin with a slash.
    return _PATH.fullmatch(text) is not None and not (is_random(text) and text.count("/") < 4)


def _is_monotonous(lower: str) -> bool:
    """Whether it was typed by holding a key down, or in the order of the alphabet."""
    if len(lower) < 6 or len(lower) > 400:
        return False
    body = re.sub(r"^[a-z]{1,12}[-_](?:[a-z]{1,10}[-_])?", "", lower) or lower
    counts = Counter(body)
    most = counts.most_common(1)[0][1]
    if len(body) >= 6 and (most * 2 > len(body) or len(counts) <= max(2, len(body) // 12)):
        return True
    return len(body) >= 12 and _SEQUENCE.search(body) is not None
