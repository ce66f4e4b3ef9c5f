"""How a wrapped server lives and dies, on every backend and for every user who may start it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from conftest import CACHE, IMAGE, PYTHON, Runner
from wire import Host, eventually

from mcpbox import sessions
from mcpbox.sandbox import engine


def processes(mark: str) -> list[psutil.Process]:
    """Processes that have ``mark`` among their words and are not ``wrap`` itself."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any(mark in word for word in words) and "wrap" not in words and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def left(runner: Runner) -> list[object]:
    """Everything a session could leave behind: processes, containers, cgroups, files."""
    found: list[object] = list(processes(str(runner.home)))
    if runner.backend == "docker" and (endpoint := engine.find()):
        with engine.connect(endpoint) as client:
            # The listing and the removal race: what is gone by the time it is looked at is gone.
            for item in client.containers(all=True, filters={"label": "mcpbox.session"}):
                if any(str(runner.home) in mount.get("Source", "") for mount in item["Mounts"]):
                    found.append(item["Names"])
    for directory in (runner.home / ".state").rglob("run/*/*"):
        if directory.is_dir() and directory.parent.name in ("sessions", "streams"):
            found.append(directory)
    return found


def gone(runner: Runner, seconds: float = 5) -> bool:
    return eventually(lambda: not left(runner), seconds)


def test_calls_and_the_exit_code_go_through(runner: Runner) -> None:
    with runner.echo() as host:
        assert host.initialize()["result"]["serverInfo"]["name"] == "echo"
        assert host.call("echo", text="ü\u2028")["content"][0]["text"] == json.dumps({"text": "ü\u2028"})
        host.write(b'{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"exit","arguments":{"code":7}}}\n')
        assert json.loads(host.line())["error"]["message"].startswith("mcpbox: the server ended with exit code 7")
        assert host.process.wait(10) == 7
    assert gone(runner)


def test_ten_megabytes_arrive_as_they_were_sent(runner: Runner) -> None:
    with runner.echo() as host:
        host.initialize()
        assert host.call("text", size=10 << 20)["content"][0]["text"] == "x" * (10 << 20)
        assert len(host.call("dense", size=1 << 20)["structuredContent"]["rows"]) == (1 << 20) // 44


def test_a_result_over_the_limit_is_an_error_and_the_session_goes_on(runner: Runner) -> None:
    with runner.echo(profile='[messages]\nmax_bytes = "64KiB"\n') as host:
        host.initialize()
        answer = host.request("tools/call", {"name": "text", "arguments": {"size": 1 << 20}})
        assert "max_bytes = 65536" in answer["error"]["message"]
        assert host.call("text", size=5)["content"][0]["text"] == "xxxxx"


def test_what_is_no_message_reaches_stderr_and_not_the_host(runner: Runner) -> None:
    with runner.echo("chatty") as host:
        host.initialize()
        host.stdin.close()
        assert host.process.wait(10) == 0
        stderr = host.stderr.read()
        assert host.line() == b""
    for words in (b"Welcome to the server!\n", b"[1, 2\n", b"a word on stderr\n"):
        assert words in stderr


def test_the_end_of_input_ends_the_server(runner: Runner) -> None:
    with runner.echo() as host:
        host.initialize()
        host.stdin.close()
        assert host.process.wait(10) == 0
    assert gone(runner)


def test_input_that_ends_before_the_server_runs_is_not_lost(runner: Runner) -> None:
    with runner.echo() as host:
        host.write(b'{"jsonrpc":"2.0","id":1,"method":"initialize"}')
        host.stdin.close()
        assert json.loads(host.line())["result"]["serverInfo"]["name"] == "echo"
        assert host.process.wait(10) == 0


def test_a_server_that_ignores_everything_is_killed(runner: Runner) -> None:
    with runner.echo("stubborn") as host:
        host.initialize()
        host.stdin.close()
        assert host.process.wait(10) == 137
    assert gone(runner)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_sandbox(runner: Runner, number: signal.Signals) -> None:
    with runner.echo("stubborn") as host:
        host.initialize()
        host.process.send_signal(number)
        assert host.process.wait(10) == 128 + number
    assert gone(runner)


def test_a_killed_wrap_leaves_nothing(runner: Runner) -> None:
    with runner.echo("stubborn") as host:
        host.initialize()
        host.process.kill()
        host.process.wait()
        # The session's directory stays for the next command to reap; the server does not.
        assert eventually(lambda: not processes(str(runner.home)), 5)
        with runner.host([*runner.words()[:3], "ps", "--json"]) as ps:
            assert json.loads(ps.stdout.read()) == []
    assert gone(runner)


#: Runs mcpbox, killed when it has run that many lines of the backend.
KILLED = """
import os, signal, sys
left = int(sys.argv.pop(1))
def count(frame, event, _):
    global left
    left -= event == "line"
    if left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return count
def enter(frame, event, _):
    code = frame.f_code
    backend = code.co_filename.endswith(("sandbox/bubblewrap.py", "sandbox/docker.py", "sandbox/streams.py"))
    return count if backend and code.co_name != "<module>" else None
from mcpbox import cli
sys.settrace(enter)
cli.main()
"""


def test_a_wrap_killed_while_it_starts_leaves_nothing(runner: Runner) -> None:
    words = runner.words(PYTHON, runner.home / "servers" / "echo.py", "stubborn")
    for lines in range(10 + 5 * (runner.uid != 0), 1000, 11):
        with runner.host([words[0], "-c", KILLED, str(lines), *words[3:]]) as host:
            with suppress(BrokenPipeError):
                host.write(b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}\n')
            started = bool(host.stdout.readline())
        with runner.host([*words[:3], "ps", "--json"]) as ps:
            assert json.loads(ps.stdout.read()) == []
        assert gone(runner), lines
        if started:
            break
    assert started and lines > 100


def test_the_death_of_the_host_ends_the_server(runner: Runner) -> None:
    words = json.dumps(runner.words(PYTHON, runner.home / "servers" / "echo.py", "stubborn"))
    code = (
        f"import subprocess,json,sys; subprocess.Popen(json.loads({words!r}), stdin=subprocess.PIPE); sys.stdin.read()"
    )
    with runner.host([PYTHON, "-c", code]) as host:
        assert eventually(lambda: bool(processes("echo.py")), 20)
        host.process.kill()
        host.process.wait()
        assert gone(runner, 8)


def test_neither_side_reading_makes_nobody_hold_more_than_its_buffers(runner: Runner) -> None:
    """The server floods and does not read, the host floods and does not read: both are held, and signals still work."""
    with runner.echo("deaf") as host:
        os.set_blocking(host.stdin.fileno(), False)
        line = b'{"jsonrpc":"2.0","method":"x","params":"' + b"y" * 4000 + b'"}\n'
        sent = 0

        def full() -> bool:
            nonlocal sent
            try:
                while True:
                    sent += os.write(host.stdin.fileno(), line)
            except BlockingIOError:
                return sent > 1 << 20

        assert eventually(full, 20)
        assert not eventually(lambda: full() and sent > 8 << 20, 1)
        assert psutil.Process(host.process.pid).memory_info().rss < 100 << 20
        host.process.terminate()
        assert host.process.wait(10) == 143
    assert gone(runner)


def test_a_server_that_asks_without_end_is_held_too(runner: Runner) -> None:
    """Each refusal is an answer that the server does not read, and a record: neither may grow without a bound."""
    with runner.echo("greedy", profile='[messages]\nmax_bytes = "64KiB"\n') as host:
        records = runner.home / ".state/mcpbox/audit/sessions/test"
        assert eventually(lambda: records.is_dir() and any(records.iterdir()), 20)
        (log,) = records.iterdir()
        assert eventually(lambda: log.stat().st_size > 1 << 20, 20)

        def settled() -> bool:
            size = log.stat().st_size
            return not eventually(lambda: log.stat().st_size != size, 0.5)

        os.set_blocking(host.stderr.fileno(), False)
        assert eventually(lambda: (host.stderr.read(1 << 20), settled())[1], 60)
        assert psutil.Process(host.process.pid).memory_info().rss < 100 << 20
        host.process.terminate()
        assert host.process.wait(10) == 143


def test_several_at_once_do_not_disturb_each_other(runner: Runner) -> None:
    hosts = [runner.echo() for _ in range(8)]
    try:
        for number, host in enumerate(hosts):
            host.initialize()
            assert json.loads(host.call("echo", n=number)["content"][0]["text"]) == {"n": number}
        with runner.host([*runner.words()[:3], "ps", "--json"]) as ps:
            rows = json.loads(ps.stdout.read())
        assert len(rows) == 8 and all(row["memory"] > 1 << 20 and row["processes"] >= 1 for row in rows)
        with runner.host([*runner.words()[:3], "stop", "--all"]) as stop:
            assert stop.stdout.read() == b"stopped\n"
        assert [host.process.wait(10) for host in hosts] == [143] * 8
    finally:
        for host in hosts:
            host.__exit__()
    assert gone(runner)


def test_a_server_asks_only_what_its_profile_allows(runner: Runner) -> None:
    with runner.echo(profile='[messages]\nelicitation = "deny"\n[tools]\ndeny = ["delete_*"]\n') as host:
        host.initialize()
        denied = host.call("ask", method="elicitation/create")["structuredContent"]
        assert "elicitation/create" in denied["error"]["message"]
        assert "delete_all" not in {tool["name"] for tool in host.request("tools/list")["result"]["tools"]}
        assert host.call("delete_all")["isError"] is True


def test_state_survives_and_nothing_else_does(runner: Runner) -> None:
    code = "import os,sys; p=os.path.expanduser('~/%s/file'); print(os.path.exists(p), file=sys.stderr); open(p,'w')"
    for place, expected in ((".state", b"True"), (".", b"False")):
        for _ in range(2):
            with runner.wrap(PYTHON, "-c", code % place, profile="[filesystem]\nstate = true\n") as host:
                host.stdin.close()
                stderr = host.stderr.read()
                assert host.process.wait(20) == 0, stderr
        assert stderr.splitlines()[-1] == expected


def test_only_the_profiles_environment_is_seen(runner: Runner) -> None:
    code = "import os,sys,json; print(json.dumps(dict(os.environ)), file=sys.stderr)"
    with runner.wrap(PYTHON, "-c", code, profile='[environment]\nSHOWN = "~/x"\n') as host:
        host.stdin.close()
        seen = json.loads(host.stderr.read().splitlines()[-1])
    assert seen["SHOWN"] == seen["HOME"] + "/x"
    assert set(seen) <= {"PATH", "HOME", "LANG", "TZ", "SHOWN", "PWD", "HOSTNAME", "LC_CTYPE"}


@pytest.mark.parametrize(
    ("profile", "command", "reason"),
    [
        ("", ["no-such-program"], "not found in PATH"),
        ("", ["npx", "-y", "git+https://example.com/x"], "example.com/x"),
        ("[sandbox]\nmemmory = 1\n", [PYTHON, "-c", "0"], "did you mean memory?"),
        ('[filesystem]\nread = ["~/.ssh"]\n', [PYTHON, "-c", "0"], "~/.ssh"),
    ],
)
def test_a_failure_to_start_answers_the_hosts_first_request(
    runner: Runner, profile: str, command: list[str], reason: str
) -> None:
    (runner.home / ".ssh").mkdir()
    with runner.wrap(*command, profile=profile) as host:
        host.write(b'{"jsonrpc":"2.0","method":"x"}\n')
        error = host.initialize()["error"]
        assert reason in error["message"] and error["data"]["hint"]
        assert host.process.wait(10) in (2, 3)
        assert reason in host.stderr.read().decode()
    assert gone(runner)


def test_a_server_that_dies_at_once_says_so(runner: Runner) -> None:
    with runner.wrap(PYTHON, "-c", "import sys; sys.exit('no database')") as host:
        error = host.initialize()["error"]
        assert "exit code 1" in error["message"] and "no database" in error["message"]
        assert host.process.wait(10) == 1


def test_an_image_that_is_not_there_is_named(home: Path, backend: str) -> None:
    if backend != "docker":
        return
    (home / ".config/mcpbox/config.toml").write_text('[docker.images]\npython = "no/such:image"\n')
    runner = Runner(backend, os.geteuid(), home)
    with runner.wrap(PYTHON, "-c", "0") as host:
        message = host.initialize()["error"]["message"]
    assert "no/such:image is not here" in message and "docker pull no/such:image" in message


def test_an_image_of_the_users_runs_over_the_attach_stream(runner: Runner) -> None:
    if runner.backend != "docker":
        return
    code = (runner.home / "servers" / "echo.py").read_text()
    with runner.wrap("docker", "run", "-i", "--rm", "-e", "A=1", IMAGE, "python3", "-c", code) as host:
        host.initialize()
        assert host.call("text", size=3 << 20)["content"][0]["text"] == "x" * (3 << 20)
        host.stdin.close()
        assert host.process.wait(10) == 0
    assert gone(runner)


def test_a_dead_engine_takes_its_servers_with_it(runner: Runner) -> None:
    """A second engine, started and killed here; its container would run on under its shim."""
    if runner.backend != "docker" or runner.uid != 0:
        return
    # A short path: the engine's own sockets lie below it, and a socket's name has 107 bytes at most.
    root = Path(tempfile.mkdtemp(prefix="e"))
    endpoint = engine.Endpoint(f"unix://{root}/s")
    places = {"--data-root": "d", "--exec-root": "x", "--pidfile": "p"}
    words = ["dockerd", "-H", endpoint.url, *(w for option, name in places.items() for w in (option, f"{root}/{name}"))]
    with (root / "log").open("wb") as log:
        daemon = subprocess.Popen([*words, "--bridge=none", "--iptables=false"], stdout=log, stderr=log)
    try:
        assert eventually(lambda: engine.answers(endpoint), 30), (root / "log").read_text()
        with engine.connect(endpoint, timeout=120) as client:
            client.import_image(str(CACHE / "rootfs.tar"), repository="mcpbox/test")
        words = runner.words(PYTHON, runner.home / "servers" / "echo.py", "stubborn")
        with Host(words, {**runner.env, "DOCKER_HOST": endpoint.url}) as host:
            host.initialize()
            daemon.kill()
            daemon.wait()
            assert host.process.wait(15) != 0
        assert eventually(lambda: not processes(str(runner.home)), 5)
    finally:
        daemon.kill()
        daemon.wait()
        # Its containerd and shims live on without it.
        for process in processes(f"{root}/"):
            process.kill()
        assert eventually(lambda: not processes(f"{root}/"))
        for mount in reversed([line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]):
            if mount.startswith(f"{root}/"):
                subprocess.run(["umount", mount], check=True)
        shutil.rmtree(root)


def test_records_are_written_per_server(runner: Runner) -> None:
    with runner.echo(options=["--name", "My Server", "--host", "cursor"]) as host:
        host.initialize()
        host.stdin.close()
        host.process.wait(10)
    (log,) = (runner.home / ".state/mcpbox/audit/sessions/my-server").iterdir()
    lines = log.read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["event"] for event in events] == ["launch", "granted", "call", "result", "end"]
    assert events[0]["host"] == "cursor" and events[0]["backend"] == runner.backend


def test_sessions_of_others_are_not_reaped() -> None:
    session = sessions.begin("x", "bubblewrap")
    assert [found.id for found in sessions.running()] == [session.id]
    assert sessions.reap() == []
    session.end()
    assert sessions.running() == []
