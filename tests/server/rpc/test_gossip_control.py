"""Every unary call that is served, end to end over a Unix socket; each kind of decision on the wire."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import grpc
from google.rpc import error_details_pb2
from gossipcontrol.v1 import decision_pb2, gossip_control_pb2, gossip_control_pb2_grpc, liveness_pb2
from gossipcontrol.v1.gossip_control_pb2 import (
    ListRejoinsRequest,
    ListStoresRequest,
    PeerLivenessRequest,
    ReportNetworkChangeRequest,
)
from gossipcontrol.v1.liveness_pb2 import LivenessReport, Neighbor, PeerObservation

from tests.kit.service_lab import (
    LONG,
    BareAgent,
    config,
    connected,
    deciding,
    ends_soon,
    new_id,
    refusal,
    rejoin,
    serving,
    status_details,
)

Stub: TypeAlias = "gossip_control_pb2_grpc.GossipControlAsyncStub"
CHANGED = gossip_control_pb2.NETWORK_CHANGE_KIND_CHANGED


def change(kind: gossip_control_pb2.NetworkChangeKind.ValueType = CHANGED, **fields: Any) -> ReportNetworkChangeRequest:
    return ReportNetworkChangeRequest(kind=kind, **fields)


def kinds(answer: gossip_control_pb2.RejoinResponse | gossip_control_pb2.ReportNetworkChangeResponse) -> list[str]:
    names = [decision_pb2.DecisionKind.Name(one.kind) for one in answer.decisions]
    return [name.removeprefix("DECISION_KIND_") for name in names]


async def test_a_first_trigger_is_started_and_commanded(stub: Stub) -> None:
    agent = BareAgent(stub)
    await agent.register("n", "a")
    answer = await stub.Rejoin(rejoin())
    command = await agent.command()
    [decision] = answer.decisions
    assert kinds(answer) == ["STARTED"]
    assert (decision.node_id, decision.store_id, decision.start_in_ms) == ("n", "a", 0)
    assert decision.message.startswith("starts now")
    assert (command.rejoin_id, command.attempt, command.store_id) == (decision.rejoin_id, 1, "a")
    assert command.rung == decision_pb2.RUNG_REJOIN
    assert list(command.causes) == [decision_pb2.CAUSE_MANUAL]
    assert 0 < command.deadline_ms <= LONG * 1000


async def test_further_triggers_are_scheduled_and_coalesced(stub: Stub) -> None:
    agent = BareAgent(stub)
    await agent.register("n", "a")
    first = await stub.Rejoin(rejoin())
    second = await stub.Rejoin(rejoin())
    third = await stub.Rejoin(rejoin())
    assert kinds(first) + kinds(second) + kinds(third) == ["STARTED", "SCHEDULED", "COALESCED"]
    assert second.decisions[0].rejoin_id == third.decisions[0].rejoin_id
    assert 0 < third.decisions[0].start_in_ms <= LONG * 1000
    assert second.decisions[0].rejoin_id in third.decisions[0].message


@ends_soon
async def test_what_is_scheduled_is_commanded_when_the_window_has_ended(stub: Stub) -> None:
    agent = BareAgent(stub)
    await agent.register("n", "a")
    for trigger in (await stub.Rejoin(rejoin()), await stub.Rejoin(rejoin())):
        assert (await agent.command()).rejoin_id == trigger.decisions[0].rejoin_id


async def test_a_trigger_of_a_node_that_is_not_attached_is_parked(stub: Stub) -> None:
    answer = await stub.Rejoin(rejoin("away", "a", "b"))
    assert kinds(answer) == ["PARKED", "PARKED"]
    assert answer.decision_count == 2
    assert 590_000 < answer.decisions[0].start_in_ms <= 600_000
    assert answer.decisions[0].rejoin_id


async def test_a_store_that_the_node_has_not_is_skipped(stub: Stub) -> None:
    agent = BareAgent(stub)
    await agent.register("n", "a")
    answer = await stub.Rejoin(rejoin("n", "other"))
    assert kinds(answer) == ["SKIPPED"]
    assert answer.decisions[0].rejoin_id == ""
    assert "has not registered this store" in answer.decisions[0].message


async def test_a_generation_reported_before_is_a_duplicate(stub: Stub) -> None:
    agent = BareAgent(stub)
    await agent.register("n", "a", host_id="h")
    first = await stub.ReportNetworkChange(change(host_id="h", boot_id="b", generation=7))
    again = await stub.ReportNetworkChange(change(host_id="h", boot_id="b", generation=7))
    next_one = await stub.ReportNetworkChange(change(host_id="h", boot_id="b", generation=8))
    assert kinds(first) + kinds(again) + kinds(next_one) == ["STARTED", "DUPLICATE", "SCHEDULED"]
    assert again.decisions[0].rejoin_id == first.decisions[0].rejoin_id


async def test_a_change_may_name_nodes_instead_of_a_host(stub: Stub) -> None:
    agent = BareAgent(stub)
    await agent.register("n", "a")
    answer = await stub.ReportNetworkChange(change(node_ids=["n"], kind=gossip_control_pb2.NETWORK_CHANGE_KIND_RESUMED))
    assert kinds(answer) == ["STARTED"]


async def test_a_resume_says_how_long_the_host_slept(stub: Stub) -> None:
    agent = BareAgent(stub)
    await agent.register("n", "a", host_id="h")
    resumed = gossip_control_pb2.NETWORK_CHANGE_KIND_RESUMED
    assert kinds(await stub.ReportNetworkChange(change(host_id="h", kind=resumed, slept_ms=28_800_000))) == ["STARTED"]
    trigger = (await stub.ListRejoins(ListRejoinsRequest())).rejoins[0].triggers[0]
    assert trigger.evidence == "the host had slept for 28800 s"
    assert trigger.evidence in trigger.reason
    refused = await refusal(stub.ReportNetworkChange(change(host_id="h", kind=resumed, slept_ms=2_592_000_001)))
    assert refused.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_how_long_a_host_slept_is_said_of_a_resume_alone(stub: Stub) -> None:
    agent = BareAgent(stub)
    await agent.register("n", "a", host_id="h")
    await stub.ReportNetworkChange(change(host_id="h", slept_ms=28_800_000))
    assert (await stub.ListRejoins(ListRejoinsRequest())).rejoins[0].triggers[0].evidence == ""


async def test_an_announced_sleep_decides_nothing(stub: Stub) -> None:
    agent = BareAgent(stub)
    await agent.register("n", "a", host_id="h")
    answer = await stub.ReportNetworkChange(change(host_id="h", kind=gossip_control_pb2.NETWORK_CHANGE_KIND_SLEEPING))
    assert (list(answer.decisions), answer.decision_count) == ([], 0)


async def test_a_known_request_id_gives_the_same_answer_and_changes_nothing(stub: Stub) -> None:
    agent = BareAgent(stub)
    await agent.register("n", "a", host_id="h")
    for call, request in (
        (stub.Rejoin, rejoin("n", request_id=new_id())),
        (stub.ReportNetworkChange, change(host_id="h", request_id=new_id())),
    ):
        send: Any = call
        first, again = await send(request), await send(request)
        assert (first.replayed, again.replayed) == (False, True)
        assert [one.rejoin_id for one in again.decisions] == [one.rejoin_id for one in first.decisions]
        assert kinds(again) == kinds(first)
    listed = await stub.ListRejoins(ListRejoinsRequest())
    assert sum(one.trigger_count for one in listed.rejoins) == 2


async def test_a_full_queue_says_when_to_come_again(tmp_path: Path) -> None:
    async with (
        serving(config(tmp_path, deciding=deciding(queue_limit=2))) as service,
        connected(service.address) as stub,
    ):
        await stub.Rejoin(rejoin("away", "a", "b"))
        before = await stub.ListRejoins(ListRejoinsRequest())
        error = await refusal(stub.Rejoin(rejoin("other", "a")))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        retry = error_details_pb2.RetryInfo()
        assert status_details(error).details[0].Unpack(retry)
        delay = retry.retry_delay.ToMilliseconds()
        assert 590_000 <= delay <= 720_000, "the first of those that are parked expires then"
        assert ("grpc-retry-pushback-ms", str(delay)) in tuple(error.trailing_metadata() or ())
        assert "queue" in (error.details() or "")
        after = await stub.ListRejoins(ListRejoinsRequest())
        assert len(after.rejoins) == len(before.rejoins) == 2


async def test_liveness_is_answered_with_ages(stub: Stub) -> None:
    report = LivenessReport(
        node_id="n",
        store_id="a",
        peers=[PeerObservation(peer_id="p", heard_age_ms=60_000, path=liveness_pb2.PATH_DIRECT, heard_count=3)],
        neighbors=[Neighbor(peer_id="q", up_age_ms=5_000)],
    )
    answer = await stub.PeerLiveness(PeerLivenessRequest(reports=[report]))
    [view] = answer.views
    ages = {peer.peer_id: peer.heard_age_ms for peer in view.peers}
    assert view.store_id == "a"
    assert 60_000 <= ages["p"] < 70_000
    assert 5_000 <= ages["q"] < 15_000
    assert 0 <= ages["n"] < 10_000
    assert {peer.peer_id: peer.observers for peer in view.peers} == {"n": 0, "p": 1, "q": 1}
    assert answer.next_report_ms == 2_000


async def test_liveness_of_two_observers_is_fused_and_an_unheard_peer_has_no_age(stub: Stub) -> None:
    def report(node_id: str, age: int) -> LivenessReport:
        peers = [PeerObservation(peer_id="p", heard_age_ms=age), PeerObservation(peer_id="silent")]
        return LivenessReport(node_id=node_id, store_id="a", peers=peers)

    reports = [report("n", 90_000), report("m", 20_000), LivenessReport(node_id="n", store_id="b")]
    answer = await stub.PeerLiveness(PeerLivenessRequest(reports=reports))
    assert [view.store_id for view in answer.views] == ["a", "b"]
    peers = {peer.peer_id: peer for peer in answer.views[0].peers}
    assert 20_000 <= peers["p"].heard_age_ms < 30_000
    assert peers["p"].observers == 2
    assert not peers["silent"].HasField("heard_age_ms")


async def test_a_view_of_a_large_store_lists_the_peers_heard_last(stub: Stub) -> None:
    answer = gossip_control_pb2.PeerLivenessResponse()
    for prefix, age in (("n", 60_000), ("m", 1_000)):
        peers = [PeerObservation(peer_id=f"{prefix}-{number:03}", heard_age_ms=age) for number in range(900)]
        report = LivenessReport(node_id="n", store_id="a", peers=peers)
        answer = await stub.PeerLiveness(PeerLivenessRequest(reports=[report]))
    ids = [peer.peer_id for peer in answer.views[0].peers]
    assert len(ids) == 1000
    assert ids == sorted(ids)
    assert {f"m-{number:03}" for number in range(900)} < set(ids)
    assert (await stub.ListStores(ListStoresRequest())).stores[0].peer_count == 1801


async def test_rejoins_are_listed_newest_first_with_their_reasons(stub: Stub) -> None:
    agent = BareAgent(stub)
    await agent.register("n", "a")
    request_id = new_id()
    await stub.Rejoin(rejoin("n", request_id=request_id))
    await stub.Rejoin(rejoin("n", cause=decision_pb2.CAUSE_SUSPICION))
    await stub.Rejoin(rejoin("away", "b"))
    listed = (await stub.ListRejoins(ListRejoinsRequest())).rejoins
    assert [(one.node_id, one.store_id) for one in listed] == [("away", "b"), ("n", "a"), ("n", "a")]
    assert [decision_pb2.RejoinOutcome.Name(one.outcome).removeprefix("REJOIN_OUTCOME_") for one in listed] == [
        "PARKED", "WAITING", "RUNNING",
    ]  # fmt: skip
    assert listed[2].triggers[0].request_id == request_id
    assert (
        listed[2]
        .triggers[0]
        .reason.startswith("started: this node has not rejoined this store within the window; at that time: ")
    )
    assert listed[2].HasField("started_age_ms")
    assert not listed[1].HasField("started_age_ms")
    by_cause = await stub.ListRejoins(ListRejoinsRequest(cause=decision_pb2.CAUSE_SUSPICION))
    assert [one.rejoin_id for one in by_cause.rejoins] == [listed[1].rejoin_id]
    parked = await stub.ListRejoins(ListRejoinsRequest(outcome=decision_pb2.REJOIN_OUTCOME_PARKED))
    assert [one.node_id for one in parked.rejoins] == ["away"]


async def test_pages_join_to_the_whole(stub: Stub) -> None:
    stores = [f"s{number:02}" for number in range(25)]
    await stub.Rejoin(rejoin("away", *stores))
    seen: list[str] = []
    token = ""
    while True:
        rejoins = await stub.ListRejoins(ListRejoinsRequest(page_size=10, page_token=token))
        seen += [one.store_id for one in rejoins.rejoins]
        if not (token := rejoins.next_page_token):
            break
    assert seen == stores[::-1]
    first = await stub.ListStores(ListStoresRequest(page_size=24))
    second = await stub.ListStores(ListStoresRequest(page_size=24, page_token=first.next_page_token))
    assert [one.store_id for page in (first, second) for one in page.stores] == stores
    assert second.next_page_token == ""


async def test_stores_are_listed_with_their_nodes(stub: Stub) -> None:
    agent = BareAgent(stub)
    await agent.register("n", "a", "b", host_id="h")
    await stub.PeerLiveness(PeerLivenessRequest(reports=[LivenessReport(node_id="m", store_id="a")]))
    [store] = (await stub.ListStores(ListStoresRequest(node_id="m"))).stores
    assert (store.store_id, store.node_count, store.peer_count) == ("a", 2, 2)
    assert [(one.node_id, one.host_id, one.attached) for one in store.nodes] == [("m", "", False), ("n", "h", True)]
    assert [one.HasField("report_age_ms") for one in store.nodes] == [True, False]
    assert not store.HasField("rejoin_age_ms")
