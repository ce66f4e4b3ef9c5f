"""The user's npm configuration, read as npm reads it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from mcpbox.errors import PackageError
from mcpbox.packages import npmrc

REGISTRY = "https://registry.example.com/npm/"


def values(tmp_path: Path, environment: Mapping[str, str] | None = None, **files: str) -> npmrc.Values:
    """The settings with these texts in the files "user", "project" and "everywhere"."""
    home, cwd = tmp_path / "home", tmp_path / "home" / "project" / "deep"
    cwd.mkdir(parents=True)
    (home / "project" / "package.json").touch()
    places = {"user": home / ".npmrc", "project": home / "project" / ".npmrc", "everywhere": home / "global"}
    for name, text in files.items():
        places[name].write_text(text)
    return npmrc.read({"NPM_CONFIG_GLOBALCONFIG": str(places["everywhere"]), **(environment or {})}, cwd, home)


def sources(given: npmrc.Values, tmp_path: Path, environment: Mapping[str, str] | None = None) -> npmrc.Sources:
    return npmrc.sources(given, lambda: "https://default.example.com", environment or {}, tmp_path, tmp_path, "/inside")


ENDLESS = """
import resource, sys
from pathlib import Path
from mcpbox.errors import PackageError
from mcpbox.packages import npmrc
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
try:
    npmrc.sources({"registry": "https://a.example.com"}, str, {}, Path(sys.argv[1]), Path("/nowhere"), "/inside")
except PackageError as error:
    print(error.message)
"""


def test_a_project_s_file_without_an_end_is_not_read_through(tmp_path: Path) -> None:
    """As a checkout can have it: a link."""
    (tmp_path / ".npmrc").symlink_to("/dev/zero")
    done = subprocess.run([sys.executable, "-c", ENDLESS, tmp_path], capture_output=True, text=True, check=False)
    assert done.stdout == f"{tmp_path}/.npmrc: cannot be read: larger than 1 MiB\n", done.stderr


@pytest.mark.parametrize(
    "line, expected",
    [
        ("registry=https://a.example.com/", {"registry": "https://a.example.com/"}),
        ("  registry  =  https://a.example.com/  ", {"registry": "https://a.example.com/"}),
        ('registry = "https://a.example.com/"', {"registry": "https://a.example.com/"}),
        ("registry = 'https://a.example.com/'", {"registry": "https://a.example.com/"}),
        ("registry=https://a.example.com/ ; comment", {"registry": "https://a.example.com/"}),
        ("; registry=x\n# registry=y", {}),
        ("//a.example.com/:_authToken=a=b==", {"//a.example.com/:_authToken": "a=b=="}),
        (r"//a.example.com/:_authToken=a\;b\#c", {"//a.example.com/:_authToken": "a;b#c"}),
        ("//a.example.com/:_authToken=${TOKEN}", {"//a.example.com/:_authToken": "secret"}),
        ("//a.example.com/:_authToken=x${TOKEN}y", {"//a.example.com/:_authToken": "xsecrety"}),
        ("//a.example.com/:_authToken=${UNSET}", {}),
        ("//a.example.com/:_authToken=${UNSET?}", {"//a.example.com/:_authToken": ""}),
        ("strict-ssl", {"strict-ssl": "true"}),
        ('ca[]="A\\nB"\nca[]=C', {"ca": ["A\nB", "C"]}),
        ("[section]\nregistry=x", {}),
        ("registry=x\n[section]\nregistry=y", {"registry": "x"}),
        ("\ufeff", {"\ufeff": "true"}),
        ("=\n==\n", {"": "="}),
    ],
)
def test_lines(tmp_path: Path, line: str, expected: npmrc.Values) -> None:
    found = values(tmp_path, {"TOKEN": "secret"}, user=line)
    assert {key: value for key, value in found.items() if key != "globalconfig"} == expected


def test_the_later_place_wins(tmp_path: Path) -> None:
    found = values(
        tmp_path,
        {"npm_config_d": "environment", "NPM_CONFIG_FETCH_TIMEOUT": "5", "npm_config_//h/:_authToken": "T"},
        everywhere="a=everywhere\nb=everywhere\nc=everywhere\nd=everywhere",
        user="b=user\nd=user",
        project="b=project\nc=project\nd=project",
    )
    assert [found.get(key) for key in "abcd"] == ["everywhere", "user", "everywhere", "environment"]
    assert found["fetch-timeout"] == "5" and found["//h/:_authToken"] == "T"


@pytest.mark.parametrize(
    ("project", "key"),
    [
        ("registry=https://evil.example.com/", "registry"),
        ("registry=http://registry.example.com/npm/\nhttps-proxy=http://evil.example.com:8080", "registry"),
        ("@corp:registry=https://evil.example.com/", "@corp:registry"),
        ("@other:registry=https://evil.example.com/", "@other:registry"),
        ("registry=https://${CLOUD_KEY}.evil.example.com/", "registry"),
    ],
)
def test_a_projects_file_says_nothing_of_where_packages_come_from(tmp_path: Path, project: str, key: str) -> None:
    user = f"registry={REGISTRY}\n@corp:registry={REGISTRY}"
    given = values(tmp_path, {"CLOUD_KEY": "x"}, user=user, project=project)
    home = tmp_path / "home"
    with pytest.raises(PackageError, match=rf"project/\.npmrc names another registry .*: {key}$") as raised:
        npmrc.sources(given, lambda: REGISTRY, {}, home / "project" / "deep", home, "/inside")
    assert "~/.npmrc" in raised.value.hint


@pytest.mark.parametrize(
    "project",
    [
        "https-proxy=http://evil.example.com\nstrict-ssl=false\ncafile=/evil\n//registry.example.com/npm/:certfile=evil",
        f"registry={REGISTRY.rstrip('/')}\nlegacy-peer-deps=true\n//registry.example.com/npm/:_authToken=${{CLOUD_KEY}}",
    ],
)
def test_what_else_a_projects_file_says_does_not_count(tmp_path: Path, project: str) -> None:
    user = f"registry={REGISTRY}\n//registry.example.com/npm/:_authToken=T"
    given = values(tmp_path, {"CLOUD_KEY": "x"}, user=user, project=project)
    home = tmp_path / "home"
    found = npmrc.sources(given, lambda: REGISTRY, {}, home / "project" / "deep", home, "/inside")
    assert found == npmrc.sources(given, lambda: REGISTRY, {}, home, home, "/inside") and not found.proxy
    # What the environment says goes before a project's file in npm too.
    set_elsewhere = {"npm_config_registry": REGISTRY}
    (home / "project" / ".npmrc").write_text("registry=https://evil.example.com")
    assert npmrc.sources(given, lambda: "", set_elsewhere, home / "project", home, "/inside").registry == REGISTRY
    assert found.files[".npmrc"].decode() == f'registry="{REGISTRY}"\n//registry.example.com/npm/:_authToken="T"\n'


def test_a_node_of_the_working_directory_leads_to_no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = tmp_path / "project" / "bin" / "node"
    node.parent.mkdir(parents=True)
    node.write_text("")
    node.chmod(0o755)
    (tmp_path / "project" / "etc").mkdir()
    (tmp_path / "project" / "etc" / "npmrc").write_text("//evil.example.com/:_authToken=${CLOUD_KEY}")
    monkeypatch.chdir(tmp_path / "project")
    found = npmrc.read({"PATH": "bin", "CLOUD_KEY": "x"}, tmp_path / "project", tmp_path)
    assert not any("evil" in key for key in found)


def test_only_what_concerns_the_registries_in_use_is_passed_on(tmp_path: Path) -> None:
    found = sources(
        {
            "registry": REGISTRY,
            "@corp:registry": "http://10.0.0.1:4873",
            "//registry.example.com/npm/:_authToken": "A",
            "//10.0.0.1:4873/:username": "ann",
            "//10.0.0.1:4873/:_password": "B",
            "//10.0.0.1/:_authToken": "ANOTHER-PORT",
            "//elsewhere.example.com/:_authToken": "ELSEWHERE",
            "node-options": "--require=/evil.js",
            "ignore-scripts": "false",
            "script-shell": "/evil",
            "git": "/evil",
            "min-release-age": "7",
            "strict-ssl": "false",
            "https-proxy": "http://proxy:3128",
            "noproxy": "localhost",
        },
        tmp_path,
    )
    text = found.files[".npmrc"].decode()
    assert found.registries() == (REGISTRY, "http://10.0.0.1:4873/")
    assert '//registry.example.com/npm/:_authToken="A"' in text and '//10.0.0.1:4873/:_password="B"' in text
    for never in ("ELSEWHERE", "ANOTHER-PORT", "evil", "ignore-scripts"):
        assert never not in text
    assert 'strict-ssl="false"' in text and 'before="20' in text
    assert found.proxy == {"https_proxy": "http://proxy:3128", "no_proxy": "localhost"}
    assert "A" not in repr(found).replace("Sources", "") and '"B"' not in repr(found)


def test_a_scope_has_its_registry_alone(tmp_path: Path) -> None:
    found = sources({"@corp:registry": REGISTRY}, tmp_path)
    assert found.of("@corp/tool") == REGISTRY
    assert found.of("@other/tool") == found.of("corp") == found.registry == "https://default.example.com/"


def test_certificates_are_copied_in(tmp_path: Path) -> None:
    for name in ("ca", "extra", "cert", "key"):
        (tmp_path / f"{name}.pem").write_text(name)
    given: npmrc.Values = {
        "registry": REGISTRY,
        "cafile": "~/ca.pem",
        "//registry.example.com/npm/:certfile": "~/cert.pem",
        "//registry.example.com/npm/:keyfile": str(tmp_path / "key.pem"),
    }
    found = sources(given, tmp_path, {"NODE_EXTRA_CA_CERTS": str(tmp_path / "extra.pem")})
    assert set(found.files.values()) >= {b"ca", b"extra", b"cert", b"key"}
    assert all(f'="/inside/{name}"' in found.files[".npmrc"].decode() for name in found.files if "file" in name)
    assert found.environment == {"NODE_EXTRA_CA_CERTS": "/inside/.npm-sources/extra.pem"}


@pytest.mark.parametrize(
    "given, reason",
    [
        ({"registry": "ftp://a.example.com/"}, "setting registry = ftp://a.example.com/ is not a registry's address"),
        ({"registry": "a.example.com"}, "is not a registry's address"),
        ({"registry": "https://"}, "is not a registry's address"),
        ({"registry": "https://a.example.com:99999/"}, "is not a registry's address"),
        ({"registry": "https://ann:SECRET@a.example.com/"}, r"registry = https://…@a\.example\.com/ is not"),
        ({"@corp:registry": "file:///x"}, "setting @corp:registry = file:///x is not"),
        ({"_authToken": "SECRET"}, "setting _authToken does not say for which registry"),
        ({"_auth": "SECRET"}, "setting _auth does not say for which registry"),
        ({"cafile": "/nowhere/ca.pem"}, "setting cafile: /nowhere/ca.pem: No such file"),
        ({"min-release-age": "soon"}, "min-release-age = soon is not a number of days"),
    ],
)
def test_what_cannot_be_used_is_an_error(tmp_path: Path, given: npmrc.Values, reason: str) -> None:
    with pytest.raises(PackageError, match=reason) as raised:
        sources(given, tmp_path)
    assert "SECRET" not in str(raised.value) + raised.value.hint


def test_a_value_cannot_become_another_line(tmp_path: Path) -> None:
    text = sources({"registry": REGISTRY, "maxsockets": 'x"\nscript-shell=/evil'}, tmp_path).files[".npmrc"].decode()
    assert not any(line.startswith("script-shell") for line in text.splitlines())
