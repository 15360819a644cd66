"""Protobuf messages of PeerKnowledge as values."""

from __future__ import annotations

from gossipcontrol.client.decode import seconds
from gossipcontrol.client.intention import (
    AuthorLag,
    ChainPosition,
    Frontier,
    PeerKnowledge,
    PeerLag,
    RecordResult,
    UndoneChange,
)
from gossipcontrol.v1 import peer_knowledge_pb2 as pb


def record_result(message: pb.RecordIntentionsResponse) -> RecordResult:
    """What became of recorded batches."""
    return RecordResult(
        message.last_sequence, message.recorded, message.known, message.floating, message.invalid, message.unproven
    )


def peer_knowledge(message: pb.PeerKnowledgeRow) -> PeerKnowledge:
    """What one peer provably holds."""
    return PeerKnowledge(
        peer_id=message.peer_id,
        positions=tuple(map(_position, message.positions)),
        proof_age=seconds(message.proof_age_ms) if message.HasField("proof_age_ms") else None,
        incarnation=message.incarnation,
        held=message.held,
        lives=message.lives,
        active=message.active,
        forks=message.forks,
    )


def peer_lag(message: pb.PeerLag) -> PeerLag:
    """How far behind one peer provably may be."""
    return PeerLag(
        peer_id=message.peer_id,
        behind=message.behind,
        authors=tuple(AuthorLag(one.author_id, one.behind) for one in message.authors),
        proof_age=seconds(message.proof_age_ms) if message.HasField("proof_age_ms") else None,
        active=message.active,
    )


def frontier(message: pb.GetStabilityFrontierResponse) -> Frontier:
    """What all active peers provably hold."""
    return Frontier(tuple(map(_position, message.frontier)), message.unstable, message.at_risk)


def active_count(message: pb.ChangeMembersResponse) -> int:
    """Number of active peers."""
    return message.active


def undone_change(message: pb.ChangeMembersResponse) -> UndoneChange:
    """What an undo did."""
    return UndoneChange(tuple(message.restored_peer_ids), message.active, message.frontier_may_have_risen)


def _position(message: pb.ChainPosition) -> ChainPosition:
    return ChainPosition(message.author_id, message.position, message.hash, message.incarnation)
