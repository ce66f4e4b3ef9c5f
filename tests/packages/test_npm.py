"""npm packages, honest and hostile, from a real registry on loopback through the install sandbox."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from conftest import must_have
from packages.registry import Registry, Sending, pack, sha512
from wire import eventually

from mcpbox import config, sessions
from mcpbox.errors import PackageError
from mcpbox.packages import installer, npm
from mcpbox.packages.model import Plan, Request

BUBBLEWRAP = "bubblewrap"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("public")) as found:
        yield found


@pytest.fixture(autouse=True)
def configured(registry: Registry, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.lower().startswith("npm_config_")]:
        monkeypatch.delenv(variable)
    configure(home, registry)
    monkeypatch.chdir(home)


def configure(home: Path, registry: Registry, *lines: str) -> None:
    settings = [f"registry={registry.url}", "fetch-retries=0", *lines]
    (home / ".npmrc").write_text("\n".join(settings) + "\n")


class Installs:
    """Resolves and installs into fresh directories below the test's own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def fresh(self) -> Path:
        made = self.directory / f"{len(list(self.directory.iterdir()))}"
        made.mkdir()
        return made

    def resolve(self, *specs: str, backend: str = BUBBLEWRAP) -> Plan:
        return npm.resolve(Request("npm", specs), backend, self.fresh())

    def install(self, plan: Plan, *, backend: str = BUBBLEWRAP, scripts: tuple[str, ...] = ()) -> Path:
        staging = self.fresh()
        npm.install(plan, backend, staging, scripts=scripts)
        return staging

    def fails(self, plan: Plan, reason: str, backend: str = BUBBLEWRAP) -> Path:
        """Where an install that must fail for that ``reason`` was made."""
        staging = self.fresh()
        with pytest.raises(PackageError, match=reason):
            npm.install(plan, backend, staging)
        return staging


@pytest.fixture
def installs(tmp_path: Path) -> Installs:
    directory = tmp_path / "installs"
    directory.mkdir()
    return Installs(directory)


def summary(plan: Plan) -> list[str]:
    return [f"{package.name}@{package.version}" for package in plan.packages]


def contains(tree: Path, mark: bytes) -> list[str]:
    """The files below ``tree`` that have ``mark`` in them."""
    return [
        str(path) for path in tree.rglob("*") if path.is_file() and not path.is_symlink() and mark in path.read_bytes()
    ]


def runs(words: tuple[str, ...], tree: Path, tmp_path: Path, backend: str = BUBBLEWRAP) -> str:
    """What a program prints that sees the installed tree and has no network."""
    work = tmp_path / "run"
    work.mkdir(exist_ok=True)
    if os.geteuid() == 0:
        os.chown(work, 65534, 65534)
    return installer.run(installer.Job(words, work, "node", read=(str(tree),)), backend).decode()


def test_a_whole_tree_is_pinned_installed_and_runs(
    registry: Registry, installs: Installs, backend: str, tmp_path: Path
) -> None:
    name, leaf = f"@acme/whole-{backend}", f"whole-leaf-{backend}"
    registry.publish(leaf, "1.2.3", files={"index.js": "module.exports = 'leaf'"})
    registry.publish(leaf, "2.0.0", files={"index.js": "module.exports = 'newer'"})
    root = registry.publish(
        name,
        "1.0.0",
        manifest={"bin": {"whole": "./bin.js"}, "dependencies": {leaf: "^1.0.0", "alias": f"npm:{leaf}@2"}},
        files={
            "bin.js": "#!/usr/bin/env node\nconsole.log(require('LEAF'), require('alias'), process.argv[2])".replace(
                "LEAF", leaf
            )
        },
    )
    plan = installs.resolve(f"{name}@^1", backend=backend)
    assert summary(plan) == [f"{name}@1.0.0", f"{leaf}@2.0.0", f"{leaf}@1.2.3"]
    assert plan.root.url.startswith(registry.url)
    assert plan.root.integrity == sha512(root)
    assert set(json.loads(plan.lockfile)["platform"]) == {"os", "cpu", "libc"}
    # The same packages are the same tree, whichever words asked for them.
    assert installs.resolve(name, backend=backend).lockfile == plan.lockfile
    tree = installs.install(plan, backend=backend)
    words = npm.entry(Request("npm", (name,)), tree)
    assert words == ("node", str(tree / f"node_modules/{name}/bin.js"))
    assert runs((*words, "ü"), tree, tmp_path, backend) == "leaf newer ü\n"


CHANGES = ("the tarball", "the tarball and what the registry says of it")


@pytest.mark.parametrize(
    ("victim", "change", "at"),
    [
        *((victim, change, BUBBLEWRAP) for victim in ("root", "dependency") for change in CHANGES),
        ("dependency", CHANGES[1], "docker"),
    ],
)
def test_a_changed_tarball_is_refused(
    registry: Registry, installs: Installs, victim: str, change: str, at: str
) -> None:
    must_have(at)
    name = f"changed-{victim}-{CHANGES.index(change)}-{at}"
    registry.publish(f"{name}-leaf", "1.0.0")
    registry.publish(name, "1.0.0", manifest={"dependencies": {f"{name}-leaf": "1.0.0"}})
    plan = installs.resolve(name, backend=at)
    changed = name if victim == "root" else f"{name}-leaf"
    evil = pack({"package.json": json.dumps({"name": changed, "version": "1.0.0"}), "index.js": "MALICE"})
    registry.stored(changed, "1.0.0").write_bytes(evil)
    if change == CHANGES[1]:

        def restate(document: Any) -> None:
            document["versions"]["1.0.0"]["dist"] |= {"integrity": sha512(evil), "shasum": ""}

        registry.change_document(changed, restate)
    staging = installs.fails(plan, "a package is not the one that its hash stands for", at)
    assert contains(staging, b"MALICE") == []


def test_a_plan_that_is_not_its_locks_is_refused(registry: Registry, installs: Installs) -> None:
    registry.publish("planned", "1.0.0")
    plan = installs.resolve("planned")
    installs.fails(Plan("npm", plan.root, (), plan.lockfile), "the plan does not agree with its lock")


def test_a_newer_version_does_not_get_in(registry: Registry, installs: Installs, backend: str) -> None:
    root, leaf = f"newer-{backend}", f"newer-{backend}-leaf"
    registry.publish(leaf, "1.0.0")
    registry.publish(root, "1.0.0", manifest={"dependencies": {leaf: "^1.0.0"}})
    plan = installs.resolve(root, backend=backend)
    for name in (leaf, root):
        registry.publish(name, "1.0.1", files={"index.js": "MALICE"})
    tree = installs.install(plan, backend=backend)
    assert contains(tree, b"MALICE") == []
    assert json.loads((tree / f"node_modules/{leaf}/package.json").read_text())["version"] == "1.0.0"
    assert summary(installs.resolve(root)) == [f"{root}@1.0.1"], "the attack must work on whoever does not pin"


SCRIPT = """
const fs = require("fs"), net = require("net"), path = require("path")
const tried = {}
const attempt = (what, act) => { try { act(); tried[what] = "done" } catch (error) { tried[what] = error.code } }
attempt("own", () => fs.writeFileSync("built", "yes"))
attempt("sibling", () => fs.writeFileSync("../LEAF/index.js", "MALICE"))
attempt("lock", () => fs.writeFileSync("../../package-lock.json", "MALICE"))
attempt("outside", () => fs.writeFileSync("OUTSIDE", "MALICE"))
attempt("home", () => fs.readFileSync("HOME/.npmrc"))
attempt("npmrc", () => { if (!fs.existsSync(path.join(process.env.HOME, ".npmrc"))) throw { code: "ENOENT" } })
const socket = net.connect(PORT, "127.0.0.1")
const end = what => { tried.network = what; fs.writeFileSync("tried.json", JSON.stringify(tried)); process.exit(0) }
socket.on("connect", () => end("done")); socket.on("error", error => end(error.code))
"""


def test_install_scripts_run_only_when_named_and_then_walled_in(
    registry: Registry, installs: Installs, backend: str, home: Path, tmp_path: Path
) -> None:
    name, leaf = f"scripts-{backend}", f"scripts-{backend}-leaf"
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o777)
    outside.chmod(0o777)
    script = (
        SCRIPT.replace('OUTSIDE"', f'{outside}/file"')
        .replace("HOME/", f"{home}/")
        .replace("PORT", str(registry.port))
        .replace("LEAF", leaf)
    )
    registry.publish(leaf, "1.0.0", manifest={"scripts": {"postinstall": "touch leaf-built"}})
    registry.publish(
        name,
        "1.0.0",
        manifest={"dependencies": {leaf: "1.0.0"}, "scripts": {"install": "node attack.js"}},
        files={"attack.js": script},
    )
    plan = installs.resolve(name, backend=backend)
    assert {package.name: package.scripts for package in plan.packages} == {name: True, leaf: True}
    tree = installs.install(plan, backend=backend)
    assert not list(tree.rglob("built")) and not list(tree.rglob("leaf-built")) and not list(tree.rglob("tried.json"))

    tree = installs.install(plan, backend=backend, scripts=(name,))
    tried = json.loads((tree / "node_modules" / name / "tried.json").read_text())
    assert (tree / "node_modules" / name / "built").read_text() == "yes"
    assert tried["own"] == "done"
    assert {what: tried[what] for what in ("sibling", "lock")} == {"sibling": "EROFS", "lock": "EROFS"}
    assert (
        tried["outside"] in ("ENOENT", "EROFS", "EACCES") and tried["home"] == "ENOENT" and tried["npmrc"] == "ENOENT"
    )
    assert tried["network"] == "ECONNREFUSED"
    assert not list(tree.rglob("leaf-built")), "only the package that was named runs its scripts"
    assert list(outside.iterdir()) == []


def test_install_scripts_cannot_lead_the_next_ones_out_of_the_tree(
    registry: Registry, installs: Installs, backend: str, tmp_path: Path
) -> None:
    outer, inner, root = (f"{kind}-{backend}" for kind in ("a-leads", "b-follows", "led"))
    outside = tmp_path / "outside"
    outside.mkdir()
    outside.chmod(0o777)
    swap = f"rm -rf node_modules/{inner} && ln -s {outside} node_modules/{inner}"
    registry.publish(inner, "1.0.0", manifest={"scripts": {"install": "true"}})
    registry.publish(outer, "1.0.0", manifest={"dependencies": {inner: "1"}, "scripts": {"install": swap}})
    write = f"touch ../{outer}/node_modules/{inner}/file"
    registry.publish(inner, "2.0.0", manifest={"scripts": {"install": write}})
    registry.publish(root, "1.0.0", manifest={"dependencies": {outer: "1", inner: "2"}})
    plan = installs.resolve(root, backend=backend)
    with pytest.raises(PackageError, match="leads elsewhere since another install script ran"):
        installs.install(plan, backend=backend, scripts=(outer, inner))
    assert list(outside.iterdir()) == []


def test_scripts_of_a_package_that_is_not_there_are_an_error(registry: Registry, installs: Installs) -> None:
    registry.publish("no-such-script", "1.0.0")
    plan = installs.resolve("no-such-script")
    with pytest.raises(PackageError, match="other: not in the tree"):
        npm.install(plan, BUBBLEWRAP, installs.fresh(), scripts=("other",))


def test_a_failing_install_script_is_an_error(registry: Registry, installs: Installs) -> None:
    registry.publish("failing", "1.0.0", manifest={"scripts": {"install": "echo broken >&2; exit 3"}})
    plan = installs.resolve("failing")
    with pytest.raises(PackageError, match="the install script of failing failed"):
        installs.install(plan, scripts=("failing",))


@pytest.mark.parametrize(
    "specification, reason",
    [
        ("git+https://git.example.com/a/b.git", "git"),
        ("github:evil/package", "git"),
        ("evil/package", "git"),
        ("https://evil.example.com/x.tgz", "a host that is none of the configured registries"),
        ("file:../other", "cannot be resolved|a dependency on a file|depends on inner from"),
        ("REGISTRY/NAME-inner/-/NAME-inner-1.0.0.tgz", "depends on inner from http.*, not from a registry"),
    ],
)
def test_a_dependency_from_elsewhere_is_refused(
    registry: Registry, installs: Installs, specification: str, reason: str
) -> None:
    name = f"elsewhere-{hashlib.sha256(specification.encode()).hexdigest()[:8]}"
    registry.publish(f"{name}-inner", "1.0.0")
    wanted = specification.replace("REGISTRY/", registry.url).replace("NAME", name)
    registry.publish(name, "1.0.0", manifest={"dependencies": {"inner": wanted}})
    with pytest.raises(PackageError, match=reason):
        installs.resolve(name)


def test_nothing_is_fetched_by_git_even_of_a_host_within_reach(registry: Registry, installs: Installs) -> None:
    """What npm makes of a repository runs what the repository says, with the user's tokens at hand."""
    asked: list[str] = []

    class Asked(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, format: str, *values: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Asked) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        port = server.server_address[1]
        with config.file().open("a") as file:
            file.write(f'[packages]\nhosts = ["localhost:{port}"]\n')
        registry.publish(
            "by-git", "1.0.0", manifest={"dependencies": {"inner": f"git+http://localhost:{port}/inner.git"}}
        )
        with pytest.raises(PackageError, match="depends on a git repository"):
            installs.resolve("by-git")
        server.shutdown()
    assert asked == []


@pytest.mark.parametrize(
    "spec",
    [
        "git+https://example.com/a.git",
        "github:a/b",
        "a/b",
        "./a",
        "../a",
        "/a",
        "file:a",
        "https://example.com/a.tgz",
        "a.tgz",
        "name@file:../x",
        "name@npm:other@1",
        "name@1\n",
        "",
        "--registry=http://evil",
        ".",
        "@scope",
        "name@a.tgz",
    ],
)
def test_a_request_for_anything_but_a_registrys_package_is_refused(spec: str, installs: Installs) -> None:
    with pytest.raises(PackageError, match="only packages of a registry can be pinned"):
        installs.resolve(spec)


def test_a_scope_comes_from_its_registry_alone(
    registry: Registry, installs: Installs, home: Path, tmp_path: Path
) -> None:
    with Registry(tmp_path / "private") as private:
        configure(home, registry, f"@corp:registry={private.url}")
        registry.publish("@corp/tool", "99.0.0", files={"index.js": "MALICE"})
        private.publish("@corp/tool", "1.0.0")
        registry.publish("uses-corp", "1.0.0", manifest={"dependencies": {"@corp/tool": "*"}})
        plan = installs.resolve("uses-corp")
        assert summary(plan) == ["uses-corp@1.0.0", "@corp/tool@1.0.0"]
        assert plan.packages[1].url.startswith(private.url) and plan.root.url.startswith(registry.url)
        assert contains(installs.install(plan), b"MALICE") == []

        def point_elsewhere(document: Any) -> None:
            document["versions"]["1.0.0"]["dist"]["tarball"] = f"{registry.url}@corp/tool/-/tool-99.0.0.tgz"

        # verdaccio writes its own address into what it says, so the lock is changed instead.
        moved = json.loads(plan.lockfile)
        moved["lock"]["packages"]["node_modules/@corp/tool"]["resolved"] = f"{registry.url}@corp/tool/-/tool-1.0.0.tgz"
        evil = Plan("npm", plan.root, plan.packages, json.dumps(moved).encode())
        installs.fails(evil, "@corp/tool 1.0.0 would come from .* not from its registry")
        private.stop()
        with pytest.raises(PackageError, match="the registry does not answer"):
            installs.resolve("@corp/tool")


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", data: bytes = b"MALICE") -> tuple[Any, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o755
    info.size = len(data) if kind == tarfile.REGTYPE else 0
    if kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
        info.devmajor, info.devminor = 1, 3
    return info, data


@pytest.mark.parametrize("at", ["bubblewrap", "docker"])
def test_what_a_tarball_must_not_hold_stays_inside(
    registry: Registry, installs: Installs, tmp_path: Path, at: str
) -> None:
    must_have(at)
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o777)
    victim.chmod(0o777)
    evil = [
        member("package/../../../../escaped"),
        member("../../escaped"),
        member(f"{victim}/absolute"),
        member("package/link", tarfile.SYMTYPE, str(victim)),
        member("package/link/through"),
        member("package/up", tarfile.SYMTYPE, "../../../.."),
        member("package/up/through"),
        member("package/hard", tarfile.LNKTYPE, "/etc/passwd"),
        member("package/null", tarfile.CHRTYPE),
        member("package/disk", tarfile.BLKTYPE),
        member("package/pipe", tarfile.FIFOTYPE),
    ]
    name = f"traversal-{at}"
    registry.publish(name, "1.0.0", extra=evil)
    plan = installs.resolve(name, backend=at)
    staging = installs.fresh()
    npm.install(plan, at, staging)
    assert list(victim.iterdir()) == []
    beside = {path.name for path in installs.directory.iterdir()} | {path.name for path in tmp_path.iterdir()}
    assert "escaped" not in beside and not list(installs.directory.rglob("escaped"))
    for path in staging.rglob("*"):
        assert path.is_symlink() or path.is_file() or path.is_dir(), f"{path} is a device or a pipe"
        assert Path(os.path.realpath(path)).is_relative_to(staging), f"{path} leads out"


def test_a_huge_package_is_stopped(
    registry: Registry, installs: Installs, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    root = f"huge-{backend}"
    made = io.BytesIO()
    manifest = json.dumps({"name": root, "version": "1.0.0"}).encode()
    with tarfile.open(fileobj=made, mode="w:gz", compresslevel=1) as tar:
        for name, data in (("package.json", manifest), ("zeros", bytes(200 << 20))):
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    registry.publish(root, "1.0.0", tarball=made.getvalue())
    plan = installs.resolve(root, backend=backend)
    monkeypatch.setattr(npm, "SIZE", 100 << 20)
    installs.fails(plan, "the package is too large: over 100 MiB", backend)


def test_a_package_of_too_many_files_is_stopped(
    registry: Registry, installs: Installs, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.publish("many", "1.0.0", files={f"{number}": "" for number in range(2000)})
    plan = installs.resolve("many")
    monkeypatch.setattr(npm, "COUNT", 1000)
    installs.fails(plan, "the package is too large: over .* or 1000 files")


def test_a_withdrawn_version(registry: Registry, installs: Installs, tmp_path: Path) -> None:
    runner = {"manifest": {"bin": "index.js"}, "files": {"index.js": "#!/usr/bin/env node\nconsole.log('runs')"}}
    registry.publish("withdrawn", "1.0.0", **runner)
    plan = installs.resolve("withdrawn@1.0.0")
    tree = installs.install(plan)

    def withdraw(document: Any) -> None:
        del document["versions"]["1.0.0"], document["time"]["1.0.0"]
        document["dist-tags"], document["_attachments"] = {"latest": "0.9.0"}, {}

    registry.publish("withdrawn", "0.9.0")
    registry.change_document("withdrawn", withdraw)
    registry.stored("withdrawn", "1.0.0").unlink()
    with pytest.raises(PackageError, match="the registry has no such version"):
        installs.resolve("withdrawn@1.0.0")
    installs.fails(plan, "the registry does not have it")
    assert runs(npm.entry(Request("npm", ("withdrawn@1.0.0",)), tree), tree, tmp_path) == "runs\n"


def test_a_registry_that_keeps_its_files_elsewhere(
    registry: Registry, installs: Installs, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address of the file store is the user's to allow, and its bytes are still the registry's word for them."""
    registry.publish("far-files", "1.0.0")
    with Sending(registry) as sending:
        key = sending.url.removeprefix("http:")
        (home / ".npmrc").write_text(f"registry={sending.url}\n{key}:_authToken=secret\nfetch-retries=0\n")
        plan = installs.resolve("far-files")
        assert plan.root.url.startswith(sending.url)
        place = sending.store.removeprefix("http://").rstrip("/")
        with pytest.raises(PackageError) as caught:
            installs.install(plan)
        assert f"a registry sends to {place} for it" in caught.value.message
        assert f'{config.file()}: [packages] hosts = ["{place}"]' in caught.value.hint
        with config.file().open("a") as file:
            file.write(f'[packages]\nhosts = ["{place}"]\n')
        assert (installs.install(plan) / "node_modules/far-files/index.js").is_file()
        assert sending.given == {"front": {"Bearer secret"}, "store": {""}}, "what is the registry's stays there"
        sending.spoiled = True
        installs.fails(plan, "not the one that its hash stands for")


def test_a_registry_that_is_down(registry: Registry, installs: Installs, tmp_path: Path) -> None:
    runner = {"manifest": {"bin": "index.js"}, "files": {"index.js": "#!/usr/bin/env node\nconsole.log('runs')"}}
    registry.publish("down", "1.0.0", **runner)
    plan = installs.resolve("down")
    tree = installs.install(plan)
    registry.stop()
    try:
        with pytest.raises(PackageError, match=r"down cannot be resolved: the registry does not answer"):
            installs.resolve("down")
        installs.fails(plan, "the registry does not answer")
        assert runs(npm.entry(Request("npm", ("down",)), tree), tree, tmp_path) == "runs\n"
    finally:
        registry.start()


def test_a_package_that_is_not_there(installs: Installs) -> None:
    with pytest.raises(PackageError, match="nobody-has-this cannot be resolved: the registry does not have it"):
        installs.resolve("nobody-has-this")


def test_a_registry_without_sha512_is_refused(registry: Registry, installs: Installs) -> None:
    registry.publish("only-sha1", "1.0.0", dist={"integrity": ""})
    with pytest.raises(PackageError, match=r"only-sha1 1\.0\.0: its registry gives no sha512"):
        installs.resolve("only-sha1")


def test_packages_for_other_platforms_are_left_out(registry: Registry, installs: Installs) -> None:
    optional = {}
    for name, fields in {
        "here": {"os": ["linux"]},
        "there": {"os": ["darwin"], "dependencies": {"plat-dep": "*"}},
        "not-here": {"os": ["!linux"]},
        "musl": {"os": ["linux"], "libc": ["musl"]},
        "chip": {"cpu": ["s390x"]},
    }.items():
        registry.publish(f"plat-{name}", "1.0.0", manifest=fields)
        optional[f"plat-{name}"] = "1.0.0"
    registry.publish("plat-dep", "1.0.0")
    registry.publish("plat", "1.0.0", manifest={"optionalDependencies": optional})
    plan = installs.resolve("plat")
    assert summary(plan) == ["plat@1.0.0", "plat-here@1.0.0"]
    assert "node_modules/plat-there" in json.loads(plan.lockfile)["lock"]["packages"]
    tree = installs.install(plan)
    assert {path.name for path in (tree / "node_modules").glob("plat*")} >= {"plat", "plat-here"}
    assert not (tree / "node_modules/plat-there").exists() and not (tree / "node_modules/plat-dep").exists()
    registry.publish("plat-only", "1.0.0", manifest={"dependencies": {"plat-there": "1.0.0"}})
    with pytest.raises(PackageError, match=r"not for (this platform|linux)"):
        installs.resolve("plat-only")


def test_a_bundled_package_is_part_of_its_bundler(registry: Registry, installs: Installs) -> None:
    inner = json.dumps({"name": "inner", "version": "3.0.0"})
    registry.publish(
        "bundler",
        "1.0.0",
        manifest={"dependencies": {"inner": "^3.0.0"}, "bundleDependencies": ["inner"]},
        files={"node_modules/inner/package.json": inner},
    )
    plan = installs.resolve("bundler")
    assert summary(plan) == ["bundler@1.0.0", "inner@3.0.0"]
    assert plan.packages[1].integrity == plan.root.integrity
    assert list(installs.install(plan).rglob("inner/package.json"))


@pytest.mark.parametrize("at, kind", [("bubblewrap", "_authToken"), ("docker", "_authToken"), ("bubblewrap", "_auth")])
def test_a_token_reaches_its_registry_and_nothing_else(
    registry: Registry, installs: Installs, home: Path, at: str, kind: str
) -> None:
    must_have(at)
    name = f"@secret/tool-{at}{kind.lower()}"
    registry.publish(name, "1.0.0", manifest={"scripts": {"install": "env >env.txt; cat ~/.npmrc >rc.txt; true"}})
    with pytest.raises(PackageError, match="the registry wants other credentials"):
        installs.resolve(name, backend=at)
    token, basic = registry.user(f"ann{at}{kind.lower()}")
    secret = token if kind == "_authToken" else basic
    mine = f"//localhost:{registry.port}/:{kind}={secret}"
    configure(home, registry, mine, "//other.example.com/:_authToken=OTHER")
    plan = installs.resolve(name, backend=at)
    tree = installs.install(plan, backend=at, scripts=(name,))
    assert (tree / "node_modules" / name / "env.txt").exists()
    (home / ".npmrc").unlink()
    assert contains(installs.directory, secret.encode()) == [] and secret.encode() not in plan.lockfile
    assert contains(home, secret.encode()) == [], "a journal or a temporary file has it"


def test_a_wrong_certificate_is_refused_and_a_named_authority_accepted(
    installs: Installs, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NODE_EXTRA_CA_CERTS", raising=False)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate = tmp_path / "certificate.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    with Registry(tmp_path / "private", certificate=certificate) as private:
        configure(home, private)
        with pytest.raises(PackageError, match="the registry's certificate is not trusted"):
            installs.resolve("anything")
        configure(home, private, f"cafile={tmp_path}/ca.pem")
        with pytest.raises(PackageError, match="the registry does not have it"):
            installs.resolve("anything")
        # Node does not look at it where npm has a cafile, which a global configuration can give.
        configure(home, private, "cafile=null")
        monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(tmp_path / "ca.pem"))
        with pytest.raises(PackageError, match="the registry does not have it"):
            installs.resolve("anything")


INSTALL = """
import sys
from pathlib import Path
import msgspec
from mcpbox.packages import npm
from mcpbox.packages.model import Plan
plan = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Plan)
npm.install(plan, "bubblewrap", Path(sys.argv[2]), scripts=("killed",))
"""


@pytest.mark.parametrize("stage", ["package-lock.json", "node_modules", "node_modules/killed/building"])
def test_an_install_killed_at_any_stage_leaves_nothing_running(
    registry: Registry, installs: Installs, tmp_path: Path, stage: str
) -> None:
    import msgspec

    build = "touch building; while [ ! -e go ]; do sleep 0.05; done"
    if not registry.stored("killed", "1.0.0").exists():
        registry.publish(
            "killed", "1.0.0", manifest={"scripts": {"install": build}}, files={"big": os.urandom(20 << 20)}
        )
    plan = installs.resolve("killed")
    (tmp_path / "plan").write_bytes(msgspec.json.encode(plan))
    staging = installs.fresh()
    process = subprocess.Popen([sys.executable, "-c", INSTALL, str(tmp_path / "plan"), str(staging)])
    assert eventually(lambda: (staging / stage).exists() or process.poll() is not None, 60)
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()

    def gone() -> bool:
        # As any later command does, for a bubblewrap that waits for the one that was killed.
        sessions.reap()
        return not _users(staging)

    assert eventually(gone)
    again = installs.fresh()
    (tmp_path / "go").touch()
    npm.install(plan, BUBBLEWRAP, again)
    assert (again / "node_modules/killed/big").stat().st_size == 20 << 20


def _users(directory: Path) -> list[str]:
    """Processes with ``directory`` among their words or as their current directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace")
            if str(directory) in words or str(directory) in os.readlink(process / "cwd"):
                found.append(words)
        except OSError:
            continue
    return found


PRIVATE = """
set -e
mount --make-rprivate /
ip link set lo up
ip address add 10.20.30.40/32 dev lo
printf '127.0.0.1 localhost\\n10.20.30.40 registry.corp.example\\n' >hosts
mount --bind hosts /etc/hosts
exec "$0" -c "$1"
"""
AT_PRIVATE = """
import os, sys
from pathlib import Path
sys.path[:0] = os.environ["TESTS"].split(":")
from packages.registry import Registry, Sending
from mcpbox.packages import npm
from mcpbox.packages.model import Request
# Only now: the tests' own modules take the home directory that they find for the real one.
os.environ["HOME"] = os.environ["THEN"]
with Registry(Path("registry"), host="registry.corp.example") as registry:
    registry.publish("internal", "1.0.0")
    Path(os.environ["HOME"], ".npmrc").write_text(f"registry={registry.url}")
    work, staging = Path("work").absolute(), Path("staging").absolute()
    work.mkdir(), staging.mkdir()
    npm.install(npm.resolve(Request("npm", ("internal",)), "bubblewrap", work), "bubblewrap", staging)
    print("installed", (staging / "node_modules/internal/index.js").exists())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a network that has a private address")
def test_a_registry_at_a_private_address(tmp_path: Path) -> None:
    tests = f"{Path(__file__).parent}:{Path(__file__).parent.parent}"
    done = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", PRIVATE, sys.executable, AT_PRIVATE],
        cwd=tmp_path,
        env={**os.environ, "TESTS": tests, "HOME": "/", "THEN": os.environ["HOME"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.endswith("installed True\n"), done.stderr


@pytest.mark.parametrize("names", [(), ("ann",), ("ann", "bob")])
def test_who_maintains_a_version_by_the_registrys_word(registry: Registry, names: tuple[str, ...]) -> None:
    package = f"maintained-by-{len(names)}"
    people = [{"name": name, "email": f"{name}@example.com"} for name in names]
    registry.publish(package, "1.0.0", manifest={"maintainers": people})
    assert npm.maintainers(package, "1.0.0", BUBBLEWRAP) == names
    with pytest.raises(PackageError, match=r"the registry (does not have it|has no such version)"):
        npm.maintainers(package, "9.0.0", BUBBLEWRAP)


NODE = "#!/usr/bin/env node\n"


@pytest.mark.parametrize(
    "bins, program, expected",
    [
        ("cli.js", "", ("node", "cli.js")),
        ({"other-name": "cli.js"}, "", ("node", "cli.js")),
        ({"a": "cli.js", "b": "./cli.js"}, "tool-x", "there is no program tool-x"),
        ({"a": "cli.js", "b": "cli.js"}, "", ("node", "cli.js")),
        ({"tool": "cli.js", "b": "flags.js"}, "", ("node", "cli.js")),
        ({"a": "cli.js", "b": "flags.js"}, "", "@scope/tool has several programs: a, b"),
        ({"a": "cli.js", "b": "flags.js"}, "b", ("node", "--no-warnings", "flags.js")),
        ({}, "", "@scope/tool has no program"),
        ({"tool": "plain.mjs"}, "", ("node", "plain.mjs")),
        ({"tool": "native"}, "", ("native",)),
        ({"tool": "data"}, "", "neither executable nor a script for node"),
        ({"tool": "../../../outside.js"}, "", "not a file of the package"),
        ({"tool": "link.js"}, "", "not a file of the package"),
        ({"tool": "missing.js"}, "", "not a file of the package"),
        ("cli.js", "../evil", "not the name of a program"),
        ("cli.js", "helper", ("node", "../../dep/helper.js")),
    ],
)
def test_the_program_is_the_one_that_npx_chooses(
    tmp_path: Path, bins: object, program: str, expected: tuple[str, ...] | str
) -> None:
    package = tmp_path / "tree/node_modules/@scope/tool"
    package.mkdir(parents=True)
    (tmp_path / "outside.js").write_text(NODE)
    (package / "package.json").write_text(json.dumps({"name": "@scope/tool", "version": "1.0.0", "bin": bins}))
    for name, text in {
        "cli.js": NODE,
        "flags.js": "#!/usr/bin/env -S node --no-warnings\n",
        "plain.mjs": "import 'x'\n",
        "native": "\x7fELF",
        "data": "text",
    }.items():
        (package / name).write_text(text)
    (package / "native").chmod(0o755)
    (package / "link.js").symlink_to(tmp_path / "outside.js")
    (tmp_path / "tree/node_modules/dep").mkdir()
    (tmp_path / "tree/node_modules/dep/helper.js").write_text(NODE)
    (tmp_path / "tree/node_modules/.bin").mkdir()
    (tmp_path / "tree/node_modules/.bin/helper").symlink_to("../dep/helper.js")
    request = Request("npm", ("@scope/tool@^1",), program)
    if isinstance(expected, str):
        with pytest.raises(PackageError, match=expected):
            npm.entry(request, tmp_path / "tree")
        return
    script = os.path.normpath(package / expected[-1])
    assert npm.entry(request, tmp_path / "tree") == (*expected[:-1], script)


@pytest.mark.parametrize("server", ["@modelcontextprotocol/server-memory"])
def test_a_published_server_installs_from_the_configured_registry(
    installs: Installs, home: Path, server: str, backend: str
) -> None:
    (home / ".npmrc").unlink()
    plan = installs.resolve(server, backend=backend)
    assert plan.root.name == server and len(plan.packages) > 20
    words = npm.entry(Request("npm", (server,)), installs.install(plan, backend=backend))
    assert words[0] == "node" and words[1].endswith("/node_modules/@modelcontextprotocol/server-memory/dist/index.js")
