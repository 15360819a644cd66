"""Values as protobuf requests to the service."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from gossipcontrol.client.decision import NetworkChange, PastTrigger, RejoinTrigger
from gossipcontrol.client.intention import Intention, IntentionBatch, Member
from gossipcontrol.client.liveness import LivenessReport, Neighbor, PeerObservation, SyncResult
from gossipcontrol.v1 import attach_pb2, gossip_control_pb2, liveness_pb2, peer_knowledge_pb2
from gossipcontrol.v1.attach_pb2 import Capability
from gossipcontrol.v1.decision_pb2 import Cause
from gossipcontrol.v1.gossip_control_pb2 import NetworkChangeKind, Platform


def milliseconds(seconds: float) -> int:
    """A duration as the service reads it."""
    return max(0, round(seconds * 1000))


def rejoin(trigger: RejoinTrigger) -> gossip_control_pb2.RejoinRequest:
    """Rejoin stores of a node."""
    return gossip_control_pb2.RejoinRequest(
        request_id=trigger.request_id,
        node_id=trigger.node_id,
        store_ids=trigger.store_ids,
        cause=Cause.ValueType(trigger.cause),
        park_unknown=trigger.park,
    )


def network_change(change: NetworkChange) -> gossip_control_pb2.ReportNetworkChangeRequest:
    """A change of a host or of nodes."""
    return gossip_control_pb2.ReportNetworkChangeRequest(
        request_id=change.request_id,
        host_id=change.host_id,
        node_ids=change.node_ids,
        kind=NetworkChangeKind.ValueType(change.kind),
        boot_id=change.boot_id,
        generation=change.generation,
        platform=Platform.ValueType(change.platform or 0),
        age_ms=milliseconds(change.age),
        detail=change.detail,
        park_unknown=change.park,
        slept_ms=milliseconds(change.slept),
    )


def explain(trigger: RejoinTrigger | NetworkChange | PastTrigger) -> gossip_control_pb2.ExplainRequest:
    """A question about a trigger."""
    match trigger:
        case RejoinTrigger():
            return gossip_control_pb2.ExplainRequest(rejoin=rejoin(trigger))
        case NetworkChange():
            return gossip_control_pb2.ExplainRequest(network_change=network_change(trigger))
        case PastTrigger():
            past = gossip_control_pb2.PastTrigger(request_id=trigger.request_id, rejoin_id=trigger.rejoin_id)
            return gossip_control_pb2.ExplainRequest(past=past)


def liveness(
    reports: Sequence[LivenessReport], sync_results: Sequence[SyncResult]
) -> gossip_control_pb2.PeerLivenessRequest:
    """Reports of any number of nodes and stores."""
    return gossip_control_pb2.PeerLivenessRequest(
        reports=map(_report, reports), sync_results=map(_sync_result, sync_results)
    )


def _report(report: LivenessReport) -> liveness_pb2.LivenessReport:
    return liveness_pb2.LivenessReport(
        node_id=report.node_id,
        store_id=report.store_id,
        heard=_heard(report.peers),
        neighbors=map(_neighbor, report.neighbors),
        broadcast_count=report.broadcast_count,
        unsynced_writes=report.unsynced_writes,
        going_to_sleep=report.going_to_sleep,
        known_version=report.known_version,
    )


def _heard(peers: Sequence[PeerObservation]) -> liveness_pb2.PeersHeard:
    """In columns, those that were never heard last."""
    heard = [(peer, peer.heard_age) for peer in peers if peer.heard_age is not None]
    unheard = [peer.peer_id for peer in peers if peer.heard_age is None]
    return liveness_pb2.PeersHeard(
        peer_ids=[*(peer.peer_id for peer, _ in heard), *unheard],
        heard_ages_ms=[milliseconds(age) for _, age in heard],
        heard_counts=[peer.heard_count for peer, _ in heard],
        direct=[place for place, (peer, _) in enumerate(heard) if peer.direct],
    )


def _neighbor(neighbor: Neighbor) -> liveness_pb2.Neighbor:
    return liveness_pb2.Neighbor(peer_id=neighbor.peer_id, up_age_ms=milliseconds(neighbor.up_age))


def _sync_result(result: SyncResult) -> attach_pb2.SyncResult:
    return attach_pb2.SyncResult(
        node_id=result.node_id,
        store_id=result.store_id,
        peer_id=result.peer_id,
        ok=not result.error,
        error=result.error,
    )


def intention_batch(batch: IntentionBatch) -> peer_knowledge_pb2.IntentionBatch:
    """Intentions of one store."""
    return peer_knowledge_pb2.IntentionBatch(store_id=batch.store_id, intentions=map(_intention, batch.intentions))


def _intention(intention: Intention) -> peer_knowledge_pb2.Intention:
    return peer_knowledge_pb2.Intention(
        author_id=intention.author_id,
        hash=intention.hash,
        store_prev=intention.store_prev,
        dependencies=intention.dependencies,
        acknowledgement=intention.acknowledgement,
        incarnation=intention.incarnation,
        signature=intention.signature,
    )


def member(one: Member) -> peer_knowledge_pb2.Member:
    """A peer of a store."""
    return peer_knowledge_pb2.Member(peer_id=one.peer_id, incarnation=one.incarnation, lower=one.lower)


def capabilities(numbers: Sequence[int]) -> list[Capability.ValueType]:
    """What an agent can do."""
    return [Capability.ValueType(number) for number in numbers]


def new_request_id() -> str:
    """An id that makes a call idempotent."""
    return str(uuid.uuid4())
