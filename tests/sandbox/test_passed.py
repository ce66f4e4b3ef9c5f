"""What of the host's environment a server is given: the variables that were named, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest
from conftest import PYTHON, Runner
from wire import Host


def start(runner: Runner, variables: Mapping[str, str], *options: str, profile: str = "") -> Host:
    server = runner.home / "servers" / "run.py"
    return replace(runner, variables=variables).wrap(PYTHON, server, profile=profile, options=options)


def test_named_variables_are_passed_and_others_are_not(runner: Runner) -> None:
    given = {"ONE": "1 \n'\"$HOME", "TWO": "2", "THREE": "3", "LEVEL": "debug"}
    options = ("--env", "ONE", "--env", "THREE", "--env", "UNSET", "--env", "LEVEL")
    with start(runner, given, *options, profile='[environment]\nLEVEL = "info"\nOTHER = "x"\n') as host:
        host.initialize()
        dump = host.call("run", words=[PYTHON, "-c", "import json, os; print(json.dumps(dict(os.environ)))"])
        seen = json.loads(dump["structuredContent"]["out"])
    assert seen["ONE"] == given["ONE"] and seen["THREE"] == "3" and seen["OTHER"] == "x"
    # What the user writes for this one server goes before what the profile says for all of them.
    assert seen["LEVEL"] == "debug"
    assert not {"TWO", "UNSET"} & seen.keys()


@pytest.mark.parametrize("name", ["PATH", "LD_PRELOAD", "DYLD_INSERT_LIBRARIES", "NODE_OPTIONS", "A-B", "A=b", ""])
def test_a_variable_that_loads_code_is_refused_in_the_host(runner: Runner, name: str) -> None:
    with start(runner, {}, "--env", name) as host:
        error = host.request("initialize", {})["error"]
        assert f"the variable {name!r} cannot be passed on" in error["message"] and "loads code" in error["message"]
        assert host.process.wait(10) == 2


def test_a_variable_that_loads_code_counts_inside_alone(runner: Runner) -> None:
    # The loader writes a file for each program that it starts with these.
    trace = runner.home / "trace"
    server = runner.home / "servers" / "run.py"
    with runner.wrap("env", "LD_DEBUG=libs", f"LD_DEBUG_OUTPUT={trace}", PYTHON, server) as host:
        host.initialize()
        look = f"import glob, os; print(os.environ['LD_DEBUG'], bool(glob.glob('{trace}.*')))"
        assert host.call("run", words=[PYTHON, "-c", look])["structuredContent"]["out"] == "libs True\n"
    assert not list(runner.home.glob("trace.*"))
