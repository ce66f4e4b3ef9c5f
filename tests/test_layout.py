"""The structure that the design promises: who imports whom, what is pure, what the start path may cost."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mcpbox
from mcpbox import cli, options

PACKAGE = Path(mcpbox.__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}
PURE = (
    "mcpbox.actions",
    "mcpbox.arguments",
    "mcpbox.audit.chain",
    "mcpbox.audit.report",
    "mcpbox.bounded",
    "mcpbox.command.container",
    "mcpbox.command.model",
    "mcpbox.definitions",
    "mcpbox.detect",
    "mcpbox.detect.attacks",
    "mcpbox.detect.confusable",
    "mcpbox.detect.cues",
    "mcpbox.detect.deeds",
    "mcpbox.detect.engine",
    "mcpbox.detect.entries",
    "mcpbox.detect.entropy",
    "mcpbox.detect.hits",
    "mcpbox.detect.instructions",
    "mcpbox.detect.mentions",
    "mcpbox.detect.known",
    "mcpbox.detect.masks",
    "mcpbox.detect.names",
    "mcpbox.detect.personal",
    "mcpbox.detect.phrases",
    "mcpbox.detect.placeholders",
    "mcpbox.detect.sensitive",
    "mcpbox.detect.tokens",
    "mcpbox.detect.unicode",
    "mcpbox.detect.urls",
    "mcpbox.digests",
    "mcpbox.draft",
    "mcpbox.egress.dns",
    "mcpbox.egress.endpoints",
    "mcpbox.egress.ledger",
    "mcpbox.egress.mux",
    "mcpbox.egress.names",
    "mcpbox.egress.rules",
    "mcpbox.egress.sniff",
    "mcpbox.elicit",
    "mcpbox.errors",
    "mcpbox.flows.fingerprint",
    "mcpbox.held",
    "mcpbox.hosts",
    "mcpbox.hosts.document",
    "mcpbox.hosts.entries",
    "mcpbox.hosts.flow",
    "mcpbox.hosts.jsontext",
    "mcpbox.hosts.model",
    "mcpbox.hosts.record",
    "mcpbox.hosts.rewrite",
    "mcpbox.hosts.shapes",
    "mcpbox.hosts.tomltext",
    "mcpbox.hosts.tree",
    "mcpbox.hosts.values",
    "mcpbox.hosts.yamltext",
    "mcpbox.jsonrpc",
    "mcpbox.listing",
    "mcpbox.naming",
    "mcpbox.packages.lookalike",
    "mcpbox.packages.model",
    "mcpbox.packages.npmtree",
    "mcpbox.packages.sbom",
    "mcpbox.packages.spec",
    "mcpbox.patterns",
    "mcpbox.pinning.canonical",
    "mcpbox.pinning.diff",
    "mcpbox.records",
    "mcpbox.sandbox.base",
    "mcpbox.secrets.arguments",
    "mcpbox.secrets.packing",
    "mcpbox.secrets.reference",
    "mcpbox.session",
    "mcpbox.shown",
    "mcpbox.tables",
    "mcpbox.tasks",
    "mcpbox.texts",
    "mcpbox.trail.baseline",
    "mcpbox.trail.cef",
    "mcpbox.trail.entries",
    "mcpbox.trail.evidence",
    "mcpbox.trail.fields",
    "mcpbox.trail.learning",
    "mcpbox.trail.lines",
    "mcpbox.trail.ocsf",
    "mcpbox.trail.otlp",
    "mcpbox.trail.plainforms",
    "mcpbox.trail.replay",
    "mcpbox.trail.shapes",
    "mcpbox.trail.suggest",
    "mcpbox.trail.toml",
    "mcpbox.waiting",
)
IMPURE = {
    "os",
    "socket",
    "subprocess",
    "time",
    "select",
    "threading",
    "pathlib",
    "docker",
    "psutil",
    "keyring",
    "click",
}
#: What may be imported before the server is started, from outside the standard library.
START_PATH = {"msgspec"} if sys.platform == "linux" else {"msgspec", "platformdirs"}


def imports(path: Path, *, top_level_only: bool = False) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(
    "module", sorted(name for name in MODULES if name in PURE or name.startswith("mcpbox.policy."))
)
def test_the_pure_middle_imports_nothing_that_does_io(module: str) -> None:
    assert not {name.partition(".")[0] for name in imports(MODULES[module])} & IMPURE


def test_each_module_says_what_it_does_and_whether_it_does_io() -> None:
    said = {name: ast.get_docstring(ast.parse(path.read_text())) or "" for name, path in MODULES.items()}
    assert {name for name, text in said.items() if not text.partition("\n\n")[0].endswith((".", ":"))} == set()
    rules = {name for name in MODULES if name.startswith("mcpbox.policy.")}
    assert {name for name, text in said.items() if re.search(r"\bNo I/O\b", text)} == {*PURE} | rules


def test_imports_make_no_cycle() -> None:
    edges = {
        name: {found for found in imports(path, top_level_only=True) if found in MODULES and found != name}
        for name, path in MODULES.items()
    }
    while leaves := {name for name, needs in edges.items() if not needs & edges.keys()}:
        for name in leaves:
            del edges[name]
    # What is left are packages that their own modules import from, which Python allows.
    assert {name for name in edges if not any(other.startswith(f"{name}.") for other in MODULES)} == set()


def test_policies_and_commands_do_not_import_each_other() -> None:
    for package in ("policy", "commands"):
        shared = {f"mcpbox.{package}.base", f"mcpbox.{package}.table"}
        siblings = {name for name in MODULES if name.startswith(f"mcpbox.{package}.")} - shared
        for name in siblings:
            assert not set(imports(MODULES[name])) & (siblings - {name}), name


def test_modules_are_short() -> None:
    long = {name: count for name, path in MODULES.items() if (count := len(path.read_text().splitlines())) > 420}
    # Catalogues: the probe is one table and a small function for each of its rows, the hosts are nothing but a table.
    assert set(long) <= {"mcpbox.probe", "mcpbox.hosts"}


def test_each_test_module_has_a_name_of_its_own() -> None:
    """pytest imports them by it, so two of one name cannot run together; in halves that would not show."""
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert {name for name in names if names.count(name) > 1} == set()


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; before = set(sys.modules); {statement}; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


START = (
    "import mcpbox.cli, mcpbox.lean; mcpbox.lean.import_lean(); "
    "import mcpbox.wrap, mcpbox.sandbox.bubblewrap, mcpbox.paths; mcpbox.paths.config_dir()"
)


def test_a_sandbox_is_begun_before_what_only_a_running_server_needs_is_imported() -> None:
    loaded = loaded_by(START)
    assert not loaded & {"mcpbox.relay", "mcpbox.session", "mcpbox.wire", "mcpbox.policy", "mcpbox.jsonrpc"}
    # Milliseconds each, and not needed where there is no profile, no script and no egress.
    assert not loaded & {"subprocess", "tomllib", "difflib", "shlex", "selectors", "locale", "ctypes", "tempfile"}
    assert not loaded & {"typing_extensions", "textwrap", "platform", "urllib.parse", "ipaddress"}
    assert len(loaded) <= 120


def test_the_start_path_imports_what_it_needs_and_no_more() -> None:
    loaded = loaded_by(f"{START}; mcpbox.wrap._import_relay()")
    # Its patterns are compiled while the server starts; here it is still held back.
    assert "mcpbox.policy.table" not in loaded
    outside = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names) - {"mcpbox"}
    assert {name for name in outside if not name.startswith("_")} <= START_PATH
    assert not loaded & {"asyncio", "docker", "psutil", "keyring", "http.client", "logging", "unittest", "ssl", "email"}
    assert len(loaded) <= 130


def test_what_stands_on_the_wire_leaves_to_the_first_call_what_a_greeting_does_not_need() -> None:
    loaded = loaded_by(
        f"{START}; mcpbox.wrap._import_relay(); import mcpbox.policy.table, mcpbox.detect.attacks, "
        "mcpbox.detect.masks, mcpbox.flows.store, mcpbox.pinning.store, ahocorasick_rs"
    )
    assert not loaded & {
        f"mcpbox.detect.{name}" for name in ("entries", "sensitive", "personal", "names", "confusable")
    }
    # OpenSSL with its hashes, and the slow way to a canonical form.
    assert not loaded & {"_hashlib", "rfc8785", "calendar", "mcpbox.flows.fingerprint"}
    assert len(loaded) <= 185


def test_reading_a_secret_does_not_import_the_keyring_library() -> None:
    loaded = loaded_by(
        "import mcpbox.secrets.launch; from mcpbox.secrets import keyrings, secretservice; keyrings.KINDS"
    )
    assert "secretstorage" in loaded and not loaded & {"keyring", "http.client", "email", "importlib_metadata"}


def test_only_one_module_imports_the_keyring_library() -> None:
    for name, path in MODULES.items():
        assert name == "mcpbox.secrets.keyrings" or "keyring" not in {
            found.partition(".")[0] for found in imports(path)
        }


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("wrap -- node x --flag -- y", ({}, ["node", "x", "--flag", "--", "y"])),
        ("wrap --profile p --host cursor -- x", ({"profile": "p", "host": "cursor"}, ["x"])),
        ("wrap x", None),
        ("wrap --profile -- x", None),
        ("wrap --profile=p -- x", None),
        ("wrap --backend podman -- x", None),
        ("wrap --profil p -- x", None),
        ("wrap --host a --host b -- x", None),
        ("wrap --env A --host h --env B -- x", ({"host": "h", "env": ("A", "B")}, ["x"])),
        ("wrap --env -- x", None),
        ("wrap --help", None),
        ("ps -- x", None),
        ("", None),
    ],
)
def test_the_short_way_reads_only_what_it_understands(words: str, expected: object) -> None:
    assert cli.plain_wrap(words.split()) == expected


def test_both_ways_of_reading_know_the_same_options() -> None:
    known = {option for parameter in options.cli.commands["wrap"].params for option in parameter.opts}
    assert known == {*cli.WRAP_OPTIONS, "--learn-network", "--learn", "command"}
