"""Ways to the network, one a run: ``attempts.py NAME ARGUMENTS``, the second a JSON object.

Prints one JSON object: "outcome" is "allowed" with what came back, or "blocked" with what stopped it, as "detail". Runs
inside of a sandbox and outside of any, so with the standard library alone and any Python from 3.9 on.
"""

import ctypes
import errno
import http.client
import json
import os
import random
import signal
import socket
import ssl
import struct
import sys
import time
import urllib.request
from contextlib import closing, suppress

SECONDS = 10
TYPES = {"A": 1, "TXT": 16, "AAAA": 28, "HTTPS": 65, "ANY": 255}
ICMP_ECHO, ICMP6_ECHO = 8, 128
PTRACE_SEIZE = 0x4206


class Blocked(Exception):
    """What stopped an attempt, where it was no OSError."""


def connection(host, port):
    """Each address of a name in turn, as ``socket.create_connection`` does, which tells of the last alone: of one that
    cannot be had where the wall stands before the first, and its reset comes before ``connect`` is done."""
    failed = []
    for family, kind, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind)
        sock.settimeout(SECONDS)
        try:
            sock.connect(address)
        except OSError as error:
            sock.close()
            failed.append(shown(error))
        else:
            return sock
    raise Blocked(", ".join(failed))


def tcp(host, port, send="hello"):
    """Connect by name or address, say something, and be answered."""
    with closing(connection(host, port)) as sock:
        sock.sendall(send.encode("latin-1"))
        if not (data := sock.recv(1 << 16)):
            raise Blocked("closed without an answer")
        return f"{data.decode('latin-1')} from {sock.getpeername()[0]}"


def mapped(host, port):
    """IPv4 by way of an IPv6 socket."""
    with closing(socket.socket(socket.AF_INET6)) as sock:
        sock.settimeout(SECONDS)
        sock.connect((f"::ffff:{host}", port))
        sock.sendall(b"hello")
        if not (data := sock.recv(1 << 16)):
            raise Blocked("closed without an answer")
        return data.decode()


def udp(host, port):
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with closing(socket.socket(family, kind)) as sock:
        sock.settimeout(SECONDS)
        sock.connect(address)
        sock.send(b"hello")
        return sock.recv(1 << 16).decode()


def icmp(host):
    is6 = ":" in host
    protocol = socket.IPPROTO_ICMPV6 if is6 else socket.IPPROTO_ICMP
    with closing(socket.socket(socket.AF_INET6 if is6 else socket.AF_INET, socket.SOCK_DGRAM, protocol)) as sock:
        sock.settimeout(SECONDS)
        sock.sendto(struct.pack("!BBHHH", ICMP6_ECHO if is6 else ICMP_ECHO, 0, 0, 1, 1) + b"hello", (host, 0))
        return repr(sock.recv(1 << 10)[8:])


def dns(labels, kind, server="127.0.0.1", over_tcp=False):
    """Ask a name server with octets of one's own; labels are text of Latin-1."""
    octets = b"".join(bytes([len(label)]) + label for label in (label.encode("latin-1") for label in labels)) + b"\0"
    question = struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + octets + struct.pack("!HH", TYPES[kind], 1)
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM if over_tcp else socket.SOCK_DGRAM)) as sock:
        sock.settimeout(SECONDS)
        sock.connect((server, 53))
        sock.sendall(struct.pack("!H", len(question)) + question if over_tcp else question)
        answer = sock.recv(1 << 16)
        if over_tcp:
            while len(answer) < 2 or len(answer) < 2 + struct.unpack("!H", answer[:2])[0]:
                answer += sock.recv(1 << 16)
            answer = answer[2:]
    code, count = answer[3] & 15, struct.unpack("!H", answer[6:8])[0]
    if not count:
        raise Blocked(f"code {code}, no record")
    return f"{count} records"


def web(host, port, requests, sni=None, connect_to=""):
    """HTTP requests, each METHOD, TARGET and Host, on one connection; ``sni`` wraps it in TLS, "" without a name."""
    said = []
    connection = http.client.HTTPConnection(connect_to or host, port, timeout=SECONDS)
    try:
        connection.connect()
        if sni is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection.sock = context.wrap_socket(connection.sock, server_hostname=sni or None)
        for method, target, named in requests:
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            connection.putheader("Host", named)
            connection.endheaders()
            answer = connection.getresponse()
            said.append(f"{answer.status} {answer.read().decode()}")
    except (OSError, http.client.HTTPException) as error:
        raise Blocked(f"after {len(said)} answers: {shown(error)}") from None
    finally:
        connection.close()
    return " ".join(said)


def url(address, data=None):
    """As most programs do it, proxies of the environment and all."""
    with urllib.request.urlopen(address, data and data.encode(), timeout=SECONDS) as answer:
        return answer.read().decode()


def unix(path):
    """A socket by its path; abstract if it begins with "@"."""
    with closing(socket.socket(socket.AF_UNIX)) as sock:
        sock.settimeout(SECONDS)
        sock.connect(path.replace("@", "\0", 1))
        sock.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
        return sock.recv(1 << 10).decode("latin-1")


def find(word):
    """A process that has ``word`` among its arguments, this one aside."""
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
            if word.encode() in file.read() and int(pid) not in (os.getpid(), os.getppid()):
                return pid
    raise Blocked(f"no process of {len(list(filter(str.isdecimal, os.listdir('/proc'))))} has it")


def send_signal(pid):
    os.kill(pid, 0)
    return "there"


def trace(pid):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(PTRACE_SEIZE, pid, None, None):
        raise OSError(ctypes.get_errno(), "ptrace")
    return "traced"


def read_memory(pid):
    with open(f"/proc/{pid}/mem", "rb") as file:
        return repr(file)


def read_files(pid):
    """The descriptors of a process, of which two are the way out of the namespace."""
    return " ".join(os.listdir(f"/proc/{pid}/fd"))


def bind(address, port, datagrams=False, shared=False):
    """Be what others take for the relay."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_DGRAM if datagrams else socket.SOCK_STREAM)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((address, port))
        if not datagrams:
            sock.listen()
        return "bound"


def route(network):
    """Make a network reachable: a route out of "lo", as the relay has for networks."""
    with closing(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)) as sock:
        body = struct.pack("BBBBBBBBI", socket.AF_INET, 32, 0, 0, 255, 3, 254, 2, 0)
        body += struct.pack("HH", 8, 1) + socket.inet_aton(network) + struct.pack("HHI", 8, 4, 1)
        sock.send(struct.pack("IHHII", 16 + len(body), 24, 0x405, 1, 0) + body)
        code = -struct.unpack_from("i", sock.recv(4096), 16)[0]
    if code:
        raise OSError(code, "a route")
    return "routed"


def hold(host, port, path):
    """Leave a process behind that keeps a connection, and writes into ``path`` what became of it."""
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        with open(reading) as file:
            if (said := file.read()) != "hello":
                raise Blocked(said)
        return "held"
    for fd in range(3):
        os.dup2(os.open(os.devnull, os.O_RDWR), fd)
    with open(path + ".new", "w") as file:
        with closing(socket.create_connection((host, port), SECONDS)) as sock:
            sock.sendall(b"hello")
            os.write(writing, sock.recv(100))
            os.close(writing)
            sock.settimeout(60)
            try:
                file.write(f"received {sock.recv(100)!r}")
            except OSError as error:
                file.write(shown(error))
    os.rename(path + ".new", path)
    os._exit(0)


def listen(path, port):
    """Leave a process behind that answers on TCP ``port`` and on the abstract socket ``path``, for ever."""
    servers = [socket.socket(socket.AF_INET), socket.socket(socket.AF_UNIX)]
    servers[0].bind(("0.0.0.0", port))
    servers[1].bind(path.replace("@", "\0", 1))
    for server in servers:
        server.listen()
        if not os.fork():
            for fd in range(3):
                os.dup2(os.open(os.devnull, os.O_RDWR), fd)
            while True:
                with closing(server.accept()[0]) as sock:
                    sock.sendall(b"the other one hears " + sock.recv(100))
    return "listening"


def flood(garbage, connections, ports):
    """Garbage for the name server over UDP and TCP, and connections that say nothing, all at once."""
    chance = random.Random(7)
    held = []
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.setblocking(False)
        for _ in range(garbage):
            with suppress(OSError):
                sock.sendto(chance.randbytes(chance.randrange(600)), ("127.0.0.1", 53))
        for number in range(garbage):
            name = b"".join(bytes([8]) + b"%08x" % number for _ in range(3)) + b"\4evil\3com\0"
            with suppress(OSError):
                question = struct.pack("!6H", number & 0xFFFF, 0x0100, 1, 0, 0, 0) + name + struct.pack("!HH", 1, 1)
                sock.sendto(question, ("127.0.0.1", 53))
    for number in range(connections):
        sock = socket.socket()
        sock.setblocking(False)
        if (code := sock.connect_ex(("127.0.0.1", ports[number % len(ports)]))) not in (0, errno.EINPROGRESS):
            raise OSError(code, "connect")
        held.append(sock)
    for sock in held[::2]:
        with suppress(OSError):
            sock.send(chance.randbytes(chance.randrange(1, 3000)))
    for sock in held:
        sock.close()
    return f"{connections} connections"


def many(host, port, count):
    """Connections that are all open at once; how many were answered."""
    held, answered = [], 0
    for _ in range(count):
        # It may be reset as soon as it is made.
        with suppress(ConnectionResetError):
            held.append(socket.create_connection((host, port), SECONDS))
    for sock in held:
        with suppress(OSError):
            sock.sendall(b"hello")
            answered += bool(sock.recv(5))
    return f"{answered} answered"


def appears(path):
    """What a process that was left behind wrote into ``path``, once it has."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        with suppress(FileNotFoundError), open(path) as file:
            return file.read()
        time.sleep(0.02)
    raise Blocked("nothing was written")


def shown(error):
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, OSError):
        error = error.reason
    if isinstance(error, socket.gaierror):
        return f"no such name: {error.strerror}"
    if isinstance(error, ssl.SSLError):
        return f"{type(error).__name__}"
    if isinstance(error, OSError) and error.errno:
        return errno.errorcode[error.errno]
    return f"{type(error).__name__}: {error}"


def main():
    signal.alarm(60)
    try:
        found = {"outcome": "allowed", "detail": globals()[sys.argv[1]](**json.loads(sys.argv[2]))}
    except Blocked as error:
        found = {"outcome": "blocked", "detail": str(error)}
    except (OSError, http.client.HTTPException) as error:
        found = {"outcome": "blocked", "detail": shown(error)}
    sys.stdout.write(json.dumps(found))


main()
