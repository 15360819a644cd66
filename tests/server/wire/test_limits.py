"""Every bound that a .proto file documents is kept, at the bound and one beyond it, and the answer names the field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from gossipcontrol.v1 import attach_pb2, gossip_control_pb2, gossip_control_pb2_grpc, liveness_pb2

from tests.kit.service_lab import BareAgent, Service, bad_fields, channel_to, refusal

Stub: TypeAlias = "gossip_control_pb2_grpc.GossipControlAsyncStub"
# Any: the wrong values that types forbid are sent here on purpose.
AttachRequest: Any = attach_pb2.AttachRequest
Goodbye: Any = attach_pb2.Goodbye
NeighborEvent: Any = attach_pb2.NeighborEvent
Register: Any = attach_pb2.Register
RejoinResult: Any = attach_pb2.RejoinResult
RestartResult: Any = attach_pb2.RestartResult
SyncResult: Any = attach_pb2.SyncResult
ListRejoinsRequest: Any = gossip_control_pb2.ListRejoinsRequest
ListStoresRequest: Any = gossip_control_pb2.ListStoresRequest
ListPeersRequest: Any = gossip_control_pb2.ListPeersRequest
WatchPeersRequest: Any = gossip_control_pb2.WatchPeersRequest
PeerLivenessRequest: Any = gossip_control_pb2.PeerLivenessRequest
RejoinRequest: Any = gossip_control_pb2.RejoinRequest
ReportNetworkChangeRequest: Any = gossip_control_pb2.ReportNetworkChangeRequest
LivenessReport: Any = liveness_pb2.LivenessReport
Neighbor: Any = liveness_pb2.Neighbor
PeerObservation: Any = liveness_pb2.PeerObservation
PeersHeard: Any = liveness_pb2.PeersHeard

DAYS_30 = 2_592_000_000
LONG = "x" * 129
WIDE = "é" * 65  # 130 bytes in 65 characters


def many(count: int, width: int = 0) -> list[str]:
    return [f"{number:0{width}}" for number in range(count)]


def change(**fields: Any) -> Any:
    return ReportNetworkChangeRequest(**({"host_id": "h", "kind": 1} | fields))


def report(**fields: Any) -> Any:
    return PeerLivenessRequest(reports=[LivenessReport(**({"node_id": "n", "store_id": "a"} | fields))])


def report_and(*results: Any) -> Any:
    return PeerLivenessRequest(reports=[LivenessReport(node_id="n", store_id="a")], sync_results=results)


WRONG: list[tuple[Any, set[str]]] = [
    (RejoinRequest(), {"node_id"}),
    (RejoinRequest(node_id=LONG), {"node_id"}),
    (RejoinRequest(node_id=WIDE), {"node_id"}),
    (RejoinRequest(node_id="n", request_id="no-uuid"), {"request_id"}),
    (RejoinRequest(node_id="n", request_id="123e4567e89b12d3a456426614174000"), {"request_id"}),
    (RejoinRequest(node_id="n", store_ids=many(1025)), {"store_ids"}),
    (RejoinRequest(node_id="n", store_ids=["a", "", LONG]), {"store_ids[1]", "store_ids[2]"}),
    (RejoinRequest(node_id="n", store_ids=["a", "a"]), {"store_ids"}),
    (RejoinRequest(node_id="n", cause=2), {"cause"}),
    (RejoinRequest(node_id="n", cause=3), {"cause"}),
    (RejoinRequest(node_id="n", cause=4), {"cause"}),
    (RejoinRequest(node_id="n", cause=7), {"cause"}),
    (RejoinRequest(node_id="n", cause=8), {"cause"}),
    (RejoinRequest(node_id="n", cause=9), {"cause"}),
    (RejoinRequest(node_id="n", cause=10), {"cause"}),
    (RejoinRequest(node_id="n", cause=99), {"cause"}),
    (RejoinRequest(node_id="n", cause=-1), {"cause"}),
    (RejoinRequest(request_id="x", store_ids=[""]), {"request_id", "node_id", "store_ids[0]"}),
    (change(host_id=""), {"host_id"}),
    (change(host_id=LONG), {"host_id"}),
    (change(node_ids=["n"]), {"node_ids"}),
    (change(host_id="", node_ids=many(129)), {"node_ids"}),
    (change(host_id="", node_ids=["", LONG]), {"node_ids[0]", "node_ids[1]"}),
    (change(host_id="", node_ids=["n", "n"]), {"node_ids"}),
    (change(kind=0), {"kind"}),
    (change(kind=5), {"kind"}),
    (change(generation=1), {"boot_id"}),
    (change(boot_id="b" * 65), {"boot_id"}),
    (change(age_ms=DAYS_30 + 1), {"age_ms"}),
    (change(detail="d" * 257), {"detail"}),
    (change(request_id="x"), {"request_id"}),
    (PeerLivenessRequest(), {"reports"}),
    (PeerLivenessRequest(reports=[LivenessReport(node_id="n", store_id=one) for one in many(101)]), {"reports"}),
    (report(node_id=""), {"reports[0].node_id"}),
    (report(node_id=LONG), {"reports[0].node_id"}),
    (report(store_id=""), {"reports[0].store_id"}),
    (report(store_id=LONG), {"reports[0].store_id"}),
    (report(peers=[PeerObservation(peer_id=one) for one in many(1001)]), {"reports[0].peers"}),
    (report(peers=[PeerObservation(peer_id="p")] * 2), {"reports[0].peers"}),
    (report(peers=[PeerObservation()]), {"reports[0].peers[0].peer_id"}),
    (report(peers=[PeerObservation(peer_id=LONG)]), {"reports[0].peers[0].peer_id"}),
    (
        report(peers=[PeerObservation(peer_id="p", heard_age_ms=DAYS_30 + 1)]),
        {"reports[0].peers[0].heard_age_ms"},
    ),
    (report(peers=[PeerObservation(peer_id="p")], heard=PeersHeard()), {"reports[0].heard"}),
    (report(heard=PeersHeard(peer_ids=many(1001))), {"reports[0].heard.peer_ids"}),
    (report(heard=PeersHeard(peer_ids=["p", "p"], heard_ages_ms=[1, 1])), {"reports[0].heard.peer_ids"}),
    (report(heard=PeersHeard(peer_ids=["p", "q", "p"], heard_ages_ms=[1])), {"reports[0].heard.peer_ids"}),
    (
        report(heard=PeersHeard(peer_ids=["", "p", LONG], heard_ages_ms=[1, DAYS_30 + 1])),
        {f"reports[0].heard.{name}" for name in ("peer_ids[0]", "peer_ids[2]", "heard_ages_ms[1]")},
    ),
    (report(heard=PeersHeard(heard_ages_ms=[1])), {"reports[0].heard.heard_ages_ms"}),
    (report(heard=PeersHeard(peer_ids=["p"], heard_counts=[1])), {"reports[0].heard.heard_counts"}),
    (
        report(heard=PeersHeard(peer_ids=["p", "q"], heard_ages_ms=[1, 2], heard_counts=[1, 2, 3], direct=[0, 2])),
        {"reports[0].heard.heard_counts", "reports[0].heard.direct"},
    ),
    (report(heard=PeersHeard(peer_ids=["p", "q"], heard_ages_ms=[1], direct=[1])), {"reports[0].heard.direct"}),
    (report(heard=PeersHeard(peer_ids=["p"], heard_ages_ms=[1], direct=[0, 0])), {"reports[0].heard.direct"}),
    (report(neighbors=[Neighbor(peer_id=one) for one in many(1001)]), {"reports[0].neighbors"}),
    (report(neighbors=[Neighbor(peer_id="p")] * 2), {"reports[0].neighbors"}),
    (report(neighbors=[Neighbor()]), {"reports[0].neighbors[0].peer_id"}),
    (report(neighbors=[Neighbor(peer_id="p", up_age_ms=DAYS_30 + 1)]), {"reports[0].neighbors[0].up_age_ms"}),
    (report_and(SyncResult()), {f"sync_results[0].{name}" for name in ("node_id", "store_id", "peer_id")}),
    (report_and(SyncResult(node_id=LONG, store_id="a", peer_id="p")), {"sync_results[0].node_id"}),
    (report_and(SyncResult(node_id="n", store_id="a", peer_id="p", error="e" * 1025)), {"sync_results[0].error"}),
    (report_and(*[SyncResult(node_id="n", store_id="a", peer_id="p")] * 1001), {"sync_results"}),
    (PeerLivenessRequest(sync_results=[SyncResult(node_id="n", store_id="a", peer_id="p")]), {"reports"}),
    (WatchPeersRequest(), {"store_id"}),
    (WatchPeersRequest(store_id=LONG), {"store_id"}),
    (WatchPeersRequest(store_id="a", resume_token="no token"), {"resume_token"}),
    (WatchPeersRequest(store_id="a", resume_token="é" * 16), {"resume_token"}),
    (ListPeersRequest(), {"store_id"}),
    (ListPeersRequest(store_id=LONG), {"store_id"}),
    (ListPeersRequest(store_id="a", state=7), {"state"}),
    (ListPeersRequest(store_id="a", state=-1), {"state"}),
    (ListPeersRequest(store_id="a", page_size=1001), {"page_size"}),
    (ListPeersRequest(store_id="a", page_token=LONG), {"page_token"}),
    (ListStoresRequest(node_id=LONG), {"node_id"}),
    (ListStoresRequest(page_size=1001), {"page_size"}),
    (ListStoresRequest(page_token=LONG), {"page_token"}),
    (ListRejoinsRequest(node_id=LONG, store_id=LONG), {"node_id", "store_id"}),
    (ListRejoinsRequest(cause=11), {"cause"}),
    (ListRejoinsRequest(outcome=10), {"outcome"}),
    (ListRejoinsRequest(page_size=1001), {"page_size"}),
    (ListRejoinsRequest(page_token="not a token"), {"page_token"}),
    (ListRejoinsRequest(page_token="x-²"), {"page_token"}),
    (ListRejoinsRequest(page_token="x-٣"), {"page_token"}),
    (ListRejoinsRequest(page_token="x-" + "1" * 63), {"page_token"}),
]
RIGHT: list[Any] = [
    RejoinRequest(node_id="n" * 128, store_ids=many(1024, 128), park_unknown=True),
    RejoinRequest(node_id="é" * 64, cause=6, park_unknown=True, request_id="123E4567-E89B-12D3-A456-426614174000"),
    change(host_id="h" * 128, boot_id="b" * 64, generation=2**64 - 1, platform=5, age_ms=DAYS_30, detail="d" * 256),
    change(host_id="", node_ids=many(128, 128), park_unknown=True),
    report(peers=[PeerObservation(peer_id=one, heard_age_ms=DAYS_30, heard_count=2**64 - 1) for one in many(1000)]),
    report(
        heard=PeersHeard(
            peer_ids=many(1000, 128),
            heard_ages_ms=[DAYS_30] * 999,
            heard_counts=[2**64 - 1] * 999,
            direct=range(999),
        )
    ),
    report(neighbors=[Neighbor(peer_id=one, up_age_ms=DAYS_30) for one in many(1000)], broadcast_count=2**64 - 1),
    PeerLivenessRequest(reports=[LivenessReport(node_id="n", store_id=one) for one in many(100)]),
    report(known_version=2**64 - 1),
    report_and(*[SyncResult(node_id="n" * 128, store_id="a", peer_id="p" * 128, error="e" * 1024)] * 1000),
    ListPeersRequest(store_id="a" * 128, state=6, page_size=1000, page_token="t" * 128),
    ListStoresRequest(node_id="n" * 128, page_size=1000, page_token="t" * 128),
    ListRejoinsRequest(page_size=1000, max_age_ms=2**64 - 1, page_token="other-12"),
]
FRAMES: list[tuple[dict[str, Any], set[str]]] = [
    ({"register": Register()}, {"register.node_id"}),
    ({"register": Register(node_id=LONG)}, {"register.node_id"}),
    ({"register": Register(node_id="n", store_ids=many(1025))}, {"register.store_ids"}),
    ({"register": Register(node_id="n", store_ids=["a", "a"])}, {"register.store_ids"}),
    ({"register": Register(node_id="n", store_ids=[""])}, {"register.store_ids[0]"}),
    ({"register": Register(node_id="n", host_id=LONG)}, {"register.host_id"}),
    ({"register": Register(node_id="n", capabilities=[0])}, {"register.capabilities[0]"}),
    ({"register": Register(node_id="n", capabilities=[1, 1])}, {"register.capabilities"}),
    ({"register": Register(node_id="n", addresses=many(17))}, {"register.addresses"}),
    ({"register": Register(node_id="n", addresses=["x" * 257])}, {"register.addresses[0]"}),
    ({"register": Register(node_id="n", incarnation="x" * 65)}, {"register.incarnation"}),
    ({"register": Register(node_id="n", agent=LONG)}, {"register.agent"}),
    ({"liveness": LivenessReport()}, {"liveness.store_id"}),
    ({"liveness": LivenessReport(node_id="m", store_id="a")}, {"liveness.node_id"}),
    ({"neighbor": NeighborEvent()}, {"neighbor.store_id", "neighbor.peer_id"}),
    ({"neighbor": NeighborEvent(store_id="a", peer_id="p", age_ms=DAYS_30 + 1)}, {"neighbor.age_ms"}),
    ({"rejoin_result": RejoinResult()}, {"rejoin_result.rejoin_id", "rejoin_result.attempt"}),
    ({"rejoin_result": RejoinResult(rejoin_id="r" * 65, attempt=1)}, {"rejoin_result.rejoin_id"}),
    (
        {"rejoin_result": RejoinResult(rejoin_id="r", attempt=1, ok=True, error="e" * 1025)},
        {"rejoin_result.error"},
    ),
    ({"rejoin_result": RejoinResult(rejoin_id="r", attempt=1, ok=True, error="e")}, {"rejoin_result.error"}),
    ({"restart_result": RestartResult()}, {"restart_result.rejoin_id"}),
    ({"restart_result": RestartResult(rejoin_id="r" * 65)}, {"restart_result.rejoin_id"}),
    (
        {"restart_result": RestartResult(rejoin_id="r", duration_ms=DAYS_30 + 1, error="e" * 1025)},
        {"restart_result.duration_ms", "restart_result.error"},
    ),
    ({"sync_result": SyncResult()}, {"sync_result.store_id", "sync_result.peer_id"}),
    ({"sync_result": SyncResult(store_id="a", peer_id="p", error="e" * 1025)}, {"sync_result.error"}),
    ({"sync_result": SyncResult(node_id="m", store_id="a", peer_id="p")}, {"sync_result.node_id"}),
    ({"goodbye": Goodbye(reason="r" * 257)}, {"goodbye.reason"}),
    ({}, {"frame"}),
]


def call(stub: Stub, request: Any) -> Any:
    def first_answer(request: Any) -> Any:
        return stub.WatchPeers(request).read()

    calls: dict[type[Any], Callable[..., Any]] = {
        RejoinRequest: stub.Rejoin,
        ReportNetworkChangeRequest: stub.ReportNetworkChange,
        PeerLivenessRequest: stub.PeerLiveness,
        ListStoresRequest: stub.ListStores,
        ListPeersRequest: stub.ListPeers,
        WatchPeersRequest: first_answer,
        ListRejoinsRequest: stub.ListRejoins,
    }
    return calls[type(request)](request)


async def test_every_wrong_field_is_named_and_nothing_changes(stub: Stub) -> None:
    for request, fields in WRONG:
        error = await refusal(call(stub, request))
        named = bad_fields(error)
        assert set(named) == fields, f"{type(request).__name__}: {str(request)[:100]}"
        assert all(named.values())
        assert next(iter(named)) in (error.details() or "")
    assert not (await stub.ListStores(ListStoresRequest())).stores
    assert not (await stub.ListRejoins(ListRejoinsRequest())).rejoins


async def test_the_bounds_themselves_are_allowed(stub: Stub) -> None:
    for request in RIGHT:
        await call(stub, request)


async def test_every_wrong_field_of_a_frame_is_named(stub: Stub) -> None:
    for frame, fields in FRAMES:
        agent = BareAgent(stub)
        if "register" not in frame:
            await agent.register("n", "a")
        await agent.call.write(AttachRequest(**frame))
        assert set(bad_fields(await agent.failed())) == fields, str(frame)[:100]


async def test_a_flood_of_mistakes_is_answered_within_what_clients_accept(stub: Stub) -> None:
    peers = [PeerObservation(peer_id=f"{number:0200}", heard_age_ms=DAYS_30 + 1) for number in range(1000)]
    requests = PeerLivenessRequest(reports=[LivenessReport(node_id="n", store_id="a", peers=peers)] * 10)
    error = await refusal(stub.PeerLiveness(requests))
    assert 10 <= len(bad_fields(error)) <= 100
    assert "more" in (error.details() or "")


METHODS = ("Rejoin", "ReportNetworkChange", "PeerLiveness", "ListPeers", "ListStores", "ListRejoins")
UNREADABLE = [
    *((name, b"\xff") for name in METHODS),
    *((name, b"\x0a\x7f") for name in METHODS),
    ("Rejoin", b"\x12\x02\xff\xfe"),  # a node id that is not UTF-8
]


@pytest.mark.parametrize(("name", "data"), UNREADABLE)
async def test_bytes_that_are_no_message_are_refused(service: Service, name: str, data: bytes) -> None:
    async with channel_to(service.tcp) as opened:
        channel: Any = opened
        error = await refusal(channel.unary_unary(f"/gossipcontrol.v1.GossipControl/{name}")(data))
        assert set(bad_fields(error)) == {"request"}
        stream = channel.stream_stream("/gossipcontrol.v1.GossipControl/Attach")(iter([data]))
        assert set(bad_fields(await refusal(anext(aiter(stream))))) == {"request"}
        watch = channel.unary_stream("/gossipcontrol.v1.GossipControl/WatchPeers")(data)
        assert set(bad_fields(await refusal(anext(aiter(watch))))) == {"request"}
    assert not service.lines("call failed")
