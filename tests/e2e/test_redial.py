"""iroh-gossip never redials a peer after a failed dial; an ordinary rejoin reconnects the two."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("iroh", reason="needs the extra: pip install 'gossipcontrol[iroh]'")
from gossipcontrol.agent import BootstrapPeer, Rung
from gossipcontrol.iroh.node import IrohNode
from gossipcontrol.iroh.topic import GossipEvent

NOWHERE = "192.0.2.1:4"
"""An address of a documentation network (RFC 5737): packets to it are lost."""
GIVEN_UP = 35.0
"""Seconds after which a dial of it has failed: the idle timeout of QUIC is 30."""
SOON = 60.0
BEATS = 20
"""Messages each way, after which anything left over from a rejoin would have ended the link."""


def through(peer: IrohNode) -> list[BootstrapPeer]:
    return [BootstrapPeer(peer_id=peer.node_id, addresses=tuple(peer.addresses()))]


@pytest.mark.waits(40)
async def test_a_rejoin_reaches_a_peer_after_failed_dials_of_both() -> None:
    # Side by side, for both mostly wait.
    await asyncio.gather(rejoined(both=False), rejoined(both=True))


async def rejoined(*, both: bool) -> None:
    """Of two nodes that cannot reach each other, one rejoins, or both do at once; they become and stay neighbours."""
    events: asyncio.Queue[GossipEvent] = asyncio.Queue()
    one, two = await asyncio.gather(IrohNode.start(events.put_nowait), IrohNode.start(events.put_nowait))
    try:
        await one.know(two.node_id, [NOWHERE])
        await two.know(one.node_id, [NOWHERE])
        await one.join("a")
        await two.join("a")
        await asyncio.sleep(GIVEN_UP)  # iroh-gossip reports no failed dial, so there is nothing to wait for
        assert events.empty()
        rejoins = [(one, two), (two, one)][: 2 if both else 1]
        await asyncio.gather(*(node.rejoin("a", through(peer), Rung.REJOIN) for node, peer in rejoins))
        ups, heard = set[str](), 0
        async with asyncio.timeout(SOON):
            while len(ups) < 2 or heard < BEATS:
                await one.broadcast("a")
                await two.broadcast("a")
                event = await events.get()
                assert event.what != "down", event
                ups |= {event.peer_id} if event.what == "up" else set()
                heard += event.what == "heard"
        assert one.neighbors("a") == {two.node_id}
        assert two.neighbors("a") == {one.node_id}
    finally:
        await asyncio.gather(one.close(), two.close())
