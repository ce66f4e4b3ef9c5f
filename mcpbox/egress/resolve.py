"""The system's resolver, asked in threads that nobody has to wait for."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from typing import Any

#: Questions at once, and so threads: each lives until the resolver gives up, however soon nobody waits for it.
MAX_QUESTIONS = 64

Found = list[tuple[Any, ...]]


def endpoint(address: str, port: int) -> tuple[int, int, int, str, tuple[Any, ...]]:
    """What ``getaddrinfo`` would give for an address."""
    family, where = (socket.AF_INET6, (address, port, 0, 0)) if ":" in address else (socket.AF_INET, (address, port))
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", where


def is_own(address: str) -> bool:
    """Whether ``address`` is one of this machine's: those are what a socket can be bound to."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.bind((address, 0))
    except OSError as error:
        # No such address, or none of its kind, which could not be dialled either. Any other reason leaves it open, and
        # then it counts as own.
        return error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    return True


class Resolver:
    """Of one event loop. An executor's threads would be joined when the program ends, which can take half a minute."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(MAX_QUESTIONS)

    async def look_up(self, name: str, port: int) -> Found:
        """What ``getaddrinfo`` says for TCP, once there is a thread to ask it. Raises OSError."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Found] = loop.create_future()

        def settle(result: Found | OSError) -> None:
            self._free.release()
            if found.done():
                return
            if isinstance(result, OSError):
                found.set_exception(result)
            else:
                found.set_result(result)

        def ask() -> None:
            result: Found | OSError
            try:
                result = list(socket.getaddrinfo(name, port, type=socket.SOCK_STREAM))
            except OSError as error:
                result = error
            except UnicodeError as error:
                result = OSError(str(error))
            try:
                loop.call_soon_threadsafe(settle, result)
            except RuntimeError:
                # The loop is closed: nobody waits for the answer any more.
                return

        await self._free.acquire()
        try:
            threading.Thread(target=ask, name="resolve", daemon=True).start()
        except RuntimeError as error:
            self._free.release()
            raise OSError(str(error)) from None
        return await found
