"""The encrypted file for machines without a keyring, made by ``mcpbox secrets init --file`` and by nothing else.

AES-256-GCM, each value on its own with its name as associated data, so that values cannot change places. The key comes
from a passphrase (scrypt, RFC 7914), from a key file, or from what systemd-creds sealed to this machine.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from mcpbox import paths
from mcpbox.errors import DamagedSecret, SecretError, UsageError
from mcpbox.secrets.index import locked, write_private
from mcpbox.secrets.reference import Reference

PLACE = "file"
#: Held while the file is changed: by whoever sets a secret, and by the audit's signer, which knows of no index.
LOCK = "secrets.enc.lock"
#: OWASP's first choice for scrypt (2023): 128 MiB and about a third of a second for each guess.
SCRYPT_N, SCRYPT_R, SCRYPT_P = 1 << 17, 8, 1
KEY_BYTES = 32
#: A variable that names a file with the passphrase, and the name of a credential of a systemd service's that holds it.
PASSPHRASE_FILE = "MCPBOX_PASSPHRASE_FILE"
CREDENTIAL = "mcpbox-passphrase"
GIVE = f"name a file that holds it in {PASSPHRASE_FILE}, or give a service LoadCredential={CREDENTIAL}:FILE"
SYSTEMD = ("systemd-creds", "--name=mcpbox")
SYSTEMD_SECONDS = 5.0
_CHECK = "mcpbox"

#: Asks the user for the passphrase.
Ask = Callable[[], str]


class Source(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the key comes from; ``salt`` and scrypt's costs, the ``path`` of a key file, or the ``sealed`` key."""

    kind: Literal["passphrase", "key-file", "systemd"]
    salt: bytes = b""
    n: int = 0
    r: int = 0
    p: int = 0
    path: str = ""
    sealed: bytes = b""


class _File(Struct, forbid_unknown_fields=True):
    """``check`` is a known text, encrypted: it tells a wrong key from a changed value."""

    version: int
    key: Source
    check: bytes
    values: dict[str, bytes]


def file() -> Path:
    return paths.data_dir() / "secrets.enc"


def exists() -> bool:
    return file().exists()


def create(kind: str, *, key_file: Path | None = None, passphrase: str = "") -> None:
    """Make the file, empty. Raises UsageError if there is one, SecretError."""
    if exists():
        raise UsageError(f"{file()} is there already", "remove its secrets with: mcpbox secrets rm, and then the file")
    if kind == "passphrase":
        source = Source("passphrase", salt=os.urandom(16), n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P)
        key = _stretch(passphrase, source)
    elif kind == "key-file" and key_file is not None:
        if not key_file.is_absolute():
            key_file = Path.cwd() / key_file
        if not key_file.exists():
            write_private(key_file, os.urandom(KEY_BYTES))
        source = Source("key-file", path=str(key_file))
        key = _key_of_file(source.path)
    else:
        key = os.urandom(KEY_BYTES)
        source = Source("systemd", sealed=_systemd("encrypt", key))
    paths.private_dir(paths.data_dir())
    write_private(file(), msgspec.json.encode(_File(1, source, _encrypt(key, _CHECK, b""), {})))


class Vault:
    """The values of the encrypted file. Every method raises SecretError."""

    place = PLACE

    def __init__(self, ask: Ask | None = None) -> None:
        self._ask = ask
        self._key = b""

    def check(self) -> None:
        """Open the file with its key, but for one that comes from a passphrase: that is not asked for."""
        if _read().key.kind != "passphrase":
            self._load()

    def get(self, reference: Reference) -> str | None:
        """The value; None if it is not in the file."""
        content = self._load()
        sealed = content.values.get(str(reference))
        if sealed is None:
            return None
        data = _decrypt(self._key, str(reference), sealed)
        if data is None:
            raise DamagedSecret(f"{reference} in {file()} was changed", f"run: mcpbox secrets set {reference}")
        return data.decode(errors="surrogateescape")

    def set(self, reference: Reference, value: str) -> None:
        # For the key, which may be asked of the user, and nobody else waits for that.
        self._load()
        data = value.encode(errors="surrogateescape")
        with locked(LOCK):
            content = self._load()
            content.values[str(reference)] = _encrypt(self._key, str(reference), data)
            write_private(file(), msgspec.json.encode(content))

    def delete(self, reference: Reference) -> None:
        """Remove the value, if it is there; that takes no key."""
        if not exists():
            return
        with locked(LOCK):
            content = _read()
            if content.values.pop(str(reference), None) is not None:
                write_private(file(), msgspec.json.encode(content))

    def _load(self) -> _File:
        content = _read()
        if not self._key:
            key = self._derive(content.key)
            if _decrypt(key, _CHECK, content.check) is None:
                what = {"passphrase": "the passphrase", "key-file": content.key.path}.get(content.key.kind, "the key")
                raise SecretError(f"{what} does not open {file()}", GIVE if content.key.kind == "passphrase" else "")
            self._key = key
        return content

    def _derive(self, source: Source) -> bytes:
        if source.kind == "passphrase":
            return _stretch(_passphrase(self._ask), source)
        if source.kind == "key-file":
            return _key_of_file(source.path)
        return _systemd("decrypt", source.sealed)


def passphrase_in(path: str) -> str:
    """The one line of a file. Raises SecretError."""
    if not (found := _private(path).decode(errors="surrogateescape").rstrip("\r\n")):
        raise SecretError(f"{path} is empty", "it has to hold the passphrase")
    return found


def _read() -> _File:
    try:
        content = msgspec.json.decode(file().read_bytes(), type=_File)
    except FileNotFoundError:
        raise SecretError(f"{file()} is gone", "put back a copy of it, or: mcpbox secrets init --file") from None
    except (OSError, msgspec.DecodeError) as error:
        raise SecretError(f"{file()}: {error}", "put back a copy of it") from None
    if content.version != 1:
        raise SecretError(f"{file()}: version {content.version} is of a newer mcpbox", "update mcpbox")
    return content


def _passphrase(ask: Ask | None) -> str:
    service = os.environ.get("CREDENTIALS_DIRECTORY", "")
    if path := os.environ.get(PASSPHRASE_FILE):
        return passphrase_in(path)
    if service and os.path.exists(f"{service}/{CREDENTIAL}"):
        return passphrase_in(f"{service}/{CREDENTIAL}")
    if ask is None:
        raise SecretError(f"the passphrase of {file()} is not known here", GIVE)
    return ask()


def _stretch(passphrase: str, source: Source) -> bytes:
    # A file that somebody else could write must not be able to ask for all of the memory.
    costs = {"n": source.n, "r": source.r, "p": source.p, "maxmem": 256 * source.n * source.r}
    try:
        if min(source.n, source.r, source.p) < 1 or source.n * source.r > 1 << 23 or source.p > 16:
            raise ValueError
        return hashlib.scrypt(passphrase.encode(errors="surrogateescape"), salt=source.salt, dklen=KEY_BYTES, **costs)
    except ValueError:
        raise SecretError(f"{file()}: scrypt's costs are beyond reason", "put back a copy of it") from None


def _key_of_file(path: str) -> bytes:
    data = _private(path)
    if len(data) < KEY_BYTES:
        raise SecretError(f"{path} is too short for a key", f"it needs {KEY_BYTES} random bytes")
    return hashlib.sha256(b"mcpbox secrets key\0" + data).digest()


def _private(path: str) -> bytes:
    """The content of a file that nobody else can read. Raises SecretError."""
    try:
        # Not to wait for the other end of a FIFO.
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as stream:
            found = os.fstat(stream.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_uid not in (0, os.getuid()) or found.st_mode & 0o077:
                raise SecretError(f"{path} is not a file that only this user can read", f"run: chmod 600 {path}")
            return stream.read(1 << 16)
    except OSError as error:
        hint = "put back a copy of it: nothing else opens the encrypted secrets"
        raise SecretError(f"{path}: {error.strerror}", hint) from None


def _systemd(verb: str, data: bytes) -> bytes:
    """What systemd-creds makes of ``data``, which goes through pipes only."""
    # The system's first: a host's entry may set a PATH, and what is started here is in no sandbox.
    program = shutil.which(SYSTEMD[0], path=f"/usr/bin:{os.environ.get('PATH', '')}")
    if program is None:
        raise SecretError("systemd-creds is not installed", "use: mcpbox secrets init --file --key-file PATH")
    words = [program, *SYSTEMD[1:], verb, "-", "-"]
    if os.getuid() != 0:
        words.insert(1, "--user")
    try:
        given = base64.b64encode(data) if verb == "encrypt" else data
        done = subprocess.run(words, input=given, capture_output=True, timeout=SYSTEMD_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SecretError(f"systemd-creds: {type(error).__name__}", "use a key file or a passphrase") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise SecretError(
            f"systemd-creds cannot {verb}: {said}", "it needs systemd 256 where mcpbox is not run by root"
        )
    try:
        return done.stdout if verb == "encrypt" else base64.b64decode(done.stdout, validate=True)
    except ValueError:
        raise SecretError("systemd-creds: what it decrypts is no key", f"put back a copy of {file()}") from None


def _encrypt(key: bytes, name: str, data: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(12)
    return nonce + AESGCM(key).encrypt(nonce, data, name.encode())


def _decrypt(key: bytes, name: str, sealed: bytes) -> bytes | None:
    """The data; None if the key is another, or the bytes or the name are not those that were encrypted."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(key).decrypt(sealed[:12], sealed[12:], name.encode())
    except (InvalidTag, ValueError):
        return None
