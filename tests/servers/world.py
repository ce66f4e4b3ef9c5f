"""The internet, as far as tests need one: real servers on public addresses of a network namespace of their own.

Started with "internet" in that namespace, and with "machine" in the one from which it is reached, for what a machine
has on its own addresses. The second word is a directory, where it finds ``ca.pem``, ``cert.pem`` and writes
``seen.jsonl``: one line for each question to the name server, each connection and each HTTP request. It prints a line
once all of it listens.
"""

import asyncio
import contextlib
import json
import struct
import sys
from pathlib import Path

import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset
from hypercorn.asyncio import serve
from hypercorn.config import Config

PUBLIC, EVIL, PUBLIC6 = "93.184.216.34", "93.184.216.35", "2606:2800:220:1::34"
#: Not public, whichever way it is written.
INNER = ("10.0.0.1", "fd00:7::1", "169.254.169.254", "64:ff9b::a00:1", "2002:a00:1::")
#: The machine's own, the first of them public.
OWN = ("198.34.117.5", "127.0.0.1", "::1")
#: What the name server answers: A and AAAA records by name. A list of lists is gone through, answer by answer.
NAMES = {
    "api.example.com": [PUBLIC],
    "other.example.com": [PUBLIC],
    "deep.sub.example.com": [PUBLIC],
    "six.example.com": [PUBLIC6],
    "evil.com": [EVIL],
    "data.evil.com": [EVIL],
    "evil-example.com": [EVIL],
    "example.com.evil.com": [EVIL],
    "api.xn--xample-2of.com": [EVIL],
    "to-own.example.com": [OWN[0]],
    "to-loopback.example.com": ["127.0.0.1"],
    "to-loopback6.example.com": ["::1"],
    "to-private.example.com": ["10.0.0.1"],
    "to-metadata.example.com": ["169.254.169.254"],
    "to-mapped.example.com": ["::ffff:10.0.0.1"],
    "to-nat64.example.com": ["64:ff9b::a00:1"],
    "to-6to4.example.com": ["2002:a00:1::"],
    "to-zero.example.com": ["0.0.0.0"],
    "to-both.example.com": ["10.0.0.1", PUBLIC],
    "flips.example.com": [[PUBLIC], ["10.0.0.1"]],
    # The namespace has a route to neither of these addresses.
    "unreachable.example.com": ["93.184.216.99"],
    "half-reachable.example.com": ["2606:2800:21f:cb07::1", PUBLIC],
    "flips-too.example.com": [[PUBLIC], ["10.0.0.1"]],
}
#: How often each question was asked.
ASKED: dict[tuple[str, int], int] = {}
MACHINE = sys.argv[1] == "machine"
DIRECTORY = Path(sys.argv[2])
SEEN = DIRECTORY / "seen.jsonl"


def seen(**what):
    with SEEN.open("a") as file:
        file.write(json.dumps(what) + "\n")


class NameServer(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, peer):
        self.transport.sendto(self.answer(data), peer)

    @classmethod
    def answer(cls, data):
        query = dns.message.from_wire(data)
        question = query.question[0]
        name = question.name.to_text().rstrip(".").lower()
        seen(dns=name, type=dns.rdatatype.to_text(question.rdtype))
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        records = NAMES.get(name)
        if records is None:
            response.set_rcode(3)
        elif isinstance(records[0], list):
            # Both types are asked for at once, so each is counted for itself.
            key = name, question.rdtype
            turn = ASKED[key] = ASKED.get(key, -1) + 1
            records = records[min(turn, len(records) - 1)]
        kind = {dns.rdatatype.A: False, dns.rdatatype.AAAA: True}.get(question.rdtype)
        found = [record for record in records or () if (":" in record) is kind]
        if found:
            response.answer.append(dns.rrset.from_text(question.name, 0, "IN", question.rdtype, *found))
        if question.rdtype == dns.rdatatype.TXT:
            response.answer.append(dns.rrset.from_text(question.name, 0, "IN", "TXT", '"through the tunnel"'))
        return response.to_wire()

    @classmethod
    async def serve(cls, reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                (size,) = struct.unpack("!H", await reader.readexactly(2))
                answer = cls.answer(await reader.readexactly(size))
                writer.write(struct.pack("!H", len(answer)) + answer)
        writer.close()


class Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, peer):
        seen(datagram=self.transport.get_extra_info("sockname")[:2])
        self.transport.sendto(data, peer)


async def app(scope, receive, send):
    """/bytes/N gives N bytes, /upload counts what it is sent, /events sends three, /echo is a WebSocket."""
    if scope["type"] == "lifespan":
        return
    headers = {key.decode(): value.decode() for key, value in scope["headers"]}
    host = headers.get("host") or headers.get(":authority", "")
    seen(request=scope["path"], host=host, version=scope.get("http_version"), port=scope["server"][1])
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
        return
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    kind = b"text/event-stream" if scope["path"] == "/events" else b"application/json"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    if scope["path"].startswith("/bytes/"):
        left = int(scope["path"].rpartition("/")[2])
        while left > 0:
            await send({"type": "http.response.body", "body": bytes(min(left, 1 << 18)), "more_body": True})
            left -= 1 << 18
    elif scope["path"] == "/events":
        for number in range(3):
            await send({"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True})
    else:
        body = {"host": host, "path": scope["path"], "received": size, "version": scope.get("http_version")}
        await send({"type": "http.response.body", "body": json.dumps(body).encode(), "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def echo(reader, writer):
    seen(connection=writer.get_extra_info("sockname")[:2])
    while data := await reader.read(1 << 18):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def source(reader, writer):
    """Told a number in 8 bytes, sends that many, then counts what it is sent and says so."""
    seen(connection=writer.get_extra_info("sockname")[:2])
    (left,) = struct.unpack("!Q", await reader.readexactly(8))
    while left > 0:
        writer.write(bytes(min(left, 1 << 18)))
        await writer.drain()
        left -= 1 << 18
    count = 0
    while data := await reader.read(1 << 18):
        count += len(data)
    writer.write(struct.pack("!Q", count))
    writer.close()


async def banner(reader, writer):
    """Speaks first, as SSH and SMTP do."""
    seen(connection=writer.get_extra_info("sockname")[:2])
    writer.write(b"220 ready\r\n")
    line = await reader.readline()
    writer.write(b"250 " + line)
    writer.close()


async def main():
    loop = asyncio.get_running_loop()
    name_server = "127.0.0.1" if MACHINE else "8.8.8.8"
    await loop.create_datagram_endpoint(NameServer, (name_server, 53))
    await asyncio.start_server(NameServer.serve, name_server, 53)
    if MACHINE:
        # As the Docker API is, where it was opened to the network.
        await asyncio.start_server(banner, "127.0.0.1", 2375)
    else:
        for address, port in ((PUBLIC, 7), (PUBLIC6, 7), (PUBLIC, 443)):
            await loop.create_datagram_endpoint(Datagrams, (address, port))
        await asyncio.start_server(echo, "10.0.0.1", 70)
    for address in OWN if MACHINE else (PUBLIC, PUBLIC6, EVIL, *INNER):
        await asyncio.start_server(echo, address, 7)
        await asyncio.start_server(source, address, 9, limit=1 << 20)
        await asyncio.start_server(banner, address, 25)
    config = Config()
    secure = ("127.0.0.1",) if MACHINE else (PUBLIC, EVIL, "10.0.0.1")
    config.bind = [f"{address}:443" for address in secure]
    config.insecure_bind = [f"{address}:80" for address in (*secure, *(() if MACHINE else ("169.254.169.254",)))]
    config.certfile = config.keyfile = str(DIRECTORY / "cert.pem")
    config.errorlog = config.accesslog = None
    config.alpn_protocols = ["h2", "http/1.1"]
    # Else plain HTTP is answered with a redirection; the test asks what arrived.
    running = asyncio.create_task(serve(app, config, mode="asgi", shutdown_trigger=asyncio.Event().wait))
    while True:
        try:
            for port in (80, 443):
                _, writer = await asyncio.open_connection(secure[0], port)
                writer.close()
            break
        except OSError:
            await asyncio.sleep(0.01)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await running


asyncio.run(main())
