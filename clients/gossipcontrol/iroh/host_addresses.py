"""Where this host's packets come from now, as the kernel's routing says: iroh 0.35 learns it up to 25 s later."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Mapping, Sequence

from gossipcontrol.agent.dialable import IpAddress, ip_of, is_on_host

PROBES = (ipaddress.ip_address("192.0.2.1"), ipaddress.ip_address("2001:db8::1"))
"""Reserved for documentation: routed like any address of the internet. Nothing is sent to them."""
PEERS = 16
"""Most addresses of peers that are asked for: where there is no default route, only those tell the source."""


def source_addresses(peers: Iterable[str] = ()) -> tuple[IpAddress, ...]:
    """The host's address towards the internet, by family, and towards these peers (``ip:port``); no loopback."""
    known = [ip for ip in map(ip_of, peers) if ip is not None][:PEERS]
    sources = (_source_towards(ip) for ip in (*PROBES, *known))
    return tuple(dict.fromkeys(ip for ip in sources if ip is not None and not ip.is_loopback))


def bound_ports(addresses: Sequence[str]) -> dict[int, int]:
    """The UDP port that a node is bound to, by IP version, as its local addresses (``ip:port``) tell."""
    ports: dict[int, int] = {}
    for address in addresses:
        ip, port = ip_of(address), address.rpartition(":")[2]
        # The port of an address that is not the host's is a router's.
        if ip is not None and port.isdecimal() and is_on_host(ip):
            ports.setdefault(ip.version, int(port))
    return ports


def with_ports(sources: Iterable[IpAddress], ports: Mapping[int, int]) -> list[str]:
    """``ip:port`` for each of these addresses of which the port is known."""
    return [
        f"{ip}:{ports[ip.version]}" if ip.version == 4 else f"[{ip}]:{ports[ip.version]}"
        for ip in sources
        if ip.version in ports
    ]


def _source_towards(ip: IpAddress) -> IpAddress | None:
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(ip), 9))
            return ipaddress.ip_address(str(probe.getsockname()[0]).partition("%")[0])
    except OSError:
        return None
