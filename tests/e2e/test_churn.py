"""GossipControl adds no churn: ten real iroh-gossip nodes, one more joins and one leaves, with and without it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from gossipcontrol.client import Cause, Outcome
from gossipcontrol.client.client import Client

pytest.importorskip("iroh", reason="needs the extra: pip install 'gossipcontrol[iroh]'")
from gossipcontrol.agent.agent import Agent
from gossipcontrol.iroh.node import IrohNode
from gossipcontrol.iroh.topic import GossipEvent

from tests.kit.service_lab import config, serving
from tests.kit.until import until

NODES = 10
STORE = "churn"
QUIET = 2.0
"""Seconds without a neighbour event after which an overlay counts as settled."""
SETTLE = 20.0
"""Seconds within which an overlay settles."""
NOISE = 10
"""Neighbour events by which two runs may differ: which neighbour a join evicts is random."""


class NodeGroup:
    """Real nodes of one store in this process, and the instant of each of their neighbour events.

    With an address, each node has an agent. With ``asks``, each node asks for a rejoin whenever it loses a neighbour.
    """

    def __init__(self, address: str | None, *, asks: bool = False) -> None:
        self.events: list[float] = []
        self._address = address
        self._asks = asks
        self._client = Client(address) if address else None
        self._nodes: list[IrohNode] = []
        self._agents: list[Agent] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def grow(self, count: int) -> None:
        """Start nodes side by side; each joins through the three before it."""
        agents: dict[int, Agent] = {}
        numbers = range(len(self._nodes), len(self._nodes) + count)
        self._nodes += await asyncio.gather(*(IrohNode.start(self._listener(agents, one)) for one in numbers))
        for number in numbers:
            node = self._nodes[number]
            for peer in self._nodes[max(0, number - 3) : number]:
                await node.know(peer.node_id, peer.addresses())
            if self._address:
                agents[number] = Agent(node, self._address)
                self._agents.append(agents[number])
            await node.join(STORE)
            if self._address:
                self._spawn(agents[number].run())

    async def shrink(self) -> None:
        """One node leaves."""
        if self._agents:
            await self._agents.pop(3).leave()
        await self._nodes.pop(3).close()

    async def settled(self, least: int) -> None:
        """Wait until every node has at least so many neighbours, and there was no neighbour event for a while."""

        def is_settled() -> bool:
            fewest = min(len(node.neighbors(STORE)) for node in self._nodes)
            return fewest >= least and time.monotonic() - self.events[-1] > QUIET

        what = f"{len(self._nodes)} nodes have at least {least} neighbour(s) and no neighbour event for {QUIET:g} s"
        await until(is_settled, what, within=SETTLE)

    async def close(self) -> None:
        """Stop everything."""
        for agent in self._agents:
            await agent.leave()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(node.close() for node in self._nodes))
        if self._client:
            await self._client.close()

    def _listener(self, agents: dict[int, Agent], number: int) -> Callable[[GossipEvent], None]:
        def on_event(event: GossipEvent) -> None:
            if event.what not in ("up", "down"):
                return
            self.events.append(time.monotonic())
            if (agent := agents.get(number)) is not None:
                (agent.neighbor_up if event.what == "up" else agent.neighbor_down)(STORE, event.peer_id)
            if self._asks and event.what == "down":
                self._spawn(self._suspect(self._nodes[number].node_id))

        return on_event

    async def _suspect(self, node_id: str) -> None:
        """Ask for the repair that first comes to mind: rejoin whenever a neighbour is lost."""
        assert self._client is not None
        await self._client.rejoin(node_id, [STORE], cause=Cause.SUSPICION)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def churn(address: str | None, *, asks: bool = False) -> int:
    """Neighbour events after one more node joins a settled overlay and one leaves."""
    group = NodeGroup(address, asks=asks)
    try:
        await group.grow(NODES)
        await group.settled(1)
        before = len(group.events)
        await group.grow(1)
        await group.settled(1)
        await group.shrink()
        await group.settled(0)
        return len(group.events) - before
    finally:
        await group.close()


@pytest.mark.waits(35)
async def test_neighbour_events_stay_within_twice_those_without_gossipcontrol(tmp_path: Path) -> None:
    async with serving(config(tmp_path)) as service, Client(service.address) as client:
        alone = await churn(None)
        reported = await churn(service.address)
        assert [one async for one in client.list_rejoins()] == []
        asked = await churn(service.address, asks=True)
        rejoins = [one async for one in client.list_rejoins()]
    counted = (
        f"neighbour events: {alone} without GossipControl, {reported} with it, "
        f"{asked} with it and a rejoin asked for at each loss ({len(rejoins)} rejoins)"
    )
    assert reported <= 2 * alone + NOISE, counted
    assert asked <= 2 * alone + NOISE, counted
    assert {one.outcome for one in rejoins} <= {
        Outcome.SKIPPED, Outcome.VERIFIED,
    }  # fmt: skip
