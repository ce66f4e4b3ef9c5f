"""A byte stream to a container engine, over whatever its address names, whose sending half can be closed by itself.

The library's own cannot: Python's TLS sockets have no half-close, and are not to be read and written by two threads at
once (CPython's issue 124984), which an attached container needs both.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from msgspec import Struct

from mcpbox.errors import BackendError

if TYPE_CHECKING:
    import ssl
    import subprocess

#: Seconds to connect in; over ssh that includes a handshake of its own.
CONNECT, CONNECT_SSH = 5.0, 20.0
#: … and for the first answer: Podman's service is only started by whoever connects, and may then wait for a lock.
ANSWER = 10.0
CHUNK = 1 << 16
FORM = "accepted: unix:///PATH, tcp://HOST[:PORT], ssh://[USER@]HOST[:PORT]"
CERTIFICATES = "DOCKER_CERT_PATH must be a directory with the engine's ca.pem and your cert.pem and key.pem"


class Endpoint(Struct, frozen=True):
    """Where an engine listens, and the directory of certificates for a TLS one."""

    url: str
    certificates: str = ""

    @property
    def remote(self) -> bool:
        """Whether it is to be taken for another machine's, which sees none of our files.

        A local socket may lead into a virtual machine too, but then into one that is made to share files.
        """
        return not self.url.startswith("unix://")


class Channel(Protocol):
    """A connection that one thread may read while another writes. All raise OSError."""

    def send(self, data: bytes) -> None: ...

    def receive(self, most: int) -> bytes:
        """At least one byte; none at the end."""
        ...

    def finish(self) -> None:
        """Nothing more will be sent; what comes is still received."""
        ...

    def wait(self, seconds: float | None) -> None:
        """Bound each call from now on."""
        ...

    def hang_up(self) -> None:
        """End the calls that are going on in other threads."""
        ...

    def close(self) -> None: ...


def dial(endpoint: Endpoint, timeout: float) -> Channel:
    """Connect; ``timeout`` in seconds bounds each call afterwards. Raises OSError, BackendError for a bad address."""
    parts = urlsplit(endpoint.url)
    if parts.scheme == "unix":
        local = socket.socket(socket.AF_UNIX)
        local.settimeout(CONNECT)
        try:
            local.connect(endpoint.url.removeprefix("unix://"))
        except OSError:
            local.close()
            raise
        return Plain(local, timeout)
    if parts.scheme == "ssh":
        stream, process = over_ssh(endpoint)
        return Plain(stream, timeout, process)
    if parts.scheme not in ("tcp", "http", "https"):
        raise BackendError(f"{endpoint.url}: not the address of an engine", FORM)
    encrypted = bool(endpoint.certificates) or parts.scheme == "https"
    address = parts.hostname or "", parts.port or (2376 if encrypted else 2375)
    stream = socket.create_connection(address, CONNECT)
    if not encrypted:
        return Plain(stream, timeout)
    try:
        return Tls(stream, context(endpoint), address[0], timeout)
    except BaseException:
        stream.close()
        raise


def context(endpoint: Endpoint) -> ssl.SSLContext:
    """What the engine's certificate is checked with. Raises BackendError where there are no certificates."""
    import ssl

    where = endpoint.certificates
    try:
        made = ssl.create_default_context(cafile=f"{where}/ca.pem")
        made.load_cert_chain(f"{where}/cert.pem", f"{where}/key.pem")
    except (OSError, ssl.SSLError) as error:
        raise BackendError(f"the certificates in {where} cannot be used: {error}", CERTIFICATES) from None
    return made


def over_ssh(endpoint: Endpoint) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """A stream to the engine of another machine, by the user's own ssh, as the docker command does it."""
    import subprocess

    words = ssh_words(endpoint.url)
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            words,
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=subprocess.PIPE,
            # A Ctrl-C is for us, and what we then still have to say goes through it.
            start_new_session=True,
        )
    return ours, process


def ssh_words(url: str) -> list[str]:
    """The command that talks to the engine at an ssh:// URL. Raises BackendError."""
    parts = urlsplit(url)
    # A host or user that begins with a dash would be an option (CVE-2017-1000117).
    names = (parts.hostname or "", parts.username or "x")
    if parts.password or parts.path.strip("/") or not all(re.fullmatch(r"[\w.:%][\w.:%-]*", name) for name in names):
        raise BackendError(f"{url}: not the address of an engine", FORM)
    words = ["ssh", "-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_SSH:.0f}"]
    words += ["-l", parts.username] if parts.username else []
    words += ["-p", str(parts.port)] if parts.port else []
    return [*words, "--", parts.hostname or "", "docker", "system", "dial-stdio"]


def end(process: subprocess.Popen[bytes]) -> str:
    """End an ssh; what it had to say."""
    process.terminate()
    said = process.stderr.read().decode(errors="replace").strip() if process.stderr else ""
    if process.stderr:
        process.stderr.close()
    process.wait()
    return said


class Plain:
    """A socket as it is."""

    def __init__(self, stream: socket.socket, timeout: float, process: subprocess.Popen[bytes] | None = None) -> None:
        self._stream, self._process = stream, process
        stream.settimeout(timeout)

    def send(self, data: bytes) -> None:
        self._stream.sendall(data)

    def receive(self, most: int) -> bytes:
        return self._stream.recv(most)

    def finish(self) -> None:
        self._stream.shutdown(socket.SHUT_WR)

    def wait(self, seconds: float | None) -> None:
        self._stream.settimeout(seconds)

    def hang_up(self) -> None:
        with suppress(OSError):
            self._stream.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._stream.close()
        if self._process:
            end(self._process)
            self._process = None

    def complaint(self) -> str:
        """What ssh said; ends it."""
        process, self._process = self._process, None
        return end(process) if process else ""


class Tls:
    """TLS over a socket. The state has one lock, which nobody holds while waiting for the network."""

    def __init__(self, stream: socket.socket, using: ssl.SSLContext, name: str, timeout: float) -> None:
        import ssl

        self._ssl, self._stream = ssl, stream
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = using.wrap_bio(self._in, self._out, server_hostname=name)
        self._state, self._sending = threading.Lock(), threading.Lock()
        while True:
            try:
                self._put(self._tls.do_handshake)
                break
            except ssl.SSLWantReadError:
                if not (data := stream.recv(CHUNK)):
                    raise ConnectionResetError("the engine closed the connection") from None
                self._in.write(data)
        stream.settimeout(timeout)

    def send(self, data: bytes) -> None:
        self._put(lambda: self._tls.write(data))

    def receive(self, most: int) -> bytes:
        while True:
            with self._state:
                try:
                    return self._tls.read(most)
                except self._ssl.SSLWantReadError:
                    pass
                except (self._ssl.SSLZeroReturnError, self._ssl.SSLEOFError):
                    return b""
            # Never wait here for who sends: the engine may not read until it is read from.
            if self._out.pending and self._sending.acquire(blocking=False):
                try:
                    self._stream.sendall(self._out.read())
                finally:
                    self._sending.release()
            data = self._stream.recv(CHUNK)
            with self._state:
                if data:
                    self._in.write(data)
                else:
                    self._in.write_eof()

    def finish(self) -> None:
        # Says that nothing more comes, and raises: the other side has not said so yet.
        with suppress(self._ssl.SSLError):
            self._put(self._tls.unwrap)

    def wait(self, seconds: float | None) -> None:
        self._stream.settimeout(seconds)

    def hang_up(self) -> None:
        with suppress(OSError):
            self._stream.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._stream.close()

    def _put(self, act: Callable[[], object]) -> None:
        """Send what ``act`` comes to."""
        with self._sending:
            try:
                with self._state:
                    act()
            finally:
                with self._state:
                    data = self._out.read()
                self._stream.sendall(data)


def problem(endpoint: Endpoint) -> tuple[str, str]:
    """Why no engine answers, and what to do; ("", "") if one does. By hand: the library takes longer to import."""
    url = endpoint.url
    try:
        channel = dial(endpoint, CONNECT_SSH if url.startswith("ssh://") else ANSWER)
    except BackendError as error:
        return error.message, error.hint
    except OSError as error:
        return _explained(endpoint, error)
    try:
        channel.send(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
        answer = channel.receive(64)
        complaint = channel.complaint() if isinstance(channel, Plain) and not answer else ""
    except OSError as error:
        if isinstance(channel, Plain) and (complaint := channel.complaint()):
            return f"no engine answers at {url}: {_last(complaint)}", ""
        return _explained(endpoint, error)
    finally:
        channel.close()
    if b" 200 " in answer:
        return "", ""
    if answer.startswith(b"HTTP/1.0 400") and not endpoint.certificates:
        return f"{url} wants TLS", f"set DOCKER_TLS_VERIFY=1; {CERTIFICATES}"
    said = _last(complaint) or answer.decode(errors="replace").partition("\r")[0]
    return f"no engine answers at {url}" + (f": {said}" if said else ""), ""


def _explained(endpoint: Endpoint, error: OSError) -> tuple[str, str]:
    url = endpoint.url
    # Not by its class: to import that costs what a connection costs.
    reason = getattr(error, "reason", "") or ""
    if reason == "CERTIFICATE_VERIFY_FAILED":
        said = getattr(error, "verify_message", "")
        return f"the engine at {url} is not one that {endpoint.certificates}/ca.pem vouches for: {said}", CERTIFICATES
    if "CERTIFICATE" in reason or "UNKNOWN_CA" in reason:
        return f"the engine at {url} does not take {endpoint.certificates}/cert.pem: {reason.lower()}", CERTIFICATES
    if reason == "WRONG_VERSION_NUMBER":
        return f"the engine at {url} does not speak TLS", "unset DOCKER_TLS_VERIFY, or have it listen with --tlsverify"
    return f"no engine answers at {url}: {error.strerror or error}", ""


def _last(text: str) -> str:
    return text.rpartition("\n")[2].strip()
