"""What is wrong with the gossip of each store, found from its nodes' reports. It yields findings, never decisions.

Reports are recorded as they come; a store is evaluated as a whole once enough of its nodes have reported again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from gossipcontrol.server.core.decision import Capability
from gossipcontrol.server.core.diagnosis.store_monitor import PresenceAccess, StoreMonitor
from gossipcontrol.server.core.event import (
    LivenessEvent,
    LivenessReported,
    NeighborChanged,
    NodeAttached,
    NodeDetached,
    NodesSlept,
    SyncFinished,
)
from gossipcontrol.server.core.finding import Finding
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.repair.budget import Budget
from gossipcontrol.server.core.repair.pair_sync import PAIR_LIMIT
from gossipcontrol.server.core.roster import Roster

MAX_STORES_PER_CALL = 64
"""Most stores advanced in one call; if more are due, the next deadline is immediate."""


class Diagnosis:
    """Monitors every store. It reads from ``presence`` who is online, and tells it which peers are mute.

    ``roster`` knows which nodes are attached. The end of a stream comes here only if the stream was its node's last.
    """

    def __init__(self, parameters: LivenessParameters, presence: PresenceAccess, roster: Roster) -> None:
        self.pairs_unsynced = 0
        """Pairs of online peers that never synced since both came online, or are overdue for a direct sync."""
        self.partitioned = 0
        """Stores that are partitioned."""
        self._parameters = parameters
        self._presence = presence
        self._roster = roster
        self._budget = Budget(parameters.sync_rate)
        self._monitors: dict[str, StoreMonitor] = {}
        self._pairs = 0
        self._agenda: list[tuple[float, str]] = []
        """Heap of (time, store): a store is due then or later. Each has one current entry; others are stale."""
        self._closing_findings: list[Finding] = []
        """Findings about forgotten stores, returned with the next event."""
        self._scheduled: dict[str, float] = {}
        """Store -> the time of its current entry."""
        self._handlers: dict[type[Any], Callable[[Any, float], list[Finding]]] = {
            LivenessReported: self._on_reported,
            NeighborChanged: self._on_neighbor_changed,
            NodeAttached: self._on_attached,
            NodeDetached: self._on_detached,
            NodesSlept: self._on_slept,
            SyncFinished: self._on_sync_finished,
        }

    def use(self, roster: Roster) -> None:
        """Learn from this roster which nodes are attached."""
        self._roster = roster

    def handle(self, event: LivenessEvent, now: float) -> list[Finding]:
        """Handle one event at service time ``now`` (seconds, never going backwards) and return the findings."""
        handler = self._handlers.get(type(event))
        found = handler(event, now) if handler else []
        if self._closing_findings:
            found, self._closing_findings = [*self._closing_findings, *found], []
        if self._agenda and self._agenda[0][0] <= now:
            found += self._advance(now)
        return found

    def next_deadline(self) -> float | None:
        """The service time at which TimePassed is due; None when nothing is monitored."""
        return self._agenda[0][0] if self._agenda else None

    def store_counts(self, store_id: str) -> tuple[int, int]:
        """(unsynced pairs, 1 if partitioned else 0) of one store."""
        monitor = self._monitors.get(store_id)
        return (monitor.pair_sync.unsynced, int(monitor.repair.confirmed)) if monitor else (0, 0)

    def leave_store(self, store_id: str, node_id: str) -> None:
        """Forget a node in a store that it no longer has; the next event's findings end its conditions."""
        self._closing_findings += self._detach(store_id, node_id)

    def forget_store(self, store_id: str) -> None:
        """Forget a store that no node has any more; the next event's findings end its conditions."""
        monitor = self._monitors.pop(store_id, None)
        if monitor is not None:
            self._add_to_gauges(monitor, -1)
            self._closing_findings += monitor.close()
            self._scheduled.pop(store_id, None)

    @property
    def monitor_count(self) -> int:
        """Stores that are monitored."""
        return len(self._monitors)

    @property
    def pair_total(self) -> int:
        """Pairs that are tracked."""
        return self._pairs

    # Events.

    def _on_reported(self, event: LivenessReported, now: float) -> list[Finding]:
        can_sync = self._roster.can_sync(event.node_id)
        if can_sync is None and self._says_nothing(event):
            return []
        monitor = self._ensure_monitor(event.store_id)
        if event.node_id not in monitor.attached and can_sync is not None:
            monitor.attach(event.node_id, can_sync, now)
        found = monitor.on_report(event, now)
        self._schedule(monitor)
        return found

    def _says_nothing(self, event: LivenessReported) -> bool:
        """Whether a report of a node without an agent is the first of its store, and names nobody."""
        if event.store_id in self._monitors or event.heard or event.neighbors or event.unsynced_writes:
            return False
        return len(self._presence.online(event.store_id)) <= 1

    def _on_neighbor_changed(self, event: NeighborChanged, now: float) -> list[Finding]:
        monitor = self._monitors.get(event.store_id)
        if monitor is None:
            return []
        found = monitor.on_neighbor_changed(event, now)
        self._schedule(monitor)
        return found

    def _on_attached(self, event: NodeAttached, now: float) -> list[Finding]:
        found: list[Finding] = []
        for store_id in event.store_ids:
            monitor = self._ensure_monitor(store_id)
            if monitor.attached.get(event.node_id, event.incarnation) != event.incarnation:
                found += monitor.forget_node(event.node_id)
            monitor.attach(event.node_id, Capability.SYNC_WITH_PEER in event.capabilities, now, event.incarnation)
            self._schedule(monitor)
        return found

    def _on_detached(self, event: NodeDetached, now: float) -> list[Finding]:
        del now
        stores = sorted(self._roster.store_ids(event.node_id))
        return [finding for store_id in stores for finding in self._detach(store_id, event.node_id)]

    def _on_slept(self, event: NodesSlept, now: float) -> list[Finding]:
        del now
        found: list[Finding] = []
        for node_id in event.node_ids:
            for store_id in sorted(self._roster.store_ids(node_id)):
                monitor = self._monitors.get(store_id)
                found += monitor.forget_node(node_id) if monitor else []
        return found

    def _on_sync_finished(self, event: SyncFinished, now: float) -> list[Finding]:
        monitor = self._monitors.get(event.store_id)
        if monitor is None:
            return []
        found = monitor.on_sync_finished(event, now)
        self._schedule(monitor)
        return found

    # Time.

    def _advance(self, now: float) -> list[Finding]:
        found: list[Finding] = []
        for _ in range(MAX_STORES_PER_CALL):
            if not self._agenda or self._agenda[0][0] > now:
                break
            at, store_id = heappop(self._agenda)
            monitor = self._monitors.get(store_id)
            if monitor is None or self._scheduled.get(store_id) != at:
                continue
            del self._scheduled[store_id]
            if monitor.next_at() <= now:
                self._add_to_gauges(monitor, -1)
                found += monitor.advance(PAIR_LIMIT - self._pairs, now)
                self._add_to_gauges(monitor, 1)
            if monitor.is_empty:
                monitor.clear_mutes(now)
                self.forget_store(store_id)
            else:
                self._schedule(monitor)
        self._budget.prune(now)
        return found

    def _add_to_gauges(self, monitor: StoreMonitor, sign: int) -> None:
        """Add (1) or subtract (-1) a store's share of the gauges; subtract before it changes."""
        self.pairs_unsynced += sign * monitor.pair_sync.unsynced
        self.partitioned += sign * monitor.repair.confirmed
        self._pairs += sign * len(monitor.pair_sync.pairs)

    def _schedule(self, monitor: StoreMonitor) -> None:
        at = monitor.next_at()
        if at < self._scheduled.get(monitor.store_id, math.inf):
            self._scheduled[monitor.store_id] = at
            heappush(self._agenda, (at, monitor.store_id))

    def _ensure_monitor(self, store_id: str) -> StoreMonitor:
        monitor = self._monitors.get(store_id)
        if monitor is None:
            monitor = self._monitors[store_id] = StoreMonitor(store_id, self._parameters, self._presence, self._budget)
        return monitor

    def _detach(self, store_id: str, node_id: str) -> list[Finding]:
        monitor = self._monitors.get(store_id)
        if monitor is None:
            return []
        self._add_to_gauges(monitor, -1)
        found = monitor.detach(node_id)
        self._add_to_gauges(monitor, 1)
        return found
