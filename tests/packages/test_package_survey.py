from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from mcpbox import draft, paths, profile
from mcpbox.errors import PackageError, UsageError
from mcpbox.options import cli
from mcpbox.packages import lock, spec, survey
from mcpbox.packages.lock import Entry, Tree
from mcpbox.packages.model import Request
from mcpbox.packages.survey import Survey

CODE = """
const { FROM_PATTERN, OTHER: renamed } = process.env;
const key = process.env.NOTES_API_KEY ?? env["NOTES_TOKEN"];
fetch(`https://api.notes.io/v1/${id}`); fetch("https://api.notes.io/v2"); fetch('wss://live.notes.io:8443/x');
fetch("https://www.w3.org/ns"); fetch("http://localhost:3000"); fetch(`https://${host}/x`); fetch("https://example.com");
if (process.argv.includes("--data-dir")) open(process.env.NOTES_URL, process.env.NODE_ENV, process.env.HOME);
"""
PYTHON = """
import os
A = os.environ["NOTES_URL"]; B = os.environ.get('NOTES_KEY', ""); C = os.getenv("NOTES_DB_PATH")
D = Field(validation_alias="NOTES_MODE"); E = "https://api.notes.io"
"""


def install(home: Path, request: Request, files: dict[str, str]) -> None:
    """What ``package add`` leaves, as far as the survey looks."""
    name = "a" * 64
    tree = paths.packages_dir() / name
    for path, text in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    trees = {lock.variant("bubblewrap"): Tree(name, "b" * 64)}
    found = Entry(request.ecosystem, request.packages, spec.name(request), "1.2.3", "", "", "", "user", "1.2.3", trees)
    paths.config_dir().mkdir(parents=True, exist_ok=True)
    lock.put(request.key, found)


def npm(home: Path, description: str = 'Notes, "fast"') -> Request:
    request = spec.read_requirement("npm:@acme/notes")
    root = "node_modules/@acme/notes"
    install(
        home,
        request,
        {
            f"{root}/package.json": json.dumps({"name": "@acme/notes", "description": description}),
            f"{root}/readme/index.html": "a directory",
            f"{root}/README.md": '"env": {"NOTES_REGION_NAME": "eu", "NOTES_API_KEY": "…"}',
            f"{root}/dist/index.js": CODE,
            f"{root}/dist/index.d.ts": "process.env.TYPES_ONLY",
            f"{root}/node_modules/dep/index.js": "process.env.OF_ITS_DEPENDENCY",
            "node_modules/dep/index.js": "fetch('https://dependency.io')",
        },
    )
    return request


def test_what_an_npm_packages_own_code_names(home: Path) -> None:
    found = survey.survey(npm(home))
    assert (found.identity, found.version, found.complete) == ("npm:@acme/notes", "1.2.3", True)
    assert found.hosts == {"api.notes.io": 2, "live.notes.io": 1}
    assert found.variables == ("FROM_PATTERN", "NOTES_API_KEY", "NOTES_TOKEN", "NOTES_URL", "OTHER")
    assert found.hinted == ("NOTES_REGION_NAME",)
    assert found.options == ("--data-dir",)


def test_what_a_python_packages_own_code_names(home: Path) -> None:
    request = spec.read_requirement("pypi:acme-notes")
    info = "Acme.Notes-1.2.3.dist-info"
    files = {
        f"{info}/METADATA": "Name: Acme.Notes\nSummary: Notes\n\nSet \"NOTES_EXTRA_OPTION\": \"x\".",
        f"{info}/RECORD": "acme/notes.py,sha256=x,1\n../../bin/notes,,\nacme/../../outside.py,,\n",
        "../outside.py": "os.environ['OF_SOMEBODY_ELSE']",
        "acme/notes.py": PYTHON,
        "other/module.py": "os.environ['OF_ITS_DEPENDENCY']",
    }  # fmt: skip
    install(home, request, files)
    found = survey.survey(request)
    assert found.variables == ("NOTES_DB_PATH", "NOTES_KEY", "NOTES_MODE", "NOTES_URL")
    assert (found.hosts, found.hinted, found.description) == ({"api.notes.io": 1}, ("NOTES_EXTRA_OPTION",), "Notes")


def test_a_package_that_is_too_large_is_read_in_part(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "MAX_BYTES", 120)
    found = survey.survey(npm(home))
    assert not found.complete and "part of it was read" in draft.from_survey("notes", found)


def test_what_is_not_installed_is_said_with_what_installs_it() -> None:
    with pytest.raises(PackageError) as caught:
        survey.survey(spec.read_requirement("npm:@acme/notes"))
    assert "not installed" in caught.value.message and "package add 'npm:@acme/notes'" in caught.value.hint


def test_a_draft_allows_nothing_and_has_everything_in_comments(home: Path) -> None:
    text = draft.from_survey("notes", survey.survey(npm(home)))
    found = profile.parse(text, "f").profile
    assert found.matches == ("npm:@acme/notes",) and found.description == 'Notes, "fast"'
    same = profile.Profile(name="notes", description=found.description, matches=found.matches)
    assert found == same, "what a server without a profile gets"
    for line in (
        '    # "api.notes.io",  # 2 times',
        '    # "NOTES_URL",',
        '# NOTES_API_KEY = "host"',
        '# from_arguments.--data-dir = "read"',
        '# NOTES_REGION_NAME = ""',
    ):
        assert f"\n{line}\n" in text
    # Each of them is what the format accepts once uncommented.
    lines = [line.replace("# ", "", 1) if line.lstrip().startswith('# "') else line for line in text.splitlines()]
    assert "api.notes.io" in profile.parse("\n".join(lines), "f").profile.network.allow


def test_a_package_cannot_write_into_its_own_draft(home: Path) -> None:
    hostile = 'x"\n[network]\nallow = ["*"]\n\x1b[2J\\'
    text = draft.from_survey("notes", survey.survey(npm(home, hostile)))
    found = profile.parse(text, "f").profile
    assert not found.network.allow and "\x1b" not in text and "\n" not in found.description


def test_profile_new_from_a_command(home: Path) -> None:
    npm(home)
    done = CliRunner().invoke(cli, ["profile", "new", "--from", "npx -y @acme/notes --flag"], catch_exceptions=False)
    path = paths.user_profiles() / "notes.toml"
    assert done.exit_code == 0 and done.output.strip() == str(path)
    assert profile.resolve(None, ["npm:@acme/notes"]).path == path
    with pytest.raises(UsageError, match="exists already"):
        CliRunner().invoke(cli, ["profile", "new", "--from", "npm:@acme/notes"], catch_exceptions=False)
    done = CliRunner().invoke(cli, ["profile", "new", "mine", "--from", "npm:@acme/notes"], catch_exceptions=False)
    assert profile.load(paths.user_profiles() / "mine.toml").profile.name == "mine"


def test_a_draft_takes_no_other_packages_name(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm(home)
    built_in = tmp_path / "notes.toml"
    built_in.write_text('version = 1\nname = "notes"\nmatches = ["npm:notes"]\n')
    monkeypatch.setattr(paths, "builtin_profiles", lambda: tmp_path)
    with pytest.raises(UsageError, match="notes is the profile of another package") as caught:
        CliRunner().invoke(cli, ["profile", "new", "--from", "npm:@acme/notes"], catch_exceptions=False)
    assert caught.value.hint == "give it a name: mcpbox profile new NAME --from npm:@acme/notes"
    # A user who says so replaces it.
    done = CliRunner().invoke(cli, ["profile", "new", "notes", "--from", "npm:@acme/notes"], catch_exceptions=False)
    assert done.exit_code == 0 and profile.find("notes") == paths.user_profiles() / "notes.toml"


@pytest.mark.parametrize("source", ["node server.js", "npx -y 'x", "notes"])
def test_what_names_no_package_is_refused(source: str) -> None:
    with pytest.raises(UsageError):
        CliRunner().invoke(cli, ["profile", "new", "--from", source], catch_exceptions=False)


def test_a_survey_that_found_nothing_is_an_empty_profile() -> None:
    nothing = Survey("npm:x", "1", "", {}, (), (), (), True)
    assert profile.parse(draft.from_survey("x", nothing), "f").profile.network == profile.Network()
    assert profile.parse(draft.empty("x"), "f").profile == profile.Profile(name="x")
