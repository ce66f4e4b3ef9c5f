"""Container engines: where they listen, whether they answer, what is known to be wrong with them, and the sentinel."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcpbox import paths
from mcpbox.errors import BackendError
from mcpbox.sandbox import dial
from mcpbox.sandbox.base import Finding
from mcpbox.sandbox.dial import Endpoint as Endpoint

if TYPE_CHECKING:
    from docker.api import APIClient

START = "install Docker or Podman and start it, or use: --backend bubblewrap"
GROUP = "join its group (Docker's is as good as root), or use: --backend bubblewrap"
LIMITS = (
    "boot with cgroup v2 (systemd.unified_cgroup_hierarchy=1), for an engine of root's also cgroup_enable=memory "
    "swapaccount=1; or use: --backend bubblewrap"
)
ANSWER_SECONDS = 20
#: The label of what mcpbox makes: the user whom it is for.
OWNER = "mcpbox.owner"
#: API of Docker 20.10, the oldest that mcpbox works with; newer engines and Podman speak it.
API_VERSION = "1.41"
#: Releases from which on a component is free of the container escapes that are known, newest branch last.
FIXED = {
    # CVE-2024-21626 (1.1.12); CVE-2025-31133, -52565, -52881 (1.2.8, 1.3.3, 1.4.0-rc.3)
    "runc": ((1, 2, 8), (1, 3, 3)),
    # CVE-2022-23648 (1.4.13, 1.5.10, 1.6.1); CVE-2024-25621 (1.7.29, 2.0.7)
    "containerd": ((1, 7, 29), (2, 0, 7)),
}


def find() -> Endpoint | None:
    """The engine the user's own tools would use: DOCKER_HOST, the current context, or the usual sockets."""
    if url := os.environ.get("DOCKER_HOST"):
        if not os.environ.get("DOCKER_TLS_VERIFY") or url.startswith(("unix:", "ssh:")):
            return Endpoint(url)
        return Endpoint(url, os.environ.get("DOCKER_CERT_PATH") or str(paths.home() / ".docker"))
    if endpoint := _context():
        return endpoint
    usable = (path for path in _sockets() if os.access(path, os.R_OK | os.W_OK))
    return next((Endpoint(f"unix://{path}") for path in usable), None)


def absence() -> tuple[str, str]:
    """Why ``find`` found none, and what to do."""
    closed = next(filter(os.path.exists, _sockets()), "")
    return (f"this user may not use {closed}", GROUP) if closed else ("no container engine is configured", START)


def _sockets() -> tuple[str, ...]:
    runtime = f"/run/user/{os.getuid()}"
    return (
        "/var/run/docker.sock",
        f"{runtime}/docker.sock",
        str(paths.home() / ".docker/run/docker.sock"),
        f"{runtime}/podman/podman.sock",
        "/run/podman/podman.sock",
    )


def _context() -> Endpoint | None:
    directory = Path(os.environ.get("DOCKER_CONFIG") or paths.home() / ".docker")
    try:
        configured = json.loads((directory / "config.json").read_bytes())
        name = os.environ.get("DOCKER_CONTEXT") or configured["currentContext"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    for meta in directory.glob("contexts/meta/*/meta.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            data = json.loads(meta.read_bytes())
            if data["Name"] == name:
                tls = directory / "contexts" / "tls" / meta.parent.name / "docker"
                return Endpoint(data["Endpoints"]["docker"]["Host"], str(tls) if tls.is_dir() else "")
    return None


def answers(endpoint: Endpoint) -> bool:
    """Whether somebody answers."""
    return not dial.problem(endpoint)[0]


def connect(endpoint: Endpoint, timeout: int = ANSWER_SECONDS) -> APIClient:
    """A client for ``endpoint``; ``timeout`` in seconds bounds each answer."""
    from docker.api import APIClient
    from docker.tls import TLSConfig

    if endpoint.url.startswith("ssh://"):
        from mcpbox.sandbox.overssh import Adapter

        client = APIClient(base_url="http://docker:80", version=API_VERSION, timeout=timeout)
        client.mount("http://docker:80/", Adapter(endpoint))
    else:
        tls: Any = False
        if where := endpoint.certificates:
            pair = f"{where}/cert.pem", f"{where}/key.pem"
            tls = TLSConfig(client_cert=pair, ca_cert=f"{where}/ca.pem", verify=True)
        client = APIClient(base_url=endpoint.url, version=API_VERSION, timeout=timeout, tls=tls)
    # Nor may REQUESTS_CA_BUNDLE replace the engine's authority, or a proxy hear what is said to it.
    client.trust_env = False
    return client


def attach(endpoint: Endpoint, container: str) -> dial.Channel:
    """The container's standard streams. Raises OSError, BackendError."""
    channel = dial.dial(endpoint, ANSWER_SECONDS)
    query = "stdin=1&stdout=1&stderr=1&stream=1"
    channel.send(
        f"POST /v{API_VERSION}/containers/{container}/attach?{query} HTTP/1.1\r\nHost: docker\r\n"
        "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n".encode()
    )
    head = b""
    # One byte at a time: what follows is the stream.
    while not head.endswith(b"\r\n\r\n"):
        if not (byte := channel.receive(1)):
            break
        head += byte
    if not re.match(rb"HTTP/1\.1 (101|200) ", head):
        channel.close()
        said = head.partition(b"\r")[0].decode(errors="replace")
        raise BackendError(f"the engine did not attach to the container: {said or 'it hung up'}", "run: mcpbox doctor")
    channel.wait(None)
    return channel


def create(client: APIClient, name: str, body: Mapping[str, Any]) -> None:
    """``POST /containers/create`` with a body of our own making. Raises docker.errors.APIError."""
    answer = client.post(_url(client, "create"), params={"name": name}, json=body, timeout=60)
    client._raise_for_status(answer)


def next_exit(client: APIClient, name: str) -> Callable[[], int]:
    """Ask for the exit code before the start, so that no end is too early to be seen; the function waits for it.

    The engine answers with its header at once and with the code at the end; the function raises if it breaks off.
    """
    url = _url(client, f"{name}/wait")
    answer = client.post(url, params={"condition": "next-exit"}, stream=True, timeout=None)
    client._raise_for_status(answer)
    return lambda: int(answer.json()["StatusCode"])


def _url(client: APIClient, path: str) -> str:
    return f"{client.base_url}/v{API_VERSION}/containers/{path}"


def is_podman(version: Mapping[str, Any]) -> bool:
    """Whether ``/version`` is Podman's."""
    return any("Podman" in str(part.get("Name", "")) for part in version.get("Components") or ())


def is_rootless(info: Mapping[str, Any]) -> bool:
    """Docker says so among its security options, Podman in a field of its own."""
    return "name=rootless" in (info.get("SecurityOptions") or ()) or info.get("Rootless") is True


def controllers(client: APIClient, version: Mapping[str, Any]) -> frozenset[str] | None:
    """The controllers of cgroup v2 that Podman has been given; None of another engine, and on v1.

    On v2 Podman (as of 5.4) tells Docker's clients of no limits of swap and processors, though it sets both.
    """
    if not is_podman(version):
        return None
    answer = client.get(f"{client.base_url}/v4.0.0/libpod/info", timeout=60)
    client._raise_for_status(answer)
    host = answer.json()["host"]
    return frozenset(host["cgroupControllers"] or ()) if host["cgroupVersion"] == "v2" else None


def unenforceable(info: Mapping[str, Any], given: frozenset[str] | None) -> list[str]:
    """The limits that an engine cannot enforce; what it does not mention, it can. ``given`` is from ``controllers``."""
    if given is not None:
        needed = {"memory": "memory", "swap": "memory", "processes": "pids", "processors": "cpu"}
        return [name for name, controller in needed.items() if controller not in given]
    keys = {"MemoryLimit": "memory", "SwapLimit": "swap", "PidsLimit": "processes", "CpuCfsQuota": "processors"}
    if is_rootless(info) and str(info.get("CgroupVersion")) == "1":
        # Whatever it says: Podman then speaks of the kernel, and no ordinary user may make a cgroup of version 1.
        return list(keys.values())
    return [name for key, name in keys.items() if info.get(key) is False]


def check_version(version: Mapping[str, Any]) -> list[Finding]:
    """The engine and its components against the releases with known container escapes."""
    findings = []
    api = tuple(map(int, re.findall(r"\d+", str(version.get("ApiVersion", "0")))[:2]))
    supported = api >= tuple(map(int, API_VERSION.split(".")))
    detail = f"{version.get('Version', 'unknown')}, API {version.get('ApiVersion')}"
    remedy = "" if supported else "mcpbox needs Docker 20.10 or Podman 4.3"
    findings.append(Finding("engine", "ok" if supported else "missing", detail, remedy))
    for part in version.get("Components") or ():
        # Podman's name and version of it: "OCI Runtime (runc)", "runc version 1.1.5\ncommit: …".
        name = str(part.get("Name", "")).removeprefix("OCI Runtime (").removesuffix(")")
        text = str(part.get("Version", "")).partition("\n")[0].removeprefix(f"{name} version ")
        if name in FIXED and not is_fixed(name, text):
            wanted = " or ".join(".".join(map(str, release)) for release in FIXED[name])
            remedy = f"update to {wanted}, unless your distribution says it has patched this release"
            findings.append(Finding(name, "degraded", f"{text}: releases of this age have known escapes", remedy))
        elif name in FIXED:
            findings.append(Finding(name, "ok", text))
    return findings


def is_fixed(component: str, version: str) -> bool:
    """Whether a release is as new as the fixed one of its branch, or of a later branch than all."""
    numbers = tuple(map(int, re.findall(r"\d+", version)[:3]))
    for fixed in FIXED[component]:
        if numbers[:2] == fixed[:2]:
            return numbers >= fixed
    return numbers > FIXED[component][-1]


def remove_ours(client: APIClient, name: str) -> None:
    """Remove a container if mcpbox made it for this user. Raises whatever the engine says but "not found"."""
    from docker.errors import APIError, NotFound

    try:
        labels = client.inspect_container(name)["Config"]["Labels"] or {}
        if labels.get(OWNER) == str(os.getuid()):
            client.remove_container(name, force=True)
    except NotFound:
        return
    except APIError as error:
        # 409: the engine is removing it already.
        if error.status_code != 409:
            raise


class Sentinel:
    """A process that outlives a SIGKILL of this one, to remove the containers that would else run on.

    It is a fork in a session of its own, asleep on a pipe: a byte means that all is done, the bare end of the pipe
    that its parent is dead.
    """

    def __init__(self, endpoint: Endpoint, containers: Sequence[str]) -> None:
        read, self._write = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                self._sleep(read, endpoint, containers)
            finally:
                os._exit(0)
        os.close(read)

    def dismiss(self) -> None:
        """The container is gone; so is the sentinel after this. Idempotent."""
        if self._write < 0:
            return
        with suppress(OSError):
            os.write(self._write, b"x")
        os.close(self._write)
        self._write = -1
        os.waitpid(self._pid, 0)

    def _sleep(self, read: int, endpoint: Endpoint, containers: Sequence[str]) -> None:
        import time

        os.setsid()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        null = os.open(os.devnull, os.O_RDWR)
        keep = 3
        os.dup2(null, 0)
        os.dup2(null, 1)
        os.dup2(null, 2)
        if read != keep:
            os.dup2(read, keep)
        os.closerange(keep + 1, 4096)
        if os.read(keep, 1):
            return
        # The parent may have died between the request to create the container and its existence.
        for _ in range(20):
            with suppress(Exception), connect(endpoint) as client:
                for container in containers:
                    remove_ours(client, container)
            time.sleep(0.25)
