from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from mcpbox.migration import copies

VALUE = 'hk3j"4lkj5h34\n98sdf'
PLACES = {
    ".bash_history": "a history of commands",
    ".local/share/fish/fish_history": "a history of commands",
    "histories/own": "a history of commands",
    ".zshrc": "a file of settings",
    ".claude/backups/.claude.json.backup.17": "the host's own copy",
    ".claude.json.corrupted.17": "the host's own copy",
    ".cursor/mcp.json.bak": "beside the file",
    ".cursor/.mcp.json.swp": "beside the file",
    ".cursor/.env.local": "beside the file",
    ".config/Code/User/History/1a2b/x.json": "an editor's local history",
    ".local/state/nvim/undo/%home%mcp.json": "an editor's undo history",
}


@pytest.fixture
def file(home: Path) -> Path:
    path = home / ".cursor/mcp.json"
    path.parent.mkdir()
    path.write_text("{}")
    return path


def find(file: Path, home: Path, *values: str) -> list[tuple[str, str]]:
    found = copies.find(values, str(file), home=home, environ={"HISTFILE": str(home / "histories/own")})
    return [(copy.path, copy.what) for copy in found]


@pytest.mark.parametrize("text", [f"export X={VALUE}", json.dumps({"key": VALUE})], ids=["plain", "escaped"])
@pytest.mark.parametrize("place", PLACES)
def test_a_copy_is_found(place: str, text: str, file: Path, home: Path) -> None:
    path = home / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    shown = path.parent if "User/History" in place else path
    assert find(file, home, VALUE) == [(str(shown), PLACES[place])]
    assert path.read_text() == text
    assert find(file, home, "another value") == []


def test_another_hosts_file_is_named(file: Path, home: Path) -> None:
    other = home / "other.toml"
    other.write_text(VALUE)
    found = copies.find([VALUE], str(file), [str(other), str(home / "gone")], home=home, environ={})
    assert [(copy.path, copy.what) for copy in found] == [(str(other), "another file with servers")]


def test_lines_are_found_however_they_are_indented(file: Path, home: Path) -> None:
    line = "MIIEvAIBADANBgkqhkiG9w0BAQEFAASCBKYwggSiAgEAAoIBAQ"
    value = f"-----BEGIN PRIVATE KEY-----\n{line}\nnq==\n-----END PRIVATE KEY-----"
    other = file.with_name("mcp.yaml")
    other.write_text("key: |\n  " + value.replace("\n", "\n  "))
    assert find(file, home, value) == [(str(other), "beside the file")]
    other.write_text("key: |\n  -----BEGIN PRIVATE KEY-----\n  nq==\n")
    assert find(file, home, value) == []


def test_a_short_value_is_not_looked_for(file: Path, home: Path) -> None:
    (home / ".bash_history").write_text("ls abcdefg")
    assert find(file, home, "abcdefg") == []


def test_what_cannot_be_read_is_passed_over(file: Path, home: Path) -> None:
    os.mkfifo(home / ".bash_history")
    (home / ".zsh_history").mkdir()
    (home / ".zshrc").symlink_to(home / ".zshrc")
    assert find(file, home, VALUE) == []


def git(directory: Path, *words: str) -> str:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.net", "-c", "init.defaultBranch=main"]
    command = ["git", "-C", str(directory), *identity, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_a_former_commit_is_found_on_any_branch(file: Path, home: Path) -> None:
    git(home, "init")
    file.write_text('{"key": "98sdf7gs9d8f7gs9d8f"}')
    git(home, "add", ".cursor/mcp.json")
    git(home, "commit", "-m", "one")
    git(home, "branch", "other")
    file.write_text("{}")
    git(home, "commit", "--amend", "-a", "-m", "two")
    found = find(file, home, "98sdf7gs9d8f7gs9d8f")
    assert found == [(str(file.parent), "the history of mcp.json in git")]
    assert find(file, home, VALUE) == []


def test_a_former_commit_is_found_where_the_value_spans_what_is_read_at_once(file: Path, home: Path) -> None:
    git(home, "init")
    for count in (65_400, 65_450, 65_500):
        file.write_text("x" * count + "98sdf7gs9d8f7gs9d8f")
        git(home, "add", ".cursor/mcp.json")
        git(home, "commit", "-m", str(count))
    file.write_text("{}")
    assert len(find(file, home, "98sdf7gs9d8f7gs9d8f")) == 1


def test_no_program_is_run_that_the_repository_names(file: Path, home: Path, tmp_path: Path) -> None:
    ran, program = tmp_path / "ran", tmp_path / "program"
    program.write_text(f"#!/bin/sh\n: >{ran}\n")
    program.chmod(0o755)
    git(home, "init")
    file.write_text("98sdf7gs9d8f7gs9d8f")
    git(home, "add", ".cursor/mcp.json")
    git(home, "commit", "-m", "one")
    commit = git(home, "cat-file", "commit", "HEAD")
    signed = tmp_path / "commit"
    signature = "gpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----\n\n"
    signed.write_text(commit.replace("\n\n", f"\n{signature}", 1))
    git(home, "update-ref", "HEAD", git(home, "hash-object", "-t", "commit", "-w", str(signed)).strip())
    git(home, "config", "gpg.program", str(program))
    git(home, "config", "log.showSignature", "true")
    assert len(find(file, home, "98sdf7gs9d8f7gs9d8f")) == 1
    # A repository that says that what it lacks is elsewhere, and what to fetch it with.
    blob = git(home, "rev-parse", "HEAD:.cursor/mcp.json").strip()
    (home / ".git/objects" / blob[:2] / blob[2:]).unlink()
    settings = {"url": str(home), "promisor": "true", "uploadpack": str(program)}
    for name, value in settings.items():
        git(home, "config", f"remote.origin.{name}", value)
    git(home, "config", "core.repositoryFormatVersion", "1")
    git(home, "config", "extensions.partialClone", "origin")
    find(file, home, "98sdf7gs9d8f7gs9d8f")
    assert not ran.exists()


def test_no_repository_within_the_repository_is_asked(home: Path, tmp_path: Path) -> None:
    ran, program, inner = tmp_path / "ran", tmp_path / "program", home / "x.code-workspace"
    program.write_text(f"#!/bin/sh\n: >{ran}\n")
    program.chmod(0o755)
    inner.mkdir()
    git(inner, "init")
    git(home, "init")
    for text in ("1", "2"):
        (inner / "a").write_text(text)
        git(inner, "add", "a")
        git(inner, "commit", "-m", text)
        git(home, "add", inner.name)
        git(home, "commit", "-m", text)
    git(inner, "config", "diff.external", str(program))
    git(home, "config", "diff.submodule", "diff")
    file = home / "*.code-workspace"
    file.write_text("{}")
    find(file, home, "98sdf7gs9d8f7gs9d8f")
    assert not ran.exists()


@pytest.mark.parametrize(
    ("folder", "service"),
    [
        ("Dropbox/settings", "Dropbox"),
        ("OneDrive - Company/x", "OneDrive"),
        ("Library/Mobile Documents/x", "iCloud"),
        ("Library/CloudStorage/GoogleDrive-a@example.net", "a cloud drive"),
        ("Google Drive", "Google Drive"),
    ],
)
def test_a_synchronised_folder_is_named(folder: str, service: str, home: Path) -> None:
    file = home / folder / "mcp.json"
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    assert find(file, home, "short") == [(str(file), f"in a folder that {service} copies")]
