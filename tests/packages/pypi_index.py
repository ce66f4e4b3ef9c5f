"""A package index over HTTP on loopback, and wheels to put there, well made and not."""

from __future__ import annotations

import base64
import hashlib
import html
import http.server
import io
import json
import threading
import zipfile
from collections.abc import Iterable, Mapping
from types import TracebackType

WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def wheel(
    name: str,
    version: str,
    files: Mapping[str, str] | None = None,
    *,
    requires: Iterable[str] = (),
    scripts: Mapping[str, str] | None = None,
    extra: Iterable[tuple[zipfile.ZipInfo, bytes]] = (),
) -> bytes:
    """A pure wheel; ``scripts`` are its console scripts, ``extra`` members that no packaging tool would write."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {each}\n" for each in requires)
    content = {path: text.encode() for path, text in (files or {}).items()}
    content[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}\n".encode()
    content[f"{info}/WHEEL"] = WHEEL.encode()
    if scripts:
        lines = "".join(f"{program} = {target}\n" for program, target in scripts.items())
        content[f"{info}/entry_points.txt"] = f"[console_scripts]\n{lines}".encode()
    members = [(zipfile.ZipInfo(path), data) for path, data in content.items()] + list(extra)
    record = "".join(
        f"{member.filename},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}\n"
        for member, data in members
    )
    members.append((zipfile.ZipInfo(f"{info}/RECORD"), f"{record}{info}/RECORD,,\n".encode()))
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in members:
            archive.writestr(member, data)
    return written.getvalue()


class Index:
    """Serves what is in ``files`` (by project, then by file name), as PEP 691 if ``modern``, else as PEP 503.

    ``yanked`` are reasons by file name; ``login`` is the Authorization wanted; ``broken`` names projects whose page is
    an error of the server; ``links`` are more anchors, and ``pages`` whole pages, by project. ``moved`` are redirects
    by path. ``seen`` is every path asked for with its Authorization; ``asked`` is set when a file is, and no file is
    sent before ``hold`` is.
    """

    def __init__(self, *, modern: bool = True) -> None:
        self.modern = modern
        self.files: dict[str, dict[str, bytes]] = {}
        self.yanked: dict[str, str] = {}
        self.login = ""
        self.broken: set[str] = set()
        self.links: dict[str, list[str]] = {}
        self.pages: dict[str, tuple[bytes, str]] = {}
        self.moved: dict[str, str] = {}
        self.seen: list[tuple[str, str]] = []
        self.asked = threading.Event()
        self.hold = threading.Event()
        self.hold.set()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Request,), {"index": self}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/simple"

    def put(self, name: str, version: str, data: bytes, tag: str = "py3-none-any") -> str:
        filename = f"{name.replace('-', '_')}-{version}-{tag}.whl"
        self.files.setdefault(name, {})[filename] = data
        return filename

    def paths(self) -> list[str]:
        return [path for path, _ in self.seen]

    def page(self, name: str) -> tuple[bytes, str]:
        if name in self.pages:
            return self.pages[name]
        entries = [
            {
                "filename": filename,
                "url": f"../../files/{name}/{filename}",
                "hashes": {"sha256": hashlib.sha256(data).hexdigest()},
                "yanked": self.yanked.get(filename, False),
            }
            for filename, data in self.files.get(name, {}).items()
        ]
        if self.modern and name not in self.links:
            body = {"meta": {"api-version": "1.1"}, "name": name, "files": entries}
            return json.dumps(body).encode(), "application/vnd.pypi.simple.v1+json"
        anchors = list(self.links.get(name, ()))
        for entry in entries:
            yanked = f' data-yanked="{html.escape(str(entry["yanked"]))}"' if entry["yanked"] else ""
            digest = entry["hashes"]["sha256"]  # type: ignore[index]
            anchors.append(f'<a href="{entry["url"]}#sha256={digest}"{yanked}>{entry["filename"]}</a>')
        return f"<!DOCTYPE html><html><body>{''.join(anchors)}</body></html>".encode(), "text/html"

    def close(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def __enter__(self) -> Index:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.hold.set()
        self.close()


class _Request(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    index: Index

    def do_GET(self) -> None:
        index, login = self.index, self.headers.get("Authorization", "")
        index.seen.append((self.path, login))
        words = self.path.strip("/").split("/")
        if index.login and login != index.login:
            self._answer(401, b"", "text/plain")
        elif self.path in index.moved:
            self.send_response(302)
            self.send_header("Location", index.moved[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif words[0] == "files":
            index.asked.set()
            index.hold.wait(30)
            data = index.files.get(words[1], {}).get(words[2])
            self._answer(404 if data is None else 200, data or b"", "application/octet-stream")
        elif words[1] in index.broken:
            self._answer(500, b"", "text/plain")
        elif words[1] in index.files or words[1] in index.links:
            self._answer(200, *index.page(words[1]))
        else:
            self._answer(404, b"", "text/plain")

    def _answer(self, status: int, data: bytes, kind: str) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):
            # Whoever asked was killed.
            self.close_connection = True

    def log_message(self, format: str, *values: object) -> None:
        pass
