"""What clients are tried with beside ``world.py``, in the internet: sums over bytes, Git, files and a proxy.

Started with the same directory, and with Git's projects and plain files in its ``git`` and ``www``. It adds to
``seen.jsonl`` and writes a line once all of it listens.
"""

import asyncio
import base64
import json
import mimetypes
import os
import sys
from pathlib import Path

from hypercorn.asyncio import serve
from hypercorn.config import Config
from pattern import pattern, summed

PUBLIC, INNER, TLS, PLAIN, LAST_WORD, PROXY = "93.184.216.34", "10.0.0.1", 8443, 8080, 10, 3128
CREDENTIALS = b"Basic " + base64.b64encode(b"user:p@ss")
DIRECTORY = Path(sys.argv[1])


def seen(**what):
    with (DIRECTORY / "seen.jsonl").open("a") as file:
        file.write(json.dumps(what) + "\n")


class Together:
    """Requests that are answered once there are enough of them at once."""

    def __init__(self):
        self.waiting = 0
        self.enough = asyncio.Event()

    async def wait(self, count):
        self.waiting += 1
        if self.waiting == count:
            self.enough.set()
        await self.enough.wait()
        self.waiting -= 1
        if not self.waiting:
            self.enough.clear()


async def body(receive):
    while True:
        message = await receive()
        yield message.get("body", b"")
        if not message.get("more_body"):
            return


async def git(scope, receive):
    """git-http-backend(1), as a web server would run it."""
    headers = {key.decode(): value.decode() for key, value in scope["headers"]}
    process = await asyncio.create_subprocess_exec(
        "git",
        "http-backend",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(DIRECTORY / "git"),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": scope["method"],
            "PATH_INFO": scope["path"].removeprefix("/git"),
            "QUERY_STRING": scope["query_string"].decode(),
            "CONTENT_TYPE": headers.get("content-type", ""),
            "HTTP_CONTENT_ENCODING": headers.get("content-encoding", ""),
            "GIT_PROTOCOL": headers.get("git-protocol", ""),
        },
    )
    out, _ = await process.communicate(b"".join([piece async for piece in body(receive)]))
    head, _, content = out.partition(b"\r\n\r\n")
    fields = [tuple(line.split(b": ", 1)) for line in head.split(b"\r\n")]
    status = next((int(value.split()[0]) for key, value in fields if key == b"Status"), 200)
    return status, [(key.lower(), value) for key, value in fields if key != b"Status"], [content]


async def answer(scope, receive):
    """Status, headers and pieces of the content."""
    path = scope["path"]
    if path.startswith("/git/"):
        return await git(scope, receive)
    if path.startswith("/pattern/"):
        return 200, [], pattern(int(path.rpartition("/")[2]))
    if path == "/digest":
        content = summed([piece async for piece in body(receive)])
        return 200, [], [json.dumps(content).encode()]
    if path.startswith("/together/"):
        await scope["state"]["together"].wait(int(path.rpartition("/")[2]))
        return 200, [], [b"together"]
    found = DIRECTORY / "www" / path.strip("/")
    if found.is_dir():
        found /= "index.html"
    if not found.is_file():
        return 404, [], [b"not found"]
    kind = mimetypes.guess_type(found.name)[0] or "application/octet-stream"
    return 200, [(b"content-type", kind.encode())], [found.read_bytes()]


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        scope["state"]["together"] = Together()
        await receive()
        await send({"type": "lifespan.startup.complete"})
        return
    headers = dict(scope["headers"])
    seen(
        request=scope["path"],
        query=scope["query_string"].decode(),
        method=scope["method"],
        version=scope["http_version"],
        agent=headers.get(b"user-agent", b"").decode(),
        token=headers.get(b"authorization", b"").decode(),
    )
    status, fields, pieces = await answer(scope, receive)
    await send({"type": "http.response.start", "status": status, "headers": fields})
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def last_word(reader, writer):
    """Ends its half first, and takes what is said after that."""
    writer.write(b"bye")
    writer.write_eof()
    pieces = []
    while data := await reader.read(1 << 18):
        pieces.append(data)
    seen(last_word=summed(pieces))
    writer.close()


async def copy(reader, writer):
    while data := await reader.read(1 << 18):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def proxy(reader, writer):
    """CONNECT for whoever has the credentials; every name leads to the same address, whatever a resolver knows."""
    head = await reader.readuntil(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    authorized = f"Proxy-Authorization: {CREDENTIALS.decode()}" in fields
    seen(proxy=line, host=fields[0], authorized=authorized)
    method, target, _ = line.split(" ")
    if not authorized or method != "CONNECT":
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        writer.close()
        return
    onward = await asyncio.open_connection(PUBLIC, int(target.rpartition(":")[2]))
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    await asyncio.gather(copy(reader, onward[1]), copy(onward[0], writer))
    onward[1].close()
    writer.close()


async def main():
    await asyncio.start_server(last_word, PUBLIC, LAST_WORD)
    await asyncio.start_server(proxy, INNER, PROXY)
    config = Config()
    config.bind, config.insecure_bind = [f"{PUBLIC}:{TLS}"], [f"{PUBLIC}:{PLAIN}"]
    config.certfile = config.keyfile = str(DIRECTORY / "cert.pem")
    config.errorlog = config.accesslog = None
    config.alpn_protocols = ["h2", "http/1.1"]
    running = asyncio.create_task(serve(app, config, mode="asgi", shutdown_trigger=asyncio.Event().wait))
    while True:
        try:
            for port in (TLS, PLAIN):
                _, writer = await asyncio.open_connection(PUBLIC, port)
                writer.close()
            break
        except OSError:
            await asyncio.sleep(0.01)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await running


if __name__ == "__main__":
    asyncio.run(main())
