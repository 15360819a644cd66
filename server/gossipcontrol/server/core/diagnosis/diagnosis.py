"""What is wrong with the gossip of each store, from what its nodes report: findings, never decisions.

Reports are taken as they come; a store is looked at as a whole once enough of its nodes have reported anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

from gossipcontrol.server.core.decision import Capability
from gossipcontrol.server.core.diagnosis.store_monitor import Roster, StoreMonitor
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

AT_ONCE = 64
"""Most stores advanced in one call; the next deadline is at once when more are due."""


@dataclass(slots=True, eq=False)
class _Agent:
    """A node that is attached."""

    session_id: str
    incarnation: str
    can_sync: bool
    store_ids: set[str] = field(default_factory=set[str])


class Diagnosis:
    """All stores. ``presence`` is asked who is online, and told whose broadcasts reach nobody."""

    def __init__(self, parameters: LivenessParameters, presence: Roster) -> None:
        self.pairs_unsynced = 0
        """Pairs that are online and have never met since, or are overdue for a direct sync."""
        self.partitioned = 0
        """Stores whose live nodes fall apart."""
        self._parameters = parameters
        self._presence = presence
        self._budget = Budget(parameters.sync_rate)
        self._cases: dict[str, StoreMonitor] = {}
        self._agents: dict[str, _Agent] = {}
        self._pairs = 0
        self._agenda: list[tuple[float, str]] = []
        """When a store is due, at that or later; each store once, or more often after it became due earlier."""
        self._ended: list[Finding] = []
        """What is yet to be said of stores that were forgotten."""
        self._noted: dict[str, float] = {}
        """The earliest entry of each store."""
        self._handlers: dict[type[Any], Callable[[Any, float], list[Finding]]] = {
            LivenessReported: self._on_report,
            NeighborChanged: self._on_neighbor,
            NodeAttached: self._on_attached,
            NodeDetached: self._on_detached,
            NodesSlept: self._on_slept,
            SyncFinished: self._on_sync,
        }

    def handle(self, event: LivenessEvent, now: float) -> list[Finding]:
        """Take one event at service time ``now`` (seconds, never going backwards) and say what it shows."""
        handler = self._handlers.get(type(event))
        found = handler(event, now) if handler else []
        if self._ended:
            found, self._ended = [*self._ended, *found], []
        if self._agenda and self._agenda[0][0] <= now:
            found += self._advance(now)
        return found

    def next_deadline(self) -> float | None:
        """The service time at which TimePassed is due; None when nothing is observed."""
        return self._agenda[0][0] if self._agenda else None

    def store_counts(self, store_id: str) -> tuple[int, int]:
        """Pairs unsynced, and whether it is partitioned (1), of one store."""
        case = self._cases.get(store_id)
        return (case.matchmaker.owed, int(case.reunion.stands)) if case else (0, 0)

    def forget_store(self, store_id: str) -> None:
        """Forget a store that no node has any longer; the next event's findings say what is suspected no longer."""
        case = self._cases.pop(store_id, None)
        if case is not None:
            self._count(case, -1)
            self._ended += case.end()
            self._noted.pop(store_id, None)

    # Events.

    def _on_report(self, event: LivenessReported, now: float) -> list[Finding]:
        case = self._case(event.store_id)
        agent = self._agents.get(event.node_id)
        if agent is not None and event.store_id not in agent.store_ids:
            agent.store_ids.add(event.store_id)
            case.attach(event.node_id, agent.can_sync, now)
        found = case.report(event, now)
        self._note(case)
        return found

    def _on_neighbor(self, event: NeighborChanged, now: float) -> list[Finding]:
        case = self._cases.get(event.store_id)
        if case is not None:
            case.change(event, now)
            self._note(case)
        return []

    def _on_attached(self, event: NodeAttached, now: float) -> list[Finding]:
        found: list[Finding] = []
        old = self._agents.get(event.node_id)
        agent = _Agent(event.session_id, event.incarnation, Capability.SYNC_WITH_PEER in event.capabilities)
        agent.store_ids = set(event.store_ids)
        self._agents[event.node_id] = agent
        for store_id in sorted(old.store_ids - agent.store_ids) if old else ():
            found += self._leave(store_id, event.node_id)
        for store_id in event.store_ids:
            case = self._case(store_id)
            if old is not None and old.incarnation != event.incarnation:
                found += case.forget(event.node_id)
            case.attach(event.node_id, agent.can_sync, now)
            self._note(case)
        return found

    def _on_detached(self, event: NodeDetached, now: float) -> list[Finding]:
        del now
        agent = self._agents.get(event.node_id)
        if agent is None or agent.session_id != event.session_id:
            return []
        del self._agents[event.node_id]
        return [one for store_id in sorted(agent.store_ids) for one in self._leave(store_id, event.node_id)]

    def _on_slept(self, event: NodesSlept, now: float) -> list[Finding]:
        del now
        found: list[Finding] = []
        for node_id in event.node_ids:
            agent = self._agents.get(node_id)
            for store_id in sorted(agent.store_ids) if agent else ():
                case = self._cases.get(store_id)
                found += case.forget(node_id) if case else []
        return found

    def _on_sync(self, event: SyncFinished, now: float) -> list[Finding]:
        case = self._cases.get(event.store_id)
        if case is None:
            return []
        found = case.finish_sync(event, now)
        self._note(case)
        return found

    # Time.

    def _advance(self, now: float) -> list[Finding]:
        found: list[Finding] = []
        for _ in range(AT_ONCE):
            if not self._agenda or self._agenda[0][0] > now:
                break
            at, store_id = heappop(self._agenda)
            case = self._cases.get(store_id)
            if case is None or self._noted.get(store_id) != at:
                continue
            del self._noted[store_id]
            if case.next_at() <= now:
                self._count(case, -1)
                found += case.advance(PAIR_LIMIT - self._pairs, now)
                self._count(case, 1)
            if case.is_over:
                case.unhush(now)
                self.forget_store(store_id)
            else:
                self._note(case)
        self._budget.forget(now)
        return found

    def _count(self, case: StoreMonitor, sign: int) -> None:
        """Add what a store has to the gauges, or take it away before it changes."""
        self.pairs_unsynced += sign * case.matchmaker.owed
        self.partitioned += sign * case.reunion.stands
        self._pairs += sign * len(case.matchmaker.pairs)

    def _note(self, case: StoreMonitor) -> None:
        at = case.next_at()
        if at < self._noted.get(case.store_id, math.inf):
            self._noted[case.store_id] = at
            heappush(self._agenda, (at, case.store_id))

    def _case(self, store_id: str) -> StoreMonitor:
        case = self._cases.get(store_id)
        if case is None:
            case = self._cases[store_id] = StoreMonitor(store_id, self._parameters, self._presence, self._budget)
        return case

    def _leave(self, store_id: str, node_id: str) -> list[Finding]:
        case = self._cases.get(store_id)
        if case is None:
            return []
        self._count(case, -1)
        found = case.detach(node_id)
        self._count(case, 1)
        return found
