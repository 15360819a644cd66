"""The liveness half of the core: reports in, findings out. Pure: no IO, no clock, no randomness."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from gossipcontrol.server.core.deadline import earliest
from gossipcontrol.server.core.diagnosis.diagnosis import Diagnosis
from gossipcontrol.server.core.diagnosis.neighbor_graph import NeighborGraph
from gossipcontrol.server.core.diagnosis.rot_budget import StartRate
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
from gossipcontrol.server.core.finding import DeafnessChanged, Finding, HearingChanged, OverloadChanged, PresenceChanged
from gossipcontrol.server.core.presence.pacer import ReportPacer
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.presence.presence import Presence
from gossipcontrol.server.core.presence.record import AWAY, LivenessCounts, PeerRecord, PeerState, View
from gossipcontrol.server.core.presence.table import Store
from gossipcontrol.server.core.roster import EmptyRoster, Roster

LATE_AFTER_INTERVALS = 1.5
"""A report is late once this many report intervals have passed since the one before."""
SERVICE_BEHIND = 0.5
"""Seconds by which a deadline is served late that show that the event loop has more to do than it can."""
SERVICE_PAUSE = 2.0
"""Seconds by which a deadline is served late that show that the service itself stood still, or was overloaded."""
ARRIVALS = 200
"""Stores of nodes that attached which presence takes in one turn: some 1 ms; the others follow in the next turns."""
MAX_REPORTERS = 65_536
"""Most nodes whose reports are followed; more than the registry of nodes holds by default."""
EVICTION_SCAN = 16
"""Entries inspected to find one that may be evicted."""
SEARCH_FACTOR = 2
"""How many times the size of a view is searched for the peers heard last; the index is nearly in that order."""
UNSURE, HEARD, SPEAKS = range(3)
"""Of a peer in a view: one identity names it, several heard it, it speaks itself."""
SKIPPED = 4096
"""Most unconfirmed peers passed over to find the others."""
DRAWN = 256
"""Most peers drawn to find some for a start, which must cost the same in a store of any size."""
UNTRUSTED_LATENESS = 1e9
"""Lateness (seconds) of a report that proves nothing about the silence of others."""

SUSPECT, OFFLINE, ASLEEP, LEFT = PeerState.SUSPECT, PeerState.OFFLINE, PeerState.ASLEEP, PeerState.LEFT

WORDS = (LivenessReported, NeighborChanged, NodeAttached, SyncFinished)
"""Events by which the service hears from a node."""


class Report(NamedTuple):
    """The last report about one store: when it came, and its lateness (seconds); infinite before the first."""

    at: float = NEVER
    lateness: float = math.inf


@dataclass(slots=True, eq=False)
class Reporter:
    """A node that talks to the service, attached or not."""

    stores: dict[str, Report] = field(default_factory=dict[str, Report])
    """Store -> its last report about that store; other events do not count."""
    session_id: str = ""
    """The stream that registered it; empty when none did."""
    expected: int = 0
    """How many stores it registered, each of which it reports."""

    def reported_at(self, store_id: str) -> float:
        """Service time of its last report about a store; NEVER before the first."""
        return self.stores.get(store_id, Report()).at

    def record_report(self, store_id: str, interval: float, now: float) -> float:
        """Record a report that comes now; return how late it is (seconds).

        A late observer may have been stopped itself, so what it did not hear counts for less, as with Lifeguard's local
        health (Dadgar et al. 2018). The first report of a stream counts for nothing. Lateness decays over half an
        interval, so a report that is merely repeated does not restore trust.
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
    """Fuses the reports of all nodes: who is online, whose gossip has rotted, and which pairs should sync."""

    def __init__(
        self,
        parameters: LivenessParameters | None = None,
        roster: Roster | None = None,
        starts: StartRate | None = None,
    ) -> None:
        self.parameters = parameters = parameters or LivenessParameters()
        self._pacer = ReportPacer(parameters)
        self.presence = Presence(parameters, self._pacer.next_report)
        self.roster: Roster = roster or EmptyRoster()
        self.diagnosis = Diagnosis(parameters, self.presence, self.roster, starts)
        self._reporters: dict[str, Reporter] = {}
        self._is_overloaded = False
        """Whether it was last found to be."""
        self._arrivals: dict[str, dict[str, None]] = {}
        """Nodes that attached, and their stores of which presence is yet to be told; of one that has gone, none."""
        self._arrivals_at = NEVER
        """When it was last told of some."""
        self._advanced_at = NEVER
        """When presence was last advanced."""
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

    def use(self, roster: Roster) -> None:
        """Learn from this roster which nodes are attached."""
        self.roster = roster
        self.diagnosis.use(roster)

    def handle(self, event: LivenessEvent, now: float) -> list[Finding]:
        """Handle one event at service time ``now`` (seconds, never going backwards) and return the findings."""
        presence = self.presence
        if presence.started_at is None:
            presence.started_at = now
        due_at, heard = presence.next_at(), list[HearingChanged]()
        if due_at is not None and due_at <= now:
            if now - due_at > SERVICE_BEHIND:
                self._pacer.on_behind(now)
                presence.overload.on_behind(now)
            # What one turn leaves is due still: while the turns go on, the service does not stand still.
            if now - max(due_at, self._advanced_at) > SERVICE_PAUSE:
                presence.on_service_paused(now)
            if presence.judge_hearing(now):
                heard.append(DeafnessChanged(presence.hearing.deaf_since()))
            presence.advance(now)
            self._advanced_at = now
        if type(event) in WORDS and presence.hearing.hear(now):
            heard.append(DeafnessChanged(None))
        self._handlers[type(event)](event, now)
        since = self.overloaded_since()
        if (since is None) is self._is_overloaded:
            self._is_overloaded = since is not None
            heard.append(OverloadChanged(since))
        found = self.diagnosis.handle(event, now)
        if not presence.changed:
            return [*heard, *found] if heard else found
        changed, presence.changed = presence.changed, {}
        return [*heard, *map(PresenceChanged, changed), *found]

    def touch(self, node_id: str, store_ids: Iterable[str]) -> list[PresenceChanged]:
        """Have watchers of these stores read a node again: its name changed."""
        touched = [store_id for store_id in store_ids if self.presence.touch(store_id, node_id)]
        return list(map(PresenceChanged, touched))

    def next_deadline(self) -> float | None:
        """The service time at which TimePassed is due; None when nothing can change by itself."""
        if self._arrivals:
            return self._arrivals_at
        return earliest(self.presence.next_at(), self.diagnosis.next_deadline())

    # Events.

    def _on_liveness_reported(self, event: LivenessReported, now: float) -> None:
        presence, node_id = self.presence, event.node_id
        store = presence.ensure_store(event.store_id)
        reporter = self._ensure_reporter(node_id)
        if event.going_to_sleep:
            self._arrivals.get(node_id, {}).pop(event.store_id, None)
            presence.mark_departed(event.store_id, node_id, PeerState.ASLEEP, now)
        reported_at = reporter.reported_at(event.store_id)
        presence.on_self_report(store, node_id, now)
        presence.on_heard(store, node_id, event.heard, now, event.speaker)
        presence.on_neighbors(store, node_id, event.neighbors, now, event.speaker)
        interval = self._pacer.next_report(now)
        lateness = reporter.record_report(event.store_id, interval, now)
        presence.hearing.record_report(node_id, interval, now)
        presence.overload.record_report(node_id, interval, now)
        if interval < event.delay < math.inf:
            presence.overload.record_wait(node_id, now)
        if event.going_to_sleep:
            presence.forget_reporter(node_id)
        presence.advance_informed(store, now - lateness, now)
        self._pacer.count_report(reported_at, now)
        presence.drop_if_empty(store)

    def _on_neighbor_changed(self, event: NeighborChanged, now: float) -> None:
        store = self.presence.ensure_store(event.store_id)
        self.presence.on_self_report(store, event.node_id, now)
        if event.up:
            self.presence.on_neighbors(store, event.node_id, {event.peer_id: event.changed_at}, now, event.speaker)
        self.presence.drop_if_empty(store)

    def _on_node_attached(self, event: NodeAttached, now: float) -> None:
        before = self._reporters.get(event.node_id)
        # A further registration of one stream says where the node is; what its reports proved stands.
        kept = before.stores if before is not None and before.session_id == event.session_id else {}
        stores = {store_id: kept.get(store_id, Report()) for store_id in event.store_ids}
        self._reporters[event.node_id] = Reporter(stores, event.session_id, len(stores))
        self._pacer.expect(len(stores) - (before.expected if before is not None else 0))
        earlier = self._arrivals.pop(event.node_id, ())
        came = [store_id for store_id in stores if store_id not in kept or store_id in earlier]
        if came:
            self._arrivals[event.node_id] = dict.fromkeys(came)
            self._take_arrivals(now)

    def _take_arrivals(self, now: float) -> None:
        """Note that nodes are in the stores with which they attached, up to a bound."""
        room, self._arrivals_at = ARRIVALS, now
        while self._arrivals and room:
            node_id, left = next(iter(self._arrivals.items()))
            room -= self._arrive(node_id, islice(left, room), now)

    def _arrive(self, node_id: str, store_ids: Iterable[str], now: float) -> int:
        """Note that a node is in those stores, which were left to note; returns how many they were."""
        came = list(store_ids)
        left = self._arrivals.get(node_id, {})
        for store_id in came:
            del left[store_id]
            store = self.presence.ensure_store(store_id)
            self.presence.on_self_report(store, node_id, now, clears_departure=True)
            self.presence.drop_if_empty(store)
        if not left:
            self._arrivals.pop(node_id, None)
        return len(came)

    def _on_node_detached(self, event: NodeDetached, now: float) -> None:
        self._arrivals.pop(event.node_id, None)
        reporter = self._reporters.pop(event.node_id, None)
        if reporter is not None:
            self._pacer.expect(-reporter.expected)
        if event.left:
            self.presence.forget_reporter(event.node_id)
            for store_id in self._stores_of(event.node_id):
                self.presence.mark_departed(store_id, event.node_id, PeerState.LEFT, now)

    def _on_nodes_slept(self, event: NodesSlept, now: float) -> None:
        for node_id in event.node_ids:
            self.presence.forget_reporter(node_id)
            came = self._arrivals.get(node_id, {})
            self._arrive(
                node_id, came if event.store_ids is None else [one for one in event.store_ids if one in came], now
            )
            for store_id in self._stores_of(node_id, event.store_ids):
                self.presence.mark_departed(store_id, node_id, PeerState.ASLEEP, now)

    def _on_nodes_woke(self, event: NodesWoke, now: float) -> None:
        for node_id in event.node_ids:
            for store_id in self._stores_of(node_id, event.store_ids):
                self.presence.mark_awake(store_id, node_id, now)

    def _on_sync_finished(self, event: SyncFinished, now: float) -> None:
        store = self.presence.ensure_store(event.store_id)
        self.presence.on_self_report(store, event.node_id, now)
        if event.ok and not self.presence.is_mute(store, event.peer_id):
            self.presence.on_heard(store, event.node_id, {event.peer_id: now}, now, event.speaker)
        self.presence.drop_if_empty(store)

    def _on_time_passed(self, event: TimePassed, now: float) -> None:
        """Go on with nodes that attached; ``handle`` has advanced what was due."""
        self._take_arrivals(now)

    def _stores_of(self, node_id: str, store_ids: Collection[str] | None = None) -> list[str]:
        """The stores of a node that anything is known of, or those among ``store_ids``."""
        own = self.roster.store_ids(node_id)
        chosen = own if store_ids is None else [store_id for store_id in store_ids if store_id in own]
        return [store_id for store_id in chosen if store_id in self.presence.stores]

    def _ensure_reporter(self, node_id: str) -> Reporter:
        """Get or create the reporter; at the limit evict one without an agent: its next report then proves nothing."""
        reporter = self._reporters.get(node_id)
        if reporter is None:
            if len(self._reporters) >= MAX_REPORTERS:
                oldest = islice(self._reporters, EVICTION_SCAN)
                idle = next((one for one in oldest if self.roster.can_sync(one) is None), None)
                evicted = self._reporters.pop(idle or next(iter(self._reporters)))
                self._pacer.expect(-evicted.expected)
            reporter = self._reporters[node_id] = Reporter()
        return reporter

    # Queries.

    def view(self, store_id: str, since: int | None = None, most: int | None = None) -> View:
        """A store's presence, or what changed since a version, if those changes are still kept.

        If more than ``most`` peers changed, the view is full; a full view is cut to the ``most`` peers heard last.
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
        """Rows are chosen before records are built, so the cost follows the size of the view, not of the store.

        Those that speak come before those that are only heard, and those before the unconfirmed.
        """
        table, rows = self.presence.table, list[int](store.index.values())
        if most is not None and len(rows) > most:
            chosen, others, found = list[tuple[int, float, int]](), list[int](), 0
            reported_at, namers = table.reported_at, table.namers
            for row in reversed(rows):
                at = table.seen_at(row)
                if at == NEVER:
                    others.append(row)
                    continue
                rank = SPEAKS if reported_at[row] > NEVER else UNSURE if namers[row] else HEARD
                chosen.append((rank, at, row))
                found += rank is SPEAKS
                if found == SEARCH_FACTOR * most:
                    break
            rows = [*(row for _, _, row in sorted(chosen, reverse=True)), *others][:most]
        rows.sort(key=table.peer_ids.__getitem__)
        return View(store.store_id, store.changes.version, tuple(map(table.record, rows)))

    def version(self, store_id: str) -> int:
        """The version of a store's presence now."""
        store = self.presence.stores.get(store_id)
        return self.presence.version if store is None else store.changes.version

    def changes(
        self, store_id: str, since: int, most: int | None = None
    ) -> list[tuple[int, PeerRecord | None, str]] | None:
        """At most ``most`` changes after a version, oldest first: (version, record or None if forgotten, peer id).

        None when some of them are no longer kept: the reader fell behind and needs a view.
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
        """A peer in an earlier state; the time it was heard is today's."""
        row = store.index.get(peer_id)
        if row is None:
            return PeerRecord(peer_id, state, None, 0)
        return self.presence.table.record(row)._replace(state=state)

    def peers(self, store_id: str, after: str = "") -> Iterator[PeerRecord]:
        """The peers of a store ordered by id, after ``after``; none when the store is unknown. A page is cheap."""
        store = self.presence.stores.get(store_id)
        if store is not None:
            peer_ids = store.ordered()
            for place in range(bisect_right(peer_ids, after), len(peer_ids)):
                row = store.index.get(peer_ids[place])
                if row is not None:  # else it was forgotten while the caller paused
                    yield self.presence.table.record(row)

    def peer_count(self, store_id: str) -> int:
        """Number of peers of a store."""
        store = self.presence.stores.get(store_id)
        return len(store.index) if store else 0

    def count_unknown(self, store_id: str, peer_ids: set[str]) -> int:
        """How many of these peers the store does not know."""
        store = self.presence.stores.get(store_id)
        return len(peer_ids.difference(store.index)) if store else len(peer_ids)

    @property
    def peer_total(self) -> int:
        """Number of tracked (store, peer)."""
        return len(self.presence.table)

    def draw_online(self, store_id: str, identity: str, seed: int, *, speaking: bool) -> Iterator[str]:
        """The peers of a store that are ONLINE, in an order that the seed decides: those that speak, or the others.

        Each is as likely to come first as any other. Without those that only another identity names.
        """
        store, table = self.presence.stores.get(store_id), self.presence.table
        if store is not None:
            pool = store.online_speakers if speaking else store.online_others
            for row in islice(pool.draw(seed), DRAWN):
                if table.namers[row] in ("", identity):
                    yield table.peer_ids[row]

    def last_heard(self, store_id: str, identity: str | None = None) -> Iterator[tuple[str, float, bool]]:
        """The peers of a store that were ever heard, when, and whether each spoke itself; the most recent first.

        None known to be away, and without those that only one identity names, unless it is the one that asks (None:
        all).
        """
        store, table = self.presence.stores.get(store_id), self.presence.table
        if store is not None:
            heard_at, reported_at, states = table.heard_at, table.reported_at, table.states
            namers, skipped = table.namers, 0
            for peer_id, row in reversed(store.index.items()):
                if namers[row] and identity is not None and namers[row] != identity:
                    skipped += 1
                    if skipped == SKIPPED:
                        return
                    continue
                heard, reported = heard_at[row], reported_at[row]
                # As table.seen_at(), written out, because a start looks at many peers.
                at = heard if heard > reported else reported  # noqa: FURB136 - max() costs twice as much
                if at > NEVER and (states[row] <= SUSPECT or not self._is_away(store, peer_id, row)):
                    yield peer_id, at, reported > NEVER

    def has_others(self, store_id: str, node_id: str) -> bool:
        """Whether the store has any known peer besides this node."""
        store = self.presence.stores.get(store_id)
        return store is not None and len(store.index) > (node_id in store.index)

    def are_others_away(self, store_id: str, node_id: str) -> bool:
        """Whether the store has other peers, all of which are offline, asleep or have left."""
        others, present = self._count_others(store_id, node_id)
        return others > 0 == present

    def has_one_other(self, store_id: str, node_id: str) -> bool:
        """Whether just one other peer of the store is not offline, asleep or gone: two devices, the commonest shape."""
        return self._count_others(store_id, node_id)[1] == 1

    def _count_others(self, store_id: str, node_id: str) -> tuple[int, int]:
        """Number of other peers of a store, and of those that are not away."""
        store = self.presence.stores.get(store_id)
        if store is None:
            return 0, 0
        others = len(store.index) - (node_id in store.index)
        away = sum(store.counts[state] for state in AWAY) - (self.presence.state(store_id, node_id) in AWAY)
        apart = (peer_id for peer_id in self.presence.mute_peers(store) if peer_id != node_id)
        return others, others - away + sum(self._is_apart(store, peer_id) for peer_id in apart)

    def _is_apart(self, store: Store, peer_id: str) -> bool:
        """Whether a peer is offline because nobody hears it, although its agent is attached: it is there, cut off."""
        state = self.presence.state(store.store_id, peer_id)
        return state == OFFLINE and self.presence.is_mute(store, peer_id) and self.roster.can_sync(peer_id) is not None

    def takes_part(self, store_id: str, peer_id: str) -> bool:
        """Whether a peer with an agent is there: online, or merely cut off from the others."""
        store = self.presence.stores.get(store_id)
        if store is None:
            return False
        return self.presence.state(store_id, peer_id) is PeerState.ONLINE or self._is_apart(store, peer_id)

    def is_away(self, store_id: str, peer_id: str) -> bool:
        """Whether a peer is known to be away: it said so, or it reported to this service and fell silent.

        That a peer which never reported here is silent proves nothing where each node has a service of its own.
        """
        store = self.presence.stores.get(store_id)
        row = store.index.get(peer_id) if store is not None else None
        return store is not None and row is not None and self._is_away(store, peer_id, row)

    def _is_away(self, store: Store, peer_id: str, row: int) -> bool:
        state = self.presence.table.states[row]
        if state == OFFLINE:
            return self.presence.table.reported_at[row] > NEVER and not self._is_apart(store, peer_id)
        return state in (ASLEEP, LEFT)

    def neighbor_graph(self, store_id: str, now: float) -> NeighborGraph | None:
        """How a store's nodes are linked; None: nothing was reported of it."""
        return self.diagnosis.neighbor_graph(store_id, now)

    def leave_store(self, store_id: str, node_id: str) -> None:
        """Forget what a node said of a store that it no longer has; the next event's findings end its conditions."""
        self.diagnosis.leave_store(store_id, node_id)

    def forget_store(self, store_id: str) -> None:
        """Forget a store that no node has any more; its watchers learn it from the findings of the next event."""
        self.presence.forget_store(store_id)
        self.diagnosis.forget_store(store_id)

    def expect_return(self, count: int) -> None:
        """The owner changed, and so many (node, store) will report to this one."""
        self._pacer.expect_return(count)

    def next_report(self, now: float) -> float:
        """Seconds until a node should report again; grows with the load."""
        return self._pacer.next_report(now)

    def deaf_since(self) -> float | None:
        """When the service last heard from anybody (service time), if it is deaf; None while it hears."""
        return self.presence.hearing.deaf_since()

    def overloaded_since(self) -> float | None:
        """Since when the service has heard some, but too few of its reporters (service time); None otherwise."""
        return None if self.presence.hearing.is_deaf else self.presence.overload.since()

    def counts(self) -> LivenessCounts:
        """The gauges over all stores."""
        return _counts(self.presence.counts, self.diagnosis.pairs_unsynced, self.diagnosis.partitioned)

    def store_counts(self, store_id: str) -> LivenessCounts:
        """The gauges of one store."""
        store = self.presence.stores.get(store_id)
        peers = store.counts if store else [0] * (len(PeerState) + 1)
        return _counts(peers, *self.diagnosis.store_counts(store_id))


def _counts(peers: list[int], pairs_unsynced: int, partitioned: int) -> LivenessCounts:
    return LivenessCounts({state: peers[state] for state in PeerState}, pairs_unsynced, partitioned)
