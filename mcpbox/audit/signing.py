"""Signs the ledger with a key that the keyring keeps, and has the keyring remember the newest signed place.

That is done in a process of its own: a keyring may be locked and wait for its user, which nothing else may wait for,
and the libraries take more memory than there is for ``wrap``. One signature covers every line before it, so whoever
comes next signs what others left.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mcpbox import config, paths
from mcpbox.audit import chain, ledger
from mcpbox.errors import McpboxError, SecretError
from mcpbox.secrets.reference import Reference

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from mcpbox.secrets.store import Place

#: Seconds for the keyring at the start of a session that has to be signed, and for a process that nobody waits for.
AT_START, ASIDE = 5.0, 60.0
#: Seconds after a keyring has not answered in which it is not asked again by a process that nobody waits for: each
#: time the desktop may show its user a prompt.
REFUSED_SECONDS = 900
KEY = Reference("mcpbox", "audit-key")
#: What is signed begins with it, so that a signature is of use for nothing else.
CONTEXT = b"mcpbox audit ledger\n"
UNDO = "see: mcpbox audit verify"


def head_item() -> Reference:
    """The keyring's item for the newest signed place of this ledger."""
    return Reference("mcpbox", f"audit-head-{chain.digest(os.fsencode(ledger.file()))[:16]}")


def public_file() -> Path:
    """The public keys that have signed on this machine, one a line, the newest last."""
    return paths.data_dir() / "audit.pub"


def require() -> None:
    """Sign now, before a server starts. Raises McpboxError with why that is not possible."""
    try:
        done = subprocess.run(
            # -P: the current directory is the host's choice, and no place to import from.
            [sys.executable, "-P", "-c", "from mcpbox.audit import signing; signing.main()"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd="/",
            timeout=3 * AT_START,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _unsigned("the keyring does not answer") from None
    if done.returncode:
        raise _unsigned(done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}")


def sign(seconds: float, *, always: bool = False, unasked: bool = False) -> ledger.Place | None:
    """Sign what is not signed yet, or ``always``; the place of the signature, None where all was signed.

    ``unasked`` leaves a keyring alone that has not answered lately.

    Raises SecretError for a keyring that is missing, locked or slower than ``seconds``, and McpboxError for a ledger
    that lacks the place that the keyring has: signing it would hide that it was cut back.
    """
    from mcpbox.secrets import store

    with ledger.locked(seconds + ASIDE, what="signing"):
        if (not always and _signed()) or (unasked and refused_lately()):
            return None
        place = store.place(seconds)
        known = place.get(head_item())
        if known is not None and not _contains(_place(known)):
            raise McpboxError(f"{ledger.file()} lacks the line that was signed last; it was cut back or replaced", UNDO)
        key = _key(place)
        public = key.public_key().public_bytes_raw().hex()

        new = known is None and not public_keys()
        _publish(public)
        with ledger.locked():
            # What stands before the first signature of all, nobody could sign.
            begins = _beginning() if new else {}
            signed = ledger.extend(_signed_by(key)({"event": "signature", **begins}), sync=True)
        place.set(head_item(), f"{signed.seq}:{signed.hash}")
        return signed


def sign_or_say(seconds: float) -> None:
    """Sign, or say in the ledger why not, which holds for some time. Raises OSError, McpboxError."""
    try:
        sign(seconds, unasked=True)
    except McpboxError as error:
        ledger.append({"event": "unsigned", "reason": error.message})


def last_word() -> Mapping[str, Any]:
    """The last of the ledger's lines that is a signature or says why there was none, as it stands there; or nothing."""
    for line in reversed(_tail()):
        if b'"event":"signature"' in line or b'"event":"unsigned"' in line:
            with suppress(ValueError):
                found = json.loads(line)
                return found if isinstance(found, dict) else {}
    return {}


def keyring_state(seconds: float) -> tuple[str, ledger.Place | None]:
    """The public key and the newest signed place, as the keyring has them; "" and None for what it has not.

    Raises SecretError.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from mcpbox.secrets import store

    place = store.place(seconds)
    text, known = place.get(KEY), place.get(head_item())
    key = Ed25519PrivateKey.from_private_bytes(_seed(text)).public_key().public_bytes_raw().hex() if text else ""
    return key, _place(known) if known else None


#: Makes of a line's fields what ``ledger.extend`` wants.
Attest = Callable[[Mapping[str, Any]], Callable[[ledger.Place], Mapping[str, Any]]]


def attest(seconds: float) -> Attest:
    """What puts a signature of its own on a line that takes something away: whoever can only write to the ledger and
    waits for the next signature must not be able to say the like.

    The lines stay without where nothing was ever signed. Where something was, also who turned signing off needs the
    key to take that away. Raises SecretError.
    """
    from mcpbox.secrets import store

    unsigned: Attest = lambda fields: lambda _: fields  # noqa: E731  # a function that makes functions
    if config.load().audit.sign == "off" and not public_keys():
        return unsigned
    try:
        if not possible():
            raise SecretError("there is no keyring, and the audit was signed before", UNDO)
        with ledger.locked(seconds + ASIDE, what="signing"):
            key = _key(store.place(seconds))
            _publish(key.public_key().public_bytes_raw().hex())
    except SecretError:
        if public_keys():
            raise
        return unsigned
    return _signed_by(key)


def accept(seconds: float) -> None:
    """Take the ledger as it is, and say so in it: its signatures go on from here. Raises SecretError."""
    from mcpbox.secrets import store

    place = store.place(seconds)
    if (known := place.get(head_item())) is not None:
        place.delete(head_item())
    with ledger.locked(seconds + ASIDE, what="signing"):
        line = _signed_by(_key(place))({"event": "accepted", "lacked": known or ""})
    with ledger.locked():
        ledger.extend(line, sync=True)
    sign(seconds)


def verifies(key: str, signature: str, line_hash: str) -> bool:
    """Whether ``signature`` is that of a line whose hash, without the signature, is ``line_hash``."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
        public.verify(bytes.fromhex(signature), CONTEXT + line_hash.encode())
    except (ValueError, InvalidSignature):
        return False
    return True


def public_keys() -> tuple[str, ...]:
    """The public keys that this machine remembers, the newest last."""
    try:
        return tuple(public_file().read_text().split())
    except (FileNotFoundError, UnicodeDecodeError):
        return ()


def main() -> None:
    """What ``require`` runs: the reason of a failure is on standard error."""
    try:
        # Also where there is nothing to sign yet: it shows that it can be done.
        sign(AT_START, always=True)
    except (McpboxError, OSError) as error:
        sys.stderr.write(error.message if isinstance(error, McpboxError) else str(error))
        sys.exit(1)


def possible() -> bool:
    """Whether there may be something that keeps a key, found out without asking it."""
    from mcpbox.secrets import store

    return store.possible()


def _unsigned(why: str) -> McpboxError:
    hint = 'unlock the keyring, or set sign = "auto" under [audit] in config.toml'
    return McpboxError(f"the audit cannot be signed: {why}", hint)


def _signed() -> bool:
    """Whether the last line is a signature, or there is none."""
    tail = _tail()
    return not tail or b'"event":"signature"' in tail[-1]


def refused_lately() -> bool:
    """Whether somebody has said so since the last signature."""
    now = time.time_ns()
    since, until = (chain.stamp(max(0, at)).encode() for at in (now - REFUSED_SECONDS * 1_000_000_000, now))
    for line in reversed(_tail()):
        if b'"event":"signature"' in line:
            return False
        if b'"event":"unsigned"' in line:
            # A clock that was put back must not keep the keyring from being asked until it is that late again.
            return since < line.partition(b'"time":"')[2][:27] <= until
    return False


def _beginning() -> Mapping[str, Any]:
    """Where the ledger begins, as a fold says it; nothing if there is a signature in it."""
    with suppress(FileNotFoundError, *chain.UNREADABLE, KeyError):
        lines = ledger.file().read_bytes().splitlines()
        if lines and not any(b'"event":"signature"' in line for line in lines):
            first = msgspec.json.decode(lines[0])
            return {"first": first["seq"], "after": first["prev"]}
    return {}


def _tail() -> list[bytes]:
    try:
        with ledger.file().open("rb") as opened:
            opened.seek(max(0, opened.seek(0, os.SEEK_END) - 4 * ledger.MAX_LINE))
            return opened.read().splitlines()
    except FileNotFoundError:
        return []


def _contains(place: ledger.Place) -> bool:
    """Whether the ledger has the line with that number and that hash."""
    try:
        with ledger.file().open("rb") as opened:
            return any(chain.digest(line[:-1]) == place.hash for line in opened if b'"seq":%d,' % place.seq in line)
    except FileNotFoundError:
        return False


def _place(text: str) -> ledger.Place:
    seq, _, found = text.partition(":")
    if not seq.isdecimal():
        raise SecretError(f"{head_item()} is not what mcpbox keeps there", UNDO)
    return ledger.Place(int(seq), found)


def _signed_by(key: Ed25519PrivateKey) -> Attest:
    public = key.public_key().public_bytes_raw().hex()

    def attested(fields: Mapping[str, Any]) -> Callable[[ledger.Place], Mapping[str, Any]]:
        def line(last: ledger.Place) -> Mapping[str, Any]:
            whole = {**ledger.after(last), **chain.plain(fields), "key": public}
            return {**whole, "signature": key.sign(CONTEXT + chain.digest(chain.encode(whole)).encode()).hex()}

        return line

    return attested


def _key(place: Place) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if text := place.get(KEY):
        return Ed25519PrivateKey.from_private_bytes(_seed(text))
    key = Ed25519PrivateKey.generate()
    seed = key.private_bytes_raw().hex()
    place.set(KEY, seed)
    if place.get(KEY) != seed:
        raise SecretError(f"the key of the audit did not come back from {place.place} as it was put there")
    return key


def _seed(text: str) -> bytes:
    try:
        seed = bytes.fromhex(text)
    except ValueError:
        seed = b""
    if len(seed) != 32:
        raise SecretError(f"{KEY} is not the key that mcpbox keeps there", UNDO)
    return seed


def _publish(public: str) -> None:
    from mcpbox.secrets.index import write_private

    known = public_keys()
    if public not in known[-1:]:
        paths.private_dir(paths.data_dir())
        write_private(public_file(), "".join(f"{key}\n" for key in (*known, public)).encode())
