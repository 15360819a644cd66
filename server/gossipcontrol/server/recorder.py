"""The one place where events enter knowledge: handled, counted, and shown to Prometheus."""

from __future__ import annotations

import asyncio
import time

from gossipcontrol.server.clock import ServiceClock
from gossipcontrol.server.core.knowledge.book import Book
from gossipcontrol.server.core.knowledge.event import KnowledgeEvent
from gossipcontrol.server.core.knowledge.tracker import Recorded
from gossipcontrol.server.errors import Overloaded
from gossipcontrol.server.knowledge_metrics import KnowledgeMetrics

REFRESH = 0.1
"""Least seconds between two stores' gauges: nobody scrapes more often than every few seconds."""
SHARE = 0.05
"""Most of the time that gauges may take: those of a store with a thousand authors cost 20 ms."""
FULL_BOOK_RETRY = 60.0
"""Seconds after which what found no room may be recorded again."""


class Recorder:
    """log -> book: a log will be appended to at the top of ``submit``. Runs in one event loop."""

    def __init__(self, book: Book, clock: ServiceClock, metrics: KnowledgeMetrics) -> None:
        self.book = book
        self.clock = clock
        self._metrics = metrics
        self._stale: dict[str, None] = {}
        """Stores whose gauges are not up to date, the longest first."""
        self._timer: asyncio.TimerHandle | None = None

    def submit(self, event: KnowledgeEvent) -> Recorded:
        """Let an event happen now; raises Overloaded when something found no room. What did stays."""
        outcome = self.book.handle(event, self.clock.now())
        self._metrics.count(outcome.recorded)
        if self.book.tracker(event.store_id):
            self._stale[event.store_id] = None
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(REFRESH, self._refresh)
        if outcome.full:
            raise Overloaded(outcome.full, FULL_BOOK_RETRY)
        return outcome.recorded

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _refresh(self) -> None:
        self._timer = None
        if not self._stale:
            return
        store_id = next(iter(self._stale))
        del self._stale[store_id]
        started_at = time.perf_counter()
        self._metrics.show(self.book.counts(store_id))
        wait = max(REFRESH, (time.perf_counter() - started_at) / SHARE)
        # The timer stays on for that long even when nothing is stale now: the next event must not shorten the wait.
        self._timer = asyncio.get_running_loop().call_later(wait, self._refresh)
