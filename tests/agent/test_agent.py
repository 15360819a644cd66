"""The agent beside a fake node, against the real service: attach, carry out, report, and attach again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from gossipcontrol.agent import Agent, PeerChange, RejoinFailedError, Rung
from gossipcontrol.agent import PeerState as State
from gossipcontrol.agent.attachment import Attachment
from gossipcontrol.agent.state import AgentState
from gossipcontrol.client.channel import open_channel
from gossipcontrol.v1 import attach_pb2, decision_pb2, gossip_control_pb2_grpc
from gossipcontrol.v1.gossip_control_pb2 import (
    ListPeersRequest,
    ListRejoinsRequest,
    ListStoresRequest,
    PeerLivenessRequest,
    StoreNode,
)
from gossipcontrol.v1.liveness_pb2 import (
    PEER_STATE_ASLEEP,
    PEER_STATE_ONLINE,
    LivenessReport,
    PeerObservation,
    PeerState,
)

from tests.agent.fake import FakeNode, Proxy, Watched, running
from tests.agent.script import scripted
from tests.kit.address import address_of, local_address
from tests.kit.clock_moves import clock_moves
from tests.kit.service_lab import BareAgent, Service, config, connected, rejoin, serving
from tests.kit.until import DEADLINE, until

Stub: TypeAlias = "gossip_control_pb2_grpc.GossipControlAsyncStub"


async def node_in(stub: Stub, node_id: str = "n") -> StoreNode:
    stores = (await stub.ListStores(ListStoresRequest(node_id=node_id))).stores
    return next(node for store in stores for node in store.nodes if node.node_id == node_id)


async def newest(stub: Stub) -> decision_pb2.Rejoin:
    return (await stub.ListRejoins(ListRejoinsRequest())).rejoins[0]


async def until_outcome(stub: Stub, outcome: decision_pb2.RejoinOutcome.ValueType) -> decision_pb2.Rejoin:
    async def come() -> bool:
        return (await newest(stub)).outcome == outcome

    await until(come, f"the newest rejoin is {decision_pb2.RejoinOutcome.Name(outcome)}")
    return await newest(stub)


async def test_a_name_is_registered_and_read_back_by_other_agents(service: Service, stub: Stub) -> None:
    async with Agent(FakeNode("n", "a"), service.address, name="kitchen") as agent:
        await attached(agent.attached)
        assert (await node_in(stub)).name == "kitchen"

        async def known() -> bool:
            return [one.name for one in agent.peers("a")] == ["kitchen"]

        await until(known, "the agent sees its own name")


async def attached(agent_event: asyncio.Event) -> None:
    async with asyncio.timeout(DEADLINE):
        await agent_event.wait()


async def test_it_attaches_and_registers_its_node(service: Service, stub: Stub) -> None:
    async with running(FakeNode("n", "a", "b"), service.address, host_id="h") as watched:
        await attached(watched.agent.attached)
        node = await node_in(stub)
        assert (node.host_id, node.attached) == ("h", True)
        assert watched.told("attached")

        async def reported() -> bool:
            stores = (await stub.ListStores(ListStoresRequest(node_id="n"))).stores
            return [store.nodes[0].HasField("report_age_ms") for store in stores] == [True, True]

        await until(reported, "every store was reported at once")


async def test_a_rejoin_is_carried_out_and_proved_by_a_neighbour(service: Service, stub: Stub) -> None:
    node = FakeNode()
    async with running(node, service.address) as watched:
        await attached(watched.agent.attached)
        await stub.Rejoin(rejoin("n"))
        await until(lambda: bool(node.rejoins), "the node rejoined")
        await clock_moves()
        watched.agent.neighbor_up("a", "p")
        verified = await until_outcome(stub, decision_pb2.REJOIN_OUTCOME_VERIFIED)
        assert verified.detail == "verified by neighbour p"
        assert node.rejoins == [("a", Rung.REJOIN, [])]
        await until(lambda: bool(watched.told("result")), "the result was delivered")
        assert watched.told("command")[0].detail == "rejoin because of manual"


async def test_a_rejoin_is_proved_by_a_message(service: Service, stub: Stub) -> None:
    node = FakeNode()
    async with running(node, service.address) as watched:
        await attached(watched.agent.attached)
        await stub.Rejoin(rejoin("n"))
        await until(lambda: bool(node.rejoins), "the node rejoined")
        await clock_moves()
        watched.agent.received("a", "author", direct=False)
        verified = await until_outcome(stub, decision_pb2.REJOIN_OUTCOME_VERIFIED)
        assert verified.detail == "verified by a message of author"


@pytest.mark.parametrize(
    ("failure", "detail"),
    [
        (RejoinFailedError("no such store", permanent=True), "no such store"),
        (RejoinFailedError("no route"), "no route"),
        (ValueError("odd"), "ValueError: odd"),
    ],
)
async def test_a_failure_is_told_to_the_service(service: Service, stub: Stub, failure: Exception, detail: str) -> None:
    node = FakeNode()
    node.failure = failure
    async with running(node, service.address) as watched:
        await attached(watched.agent.attached)
        await stub.Rejoin(rejoin("n"))

        async def told() -> bool:
            return (await newest(stub)).detail.startswith(detail)

        await until(told, "the service tells what went wrong")


async def test_neighbours_come_and_go(service: Service, stub: Stub) -> None:
    async with running(FakeNode(), service.address) as watched:
        await attached(watched.agent.attached)
        for peer in ("p", "q", "p"):
            watched.agent.neighbor_up("a", peer)

        async def count(wanted: int) -> bool:
            return (await node_in(stub)).neighbors == wanted

        await until(lambda: count(2), "both neighbours are known")
        watched.agent.neighbor_down("a", "p")
        await until(lambda: count(1), "one has gone")


def come_and_go(watched: Watched) -> None:
    """Two neighbour events for the agent to tell."""
    watched.agent.neighbor_up("a", "p")
    watched.agent.neighbor_down("a", "p")


async def test_a_report_comes_once_per_interval_however_often_neighbours_come_and_go(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (script, address):
        script.next_report_ms = 500
        async with running(FakeNode(), address) as watched:

            def reported() -> bool:
                come_and_go(watched)
                return len(script.reports) >= 3

            await until(reported, "two reports followed the first")


@pytest.mark.parametrize(("asked_ms", "interval"), [(0, 1.0), (5_000, 5.0), (2**32 - 1, 60.0)])
async def test_no_service_makes_it_silent_or_a_flood(tmp_path: Path, asked_ms: int, interval: float) -> None:
    channel = open_channel(local_address(tmp_path / "none.sock"))
    attachment = Attachment(AgentState(FakeNode(), "", lambda event: None, lambda store, change: None), channel)
    attachment.set_interval(asked_ms)
    assert attachment.interval == interval
    await channel.close()


async def test_views_of_stores_that_the_node_does_not_have_are_dropped(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (script, address), running(FakeNode(), address) as watched:
        for store_id in ("a", *(f"other {number}" for number in range(100))):
            ack = attach_pb2.AttachResponse()
            ack.ack.view.store_id = store_id
            ack.ack.view.peers.add(peer_id="p", state=PEER_STATE_ONLINE)
            script.send(ack)
        done = attach_pb2.AttachResponse()
        done.ack.view.store_id = "a"
        done.ack.view.peers.add(peer_id="q", state=PEER_STATE_ONLINE)
        script.send(done)
        await until(lambda: [peer.peer_id for peer in watched.agent.peers("a")] == ["q"], "the last view was applied")
        assert not any(watched.agent.peers(f"other {number}") for number in range(100))


async def test_every_frame_says_which_commands_had_arrived(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (script, address), running(FakeNode(), address) as watched:
        await until(lambda: len(script.received) == 1, "it reports")
        command = attach_pb2.AttachResponse()
        command.rejoin.rejoin_id, command.rejoin.attempt, command.rejoin.store_id = "r", 1, "a"
        command.rejoin.deadline_ms = 1000
        script.send(command)
        await until(lambda: bool(script.rejoined), "it answers")
        watched.agent.received("a", "p", direct=True)
        await until(lambda: len(script.reports) == 2, "it reports")
        assert script.received[0][0] == 0
        assert {count for count, _ in script.received[1:]} == {1}
        assert all(age < 10_000 for _, age in script.received)


async def test_neighbours_that_come_and_go_make_no_report_due(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (script, address), running(FakeNode(), address) as watched:

        def told() -> bool:
            come_and_go(watched)
            return len(script.neighbors) >= 50

        await until(told, "the service was told of neighbours")
        assert len(script.reports) == 1


async def test_an_id_that_the_service_would_refuse_is_refused_and_the_stream_lives(
    service: Service, stub: Stub
) -> None:
    async with running(FakeNode(), service.address) as watched:
        await attached(watched.agent.attached)
        for value in ("", "p" * 129, "\u00e9" * 128, "\ud800"):
            with pytest.raises(ValueError, match="author_id"):
                watched.agent.received("a", value, direct=False)
            with pytest.raises(ValueError, match="peer_id"):
                watched.agent.neighbor_up("a", value)
            with pytest.raises(ValueError, match="peer_id"):
                watched.agent.neighbor_down("a", value)
        watched.agent.received("a", "p", direct=False)
        watched.agent.pause()

        async def told() -> bool:
            return {peer.peer_id for peer in (await stub.ListPeers(ListPeersRequest(store_id="a"))).peers} == {"n", "p"}

        await until(told, "the report was taken")
        assert not watched.told("detached")


async def test_a_neighbour_from_before_the_host_slept_is_told_with_its_age(
    tmp_path: Path, host_sleeps: Callable[[float], None]
) -> None:
    async with scripted(tmp_path) as (script, address), running(FakeNode(), address) as watched:
        await attached(watched.agent.attached)
        watched.agent.neighbor_up("a", "p")
        host_sleeps(3600)
        await until(lambda: bool(script.neighbors), "the neighbour was told")
        assert 3_600_000 <= script.neighbors[0].age_ms < 7_200_000


async def test_it_attaches_again_when_the_stream_is_cut(service: Service, stub: Stub) -> None:
    async with Proxy.to(service.tcp) as proxy, running(FakeNode(), proxy.address) as watched:
        await attached(watched.agent.attached)
        proxy.cut()
        await until(lambda: len(watched.told("attached")) == 2, "it attached again")
        assert len(watched.told("detached")) == 1
        await until(lambda: proxy.connections >= 2, "over a connection of its own")


async def test_a_result_is_delivered_after_it_attached_again(service: Service) -> None:
    node = FakeNode()
    node.held = asyncio.Event()
    async with Proxy.to(service.tcp) as proxy, running(node, proxy.address) as watched:
        await attached(watched.agent.attached)
        async with connected(service.address) as stub:
            await stub.Rejoin(rejoin("n"))
            await until(lambda: bool(node.rejoins), "the node rejoins")
            proxy.cut()
            await until(lambda: bool(watched.told("detached")), "the stream is gone")
            node.held.set()
            await until(lambda: len(watched.told("attached")) == 2, "it attached again")
            await until(lambda: len(watched.told("result")) >= 1, "the result was delivered on the new stream")


@pytest.mark.waits(15)
async def test_a_dead_stream_is_found_by_keepalive(service: Service) -> None:
    async with Proxy.to(service.tcp) as proxy, running(FakeNode(), proxy.address) as watched:
        await attached(watched.agent.attached)
        proxy.dead = True
        await until(lambda: bool(watched.told("detached")), "keepalive found it", within=25.0)
        proxy.dead = False
        watched.agent.network_changed()
        await until(lambda: len(watched.told("attached")) == 2, "it attached again")


async def test_a_dead_stream_is_found_at_once_when_the_network_changed(service: Service) -> None:
    async with Proxy.to(service.tcp) as proxy, running(FakeNode(), proxy.address) as watched:
        await attached(watched.agent.attached)
        proxy.dead = True
        watched.agent.network_changed()
        await until(lambda: bool(watched.told("detached")), "the probe found it")
        proxy.dead = False
        watched.agent.network_changed()
        await until(lambda: len(watched.told("attached")) == 2, "it attached again")


async def test_a_change_of_the_network_leaves_a_stream_that_lives(
    service: Service, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gossipcontrol.agent.agent.PROBE_TIMEOUT", DEADLINE)
    node = FakeNode()
    async with running(node, service.address) as watched:
        await attached(watched.agent.attached)
        for _ in range(3):
            watched.agent.network_changed()
            await node_in(stub)
        await stub.Rejoin(rejoin("n"))
        await until(lambda: bool(node.rejoins), "the same stream brings the command")
        assert not watched.told("detached")


async def test_a_change_of_the_network_gives_up_a_connection_that_hangs(service: Service) -> None:
    async with Proxy.to(service.tcp) as proxy:
        proxy.dead = True
        async with running(FakeNode(), proxy.address) as watched:
            await until(lambda: proxy.connections == 1, "it tries to connect")
            proxy.dead = False
            watched.agent.network_changed()
            await attached(watched.agent.attached)
            reasons = [event.detail for event in watched.told("unattached")]
            assert reasons == ["the network changed while connecting"]


async def test_it_says_once_why_it_cannot_attach(service: Service) -> None:
    async with running(FakeNode("n", "x" * 129), service.address) as watched:
        await until(lambda: bool(watched.told("unattached")), "it says why")
        assert "register.store_ids[0]: must be at most 128 bytes" in watched.told("unattached")[0].detail
        for _ in range(5):
            watched.agent.network_changed()
            await asyncio.sleep(0)
        assert len(watched.told("unattached")) == 1


async def test_it_waits_for_a_service_that_comes_later(tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = config(tmp_path_factory.mktemp("late"))
    async with running(FakeNode(), address_of(settings)) as watched:
        await until(lambda: bool(watched.told("unattached")), "there is no service yet")
        async with serving(settings):
            await attached(watched.agent.attached)


async def test_the_older_of_two_agents_of_one_node_gives_way(service: Service, stub: Stub) -> None:
    async with running(FakeNode(), service.address) as watched:
        await attached(watched.agent.attached)
        newer = BareAgent(stub)
        await newer.register("n", "a")
        await until(lambda: bool(watched.told("detached")), "the older is cut off")
        assert watched.told("detached")[0].detail.startswith("ABORTED: a newer stream")


async def test_a_paused_node_is_asleep_and_silent_until_a_rejoin_resumes_it(service: Service, stub: Stub) -> None:
    node = FakeNode("n", "a")
    async with running(node, service.address) as watched:
        await attached(watched.agent.attached)

        async def state_is(wanted: PeerState.ValueType) -> bool:
            peers = (await stub.ListPeers(ListPeersRequest(store_id="a"))).peers
            return [(peer.peer_id, peer.state) for peer in peers] == [("n", wanted)]

        await until(lambda: state_is(PEER_STATE_ONLINE), "it reports")
        watched.agent.pause()
        await until(lambda: state_is(PEER_STATE_ASLEEP), "its silence is no failure")
        await stub.Rejoin(rejoin("n"))
        await until(lambda: state_is(PEER_STATE_ONLINE), "it reports again")
        watched.agent.pause()
        await until(lambda: state_is(PEER_STATE_ASLEEP), "it pauses again")
        watched.agent.resume()
        await until(lambda: state_is(PEER_STATE_ONLINE), "it speaks again")


async def test_a_node_that_pauses_says_so_once(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (script, address), running(FakeNode(), address) as watched:
        await until(lambda: len(script.reports) == 1, "it reports")
        watched.agent.pause()
        await until(lambda: len(script.reports) == 2, "it says that it pauses")
        watched.agent.pause()
        watched.agent.neighbor_up("a", "p")
        await until(lambda: len(script.neighbors) == 1, "what came after the second pause was told")
        watched.agent.resume()
        await until(lambda: not script.reports[-1].going_to_sleep, "it speaks again")
        assert [report.going_to_sleep for report in script.reports] == [False, True, False]


async def test_leaving_says_goodbye_and_ends(service: Service, stub: Stub) -> None:
    async with running(FakeNode(), service.address) as watched:
        await attached(watched.agent.attached)
        await watched.agent.leave()
        await until(lambda: not watched.agent.attached.is_set(), "it left")
        assert not (await node_in(stub)).attached
        page = service.app.metrics.registry
        labels = {"rpc": "Attach", "code": "OK"}
        await until(lambda: page.get_sample_value("gossipcontrol_requests_total", labels) == 1.0, "it ended well")


async def test_the_app_sees_the_peers_of_a_store_and_is_told_of_changes(service: Service, stub: Stub) -> None:
    changes: list[tuple[str, PeerChange]] = []
    node = FakeNode("n", "a")
    agent = Agent(node, service.address, on_peer=lambda store_id, change: changes.append((store_id, change)))
    running_agent = asyncio.create_task(agent.run())
    try:
        await attached(agent.attached)
        agent.received("a", "p", direct=True)
        await until(lambda: {one.peer_id for one in agent.peers("a")} == {"n", "p"}, "both are seen")
        assert {one.state for one in agent.peers("a")} == {State.ONLINE}
        peers = [PeerObservation(peer_id="q", heard_age_ms=0)]
        await stub.PeerLiveness(PeerLivenessRequest(reports=[LivenessReport(node_id="m", store_id="a", peers=peers)]))
        await until(lambda: len(agent.peers("a")) == 4, "what others heard is seen too")
        assert agent.peers("unknown") == []
        appeared = [change.peer_id for store_id, change in changes if store_id == "a" and change.before is None]
        assert sorted(appeared) == ["m", "n", "p", "q"], "each was told once"
    finally:
        running_agent.cancel()
        await asyncio.gather(running_agent, return_exceptions=True)
