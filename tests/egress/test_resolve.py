from __future__ import annotations

import subprocess
import sys

import pytest

from mcpbox.egress.resolve import is_own


@pytest.mark.parametrize(
    ("address", "own"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("0.0.0.0", True), ("8.8.8.8", False), ("2001:db8::1", False)],
)
def test_an_address_of_this_machine_is_known(address: str, own: bool) -> None:
    assert is_own(address) is own


def test_what_cannot_be_found_out_counts_as_own() -> None:
    assert is_own("not an address")


#: Where a kind of address is not to be had, as under systemd's RestrictAddressFamilies or without IPv6 in the kernel.
WITHOUT_IPV6 = """
import errno, socket
import pyseccomp as seccomp
from mcpbox.egress.resolve import is_own
filter = seccomp.SyscallFilter(seccomp.ALLOW)
filter.add_rule(seccomp.ERRNO(errno.EAFNOSUPPORT), "socket", seccomp.Arg(0, seccomp.EQ, int(socket.AF_INET6)))
filter.load()
print(is_own("2001:db8::1"), is_own("127.0.0.1"))
"""


def test_without_ipv6_no_such_address_is_own() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_IPV6], capture_output=True, text=True, check=False)
    assert done.stdout == "False True\n", done.stderr
