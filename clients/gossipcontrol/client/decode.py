"""Protobuf messages of the service as values."""

from __future__ import annotations

from collections.abc import Iterable

from gossipcontrol.client.decision import (
    Decision,
    ExplainResult,
    Explanation,
    RejoinRecord,
    RestartRecord,
    SeenState,
    TriggerRecord,
    TriggerResult,
)
from gossipcontrol.client.enumeration import Cause, DecisionKind, Outcome, PeerState, Rule, Rung
from gossipcontrol.client.liveness import LivenessResult, SyncRequest
from gossipcontrol.client.presence import Peer, PresenceUpdate, StoreView
from gossipcontrol.client.store import Store, StoreNode
from gossipcontrol.v1 import decision_pb2, gossip_control_pb2, liveness_pb2


def seconds(milliseconds: int) -> float:
    """A duration."""
    return milliseconds / 1000


def decision(message: decision_pb2.Decision) -> Decision:
    """One decision."""
    return Decision(
        node_id=message.node_id,
        store_id=message.store_id,
        kind=DecisionKind(message.kind),
        rejoin_id=message.rejoin_id,
        start_in=seconds(message.start_in_ms),
        message=message.message,
        rule=Rule(message.rule),
        node_name=message.node_name,
    )


def trigger_result(
    message: gossip_control_pb2.RejoinResponse | gossip_control_pb2.ReportNetworkChangeResponse,
) -> TriggerResult:
    """The answer to a trigger."""
    return TriggerResult(
        decisions=tuple(map(decision, message.decisions)),
        replayed=message.replayed,
        decision_count=message.decision_count,
    )


def rejoin_record(message: decision_pb2.Rejoin) -> RejoinRecord:
    """One rejoin."""
    return RejoinRecord(
        rejoin_id=message.rejoin_id,
        node_id=message.node_id,
        store_id=message.store_id,
        outcome=Outcome(message.outcome),
        requested_age=seconds(message.requested_age_ms),
        started_age=seconds(message.started_age_ms) if message.HasField("started_age_ms") else None,
        ended_age=seconds(message.ended_age_ms) if message.HasField("ended_age_ms") else None,
        verified_after=seconds(message.verified_after_ms) if message.HasField("verified_after_ms") else None,
        attempts=message.attempts,
        detail=message.detail,
        triggers=tuple(map(_trigger_record, message.triggers)),
        trigger_count=message.trigger_count,
        rung=Rung(message.rung) if message.rung else None,
        bootstrap_peers=tuple(message.bootstrap_peers),
        node_name=message.node_name,
        restart=_restart_record(message.restart) if message.HasField("restart") else None,
    )


def _restart_record(message: decision_pb2.RestartRecord) -> RestartRecord:
    return RestartRecord(
        age=seconds(message.age_ms),
        exit_code=message.exit_code if message.HasField("exit_code") else None,
        duration=seconds(message.duration_ms),
        error=message.error,
    )


def _trigger_record(message: decision_pb2.TriggerRecord) -> TriggerRecord:
    return TriggerRecord(
        cause=Cause(message.cause),
        kind=DecisionKind(message.kind),
        age=seconds(message.age_ms),
        request_id=message.request_id,
        reason=message.reason,
        rule=Rule(message.rule),
        seen=_seen_state(message.seen) if message.HasField("seen") else None,
        evidence=message.evidence,
    )


def _seen_state(message: decision_pb2.SeenState) -> SeenState:
    return SeenState(
        attached=message.attached,
        started_age=seconds(message.started_age_ms) if message.HasField("started_age_ms") else None,
        neighbor_age=seconds(message.neighbor_age_ms) if message.HasField("neighbor_age_ms") else None,
        waiting_rejoin_id=message.waiting_rejoin_id,
        waiting_count=message.waiting_count,
    )


def explain_result(message: gossip_control_pb2.ExplainResponse) -> ExplainResult:
    """The answer to a question."""
    return ExplainResult(
        decisions=tuple(map(decision, message.decisions)),
        explanations=tuple(map(_explanation, message.explanations)),
        rejoins=tuple(map(rejoin_record, message.rejoins)),
        decision_count=message.decision_count,
        replayed=message.replayed,
        refused_retry=seconds(message.refused_retry_ms) if message.HasField("refused_retry_ms") else None,
    )


def _explanation(message: gossip_control_pb2.Explanation) -> Explanation:
    return Explanation(
        decision=decision(message.decision),
        cause=Cause(message.cause),
        age=seconds(message.age_ms),
        seen=_seen_state(message.seen) if message.HasField("seen") else None,
        message=message.message,
        evidence=message.evidence,
    )


def store(message: gossip_control_pb2.Store) -> Store:
    """One store."""
    return Store(
        store_id=message.store_id,
        nodes=tuple(map(_store_node, message.nodes)),
        node_count=message.node_count,
        attached_count=message.attached_count,
        peer_count=message.peer_count,
        peer_counts={PeerState(count.state): count.count for count in message.peer_counts},
        rejoin_age=seconds(message.rejoin_age_ms) if message.HasField("rejoin_age_ms") else None,
        stalest_age=seconds(message.stalest_age_ms) if message.HasField("stalest_age_ms") else None,
        pairs_unsynced=message.pairs_unsynced,
        partitioned=message.partitioned,
        rejoins_running=message.rejoins_running,
        rejoins_waiting=message.rejoins_waiting,
    )


def _store_node(message: gossip_control_pb2.StoreNode) -> StoreNode:
    return StoreNode(
        node_id=message.node_id,
        host_id=message.host_id,
        attached=message.attached,
        neighbors=message.neighbors,
        report_age=seconds(message.report_age_ms) if message.HasField("report_age_ms") else None,
        name=message.name,
    )


def peer(message: liveness_pb2.PeerView) -> Peer:
    """One peer."""
    return Peer(
        peer_id=message.peer_id,
        state=PeerState(message.state),
        heard_age=seconds(message.heard_age_ms) if message.HasField("heard_age_ms") else None,
        observers=message.observers,
        name=message.name,
    )


def store_view(message: liveness_pb2.StoreView) -> StoreView:
    """A view, or what changed of it."""
    return StoreView(
        store_id=message.store_id,
        peers=tuple(map(peer, message.peers)),
        version=message.version,
        delta=message.delta,
        removed_peer_ids=tuple(message.removed_peer_ids),
        settling=seconds(message.settling_ms),
    )


def presence_update(message: gossip_control_pb2.WatchPeersResponse) -> PresenceUpdate:
    """One message of a presence stream."""
    return PresenceUpdate(store_view(message.view), message.resume_token, message.lagged)


def liveness_result(message: gossip_control_pb2.PeerLivenessResponse) -> LivenessResult:
    """The answer to liveness reports."""
    return LivenessResult(
        views=tuple(map(store_view, message.views)),
        syncs=tuple(map(_sync_request, message.syncs)),
        next_report_in=seconds(message.next_report_ms),
    )


def _sync_request(message: liveness_pb2.SyncWithPeer) -> SyncRequest:
    return SyncRequest(message.node_id, message.store_id, message.peer_id, tuple(message.addresses))


def causes(numbers: Iterable[int]) -> list[Cause]:
    """The causes of a command."""
    return [Cause(number) for number in numbers]
