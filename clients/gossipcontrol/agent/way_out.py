"""Whether this host can send to anybody else, as the kernel's routing says; nothing is sent."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from itertools import islice

from gossipcontrol.agent.dialable import IpAddress, ip_of

ANYWHERE = (ipaddress.ip_address("192.0.2.1"), ipaddress.ip_address("2001:db8::1"))
"""Reserved for documentation: routed like any address of the internet."""
MOST_PEERS = 8
"""Most addresses of peers that are asked for."""


def has_way_out(peers: Iterable[str] = ()) -> bool:
    """Whether there is a default route, or a route to one of the first of these peers (``ip:port``)."""
    known = (ip for ip in map(ip_of, islice(peers, MOST_PEERS)) if ip is not None and not ip.is_loopback)
    return any(map(_has_route, (*ANYWHERE, *known)))


def _has_route(ip: IpAddress) -> bool:
    try:
        with socket.socket(socket.AF_INET if ip.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.connect((str(ip), 9))
            return not ipaddress.ip_address(str(probe.getsockname()[0]).partition("%")[0]).is_loopback
    except OSError:
        return False
