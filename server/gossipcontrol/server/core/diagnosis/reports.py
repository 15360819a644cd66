"""The last reports of one store's nodes: neighbours, broadcast counts, and what they heard of each other."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from itertools import islice, repeat

from gossipcontrol.server.core.diagnosis.deliveries import IN_FLIGHT, SAMPLED_OBSERVERS, AuthorDeliveries
from gossipcontrol.server.core.event import NEIGHBORS, NEVER, LivenessReported, NeighborChanged
from gossipcontrol.server.core.presence.parameter import LivenessParameters

REPORT_PEERS = 1000
"""Most peers in one report; a node that names fewer has heard of no others."""
REPORT_GRACE = 1.0
"""Seconds by which a report may be late beyond two of its node's intervals."""
UNNAMED_OBSERVERS = 16
"""Most observers checked per evaluation for authors that their reports do not name."""
KNOWN_BY = 8
"""Most identities remembered that listed a node as their neighbour: the first."""
OBSERVERS_PER_PART, AUTHORS_PER_PART = 512, 32
"""Sizes of the parts of the work on a store: about 0.1 ms each."""


class Observer:
    """A node that reports."""

    __slots__ = (
        "alone_since",
        "identity",
        "interval",
        "is_complete",
        "known_by",
        "lists_neighbors",
        "neighbor_lost_at",
        "neighbors",
        "node_id",
        "number",
        "reported_at",
        "unsynced_since",
    )

    def __init__(self, node_id: str, number: int, interval: float) -> None:
        self.node_id = node_id
        self.identity = node_id
        """Whose word its reports are; nodes of one identity have one word."""
        self.number = number
        self.interval = interval
        """Seconds between its reports, as observed."""
        self.reported_at = NEVER
        self.neighbors: dict[str, float] = {}
        """Neighbour -> since when it is one."""
        self.lists_neighbors = False
        """Whether it reports its neighbours at all; if not, an empty list proves nothing."""
        self.neighbor_lost_at = NEVER
        """When it last lost a neighbour; what it heard directly was sent before that."""
        self.alone_since: float | None = None
        """Since when it has no neighbours; None when it has some."""
        self.unsynced_since: float | None = None
        """Since when it has local writes that are not known to be held elsewhere; None when it has none."""
        self.known_by: tuple[str, ...] = ()
        """Other identities that have listed it as a neighbour."""
        self.is_complete = True
        """Whether its last report named every peer it ever heard."""

    def is_fresh(self, now: float) -> bool:
        """Whether its last report is at most about two intervals old."""
        return now - self.reported_at <= 2 * self.interval + REPORT_GRACE

    def is_gone(self, now: float) -> bool:
        """Whether it has been silent long enough to be forgotten."""
        return now - self.reported_at > max(60.0, 4 * self.interval)

    def update(self, event: LivenessReported, ceiling: float, now: float) -> None:
        """Record what a node reports about itself."""
        self.identity = event.speaker or event.node_id
        if self.reported_at > NEVER:
            # A longer interval counts at once, so that the node does not look late; one long pause is capped.
            gap = min(now - self.reported_at, ceiling, 2 * self.interval)
            self.interval = max(gap, 0.8 * self.interval + 0.2 * gap)
        self.reported_at = now
        before = self.neighbors
        self.neighbors = dict(event.neighbors)
        if not before.keys() <= self.neighbors.keys():
            self.neighbor_lost_at = now
        self.update_alone_since(now)
        self.is_complete = len(event.heard) < REPORT_PEERS
        if not event.unsynced_writes:
            self.unsynced_since = None
        elif self.unsynced_since is None:
            self.unsynced_since = now

    def list_by(self, identity: str) -> None:
        """An identity lists it as a neighbour."""
        if len(self.known_by) < KNOWN_BY and identity != self.identity and identity not in self.known_by:
            self.known_by = (*self.known_by, identity)

    def update_alone_since(self, now: float) -> None:
        """Update since when it has no neighbours."""
        self.lists_neighbors = self.lists_neighbors or bool(self.neighbors)
        if self.neighbors or not self.lists_neighbors:
            self.alone_since = None
        elif self.alone_since is None:
            self.alone_since = now


class StoreReports:
    """The reports of one store. Memory per author does not grow with the number of its observers."""

    __slots__ = ("_has_dropped", "_numbers", "_parameters", "deliveries", "former", "observers", "store_id")

    def __init__(self, store_id: str, parameters: LivenessParameters) -> None:
        self.store_id = store_id
        self.observers: dict[str, Observer] = {}
        self.former: dict[str, None] = {}
        """Nodes that no longer report but an observer still lists; a dict, for an empty set takes thrice the room."""
        self.deliveries: dict[str, AuthorDeliveries] = {}
        self._parameters = parameters
        self._numbers = 0
        self._has_dropped = False
        """Whether a number of an observer is no longer used, but may still be known to the authors."""

    def record(self, event: LivenessReported, now: float, *, attached: bool = True) -> Observer | None:
        """Record a report; None when there are too many reporters. An ``attached`` agent reports its neighbours."""
        observer = self.observers.get(event.node_id)
        if observer is None:
            if len(self.observers) >= self._parameters.peers_per_store:
                return None
            observer = Observer(event.node_id, self._next_number(), self._parameters.report_interval)
            self.observers[event.node_id] = observer
            self.former.pop(event.node_id, None)
        elif not observer.is_fresh(now):
            # It was frozen, or cut off from the service too: what it missed meanwhile is no rot. Under a number of its
            # own again it has no marks, at a cost that does not grow with the number of authors.
            observer.number = self._next_number()
            self._has_dropped = True
        observer.lists_neighbors = observer.lists_neighbors or attached
        before, reported_at = observer.neighbors, observer.reported_at
        observer.update(event, self._parameters.report_ceiling, now)
        self._ensure_deliveries(event.node_id, now).record_broadcasts(event.broadcast_count, now, self.period(observer))
        self._record_heard(observer, event)
        for peer_id, up_at in observer.neighbors.items():
            if (peer := self.observers.get(peer_id)) is not None:
                peer.list_by(observer.identity)
            # A report overtaken by a NeighborChanged may list a lost neighbour again; that is no new link.
            if up_at > before.get(peer_id, reported_at - IN_FLIGHT) + REPORT_GRACE:
                self._clear_missed_between(observer, peer_id)
        return observer

    def record_neighbor(self, event: NeighborChanged, now: float) -> bool:
        """Record that a neighbour came or went; return whether that is new. More than ``NEIGHBORS`` are ignored."""
        observer = self.observers.get(event.node_id)
        if observer is None or event.up is (event.peer_id in observer.neighbors):
            return False
        if event.up and len(observer.neighbors) >= NEIGHBORS:
            return False
        if event.up:
            observer.neighbors[event.peer_id] = event.changed_at
            if (peer := self.observers.get(event.peer_id)) is not None:
                peer.list_by(observer.identity)
            self._clear_missed_between(observer, event.peer_id)
        else:
            del observer.neighbors[event.peer_id]
            observer.neighbor_lost_at = now
        observer.update_alone_since(now)
        return True

    def forget_node(self, node_id: str) -> None:
        """Forget a node's reports; others may still report about it."""
        if self.observers.pop(node_id, None) is not None:
            del self.deliveries[node_id]
            self.former[node_id] = None
            self._has_dropped = True

    def prune(self, now: float) -> Generator[None]:
        """Forget nodes that reported long ago and everything only they reported; pauses after each part of it."""
        yield from self._forget_gone(now)
        if self._has_dropped:
            numbers = {observer.number for observer in self.observers.values()}
            for count, delivery in enumerate(self.deliveries.values()):
                delivery.retain(numbers)
                if count % AUTHORS_PER_PART == 0:
                    yield
            self._has_dropped = False
        if self.former:
            yield from self._forget_unlisted()

    def _forget_gone(self, now: float) -> Generator[None]:
        gone: list[str] = []
        for count, (node_id, observer) in enumerate(self.observers.items()):
            if observer.is_gone(now):
                gone.append(node_id)
            if count % OBSERVERS_PER_PART == 0:
                yield
        for node_id in gone:
            self.forget_node(node_id)

    def _forget_unlisted(self) -> Generator[None]:
        """Forget former nodes that no observer lists any more."""
        former, listed = self.former, set[str]()
        for count, observer in enumerate(self.observers.values()):
            if len(listed) == len(former):
                return
            listed |= former.keys() & observer.neighbors.keys()
            if count % AUTHORS_PER_PART == 0:
                yield
        self.former = dict.fromkeys(one for one in former if one in listed)

    def record_unnamed(self, fresh: Iterable[Observer]) -> Generator[None]:
        """Record that an observer hears nothing of an author that its complete report does not name; with pauses."""
        complete = (observer for observer in fresh if observer.is_complete and observer.lists_neighbors)
        observers = list(islice(complete, UNNAMED_OBSERVERS))
        for count, peer_id in enumerate(self.observers):
            if count % AUTHORS_PER_PART == 0:
                yield
            delivery = self.deliveries[peer_id]
            if len(delivery) < min(len(observers) - 1, SAMPLED_OBSERVERS):
                for observer in observers:
                    if observer.node_id != peer_id and not delivery.has_observer(observer.number):
                        delivery.record_heard(observer.number, NEVER, 0, peer_id in observer.neighbors)

    def period(self, observer: Observer) -> float:
        """Seconds between two marks: the window, or three report intervals if that is longer."""
        return max(self._parameters.rot_window, 3 * observer.interval)

    def _next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _ensure_deliveries(self, node_id: str, now: float) -> AuthorDeliveries:
        delivery = self.deliveries.get(node_id)
        if delivery is None:
            delivery = self.deliveries[node_id] = AuthorDeliveries(self._next_number(), now)
        return delivery

    def _record_heard(self, observer: Observer, event: LivenessReported) -> None:
        deliveries, number, neighbors, node_id = self.deliveries, observer.number, observer.neighbors, event.node_id
        if deliveries.keys().isdisjoint(event.heard):
            return
        for (peer_id, heard_at), count in zip(event.heard.items(), event.heard_counts or repeat(0), strict=False):
            delivery = deliveries.get(peer_id)
            if delivery is not None and peer_id != node_id:
                delivery.record_heard(number, heard_at, count, peer_id in neighbors)

    def _clear_missed_between(self, observer: Observer, peer_id: str) -> None:
        """Ignore what two new neighbours missed of each other."""
        if (delivery := self.deliveries.get(peer_id)) is not None:
            delivery.clear_missed(observer.number)
        other = self.observers.get(peer_id)
        if other is not None:
            self.deliveries[observer.node_id].clear_missed(other.number)
