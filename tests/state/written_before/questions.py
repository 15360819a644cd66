"""Every question that the service answers, asked of the core: the answers by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gossipcontrol.server.core.core import Core
from gossipcontrol.server.core.decision import Cause, Outcome
from gossipcontrol.server.core.knowledge import answer
from gossipcontrol.server.core.knowledge.store import KnowledgeStore
from gossipcontrol.server.core.slices import finish
from gossipcontrol.server.wire import decode, encode, encode_knowledge, encode_presence
from gossipcontrol.v1 import decision_pb2, gossip_control_pb2
from gossipcontrol.v1 import peer_knowledge_pb2 as pb

from tests.state.written_before.written_state import NODES, NOW, REQUESTS, request_id

CAUSES = [cause for cause in Cause if cause <= Cause.PARTITION]
"""Those that the old code knew."""


def answers(core: Core, now: float = NOW) -> dict[str, Any]:
    """Every answer by name: a protobuf message, or plain JSON where there is no message."""
    return dict([*about_deciding(core, now), *_foretold(core, now), *about_knowledge(core.knowledge, now)])


def about_deciding(core: Core, now: float) -> Iterator[tuple[str, Any]]:
    """The lists of rejoins and stores, and the gauges."""
    for rejoin in core.catalog.rejoins():
        yield f"ListRejoins {rejoin.rejoin_id}", encode.rejoin_message(rejoin, now)
    yield "ListRejoins", _ids(core)
    yield "ListRejoins node", {node_id: _ids(core, node_id=node_id) for node_id in NODES}
    yield "ListRejoins cause", {int(cause): _ids(core, cause=cause) for cause in CAUSES}
    yield "ListRejoins outcome", {int(outcome): _ids(core, outcome=outcome) for outcome in Outcome}
    yield "ListRejoins store", {store_id: _ids(core, store_id=store_id) for store_id in ("bulk1", "mail", "extra")}
    yield "ListRejoins since", {ago: _ids(core, since=now - ago) for ago in (2, 20, 200)}
    yield "ListRejoins before", {number: _ids(core, before=f"any-{number}") for number in (5, 50)}
    yield "ListRejoins n2 partition", _rejoins(core, now, node_id="n2", cause=Cause.PARTITION)
    yield "ListRejoins n1 verified", _rejoins(core, now, node_id="n1", store_id="notes", outcome=Outcome.VERIFIED)
    yield "ListStores", _stores(core, now)
    yield "ListStores node n1", _stores(core, now, node_id="n1")
    yield "ListStores after mail", _stores(core, now, after="mail")
    counts = core.counts()
    known = [counts.attached, counts.nodes, counts.stores, counts.peers]
    yield "counts", [*known, counts.queued, counts.parked, counts.running]
    yield "next deadline", core.deciding.next_deadline()
    # As registered: whether they are confirmed is a question that the old code did not ask.
    nodes = core.deciding.registry.nodes
    yield "addresses", {node_id: nodes[node_id].addresses if node_id in nodes else () for node_id in NODES}
    yield "capabilities", {node_id: sorted(map(int, core.capabilities(node_id) or ())) for node_id in NODES}
    yield (
        "hosts",
        {host_id: core.deciding.registry.nodes_on(host_id) for host_id in ("h1", "h2", "h3", "hx", "hy", "hz")},
    )


def _ids(core: Core, **filters: Any) -> list[str]:
    return [rejoin.rejoin_id for rejoin in core.catalog.rejoins(**filters)]


def _rejoins(core: Core, now: float, **filters: Any) -> gossip_control_pb2.ListRejoinsResponse:
    rejoins = [encode.rejoin_message(rejoin, now) for rejoin in core.catalog.rejoins(**filters)]
    return gossip_control_pb2.ListRejoinsResponse(rejoins=rejoins)


def _stores(core: Core, now: float, **filters: Any) -> gossip_control_pb2.ListStoresResponse:
    counts = core.liveness.store_counts
    stores = [
        encode_presence.store_message(store, counts(store.store_id), None, now)
        for store in core.catalog.stores(**filters)
    ]
    return gossip_control_pb2.ListStoresResponse(stores=stores)


def _foretold(core: Core, now: float) -> Iterator[tuple[str, gossip_control_pb2.ExplainResponse]]:
    """What would happen to triggers, and why past ones were decided as they were."""
    for name, request in (*_triggers(), *_changes()):
        query = decode.explain_query(request)
        assert not isinstance(query, decode.PastQuery)
        yield f"Explain {name}", finish(encode.forecast_response(core.foretell(query, now), now))
    for rejoin in list(core.catalog.rejoins())[::6]:
        yield f"Explain past {rejoin.rejoin_id}", finish(encode.past_response([rejoin], "", now))
    for number in REQUESTS:
        one = request_id(number)
        yield (
            f"Explain past request {number}",
            finish(encode.past_response(list(core.catalog.rejoins(request_id=one)), one, now)),
        )


def _triggers() -> Iterator[tuple[str, gossip_control_pb2.ExplainRequest]]:
    ask, request = gossip_control_pb2.RejoinRequest, gossip_control_pb2.ExplainRequest
    for node_id in (*NODES, "strange"):
        yield f"Rejoin {node_id}", request(rejoin=ask(node_id=node_id))
    yield "Rejoin n1 nowhere", request(rejoin=ask(node_id="n1", store_ids=["nowhere", "notes"]))
    yield "Rejoin n2 suspicion", request(rejoin=ask(node_id="n2", cause=decision_pb2.CAUSE_SUSPICION))
    for number in REQUESTS:
        yield f"Rejoin request {number}", request(rejoin=ask(node_id="n1", request_id=request_id(number)))


def _changes() -> Iterator[tuple[str, gossip_control_pb2.ExplainRequest]]:
    report, request = gossip_control_pb2.ReportNetworkChangeRequest, gossip_control_pb2.ExplainRequest
    resumed = gossip_control_pb2.NETWORK_CHANGE_KIND_RESUMED
    sleeping = gossip_control_pb2.NETWORK_CHANGE_KIND_SLEEPING
    for host_id in ("h1", "h2", "h3", "hx", "hy", "hz", "strange"):
        yield f"change of {host_id}", request(network_change=report(host_id=host_id, kind=resumed))
    for number in (3, 5, 6, 7):
        host = report(host_id="h3", kind=resumed, boot_id="boot", generation=number)
        nodes = report(node_ids=["n1", "n5", "u4"], kind=resumed, boot_id="boot", generation=number)
        yield f"change {number} of h3", request(network_change=host)
        yield f"change {number} of nodes", request(network_change=nodes)
    for number in (9, 24):
        one = report(host_id="h1", kind=resumed, request_id=request_id(number))
        yield f"change request {number}", request(network_change=one)
    yield "sleep", request(network_change=report(host_id="h1", kind=sleeping))


def about_knowledge(store: KnowledgeStore, now: float) -> Iterator[tuple[str, Any]]:
    """What peers provably hold."""
    yield "stores", store.store_ids()
    yield "senders", store.senders()
    for store_id in sorted(store.store_ids()):
        tracker = store.tracker(store_id)
        assert tracker is not None
        peers, stable = tracker.peers(), tracker.frontier()
        rows = [encode_knowledge.row_message(answer.knowledge(tracker, peer), now) for peer in peers]
        lags = [encode_knowledge.lag_message(lag, now) for lag in answer.lags(tracker, peers)]
        yield f"GetKnowledge {store_id}", pb.GetKnowledgeResponse(rows=rows)
        yield f"GetLag {store_id}", pb.GetLagResponse(peers=lags)
        yield (
            f"GetStabilityFrontier {store_id}",
            pb.GetStabilityFrontierResponse(
                frontier=encode_knowledge.position_messages(answer.positions(tracker, stable)),
                unstable=sum(answer.behind_by_author(tracker, stable).values()),
                at_risk=answer.at_risk(tracker),
            ),
        )
        names = [b"%s-h%d" % (store_id.encode(), number) for number in range(150)]
        yield f"holders {store_id}", [answer.holders(tracker, name) for name in names]
        unshared = [[one.author_id, one.writes, one.oldest_at, one.say(now)] for one in store.unshared(store_id, now)]
        yield f"unshared {store_id}", unshared
        counts = store.counts(store_id)
        gauges = [counts.recorded, counts.retained, counts.floating, counts.dropped, counts.forks, counts.lag]
        yield f"counts {store_id}", [*gauges, counts.at_risk]
