"""The way that a table of routes gives to a destination, for systems whose kernel is not asked for its answer. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from gossipcontrol.watch.change import DEFAULT_V4, DEFAULT_V6, Address, Link, Route, Snapshot
from gossipcontrol.watch.route_layout import Layout
from gossipcontrol.watch.route_message import Entry, address_of, entry_of, link_of, neighbor_of, records
from gossipcontrol.watch.source import PROBE_V4, PROBE_V6
from gossipcontrol.watch.sysctl import Lists

PROBES = ((DEFAULT_V4, PROBE_V4), (DEFAULT_V6, PROBE_V6))


def take_snapshot(lists: Lists, layout: Layout, losses: Mapping[int, int], peers: tuple[str, ...]) -> Snapshot:
    """The network now; raises OSError, and MalformedError (a ValueError) for a list that does not keep to the layout.

    ``losses``: how often each interface lost a carrier, an address or a default route, as messages told.
    """
    links: list[Link] = []
    addresses: list[Address] = []
    for record in records(lists.links(), layout):
        if record.kind == layout.listed_link and (link := link_of(record, layout)):
            links.append(Link(link.index, link.name, link.carrier, losses.get(link.index, 0), 0, link.loopback))
        elif record.kind == layout.new_address and (address := address_of(record, layout)):
            addresses.append(address)
    listed = (entry_of(one, layout) for one in records(lists.routes(), layout) if one.kind == layout.listed_route)
    entries = [one for one in listed if one is not None]
    routes = [way for destination, probe in PROBES for way in ways(destination, probe, entries, addresses)]
    routes += [way for peer in peers for way in ways(peer, peer, entries, addresses) if way.used]
    gateways = {(route.index, route.gateway) for route in routes if route.gateway}
    listed_neighbors = (neighbor_of(one, layout) for one in records(lists.neighbors(), layout) if gateways)
    neighbors = {one for one in listed_neighbors if one and (one.index, one.address) in gateways}
    ordered = tuple(sorted(neighbors, key=lambda one: (one.index, one.address)))
    return Snapshot(tuple(links), tuple(addresses), tuple(routes), peers, ordered)


def ways(destination: str, probe: str, entries: Iterable[Entry], addresses: Sequence[Address]) -> list[Route]:
    """The hops to an address: those that packets take, then those of each other interface that has a route to it."""
    wanted = ip_address(probe)
    number, bits = int(wanted), wanted.max_prefixlen
    matching = [one for one in entries if one.version == wanted.version and one.covers(number, bits)]
    taken = _best([one for one in matching if not one.scoped])
    if any(one.rejects for one in taken):
        taken = []
    found = {(one.index, one.gateway): _route(destination, one, wanted, addresses, used=True) for one in taken}
    used = {one.index for one in taken}
    for index in dict.fromkeys(one.index for one in matching if one.index not in used and not one.rejects):
        for one in _best([one for one in matching if one.index == index and not one.rejects]):
            found[one.index, one.gateway] = _route(destination, one, wanted, addresses, used=False)
    return list(found.values())


def _best(entries: list[Entry]) -> list[Entry]:
    """Those of the longest prefix, and of the best priority among them: several where packets are spread over them."""
    order = min(((-one.prefix, one.priority) for one in entries), default=(0, 0))
    return [one for one in entries if (-one.prefix, one.priority) == order]


def _route(
    destination: str, entry: Entry, wanted: IPv4Address | IPv6Address, addresses: Sequence[Address], *, used: bool
) -> Route:
    own = [one for one in addresses if one.usable and (":" in one.address) == (wanted.version == 6)]
    stated = [one for one in own if one.address == entry.source]
    on_link = stated or [one for one in own if one.index == entry.index]
    source = min(on_link, key=lambda one: _distance(one, entry.gateway, wanted), default=None)
    return Route(destination, entry.index, entry.gateway, source.address if source else "", used)


def _distance(own: Address, gateway: str, wanted: IPv4Address | IPv6Address) -> tuple[bool, int, str]:
    """Less is better: in the gateway's network, then with the longest common prefix (RFC 6724), then any fixed order.

    Of IPv6 only the /64 counts: privacy addresses come and go in it.
    """
    in_network = bool(gateway) and ":" not in gateway + own.address and _is_in(gateway, own)
    number, bits = int(ip_address(own.address)), wanted.max_prefixlen
    differing = (number ^ int(wanted)).bit_length()
    return not in_network, max(differing, bits // 2), own.address if bits == 32 else f"{number >> 64:016x}"


def _is_in(gateway: str, own: Address) -> bool:
    return ip_address(gateway) in ip_network((own.address, own.prefix), strict=False)
