"""An agent that keeps what its node reports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TypeVar

from gossipcontrol.agent.agent import Agent
from gossipcontrol.agent.daemon import DaemonNode
from gossipcontrol.client.presence import Peer

Node = TypeVar("Node", bound=DaemonNode)


class NotingAgent(Agent):
    """Attached nowhere unless it is given an address and started."""

    def __init__(self, node: DaemonNode, address: str = "127.0.0.1:1", host_id: str = "") -> None:
        super().__init__(node, address, host_id=host_id)
        self.neighbors: set[str] = set()
        self.direct: list[str] = []
        """Peers that gave a sign of life themselves."""
        self.ages: dict[str, float] = {}
        """Of the newest report of each peer."""
        self.unsynced: list[int] = []
        self.announced = 0
        self.view: list[Peer] | None = None
        """What the service thinks, if it is not asked."""

    def neighbor_up(self, store_id: str, peer_id: str) -> None:
        super().neighbor_up(store_id, peer_id)
        self.neighbors.add(peer_id)

    def neighbor_down(self, store_id: str, peer_id: str) -> None:
        super().neighbor_down(store_id, peer_id)
        self.neighbors.discard(peer_id)

    def heard(self, store_id: str, peer_id: str, *, age: float, direct: bool) -> None:
        super().heard(store_id, peer_id, age=age, direct=direct)
        self.ages[peer_id] = age
        if direct:
            self.direct.append(peer_id)

    def unsynced_writes(self, store_id: str, count: int) -> None:
        super().unsynced_writes(store_id, count)
        self.unsynced.append(count)

    def announce(self) -> None:
        super().announce()
        self.announced += 1

    def peers(self, store_id: str) -> list[Peer]:
        return super().peers(store_id) if self.view is None else self.view


@asynccontextmanager
async def following(node: Node) -> AsyncGenerator[tuple[Node, NotingAgent, asyncio.Task[None]]]:
    """A node and its agent, while they follow the daemon; the node is closed at the end."""
    agent = NotingAgent(node)
    await node.begin(agent)
    task = asyncio.create_task(node.run(agent))
    try:
        yield node, agent, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await node.close()
