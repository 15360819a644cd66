"""iroh-gossip never dials a peer again that it dialled in vain; an ordinary rejoin makes it hear again."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("iroh", reason="needs the extra: pip install 'gossipcontrol[iroh]'")
from gossipcontrol.agent.iroh import IrohNode
from gossipcontrol.agent.topic import GossipEvent
from gossipcontrol.v1.attach_pb2 import BootstrapPeer
from gossipcontrol.v1.decision_pb2 import RUNG_REJOIN

NOWHERE = "192.0.2.1:4"
"""An address of a network that exists in documentation only: it takes packets and gives none."""
GIVEN_UP = 35.0
"""Seconds after which a dial of it has failed: QUIC's idle timeout is 30."""
SOON = 10.0


async def test_a_rejoin_reaches_a_peer_that_both_dialled_in_vain() -> None:
    told: asyncio.Queue[GossipEvent] = asyncio.Queue()
    one, two = await asyncio.gather(IrohNode.start(told.put_nowait), IrohNode.start(told.put_nowait))
    try:
        await one.know(two.node_id, [NOWHERE])
        await two.know(one.node_id, [NOWHERE])
        await one.join("a")
        await two.join("a")
        await asyncio.sleep(GIVEN_UP)  # nothing tells that the dial has failed
        assert told.empty()
        await one.rejoin("a", [BootstrapPeer(peer_id=two.node_id, addresses=two.addresses())], RUNG_REJOIN)
        async with asyncio.timeout(SOON):
            up = {(await told.get()) for _ in range(4)}
        assert {event.peer_id for event in up if event.what == "synced"} == {one.node_id, two.node_id}
        assert one.neighbors("a") == {two.node_id}
        assert two.neighbors("a") == {one.node_id}
    finally:
        await asyncio.gather(one.close(), two.close())
