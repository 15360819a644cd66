"""The knowledge of every store: one object with ``handle(event, now)``, and one snapshot per store."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from gossipcontrol.server.core.knowledge import snapshot
from gossipcontrol.server.core.knowledge.answer import stability_slices, unshared_slices
from gossipcontrol.server.core.knowledge.event import IntentionsRecorded, KnowledgeEvent, MembersChanged
from gossipcontrol.server.core.knowledge.membership import Undone
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters
from gossipcontrol.server.core.knowledge.record import StoreCounts, Unshared
from gossipcontrol.server.core.knowledge.tracker import Recorded, Tracker
from gossipcontrol.server.core.memory import SENDER
from gossipcontrol.server.core.slices import Slices, finish

SEPARATOR = "\0"
"""Between an identity and the sender that it names."""


class Outcome(NamedTuple):
    """The result of an event."""

    recorded: Recorded
    full: str = ""
    """Which limit was reached, if something was refused."""
    fact: KnowledgeEvent | None = None
    """What the log must keep of the event; None when it changed nothing."""
    room: int = 0
    """The room that the store had. A replay needs it, since it may be ahead in other stores."""
    undone: Undone | None = None
    """What an undo of a change of members did."""


class KnowledgeStore:
    """Deterministic: the same events at the same times give the same answers. No IO and no clock."""

    def __init__(self, parameters: KnowledgeParameters | None = None) -> None:
        self.parameters = parameters or KnowledgeParameters()
        self._trackers: dict[str, Tracker] = {}
        self._senders: OrderedDict[str, int] = OrderedDict()
        self._retained = 0
        self._bytes: dict[str, int] = {}
        self._tracked_bytes = 0

    @property
    def used_bytes(self) -> int:
        """What all stores take, at most."""
        return self._tracked_bytes + len(self._senders) * SENDER

    def handle(self, event: KnowledgeEvent, now: float, room: int | None = None) -> Outcome:
        """Handle one event at service time ``now`` (seconds); a replay passes the ``room`` of the first handling."""
        outcome = self._handle(event, now, room)
        self._weigh(event.store_id)
        return outcome

    def _weigh(self, store_id: str) -> None:
        tracker = self._trackers.get(store_id)
        now = tracker.used_bytes if tracker is not None else 0
        self._tracked_bytes += now - self._bytes.get(store_id, 0)
        self._bytes[store_id] = now
        if not now:
            del self._bytes[store_id]

    def _handle(self, event: KnowledgeEvent, now: float, room: int | None) -> Outcome:
        tracker = self._trackers.get(event.store_id)
        is_new = tracker is None
        if tracker is None:
            if len(self._trackers) >= self.parameters.store_limit:
                return Outcome(Recorded(), f"{self.parameters.store_limit} stores are tracked already")
            tracker = self._trackers[event.store_id] = Tracker(self.parameters)
        if not isinstance(event, IntentionsRecorded):
            return self._change_members(tracker, event, now)
        is_due = tracker.membership.is_due(now)
        was_pending = tracker.is_pending or is_due
        others = self._retained - tracker.graph.retained
        tracker.room = self.parameters.intention_limit - others if room is None else room
        if is_due:
            tracker.depart(now)
        recorded = tracker.record(event.intentions, now, event.identity, event.authored)
        self._retained = others + tracker.graph.retained
        # How much of what was pending went on depends on all of the event.
        fact = event if recorded.new or is_new or was_pending else None
        if recorded.refused or recorded.excess:
            return Outcome(recorded, self._lack(event, recorded), fact, tracker.room)
        if event.sender_id:
            self._remember_sequence(sender_key(event.identity, event.sender_id), event.sequence)
            fact = fact or replace(event, intentions=(), authored=b"")
        return Outcome(recorded, "", fact, tracker.room)

    def _change_members(self, tracker: Tracker, event: MembersChanged, now: float) -> Outcome:
        self._retained -= tracker.graph.retained
        refused, undone = 0, None
        if tracker.membership.is_due(now):
            tracker.depart(now)
        if event.undo:
            undone = tracker.undo_members()
        else:
            refused = tracker.change_members(event.added, event.removed, now, event.hold)
        self._retained += tracker.graph.retained
        full = "no further member can be remembered" if refused else ""
        return Outcome(Recorded(refused=refused), full, event, undone=undone)

    def _lack(self, event: IntentionsRecorded, recorded: Recorded) -> str:
        """Which limit was in the way."""
        if recorded.refused:
            return f"store {event.store_id} has no room for further intentions or authors"
        most = self.parameters.authors_per_identity
        return f"{event.identity} has brought {most} authors into store {event.store_id}: authors_per_identity"

    def last_sequence(self, sender_id: str, identity: str = "") -> int:
        """The highest batch of a sender that was recorded completely; 0 when none is remembered."""
        return self._senders.get(sender_key(identity, sender_id), 0)

    def tracker(self, store_id: str) -> Tracker | None:
        """The tracker of a store, for reading only; None when it has none."""
        return self._trackers.get(store_id)

    def knows(self, store_id: str, name: bytes) -> bool:
        """Whether an intention has its place, or floats: what is said of it further changes nothing."""
        tracker = self._trackers.get(store_id)
        return tracker is not None and tracker.knows(name)

    def is_pending(self, store_id: str) -> bool:
        """Whether the next event of a store goes on with something; an event without intentions does."""
        tracker = self._trackers.get(store_id)
        return tracker is not None and tracker.is_pending

    def next_departure(self) -> float | None:
        """When the next removed member counts no longer (service time); None: nobody is about to leave."""
        times = [at for tracker in self._trackers.values() for at in tracker.membership.leaving.values()]
        return min(times, default=None)

    def departing(self, now: float) -> list[str]:
        """The stores in which somebody's time is over: their next event lets go of them."""
        return [store_id for store_id, tracker in self._trackers.items() if tracker.membership.is_due(now)]

    @property
    def store_count(self) -> int:
        """Number of stores that are tracked."""
        return len(self._trackers)

    def store_ids(self) -> list[str]:
        """The tracked stores."""
        return list(self._trackers)

    def unshared(self, store_id: str, now: float) -> list[Unshared]:
        """Writes older than ``unshared_age`` that no other peer of the store provably holds, by author."""
        return finish(self.unshared_slices(store_id, now))

    def unshared_slices(self, store_id: str, now: float) -> Slices[list[Unshared]]:
        """The same in slices."""
        return unshared_slices(self._trackers[store_id], store_id, now - self.parameters.unshared_age)

    def counts(self, store_id: str) -> StoreCounts:
        """The gauges of a tracked store."""
        return finish(self.count_slices(store_id))

    def count_slices(self, store_id: str) -> Slices[StoreCounts]:
        """The same in slices."""
        tracker = self._trackers[store_id]
        stability = yield from stability_slices(tracker)
        return StoreCounts(
            store_id=store_id,
            recorded=tracker.graph.order,
            retained=tracker.graph.retained,
            floating=len(tracker.floating),
            unproven=len(tracker.unproven),
            dropped=tracker.floating.dropped,
            forks=len(tracker.graph.forks),
            lag=stability.unstable,
            at_risk=stability.at_risk,
        )

    def capture(self, store_id: str) -> snapshot.Capture:
        """Capture a store as it is now, to be written out later."""
        return snapshot.Capture(self._trackers[store_id])

    def senders(self) -> list[tuple[str, int]]:
        """The remembered senders with the last sequence of each, the least recent first."""
        return list(self._senders.items())

    def load(self, senders: Iterable[tuple[str, int]], stores: Mapping[str, bytes]) -> None:
        """Replace everything by captured state; raises ValueError, KeyError, IndexError or TypeError."""
        self._senders = OrderedDict((sender_id, sequence) for sender_id, sequence in senders)
        self._trackers = {store_id: snapshot.restore(body, self.parameters) for store_id, body in stores.items()}
        self._retained = sum(tracker.graph.retained for tracker in self._trackers.values())
        for store_id in self._trackers:
            self._weigh(store_id)

    def _remember_sequence(self, key: str, sequence: int) -> None:
        self._senders[key] = max(sequence, self._senders.get(key, 0))
        self._senders.move_to_end(key)
        if len(self._senders) > self.parameters.sender_limit:
            self._forget_sender(key)

    def _forget_sender(self, newest: str) -> None:
        """Forget the least recent sender of the same identity, so that none makes another's forgotten; else of all."""
        identity = newest.rpartition(SEPARATOR)[0]
        own = (key for key in self._senders if key != newest and key.rpartition(SEPARATOR)[0] == identity)
        oldest = next(own, None) if identity else None
        del self._senders[oldest or next(iter(self._senders))]


def sender_key(identity: str, sender_id: str) -> str:
    """The name of a sender among all: each identity has senders of its own."""
    return f"{identity}{SEPARATOR}{sender_id.replace(SEPARATOR, ' ')}" if identity else sender_id
