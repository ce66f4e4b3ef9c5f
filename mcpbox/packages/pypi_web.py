"""What the index in the install sandbox reads other indexes with. The standard library of Python 3.9."""

from __future__ import annotations

import html.parser
import http.client
import json
import os
import ssl
import threading
import zlib
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urljoin, urlsplit

PAGE_BYTES = 64 << 20
REDIRECTS = 5
JSON_TYPE = "application/vnd.pypi.simple.v1+json"
ACCEPT = f"{JSON_TYPE}, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"


class Refused(Exception):
    """``args`` are the message and the hint of a PackageError."""


class Wanted(Exception):
    """The origin or the directory that an index leads to, and that this sandbox does not reach."""


class Missing(Exception):
    """The server has no such thing."""


def origin(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme == "file":
        return "file://"
    return f"{parts.scheme}://{parts.hostname}:{parts.port or {'https': 443, 'http': 80}.get(parts.scheme, 0)}"


class Web:
    """Reads URLs, of the allowed origins and directories only; credentials go to their own origin alone."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._allowed = set(job["origins"])
        self._directories = [os.path.realpath(path) for path in job["directories"]]
        self._logins: dict[str, str] = job["logins"]
        self._insecure = set(job["insecure"])
        self._local = threading.local()
        self._context = ssl.create_default_context(cafile=job.get("certificates"))
        if job.get("client"):
            self._context.load_cert_chain(job["client"])
        self._unverified = ssl.create_default_context()
        self._unverified.check_hostname = False
        self._unverified.verify_mode = ssl.CERT_NONE

    def require(self, url: str) -> None:
        """Raises Wanted or Refused where ``url`` is not within reach."""
        place = origin(url)
        if place == "file://":
            path = os.path.realpath(unquote(urlsplit(url).path))
            if not any(path == known or path.startswith(f"{known}/") for known in self._directories):
                raise Wanted(f"file://{os.path.dirname(path)}")
        elif not place.startswith(("https://", "http://")):
            raise Refused(f"an index leads to {url}", "an index has its files at https:// or file://")
        elif place not in self._allowed:
            raise Wanted(place)

    def get(
        self, url: str, accept: str = "*/*", most: int = PAGE_BYTES, sink: BinaryIO | None = None
    ) -> tuple[bytes, str, str]:
        """The body (empty where ``sink`` took it), its media type and its URL. Raises Missing, Wanted, Refused."""
        for _ in range(REDIRECTS):
            self.require(url)
            if url.startswith("file:"):
                return self._file(url, most, sink)
            answer = self._ask(url, accept)
            if answer.status in (301, 302, 303, 307, 308):
                answer.read(PAGE_BYTES)
                target = urljoin(url, answer.getheader("Location") or "")
                if url.startswith("https:") and not target.startswith("https:"):
                    raise Refused(f"{url} leads to {target}, which is not encrypted", "")
                url = target
                continue
            if answer.status != 200:
                answer.read(PAGE_BYTES)
                if answer.status in (404, 410):
                    raise Missing(url)
                refused = answer.status in (401, 403)
                hint = (
                    "the index wants other credentials: see ~/.netrc, or the URL in the pip configuration"
                    if refused
                    else ""
                )
                raise Refused(f"{url}: HTTP {answer.status} {answer.reason}", hint or "the index is ill: try later")
            return self._body(answer, url, most, sink)
        raise Refused(f"{url}: more than {REDIRECTS} redirects", "")

    def _file(self, url: str, most: int, sink: BinaryIO | None) -> tuple[bytes, str, str]:
        path = unquote(urlsplit(url).path)
        try:
            if os.path.getsize(path) > most:
                raise Refused(f"{path} is larger than {most} bytes", "")
            data = Path(path).read_bytes()
        except FileNotFoundError:
            raise Missing(url) from None
        except OSError as error:
            raise Refused(f"{path}: {error.strerror}", "the index is unreadable to the sandbox's user") from None
        if sink:
            sink.write(data)
        return b"" if sink else data, "text/html", url

    def _ask(self, url: str, accept: str) -> http.client.HTTPResponse:
        place, parts = origin(url), urlsplit(url)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        headers = {
            "Accept": accept,
            "Accept-Encoding": "gzip" if accept != "*/*" else "identity",
            "User-Agent": "mcpbox",
        }
        if place in self._logins:
            headers["Authorization"] = self._logins[place]
        known: dict[str, http.client.HTTPConnection] = self._local.__dict__.setdefault("connections", {})
        for attempt in range(3):
            connection = known.get(place) or self._connection(place)
            known[place] = connection
            try:
                connection.request("GET", target or "/", headers=headers)
                answer = connection.getresponse()
            except ssl.SSLCertVerificationError as error:
                raise Refused(
                    f"{place}: {error.verify_message}", "name its authority: pip config set global.cert FILE"
                ) from None
            except (OSError, http.client.HTTPException) as error:
                # A connection that was kept may have been closed meanwhile.
                connection.close()
                del known[place]
                if attempt == 2:
                    raise Refused(f"{url}: {str(error) or type(error).__name__}", "is the index up?") from None
                continue
            if answer.status < 500 or attempt == 2:
                break
            answer.read(PAGE_BYTES)
        return answer

    def _connection(self, place: str) -> http.client.HTTPConnection:
        parts = urlsplit(place)
        if parts.scheme == "http":
            return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        context = self._unverified if place in self._insecure else self._context
        return http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=60, context=context)

    def _body(
        self, answer: http.client.HTTPResponse, url: str, most: int, sink: BinaryIO | None
    ) -> tuple[bytes, str, str]:
        unzip = zlib.decompressobj(31) if answer.getheader("Content-Encoding") == "gzip" else None
        whole, size = bytearray(), 0
        try:
            while piece := answer.read(1 << 16):
                piece = unzip.decompress(piece, most + 1) if unzip else piece
                size += len(piece)
                if size > most:
                    self._local.__dict__.pop("connections").clear()
                    raise Refused(f"{url} is larger than {most} bytes", "")
                if sink:
                    sink.write(piece)
                else:
                    whole += piece
        except (OSError, http.client.HTTPException, zlib.error) as error:
            raise Refused(f"{url}: {str(error) or type(error).__name__}", "the download broke off: try again") from None
        return bytes(whole), (answer.getheader("Content-Type") or "").partition(";")[0].strip().lower(), url


class Anchors(html.parser.HTMLParser):
    """The links of a PEP 503 page, as a PEP 691 one has them."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._base = url
        self.found: list[dict[str, Any]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        if tag == "base" and values.get("href"):
            self._base = urljoin(self._base, values["href"] or "")
        if tag != "a" or not values.get("href"):
            return
        url, _, fragment = urljoin(self._base, (values["href"] or "").strip()).partition("#")
        kind, _, digest = fragment.partition("=")
        metadata = values.get("data-core-metadata", values.get("data-dist-info-metadata"))
        given, _, text = (metadata or "").partition("=")
        self.found.append(
            {
                "filename": unquote(urlsplit(url).path.rpartition("/")[2]),
                "url": url,
                "hashes": {kind: digest} if digest else {},
                "requires-python": values.get("data-requires-python"),
                "yanked": (values["data-yanked"] or True) if "data-yanked" in values else False,
                "core-metadata": {given: text} if text else metadata == "true",
            }
        )


def entries(data: bytes, kind: str, url: str) -> list[dict[str, Any]]:
    """The files that a page of an index names. Raises Refused."""
    if kind == JSON_TYPE:
        try:
            page = json.loads(data)
            found = [
                {**entry, "url": urljoin(url, entry["url"])}
                for entry in page["files"]
                if isinstance(entry["filename"], str)
            ]
        except (ValueError, TypeError, KeyError):
            raise Refused(f"{url} is not what PEP 691 describes", "is that URL an index?") from None
        return found
    anchors = Anchors(url)
    anchors.feed(data.decode("utf-8", "replace"))
    return anchors.found
