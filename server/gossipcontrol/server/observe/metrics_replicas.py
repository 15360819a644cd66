"""Metrics of the replicas: which one serves, and how the others follow it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from gossipcontrol.server.replicas.replica import Replica
from gossipcontrol.server.runtime.wall_clock import WallClock
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


def show_replicas(registry: CollectorRegistry, replica: Replica | None) -> None:
    """Show this owner and its standbys; None: one service that has its state for itself."""
    owner = show_owner(registry, 1)
    epoch = Gauge("gossipcontrol_epoch", "Number of owners so far; 0 without replicas.", registry=registry)
    standbys = Gauge("gossipcontrol_standbys", "Replicas that can take over.", registry=registry)
    show_standby(registry, replica)
    if replica is None:
        return
    lease, roster = replica.lease, replica.roster
    owner.set_function(lease.is_sure)
    epoch.set_function(lambda: lease.epoch)
    standbys.set_function(lambda: len(roster.standbys()))


def show_owner(registry: CollectorRegistry, value: int) -> Gauge:
    """Whether this replica serves; one without others does."""
    owner = Gauge("gossipcontrol_owner", "1 on the replica that serves, 0 on those that stand by.", registry=registry)
    owner.set(value)
    return owner


def show_wall_clock(registry: CollectorRegistry, clock: WallClock) -> None:
    """How often the wall clock was set."""
    registry.register(_WallClockCollector(clock))


class _WallClockCollector(Collector):
    """Reads it at each scrape."""

    def __init__(self, clock: WallClock) -> None:
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """The metric now."""
        yield CounterMetricFamily(
            "gossipcontrol_wall_clock_set",
            "How often the wall clock of this host was set by a second or more.",
            value=self._clock.steps,
        )


class Following(Protocol):
    """How a replica follows the log."""

    @property
    def lag(self) -> int:
        """How many entries of the log it is behind."""
        ...

    @property
    def diverged(self) -> int:
        """How often its replay had other effects than what the owner decided."""
        ...


def show_standby(registry: CollectorRegistry, following: Following | None) -> None:
    """How far a standby is behind; a service without others, None, is not."""
    registry.register(_FollowingCollector(following))


class _FollowingCollector(Collector):
    """Reads at each scrape how a replica follows the log."""

    def __init__(self, following: Following | None) -> None:
        self._following = following

    def collect(self) -> Iterator[Metric]:
        """The metrics now."""
        following = self._following
        yield GaugeMetricFamily(
            "gossipcontrol_standby_lag_entries",
            "Entries of the log that this standby has yet to replay; all of them while it loads a snapshot.",
            value=following.lag if following else 0,
        )
        yield CounterMetricFamily(
            "gossipcontrol_replay_diverged",
            "Turns that had other effects in this standby's replay than on the replica that decided them.",
            value=following.diverged if following else 0,
        )
