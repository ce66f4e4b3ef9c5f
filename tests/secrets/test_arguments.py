"""The commands that put secrets into a server's own list of arguments, run with the interpreters of this machine."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from conftest import PYTHON

from mcpbox.errors import SecretError
from mcpbox.packages.pypi_entry import START
from mcpbox.secrets import arguments

WORD = "--url=postgresql://u:mcpbox-secret:pg/password@h"
VALUE = "--url=postgresql://u:p w'\"\n$x@h"
SHOW = "import json, os, sys; print(json.dumps([sys.argv, sys.path[0], __name__, 'MCPBOX_ARGUMENTS' in os.environ]))"


def run(argv: tuple[str, ...], own: int, cwd: Path, interpreter: str = "python") -> tuple[list[object], list[str]]:
    words = arguments.command(argv, own, interpreter, str(cwd / "preload.cjs"))
    assert VALUE not in words and WORD in words
    environment = {"PATH": "/usr/bin", arguments.VARIABLE: arguments.variable({WORD: VALUE})}
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout), done.stderr.splitlines()


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "module.py").write_text(SHOW)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__main__.py").write_text(SHOW)
    (tmp_path / "preload.cjs").write_text(arguments.NODE)
    return tmp_path


def test_a_script_sees_what_it_would_have_seen(code: Path) -> None:
    script = str(code / "module.py")
    plain: tuple[tuple[str, ...], ...] = ((), ("-u", "-B"), ("-u", "--"))
    for options in plain:
        found, _ = run((PYTHON, *options, script, "a", WORD), 2, code)
        assert found == [[script, "a", VALUE], str(code), "__main__", False]
    isolated: tuple[tuple[str, ...], ...] = (("-I",), ("-s", "-E"))
    for options in isolated:
        found, _ = run((PYTHON, *options, script, WORD), 1, code)
        assert found[0] == [script, VALUE]


def test_a_module_sees_what_it_would_have_seen(code: Path) -> None:
    found, _ = run((PYTHON, "-m", "module", WORD), 1, code)
    assert found == [[str(code / "module.py"), VALUE], "", "__main__", False]
    found, _ = run((PYTHON, "-m", "package", WORD), 1, code)
    assert found[0] == [str(code / "package" / "__main__.py"), VALUE]
    found, _ = run((PYTHON, str(code / "package"), WORD), 1, code)
    assert found[0] == [str(code / "package"), VALUE] and found[1] == str(code / "package")


def test_nothing_in_the_working_directory_is_imported_beside_the_values(code: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "project"
    elsewhere.mkdir()
    for name in ("json", "base64", "runpy"):
        (elsewhere / f"{name}.py").write_text("raise SystemExit('what the project has was run')")
    (code / "script.py").write_text("print()")
    words = arguments.command((PYTHON, str(code / "script.py"), WORD), 1, "python", "")
    environment = {"PATH": "/usr/bin", arguments.VARIABLE: arguments.variable({WORD: VALUE})}
    done = subprocess.run(words, cwd=elsewhere, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_installed_package_sees_it(code: Path) -> None:
    abi = subprocess.run(
        [PYTHON, "-c", "from importlib.machinery import *; print(EXTENSION_SUFFIXES[0].strip('.').rpartition('.')[0])"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    (code / "entry.py").write_text(f"def main():\n    __name__ = 'called'\n    {SHOW}")
    start = START.replace("{values}", repr((str(code), abi, "/tree/bin/program", "entry", "main")))
    found, _ = run((PYTHON, "-I", "-S", "-c", start, WORD), 1, code)
    assert found[0] == ["/tree/bin/program", VALUE]


def test_a_process_of_its_own_that_python_starts_still_works(code: Path) -> None:
    script = code / "spawns.py"
    script.write_text(
        "import json, multiprocessing, sys\ndef work(n):\n    return n + 1\n"
        "if __name__ == '__main__':\n    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print(json.dumps([sys.argv[1:], pool.map(work, [1])]))\n"
    )
    assert run((PYTHON, str(script), WORD), 1, code)[0] == [[VALUE], [2]]


@pytest.mark.parametrize("suffix", ["cjs", "mjs"])
def test_node_sees_it(code: Path, suffix: str) -> None:
    script = code / f"server.{suffix}"
    head = "" if suffix == "cjs" else "import {Worker} from 'node:worker_threads';\n"
    script.write_text(head + "console.log(JSON.stringify([process.argv.slice(1), Object.keys(process.env)]));\n")
    found, _ = run(("/usr/bin/node", "--no-warnings", str(script), WORD), 1, code, "node")
    assert found[0] == [str(script), VALUE] and "MCPBOX_ARGUMENTS" not in str(found[1])


@pytest.mark.parametrize(
    ("argv", "interpreter"),
    [(("/usr/bin/server", WORD), "other"), ((PYTHON, WORD), "python"), (("/bin/n", WORD), "node")],
)
def test_any_other_program_is_refused(argv: tuple[str, ...], interpreter: str) -> None:
    with pytest.raises(SecretError, match="it is no program of Node or Python") as failure:
        arguments.command(argv, 1, interpreter, "/preload")
    assert "in a variable" in failure.value.hint


def test_bytes_that_are_not_utf8_arrive(code: Path) -> None:
    value = b"\xff\xfe\x80".decode(errors="surrogateescape")
    show = code / "bytes.py"
    show.write_text("import os, sys; print(list(os.fsencode(sys.argv[1])))")
    words = arguments.command((PYTHON, str(show), WORD), 1, "python", "")
    environment = {**os.environ, arguments.VARIABLE: arguments.variable({WORD: value})}
    assert subprocess.run(words, env=environment, capture_output=True, check=True).stdout == b"[255, 254, 128]\n"
