"""What the install sandbox runs to resolve, fetch and unpack Python packages. The standard library of Python 3.9."""

from __future__ import annotations

import http.server
import json
import os
import re
import stat
import subprocess
import sys
import threading
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mcpbox.packages.pypi_front import (
    SDIST,
    WHEEL,
    Build,
    File,
    Front,
    build_requires,
    download,
    metadata_of,
    normalised,
    require_named,
)
from mcpbox.packages.pypi_web import Missing, Refused, Wanted, Web

TREE_BYTES, TREE_FILES = 4 << 30, 200_000
WHEELS = ("--only-binary", ":all:")


class Asked(http.server.BaseHTTPRequestHandler):
    """pip's requests."""

    protocol_version = "HTTP/1.1"
    front: Front

    def do_GET(self) -> None:
        words = self.path.split("/")
        try:
            if words[1:2] == ["simple"] and len(words) >= 3:
                data, kind = self.front.shown(normalised(unquote(words[2]))), "text/html"
            else:
                file = self.front.files[int(words[2])]
                wanted = self.path.endswith(".metadata")
                data, kind = (
                    (self.front.metadata(file), "text/plain")
                    if wanted
                    else (self.front.wheel(file).read_bytes(), "application/zip")
                )
        except Exception as error:
            self.front.fail(error)
            data, kind = b"", ""
        self.send_response(200 if kind else 404)
        self.send_header("Content-Type", kind or "text/plain")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *values: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: pip was killed. To write to stderr just when Python ends would be a fatal error of Python's."""


def pip(job: dict[str, Any], work: Path, *words: str) -> subprocess.Popen[str]:
    """pip, started; what it says goes to the pipes."""
    fixed = ["--isolated", "--disable-pip-version-check", "--no-input", "--no-cache-dir", "--no-color"]
    (work / "tmp").mkdir(exist_ok=True)
    program = [found] if (found := about(job)["pip"]) else ["-m", "pip"]
    return subprocess.Popen(
        [sys.executable, "-I", *program, *fixed, *words],
        cwd=work,
        env={**os.environ, "TMPDIR": str(work / "tmp"), "PIP_CONFIG_FILE": os.devnull},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def about(job: dict[str, Any]) -> dict[str, Any]:
    """This Python, its pip ("" for its own, else the path of mcpbox's) and where that goes when it is told nothing."""
    try:
        import pip as package
    except ImportError:
        if not job["pip"]:
            hint = "install it: python3 -m ensurepip, or apt install python3-pip; or choose an image that has it"
            raise Refused(f"the Python {sys.executable} has no pip", hint) from None
        sys.path.append(os.path.dirname(job["pip"]))
        import pip as package
    from pip._internal.models.index import PyPI

    release = tuple(int(number) for number in re.findall(r"\d+", package.__version__)[:2])
    if release < (22, 2):
        raise Refused(f"pip {package.__version__} is too old", "mcpbox needs pip 22.2 or later")
    directory = os.path.dirname(package.__file__)
    return {
        "python": "{}.{}.{}".format(*sys.version_info[:3]),
        "abi": abi(),
        "pip": directory if directory == job["pip"] else "",
        # Earlier releases take PyJWT's metadata, read on its own, for another package's than pyjwt's.
        "metadata": release >= (23, 2),
        "index": PyPI.simple_url,
        "files": PyPI.file_storage_domain,
    }


def abi() -> str:
    """Such as "cpython-311-x86_64-linux-gnu": what this Python calls extension modules made for it."""
    return EXTENSION_SUFFIXES[0].strip(".").rpartition(".")[0]


def resolve(job: dict[str, Any], work: Path) -> dict[str, Any]:
    store = work / "seen"
    store.mkdir()
    front = Front(job, Web(job), store, metadata=about(job)["metadata"])
    server = Server(("127.0.0.1", 0), type("Bound", (Asked,), {"front": front}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    report = work / "report.json"
    # The index shows source distributions of the allowed packages alone, which are built before pip gets to see them.
    kinds = ("--prefer-binary",) if job["allowed"] else WHEELS
    wanted = ["--dry-run", "--ignore-installed", *kinds, "--report", str(report)]
    index = f"http://127.0.0.1:{server.server_address[1]}/simple"
    running = pip(job, work, "install", *wanted, "--index-url", index, *job["requirements"])
    # Else it would try every other version before it gives up.
    front.failed = running.kill
    _, said = running.communicate()
    if front.failure:
        raise front.failure
    if running.returncode:
        raise front.explain(said)
    packages = []
    for item in json.loads(report.read_text(encoding="utf-8"))["install"]:
        found = re.fullmatch(
            r"http://127\.0\.0\.1:\d+/file/(\d+)/[^/]+", item["download_info"]["url"].partition("#")[0]
        )
        if not found:
            raise Refused(f"pip took {item['download_info']['url']}, which is not of the index", "")
        file = front.files[int(found[1])]
        packages.append(
            {
                "name": normalised(item["metadata"]["name"]),
                "version": item["metadata"]["version"],
                "sha256": front.digest(file),
                "url": file.url,
                "source": not WHEEL.fullmatch(basename(file.url)),
            }
        )
    return {"packages": packages}


def fetch(job: dict[str, Any], work: Path) -> dict[str, Any]:
    """Bring every file of the plan to ``wheels``, each as it was promised."""
    (work / "wheels").mkdir(exist_ok=True)
    web, size = Web(job), 0
    for each in job["files"]:
        name = basename(each["url"])
        if not (SDIST if job.get("sources") else WHEEL).fullmatch(name):
            raise Refused(f"{each['url']} is not a {'source distribution' if job.get('sources') else 'wheel'}", "")
        try:
            path = download(
                web, File(name, each["url"], "", {"hashes": {"sha256": each["sha256"]}}), work / "wheels" / name
            )
        except Missing:
            raise Refused(
                f"{each['url']} is gone from the index", "choose another version: mcpbox package update"
            ) from None
        size += path.stat().st_size
        if size > TREE_BYTES:
            raise Refused(f"the packages are larger than {TREE_BYTES} bytes", "")
        if job.get("sources"):
            return {"requires": build_requires(path)}
    return {}


def build(job: dict[str, Any], work: Path) -> dict[str, Any]:
    """Make a wheel of a source distribution, with nothing but the files that are here."""
    out, wheels = work / "out", work / "wheels"
    local = ["--no-index", "--find-links", str(wheels), "--no-deps", "--wheel-dir", str(out)]
    # The same sources then make the same wheel, as far as that is up to us.
    os.environ.update(SOURCE_DATE_EPOCH="315532800", PYTHONHASHSEED="0")
    running = pip(job, work, "wheel", *local, str(wheels / job["source"]))
    _, said = running.communicate()
    made = sorted(os.listdir(out)) if out.is_dir() else []
    if running.returncode or len(made) != 1:
        last = " | ".join(line.strip() for line in said.splitlines() if line.strip())[-600:]
        raise Refused(f"{job['source']} cannot be built: {last}", "it was built without a network, as all are")
    return {"built": made[0]}


def install(job: dict[str, Any], work: Path) -> dict[str, Any]:
    """Unpack the wheels, which pip compares with the lock once more, and compile them."""
    if abi() != job["abi"]:
        raise Refused(f"the packages are for {job['abi']}, and this Python is {abi()}", "resolve them again")
    (work / "lock.txt").write_text(job["lock"], encoding="utf-8")
    size = count = 0
    for path in sorted((work / "wheels").iterdir()):
        require_named(metadata_of(path), path.name)
        with zipfile.ZipFile(path) as wheel:
            for member in wheel.infolist():
                size, count = size + member.file_size, count + 1
                require_plain(member, path.name)
        if size > TREE_BYTES or count > TREE_FILES:
            raise Refused(
                f"{path.name}: unpacked, the packages are too large", f"at most {TREE_BYTES} bytes, {TREE_FILES} files"
            )
    strict = ["--no-index", "--no-deps", "--require-hashes", "--ignore-installed", "--no-compile", *WHEELS]
    places = ["--find-links", str(work / "wheels"), "--target", job["target"], "--requirement", str(work / "lock.txt")]
    running = pip(job, work, "install", *strict, *places)
    _, said = running.communicate()
    if running.returncode:
        raise Refused(f"pip: {' | '.join(said.strip().splitlines()[-4:])}", "")
    # What does not compile is a template, or for another Python; it is told when it is imported. Not checked at each
    # start: the directory is read-only, and the sources are as they were.
    subprocess.run(
        [
            sys.executable,
            "-I",
            "-m",
            "compileall",
            "-q",
            "--invalidation-mode",
            "unchecked-hash",
            "-s",
            job["target"],
            job["target"],
        ],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    return {}


def require_plain(member: zipfile.ZipInfo, what: str) -> None:
    """Raises Refused where a wheel's member would land elsewhere, or is not a file."""
    parts = member.filename.replace("\\", "/").split("/")
    if member.filename.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in member.orig_filename:
        raise Refused(f"{what} has a file that leaves its directory: {member.filename!a}", "do not use it")
    mode = member.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR) or mode & (stat.S_ISUID | stat.S_ISGID):
        raise Refused(f"{what} has a link or a special file: {member.filename!a}", "do not use it")


def basename(url: str) -> str:
    return unquote(urlsplit(url).path.rpartition("/")[2])


VERBS = {"resolve": resolve, "fetch": fetch, "build": build, "install": install}


def main(verb: str, file: str) -> None:
    """``file`` says with what to do it. One line of JSON is the outcome."""
    job = json.loads(Path(file).read_text(encoding="utf-8"))
    try:
        if verb == "about":
            outcome = about(job)
        else:
            work = Path(job["work"])
            work.mkdir(exist_ok=True)
            outcome = VERBS[verb](job, work)
    except Refused as error:
        outcome = {"error": error.args[0], "hint": error.args[1]}
    except Wanted as error:
        outcome = {"wanted": str(error)}
    except Build as error:
        outcome = {"source": error.args[0]}
    sys.stdout.write(json.dumps(outcome) + "\n")
