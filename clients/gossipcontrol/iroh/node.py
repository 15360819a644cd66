"""The reference node: a real iroh-gossip node, on the ``iroh`` wheel 0.35 (HyParView and Plumtree).

iroh-gossip 0.35 never dials a peer again once a dial of it has failed (``net.rs``: the failed dial leaves the peer
``Pending`` with a queue that is not empty, and only an empty one is dialled). It dials the peers it lost as soon as the
transport gives them up, after 30 s, and that dial fails 30 s later: a node that was cut off for a minute stays deaf
whatever it subscribes to. Hence three measures: a node without any network is *suspended* before its transport
gives its peers up; a peer that was lost, or does not come up when the node joins through it, is asked to *knock*
(sync.py), which cures that in milliseconds; and the rung RESUBSCRIBE leaves every topic, and moves to a *new endpoint*
with the same key where the present one has reached nobody for a minute, or sends to a peer where that no longer is:
that takes 3 s where no relay can be reached, but needs no help from the peers.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Sequence

from gossipcontrol.agent.node import BootstrapPeer, RejoinFailedError, SyncFailedError
from gossipcontrol.client.enumeration import Capability, Rung
from gossipcontrol.iroh.endpoint import make_endpoint, stop_endpoint
from gossipcontrol.iroh.heartbeat import Heartbeat, Position
from gossipcontrol.iroh.host_addresses import bound_ports, source_addresses, with_ports
from gossipcontrol.iroh.membership import Membership
from gossipcontrol.iroh.moving import Moving
from gossipcontrol.iroh.peer_book import ADDRESSES
from gossipcontrol.iroh.reaching import KNOCK_TIME, RECONNECT_TIME, Reaching
from gossipcontrol.iroh.sync import SharedStore, SyncProtocol, reason, sync
from gossipcontrol.iroh.topic import GossipEvent

import iroh


class IrohNode:
    """One iroh-gossip node with a topic per store. Make it with ``start``."""

    capabilities: Sequence[Capability] = (Capability.RESUBSCRIBE, Capability.SYNC_WITH_PEER)

    def __init__(self, key: bytes, on_event: Callable[[GossipEvent], None]) -> None:
        """Use ``start``: without an endpoint this is no node yet."""
        self.node_id = ""
        self._key = key
        self._membership = Membership(on_event)
        self._reaching = Reaching(self._membership)
        self._moving = Moving(self._membership, self._reaching, self._endpoint, self._refresh_all)
        self._addresses: tuple[str, ...] = ()
        self._ports: dict[int, int] = {}
        """Where the endpoint is bound, by IP version: to every address of the host, so that new ones work at once."""
        self._life = time.time_ns() // 1_000_000

    @classmethod
    async def start(cls, on_event: Callable[[GossipEvent], None], key: bytes | None = None) -> IrohNode:
        """Start a node with this 32-byte secret key, or a new one; takes about 3 s where no relay can be reached."""
        iroh.iroh_ffi.uniffi_set_event_loop(asyncio.get_running_loop())  # type: ignore[arg-type] # any loop does
        made = cls(key or secrets.token_bytes(32), on_event)
        made._membership.node = await made._endpoint()
        made.node_id = made._membership.node_id = await made._membership.node.net().node_id()
        await made.refresh_addresses()
        return made

    async def close(self) -> None:
        """Leave every topic and stop the node; work under way ends first, within a bounded time."""
        try:
            await self._membership.close()
        finally:
            await stop_endpoint(self._membership.node)

    @property
    def suspended(self) -> bool:
        """Whether it has left every topic because there is no network."""
        return self._membership.suspended

    def endpoint(self) -> iroh.Endpoint:
        """Its QUIC endpoint; RESUBSCRIBE may replace it."""
        return self._membership.endpoint()

    def stores(self) -> Sequence[str]:
        """The ids of its stores."""
        return tuple(self._membership.topics)

    def addresses(self) -> Sequence[str]:
        """Where it can be dialled, ``ip:port``, as of the last refresh; the host's own address first."""
        return self._addresses

    def neighbors(self, store_id: str) -> set[str]:
        """Its neighbours in a store."""
        return set(self._membership.topics[store_id].neighbors)

    def newest(self, store_id: str) -> dict[str, Position]:
        """The newest heartbeat that it knows of each author in a store."""
        return self._membership.topics[store_id].newest.known()

    def peer_addresses(self) -> list[str]:
        """Where the peers named last can be dialled, ``ip:port``: one address of each."""
        return self._membership.peers.newest()

    async def refresh_addresses(self) -> bool:
        """Ask the node where it can be dialled now; returns whether that has changed."""
        direct = sorted((await self._membership.node.net().node_addr()).direct_addresses())
        self._ports |= bound_ports(direct)
        known = [address for _, addresses in self._membership.peers.addressed() for address in addresses]
        here = with_ports(source_addresses(reversed(known)), self._ports)
        before, self._addresses = self._addresses, tuple(dict.fromkeys([*here, *direct]))[:ADDRESSES]
        return self._addresses != before

    async def _refresh_all(self) -> None:
        """The endpoint is a new one, on other ports."""
        self._ports = {}
        await self.refresh_addresses()

    async def know(self, peer_id: str, addresses: Sequence[str]) -> None:
        """Remember where a peer can be dialled; raises IrohError for a wrong key or address."""
        await self._membership.know(peer_id, addresses)

    async def join(self, store_id: str) -> None:
        """Subscribe to a store's topic through the known peers, unless the node is subscribed."""
        await self._membership.join(store_id)

    async def broadcast(self, store_id: str, size: int = 0) -> None:
        """Broadcast a heartbeat, padded to this size; it names its author."""
        topic = self._membership.topics[store_id]
        if topic.sender is None:  # suspended
            return
        topic.broadcasts += 1
        topic.newest.learn(self.node_id, (self._life, topic.broadcasts))
        if topic.neighbors:
            topic.held = topic.broadcasts
        await topic.sender.broadcast(Heartbeat(self.node_id, self._life, topic.broadcasts).message(size))

    def unsynced_writes(self, store_id: str) -> int:
        """How many broadcasts nobody else is known to hold; each holds all that came before it.

        None while no peer is known: there is nobody who could.
        """
        topic = self._membership.topics[store_id]
        return topic.broadcasts - topic.held if self._membership.first_peers() else 0

    async def rejoin(self, store_id: str, bootstrap: Sequence[BootstrapPeer], rung: Rung) -> None:
        """Subscribe again through these peers and known ones; raises RejoinFailedError."""
        topic = self._membership.topics.get(store_id)
        if topic is None:
            raise RejoinFailedError(f"the node has no store {store_id}", permanent=True)
        if rung not in (Rung.REJOIN, Rung.RESUBSCRIBE):
            raise RejoinFailedError(f"the node cannot carry out the rung {rung}", permanent=True)
        try:
            hints = [peer.peer_id for peer in bootstrap if await self._remember_hint(peer)]
            if rung == Rung.RESUBSCRIBE:
                await self._moving.resubscribe(topic, hints)
            elif self.suspended:
                await self.resume(hints)
            else:
                await self._reaching.join_through(topic, hints)
        except iroh.IrohError as error:
            raise RejoinFailedError(reason(error)) from error

    async def sync_with_peer(self, store_id: str, peer_id: str, addresses: Sequence[str]) -> None:
        """Exchange the newest heartbeats of a store with a peer, directly; raises SyncFailedError."""
        topic = self._membership.topics.get(store_id)
        if topic is None:
            raise SyncFailedError(f"the node has no store {store_id}")
        try:
            await self.know(peer_id, addresses)
        except iroh.IrohError as error:
            raise SyncFailedError(reason(error)) from error
        mine = topic.broadcasts
        try:
            newer = await sync(self.endpoint(), self._membership.address_of(peer_id), store_id, topic.newest)
        except BaseException:  # the agent may have given up
            self._moving.after_vain_dial()
            raise
        topic.held = max(topic.held, mine)
        self._membership.synced(store_id, peer_id, newer)

    async def _remember_hint(self, peer: BootstrapPeer) -> bool:
        """Remember the valid part of a hint; returns whether its id is a key. A wrong hint must not fail the rejoin."""
        try:
            await self.know(peer.peer_id, ())
        except iroh.IrohError:
            return False
        for address in reversed(peer.addresses):  # the newest come first
            with contextlib.suppress(iroh.IrohError):
                await self.know(peer.peer_id, [address])
        return True

    async def suspend(self) -> None:
        """Leave every topic while there is no network, so that no dial fails."""
        await self._membership.suspend()

    async def resume(self, hints: Sequence[str] = ()) -> None:
        """Subscribe to every topic again after ``suspend``."""
        await self._membership.resume(hints)

    async def reconnect(self) -> None:
        """The way to the peers has changed: reach one for every topic that has no neighbour, as long as that may take.

        The service commands a rejoin too, but after one because of the silence before only when its window ends.
        """
        membership = self._membership
        membership.deafness.broke()
        if time.monotonic() - membership.resumed_at < RECONNECT_TIME:
            return  # it is joining already, and a knock meanwhile would end what it joins by
        is_deaf = membership.deafness.is_long()
        await self._reaching.reconnect(KNOCK_TIME if is_deaf else RECONNECT_TIME)
        if is_deaf and membership.topics:
            await self._moving.leave_deaf_endpoint()

    def _shared(self, store_id: str) -> SharedStore | None:
        topic = self._membership.topics.get(store_id)
        return None if topic is None else SharedStore(topic.id, topic.newest)

    async def _endpoint(self) -> iroh.Iroh:
        protocol = SyncProtocol(self._shared, self._reaching.may_knock, self._membership.synced)
        return await make_endpoint(self._key, protocol)
