"""A container engine as on another machine: it sees none of the files that the tests use, and listens with TLS."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme
from conftest import CACHE, IMAGE, ORDINARY, must_work
from wire import eventually

from mcpbox.sandbox import dial, engine, layers
from mcpbox.sandbox.dial import Endpoint

#: What is another, empty directory there.
HIDDEN = ("/tmp", "/root", "/home")


@dataclass(frozen=True)
class Elsewhere:
    """``stranger`` are certificates of another authority, ``uninvited`` a right one for the engine and none for us."""

    endpoint: Endpoint
    stranger: Endpoint
    uninvited: Endpoint

    @property
    def environment(self) -> dict[str, str]:
        return environment(self.endpoint)


def environment(endpoint: Endpoint) -> dict[str, str]:
    return {"DOCKER_HOST": endpoint.url, "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": endpoint.certificates}


@contextmanager
def elsewhere() -> Iterator[Elsewhere]:
    """A second dockerd, in a mount namespace of its own. Its image stays in the cache for the next time."""
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        must_work("only root can start a second dockerd")
    # Beside the cache and not in it: what is there gets another mode whenever the cache is provisioned.
    home = CACHE.with_name(f"{CACHE.name}-elsewhere")
    home.mkdir(exist_ok=True)
    with ExitStack() as stack:
        guard = stack.enter_context((home / "lock").open("w"))
        fcntl.flock(guard, fcntl.LOCK_EX)
        # Its socket's name has 107 bytes at most.
        run = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="e", dir=home)))
        run.chmod(0o755)
        authority, other = trustme.CA(), trustme.CA()
        mine = _certificates(run / "mine", authority, authority)
        with socket.create_server(("127.0.0.1", 0)) as free:
            url = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        server = _certificates(run / "server", authority, authority)
        hide = "".join(f"mount -t tmpfs none {path}; " for path in HIDDEN)
        words = [
            *("dockerd", "--data-root", f"{home}/data", "--exec-root", f"{run}/x", "--pidfile", f"{run}/pid"),
            *("--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false", "--host", url),
            *("--tlsverify", "--tlscacert", f"{server}/ca.pem"),
            *("--tlscert", f"{server}/cert.pem", "--tlskey", f"{server}/key.pem"),
        ]
        log = stack.enter_context((run / "log").open("wb"))
        dockerd = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", f'{hide}exec "$@"', "sh", *words], stdout=log, stderr=log
        )
        stack.callback(_end, dockerd)
        found = Elsewhere(
            Endpoint(url, mine),
            Endpoint(url, _certificates(run / "stranger", other, other)),
            Endpoint(url, _certificates(run / "uninvited", authority, other)),
        )
        assert eventually(lambda: engine.answers(found.endpoint), 30), (run / "log").read_text()
        _bring_image(found.endpoint)
        yield found


def _certificates(directory: Path, authority: trustme.CA, issuer: trustme.CA) -> str:
    """What a docker command wants in DOCKER_CERT_PATH, for the ordinary user too."""
    directory.mkdir(mode=0o700)
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    issued = issuer.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(str(directory / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(directory / "cert.pem"))
    for path in (directory, *directory.iterdir()):
        os.chown(path, ORDINARY, ORDINARY)
    return str(directory)


def _bring_image(endpoint: Endpoint) -> None:
    local = engine.find()
    if local is None or dial.problem(local)[0]:
        must_work("no container engine answers")
    assert local is not None
    with engine.connect(local, timeout=120) as here, engine.connect(endpoint, timeout=120) as there:
        wanted = here.inspect_image(IMAGE)["Id"]
        if wanted not in [image["Id"] for image in there.images()]:
            for image in there.images(quiet=True):
                there.remove_image(image, force=True)
            for _ in there.load_image(here.get_image(IMAGE)):
                pass
        for image in there.images(filters={"label": layers.TREE}):
            there.remove_image(image["Id"], force=True)
        there.tag(wanted, IMAGE.partition(":")[0], "latest")


def _end(dockerd: subprocess.Popen[bytes]) -> None:
    dockerd.send_signal(signal.SIGTERM)
    dockerd.wait(30)
