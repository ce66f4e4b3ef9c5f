"""The encrypted file: what is in it, what opens it, and what is told when something else is tried."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import must_work

from mcpbox.errors import SecretError, UsageError
from mcpbox.secrets import vault
from mcpbox.secrets.reference import Reference
from mcpbox.secrets.store import open_store

ONE, TWO = Reference("server", "ONE"), Reference("server", "TWO")


@pytest.fixture
def key(home: Path) -> Path:
    vault.create("key-file", key_file=home / "key")
    return home / "key"


def content() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = json.loads(vault.file().read_bytes())
    return found


def test_it_shows_names_only_and_to_its_user_alone(key: Path) -> None:
    open_store().set(ONE, "a value to be found", ("npm:a",))
    text = vault.file().read_bytes()
    assert b"server/ONE" in text and b"a value" not in text
    assert {file.stat().st_mode & 0o777 for file in (vault.file(), key)} == {0o600} and len(key.read_bytes()) == 32


def test_values_cannot_change_places_or_be_changed(key: Path) -> None:
    store = open_store()
    store.set(ONE, "one", ("npm:a",))
    store.set(TWO, "two", ("npm:a",))
    data = content()
    values = data["values"]
    values["server/ONE"], values["server/TWO"] = values["server/TWO"], values["server/ONE"]
    vault.file().write_text(json.dumps(data))
    for reference in (ONE, TWO):
        with pytest.raises(SecretError, match=f"{reference} in .* was changed"):
            open_store().get(reference)
    # What the error's hint says helps.
    open_store().set(ONE, "three", ("npm:a",))
    assert open_store().get(ONE) == "three"


def test_a_file_that_is_gone_keeps_nothing_from_being_removed(key: Path) -> None:
    open_store().set(ONE, "one", ("npm:a",))
    vault.file().unlink()
    with pytest.raises(SecretError, match="is gone"):
        open_store().get(ONE)
    open_store().delete(ONE)
    assert open_store().names() == []


KEEPING = """
import sys
from mcpbox.secrets.reference import Reference
from mcpbox.secrets.vault import Vault
sys.stdin.read(1)
for number in range(40):
    Vault().set(Reference(sys.argv[1], f"N{number}"), "a value")
    Vault().set(Reference(sys.argv[1], "GONE"), "a value")
    Vault().delete(Reference(sys.argv[1], "GONE"))
"""


def test_what_two_processes_keep_at_once_is_all_there(key: Path) -> None:
    """The audit's signer keeps its place here too, at any moment."""
    words = [sys.executable, "-c", KEEPING]
    both = [subprocess.Popen([*words, name], stdin=subprocess.PIPE) for name in ("one", "two")]
    for process in both:
        assert process.stdin
        process.stdin.write(b"x")
        process.stdin.close()
    assert [process.wait() for process in both] == [0, 0]
    assert set(content()["values"]) == {f"{name}/N{number}" for name in ("one", "two") for number in range(40)}


def test_another_key_opens_nothing(key: Path) -> None:
    open_store().set(ONE, "one", ("npm:a",))
    key.write_bytes(os.urandom(32))
    with pytest.raises(SecretError, match=r"key does not open .*secrets\.enc"):
        open_store().get(ONE)
    key.write_bytes(b"short")
    with pytest.raises(SecretError, match="too short for a key"):
        open_store().get(ONE)
    key.chmod(0o644)
    with pytest.raises(SecretError, match="only this user can read") as failure:
        open_store().get(ONE)
    assert failure.value.hint == f"run: chmod 600 {key}"
    key.unlink()
    with pytest.raises(SecretError, match="No such file"):
        open_store().get(ONE)
    os.mkfifo(key, 0o600)
    with pytest.raises(SecretError, match="is not a file that only this user can read"):
        open_store().get(ONE)


def test_removing_takes_no_key(key: Path) -> None:
    open_store().set(ONE, "one", ("npm:a",))
    key.unlink()
    open_store().delete(ONE)
    assert content()["values"] == {}


def test_a_file_that_is_there_is_not_made_anew(key: Path) -> None:
    with pytest.raises(UsageError, match="is there already"):
        vault.create("key-file", key_file=key)


def test_a_passphrase_opens_it_wherever_it_comes_from(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vault.create("passphrase", passphrase="correct horse")
    open_store(ask=lambda: "correct horse").set(ONE, "one", ("npm:a",))
    with pytest.raises(SecretError, match=r"the passphrase of .* is not known here") as failure:
        open_store().get(ONE)
    assert "MCPBOX_PASSPHRASE_FILE" in failure.value.hint and "LoadCredential=mcpbox-passphrase" in failure.value.hint
    with pytest.raises(SecretError, match="the passphrase does not open"):
        open_store(ask=lambda: "battery staple").get(ONE)
    file = home / vault.CREDENTIAL
    file.write_text("correct horse\n")
    file.chmod(0o600)
    with monkeypatch.context() as patch:
        patch.setenv("MCPBOX_PASSPHRASE_FILE", str(file))
        assert open_store().get(ONE) == "one"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(home))
    assert open_store().get(ONE) == "one"
    file.chmod(0o644)
    with pytest.raises(SecretError, match="only this user can read"):
        open_store().get(ONE)


def test_costs_beyond_reason_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault, "SCRYPT_N", 1 << 10)
    vault.create("passphrase", passphrase="x")
    text = vault.file().read_text()
    for costs in ('"n":1073741824', '"n":1023', '"n":0', '"n":-1024'):
        vault.file().write_text(text.replace('"n":1024', costs))
        with pytest.raises(SecretError, match="costs are beyond reason"):
            open_store(ask=lambda: "x").set(ONE, "one", ("npm:a",))


def test_what_cannot_be_written_is_told(home: Path) -> None:
    with pytest.raises(SecretError, match="none/key: cannot be written: No such file"):
        vault.create("key-file", key_file=home / "none/key")


@pytest.mark.skipif(os.geteuid() != 0, reason="before systemd 256 only root can have a key sealed")
def test_systemd_seals_the_key_to_the_machine(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not shutil.which("systemd-creds"):
        must_work("systemd-creds is not installed")
    monkeypatch.setenv("SYSTEMD_CREDENTIAL_SECRET", str(home / "credential.secret"))
    # A host's entry may set a PATH; what it names must not be given the key.
    (home / "systemd-creds").write_text(f"#!/bin/sh\ntouch {home}/ran\n")
    (home / "systemd-creds").chmod(0o755)
    monkeypatch.setenv("PATH", str(home), prepend=os.pathsep)
    vault.create("systemd")
    open_store().set(ONE, "one", ("npm:a",))
    assert open_store().get(ONE) == "one" and not (home / "ran").exists()
    (home / "credential.secret").unlink()
    with pytest.raises(SecretError, match="systemd-creds cannot decrypt"):
        open_store().get(ONE)


@pytest.mark.parametrize(
    "text", ["", "{", '{"version": 1}', '{"version": 2, "key": {"kind": "key-file"}, "check": "", "values": {}}']
)
def test_a_file_that_cannot_be_understood_is_told_and_kept(key: Path, text: str) -> None:
    open_store().set(ONE, "one", ("npm:a",))
    vault.file().write_text(text)
    with pytest.raises(SecretError, match=r"secrets\.enc"):
        open_store().get(ONE)
    with pytest.raises(SecretError, match=r"secrets\.enc"):
        open_store().set(TWO, "two", ("npm:a",))
    assert vault.file().read_text() == text
