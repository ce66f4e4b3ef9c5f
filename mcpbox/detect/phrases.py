"""Phrases to be looked for in a text: how they are written down, and their compilation. No I/O.

The texts compared are in lower case and plain letters (``unicode.folded``). Every repetition in a pattern is bounded,
and where two could share characters, atomic: a pattern is only ever tried near one of its words, at a bounded price.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

#: A space in a phrase: what may stand between two words, such as spaces, line ends, quotes and asterisks.
_SPACE = r"(?>[\W_]{1,8})"
#: By their names in angle brackets: up to so many words, few of them within one sentence; and words of one meaning.
_PARTS = {
    "few": r"(?:(?>[^\W_]{1,24})(?>(?:[^\w.!?;]|_){1,8})){0,3}?",
    "some": r"(?:(?>[^\W_]{1,24})(?>[\W_]{1,8})){0,6}?",
    "many": r"(?:(?>[^\W_]{1,24})(?>[\W_]{1,8})){0,14}?",
    "not": r"""(?:do {0,3}not|don {0,3}t|dont|never|must {0,3}not|mustn {0,3}t|should {0,3}not|shouldn {0,3}t|avoid
        |refrain from|without|no need to|cannot|not)""",
    "user": r"""(?:users?|humans?|operators?|customers?|owners?|anyone|anybody|them)""",
    "model": r"""(?:ai|llms?|assistants?|agents?|language models?|models?|chatbots?|claude|gpt(?: ?\d\w{0,8})?|chatgpt
        |copilot|cursor|gemini)""",
    "send": r"""(?:sends?|forwards?|posts?|uploads?|transmits?|exfiltrates?|e? ?mails?|leaks?|submits?|delivers?
        |transfers?|copy|copies|reports?|append|bcc|cc|sync|relay|pipe)""",
    "private": r"""(?:(?:api|ssh|private|secret|access|encryption|signing) keys?|passwords?|passphrases?|credentials?
        |(?:access|auth|session|api|bearer|oauth) tokens?|secrets|env(?:ironment)? var(?:iable)?s?
        |(?:conversation|chat|message|browsing|session) (?:history|histories|log|logs|context|transcripts?)
        |system prompts?|(?:entire|whole|full) (?:conversation|context)|cookies|seed phrases?|personal (?:data
        |information)|source code|customer (?:data|records|list)|mfa codes?)""",
    "address": r"""(?:https?[\W_]{1,4}[a-z0-9]|[a-z0-9._%+-]{1,64}+@[a-z0-9.-]{1,64}
        |www\.[a-z0-9]|attacker|\+\d{7,15})""",
    "ignoring": r"""(?:ignor(?:e|es|ing)|disregard(?:s|ing)?|forget|overrid(?:e|es|ing)|bypass|discard|neglect
        |overrules?
        |supersedes?|replac(?:e|es|ing)|stop following|do not (?:follow|obey)|pay no attention to|countermands?)""",
}


class Cue(NamedTuple):
    """``words`` are literals one of which stands within whatever ``phrase`` matches, or just before it.

    The weights, for definitions and for data, are parts of hits.THRESHOLD. ``before`` is how many characters before the
    word the phrase begins at most; 0 where it begins with the word.
    """

    kind: str
    definition: int
    data: int
    before: int
    words: tuple[str, ...]
    phrase: str


def cue(kind: str, definition: int, data: int, before: int, words: str, phrase: str) -> Cue:
    """A phrase as it is written down, over several lines, whose indentation and last space are no part of it.

    ``[ ]`` is a space there; ``;`` stands between words.
    """
    listed, joined = (re.sub(r"\n\s+", "", each) for each in (words, phrase))
    return Cue(kind, definition, data, before, tuple(listed.split(";")), joined.replace("[ ]", " "))


@cache
def pattern(phrase: str) -> re.Pattern[str]:
    """Compiled when first needed: most sessions never see most of these words."""
    for name, part in _PARTS.items():
        phrase = phrase.replace(f"<{name}>", re.sub(r"\n\s+", "", part))
    return re.compile(phrase.replace(" ", _SPACE))
