from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpbox import command
from mcpbox.command import Command
from mcpbox.errors import McpboxError, Unprepared, UsageError


def resolve(*argv: str, home: Path, path: str = "/usr/bin:/bin", cwd: Path | None = None) -> Command:
    return command.resolve(argv, path=path, cwd=str(cwd or home), home=str(home), backend=lambda _: "bubblewrap")


def executable(path: Path, text: str = "\x7fELF") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def package(root: Path, name: str, script: str = "dist/index.js") -> Path:
    directory = root / "node_modules" / name
    (directory / script).parent.mkdir(parents=True)
    (directory / script).write_text("")
    (directory / "package.json").write_text(json.dumps({"name": name}))
    return directory / script


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        ((), "no command"),
        (("",), "no command"),
        (("npx", "-c", "pkg --flag"), "npx -c: not accepted"),
        (("env", "A=1", "npx", "git+https://example.org/x"), "a repository has no version"),
        (("/usr/bin/uvx", "--refresh", "pkg"), "uvx --refresh: not accepted"),
        (("uv run server.py",), "runs a project"),
        (("bash", "-c", "a && b"), "more than one plain command"),
        (("sh", "-c", "echo $HOME"), "more than one plain command"),
        (("cmd", "/c", "npx"), "Windows"),
        (("mcpbox", "wrap", "--", "x"), "already wrapped"),
        (("no-such-program",), "not found in PATH (/usr/bin:/bin)"),
        (("/no/such/program",), "no such program"),
        (("python3", "/no/such.py"), "no such file"),
        (("docker", "run", "-v", "/:/host", "image"), "-v: not passed on"),
        (("docker", "run", "--privileged", "image"), "--privileged: not passed on"),
        (("docker", "run", "--network=host", "image"), "--network: not passed on"),
        (("docker", "run", "-i"), "without an image"),
        (("x\0y",), "NUL"),
        (("env", "-i", "KEY=hidden", "x"), "behind env"),
        (("sh", "-c", "KEY=hidden"), "behind env"),
        (("npx", "-y", "git+https://x:hidden@h.example/y.git"), "git+https://…@h.example/y.git: a repository"),
        (("x --key 'hidden",), "one line: No closing quotation"),
    ],
)
def test_what_cannot_be_run_says_why(argv: tuple[str, ...], reason: str, home: Path) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(*argv, home=home)
    assert reason in caught.value.message and "hidden" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    ("argv", "key"),
    [
        (("npx", "-y", "@a/b"), "npm:@a/b"),
        (("env", "A=1", "/usr/bin/npx", "@a/b", "--flag"), "npm:@a/b"),
        (("bash", "-lc", "uvx --from p==1 b"), "pypi:p==1"),
        (("pipx run p",), "pypi:p"),
    ],
)
def test_a_package_that_is_not_installed_is_named_and_never_fetched(
    argv: tuple[str, ...], key: str, home: Path
) -> None:
    asked = []

    def choose(identities: tuple[str, ...]) -> str:
        asked.append(identities)
        return "docker"

    with pytest.raises(Unprepared) as caught:
        command.resolve(argv, path="/nowhere", cwd="/", home=str(home), backend=choose)
    assert (caught.value.request.key, caught.value.backend) == (key, "docker")
    assert asked == [(key.partition("==")[0],)]


@given(st.lists(st.text(), max_size=4))
def test_any_words_resolve_or_raise_an_expected_error(argv: list[str]) -> None:
    try:
        command.resolve(argv, path="/nowhere", cwd="/", home="/home/x")
    except McpboxError:
        pass


def test_a_published_package_is_known_by_its_name(home: Path) -> None:
    script = package(home / "lib", "@scope/server")
    found = resolve("node", str(script), "--flag", home=home)
    assert found.identities == ("npm:@scope/server",)
    assert found.trees == (str(home / "lib" / "node_modules"),)
    assert found.arguments == ("--flag",) and found.interpreter == "node"


def test_a_package_that_lies_about_its_name_is_nobody(home: Path) -> None:
    script = package(home / "lib", "server")
    (script.parents[1] / "package.json").write_text('{"name": "@scope/server"}')
    assert resolve("node", str(script), home=home).identities == ()


def test_a_project_of_ones_own_claims_no_name(home: Path) -> None:
    project = home / "project"
    (project / "build").mkdir(parents=True)
    (project / "build" / "index.js").write_text("")
    (project / "package.json").write_text('{"name": "@scope/server"}')
    found = resolve("node", "--require", "x.js", "build/index.js", home=home, cwd=project)
    assert found.identities == () and found.trees == (str(project),)
    assert found.argv[3] == str(project / "build" / "index.js")


def test_hoisted_and_linked_dependencies_come_along(home: Path) -> None:
    workspace = home / "work" / "packages" / "server"
    workspace.mkdir(parents=True)
    (workspace / "index.js").write_text("")
    (workspace / "package.json").write_text("{}")
    linked = home / "elsewhere"
    linked.mkdir()
    (linked / "package.json").write_text("{}")
    (home / "work" / "node_modules").mkdir()
    (workspace / "node_modules").mkdir()
    (workspace / "node_modules" / "linked").symlink_to(linked)
    trees = resolve("node", str(workspace / "index.js"), home=home).trees
    assert set(trees) == {str(workspace), str(home / "work" / "node_modules"), str(linked)}


def test_a_link_to_a_program_shows_nothing_that_it_does_not_lead_to(home: Path) -> None:
    (home / "documents").mkdir()
    checkout = home / "src" / "checkout"
    (checkout / "a" / "b" / "c").mkdir(parents=True)
    (checkout / "documents").symlink_to("/usr/bin/env")
    (checkout / "down").symlink_to("a/b/c")
    # By its text "~/documents", and in truth "documents" of the checkout.
    (checkout / "run").symlink_to("down/../../../documents")
    assert (checkout / "run").resolve() == Path("/usr/bin/env").resolve()
    assert resolve(str(checkout / "run"), home=home).trees == (str(checkout / "run"),)


def test_links_of_a_checkout_show_nothing_that_is_no_package(home: Path) -> None:
    private = home / "documents" / "taxes"
    private.mkdir(parents=True)
    project = home / "checkout" / "packages" / "server"
    (project / "node_modules" / "@scope").mkdir(parents=True)
    for name in ("index.js", "package.json"):
        (project / name).write_text("{}")
    (project / "node_modules" / "x").symlink_to(private)
    (project / "node_modules" / "@scope" / "y").symlink_to(private.parent)
    (home / "checkout" / "node_modules").symlink_to(private)
    assert resolve("node", str(project / "index.js"), home=home).trees == (str(project),)


def test_a_script_in_the_home_directory_is_mounted_alone(home: Path) -> None:
    (home / "server.py").write_text("")
    (home / "package.json").write_text("{}")
    (home / "server.js").write_text("")
    assert resolve("python3", str(home / "server.py"), home=home).trees == (str(home / "server.py"),)
    assert resolve("node", str(home / "server.js"), home=home).trees == (str(home / "server.js"),)


def test_a_shebang_leads_to_the_interpreter(home: Path) -> None:
    script = executable(home / "bin" / "server", "#!/usr/bin/env -S node --no-warnings\n")
    found = resolve(str(script), "arg", home=home)
    assert found.interpreter == "node" and found.argv[1:] == ("--no-warnings", str(script), "arg")


def test_a_version_managers_node_brings_its_own_prefix_only(home: Path) -> None:
    node = executable(home / ".nvm" / "versions" / "node" / "v22" / "bin" / "node")
    (node.parents[1] / "lib").mkdir()
    (home / ".nvm" / "current").symlink_to(node.parents[1])
    script = package(home / "lib", "server")
    found = resolve("node", str(script), home=home, path=str(home / ".nvm" / "current" / "bin"))
    assert str(node.parents[1]) in found.trees
    assert str(home / ".nvm") not in found.trees


def test_a_program_in_local_bin_does_not_bring_local_along(home: Path) -> None:
    program = executable(home / ".local" / "bin" / "server")
    (home / ".local" / "lib").mkdir()
    assert resolve("server", home=home, path=str(program.parent)).trees == (str(program),)


def test_a_shim_is_followed_by_asking_its_manager(home: Path) -> None:
    real = executable(home / ".pyenv" / "versions" / "3.12" / "bin" / "python3.12")
    (real.parents[1] / "lib").mkdir()
    executable(home / ".pyenv" / "bin" / "pyenv", f"#!/bin/sh\necho {real}\n")
    executable(home / ".pyenv" / "shims" / "python3", "#!/usr/bin/env bash\nexec pyenv exec\n")
    (home / "code").mkdir()
    (home / "code" / "s.py").write_text("")
    found = resolve("python3", "code/s.py", home=home, path=f"{home}/.pyenv/shims:/usr/bin:/bin")
    assert found.argv[0] == str(real) and str(real.parents[1]) in found.trees


def test_a_relative_directory_of_path_is_the_working_directory_s(home: Path) -> None:
    tool = executable(home / "project" / "bin" / "tool")
    assert resolve("tool", home=home, path="bin:/usr/bin", cwd=home / "project").argv == (str(tool),)


def test_a_manager_of_the_working_directory_is_never_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executable(home / ".pyenv" / "shims" / "server")
    executable(home / "project" / "pyenv", f"#!/bin/sh\ntouch {home}/ran\necho /usr/bin/env\n")
    monkeypatch.chdir(home / "project")
    with pytest.raises(UsageError, match="a shim of pyenv, which is not found"):
        resolve("server", home=home, path=f".:{home}/.pyenv/shims:/usr/bin:/bin", cwd=home / "project")
    assert not (home / "ran").exists()


@pytest.mark.parametrize("shims", ["pyenv/shims", ".pyenv/shims", ".local/share/mise/shims", ".volta/bin"])
def test_a_manager_that_is_not_the_user_s_own_is_never_run(shims: str, home: Path, tmp_path: Path) -> None:
    """A cloned repository may bring one along, and ``status`` reads what its files name."""
    ran = tmp_path / "ran"
    name = next(name for name in ("pyenv", "mise", "volta") if name in shims)
    for directory in (tmp_path / shims, (tmp_path / shims).parent / "bin", (tmp_path / shims).parent / "libexec"):
        executable(directory / name, f"#!/bin/sh\ntouch {ran}\necho /usr/bin/true\n")
    shim = executable(tmp_path / shims / "server")
    if shims.endswith("/bin"):
        assert resolve(str(shim), home=home).argv == (str(shim),)
    else:
        with pytest.raises(UsageError, match=f"looks like a shim of {name}, and is not in ~/"):
            resolve(str(shim), home=home)
    assert not ran.exists()


@pytest.mark.parametrize(
    ("first", "reason"), [("#!{path}", "one script after the other"), ('#!/bin/"x', "first line cannot be read")]
)
def test_a_first_line_that_leads_nowhere(first: str, reason: str, home: Path) -> None:
    script = executable(home / "bin" / "server", first.format(path=home / "bin" / "server") + "\n")
    with pytest.raises(UsageError, match=reason):
        resolve(str(script), home=home)


def test_a_virtual_environment_names_the_distribution(home: Path) -> None:
    venv = home / "venv"
    site = venv / "lib" / "python3.11" / "site-packages"
    info = site / "MCP_Server.Time-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "RECORD").write_text("mcp_server_time/__init__.py,,\n../../../bin/mcp-server-time,,\n")
    (venv / "bin").mkdir()
    (venv / "bin" / "python").symlink_to("/usr/bin/python3")
    (venv / "pyvenv.cfg").write_text("home = /usr/bin\n")
    (home / "editable").mkdir()
    (site / "x.pth").write_text(f"{home}/editable\nimport os\n")
    script = executable(venv / "bin" / "mcp-server-time", f"#!{venv}/bin/python\n")
    for argv in ((f"{venv}/bin/python", "-u", "-m", "mcp_server_time", "--zone=UTC"), (str(script), "--zone=UTC")):
        found = resolve(*argv, home=home)
        assert found.identities == ("pypi:mcp-server-time",), argv
        assert found.arguments == ("--zone=UTC",)
        assert set(found.trees) == {str(venv), str(home / "editable")}
        assert found.environment["VIRTUAL_ENV"] == str(venv)


@pytest.mark.parametrize(
    "argv",
    [
        ("env", "A=1", "/usr/bin/env"),
        ("env", "-S", "A=1 /usr/bin/env"),
        ("sh", "-c", "A=1 /usr/bin/env"),
        ("A=1 /usr/bin/env",),
    ],
)
def test_env_becomes_environment(argv: tuple[str, ...], home: Path) -> None:
    real = os.path.realpath("/usr/bin/true")
    found = resolve(*argv[:-1], argv[-1].replace("/usr/bin/env", real), home=home)
    assert found.environment == {"A": "1"} and found.argv == (real,)


ENDLESS = """
import resource, sys
from mcpbox import command
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
words, home = sys.argv[2:], sys.argv[1]
print(command.resolve(words, path="/usr/bin:/bin", cwd=home, home="/nowhere").identities)
"""


@pytest.mark.parametrize(
    ("endless", "words"),
    [
        ("node_modules/a/package.json", ["node", "node_modules/a/x.js"]),
        ("venv/lib/python3.11/site-packages/a.pth", ["venv/bin/python", "x.py"]),
        ("venv/lib/python3.11/site-packages/a-1.dist-info/RECORD", ["venv/bin/python", "-m", "a"]),
    ],
)
def test_a_file_without_an_end_is_not_read_through(endless: str, words: list[str], tmp_path: Path) -> None:
    """A checkout may have a link in the place of any of these."""
    (tmp_path / "node_modules" / "a").mkdir(parents=True)
    (tmp_path / "node_modules" / "a" / "x.js").touch()
    (tmp_path / "x.py").touch()
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").symlink_to("/usr/bin/python3")
    (tmp_path / "venv" / "pyvenv.cfg").touch()
    (tmp_path / endless).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / endless).symlink_to("/dev/zero")
    done = subprocess.run(
        [sys.executable, "-c", ENDLESS, tmp_path, *words], capture_output=True, text=True, check=False
    )
    assert done.stdout == "()\n", done.stderr


def test_a_line_in_one_word_is_split(home: Path) -> None:
    assert resolve("/usr/bin/true a 'b c'", home=home).argv[1:] == ("a", "b c")
    assert resolve("bash", "-lc", "/usr/bin/true a", home=home).argv[1:] == ("a",)


def test_docker_run_names_the_variables_that_it_passes_on(home: Path) -> None:
    found = resolve("docker", "run", "-e", "TOKEN", "--env", "A=b", "image", home=home)
    assert found.passed == ("TOKEN",) and found.environment == {"A": "b"}


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("mcp/time", "mcp/time"),
        ("docker.io/mcp/time:1.2", "mcp/time"),
        ("index.docker.io/library/redis", "redis"),
        ("index.ghcr.io/a/b", "index.ghcr.io/a/b"),
        ("ghcr.io/a/b:1@sha256:0123", "ghcr.io/a/b"),
        ("localhost:5000/a", "localhost:5000/a"),
    ],
)
def test_an_image_has_one_name_whatever_its_tag(image: str, name: str, home: Path) -> None:
    assert resolve("docker", "run", "-i", image, home=home).identities == (f"image:{name}",)


def test_docker_run_keeps_the_image_and_its_arguments(home: Path) -> None:
    found = resolve("docker", "run", "-i", "--rm", "-e", "A=b=c", "--name=x", "ghcr.io/a/b:1", "stdio", home=home)
    assert found.image == "ghcr.io/a/b:1" and found.argv == ("stdio",) and found.environment == {"A": "b=c"}


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["docker", "run", "-i", "-e", "KEY=s3cr3t", "some/image", "--key=s3cr3t"], ["some/image"]),
        (["python3", "-c", "key = 's3cr3t'", "s3cr3t"], ["python3"]),
        (["python3", "-u", "-cs3cr3t"], ["python3", "-u"]),
        (["env", "KEY=s3cr3t", "node", "-e", "s3cr3t()"], ["node"]),
        (["node", "--print=s3cr3t"], ["node"]),
        (["python3", "-m", "json", "--key", "s3cr3t"], ["python3", "-m", "json"]),
    ],
)
def test_what_is_put_on_record_holds_no_argument(words: list[str], shown: list[str], home: Path) -> None:
    program, *rest = resolve(*words, home=home).program
    assert shown[0] in program and rest == shown[1:]
