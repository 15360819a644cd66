"""The values in which liveness shows its state."""

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


AWAY = frozenset({PeerState.OFFLINE, PeerState.LEFT, PeerState.ASLEEP})
"""The states of a peer that is thought to take no part now."""


class PeerRecord(NamedTuple):
    """One peer of a store, fused over its observers."""

    peer_id: str
    state: PeerState
    heard_at: float | None
    """Service time of its last sign of life; None when there was none."""
    observers: int
    """Number of other nodes that have heard it."""


@dataclass(frozen=True, slots=True)
class View:
    """A store's presence at one version, or what changed since another version."""

    store_id: str
    version: int
    peers: tuple[PeerRecord, ...]
    """Ordered by id. Full view: all peers, or the ``most`` heard last. Delta: those that changed."""
    delta: bool = False
    removed: tuple[str, ...] = ()
    """Delta: the peers forgotten since."""


@dataclass(frozen=True, slots=True)
class LivenessCounts:
    """The gauges of liveness, each read in constant time."""

    peers: dict[PeerState, int]
    """State -> number of (store, peer)."""
    pairs_unsynced: int
    """Pairs of online peers that are overdue for a direct sync."""
    partitioned: int
    """Stores that are partitioned."""
