"""Ends a process without a word at each of its steps in turn: at every audit event that has to do with files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: (whether it was killed, the file's text afterwards, what else lies beside it)
Outcome = tuple[bool, str, list[str]]
STEPS = 2000


def run(code: str, *arguments: object) -> list[Outcome]:
    """Run ``code``, which calls ``at_every_step``, in a process of its own; the outcomes, the last of a whole run."""
    words = [sys.executable, "-c", f"from hosts import kills\n{code}", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert outcomes and not outcomes[-1][0]
    return [(killed, text, left) for killed, text, left in outcomes]


def at_every_step(before: Callable[[], Any], what: Callable[[], Any], path: str) -> None:
    """Call ``what`` in one child process after another, each killed one step later, until one gets through."""
    for step in range(1, STEPS):
        before()
        child = os.fork()
        if child == 0:
            sys.addaudithook(_Killer(step))
            what()
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (0, -signal.SIGKILL), status
        directory, name = os.path.split(path)
        left = sorted(set(os.listdir(directory)) - {name})
        with open(path) as opened:
            sys.stdout.write(json.dumps([status != 0, opened.read(), left]) + "\n")
        if status == 0:
            return
    raise AssertionError(f"it does not get through in {STEPS} steps")


class _Killer:
    def __init__(self, step: int) -> None:
        self._left = step

    def __call__(self, event: str, _arguments: object) -> None:
        if event.partition(".")[0] in ("open", "os", "fcntl", "ctypes"):
            self._left -= 1
            if not self._left:
                os.kill(os.getpid(), signal.SIGKILL)
