"""The request to the engine, as data."""

from __future__ import annotations

import ast
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from conftest import must_work

from mcpbox.errors import BackendError
from mcpbox.sandbox import docker, engine, podman
from mcpbox.sandbox.base import Mount, SandboxSpec
from mcpbox.sandbox.container import EXPORT, Facts, container_config, facts, secret_lines
from mcpbox.sandbox.dial import Endpoint

SPEC = SandboxSpec(
    session="abc",
    name="server",
    command=("/usr/bin/node", "/code/index.js"),
    cwd="/home/u",
    environment={"PATH": "/usr/bin", "HOME": "/home/u"},
    mounts=(Mount("/code", "/code"), Mount("/data", "/data", True)),
    home="/home/u",
    uid=1000,
    gid=1000,
    memory=1 << 28,
    cpus=0.5,
    pids=64,
    scratch=1 << 20,
    interpreter="node",
)


def test_everything_is_locked_down() -> None:
    body = container_config(SPEC, "image", Facts(), "/fifos", ["/data/volume"])
    host = body["HostConfig"]
    assert body["User"] == "1000:1000" and body["NetworkDisabled"] and not body["Tty"]
    assert host["NetworkMode"] == "none" and host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"]
    assert not host["Privileged"] and host["SecurityOpt"][0] == "no-new-privileges"
    assert host["SecurityOpt"][1].startswith('seccomp={"names"') or '"defaultAction"' in host["SecurityOpt"][1]
    assert host["Memory"] == host["MemorySwap"] == 1 << 28
    assert (host["NanoCpus"], host["PidsLimit"]) == (500_000_000, 64)
    assert host["LogConfig"] == {"Type": "none"} and host["AutoRemove"] and host["Init"]
    assert all("size=1048576" in options for options in host["Tmpfs"].values())
    assert set(host["Tmpfs"]) == {"/tmp", "/home/u", "/data/volume"}
    assert {m["Target"]: m["ReadOnly"] for m in host["Mounts"]} == {"/code": True, "/data": False, "/run/mcpbox": True}
    assert body["Env"] == ["PATH=/usr/bin", "HOME=/home/u"]


def test_a_program_of_the_system_is_the_images_own() -> None:
    body = container_config(SPEC, "image", Facts(), "/fifos")
    assert body["Cmd"][-2:] == ["node", "/code/index.js"] and body["Entrypoint"] == []


def test_an_image_of_the_users_keeps_its_entry_point() -> None:
    from msgspec.structs import replace

    body = container_config(replace(SPEC, image="other", command=("stdio",)), "other", Facts())
    assert body["Cmd"] == ["stdio"] and "Entrypoint" not in body and body["AttachStdin"]


def test_secrets_are_named_in_the_request_and_not_told() -> None:
    from msgspec.structs import replace

    spec = replace(SPEC, secrets={"TOKEN": "hunter2", "KEY": "swordfish"})
    for body in (
        container_config(spec, "image", Facts(), "/fifos"),
        container_config(replace(spec, image="i"), "i", Facts(), entry_point=["/entry"]),
    ):
        assert "hunter2" not in str(body) and "swordfish" not in str(body)
        assert body["Entrypoint"] == []
    assert body["Cmd"] == ["/bin/sh", "-c", EXPORT, "sh", "TOKEN", "KEY", "--", "/entry", *SPEC.command]


@pytest.mark.parametrize("shell", [("dash",), ("bash", "--posix"), ("busybox", "sh")], ids=lambda words: words[0])
@pytest.mark.parametrize("language", ["C", "C.UTF-8"])
def test_every_shell_hands_on_every_byte(shell: tuple[str, ...], language: str) -> None:
    if shutil.which(shell[0]) is None:
        must_work(f"there is no {shell[0]}")
    values = {
        "ALL": bytes(range(1, 256)),
        "BACKWARDS": bytes(range(255, 0, -1)),
        "LINES": b"\n\n a\r\n \n\n",
        "ESCAPES": rb"\0101 \c \\ %s $(id) `id` ${HOME} ' \" \n0",
        "DIGITS": b"\x001"[1:] + b"\x0177\xff0",
        "LONG": b"\\x" * 5120,
    }
    secrets = {name: value.decode(errors="surrogateescape") for name, value in values.items()}
    show = "import os, sys; print(dict(os.environb)); print(sys.stdin.buffer.read())"
    done = subprocess.run(
        [*shell, "-c", EXPORT, "sh", *secrets, "--", sys.executable, "-c", show],
        input=secret_lines(secrets) + b"the server's own\n",
        env={"PATH": "/usr/bin:/bin", "LANG": language},
        capture_output=True,
        check=True,
    )
    seen, rest = done.stdout.decode().splitlines()
    environment = ast.literal_eval(seen)
    assert {name: environment[name.encode()] for name in values} == values
    assert ast.literal_eval(rest) == b"the server's own\n" and b"mcpbox_value" not in environment


LOCAL = {"KernelVersion": "6.1", "ApiVersion": "1.41", "Components": [{"Name": "Engine"}]}


PODMAN_ROOTLESS = {"SecurityOptions": ["name=seccomp,profile=default"], "Rootless": True}
ROOTLESS = {"SecurityOptions": ["name=seccomp,profile=default", "name=rootless"]}
PODMAN = LOCAL | {"Components": [{"Name": "Podman Engine"}]}


@pytest.mark.parametrize(
    ("version", "info", "url", "expected"),
    [
        (LOCAL, {}, "unix:///var/run/docker.sock", Facts(same_kernel=True)),
        (LOCAL, {}, "tcp://127.0.0.1:2375", Facts(remote=True)),
        (LOCAL | {"KernelVersion": "6.1-linuxkit"}, {}, "unix:///var/run/docker.sock", Facts()),
        (LOCAL | {"Platform": {"Name": "Docker Desktop 4"}}, {}, "unix:///x", Facts()),
        (LOCAL, ROOTLESS, "unix:///run/user/1000/docker.sock", Facts(rootless=True, same_kernel=True)),
        (PODMAN, PODMAN_ROOTLESS, "unix:///x", Facts(podman=True, rootless=True, same_kernel=True)),
        (PODMAN, {}, "unix:///x", Facts(podman=True, same_kernel=True)),
    ],
)
def test_what_an_engine_is(version: dict[str, Any], info: dict[str, Any], url: str, expected: Facts) -> None:
    assert facts(version, info, Endpoint(url), "6.1") == expected


@pytest.mark.parametrize(
    ("component", "version", "fixed"),
    [
        ("runc", "1.1.5+ds1", False),
        ("runc", "1.2.7", False),
        ("runc", "1.2.8", True),
        ("runc", "1.3.2", False),
        ("runc", "1.3.3", True),
        ("runc", "2.0.0", True),
        ("containerd", "1.7.28", False),
        ("containerd", "1.7.29", True),
        ("containerd", "2.0.6", False),
    ],
)
def test_known_escapes(component: str, version: str, fixed: bool) -> None:
    assert engine.is_fixed(component, version) == fixed


def test_limits_that_an_engine_cannot_enforce_are_named() -> None:
    assert engine.unenforceable({"MemoryLimit": True, "SwapLimit": False, "PidsLimit": False}, None) == [
        "swap",
        "processes",
    ]
    assert engine.unenforceable({}, None) == []
    # Podman 5.4 on cgroup v2, whatever it has been given.
    denied = {"SwapLimit": False, "CpuCfsQuota": False, "CgroupVersion": "2", "Rootless": True}
    assert engine.unenforceable(denied, frozenset({"cpu", "memory", "pids"})) == []
    assert engine.unenforceable(denied, frozenset({"memory", "pids"})) == ["processors"]
    assert engine.unenforceable({}, frozenset()) == ["memory", "swap", "processes", "processors"]


def test_rootless_podman_on_cgroup_v1_limits_nothing_whatever_it_says() -> None:
    says = {"MemoryLimit": True, "SwapLimit": True, "PidsLimit": True, "CpuCfsQuota": True, "Rootless": True}
    assert engine.unenforceable(says | {"CgroupVersion": "2"}, None) == []
    everything = ["memory", "swap", "processes", "processors"]
    assert engine.unenforceable(says | {"CgroupVersion": "1"}, None) == everything
    asked = {"Memory": 1 << 28, "MemorySwap": 1 << 28, "PidsLimit": 64, "NanoCpus": 333_333_333}
    assert podman.dropped(asked, {**asked, "NanoCpus": 333_330_000}) == []
    assert podman.dropped(asked, {**asked, "MemorySwap": -1}) == ["swap"]
    assert podman.dropped(asked, {**asked, "PidsLimit": 2048}) == ["processes"]
    assert podman.dropped(asked, {"Memory": 0}) == everything


def test_rootless_podman_takes_no_limit_of_open_files() -> None:
    assert podman.bounds_files({"Ulimits": [{"Name": "RLIMIT_NOFILE", "Soft": 4096, "Hard": 4096}]}, 4096)
    assert not podman.bounds_files({"Ulimits": [{"Name": "RLIMIT_NOFILE", "Soft": 4096, "Hard": 8192}]}, 4096)
    assert not podman.bounds_files({"Ulimits": [{"Name": "RLIMIT_NOFILE", "Soft": -1, "Hard": -1}]}, 4096)
    assert not podman.bounds_files({"Ulimits": []}, 4096)


@pytest.mark.parametrize("rootless", [False, True])
def test_podman_is_asked_for_what_comes_to_the_same(rootless: bool) -> None:
    about = Facts(
        podman=True, rootless=rootless, needs=podman.Needs("/s/seccomp.json", "/s/hosts", "/s/resolv.conf", 1000)
    )
    body = container_config(SPEC, "image", about, "/fifos", ["/data/volume"])
    host = body["HostConfig"]
    assert body["User"] == "1000:1000" and host["UsernsMode"] == ("keep-id" if rootless else "")
    assert host["SecurityOpt"] == ["no-new-privileges", "seccomp=/s/seccomp.json"]
    # What Podman would mount there by itself has no bound.
    assert set(host["Tmpfs"]) == {"/tmp", "/home/u", "/data/volume", "/run", "/var/tmp"}
    assert all("size=" in options for options in host["Tmpfs"].values())
    assert {"Type": "bind", "Source": "/s/hosts", "Target": "/etc/hosts", "ReadOnly": True} in host["Mounts"]
    assert {"Name": "nproc", "Soft": 1000, "Hard": 1000} in host["Ulimits"]
    assert body["UnsetEnv"] == ["TERM", "container"] and "Healthcheck" not in body


def test_podmans_runtime_is_judged_too() -> None:
    version = {"Name": "OCI Runtime (runc)", "Version": "runc version 1.1.5+ds1\ncommit: 1.1.5+ds1-1"}
    found = {finding.subject: finding for finding in engine.check_version(PODMAN | {"Components": [version]})}
    assert found["runc"].status == "degraded" and found["runc"].detail.startswith("1.1.5+ds1: ")


def test_an_engine_that_is_gone_keeps_the_record() -> None:
    with pytest.raises(BackendError):
        docker.reap({"container": "x", "endpoint": "unix:///no/such.sock", "id": "x"})


@pytest.mark.parametrize(
    ("said", "message", "hint"),
    [
        # Podman 5.4 without catatonit; of a program that is missing it speaks in the same words.
        ('lookup init binary: exec: "catatonit": executable file not found in $PATH', "no init program", "catatonit"),
        ('exec: "node": executable file not found in $PATH', "the image i has no such program", "docker.images"),
        ("no space left on device", "the container engine refused", "mcpbox doctor"),
    ],
)
def test_what_an_engine_refuses_is_explained(said: str, message: str, hint: str) -> None:
    from docker.errors import APIError

    error = docker._explained(APIError("x", explanation=said), "i", Endpoint("unix:///x"))
    assert message in error.message and said in error.message and hint in error.hint


def test_an_engine_that_this_user_may_not_use_is_named() -> None:
    ask = "from mcpbox.sandbox import engine; print(*engine.absence())"
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listening:
        os.chmod(directory, 0o755)
        own = Path(directory) / ".docker" / "run" / "docker.sock"
        own.parent.mkdir(parents=True)
        listening.bind(str(own))
        own.chmod(0)
        user = 65534 if os.geteuid() == 0 else None
        done = subprocess.run(
            [sys.executable, "-c", ask],
            env={"HOME": directory, "PYTHONPATH": str(Path(docker.__file__).parents[2])},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            user=user,
            group=user,
            extra_groups=[] if user else None,
        )
    # The machine's own comes first, where there is one.
    found = next(path for path in ("/var/run/docker.sock", str(own)) if path == str(own) or os.path.exists(path))
    assert done.stdout == f"this user may not use {found} {engine.GROUP}\n"
