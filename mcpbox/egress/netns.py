"""Entering a sandbox's network namespace and making literal networks local there; then having no rights any more.

Standard library alone: it runs in the relay's process, before the relay listens.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import ipaddress
import os
import socket
import struct
import time

CLONE_NEWNET, CLONE_NEWUSER = 0x40000000, 0x10000000
NS_GET_USERNS = 0xB701
SIOCGIFFLAGS, IFF_UP = 0x8913, 1
LOOPBACK_SECONDS = 5
PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 4, 38
_CAPABILITY_VERSION_3 = 0x20080522
#: rtnetlink(7): a new route of the table "local", of type "local", out of the interface "lo", which is always number 1.
RTM_NEWROUTE, NLM_F_REQUEST_ACK_CREATE = 24, 0x405
RTN_LOCAL, RT_TABLE_LOCAL, RT_SCOPE_HOST, RTPROT_BOOT = 2, 255, 254, 3
RTA_DST, RTA_OIF, LO = 1, 4, 1

_libc = ctypes.CDLL(None, use_errno=True)


def join(pid: int) -> None:
    """Enter the network namespace of a process of this user's. Raises OSError.

    An ordinary user needs the rights that the owner of its user namespace has there; root has them already.
    """
    net = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    if os.geteuid() != 0:
        _check(_libc.setns(fcntl.ioctl(net, NS_GET_USERNS), CLONE_NEWUSER), "setns user")
    _check(_libc.setns(net, CLONE_NEWNET), "setns net")


def await_loopback() -> None:
    """Return once "lo" is up, which is for whoever made the namespace to do. Raises OSError.

    To do it too would give it its address, and fail the other's attempt to do so.
    """
    request = struct.pack("16sh14x", b"lo", 0)
    deadline = time.monotonic() + LOOPBACK_SECONDS
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        while not struct.unpack("16sh14x", fcntl.ioctl(sock, SIOCGIFFLAGS, request))[1] & IFF_UP:
            if time.monotonic() > deadline:
                raise OSError(errno.ENETDOWN, os.strerror(errno.ENETDOWN), "lo")
            time.sleep(0.001)


def make_local(network: str) -> None:
    """Deliver what is sent to any address of ``network`` (CIDR) to this namespace itself. Raises OSError."""
    parsed = ipaddress.ip_network(network)
    family = socket.AF_INET if parsed.version == 4 else socket.AF_INET6
    address = parsed.network_address.packed
    body = struct.pack(
        "BBBBBBBBI", family, parsed.prefixlen, 0, 0, RT_TABLE_LOCAL, RTPROT_BOOT, RT_SCOPE_HOST, RTN_LOCAL, 0
    )
    body += struct.pack("HH", 4 + len(address), RTA_DST) + address + struct.pack("HHI", 8, RTA_OIF, LO)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.send(struct.pack("IHHII", 16 + len(body), RTM_NEWROUTE, NLM_F_REQUEST_ACK_CREATE, 1, 0) + body)
        (code,) = struct.unpack_from("i", sock.recv(4096), 16)
    if code:
        raise OSError(-code, os.strerror(-code), network)


def leave_files(uid: int) -> None:
    """See no file any more, and be ``uid`` for good; 0 for who is not root, whatever a user namespace calls him."""
    # There is nothing in it but this process's own descriptors.
    os.chroot("/proc/self/fdinfo")
    os.chdir("/")
    if uid:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)


def give_up() -> None:
    """Have no capability and no way to get one, and be traced by nobody. Raises OSError."""
    _check(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    _check(_libc.capset(struct.pack("Ii", _CAPABILITY_VERSION_3, 0), bytes(24)), "capset")
    _check(_libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "dumpable")


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
