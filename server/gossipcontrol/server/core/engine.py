"""The core: one object, ``handle(event, now) -> effects``, ``next_deadline()``. No IO, no clock, no randomness."""

from __future__ import annotations

from collections.abc import Iterator

from gossipcontrol.server.core.decision import Cause, Outcome
from gossipcontrol.server.core.effect import Effect
from gossipcontrol.server.core.event import Event
from gossipcontrol.server.core.parameter import Parameters
from gossipcontrol.server.core.record import Counts, PeerRecord, RejoinRecord, StoreRecord


class Engine:
    """Decides. ``id_prefix`` makes the ids of rejoins unique over restarts."""

    def __init__(self, parameters: Parameters | None = None, *, id_prefix: str = "r") -> None:
        raise NotImplementedError

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event at service time ``now`` (seconds, never going backwards) and say what is to be done."""
        raise NotImplementedError

    def next_deadline(self) -> float | None:
        """The service time at which TimePassed is due; None when nothing waits."""
        raise NotImplementedError

    def counts(self) -> Counts:
        """The gauges."""
        raise NotImplementedError

    def rejoins(
        self,
        *,
        node_id: str = "",
        store_id: str = "",
        cause: Cause | None = None,
        outcome: Outcome | None = None,
        since: float | None = None,
        before: str = "",
    ) -> Iterator[RejoinRecord]:
        """Rejoins, newest first, that match every filter given; with ``before``, only those older than that rejoin id."""
        raise NotImplementedError

    def stores(self, *, node_id: str = "", after: str = "") -> Iterator[StoreRecord]:
        """Stores by id; with ``after``, only those behind it."""
        raise NotImplementedError

    def peers(self, store_id: str) -> Iterator[PeerRecord]:
        """Peers of a store by id; none when the store is not known."""
        raise NotImplementedError
