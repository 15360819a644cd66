"""The knowledge of every store: one object, ``handle(event, now)``, and a snapshot of all of it as plain data."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, NamedTuple

from gossipcontrol.server.core.knowledge import snapshot
from gossipcontrol.server.core.knowledge.answer import at_risk, behind_by_author, unshared
from gossipcontrol.server.core.knowledge.event import IntentionsRecorded, KnowledgeEvent
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters
from gossipcontrol.server.core.knowledge.record import StoreCounts, Unshared
from gossipcontrol.server.core.knowledge.tracker import Recorded, Tracker


class Outcome(NamedTuple):
    """What became of an event."""

    recorded: Recorded
    full: str = ""
    """What was full, if something was refused."""


class Book:
    """Deterministic: the same events at the same instants give the same answers. No IO and no clock."""

    def __init__(self, parameters: KnowledgeParameters | None = None) -> None:
        self.parameters = parameters or KnowledgeParameters()
        self._trackers: dict[str, Tracker] = {}
        self._senders: OrderedDict[str, int] = OrderedDict()
        self._retained = 0

    def handle(self, event: KnowledgeEvent, now: float) -> Outcome:
        """Take one event at service time ``now`` (seconds)."""
        tracker = self._trackers.get(event.store_id)
        if tracker is None:
            if len(self._trackers) >= self.parameters.store_limit:
                return Outcome(Recorded(), f"{self.parameters.store_limit} stores are tracked already")
            tracker = self._trackers[event.store_id] = Tracker(self.parameters)
        if not isinstance(event, IntentionsRecorded):
            self._retained -= tracker.graph.retained
            refused = tracker.change_members(event.added, event.removed)
            self._retained += tracker.graph.retained
            return Outcome(Recorded(refused=refused), "no further member can be remembered" if refused else "")
        others = self._retained - tracker.graph.retained
        tracker.room = self.parameters.intention_limit - others
        recorded = tracker.record(event.intentions, now)
        self._retained = others + tracker.graph.retained
        if recorded.refused:
            return Outcome(recorded, f"store {event.store_id} has no room for further intentions or authors")
        if event.sender_id:
            self._hear(event.sender_id, event.sequence)
        return Outcome(recorded)

    def last_sequence(self, sender_id: str) -> int:
        """The highest batch of a sender that was recorded whole; 0 when none is remembered."""
        return self._senders.get(sender_id, 0)

    def tracker(self, store_id: str) -> Tracker | None:
        """The tracker of a store, to be asked only."""
        return self._trackers.get(store_id)

    def store_ids(self) -> list[str]:
        """The stores that are tracked."""
        return list(self._trackers)

    def unshared(self, store_id: str, now: float) -> Iterator[Unshared]:
        """Writes older than ``unshared_age`` that no other peer of the store provably holds, by author."""
        return unshared(self._trackers[store_id], store_id, now - self.parameters.unshared_age)

    def counts(self, store_id: str) -> StoreCounts:
        """The gauges of a store that is tracked."""
        tracker = self._trackers[store_id]
        return StoreCounts(
            store_id=store_id,
            recorded=tracker.graph.order,
            retained=tracker.graph.retained,
            floating=len(tracker.floating),
            dropped=tracker.floating.dropped,
            forks=len(tracker.graph.forks),
            lag=sum(behind_by_author(tracker, tracker.frontier()).values()),
            at_risk=at_risk(tracker),
        )

    def snapshot(self) -> dict[str, Any]:
        """Everything, as dictionaries, lists, strings, numbers and bytes."""
        return {
            "version": snapshot.VERSION,
            "senders": list(self._senders.items()),
            "stores": {store_id: snapshot.take(tracker) for store_id, tracker in self._trackers.items()},
        }

    def restore(self, plain: dict[str, Any]) -> None:
        """Replace everything by what ``snapshot`` gave; raises ValueError when another version took it."""
        snapshot.check(plain["version"])
        self._senders = OrderedDict((sender_id, sequence) for sender_id, sequence in plain["senders"])
        self._trackers = {store_id: snapshot.restore(one, self.parameters) for store_id, one in plain["stores"].items()}
        self._retained = sum(tracker.graph.retained for tracker in self._trackers.values())

    def _hear(self, sender_id: str, sequence: int) -> None:
        self._senders[sender_id] = max(sequence, self._senders.get(sender_id, 0))
        self._senders.move_to_end(sender_id)
        if len(self._senders) > self.parameters.sender_limit:
            self._senders.popitem(last=False)
