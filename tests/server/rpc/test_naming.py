"""Names of nodes: what an agent registers is shown wherever the id is, to whoever reads, and survives a restart."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import grpc
from gossipcontrol.server.config import State
from gossipcontrol.v1 import gossip_control_pb2 as pb
from gossipcontrol.v1 import gossip_control_pb2_grpc, liveness_pb2
from gossipcontrol.v1.attach_pb2 import Register

from tests.kit.service_lab import BareAgent, bad_fields, config, connected, deciding, refusal, rejoin, serving
from tests.kit.until import DEADLINE

Stub: TypeAlias = "gossip_control_pb2_grpc.GossipControlAsyncStub"


async def shown(stub: Stub) -> dict[str, str]:
    """The name of node n by the call that shows it."""
    decided = (await stub.Rejoin(rejoin("n", "a"))).decisions[0]
    foretold = await stub.Explain(pb.ExplainRequest(rejoin=rejoin("n", "a")))
    past = await stub.Explain(pb.ExplainRequest(past=pb.PastTrigger(rejoin_id=decided.rejoin_id)))
    changed = pb.ReportNetworkChangeRequest(node_ids=["n"], kind=pb.NETWORK_CHANGE_KIND_CHANGED)
    return {
        "Rejoin": decided.node_name,
        "ReportNetworkChange": (await stub.ReportNetworkChange(changed)).decisions[0].node_name,
        "Explain": foretold.decisions[0].node_name,
        "Explanation": foretold.explanations[0].decision.node_name,
        "past Explanation": past.explanations[0].decision.node_name,
        "past Rejoin": past.rejoins[0].node_name,
        "ListRejoins": (await stub.ListRejoins(pb.ListRejoinsRequest())).rejoins[0].node_name,
        "ListStores": (await stub.ListStores(pb.ListStoresRequest())).stores[0].nodes[0].name,
        "ListPeers": (await stub.ListPeers(pb.ListPeersRequest(store_id="a"))).peers[0].name,
    }


async def test_a_name_is_shown_wherever_its_node_is(stub: Stub) -> None:
    agent = BareAgent(stub)
    await agent.register("n", "a", name="kitchen")
    await agent.send(liveness=liveness_pb2.LivenessReport(store_id="a"))
    assert [one.name for one in (await agent.receive("ack")).ack.view.peers] == ["kitchen"]
    assert set((await shown(stub)).values()) == {"kitchen"}


async def test_a_node_that_is_renamed_is_told_to_its_watchers(stub: Stub) -> None:
    agent = BareAgent(stub)
    await agent.register("n", "a")
    call = stub.WatchPeers(pb.WatchPeersRequest(store_id="a"))
    seen: list[str] = []
    async with asyncio.timeout(DEADLINE):
        for name in ("", "kitchen", "hall", ""):
            await agent.register("n", "a", name=name)
            while not seen or seen[-1] != name:
                update = await call.read()
                assert isinstance(update, pb.WatchPeersResponse)
                seen += [one.name for one in update.view.peers]
    call.cancel()


async def test_a_name_survives_a_restart_and_goes_with_its_node(tmp_path: Path) -> None:
    settings = replace(config(tmp_path, deciding=deciding()), state=State(path=str(tmp_path / "state.db")))
    async with serving(settings) as service, connected(service.address) as stub:
        await BareAgent(stub).register("n", "a", name="kitchen")
    for _ in range(2):  # what the log held, then what the snapshot holds
        async with serving(settings) as service, connected(service.address) as stub:
            [store] = (await stub.ListStores(pb.ListStoresRequest())).stores
            assert [(one.node_id, one.name, one.attached) for one in store.nodes] == [("n", "kitchen", False)]
    async with serving(settings) as service, connected(service.address) as stub:
        await stub.Forget(pb.ForgetRequest(node_id="n"))
        assert (await stub.Rejoin(rejoin("n", "a"))).decisions[0].node_name == ""


async def test_a_name_that_is_too_long_is_refused(stub: Stub) -> None:
    agent = BareAgent(stub)
    await agent.register("m", "a", name="x" * 64)
    other = BareAgent(stub)
    await other.send(register=Register(node_id="n", store_ids=["a"], name="ä" * 33))
    error = await other.failed()
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert bad_fields(error) == {"register.name": "must be at most 64 bytes, is 66"}
    assert (await refusal(stub.Forget(pb.ForgetRequest(node_id="n")))).code() is grpc.StatusCode.NOT_FOUND
