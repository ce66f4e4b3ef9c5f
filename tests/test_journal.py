from __future__ import annotations

import json

from mcpbox import journal
from mcpbox.journal import Journal


def test_the_record_is_private_and_bounded() -> None:
    first, second = Journal("server", "a"), Journal("server", "b")
    size = 200_000
    for _ in range(2 * journal.ROTATE_BYTES // size + 4):
        first.record({"event": "x", "text": "y" * size})
        second.record({"event": "x", "text": "y" * size})
    files = sorted(first.path.parent.iterdir())
    assert [file.name for file in files] == ["server.jsonl", "server.jsonl.1"]
    assert sum(file.stat().st_size for file in files) < 3 * journal.ROTATE_BYTES
    assert all(file.stat().st_mode & 0o077 == 0 for file in files)
    assert all(json.loads(line)["event"] == "x" for file in files for line in file.read_text().splitlines())
    first.close()
    second.close()
