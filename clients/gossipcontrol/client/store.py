"""What the service knows of a store. Ages are seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gossipcontrol.client.enumeration import PeerState


@dataclass(frozen=True, slots=True)
class StoreNode:
    """One node of a store."""

    node_id: str
    host_id: str
    """Empty when it has none."""
    attached: bool
    neighbors: int
    """As many as it reported last."""
    report_age: float | None
    """Seconds since its last liveness report for the store; None when it sent none."""
    name: str = ""
    """What people call it, as its agent said; empty when it has no name."""


@dataclass(frozen=True, slots=True)
class Store:
    """One store."""

    store_id: str
    nodes: tuple[StoreNode, ...]
    """By id; at most 100."""
    node_count: int
    attached_count: int
    peer_count: int
    peer_counts: Mapping[PeerState, int]
    """Number of peers by state; only states that occur."""
    rejoin_age: float | None
    """Seconds since the last rejoin in it started; None when none has."""
    stalest_age: float | None
    """Seconds since the last sign of life of the stalest live peer; None when there is none."""
    pairs_unsynced: int
    """Online pairs that are overdue for a direct sync."""
    partitioned: bool
    rejoins_running: int
    rejoins_waiting: int
