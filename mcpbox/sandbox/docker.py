"""The Docker backend: a locked-down container of an image that is already there, on Docker 20.10 or later, or Podman.

``container_config`` is the pure translation of a spec into the engine's request; ``launch`` carries it out. Where the
engine runs on this very kernel, the server's standard streams are FIFOs in a directory that the container sees, and
no byte of them passes through the engine; elsewhere, and for an image whose entry point is run as it is, they go over
the engine's attach stream.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from mcpbox import config, paths
from mcpbox.errors import BackendError
from mcpbox.sandbox import engine, podman, seccomp
from mcpbox.sandbox.base import Finding, Remember, SandboxSpec, Usage
from mcpbox.sandbox.podman import Needs
from mcpbox.sandbox.streams import AttachedStreams, FifoStreams, Streams

if TYPE_CHECKING:
    from docker.api import APIClient

LABEL = "mcpbox.session"
OWNER = "mcpbox.owner"
INSIDE = "/run/mcpbox"
OPEN_FILES = 4096
#: exec, so that the server itself is what init starts and reaps; the redirections open in the order of ``FifoStreams``.
#: Opening "up" tells that the server's input is open, before which its end of file would be lost. The limits are for
#: rootless Podman, which takes none from its API (Podman's issue 25881); one that is lower already stays.
SHIM = f'ulimit -n {OPEN_FILES}; ulimit -c 0; exec <{INSIDE}/in; : >{INSIDE}/up; exec "$@" >{INSIDE}/out 2>{INSIDE}/err'


class Facts(Struct, frozen=True):
    """What an engine is, as far as a container's configuration depends on it."""

    podman: bool = False
    rootless: bool = False
    #: whether its containers run on this kernel, so that a FIFO works between us and them
    same_kernel: bool = False
    cgroup_namespaces: bool = True
    needs: Needs = Needs()


def facts(version: Mapping[str, Any], info: Mapping[str, Any], endpoint: str, kernel_release: str) -> Facts:
    """Read an engine's ``/version`` and ``/info``. Docker Desktop answers on a local socket, from a virtual machine."""
    platform = str((version.get("Platform") or {}).get("Name", ""))
    local = endpoint.startswith("unix://") and version.get("KernelVersion") == kernel_release
    api = tuple(int(number) for number in str(version.get("ApiVersion", "1.41")).split(".")[:2])
    return Facts(
        podman=engine.is_podman(version),
        rootless=engine.is_rootless(info),
        same_kernel=local and "Desktop" not in platform,
        cgroup_namespaces=api >= (1, 41),
    )


def container_config(
    spec: SandboxSpec, image: str, engine_facts: Facts, streams: str = "", volumes: Sequence[str] = ()
) -> dict[str, Any]:
    """The body of ``POST /containers/create``.

    ``streams`` is the directory of the FIFOs, or "" for the attach stream; ``volumes`` are the image's. The image's own
    environment stays, under the spec's; it says nothing about the host.
    """
    attached = not streams
    user = f"{spec.uid}:{spec.gid}"
    if engine_facts.rootless and not engine_facts.podman:
        # Root of a rootless engine's containers is the user who runs the engine, and nobody else can read the mounts.
        user = "0:0"
    command = list(spec.command) if spec.image else _command(spec)
    mounts = [
        {
            "Type": "bind",
            "Source": mount.source,
            "Target": mount.target,
            "ReadOnly": not mount.write,
            "BindOptions": {"Propagation": "rprivate"},
        }
        for mount in spec.mounts
    ]
    if streams:
        mounts.append({"Type": "bind", "Source": streams, "Target": INSIDE, "ReadOnly": True})
        command = ["/bin/sh", "-c", SHIM, "sh", *command]
    own = f"mode=0700,uid={spec.uid},gid={spec.gid}"
    options = f"size={spec.scratch},nosuid,nodev,exec"
    environment = dict(spec.environment)
    if spec.image:
        del environment["PATH"]
    profile = engine_facts.needs.seccomp if engine_facts.podman else seccomp.docker_profile()
    host: dict[str, Any] = {
        "NetworkMode": "none",
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges", f"seccomp={profile}"],
        "IpcMode": "private",
        "PidMode": "",
        "UTSMode": "",
        "Privileged": False,
        "Init": True,
        "AutoRemove": True,
        "LogConfig": {"Type": "none"},
        "Memory": spec.memory,
        "MemorySwap": spec.memory,
        "NanoCpus": round(spec.cpus * 1e9),
        "PidsLimit": spec.pids,
        "ShmSize": spec.scratch,
        "OomScoreAdj": 500,
        # A volume of the image's would be a place on the disk, writable and without a bound.
        "Tmpfs": {
            **{volume: f"{own},{options}" for volume in volumes},
            "/tmp": f"mode=1777,{options}",
            spec.home: f"{own},{options}",
        },
        "Ulimits": [
            {"Name": "nofile", "Soft": OPEN_FILES, "Hard": OPEN_FILES},
            {"Name": "core", "Soft": 0, "Hard": 0},
        ],
        "Mounts": mounts,
        "RestartPolicy": {"Name": "no"},
    }
    if engine_facts.cgroup_namespaces:
        host["CgroupnsMode"] = "private"
    # A remapping engine would make the user somebody else, who cannot read what is mounted.
    host["UsernsMode"] = "host" if not engine_facts.rootless else ""
    body: dict[str, Any] = {
        "Image": image,
        "User": user,
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "WorkingDir": spec.cwd,
        "Hostname": "mcpbox",
        "NetworkDisabled": True,
        "AttachStdin": attached,
        "AttachStdout": attached,
        "AttachStderr": attached,
        "OpenStdin": attached,
        "StdinOnce": attached,
        "Tty": False,
        "Healthcheck": {"Test": ["NONE"]},
        "Labels": {LABEL: spec.session, "mcpbox.name": spec.name, OWNER: str(os.getuid())},
        "HostConfig": host,
        "Cmd": command,
    }
    if not spec.image:
        body["Entrypoint"] = []
    if engine_facts.podman:
        podman.adapt(body, engine_facts.needs, rootless=engine_facts.rootless, scratch=spec.scratch)
    return body


def _command(spec: SandboxSpec) -> list[str]:
    """The spec's command as the image can run it: what lies under /usr here is the image's own, found by name."""
    program, *rest = spec.command
    if program.startswith(("/usr/", "/bin/", "/sbin/")):
        return [os.path.basename(program), *rest]
    return [program, *rest]


def available() -> Finding:
    endpoint = engine.find()
    if endpoint is None:
        return Finding("docker", "missing", "no engine is configured", engine.START)
    if not engine.answers(endpoint):
        return Finding("docker", "missing", f"no engine answers at {endpoint.url}", engine.START)
    return Finding("docker", "ok", endpoint.url)


def launch(spec: SandboxSpec, remember: Remember) -> Container:
    """Start the server. Raises BackendError; on any error nothing is left running."""
    endpoint = engine.find()
    if endpoint is None:
        raise BackendError("no container engine is configured", engine.START)
    name = f"mcpbox-{spec.session}"
    image = spec.image or getattr(config.load().docker.images, spec.interpreter)
    remember({"container": name, "endpoint": endpoint.url})
    with ExitStack() as stack:
        # Before the first thread: the sentinel is a fork of this process.
        sentinel = engine.Sentinel(endpoint, name)
        stack.callback(sentinel.dismiss)
        try:
            client = engine.connect(endpoint)
            stack.callback(client.close)
            version, info = client.version(), client.info()
            _require_limits(engine.unenforceable(info))
            volumes = _require_image(client, image)
            about = facts(version, info, endpoint.url, os.uname().release)
            if about.podman:
                if not about.same_kernel:
                    raise BackendError(
                        "Podman on another machine cannot be given mcpbox's seccomp filter", "use Docker"
                    )
                about = replace(about, needs=podman.needs())
            streams: Streams
            if about.same_kernel and not spec.image:
                streams = FifoStreams(paths.private_dir(paths.runtime_dir() / "streams"), spec.session)
            else:
                streams = AttachedStreams(client, name)
            stack.callback(streams.close)
            body = container_config(_venv_by_name(spec), image, about, streams.directory, volumes)
            engine.create(client, name, body)
            stack.callback(_remove, client, name)
            if about.podman:
                kept = client.inspect_container(name)["HostConfig"]
                _require_limits(podman.dropped(body["HostConfig"], kept))
                if not streams.directory and not podman.bounds_files(kept, OPEN_FILES):
                    raise BackendError("rootless Podman does not limit an image's open files", podman.ROOTLESS)
            end = engine.next_exit(client, name)
            streams.attach()
            client.start(name)
            pid = int(client.inspect_container(name)["State"]["Pid"]) if about.same_kernel else 0
        except BackendError:
            raise
        except Exception as error:
            raise _explained(error, image) from None
        container = Container(client, name, image, streams, end, sentinel, pid)
        stack.pop_all()
        return container


class Container:
    """A running container, watched by a thread that waits for its end."""

    def __init__(
        self,
        client: APIClient,
        name: str,
        image: str,
        streams: Streams,
        end: Callable[[], int],
        sentinel: engine.Sentinel,
        pid: int,
    ) -> None:
        self._client, self._name, self._image = client, name, image
        self._streams, self._end, self._sentinel = streams, end, sentinel
        self.stdin, self.stdout, self.stderr = streams.stdin, streams.stdout, streams.stderr
        self._pidfd = _pidfd(pid)
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
        self._waiter.join(1)
        self._streams.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
        self._sentinel.dismiss()
        self._client.close()


def reap(record: Mapping[str, Any]) -> None:
    name, url = record.get("container"), record.get("endpoint")
    if not isinstance(name, str) or not isinstance(url, str):
        return
    shutil.rmtree(paths.runtime_dir() / "streams" / str(record.get("id")), ignore_errors=True)
    endpoint = engine.Endpoint(url)
    if not engine.answers(endpoint):
        raise BackendError(f"the engine at {url} does not answer", engine.START)
    with engine.connect(endpoint) as client:
        engine.remove_ours(client, name)


def usage(record: Mapping[str, Any]) -> Usage | None:
    name, url = record.get("container"), record.get("endpoint")
    if not isinstance(name, str) or not isinstance(url, str):
        return None
    try:
        with engine.connect(engine.Endpoint(url)) as client:
            stats = client.stats(name, stream=False, one_shot=True)
    except Exception:
        # It may end at any moment, and the engine too; then there is nothing to tell.
        return None
    memory = stats.get("memory_stats", {})
    cached = memory.get("stats", {}).get("total_inactive_file", memory.get("stats", {}).get("inactive_file", 0))
    seconds = stats.get("cpu_stats", {}).get("cpu_usage", {}).get("total_usage", 0) / 1e9
    return Usage(memory.get("usage", 0) - cached, seconds, stats.get("pids_stats", {}).get("current", 0))


def check() -> list[Finding]:
    findings = [available()]
    endpoint = engine.find()
    if endpoint is None or findings[0].status == "missing":
        return findings
    with engine.connect(endpoint) as client:
        findings += engine.check_version(client.version())
        info = client.info()
        missing = engine.unenforceable(info)
        if missing:
            findings.append(Finding("engine limits", "missing", f"cannot limit: {', '.join(missing)}", engine.LIMITS))
        else:
            findings.append(Finding("engine limits", "ok", "memory, swap, processors, processes"))
        images = config.load().docker.images
        for kind in images.__struct_fields__:
            image = getattr(images, kind)
            try:
                client.inspect_image(image)
                findings.append(Finding(f"image for {kind}", "ok", image))
            except Exception as error:
                if not _gone(error):
                    raise
                findings.append(Finding(f"image for {kind}", "missing", image, _get(image)))
    return findings


def _venv_by_name(spec: SandboxSpec) -> SandboxSpec:
    """A virtual environment over the system's Python: the image has that Python elsewhere, so it is called by name."""
    if not spec.command or spec.image:
        return spec
    program = spec.command[0]
    venv = os.path.dirname(os.path.dirname(program))
    base = os.path.realpath(program)
    if not os.path.isfile(f"{venv}/pyvenv.cfg") or not base.startswith("/usr/"):
        return spec
    name = os.path.basename(base)
    site = f"{venv}/lib/{name}/site-packages"
    return replace(spec, command=(name, *spec.command[1:]), environment={**spec.environment, "PYTHONPATH": site})


def _require_image(client: APIClient, image: str) -> list[str]:
    """The volumes an image declares. Raises BackendError if it is not here."""
    try:
        return list(client.inspect_image(image)["Config"].get("Volumes") or ())
    except Exception as error:
        if _gone(error):
            raise BackendError(f"the image {image} is not here; mcpbox never pulls at start", _get(image)) from None
        raise


def _require_limits(missing: Sequence[str]) -> None:
    if missing:
        raise BackendError(f"this engine cannot limit: {', '.join(missing)}", engine.LIMITS)


def _get(image: str) -> str:
    return f"run: docker pull {image} (or podman), or without a registry: mcpbox image build"


def _gone(error: Exception) -> bool:
    from docker.errors import NotFound

    return isinstance(error, NotFound)


def _explained(error: Exception, image: str) -> BackendError:
    from docker.errors import APIError

    if isinstance(error, APIError):
        text = str(error.explanation or error)
        if "executable file not found" in text or "no such file or directory" in text:
            return BackendError(f"the image {image} has no such program: {text}", "choose another: docker.images")
        return BackendError(f"the container engine refused: {text}", "run: mcpbox doctor")
    return BackendError(f"the container engine failed: {error}", "run: mcpbox doctor")


def _remove(client: APIClient, name: str) -> None:
    """Remove a container that may be gone or going already; the engine refuses while it removes it itself."""
    with suppress(Exception):
        client.remove_container(name, force=True)


def _pidfd(pid: int) -> int:
    if pid > 1 and hasattr(os, "pidfd_open"):
        with suppress(OSError):
            return os.pidfd_open(pid)
    return -1
