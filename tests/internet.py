"""Two network namespaces: a machine, where mcpbox is started, and behind its route ``servers/world.py``'s stand-ins."""

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
#: What the internet's loopback interface is given.
ADDRESSES = (
    *("93.184.216.34", "93.184.216.35", "10.0.0.1", "169.254.169.254", "8.8.8.8"),
    *("2606:2800:220:1::34", "64:ff9b::a00:1", "2002:a00:1::", "fd00:7::1"),
)
#: The machine's public address, and what it has no route to.
OWN = "198.34.117.5"
UNREACHABLE = ("93.184.216.99", "2606:2800:21f:cb07::1")
_INTERNET = """
set -e
ip link set lo up
for address in {addresses}; do ip address add $address dev lo; done
echo up
read -r linked
ip address add 192.0.2.2/24 dev in
ip address add 2001:db8::2/64 dev in nodad
ip link set in up
ip route add {own} via 192.0.2.1
exec {python} {world} internet {directory}
"""
_MACHINE = """
set -e
mount --make-rprivate /
ip link set lo up
ip address add {own} dev lo
ip link add out type veth peer name in netns {internet}
ip address add 192.0.2.1/24 dev out
ip address add 2001:db8::1/64 dev out nodad
ip link set out up
ip route add default via 192.0.2.2
ip route add default via 2001:db8::2
for address in {unreachable}; do ip route add unreachable $address; done
echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range
mount --bind {directory}/resolv.conf /etc/resolv.conf
mount --bind {directory}/hosts /etc/hosts
echo linked
exec {python} {world} machine {directory}
"""


class Internet:
    """Both namespaces, for as long as the context lasts. ``ca`` is the certificate that the servers' are issued by."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ca = directory / "ca.pem"
        self._started: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Internet:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca))
        authority.issue_cert(*CERTIFIED).private_key_and_cert_chain_pem.write_to_path(str(self.directory / "cert.pem"))
        (self.directory / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:2 attempts:1\n")
        (self.directory / "hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
        (self.directory / "seen.jsonl").touch()
        try:
            there = self._start(_INTERNET, "up")
            here = self._start(_MACHINE, "linked", "--mount")
            assert there.stdin
            there.stdin.write("linked\n")
            there.stdin.flush()
            self._await(there, "ready")
            self._await(here, "ready")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe
                pipe.close()

    def _start(self, script: str, until: str, *more: str) -> subprocess.Popen[str]:
        script = script.format(
            addresses=" ".join(ADDRESSES),
            directory=self.directory,
            internet=self._started[0].pid if self._started else "",
            own=OWN,
            python=sys.executable,
            unreachable=" ".join(UNREACHABLE),
            world=Path(__file__).parent / "servers" / "world.py",
        )
        words = ["unshare", "--net", *more, "sh", "-c", script]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._started.append(process)
        self._await(process, until)
        return process

    @staticmethod
    def _await(process: subprocess.Popen[str], line: str) -> None:
        assert process.stdout
        if (said := process.stdout.readline().strip()) != line:
            raise RuntimeError(f"a namespace could not be set up: {said!r} instead of {line!r}")

    def out(self, words: Sequence[str | Path]) -> list[str]:
        """The words that run a command in the internet."""
        return ["nsenter", "--target", str(self._started[0].pid), "--net", "--", *map(str, words)]

    def enter(self, words: Sequence[str | Path], uid: int = 0) -> list[str]:
        """The words that run a command on the machine, as a user."""
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
        return ["nsenter", "--target", str(self._started[1].pid), "--net", "--mount", "--", *who, *map(str, words)]

    def host(self, runner: Runner, words: Sequence[str], **environment: str) -> Host:
        """A command of ``runner``'s on the machine."""
        return Host(self.enter(words, runner.uid), {**runner.env, **environment})

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """A command on the machine, outside of any sandbox."""
        return subprocess.run(self.enter(words), capture_output=True, text=True, timeout=60, check=False)

    def seen(self) -> list[dict[str, Any]]:
        """Everything that has arrived at the stand-ins."""
        # The last line may be in the middle of being written.
        whole = (self.directory / "seen.jsonl").read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]
