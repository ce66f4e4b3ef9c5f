"""The register of what was approved."""

from __future__ import annotations

import stat
import subprocess
import sys

import msgspec
import pytest

from mcpbox import registered
from mcpbox.errors import McpboxError
from mcpbox.hosts import register
from mcpbox.hosts.record import Original, Record

RECORD = Record(
    file="/f",
    key=("mcpServers", "a"),
    host="cursor",
    name="a",
    start=registered.checksum(["npx", "p"]),
    command="c",
    arguments="d",
    path="/one:/two",
    original=Original("x", ((0, 1, "y"),)),
)
ADDER = """
import sys
from mcpbox.hosts import register
from mcpbox.hosts.record import Record
for n in range(20):
    register.put([Record(file=sys.argv[1], key=(n,), host="h", name="n", start=1, command="", arguments="", path="")])
"""


def test_records_come_back_as_they_were_and_one_place_has_one() -> None:
    assert register.load() == []
    other = msgspec.structs.replace(RECORD, key=("list", 3))
    register.put([RECORD, other])
    register.put([msgspec.structs.replace(RECORD, name="b")])
    assert register.load() == [other, msgspec.structs.replace(RECORD, name="b")]
    assert stat.S_IMODE(registered.file().stat().st_mode) == 0o600
    register.remove("/other", [other.key])
    register.remove("/f", [other.key])
    assert [record.name for record in register.load()] == ["b"]


def test_the_path_is_found_by_host_and_name_the_same_words_first() -> None:
    later = msgspec.structs.replace(RECORD, key=("z",), start=registered.checksum(["npx", "q"]), path="/three")
    register.put([RECORD, later])
    assert registered.path_for("cursor", "a", ["npx", "q"]) == "/three"
    assert registered.path_for("cursor", "a", ["npx", "p"]) == "/one:/two"
    assert registered.path_for("cursor", "a", ["something else"]) == "/one:/two"
    assert registered.path_for("cursor", "b", ["npx", "p"]) is None


def test_two_processes_at_once_lose_no_record() -> None:
    both = [subprocess.Popen([sys.executable, "-c", ADDER, name]) for name in ("/one", "/two")]
    assert [one.wait() for one in both] == [0, 0]
    assert len(register.load()) == 40


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"version": 2}', '{"version": 1, "servers": [{"host": 1}]}', '{"version": 1, "x": 1}']
)
def test_a_damaged_file_is_an_error_and_never_an_empty_register(damage: str) -> None:
    registered.file().parent.mkdir(parents=True)
    registered.file().write_text(damage)
    with pytest.raises(McpboxError, match=r"protected\.json") as caught:
        register.load()
    assert "mcpbox unprotect" in caught.value.hint or "update mcpbox" in caught.value.hint
    with pytest.raises(McpboxError):
        register.put([RECORD])
    assert registered.file().read_text() == damage
