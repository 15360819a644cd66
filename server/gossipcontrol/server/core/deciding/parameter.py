"""The parameters of deciding, with their defaults."""

from __future__ import annotations

from dataclasses import dataclass

from gossipcontrol.server.core.parameter import check_positive

SLOWEST_RATE = 0.001
"""Least starts per second: a thousand that wait then take eleven days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What an operator may tune. Durations are seconds, sizes are counts."""

    window: float = 6.0
    """Shortest time between two starts of one (node, store)."""
    rate: float = 200.0
    """Starts per second over the whole service, in the long run; at least 0.001."""
    burst: int = 400
    """Starts that may happen at once over the whole service."""
    queue_limit: int = 100_000
    """Rejoins that may wait or be parked at once."""
    park_time: float = 600.0
    """How long a rejoin of a node that is not attached is kept."""
    verify_timeout: float = 5.0
    """How long after a start its proof may come; never longer than the window, so that runs of a slot never overlap."""
    trial_time: float = 600.0
    """How long a rejoin because of rot may wait for the suspicion to end or to trigger again; longer than
    ``liveness.suspicion_cap``."""
    fresh: float = 20.0
    """How long a neighbour's sign of life (it came up, or a message of it arrived) refutes a suspicion."""
    fanout: int = 3
    """Most bootstrap peers named in one command."""
    spread: int = 10
    """Most commands per second that name one bootstrap peer."""
    request_memory: float = 600.0
    """How long a request id is remembered, unless newer ones need its place."""
    request_limit: int = 100_000
    """Most request ids remembered; the oldest goes first."""
    generation_memory: float = 86_400.0
    """How long a network event, that is (host or node, boot, generation), is remembered since it was first reported."""
    generation_limit: int = 100_000
    """Most network events remembered; the one first reported longest ago goes first."""
    decision_limit: int = 200_000
    """Most decisions remembered with request ids, and as many with network events; beyond it the oldest of those go."""
    history_limit: int = 10_000
    """Most finished rejoins kept for ListRejoins."""
    history_age: float = 86_400.0
    """How long a finished rejoin is kept."""
    node_limit: int = 20_000
    """Most nodes known; a new one beyond it replaces the one idle longest (no agent, nothing parked), or is refused."""
    idle_age: float = 86_400.0
    """How long a node without an agent, a report and a parked rejoin is known."""
    stores_per_node: int = 1024
    """Most stores of one node."""

    def __post_init__(self) -> None:
        """Raise ValueError naming the first parameter that is out of range."""
        check_positive(self)
        if self.rate < SLOWEST_RATE:
            raise ValueError(f"rate must be at least {SLOWEST_RATE:g}")
        if self.verify_timeout > self.window:
            raise ValueError("verify_timeout must not be greater than window")
