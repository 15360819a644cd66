"""Which of the addresses that a node registers its own stream vouches for."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple
from urllib.parse import unquote

GIVEN = 4
"""Most addresses of a node that its peers are given."""
IpAddress = IPv4Address | IPv6Address


class Vouched(NamedTuple):
    """What becomes of the addresses of a node that registers over a stream from somewhere."""

    addresses: tuple[str, ...]
    """At most ``GIVEN``."""
    doubtful: tuple[str, ...] = ()
    """Those of them that may be somebody else's."""
    matched: bool = False
    """Whether one of them is the stream's own source."""


def vouch(addresses: Sequence[str], peer: str) -> Vouched:
    """Compare addresses with the source of a stream, as gRPC names it (``ipv4:192.0.2.1:4711``).

    Nothing can be compared over a Unix socket or loopback. What is no IP address, as that of a relay, is the node's own
    notation and passes. A private address passes where the source is public: both are behind one router, and nobody
    beyond it can be sent there.
    """
    ips = {address: _ip_of(address) for address in addresses}
    chosen = _choose(addresses, ips)
    source = _source(peer)
    if source is None:
        return Vouched(chosen)
    if source in ips.values():
        return Vouched(chosen, matched=True)
    doubtful = tuple(one for one in chosen if (ip := ips[one]) is not None and (ip.is_global or not source.is_global))
    return Vouched(chosen, doubtful)


def _choose(addresses: Sequence[str], ips: dict[str, IpAddress | None]) -> tuple[str, ...]:
    """The first ones; a relay's is among them, wherever it stands."""
    chosen = list(addresses[:GIVEN])
    relay = next((one for one in addresses if ips[one] is None), None)
    if relay is not None and relay not in chosen:
        chosen[-1] = relay
    return tuple(chosen)


def _source(peer: str) -> IpAddress | None:
    kind, _, address = unquote(peer).partition(":")
    source = _ip_of(address) if kind in ("ipv4", "ipv6") else None
    return None if source is None or source.is_loopback else source


def _ip_of(address: str) -> IpAddress | None:
    """The IP address in ``ip``, ``ip:port`` or ``[ip]:port``; None: there is none."""
    host = address
    if address.startswith("["):
        host = address[1:].partition("]")[0]
    elif address.count(":") == 1:
        host = address.partition(":")[0]
    try:
        ip = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    return mapped or ip
