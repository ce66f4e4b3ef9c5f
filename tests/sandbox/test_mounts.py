"""What of the host's files a sandbox gets where links have to do with them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ORDINARY, PYTHON, USERS, Runner, docker_groups, make_runner, must_have

#: Starts a sandbox of a backend's with one mount, as if its path had been judged before; says what came of it. Once the
#: backend begins, a link to the last argument takes the path's place, if it is another.
LAUNCH = """
import importlib, os, sys
from mcpbox.errors import BackendError
from mcpbox.sandbox import kernel
from mcpbox.sandbox.base import Mount, SandboxSpec
name, source, other = sys.argv[1:]
mounts = (Mount(source, source),)
command = ("/bin/cat", f"{source}/file")
spec = SandboxSpec(f"t{os.getpid()}", "t", command, "/", {}, mounts, "/home/t", 1000, 1000, 64 << 20, 1.0, 16, 1 << 20)

def begun(facts):
    if source != other and "container" in facts:
        os.rename(source, f"{source}.gone")
        os.symlink(other, source)

try:
    process = importlib.import_module(f"mcpbox.sandbox.{name}").launch(spec, begun)
except BackendError as error:
    sys.exit(error.message)
kernel.readable(process.exited, 20)
for stream, fd in ((sys.stdout, process.stdout), (sys.stderr, process.stderr)):
    stream.write(os.read(fd, 999).decode())
process.close()
"""


def launch(runner: Runner, source: Path, other: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LAUNCH, runner.backend, source, other or source], env=runner.env, user=runner.uid,
        group=runner.uid, extra_groups=docker_groups(), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("user", USERS)
def test_an_engine_that_mounts_something_else_than_was_judged_starts_no_server(user: str, home: Path) -> None:
    must_have("docker")
    runner = make_runner("docker", user, home)
    if os.geteuid() == 0:
        os.chown(home, runner.uid, runner.uid)
    for name in ("a path's", "private"):
        (home / name).mkdir()
        (home / name / "file").write_text("seen")
    assert launch(runner, home / "a path's").stdout == "seen"
    done = launch(runner, home / "a path's", home / "private")
    assert done.stdout == "" and done.stderr.endswith("leads elsewhere than when it was judged\n")


@pytest.mark.parametrize("user", USERS)
def test_a_link_in_the_place_of_what_was_judged_is_not_followed(user: str, home: Path) -> None:
    runner = make_runner("bubblewrap", user, home)
    kept = home / "kept" / "inner"
    kept.mkdir(parents=True)
    (kept / "file").write_text("seen")
    (home / "last").symlink_to(kept)
    (home / "between").symlink_to(kept.parent)
    assert "seen" in launch(runner, kept).stdout
    for source in (home / "last", home / "between" / "inner"):
        done = launch(runner, source)
        assert done.returncode == 1 and "symbolic link" in done.stderr and "seen" not in done.stdout


@pytest.mark.parametrize("absolute", [True, False])
def test_a_link_within_what_a_server_sees_leads_where_the_profile_names_it(runner: Runner, absolute: bool) -> None:
    work, other = runner.home / "work", runner.home / "other"
    work.mkdir()
    other.mkdir()
    (other / "file").write_text("seen")
    (work / "link").symlink_to(other if absolute else "../other")
    if os.geteuid() == 0:
        os.chown(other, ORDINARY, ORDINARY)
    profile = '[filesystem]\nread = ["~/work"]\nwrite = ["~/work/link"]\n'
    code = f"import sys; sys.stderr.write(open('{work}/link/file').read()); open('{work}/link/made', 'x')"
    with runner.wrap(PYTHON, "-c", code, profile=profile) as host:
        host.stdin.close()
        assert host.stderr.read().decode().endswith("seen")
        host.process.wait(20)
    assert (other / "made").exists()
