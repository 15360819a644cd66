"""The parameters of liveness, with their defaults."""

from __future__ import annotations

from dataclasses import dataclass

from gossipcontrol.server.core.parameter import check_positive


@dataclass(frozen=True, slots=True, kw_only=True)
class LivenessParameters:
    """What an operator may tune. Durations are seconds, sizes are counts."""

    report_interval: float = 2.0
    """Wanted between two reports of a node while the service has little to do."""
    report_ceiling: float = 15.0
    """Longest interval that a loaded service asks for; at most half of suspect_ceiling, or health seems silence."""
    report_rate: float = 2000.0
    """Store reports per second that the service wants over all nodes; the interval grows so that no more come."""
    suspect_floor: float = 3.0
    """No peer is suspected that was heard more recently, however steady its rhythm."""
    suspect_ceiling: float = 30.0
    """Every peer that was not heard for so long is suspected, whatever its rhythm."""
    suspect_deviations: float = 8.0
    """How many deviations above its mean peak of silence make a peer suspected; fewer: sooner, oftener in error."""
    offline_after: float = 30.0
    """How long a suspected peer may stay silent before it counts as offline."""
    peers_per_store: int = 10_000
    """Most peers remembered in one store; the one longest unheard goes first."""
    peer_limit: int = 2_000_000
    """Most (store, peer) remembered over all stores."""
    peer_age: float = 86_400.0
    """How long an unheard peer is remembered."""
    change_limit: int = 1000
    """Presence changes of one store kept for watchers and deltas; who missed more gets a snapshot."""

    isolated_after: float = 3.0
    """How long a node without fresh neighbours waits before it counts as isolated."""
    rot_window: float = 30.0
    """Over how long broadcasts are compared with what was heard of them."""
    rot_messages: int = 3
    """Least broadcasts in the window that prove anything."""
    unsynced_after: float = 30.0
    """How long local writes may be unsynced with too few peers online."""
    few_peers: int = 1
    """Fewer other peers online than this are too few."""
    partition_reporters: int = 2
    """Least nodes whose word makes a partition."""
    bridge_interval: float = 2.0
    """Between two attempts of one component to reach another."""
    suspicion_interval: float = 6.0
    """Between two triggers of one suspicion; doubles while it stands."""
    suspicion_cap: float = 300.0
    """Longest interval between two triggers of one suspicion."""

    pair_interval: float = 300.0
    """Within which every pair that is online syncs directly at least once, as long as the budget allows."""
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
