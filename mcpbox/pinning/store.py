"""What every server of this user has said of itself, and what of that was approved: one SQLite file for all sessions.

Written by many processes at once, each of which may be killed at any moment: every change is one transaction, and then
the others are told. What is kept of a server is bounded; beyond that nothing of it is stored, and the caller told so.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from mcpbox import paths
from mcpbox.changes import Changes
from mcpbox.definitions import GREETING, MAX_DEFINITIONS
from mcpbox.errors import McpboxError
from mcpbox.policy.base import Known, Seen, Sight

VERSION = 1
#: Of one server's definitions as JSON; with MAX_DEFINITIONS, the bound beyond which nothing more of it is kept.
MAX_BYTES = 32 << 20
#: Seconds to wait for another process that writes; a transaction takes milliseconds.
PATIENCE = 5.0
#: Seconds after which SQLite is asked in any case: whoever else writes to the file, or removes the page, tells nobody.
AGAIN = 1.0
#: Definitions of one server that others are compared with, and characters of their names (server/tools has 128).
MAX_NEIGHBOURS, MAX_NEIGHBOUR_NAME = 1000, 256

#: Who approved what was there before anybody was asked.
FIRST_SIGHT = "first sight"

_SCHEMA = f"""
CREATE TABLE servers (
    server TEXT PRIMARY KEY, seen INTEGER NOT NULL, host TEXT NOT NULL, lock TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE listed (server TEXT, kind TEXT, PRIMARY KEY (server, kind)) WITHOUT ROWID;
CREATE TABLE definitions (
    id INTEGER PRIMARY KEY, server TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
    seen INTEGER NOT NULL, host TEXT NOT NULL,
    approved TEXT, approved_text TEXT, approved_at INTEGER, approved_by TEXT, approved_lock TEXT,
    pending TEXT, pending_text TEXT, pending_at INTEGER, pending_host TEXT, pending_lock TEXT,
    passed INTEGER NOT NULL DEFAULT 0,
    UNIQUE (server, kind, name)
);
PRAGMA user_version = {VERSION};
"""


class TooMuch(McpboxError):
    """A server has more definitions, or larger ones, than are kept of one."""


class Pin(msgspec.Struct, frozen=True):
    """What is known of one definition. Times are Unix seconds; ``host`` is the application that first saw it.

    ``approved`` and ``pending`` are digests, "" for none; the texts are JSON, the locks those of the launch in which
    each was last seen, ``by`` is who approved it: "first sight", "user" or the host that asked the user. ``passed``
    says that a profile let the pending one through.
    """

    server: str
    kind: str
    name: str
    seen: int
    host: str
    approved: str
    approved_text: str
    approved_at: int
    by: str
    approved_lock: str
    pending: str
    pending_text: str
    pending_at: int
    pending_host: str
    pending_lock: str
    passed: bool

    @property
    def status(self) -> str:
        """ "approved", "new" (nothing of that name was) or "changed"."""
        return ("changed" if self.approved else "new") if self.pending else "approved"


class Store:
    """An open store. Every method raises McpboxError where the file cannot be read or written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._db = _open(path)
        except (OSError, sqlite3.Error) as error:
            raise McpboxError(f"{path}: {error}", _MEND) from None
        try:
            self._changes = Changes(path.with_suffix(".changes"), sync=True)
        except OSError as error:
            self._db.close()
            raise McpboxError(str(error), "if it is damaged, remove it: it is made anew") from None
        self._version, self._told, self._asked = 0, -1, 0.0

    def close(self) -> None:
        self._db.close()
        self._told = -1

    def version(self) -> int:
        """Another number whenever another process has written: from when its method returns, or within a second."""
        told, now = self._changes.last(), time.monotonic()
        # SQLite takes two locks to say it, and each call to a tool would wait for them.
        if told != self._told or now > self._asked + AGAIN:
            (self._version,) = self._execute("PRAGMA data_version").fetchone()
            self._told, self._asked = told, now
        return self._version

    def known(self, server: str) -> Known:
        """What a session has to know of the server."""
        with self._reading():
            first = self._execute("SELECT lock FROM servers WHERE server = ?", (server,)).fetchone()
            rows = self._execute(
                "SELECT kind, name, approved, approved_lock, pending, passed FROM definitions WHERE server = ?",
                (server,),
            ).fetchall()
            listed = self._execute("SELECT kind FROM listed WHERE server = ?", (server,)).fetchall()
        return Known(
            lock=first[0] if first else None,
            listed=frozenset(kind for (kind,) in listed),
            approved={(kind, name): approved for kind, name, approved, *_ in rows if approved},
            locks={(kind, name): lock for kind, name, approved, lock, *_ in rows if approved},
            pending={(kind, name): (pending, bool(passed)) for kind, name, _, _, pending, passed in rows if pending},
        )

    def sight(
        self,
        server: str,
        kind: str,
        seen: Sequence[Seen],
        *,
        host: str,
        lock: str,
        begins: bool,
        first: bool,
        pin: bool,
    ) -> Sight:
        """Put on record what a server said of itself; with ``pin``, what is in its first listing is approved.

        ``begins``: this is the first page of a listing; it is the first of this kind if none was put on record before
        and either nothing of the server was listed at all, or ``first``, in the same session, or the server's code, by
        its ``lock``, is the very same as when it was first seen. ``first`` without ``begins``: a further page of that
        first listing. Raises TooMuch.
        """
        now = int(time.time())
        with self._writing():
            added = self._execute("INSERT OR IGNORE INTO servers VALUES (?, ?, ?, ?)", (server, now, host, lock))
            new = added.rowcount == 1
            pinned = first and not begins
            if begins:
                # A session may have ended between its greeting and its first list.
                new |= (
                    kind != GREETING
                    and not self._execute(
                        "SELECT 1 FROM listed WHERE server = ? AND kind != ?", (server, GREETING)
                    ).fetchone()
                )
                (then,) = self._execute("SELECT lock FROM servers WHERE server = ?", (server,)).fetchone()
                claim = self._execute("INSERT OR IGNORE INTO listed VALUES (?, ?)", (server, kind)).rowcount == 1
                pinned = claim and (new or first or bool(lock and lock == then))
            digests: dict[str, str] = {}
            twice = {each.name for each in seen if digests.setdefault(each.name, each.digest) != each.digest}
            for each in seen:
                self._put(server, kind, each, host, lock, now, pin and pinned, each.name not in twice)
            if seen:
                self._bound(server)
        return Sight(new=new, first=pinned)

    def withhold(self, server: str, kind: str, seen: Sequence[Seen], *, host: str, lock: str) -> None:
        """Have what is kept from the host wait for a person's approval, even where first sight had approved it.

        It is no sight of the server: what else is in its first listing is still the first. Raises TooMuch.
        """
        now = int(time.time())
        with self._writing():
            for each in seen:
                self._execute(
                    f"UPDATE definitions SET {_TO_PENDING} WHERE {_KEY} AND approved = ? AND approved_by = ?",
                    (server, kind, each.name, each.digest, FIRST_SIGHT),
                )
                self._put(server, kind, each, host, lock, now, False, False)
            self._bound(server)

    def chosen(self, server: str) -> Collection[tuple[str, str, str]]:
        """Kind, name and digest of what a person has approved, not first sight."""
        return {
            (kind, name, digest)
            for kind, name, digest in self._execute(
                "SELECT kind, name, approved FROM definitions WHERE server = ? AND approved_by != ?",
                (server, FIRST_SIGHT),
            )
        }

    def _put(
        self, server: str, kind: str, each: Seen, host: str, lock: str, now: int, pin: bool, settles: bool
    ) -> None:
        key = (server, kind, each.name)
        row = self._execute(
            f"SELECT approved, pending, passed, approved_lock FROM definitions WHERE {_KEY}", key
        ).fetchone()
        if row is None:
            self._execute(
                "INSERT INTO definitions (server, kind, name, seen, host) VALUES (?, ?, ?, ?, ?)", (*key, now, host)
            )
        approved, pending, passed, approved_lock = row or (None, None, 0, None)
        if approved == each.digest:
            if approved_lock != lock:
                self._set(key, "approved_lock = ?", lock)
            if pending is not None and settles:
                # The server is back at what was approved, and nothing is left to be decided.
                self._set(key, _NOTHING_PENDING)
        elif pin and approved is None:
            self._set(
                key,
                f"approved = ?, approved_text = ?, approved_at = ?, approved_by = '{FIRST_SIGHT}', approved_lock = ?, "
                f"{_NOTHING_PENDING}",
                each.digest, _json(each.value), now, lock,
            )  # fmt: skip
        elif (pending, passed) != (each.digest, each.passed):
            self._set(
                key,
                "pending = ?, pending_text = ?, pending_at = ?, pending_host = ?, pending_lock = ?, passed = ?",
                each.digest, _json(each.value), now, host, lock, each.passed,
            )  # fmt: skip

    def _set(self, key: tuple[str, str, str], columns: str, *values: Any) -> None:
        self._execute(f"UPDATE definitions SET {columns} WHERE {_KEY}", (*values, *key))

    def _bound(self, server: str) -> None:
        """What waits for approval makes room for what came later; what is approved does not."""
        rows = self._execute(
            "SELECT id, approved IS NULL, length(CAST(name AS BLOB)) + ifnull(length(CAST(approved_text AS BLOB)), 0) "
            "+ ifnull(length(CAST(pending_text AS BLOB)), 0) FROM definitions WHERE server = ? ORDER BY pending_at, id",
            (server,),
        ).fetchall()
        count, size = len(rows), sum(size for _, _, size in rows)
        for id, waits, bytes_ in rows:
            if count <= MAX_DEFINITIONS and size <= MAX_BYTES:
                return
            if waits:
                self._execute("DELETE FROM definitions WHERE id = ?", (id,))
                count, size = count - 1, size - bytes_
        if count > MAX_DEFINITIONS or size > MAX_BYTES:
            raise TooMuch(
                f"{server} has more than {MAX_DEFINITIONS} definitions, or {MAX_BYTES >> 20} MiB of them",
                "no server needs as many; see [tools] allow and deny in its profile",
            )

    def approve(self, server: str, chosen: Iterable[tuple[str, str, str]], *, by: str) -> int:
        """Approve pending definitions, each by kind, name and digest: what was meant, not what came since. How many."""
        now, count = int(time.time()), 0
        with self._writing():
            for kind, name, digest in chosen:
                count += self._execute(
                    "UPDATE definitions SET approved = pending, approved_text = pending_text, approved_at = ?, "
                    f"approved_by = ?, approved_lock = pending_lock, {_NOTHING_PENDING} "
                    f"WHERE {_KEY} AND pending = ?",
                    (now, by, server, kind, name, digest),
                ).rowcount
        return count

    def revoke(self, server: str, chosen: Iterable[tuple[str, str]]) -> int:
        """Have approved definitions wait for approval again; what waits of another form of them is kept. How many."""
        count = 0
        with self._writing():
            for kind, name in chosen:
                count += self._execute(
                    f"UPDATE definitions SET {_TO_PENDING} WHERE {_KEY} AND approved IS NOT NULL",
                    (server, kind, name),
                ).rowcount
        return count

    def approved_value(self, server: str, kind: str, name: str) -> Any:
        """The definition that is approved; None if none is."""
        row = self._execute(f"SELECT approved_text FROM definitions WHERE {_KEY}", (server, kind, name)).fetchone()
        return json.loads(row[0]) if row and row[0] else None

    def servers(self) -> list[str]:
        """Those of which anything was seen, in order of name."""
        return [server for (server,) in self._execute("SELECT server FROM servers ORDER BY server")]

    def pins(self, server: str) -> list[Pin]:
        """All that is known of a server's definitions; of every server's for ""."""
        rows = self._execute(
            f"SELECT {_COLUMNS} FROM definitions WHERE ? IN ('', server) ORDER BY server, kind, name", (server,)
        )
        return [msgspec.convert(dict(zip(Pin.__struct_fields__, row, strict=True)), Pin, strict=False) for row in rows]

    def neighbours(self, server: str) -> Sequence[tuple[str, str, str, int]]:
        """Server, kind, name and place of the definitions of other servers that hosts may see, the first seen first.

        Of one server only so many, and none of a name that no host takes: each costs all others time.
        """
        return self._execute(
            "SELECT server, kind, name, id FROM ("
            "SELECT *, row_number() OVER (PARTITION BY server ORDER BY id) AS place FROM definitions WHERE server != ? "
            "AND kind != ? AND length(name) <= ? AND (approved IS NOT NULL OR passed)"
            ") WHERE place <= ? ORDER BY id",
            (server, GREETING, MAX_NEIGHBOUR_NAME, MAX_NEIGHBOURS),
        ).fetchall()

    def places(self, server: str) -> Mapping[tuple[str, str], int]:
        """By kind and name, the place of each of its definitions in the order of first sight."""
        rows = self._execute("SELECT kind, name, id FROM definitions WHERE server = ?", (server,)).fetchall()
        return {(kind, name): id for kind, name, id in rows}

    def has_twin(self, server: str, seen: Seen, kind: str, *, lock: str) -> bool:
        """Whether the very same is approved of another server that is the same code, as under another name."""
        query = "SELECT 1 FROM definitions WHERE server != ? AND kind = ? AND name = ? AND approved = ? "
        values = (server, kind, seen.name, seen.digest, lock, lock)
        return self._execute(f"{query}AND approved_lock = ? AND ? != ''", values).fetchone() is not None

    def _execute(self, query: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        try:
            return self._db.execute(query, values)
        except sqlite3.Error as error:
            raise McpboxError(f"{self._path}: {error}", _MEND) from None

    @contextmanager
    def _writing(self) -> Iterator[None]:
        self._execute("BEGIN IMMEDIATE")
        try:
            yield
            self._execute("COMMIT")
        except BaseException:
            # A full disk may have ended it already.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        try:
            self._changes.tell()
        except OSError as error:
            raise McpboxError(f"{self._path}: changed, and other sessions cannot be told of it: {error}") from None

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """One state of the store for several queries."""
        self._execute("BEGIN")
        try:
            yield
        finally:
            self._execute("COMMIT")


def file() -> Path:
    return paths.data_dir() / "definitions.db"


def open_store() -> Store:
    """This user's store, made if it is not there. Raises McpboxError."""
    paths.private_dir(paths.data_dir())
    return Store(file())


_MEND = "if it is damaged, move it away: each server is then seen for the first time again"
_COLUMNS = (
    "server, kind, name, seen, host, ifnull(approved, ''), ifnull(approved_text, ''), ifnull(approved_at, 0), "
    "ifnull(approved_by, ''), ifnull(approved_lock, ''), ifnull(pending, ''), ifnull(pending_text, ''), "
    "ifnull(pending_at, 0), ifnull(pending_host, ''), ifnull(pending_lock, ''), passed"
)
_KEY = "server = ? AND kind = ? AND name = ?"
_TO_PENDING = (
    "pending = ifnull(pending, approved), "
    "pending_text = ifnull(pending_text, approved_text), pending_at = ifnull(pending_at, approved_at), "
    "pending_host = ifnull(pending_host, host), pending_lock = ifnull(pending_lock, approved_lock), "
    "passed = 0, approved = NULL, approved_text = NULL, approved_at = NULL, approved_by = NULL, approved_lock = NULL"
)
_NOTHING_PENDING = (
    "pending = NULL, pending_text = NULL, pending_at = NULL, pending_host = NULL, pending_lock = NULL, passed = 0"
)


def _open(path: Path) -> sqlite3.Connection:
    # SQLite gives the files beside it, which hold the newest changes, the mode of this one.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    db = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
    try:
        if db.execute("PRAGMA user_version").fetchone() == (0,):
            _create(db, path)
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version != VERSION:
            raise McpboxError(f"{path}: version {version}: not accepted", f"accepted: {VERSION}; or update mcpbox")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA trusted_schema = OFF")
    except BaseException:
        db.close()
        raise
    return db


def _create(db: sqlite3.Connection, path: Path) -> None:
    """One process at a time: SQLite does not wait for its turn to change a file's journal."""
    guard = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if db.execute("PRAGMA user_version").fetchone() == (0,):
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
    finally:
        os.close(guard)


def _json(value: Any) -> str:
    """To be read by people and compared: the order of keys is the server's own."""
    return json.dumps(value, ensure_ascii=False)
