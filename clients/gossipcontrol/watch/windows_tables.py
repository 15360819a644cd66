"""The tables of Windows' IP Helper, read: what the network is, and what a notification says was lost. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, NamedTuple

from gossipcontrol.watch import windows_layout as layout
from gossipcontrol.watch.change import DEFAULT_V4, DEFAULT_V6, Address, Link, Neighbor, Route, Snapshot
from gossipcontrol.watch.scope import Filter, choose_links
from gossipcontrol.watch.source import PROBE_V4, PROBE_V6

PROBES = ((DEFAULT_V4, ip_address(PROBE_V4)), (DEFAULT_V6, ip_address(PROBE_V6)))
KINDS = {layout.LOOPBACK: "loopback", layout.TUNNEL: "tunnel", layout.PPP: "ppp", layout.VIRTUAL: "virtual"}
WHERE = {layout.AF_INET: (4, 4), layout.AF_INET6: (8, 16)}
"""Offset and size of the address in a SOCKADDR_INET, by its family."""
SOFTWARE = "software"
"""What any other interface is that is not hardware."""


@dataclass(frozen=True, slots=True)
class Tables:
    """The rows of each table at one moment, as Windows lays them out."""

    links: bytes
    addresses: bytes
    routes: bytes
    interfaces: bytes = b""
    """With the metric of each interface; empty where the system does not give it."""
    neighbors: bytes = b""


class _Hop(NamedTuple):
    """A row of the routing table."""

    destination: int
    prefix: int
    bits: int
    """Of an address of its family: 32 or 128."""
    interface: int
    gateway: bytes
    """A SOCKADDR_INET."""
    metric: int


def read_tables(tables: Tables, losses: Mapping[int, int], chosen: Filter, peers: Sequence[str] = ()) -> Snapshot:
    """The network, with the number of losses that was counted for each interface, by its LUID.

    Windows takes the longest prefix, then the least sum of the metrics of route and interface.
    """
    links, addresses = _links(tables.links, losses), _addresses(tables.addresses)
    carriers = {link.index for link in links if link.carrier}
    hops = _hops(tables, carriers)
    counted = {index for index in choose_links(Snapshot(links, addresses), chosen)[0] if index in carriers}
    routes: list[Route] = []
    for destination, probe in PROBES:
        best = _best(hops, probe)
        routes += _routes(destination, best, addresses, used=True)
        if not any(hop.interface in counted for hop in best):
            # Below a VPN, or less preferred: it would carry packets if the others were not there.
            for index in sorted(counted):
                own = _best([hop for hop in hops if hop.interface == index], probe)
                routes += _routes(destination, own, addresses, used=False)
    for peer in peers:
        routes += _routes(peer, _best(hops, ip_address(peer)), addresses, used=True)
    neighbors = _neighbors(tables.neighbors, set(gateways(routes)))
    return Snapshot(links, addresses, tuple(routes), tuple(peers), neighbors)


def gateways(routes: Iterable[Route]) -> list[tuple[int, str]]:
    """(Interface, address) of the gateway of each default route."""
    return [(one.index, one.gateway) for one in routes if one.destination in (DEFAULT_V4, DEFAULT_V6) and one.gateway]


def lost_interface(table: layout.Layout, row: bytes, kind: int) -> int | None:
    """The LUID of the interface whose loss a notification tells: of an IPv4 address, or of a default route.

    IPv6 addresses are no sign of it: those for privacy come and go.
    """
    if kind != layout.DELETE or len(row) != table.size:
        return None
    [found] = table.rows(row)
    if table is layout.ADDRESS and _family(found["address"]) == layout.AF_INET:
        return _number(found["luid"])
    if table is layout.ROUTE and found["prefix"] == 0:
        return _number(found["luid"])
    return None


def _neighbors(rows: bytes, wanted: set[tuple[int, str]]) -> tuple[Neighbor, ...]:
    """Those of these neighbours whose hardware address was found valid."""
    if not wanted:
        return ()
    found: dict[tuple[int, str], Neighbor] = {}
    for row in layout.NEIGHBOR.rows(rows):
        where, hardware, length = (_number(row["index"]), str(_address(row["address"]))), row["hardware"], row["length"]
        if where in wanted and isinstance(hardware, bytes) and _number(row["state"]) >= layout.PROBE:
            mac = hardware[: min(_number(length), len(hardware))]
            if any(mac):
                found[where] = Neighbor(*where, mac.hex(":"))
    return tuple(found[where] for where in sorted(found))


def _links(rows: bytes, losses: Mapping[int, int]) -> tuple[Link, ...]:
    found: list[Link] = []
    for row in layout.LINK.rows(rows):
        flags, kind = _number(row["flags"]), _number(row["type"])
        if flags & layout.FILTER:  # a driver in the stack of another interface, with its addresses and routes
            continue
        is_software = not flags & layout.HARDWARE
        found.append(
            Link(
                _number(row["index"]),
                _text(row["alias"]),
                row["status"] == layout.IF_UP and row["media"] != layout.MEDIA_DISCONNECTED,
                losses.get(_number(row["luid"]), 0),
                loopback=kind == layout.LOOPBACK,
                kind=KINDS.get(kind, SOFTWARE) if is_software else "",
                software=is_software,
            )
        )
    return tuple(found)


def _addresses(rows: bytes) -> tuple[Address, ...]:
    found: list[Address] = []
    for row in layout.ADDRESS.rows(rows):
        address = _address(row["address"])
        if address is not None:
            works = row["state"] in (layout.DEPRECATED, layout.PREFERRED) and not row["skipped"]
            usable = works and not (address.is_link_local or address.is_loopback)
            preferred = row["state"] == layout.PREFERRED
            found.append(Address(_number(row["index"]), str(address), _number(row["prefix"]), usable, preferred))
    return tuple(found)


def _hops(tables: Tables, carriers: set[int]) -> list[_Hop]:
    """The routes over these interfaces. There may be many, so no address is made an object."""
    metrics = {
        (row["family"], row["index"]): _number(row["metric"]) for row in layout.INTERFACE.rows(tables.interfaces)
    }
    found: list[_Hop] = []
    for row in layout.ROUTE.rows(tables.routes):
        destination, gateway, index, prefix = row["destination"], row["gateway"], row["index"], _number(row["prefix"])
        if index not in carriers or not isinstance(destination, bytes) or not isinstance(gateway, bytes):
            continue
        family = _family(destination)
        start, size = WHERE.get(family, (0, 0))
        if size and prefix <= 8 * size:
            metric = _number(row["metric"]) + metrics.get((family, index), 0)
            number = int.from_bytes(destination[start : start + size], "big")
            found.append(_Hop(number, prefix, 8 * size, _number(index), gateway, metric))
    return found


def _best(hops: Iterable[_Hop], address: IPv4Address | IPv6Address) -> list[_Hop]:
    """The hops that packets to an address take: several where they are worth the same."""
    bits, number = address.max_prefixlen, int(address)
    leading = [hop for hop in hops if hop.bits == bits and not (hop.destination ^ number) >> (bits - hop.prefix)]
    first = min(((-hop.prefix, hop.metric) for hop in leading), default=None)
    return [hop for hop in leading if (-hop.prefix, hop.metric) == first]


def _routes(destination: str, hops: Iterable[_Hop], addresses: Sequence[Address], *, used: bool) -> list[Route]:
    found: list[Route] = []
    for hop in hops:
        gateway = _address(hop.gateway)
        if gateway is None or gateway.is_unspecified:
            gateway = None
        source = _source([one for one in addresses if one.index == hop.interface and one.usable], hop.bits, gateway)
        found.append(Route(destination, hop.interface, "" if gateway is None else str(gateway), source, used))
    return found


def _source(own: Sequence[Address], bits: int, gateway: IPv4Address | IPv6Address | None) -> str:
    """The address of an interface that packets leave from: a preferred one, in the gateway's network."""
    suited = [(one, ip_address(one.address)) for one in own]

    def rank(item: tuple[Address, IPv4Address | IPv6Address]) -> tuple[bool, bool]:
        one, address = item
        is_near = gateway is not None and not (int(address) ^ int(gateway)) >> (bits - one.prefix)
        return not one.preferred, not is_near

    return str(min((item for item in suited if item[1].max_prefixlen == bits), key=rank, default=("", ""))[1])


def _address(socket_address: int | bytes) -> IPv4Address | IPv6Address | None:
    """The address in a SOCKADDR_INET; the scope of a link-local address is left out."""
    if not isinstance(socket_address, bytes):
        return None
    start, size = WHERE.get(_family(socket_address), (0, 0))
    return ip_address(socket_address[start : start + size]) if size else None


def _family(socket_address: Any) -> int:
    return int.from_bytes(socket_address[:2], "little")


def _text(value: int | bytes) -> str:
    return value.decode("utf-16-le", "replace").partition("\0")[0] if isinstance(value, bytes) else ""


def _number(value: int | bytes) -> int:
    return value if isinstance(value, int) else 0
