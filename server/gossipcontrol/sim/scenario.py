"""A scenario of the simulator, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.presence.parameter import LivenessParameters

What = Literal[
    "outage",
    "lid",
    "flap",
    "restart",
    "stall",
    "partition",
    "suspect",
    "ask",
    "clock",
    "churn",
    "mute",
    "deaf",
    "hole",
    "write",
    "stranger",
    "agentless",
    "unplug",
    "move",
    "renumber",
    "vpn",
    "freeze",
    "pause",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something that happens ``times`` times, every ``every`` seconds."""

    at: float
    what: What
    share: float = 1.0
    """Share of the hosts or nodes that it affects."""
    length: float = 0.0
    """Seconds that it lasts; of a clock step, its size, which may be negative; of a renumbering, between two hosts."""
    times: int = 1
    every: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A fleet and what happens to it."""

    name: str
    nodes: int
    steps: tuple[Step, ...] = ()
    stores: int = 2
    """Stores in total; a node has ``stores_per_node`` of them."""
    stores_per_node: int = 1
    nodes_per_host: int = 1
    agents: int | None = None
    """How many nodes, the first ones, have an agent; the others only gossip. None: all."""
    away: float = 0.0
    """Share of the nodes whose agents attach only at half of the duration."""
    duration: float = 120.0
    report_interval: float = 10.0
    loss: float = 0.0
    """Share of the calls that are lost; the caller retries with the same request id."""
    duplicate: float = 0.0
    """Share of the calls that arrive twice, the second time up to 20 s later."""
    delay: float = 0.2
    """Longest delay of a message in seconds; each has its own, so messages overtake each other."""
    parameters: Parameters = field(default_factory=Parameters)
    liveness: LivenessParameters = field(default_factory=LivenessParameters)
    seeds: int = 1
