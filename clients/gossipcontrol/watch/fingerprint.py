"""What of the network matters to peers: by which way destinations are reached, and from which addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from gossipcontrol.watch.change import DEFAULT_V4, DEFAULT_V6, Link, Route, Snapshot
from gossipcontrol.watch.scope import Filter, Scope, choose_links

DEFAULTS = (DEFAULT_V4, DEFAULT_V6)
ADDRESSES, CARRIER, ROUTER = "addresses", "carrier", "router"
"""What else may change, beside the ways to destinations."""

Hops: TypeAlias = frozenset[tuple[str, str, str]]
"""(Interface, gateway, source address) of every hop; of an IPv6 source the /64."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Two fingerprints without a difference: peers are reached in the same way."""

    ways: Mapping[str, Hops] = field(default_factory=dict[str, Hops])
    """By destination: ``DEFAULT_V4``, ``DEFAULT_V6``, and peers' addresses.

    A default route that is not there is left out, and so is a peer behind an ignored interface; a peer that cannot be
    reached has no hop.
    """
    addresses: frozenset[tuple[str, str]] = frozenset()
    """(Interface, address) on the interfaces that count and have a carrier; of IPv6 the /64 only, because privacy
    addresses come and go in it."""
    carriers: frozenset[tuple[int, int]] = frozenset()
    """(Index of the interface, how often it lost its carrier): this shows a flap between two snapshots."""
    routers: Mapping[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    """Hardware address of each (interface, gateway) of a default route, as far as it is known."""
    scope: Scope = field(default_factory=Scope, compare=False)
    """Which interfaces count, and why."""

    @property
    def reachable(self) -> bool:
        """Whether a peer may be reached at all: an interface that counts has a carrier and an address."""
        return bool(self.addresses or self.defaults)

    @property
    def defaults(self) -> frozenset[str]:
        """The destinations of the default routes that are there."""
        return frozenset(destination for destination in DEFAULTS if self.ways.get(destination))

    @property
    def identity(self) -> list[object]:
        """The same for every watcher of a host that sees this network, whatever peers it knows."""
        defaults = [(destination, sorted(self.ways[destination])) for destination in sorted(self.defaults)]
        return [defaults, sorted(self.addresses), sorted(self.carriers)]

    def changes_since(self, earlier: Fingerprint) -> tuple[str, ...]:
        """What is different, in words: destinations whose way changed, addresses, a carrier that was lost between."""
        changed = [one for one in DEFAULTS if self.ways.get(one) != earlier.ways.get(one)]
        peers = self._peers_moved_since(earlier)
        changed += [f"peer {peers[0]}"] if len(peers) == 1 else [f"{len(peers)} peers"] if peers else []
        if self.addresses != earlier.addresses:
            changed.append(ADDRESSES)
        if self.flapped_since(earlier):
            changed.append(CARRIER)
        if self._another_router_since(earlier):
            changed.append(ROUTER)
        return tuple(changed)

    def _another_router_since(self, earlier: Fingerprint) -> bool:
        """Whether a gateway of the same address has become another device: a roam that left all else as it was.

        Only of gateways known both times: the system forgets those that nothing is sent to.
        """
        return any(earlier.routers.get(gateway, known) != known for gateway, known in self.routers.items())

    def _peers_moved_since(self, earlier: Fingerprint) -> list[str]:
        """Only of peers that are known both times: that a peer became known is no change of the network."""
        return sorted(
            one
            for one, hops in self.ways.items()
            if one not in DEFAULTS and one in earlier.ways and hops != earlier.ways[one]
        )

    def flapped_since(self, earlier: Fingerprint) -> bool:
        """Whether an interface that matters, now and then, has lost its carrier meanwhile."""
        changed = {index for index, _ in self.carriers - earlier.carriers}
        return any(index in changed for index, _ in earlier.carriers)

    def with_peers_of(self, other: Fingerprint) -> Fingerprint:
        """Itself, with the peers of another: those known here as they are here, the rest as they are there."""
        peers = {one: self.ways.get(one, hops) for one, hops in other.ways.items() if one not in DEFAULTS}
        defaults = {one: self.ways[one] for one in DEFAULTS if one in self.ways}
        return replace(self, ways={**defaults, **peers})

    def with_routers_of(self, earlier: Fingerprint) -> Fingerprint:
        """Itself, with what was known before of the gateways that are still there, and are not known now."""
        gateways = {(name, gateway) for one in DEFAULTS for name, gateway, _ in self.ways.get(one, ())}
        kept = {one: known for one, known in earlier.routers.items() if one in gateways and one not in self.routers}
        return replace(self, routers={**self.routers, **kept}) if kept else self

    def describe(self) -> str:
        """In words."""
        hops = [hop for destination in DEFAULTS for hop in sorted(self.ways.get(destination, ()))]
        if not self.reachable:
            return "no network"
        routes = ", ".join(dict.fromkeys(f"{name} via {gateway or 'link'}" for name, gateway, _ in hops))
        sources = {name: source for name, _, source in hops}
        addresses = sorted(self.addresses) or sorted(sources.items())
        shown = ", ".join(dict.fromkeys(address for _, address in addresses))
        return f"{routes or 'no default route'}; {shown}"


def take_fingerprint(snapshot: Snapshot, chosen: Filter) -> Fingerprint:
    """The fingerprint of a snapshot."""
    counted, scope = choose_links(snapshot, chosen)
    links = {index: link for index, link in counted.items() if link.carrier}
    ways: dict[str, Hops] = {one: hops for one in DEFAULTS if (hops := _hops(snapshot, one, links))}
    others = {link.index for link in snapshot.links} - counted.keys()
    for peer in snapshot.peers:
        if not any(route.index in others for route in snapshot.routes if route.destination == peer):
            ways[peer] = _hops(snapshot, peer, links)
    addresses = _addresses(snapshot, links)
    named = {name for name, _ in addresses} | {name for hops in ways.values() for name, _, _ in hops}
    matter = {link.index: link for link in links.values() if link.name in named}
    # The cable of a bridge is in a port of it. A bond takes another port by itself.
    bridges = {link.index for link in matter.values() if link.kind == "bridge"}
    matter |= {link.index: link for link in links.values() if link.master in bridges}
    carriers = frozenset((link.index, link.losses) for link in matter.values())
    return Fingerprint(ways, addresses, carriers, _routers(snapshot, ways, links), scope)


def _routers(snapshot: Snapshot, ways: Mapping[str, Hops], links: Mapping[int, Link]) -> dict[tuple[str, str], str]:
    gateways = {(name, gateway) for one in DEFAULTS for name, gateway, _ in ways.get(one, ())}
    known = {(links[one.index].name, one.address): one.hardware for one in snapshot.neighbors if one.index in links}
    return {gateway: known[gateway] for gateway in sorted(gateways & known.keys())}


def _hops(snapshot: Snapshot, destination: str, links: Mapping[int, Link]) -> Hops:
    """The hops over these links: those that packets take; if they take others, those that would carry them else."""
    routes = [
        route
        for route in snapshot.routes
        if route.destination == destination and route.index in links and _is_source(route.source)
    ]
    taken: Iterable[Route] = [route for route in routes if route.used] or routes
    return frozenset((links[route.index].name, route.gateway, _network(route.source)) for route in taken)


def _addresses(snapshot: Snapshot, links: Mapping[int, Link]) -> frozenset[tuple[str, str]]:
    """Of IPv6 and IPv4 alike: a deprecated address is only seen where there is no preferred one beside it."""
    usable = [one for one in snapshot.addresses if one.usable]
    own = [one for one in usable if one.index in links]
    if not own and links:
        # An unnumbered uplink: the host's address is on the loopback interface, and used on every link.
        loopback = {link.index for link in snapshot.links if link.loopback}
        own = [one for one in usable if one.index in loopback]
    preferred = {(one.index, ":" in one.address) for one in own if one.preferred}
    names = {link.index: link.name for link in snapshot.links}
    return frozenset(
        (names[one.index], _network(one.address))
        for one in own
        if one.preferred or (one.index, ":" in one.address) not in preferred
    )


def _is_source(source: str) -> bool:
    """Whether packets to the world can leave from this address."""
    return bool(source) and not (":" in source and ipaddress.ip_address(source).is_link_local)


def _network(address: str) -> str:
    if ":" not in address:
        return address
    return str(ipaddress.ip_network((address, 64), strict=False))
