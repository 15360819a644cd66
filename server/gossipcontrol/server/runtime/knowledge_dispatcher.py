"""The one place where events enter knowledge: handled, counted, and shown to Prometheus."""

from __future__ import annotations

import asyncio
import time

from gossipcontrol.server.core.knowledge.event import IntentionsRecorded, KnowledgeEvent
from gossipcontrol.server.core.knowledge.tracker import Recorded
from gossipcontrol.server.errors import Overloaded
from gossipcontrol.server.observe.metrics_knowledge import KnowledgeMetrics
from gossipcontrol.server.runtime.dispatcher import Dispatcher

REFRESH = 0.1
"""Least seconds between two stores' gauges: nobody scrapes more often than every few seconds."""
SHARE = 0.05
"""Most of the time that gauges may take: those of a store with a thousand authors cost 20 ms."""
UNKEPT = 64
"""Most facts that may wait for the disk before more are taken: of full batches a few megabytes."""
FULL_BOOK_RETRY = 60.0
"""Seconds after which what found no room may be recorded again."""


class KnowledgeDispatcher:
    """Submits events of knowledge: they happen at once; whoever acknowledges one waits until it is kept."""

    def __init__(self, dispatcher: Dispatcher, metrics: KnowledgeMetrics) -> None:
        self.store = dispatcher.core.knowledge
        self.clock = dispatcher.clock
        self._dispatcher = dispatcher
        self._metrics = metrics
        self._outbox = dispatcher.outbox
        self._stale: dict[str, None] = {}
        """Stores whose gauges are not up to date, the longest first."""
        self._numbers: dict[str, int] = {}
        """The last fact of each store."""
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Show the gauges of the stores that there are."""
        for store_id in self.store.store_ids():
            self._show(store_id)

    async def submit(self, event: KnowledgeEvent) -> Recorded:
        """Let an event happen now; it is kept soon, but not yet.

        Raises Overloaded when something found no room (what did stays), StateFailing when nothing can be kept.
        """
        self._outbox.check()
        if isinstance(event, IntentionsRecorded) and not self._outbox.has_room():
            # A change of members is taken all the same: that a dead peer is removed may be what makes room.
            raise Overloaded("intentions take up half of the state file already", FULL_BOOK_RETRY)
        turn = self._dispatcher.submit(event)
        outcome = turn.outcome
        assert outcome is not None, "the core answers every event of knowledge"
        if turn.number:
            self._numbers[event.store_id] = turn.number
        self._metrics.count(outcome.recorded)
        if self.store.tracker(event.store_id):
            self._show(event.store_id)
        await self._outbox.kept(turn.number - UNKEPT)
        if outcome.full:
            raise Overloaded(outcome.full, FULL_BOOK_RETRY)
        return outcome.recorded

    async def kept(self, store_id: str | None = None) -> None:
        """Wait until all that happened, or all of a store, is kept; raises StateFailing when it may be lost.

        What is answered before could be taken back by a crash: a frontier would fall that somebody has pruned by.
        """
        await self._outbox.kept(None if store_id is None else self._numbers.get(store_id, 0))

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _show(self, store_id: str) -> None:
        self._stale[store_id] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(REFRESH, self._refresh)

    def _refresh(self) -> None:
        self._timer = None
        if not self._stale:
            return
        store_id = next(iter(self._stale))
        del self._stale[store_id]
        started_at = time.perf_counter()
        self._metrics.show(self.store.counts(store_id))
        wait = max(REFRESH, (time.perf_counter() - started_at) / SHARE)
        # The timer stays on for that long even when nothing is stale now: the next event must not shorten the wait.
        self._timer = asyncio.get_running_loop().call_later(wait, self._refresh)
