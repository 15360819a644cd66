"""What every source of one operating system offers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from ipaddress import ip_address
from typing import Protocol, TypeAlias

from gossipcontrol.watch.change import ChangeKind, Snapshot

Peers: TypeAlias = Callable[[], Iterable[str]]
"""Gives the addresses of peers, ``ip`` or ``ip:port``, the most important first."""

MOST_PEERS = 8
"""Most peers' addresses that are asked about."""
PROBE_V4, PROBE_V6 = "198.41.0.4", "2001:503:ba3e::2:30"
"""Public addresses that no network routes otherwise than the rest of the world. Nothing is ever sent to them."""


def no_peers() -> Iterable[str]:
    """For a watcher that knows no peers."""
    return ()


def peer_addresses(peers: Peers) -> tuple[str, ...]:
    """The first few distinct addresses of peers without their ports; those that only mean this host are left out."""
    found: dict[str, None] = {}
    for peer in peers():
        try:
            address = ip_address(_without_port(peer))
        except ValueError:
            continue
        if address.is_loopback or address.is_unspecified or address.is_multicast:
            continue
        if address.version == 6 and address.is_link_local:  # means another host on each interface
            continue
        found[str(getattr(address, "ipv4_mapped", None) or address)] = None
        if len(found) == MOST_PEERS:
            break
    return tuple(found)


def _without_port(peer: str) -> str:
    if peer.startswith("["):
        return peer[1:].partition("]")[0]
    return peer.partition(":")[0] if peer.count(":") == 1 else peer


class NetworkSource(Protocol):
    """Yields the state of the network at the start, and whenever it may have changed."""

    name: str
    """For people."""

    def watch(self) -> AsyncGenerator[Snapshot, None]:
        """The state now, then each further one; raises OSError when this source does not work here."""
        ...

    def wake(self) -> None:
        """Look now: something else says that the network may have changed."""
        ...


class PowerSource(Protocol):
    """Yields SLEEPING and RESUMED."""

    name: str
    """For people."""

    def watch(self) -> AsyncIterator[ChangeKind]:
        """Each change of power; ends when this source does not work here."""
        ...
