"""What nodes report of their peers, and what the service answers. Ages are seconds before the message is sent."""

from __future__ import annotations

from dataclasses import dataclass

from gossipcontrol.client.presence import StoreView


@dataclass(frozen=True, slots=True)
class PeerObservation:
    """What one node heard of one peer in one store."""

    peer_id: str
    heard_age: float | None = None
    """Seconds since the last message that the peer authored; None: it was never heard."""
    heard_count: int = 0
    """Messages of it that were heard since the node started."""
    direct: bool = False
    """Whether the last one came from the peer itself, a neighbour."""


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A peer in the node's active view."""

    peer_id: str
    up_age: float
    """Seconds since it came up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LivenessReport:
    """What one node reports of one store."""

    node_id: str
    store_id: str
    peers: tuple[PeerObservation, ...] = ()
    """At most 1000, each once."""
    neighbors: tuple[Neighbor, ...] = ()
    """The whole active view."""
    broadcast_count: int = 0
    """Messages that the node broadcast since it started."""
    unsynced_writes: int = 0
    """Local writes that are not yet known to be held elsewhere."""
    going_to_sleep: bool = False
    """Its silence from now on is no failure."""
    known_version: int = 0
    """Version of the view that the sender holds; 0: none."""


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """The service asks a node to sync directly with a peer that is never its neighbour."""

    node_id: str
    store_id: str
    peer_id: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SyncResult:
    """How a direct sync went."""

    node_id: str
    store_id: str
    peer_id: str
    error: str = ""
    """What went wrong; empty when the two are in sync."""


@dataclass(frozen=True, slots=True)
class LivenessResult:
    """The answer to liveness reports."""

    views: tuple[StoreView, ...]
    """One per store that was reported."""
    syncs: tuple[SyncRequest, ...]
    next_report_in: float
    """Seconds until the service wants the next report."""
