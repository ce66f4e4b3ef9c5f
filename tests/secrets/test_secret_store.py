"""The store on a real Secret Service and on the encrypted file: what goes in comes out, for its owners alone."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from secretservice import SecretService

from mcpbox.errors import SecretError, UsageError
from mcpbox.secrets import index, keyrings, packing, vault
from mcpbox.secrets.reference import Reference
from mcpbox.secrets.store import Store, open_store

REF = Reference("github", "TOKEN")
OWNERS = ("npm:github",)
VALUES = {
    "plain": "ghp_0123456789",
    "lines": "-----BEGIN KEY-----\nabc\r\n\n-----END KEY-----\n",
    "quotes": "a'b\"c`d$(e)\\f ${g} %h",
    "bytes": bytes(range(1, 256)).decode(errors="surrogateescape"),
    "marked": "mcpbox:parts:00000000:2",
    "unicode": "Grüße 😀\u2028",
    "long": "x9" * 5120,
    "longest": "y" * packing.MAX_BYTES,
}


@pytest.fixture(params=["keyring", "short items", "file"])
def store(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store on a keyring, on one that keeps only short items each under a service of its own, and on the file."""
    if request.param == "file":
        vault.create("key-file", key_file=home / "key")
        return open_store()
    request.getfixturevalue("service")
    if request.param == "short items":
        short = replace(keyrings.KINDS[0], limit=1000, apart=True)
        monkeypatch.setattr(keyrings, "KINDS", (short, *keyrings.KINDS[1:]))
    return open_store(seconds=10)


def test_a_value_comes_back_as_it_was(store: Store) -> None:
    # Some hundred short items take seconds.
    values = {name: value for name, value in VALUES.items() if name != "longest" or not keyrings.KINDS[0].limit}
    for name, value in values.items():
        store.set(Reference("server", name), value, OWNERS)
    again = open_store(seconds=10)
    assert {name: again.get(Reference("server", name)) for name in values} == values
    names = [(str(item.ref), item.owners) for item in again.names()]
    assert names == [(f"server/{name}", OWNERS) for name in sorted(values)]


def test_a_changed_value_leaves_nothing_of_the_old_one(store: Store, request: pytest.FixtureRequest) -> None:
    for value in ("1" * 5000, "2" * 3000, "3"):
        store.set(REF, value, OWNERS)
        assert store.get(REF) == value
    store.delete(REF)
    assert store.names() == []
    with pytest.raises(SecretError, match="was never set"):
        store.get(REF)
    if "service" in request.fixturenames or vault.exists() is False:
        service: SecretService = request.getfixturevalue("service")
        code = "import secretstorage as s; print(len(list(s.search_items(s.dbus_init(), {}))))"
        assert service.run(sys.executable, "-c", code) == b"0\n"


@pytest.mark.parametrize(
    ("value", "reason"),
    [("", "it is empty"), ("a\0b", "a NUL character"), ("z" * (packing.MAX_BYTES + 1), "longer than 64 KiB")],
)
def test_a_value_that_no_variable_can_have_is_refused(home: Path, value: str, reason: str) -> None:
    vault.create("key-file", key_file=home / "key")
    with pytest.raises(UsageError, match=reason):
        open_store().set(REF, value, OWNERS)
    assert open_store().names() == []


@pytest.mark.parametrize("owners", [(), ("github",), ("file:relative",), ("npm:a", "")])
def test_a_secret_is_for_somebody(home: Path, owners: tuple[str, ...]) -> None:
    vault.create("key-file", key_file=home / "key")
    with pytest.raises(UsageError, match="is nothing that a secret can be for"):
        open_store().set(REF, "value", owners)


def test_only_an_owner_is_given_it(home: Path) -> None:
    vault.create("key-file", key_file=home / "key")
    store = open_store()
    store.set(REF, "value", ("npm:github", "file:/srv/github.js"))
    assert store.release(REF, ("file:/srv/github.js",)) == "value"
    with pytest.raises(SecretError, match=r"is for npm:github and file:/srv/github\.js, not for npm:evil") as failure:
        store.release(REF, ("npm:evil",))
    assert failure.value.hint == "if it is meant: mcpbox secrets set github/TOKEN --for npm:evil"
    with pytest.raises(SecretError, match="a program without an identity"):
        store.release(REF, ())


def test_a_secret_whose_setting_was_interrupted_is_for_nobody(home: Path) -> None:
    vault.create("key-file", key_file=home / "key")
    store = open_store()
    store.set(REF, "old", OWNERS)
    index.put(REF, replace(index.load()[REF], owners=()))
    for identities in (OWNERS, ()):
        with pytest.raises(SecretError, match="has no value any more"):
            store.release(REF, identities)
    store.set(REF, "new", OWNERS)
    assert store.release(REF, OWNERS) == "new"


def test_a_value_that_is_for_another_by_now_is_not_given(home: Path) -> None:
    vault.create("key-file", key_file=home / "key")

    class Late(vault.Vault):
        """The new value is set between the look at its owners and the look at the value."""

        def get(self, reference: Reference) -> str | None:
            open_store().set(reference, "new", ("npm:other",))
            return super().get(reference)

    open_store().set(REF, "old", OWNERS)
    with pytest.raises(SecretError, match="is being set at this moment"):
        Store(lambda _: Late(), Late).release(REF, OWNERS)


class Forgetful(vault.Vault):
    """A place that keeps something else than what it was given."""

    def set(self, reference: Reference, value: str) -> None:
        super().set(reference, "other" if value == "new" else value)


def test_nobody_waits_for_the_passphrase_that_another_is_asked_for(home: Path) -> None:
    vault.create("passphrase", passphrase="correct horse")

    def ask() -> str:
        with open(index.file().with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return "correct horse"

    open_store(ask=ask).set(REF, "one", OWNERS)


def test_what_does_not_come_back_is_an_error_and_the_old_value_stays(home: Path) -> None:
    vault.create("key-file", key_file=home / "key")
    store = Store(lambda _: Forgetful(), Forgetful)
    store.set(REF, "old", OWNERS)
    before = index.load()
    with pytest.raises(SecretError, match="did not come back"):
        store.set(REF, "new", ("npm:other",))
    assert store.get(REF) == "old" and index.load() == before
    fresh = Reference("github", "FRESH")
    with pytest.raises(SecretError, match="did not come back"):
        store.set(fresh, "new", OWNERS)
    assert index.load() == before and Forgetful().get(fresh) is None


def test_a_secret_moves_to_the_encrypted_file_when_it_is_set_again(service: SecretService, home: Path) -> None:
    open_store().set(REF, "in the keyring", OWNERS)
    vault.create("key-file", key_file=home / "key")
    assert open_store().get(REF) == "in the keyring"
    open_store().set(REF, "in the file", OWNERS)
    assert [item.place for item in open_store().names()] == ["file"] and open_store().get(REF) == "in the file"
    assert keyrings.by_id("secret-service", 5).get(REF) is None


def test_a_secret_can_be_set_again_where_its_keyring_is_no_more(
    service: SecretService, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store().set(REF, "in the keyring", OWNERS)
    vault.create("key-file", key_file=home / "key")
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere")
    left = open_store(seconds=5).set(REF, "in the file", OWNERS)
    assert left.startswith("the former value of github/TOKEN is still in secret-service: ")
    assert open_store().release(REF, OWNERS) == "in the file"


def test_without_a_keyring_nothing_is_kept_and_nothing_falls_back(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    for address in ("unix:path=/nowhere", ""):
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
        with pytest.raises(SecretError, match="there is no keyring here") as failure:
            open_store(seconds=5).set(REF, "a value", OWNERS)
        assert failure.value.hint == "on a machine without one: mcpbox secrets init --file"
    assert not [path for path in home.rglob("*") if path.is_file() and b"a value" in path.read_bytes()]
    assert index.load() == {}


def test_the_keyring_library_finds_the_same_items(service: SecretService) -> None:
    open_store().set(REF, "value", OWNERS)
    code = (
        "from keyring.backends.SecretService import Keyring\nkeyring = Keyring()\n"
        "print(keyring.get_password('mcpbox', 'github/TOKEN'))\n"
        "keyring.set_password('mcpbox', 'github/TOKEN', 'changed')"
    )
    assert service.run(sys.executable, "-c", code) == b"value\n"
    assert open_store().get(REF) == "changed"
    open_store().delete(REF)
    assert service.run(sys.executable, "-c", code) == b"None\n"


def test_what_chooses_a_keyring_from_outside_is_not_heard(
    service: SecretService, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    config = Path(os.environ["XDG_CONFIG_HOME"]) / "python_keyring"
    config.mkdir(parents=True)
    (config / "keyringrc.cfg").write_text("[backend]\ndefault-keyring=keyring.backends.null.Keyring\n")
    open_store().set(REF, "value", OWNERS)
    assert open_store().get(REF) == "value"


def test_no_weak_keyring_is_in_the_list() -> None:
    library = {f"keyring.backends.{name}" for name in ("kwallet", "macOS", "Windows")}
    assert {kind.module for kind in keyrings.KINDS} == library | {"mcpbox.secrets.secretservice"}
    with pytest.raises(SecretError, match="no keyring here"):
        keyrings.choose(1, system="plan9")
    with pytest.raises(SecretError, match="not a keyring that mcpbox knows"):
        keyrings.by_id("plaintext", 1)


def test_a_host_that_took_the_bus_away_still_reaches_it(
    service: SecretService, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = os.environ["DBUS_SESSION_BUS_ADDRESS"].removeprefix("unix:path=").partition(",")[0]
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS")
    run = home / "run" / str(os.getuid())
    run.mkdir(parents=True)
    with keyrings.session_bus(str(run.parent)):
        assert "DBUS_SESSION_BUS_ADDRESS" not in os.environ
    os.link(path, run / "bus")
    with keyrings.session_bus(str(run.parent)):
        assert os.environ["DBUS_SESSION_BUS_ADDRESS"] == f"unix:path={run}/bus"
        import secretstorage

        secretstorage.dbus_init().close()
    assert "DBUS_SESSION_BUS_ADDRESS" not in os.environ
    (run / "bus").unlink()
    (run / "bus").write_text("not a socket")
    with keyrings.session_bus(str(run.parent)):
        assert "DBUS_SESSION_BUS_ADDRESS" not in os.environ


@given(st.text(), st.integers(2, 40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_pieces_are_short_and_come_to_the_whole(text: str, limit: int) -> None:
    pieces = packing.split(text, limit)
    assert "".join(pieces) == text
    assert all(len(piece.encode("utf-16-le", "surrogatepass")) <= 2 * limit for piece in pieces)


@given(st.binary(min_size=1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_any_bytes_can_be_packed(data: bytes) -> None:
    value = data.decode(errors="surrogateescape")
    packed = packing.pack(value)
    assert packing.unpack(packed) == value and packed.encode()
    assert packing.parts_in(packed) is None


def test_the_index_holds_no_value_and_is_private(home: Path) -> None:
    vault.create("key-file", key_file=home / "key")
    open_store().set(REF, "the value", OWNERS)
    assert "the value" not in index.file().read_text() and index.file().stat().st_mode & 0o777 == 0o600
    index.file().write_text(json.dumps({"version": 2, "secrets": {}}))
    with pytest.raises(SecretError, match="of a newer mcpbox"):
        open_store().names()
    index.file().write_text("{")
    with pytest.raises(SecretError, match=r"secrets\.json"):
        open_store().names()
    entry = {"place": "file", "owners": ["npm:a"], "set": ""}
    index.file().write_text(json.dumps({"version": 1, "secrets": {"no reference": entry}}))
    with pytest.raises(SecretError, match=r"secrets\.json: 'no reference' is not the name of a secret"):
        open_store().names()


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_half_way_the_old_value_is_for_nobody_new(home: Path, when: str) -> None:
    vault.create("key-file", key_file=home / "key")
    open_store().set(REF, "old", OWNERS)
    code = (
        "import os, signal; from mcpbox.secrets.store import Store; from mcpbox.secrets import vault\n"
        "from mcpbox.secrets.reference import Reference\n"
        "class Killed(vault.Vault):\n    def set(self, reference, value):\n"
        f"        if {when!r} == 'after': super().set(reference, value)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "Store(lambda _: Killed(), Killed).set(Reference('github', 'TOKEN'), 'new', ('npm:new',))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    for identities in (OWNERS, ("npm:new",)):
        with pytest.raises(SecretError, match="has no value any more") as failure:
            open_store().release(REF, identities)
        assert failure.value.hint == "run: mcpbox secrets set github/TOKEN"
    assert [item.ref for item in open_store().names()] == [REF]
    open_store().set(REF, "new", ("npm:new",))
    assert open_store().release(REF, ("npm:new",)) == "new"
