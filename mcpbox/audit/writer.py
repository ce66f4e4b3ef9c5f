"""Writes the records of one session, each on disk's way before its effect happens."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

from mcpbox import paths
from mcpbox.audit import chain, content, ledger
from mcpbox.digests import sha256
from mcpbox.errors import McpboxError, UsageError

#: Bytes of one file of a session; the chain goes on in the next.
SEGMENT_BYTES = 64 << 20
#: Bytes of a session beyond which what a server causes by itself is counted, and content is a digest. Calls and their
#: results stay on record one by one: the host made them, and each is an effect of its own.
FLOOD_BYTES = 64 << 20
#: Events that a server can cause without end and without the host; the first of a kind is always on record.
COUNTED = frozenset({"refused", "unsolicited", "malformed", "oversized", "egress", "alert", "changed"})
#: What a server asks of a host that has an effect: that is never only counted.
HOST_ACTS = frozenset({"sampling/createMessage", "elicitation/create"})
#: Events counted before the numbers are put on record, and kinds that are told apart.
MAX_COUNTED, MAX_KINDS = 1000, 64
#: A head goes into the ledger after so many records, or so many seconds; never more often than every few seconds.
HEAD_RECORDS, HEAD_SECONDS, HEAD_PAUSE = 1000, 60.0, 5.0
#: Seconds in which the server starts, and nothing else is to take the processor.
START_PAUSE = 1.0
#: Seconds for the ledger's lock at the end: a host kills what has not ended 2 s after it closed standard input.
END_PATIENCE = 1.0


def _is_endless(event: Mapping[str, Any]) -> bool:
    """Whether a server can cause it without end: a host answers each request for its roots."""
    if event["event"] in COUNTED:
        return True
    asker = {"call": "server", "result": "client"}.get(event["event"])
    return asker == event.get("side") and event.get("method") not in HOST_ACTS if asker else False


class Log:
    """Appends to ``STATE/audit/sessions/NAME/SESSION.jsonl``, which it makes. Any thread may record.

    ``who`` makes the first record, "launch", unless it is empty. ``content`` says what is kept of messages' contents.
    Raises OSError and McpboxError: a session that cannot be put on record must not begin.
    """

    def __init__(
        self, name: str, session: str, *, who: Mapping[str, Any], content: Literal["digest", "full"] = "digest"
    ) -> None:
        if not (ledger.SAFE.fullmatch(name) and ledger.SAFE.fullmatch(session)):
            raise UsageError(f"{name!r} with the session {session!r} cannot be put on record", "accepted: a file name")
        self.name, self.session = name, session
        self.full, self._key, self._sha256 = content == "full", b"", sha256
        # The gateway of egress records from a thread of its own.
        self._lock, self._heading = threading.Lock(), threading.Lock()
        self._wake, self._closing = threading.Event(), threading.Event()
        self._number, self._size, self._total, self._seq, self._headed = 1, 0, 0, 0, 0
        self._counted: Counter[str] = Counter()
        self._kinds: set[str] = set()
        paths.private_dir(ledger.sessions_dir() / name)
        self.path = ledger.segment(name, session, 1)
        self._mark = ledger.mark(name, session)
        self._fd = -1
        try:
            # Before the ledger has it: of a session in the ledger, a file that is not there was removed.
            self._fd = self._open()
            self._prev = ledger.append({"event": "open", "session": session, "name": name}).hash
        except BaseException:
            if self._fd >= 0:
                os.close(self._fd)
                self.path.unlink()
            self._mark.drop()
            raise
        try:
            if who:
                self.record({"event": "launch", **who})
        except BaseException:
            self.close()
            raise

    def record(self, event: Mapping[str, Any], content: Any = None) -> None:
        """Write one event. Raises OSError: what cannot be recorded must not happen."""
        fields = chain.plain(event)
        more = {} if content is None else self._kept(content)
        with self._lock:
            if self._fd < 0:
                raise OSError(errno.EBADF, f"{self.path}: the session's record is closed")
            if self._total > FLOOD_BYTES and _is_endless(event) and self._count(event):
                return
            if self._counted:
                self._put_counts()
            self._put(fields, more)
            if self._seq - self._headed >= HEAD_RECORDS and not self._wake.is_set():
                self._wake.set()

    def watch(self) -> None:
        """Put heads into the ledger until the session is closed; for a thread of its own, which no call waits for.

        Before, see to what other sessions left.
        """
        if self._closing.wait(START_PAUSE):
            return
        import hashlib

        from mcpbox.audit import aside

        # As ``digests.fastest`` has it for contents from now on.
        self._sha256 = hashlib.sha256
        aside.tend()
        signed = 0.0
        while not self._closing.is_set():
            self._wake.wait(HEAD_SECONDS)
            self._wake.clear()
            if self._closing.is_set():
                return
            try:
                if self._head() and time.monotonic() - signed >= HEAD_SECONDS:
                    signed = time.monotonic()
                    aside.sign()
            except (OSError, McpboxError):
                # The next head covers the same records, and records themselves fail where nothing can be written.
                pass
            self._closing.wait(HEAD_PAUSE)

    def close(self) -> None:
        """Nothing can be recorded any more, by whatever thread is left. What fails here, the next command does."""
        from mcpbox.audit import aside

        self._closing.set()
        self._wake.set()
        alone = self._heading.acquire(timeout=END_PATIENCE)
        try:
            with self._lock:
                fd, self._fd = self._fd, -1
                if fd < 0:
                    return
                try:
                    if self._counted:
                        self._fd = fd
                        self._put_counts()
                        self._fd = -1
                    os.fsync(fd)
                    if alone:
                        self._tell("close", self._seq, self._prev, patience=END_PATIENCE)
                        self._mark.drop()
                        aside.sign()
                except (OSError, McpboxError):
                    pass
                finally:
                    self._fd = -1
                    os.close(fd)
                    self._mark.leave()
        finally:
            if alone:
                self._heading.release()

    def _head(self) -> bool:
        """Put into the ledger how far the session is; whether there was anything new."""
        with self._heading:
            with self._lock:
                if self._fd < 0 or self._seq == self._headed:
                    return False
                fd, count, head = os.dup(self._fd), self._seq, self._prev
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
            self._tell("head", count, head)
            self._headed = count
            return True

    def _tell(self, event: str, count: int, head: str, *, patience: float = ledger.PATIENCE) -> None:
        """Tell the ledger how far the session is: so many records, and the hash of the last."""
        fields = {"event": event, "session": self.session, "name": self.name, "count": count, "head": head}
        ledger.append(fields, patience=patience, sync=True)

    def _kept(self, value: Any) -> dict[str, Any]:
        try:
            self._key = self._key or content.key()
        except McpboxError as error:
            # In the middle of a session whoever records knows of nothing else.
            raise OSError(errno.EINVAL, error.message) from None
        return content.kept(value, self._key, full=self.full and self._total <= FLOOD_BYTES)

    def _count(self, event: Mapping[str, Any]) -> bool:
        kind = f"{event['event']} {event.get('policy') or event.get('decision') or event.get('method') or ''}".rstrip()
        if kind not in self._kinds and len(self._kinds) < MAX_KINDS:
            self._kinds.add(kind)
            return False
        self._counted[kind if kind in self._kinds else str(event["event"])] += 1
        if self._counted.total() >= MAX_COUNTED:
            self._put_counts()
        return True

    def _put_counts(self) -> None:
        self._put({"event": "counted", "counts": dict(self._counted)})
        self._counted.clear()

    def _put(self, fields: Mapping[str, Any], more: Mapping[str, Any] = {}) -> None:
        own = {"seq": self._seq, "time": chain.stamp(time.time_ns()), "session": self.session, "prev": self._prev}
        line = chain.encode({**fields, **more, **own})
        size = len(line) + 1
        if self._size and self._size + size > SEGMENT_BYTES:
            self._next()
        if os.write(self._fd, line + b"\n") != size:
            # A part of a line is no record, and the next one must not follow it.
            os.ftruncate(self._fd, self._size)
            raise OSError(errno.ENOSPC, f"{self.path}: {os.strerror(errno.ENOSPC)}")
        self._size += size
        self._total += size
        self._seq += 1
        self._prev = self._sha256(line).hexdigest()

    def _next(self) -> None:
        os.fsync(self._fd)
        before = self.path
        self.path = ledger.segment(self.name, self.session, self._number + 1)
        try:
            # First the new file: a descriptor that is closed and kept would be anybody's next.
            old, self._fd = self._fd, self._open()
        except OSError:
            self.path = before
            raise
        os.close(old)
        self._number += 1
        self._size = 0

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(self.path, flags, 0o600)
