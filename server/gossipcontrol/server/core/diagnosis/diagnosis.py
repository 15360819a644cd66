"""What is wrong with the gossip of each store, found from its nodes' reports. It yields findings, never decisions.

Reports are recorded as they come; a store is evaluated as a whole once enough of its nodes have reported again.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator
from functools import partial
from heapq import heappop, heappush
from typing import Any

from gossipcontrol.server.core.decision import Capability
from gossipcontrol.server.core.diagnosis.neighbor_graph import NeighborGraph, neighbor_graph
from gossipcontrol.server.core.diagnosis.rot_budget import RotBudget, StartRate
from gossipcontrol.server.core.diagnosis.store_monitor import PresenceAccess, StoreMonitor
from gossipcontrol.server.core.event import (
    NEVER,
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

PARTS_PER_CALL = 16
"""Parts of work on due stores done in one call, 0.1 ms each; if more is due, the next deadline is immediate."""
PARTS_PER_FINDING = 2
"""What a finding costs in parts: a trigger may be decided because of it."""
MAX_ADVANCING = 8
"""Most stores that take turns; the others wait."""


class Diagnosis:
    """Monitors every store. It reads from ``presence`` who is online, and tells it which peers are mute.

    ``roster`` knows which nodes are attached. The end of a stream comes here only if the stream was its node's last.
    """

    def __init__(
        self,
        parameters: LivenessParameters,
        presence: PresenceAccess,
        roster: Roster,
        starts: StartRate | None = None,
    ) -> None:
        self.pairs_unsynced = 0
        """Pairs of online peers that never synced since both came online, or are overdue for a direct sync."""
        self.partitioned = 0
        """Stores that are partitioned."""
        self._parameters = parameters
        self._presence = presence
        self._roster = roster
        self._budget = Budget(parameters.sync_rate)
        self.rot_budget = RotBudget(starts or StartRate())
        self._monitors: dict[str, StoreMonitor] = {}
        self._pairs = 0
        self._counted: dict[str, tuple[int, int, int]] = {}
        """Store -> its share of the gauges and of the pairs."""
        self._advancing: deque[tuple[StoreMonitor, Generator[list[Finding]]]] = deque()
        """Stores whose due work is not done yet; the first one has the next turn."""
        self._advanced_at = NEVER
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
        if self._advancing or (self._agenda and self._agenda[0][0] <= now):
            self._advanced_at = now
            found += self._advance(now)
        return found

    def next_deadline(self) -> float | None:
        """The service time at which TimePassed is due; None when nothing is monitored."""
        if self._advancing:
            return self._advanced_at
        return self._agenda[0][0] if self._agenda else None

    def store_counts(self, store_id: str) -> tuple[int, int]:
        """(unsynced pairs, 1 if partitioned else 0) of one store."""
        monitor = self._monitors.get(store_id)
        return (monitor.pair_sync.unsynced, int(monitor.repair.partitioned)) if monitor else (0, 0)

    def neighbor_graph(self, store_id: str, now: float) -> NeighborGraph | None:
        """How a store's nodes are linked; None: nothing was reported of it."""
        monitor = self._monitors.get(store_id)
        return None if monitor is None else neighbor_graph(monitor, now)

    def troubled_nodes(self, store_id: str) -> int:
        """Number of a store's nodes with a condition that stands."""
        monitor = self._monitors.get(store_id)
        return len(monitor.conditions.nodes()) if monitor else 0

    def leave_store(self, store_id: str, node_id: str) -> None:
        """Forget a node in a store that it no longer has; the next event's findings end its conditions."""
        self._closing_findings += self._detach(store_id, node_id)

    def forget_store(self, store_id: str) -> None:
        """Forget a store that no node has any more; the next event's findings end its conditions."""
        monitor = self._monitors.pop(store_id, None)
        if monitor is not None:
            self._advancing = deque(one for one in self._advancing if one[0] is not monitor)
            self._count(store_id, (0, 0, 0))
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
        monitor = self._monitors.get(event.store_id) or self._ensure_monitor(event.store_id)
        if monitor.is_advancing:
            return self._do(monitor, partial(self._report, monitor, event, now))
        found = self._report(monitor, event, now)
        self._schedule(monitor)
        return found

    def _report(self, monitor: StoreMonitor, event: LivenessReported, now: float) -> list[Finding]:
        if event.node_id not in monitor.attached:
            can_sync = self._roster.can_sync(event.node_id)
            if can_sync is not None:
                monitor.attach(event.node_id, can_sync, now)
        return monitor.on_report(event, now)

    def _says_nothing(self, event: LivenessReported) -> bool:
        """Whether a report of a node without an agent is the first of its store, and names nobody."""
        if event.store_id in self._monitors or event.heard or event.neighbors or event.unsynced_writes:
            return False
        return len(self._presence.online(event.store_id)) <= 1

    def _on_neighbor_changed(self, event: NeighborChanged, now: float) -> list[Finding]:
        monitor = self._monitors.get(event.store_id)
        return self._do(monitor, partial(monitor.on_neighbor_changed, event, now)) if monitor is not None else []

    def _on_attached(self, event: NodeAttached, now: float) -> list[Finding]:
        found: list[Finding] = []
        for store_id in event.store_ids:
            monitor = self._ensure_monitor(store_id)
            found += self._do(monitor, partial(self._attach, monitor, event, now))
        return found

    def _attach(self, monitor: StoreMonitor, event: NodeAttached, now: float) -> list[Finding]:
        restarted = monitor.attached.get(event.node_id, event.incarnation) != event.incarnation
        found = monitor.forget_node(event.node_id) if restarted else []
        monitor.attach(event.node_id, Capability.SYNC_WITH_PEER in event.capabilities, now, event.incarnation)
        return found

    def _on_detached(self, event: NodeDetached, now: float) -> list[Finding]:
        del now
        stores = sorted(self._roster.store_ids(event.node_id))
        return [finding for store_id in stores for finding in self._detach(store_id, event.node_id)]

    def _on_slept(self, event: NodesSlept, now: float) -> list[Finding]:
        del now
        found: list[Finding] = []
        for node_id in event.node_ids:
            own = self._roster.store_ids(node_id)
            for store_id in sorted(own if event.store_ids is None else event.store_ids):
                monitor = self._monitors.get(store_id)
                if monitor is not None and store_id in own:
                    found += self._do(monitor, partial(monitor.forget_node, node_id))
        return found

    def _on_sync_finished(self, event: SyncFinished, now: float) -> list[Finding]:
        monitor = self._monitors.get(event.store_id)
        return self._do(monitor, partial(monitor.on_sync_finished, event, now)) if monitor is not None else []

    def _do(self, monitor: StoreMonitor, act: Callable[[], list[Finding]]) -> list[Finding]:
        """Do something to a store now, or once what is due there is done."""
        if monitor.is_advancing:
            monitor.held.append(act)
            return []
        found = act()
        self._schedule(monitor)
        return found

    # Time.

    def _advance(self, now: float) -> list[Finding]:
        """Go on with what is due, up to a bound; stores of any size take turns."""
        found: list[Finding] = []
        left = PARTS_PER_CALL
        self._begin_due(now)
        while left > 0 and (self._advancing or self._begin_due(now)):
            monitor, parts = self._advancing[0]
            for part in parts:
                found += part
                left -= 1 + PARTS_PER_FINDING * len(part)
                if left <= 0:
                    break
            self._recount(monitor)
            if left > 0:  # that were all of its parts
                self._advancing.popleft()
                self._end(monitor, now)
                left -= 1
        self._advancing.rotate(-1)
        self._budget.prune(now)
        return found

    def _begin_due(self, now: float) -> bool:
        """Let the next store that is due have its turn first; returns whether there is one."""
        while self._agenda and self._agenda[0][0] <= now and len(self._advancing) < MAX_ADVANCING:
            at, store_id = heappop(self._agenda)
            monitor = self._monitors.get(store_id)
            if monitor is None or self._scheduled.get(store_id) != at:
                continue
            del self._scheduled[store_id]
            if monitor.next_at() <= now:
                self._advancing.appendleft((monitor, monitor.advance(PAIR_LIMIT - self._pairs, now)))
                return True
            self._end(monitor, now)
        return False

    def _end(self, monitor: StoreMonitor, now: float) -> None:
        """All that was due in a store is done."""
        if monitor.is_empty:
            monitor.clear_mutes(now)
            self.forget_store(monitor.store_id)
        else:
            self._schedule(monitor)

    def _recount(self, monitor: StoreMonitor) -> None:
        pairs = monitor.pair_sync
        self._count(monitor.store_id, (pairs.unsynced, int(monitor.repair.partitioned), len(pairs.pairs)))

    def _count(self, store_id: str, share: tuple[int, int, int]) -> None:
        """Set a store's share of the gauges and of the pairs."""
        before = self._counted.pop(store_id, (0, 0, 0))
        if any(share):
            self._counted[store_id] = share
        self.pairs_unsynced += share[0] - before[0]
        self.partitioned += share[1] - before[1]
        self._pairs += share[2] - before[2]

    def _schedule(self, monitor: StoreMonitor) -> None:
        at = monitor.next_at()
        if at < self._scheduled.get(monitor.store_id, math.inf):
            self._scheduled[monitor.store_id] = at
            heappush(self._agenda, (at, monitor.store_id))

    def _ensure_monitor(self, store_id: str) -> StoreMonitor:
        monitor = self._monitors.get(store_id)
        if monitor is None:
            monitor = self._monitors[store_id] = StoreMonitor(
                store_id, self._parameters, self._presence, self._budget, self.rot_budget
            )
        return monitor

    def _detach(self, store_id: str, node_id: str) -> list[Finding]:
        monitor = self._monitors.get(store_id)
        if monitor is None:
            return []
        return self._do(monitor, partial(self._detach_from, monitor, node_id))

    def _detach_from(self, monitor: StoreMonitor, node_id: str) -> list[Finding]:
        found = monitor.detach(node_id)
        self._recount(monitor)
        return found
