from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpbox import config, paths, profile, tables
from mcpbox.errors import ProfileError
from mcpbox.profile import Size, is_settable, parse, parse_size

HEAD = 'version = 1\nname = "test"\n'


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "version: missing", "version = 1"),
        ("version = 2\n", "version = 2: not accepted", "1"),
        ("version = 1\nversion = 1\n", "not TOML", ""),
        ("version = 1\n", 'name = "": not accepted', "lower-case"),
        ('version = 1\nname = "A B"\n', 'name = "A B"', "lower-case"),
        (HEAD + "[sandbox]\nmemroy = 1\n", "sandbox.memroy: unknown key", "did you mean memory?"),
        (HEAD + "[sandbx]\n", "sandbx: unknown key", "did you mean sandbox?"),
        (HEAD + '[sandbox]\nmemory = "512MB"\n', 'sandbox.memory = "512MB"', "512MiB"),
        (HEAD + "[sandbox]\nmemory = 512\n", "sandbox.memory = 512", "512MiB"),
        (HEAD + '[sandbox]\nmemory = "1MiB"\n', 'sandbox.memory = "1MiB"', "at least 16MiB"),
        (HEAD + "[sandbox]\npids = 0\n", "sandbox.pids = 0", ">= 8"),
        (HEAD + "[sandbox]\ncpus = 0\n", "sandbox.cpus = 0", "> 0"),
        (HEAD + '[sandbox]\nbackend = "podman"\n', 'sandbox.backend = "podman"', '"docker" or "bubblewrap"'),
        (HEAD + '[filesystem]\nread = ["projects"]\n', 'filesystem.read = "projects"', "absolute"),
        (HEAD + '[filesystem]\nread = ["/a\\u0000b"]\n', "filesystem.read", "absolute"),
        (HEAD + '[filesystem]\nread = [{path = "/a", unsave = true}]\n', "unsave: unknown key", "unsafe"),
        (HEAD + '[environment]\nLD_PRELOAD = "/x"\n', "environment.LD_PRELOAD", "neither loads code"),
        (HEAD + '[environment]\nPATH = "/x"\n', "environment.PATH", "neither loads code"),
        (HEAD + '[environment]\n"A-B" = "/x"\n', "environment.A-B", "letters"),
        (HEAD + '[secrets]\nTOKEN = "keyring:github/TOKEN"\n', "secrets.TOKEN", "keyring:test/NAME"),
        (HEAD + '[secrets]\nTOKEN = "hunter2"\n', "secrets.TOKEN", "keyring:test/NAME"),
        (HEAD + '[secrets]\nTOKEN = "optional"\n', "secrets.TOKEN", '"host"'),
        (HEAD + '[filesystem.from_environment]\nA = "rw"\n', "filesystem.from_environment", '"read" or "write"'),
        (HEAD + '[filesystem.from_environment]\nHOME = "read"\n', 'from_environment = "HOME"', "mcpbox's to set"),
        (HEAD + '[filesystem.from_arguments]\npath = "read"\n', 'from_arguments = "path"', '"--host"'),
        (HEAD + '[filesystem]\nread = [{path = "/a", optoinal = true}]\n', "optoinal", "did you mean optional?"),
        (HEAD + '[network]\nfrom_environment = ["A B"]\n', 'from_environment = "A B"', "letters"),
        (HEAD + '[network]\nfrom_environment = [{host = "A", prot = "B"}]\n', "prot", "did you mean port?"),
        (HEAD + '[network]\nfrom_environment = [{port = "B"}]\n', "network.from_environment", "`host`"),
        (
            HEAD + '[network]\nfrom_environment = [{host = "A", default = "*"}]\n',
            'network.from_environment.default = "*"',
            "HOST[:PORT]",
        ),
        (HEAD + '[network]\nfrom_arguments = ["host"]\n', 'network.from_arguments = "host"', '"--host"'),
        ('version = 1\nname = "t"\nmatches = ["image:docker.io/a/b"]\n', "matches", "without a tag"),
        ('version = 1\nname = "t"\nmatches = ["image:a/b:latest"]\n', "matches", "without a tag"),
        (HEAD + '[secrets]\nLD_PRELOAD = "keyring:test/X"\n', "secrets.LD_PRELOAD", "keyring:test/NAME"),
        (HEAD + '[environment]\nT = "mcpbox-secret:test/X"\n', "environment.T", 'under [secrets]: T = "keyring:test/'),
        (HEAD + '[messages]\nsampling = "ask"\n', 'messages.sampling = "ask"', '"deny" or "allow"'),
        ('version = 1\nname = "t"\nmatches = ["npm:@a/*"]\n', 'matches = "npm:@a/*"', "never a pattern"),
        ('version = 1\nname = "t"\nmatches = ["pypi:A_b"]\n', "matches", "PEP 503"),
        (HEAD + '[tools]\nhide = ["destructiv"]\n', "tools.hide", '"destructive"'),
        (HEAD + '[tools]\nnew = "ask"\n', 'tools.new = "ask"', '"block" or "allow"'),
        (HEAD + '[tools.host.curser]\nallow = ["*"]\n', "tools.host.curser: there is no host", "did you mean cursor?"),
        (HEAD + '[tools.host.cursor]\nalow = ["*"]\n', "alow: unknown key", "did you mean allow?"),
        (HEAD + '[resources]\nallow = "*"\n', "resources.allow", "array"),
    ],
)
def test_wrong_profiles_are_refused_with_the_key_and_the_form(text: str, message: str, hint: str) -> None:
    with pytest.raises(ProfileError) as caught:
        parse(text, "/some/file.toml")
    assert "/some/file.toml" in caught.value.message
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_the_sources_of_hosts_paths_and_secrets() -> None:
    found = parse(
        HEAD
        + """
        [filesystem]
        read = [{ path = "~/.gitconfig", optional = true }]
        from_environment = { CREDENTIALS = "read", DB = "beside" }
        from_arguments = { "--db-path" = "beside", "-r" = "write" }
        [network]
        from_environment = ["API_URL", { host = "DB_HOST", port = "DB_PORT", default = "localhost:3306" }]
        from_arguments = ["--host"]
        [secrets]
        TOKEN = "keyring:test/TOKEN"
        PASSWORD = "host"
        [tools]
        destructive = ["delete_*"]
        """,
        "f",
    ).profile
    assert found.required_secrets == {"TOKEN": "keyring:test/TOKEN"}
    assert found.network.from_environment[1] == tables.Endpoint("DB_HOST", "DB_PORT", "localhost:3306")
    assert found.filesystem.from_environment["DB"] == "beside"
    assert found.tools.destructive == ("delete_*",) and not found.tools.deny
    everything = "[network]\nfrom_arguments = true\n"
    assert parse(HEAD + everything, "f").profile.network.from_arguments is True


def test_a_secret_that_the_host_passes_asks_for_no_keyring() -> None:
    assert not parse(HEAD + '[secrets]\nTOKEN = "host"\n', "f").profile.required_secrets


@given(st.text())
def test_any_text_is_a_profile_or_a_profile_error(text: str) -> None:
    for candidate in (text, HEAD + text):
        try:
            parse(candidate, "f")
        except ProfileError:
            pass


@given(st.integers(0, 10**9), st.sampled_from(sorted(tables.UNITS)))
def test_sizes_round_trip(number: int, unit: str) -> None:
    size = parse_size(f"{number}{unit}")
    assert size == number * tables.UNITS[unit]
    assert parse_size(str(size)) == size


def test_the_defaults_allow_nothing() -> None:
    resolved = profile.resolve(None, ())
    assert resolved.profile.filesystem == tables.Filesystem()
    assert not (resolved.profile.network.allow or resolved.profile.secrets or resolved.profile.environment)
    assert resolved.profile.messages.sampling == "deny"


@pytest.mark.parametrize(
    ("line", "reason", "form"),
    [
        ("https://api.example.com/v1", "URL", "api.example.com"),
        ("127.0.0.1:5432", "loopback", "localhost:5432"),
        ("0x0a.1", "", "10.0.0.1"),
        ("api.example.com:0", "port", "HOST[:PORT]"),
        ("", "", "HOST"),
    ],
)
def test_a_rule_that_is_not_accepted_says_why_and_what_is(line: str, reason: str, form: str) -> None:
    with pytest.raises(ProfileError) as caught:
        parse(HEAD + f'[network]\nallow = ["{line}"]\n', "f")
    assert caught.value.message.startswith(f'f: network.allow = "{line}": ') and reason in caught.value.message
    assert form in caught.value.hint


def test_what_a_network_table_may_hold() -> None:
    text = '[network]\nallow = ["a.example.com"]\nconnections = 10\nmax_bytes = "1GiB"\nidle_seconds = 60\n'
    network = parse(HEAD + text, "f").profile.network
    assert (network.connections, int(network.max_bytes), network.idle_seconds) == (10, 1 << 30, 60)


@pytest.mark.parametrize("path", sorted(paths.builtin_profiles().glob("*.toml")), ids=lambda path: path.stem)
def test_built_in_profiles_are_valid_and_named_after_their_file(path: Path) -> None:
    resolved = profile.load(path)
    assert resolved.profile.name == path.stem and resolved.profile.description and resolved.profile.matches


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    path = user_profile("notes", "npm:notes")
    path.write_text(f"\ufeff{path.read_text()}")
    assert profile.load(path).profile.name == "notes"
    config.file().write_text('\ufeff[docker.images]\nnode = "a:1"\n')
    assert config.load().docker.images.node == "a:1"
    config.set_images("mcpbox/base:latest")
    assert config.load().docker.images.node == "mcpbox/base:latest"


def user_profile(name: str, matches: str) -> Path:
    directory = paths.user_profiles()
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.toml"
    path.write_text(f'version = 1\nname = "{name}"\nmatches = ["{matches}"]\n')
    return path


def test_a_package_finds_its_profile_by_exact_name() -> None:
    found = profile.resolve(None, ["npm:@modelcontextprotocol/server-filesystem"]).path
    assert found and found.stem == "filesystem"
    assert profile.resolve(None, ["npm:@modelcontextprotocol/server-file"]).path is None
    assert profile.resolve(None, ["npm:server-filesystem"]).path is None


def test_what_is_no_profile_is_not_read_for_ever(home: Path) -> None:
    (home / "large.toml").write_bytes(b"#" * (profile.MAX_BYTES + 1))
    os.mkfifo(home / "pipe.toml")
    for path in ("/dev/zero", str(home), str(home / "large.toml"), str(home / "pipe.toml")):
        with pytest.raises(ProfileError, match="not a file of up to 1MiB"):
            profile.resolve(path, ())
    with pytest.raises(ProfileError, match="No such file"):
        profile.resolve(str(home / "gone.toml"), ())


def test_a_users_profile_comes_before_a_built_in_one() -> None:
    mine = user_profile("mine", "npm:@modelcontextprotocol/server-filesystem")
    assert profile.resolve(None, ["npm:@modelcontextprotocol/server-filesystem"]).path == mine


def test_two_profiles_for_one_package_are_an_error() -> None:
    user_profile("one", "npm:a")
    user_profile("two", "npm:a")
    with pytest.raises(ProfileError, match="names the same package"):
        profile.resolve(None, ["npm:a"])


def test_profiles_that_cannot_be_read_are_an_error() -> None:
    directory = paths.user_profiles()
    directory.parent.mkdir(parents=True, exist_ok=True)
    directory.write_text("no directory")
    with pytest.raises(ProfileError, match="profiles: cannot be read: Not a directory"):
        profile.resolve(None, ["npm:a"])
    directory.unlink()
    directory.mkdir()
    (directory / "gone.toml").symlink_to("nowhere")
    with pytest.raises(ProfileError, match=r"gone\.toml: cannot be read: No such file"):
        profile.resolve(None, ["npm:a"])


def test_an_unknown_name_lists_near_ones() -> None:
    with pytest.raises(ProfileError) as caught:
        profile.find("filesytem")
    assert "filesystem" in caught.value.hint


def test_sizes_print_as_they_are_written() -> None:
    assert str(Size(512 << 20)) == "512MiB" and str(Size(1000)) == "1000B"


@pytest.mark.parametrize(
    "text", ["[docker]\nimage = 1\n", "[docker.images]\nnode = 5\n", 'x = "', "[docker.images]\nnode = '--rm x'\n"]
)
def test_wrong_configuration_names_the_file(text: str) -> None:
    config.file().write_text(text)
    with pytest.raises(ProfileError, match=r"config\.toml"):
        config.load()


def test_setting_images_keeps_the_users_comments() -> None:
    config.file().write_text('# mine\n[docker.images]\nnode = "a:1" # why\n')
    config.set_images("mcpbox/base:latest")
    assert config.load().docker.images == config.Images(*["mcpbox/base:latest"] * 3)
    assert "# mine" in config.file().read_text()


@pytest.mark.parametrize(
    "name", ["NODE_OPTIONS", "LD_AUDIT", "PERL5OPT", "RUBYOPT", "PS4", "JAVA_TOOL_OPTIONS", "A B", "1"]
)
def test_a_variable_whose_value_is_code_cannot_be_given(name: str) -> None:
    assert not is_settable(name)
    assert is_settable(f"MY_{name}".replace(" ", "_"))
