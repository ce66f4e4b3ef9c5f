"""Moves secrets from a host's file to the store and back: whatever happens in between, each is in one of the two.

What is begun is noted first, names only. ``recover`` ends it the next time: a secret that no file names and that stands
in its file as before is taken out of the store again.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from mcpbox import paths, profile, registered
from mcpbox.errors import McpboxError, UsageError
from mcpbox.hosts import configfile, register, rewrite, survey, values
from mcpbox.hosts.document import DocumentError, Edit, apply, inverse, parse
from mcpbox.hosts.entries import entries
from mcpbox.hosts.model import Entry, Format, Key
from mcpbox.hosts.record import Original
from mcpbox.hosts.survey import Surveyed
from mcpbox.hosts.values import Piece
from mcpbox.migration import traces
from mcpbox.migration.candidates import Candidate
from mcpbox.secrets import PREFIX, launch
from mcpbox.secrets.index import write_private
from mcpbox.secrets.reference import Reference, references
from mcpbox.secrets.store import Store
from mcpbox.texts import strings

#: Shorter values are looked for in other texts only together with what stands around them.
TELLING = 8

#: By path: a string of the file's, and its pieces that become references.
Pieces = dict[tuple[Key, ...], tuple[str, list[Piece]]]

_PAIR = r"([a-z0-9][a-z0-9._-]*)/([A-Za-z0-9_.-]+)"
_NAMED = re.compile(PREFIX + _PAIR)


class _Begun(Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    file: str
    secrets: tuple[str, ...]


def move(file: Surveyed, chosen: Sequence[Candidate], store: Store) -> int:
    """Put the secrets into the store, and references in their places. Returns how many backups were redacted.

    All of them or none: an error leaves file and store as they were. Raises McpboxError.
    """
    known = {item.ref for item in store.names()}
    for each in chosen:
        if each.reference in known and store.get(each.reference) != each.value:
            raise McpboxError(f"the secret {each.reference} has been set meanwhile", "run this again")
    new = {each.reference: each for each in chosen if each.reference not in known}
    pieces: Pieces = {}
    for each in chosen:
        piece = Piece(each.start, each.start + len(each.value), f"{PREFIX}{each.reference}")
        pieces.setdefault(each.path, (each.old, []))[1].append(piece)
    _begin(file.real, new)
    try:
        for reference, each in new.items():
            store.set(reference, each.value, each.owners)
        _change(file, lambda text: values.exchange(text, file.found.place.shape.format, pieces), backup=False)
    except BaseException:
        _take_back(file.real, new, store)
        raise
    moved = {each.reference: each.value for each in chosen}
    _reregister(file, moved)
    redacted = _redact(file, moved, pieces)
    _end()
    return redacted


def named_in(file: Surveyed) -> dict[tuple[Key, ...], tuple[str, list[Reference]]]:
    """The strings of a file's servers that name secrets: by path, with the secrets in order. Raises SecretError."""
    found = {}
    for plan in file.servers:
        for where, text in values.strings(plan.entry):
            if PREFIX in text and (named := references(text)):
                found[values.path_of(plan.entry, file.found.place.shape, where)] = (text, named)
    return found


def put_back(file: Surveyed, store: Store, used: Callable[[], set[Reference]]) -> list[Reference]:
    """Put the values into the file again, and take what no file names any more out of the store: these are returned.

    ``used`` tells what is named anywhere. Raises McpboxError; the values are then still in the store.
    """
    found = named_in(file)
    wanted = sorted({reference for _, named in found.values() for reference in named})
    kept = {reference: store.get(reference) for reference in wanted}
    pieces = {path: (text, _pieces(text, named, kept)) for path, (text, named) in found.items()}
    _begin(file.real, wanted)
    _change(file, lambda text: values.exchange(text, file.found.place.shape.format, pieces), backup=True)
    _reregister(file, kept)
    still = used()
    gone = [reference for reference in wanted if reference not in still]
    for reference in gone:
        store.delete(reference)
    _end()
    return gone


def used_in(files: Iterable[str]) -> set[Reference]:
    """The secrets that these files and this user's profiles name. Raises McpboxError for one that cannot be read."""
    found: set[Reference] = set()
    for path in files:
        if os.path.isfile(path):
            found |= _named(configfile.read(path).text, PREFIX)
    for profile_file in profile.available().values():
        found |= _named(profile_file.read_text(errors="replace"), launch.KEYRING)
    return found


def recover(store: Store, files: Callable[[], Iterable[str]]) -> list[Reference]:
    """End what was begun and not ended; ``files`` tells all that may name secrets. Returns what the store lost by it.

    Raises McpboxError; it is then to be ended the next time.
    """
    try:
        begun = msgspec.json.decode(_note().read_bytes(), type=_Begun)
    except FileNotFoundError:
        return []
    except (OSError, msgspec.DecodeError) as error:
        raise McpboxError(f"{_note()}: {error}", "see: mcpbox secrets list; then remove the file") from None
    text = configfile.read(begun.file).text if os.path.exists(begun.file) else ""
    used = used_in({*files(), begun.file})
    known = {item.ref: item for item in store.names()}
    removed, kept = [], {}
    for reference in (Reference(*written.split("/", 1)) for written in begun.secrets):
        if reference not in known:
            continue
        # None where it was being put into the store, or taken out of it.
        value = kept[reference] = store.find(reference) or ""
        if reference not in used and (value in text or values.escaped(value) in text):
            removed.append(reference)
    file = None
    with suppress(UsageError):
        file = survey.survey((), [begun.file])[0] if text else None
    if file and not file.broken:
        # What a change left beside the file goes among its backups.
        configfile.change(file.found.path, str)
        _reregister(file, kept)
        moved = {ref: value for ref, value in kept.items() if ref in used and value}
        _redact(file, moved, _moved_in(file, moved))
    for reference in removed:
        store.delete(reference)
    _end()
    return removed


@contextmanager
def alone() -> Iterator[None]:
    """Raises McpboxError if another process moves secrets."""
    lock = os.open(paths.private_dir(paths.data_dir()) / "migration.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise McpboxError("another mcpbox is moving secrets", "wait for it to end") from None
        yield
    finally:
        os.close(lock)


def _change(file: Surveyed, edit: Callable[[str], str], *, backup: bool) -> None:
    try:
        configfile.change(file.found.path, edit, backup=backup)
    except values.Moved as error:
        raise McpboxError(f"{file.found.path}: {error} has been changed meanwhile", "run this again") from None
    except DocumentError as error:
        raise McpboxError(f"{file.found.path}: {error}", "mend the file, and run this again") from None


def _take_back(real: str, new: Iterable[Reference], store: Store) -> None:
    """Take out of the store what was put there, unless the file names it after all; the rest is left to ``recover``."""
    with suppress(McpboxError, OSError):
        named = _named(configfile.read(real).text, PREFIX)
        known = {item.ref for item in store.names()}
        for reference in new:
            if reference in known and reference not in named:
                store.delete(reference)
        _end()


def _named(text: str, prefix: str) -> set[Reference]:
    return {Reference(server, name) for server, name in re.findall(prefix + _PAIR, text)}


def _pieces(text: str, named: Sequence[Reference], kept: Mapping[Reference, str]) -> list[Piece]:
    found, at = [], 0
    for reference in named:
        start = text.index(PREFIX, at)
        at = start + len(f"{PREFIX}{reference}")
        found.append(Piece(start, at, kept[reference]))
    return found


def _reregister(file: Surveyed, moved: Mapping[Reference, str]) -> None:
    """What was approved stays approved: the register knows the servers with the secrets in the form they have now."""
    shape = file.found.place.shape
    text = configfile.read(file.found.path).text
    now = {entry.path: entry for entry in entries(parse(text, shape.format), shape)}
    changed = []
    for record in register.load():
        entry = now.get(record.key)
        if record.file != file.real or not entry or not (words := rewrite.unwrapped(entry)):
            continue
        forms = {survey.digest(form[1:]) for form in (_plain(words, moved), _hidden(words, moved))}
        original = record.original and _redacted(record.original, moved, hide=any(PREFIX in w for w in _all(entry)))
        if record.arguments in forms:
            record = replace(record, arguments=survey.digest(words[1:]), start=registered.checksum(words))
        changed.append(replace(record, original=original))
    if changed:
        register.put(changed)


def _all(entry: Entry) -> list[str]:
    return [text for _, text in values.strings(entry)]


def _plain(words: Sequence[str], moved: Mapping[Reference, str]) -> list[str]:
    def value(match: re.Match[str]) -> str:
        return moved.get(Reference(match[1], match[2]), match[0])

    return [_NAMED.sub(value, word) for word in words]


def _hidden(words: Sequence[str], moved: Mapping[Reference, str]) -> list[str]:
    for reference, value in moved.items():
        words = [word.replace(value, f"{PREFIX}{reference}") if value else word for word in words]
    return list(words)


def _redacted(original: Original, moved: Mapping[Reference, str], *, hide: bool) -> Original:
    """What undoing ``protect`` needs to know, without the values (``hide``) or with them again."""
    edits = []
    for start, end, text in original.edits:
        for reference, value in moved.items():
            named = f"{PREFIX}{reference}"
            if value and hide:
                text = text.replace(values.escaped(value), named).replace(value, named)
            elif value:
                text = text.replace(named, values.escaped(value))
        edits.append((start, end, text))
    return Original(original.written, tuple(edits))


def _moved_in(file: Surveyed, moved: Mapping[Reference, str]) -> Pieces:
    """The strings that were in the file before these secrets were moved out of it, as ``move`` knows them."""
    found: Pieces = {}
    for path, (text, named) in named_in(file).items():
        if set(named) <= moved.keys():
            edits = [Edit(piece.start, piece.end, piece.text) for piece in _pieces(text, named, moved)]
            own = [Piece(edit.start, edit.end, edit.text) for edit in inverse(text, edits)]
            found[path] = (apply(text, edits), own)
    return found


def _redact(file: Surveyed, moved: Mapping[Reference, str], pieces: Pieces) -> int:
    """Put references for the values into mcpbox's own backups of the file, and blot them out of its log.

    Returns how many backups there were to change. Raises McpboxError.
    """
    telling = [(value, f"{PREFIX}{reference}") for reference, value in moved.items() if _is_telling(value)]
    count = 0
    try:
        for backup in configfile.backups(file.real):
            before = backup.read_bytes()
            after = _restated(before, file.found.place.shape.format, pieces)
            for old, new in telling:
                for form in (old, values.escaped(old)):
                    after = after.replace(form.encode(errors="surrogateescape"), new.encode(errors="surrogateescape"))
            if after != before:
                write_private(backup, after)
                count += 1
        strings = {old: [old[piece.start : piece.end] for piece in own] for old, own in pieces.values()}
        traces.erase([value for value, _ in telling], strings)
    except OSError as error:
        raise McpboxError(f"{error.filename or file.real}: {error.strerror}; run this again") from None
    return count


def _is_telling(value: str) -> bool:
    """Whether it is the secret wherever it stands; "postgres" is also the name of a program and of a user."""
    return len(value) >= TELLING and not value.isalpha()


def _restated(data: bytes, format: Format, pieces: Pieces) -> bytes:
    """A former text of the file with the same strings exchanged, wherever in their lists they stand in it."""
    at = {(_place(path), old): own for path, (old, own) in pieces.items()}
    anywhere = {old: own for old, own in pieces.values() if _is_telling(old)}
    try:
        text = data.decode()
        leaves = strings(parse(text, format).get(()))
        found = {path: (leaf, at.get((_place(path), leaf)) or anywhere.get(leaf)) for path, leaf in leaves}
        wanted = {path: (leaf, own) for path, (leaf, own) in found.items() if own}
        return values.exchange(text, format, wanted).encode() if wanted else data
    except (UnicodeDecodeError, DocumentError):
        for old, own in pieces.values():
            new = values.exchanged(old, own)
            for form in (str, values.escaped):
                before, after = (f'"{form(each)}"'.encode(errors="surrogateescape") for each in (old, new))
                data = data.replace(before, after)
        return data


def _place(path: tuple[Key, ...]) -> tuple[Key, ...]:
    return path[:-1] if isinstance(path[-1], int) else path


def _note() -> Path:
    return paths.data_dir() / "migration.json"


def _begin(real: str, secrets: Iterable[Reference]) -> None:
    paths.private_dir(paths.data_dir())
    write_private(_note(), msgspec.json.encode(_Begun(1, real, tuple(map(str, secrets)))))


def _end() -> None:
    _note().unlink(missing_ok=True)
