"""What liveness shows of its state."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple


class PeerState(IntEnum):
    """Presence of a peer in a store; numbers equal those of ``gossipcontrol.v1``."""

    ONLINE = 1
    SUSPECT = 2
    OFFLINE = 3
    ASLEEP = 4
    LEFT = 5
    UNKNOWN = 6


class PeerRecord(NamedTuple):
    """One peer of a store, fused over its observers."""

    peer_id: str
    state: PeerState
    heard_at: float | None
    """Service time of its last sign of life; None when there was none."""
    observers: int
    """Nodes that have heard it, itself excepted."""


@dataclass(frozen=True, slots=True)
class View:
    """A store's presence at one version, or what changed since another."""

    store_id: str
    version: int
    peers: tuple[PeerRecord, ...]
    """By id: all, or as many as were asked for, those heard last; of a delta, those that changed."""
    delta: bool = False
    removed: tuple[str, ...] = ()
    """Peers gone since, of a delta."""


@dataclass(frozen=True, slots=True)
class LivenessCounts:
    """The gauges of liveness, each read in constant time."""

    peers: dict[PeerState, int]
    """(store, peer) by state."""
    pairs_unsynced: int
    """Pairs that are online and overdue for a direct sync."""
    partitioned: int
    """Stores whose live nodes fall apart."""
