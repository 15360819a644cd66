"""The calls of the service: for each the request, the method, and how its answer is decoded. No IO."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar, cast

from gossipcontrol.client import decode, decode_knowledge, encode
from gossipcontrol.client.decision import (
    ExplainResult,
    ForgetResult,
    NetworkChange,
    PastTrigger,
    RejoinRecord,
    RejoinTrigger,
    TriggerResult,
)
from gossipcontrol.client.enumeration import Cause, Outcome, PeerState
from gossipcontrol.client.intention import Frontier, Member, PeerKnowledge, PeerLag, UndoneChange
from gossipcontrol.client.liveness import LivenessReport, LivenessResult, SyncResult
from gossipcontrol.client.presence import Peer
from gossipcontrol.client.replica import ReplicaList
from gossipcontrol.client.store import Store
from gossipcontrol.v1 import decision_pb2, gossip_control_pb2, liveness_pb2, peer_knowledge_pb2
from gossipcontrol.v1.gossip_control_pb2_grpc import GossipControlStub
from gossipcontrol.v1.peer_knowledge_pb2_grpc import PeerKnowledgeStub
from grpc_health.v1 import health_pb2, health_pb2_grpc

MessageT = TypeVar("MessageT")
ItemT = TypeVar("ItemT")
T = TypeVar("T")
MOST_IN_PAGE = 1000
"""Most items of a page that the service gives."""


@dataclass(frozen=True, slots=True)
class Call(Generic[MessageT, T]):
    """One call; ``MessageT`` is the answer's message, ``T`` its value."""

    stub: Callable[[Any], Any]
    name: str
    request: Any
    decode: Callable[[MessageT], T]

    def method(self, channel: Any) -> Any:
        """The method on a channel of either kind."""
        return getattr(self.stub(channel), self.name)


class Page(Protocol):
    """A response that names the page after it."""

    next_page_token: str


@dataclass(frozen=True, slots=True)
class ListCall(Generic[ItemT, T]):
    """A call whose answer comes in pages; ``ItemT`` is the message of one item, ``T`` its value."""

    stub: Callable[[Any], Any]
    name: str
    request: Any
    items: Callable[[Any], Iterable[ItemT]]
    decode: Callable[[ItemT], T]
    limit: int | None = None
    """Most items that are wanted."""

    def messages(self) -> ListCall[ItemT, ItemT]:
        """The same call with its items as messages."""
        call: Any = replace(cast("Any", self), decode=_itself)  # replace is not generic
        return cast("ListCall[ItemT, ItemT]", call)


def _itself(message: T) -> T:
    return message


def serving() -> Call[health_pb2.HealthCheckResponse, bool]:
    """Whether the service says that it serves."""
    stub = cast("Callable[[Any], Any]", health_pb2_grpc.HealthStub)
    return Call(stub, "Check", health_pb2.HealthCheckRequest(), _is_serving)


def _is_serving(message: health_pb2.HealthCheckResponse) -> bool:
    return message.status == health_pb2.HealthCheckResponse.SERVING


def rejoin(trigger: RejoinTrigger) -> Call[gossip_control_pb2.RejoinResponse, TriggerResult]:
    """Rejoin stores of a node; without a request id it gets one."""
    identified = replace(trigger, request_id=trigger.request_id or encode.new_request_id())
    return Call(GossipControlStub, "Rejoin", encode.rejoin(identified), decode.trigger_result)


def report_network_change(
    change: NetworkChange,
) -> Call[gossip_control_pb2.ReportNetworkChangeResponse, TriggerResult]:
    """Report a change; without a request id it gets one."""
    identified = replace(change, request_id=change.request_id or encode.new_request_id())
    request = encode.network_change(identified)
    return Call(GossipControlStub, "ReportNetworkChange", request, decode.trigger_result)


def peer_liveness(
    reports: Sequence[LivenessReport], sync_results: Sequence[SyncResult]
) -> Call[gossip_control_pb2.PeerLivenessResponse, LivenessResult]:
    """Report what nodes heard of their peers."""
    return Call(GossipControlStub, "PeerLiveness", encode.liveness(reports, sync_results), decode.liveness_result)


def explain(
    trigger: RejoinTrigger | NetworkChange | PastTrigger,
) -> Call[gossip_control_pb2.ExplainResponse, ExplainResult]:
    """Explain a trigger."""
    return Call(GossipControlStub, "Explain", encode.explain(trigger), decode.explain_result)


def forget(node_id: str, store_id: str) -> Call[gossip_control_pb2.ForgetResponse, ForgetResult]:
    """Forget a node, a store, or a store of a node."""
    request = gossip_control_pb2.ForgetRequest(node_id=node_id, store_id=store_id)
    return Call(GossipControlStub, "Forget", request, lambda done: ForgetResult(nodes=done.nodes, stores=done.stores))


def cancel_rejoin(rejoin_id: str) -> Call[gossip_control_pb2.CancelRejoinResponse, RejoinRecord]:
    """End a rejoin."""
    request = gossip_control_pb2.CancelRejoinRequest(rejoin_id=rejoin_id)
    return Call(GossipControlStub, "CancelRejoin", request, lambda done: decode.rejoin_record(done.rejoin))


def list_peers(store_id: str, state: PeerState | None) -> ListCall[liveness_pb2.PeerView, Peer]:
    """The peers of a store."""
    request = gossip_control_pb2.ListPeersRequest(store_id=store_id, state=liveness_pb2.PeerState.ValueType(state or 0))
    return ListCall(GossipControlStub, "ListPeers", request, lambda page: page.peers, decode.peer)


def list_stores(node_id: str) -> ListCall[gossip_control_pb2.Store, Store]:
    """The stores of a node, or all."""
    request = gossip_control_pb2.ListStoresRequest(node_id=node_id)
    return ListCall(GossipControlStub, "ListStores", request, lambda page: page.stores, decode.store)


def list_replicas() -> Call[gossip_control_pb2.ListReplicasResponse, ReplicaList]:
    """The replicas of the service."""
    return Call(GossipControlStub, "ListReplicas", gossip_control_pb2.ListReplicasRequest(), decode.replica_list)


def warnings() -> Call[gossip_control_pb2.ListStoresResponse, tuple[str, ...]]:
    """What is wrong with the fleet as a whole: told with the first page of the stores."""
    request = gossip_control_pb2.ListStoresRequest(page_size=1)
    return Call(GossipControlStub, "ListStores", request, lambda page: tuple(page.warnings))


@dataclass(frozen=True, slots=True, kw_only=True)
class RejoinFilter:
    """Which rejoins are listed; the default: all of them."""

    node_id: str = ""
    store_id: str = ""
    cause: Cause | None = None
    outcome: Outcome | None = None
    max_age: float | None = None
    limit: int | None = None
    page_size: int = 0


def list_rejoins(chosen: RejoinFilter) -> ListCall[decision_pb2.Rejoin, RejoinRecord]:
    """Rejoins, newest first."""
    request = gossip_control_pb2.ListRejoinsRequest(
        node_id=chosen.node_id,
        store_id=chosen.store_id,
        cause=decision_pb2.Cause.ValueType(chosen.cause or 0),
        outcome=decision_pb2.RejoinOutcome.ValueType(chosen.outcome or 0),
        max_age_ms=0 if chosen.max_age is None else max(1, encode.milliseconds(chosen.max_age)),
        page_size=chosen.page_size or min(chosen.limit or 0, MOST_IN_PAGE),
    )
    return ListCall(
        GossipControlStub, "ListRejoins", request, lambda page: page.rejoins, decode.rejoin_record, chosen.limit
    )


def list_knowledge(
    store_id: str, peer_id: str, holds: bytes
) -> ListCall[peer_knowledge_pb2.PeerKnowledgeRow, PeerKnowledge]:
    """What the peers of a store provably hold."""
    request = peer_knowledge_pb2.GetKnowledgeRequest(store_id=store_id, peer_id=peer_id, holds_hash=holds)
    return ListCall(PeerKnowledgeStub, "GetKnowledge", request, lambda page: page.rows, decode_knowledge.peer_knowledge)


def list_lags(store_id: str, peer_id: str) -> ListCall[peer_knowledge_pb2.PeerLag, PeerLag]:
    """How far behind the peers of a store may be."""
    request = peer_knowledge_pb2.GetLagRequest(store_id=store_id, peer_id=peer_id)
    return ListCall(PeerKnowledgeStub, "GetLag", request, lambda page: page.peers, decode_knowledge.peer_lag)


def frontier(store_id: str) -> Call[peer_knowledge_pb2.GetStabilityFrontierResponse, Frontier]:
    """What all active peers of a store provably hold."""
    request = peer_knowledge_pb2.GetStabilityFrontierRequest(store_id=store_id)
    return Call(PeerKnowledgeStub, "GetStabilityFrontier", request, decode_knowledge.frontier)


def change_members(
    store_id: str, added: Sequence[Member], removed: Sequence[str], hold: float | None = None
) -> Call[peer_knowledge_pb2.ChangeMembersResponse, int]:
    """Change the membership of a store."""
    request = peer_knowledge_pb2.ChangeMembersRequest(
        store_id=store_id,
        added=map(encode.member, added),
        removed_peer_ids=removed,
        hold_ms=None if hold is None else encode.milliseconds(hold),
    )
    return Call(PeerKnowledgeStub, "ChangeMembers", request, decode_knowledge.active_count)


def undo_members(store_id: str) -> Call[peer_knowledge_pb2.ChangeMembersResponse, UndoneChange]:
    """Undo the newest change of the membership of a store."""
    request = peer_knowledge_pb2.ChangeMembersRequest(store_id=store_id, undo=True)
    return Call(PeerKnowledgeStub, "ChangeMembers", request, decode_knowledge.undone_change)
