"""What a node is subscribed to, on which endpoint, and through which peers; changes happen one after another."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from gossipcontrol.agent.node import RejoinFailedError
from gossipcontrol.iroh.deafness import Deafness
from gossipcontrol.iroh.endpoint import add_address
from gossipcontrol.iroh.peer_book import PeerBook
from gossipcontrol.iroh.topic import Callback, GossipEvent, Topic

import iroh

BOOTSTRAP = 5
"""Most peers dialled in one rejoin: iroh-gossip's active view holds as many."""
END_TIME = 8.0
"""Seconds that a move has to end when the node is closed: an endpoint takes about 3 to start, and as long to stop."""


class Membership:
    """The topics of one node. ``node`` is set once there is an endpoint."""

    def __init__(self, on_event: Callable[[GossipEvent], None]) -> None:
        self.node: iroh.Iroh
        self.node_id = ""
        self.suspended = False
        self.topics: dict[str, Topic] = {}
        self.peers = PeerBook()
        self.deafness = Deafness()
        self.resumed_at = -math.inf
        """When the node subscribed again after it was suspended."""
        self._on_event = on_event
        self._changing = asyncio.Lock()
        """Held while topics are left or joined."""
        self._under_way: set[asyncio.Future[None]] = set()
        """Changes of topics, and a move, that nothing interrupts."""

    async def close(self) -> None:
        """Leave every topic; work under way ends first, within a bounded time."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=END_TIME)
        for topic in self.topics.values():
            await topic.end()

    # Peers.

    def endpoint(self) -> iroh.Endpoint:
        """The present QUIC endpoint."""
        return self.node.node().endpoint()

    async def know(self, peer_id: str, addresses: Sequence[str]) -> None:
        """Remember where a peer can be dialled; raises IrohError for a wrong key or address."""
        if addresses:
            await add_address(self.node, peer_id, addresses)
        else:
            iroh.PublicKey.from_string(peer_id)  # a wrong key must not be joined through
        self.peers.remember(peer_id, addresses)

    def address_of(self, peer_id: str) -> iroh.NodeAddr:
        """Where a peer is dialled."""
        return iroh.NodeAddr(iroh.PublicKey.from_string(peer_id), None, list(self.peers.addresses(peer_id)))

    def first_peers(self, hints: Sequence[str] = ()) -> list[str]:
        """The peers to join through: the hints, then others that are known."""
        return self.peers.first(hints, BOOTSTRAP, but=self.node_id)

    def dialable(self, hints: Sequence[str]) -> list[iroh.NodeAddr]:
        """The first peers of which an address is known."""
        return [self.address_of(peer_id) for peer_id in self.first_peers(hints) if self.peers.addresses(peer_id)]

    # What happens.

    def synced(self, store_id: str, peer_id: str, newer: int) -> None:
        """A direct sync succeeded."""
        self.deafness.heard()
        self._on_event(GossipEvent("synced", store_id, peer_id, detail=f"{newer} newer heartbeats"))

    def _on_gossip(self, event: GossipEvent) -> None:
        if event.what == "heard":
            self.deafness.message()
        if event.what == "down":
            self.deafness.broke()
        if event.what == "up":
            self.deafness.heard()
            self.peers.remember(event.peer_id)
        self._on_event(event)

    # Changes.

    async def join(self, store_id: str) -> None:
        """Subscribe to a store's topic through the known peers, unless the node is subscribed."""
        await self.change(self._join(store_id))

    async def join_again(self, topic: Topic, hints: Sequence[str]) -> None:
        """Subscribe to a topic through these peers; its present subscription stays until there is a neighbour."""
        await self.change(self._join_again(topic, hints))

    async def suspend(self) -> None:
        """Leave every topic while there is no network, so that no dial fails."""
        await self.change(self._suspend())

    async def resume(self, hints: Sequence[str] = ()) -> None:
        """Subscribe to every topic again after ``suspend``."""
        await self.change(self._resume(hints))

    async def move_to(self, node: iroh.Iroh, hints: Sequence[str]) -> None:
        """Leave every topic and subscribe again, on this endpoint, which may be the present one."""
        await self.change(self._move_to(node, hints))

    async def change(self, change: Coroutine[Any, Any, None]) -> None:
        """Leave or join topics after the changes under way."""
        await asyncio.shield(self.complete(self._in_turn(change)))

    def complete(self, work: Coroutine[Any, Any, None]) -> asyncio.Future[None]:
        """Work that completes even if its caller is cancelled: half of it would leave no working node."""
        task = asyncio.ensure_future(work)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Future[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved: its callers may all have been cancelled

    async def _in_turn(self, change: Coroutine[Any, Any, None]) -> None:
        async with self._changing:
            await change

    async def _join(self, store_id: str) -> None:
        if store_id not in self.topics:
            topic = self.topics[store_id] = Topic(store_id, self._on_gossip)
            topic.sender = None if self.suspended else await self._subscribe(topic)

    async def _join_again(self, topic: Topic, hints: Sequence[str]) -> None:
        if self.suspended:
            raise RejoinFailedError("the node was suspended while it rejoined: it has no network")
        await topic.join_by(await self._subscribe(topic, hints))

    async def _suspend(self) -> None:
        if not self.suspended:
            self.suspended = True
            for topic in self.topics.values():
                await topic.leave()

    async def _resume(self, hints: Sequence[str]) -> None:
        if self.suspended:
            self.suspended, self.resumed_at = False, time.monotonic()
            for topic in self.topics.values():
                topic.sender = await self._subscribe(topic, hints)

    async def _move_to(self, node: iroh.Iroh, hints: Sequence[str]) -> None:
        if node is not self.node:
            self.node = node
            self.deafness.moved()
        self.suspended = False
        for topic in self.topics.values():
            await topic.leave()
            topic.lost.clear()
            topic.sender = await self._subscribe(topic, hints)

    async def _subscribe(self, topic: Topic, hints: Sequence[str] = ()) -> iroh.Sender:
        return await self.node.gossip().subscribe(topic.id, self.first_peers(hints), Callback(topic))
