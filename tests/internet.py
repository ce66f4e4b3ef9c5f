"""A network namespace with the stand-ins of ``servers/world.py`` for the internet, and mcpbox started inside of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import trustme
from conftest import Runner, docker_groups
from wire import Host

#: The names of its servers' certificate.
CERTIFIED = ("api.example.com", "other.example.com", "deep.sub.example.com", "evil.com", "evil-example.com")
#: What the namespace's loopback interface is given.
ADDRESSES = (
    *("93.184.216.34", "93.184.216.35", "10.0.0.1", "169.254.169.254", "8.8.8.8"),
    *("2606:2800:220:1::34", "64:ff9b::a00:1", "2002:a00:1::", "fd00:7::1"),
)
_SET_UP = """
set -e
mount --make-rprivate /
ip link set lo up
for address in {addresses}; do ip address add $address dev lo; done
echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range
mount --bind {directory}/resolv.conf /etc/resolv.conf
mount --bind {directory}/hosts /etc/hosts
exec {python} {world} {directory}
"""


class Internet:
    """The namespace, for as long as the context lasts. ``ca`` is the certificate that its servers' are issued by."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ca = directory / "ca.pem"

    def __enter__(self) -> Internet:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca))
        authority.issue_cert(*CERTIFIED).private_key_and_cert_chain_pem.write_to_path(str(self.directory / "cert.pem"))
        (self.directory / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:2 attempts:1\n")
        (self.directory / "hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
        (self.directory / "seen.jsonl").touch()
        world = Path(__file__).parent / "servers" / "world.py"
        script = _SET_UP.format(
            addresses=" ".join(ADDRESSES), directory=self.directory, python=sys.executable, world=world
        )
        self._process = subprocess.Popen(
            ["unshare", "--net", "--mount", "sh", "-c", script], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        if self._process.stdout.readline() != "ready\n":
            self.__exit__()
            raise RuntimeError("the namespace could not be set up")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()

    def enter(self, words: Sequence[str | Path], uid: int = 0) -> list[str]:
        """The words that run a command in the namespace, as a user."""
        who = []
        if uid:
            groups = ",".join(map(str, docker_groups()))
            who = [
                "setpriv",
                "--reuid",
                str(uid),
                "--regid",
                str(uid),
                *(["--groups", groups] if groups else ["--clear-groups"]),
            ]
        return ["nsenter", "--target", str(self._process.pid), "--net", "--mount", "--", *who, *map(str, words)]

    def host(self, runner: Runner, words: Sequence[str], **environment: str) -> Host:
        """A command of ``runner``'s in the namespace."""
        return Host(self.enter(words, runner.uid), {**runner.env, **environment})

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """A command in the namespace, outside of any sandbox."""
        return subprocess.run(self.enter(words), capture_output=True, text=True, timeout=60, check=False)

    def seen(self) -> list[dict[str, Any]]:
        """Everything that has arrived at the stand-ins."""
        return [json.loads(line) for line in (self.directory / "seen.jsonl").read_text().splitlines()]
