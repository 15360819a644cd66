"""The replicas of the service. Ages are seconds."""

from __future__ import annotations

from dataclasses import dataclass

from gossipcontrol.client.enumeration import ReplicaRole


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica, as it said of itself some seconds ago."""

    replica_id: str
    """One run of it."""
    address: str
    """Where clients reach it; empty when it does not say."""
    role: ReplicaRole
    epoch: int
    """Number of owners so far, as it knows."""
    applied_entry: int | None
    """Last log entry that it holds in memory; None: it reads the log when it takes over."""
    lag_entries: int | None
    """Log entries behind the owner; None where ``applied_entry`` is."""
    seen_age: float
    """Seconds since the owner saw it say something new."""
    version: str
    """Of GossipControl."""
    format: int
    """Newest format of the log that it reads."""


@dataclass(frozen=True, slots=True)
class ReplicaList:
    """All replicas."""

    replicas: tuple[Replica, ...]
    """The owner, then the others by id; none of a service that shares its state with nobody."""
    backend: str
    """Where the state is: ``etcd``, ``sqlite`` or ``memory``."""
    path: str
    """Of the state file, for admins."""
