"""Two real iroh nodes in one process: they sync directly, and nothing that comes in harms them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

pytest.importorskip("iroh", reason="needs the extra: pip install 'gossipcontrol[iroh]'")
import iroh
from gossipcontrol.agent.iroh import IrohNode
from gossipcontrol.agent.node import SyncFailedError
from gossipcontrol.agent.sync import ALPN, SIZE
from gossipcontrol.agent.topic import GossipEvent

from tests.server.lab import until

NOWHERE = "192.0.2.1:4"
"""An address of a network that exists in documentation only."""


@asynccontextmanager
async def two_nodes() -> AsyncGenerator[tuple[IrohNode, IrohNode, list[GossipEvent]]]:
    """Two nodes with the store a that do not know each other, and what both of them told."""
    told: list[GossipEvent] = []
    one, two = await asyncio.gather(IrohNode.start(told.append), IrohNode.start(told.append))
    try:
        for node in (one, two):
            await node.join("a")
        yield one, two, told
    finally:
        await asyncio.gather(one.close(), two.close())


async def send(node: IrohNode, to: IrohNode, message: bytes) -> bytes:
    """Dial a node with the protocol of syncs, say this, and return the answer."""
    address = iroh.NodeAddr(iroh.PublicKey.from_string(to.node_id), None, list(to.addresses()))
    connection = await node.endpoint().connect(address, ALPN)
    stream = await connection.open_bi()
    await stream.send().write_all(message)
    await stream.send().finish()
    try:
        return await stream.recv().read_to_end(SIZE)
    finally:
        connection.close(0, b"")


async def test_two_strangers_sync_and_no_overlay_link_comes_of_it() -> None:
    async with two_nodes() as (one, two, told):
        for _ in range(3):
            await one.broadcast("a")
        await two.broadcast("a")
        await one.sync_with_peer("a", two.node_id, two.addresses())
        known = one.newest("a")
        assert known == two.newest("a")
        assert [known[node.node_id][1] for node in (one, two)] == [3, 1]
        await until(lambda: len(told) == 2, "both sides told it")
        assert {(event.what, event.peer_id) for event in told} == {("synced", one.node_id), ("synced", two.node_id)}
        await one.sync_with_peer("a", two.node_id, ())
        assert told[-1].detail == "0 newer heartbeats"


async def test_bad_input_is_answered_and_changes_nothing() -> None:
    async with two_nodes() as (one, two, told):
        for message, answer in (
            (b"", "the request is broken"),
            (b"[" * 100_000, "the request is broken"),
            (b"[]", "the request is broken: not an object"),
            (json.dumps({"store": "a", "beats": {"x": [1, -1]}}).encode(), "the request is broken: an author's"),
            (json.dumps({"store": ["a"], "beats": {}}).encode(), "the peer has no such store"),
            (json.dumps({"store": "b", "beats": {"x": [1, 1]}}).encode(), "the peer has no such store"),
        ):
            assert json.loads(await send(one, two, message))["error"].startswith(answer)
        # The connection ends with or without its stream's end, and the wheel does not always say so.
        with contextlib.suppress(iroh.IrohError, TimeoutError):
            async with asyncio.timeout(10):
                assert await send(one, two, b" " * (SIZE + 1)) == b""
        assert two.newest("a") == {}
        assert told == []
        await one.sync_with_peer("a", two.node_id, two.addresses())


async def test_what_cannot_be_synced_says_why() -> None:
    async with two_nodes() as (one, two, _):
        with pytest.raises(SyncFailedError, match="the node has no store b"):
            await one.sync_with_peer("b", two.node_id, two.addresses())
        with pytest.raises(SyncFailedError):
            await one.sync_with_peer("a", "no key", two.addresses())
        with pytest.raises(SyncFailedError):
            await one.sync_with_peer("a", two.node_id, ["no address"])
        await one.join("b")
        with pytest.raises(SyncFailedError, match="the peer has no such store"):
            await one.sync_with_peer("b", two.node_id, two.addresses())


async def test_a_peer_that_cannot_be_reached_can_be_given_up_and_synced_later() -> None:
    async with two_nodes() as (one, two, _):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await one.sync_with_peer("a", two.node_id, [NOWHERE])
        await one.sync_with_peer("a", two.node_id, two.addresses())
