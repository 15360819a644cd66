"""The parameters of liveness, with their defaults."""

from __future__ import annotations

from dataclasses import dataclass

from gossipcontrol.server.core.parameter import check_positive


@dataclass(frozen=True, slots=True, kw_only=True)
class LivenessParameters:
    """What an operator may tune. Durations are seconds, sizes are counts."""

    report_interval: float = 2.0
    """Interval between two reports of a node while the service has little to do."""
    report_ceiling: float = 15.0
    """Longest interval a loaded service asks for; at most half of suspect_ceiling, or healthy peers look silent."""
    report_rate: float = 2000.0
    """Store reports per second over all nodes that the service accepts; the report interval grows to stay below."""
    suspect_floor: float = 3.0
    """A peer heard more recently than this is never suspected, however steady its rhythm."""
    suspect_ceiling: float = 30.0
    """A peer silent for this long is always suspected, whatever its rhythm."""
    suspect_deviations: float = 8.0
    """Deviations above its mean peak of silence that make a peer suspected; fewer: sooner, more false positives."""
    offline_after: float = 30.0
    """How long a suspected peer may stay silent before it counts as offline."""
    peers_per_store: int = 10_000
    """Most peers remembered in one store; the one longest unheard is evicted first."""
    peer_limit: int = 2_000_000
    """Most (store, peer) remembered over all stores."""
    peer_age: float = 86_400.0
    """How long an unheard peer is remembered."""
    change_limit: int = 1000
    """Presence changes kept per store for watchers and deltas; a reader that missed more gets a snapshot."""

    isolated_after: float = 3.0
    """How long a node must be without fresh neighbours before it counts as isolated."""
    rot_window: float = 30.0
    """Window over which broadcasts are compared with what was heard of them."""
    rot_messages: int = 3
    """Fewest broadcasts in the window that prove anything."""
    unsynced_after: float = 30.0
    """How long local writes may stay unsynced with too few peers online."""
    few_peers: int = 1
    """Fewer other peers online than this are too few."""
    partition_reporters: int = 2
    """Fewest reporting nodes whose evidence makes a partition."""
    bridge_interval: float = 2.0
    """Between two attempts of one side of a partition to reach another."""
    suspicion_interval: float = 6.0
    """Between two triggers of one condition; doubles while it lasts."""
    suspicion_cap: float = 300.0
    """Longest interval between two triggers of one condition."""

    pair_interval: float = 300.0
    """Every pair of online peers syncs directly at least once within this time, as far as the budget allows."""
    sync_rate: float = 1.0
    """Direct syncs per second asked of one node."""
    pair_peers: int = 200
    """Most peers of one store whose pairs are tracked."""

    def __post_init__(self) -> None:
        """Raise ValueError naming the first parameter that is out of range."""
        check_positive(self)
        if self.suspect_floor > self.suspect_ceiling:
            raise ValueError("suspect_floor must not be greater than suspect_ceiling")
        if self.report_interval > self.report_ceiling:
            raise ValueError("report_interval must not be greater than report_ceiling")
        if self.report_ceiling > self.suspect_ceiling / 2:
            raise ValueError("report_ceiling must not be greater than half of suspect_ceiling")
