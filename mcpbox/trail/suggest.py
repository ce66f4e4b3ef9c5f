"""The least profile that would have sufficed for what was recorded, each line with its evidence. No I/O.

It narrows the profile that the server has: nothing is allowed that this one does not allow, but hosts which a session
was let through to in order to learn of them, and those in comments.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from mcpbox.egress.rules import Rule, Rules
from mcpbox.naming import Globs
from mcpbox.tables import Listed, Profile, Size
from mcpbox.trail import toml
from mcpbox.trail.entries import visible
from mcpbox.trail.evidence import Evidence, Place, times, within

#: Hosts under one wildcard, and directories under one that is listed, beyond which they are not told apart.
MAX_APART = 8
#: Headroom over what was observed: calls a minute, and calls in a row with the same arguments.
RATE_FACTOR, RATE_LEAST, RUN_FACTOR, RUN_LEAST = 2, 20, 2, 5
BYTES_FACTOR, BYTES_LEAST = 4, 1 << 20
_TABLES = "sandbox filesystem network environment secrets tools resources prompts messages flows calls audit".split()
#: What a record has in the place of what may be a password, as a pattern that means just that.
_STARS = re.escape("[*][*][*]")
_KINDS = ("read", "write")
_HEAD = ("name", "description", "matches")


class Context(Struct, frozen=True):
    """What a suggestion depends on besides the evidence.

    ``profile`` is the one in force and ``given`` the keys that its file sets. ``expanded`` gives the forms of a path,
    with the home directory for "~" and without symlinks, and ``exposure`` says why one must not be shown to any
    server, "" if it may.
    """

    profile: Profile
    given: frozenset[str]
    expanded: Callable[[str], Collection[str]]
    exposure: Callable[[str], str]
    home: str


def suggest(server: str, evidence: Evidence, context: Context) -> str:
    """The text of a profile. It is valid where ``profile`` is."""
    profile = context.profile
    head = [f"# From {times_in(evidence)} of {visible(server, 64)}: what these needed, and no more.\n"]
    if not evidence.complete:
        head.append("# There was more than the record tells one by one, so something may be missing.\n")
    if not evidence.learned:
        head.append("# None ran with --learn, so what paths it needs is not known: [filesystem] is as it was.\n")
    elif evidence.learned < evidence.sessions:
        head.append(f"# Of what paths it needs, only the {evidence.learned} tell that ran with --learn.\n")
    head.append(
        f"# Save it to a FILE, and see what it would have refused: mcpbox profile replay FILE {visible(server, 64)}\n"
    )
    head.append("version = 1\n")
    head += [f"{key} = {toml.inline(value)}\n" for key in _HEAD if (value := getattr(profile, key))]
    written = {
        "filesystem": lambda: _filesystem(evidence, context),
        "network": lambda: _network(evidence, context),
        "tools": lambda: _names(evidence, context, "tools"),
        "resources": lambda: _names(evidence, context, "resources"),
        "prompts": lambda: _names(evidence, context, "prompts"),
        "messages": lambda: _messages(evidence, context),
        "calls": lambda: _calls(evidence, context),
    }
    tables = []
    for table in _TABLES:
        lines = dict(written.get(table, dict)())
        kept = list(lines.values())
        kept += [
            f"{toml.key(key)} = {toml.inline(value)}\n" for key, value in _given(context, table) if key not in lines
        ]
        if kept:
            tables.append(f"\n[{table}]\n{''.join(kept)}")
    return "".join((*head, *tables))


def times_in(evidence: Evidence) -> str:
    return "one recorded session" if evidence.sessions == 1 else f"{evidence.sessions} recorded sessions"


def _given(context: Context, table: str) -> Iterator[tuple[str, Any]]:
    """What the profile in force says in a table, as it says it."""
    values = getattr(context.profile, table)
    if isinstance(values, msgspec.Struct):
        values = msgspec.structs.asdict(values)
    yield from ((key, value) for key, value in values.items() if f"{table}.{key}" in context.given)


def _names(evidence: Evidence, context: Context, table: str) -> Iterator[tuple[str, str]]:
    names = getattr(context.profile, table)
    globs = Globs(((names.allow, names.deny),))
    rows: list[tuple[Any, str]] = []
    for name, use in sorted(getattr(evidence, table).items()):
        if not _sayable(name) or not globs.allow(name):
            rows.append((None, f"{visible(name, 100)}: not allowed any more: {use}"))
        else:
            rows.append((_pattern(name), str(use)))
    yield "allow", toml.array("allow", rows)


def _network(evidence: Evidence, context: Context) -> Iterator[tuple[str, str]]:
    rules = Rules.parse(context.profile.network.allow)
    kept: dict[str, tuple[Rule | None, list[tuple[str, str]]]] = {}
    beside: list[tuple[None, str]] = []
    for (name, port), use in sorted(evidence.destinations.items()):
        exact = _rule(name, port, opaque=(name, port) in evidence.opaque)
        rule = rules.decide(name, port).rule
        if exact is None:
            beside.append((None, f"{visible(name, 100)}:{port}: no rule can name it: {use}"))
        elif rule is None and (name, port) in evidence.covered:
            beside.append((None, f"{exact}: your own configuration names it: {use}"))
        elif rule is None and not evidence.learned:
            beside.append((None, f"{exact}: not in the profile: your own configuration named it, or it was: {use}"))
        else:
            # A rule of the file for this very name stays as it is written; a wider one is narrowed.
            narrow = rule is None or rule.kind in ("any", "subdomains") or (rule.kind == "network" and "/" in rule.text)
            form = exact if narrow or rule is None else rule.text
            group = rule.text if rule is not None and narrow else form
            kept.setdefault(group, (rule, []))[1].append((form, str(use)))
    rows: list[tuple[Any, str]] = []
    for group, (rule, members) in kept.items():
        if len(members) > MAX_APART and rule is not None and rule.kind != "any":
            rows.append((group, f"{len(members)} of its hosts, such as {members[0][0]}"))
        else:
            rows += members
    yield "allow", toml.array("allow", [*dict.fromkeys(rows), *beside])


def _rule(name: str, port: int, *, opaque: bool) -> str | None:
    """The rule for one host and port; None where there can be none."""
    text = f"[{name}]" if ":" in name else name
    text = f"{'tcp://' if opaque else ''}{text}" + (f":{port}" if port != 443 or name == "localhost" else "")
    try:
        Rules.parse([text])
    except ValueError:
        return None
    return text


def _filesystem(evidence: Evidence, context: Context) -> Iterator[tuple[str, str]]:
    if not evidence.learned:
        return
    table = context.profile.filesystem
    listed = [
        (key, item if isinstance(item, Listed) else Listed(path=item)) for key in _KINDS for item in getattr(table, key)
    ]
    tops = {(key, item.path): context.expanded(item.path) for key, item in listed}
    rows: dict[str, list[tuple[Any, str]]] = {key: [] for key in _KINDS}
    used: dict[tuple[str, str], dict[str, Place]] = {top: {} for top in tops}
    for path, place in sorted(evidence.places.items()):
        # The deepest of those that contain it is the one that was meant, and a writable one before another.
        over = [(len(form), key, top) for (key, top), forms in tops.items() for form in forms if within(path, form)]
        if over and not place.failed:
            _, key, top = max(over)
            used[key, top][path] = place
        elif place.failed or not any(within(path, mount) for mount in evidence.mounts):
            reason = context.exposure(path)
            rows["read"].append((None, f"{_shown(path, context.home)}: {reason or 'named in vain'}: {place.use}"))
    for key, item in listed:
        for row_key, row in _narrowed(item, tops[key, item.path], key, used[key, item.path], context):
            rows[row_key].append(row)
    for key in _KINDS:
        yield key, toml.array(key, dict.fromkeys(sorted(rows[key], key=lambda row: row[0] is None)))


def _narrowed(
    item: Listed, forms: Collection[str], key: str, used: dict[str, Place], context: Context
) -> Iterator[tuple[str, tuple[Any, str]]]:
    """What is left of one listed path, as rows of "read" and "write"."""
    if item.unsafe or item.optional or not used:
        whole = item if item.unsafe or item.optional else item.path
        yield key, (whole, "no argument names it: the server may use it by itself" if not used else _together(used))
        return
    kinds: dict[str, dict[str, Place]] = {"read": {}, "write": {}}
    for path, place in used.items():
        kinds["write" if key == "write" and place.write else "read"][path] = place
    for kind, places in kinds.items():
        # What lies in another one needs no line of its own, and what can be written can be read.
        over = [*places, *(kinds["write"] if kind == "read" else ())]
        apart = {p: each for p, each in places.items() if not any(p != other and within(p, other) for other in over)}
        if not apart:
            continue
        if len(apart) > MAX_APART or any(context.exposure(path) for path in apart):
            yield kind, (item.path, _together(places))
            continue
        for path, place in sorted(apart.items()):
            yield kind, (item.path if path in forms else _shown(path, context.home), str(place.use))


def _together(places: dict[str, Place]) -> str:
    return f"{len(places)} directories in it, {times(sum(place.use.count for place in places.values()))}"


def _messages(evidence: Evidence, context: Context) -> Iterator[tuple[str, str]]:
    messages = context.profile.messages
    for key, method in (
        ("sampling", "sampling/createMessage"),
        ("elicitation", "elicitation/create"),
        ("roots", "roots/list"),
    ):
        use = evidence.requests.get(method)
        comment = str(use) if use else f"{method} was never asked for"
        yield key, _line(key, getattr(messages, key) if use else "deny", comment)
    wanted = max(BYTES_LEAST, 1 << (max(evidence.largest, 1) * BYTES_FACTOR - 1).bit_length())
    size = Size(min(wanted, messages.max_bytes))
    yield "max_bytes", _line("max_bytes", size, f"the largest message had {evidence.largest} bytes")


def _calls(evidence: Evidence, context: Context) -> Iterator[tuple[str, str]]:
    calls = context.profile.calls
    rate = max(RATE_LEAST, evidence.busiest * RATE_FACTOR)
    run = max(RUN_LEAST, evidence.longest_run * RUN_FACTOR)
    rate, run = (min(wanted, had or wanted) for wanted, had in ((rate, calls.per_minute), (run, calls.repeats)))
    if evidence.tools:
        yield "per_minute", _line("per_minute", rate, f"at most {evidence.busiest} in one minute")
        yield "repeats", _line("repeats", run, f"at most {evidence.longest_run} in a row with the same arguments")


def _line(key: str, value: Any, comment: str) -> str:
    return f"{f'{key} = {toml.inline(value)}':<28}  # {comment}\n"


def _pattern(name: str) -> str:
    """What matches this name and no other; what the record has stars for in an address may be anything."""
    pattern = re.sub(r"([*?[])", r"[\1]", name)
    scheme, mark, rest = pattern.partition("://")
    if not mark:
        return pattern
    start, query, values = rest.partition("[?]")
    return f"{scheme}://{re.sub(f'^{_STARS}@', '*@', start)}{query}{re.sub(f'={_STARS}(?=[&#;]|$)', '=*', values)}"


def _sayable(name: str) -> bool:
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def _shown(path: str, home: str) -> str:
    return f"~{path[len(home) :]}" if within(path, home) else path
