"""Nothing gets out: every attempt of the probe, first outside as the positive control, then inside each sandbox."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import IMAGE, ORDINARY, USERS, docker_groups, must_work

from mcpbox import probe, walls
from mcpbox.sandbox import engine

CASES = [(backend, user) for backend in ("docker", "bubblewrap") for user in USERS]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(case))
def attacked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[walls.Walls]:
    """One sandbox with the probe in it, for all attempts of a case."""
    backend, user = request.param
    endpoint = engine.find()
    if backend == "docker" and (endpoint is None or not engine.answers(endpoint)):
        must_work("no container engine answers")
    uid = ORDINARY if user == "ordinary" and os.geteuid() == 0 else None
    images = "".join(f'{kind} = "{IMAGE}"\n' for kind in ("node", "python", "other"))
    config = f"[docker.images]\n{images}"
    with walls.Walls(backend, wrapped_as=uid, groups=docker_groups(), config=config) as found:
        yield found


@pytest.mark.parametrize("name", probe.ATTEMPTS)
def test_blocked(attacked: walls.Walls, name: str) -> None:
    if name not in probe.NO_CONTROL:
        outside = attacked.outside(name)
        assert outside["outcome"] == "allowed", f"the positive control failed: {outside}"
    inside = attacked.inside(name)
    assert inside["outcome"] == "blocked", inside


def test_the_probe_notices_what_is_open(attacked: walls.Walls) -> None:
    """What the profile does give gets through, so "blocked" is not all that the probe can say."""
    shared = Path(attacked.arguments["READ_ONLY"])
    assert attacked.inside("ssh-key", SSH_KEY=str(shared))["outcome"] == "allowed"
    assert attacked.inside("write-read-only", READ_ONLY=attacked.arguments["WRITABLE"] + "/new")["outcome"] == "allowed"
    assert attacked.inside("fork-bomb", FORKS=20)["outcome"] == "allowed"
    assert attacked.inside("memory-bomb", MEMORY=64 << 20)["outcome"] == "allowed"
    assert attacked.inside("disk-bomb-tmp", DISK=16 << 20)["outcome"] == "allowed"


def test_every_attempt_has_a_control_or_a_reason() -> None:
    assert set(probe.NO_CONTROL) | probe.IN_NAMESPACE <= set(probe.ATTEMPTS)
    assert not set(probe.NO_CONTROL) & probe.IN_NAMESPACE
