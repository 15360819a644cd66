"""What the core shows of its state: frozen snapshots for lists and metrics."""

from __future__ import annotations

from dataclasses import dataclass

from gossipcontrol.server.core.decision import Cause, DecisionKind, Outcome, Rule, Rung


@dataclass(frozen=True, slots=True)
class TriggerRecord:
    """One trigger of a rejoin, as it was decided."""

    cause: Cause
    kind: DecisionKind
    rule: Rule
    arrived_at: float
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class RejoinRecord:
    """One rejoin with the triggers that share it; instants are service time."""

    rejoin_id: str
    node_id: str
    store_id: str
    outcome: Outcome
    requested_at: float
    due_at: float
    """When it starts or expires, while it waits or is parked."""
    started_at: float | None
    """Start of the last attempt."""
    ended_at: float | None
    verified_after: float | None
    """Seconds from the first start to the proof."""
    attempts: int
    rung: Rung
    detail: str
    triggers: tuple[TriggerRecord, ...]
    """Oldest first; the first and the newest 15 are kept."""
    trigger_count: int
    bootstrap: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StoreNode:
    """One node of a store."""

    node_id: str
    host_id: str
    attached: bool
    neighbors: int
    reported_at: float | None


@dataclass(frozen=True, slots=True)
class StoreRecord:
    """One store."""

    store_id: str
    nodes: tuple[StoreNode, ...]
    """By id, at most 100."""
    node_count: int
    peer_count: int
    rejoin_at: float | None


@dataclass(frozen=True, slots=True)
class PeerRecord:
    """One peer of a store, fused over its observers."""

    peer_id: str
    heard_at: float | None
    observers: int


@dataclass(frozen=True, slots=True)
class Counts:
    """Gauges of the core, each read in constant time."""

    attached: int
    """Agents attached."""
    nodes: int
    stores: int
    peers: int
    """(store, peer) pairs remembered."""
    queued: int
    """Rejoins that wait for their window or their turn."""
    parked: int
    running: int
