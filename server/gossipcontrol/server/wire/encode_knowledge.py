"""From the answers of knowledge to protobuf messages."""

from __future__ import annotations

from collections.abc import Iterable

from gossipcontrol.server.core.knowledge.record import PeerKnowledge, PeerLag, Position
from gossipcontrol.server.wire.encode import age_ms
from gossipcontrol.v1 import peer_knowledge_pb2 as pb


def position_messages(positions: Iterable[Position]) -> list[pb.ChainPosition]:
    """Positions in chains."""
    return [
        pb.ChainPosition(author_id=author_id, position=position, hash=name, incarnation=incarnation)
        for author_id, position, name, incarnation in positions
    ]


def row_message(row: PeerKnowledge, now: float) -> pb.PeerKnowledgeRow:
    """What one peer provably holds."""
    return pb.PeerKnowledgeRow(
        peer_id=row.peer_id,
        positions=position_messages(row.positions),
        proof_age_ms=None if row.proved_at is None else age_ms(row.proved_at, now),
        incarnation=row.incarnation,
        held=row.held,
        lives=row.incarnations,
        active=row.active,
        forks=row.forks,
    )


def lag_message(lag: PeerLag, now: float) -> pb.PeerLag:
    """How far behind one peer provably may be."""
    return pb.PeerLag(
        peer_id=lag.peer_id,
        behind=lag.behind,
        authors=[pb.AuthorLag(author_id=author_id, behind=behind) for author_id, behind in lag.authors],
        proof_age_ms=None if lag.proved_at is None else age_ms(lag.proved_at, now),
        active=lag.active,
    )
