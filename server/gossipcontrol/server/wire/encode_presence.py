"""From presence to protobuf messages."""

from __future__ import annotations

from collections.abc import Sequence

from gossipcontrol.server.core.deciding.record import StoreRecord
from gossipcontrol.server.core.finding import SyncWanted
from gossipcontrol.server.core.presence.record import LivenessCounts, PeerRecord, View
from gossipcontrol.server.rpc.cursor import PresenceUpdate
from gossipcontrol.server.rpc.resume_token import ResumeTokens
from gossipcontrol.server.wire import encode
from gossipcontrol.server.wire.encode import age_ms
from gossipcontrol.v1 import attach_pb2, gossip_control_pb2, liveness_pb2

LISTED_PEERS = 1000
"""Most peers in one view, so that the answer to a hundred reports stays below what clients receive."""


def peer_message(peer: PeerRecord, now: float) -> liveness_pb2.PeerView:
    """One peer."""
    return liveness_pb2.PeerView(
        peer_id=peer.peer_id,
        state=int(peer.state),  # type: ignore[arg-type] # the numbers are the contract's
        heard_age_ms=None if peer.heard_at is None else age_ms(peer.heard_at, now),
        observers=peer.observers,
    )


def view_message(view: View, resume_tokens: ResumeTokens, now: float, settling: float = 0.0) -> liveness_pb2.StoreView:
    """A store's view, or what changed of it; ``settling``: seconds for which it may lack peers."""
    message = _store_view(view.store_id, view.peers, view, resume_tokens, now)
    message.settling_ms = encode.span_ms(settling)
    return message


def update_message(
    store_id: str, update: PresenceUpdate, resume_tokens: ResumeTokens, now: float, settling: float = 0.0
) -> gossip_control_pb2.WatchPeersResponse:
    """One update of WatchPeers; ``settling``: seconds for which it may lack peers."""
    view = _store_view(store_id, update.peers, update, resume_tokens, now)
    view.settling_ms = encode.span_ms(settling)
    return gossip_control_pb2.WatchPeersResponse(
        view=view,
        resume_token=resume_tokens.token(store_id, update.version) if update.complete else "",
        lagged=update.lagged,
    )


def _store_view(
    store_id: str, peers: Sequence[PeerRecord], of: View | PresenceUpdate, resume_tokens: ResumeTokens, now: float
) -> liveness_pb2.StoreView:
    """These peers, with the version and the removals of a view or an update."""
    return liveness_pb2.StoreView(
        store_id=store_id,
        peers=[peer_message(peer, now) for peer in peers],
        version=resume_tokens.number(of.version),
        delta=of.delta,
        removed_peer_ids=of.removed,
    )


def sync_message(wanted: SyncWanted, addresses: Sequence[str]) -> liveness_pb2.SyncWithPeer:
    """The request to sync directly with a peer."""
    return liveness_pb2.SyncWithPeer(
        node_id=wanted.node_id,
        store_id=wanted.store_id,
        peer_id=wanted.peer_id,
        addresses=addresses,
        nonce=wanted.nonce,
    )


def sync_command(wanted: SyncWanted, addresses: Sequence[str]) -> attach_pb2.AttachResponse:
    """The command to sync directly with a peer."""
    return attach_pb2.AttachResponse(sync=sync_message(wanted, addresses))


def store_message(
    store: StoreRecord, counts: LivenessCounts, stalest_at: float | None, now: float
) -> gossip_control_pb2.Store:
    """One store with its nodes and its presence."""
    message = encode.store_message(store, now)
    for state, count in sorted(counts.peers.items()):
        if count:
            message.peer_counts.add(state=int(state), count=count)
    if stalest_at is not None:
        message.stalest_age_ms = age_ms(stalest_at, now)
    message.pairs_unsynced = counts.pairs_unsynced
    message.partitioned = bool(counts.partitioned)
    return message
