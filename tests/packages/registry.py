"""A real npm registry on loopback: verdaccio, with packages that the tests publish."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import json
import os
import signal
import socket
import subprocess
import tarfile
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from conftest import CACHE, must_work
from wire import eventually

VERDACCIO = CACHE / "registries" / "node_modules" / "verdaccio" / "bin" / "verdaccio"
_CONFIG = """
storage: ./storage
auth:
  htpasswd:
    file: ./htpasswd
    algorithm: bcrypt
    rounds: 4
uplinks: {}
packages:
  "@secret/*":
    access: $authenticated
    publish: $all
  "**":
    access: $all
    publish: $all
    unpublish: $all
middlewares: {}
web:
  enable: false
max_body_size: 200mb
log:
  type: file
  path: ./log
  level: warn
"""


def pack(files: Mapping[str, bytes | str], extra: Sequence[tuple[tarfile.TarInfo, bytes]] = ()) -> bytes:
    """A tarball as npm makes it, everything below "package/"; ``extra`` members are put in as they are."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz", compresslevel=1) as tar:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(f"package/{name}")
            info.size, info.mode = len(data), 0o644
            tar.addfile(info, io.BytesIO(data))
        for info, data in extra:
            tar.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return made.getvalue()


def sha512(data: bytes) -> str:
    return f"sha512-{base64.b64encode(hashlib.sha512(data).digest()).decode()}"


class Registry:
    """One verdaccio, for as long as the context lasts; ``stop`` and ``start`` take it down and up again."""

    def __init__(self, directory: Path, *, host: str = "localhost", certificate: Path | None = None) -> None:
        if not VERDACCIO.is_file():
            must_work("verdaccio is not there; run scripts/provision")
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory.resolve()
        self._certificate = certificate
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._address = "127.0.0.1" if host == "localhost" else host
        self.url = f"{'https' if certificate else 'http'}://{host}:{self.port}/"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Registry:
        text = _CONFIG
        if self._certificate:
            text += f"https:\n  key: {self._certificate}\n  cert: {self._certificate}\n"
        (self.directory / "config.yaml").write_text(text)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        listen = f"{self.url.partition(':')[0]}://{self._address}:{self.port}"
        self._process = subprocess.Popen(
            ["node", str(VERDACCIO), "--config", str(self.directory / "config.yaml"), "--listen", listen],
            cwd=self.directory,
            env={"PATH": os.environ["PATH"], "HOME": str(self.directory), "VERDACCIO_PUBLIC_URL": self.url},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if not eventually(self._answers, 30):
            self.stop()
            raise RuntimeError(f"verdaccio does not answer: {(self.directory / 'log').read_text()[-500:]}")

    def stop(self) -> None:
        if self._process:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def publish(self, name: str, version: str, **options: Any) -> bytes:
        """Put a package on the registry; returns its tarball.

        ``manifest`` adds to its package.json, ``files`` to its files, ``extra`` members to its tarball; ``tarball`` is
        taken instead of all that. ``dist`` changes what the registry says about the tarball.
        """
        manifest = {"name": name, "version": version, **options.get("manifest", {})}
        files = {"package.json": json.dumps(manifest), "index.js": "#!/usr/bin/env node\n", **options.get("files", {})}
        data: bytes = options.get("tarball") or pack(files, options.get("extra", ()))
        file = f"{name.rpartition('/')[2]}-{version}.tgz"
        dist = {
            "integrity": sha512(data),
            "shasum": hashlib.sha1(data).hexdigest(),
            "tarball": f"{self.url}{name}/-/{file}",
            **options.get("dist", {}),
        }
        described = {**manifest, "_id": f"{name}@{version}", "dist": {k: v for k, v in dist.items() if v}}
        document = {
            "_id": name,
            "name": name,
            "dist-tags": {"latest": version},
            "versions": {version: described},
            "_attachments": {file: {"data": base64.b64encode(data).decode(), "length": len(data)}},
        }
        self.request("PUT", quote(name, safe="@"), document)
        return data

    def stored(self, name: str, version: str) -> Path:
        """The file that the registry keeps a tarball in."""
        return self.directory / "storage" / name / f"{name.rpartition('/')[2]}-{version}.tgz"

    def change_document(self, name: str, change: Any) -> None:
        """Let ``change`` loose on what the registry says about a package. Takes effect at once."""
        file = self.directory / "storage" / name / "package.json"
        document = json.loads(file.read_text())
        change(document)
        file.write_text(json.dumps(document))

    def user(self, name: str) -> tuple[str, str]:
        """A new user's token, and name and password as HTTP's Basic authentication has them."""
        password = "correct horse battery"
        answer = self.request("PUT", f"-/user/org.couchdb.user:{name}", {"name": name, "password": password})
        return str(answer["token"]), base64.b64encode(f"{name}:{password}".encode()).decode()

    def request(self, method: str, path: str, document: Any = None) -> Any:
        request = urllib.request.Request(
            f"http://{self._address}:{self.port}/{path}",
            method=method,
            data=None if document is None else json.dumps(document).encode(),
            headers={"Content-Type": "application/json", "Host": self.url.partition("//")[2].rstrip("/")},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                raise RuntimeError(f"{method} {path}: {error.code} {error.read()[:300]!r}") from None

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self._address, self.port), 1):
                pass
            if not self._certificate:
                self.request("GET", "-/ping")
        except (OSError, RuntimeError):
            return False
        return True


class Sending:
    """A registry in front of another, which answers for everything but tarballs, and for those sends to a file store.

    ``given`` is the Authorization that each of the two was given, ``spoiled`` has the store serve other bytes.
    """

    def __init__(self, behind: Registry) -> None:
        self.given: dict[str, set[str]] = {"front": set(), "store": set()}
        self.spoiled = False
        self._servers = [
            http.server.ThreadingHTTPServer(
                ("127.0.0.1", 0), type("Bound", (_Sent,), {"sending": self, "behind": behind.url, "kind": kind})
            )
            for kind in self.given
        ]
        front, store = (server.server_address[1] for server in self._servers)
        self.url, self.store = f"http://localhost:{front}/", f"http://127.0.0.1:{store}/"

    def __enter__(self) -> Sending:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


class _Sent(http.server.BaseHTTPRequestHandler):
    sending: Sending
    behind: str
    kind: str

    def do_GET(self) -> None:
        self.sending.given[self.kind].add(self.headers.get("Authorization", ""))
        path = self.path.lstrip("/")
        if self.kind == "front" and path.endswith(".tgz"):
            self.send_response(302)
            self.send_header("Location", f"{self.sending.store}{path}")
            self.end_headers()
            return
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self.behind}{path}", timeout=30) as answer:
                status, data, said = 200, answer.read(), answer.headers["Content-Type"]
        except urllib.error.HTTPError as error:
            with error:
                status, data, said = error.code, error.read(), "application/json"
        data = data.replace(self.behind.encode(), self.sending.url.encode())
        if self.kind == "store" and self.sending.spoiled:
            # Its time, which whoever unpacks it never looks at: what is amiss is the hash alone.
            data = data[:4] + bytes([data[4] ^ 1]) + data[5:]
        self.send_response(status)
        self.send_header("Content-Type", said)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *values: object) -> None:
        pass
