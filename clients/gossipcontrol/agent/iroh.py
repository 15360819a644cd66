"""The reference node: a real iroh-gossip node, on the ``iroh`` wheel 0.35 (HyParView and Plumtree).

iroh-gossip 0.35 never dials a peer again once a dial of it has failed (``net.rs``: the failed dial leaves the peer
``Pending`` with a queue that is not empty, and only an empty one is dialled). It dials the peers it lost as soon as the
transport gives them up, after 30 s, and that dial fails 30 s later: a node that was cut off for a minute stays deaf
whatever it subscribes to. Hence two things here: a node without a way out is *suspended* before its transport gives its
peers up, and the rung RESUBSCRIBE moves to a *new endpoint* with the same key, which has not failed to dial anybody.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import iroh
from gossipcontrol.agent.node import RejoinFailedError
from gossipcontrol.v1.attach_pb2 import CAPABILITY_RESUBSCRIBE, BootstrapPeer, Capability
from gossipcontrol.v1.decision_pb2 import RUNG_REJOIN, RUNG_RESUBSCRIBE, Rung

BOOTSTRAP = 5
"""Most peers dialled in one rejoin: iroh-gossip's active view holds as many."""
ADDRESSES = 16
"""Most addresses remembered of one peer."""
SEEN = 1024
"""Most messages remembered per store, so that one delivered by two subscriptions counts once."""


@dataclass(frozen=True, slots=True)
class GossipEvent:
    """What the overlay did: ``what`` is up, down, heard or error; ``peer_id`` is the author of what was heard."""

    what: str
    store_id: str
    peer_id: str = ""
    direct: bool = False
    detail: str = ""


@dataclass(slots=True, eq=False)
class _Topic:
    store_id: str
    topic: bytes
    sender: iroh.Sender | None = None
    joining: iroh.Sender | None = None
    """A newer subscription that has no neighbour yet; the old one stays until it has."""
    neighbors: set[str] = field(default_factory=set[str])
    ever: set[str] = field(default_factory=set[str])
    """Every neighbour since the topic was subscribed to: a later JOINED lists them again, dead or alive."""
    seen: OrderedDict[bytes, None] = field(default_factory=OrderedDict[bytes, None])
    broadcasts: int = 0


class IrohNode:
    """One iroh-gossip node with a topic per store. Make it with ``start``."""

    capabilities: Sequence[Capability.ValueType] = (CAPABILITY_RESUBSCRIBE,)

    def __init__(self, node: iroh.Iroh, node_id: str, key: bytes, on_event: Callable[[GossipEvent], None]) -> None:
        self.node_id = node_id
        self.suspended = False
        self._node = node
        self._key = key
        self._on_event = on_event
        self._topics: dict[str, _Topic] = {}
        self._peers: dict[str, tuple[str, ...]] = {}
        """Every peer that may be dialled, with the addresses that were given for it."""
        self._addresses: tuple[str, ...] = ()
        self._incarnation = secrets.token_hex(4)
        self._changing = asyncio.Lock()
        """Held while all topics are left or joined."""
        self._move: asyncio.Future[None] | None = None
        """To a new endpoint; under way, or done."""

    @classmethod
    async def start(cls, on_event: Callable[[GossipEvent], None], key: bytes | None = None) -> IrohNode:
        """Start a node with this 32-byte secret key, or a new one; takes about 3 s where no relay can be reached."""
        iroh.iroh_ffi.uniffi_set_event_loop(asyncio.get_running_loop())  # type: ignore[arg-type] # any loop does
        key = key or secrets.token_bytes(32)
        node = await _endpoint(key)
        made = cls(node, await node.net().node_id(), key, on_event)
        await made.refresh_addresses()
        return made

    async def close(self) -> None:
        """Leave every topic and stop the node."""
        if self._move is not None:
            self._move.cancel()
            await asyncio.wait([self._move])
        for topic in self._topics.values():
            await _cancel(topic.joining)
            await _cancel(topic.sender)
        await self._node.node().shutdown()

    def stores(self) -> Sequence[str]:
        """The ids of its stores."""
        return tuple(self._topics)

    def addresses(self) -> Sequence[str]:
        """Its own direct addresses, ``ip:port``, as of the last refresh."""
        return self._addresses

    def neighbors(self, store_id: str) -> set[str]:
        """Its neighbours in a store."""
        return set(self._topics[store_id].neighbors)

    async def refresh_addresses(self) -> bool:
        """Ask the node where it can be dialled now; returns whether that has changed."""
        address = await self._node.net().node_addr()
        before, self._addresses = self._addresses, tuple(sorted(address.direct_addresses())[:ADDRESSES])
        return self._addresses != before

    async def know(self, peer_id: str, addresses: Sequence[str]) -> None:
        """Remember where a peer can be dialled."""
        known = self._peers.setdefault(peer_id, ())
        if addresses:
            self._peers[peer_id] = tuple(dict.fromkeys([*addresses, *known]))[:ADDRESSES]
            await _add_address(self._node, peer_id, addresses)

    async def join(self, store_id: str) -> None:
        """Subscribe to a store's topic through the peers that are known."""
        topic = self._topics[store_id] = _Topic(store_id, hashlib.blake2b(store_id.encode(), digest_size=32).digest())
        topic.sender = await self._subscribe(topic)

    async def broadcast(self, store_id: str) -> None:
        """Broadcast a heartbeat; who hears it knows its author."""
        topic = self._topics[store_id]
        if topic.sender is None:  # suspended
            return
        topic.broadcasts += 1
        message = {"author": self.node_id, "life": self._incarnation, "count": topic.broadcasts}
        await topic.sender.broadcast(json.dumps(message).encode())

    async def rejoin(self, store_id: str, bootstrap: Sequence[BootstrapPeer], rung: Rung.ValueType) -> None:
        """Subscribe again through these peers and known ones; raises RejoinFailedError."""
        topic = self._topics.get(store_id)
        if topic is None:
            raise RejoinFailedError(f"the node has no store {store_id}", permanent=True)
        if rung not in (RUNG_REJOIN, RUNG_RESUBSCRIBE):
            raise RejoinFailedError(f"the node cannot carry out rung {rung}", permanent=True)
        try:
            for peer in bootstrap:
                await self.know(peer.peer_id, peer.addresses)
            hints = [peer.peer_id for peer in bootstrap]
            if rung == RUNG_RESUBSCRIBE:
                await self._renew(hints)
            elif self.suspended:
                await self.resume(hints)
            else:
                superseded, topic.joining = topic.joining, await self._subscribe(topic, hints)
                await _cancel(superseded)
        except iroh.IrohError as error:
            raise RejoinFailedError(error.message()) from error

    async def suspend(self) -> None:
        """Leave every topic while there is no way out, so that no peer is dialled in vain."""
        async with self._changing:
            if not self.suspended:
                self.suspended = True
                for topic in self._topics.values():
                    await self._leave(topic)

    async def resume(self, hints: Sequence[str] = ()) -> None:
        """Subscribe to every topic again after ``suspend``."""
        async with self._changing:
            if self.suspended:
                self.suspended = False
                for topic in self._topics.values():
                    topic.sender = await self._subscribe(topic, hints)

    async def _renew(self, hints: Sequence[str]) -> None:
        """Move to a new endpoint and wait for it; the move itself is never broken off, for half of one is no node."""
        if self._move is None or self._move.done():
            self._move = asyncio.ensure_future(self._move_to_new_endpoint(hints))
        await asyncio.wait([self._move])
        self._move.result()

    async def _move_to_new_endpoint(self, hints: Sequence[str]) -> None:
        """Take every topic along; the old endpoint goes when the new one is there."""
        new = await _endpoint(self._key)
        for peer_id, addresses in self._peers.items():
            if addresses:
                await _add_address(new, peer_id, addresses)
        async with self._changing:
            old, self._node = self._node, new
            for topic in self._topics.values():
                await self._leave(topic)
                topic.sender = await self._subscribe(topic, hints)
            self.suspended = False
        await self.refresh_addresses()
        await old.node().shutdown()

    async def _leave(self, topic: _Topic) -> None:
        await _cancel(topic.joining)
        await _cancel(topic.sender)
        topic.sender = topic.joining = None
        topic.ever.clear()
        for peer_id in list(topic.neighbors):
            self._down(topic, peer_id)

    async def _subscribe(self, topic: _Topic, hints: Sequence[str] = ()) -> iroh.Sender:
        """Subscribe through these peers first, and through others that are known."""
        peers = [peer_id for peer_id in dict.fromkeys([*hints, *self._peers]) if peer_id != self.node_id]
        others = peers[:BOOTSTRAP]
        return await self._node.gossip().subscribe(topic.topic, others, _Callback(self, topic))

    def _settle(self, topic: _Topic) -> None:
        """There is a neighbour: the older of two subscriptions may go."""
        if topic.joining is not None:
            old, topic.sender, topic.joining = topic.sender, topic.joining, None
            # Held by the loop only while it runs; nothing waits for it.
            _TASKS.add(task := asyncio.ensure_future(_cancel(old)))
            task.add_done_callback(_TASKS.discard)

    def _up(self, topic: _Topic, peer_id: str) -> None:
        topic.ever.add(peer_id)
        if peer_id not in topic.neighbors:
            topic.neighbors.add(peer_id)
            self._peers.setdefault(peer_id, ())
            self._on_event(GossipEvent("up", topic.store_id, peer_id))

    def _down(self, topic: _Topic, peer_id: str) -> None:
        if peer_id in topic.neighbors:
            topic.neighbors.discard(peer_id)
            self._on_event(GossipEvent("down", topic.store_id, peer_id))

    def _heard(self, topic: _Topic, content: bytes, delivered_from: str) -> None:
        if content in topic.seen:
            return
        topic.seen[content] = None
        if len(topic.seen) > SEEN:
            topic.seen.popitem(last=False)
        try:
            author = str(json.loads(content)["author"])
        except (ValueError, KeyError, TypeError):
            author = delivered_from
        self._on_event(GossipEvent("heard", topic.store_id, author, direct=author == delivered_from))

    def take(self, callback: _Callback, message: iroh.Message) -> None:
        """Handle one event of a subscription."""
        topic = callback.topic
        match message.type():
            case iroh.MessageType.JOINED:
                for peer_id in set(message.as_joined()) - topic.ever:
                    self._up(topic, peer_id)
                    self._settle(topic)
            case iroh.MessageType.NEIGHBOR_UP:
                self._up(topic, message.as_neighbor_up())
                self._settle(topic)
            case iroh.MessageType.NEIGHBOR_DOWN:
                self._down(topic, message.as_neighbor_down())
            case iroh.MessageType.RECEIVED:
                received = message.as_received()
                self._heard(topic, bytes(received.content), received.delivered_from)
            case iroh.MessageType.LAGGED:
                self._on_event(GossipEvent("error", topic.store_id, detail="the subscription lagged and lost events"))
            case iroh.MessageType.ERROR:
                self._on_event(GossipEvent("error", topic.store_id, detail=message.as_error()))


_TASKS: set[asyncio.Future[None]] = set()


class _Callback(iroh.GossipMessageCallback):
    """The wheel calls this with every event of one subscription."""

    def __init__(self, node: IrohNode, topic: _Topic) -> None:
        self._node = node
        self.topic = topic

    async def on_message(self, msg: iroh.Message) -> None:
        """Hand the event to the node."""
        self._node.take(self, msg)


async def _endpoint(key: bytes) -> iroh.Iroh:
    options = iroh.NodeOptions(gc_interval_millis=0, node_discovery=iroh.NodeDiscoveryConfig.NONE, secret_key=key)
    return cast("iroh.Iroh", await iroh.Iroh.memory_with_options(options))  # pyright: ignore[reportUnknownMemberType]


async def _add_address(node: iroh.Iroh, peer_id: str, addresses: Sequence[str]) -> None:
    key = iroh.PublicKey.from_string(peer_id)
    await node.net().add_node_addr(iroh.NodeAddr(key, None, list(addresses)))


async def _cancel(sender: iroh.Sender | None) -> None:
    if sender is not None:
        await sender.cancel()


def read_key(path: Path) -> bytes:
    """The secret key kept in a file of mode 0600, made if there is none: the node keeps its id over restarts."""
    try:
        return bytes.fromhex(path.read_text())
    except FileNotFoundError:
        key = secrets.token_bytes(32)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(key.hex())
        return key
