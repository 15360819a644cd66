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
import math
import secrets
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from gossipcontrol.agent.node import BootstrapPeer, RejoinFailedError, SyncFailedError
from gossipcontrol.client.enumeration import Capability, Rung
from gossipcontrol.iroh.endpoint import (
    add_address,
    dialled_addresses,
    make_endpoint,
    reaches_any,
    silent_paths,
    stop_endpoint,
)
from gossipcontrol.iroh.heartbeat import Heartbeat, Position
from gossipcontrol.iroh.host_addresses import bound_ports, source_addresses, with_ports
from gossipcontrol.iroh.peer_book import ADDRESSES, PeerBook
from gossipcontrol.iroh.sync import SharedStore, SyncProtocol, reason, sync
from gossipcontrol.iroh.topic import Callback, GossipEvent, Topic

import iroh

BOOTSTRAP = 5
"""Most peers dialled in one rejoin: iroh-gossip's active view holds as many."""
UP_TIME = 0.5
"""Seconds within which a peer that is joined through comes up unless the overlay is deaf to it: 10 ms in a LAN."""
KNOCK_TIME = 1.5
"""Seconds that peers have to knock: QUIC repeats its first packet after 1 s if that was lost."""
SECOND_KNOCK_TIME = 1.2
"""The same for those asked second: an attempt must end within the 4 s after which the service takes it for lost."""
REACH_TIME = 0.8
"""Seconds that a new endpoint has to reach a peer, over paths that are known."""
ENDPOINT_KEPT = 60.0
"""Seconds without a word from any peer after which a new endpoint is worth its harm."""
STUCK_TIME = 6.0
"""Seconds after which an endpoint that sends on a silent path goes on with that for long: a ping takes at most 5."""
LOOK_TIME = 0.3
"""Seconds that an endpoint has to say on which paths it sends."""
LATELY = 10.0
"""Seconds for which a further request shares the outcome of a move, which takes about as long as an attempt may."""
END_TIME = 8.0
"""Seconds that a move has to end when the node is closed: an endpoint takes about 3 to start, and as long to stop."""
RECONNECT_TIME = 6.0
"""Seconds for which a node without neighbours dials its peers after its way to them changed: iroh tries an address at
most every 5 s, so a dial from before the change may have used up the next try."""
RECONNECT_PAUSE = 0.2
"""Seconds between two of these tries."""
OTHERS_TIME = 0.1
"""Seconds that the other peers have once one has knocked: one neighbour is enough to be in the overlay."""


class IrohNode:
    """One iroh-gossip node with a topic per store. Make it with ``start``."""

    capabilities: Sequence[Capability] = (Capability.RESUBSCRIBE, Capability.SYNC_WITH_PEER)

    def __init__(self, key: bytes, on_event: Callable[[GossipEvent], None]) -> None:
        """Use ``start``: without an endpoint this is no node yet."""
        self.node_id = ""
        self.suspended = False
        self._node: iroh.Iroh
        self._key = key
        self._on_event = on_event
        self._topics: dict[str, Topic] = {}
        self._peers = PeerBook()
        self._addresses: tuple[str, ...] = ()
        self._ports: dict[int, int] = {}
        """Where the endpoint is bound, by IP version: to every address of the host, so that new ones work at once."""
        self._life = time.time_ns() // 1_000_000
        self._changing = asyncio.Lock()
        """Held while topics are left or joined."""
        self._under_way: set[asyncio.Future[None]] = set()
        """Changes of topics, and a move, that nothing interrupts."""
        self._move: asyncio.Future[None] | None = None
        """To a new endpoint; under way, or done."""
        self._moved_at = 0.0
        """When the last move ended."""
        self._alive_at = time.monotonic()
        """When a peer last came up, was heard, or was synced with."""
        self._silent_since: dict[str, float] = {}
        """Since when dials in vain found that the endpoint sends to this peer on a silent path."""
        self._resumed_at = -math.inf
        """When the node subscribed again after it was suspended."""

    @classmethod
    async def start(cls, on_event: Callable[[GossipEvent], None], key: bytes | None = None) -> IrohNode:
        """Start a node with this 32-byte secret key, or a new one; takes about 3 s where no relay can be reached."""
        iroh.iroh_ffi.uniffi_set_event_loop(asyncio.get_running_loop())  # type: ignore[arg-type] # any loop does
        made = cls(key or secrets.token_bytes(32), on_event)
        made._node = await made._endpoint()
        made.node_id = await made._node.net().node_id()
        await made.refresh_addresses()
        return made

    async def close(self) -> None:
        """Leave every topic and stop the node; work under way ends first, within a bounded time."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=END_TIME)
        try:
            for topic in self._topics.values():
                await topic.end()
        finally:
            await stop_endpoint(self._node)

    def endpoint(self) -> iroh.Endpoint:
        """Its QUIC endpoint; RESUBSCRIBE may replace it."""
        return self._node.node().endpoint()

    def stores(self) -> Sequence[str]:
        """The ids of its stores."""
        return tuple(self._topics)

    def addresses(self) -> Sequence[str]:
        """Where it can be dialled, ``ip:port``, as of the last refresh; the host's own address first."""
        return self._addresses

    def neighbors(self, store_id: str) -> set[str]:
        """Its neighbours in a store."""
        return set(self._topics[store_id].neighbors)

    def newest(self, store_id: str) -> dict[str, Position]:
        """The newest heartbeat that it knows of each author in a store."""
        return self._topics[store_id].newest.known()

    def peer_addresses(self) -> list[str]:
        """Where the peers named last can be dialled, ``ip:port``: one address of each."""
        return self._peers.newest()

    async def refresh_addresses(self) -> bool:
        """Ask the node where it can be dialled now; returns whether that has changed."""
        direct = sorted((await self._node.net().node_addr()).direct_addresses())
        self._ports |= bound_ports(direct)
        known = [address for _, addresses in self._peers.addressed() for address in addresses]
        here = with_ports(source_addresses(reversed(known)), self._ports)
        before, self._addresses = self._addresses, tuple(dict.fromkeys([*here, *direct]))[:ADDRESSES]
        return self._addresses != before

    async def know(self, peer_id: str, addresses: Sequence[str]) -> None:
        """Remember where a peer can be dialled; raises IrohError for a wrong key or address."""
        if addresses:
            await add_address(self._node, peer_id, addresses)
        else:
            iroh.PublicKey.from_string(peer_id)  # a wrong key must not be joined through
        self._peers.remember(peer_id, addresses)

    async def join(self, store_id: str) -> None:
        """Subscribe to a store's topic through the known peers, unless the node is subscribed."""
        await self._change(self._join(store_id))

    async def broadcast(self, store_id: str, size: int = 0) -> None:
        """Broadcast a heartbeat, padded to this size; it names its author."""
        topic = self._topics[store_id]
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
        topic = self._topics[store_id]
        return topic.broadcasts - topic.held if self._peers.first((), 1, but=self.node_id) else 0

    async def rejoin(self, store_id: str, bootstrap: Sequence[BootstrapPeer], rung: Rung) -> None:
        """Subscribe again through these peers and known ones; raises RejoinFailedError."""
        topic = self._topics.get(store_id)
        if topic is None:
            raise RejoinFailedError(f"the node has no store {store_id}", permanent=True)
        if rung not in (Rung.REJOIN, Rung.RESUBSCRIBE):
            raise RejoinFailedError(f"the node cannot carry out the rung {rung}", permanent=True)
        try:
            hints = [peer.peer_id for peer in bootstrap if await self._remember_hint(peer)]
            if rung == Rung.RESUBSCRIBE:
                await self._renew(topic, hints)
            elif self.suspended:
                await self.resume(hints)
            else:
                await self._join_through(topic, hints)
        except iroh.IrohError as error:
            raise RejoinFailedError(reason(error)) from error

    async def sync_with_peer(self, store_id: str, peer_id: str, addresses: Sequence[str]) -> None:
        """Exchange the newest heartbeats of a store with a peer, directly; raises SyncFailedError."""
        topic = self._topics.get(store_id)
        if topic is None:
            raise SyncFailedError(f"the node has no store {store_id}")
        try:
            await self.know(peer_id, addresses)
        except iroh.IrohError as error:
            raise SyncFailedError(reason(error)) from error
        mine = topic.broadcasts
        try:
            newer = await sync(self.endpoint(), self._address_of(peer_id), store_id, topic.newest)
        finally:  # a task of its own, because the agent may have given up
            self._complete(self._look_at_paths())
        topic.held = max(topic.held, mine)
        self._synced(store_id, peer_id, newer)

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

    async def _join_through(self, topic: Topic, hints: Sequence[str]) -> None:
        """Subscribe again; have lost hints knock first, and the others if none comes up."""
        lost = [peer_id for peer_id in hints if peer_id in topic.lost]
        others = [peer_id for peer_id in hints if peer_id not in lost]
        async with topic.reaching:
            if not await self._try_through(topic, hints, lost, KNOCK_TIME) and others:
                await self._try_through(topic, hints, others, SECOND_KNOCK_TIME)

    async def _try_through(self, topic: Topic, hints: Sequence[str], deaf: Sequence[str], within: float) -> bool:
        """Have some hints knock, then subscribe through all; returns whether one came up, or there are none."""
        await self._ask_to_knock(topic, deaf, within)
        try:
            topic.dialled.update(hints)
            await self._change(self._join_again(topic, hints))
            async with asyncio.timeout(UP_TIME):
                while hints and topic.neighbors.isdisjoint(hints):
                    topic.came.clear()
                    await topic.came.wait()
        except TimeoutError:
            return False
        finally:
            topic.dialled.clear()
        return True

    async def _ask_to_knock(self, topic: Topic, peers: Sequence[str], within: float) -> bool:
        """Sync with these peers and have them knock; returns whether one was reached. Neighbours are left out."""
        strangers = [peer_id for peer_id in peers if not any(peer_id in one.neighbors for one in self._topics.values())]
        topic.asked.update(strangers)
        tasks = {asyncio.ensure_future(self._ask_one(topic, peer_id)) for peer_id in strangers}
        waited = set(tasks)
        deadline = time.monotonic() + within
        try:
            while waited and (left := deadline - time.monotonic()) > 0:
                done, waited = await asyncio.wait(waited, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if any(task.result() for task in done):
                    deadline = min(deadline, time.monotonic() + OTHERS_TIME)
        finally:
            for task in tasks:
                task.cancel()
            topic.asked.clear()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        return len(strangers) < len(peers) or any(answer is True for answer in answers)

    async def _ask_one(self, topic: Topic, peer_id: str) -> bool:
        try:
            mine = topic.broadcasts
            newer = await sync(self.endpoint(), self._address_of(peer_id), topic.store_id, topic.newest, knock=True)
        except (SyncFailedError, iroh.IrohError):
            return False
        topic.held = max(topic.held, mine)
        topic.lost.discard(peer_id)
        self._synced(topic.store_id, peer_id, newer)
        return True

    def _may_knock(self, peer_id: str) -> bool:
        """Not at a neighbour, nor at one that is being joined through; of two that ask each other, one has to join."""
        return not any(
            peer_id in topic.neighbors
            or peer_id in topic.dialled
            or (peer_id in topic.asked and self.node_id < peer_id)
            for topic in self._topics.values()
        )

    def _address_of(self, peer_id: str) -> iroh.NodeAddr:
        return iroh.NodeAddr(iroh.PublicKey.from_string(peer_id), None, list(self._peers.addresses(peer_id)))

    def _on_gossip(self, event: GossipEvent) -> None:
        if event.what in ("up", "heard"):
            self._alive_at = time.monotonic()
        if event.what == "up":
            self._peers.remember(event.peer_id)
        self._on_event(event)

    def _synced(self, store_id: str, peer_id: str, newer: int) -> None:
        self._alive_at = time.monotonic()
        self._on_event(GossipEvent("synced", store_id, peer_id, detail=f"{newer} newer heartbeats"))

    def _shared(self, store_id: str) -> SharedStore | None:
        topic = self._topics.get(store_id)
        return None if topic is None else SharedStore(topic.id, topic.newest)

    async def suspend(self) -> None:
        """Leave every topic while there is no network, so that no dial fails."""
        await self._change(self._suspend())

    async def resume(self, hints: Sequence[str] = ()) -> None:
        """Subscribe to every topic again after ``suspend``."""
        await self._change(self._resume(hints))

    async def reconnect(self) -> None:
        """The way to the peers has changed: reach one for every topic that has no neighbour, as long as that may take.

        The service commands a rejoin too, but after one because of the silence before only when its window ends.
        """
        now = time.monotonic()
        if now - self._resumed_at < RECONNECT_TIME:
            return  # it is joining already, and a knock meanwhile would end what it joins by
        await asyncio.gather(*(self._reconnect(topic, now + RECONNECT_TIME) for topic in list(self._topics.values())))

    async def _reconnect(self, topic: Topic, deadline: float) -> None:
        peers = self._first_peers(())
        while peers and not (topic.neighbors or self.suspended) and time.monotonic() < deadline:
            async with topic.reaching:
                # Subscribing starts dials that must not fail: only once a peer was reached.
                if not topic.neighbors and await self._ask_to_knock(topic, peers, KNOCK_TIME):
                    with contextlib.suppress(RejoinFailedError, iroh.IrohError):
                        await self._try_through(topic, peers, (), KNOCK_TIME)
            await asyncio.sleep(RECONNECT_PAUSE)  # a dial fails at once where there is no route

    async def _change(self, change: Coroutine[Any, Any, None]) -> None:
        """Leave or join topics after the changes under way."""
        await asyncio.shield(self._complete(self._in_turn(change)))

    def _complete(self, work: Coroutine[Any, Any, None]) -> asyncio.Future[None]:
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
        if store_id not in self._topics:
            topic = self._topics[store_id] = Topic(store_id, self._on_gossip)
            topic.sender = None if self.suspended else await self._subscribe(topic)

    async def _join_again(self, topic: Topic, hints: Sequence[str]) -> None:
        if self.suspended:
            raise RejoinFailedError("the node was suspended while it rejoined: it has no network")
        await topic.join_by(await self._subscribe(topic, hints))

    async def _suspend(self) -> None:
        if not self.suspended:
            self.suspended = True
            for topic in self._topics.values():
                await topic.leave()

    async def _resume(self, hints: Sequence[str]) -> None:
        if self.suspended:
            self.suspended, self._resumed_at = False, time.monotonic()
            for topic in self._topics.values():
                topic.sender = await self._subscribe(topic, hints)

    async def _renew(self, topic: Topic, hints: Sequence[str]) -> None:
        """Subscribe to every topic as if for the first time, on a new endpoint if need be, and wait for it."""
        running = self._move is not None and not self._move.done()
        if self._move is None or not (running or time.monotonic() - self._moved_at < LATELY):
            self._move = self._complete(self._subscribe_anew(topic, hints))
        await asyncio.shield(self._move)

    async def _subscribe_anew(self, topic: Topic, hints: Sequence[str]) -> None:
        """Leave every topic and join it again; on a new endpoint only if the present one has reached nobody for long.

        Two endpoints with one key are bad for both: peers send to the one that answered last, even while it stops.
        """
        if await reaches_any(self._node, self._dialable(hints), REACH_TIME):
            async with topic.reaching:
                await self._change(self._move_topics(self._node, hints))
                is_joined = await self._try_through(topic, hints, hints, KNOCK_TIME)
            if is_joined and topic.neighbors:
                self._moved_at = time.monotonic()
                return
        await self._look_at_paths()
        if time.monotonic() - self._alive_at < ENDPOINT_KEPT and not self._is_stuck(hints):
            self._moved_at = -math.inf  # a peer may be reached in the next moment
            raise RejoinFailedError("no peer comes up, so the endpoint stays; a new one would reach nobody either")
        await self._move_to_new_endpoint(hints)

    async def _look_at_paths(self) -> None:
        """Note to which peers the endpoint sends on a silent path, and since when."""
        with contextlib.suppress(iroh.IrohError, TimeoutError):
            async with asyncio.timeout(LOOK_TIME):
                silent, now = await silent_paths(self._node), time.monotonic()
                self._silent_since = {one: self._silent_since.get(one, now) for one in silent}

    def _is_stuck(self, hints: Sequence[str]) -> bool:
        """Whether the endpoint goes on sending to one of these peers on a silent path, so that no dial succeeds."""
        since = [self._silent_since[one] for one in self._first_peers(hints) if one in self._silent_since]
        return time.monotonic() - min(since, default=math.inf) >= STUCK_TIME

    async def _move_to_new_endpoint(self, hints: Sequence[str]) -> None:
        """Move every topic; the old endpoint is stopped once the new one is there.

        The old one stays if it has neighbours and the new one reaches no peer: a path that drops large packets keeps
        old connections alive, and prevents new ones.
        """
        for peer_id, heard_from in (await dialled_addresses(self._node)).items():
            self._peers.learn(peer_id, heard_from)  # peers that moved and dialled this node since
        old, new = self._node, await self._endpoint()
        try:
            for peer_id, addresses in self._peers.addressed():
                await add_address(new, peer_id, addresses)
            tried = self._dialable(hints)
            if any(one.neighbors for one in self._topics.values()) and not await reaches_any(new, tried, REACH_TIME):
                message = f"a new endpoint reaches none of {len(tried)} peers, so the old one stays"
                raise RejoinFailedError(message)
            await self._change(self._move_topics(new, hints))
            await self.refresh_addresses()
        finally:  # of two endpoints with one key, one goes in any case
            self._moved_at = time.monotonic()
            await stop_endpoint(old if self._node is new else new)

    async def _move_topics(self, new: iroh.Iroh, hints: Sequence[str]) -> None:
        if new is not self._node:
            self._node, self._ports, self._silent_since = new, {}, {}
        self.suspended = False
        for topic in self._topics.values():
            await topic.leave()
            topic.lost.clear()
            topic.sender = await self._subscribe(topic, hints)

    async def _endpoint(self) -> iroh.Iroh:
        return await make_endpoint(self._key, SyncProtocol(self._shared, self._may_knock, self._synced))

    async def _subscribe(self, topic: Topic, hints: Sequence[str] = ()) -> iroh.Sender:
        """Subscribe through these peers first, and through others that are known."""
        return await self._node.gossip().subscribe(topic.id, self._first_peers(hints), Callback(topic))

    def _dialable(self, hints: Sequence[str]) -> list[iroh.NodeAddr]:
        """The first peers of which an address is known."""
        return [self._address_of(peer_id) for peer_id in self._first_peers(hints) if self._peers.addresses(peer_id)]

    def _first_peers(self, hints: Sequence[str]) -> list[str]:
        return self._peers.first(hints, BOOTSTRAP, but=self.node_id)
