"""Liveness as a whole: reports in, findings out; one object beside the engine, as pure as that."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from gossipcontrol.server.core.deadline import earliest
from gossipcontrol.server.core.diagnosis.diagnosis import Diagnosis
from gossipcontrol.server.core.event import (
    NEVER,
    LivenessEvent,
    LivenessReported,
    NeighborChanged,
    NodeAttached,
    NodeDetached,
    NodesSlept,
    NodesWoke,
    SyncFinished,
    TimePassed,
)
from gossipcontrol.server.core.finding import Finding, PresenceChanged
from gossipcontrol.server.core.presence.pacer import ReportPacer
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.presence.presence import Presence
from gossipcontrol.server.core.presence.record import LivenessCounts, PeerRecord, PeerState, View
from gossipcontrol.server.core.presence.table import Store

LATE_AFTER_INTERVALS = 1.5
"""Report intervals after which a report is late."""
MAX_REPORTERS = 65_536
"""Most nodes whose reports are followed; the engine knows fewer by default."""
EVICTION_SCAN = 16
"""So many are looked at for one to forget."""
SEARCH_FACTOR = 2
"""So many times the peers that a view lists are searched for the freshest: nearly always the book has them in order."""
UNTRUSTED_LATENESS = 1e9
"""Seconds by which a report is late that proves nothing."""


class Report(NamedTuple):
    """The last report of one store: when it came, and by how much it was late (seconds); infinite before the first."""

    at: float = NEVER
    lateness: float = math.inf


@dataclass(slots=True, eq=False)
class Reporter:
    """A node that speaks to the service."""

    session_id: str = ""
    stores: dict[str, Report] = field(default_factory=dict[str, Report])
    """Its stores, and its last report of each; other words than reports do not count."""

    def reported_at(self, store_id: str) -> float:
        """When it last reported of a store."""
        return self.stores.get(store_id, Report()).at

    def record_report(self, store_id: str, interval: float, now: float) -> float:
        """By how much a report is late that comes now.

        Who is late may have been stopped itself, so what it did not hear counts for less; the first report of a stream
        counts for nothing. It takes half an interval to be trusted again: a report that is only told twice is not.
        """
        at, before = self.stores.get(store_id, Report())
        gap = now - at
        carried = before * (1 - 2 * gap / interval) if gap < interval / 2 else 0.0
        lateness = (
            UNTRUSTED_LATENESS if math.isinf(before) else max(0.0, gap - LATE_AFTER_INTERVALS * interval, carried)
        )
        self.stores[store_id] = Report(now, lateness)
        return lateness


class Liveness:
    """Takes what nodes report, and finds who is online, what has rotted and who should sync."""

    def __init__(self, parameters: LivenessParameters | None = None) -> None:
        self.parameters = parameters = parameters or LivenessParameters()
        self._pacer = ReportPacer(parameters)
        self.presence = Presence(parameters, self._pacer.next_report)
        self.diagnosis = Diagnosis(parameters, self.presence)
        self._reporters: dict[str, Reporter] = {}
        self._handlers: dict[type[Any], Callable[[Any, float], None]] = {
            LivenessReported: self._on_liveness_reported,
            NeighborChanged: self._on_neighbor_changed,
            NodeAttached: self._on_node_attached,
            NodeDetached: self._on_node_detached,
            NodesSlept: self._on_nodes_slept,
            NodesWoke: self._on_nodes_woke,
            SyncFinished: self._on_sync_finished,
            TimePassed: self._on_time_passed,
        }

    def handle(self, event: LivenessEvent, now: float) -> list[Finding]:
        """Take one event at service time ``now`` (seconds, never going backwards) and say what it shows."""
        presence = self.presence
        if presence.started_at is None:
            presence.started_at = now
        due_at = presence.next_at()
        if due_at is not None and due_at <= now:
            presence.advance(now)
        self._handlers[type(event)](event, now)
        found = self.diagnosis.handle(event, now)
        if not presence.changed:
            return found
        changed, presence.changed = presence.changed, {}
        return [*map(PresenceChanged, changed), *found]

    def next_deadline(self) -> float | None:
        """The service time at which TimePassed is due; None when nothing ages."""
        return earliest(self.presence.next_at(), self.diagnosis.next_deadline())

    # Events.

    def _on_liveness_reported(self, event: LivenessReported, now: float) -> None:
        presence, node_id = self.presence, event.node_id
        store = presence.ensure_store(event.store_id)
        reporter = self._ensure_reporter(node_id)
        if event.going_to_sleep:
            presence.mark_departed(event.store_id, node_id, PeerState.ASLEEP, now)
        reported_at = reporter.reported_at(event.store_id)
        presence.on_self_report(store, node_id, now)
        presence.on_heard(store, node_id, event.heard, now)
        presence.on_neighbors(store, node_id, event.neighbors, now)
        lateness = reporter.record_report(event.store_id, self._pacer.next_report(now), now)
        presence.advance_informed(store, now - lateness, now)
        self._pacer.count_report(reported_at, now)
        presence.drop_if_empty(store)

    def _on_neighbor_changed(self, event: NeighborChanged, now: float) -> None:
        store = self.presence.ensure_store(event.store_id)
        self.presence.on_self_report(store, event.node_id, now)
        if event.up:
            self.presence.on_neighbors(store, event.node_id, {event.peer_id: event.changed_at}, now)
        self.presence.drop_if_empty(store)

    def _on_node_attached(self, event: NodeAttached, now: float) -> None:
        self._reporters[event.node_id] = Reporter(event.session_id, dict.fromkeys(event.store_ids, Report()))
        for store_id in event.store_ids:
            store = self.presence.ensure_store(store_id)
            self.presence.on_self_report(store, event.node_id, now, clears_departure=True)
            self.presence.drop_if_empty(store)

    def _on_node_detached(self, event: NodeDetached, now: float) -> None:
        reporter = self._reporters.get(event.node_id)
        if reporter is None or reporter.session_id != event.session_id:
            return
        del self._reporters[event.node_id]
        if event.left:
            for store_id in [one for one in reporter.stores if one in self.presence.stores]:
                self.presence.mark_departed(store_id, event.node_id, PeerState.LEFT, now)

    def _on_nodes_slept(self, event: NodesSlept, now: float) -> None:
        for node_id in event.node_ids:
            for store_id in self._stores_of(node_id):
                self.presence.mark_departed(store_id, node_id, PeerState.ASLEEP, now)

    def _on_nodes_woke(self, event: NodesWoke, now: float) -> None:
        for node_id in event.node_ids:
            for store_id in self._stores_of(node_id):
                self.presence.mark_awake(store_id, node_id, now)

    def _on_sync_finished(self, event: SyncFinished, now: float) -> None:
        store = self.presence.ensure_store(event.store_id)
        self.presence.on_self_report(store, event.node_id, now)
        if event.ok and not self.presence.is_mute(store, event.peer_id):
            self.presence.on_heard(store, event.node_id, {event.peer_id: now}, now)
        self.presence.drop_if_empty(store)

    def _on_time_passed(self, event: TimePassed, now: float) -> None:
        """Nothing more: what is due was looked at before the event."""

    def _stores_of(self, node_id: str) -> list[str]:
        reporter, known = self._reporters.get(node_id), self.presence.stores
        return [store_id for store_id in reporter.stores if store_id in known] if reporter else []

    def _ensure_reporter(self, node_id: str) -> Reporter:
        """A node that speaks, made known; beyond the bound one that is not attached is forgotten, which costs trust."""
        reporter = self._reporters.get(node_id)
        if reporter is None:
            if len(self._reporters) >= MAX_REPORTERS:
                oldest = islice(self._reporters, EVICTION_SCAN)
                idle = next((one for one in oldest if not self._reporters[one].session_id), None)
                del self._reporters[idle or next(iter(self._reporters))]
            reporter = self._reporters[node_id] = Reporter()
        return reporter

    # What is known.

    def view(self, store_id: str, since: int | None = None, most: int | None = None) -> View:
        """A store's presence, or what changed since that version, where that is still known.

        Beyond ``most`` peers a difference gives way to the whole, and the whole to those heard last.
        """
        store = self.presence.stores.get(store_id)
        if store is None:
            return View(store_id, self.presence.version, (), delta=since == self.presence.version)
        if since is None or not store.changes.covers(since):
            return self._full_view(store, most)
        if since == store.changes.version:
            return View(store_id, since, (), delta=True)
        changed = sorted({peer_id for _, peer_id, _ in store.changes.since(since)})
        if most is not None and len(changed) > most:
            return self._full_view(store, most)
        records = tuple(self.presence.table.record(store.index[one]) for one in changed if one in store.index)
        removed = tuple(one for one in changed if one not in store.index)
        return View(store_id, store.changes.version, records, delta=True, removed=removed)

    def _full_view(self, store: Store, most: int | None) -> View:
        """Chosen before any record is made: a view must cost what it lists, not what the store holds."""
        table, rows = self.presence.table, list[int](store.index.values())
        if most is not None and len(rows) > most:
            heard, others = list[tuple[float, int]](), list[int]()
            for row in reversed(rows):
                at = table.seen_at(row)
                if at == NEVER:
                    others.append(row)
                    continue
                heard.append((at, row))
                if len(heard) == SEARCH_FACTOR * most:
                    break
            rows = [*(row for _, row in sorted(heard, reverse=True)), *others][:most]
        rows.sort(key=table.peer_ids.__getitem__)
        return View(store.store_id, store.changes.version, tuple(map(table.record, rows)))

    def changes(
        self, store_id: str, since: int, most: int | None = None
    ) -> list[tuple[int, PeerRecord | None, str]] | None:
        """The changes after that version in order, ``most`` of them: version, the peer then (None: forgotten), its id.

        None when some of them are no longer kept: the reader lagged, and needs a view.
        """
        store = self.presence.stores.get(store_id)
        if store is None:
            return [] if since == self.presence.version else None
        if not store.changes.covers(since):
            return None
        return [
            (version, None if state is None else self._record_with_state(store, peer_id, state), peer_id)
            for version, peer_id, state in islice(store.changes.since(since), most)
        ]

    def _record_with_state(self, store: Store, peer_id: str, state: PeerState) -> PeerRecord:
        """A peer in an earlier state; when it was heard is only known as of now."""
        row = store.index.get(peer_id)
        if row is None:
            return PeerRecord(peer_id, state, None, 0)
        return self.presence.table.record(row)._replace(state=state)

    def peers(self, store_id: str, after: str = "") -> Iterator[PeerRecord]:
        """Peers of a store by id, those behind ``after``; none when the store is not known."""
        store = self.presence.stores.get(store_id)
        if store is not None:
            peer_ids = sorted(store.index)
            for peer_id in peer_ids[bisect_right(peer_ids, after) :]:
                yield self.presence.table.record(store.index[peer_id])

    def peer_count(self, store_id: str) -> int:
        """Number of peers of a store."""
        store = self.presence.stores.get(store_id)
        return len(store.index) if store else 0

    @property
    def peer_total(self) -> int:
        """Number of (store, peer) remembered."""
        return len(self.presence.table)

    def last_heard(self, store_id: str) -> Iterator[tuple[str, float]]:
        """Peers of a store that were heard, and when; those heard last come first."""
        store, table = self.presence.stores.get(store_id), self.presence.table
        if store is not None:
            for peer_id, row in reversed(store.index.items()):
                at = table.seen_at(row)
                if at > NEVER:
                    yield peer_id, at

    def has_others(self, store_id: str, node_id: str) -> bool:
        """Whether any peer of the store but this one was ever named."""
        store = self.presence.stores.get(store_id)
        return store is not None and len(store.index) > (node_id in store.index)

    def forget_store(self, store_id: str) -> None:
        """Forget a store that no node has any longer; the next event's findings tell its watchers."""
        self.presence.forget_store(store_id)
        self.diagnosis.forget_store(store_id)

    def next_report(self, now: float) -> float:
        """Seconds until a node should report again, from the load."""
        return self._pacer.next_report(now)

    def counts(self) -> LivenessCounts:
        """The gauges."""
        return _counts(self.presence.counts, self.diagnosis.pairs_unsynced, self.diagnosis.partitioned)

    def store_counts(self, store_id: str) -> LivenessCounts:
        """The gauges of one store."""
        store = self.presence.stores.get(store_id)
        peers = store.counts if store else [0] * (len(PeerState) + 1)
        return _counts(peers, *self.diagnosis.store_counts(store_id))


def _counts(peers: list[int], pairs_unsynced: int, partitioned: int) -> LivenessCounts:
    return LivenessCounts({state: peers[state] for state in PeerState}, pairs_unsynced, partitioned)
