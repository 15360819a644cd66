"""Direct exchange between two reference nodes: over a connection of its own, not through the overlay.

The protocol ``/gossipcontrol/sync/1`` is one bidirectional stream. The dialler sends a JSON object: ``store``,
``beats`` (author to [life, number], the newest heartbeat that it knows of each), and perhaps ``knock``. The other side
stores what is newer, and answers with its own ``beats`` or an ``error``; the dialler stores what is newer in turn, and
both know the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from gossipcontrol.agent.node import SyncFailedError
from gossipcontrol.iroh.heartbeat import Newest, positions

import iroh

ALPN = b"/gossipcontrol/sync/1"
SIZE = 256 * 1024
"""Most bytes of one side's message; 1000 authors, each with its key and the longest numbers, need less than half."""
AT_ONCE = 16
"""Most exchanges answered side by side; further ones are refused."""
ANSWER_TIME = 5.0
"""Seconds that an exchange may take on the side that answers."""

GOSSIP_ALPN = b"/iroh-gossip/0"
_SHUFFLE_REPLY = b"\x00\x03\x00"
"""iroh-gossip 0.35, postcard: ``topic::Message::Swarm``, ``hyparview::Message::ShuffleReply``, no nodes in it."""


@dataclass(frozen=True, slots=True)
class SharedStore:
    """What a node lets others sync with."""

    topic: bytes
    newest: Newest


Find = Callable[[str], SharedStore | None]
MayKnock = Callable[[str], bool]
"""Whether nothing is under way with this peer that a knock would disturb."""
OnSync = Callable[[str, str, int], None]
"""Store, peer, and how many heartbeats were newer there."""


def reason(error: iroh.IrohError) -> str:
    """Why, in one line: with RUST_BACKTRACE set, the wheel's own message fills a screen."""
    return error.message().partition("\n")[0][:200]


async def sync(
    endpoint: iroh.Endpoint, peer: iroh.NodeAddr, store_id: str, newest: Newest, *, knock: bool = False
) -> int:
    """Bring a store in sync with a peer; returns how many heartbeats were newer there; raises SyncFailedError."""
    try:
        connection = await endpoint.connect(peer, ALPN)
        try:
            stream = await connection.open_bi()
            await _send(stream, {"store": store_id, "beats": newest.known(), "knock": knock})
            answer = _object(await stream.recv().read_to_end(SIZE))
        finally:
            connection.close(0, b"done")
        if error := answer.get("error"):
            raise SyncFailedError(str(error)[:200])
        return newest.merge(positions(answer.get("beats")))
    except iroh.IrohError as error:
        raise SyncFailedError(reason(error)) from error
    except ValueError as error:
        raise SyncFailedError(f"the answer is broken: {error}") from error


async def knock(endpoint: iroh.Endpoint, peer_id: str, topic: bytes) -> None:
    """Make a peer's iroh-gossip ready to dial this node again; the peer must be subscribed to the topic.

    iroh-gossip 0.35 keeps a peer as pending for ever once a dial of it has failed, and never dials it again. A
    connection *from* that peer makes it active, and a message that is no request makes it drop a peer that is no
    neighbour: it then knows nothing of it, and dials when it next has something to send. A shuffle reply without nodes
    is such a message, and changes nothing else. Without it the end of the connection leaves the peer active but
    unreachable. Never knock at a neighbour, or one that is about to be: the connection would replace theirs, and end.
    """
    connection = await endpoint.connect(iroh.NodeAddr(iroh.PublicKey.from_string(peer_id), None, []), GOSSIP_ALPN)
    try:
        stream = (await connection.open_bi()).send()
        message = topic + _SHUFFLE_REPLY
        await stream.write_all(len(message).to_bytes(4, "big") + message)
        await stream.finish()
        await connection.closed()
    finally:
        connection.close(0, b"done")


class SyncProtocol(iroh.ProtocolCreator, iroh.ProtocolHandler):
    """The side that answers. Whatever comes in, it never raises and stays within its bounds."""

    def __init__(self, find: Find, may_knock: MayKnock, on_sync: OnSync) -> None:
        self._find = find
        self._may_knock = may_knock
        self._on_sync = on_sync
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._endpoint: iroh.Endpoint | None = None

    def create(self, endpoint: iroh.Endpoint) -> iroh.ProtocolHandler:
        """The wheel calls this once with its endpoint."""
        self._endpoint = endpoint
        return self

    async def accept(self, conn: iroh.Connection) -> None:
        """Answer one exchange."""
        if self._slots.locked():
            conn.close(1, b"busy")
            return
        async with self._slots:
            try:
                async with asyncio.timeout(ANSWER_TIME):
                    await self._answer(conn)
            except (iroh.IrohError, TimeoutError):
                conn.close(2, b"broken off")

    async def shutdown(self) -> None:
        """The endpoint stops."""

    async def _answer(self, connection: iroh.Connection) -> None:
        peer_id = connection.remote_node_id()
        stream = await connection.accept_bi()
        try:
            asked = _object(await stream.recv().read_to_end(SIZE))
            store_id, beats = asked.get("store"), positions(asked.get("beats"))
            store = self._find(store_id) if isinstance(store_id, str) else None
        except ValueError as error:
            await _send(stream, {"error": f"the request is broken: {error}"})
        else:
            if store is None:
                await _send(stream, {"error": "the peer has no such store"})
            else:
                newer = store.newest.merge(beats)
                if asked.get("knock") is True and self._endpoint is not None and self._may_knock(peer_id):
                    with contextlib.suppress(iroh.IrohError):
                        await knock(self._endpoint, peer_id, store.topic)
                await _send(stream, {"beats": store.newest.known()})
                self._on_sync(str(store_id), peer_id, newer)
        # Closed any sooner, the connection takes the answer with it.
        await connection.closed()


async def _send(stream: iroh.BiStream, content: dict[str, Any]) -> None:
    sending = stream.send()
    await sending.write_all(json.dumps(content).encode())
    await sending.finish()


def _object(message: bytes) -> dict[str, Any]:
    try:
        content = json.loads(message)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError("not an object")
    return cast("dict[str, Any]", content)
