"""Attached agents whose nodes are made up: who hears whom is what the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from gossipcontrol.v1 import attach_pb2, gossip_control_pb2_grpc
from gossipcontrol.v1.gossip_control_pb2 import PeerLivenessRequest
from gossipcontrol.v1.liveness_pb2 import LivenessReport, Neighbor, PeerObservation, PeersHeard

from tests.kit.service_lab import BareAgent

INTERVAL = 0.25
"""Seconds between two reports of a node."""

Stub: TypeAlias = "gossip_control_pb2_grpc.GossipControlAsyncStub"


class FakeFleet:
    """Nodes of one store, which broadcast and report at a steady pace.

    ``hears`` says whether a node receives what another one broadcasts, ``links`` whether it lists it as a neighbour.
    """

    def __init__(self, stub: Stub, store_id: str, node_ids: list[str]) -> None:
        self.node_ids = node_ids
        self.hears: Callable[[str, str], bool] = lambda observer, author: True
        self.links: Callable[[str, str], bool] = lambda one, other: True
        self._stub = stub
        self._store_id = store_id
        self._count = 0
        self._heard: dict[tuple[str, str], tuple[float, int]] = {}
        self._agents: dict[str, BareAgent] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._writing = asyncio.Lock()

    async def start(self) -> None:
        """Attach all, and report until ``close``."""
        for node_id in self.node_ids:
            agent = self._agents[node_id] = BareAgent(self._stub)
            await agent.register(node_id, self._store_id, host_id=f"host of {node_id}"[:60])
            self._tasks.append(asyncio.create_task(self._refuse_commands(agent)))
        self._tasks.append(asyncio.create_task(self._report()))

    async def rename(self, node_id: str, name: str) -> None:
        """Have people call a node so."""
        register = attach_pb2.Register(node_id=node_id, store_ids=[self._store_id], name=name)
        await self._send(self._agents[node_id], register=register)

    async def close(self) -> None:
        """End every stream."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for agent in self._agents.values():
            agent.call.cancel()

    async def _send(self, agent: BareAgent, **frame: Any) -> None:
        """Send a frame; gRPC takes one at a time of a stream."""
        async with self._writing:
            await agent.send(**frame)

    async def _refuse_commands(self, agent: BareAgent) -> None:
        while True:
            frame = await agent.call.read()
            if not isinstance(frame, attach_pb2.AttachResponse):
                return
            if frame.HasField("rejoin"):
                command = frame.rejoin
                result = attach_pb2.RejoinResult(rejoin_id=command.rejoin_id, attempt=command.attempt, ok=True)
                await self._send(agent, rejoin_result=result)

    async def _report(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._count += 1
            now = loop.time()
            for one in self.node_ids:
                for other in self.node_ids:
                    if one != other and self.hears(one, other):
                        _, count = self._heard.get((one, other), (now, 0))
                        self._heard[one, other] = (now, count + 1)
            for node_id in self.node_ids:
                await self._send(self._agents[node_id], liveness=self._report_of(node_id, now))
            await asyncio.sleep(INTERVAL)

    def _report_of(self, node_id: str, now: float) -> LivenessReport:
        others = [one for one in self.node_ids if one != node_id]
        heard = [(one, *self._heard[node_id, one]) for one in others if (node_id, one) in self._heard]
        return LivenessReport(
            node_id=node_id,
            store_id=self._store_id,
            broadcast_count=self._count,
            peers=[
                PeerObservation(peer_id=one, heard_age_ms=round(1000 * (now - at)), heard_count=count)
                for one, at, count in heard
            ],
            neighbors=[Neighbor(peer_id=one, up_age_ms=5000) for one in others if self.links(node_id, one)],
        )


@asynccontextmanager
async def fake_fleet(stub: Stub, store_id: str, *node_ids: str) -> AsyncGenerator[FakeFleet]:
    """A fleet in which all hear all and all are neighbours, until the test says otherwise."""
    fleet = FakeFleet(stub, store_id, list(node_ids))
    try:
        await fleet.start()
        yield fleet
    finally:
        await fleet.close()


async def fill_store(calls: Stub, store_id: str, count: int) -> None:
    """Have ``peer-00000`` report that it heard so many peers of a store, a thousand in each report."""
    for first in range(0, count, 1000):
        names = [f"peer-{number:05}" for number in range(first, min(count, first + 1000))]
        heard = PeersHeard(peer_ids=names, heard_ages_ms=[100] * len(names), heard_counts=[1] * len(names))
        report = LivenessReport(node_id="peer-00000", store_id=store_id, heard=heard)
        await calls.PeerLiveness(PeerLivenessRequest(reports=[report]))
