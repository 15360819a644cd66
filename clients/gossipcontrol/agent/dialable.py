"""Which of a node's addresses other hosts may dial: not loopback, and not one that this host has lost."""

from __future__ import annotations

import ipaddress
import socket
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeAlias

IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

REMEMBERED = 256
"""Most addresses of this host remembered; the one seen longest ago is dropped first."""
PREFIX_OF_MULTIADDRESS = ("ip4", "ip6")


def ip_of(address: str) -> IpAddress | None:
    """The IP address in ``ip``, ``ip:port``, ``[ip]:port``, a URL or a multiaddress; None where there is none."""
    _, _, text = address.rpartition("://")
    parts = text.split("/")
    if parts[0] == "" and len(parts) > 2 and parts[1] in PREFIX_OF_MULTIADDRESS:
        host = parts[2]
    elif parts[0].startswith("["):
        host = parts[0][1:].partition("]")[0]
    else:
        host = parts[0] if parts[0].count(":") > 1 else parts[0].partition(":")[0]
    try:
        ip = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        return None
    return (ip.ipv4_mapped or ip) if isinstance(ip, ipaddress.IPv6Address) else ip


def is_on_host(ip: IpAddress) -> bool:
    """Whether an interface of this host has the address now: nothing else can be bound to."""
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(ip), 0))
    except OSError:
        return False
    return True


class DialableAddresses:
    """Filters a node's addresses.

    One that no interface has is stale only if one had it before: a node behind a router also names the router's
    address, which is right. What holds no IP address is the node's own notation, and passes.
    """

    def __init__(self, is_on_host: Callable[[IpAddress], bool] = is_on_host) -> None:
        self._is_on_host = is_on_host
        self._seen: OrderedDict[IpAddress, None] = OrderedDict()
        """Addresses that an interface of this host has had."""

    def of(self, addresses: Sequence[str]) -> tuple[str, ...]:
        """Those that may be announced, in their order."""
        return tuple(address for address in addresses if self._is_dialable(address))

    def _is_dialable(self, address: str) -> bool:
        ip = ip_of(address)
        if ip is None:
            return True
        if ip.is_loopback or ip.is_unspecified:
            return False
        if not self._is_on_host(ip):
            return ip not in self._seen
        self._seen[ip] = None
        self._seen.move_to_end(ip)
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return True
