"""Linux: rtnetlink shows that something changed; links, addresses and route lookups show what."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Sequence, Set
from contextlib import closing
from dataclasses import replace

from gossipcontrol.watch.change import DEFAULT_V4, DEFAULT_V6, Address, Neighbor, Route, Snapshot
from gossipcontrol.watch.netlink import EventSocket, NeighborSocket, Rtnetlink
from gossipcontrol.watch.netlink_message import Answer, Lookup
from gossipcontrol.watch.scope import Filter, choose_links
from gossipcontrol.watch.source import PROBE_V4, PROBE_V6, Peers, no_peers, peer_addresses

PAUSE = 0.05
"""Shortest time between two snapshots, in seconds: a storm of messages costs twenty of them in a second."""
MOST_LINKS = 8
"""Most interfaces that are asked one by one for a way of their own."""
PROBES = ((DEFAULT_V4, socket.AF_INET, PROBE_V4), (DEFAULT_V6, socket.AF_INET6, PROBE_V6))


class RtnetlinkSource:
    """A message is a wake-up only: link down, for example, removes IPv4 routes without a message.

    That a carrier went and came back is read from the kernel's count of losses, not from messages: those may be lost.
    Routes are never listed. The kernel is asked for its answer, which costs the same with a million routes.
    """

    name = "rtnetlink"

    def __init__(self, chosen: Filter | None = None, peers: Peers = no_peers) -> None:
        self._filter = chosen or Filter.default()
        self._peers = peers
        self._woken = asyncio.Event()
        self._gateways: dict[tuple[int, str], str] = {}
        """Hardware address by interface and address; empty while it is not known."""

    def wake(self) -> None:
        """Take a snapshot soon."""
        self._woken.set()

    async def watch(self) -> AsyncGenerator[Snapshot, None]:
        """The state now, then after every message of the kernel; several that come close together make one."""
        loop = asyncio.get_running_loop()
        with closing(EventSocket()) as events, closing(NeighborSocket()) as neighbors, Rtnetlink() as kernel:
            while True:
                self._woken.clear()
                # Before the snapshot: what comes later wakes the reader again.
                events.drain()
                taken_at = loop.time()
                snapshot = take_snapshot(kernel, self._filter, self._peers)
                self._gateways = _gateways(snapshot)
                yield snapshot
                await self._until_woken(events, neighbors)
                await asyncio.sleep(max(0.0, taken_at + PAUSE - loop.time()))

    async def _until_woken(self, events: EventSocket, neighbors: NeighborSocket) -> None:
        """Wait for a message; while nobody waits, messages pile up and cost nothing."""
        loop = asyncio.get_running_loop()
        again: asyncio.TimerHandle | None = None

        def listen() -> None:
            loop.add_reader(neighbors.fileno(), read)

        def read() -> None:
            nonlocal again
            if any(self._is_news(one) for one in neighbors.read()):
                self._woken.set()
            # On a link with many hosts there is always one that comes or goes.
            loop.remove_reader(neighbors.fileno())
            again = loop.call_later(PAUSE, listen)

        loop.add_reader(events.fileno(), self._woken.set)
        listen()
        try:
            await self._woken.wait()
        finally:
            if again is not None:
                again.cancel()
            loop.remove_reader(neighbors.fileno())
            loop.remove_reader(events.fileno())

    def _is_news(self, neighbor: Neighbor) -> bool:
        """Whether it is a gateway that was not known, or that is another device now."""
        return self._gateways.get((neighbor.index, neighbor.address), neighbor.hardware) != neighbor.hardware


def _gateways(snapshot: Snapshot) -> dict[tuple[int, str], str]:
    known = {(one.index, one.address): one.hardware for one in snapshot.neighbors}
    defaults = [one for one in snapshot.routes if one.destination in (DEFAULT_V4, DEFAULT_V6) and one.gateway]
    return {(one.index, one.gateway): known.get((one.index, one.gateway), "") for one in defaults}


def take_snapshot(kernel: Rtnetlink, chosen: Filter, peers: Peers = no_peers) -> Snapshot:
    """The network now, at a cost that depends on the number of interfaces alone; raises OSError."""
    links, addresses = kernel.links(), kernel.addresses()
    counted = {index for index, link in choose_links(Snapshot(links, addresses), chosen)[0].items() if link.carrier}
    known = peer_addresses(peers)
    asked = [(destination, Lookup(family, probe)) for destination, family, probe in PROBES]
    asked += [(peer, Lookup(socket.AF_INET6 if ":" in peer else socket.AF_INET, peer)) for peer in known]
    routes: list[Route] = []
    missing: list[tuple[str, Lookup]] = []
    for (destination, question), answer in zip(asked, kernel.look_up([one for _, one in asked]), strict=True):
        routes += _routes(destination, answer, used=True)
        if destination not in known and not any(index in counted for index, _ in answer.hops):
            missing += [(destination, one) for one in _by_interface(question, addresses, counted)]
    for (destination, _), answer in zip(missing, kernel.look_up([one for _, one in missing]), strict=True):
        routes += _routes(destination, answer, used=False)
    found = Snapshot(links, addresses, tuple(routes), known)
    return replace(found, neighbors=kernel.neighbors(list(_gateways(found))))


def _routes(destination: str, answer: Answer, *, used: bool) -> list[Route]:
    return [Route(destination, index, gateway, answer.source, used) for index, gateway in answer.hops]


def _by_interface(question: Lookup, addresses: Sequence[Address], counted: Set[int]) -> list[Lookup]:
    """The question for each interface alone.

    One may have a way that packets do not take now: below a VPN, in a VRF, from its own address only, less preferred.
    """
    own = [one for one in addresses if one.usable and one.index in counted]
    sources = {one.index: one.address for one in reversed(own) if ":" not in one.address}
    if question.family != socket.AF_INET:
        sources = {}
    indexes = list(dict.fromkeys(one.index for one in own) or sorted(counted))[:MOST_LINKS]
    return [Lookup(question.family, question.destination, index, sources.get(index, "")) for index in indexes]
