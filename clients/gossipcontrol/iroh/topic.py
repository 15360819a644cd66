"""One store's topic on an iroh-gossip node: its subscriptions, its neighbours, the messages heard in it."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from gossipcontrol.iroh.heartbeat import Newest, parse

import iroh

SEEN = 1024
"""Most messages remembered per store, so that one delivered by two subscriptions counts once."""
_TASKS: set[asyncio.Future[None]] = set()


@dataclass(frozen=True, slots=True)
class GossipEvent:
    """What happened: ``what`` is up, down, heard, synced or error; ``peer_id`` is the author of what was heard."""

    what: str
    store_id: str
    peer_id: str = ""
    direct: bool = False
    detail: str = ""


@dataclass(slots=True, eq=False)
class Topic:
    """Reports each event once, however many subscriptions bring it."""

    store_id: str
    on_event: Callable[[GossipEvent], None]
    id: bytes = b""
    sender: iroh.Sender | None = None
    joining: iroh.Sender | None = None
    """A newer subscription that has no neighbour yet; the old one stays until it has."""
    neighbors: set[str] = field(default_factory=set[str])
    ever: set[str] = field(default_factory=set[str])
    """Every neighbour since the topic was subscribed to: a later JOINED lists them again, dead or alive."""
    lost: set[str] = field(default_factory=set[str])
    """Neighbours that went down and have not come up again: the overlay may be deaf to them."""
    asked: set[str] = field(default_factory=set[str])
    """Peers that are being asked to knock, before the topic is joined through them."""
    dialled: set[str] = field(default_factory=set[str])
    """Peers that the topic is being joined through."""
    reaching: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while peers are asked to knock and the topic is joined through them: two at once would end each other's."""
    seen: OrderedDict[bytes, None] = field(default_factory=OrderedDict[bytes, None])
    newest: Newest = field(default_factory=Newest)
    came: asyncio.Event = field(default_factory=asyncio.Event)
    """A neighbour came up."""
    broadcasts: int = 0
    held: int = 0
    """The node's newest broadcast that others hold: sent to a neighbour, or named by a peer in a sync."""

    def __post_init__(self) -> None:
        self.id = hashlib.blake2b(self.store_id.encode(), digest_size=32).digest()

    async def join_by(self, sender: iroh.Sender) -> None:
        """Let a new subscription replace the old one as soon as there is a neighbour."""
        superseded, self.joining = self.joining, sender
        await _end(superseded)

    async def end(self) -> None:
        """End every subscription."""
        senders, self.sender, self.joining = (self.joining, self.sender), None, None
        for sender in senders:
            await _end(sender)

    async def leave(self) -> None:
        """End every subscription; the neighbours go with them, but none is lost."""
        await self.end()
        self.ever.clear()
        for peer_id in list(self.neighbors):
            self._down(peer_id)

    def on_message(self, message: iroh.Message) -> None:
        """Handle one event of a subscription."""
        match message.type():
            case iroh.MessageType.JOINED:
                for peer_id in set(message.as_joined()) - self.ever:
                    self._up(peer_id)
            case iroh.MessageType.NEIGHBOR_UP:
                self._up(message.as_neighbor_up())
            case iroh.MessageType.NEIGHBOR_DOWN:
                self.lost.add(peer_id := message.as_neighbor_down())
                self._down(peer_id)
            case iroh.MessageType.RECEIVED:
                received = message.as_received()
                self._heard(bytes(received.content), received.delivered_from)
            case iroh.MessageType.LAGGED:
                self._emit("error", detail="the subscription lagged and lost events")
            case iroh.MessageType.ERROR:
                self._emit("error", detail=message.as_error())

    def _up(self, peer_id: str) -> None:
        self.ever.add(peer_id)
        self.lost.discard(peer_id)
        if peer_id not in self.neighbors:
            self.neighbors.add(peer_id)
            self._emit("up", peer_id)
        self.came.set()
        if self.joining is not None:  # there is a neighbour: the older of two subscriptions may go
            old, self.sender, self.joining = self.sender, self.joining, None
            # Keeps a reference: the loop holds tasks only weakly.
            _TASKS.add(task := asyncio.ensure_future(_end(old)))
            task.add_done_callback(_TASKS.discard)

    def _down(self, peer_id: str) -> None:
        if peer_id in self.neighbors:
            self.neighbors.discard(peer_id)
            self._emit("down", peer_id)

    def _heard(self, content: bytes, delivered_from: str) -> None:
        if content in self.seen:
            return
        self.seen[content] = None
        if len(self.seen) > SEEN:
            self.seen.popitem(last=False)
        author = delivered_from
        if (beat := parse(content)) is not None:
            author = beat.author
            self.newest.learn(author, (beat.life, beat.number))
        self._emit("heard", author, direct=author == delivered_from)

    def _emit(self, what: str, peer_id: str = "", *, direct: bool = False, detail: str = "") -> None:
        self.on_event(GossipEvent(what, self.store_id, peer_id, direct, detail))


class Callback(iroh.GossipMessageCallback):
    """The wheel calls this with every event of one subscription."""

    def __init__(self, topic: Topic) -> None:
        self._topic = topic

    async def on_message(self, msg: iroh.Message) -> None:
        """Hand the event to the topic."""
        self._topic.on_message(msg)


async def _end(sender: iroh.Sender | None) -> None:
    """End a subscription, if there is one, that its topic no longer holds.

    The wheel raises when one is ended twice, so it must be removed from the topic first, without an await in between.
    """
    if sender is not None:
        await sender.cancel()
