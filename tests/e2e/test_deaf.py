"""iroh-gossip never dials a peer again that it dialled in vain; an ordinary rejoin makes it hear again."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("iroh", reason="needs the extra: pip install 'gossipcontrol[iroh]'")
from gossipcontrol.agent import BootstrapPeer, Rung
from gossipcontrol.iroh.node import IrohNode
from gossipcontrol.iroh.topic import GossipEvent

NOWHERE = "192.0.2.1:4"
"""An address of a network that exists in documentation only: it takes packets and gives none."""
GIVEN_UP = 35.0
"""Seconds after which a dial of it has failed: QUIC's idle timeout is 30."""
SOON = 20.0
BEATS = 20
"""Messages after which whatever a rejoin left behind would have ended the link."""


def through(peer: IrohNode) -> list[BootstrapPeer]:
    return [BootstrapPeer(peer_id=peer.node_id, addresses=tuple(peer.addresses()))]


async def test_a_rejoin_reaches_a_peer_that_both_dialled_in_vain() -> None:
    # Side by side, for both spend their time waiting.
    await asyncio.gather(rejoined(both=False), rejoined(both=True))


async def rejoined(*, both: bool) -> None:
    """One of two that are deaf to each other rejoins, or both do at once; they stay neighbours."""
    told: asyncio.Queue[GossipEvent] = asyncio.Queue()
    one, two = await asyncio.gather(IrohNode.start(told.put_nowait), IrohNode.start(told.put_nowait))
    try:
        await one.know(two.node_id, [NOWHERE])
        await two.know(one.node_id, [NOWHERE])
        await one.join("a")
        await two.join("a")
        await asyncio.sleep(GIVEN_UP)  # nothing tells that the dial has failed
        assert told.empty()
        rejoins = [(one, two), (two, one)][: 2 if both else 1]
        await asyncio.gather(*(node.rejoin("a", through(peer), Rung.REJOIN) for node, peer in rejoins))
        ups, heard = set[str](), 0
        async with asyncio.timeout(SOON):
            while len(ups) < 2 or heard < BEATS:
                await one.broadcast("a")
                await two.broadcast("a")
                event = await told.get()
                assert event.what != "down", event
                ups |= {event.peer_id} if event.what == "up" else set()
                heard += event.what == "heard"
        assert one.neighbors("a") == {two.node_id}
        assert two.neighbors("a") == {one.node_id}
    finally:
        await asyncio.gather(one.close(), two.close())
