"""From protobuf messages to presence queries and sync results; raises InvalidRequest for wrong fields."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gossipcontrol.server.core.event import SyncFinished
from gossipcontrol.server.core.presence.record import PeerState
from gossipcontrol.server.rpc.resume_token import ResumeTokens
from gossipcontrol.server.wire.limits import (
    ERROR_BYTES,
    ID_BYTES,
    RESULTS,
    Violations,
    check_count,
    check_enum,
    check_page_size,
    check_text,
    refuse,
)
from gossipcontrol.v1 import attach_pb2, gossip_control_pb2, liveness_pb2


@dataclass(frozen=True, slots=True)
class PeerQuery:
    """Which peers to list."""

    store_id: str
    state: PeerState | None
    after: str
    page_size: int


def peer_query(request: gossip_control_pb2.ListPeersRequest) -> PeerQuery:
    """What a ListPeers call asks for; raises InvalidRequest."""
    violations: Violations = []
    check_text(request.store_id, "store_id", ID_BYTES, violations, required=True)
    state = check_enum(request.state, PeerState, "state", violations) if request.state else None
    page_size = check_page_size(request.page_size, violations)
    check_text(request.page_token, "page_token", ID_BYTES, violations)
    refuse(violations)
    return PeerQuery(request.store_id, state, request.page_token, page_size)


@dataclass(frozen=True, slots=True)
class WatchQuery:
    """Which store to watch, and from which version on; None: from a snapshot."""

    store_id: str
    version: int | None
    resumed: bool
    """Whether the request has a resume token."""


def watch_query(request: gossip_control_pb2.WatchPeersRequest, resume_tokens: ResumeTokens) -> WatchQuery:
    """What a WatchPeers call asks for; raises InvalidRequest."""
    violations: Violations = []
    check_text(request.store_id, "store_id", ID_BYTES, violations, required=True)
    version, token = None, request.resume_token
    if token:
        try:
            version = resume_tokens.read(request.store_id, token)
        except ValueError:
            violations.append(("resume_token", "is not the token of an earlier answer about this store"))
    refuse(violations)
    return WatchQuery(request.store_id, version, bool(token))


def sync_finished(result: attach_pb2.SyncResult, node_id: str) -> SyncFinished:
    """The event of a SyncResult in the stream of a node; raises InvalidRequest."""
    violations: Violations = []
    if result.node_id not in ("", node_id):
        violations.append(("sync_result.node_id", f"must be empty or the attached node {node_id}"))
    event = _sync_finished(result, node_id, "sync_result.", violations)
    refuse(violations)
    return event


def syncs_finished(results: Sequence[attach_pb2.SyncResult]) -> list[SyncFinished]:
    """The events of the sync results of a PeerLiveness call; raises InvalidRequest."""
    violations: Violations = []
    if not check_count(len(results), "sync_results", RESULTS, violations):
        refuse(violations)
    events: list[SyncFinished] = []
    for index, result in enumerate(results):
        name = f"sync_results[{index}]."
        check_text(result.node_id, f"{name}node_id", ID_BYTES, violations, required=True)
        events.append(_sync_finished(result, result.node_id, name, violations))
    refuse(violations)
    return events


def _sync_finished(result: attach_pb2.SyncResult, node_id: str, name: str, violations: Violations) -> SyncFinished:
    check_text(result.store_id, f"{name}store_id", ID_BYTES, violations, required=True)
    check_text(result.peer_id, f"{name}peer_id", ID_BYTES, violations, required=True)
    check_text(result.error, f"{name}error", ERROR_BYTES, violations)
    return SyncFinished(node_id, result.store_id, result.peer_id, result.ok, result.error, result.nonce)


def known_versions(reports: Iterable[liveness_pb2.LivenessReport]) -> dict[str, int]:
    """The version that the sender holds of each store; 0 when one of its reports names none or they differ."""
    known: dict[str, int] = {}
    for report in reports:
        store_id, version = report.store_id, report.known_version
        if known.setdefault(store_id, version) != version:
            known[store_id] = 0
    return known
