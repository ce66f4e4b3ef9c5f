"""Packages from a directory of wheels, prepared and run for real: the sandbox, pip, the store, ``wrap``."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from wire import Host, eventually

from mcpbox import cli, command, config
from mcpbox.errors import PackageError
from mcpbox.packages import lock, prepare, spec, store, vet
from mcpbox.packages.model import Package, Plan, Request

NAME = "zweig-tools"
KEY = f"pypi:{NAME}"
REQUEST = Request("pypi", (NAME,))
BACKEND = "bubblewrap"
ECHO = (Path(__file__).parents[1] / "servers" / "echo.py").read_text()


@pytest.fixture(autouse=True)
def wheels(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place packages come from."""
    directory = home / "wheels"
    directory.mkdir()
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(directory))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PATH", "/usr/local/bin:/usr/bin:/bin")
    return directory


def publish(wheels: Path, version: str, name: str = NAME, *, requires: Sequence[str] = (), text: str = "") -> Path:
    """A wheel whose program is the echo server."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    server = ECHO.rpartition("main()")[0].replace('"version": "1"', f'"version": "{version}"')
    lines = "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
    files = {
        f"{module}.py": f"{text}\n{server}",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{lines}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {module}:main\n",
    }
    record = ""
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(content.encode())}\n"
    file = wheels / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as opened:
        for path, content in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            opened.writestr(path, content)
    return file


def never(concerns: Sequence[str]) -> bool:
    pytest.fail(f"asked about {concerns}")


def quiet(_: str) -> None:
    pass


def pin(request: Request = REQUEST, **options: Any) -> lock.Entry:
    return prepare.prepare(request, BACKEND, **{"approve": never, "progress": quiet, **options})


def tree_of(entry: lock.Entry) -> lock.Tree:
    return entry.trees[lock.variant(BACKEND)]


def events() -> list[str]:
    from mcpbox.audit import reading

    return [record["event"] for log in reading.sessions(["packages"]) for record in log.records()]


def wrapped(*words: str, options: Sequence[str] = ()) -> Host:
    return Host([sys.executable, "-m", "mcpbox", "wrap", "--backend", BACKEND, *options, "--", *words], os.environ)


def version_of(host: Host) -> str:
    answer = host.initialize()
    assert "result" in answer, answer
    return str(answer["result"]["serverInfo"]["version"])


def test_the_first_sight_pins_and_later_ones_resolve_nothing(wheels: Path) -> None:
    publish(wheels, "1.0")
    entry = pin()
    assert (entry.version, entry.floor, entry.approved) == ("1.0", "1.0", "first use")
    assert entry == lock.load()[KEY] and events() == ["pinned"]
    assert store.verify(tree_of(entry).tree, tree_of(entry).manifest) == []
    publish(wheels, "2.0")
    assert pin() == entry
    shutil.rmtree(wheels)
    assert pin() == entry and events() == ["pinned"]


def test_a_host_gets_the_server_on_the_first_start_and_later_ones_need_no_index(wheels: Path) -> None:
    publish(wheels, "1.0")
    with wrapped("uvx", NAME) as host:
        assert version_of(host) == "1.0"
    assert lock.load()[KEY].approved == "first use"
    publish(wheels, "2.0")
    shutil.rmtree(wheels)
    for words in (("uvx", NAME), ("uvx", NAME), ("env", "A=1", "pipx", "run", NAME, "plain")):
        with wrapped(*words) as host:
            assert version_of(host) == "1.0"


def test_a_registry_that_never_answers_does_not_keep_a_verdict_for_ever(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vet, "PATIENCE", 0.5)
    package = Package("silent", "1.0.0", "", "")
    with socket.create_server(("127.0.0.1", 0)) as server:
        (home / ".npmrc").write_text(f"registry=http://localhost:{server.getsockname()[1]}/\n")
        with (
            vet.Judging(Plan("npm", package, (package,), b""), BACKEND) as judging,
            pytest.raises(PackageError, match="could not be verified within"),
        ):
            judging.verdict()


def test_what_a_bundle_says_of_itself_gives_no_orders_to_a_terminal(
    wheels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(wheels, "1.0")
    entry = pin()
    plan = lock.plan(tree_of(entry).tree)
    assert plan is not None
    plan = replace(plan, packages=(*plan.packages, Package("in\x1b[2Jner", "1\x1b]0;title\x07", "", "")))
    lock.keep_plan(plan)
    lock.put(KEY, replace(entry, trees={lock.variant(BACKEND): replace(tree_of(entry), tree=lock.tree_name(plan))}))
    code, out, _ = run("show", KEY, capsys=capsys)
    assert code == 0 and "  in [2Jner 1 ]0;title" in out and "\x1b" not in out


def test_what_runs_a_package_is_not_of_the_directory_that_the_host_has_open(
    wheels: Path, home: Path, tmp_path: Path
) -> None:
    """Where PATH has relative directories, or a version manager looks for files; and it would be remembered."""
    publish(wheels, "1.0")
    pin()
    checkout = tmp_path / "checkout"
    (checkout / "bin").mkdir(parents=True)
    (checkout / "bin" / "python3").write_text("#!/bin/sh\n")
    (checkout / "bin" / "python3").chmod(0o755)

    def argv(cwd: Path) -> tuple[str, ...]:
        return command.resolve(
            ["uvx", NAME], path=f"bin:{os.environ['PATH']}", cwd=str(cwd), home=str(home), backend=lambda _: BACKEND
        ).argv

    assert argv(checkout) == argv(home) and not argv(home)[0].startswith(str(checkout))


@pytest.mark.parametrize("first", ["{private}/bin/run", "~/{below}/bin/run", "/usr/..{private}/bin/run"])
def test_a_package_does_not_choose_what_of_the_user_s_it_is_shown(first: str, home: Path, tmp_path: Path) -> None:
    """The tree that an interpreter lies in is mounted."""
    private = tmp_path / "private"
    (private / "bin").mkdir(parents=True)
    (private / "lib").mkdir()
    (private / "bin" / "run").symlink_to("/bin/sh")
    with store.staging() as staging:
        package = staging / "node_modules" / "chooses"
        package.mkdir(parents=True)
        (package / "package.json").write_text('{"bin": "run"}')
        (package / "run").write_text(f"#!{first.format(private=private, below=os.path.relpath(private, home))}\n")
        (package / "run").chmod(0o755)
        manifest = store.adopt(staging, "a" * 64)
        request = Request("npm", ("chooses",))
        trees = {lock.variant(BACKEND): lock.Tree("a" * 64, manifest)}
        lock.put(
            request.key,
            lock.Entry("npm", request.packages, "chooses", "1.0.0", "", "", "", "user", "1.0.0", trees),
        )
    with pytest.raises(PackageError, match="wants to be run by"):
        command.resolve(["npx", "chooses"], path=os.environ["PATH"], cwd="/", home=str(home), backend=lambda _: BACKEND)


ENSURE = f"""
import sys, time
from mcpbox.errors import McpboxError, Unprepared
from mcpbox.packages import firstuse
from mcpbox.packages.model import Request
try:
    firstuse.ensure(Unprepared(Request("pypi", ("{NAME}",)), "{BACKEND}"), time.monotonic() + float(sys.argv[1]))
except McpboxError as error:
    sys.exit(error.message)
"""


def ensure(seconds: float) -> str:
    """What ``wrap`` says when it waits so long; "" if it can start."""
    words = [sys.executable, "-c", ENSURE, str(seconds)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        return process.stderr.read().strip()


def test_a_host_that_cannot_wait_is_told_and_the_next_start_is_ready(wheels: Path) -> None:
    publish(wheels, "1.0")
    assert ensure(0) == f"{KEY} is being prepared and will be ready on the next start"
    # Another start meanwhile waits for the same preparation.
    assert ensure(60) == ""
    assert eventually(lambda: not lock.is_held(KEY)) and events() == ["pinned"]


def test_a_host_is_told_why_a_package_cannot_be_prepared(wheels: Path) -> None:
    with wrapped("uvx", NAME) as host:
        error = host.initialize()["error"]
        assert NAME in error["message"] and error["message"].startswith("mcpbox: ")
    assert lock.load() == {} and store.trees() == []


def test_a_look_alike_needs_a_persons_word(wheels: Path) -> None:
    publish(wheels, "1.0", "mcp-server-tiime")
    asked: list[str] = []
    with pytest.raises(PackageError) as caught:
        pin(Request("pypi", ("mcp-server-tiime",)), approve=lambda concerns: asked.extend(concerns))
    assert "mcp-server-tiime looks like mcp-server-time" in caught.value.message == "; ".join(asked)
    assert caught.value.hint == "if it is meant: mcpbox package add --yes -- uvx mcp-server-tiime"
    assert lock.load() == {}
    entry = pin(Request("pypi", ("mcp-server-tiime",)), approve=lambda _: True)
    assert entry.approved == "user"


@pytest.mark.parametrize(("id", "asked"), [("MAL-2026-1", False), ("GHSA-x", True)])
def test_an_advisory_stops_a_package(id: str, asked: bool, wheels: Path, home: Path) -> None:
    publish(wheels, "1.0")
    database = home / "osv"
    database.mkdir()
    affected = [{"package": {"ecosystem": "PyPI", "name": NAME}, "versions": ["1.0"]}]
    entry = {"id": id, "summary": "steals", "modified": "2026-01-01T00:00:00Z", "affected": affected}
    (database / f"{id}.json").write_text(json.dumps(entry))
    with config.file().open("a") as file:
        file.write(f'[packages]\nadvisories = "{database}"\n')
    concerns: list[str] = []
    with pytest.raises(PackageError) as caught:
        pin(approve=lambda found: concerns.extend(found))
    assert f"{NAME} 1.0: {id} steals" in caught.value.message
    assert bool(concerns) == asked and lock.load() == {}


class Agree:
    def __init__(self, agreed: bool) -> None:
        self.agreed = agreed
        self.seen: list[prepare.Changes] = []

    def __call__(self, changes: prepare.Changes, concerns: Sequence[str]) -> bool:
        self.seen.append(changes)
        return self.agreed


def updated(agreed: bool) -> prepare.Changes | None:
    return prepare.update(KEY, BACKEND, approve=Agree(agreed), progress=quiet)


def test_an_update_shows_what_changes_and_keeps_the_old_until_the_new_has_started(wheels: Path) -> None:
    publish(wheels, "1.0")
    old = tree_of(pin()).tree
    assert updated(True) is None
    publish(wheels, "2.0", requires=["zweig-more"])
    publish(wheels, "0.1", "zweig-more")
    changes = updated(False)
    assert changes is not None and (changes.before, changes.after) == ("1.0", "2.0")
    assert [package.name for package in changes.added] == ["zweig-more"]
    assert changes.changed == ((NAME, "1.0", "2.0"),)
    assert changes.size_after > changes.size_before > 0
    assert lock.load()[KEY].version == "1.0" and store.trees() == [old]

    assert updated(True) is not None
    entry = lock.load()[KEY]
    assert (entry.version, entry.floor, entry.approved) == ("2.0", "2.0", "user")
    prepare.collect()
    assert set(store.trees()) == {old, tree_of(entry).tree}
    assert prepare.revert(KEY).version == "1.0"
    with wrapped("uvx", NAME) as host:
        assert version_of(host) == "1.0"

    assert updated(True) is not None
    with wrapped("uvx", NAME) as host:
        assert version_of(host) == "2.0"
        host.stdin.close()
        host.process.wait(30)
    assert store.trees() == [tree_of(entry).tree] and lock.load()[KEY].previous is None
    with pytest.raises(PackageError) as caught:
        prepare.revert(KEY)
    assert caught.value.message.endswith("nothing from before 2.0 is kept")
    assert events() == ["pinned", "updated", "reverted", "updated"]


def test_an_update_never_goes_below_the_floor(wheels: Path) -> None:
    publish(wheels, "1.9")
    newest = publish(wheels, "1.10")
    pin()
    newest.unlink()
    with pytest.raises(PackageError) as caught:
        updated(True)
    assert f"{NAME} 1.9 is older than 1.10" in caught.value.message
    assert lock.load()[KEY].version == "1.10"


def test_a_lost_tree_is_installed_again_as_it_was_pinned(wheels: Path) -> None:
    publish(wheels, "1.0")
    entry = pin()
    publish(wheels, "2.0")
    store.gc(())
    assert pin() == entry and events() == ["pinned", "restored"]
    assert store.verify(tree_of(entry).tree, tree_of(entry).manifest) == []


def test_other_bytes_under_the_same_version_are_refused(wheels: Path) -> None:
    publish(wheels, "1.0")
    entry = pin()
    publish(wheels, "1.0", text="print('evil')")
    store.gc(())
    with pytest.raises(PackageError):
        pin()
    # Without the plan beside the lock, it is looked up again, and is another.
    lock.forget_plans(())
    with pytest.raises(PackageError) as caught:
        pin()
    assert "does not resolve to what is pinned any more" in caught.value.message
    assert lock.load() == {KEY: entry} and store.trees() == []


def test_a_lock_and_its_plans_are_enough_elsewhere(wheels: Path) -> None:
    publish(wheels, "1.0", requires=["zweig-more"])
    publish(wheels, "0.1", "zweig-more")
    entry = pin()
    shutil.rmtree(store.path(tree_of(entry).tree)) if os.geteuid() == 0 else store.gc(())
    publish(wheels, "0.2", "zweig-more")
    publish(wheels, "2.0")
    assert pin() == entry


def test_two_preparations_at_once_are_one(wheels: Path) -> None:
    publish(wheels, "1.0")
    found: list[lock.Entry] = []
    threads = [threading.Thread(target=lambda: found.append(pin())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[1] and events() == ["pinned"]


def killed(when: Callable[[str, tuple[Any, ...]], bool]) -> None:
    """Prepare in a process that is killed at that file system call."""
    child = os.fork()
    if child == 0:

        def hook(name: str, arguments: tuple[Any, ...]) -> None:
            if name != "os.kill" and when(name, arguments):
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(hook)
            pin()
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("event", "where"),
    [
        ("os.chown", ".staging-"),
        ("open", "MANIFEST.json"),
        ("os.rename", ".staging-"),
        ("open", "mcpbox.lock.d"),
        ("open", "sessions/packages/"),
        ("os.rename", ".mcpbox.lock."),
    ],
)
def test_kill_9_at_any_stage_leaves_nothing_half_made(event: str, where: str, wheels: Path) -> None:
    publish(wheels, "1.0")
    if (event, where) == ("os.chown", ".staging-") and os.geteuid() != 0:
        event = "os.chmod"
    killed(lambda name, arguments: name == event and where in str(arguments[0]))
    assert lock.load() == {}
    prepare.collect()
    assert os.listdir(store.root()) == []
    with wrapped("uvx", NAME) as host:
        assert version_of(host) == "1.0"


def run(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = cli.run(["package", *words])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_verbs(wheels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(wheels, "1.0")
    code, out, _ = run("add", "--backend", BACKEND, "--", "uvx", NAME, capsys=capsys)
    assert code == 0 and out == f"{KEY}: 1.0 is installed and pinned\n"
    code, out, _ = run("list", "--json", capsys=capsys)
    (row,) = json.loads(out)
    assert (row["key"], row["version"], row["installed"], row["advisories"]) == (KEY, "1.0", True, [])
    code, out, _ = run("show", NAME, "--json", capsys=capsys)
    assert json.loads(out)["packages"][0]["version"] == "1.0"
    assert run("show", KEY, capsys=capsys)[0] == 0
    assert run("verify", capsys=capsys)[:2] == (0, f"{KEY}: {lock.variant(BACKEND)}: ok\n")

    module = store.path(tree_of(lock.load()[KEY]).tree) / "zweig_tools.py"
    module.chmod(0o644)
    module.write_text(module.read_text().replace("answer", "Answer"))
    module.chmod(0o444)
    code, _, errors = run("verify", capsys=capsys)
    assert code == 1 and "zweig_tools.py: contents changed" in errors
    assert run("verify", "--repair", capsys=capsys)[0] == 0
    assert run("verify", capsys=capsys)[0] == 0

    publish(wheels, "2.0")
    code, out, errors = run("update", "--backend", BACKEND, capsys=capsys)
    assert code == 1 and "1.0 → 2.0" in errors and "left at 1.0" in out
    code, out, errors = run("update", "--backend", BACKEND, "--yes", NAME, capsys=capsys)
    assert code == 0 and f"{KEY}: 1.0 → 2.0" in out
    lock.put("pypi:another", replace(lock.load()[KEY], requested=("another",), previous=None))
    assert run("update", "--back", capsys=capsys)[:2] == (0, f"{KEY}: back to 1.0\n")
    assert "no update to undo" in run("update", "--back", capsys=capsys)[2]
    lock.remove("pypi:another")
    assert run("gc", capsys=capsys)[1] == "removed 1 of 2 trees\n"
    assert run("rm", NAME, capsys=capsys)[:2] == (0, f"{KEY}: removed\n")
    assert lock.load() == {} and store.trees() == []
    code, _, errors = run("rm", NAME, capsys=capsys)
    assert code == 2 and "no pinned packages of that name" in errors
    code, _, errors = run("add", "--", "node", "x.js", capsys=capsys)
    assert code == 2 and "fetches no package" in errors


def test_a_changed_tree_is_not_started(wheels: Path) -> None:
    publish(wheels, "1.0")
    entry = pin()
    with wrapped("uvx", NAME) as host:
        assert version_of(host) == "1.0"
    manifest = store.path(tree_of(entry).tree) / store.MANIFEST
    manifest.chmod(0o644)
    manifest.write_bytes(manifest.read_bytes() + b" ")
    manifest.chmod(0o444)
    with wrapped("uvx", NAME) as host:
        assert "its manifest does not match mcpbox.lock" in host.initialize()["error"]["message"]


def test_what_is_remembered_of_a_start_ends_with_any_change(wheels: Path) -> None:
    publish(wheels, "1.0")
    pin()
    for change in (
        lambda: None,
        lambda: lock.file().write_text(lock.file().read_text() + "# a comment\n"),
        lambda: store.path(tree_of(lock.load()[KEY]).tree).chmod(0o755),
    ):
        change()
        with wrapped("uvx", NAME) as host:
            answer = host.initialize()
    assert "can be written to" in answer["error"]["message"]
    lock.remove(KEY)
    shutil.rmtree(wheels)
    with wrapped("uvx", NAME) as host:
        assert "error" in host.initialize()


def test_what_nobody_needs_any_more_is_removed(wheels: Path) -> None:
    from mcpbox import paths

    publish(wheels, "1.0")
    pin()
    for word in ("one", "two"):
        with wrapped("uvx", NAME, word) as host:
            version_of(host)
    remembered = paths.state_dir() / "starts"
    assert len(os.listdir(remembered)) == 2
    halves = [remembered / "3ff.123", lock.file().with_name(".mcpbox.lock.123")]
    halves.append(lock.file().with_name("mcpbox.lock.d") / f".{'0' * 64}.json.123")
    for half in halves:
        half.write_text("half")
    (remembered / "000.json").write_text("no start")
    prepare.collect()
    assert len(os.listdir(remembered)) == 3 and all(half.exists() for half in halves), "they may be being written"
    for half in halves:
        os.utime(half, (0, 0))
    lock.remove(KEY)
    prepare.collect()
    assert os.listdir(remembered) == os.listdir(lock.file().with_name("mcpbox.lock.d")) == []
    assert not any(half.exists() for half in halves)


RESOLVE = f"""
import os, sys
from mcpbox import command
found = command.resolve(["uvx", "{NAME}"], path=os.environ["PATH"], cwd="/", home="/", backend=lambda _: "{BACKEND}")
assert found.identities == ("{KEY}",)
print(*sys.modules)
"""


def test_a_later_start_imports_nothing_that_reads_locks_or_trees(wheels: Path) -> None:
    publish(wheels, "1.0")
    pin()

    def loaded() -> set[str]:
        done = subprocess.run([sys.executable, "-c", RESOLVE], capture_output=True, text=True, check=True)
        return {name for name in done.stdout.split() if name.startswith("mcpbox.packages")}

    assert "mcpbox.packages.lock" in loaded()
    assert loaded() == {"mcpbox.packages", "mcpbox.packages.starts"}


def test_versions_are_compared_as_their_ecosystem_does() -> None:
    assert vet.is_older("npm", "1.9.0", "1.10.0") and not vet.is_older("npm", "1.10.0", "1.9.0")
    assert vet.is_older("npm", "2.0.0-rc.1", "2.0.0") and vet.is_older("pypi", "2.0rc1", "2.0")
    assert not vet.is_older("pypi", "1.0", "1.0.0")
    with pytest.raises(PackageError):
        vet.is_older("npm", "x", "1.0.0")


def test_the_command_that_prepares_is_one_that_can_be_pasted() -> None:
    request = spec.read(["npx", "-p", "@a/b@>1 <2", "--", "bin", "x"])
    assert request is not None
    words = prepare.command(request, "--yes")
    shown = subprocess.run(["sh", "-c", f"printf '%s\\n' {words}"], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines() == [*"mcpbox package add --yes -- npx -y".split(), "--package=@a/b@>1 <2", "--", "bin"]
