"""The Docker backend: a locked-down container of an image that is already there, on Docker 20.10 or later, or Podman.

``container`` translates a spec into the engine's request; ``launch`` carries it out. Where the engine runs on this very
kernel, standard streams are FIFOs in a directory that the container sees, and no byte of them passes through the
engine; elsewhere, and for an image whose entry point is run as it is, they go over the engine's attach stream. An
engine on another machine sees no path of this one: a package is brought to it (see ``layers``), and nothing else.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from mcpbox import config, paths
from mcpbox.errors import BackendError
from mcpbox.sandbox import companion, dial, engine, images, kernel, layers, podman
from mcpbox.sandbox.base import Finding, Remember, SandboxSpec, Usage, nothing
from mcpbox.sandbox.container import (
    OPEN_FILES,
    Facts,
    container_config,
    facts,
    name_of,
    relay_config,
    relay_name_of,
    secret_lines,
)
from mcpbox.sandbox.dial import Endpoint
from mcpbox.sandbox.streams import AttachedStreams, FifoStreams, Streams

if TYPE_CHECKING:
    from docker.api import APIClient


#: How long a started container may take to read its secrets.
TOLD_SECONDS = 10


def available() -> Finding:
    endpoint = engine.find()
    if endpoint is None:
        return Finding("docker", "missing", *engine.absence())
    why, remedy = dial.problem(endpoint)
    if why:
        return Finding("docker", "missing", why, remedy or engine.START)
    return Finding("docker", "ok", endpoint.url)


def launch(spec: SandboxSpec, remember: Remember, meanwhile: Callable[[], None] = nothing) -> Container:
    """Start the server. Raises BackendError; on any error nothing is left running."""
    endpoint = engine.find()
    if endpoint is None:
        raise BackendError(*engine.absence())
    judged = _judged(spec)
    name = name_of(spec.session)
    image = spec.image or getattr(config.load().docker.images, spec.interpreter)
    remember({"container": name, "endpoint": endpoint.url, "certificates": endpoint.certificates})
    with ExitStack() as stack:
        # Before the first thread: the sentinel is a fork of this process.
        sentinel = engine.Sentinel(endpoint, (name, relay_name_of(spec.session)) if spec.relay else (name,))
        stack.callback(sentinel.dismiss)
        try:
            client = engine.connect(endpoint)
            stack.callback(client.close)
            version, info = client.version(), client.info()
            _require_limits(engine.unenforceable(info, engine.controllers(client, version)))
            about_image = images.require(client, image)
            about = facts(version, info, endpoint, os.uname().release)
            if about.podman:
                if not about.same_kernel:
                    raise BackendError(
                        "Podman on another machine cannot be given mcpbox's seccomp filter", "use Docker"
                    )
                about = replace(about, needs=podman.needs())
            if not about.same_kernel:
                spec, image = layers.placed(client, spec, image)
            if about.remote:
                layers.require_none(spec, endpoint.url)
            beside = None if spec.relay is None else _start_relay(client, endpoint, spec, about, stack)
            streams = _streams(endpoint, name, about.same_kernel and not spec.image)
            stack.callback(streams.close)
            entry_point, spec = images.entry_point(spec, about_image)
            volumes = list(about_image.get("Volumes") or ())
            server = images.venv_by_name(spec)
            body = container_config(server, image, about, streams.directory, volumes, entry_point, judged)
            engine.create(client, name, body)
            stack.callback(_remove, client, name)
            if spec.secrets and spec.image:
                images.require_shell(client, name, image)
            if about.podman:
                _require_kept(client, name, body, attached=not streams.directory)
            end = engine.next_exit(client, name)
            streams.attach()
            # Before the server runs: its first question would be lost, or it would take the relay's ports.
            egress = None if beside is None or spec.relay is None else companion.connect(spec.relay, beside)
            waiting = threading.Thread(target=meanwhile, name="meanwhile")
            waiting.start()
            client.start(name)
            waiting.join()
            if spec.secrets:
                _tell(streams.stdin, secret_lines(spec.secrets))
            running = client.inspect_container(name) if about.same_kernel or spec.image else {}
            pid = int(running["State"]["Pid"]) if about.same_kernel else 0
        except BackendError:
            raise
        except Exception as error:
            raise _explained(error, image, endpoint) from None
        container = Container(client, spec.session, image, streams, end, sentinel, pid)
        container.egress, container.beside = egress, beside
        container.image = str(running["Image"]) if spec.image else ""
        stack.pop_all()
        return container


def _judged(spec: SandboxSpec) -> dict[str, str]:
    """What is to be mounted, by where. Elsewhere than on Linux no container could compare it."""
    if sys.platform != "linux":
        return {}
    return {mount.target: kernel.identity(mount) for mount in spec.mounts}


def _streams(endpoint: Endpoint, name: str, shared: bool) -> Streams:
    """``shared``: the container sees this machine's files."""
    if shared:
        return FifoStreams(paths.private_dir(paths.runtime_dir() / "streams"), name)
    return AttachedStreams(endpoint, name)


def _start_relay(client: APIClient, endpoint: Endpoint, spec: SandboxSpec, about: Facts, stack: ExitStack) -> Streams:
    """The relay's container, started; its network namespace is there for the server to join."""
    assert spec.relay is not None
    image, name = config.load().docker.images.python, relay_name_of(spec.session)
    images.require(client, image)
    streams = _streams(endpoint, name, about.same_kernel)
    stack.callback(streams.close)
    body = relay_config(spec, spec.relay, image, about, streams.directory)
    engine.create(client, name, body)
    stack.callback(_remove, client, name)
    if about.podman:
        _require_kept(client, name, body, attached=not streams.directory)
    streams.attach()
    client.start(name)
    companion.begin(spec.relay, streams.stdin)
    return streams


class Container:
    """A running container, watched by a thread that waits for its end."""

    def __init__(
        self,
        client: APIClient,
        session: str,
        image: str,
        streams: Streams,
        end: Callable[[], int],
        sentinel: engine.Sentinel,
        pid: int,
    ) -> None:
        self._client, self._session, self._image = client, session, image
        self._name = name_of(session)
        self._streams, self._end, self._sentinel = streams, end, sentinel
        self.stdin, self.stdout, self.stderr = streams.stdin, streams.stdout, streams.stderr
        self._pidfd = _pidfd(pid)
        self.egress: tuple[int, int] | None = None
        self.beside: Streams | None = None
        self.image = ""
        self._code: int | None = None
        self._why = ""
        self.exited, self._exited_in = os.pipe()
        self._waiter = threading.Thread(target=self._wait, name="wait", daemon=True)
        self._waiter.start()

    def _wait(self) -> None:
        code, why = 1, ""
        try:
            code = self._end()
        except Exception as error:
            why = f"the container engine is gone: {type(error).__name__}"
            self._kill_directly()
        if code in (126, 127):
            why = f"the image {self._image} cannot run the command"
        self._code, self._why = code, why
        with suppress(OSError):
            os.write(self._exited_in, b"x")

    def poll(self) -> int | None:
        return self._code

    def why(self) -> str:
        return self._why

    def kill(self) -> None:
        if self._code is None and not self._kill_directly():
            with suppress(Exception):
                self._client.kill(self._name)

    def _kill_directly(self) -> bool:
        """End the container through the kernel: faster than through the engine, and without one."""
        if self._pidfd < 0:
            return False
        try:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return True

    def close_stdin(self) -> None:
        self._streams.close_stdin()

    def close(self) -> None:
        self.kill()
        # The host waits two seconds at most, also for an engine that hangs; then the sentinel goes on trying.
        self._client.timeout = 1
        _remove(self._client, self._name)
        if self.beside is not None:
            _remove(self._client, relay_name_of(self._session))
            self.beside.close()
        self._waiter.join(1)
        self._streams.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
        self._sentinel.dismiss()
        self._client.close()


def reap(record: Mapping[str, Any]) -> None:
    session, endpoint = record.get("id"), _endpoint(record)
    if not isinstance(session, str) or endpoint is None:
        return
    names = name_of(session), relay_name_of(session)
    for name in names:
        shutil.rmtree(paths.runtime_dir() / "streams" / name, ignore_errors=True)
    if not engine.answers(endpoint):
        raise BackendError(f"the engine at {endpoint.url} does not answer", engine.START)
    with engine.connect(endpoint) as client:
        for name in names:
            engine.remove_ours(client, name)


def usage(record: Mapping[str, Any]) -> Usage | None:
    name, endpoint = record.get("container"), _endpoint(record)
    if not isinstance(name, str) or endpoint is None:
        return None
    try:
        with engine.connect(endpoint) as client:
            stats = client.stats(name, stream=False, one_shot=True)
    except Exception:
        # It may end at any moment, and the engine too; then there is nothing to tell.
        return None
    memory = stats.get("memory_stats", {})
    cached = memory.get("stats", {}).get("total_inactive_file", memory.get("stats", {}).get("inactive_file", 0))
    seconds = stats.get("cpu_stats", {}).get("cpu_usage", {}).get("total_usage", 0) / 1e9
    return Usage(memory.get("usage", 0) - cached, seconds, stats.get("pids_stats", {}).get("current", 0))


def sees_files() -> bool:
    endpoint = engine.find()
    return endpoint is None or not endpoint.remote


def provide(tree: str, source: str, interpreter: str) -> None:
    with _engine() as (client, same_kernel):
        if not same_kernel:
            image = getattr(config.load().docker.images, interpreter)
            images.require(client, image)
            layers.provide(client, image, tree, source)


def withdraw(keep: Collection[str]) -> None:
    with _engine() as (client, same_kernel):
        if not same_kernel:
            layers.withdraw(client, keep)


@contextmanager
def _engine() -> Iterator[tuple[APIClient, bool]]:
    """A client, and whether its engine runs on this kernel. Raises BackendError, whatever goes wrong."""
    endpoint = engine.find()
    if endpoint is None:
        raise BackendError(*engine.absence())
    try:
        with engine.connect(endpoint) as client:
            yield client, facts(client.version(), {}, endpoint, os.uname().release).same_kernel
    except BackendError:
        raise
    except Exception as error:
        raise _explained(error, "", endpoint) from None


def _endpoint(record: Mapping[str, Any]) -> Endpoint | None:
    """Where a session remembered its engine to be."""
    url, certificates = record.get("endpoint"), record.get("certificates", "")
    return Endpoint(url, certificates) if isinstance(url, str) and isinstance(certificates, str) else None


def check() -> list[Finding]:
    findings = [available()]
    endpoint = engine.find()
    if endpoint is None or findings[0].status == "missing":
        return findings
    with engine.connect(endpoint) as client:
        version, info = client.version(), client.info()
        findings += engine.check_version(version)
        missing = engine.unenforceable(info, engine.controllers(client, version))
        if missing:
            findings.append(Finding("engine limits", "missing", f"cannot limit: {', '.join(missing)}", engine.LIMITS))
        else:
            findings.append(Finding("engine limits", "ok", "memory, swap, processors, processes"))
        configured = config.load().docker.images
        for kind in configured.__struct_fields__:
            image = getattr(configured, kind)
            try:
                client.inspect_image(image)
                findings.append(Finding(f"image for {kind}", "ok", image))
            except Exception as error:
                if not images.gone(error):
                    raise
                findings.append(Finding(f"image for {kind}", "missing", image, images.remedy(image)))
    return findings


def _tell(fd: int, data: bytes) -> None:
    """Write to the input of a started container. Raises BackendError if it does not read."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    deadline = time.monotonic() + TOLD_SECONDS
    view = memoryview(data)
    while view:
        if time.monotonic() > deadline or not poll.poll(TOLD_SECONDS * 1000):
            raise BackendError("the container does not take its secrets", "run: mcpbox doctor")
        with suppress(BlockingIOError):
            view = view[os.write(fd, view) :]


def _require_kept(client: APIClient, name: str, body: Mapping[str, Any], *, attached: bool) -> None:
    """Raises BackendError if Podman left out a limit; where there is a shell of ours, that sees to the open files."""
    kept = client.inspect_container(name)["HostConfig"]
    _require_limits(podman.dropped(body["HostConfig"], kept))
    if attached and not podman.bounds_files(kept, OPEN_FILES):
        raise BackendError("rootless Podman does not limit an image's open files", podman.ROOTLESS)


def _require_limits(missing: Sequence[str]) -> None:
    if missing:
        raise BackendError(f"this engine cannot limit: {', '.join(missing)}", engine.LIMITS)


def _explained(error: Exception, image: str, endpoint: Endpoint) -> BackendError:
    from docker.errors import APIError

    if isinstance(error, APIError):
        text = str(error.explanation or error)
        if "init binary" in text:
            # Podman's is a package of its own that it only recommends; Docker's comes with it.
            return BackendError(f"the container engine has no init program: {text}", "run: apt install catatonit")
        if "executable file not found" in text or "no such file or directory" in text:
            return BackendError(f"the image {image} has no such program: {text}", "choose another: docker.images")
        return BackendError(f"the container engine refused: {text}", "run: mcpbox doctor")
    why, remedy = dial.problem(endpoint)
    return BackendError(why or f"the container engine failed: {error}", remedy or "run: mcpbox doctor")


def _remove(client: APIClient, name: str) -> None:
    """Remove a container that may be gone or going already; the engine refuses while it removes it itself."""
    with suppress(Exception):
        client.remove_container(name, force=True)


def _pidfd(pid: int) -> int:
    if pid > 1 and hasattr(os, "pidfd_open"):
        with suppress(OSError):
            return os.pidfd_open(pid)
    return -1
