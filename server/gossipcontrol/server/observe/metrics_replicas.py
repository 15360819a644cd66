"""Metrics of the replicas, on the one that owns the state."""

from __future__ import annotations

from gossipcontrol.server.observe.metrics import show_owner
from gossipcontrol.server.replicas.replica import Replica
from prometheus_client import CollectorRegistry, Gauge


def show_replicas(registry: CollectorRegistry, replica: Replica | None) -> None:
    """Show this owner and its standbys; None: one service that has its state for itself."""
    owner = show_owner(registry, 1)
    epoch = Gauge("gossipcontrol_epoch", "Number of owners so far; 0 without replicas.", registry=registry)
    standbys = Gauge("gossipcontrol_standbys", "Replicas that can take over.", registry=registry)
    if replica is None:
        return
    lease, roster = replica.lease, replica.roster
    owner.set_function(lease.is_sure)
    epoch.set_function(lambda: lease.epoch)
    standbys.set_function(lambda: len(roster.standbys()))
