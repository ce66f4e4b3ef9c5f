"""A child process that prepares itself before it becomes another program, as ``subprocess`` does with ``preexec_fn``.

But nobody waits for it meanwhile, and that module, which takes 3 ms to import, is not needed: hosts start mcpbox often.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import NoReturn

#: Exit codes of a child that did not become the program, as shells have them: not prepared, and not to be run.
NOT_PREPARED, NOT_RUN = 126, 127


class Child:
    """Linux only. No other thread may run when it is made. What goes wrong in it, it writes to its standard error."""

    def __init__(
        self,
        words: list[str],
        environment: Mapping[str, str],
        *,
        streams: tuple[int, int, int],
        keep: Collection[int],
        prepare: Callable[[], None],
    ) -> None:
        """``streams`` become its standard streams, ``keep`` are all other descriptors that it inherits.

        ``words[0]`` is an absolute path. ``prepare`` is called in the child. Raises OSError if there can be none.
        """
        self._code: int | None = None
        self.pid = os.fork()
        if not self.pid:
            _become(words, environment, streams, keep, prepare)
        #: becomes readable once the process has ended
        self.exited = os.pidfd_open(self.pid)

    def poll(self) -> int | None:
        """Its exit code, 128+n for a signal, or None while it runs; any thread may ask."""
        return self._code if self._code is not None else self._look(os.WNOHANG | os.WNOWAIT)

    def end(self) -> None:
        """Kill it if it still runs, and forget it."""
        # It may have ended, but its number is its own until it is waited for.
        signal.pidfd_send_signal(self.exited, signal.SIGKILL)
        self._code = self._look(0)
        os.close(self.exited)

    def _look(self, options: int) -> int | None:
        found = os.waitid(os.P_PID, self.pid, os.WEXITED | options)
        if found is None:
            return None
        return found.si_status if found.si_code == os.CLD_EXITED else 128 + found.si_status


def _become(
    words: list[str],
    environment: Mapping[str, str],
    streams: tuple[int, int, int],
    keep: Collection[int],
    prepare: Callable[[], None],
) -> NoReturn:
    code = NOT_PREPARED
    try:
        for target, fd in enumerate(streams):
            os.dup2(fd, target)
        # Hosts leak descriptors of their own, which would reach as far as the server.
        for fd in map(int, os.listdir("/proc/self/fd")):
            # One of them was that of the listing.
            with suppress(OSError):
                os.set_inheritable(fd, fd < 3 or fd in keep)
        os.chdir("/")
        # Ignored signals stay ignored through exec; Python ignores these two.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        prepare()
        code = NOT_RUN
        os.execve(words[0], words, environment)
    except BaseException as error:
        what = f"cannot run {words[0]}" if code == NOT_RUN else "cannot prepare the sandbox"
        os.write(2, f"{what} as user {os.geteuid()}: {error}".encode(errors="replace"))
    finally:
        # Whatever happens: two of this program must not go on.
        os._exit(code)
