"""What is suggested is a valid profile, no wider than the one it narrows, and holds against what it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trail.records import NASTY, ORDINARY, at, call, damaged, egress, entries, result

from mcpbox import filesystem, profile
from mcpbox.tables import Profile
from mcpbox.trail import replay as replaying
from mcpbox.trail.entries import Entry
from mcpbox.trail.evidence import gather
from mcpbox.trail.replay import Tally, replay
from mcpbox.trail.suggest import Context, suggest

HOME = "/home/ann"
BASE = """version = 1
name = "notes"
matches = ["npm:notes"]
[filesystem]
read = ["~/projects", { path = "~/.config/notes", optional = true }]
write = ["~/out"]
[network]
allow = ["*.example.com", "api.other.org:8443", "localhost:5432"]
[environment]
LOG_LEVEL = "info"
[secrets]
NOTES_TOKEN = "host"
[tools]
destructive = ["delete_*"]
deny = ["drop_*"]
"""


def forms(path: str) -> tuple[str, ...]:
    return (path.replace("~", HOME, 1),)


def context(text: str = BASE) -> Context:
    resolved = profile.parse(text, "base")
    exposed = lambda path: filesystem.exposure(path, Path(HOME))  # noqa: E731
    return Context(resolved.profile, resolved.given, forms, exposed, HOME)


def suggested(*records: Mapping[str, Any], base: str = BASE) -> tuple[str, Profile]:
    evidence = gather([entries(*(dict(record) for record in records))])
    text = suggest("notes", evidence, context(base))
    return text, profile.parse(text, "suggested").profile


def learned(tool: str, *places: str, failed: bool = False, read_only: bool = False, second: int = 15) -> dict[str, Any]:
    told = {"event": "learned", "what": "arguments", "tool": tool, "failed": failed, "read_only": read_only}
    return {"seq": 9, "time": at(second), **told, "arguments": {".": {}, "path": {"places": list(places)}}}


def granted(*mounts: tuple[str, bool, str], learn: bool = True, hosts: tuple[str, ...] = ()) -> dict[str, Any]:
    rows = [{"path": path, "write": write, "by": by} for path, write, by in mounts]
    return {"seq": 1, "time": at(3), "event": "granted", "learn": learn, "mounts": rows, "hosts": list(hosts)}


MOUNTS = granted((f"{HOME}/projects", False, "profile"), (f"{HOME}/out", True, "profile"))


def test_what_was_not_used_is_not_allowed() -> None:
    text, found = suggested(MOUNTS)
    assert found.tools.allow == () and found.network.allow == () and found.resources.allow == ()
    assert (found.messages.sampling, found.messages.elicitation, found.messages.roots) == ("deny", "deny", "deny")
    assert found.environment == {"LOG_LEVEL": "info"} and found.secrets == {"NOTES_TOKEN": "host"}
    assert found.matches == ("npm:notes",) and found.tools.deny == ("drop_*",)
    assert text.startswith("# From one recorded session of notes")


def test_each_line_has_its_evidence() -> None:
    text, found = suggested(MOUNTS, *ORDINARY, learned("read_note", f"{HOME}/projects/a"))
    assert '    "read_note",  # once in 0123456789ab; last 2026-11-21 13:22' in text.splitlines()
    assert '    "api.example.com",  # 13 times in 0123456789ab; last 2026-11-21 13:22' in text.splitlines()
    assert '    "~/projects/a",' in text and "evil.example" not in text and "down.example.com" not in text
    assert found.tools.allow == ("read_note",) and found.network.allow == ("api.example.com",)
    assert found.filesystem.read[0] == "~/projects/a" and found.filesystem.write == ("~/out",)


@pytest.mark.parametrize(
    ("name", "port", "expected"),
    [
        ("api.example.com", 443, ("api.example.com",)),
        ("api.other.org", 8443, ("api.other.org:8443",)),
        ("localhost", 5432, ("localhost:5432",)),
        # It is not in the profile, and nobody said that the session was to be learned from.
        ("elsewhere.net", 443, ()),
        ("bad name", 443, ()),
        ("", 443, ()),
        ("127.0.0.1", 443, ()),
    ],
)
def test_hosts(name: str, port: int, expected: tuple[str, ...]) -> None:
    assert suggested(egress(1, name, port))[1].network.allow == expected


def test_a_learned_session_adds_hosts_but_those_that_the_configuration_names() -> None:
    opaque = {"seq": 8, "time": at(50), "event": "learned", "what": "endpoints"}
    opaque["endpoints"] = [{"target": "mail.example.net:25", "opaque": True}, {"target": 7}, "x"]
    records = [granted(hosts=("db.lan:5432",)), egress(2, "elsewhere.net", 443), egress(3, "db.lan", 5432)]
    text, found = suggested(*records, egress(4, "mail.example.net", 25), opaque)
    assert found.network.allow == ("elsewhere.net", "tcp://mail.example.net:25")
    assert "# db.lan:5432: your own configuration names it" in text


def test_many_hosts_of_one_wildcard_are_not_told_apart() -> None:
    text, found = suggested(*(egress(n, f"b{n}.example.com", 443) for n in range(20)))
    assert found.network.allow == ("*.example.com",) and "20 of its hosts" in text


@pytest.mark.parametrize(
    ("places", "read", "write"),
    [
        ((f"{HOME}/projects/a", f"{HOME}/projects/a/deep"), ("~/projects/a",), ("~/out",)),
        ((f"{HOME}/projects",), ("~/projects",), ("~/out",)),
        ((f"{HOME}/out/x",), ("~/projects",), ("~/out/x",)),
        # Outside of what is shown, and outside of what may ever be: in comments.
        ((f"{HOME}/elsewhere",), ("~/projects",), ("~/out",)),
        ((f"{HOME}/.ssh", "/", "/etc"), ("~/projects",), ("~/out",)),
        (tuple(f"{HOME}/projects/{n}" for n in range(12)), ("~/projects",), ("~/out",)),
        ((f"{HOME}/projects-other/x",), ("~/projects",), ("~/out",)),
    ],
)
def test_paths_are_narrowed_and_never_widened(
    places: tuple[str, ...], read: tuple[str, ...], write: tuple[str, ...]
) -> None:
    _, found = suggested(MOUNTS, call(2, "read"), result(3, "read", 2), learned("read", *places))
    assert tuple(item for item in found.filesystem.read if isinstance(item, str)) == read
    assert found.filesystem.write == write


def test_a_path_that_tools_say_they_only_read_is_for_reading() -> None:
    _, found = suggested(MOUNTS, learned("read", f"{HOME}/out/x", read_only=True))
    assert "~/out/x" in found.filesystem.read and found.filesystem.write == ()
    _, found = suggested(MOUNTS, learned("a", f"{HOME}/out/x", read_only=True), learned("b", f"{HOME}/out/x"))
    assert found.filesystem.write == ("~/out/x",)


def test_paths_that_were_named_in_vain_are_only_told_of() -> None:
    text, found = suggested(MOUNTS, learned("read", f"{HOME}/projects/a", f"{HOME}/.ssh", failed=True))
    assert found.filesystem.read[0] == "~/projects" and "~/.ssh: it holds credentials" in text


def test_without_learned_sessions_paths_stay_as_they_are() -> None:
    text, found = suggested(granted(learn=False), call(2, "read"))
    assert found.filesystem == profile.parse(BASE, "base").profile.filesystem
    assert "None ran with --learn" in text


def test_rates_have_headroom() -> None:
    calls = [call(n, "x", second=n // 10, digest="d") for n in range(60)]
    _, found = suggested(*calls)
    assert (found.calls.per_minute, found.calls.repeats) == (120, 120)
    _, found = suggested(*calls, base=BASE + "[calls]\nper_minute = 70\nrepeats = 0\n")
    assert found.calls.per_minute == 70


def test_names_that_the_profile_no_longer_allows_are_only_told_of() -> None:
    text, found = suggested(call(1, "drop_all"), call(2, "x"))
    assert found.tools.allow == ("x",) and "# drop_all: not allowed any more" in text


@pytest.mark.parametrize("name", [*NASTY, "\x9b2J", "a*b", "[x]", "?", "a]", "[!a]", '"""', "#", "\\u0041"])
def test_any_name_of_a_tool_is_itself_and_no_pattern(name: str) -> None:
    text, found = suggested(call(1, name))
    # A terminal shows what is suggested.
    assert all(line.isprintable() for line in text.split("\n"))
    for other in ("aab", "x", "z", "a"):
        different = list(replay(entries(call(1, other)), found, forms, Tally()))
        assert bool(different) is (other != name)
    if name and name.isprintable():
        assert list(replay(entries(call(1, name)), found, forms, Tally())) == []


def test_damaged_records_give_a_valid_profile() -> None:
    for entry in islice(damaged(), 0, None, 11):
        found = suggest(entry.server, gather([[entry]]), context())
        profile.parse(found, "suggested")
    profile.parse(suggest("notes", gather([damaged()]), context()), "suggested")


RECORDS = st.one_of(
    st.builds(call, st.just(1), st.text(max_size=12), st.integers(0, 59), digest=st.sampled_from(["a", "b"])),
    st.builds(egress, st.just(1), st.sampled_from(["a.example.com", "b.example.com", "api.other.org", "localhost"]),
              st.sampled_from([443, 8443, 5432, 80]), st.integers(0, 59)),
    st.builds(learned, st.text(max_size=5), st.sampled_from([f"{HOME}/projects/{n}" for n in "abc"] + [f"{HOME}/out"]),
              failed=st.booleans(), read_only=st.booleans()),
    st.builds(lambda method: {"seq": 1, "time": at(9), "event": "call", "side": "server", "method": method, "id": 1},
              st.sampled_from(["sampling/createMessage", "elicitation/create", "roots/list"])),
)  # fmt: skip


@given(st.lists(RECORDS, max_size=40))
def test_what_a_profile_allowed_its_narrower_one_allows(records: list[dict[str, Any]]) -> None:
    """As the sandbox would have it: what the base itself refuses is not on record as allowed."""
    base = profile.parse(BASE + '[messages]\nsampling = "allow"\n', "base").profile
    session = [MOUNTS]
    for record in sorted(records, key=lambda record: str(record["time"])):
        if not list(replay([Entry("notes", "s", each, {}) for each in (MOUNTS, record)], base, forms, Tally())):
            session.append(record)
    log = [Entry("notes", "s", record, {}) for record in session]
    text = suggest("notes", gather([log]), context(BASE + '[messages]\nsampling = "allow"\n'))
    narrow = profile.parse(text, "suggested").profile
    assert list(replay(log, narrow, forms, Tally())) == []


@pytest.mark.parametrize(
    ("records", "text", "expected"),
    [
        ([call(1, "a")], '[tools]\nallow = ["b"]', "tools/call a: tools.allow has not 'a'"),
        ([call(1, "a")], '[tools]\ndeny = ["a*"]', "tools/call a: tools.deny has 'a*'"),
        ([egress(1, "a.b", 443)], "", "connection to a.b:443: no rule names a.b"),
        (
            [egress(1, "a.b", 443, addresses=["10.0.0.1", "127.0.0.1", 7])],
            '[network]\nallow = ["a.b"]',
            "connection to a.b:443: 10.0.0.1 is private (RFC 1918, RFC 4193)",
        ),
        (
            [egress(1, "a.b", 80)],
            '[network]\nallow = ["a.b"]',
            "connection to a.b:80: a.b is allowed on 443, not on 80",
        ),
        (
            [call(n, "a", digest="d") for n in range(4)],
            "[calls]\nrepeats = 3",
            "tools/call a: more than calls.repeats = 3 in a row with the same arguments",
        ),
        (
            [call(n, "a", second=n) for n in range(4)],
            "[calls]\nper_minute = 3",
            "tools/call: more than calls.per_minute = 3",
        ),
        (
            [call(1, "a"), result(2, "a", 1), call(3, "b")],
            '[calls]\nsequences = [{ after = "a", then = "b" }]',
            "tools/call b: calls.sequences has it after 'a'",
        ),
        (
            [{"event": "call", "side": "server", "method": "roots/list", "id": 1}],
            '[messages]\nroots = "deny"',
            'roots/list: messages.roots = "deny"',
        ),
        (
            [MOUNTS, learned("a", f"{HOME}/projects/a")],
            '[filesystem]\nread = ["~/projects/b"]',
            f"directory {HOME}/projects/a: no path in filesystem.read or filesystem.write has it",
        ),
        (
            [MOUNTS, learned("a", f"{HOME}/out")],
            '[filesystem]\nread = ["~/out"]',
            f"directory {HOME}/out: no path in filesystem.write has it",
        ),
        ([call(1, "a", bytes=99 << 20)], "", "tools/call a: it had 103809024 bytes, and messages.max_bytes = 16MiB"),
        (
            [call(1, "a"), result(2, "a", 1, bytes=2 << 20)],
            '[messages]\nmax_bytes = "1MiB"',
            "tools/call a: its result had 2097152 bytes, and messages.max_bytes = 1MiB",
        ),
    ],
)
def test_replay_says_what_would_be_refused_and_why(records: list[dict[str, Any]], text: str, expected: str) -> None:
    found = profile.parse(f'version = 1\nname = "x"\n{text}', "x").profile
    (only,) = replay(entries(*records), found, forms, Tally())
    assert f"{only.what}: {only.why}" == expected


def test_replay_lets_be_what_the_configuration_names_where_the_profile_does() -> None:
    named = granted((f"{HOME}/db", True, "configuration"), (f"{HOME}/code", False, "code"), hosts=("db.lan:5432",))
    log = entries(
        named, egress(2, "db.lan", 5432), learned("q", f"{HOME}/db"), learned("q", f"{HOME}/code/x", read_only=True)
    )
    start = 'version = 1\nname = "x"\n'
    open_ = '[filesystem]\nfrom_arguments = { "--db" = "beside" }\n[network]\nfrom_environment = ["DB"]\n'
    tally = Tally()
    assert list(replay(log, profile.parse(start + open_, "x").profile, forms, tally)) == []
    assert tally.judged == {"connections": 1, "directories": 2}
    closed = list(replay(log, profile.parse(start, "x").profile, forms, Tally()))
    assert [each.what for each in closed] == ["connection to db.lan:5432", f"directory {HOME}/db"]


def test_replay_judges_damaged_records_and_tells_each_thing_once() -> None:
    base = profile.parse(BASE, "base").profile
    list(replay(damaged(), base, forms, Tally()))
    many = entries(*(call(n, "drop_x") for n in range(1000)))
    assert len(list(replay(many, base, forms, Tally()))) == 1
    assert replaying.MAX_TOLD >= 1000
