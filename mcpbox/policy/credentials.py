"""A server does not get credentials by asking the user for them, nor a click on a link that hides where it leads.
No I/O.

Forms are read in English, and for the word for a password in the languages that most people speak. MCP says so of
itself: "Servers MUST NOT use form mode elicitation to request sensitive information" (specification 2025-11-25,
client/elicitation). A server's secrets come from the keyring.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from mcpbox.jsonrpc import Message, Request, Response
from mcpbox.patterns import lazily
from mcpbox.policy.base import Refuse, Rules, Side, Verdict, field
from mcpbox.texts import strings

#: Hosts that a page at plain HTTP may have: the user's own machine.
LOCAL = r"(?i:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])"
#: Texts longer than this ask for nothing that a person would answer.
LONGEST = 1 << 16

_CARD_FIELDS = frozenset(
    "card_number cardnumber cc_number credit_card creditcard cvv cvc cvv2 cvc2 ssn iban pin otp totp mfa_code seed "
    "recovery_phrase seed_phrase mnemonic security_code verification_code two_factor_code".split()
)
#: Keys of objects in a store, places to go on from, and values of a design: nobody's secrets.
_NAMES_OF_ELSE = frozenset("s3_key design_token sync_token start_token continuation_token".split())
#: What a page's form gives back of itself: the choice of a kind of login is none.
# A tuple: a type may be anything, a list too, which no set can be asked for.
_CHOSEN = ("boolean",)
_MODE_URL = "url"


class Credentials:
    """Covers the three ways of asking: a request, an ``input_required`` result, and an error that demands a URL."""

    passes = frozenset({Side.CLIENT})

    def __init__(self, rules: Rules) -> None:
        pass

    def judge(self, side: Side, message: Message) -> Verdict:
        if side is Side.CLIENT:
            return None
        # Most results ask for nothing.
        if isinstance(message, Response) and "error" not in message.value:
            if field(message.value, "result", "inputRequests") is None:
                return None
        for params in _elicitations(message):
            if refused := _form(params) if field(params, "mode") != _MODE_URL else _url(params):
                return refused
        return None


def _elicitations(message: Message) -> Iterator[Any]:
    if isinstance(message, Request):
        if message.method == "elicitation/create":
            yield message.params
    elif isinstance(message, Response):
        asked = field(message.result, "inputRequests")
        for each in asked.values() if isinstance(asked, dict) else asked if isinstance(asked, list) else ():
            if field(each, "method") == "elicitation/create":
                yield field(each, "params")
        demanded = field(message.value, "error", "data", "elicitations")
        if isinstance(demanded, list):
            yield from demanded


def _form(params: Any) -> Refuse | None:
    schema = field(params, "requestedSchema")
    properties = field(schema, "properties")
    for name, wanted in properties.items() if isinstance(properties, dict) else ():
        if _is_chosen(wanted):
            continue
        if _names_secret(name) or _names_secret(field(wanted, "title")):
            return _refused(f"the field {name!r}")
        if field(wanted, "format") == "password":
            return _refused(f"the field {name!r}")
        if any(_asks(text, plainly=True) for _, text in strings(wanted)):
            return _refused(f"the description of the field {name!r}")
    text = field(params, "message")
    takes_text = not isinstance(properties, dict) or not all(map(_is_chosen, properties.values()))
    if isinstance(text, str) and takes_text and _asks(text, plainly=False):
        return _refused("its message")
    rest = {key: value for key, value in schema.items() if key != "properties"} if isinstance(schema, dict) else {}
    if takes_text and any(_asks(text, plainly=False) for _, text in strings(rest)):
        return _refused("its schema")
    return None


def _is_chosen(wanted: Any) -> bool:
    """A yes or no, or one of some given values: nobody types a secret into it."""
    if field(wanted, "type") in _CHOSEN:
        return True
    items = field(wanted, "items") if field(wanted, "type") == "array" else wanted
    return any(isinstance(field(items, key), list) for key in ("enum", "oneOf", "anyOf"))


def _names_secret(name: Any) -> bool:
    from mcpbox.detect.confusable import unhidden
    from mcpbox.detect.names import says_secret, words
    from mcpbox.detect.unicode import visible

    if not isinstance(name, str):
        return False
    plain = unhidden(name[:200])
    # The key of an issue, of a row, of a song.
    if words(plain) in (("key",), ("k",), ("keys",)) or "_".join(words(plain)) in _NAMES_OF_ELSE:
        return False
    if _ABROAD.search(visible(name).replace("_", " ")) or _ABROAD.search(" ".join(words(plain))):
        return True
    return says_secret(plain) or "_".join(words(plain)) in _CARD_FIELDS or "".join(words(plain)) in _CARD_FIELDS


def _asks(text: str, *, plainly: bool) -> bool:
    """Whether ``text`` asks for a secret; ``plainly``: that it speaks of one is enough, since it labels a field."""
    from mcpbox.detect.confusable import unhidden
    from mcpbox.detect.unicode import visible

    # Other scripts are read as they are: in plain letters their words are no words.
    if len(text) > LONGEST or _ABROAD.search(visible(text)):
        return True
    for sentence in re.split(r"(?<=[.!?;\n])\s+|\n", unhidden(text)):
        if _DEMAND.search(sentence):
            return True
        if _SECRET.search(sentence) and not _DENIAL.search(sentence) and (plainly or _REQUEST.search(sentence)):
            return True
    return False


def _url(params: Any) -> Refuse | None:
    from mcpbox.detect.confusable import is_mixed, unhidden

    url = field(params, "url")
    if not isinstance(url, str):
        return Refuse("the server asked the user to open a URL that is none")
    scheme, colon, rest = url.partition("://")
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    user, at, host = authority.rpartition("@")
    name = re.sub(r":[0-9]*$", "", host)
    problem = ""
    if re.search(r"[\x00-\x20\x7f\\]", url) or url != unicodedata.normalize("NFC", url) or unhidden(url) != url:
        problem = "it has characters that are not shown"
    elif not colon or scheme.lower() not in ("https", "http") or not name:
        problem = "it is not an address of the web"
    elif scheme.lower() == "http" and not re.fullmatch(LOCAL, name):
        problem = "it is not encrypted"
    elif at:
        problem = f"it looks like {user[:60]!r} and leads to {name[:60]!r}"
    elif any(label.startswith("xn--") for label in name.lower().split(".")) or not name.isascii() or is_mixed(name):
        problem = f"the name {name[:60]!r} is written in letters that look like others"
    if not problem:
        return None
    return Refuse(f"the server asked the user to open a URL: {problem}", _HINT, {"asked": "url"})


def _refused(where: str) -> Refuse:
    return Refuse(f"the server asked the user for credentials ({where})", _HINT, {"asked": "credentials"})


_HINT = "secrets are given to a server by its profile's [secrets], never by a form"
_SECRET = lazily(
    r"\b(?:pass\s?(?:word|phrase|code)s?|passwd|pwd|pin(?:\s?code)?|otp|2fa|mfa|totp"
    r"|(?:one[- ]time|verification|security|authenticat(?:ion|or)|backup|recovery|sms)\s(?:code|password"
    r"|passcode)s?"
    r"|(?:api|access|secret|private|encryption|signing|ssh|license|account)[\s_-]?keys?"
    r"|(?:api|access|auth(?:entication|orization)?|bearer|refresh|session|personal\saccess|secret"
    r"|security|oauth|bot"
    r"|id|jwt|csrf|github|slack|npm)[\s_-]?tokens?"
    r"|(?<!next )(?<!page )tokens?(?=\s?(?:[:?]|$))"
    r"|client[\s_-]secrets?|secrets?(?=\s?(?:[:?]|$))|credentials?|log-?in\sdetails|session\scookies?"
    r"|cookies?\svalue"
    r"|(?:seed|recovery|mnemonic|secret)\s(?:phrase|words)|mnemonics?|wallet\skeys?"
    r"|(?:credit|debit|bank|payment)[\s-]?cards?(?:\s(?:number|details|info\w*))?|card\snumbers?|cvv2?|cvc2?"
    r"|iban|routing\snumber|social\ssecurity(?:\snumber)?|ssn)\b",
    re.I,
)
_REQUEST = lazily(
    r"\b(?:enter|provide|type|paste|give|send|supply|share|confirm|input|fill|submit|tell|need|needs|require[sd]?"
    r"|verify|please|what(?:'s|\sis)|your|insert|specify|reveal|set)\b|[?:]\s*$",
    re.I,
)
#: "Type your password, it is not stored": whatever else the sentence says.
_DEMAND = lazily(
    r"(?<!not )(?<!never )(?<!n't )(?<!to )\b(?:enter|type(?:\sin)?|paste|provide|supply|submit|input|insert)\s"
    r"(?:(?:me|us|in|here|your|the|my|our|current|old|new|account|user|login|email|github)\s){0,4}"
    r"(?:password|passphrase|passcode|pin|api[\s_-]?key|secret\skey|private\skey|access\stoken|credentials"
    r"|(?:seed|recovery)\sphrase|(?:one[- ]time|verification|security)\scode|(?:credit\s)?card\snumber|cvv)\b"
    r"(?!\s(?:file|path|folder|name|id|length|type|count|limit|manager|policy|reset))",
    re.I,
)
#: A password in other languages, the beginnings of tokens, and what a wallet is restored from.
_ABROAD = lazily(
    r"\b(?:contrase[nñ]as?|passw(?:ort|örter|orte)|kennw(?:ort|örter)|mots? de passe|senhas?|wachtwoord(?:en)?"
    r"|has[lł](?:o|a|em)|[sş]ifre(?:niz\w{0,3}|n)?|l[oö]senord(?:et)?|salasana\w{0,3}|adgangskode\w?|heslo"
    r"|mật khẩu|kata sandi|(?:12|24|twelve|twenty[- ]four)[- ]words?\sof|secret\sword|recovery\swords)\b"
    r"|парол[ьяеию]|кодовое слово|密码|密碼|口令|パスワード|暗証番号|비밀번호|암호"
    r"|كلمة (?:المرور|السر)|סיסמ|पासवर्ड|รหัสผ่าน"
    r"|κωδικ\w{1,3} πρόσβασης|\b(?:ghp_|github_pat_|xox[bp]-|sk-(?:ant|proj)-)",
    re.I,
)
#: "Your password will not be asked for", "no credentials are needed": the word is there and nobody asks.
_DENIAL = lazily(
    r"\b(?:no|not|never|without|don'?t|doesn'?t|do\snot|isn'?t|won'?t|stored|saved|expired?|rotat\w+"
    r"|delet\w+|revok\w+"
    r"|manag\w+|reset|polic(?:y|ies)|manager|how\s(?:many|long))\b"
    r"|(?:password|key|token|credential|secret|card|cookie)s?\s(?:file|path|folder|name|id|length|type"
    r"|count|limit)s?\b",
    re.I,
)
