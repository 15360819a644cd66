"""What liveness hears, and what becomes of its findings: rejoins, syncs, log lines, counts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from gossipcontrol.server.core.decision import Cause
from gossipcontrol.server.core.event import (
    LivenessReported,
    NeighborChanged,
    NodeAttached,
    NodeDetached,
    NodesSlept,
    NodesWoke,
    SuspicionEnded,
    SyncFinished,
    TimePassed,
)
from gossipcontrol.server.core.finding import NodeSuspected, SyncWanted
from gossipcontrol.server.rpc.session import OFFER_FRAMES, Session
from gossipcontrol.v1 import attach_pb2, decision_pb2
from gossipcontrol.v1.attach_pb2 import CAPABILITY_SYNC_WITH_PEER, Goodbye, NeighborEvent, SyncResult
from gossipcontrol.v1.gossip_control_pb2 import ListRejoinsRequest, ReportNetworkChangeRequest
from gossipcontrol.v1.liveness_pb2 import LivenessReport

from tests.kit.scripted_service import Scene, scripted
from tests.kit.service_lab import BareAgent, connected, deciding, new_id, refusal
from tests.kit.until import until

EVIDENCE = "broadcast 5, 0 heard by 3 others in 30 s"


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scripted(tmp_path) as running:
        yield running


def counted(scene: Scene, kind: str) -> float | None:
    return scene.service.app.metrics.registry.get_sample_value("gossipcontrol_rot_detected_total", {"kind": kind})


async def test_a_suspicion_becomes_a_rejoin_with_its_evidence(scene: Scene) -> None:
    agent = BareAgent(scene.stub)
    await agent.register("n", "a")
    await scene.find(NodeSuspected("n", "a", Cause.OUTBOUND_ROT, EVIDENCE))
    command = await agent.command()
    assert list(command.causes) == [decision_pb2.CAUSE_OUTBOUND_ROT]
    [rejoin] = (await scene.stub.ListRejoins(ListRejoinsRequest(node_id="n"))).rejoins
    assert rejoin.triggers[0].evidence == EVIDENCE
    assert counted(scene, "outbound_rot") == 1
    [line] = scene.service.lines("rot suspected")
    assert (line["node"], line["cause"], line["evidence"]) == ("n", "outbound_rot", EVIDENCE)


async def test_a_partition_is_bridged_through_the_other_side_first(scene: Scene) -> None:
    agent = BareAgent(scene.stub)
    await agent.register("n", "a")
    await scene.find(NodeSuspected("n", "a", Cause.PARTITION, EVIDENCE, ("far",)))
    command = await agent.command()
    assert command.bootstrap[0].peer_id == "far"


async def test_a_suspicion_of_a_node_without_an_agent_or_store_is_told_only(scene: Scene) -> None:
    agent = BareAgent(scene.stub)
    await agent.register("n", "a")
    await scene.find(
        NodeSuspected("away", "a", Cause.ISOLATED, EVIDENCE), NodeSuspected("n", "b", Cause.ISOLATED, EVIDENCE)
    )
    assert counted(scene, "isolated") == 2
    assert not (await scene.stub.ListRejoins(ListRejoinsRequest())).rejoins
    assert [line["attached"] for line in scene.service.lines("rot suspected")] == [False, False]


async def test_a_suspicion_that_is_over_is_told(scene: Scene) -> None:
    await scene.find(SuspicionEnded("n", "a", Cause.ISOLATED))
    [line] = scene.service.lines("suspicion cleared")
    assert (line["node"], line["store"], line["cause"]) == ("n", "a", "isolated")


async def test_a_sync_is_asked_for_on_the_stream_of_an_agent_that_can(scene: Scene) -> None:
    able, unable = BareAgent(scene.stub), BareAgent(scene.stub)
    await able.register("n", "a", capabilities=[CAPABILITY_SYNC_WITH_PEER])
    await unable.register("m", "a", addresses=["192.0.2.9:1", "[2001:db8::9]:1"])
    await scene.find(SyncWanted("n", "a", "m"), SyncWanted("m", "a", "n"))
    sync = (await able.receive("sync")).sync
    assert (sync.node_id, sync.store_id, sync.peer_id) == ("n", "a", "m")
    assert list(sync.addresses) == ["192.0.2.9:1", "[2001:db8::9]:1"]
    await unable.send(liveness=LivenessReport(store_id="a"))
    assert (await unable.receive()).WhichOneof("frame") == "ack", "nothing came before"
    assert not (await scene.report("m", "a")).syncs


async def test_a_sync_of_a_node_without_an_agent_waits_for_its_report(scene: Scene) -> None:
    await scene.find(SyncWanted("n", "a", "p"), SyncWanted("m", "a", "p"))
    answer = await scene.report("n", "a")
    assert [(one.node_id, one.store_id, one.peer_id) for one in answer.syncs] == [("n", "a", "p")]
    assert not (await scene.report("n", "a")).syncs
    assert len((await scene.report("m", "a")).syncs) == 1
    await scene.find(SyncWanted("k", "a", "p"))
    agent = BareAgent(scene.stub)
    await agent.register("k", "a")
    assert not (await scene.report("k", "a")).syncs, "an agent is asked on its stream"


async def test_results_of_syncs_are_heard_both_ways(scene: Scene) -> None:
    await scene.find(SyncWanted("n", "a", "p"))
    nonce = (await scene.report("n", "a")).syncs[0].nonce
    done = SyncResult(node_id="n", store_id="a", peer_id="p", ok=True, nonce=nonce)
    await scene.report("n", "a", sync_results=[done, done])
    assert SyncFinished("n", "a", "p", True, nonce=nonce) in scene.liveness.heard
    agent = BareAgent(scene.stub)
    await agent.register("m", "a", capabilities=[CAPABILITY_SYNC_WITH_PEER])
    await scene.find(SyncWanted("m", "a", "p"))
    assert (await agent.receive("sync")).sync.nonce > nonce
    await agent.send(sync_result=SyncResult(store_id="a", peer_id="p", error="no route"))  # without its number
    await until(lambda: SyncFinished("m", "a", "p", False, "no route") in scene.liveness.heard, "it was heard")
    await scene.report("n", "a", sync_results=[SyncResult(node_id="stranger", store_id="a", peer_id="p", ok=True)])
    await scene.report("n", "a", sync_results=[SyncResult(node_id="n", store_id="strange", peer_id="p", ok=True)])
    heard = [event for event in scene.liveness.heard if isinstance(event, SyncFinished)]
    assert len(heard) == 2, "each request is answered once, and who was not asked says nothing"
    assert (
        scene.service.app.metrics.registry.get_sample_value("gossipcontrol_claims_refused_total", {"kind": "sync"}) == 1
    )


async def test_a_host_that_sleeps_and_wakes_takes_its_nodes_along(scene: Scene) -> None:
    agents = [BareAgent(scene.stub), BareAgent(scene.stub)]
    await agents[0].register("n", "a", host_id="h")
    await agents[1].register("m", "a", host_id="elsewhere")
    request_id = new_id()
    sleeping = ReportNetworkChangeRequest(host_id="h", kind=3, request_id=request_id)  # type: ignore[arg-type]
    await scene.stub.ReportNetworkChange(sleeping)
    await scene.stub.ReportNetworkChange(ReportNetworkChangeRequest(host_id="h", kind=2))  # type: ignore[arg-type]
    await scene.stub.ReportNetworkChange(sleeping)
    await scene.stub.ReportNetworkChange(
        ReportNetworkChangeRequest(node_ids=["m", "x"], kind=3)  # type: ignore[arg-type]
    )
    for kind in (1, 4):
        change = ReportNetworkChangeRequest(host_id="h", kind=kind)  # type: ignore[arg-type]
        await scene.stub.ReportNetworkChange(change)
    change = ReportNetworkChangeRequest(host_id="nobody", kind=3)  # type: ignore[arg-type]
    await scene.stub.ReportNetworkChange(change)
    heard = [event for event in scene.liveness.heard if isinstance(event, (NodesSlept, NodesWoke))]
    named = [NodesSlept(("m",)), NodesSlept(("x",))]
    assert heard == [NodesSlept(("n",)), NodesWoke(("n",)), *named], "a repeated call changes nothing"


async def test_an_agent_that_leaves_is_told_from_one_that_is_lost(scene: Scene) -> None:
    for name, goodbye in (("n", True), ("m", False)):
        agent = BareAgent(scene.stub)
        await agent.register(name, "a")
        if goodbye:
            await agent.send(goodbye=Goodbye())
        else:
            agent.call.cancel()

        def gone(name: str = name) -> bool:
            return any(isinstance(event, NodeDetached) and event.node_id == name for event in scene.liveness.heard)

        await until(gone, "its end was heard")
    ends = [event for event in scene.liveness.heard if isinstance(event, NodeDetached)]
    assert [(event.node_id, event.left) for event in ends] == [("n", True), ("m", False)]


async def test_what_the_engine_refuses_is_not_heard(tmp_path: Path) -> None:
    async with scripted(tmp_path, deciding=deciding(node_limit=1)) as scene:
        agent = BareAgent(scene.stub)
        await agent.register("n", "a")
        await agent.send(neighbor=NeighborEvent(store_id="a", peer_id="p", up=True))
        await agent.send(liveness=LivenessReport(store_id="a"))
        await agent.receive("ack")
        await refusal(scene.report("m", "a"))
        async with connected(scene.service.address) as other:
            late = BareAgent(other)
            await late.send(register=attach_pb2.Register(node_id="m", store_ids=["a"]))
            await late.ended()
        kinds = [type(event) for event in scene.liveness.heard]
        assert kinds[:3] == [NodeAttached, NeighborChanged, LivenessReported]
        assert not any(getattr(event, "node_id", "") == "m" for event in scene.liveness.heard)


async def test_time_passes_at_the_deadline_that_liveness_names(scene: Scene) -> None:
    scene.liveness.deadline_after = 0.05
    await scene.report("n", "a")
    await until(lambda: TimePassed() in scene.liveness.heard, "its time has come")


async def test_an_agent_that_is_behind_misses_syncs_rather_than_its_stream() -> None:
    session = Session("n", "s")
    session.send(attach_pb2.AttachResponse(registered=attach_pb2.Registered()))
    offered = [session.offer(attach_pb2.AttachResponse()) for _ in range(1, OFFER_FRAMES + 5)]
    assert offered.count(True) == OFFER_FRAMES - 1
    session.send(attach_pb2.AttachResponse())
