"""Submits events of knowledge, waits until they are durable, and refreshes the gauges."""

from __future__ import annotations

import asyncio
import time

from gossipcontrol.server.core.knowledge.event import IntentionsRecorded, KnowledgeEvent
from gossipcontrol.server.core.knowledge.tracker import Recorded
from gossipcontrol.server.errors import Overloaded
from gossipcontrol.server.observe.metrics_knowledge import KnowledgeMetrics
from gossipcontrol.server.runtime.dispatcher import Dispatcher

GAUGE_INTERVAL = 0.1
"""Least seconds between the gauges of two stores; Prometheus scrapes every few seconds."""
GAUGE_SHARE = 0.05
"""Largest share of time for gauges: those of a store with a thousand authors take 20 ms."""
UNCOMMITTED_LIMIT = 64
"""Most events that wait for a commit before the next is accepted: a few megabytes of full batches."""
NO_ROOM_RETRY = 60.0
"""Seconds after which intentions that found no room may be sent again."""


class KnowledgeDispatcher:
    """Submits each event at once; callers wait with ``kept`` before they answer. Runs in one event loop."""

    def __init__(self, dispatcher: Dispatcher, metrics: KnowledgeMetrics) -> None:
        self.store = dispatcher.core.knowledge
        self.clock = dispatcher.clock
        self._dispatcher = dispatcher
        self._metrics = metrics
        self._outbox = dispatcher.outbox
        self._stale: dict[str, None] = {}
        """Stores with outdated gauges, the longest outdated first."""
        self._numbers: dict[str, int] = {}
        """Number of the last logged event of each store."""
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Show the gauges of all stores."""
        for store_id in self.store.store_ids():
            self._show(store_id)

    async def submit(self, event: KnowledgeEvent) -> Recorded:
        """Handle an event now; it is durable once ``kept`` returns.

        Raises Overloaded when some intentions found no room (the others stay), StateFailing when nothing can be stored.
        """
        self._outbox.check()
        if isinstance(event, IntentionsRecorded) and not self._outbox.has_room():
            # A change of members is still accepted, because removing a dead peer may make room.
            raise Overloaded("intentions fill their half of the state file", NO_ROOM_RETRY)
        turn = self._dispatcher.submit(event)
        outcome = turn.outcome
        assert outcome is not None, "the core answers every event of knowledge"
        if turn.number:
            self._numbers[event.store_id] = turn.number
        self._metrics.count(outcome.recorded)
        if self.store.tracker(event.store_id):
            self._show(event.store_id)
        await self._outbox.kept(turn.number - UNCOMMITTED_LIMIT)
        if outcome.full:
            raise Overloaded(outcome.full, NO_ROOM_RETRY)
        return outcome.recorded

    async def kept(self, store_id: str | None = None) -> None:
        """Wait until all events, or all of a store, are durable; raises StateFailing when they may be lost.

        An earlier answer could be undone by a crash: a stability frontier would fall after peers have pruned by it.
        """
        await self._outbox.kept(None if store_id is None else self._numbers.get(store_id, 0))

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _show(self, store_id: str) -> None:
        self._stale[store_id] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GAUGE_INTERVAL, self._refresh)

    def _refresh(self) -> None:
        self._timer = None
        if not self._stale:
            return
        store_id = next(iter(self._stale))
        del self._stale[store_id]
        started_at = time.perf_counter()
        self._metrics.show(self.store.counts(store_id))
        wait = max(GAUGE_INTERVAL, (time.perf_counter() - started_at) / GAUGE_SHARE)
        # The timer runs even when no gauge is outdated, so that the next event does not shorten the wait.
        self._timer = asyncio.get_running_loop().call_later(wait, self._refresh)
