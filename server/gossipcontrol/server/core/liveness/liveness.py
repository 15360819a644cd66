"""Liveness as a whole: reports in, findings out; one object beside the engine, as pure as that."""

from __future__ import annotations

from collections.abc import Iterator

from gossipcontrol.server.core.event import LivenessEvent
from gossipcontrol.server.core.liveness.finding import Finding
from gossipcontrol.server.core.liveness.parameter import LivenessParameters
from gossipcontrol.server.core.liveness.record import LivenessCounts, PeerRecord, View


class Liveness:
    """Takes what nodes report, and finds who is online, what has rotted and who should sync."""

    def __init__(self, parameters: LivenessParameters | None = None) -> None:
        self.parameters = parameters or LivenessParameters()

    def handle(self, event: LivenessEvent, now: float) -> list[Finding]:
        """Take one event at service time ``now`` (seconds, never going backwards) and say what it shows."""
        raise NotImplementedError

    def next_deadline(self) -> float | None:
        """The service time at which TimePassed is due; None when nothing ages."""
        raise NotImplementedError

    # What is known.

    def view(self, store_id: str, since: int | None = None) -> View:
        """A store's presence, or what changed since that version, where that is still known."""
        raise NotImplementedError

    def changes(self, store_id: str, since: int) -> list[tuple[int, PeerRecord | None, str]] | None:
        """Each change after that version in order: version, the peer then (None: forgotten), its id.

        None when some of them are no longer kept: the reader lagged, and needs a view.
        """
        raise NotImplementedError

    def peers(self, store_id: str, after: str = "") -> Iterator[PeerRecord]:
        """Peers of a store by id, those behind ``after``; none when the store is not known."""
        raise NotImplementedError

    def last_heard(self, store_id: str) -> Iterator[tuple[str, float]]:
        """Peers of a store that were heard, and when; those heard last come first."""
        raise NotImplementedError

    def has_others(self, store_id: str, node_id: str) -> bool:
        """Whether any peer of the store but this one was ever named."""
        raise NotImplementedError

    def forget_store(self, store_id: str) -> None:
        """Forget a store that no node has any longer."""
        raise NotImplementedError

    def next_report(self, now: float) -> float:
        """Seconds until a node should report again, from the load."""
        raise NotImplementedError

    def counts(self) -> LivenessCounts:
        """The gauges."""
        raise NotImplementedError

    def store_counts(self, store_id: str) -> LivenessCounts:
        """The gauges of one store."""
        raise NotImplementedError
