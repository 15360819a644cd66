"""Sockets that are made deaf receive nothing more, and all others go on."""

from __future__ import annotations

import socket
import sys

import pytest
from gossipcontrol.iroh.deaf import deafen

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="socket filters are of Linux")


def bound(family: socket.AddressFamily, address: str) -> socket.socket:
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.bind((address, 0))
    made.settimeout(5.0)
    return made


@pytest.mark.parametrize(
    ("family", "address", "version"), [(socket.AF_INET, "127.0.0.1", 4), (socket.AF_INET6, "::1", 6)]
)
def test_a_deaf_socket_receives_nothing_and_goes_on_sending(
    family: socket.AddressFamily, address: str, version: int
) -> None:
    with bound(family, address) as deaf, bound(family, address) as other:
        assert deafen({version: deaf.getsockname()[1]}) == 1
        other.sendto(b"lost", deaf.getsockname())
        deaf.sendto(b"sent", other.getsockname())
        assert other.recv(9) == b"sent"
        deaf.setblocking(False)
        with pytest.raises(BlockingIOError):
            deaf.recv(9)


def test_no_socket_of_another_family_or_kind_is_made_deaf() -> None:
    with bound(socket.AF_INET, "127.0.0.1") as udp, socket.create_server(("127.0.0.1", 0)) as tcp:
        assert deafen({6: udp.getsockname()[1], 4: tcp.getsockname()[1]}) == 0
        udp.sendto(b"still", udp.getsockname())
        assert udp.recv(9) == b"still"
