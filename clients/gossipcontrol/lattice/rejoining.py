"""Whether a Lattice node may dial its peers now. Pure.

``ReconnectPeers`` dials every peer of the store that is not connected, and a dial that fails makes the node deaf to
that peer until the peer dials in, or the daemon is restarted (iroh-gossip ``net.rs``: a failed dial leaves the peer
pending with a queue that is not empty, and only an empty one is dialled).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import Enum, auto

from gossipcontrol.client.enumeration import PeerState
from gossipcontrol.client.presence import Peer
from gossipcontrol.lattice.calls import ACTIVE, StorePeer

DEPARTED = frozenset({PeerState.ASLEEP, PeerState.LEFT})
"""They said so themselves."""


class Step(Enum):
    """What a rejoin does."""

    RECONNECT = auto()
    """Dial, then sync."""
    SYNC = auto()
    """Sync alone: a dial would do more harm than good."""
    WAIT = auto()
    """Nothing: nobody is there to be reached."""


def plan(node_id: str, peers: Sequence[StorePeer], view: Sequence[Peer], hints: Collection[str]) -> Step:
    """What a rejoin of this node does, given its daemon's peers, the service's view and the peers that it names.

    A peer that is known to be away is not dialled for its own sake. Where others are missing who may be there, dialling
    all is worth it if the node has no neighbour at all, or if the service names one of them as there.
    """
    members = [one for one in peers if one.peer_id != node_id and one.status in ACTIVE]
    missing = {one.peer_id for one in members if not one.online}
    if not missing:
        return Step.RECONNECT
    away = missing & away_peers(node_id, view)
    present = missing - away
    has_neighbor = len(missing) < len(members)
    if not present:
        return Step.SYNC if has_neighbor else Step.WAIT
    if away and has_neighbor and present.isdisjoint(hints):
        return Step.SYNC
    return Step.RECONNECT


def away_peers(node_id: str, view: Sequence[Peer]) -> set[str]:
    """The peers that the service knows to be away: they said so, or are offline.

    OFFLINE counts only where the service hears anybody else of the store. A service beside this node alone takes all
    others for offline after a cut of this very node.
    """
    states: Mapping[str, PeerState] = {one.peer_id: one.state for one in view if one.peer_id != node_id}
    hears_others = PeerState.ONLINE in states.values()
    return {
        peer_id
        for peer_id, state in states.items()
        if state in DEPARTED or (hears_others and state is PeerState.OFFLINE)
    }
