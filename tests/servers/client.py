"""Clients in Python, each as its documentation has it; the one that is named writes what it got as JSON."""

import asyncio
import json
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from pattern import pattern, summed

API, SERVICES, PLAIN = "https://api.example.com", "https://api.example.com:8443", "http://api.example.com:8080"
SIZE = 100 << 20


def over_urllib():
    from urllib.request import urlopen

    return [json.load(urlopen(f"{url}/urllib", timeout=20)) for url in (API, "http://api.example.com")]


def over_requests():
    import requests

    with requests.Session() as session:
        return [session.post(f"{API}/requests", data=b"x" * 70_000, timeout=20).json() for _ in range(3)]


def over_httpx():
    import httpx

    with httpx.Client(timeout=20) as client:
        return [client.get(f"{url}/httpx").json() for url in (API, "http://api.example.com")]


def over_http2():
    import httpx

    async def run():
        async with httpx.AsyncClient(http2=True, timeout=20) as client:
            await client.get(f"{API}/first")
            answers = await asyncio.gather(*(client.get(f"{API}/{number}") for number in range(50)))
            return [[answer.http_version, answer.json()["path"]] for answer in answers]

    return asyncio.run(run())


def over_aiohttp():
    import aiohttp

    async def run():
        async with aiohttp.ClientSession() as session, session.get(f"{API}/aiohttp") as response:
            return await response.json()

    return asyncio.run(run())


def events():
    import httpx

    with httpx.stream("GET", f"{API}/events", timeout=20) as response:
        return [line for line in response.iter_lines() if line]


def websocket():
    from websockets.sync.client import connect

    got = []
    for url in ("wss://api.example.com/echo", "ws://api.example.com/echo"):
        with connect(url) as connection:
            for message in ("hello", "x" * 100_000):
                connection.send(message)
                got.append(len(connection.recv(timeout=20)))
    return got


def download():
    import requests

    with requests.get(f"{SERVICES}/pattern/{SIZE}", stream=True, timeout=60) as response:
        return summed(response.iter_content(1 << 18))


def upload():
    import httpx

    return httpx.post(f"{SERVICES}/digest", content=pattern(SIZE), timeout=60).json()


def upload_plain():
    import httpx

    return httpx.post(f"{PLAIN}/digest", content=pattern(SIZE // 10), timeout=60).json()


def together():
    import aiohttp

    async def get(session):
        async with session.get(f"{SERVICES}/together/200") as response:
            return await response.text()

    async def run():
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            return await asyncio.gather(*(get(session) for _ in range(200)))

    return asyncio.run(run())


def together_plain():
    """Two hundred echoes that are all open before the first of them says anything."""

    async def run():
        pairs = await asyncio.gather(*(asyncio.open_connection("api.example.com", 7) for _ in range(200)))

        async def speak(number, reader, writer):
            words = b"%d " % number * 5000
            writer.write(words)
            writer.write_eof()
            same = await reader.read(-1) == words
            writer.close()
            return same

        return await asyncio.gather(*(speak(number, *pair) for number, pair in enumerate(pairs)))

    return asyncio.run(run())


def all_of(sock):
    pieces = []
    while data := sock.recv(1 << 18):
        pieces.append(data)
    return b"".join(pieces)


def client_ends_first():
    with socket.create_connection(("api.example.com", 9), timeout=20) as sock:
        threading.Thread(
            target=lambda: (sock.sendall((3 << 20).to_bytes(8) + bytes(2 << 20)), sock.shutdown(1))
        ).start()
        got = all_of(sock)
    return [len(got) - 8, int.from_bytes(got[-8:])]


def server_ends_first(count):
    got, pieces = set(), list(pattern(3 << 20))

    def speak():
        with socket.create_connection(("api.example.com", 10), timeout=20) as sock:
            got.add(all_of(sock).decode())
            for piece in pieces:
                sock.sendall(piece)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(speak) for _ in range(int(count))]:
            done.result()
    return sorted(got)


def speaks_first():
    import smtplib

    with smtplib.SMTP("api.example.com", 25, "me.example", timeout=20) as client:
        # The server hangs up after that, and smtplib would say QUIT.
        answer = client.docmd("NOOP")
        client.close()
    return [answer[0], answer[1].decode()]


def idle(seconds):
    """Two connections: one silent, one that is not; which of them is alive once the other is not, or after a time."""
    silent, busy = (socket.create_connection(("api.example.com", 7), timeout=20) for _ in "12")
    silent.settimeout(0.25)
    for _ in range(4 * int(seconds)):
        busy.sendall(b"x")
        busy.recv(1)
        try:
            return ["ended", silent.recv(1).decode()]
        except TimeoutError:
            continue
        except ConnectionResetError:
            busy.sendall(b"y")
            return ["reset", busy.recv(1).decode()]
    silent.sendall(b"z")
    silent.settimeout(20)
    return ["alive", silent.recv(1).decode()]


def echo(name):
    with socket.create_connection((name, 7), timeout=20) as sock:
        sock.sendall(b"hello")
        return sock.recv(5).decode()


def refused(url):
    from urllib.error import URLError
    from urllib.request import urlopen

    try:
        urlopen(url, timeout=20)
    except URLError as error:
        return type(error.reason).__name__


def postgres():
    import psycopg

    with psycopg.connect("host=localhost user=postgres password=secret dbname=postgres", connect_timeout=20) as db:
        db.execute("create temporary table t (number int, text text)")
        with db.cursor().copy("copy t from stdin") as copy:
            for number in range(20_000):
                copy.write_row((number, "ü" * 50))
        total = db.execute("select count(*), sum(number), sum(length(text)) from t").fetchone()
        return [*total, len(db.execute("select repeat('x', 4000000)").fetchone()[0])]


sys.stdout.write(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
