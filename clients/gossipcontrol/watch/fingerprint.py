"""What of the network matters to peers: the default routes, and the addresses on their interfaces."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Self

from gossipcontrol.watch.change import Snapshot

IGNORED = (
    "lo", "docker*", "veth*", "br-*", "cni*", "flannel*", "cali*", "cilium*", "lxc*", "lxd*", "virbr*", "vnet*",
    "podman*", "kube-*", "tun*", "tap*", "wg*", "tailscale*", "utun*", "ipsec*", "ppp*", "zt*", "nebula*", "dummy*",
    "awdl*", "llw*", "gif*", "anpi*",
)  # fmt: skip
"""Interfaces of containers and tunnels: they come and go without changing how peers are reached."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which interfaces count: those that match ``include``, and of the others those that do not match ``ignore``."""

    include: tuple[str, ...] = ()
    ignore: tuple[str, ...] = IGNORED

    @classmethod
    def default(cls, *, include: tuple[str, ...] = (), ignore: tuple[str, ...] = ()) -> Self:
        """The default list with further patterns."""
        return cls(include, IGNORED + ignore)

    def counts(self, name: str) -> bool:
        """Whether an interface of this name counts."""
        if any(fnmatchcase(name, pattern) for pattern in self.include):
            return True
        return not any(fnmatchcase(name, pattern) for pattern in self.ignore)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Equal fingerprints: peers are reached in the same way."""

    routes: frozenset[tuple[str, str]] = frozenset()
    """(Interface, gateway) of every default route that has a carrier."""
    addresses: frozenset[tuple[str, str]] = frozenset()
    """(Interface, address) on those interfaces; of IPv6 the /64 only, because privacy addresses come and go in it."""
    carriers: frozenset[tuple[int, int]] = frozenset()
    """(Index of the interface, how often it lost its carrier): this shows a flap between two snapshots."""

    @property
    def has_default_route(self) -> bool:
        """Whether there is any."""
        return bool(self.routes)

    @property
    def parts(self) -> tuple[frozenset[tuple[str, str]], frozenset[tuple[str, str]], frozenset[tuple[int, int]]]:
        """All that it compares."""
        return self.routes, self.addresses, self.carriers

    def flapped_since(self, earlier: Fingerprint) -> bool:
        """Whether an interface with a default route, now and then, has lost its carrier meanwhile."""
        changed = {index for index, _ in self.carriers - earlier.carriers}
        return any(index in changed for index, _ in earlier.carriers)

    def describe(self) -> str:
        """In words."""
        if not self.routes:
            return "no default route"
        routes = ", ".join(f"{name} via {gateway or 'link'}" for name, gateway in sorted(self.routes))
        return f"{routes}; {', '.join(address for _, address in sorted(self.addresses)) or 'no address'}"


def take_fingerprint(snapshot: Snapshot, chosen: Filter) -> Fingerprint:
    """The fingerprint of a snapshot. Needs an address beside the route: without one nothing can be sent."""
    names = {link.index: link.name for link in snapshot.links if link.carrier and chosen.counts(link.name)}
    routed = {route.index for route in snapshot.routes}
    addresses = {
        (address.index, _network(address.address))
        for address in snapshot.addresses
        if address.usable and address.index in names and address.index in routed
    }
    addressed = {index for index, _ in addresses}
    return Fingerprint(
        frozenset((names[route.index], route.gateway) for route in snapshot.routes if route.index in addressed),
        frozenset((names[index], network) for index, network in addresses),
        frozenset((link.index, link.losses) for link in snapshot.links if link.index in addressed),
    )


def _network(address: str) -> str:
    parsed = ipaddress.ip_address(address)
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False))
