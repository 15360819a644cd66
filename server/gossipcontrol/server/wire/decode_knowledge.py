"""From protobuf messages to the events and queries of knowledge; raises InvalidRequest for wrong fields."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gossipcontrol.server.core.knowledge.event import IntentionsRecorded, Member, MembersChanged
from gossipcontrol.server.core.knowledge.intention import Intention
from gossipcontrol.server.wire.incarnation import check_incarnation
from gossipcontrol.server.wire.limits import (
    DEPENDENCIES,
    HASH_BYTES,
    ID_BYTES,
    INTENTIONS,
    MEMBERS,
    SHORT_ID_BYTES,
    SIGNATURE_BYTES,
    Violations,
    check_age,
    check_count,
    check_hash,
    check_page_size,
    check_text,
    check_texts,
    refuse,
)
from gossipcontrol.v1 import peer_knowledge_pb2 as pb


def intentions_recorded(
    batch: pb.IntentionBatch, prefix: str, now: float, sender_id: str = "", sequence: int = 0
) -> IntentionsRecorded:
    """The event of a batch; ``prefix`` is its path in its message, ``now`` the Unix time. Raises InvalidRequest."""
    violations: Violations = []
    check_text(batch.store_id, f"{prefix}store_id", ID_BYTES, violations, required=True)
    check_text(sender_id, "sender_id", ID_BYTES, violations, required=sequence > 0)
    intentions: list[Intention] = []
    if check_count(len(batch.intentions), f"{prefix}intentions", INTENTIONS, violations):
        for index, one in enumerate(batch.intentions):
            if not _is_valid(one):
                _check_intention(one, f"{prefix}intentions[{index}].", now, violations)
            intentions.append(_intention(one))
    refuse(violations)
    return IntentionsRecorded(batch.store_id, tuple(intentions), sender_id, sequence)


def signatures(batch: pb.IntentionBatch, prefix: str) -> list[bytes]:
    """The signature of each intention; raises InvalidRequest. Read only where one is needed, for it costs time."""
    found = [one.signature for one in batch.intentions]
    violations: Violations = []
    for index, one in enumerate(found):
        if len(one) > SIGNATURE_BYTES:
            what = f"must be at most {SIGNATURE_BYTES} bytes, is {len(one)}"
            violations.append((f"{prefix}intentions[{index}].signature", what))
    refuse(violations)
    return found


def _intention(one: pb.Intention) -> Intention:
    return Intention(
        one.author_id, one.hash, one.store_prev, tuple(one.dependencies), one.acknowledgement, one.incarnation
    )


def _is_valid(one: pb.Intention) -> bool:
    """Whether an intention is certainly valid, found out fast: nearly all are, and the others get the full check."""
    lengths = [len(name) for name in one.dependencies]
    return (
        0 < len(one.author_id) <= ID_BYTES
        and one.author_id.isascii()
        and 0 < len(one.hash) <= HASH_BYTES
        and len(one.store_prev) <= HASH_BYTES
        and not one.incarnation
        and len(lengths) <= DEPENDENCIES
        and (not lengths or 0 < min(lengths) <= max(lengths) <= HASH_BYTES)
        and one.hash != one.store_prev
        and one.hash not in one.dependencies
    )


def _check_intention(one: pb.Intention, prefix: str, now: float, violations: Violations) -> None:
    check_text(one.author_id, f"{prefix}author_id", ID_BYTES, violations, required=True)
    check_hash(one.hash, f"{prefix}hash", violations, required=True)
    check_hash(one.store_prev, f"{prefix}store_prev", violations)
    check_text(one.incarnation, f"{prefix}incarnation", SHORT_ID_BYTES, violations)
    check_incarnation(one.incarnation, f"{prefix}incarnation", now, violations)
    if not check_count(len(one.dependencies), f"{prefix}dependencies", DEPENDENCIES, violations):
        return
    for index, name in enumerate(one.dependencies):
        check_hash(name, f"{prefix}dependencies[{index}]", violations, required=True)
        if name == one.hash:
            violations.append((f"{prefix}dependencies[{index}]", "must not be the intention's own hash"))
    if one.hash and one.hash == one.store_prev:
        violations.append((f"{prefix}store_prev", "must not be the intention's own hash"))


def members_changed(
    request: pb.ChangeMembersRequest, now: float, hold: float, label_of: Callable[[str], str]
) -> MembersChanged:
    """The event of a ChangeMembers call; raises InvalidRequest.

    ``now`` is the Unix time, ``hold`` for how long the removed still count if the request does not say, and
    ``label_of`` gives the incarnation that a peer is in.
    """
    violations: Violations = []
    check_text(request.store_id, "store_id", ID_BYTES, violations, required=True)
    added = check_texts([one.peer_id for one in request.added], "added", MEMBERS, ID_BYTES, violations)
    removed = check_texts(request.removed_peer_ids, "removed_peer_ids", MEMBERS, ID_BYTES, violations)
    for index, one in enumerate(request.added[:MEMBERS]):
        check_text(one.incarnation, f"added[{index}].incarnation", SHORT_ID_BYTES, violations)
        known = "" if one.lower else label_of(one.peer_id)
        check_incarnation(one.incarnation, f"added[{index}].incarnation", now, violations, known)
    if request.HasField("hold_ms"):
        check_age(request.hold_ms, "hold_ms", violations)
        hold = request.hold_ms / 1000
    if request.undo and (request.added or request.removed_peer_ids):
        violations.append(("undo", "must not be given with added or removed_peer_ids"))
    if set(added) & set(removed):
        violations.append(("removed_peer_ids", "must not name a peer that is added"))
    if not request.added and not request.removed_peer_ids and not request.undo:
        violations.append(("added", "must be given unless removed_peer_ids are given, or undo"))
    refuse(violations)
    members = tuple(Member(one.peer_id, one.incarnation, one.lower) for one in request.added)
    return MembersChanged(request.store_id, members, removed, hold, request.undo)


@dataclass(frozen=True, slots=True)
class PeerQuery:
    """Which peers of a store to list."""

    store_id: str
    peer_id: str
    holds: bytes
    after: str
    page_size: int


def knowledge_query(request: pb.GetKnowledgeRequest) -> PeerQuery:
    """What a GetKnowledge call asks for; raises InvalidRequest."""
    return _peer_query(request, request.holds_hash)


def lag_query(request: pb.GetLagRequest) -> PeerQuery:
    """What a GetLag call asks for; raises InvalidRequest."""
    return _peer_query(request, b"")


def _peer_query(request: pb.GetKnowledgeRequest | pb.GetLagRequest, holds: bytes) -> PeerQuery:
    violations: Violations = []
    check_text(request.store_id, "store_id", ID_BYTES, violations, required=True)
    check_text(request.peer_id, "peer_id", ID_BYTES, violations)
    check_hash(holds, "holds_hash", violations)
    page_size = check_page_size(request.page_size, violations)
    check_text(request.page_token, "page_token", ID_BYTES, violations)
    refuse(violations)
    return PeerQuery(request.store_id, request.peer_id, holds, request.page_token, page_size)


def check_frontier(request: pb.GetStabilityFrontierRequest) -> None:
    """Raise InvalidRequest when a GetStabilityFrontier call is wrong."""
    violations: Violations = []
    check_text(request.store_id, "store_id", ID_BYTES, violations, required=True)
    refuse(violations)
