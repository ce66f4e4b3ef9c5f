"""The child process of the bubblewrap backend: what it inherits, how it ends, and what it says when it cannot begin."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("Linux only", allow_module_level=True)

from mcpbox.sandbox import kernel
from mcpbox.sandbox.base import nothing
from mcpbox.sandbox.child import NOT_PREPARED, NOT_RUN, Child


@pytest.fixture
def resources() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def said(
    resources: ExitStack, words: list[str], *, keep: tuple[int, ...] = (), prepare: Callable[[], None] = nothing
) -> tuple[int | None, str]:
    """The exit code of a child, and all that it writes to standard output and standard error."""
    read, write = os.pipe()
    resources.callback(os.close, read)
    empty = os.open(os.devnull, os.O_RDONLY)
    child = Child(words, {"A": "1"}, streams=(empty, write, write), keep=keep, prepare=prepare)
    resources.callback(child.end)
    os.close(write)
    os.close(empty)
    text = b""
    while piece := os.read(read, 4096):
        text += piece
    assert kernel.readable(child.exited, 10)
    return child.poll(), text.decode()


def shell(line: str) -> list[str]:
    return ["/bin/sh", "-c", line]


def test_it_inherits_what_is_kept_and_nothing_that_its_parents_leaked(resources: ExitStack) -> None:
    kept, leaked = (os.open(os.devnull, os.O_RDONLY) for _ in range(2))
    resources.callback(os.close, kept)
    resources.callback(os.close, leaked)
    os.set_inheritable(leaked, True)
    code, text = said(resources, ["/bin/ls", "/proc/self/fd"], keep=(kept,))
    # The last one is that of the listing.
    assert (code, set(map(int, text.split())) - {0, 1, 2, kept}) == (0, {min({3, 4} - {kept})})


def test_its_environment_directory_and_signals_are_as_for_any_program(resources: ExitStack) -> None:
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN
    code, text = said(resources, shell("echo $A $HOME $PWD; grep SigIgn /proc/self/status"))
    # What it was started with is ignored further, such as by a shell that starts the tests in the background.
    (ignored,) = [
        line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("SigIgn")
    ]
    own = int(ignored, 16) & ~(1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1)
    assert (code, text.split()) == (0, ["1", "/", "SigIgn:", f"{own:016x}"])


@pytest.mark.parametrize(("line", "code"), [("exit 3", 3), ("kill -9 $$", 137), ("kill -15 $$", 143)])
def test_its_exit_code_can_be_asked_for_at_any_time(resources: ExitStack, line: str, code: int) -> None:
    assert said(resources, shell(line)) == (code, "")


def test_it_runs_until_it_is_ended() -> None:
    child = Child(["/bin/sleep", "60"], {}, streams=(0, 1, 2), keep=(), prepare=nothing)
    assert child.poll() is None
    child.end()
    assert child.poll() == 137


def fail() -> None:
    raise OSError(5, "no cgroup")


@pytest.mark.parametrize(
    ("words", "prepare", "code", "reason"),
    [
        (["/nowhere/bwrap"], nothing, NOT_RUN, "cannot run /nowhere/bwrap as user {uid}: [Errno 2]"),
        (["/etc"], nothing, NOT_RUN, "cannot run /etc as user {uid}: [Errno 13]"),
        (["/bin/true", "\0"], nothing, NOT_RUN, "cannot run /bin/true as user {uid}: embedded null"),
        (["/bin/true"], fail, NOT_PREPARED, "cannot prepare the sandbox as user {uid}: [Errno 5] no cgroup"),
        (["/bin/true"], sys.exit, NOT_PREPARED, "cannot prepare the sandbox as user {uid}: "),
    ],
)
def test_why_it_could_not_begin_is_said(
    resources: ExitStack, words: list[str], prepare: Callable[[], None], code: int, reason: str
) -> None:
    found, text = said(resources, words, prepare=prepare)
    assert found == code and text.startswith(reason.format(uid=os.geteuid()))
