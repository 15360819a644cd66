"""Streams whose client does not read: each ends, and a replaced one speaks for its node no more."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TypeAlias

import grpc
import pytest
from gossipcontrol.server.drivers.agent import AgentDriver
from gossipcontrol.server.rpc import gossip_control, session
from gossipcontrol.server.rpc.session import Session
from gossipcontrol.v1 import gossip_control_pb2_grpc
from gossipcontrol.v1.attach_pb2 import Goodbye, NeighborEvent, Register, RejoinResult
from gossipcontrol.v1.decision_pb2 import REJOIN_OUTCOME_RUNNING
from gossipcontrol.v1.gossip_control_pb2 import ListRejoinsRequest, ListStoresRequest, WatchPeersRequest
from gossipcontrol.v1.liveness_pb2 import LivenessReport, Neighbor, PeerObservation
from gossipcontrol.v1.peer_knowledge_pb2 import Intention, IntentionBatch

from tests.kit.service_lab import BareAgent, Service, channel_to, connected, rejoin
from tests.kit.until import until

Stub: TypeAlias = "gossip_control_pb2_grpc.GossipControlAsyncStub"
STREAMS = 20
NARROW = ("grpc.http2.bdp_probe", 0)
"""Else the client's gRPC takes in megabytes that nobody reads."""


def calls_ended(service: Service, rpc: str, code: str) -> float:
    """Calls of an RPC that ended with this code."""
    labels = {"rpc": rpc, "code": code}
    return service.app.metrics.registry.get_sample_value("gossipcontrol_requests_total", labels) or 0.0


def waiting_bytes(service: Service) -> float:
    """What is queued for all agents."""
    labels = {"book": "queues"}
    return service.app.metrics.registry.get_sample_value("gossipcontrol_memory_bytes", labels) or 0.0


def many_peers() -> list[PeerObservation]:
    return [PeerObservation(peer_id=f"{number:0128}", heard_age_ms=1) for number in range(1000)]


async def neighbors(stub: Stub) -> list[int]:
    stores = (await stub.ListStores(ListStoresRequest(node_id="n"))).stores
    return [node.neighbors for store in stores for node in store.nodes if node.attached]


async def test_replaced_streams_that_read_nothing_end_and_count_for_nothing(service: Service) -> None:
    """Of 20 streams of one node whose client reads nothing, none used to end: 71 MB of frames and 20 voices."""
    async with connected(service.address) as idle, connected(service.address) as stub:
        agents: list[BareAgent] = []
        for number in range(STREAMS):
            agent = BareAgent(idle)
            agents.append(agent)
            await agent.send(register=Register(node_id="n", store_ids=["a"]))
            for report in [LivenessReport(store_id="a", peers=many_peers()), *[LivenessReport(store_id="a")] * 8]:
                await agent.send(liveness=report)
            await until(lambda n=number: calls_ended(service, "Attach", "ABORTED") == n, "those replaced have ended")
        for agent in agents[:-1]:
            with suppress(grpc.aio.AioRpcError):  # so may a client learn that its stream has ended
                await agent.send(neighbor=NeighborEvent(store_id="a", peer_id="p", up=True))
        await agents[-1].send(neighbor=NeighborEvent(store_id="a", peer_id="q", up=True))

        async def counted() -> bool:
            return await neighbors(stub) != [0]

        await until(counted, "the newest stream's neighbour counts")
        assert await neighbors(stub) == [1]
        assert calls_ended(service, "Attach", "ABORTED") == STREAMS - 1


async def test_a_replaced_stream_ends_at_once_whatever_waits_for_its_client(
    service: Service, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end is not one more frame behind those that nobody reads: it would come with the write deadline only."""
    monkeypatch.setattr(session, "WRITE_TIME", 3600.0)
    async with channel_to(service.address, NARROW) as channel:
        idle: Stub = gossip_control_pb2_grpc.GossipControlStub(channel)
        frozen, restarted = BareAgent(idle), BareAgent(stub)
        await frozen.send(register=Register(node_id="n", store_ids=["a"]))
        for report in [LivenessReport(store_id="a", peers=many_peers()), *[LivenessReport(store_id="a")] * 8]:
            await frozen.send(liveness=report)  # acknowledged with 140 kB each
        await until(lambda: waiting_bytes(service) > 500_000, "frames wait")
        await restarted.register("n", "a")
        await until(lambda: calls_ended(service, "Attach", "ABORTED") == 1, "the frozen one has ended")


async def test_no_frame_of_another_session_counts(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame that was under way when a newer stream took over changes nothing, whichever frame it is."""
    ignored: list[Session] = []

    def is_current(driver: AgentDriver, session: Session) -> bool:
        del driver
        ignored.append(session)
        return False

    agent = BareAgent(stub)
    await agent.register("n", "a")
    await stub.Rejoin(rejoin("n"))
    command = await agent.command()
    with monkeypatch.context() as patched:
        patched.setattr(AgentDriver, "is_current", is_current)
        await agent.send(rejoin_result=RejoinResult(rejoin_id=command.rejoin_id, attempt=1, error="no", permanent=True))
        await agent.send(neighbor=NeighborEvent(store_id="a", peer_id="p", up=True))
        await agent.send(liveness=LivenessReport(store_id="a", neighbors=[Neighbor(peer_id="p")]))
        await agent.send(intentions=IntentionBatch(store_id="", intentions=[Intention()]))
        await agent.send(goodbye=Goodbye())
        await until(lambda: len(ignored) == 5, "every frame was looked at")
    await agent.send(liveness=LivenessReport(store_id="b"))
    assert (await agent.receive("ack")).ack.view.store_id == "b"
    assert await neighbors(stub) == [0, 0]
    assert (await stub.ListRejoins(ListRejoinsRequest(node_id="n"))).rejoins[0].outcome == REJOIN_OUTCOME_RUNNING


async def test_an_agent_that_reads_nothing_is_let_go_after_the_write_deadline(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "WRITE_TIME", 0.2)
    async with connected(service.address) as idle:
        agent = BareAgent(idle)
        await agent.send(register=Register(node_id="n", store_ids=["a"]))
        await agent.send(liveness=LivenessReport(store_id="a", peers=many_peers()))
        # Acknowledged with 140 kB each: enough to fill what the client's gRPC takes in, too few to fill the queue.
        for _ in range(50):
            await agent.send(liveness=LivenessReport(store_id="a"))

        async def has_ended() -> bool:
            # A busy service leaves reports out that waited for long: it is sent more until enough were acknowledged.
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await agent.send(liveness=LivenessReport(store_id="a"))
            return calls_ended(service, "Attach", "RESOURCE_EXHAUSTED") == 1

        await until(has_ended, "its stream has ended", pause=0.05)
        code, details = await agent.ended()
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details == "the client read nothing for 0.2 s; try again in 1 s"


async def test_a_watcher_that_reads_nothing_is_let_go_after_the_write_deadline(
    service: Service, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gossip_control, "WRITE_TIME", 0.2)
    agent = BareAgent(stub)
    await agent.register("n", "a")
    await agent.send(liveness=LivenessReport(store_id="a", peers=many_peers()))
    await agent.receive("ack")
    async with channel_to(service.address, NARROW) as channel:
        idle: Stub = gossip_control_pb2_grpc.GossipControlStub(channel)
        watches = [idle.WatchPeers(WatchPeersRequest(store_id="a")) for _ in range(4)]
        await until(lambda: calls_ended(service, "WatchPeers", "RESOURCE_EXHAUSTED") > 0, "they have ended")
        for watch in watches:
            watch.cancel()
