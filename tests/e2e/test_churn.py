"""Never feed churn, on ten real iroh-gossip nodes: one more joins, one leaves, with GossipControl and without."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from gossipcontrol.client import Cause, Outcome
from gossipcontrol.client.client import Client
from gossipcontrol.server.app import App
from gossipcontrol.server.config import Config, Listen, Log, Metrics, State
from gossipcontrol.server.observe.log import make_logger

pytest.importorskip("iroh", reason="needs the extra: pip install 'gossipcontrol[iroh]'")
from gossipcontrol.agent.agent import Agent
from gossipcontrol.iroh.node import IrohNode
from gossipcontrol.iroh.topic import GossipEvent

NODES = 10
STORE = "churn"
QUIET = 2.0
"""Seconds without a neighbour event after which an overlay counts as settled."""
SETTLE = 20.0
"""Seconds within which it must settle."""
NOISE = 10
"""Neighbour events by which two runs of one overlay may differ: whom a join evicts is chance."""


class Overlay:
    """Real nodes in one store, and every neighbour event of theirs."""

    def __init__(self, address: str | None, *, asks: bool = False) -> None:
        self.events: list[float] = []
        self._address = address
        self._asks = asks
        self._client = Client(address) if address else None
        self._nodes: list[IrohNode] = []
        self._agents: list[Agent] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def grow(self, count: int) -> None:
        """Start so many nodes side by side; each joins through the three before it."""
        agents: dict[int, Agent] = {}
        numbers = range(len(self._nodes), len(self._nodes) + count)
        self._nodes += await asyncio.gather(*(IrohNode.start(self._hearer(agents, one)) for one in numbers))
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
        """Wait until every node has so many neighbours and nothing happens for a while."""
        deadline = time.monotonic() + SETTLE
        while time.monotonic() < deadline:
            seldom = min(len(node.neighbors(STORE)) for node in self._nodes)
            if seldom >= least and time.monotonic() - self.events[-1] > QUIET:
                return
            await asyncio.sleep(0.05)
        raise TimeoutError(f"{len(self.events)} neighbour events, and no end in {SETTLE:g} s")

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

    def _hearer(self, agents: dict[int, Agent], number: int) -> Callable[[GossipEvent], None]:
        def hear(event: GossipEvent) -> None:
            if event.what not in ("up", "down"):
                return
            self.events.append(time.monotonic())
            if (agent := agents.get(number)) is not None:
                (agent.neighbor_up if event.what == "up" else agent.neighbor_down)(STORE, event.peer_id)
            if self._asks and event.what == "down":
                self._spawn(self._suspect(self._nodes[number].node_id))

        return hear

    async def _suspect(self, node_id: str) -> None:
        """The repair that first comes to mind, made through the service."""
        assert self._client is not None
        await self._client.rejoin(node_id, [STORE], cause=Cause.SUSPICION)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def churn(address: str | None, *, asks: bool = False) -> int:
    """Neighbour events after one more node joins a settled overlay and one leaves."""
    overlay = Overlay(address, asks=asks)
    try:
        await overlay.grow(NODES)
        await overlay.settled(1)
        before = len(overlay.events)
        await overlay.grow(1)
        await overlay.settled(1)
        await overlay.shrink()
        await overlay.settled(0)
        return len(overlay.events) - before
    finally:
        await overlay.close()


async def test_neighbour_events_stay_within_twice_those_without_gossipcontrol(tmp_path: Path) -> None:
    config = Config(
        listen=Listen(socket=str(tmp_path / "s.sock"), tcp=""),
        metrics=Metrics(address=""),
        state=State(backend="memory"),
        log=Log(level="error"),
    )
    app = App(config, make_logger(config.log))
    await app.start()
    address = f"unix:{config.listen.socket}"
    try:
        alone = await churn(None)
        reported = await churn(address)
        async with Client(address) as client:
            assert [one async for one in client.list_rejoins()] == []
            asked = await churn(address, asks=True)
            rejoins = [one async for one in client.list_rejoins()]
    finally:
        await app.stop()
    told = f"alone {alone}, reported {reported}, asked {asked} with {len(rejoins)} rejoins"
    assert reported <= 2 * alone + NOISE, told
    assert asked <= 2 * alone + NOISE, told
    assert {one.outcome for one in rejoins} <= {
        Outcome.SKIPPED, Outcome.VERIFIED,
    }  # fmt: skip
