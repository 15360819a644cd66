"""Where the system reports no changes: check every few seconds from which address packets would leave."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Iterable

from gossipcontrol.watch.change import DEFAULT_V4, DEFAULT_V6, Address, Link, Route, Snapshot
from gossipcontrol.watch.source import PROBE_V4, PROBE_V6, Peers, no_peers, peer_addresses

INTERVAL = 5.0
"""Seconds between two snapshots."""
OUTAGE_INTERVAL = 0.5
"""Seconds between two snapshots while there is no address: the first sign of the network must not wait."""
# Connecting a UDP socket sends nothing, it only picks the route.
PROBES = ((DEFAULT_V4, PROBE_V4), (DEFAULT_V6, PROBE_V6))


class PollingSource:
    """Works on every system. It sees neither a short flap nor which interface it was."""

    name = "polling"

    def __init__(self, interval: float = INTERVAL, *, peers: Peers = no_peers) -> None:
        self._interval = interval
        self._peers = peers
        self._woken = asyncio.Event()
        self._sources: dict[str, None] = {}
        """Every address that packets left from, as long as the host has it."""

    def wake(self) -> None:
        """Take a snapshot now."""
        self._woken.set()

    async def watch(self) -> AsyncGenerator[Snapshot, None]:
        """The state now, then one per interval."""
        while True:
            self._woken.clear()
            snapshot = take_snapshot(peer_addresses(self._peers), self._sources)
            self._sources = dict.fromkeys(one.address for one in snapshot.addresses)
            yield snapshot
            try:
                async with asyncio.timeout(self._interval if snapshot.addresses else OUTAGE_INTERVAL):
                    await self._woken.wait()
            except TimeoutError:
                continue


def take_snapshot(peers: tuple[str, ...] = (), known: Iterable[str] = ()) -> Snapshot:
    """The source address towards each destination, as one interface per family.

    Of the addresses ``known`` from before, those that the host still has are there too: without a default route nothing
    else shows them.
    """
    routes: list[Route] = []
    for destination, probe in (*PROBES, *((peer, peer) for peer in peers)):
        if source := _source_address(probe):
            routes.append(Route(destination, _index(source), "", source))
    sources = dict.fromkeys([*(route.source for route in routes), *(one for one in known if _is_own(one))])
    addresses = tuple(Address(_index(one), one, 128 if ":" in one else 32, True) for one in sources)
    links = tuple(Link(index, f"out{index}", True) for index in sorted({one.index for one in addresses}))
    return Snapshot(links, addresses, tuple(routes), peers)


def _index(address: str) -> int:
    return int(":" in address)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _source_address(probe: str) -> str | None:
    try:
        with socket.socket(_family(probe), socket.SOCK_DGRAM) as out:
            out.connect((probe, 9))
            return str(out.getsockname()[0])
    except OSError:
        return None


def _is_own(address: str) -> bool:
    """Whether the host has this address: only then a socket can be bound to it."""
    try:
        with socket.socket(_family(address), socket.SOCK_DGRAM) as own:
            own.bind((address, 0))
    except OSError:
        return False
    return True
