"""Python packages, honest and hostile, from real indexes on loopback through the install sandbox."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from conftest import must_have
from packages.pypi_index import Index, wheel
from wire import eventually

from mcpbox import config
from mcpbox.errors import PackageError
from mcpbox.packages import pypi, pypi_build, pypi_inside, pypi_job, pypi_sources, pypi_web, store
from mcpbox.packages.model import Plan, Request
from mcpbox.packages.pypi_sources import Index as Source

BUBBLEWRAP = "bubblewrap"
MAIN = "import sys, leaf\ndef main():\n    print('{}', leaf.WORD, sys.argv[1:])\n    return 7\n"


@pytest.fixture(autouse=True)
def unconfigured(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine's own configuration counts."""
    for variable in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(variable)
    for variable in ("VIRTUAL_ENV", "NETRC", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PATH", "/usr/local/bin:/usr/bin:/bin")
    monkeypatch.chdir(home)


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    with Index() as found:
        monkeypatch.setenv("PIP_INDEX_URL", found.url)
        yield found


@pytest.fixture
def other() -> Iterator[Index]:
    with Index(modern=False) as found:
        yield found


class Place:
    """Resolves and installs into fresh directories."""

    def __init__(self, directory: Path, backend: str = BUBBLEWRAP) -> None:
        must_have(backend)
        self.directory, self.backend = directory, backend

    def fresh(self) -> Path:
        made = self.directory / str(len(list(self.directory.iterdir())))
        made.mkdir()
        return made

    def resolve(self, *packages: str, python: str = "") -> Plan:
        return pypi.resolve(Request("pypi", packages, python=python), self.backend, self.fresh())

    def install(self, plan: Plan) -> Path:
        tree = self.fresh()
        pypi.install(plan, self.backend, tree)
        return tree

    def refused(self, *packages: str) -> str:
        with pytest.raises(PackageError) as caught:
            self.resolve(*packages)
        return f"{caught.value.message} ({caught.value.hint})"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def put_server(index: Index, version: str = "1.0", word: str = "hello") -> None:
    files = {"some_server/__init__.py": MAIN.format(version), "some_server/page.html": "<p>"}
    scripts = {"some-server": "some_server:main", "other": "some_server:main"}
    index.put("some-server", version, wheel("some-server", version, files, requires=["leaf>=1"], scripts=scripts))
    if "leaf" not in index.files:
        index.put("leaf", "1.0", wheel("leaf", "1.0", {"leaf.py": f"WORD = {word!r}\n"}))


def start(
    tree: Path, *arguments: str, program: str = "", name: str = "some-server"
) -> subprocess.CompletedProcess[str]:
    words = pypi.entry(Request("pypi", (name,), program), tree)
    return subprocess.run(
        ["/usr/bin/python3" if words[0] == "python3" else words[0], *words[1:], *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
    )


def test_installs_what_was_resolved_and_starts_it_with_the_index_down(
    tmp_path: Path, backend: str, index: Index
) -> None:
    place = Place(tmp_path, backend)
    put_server(index)
    plan = place.resolve("Some.Server[nothing]>=1,<2")
    first, *lines = plan.lockfile.decode().splitlines()
    assert first.startswith("# cpython-3")
    assert [line.partition(" ")[0] for line in lines] == ["leaf==1.0", "some-server==1.0"]
    assert plan.root == plan.packages[1] and plan.root.integrity in lines[1]
    assert place.resolve("some-server==1.0") == plan
    tree = place.install(plan)
    index.close()
    again = start(tree, "--flag", "x y")
    assert (again.stdout, again.stderr, again.returncode) == ("1.0 hello ['--flag', 'x y']\n", "", 7)
    assert start(tree, program="other").returncode == 7
    compiled = next((tree / "some_server" / "__pycache__").glob("*.pyc")).read_bytes()
    # PEP 552: by hash, and not checked.
    assert int.from_bytes(compiled[4:8], "little") == 0b01
    assert not (tree / ".work").exists()
    assert not os.access(tree / "some_server" / "page.html", os.X_OK)


def test_two_installs_of_a_plan_are_the_same_files(place: Place, index: Index) -> None:
    put_server(index)
    plan = place.resolve("some-server")
    one, two = (
        {str(path.relative_to(tree)): path.read_bytes() for path in tree.rglob("*") if path.is_file()}
        for tree in (place.install(plan), place.install(plan))
    )
    assert one == two


def test_the_host_s_packages_and_environment_do_not_count(
    place: Place, index: Index, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put_server(index)
    tree = place.install(place.resolve("some-server"))
    planted = place.fresh()
    (planted / "leaf.py").write_text("WORD = 'planted'\n")
    (planted / "sitecustomize.py").write_text("print('planted')\n")
    monkeypatch.setenv("PYTHONPATH", str(planted))
    monkeypatch.setenv("PYTHONSTARTUP", str(planted / "sitecustomize.py"))
    assert start(tree).stdout == "1.0 hello []\n"


def test_changed_wheel_of_the_same_version_is_refused(place: Place, index: Index) -> None:
    put_server(index)
    plan = place.resolve("some-server")
    put_server(index, word="hello")
    index.files["some-server"].update({name: data + b" " for name, data in index.files["some-server"].items()})
    with pytest.raises(PackageError, match=r"some_server-1\.0.*is not the file that was promised"):
        place.install(plan)
    assert place.resolve("some-server").root.integrity != plan.root.integrity


def test_changed_dependency_is_refused(tmp_path: Path, backend: str, index: Index) -> None:
    place = Place(tmp_path, backend)
    put_server(index)
    plan = place.resolve("some-server")
    index.files["leaf"] = {}
    index.put("leaf", "1.0", wheel("leaf", "1.0", {"leaf.py": "WORD = 'changed'\n"}))
    with pytest.raises(PackageError, match=r"leaf-1\.0.*is not the file that was promised"):
        place.install(plan)


def test_index_whose_page_and_file_disagree_is_refused(place: Place, index: Index) -> None:
    put_server(index)
    index.pages["leaf"] = index.page("leaf")
    index.files["leaf"] = {name: data + b" " for name, data in index.files["leaf"].items()}
    assert "is not the file that was promised" in install_or_refusal(place, "some-server")


def install_or_refusal(place: Place, name: str) -> str:
    """Old releases of pip read the wheel to resolve, later ones its metadata."""
    with pytest.raises(PackageError) as caught:
        place.install(place.resolve(name))
    return caught.value.message


def test_newer_version_does_not_touch_a_pinned_one(tmp_path: Path, backend: str, index: Index) -> None:
    place = Place(tmp_path, backend)
    put_server(index)
    plan = place.resolve("some-server")
    put_server(index, "6.6.6")
    index.put("leaf", "6.6.6", wheel("leaf", "6.6.6", {"leaf.py": "WORD = 'malicious'\n"}))
    assert start(place.install(plan)).stdout == "1.0 hello []\n"
    assert place.resolve("some-server").root.version == "6.6.6"


def test_source_distribution_is_neither_fetched_nor_run(place: Place, index: Index) -> None:
    index.files["only-source"] = {"only_source-1.0.tar.gz": b"not even an archive"}
    said = place.refused("only-source")
    assert "only-source has source distributions only" in said and "--allow-scripts=only-source" in said
    assert not [path for path in index.paths() if "tar.gz" in path]


def test_version_with_a_source_distribution_only_says_so(place: Place, index: Index) -> None:
    put_server(index)
    index.files["some-server"]["some_server-2.0.tar.gz"] = b""
    assert "some-server ==2.0 has a source distribution only" in place.refused("some-server==2.0")


#: A build back end of a project's own, which asks for what it must not get and leaves the answers in its wheel.
BACK_END = """
import json, os, socket, zipfile, maker
def outcome(act):
    try:
        return repr(act())
    except OSError as error:
        return type(error).__name__
def build_wheel(directory, settings=None, metadata=None):
    found = {
        "maker": maker.WORD,
        "network": outcome(lambda: socket.create_connection(("127.0.0.1", PORT), 2)),
        "host": outcome(lambda: os.listdir(HOST)),
        "token": outcome(lambda: os.listdir("/home/mcpbox/.netrc")),
    }
    name, info = "made_server-1.0-py3-none-any.whl", "made_server-1.0.dist-info"
    main = "import leaf\\ndef main():\\n    print(leaf.WORD, FOUND)\\n    return 7\\nFOUND = " + repr(json.dumps(found))
    files = {
        "made_server.py": main,
        info + "/METADATA": "Metadata-Version: 2.1\\nName: made-server\\nVersion: 1.0\\nRequires-Dist: leaf\\n",
        info + "/WHEEL": "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        info + "/entry_points.txt": "[console_scripts]\\nmade-server = made_server:main\\n",
    }
    files[info + "/RECORD"] = "".join(path + ",,\\n" for path in [*files, info + "/RECORD"])
    os.makedirs(directory, exist_ok=True)
    with zipfile.ZipFile(os.path.join(directory, name), "w") as made:
        for path, text in files.items():
            made.writestr(path, text)
    MORE
    return name
"""


def put_source(index: Index, home: Path, *, more: str = "pass", requires: str = '"maker"') -> None:
    """A source distribution of "made-server", which depends on "leaf", and "maker", which builds it."""
    text = BACK_END.replace("PORT", index.url.split(":")[2].partition("/")[0]).replace("HOST", repr(str(home)))
    files = {
        "pyproject.toml": f'[build-system]\nrequires = [{requires}]\nbuild-backend = "back"\nbackend-path = ["."]\n',
        "back.py": text.replace("MORE", more),
        "PKG-INFO": "Metadata-Version: 2.1\nName: made-server\nVersion: 1.0\n",
    }
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"made_server-1.0/{name}")
            member.size = len(content.encode())
            tar.addfile(member, io.BytesIO(content.encode()))
    index.files["made-server"] = {"made_server-1.0.tar.gz": made.getvalue()}
    index.put("maker", "3.0", wheel("maker", "3.0", {"maker.py": "WORD = 'three'\n"}))
    index.put("leaf", "1.0", wheel("leaf", "1.0", {"leaf.py": "WORD = 'leaf'\n"}))


def built(place: Place, *scripts: str) -> Plan:
    return pypi.resolve(Request("pypi", ("made-server",)), place.backend, place.fresh(), scripts=scripts)


def test_source_distribution_is_built_for_whom_that_is_allowed(
    tmp_path: Path, backend: str, index: Index, home: Path
) -> None:
    place = Place(tmp_path, backend)
    put_source(index, home)
    plan = built(place, "Made.Server")
    source = index.files["made-server"]["made_server-1.0.tar.gz"]
    assert plan.root.integrity == f"sha256:{hashlib.sha256(source).hexdigest()}" and plan.root.scripts
    assert [package.name for package in plan.packages] == ["leaf", "made-server"]
    assert [(each.name, each.version) for each in plan.build["made-server"]] == [("maker", "3.0")]
    assert len(plan.everything) == 3
    tree = place.fresh()
    pypi.install(plan, backend, tree, scripts=["made-server"])
    words, found = start(tree, name="made-server").stdout.split(" ", 1)
    assert words == "leaf" and json.loads(found) == {
        "maker": "three",
        "network": "ConnectionRefusedError",
        "host": "FileNotFoundError",
        "token": "FileNotFoundError",
    }
    assert not list(tree.glob("maker*")) and not (tree / ".work").exists()
    # Another maker, of the same name and version, is not the one that was pinned.
    index.put("maker", "3.0", wheel("maker", "3.0", {"maker.py": "WORD = 'evil'\n"}))
    with pytest.raises(PackageError, match=r"maker-3.0-py3-none-any.whl is not the file that was promised"):
        pypi.install(plan, backend, place.fresh(), scripts=["made-server"])


def test_what_is_to_run_without_a_network_is_given_none_for_the_asking(place: Place) -> None:
    """Whatever it prints, which a build may have had a hand in."""
    url = "https://files.example/leaf-1.0-py3-none-any.whl"
    job = {"files": [{"url": url, "sha256": "0" * 64}]}
    reach = pypi_job.Reach([], [], [])
    work = place.fresh()
    store.give(work)
    with pytest.raises(PackageError, match=r"without a network wants to reach https://files\.example:443"):
        pypi_job.run("fetch", None, reach, Request("pypi", ()), place.backend, work, job)
    assert reach.rules == []


def test_source_distribution_is_built_for_nobody_else(place: Place, index: Index, home: Path) -> None:
    put_source(index, home)
    plan = built(place, "made-server")
    for scripts in ((), ("leaf",)):
        with pytest.raises(PackageError) as caught:
            built(place, *scripts)
        assert "made-server has source distributions only" in caught.value.message
        assert caught.value.hint.endswith("mcpbox package add --allow-scripts=made-server -- uvx made-server")
        with pytest.raises(PackageError, match="made-server: a source distribution"):
            pypi.install(plan, BUBBLEWRAP, place.fresh(), scripts=scripts)
    put_source(index, home, more="import sys")
    with pytest.raises(PackageError, match=r"made_server-1.0.tar.gz is not the file that was promised"):
        pypi.install(plan, BUBBLEWRAP, place.fresh(), scripts=["made-server"])


@pytest.mark.parametrize(
    ("more", "requires", "reason"),
    [
        ("raise SystemExit('no compiler')", '"maker"', "cannot be built: .*no compiler"),
        ("os.rename(directory + '/' + name, directory + '/other-1.0-py3-none-any.whl')", '"maker"', "cannot be built"),
        ("pass", '"maker @ https://x/y.whl"', "which no index has"),
        ("pass", '"--index-url=http://x/"', "which no index has"),
        ("pass", '"/etc/passwd"', "which no index has"),
        ("pass", '"nowhere"', "there is no package nowhere"),
        ("pass", "1", "cannot be read"),
    ],
)
def test_build_that_goes_wrong_says_how(
    place: Place, index: Index, home: Path, more: str, requires: str, reason: str
) -> None:
    put_source(index, home, more=more, requires=requires)
    with pytest.raises(PackageError, match=reason):
        built(place, "made-server")


def test_what_a_build_leaves_for_a_wheel_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x.whl").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "out" / "y.whl")
    (tmp_path / "elsewhere").symlink_to(tmp_path)
    for work, name in ((tmp_path, "x.whl"), (tmp_path, "y.whl"), (tmp_path, "z.whl"), (tmp_path / "elsewhere", "x")):
        with pytest.raises(PackageError, match="as it was built"):
            pypi_build._taken(work, name)


@pytest.mark.parametrize("requirement", ["leaf @ http://127.0.0.1:{}/files/leaf/leaf-1.0.tar.gz", "leaf@file:///x"])
def test_dependency_that_is_a_url_is_refused(place: Place, index: Index, requirement: str) -> None:
    port = index.url.split(":")[2].partition("/")[0]
    index.put("a", "1.0", wheel("a", "1.0", {"a.py": ""}, requires=[requirement.format(port)]))
    index.files["leaf"] = {"leaf-1.0.tar.gz": b""}
    assert "a-1.0-py3-none-any.whl depends on a URL and not on a name" in place.refused("a")
    assert not [path for path in index.paths() if "tar.gz" in path]


@pytest.mark.parametrize(
    ("requirement", "reason"),
    [
        ("a @ https://example.org/a.whl", "not a package of an index"),
        ("git+https://example.org/a", "not a package of an index"),
        ("./a.whl", "not a package of an index"),
        ("--extra-index-url=http://127.0.0.1", "not a package of an index"),
        ("-r/etc/passwd", "not a package of an index"),
        ("a; os_name == 'x'", "not a package of an index"),
    ],
)
def test_requirement_is_a_name(tmp_path: Path, requirement: str, reason: str) -> None:
    with pytest.raises(PackageError, match=reason) as caught:
        pypi.resolve(Request("pypi", (requirement,)), BUBBLEWRAP, tmp_path)
    assert caught.value.hint.startswith("accepted: NAME")


class TestSeveralIndexes:
    """``other`` is the private one, named as an extra index; ``index`` the one that anybody can put names in."""

    @pytest.fixture(autouse=True)
    def _both(self, index: Index, other: Index, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", other.url)
        other.put("secret-lib", "1.0", wheel("secret-lib", "1.0", {"secret_lib.py": ""}))
        index.put("secret-lib", "99.0", wheel("secret-lib", "99.0", {"secret_lib.py": "print('confused')"}))

    def test_name_is_the_first_index_s(self, place: Place, index: Index) -> None:
        put_server(index)
        assert place.resolve("secret-lib").root.version == "1.0"
        assert place.resolve("some-server").root.version == "1.0"
        assert "/simple/secret-lib/" not in index.paths()
        assert "no wheel of secret-lib >=2 fits" in place.refused("secret-lib>=2")

    def test_index_that_fails_is_not_passed_over(self, place: Place, other: Index) -> None:
        other.broken.add("secret-lib")
        assert "/simple/secret-lib/: HTTP 500" in place.refused("secret-lib")

    def test_index_that_is_down_is_not_passed_over(self, place: Place, other: Index) -> None:
        other.close()
        assert "is the index up?" in place.refused("secret-lib")

    def test_index_that_wants_credentials_is_not_passed_over(self, place: Place, other: Index) -> None:
        other.login = "Basic nobody"
        said = place.refused("secret-lib")
        assert "/simple/secret-lib/: HTTP 401" in said and "netrc" in said

    def test_name_with_source_distributions_only_is_not_passed_over(self, place: Place, other: Index) -> None:
        other.files["secret-lib"] = {"secret_lib-1.0.tar.gz": b""}
        assert "secret-lib has source distributions only" in place.refused("secret-lib")

    def test_user_may_say_otherwise(
        self, place: Place, index: Index, other: Index, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("UV_DEFAULT_INDEX", index.url)
        monkeypatch.setenv("UV_INDEX", f"private={other.url}")
        assert place.resolve("secret-lib").root.version == "1.0"
        monkeypatch.setenv("UV_INDEX_STRATEGY", "unsafe-best-match")
        assert place.resolve("secret-lib").root.version == "99.0"

    def test_credentials_go_to_their_own_index(self, place: Place, index: Index, other: Index, home: Path) -> None:
        token = base64.b64encode(b"me:hush").decode()
        other.login = f"Basic {token}"
        os.environ["PIP_EXTRA_INDEX_URL"] = other.url.replace("://", "://me:hush@")
        put_server(other)
        plan = place.resolve("some-server", "leaf")
        tree = place.install(plan)
        assert {login for _, login in other.seen} == {f"Basic {token}"}
        index.put("public", "1", wheel("public", "1"))
        place.resolve("public")
        assert {login for _, login in index.seen} == {""}
        everything = [plan.lockfile, msgspec.json.encode(plan), repr(pypi.sources()).encode()]
        everything += [path.read_bytes() for top in (tree, home) for path in top.rglob("*") if path.is_file()]
        assert not [text for text in everything if b"hush" in text or token.encode() in text]
        assert start(tree).returncode == 7


def test_directories_are_indexes_too(place: Place, index: Index, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory of wheels comes first, and the files of an index in a directory may lie beside it."""
    flat, simple, files = home / "flat", home / "pypi/simple", home / "pypi/files"
    for directory in (flat, simple / "leaf", files):
        directory.mkdir(parents=True)
    put_server(index)
    (flat / "some_server-1.0-py3-none-any.whl").write_bytes(index.files["some-server"].popitem()[1])
    put_server(index, "9.0")
    (files / "leaf-1.5-py3-none-any.whl").write_bytes(wheel("leaf", "1.5", {"leaf.py": "WORD = 'local'\n"}))
    (simple / "leaf" / "index.html").write_text('<a href="../../files/leaf-1.5-py3-none-any.whl">leaf</a>')
    monkeypatch.setenv("PIP_FIND_LINKS", str(flat))
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", simple.as_uri())
    for path in (home, *home.rglob("*")):
        path.chmod(0o755)
    plan = place.resolve("some-server")
    assert {package.url for package in plan.packages} == {path.as_uri() for path in [*flat.iterdir(), *files.iterdir()]}
    assert start(place.install(plan)).stdout == "1.0 local []\n"


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        (
            "http://127.0.0.1:1/a-1.0-py3-none-any.whl",
            "leads to http://127.0.0.1:1, which the configuration does not name",
        ),
        ("https://169.254.169.254/a-1.0-py3-none-any.whl", "leads to https://169.254.169.254:443, which the config"),
        ("https://intranet/a-1.0-py3-none-any.whl", "leads to https://intranet:443, which the configuration does not"),
        ("file:///etc/a-1.0-py3-none-any.whl", "leads to /etc: no index of the configuration is a directory"),
        ("ftp://example.org/a-1.0-py3-none-any.whl", "an index has its files at https:// or file://"),
    ],
)
def test_index_cannot_lead_the_sandbox_elsewhere(place: Place, index: Index, where: str, reason: str) -> None:
    index.links["a"] = [f'<a href="{where}">a</a>']
    assert reason in place.refused("a")


def member(name: str, mode: int = 0o644) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    made.external_attr = mode << 16
    return made


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        (member("../escaped.py"), r"leaves its directory: '../escaped.py'"),
        (member("a/../../escaped.py"), r"leaves its directory: 'a/../../escaped.py'"),
        (member("/tmp/escaped.py"), r"leaves its directory: '/tmp/escaped.py'"),
        (member("a\\..\\..\\escaped.py"), "leaves its directory"),
        (member("C:/escaped.py"), "leaves its directory: 'C:/escaped.py'"),
        (member("a-1.0.data/scripts/../../../escaped"), "leaves its directory"),
        (member("link.py", 0o120777), "has a link or a special file: 'link.py'"),
        (member("device", 0o020666), "has a link or a special file: 'device'"),
        (member("root", 0o104755), "has a link or a special file: 'root'"),
    ],
)
def test_wheel_that_does_not_stay_in_its_directory(
    place: Place, index: Index, extra: zipfile.ZipInfo, reason: str
) -> None:
    index.put("a", "1.0", wheel("a", "1.0", {"a.py": ""}, extra=[(extra, b"/etc/passwd")]))
    plan = place.resolve("a")
    with pytest.raises(PackageError, match=reason):
        place.install(plan)
    assert not list(place.directory.rglob("escaped*"))


def test_wheel_that_unpacks_to_too_much_is_refused(place: Place, index: Index) -> None:
    data = wheel("a", "1.0", {"a.py": "", "b.py": ""})
    for name in (b"a.py", b"b.py"):
        # The uncompressed size in the central directory: 22 bytes before the name in it.
        at = data.rindex(name) - 22
        data = data[:at] + b"\xf0\xff\xff\xff" + data[at + 4 :]
    index.put("a", "1.0", data)
    assert "unpacked, the packages are too large" in install_or_refusal(place, "a")


def test_page_that_does_not_end_is_refused(place: Place, index: Index) -> None:
    index.links["a"] = ["x" * (pypi_web.PAGE_BYTES + 1)]
    assert f"is larger than {pypi_web.PAGE_BYTES} bytes" in place.refused("a")


def test_yanked_version_is_not_taken(place: Place, index: Index) -> None:
    put_server(index)
    put_server(index, "2.0")
    pinned = place.resolve("some-server==2.0")
    index.yanked["some_server-2.0-py3-none-any.whl"] = "steals tokens"
    assert place.resolve("some-server").root.version == "1.0"
    assert "some-server ==2.0 has been withdrawn (yanked): steals tokens" in place.refused("some-server==2.0")
    assert start(place.install(pinned)).stdout == "2.0 hello []\n"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("absent", "there is no package absent in http://127.0.0.1"),
        ("some-server>=3", "no wheel of some-server >=3 fits Python 3."),
        ("elsewhere", "no wheel of elsewhere"),
    ],
)
def test_what_there_is_not_is_explained(place: Place, index: Index, name: str, reason: str) -> None:
    put_server(index)
    index.put("elsewhere", "1.0", wheel("elsewhere", "1.0"), "cp27-cp27m-win_amd64")
    assert reason in place.refused(name)


def test_index_that_keeps_its_files_elsewhere(place: Place, index: Index, other: Index) -> None:
    """A public host it may name by itself; any other is the user's to allow, and its bytes are still judged."""
    put_server(index)
    store = other.url.removesuffix("/simple")
    for name, files in index.files.items():
        other.files[name] = dict(files)
        for filename in files:
            index.moved[f"/files/{name}/{filename}"] = f"{store}/files/{name}/{filename}"
    said = place.refused("some-server")
    host = store.removeprefix("http://")
    assert f"an index leads to {store}, which the configuration does not name" in said
    assert f'[packages] hosts = ["{host}"]' in said
    with config.file().open("a") as file:
        file.write(f'[packages]\nhosts = ["{host}"]\n')
    plan = place.resolve("some-server")
    assert start(place.install(plan)).returncode == 7
    other.files["leaf"] = {name: data + b"x" for name, data in other.files["leaf"].items()}
    with pytest.raises(PackageError, match="is not the file that was promised"):
        place.install(plan)


def test_index_down(place: Place, index: Index) -> None:
    index.close()
    assert "is the index up?" in place.refused("some-server")


def test_python_that_is_not_there(place: Place, index: Index) -> None:
    with pytest.raises(PackageError, match=r"python3\.2: not found in PATH"):
        place.resolve("leaf", python="3.2")
    with pytest.raises(PackageError, match="Python '>=3': not understood"):
        place.resolve("leaf", python=">=3")


def test_plan_for_another_python_is_refused(place: Place, index: Index) -> None:
    put_server(index)
    plan = place.resolve("some-server")
    _, _, rest = plan.lockfile.partition(b"\n")
    foreign = msgspec.structs.replace(plan, lockfile=b"# cpython-27-vax\n" + rest)
    with pytest.raises(PackageError, match="the packages are for cpython-27-vax, and this Python is cpython-3"):
        place.install(foreign)
    tree = place.install(plan)
    (tree / ".abi").write_text("cpython-27-vax\n")
    again = start(tree)
    assert again.returncode == 1 and "installed for cpython-27-vax" in again.stderr


def test_plan_that_does_not_agree_with_its_lock_is_refused(place: Place, index: Index) -> None:
    put_server(index)
    plan = place.resolve("some-server")
    swapped = msgspec.structs.replace(plan, packages=plan.packages[1:])
    with pytest.raises(PackageError, match="the lock of some-server is not what its packages come to"):
        place.install(swapped)


def test_program_that_is_not_there_names_those_that_are(place: Place, index: Index) -> None:
    put_server(index)
    tree = place.install(place.resolve("some-server"))
    with pytest.raises(PackageError, match="some-server has no program nothing") as caught:
        pypi.entry(Request("pypi", ("some-server",), "nothing"), tree)
    assert "it has: other, some-server" in caught.value.hint


def test_program_that_is_a_script_of_the_wheel_s_own(place: Place, index: Index) -> None:
    scripts = {"a-1.0.data/scripts/a": "#!python\nimport sys\nprint('script', sys.argv[1:])\nsys.exit(3)\n"}
    index.put("a", "1.0", wheel("a", "1.0", scripts))
    ran = start(place.install(place.resolve("a")), "x", name="a")
    assert (ran.stdout, ran.returncode) == ("script ['x']\n", 3)


INSTALL = """
import sys, msgspec
from pathlib import Path
from mcpbox.packages import pypi
from mcpbox.packages.model import Plan
plan = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Plan)
pypi.install(plan, "bubblewrap", Path(sys.argv[2]))
"""


@pytest.mark.parametrize("stage", ["fetching", "unpacking"])
def test_killed_install_leaves_nothing_that_looks_whole(place: Place, index: Index, stage: str) -> None:
    put_server(index)
    files = {f"module_{number}.py": "x = 1\n" * 50 for number in range(3000)}
    index.put("leaf", "2.0", wheel("leaf", "2.0", {**files, "leaf.py": "WORD = 'large'\n"}))
    plan, tree = place.resolve("some-server"), place.fresh()
    written = place.directory / "plan.json"
    written.write_bytes(msgspec.json.encode(plan))
    if stage == "fetching":
        index.asked.clear()
        index.hold.clear()
    with subprocess.Popen([sys.executable, "-c", INSTALL, str(written), str(tree)]) as running:
        if stage == "fetching":
            assert index.asked.wait(60)
        else:
            eventually(lambda: (tree / ".work" / "lock.txt").exists(), 60)
        running.send_signal(signal.SIGKILL)
    index.hold.set()
    assert not (tree / ".abi").exists()
    eventually(lambda: str(tree) not in commands(), 10)
    assert start(place.install(plan)).stdout == "1.0 large []\n"


def commands() -> str:
    """The words of every process, and where each is."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found.append(process.joinpath("cmdline").read_text() + os.readlink(process / "cwd"))
        except OSError:
            continue
    return "\n".join(found)


class TestSources:
    def read(self, tmp_path: Path, files: dict[str, str], **environment: str) -> pypi_sources.Sources:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        return pypi_sources.read({"HOME": str(tmp_path / "home"), **environment}, system=tmp_path)

    def test_without_any_it_is_the_tool_s_own(self, tmp_path: Path) -> None:
        assert self.read(tmp_path, {}).indexes == (Source(""),)

    def test_pip_s_files_and_variables(self, tmp_path: Path) -> None:
        files = {
            "etc/pip.conf": "[global]\nindex-url = https://a.example/simple/\ncert = /dev/null/none\n",
            "home/.config/pip/pip.conf": "[global]\nextra-index-url =\n  https://b.example/s\n  file:///srv/c/simple\n"
            "[install]\nfind-links = /wheels\n",
        }
        with pytest.raises(PackageError, match="/dev/null/none, named in the pip configuration, is not a file"):
            self.read(tmp_path, files)
        certificate = tmp_path / "ca.pem"
        certificate.write_text("x")
        found = self.read(tmp_path, files, PIP_CERT=str(certificate), PIP_FIND_LINKS="/w")
        assert found.indexes == (
            Source("file:///w", "links"),
            Source("https://b.example/s"),
            Source("file:///srv/c/simple"),
            Source("https://a.example/simple"),
        )
        assert found.certificates == str(certificate) and found.strategy == "first-index"

    def test_no_project_says_where_packages_come_from(self, tmp_path: Path) -> None:
        """A checkout can have a virtual environment's pip.conf, and a directory of any relative name."""
        venv = {"checkout/.venv/pip.conf": "[global]\nindex-url = https://evil.example\n"}
        assert self.read(tmp_path, venv, VIRTUAL_ENV=str(tmp_path / "checkout/.venv")).indexes == (Source(""),)
        with pytest.raises(PackageError, match="wheels: another directory in each project"):
            self.read(tmp_path, {"home/.pip/pip.conf": "[install]\nfind-links = wheels\n"})
        assert self.read(tmp_path, {}, PIP_FIND_LINKS="~/wheels").indexes[0].kind == "links"

    def test_uv_s_files_and_variables(self, tmp_path: Path) -> None:
        toml = """
            index-strategy = "unsafe-best-match"
            [[index]]
            name = "our-own"
            url = "https://b.example/s"
            [[index]]
            url = "https://never.example/"
            explicit = true
            [[index]]
            url = "https://a.example/simple"
            default = true
        """
        files = {"home/.config/uv/uv.toml": toml, "etc/pip.conf": "[global]\nindex-url = https://pip.example\n"}
        login = {"UV_INDEX_OUR_OWN_USERNAME": "u", "UV_INDEX_OUR_OWN_PASSWORD": "p"}
        found = self.read(tmp_path, files, **login)
        encoded = base64.b64encode(b"u:p").decode()
        assert found.indexes == (
            Source("https://b.example/s", authorization=f"Basic {encoded}"),
            Source("https://a.example/simple"),
        )
        assert found.strategy == "unsafe-best-match"
        found = self.read(tmp_path, files, UV_DEFAULT_INDEX="https://c.example/", UV_INDEX="x=https://d.example")
        assert [index.url for index in found.indexes] == [
            "https://d.example",
            "https://b.example/s",
            "https://c.example",
        ]
        assert self.read(tmp_path, files, UV_NO_CONFIG="1").indexes == (Source("https://pip.example"),)

    def test_credentials_are_kept_apart(self, tmp_path: Path) -> None:
        netrc = {"home/.netrc": "machine b.example login u password p\n"}
        found = self.read(
            tmp_path, netrc, PIP_INDEX_URL="https://me:s%40y@a.example/x?y", PIP_EXTRA_INDEX_URL="https://b.example"
        )
        headers = {index.url: base64.b64decode(index.authorization.partition(" ")[2]) for index in found.indexes}
        assert headers == {"https://b.example": b"u:p", "https://a.example/x": b"me:s@y"}
        assert "Basic" not in repr(found)

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("http://a.example/simple", "http://a.example/simple: not an index that mcpbox uses"),
            ("ssh://u:secret@a.example/x", "ssh://a.example/x: not an index"),
            ("file://host/x", "a file of another machine"),
            ("https://[x", "the URL of an index cannot be read"),
        ],
    )
    def test_what_is_not_an_index(self, tmp_path: Path, url: str, reason: str) -> None:
        with pytest.raises(PackageError) as caught:
            self.read(tmp_path, {}, PIP_INDEX_URL=url)
        assert reason in caught.value.message and "secret" not in str(caught.value)
        assert caught.value.hint.startswith("accepted: https://")

    def test_trusted_host_may_be_plain(self, tmp_path: Path) -> None:
        found = self.read(tmp_path, {}, PIP_INDEX_URL="http://a.example/s", PIP_TRUSTED_HOST="a.example")
        assert found.indexes == (Source("http://a.example/s", insecure=True),)

    def test_public_index_counts_last(self) -> None:
        public, private = "https://public.example/simple", "https://private.example/s"
        about = pypi_job.Outcome(index=public)
        found = pypi_sources.Sources((Source(f"{public}/"), Source(private), Source(""), Source("file:///w", "links")))
        ordered = pypi_job.in_order(found, about)
        assert [index.url for index in ordered.indexes][:2] == [private, "file:///w"]


def test_pages_of_both_kinds_say_the_same() -> None:
    page = "https://a.example/simple/x/"
    text = (
        '<base href="../../files/"><a href="x-1-py3-none-any.whl#sha256=ab" data-requires-python="&gt;=3.9" '
        'data-yanked data-core-metadata="sha256=cd">x</a><a>no</a>'
    )
    found = pypi_web.entries(text.encode(), "text/html", page)
    assert found == [
        {
            "filename": "x-1-py3-none-any.whl",
            "url": "https://a.example/files/x-1-py3-none-any.whl",
            "hashes": {"sha256": "ab"},
            "requires-python": ">=3.9",
            "yanked": True,
            "core-metadata": {"sha256": "cd"},
        }
    ]
    modern = json.dumps({"files": [{**found[0], "url": "../../files/x-1-py3-none-any.whl"}]})
    assert pypi_web.entries(modern.encode(), pypi_web.JSON_TYPE, page) == found
    for bad in (b"{}", b"[]", b"\xff", b'{"files": [{}]}', b'{"files": [{"filename": 1, "url": ""}], "x": 1}'):
        try:
            assert pypi_web.entries(bad, pypi_web.JSON_TYPE, page) == []
        except pypi_web.Refused as error:
            assert "is not what PEP 691 describes" in error.args[0]


def test_tree_s_python_is_told_by_its_extension_modules() -> None:
    assert pypi_inside.abi().startswith(f"cpython-3{sys.version_info[1]}")
