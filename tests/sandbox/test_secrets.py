"""Secrets in real sandboxes: they reach the server exactly, and nothing else ever shows them."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import IMAGE, PYTHON, Runner
from secretservice import LOCK, SecretService
from wire import Host, eventually

from mcpbox.sandbox import engine

DUMP = (
    "import base64, json, os, sys; print(json.dumps({k: base64.b64encode(os.fsencode(v)).decode() "
    "for k, v in os.environ.items()}))"
)
#: No value is in a form that something else would print by chance.
#: So that a server can say what it got.
BARE = "[messages]\nredact_secrets = false\n"
VALUES = {
    "PLAIN": "ghp_Zq8vTnW3xK5mR7yB2cD4fG6hJ9kL0pQsA1e",
    "LINES": "-----BEGIN KEY-----\nMIIEvAIBADANBgkqh\r\n\nkiG9w0BAQEFAASC\n-----END KEY-----\n\n",
    "QUOTES": " 'q1Kx\"`$(id)\\f ${HOME} %s \\0101 \\c x8Tz ' ",
    "BYTES": "bX7qP1cV" + bytes(range(1, 256)).decode(errors="surrogateescape"),
    "LONG": "Wm4pX" * 2048,
    "LONGEST": "Rt7vN2" * 10_000,
}


@pytest.fixture
def runner(runner: Runner) -> Iterator[Runner]:
    """A runner with a keyring of its own."""
    with SecretService(runner.home, runner.uid) as service:
        yield replace(runner, variables=service.variables)


def keep(runner: Runner, name: str, value: str, *owners: str) -> bytes:
    """``secrets set``; what it wrote to standard output."""
    words = [sys.executable, "-m", "mcpbox", "secrets", "set", name, *(f"--for={owner}" for owner in owners)]
    done = subprocess.run(
        words,
        # A line end is taken off a single line, and of nothing else.
        input=os.fsencode(value) + (b"" if "\n" in value else b"\n"),
        env=runner.env,
        user=runner.uid,
        group=runner.uid,
        capture_output=True,
        check=True,
    )
    return done.stdout + done.stderr


def server(runner: Runner) -> Path:
    return runner.home / "servers" / "run.py"


def start(runner: Runner, variables: Mapping[str, str], *arguments: str, profile: str = "") -> Host:
    options = [word for name in variables for word in ("--env", name)]
    started = replace(runner, variables={**runner.variables, **variables})
    return started.wrap(PYTHON, server(runner), *arguments, options=options, profile=BARE + profile)


def seen(host: Host) -> dict[str, str]:
    """The server's variables."""
    dump = host.call("run", words=[PYTHON, "-c", DUMP])["structuredContent"]
    return {name: os.fsdecode(base64.b64decode(value)) for name, value in json.loads(dump["out"]).items()}


def command_lines() -> bytes:
    found = []
    for process in psutil.process_iter():
        try:
            found.append(Path(f"/proc/{process.pid}/cmdline").read_bytes())
        except OSError:
            continue
    return b"\n".join(found)


def sessions_of(runner: Runner) -> list[dict[str, Any]]:
    """The records of the runner's sessions, whose ``wrap`` names its home directory."""
    roots = [runner.home / ".state" / "mcpbox" / "run", Path(f"/run/user/{runner.uid}/mcpbox")]
    found = []
    for path in (path for root in roots for path in root.glob("sessions/*/record.json")):
        # Other sessions of this machine's come and go.
        with suppress(OSError):
            record = json.loads(path.read_text())
            if str(runner.home).encode() in Path(f"/proc/{record['pid']}/cmdline").read_bytes():
                found.append(record)
    return found


def everything_written(runner: Runner) -> Iterator[tuple[str, bytes]]:
    """What a value could show in: command lines, files of the user's, the container and what it wrote."""
    yield "command lines", command_lines()
    keyring = runner.home / ".local" / "share" / "keyrings"
    for file, content in (*below(runner.home), *below(Path(f"/run/user/{runner.uid}/mcpbox")), *directly_in("/tmp")):
        if not file.is_relative_to(keyring):
            yield str(file), content
    if runner.backend == "docker" and (endpoint := engine.find()):
        with engine.connect(endpoint) as client:
            for record in sessions_of(runner):
                container = client.inspect_container(record["container"])
                yield "docker inspect", json.dumps(container).encode()
                layer = Path(container["GraphDriver"]["Data"]["UpperDir"])
                if os.geteuid() == 0:
                    assert layer.is_dir()
                    yield from ((str(file), content) for file, content in below(layer))


def below(directory: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file with its content; what goes away meanwhile is no trace."""

    def failed(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    for root, _, _ in os.walk(directory, onerror=failed):
        yield from directly_in(root)


def directly_in(directory: str) -> Iterator[tuple[Path, bytes]]:
    with suppress(FileNotFoundError):
        for name in os.listdir(directory):
            with suppress(FileNotFoundError):
                if (file := Path(directory, name)).is_file():
                    yield file, file.read_bytes()


def require_unseen(runner: Runner, values: Sequence[str]) -> None:
    for place, content in everything_written(runner):
        for value in values:
            data = os.fsencode(value)
            for form in (data, base64.b64encode(data), data[:24]):
                assert form not in content, f"{place} shows a value"


def test_values_arrive_exactly_and_show_nowhere(runner: Runner) -> None:
    owner = f"file:{server(runner)}"
    for name, value in VALUES.items():
        assert os.fsencode(value)[:24] not in keep(runner, f"test/{name}", value, owner)
    references = {name: f"mcpbox-secret:test/{name}" for name in VALUES}
    references["URL"] = "postgresql://u:mcpbox-secret:test/PLAIN@h/db?x=mcpbox-secret:test/PLAIN"
    with start(runner, references) as host:
        host.initialize()
        found = seen(host)
        assert {name: found[name] for name in VALUES} == VALUES
        assert found["URL"] == "postgresql://u:{0}@h/db?x={0}".format(VALUES["PLAIN"])
        inside = host.call("run", words=["/bin/sh", "-c", "cat /proc/[0-9]*/cmdline; ls -la /proc/1/fd/ /tmp ~"])
        assert VALUES["PLAIN"] not in inside["structuredContent"]["out"]
        require_unseen(runner, list(VALUES.values()))
        (record,) = sessions_of(runner)
        assert record["secrets"] == sorted(f"test/{name}" for name in VALUES)
        host.stdin.close()
        stderr = host.stderr.read()
    assert VALUES["PLAIN"].encode() not in stderr
    require_unseen(runner, list(VALUES.values()))


def test_the_profile_names_secrets_too(runner: Runner) -> None:
    keep(runner, "test/TOKEN", VALUES["PLAIN"], f"file:{server(runner)}")
    profile = '[secrets]\nTOKEN = "keyring:test/TOKEN"\nOTHER = "keyring:test/MISSING"\n'
    with start(runner, {"OTHER": "from the host"}, profile=profile) as host:
        host.initialize()
        found = seen(host)
    assert found["TOKEN"] == VALUES["PLAIN"] and found["OTHER"] == "from the host"


def test_an_argument_is_in_the_servers_list_and_on_no_command_line(runner: Runner) -> None:
    code = runner.home / "servers" / "arguments.py"
    code.write_text(
        "import json, os, sys\nfor line in sys.stdin:\n    id = json.loads(line).get('id')\n"
        "    if id is None:\n        continue\n"
        "    print(json.dumps({'jsonrpc': '2.0', 'id': id, 'result': {'argv': sys.argv,"
        " 'env': list(os.environ), 'path': sys.path[0],"
        " 'file': __file__, 'cmdline': open('/proc/self/cmdline').read()}}), flush=True)\n"
    )
    runner.give(code)
    keep(runner, "test/TOKEN", VALUES["PLAIN"], f"file:{code}")
    words = ["--header", "Authorization: Bearer mcpbox-secret:test/TOKEN", "--token=mcpbox-secret:test/TOKEN", "plain"]
    with runner.wrap(PYTHON, "-u", code, *words, profile=BARE) as host:
        result = host.initialize()["result"]
        require_unseen(runner, [VALUES["PLAIN"]])
    bearer = f"Authorization: Bearer {VALUES['PLAIN']}"
    assert result["argv"] == [str(code), "--header", bearer, f"--token={VALUES['PLAIN']}", "plain"]
    assert VALUES["PLAIN"] not in result["cmdline"] and "MCPBOX_ARGUMENTS" not in result["env"]
    assert result["file"] == str(code) and result["path"] == str(code.parent)


def test_an_argument_of_a_node_server(runner: Runner) -> None:
    code = runner.home / "servers" / "arguments.js"
    code.write_text(
        "require('readline').createInterface({input: process.stdin}).on('line', line => console.log(JSON.stringify({"
        "jsonrpc: '2.0', id: JSON.parse(line).id, result: {argv: process.argv.slice(1), env: Object.keys(process.env),"
        " main: require.main === module, cmdline: require('fs').readFileSync('/proc/self/cmdline', 'utf8')}})))\n"
    )
    runner.give(code)
    keep(runner, "test/TOKEN", VALUES["PLAIN"], f"file:{code}")
    with runner.wrap("/usr/bin/node", code, "--token=mcpbox-secret:test/TOKEN", "plain", profile=BARE) as host:
        result = host.initialize()["result"]
        require_unseen(runner, [VALUES["PLAIN"]])
    assert result["argv"] == [str(code), f"--token={VALUES['PLAIN']}", "plain"] and result["main"]
    assert VALUES["PLAIN"] not in result["cmdline"] and "MCPBOX_ARGUMENTS" not in result["env"]


@pytest.mark.parametrize(
    ("name", "reference", "message"),
    [
        ("missing", "mcpbox-secret:test/NOBODY", "the secret test/NOBODY was never set (run: mcpbox secrets set test/"),
        ("foreign", "mcpbox-secret:other/TOKEN", "the secret other/TOKEN is for npm:other, not for file:"),
        ("malformed", "mcpbox-secret:Test/X", "mcpbox-secret:Test/X is not a reference to a secret"),
    ],
)
def test_what_cannot_be_given_is_an_error_in_the_host(runner: Runner, name: str, reference: str, message: str) -> None:
    keep(runner, "other/TOKEN", VALUES["PLAIN"], "npm:other")
    with start(runner, {"TOKEN": reference}) as host:
        assert message in host.request("initialize", {})["error"]["message"]
        assert host.process.wait(10) == 3


def test_a_program_that_is_neither_gets_no_secret_in_an_argument(runner: Runner) -> None:
    with runner.wrap("/bin/cat", "mcpbox-secret:test/TOKEN") as host:
        assert "it is no program of Node or Python" in host.request("initialize", {})["error"]["message"]


def test_a_locked_keyring_is_an_error_in_the_host(runner: Runner) -> None:
    keep(runner, "test/TOKEN", VALUES["PLAIN"], f"file:{server(runner)}")
    subprocess.run([sys.executable, "-c", LOCK], env=runner.env, user=runner.uid, group=runner.uid, check=True)
    with start(runner, {"TOKEN": "mcpbox-secret:test/TOKEN"}) as host:
        error = host.request("initialize", {})["error"]["message"]
    assert "the Secret Service is locked (unlock it" in error


def test_a_new_value_ends_the_sandbox_that_holds_the_old_one(runner: Runner) -> None:
    keep(runner, "test/TOKEN", VALUES["PLAIN"], f"file:{server(runner)}")
    variables = {"TOKEN": "mcpbox-secret:test/TOKEN"}
    with start(runner, variables) as host, start(runner, {}) as other:
        host.initialize()
        other.initialize()
        keep(runner, "test/TOKEN", "another value")
        assert host.process.wait(10) == 143
        assert seen(other)["HOME"]
    with start(runner, variables) as host:
        host.initialize()
        assert seen(host)["TOKEN"] == "another value"
        with runner.host([*runner.words()[:3], "secrets", "rm", "test/TOKEN"]) as rm:
            assert rm.process.wait(10) == 0
        assert host.process.wait(10) == 143


def test_last_words_with_a_secret_are_told_and_recorded_without_it(runner: Runner) -> None:
    code = runner.home / "servers" / "fails.py"
    code.write_text("import os, sys\nsys.stdin.readline()\nsys.exit('bad token ' + os.environ['TOKEN'])\n")
    runner.give(code)
    keep(runner, "test/TOKEN", VALUES["PLAIN"], f"file:{code}")
    started = replace(runner, variables={**runner.variables, "TOKEN": "mcpbox-secret:test/TOKEN"})
    with started.wrap(PYTHON, code, options=("--env", "TOKEN")) as host:
        assert "bad token <secret test/TOKEN>" in host.request("initialize", {})["error"]["message"]
    require_unseen(runner, [VALUES["PLAIN"]])


def test_a_process_that_holds_secrets_leaves_no_core(runner: Runner) -> None:
    keep(runner, "test/TOKEN", VALUES["PLAIN"], f"file:{server(runner)}")
    with start(runner, {"TOKEN": "mcpbox-secret:test/TOKEN"}) as host:
        host.initialize()
        limits = Path(f"/proc/{host.process.pid}/limits").read_text()
        assert [line.split()[4:6] for line in limits.splitlines() if "core file" in line] == [["0", "0"]]
        # What the kernel does with the files of a process that is not dumpable (proc(5)); root's are root's anyway.
        assert os.stat(f"/proc/{host.process.pid}/environ").st_uid == 0
        inside = host.call("run", words=["/bin/sh", "-c", "ulimit -c"])["structuredContent"]
        assert inside["out"] == "0\n"


@pytest.mark.parametrize("backend", ["docker"])
def test_an_image_of_the_users_gets_its_secrets_too(runner: Runner) -> None:
    keep(runner, "test/TOKEN", VALUES["LINES"], f"image:{IMAGE.partition(':')[0]}")
    code = Path(server(runner)).read_text()
    variables = {**runner.variables, "TOKEN": "mcpbox-secret:test/TOKEN"}
    words = ["docker", "run", "-i", "--rm", "-e", "TOKEN", IMAGE, "python3", "-c", code]
    with replace(runner, variables=variables).wrap(*words, profile=BARE) as host:
        host.initialize()
        assert seen(host)["TOKEN"] == VALUES["LINES"]
        require_unseen(runner, [VALUES["LINES"]])


@pytest.mark.parametrize("backend", ["docker"])
def test_an_image_without_a_shell_is_refused(runner: Runner, tmp_path: Path) -> None:
    subprocess.run(["tar", "-C", tmp_path, "-cf", tmp_path / "empty.tar", "-T", "/dev/null"], check=True)
    endpoint = engine.find()
    assert endpoint
    with engine.connect(endpoint) as client:
        client.import_image(str(tmp_path / "empty.tar"), repository="localhost/mcpbox/no-shell", tag="test")
        try:
            keep(runner, "test/TOKEN", VALUES["PLAIN"], "image:localhost/mcpbox/no-shell")
            variables = {**runner.variables, "TOKEN": "mcpbox-secret:test/TOKEN"}
            words = ["docker", "run", "-e", "TOKEN", "localhost/mcpbox/no-shell:test", "/server"]
            with replace(runner, variables=variables).wrap(*words) as host:
                assert (
                    "localhost/mcpbox/no-shell:test has no shell" in host.request("initialize", {})["error"]["message"]
                )
            assert eventually(
                lambda: not client.containers(all=True, filters={"ancestor": "localhost/mcpbox/no-shell:test"})
            )
        finally:
            client.remove_image("localhost/mcpbox/no-shell:test", force=True)


def test_a_host_is_taken_from_a_url_that_is_a_secret_as_a_whole(runner: Runner) -> None:
    code = "import socket, sys; socket.create_connection(('localhost', int(sys.argv[1])), 3).sendall(b'x')"
    with socket.create_server(("127.0.0.1", 0)) as database:
        database.settimeout(10)
        port = database.getsockname()[1]
        keep(runner, "pg/url", f"postgresql://u:p@localhost:{port}/x", f"file:{server(runner)}")
        profile = '[network]\nfrom_environment = ["DATABASE_URI"]\n[secrets]\nDATABASE_URI = "host"\n'
        with start(runner, {"DATABASE_URI": "mcpbox-secret:pg/url"}, profile=profile) as host:
            host.initialize()
            done = host.call("run", words=[PYTHON, "-c", code, str(port)])["structuredContent"]
            assert done["code"] == 0, done
            database.accept()[0].close()
