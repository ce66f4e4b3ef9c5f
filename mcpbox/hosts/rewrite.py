"""Decides which servers of a host's file go behind mcpbox, and writes them so, or back. No I/O."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from typing import Any, Literal

from msgspec import Struct

from mcpbox.command import container
from mcpbox.errors import UsageError
from mcpbox.hosts.document import Document, DocumentError, Edit, apply, parse
from mcpbox.hosts.entries import REMOTE, entries
from mcpbox.hosts.model import Entry, Host, Key, Shape
from mcpbox.hosts.record import Original

#: ``type`` of servers that run elsewhere, and of those that the host itself is.
ELSEWHERE = {
    "http",
    "https",
    "sse",
    "ws",
    "websocket",
    "remote",
    "streamable-http",
    "streamable_http",
    "streamableHttp",
}
INSIDE = {"builtin", "platform", "frontend"}
#: Variables that mcpbox itself would obey, with the user's own rights: what code Python and its OpenSSL load, and where
#: mcpbox finds its files and its engine.
OBEYED = re.compile(
    r"(LD|DYLD)_.*|PYTHON(PATH|HOME|USERBASE|PLATLIBDIR|PYCACHEPREFIX|EXECUTABLE)|HOME|XDG_(CONFIG|DATA|STATE)_HOME|"
    r"DOCKER_(HOST|CONTEXT|CONFIG)|CONTAINER_HOST|GCONV_PATH|OPENSSL_(CONF|ENGINES|MODULES)"
)
#: YAML 1.1's key for what a table has from another (https://yaml.org/type/merge.html). Some hosts' libraries follow it.
MERGE = "<<"
#: The options of ``wrap``: those with a value, and those without.
VALUED = {"--profile", "--backend", "--name", "--host", "--env"}
FLAGS = {"--learn-network", "--learn"}

_PYTHON = re.compile(r"(python|pypy)[0-9.]*$")
#: NUL, and the halves of surrogate pairs that JSON lets stand alone.
_UNSAYABLE = re.compile("[\0\ud800-\udfff]")


class Plan(Struct, frozen=True):
    """What is to be done with one server, and why it is left alone, in the user's words.

    ``mendable`` says that it need not be: the user can write the entry in another way.
    """

    entry: Entry
    action: Literal["wrap", "leave"]
    reason: str = ""
    mendable: bool = False


class Written(Struct, frozen=True):
    """A file's text with servers behind mcpbox, and by key path of the entry what undoing it needs to know."""

    text: str
    originals: Mapping[tuple[Key, ...], Original]


def plan(entry: Entry, host: Host, shape: Shape) -> Plan:
    """Whether the server goes behind mcpbox. One that the user has disabled does too: it can be enabled again."""
    if is_merged(entry) and not is_wrapped(entry):
        reason = f"takes a part of itself from elsewhere in the file ({MERGE}), which is not followed: write it out"
        return Plan(entry, "leave", reason, mendable=True)
    if reason := _reason(entry, host):
        return Plan(entry, "leave", reason)
    if reason := _obstacle(entry, shape):
        return Plan(entry, "leave", reason, mendable=True)
    return Plan(entry, "wrap")


def _reason(entry: Entry, host: Host) -> str:
    raw, kind = entry.raw, entry.raw.get("type") or entry.raw.get("transport")
    if is_wrapped(entry):
        return "is behind mcpbox already"
    if not entry.command:
        # What else it says of itself counts only here: a host may start a command whatever stands beside it.
        if kind in INSIDE:
            return f"is a part of {host.name}, which starts no program for it"
        remote = kind in ELSEWHERE or any(raw.get(key) for key in REMOTE)
        return "is remote: it does not run on this machine" if remote else "has no command of its own"
    if host.id == "codex" and raw.get("experimental_environment") not in (None, "local"):
        return "is remote: it does not run on this machine"
    if host.sandboxes and raw.get("sandboxEnabled"):
        return f"runs in {host.name}'s own sandbox (sandboxEnabled)"
    return _reason_of_command(entry)


def _obstacle(entry: Entry, shape: Shape) -> str:
    if names := obeyed(entry):
        return (
            f"sets {' and '.join(names)}, which mcpbox itself would obey; to set it for the server alone, write it "
            f"into the command: env {names[0]}=VALUE COMMAND"
        )
    if entry.raw.get("envFile"):
        return "takes variables from an envFile, whose names are not known here: move them to its env"
    if any(_UNSAYABLE.search(str(word)) for word in (*entry.path, entry.command, *entry.args)):
        return "has a character in its name or command that no program can be given"
    if not isinstance(_arguments(entry, shape), list | None):
        return "has something else than a list as arguments"
    return ""


def _reason_of_command(entry: Entry) -> str:
    name, words = _name(entry.command), entry.args
    runs = {"uvx": ("mcpbox",), "pipx": ("run", "mcpbox")}.get(name, ("-m", "mcpbox") if _PYTHON.match(name) else None)
    if name == "mcpbox" or (runs and words[: len(runs)] == runs):
        return "is mcpbox itself"
    if name in ("docker", "podman"):
        if words[:1] != ("run",):
            return f"needs the container engine itself ({name} {' '.join(words[:1])}), which no sandbox can be given"
        try:
            container.parse(words[1:], {})
        except UsageError as error:
            return f"asks for what no sandbox gives: {error.message} ({error.hint})"
    return ""


def is_wrapped(entry: Entry) -> bool:
    """Whether the entry starts ``mcpbox wrap``, whoever wrote it."""
    return is_mcpbox(entry) and entry.args[:1] == ("wrap",)


def is_mcpbox(entry: Entry) -> bool:
    """Whether the entry starts a program of that name."""
    return _name(entry.command) == "mcpbox"


def is_merged(entry: Entry) -> bool:
    """Whether some hosts read more in the entry than stands there."""
    return MERGE in (entry.name, *entry.raw, *entry.variables)


def obeyed(entry: Entry) -> list[str]:
    """The variables that the entry sets and mcpbox itself would obey."""
    return [name for name in entry.env if OBEYED.fullmatch(name)]


def options(entry: Entry) -> dict[str, str]:
    """The options of a wrapped entry's ``wrap``, the last one of each name, flags with ""; none for another entry."""
    return dict(_wrapped(entry)[0])


def passed(entry: Entry) -> list[str]:
    """The variables that a wrapped entry's ``wrap`` passes on."""
    return [value for option, value in _wrapped(entry)[0] if option == "--env"]


def unwrapped(entry: Entry) -> tuple[str, ...]:
    """The words of the server's own command; () where a wrapped entry has none."""
    return _wrapped(entry)[1] if is_wrapped(entry) else (entry.command, *entry.args)


def _wrapped(entry: Entry) -> tuple[list[tuple[str, str]], tuple[str, ...]]:
    """Options and command, as ``wrap`` reads them: the command begins behind ``--``, or with what is no option."""
    found: list[tuple[str, str]] = []
    words = list(entry.args[1:]) if is_wrapped(entry) else []
    while words:
        word = words.pop(0)
        if word == "--":
            break
        option, joined, value = word.partition("=")
        if word in FLAGS:
            found.append((word, ""))
        elif option in VALUED and (joined or words):
            found.append((option, value if joined else words.pop(0)))
        else:
            return found, (word, *words)
    return found, tuple(words)


def label(name: str) -> str:
    """The server's name as an option's value."""
    return name.lstrip("-") or "server"


def arguments(entry: Entry, host: str, variables: Sequence[str]) -> list[str]:
    """What is put in front of the server's own arguments: up to and with its command. ``variables`` are passed on."""
    passed = [word for name in variables for word in ("--env", name)]
    return ["wrap", "--host", host, "--name", label(entry.name), *passed, "--", entry.command]


def put_behind(
    text: str, shape: Shape, wanted: Mapping[tuple[Key, ...], Sequence[str]], *, program: str, host: str
) -> Written:
    """The file's text with the entries of these key paths behind ``program``; the variables to pass on by entry.

    Raises DocumentError where the text cannot be changed so that nothing else changes.
    """
    before = parse(text, shape.format)
    chosen = [entry for entry in entries(before, shape) if entry.path in wanted]
    edits = {
        entry.path: wrap(before, entry, shape, program=program, host=host, variables=wanted[entry.path])
        for entry in chosen
    }
    after = parse(apply(text, [edit for own in edits.values() for edit in own]), shape.format)
    written = [entry for entry in entries(after, shape) if entry.path in wanted]
    if [unwrapped(entry) for entry in written] != [unwrapped(entry) for entry in chosen]:
        raise DocumentError("the commands would not be the same ones behind mcpbox", 1, 1)
    _require_rest(before, chosen, after, written, shape)
    undone = apply(after.text, [edit for entry in written for edit in unwrap(after, entry, shape)])
    if undone == text:
        return Written(after.text, {})
    return Written(after.text, originals(before, after, edits, parse(undone, shape.format)))


def take_out(text: str, shape: Shape, wanted: Collection[tuple[Key, ...]], kept: Collection[Original] = ()) -> str:
    """The file's text with the wrapped entries of these key paths as they were, or with their own command again.

    Raises UsageError for one that has no command, DocumentError.
    """
    before = parse(text, shape.format)
    chosen = [entry for entry in entries(before, shape) if entry.path in wanted]
    edits = [edit for entry in chosen for edit in unwrap(before, entry, shape, kept)]
    after = parse(apply(text, edits), shape.format)
    written = [entry for entry in entries(after, shape) if entry.path in wanted]
    if [unwrapped(entry) for entry in chosen] != [(entry.command, *entry.args) for entry in written]:
        raise DocumentError("the commands would not be the ones behind mcpbox", 1, 1)
    _require_rest(before, chosen, after, written, shape)
    return after.text


def wrap(
    document: Document, entry: Entry, shape: Shape, *, program: str, host: str, variables: Sequence[str] = ()
) -> list[Edit]:
    """The edits that put the server behind ``program``. Raises DocumentError where its text cannot be changed."""
    table, command, args = _places(entry, shape)
    words = arguments(entry, host, variables)
    if entry.form == "array":
        return document.prepend((*table, command), [program, *words[:-1]])
    edits = document.replace((*table, command), program)
    if _arguments(entry, shape):
        return [*edits, *document.prepend((*table, args), words)]
    if args in document.members(table):
        return [*edits, *document.replace((*table, args), words)]
    return [*edits, *document.insert(table, args, words, after=command)]


def unwrap(document: Document, entry: Entry, shape: Shape, kept: Collection[Original] = ()) -> list[Edit]:
    """The edits that take the server out again; what the user has changed meanwhile stays changed.

    Raises UsageError for an entry that has no command left, DocumentError.
    """
    start, end = document.span(entry.path)
    written = _digest(document.text[start:end]) if kept else ""
    for original in kept:
        if original.written == written:
            return [Edit(start + first, start + last, text) for first, last, text in original.edits]
    words = unwrapped(entry)
    if not is_wrapped(entry) or not words:
        raise UsageError(f"{entry.name}: there is no command behind mcpbox", "write its command after --")
    table, command, args = _places(entry, shape)
    ours = len(entry.args) - len(words)
    if entry.form == "array":
        return document.withdraw((*table, command), 1 + ours)
    edits = document.replace((*table, command), words[0])
    if len(words) > 1:
        return [*edits, *document.withdraw((*table, args), ours + 1)]
    return [*edits, *document.remove((*table, args))]


def originals(
    before: Document, after: Document, edits: Mapping[tuple[Key, ...], Sequence[Edit]], undone: Document
) -> dict[tuple[Key, ...], Original]:
    """What has to be kept of the entries that ``unwrap`` alone does not bring back as they were.

    ``edits`` made ``after`` of ``before``, by entry; ``undone`` is what ``unwrap`` makes of ``after``.
    """
    kept = {}
    for path, own in _undoing(edits).items():
        start, end = after.span(path)
        inside = all(start <= first <= last <= end for first, last, _ in own)
        if _raw(undone, path) != _raw(before, path) and inside:
            undo = tuple((first - start, last - start, before.text[slice(*was)]) for first, last, was in own)
            kept[path] = Original(_digest(after.text[start:end]), undo)
    return kept


def _undoing(
    edits: Mapping[tuple[Key, ...], Sequence[Edit]],
) -> dict[tuple[Key, ...], list[tuple[int, int, tuple[int, int]]]]:
    """Per entry the spans of what all the edits together wrote, each with the span of what was there before."""
    made = [(edit, path) for path, own in edits.items() for edit in own]
    found: dict[tuple[Key, ...], list[tuple[int, int, tuple[int, int]]]] = {path: [] for path in edits}
    shift = 0
    for edit, path in sorted(made, key=lambda row: (row[0].start, row[0].end)):
        start = edit.start + shift
        found[path].append((start, start + len(edit.text), (edit.start, edit.end)))
        shift += len(edit.text) - (edit.end - edit.start)
    return found


def _require_rest(
    before: Document, chosen: Sequence[Entry], after: Document, written: Sequence[Entry], shape: Shape
) -> None:
    """Raises DocumentError if anything but the commands and arguments of the entries is another."""
    if rest(before.get(()), chosen, shape) != rest(after.get(()), written, shape):
        raise DocumentError("something else than the servers' commands would change", 1, 1)


def rest(value: Any, changed: Collection[Entry], shape: Shape) -> Any:
    """A copy of a document's value without what ``wrap`` changes in the entries: to be the same before and after."""
    copy = _copied(value)
    for entry in changed:
        table, command, args = _places(entry, shape)
        place = copy
        for key in table:
            place = place[key]
        place.pop(command, None)
        if entry.form != "array":
            place.pop(args, None)
    return copy


def _raw(document: Document, path: tuple[Key, ...]) -> str:
    start, end = document.span(path)
    return document.text[start:end]


def _places(entry: Entry, shape: Shape) -> tuple[tuple[Key, ...], str, str]:
    """The table that has command and arguments, and their keys."""
    if entry.form == "nested":
        return (*entry.path, shape.command), "path", "args"
    return entry.path, shape.command, shape.args


def _arguments(entry: Entry, shape: Shape) -> Any:
    """The value beside the command, which should be a list."""
    table, _, args = _places(entry, shape)
    launch = entry.raw[shape.command] if len(table) > len(entry.path) else entry.raw
    return launch.get(args)


def _digest(text: str) -> str:
    return sha256(text.encode(errors="surrogatepass")).hexdigest()


def _name(command: str) -> str:
    """The program's name without directory and suffix."""
    return re.split(r"[/\\]", command)[-1].lower().removesuffix(".exe").removesuffix(".cmd")


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(member) for key, member in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value
