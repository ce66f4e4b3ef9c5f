"""What the name of a variable, a flag, a header or a parameter says of its value. No I/O."""

from __future__ import annotations

from functools import lru_cache

from mcpbox.patterns import lazily

#: A name that ends in one of these names a secret.
_SECRET = frozenset(
    """token tokens secret secrets password passwords passwd passphrase passcode pass pwd pw pat psk jwt bearer
    credential credentials creds cred mnemonic cookie cookies apikey apikeys authorization authentication auth
    sig bearertoken authtoken accesstoken secretkey accesskey privatekey""".split()
)
#: A name that ends in "key" with one of these, or with a service's name, before it.
_NOT_A_SECRET_KEY = frozenset(
    """pub primary foreign partition sort cache project issue space row object index group hot shortcut registry map
    dict translation locale routing shard idempotency event trigger metric label tag schema""".split()
)
#: Handed to everybody, or to every page.
_SHOWN = frozenset("public publishable csrf xsrf pagination page next".split())
#: A name that ends in one of these says where or what kind, whatever stands before.
_ABOUT = frozenset(
    """path paths file files filename dir directory folder url urls uri uris endpoint host hostname domain port id ids
    name names username user users email login region zone type types kind method methods mode timeout ttl expiry
    expires expiration lifetime age limit limits max min count size length budget usage enabled enable disabled disable
    required require version provider issuer audience scope scopes algorithm alg prefix suffix header headers format
    field env var variable backend strategy flow policy policies address symbol contract mint interval
    refresh retry retries validation verify verification rotation cmd command script helper program realm tenant
    organization org account level threshold per""".split()
)
#: … and in one of these, what something is known or found by.
_IDENTIFIES = frozenset("key keys digest hash sha sha256 checksum commit ref tag image".split())
#: ``tokens`` that are counted, not kept.
_COUNTED = frozenset("max min num number total context input output prompt completion thinking budget reserved".split())
#: Glued together as people write them in flags and in capitals.
_GLUED = lazily(
    r"(?:api|access|secret|private|auth|client|app|account|master|signing|encryption|service|subscription|admin|root"
    r"|license|shared|storage|session|user|db|database|bot|web|hook|openai|anthropic|my|personal)"
    r"(?:key|token|secret|password|passwd|pass|pwd)"
)
_PASSWORD = frozenset("password passwords passwd passphrase passcode pass pwd pw".split())
#: Whatever is glued to it: PGPASSWORD.
_ENDS = ("password", "passwd", "passphrase", "apikey")
_PERHAPS = frozenset("auth authentication cookie cookies credential credentials sig tokens secrets pass pat".split())
_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "x-auth", "x-functions-key"})

_CAMEL = lazily(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[^A-Za-z0-9]+")


def words(name: str) -> tuple[str, ...]:
    """The words of a name in any of the usual spellings, in lower case: ``X-Api-Key``, ``apiKey``, ``API_KEY``."""
    return tuple(word.lower() for word in _CAMEL.split(name) if word)


@lru_cache(maxsize=4096)
def says_secret(name: str) -> bool:
    """Whether what stands under ``name`` is by all custom a secret."""
    parts = words(name)
    while parts and parts[-1].isdigit():
        parts = parts[:-1]
    if not parts:
        return False
    last, before = parts[-1], parts[-2] if len(parts) > 1 else ""
    if before in _SHOWN or (last == "tokens" and _COUNTED.intersection(parts)):
        return False
    if last == "key" or last == "keys":
        return before not in _NOT_A_SECRET_KEY
    if last == "phrase":
        return before in ("seed", "pass", "recovery", "secret")
    if last == "webhook" or parts[-2:] == ("webhook", "url"):
        return True
    if last in _ABOUT:
        return name.lower() in _HEADERS
    return last in _SECRET or last.endswith(_ENDS) or bool(_GLUED.fullmatch(last))


@lru_cache(maxsize=4096)
def says_perhaps(name: str) -> bool:
    """Whether a name that ``says_secret`` accepts stands for a choice as often as for a secret."""
    parts = words(name)
    return bool(parts) and (parts[-1] in _PERHAPS or parts in (("key",), ("k",)))


@lru_cache(maxsize=4096)
def says_password(name: str) -> bool:
    """Whether it is something that a person chose, and may be short, a word or a number."""
    parts = words(name)
    return bool(parts) and (parts[-1] in _PASSWORD or parts[-1].endswith(("password", "passwd", "pwd")))


@lru_cache(maxsize=4096)
def says_plain(name: str) -> bool:
    """Whether ``name`` says that its value is something else than a secret, however random it looks."""
    parts = words(name)
    if not parts or says_secret(name):
        return False
    return parts[-1] in _ABOUT or parts[-1] in _IDENTIFIES or (len(parts) > 1 and parts[-2] in _SHOWN)


def secret_name(name: str) -> str:
    """``name`` as a secret's name is spelt: ``--api-key`` and ``apiKey`` are API_KEY. "" if nothing is left."""
    return "_".join(word.upper() for word in words(name))[:120]
