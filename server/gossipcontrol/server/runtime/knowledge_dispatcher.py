"""The one place where events enter knowledge: handled, counted, and shown to Prometheus."""

from __future__ import annotations

import asyncio
import time

from gossipcontrol.server.core.knowledge.event import IntentionsRecorded, KnowledgeEvent
from gossipcontrol.server.core.knowledge.store import KnowledgeStore
from gossipcontrol.server.core.knowledge.tracker import Recorded
from gossipcontrol.server.errors import Overloaded
from gossipcontrol.server.observe.metrics_knowledge import KnowledgeMetrics
from gossipcontrol.server.runtime.clock import ServiceClock
from gossipcontrol.server.runtime.outbox import Outbox

REFRESH = 0.1
"""Least seconds between two stores' gauges: nobody scrapes more often than every few seconds."""
SHARE = 0.05
"""Most of the time that gauges may take: those of a store with a thousand authors cost 20 ms."""
BEHIND = 64
"""Most facts that may wait for the disk before more are taken: of full batches a few megabytes."""
FULL_BOOK_RETRY = 60.0
"""Seconds after which what found no room may be recorded again."""


class KnowledgeDispatcher:
    """book -> log: the book takes an event at once; whoever acknowledges it waits until it is kept.

    Runs in one event loop.
    """

    def __init__(self, book: KnowledgeStore, clock: ServiceClock, metrics: KnowledgeMetrics, outbox: Outbox) -> None:
        self.book = book
        self.clock = clock
        self._metrics = metrics
        self._outbox = outbox
        self._stale: dict[str, None] = {}
        """Stores whose gauges are not up to date, the longest first."""
        self._numbers: dict[str, int] = {}
        """The last fact of each store."""
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Show the gauges of the stores that there are."""
        for store_id in self.book.store_ids():
            self._show(store_id)

    async def submit(self, event: KnowledgeEvent) -> Recorded:
        """Let an event happen now; it is kept soon, but not yet.

        Raises Overloaded when something found no room (what did stays), StateFailing when nothing can be kept.
        """
        self._outbox.check()
        if isinstance(event, IntentionsRecorded) and not self._outbox.has_room():
            # A change of members is taken all the same: that a dead peer is removed may be what makes room.
            raise Overloaded("intentions take up half of the state file already", FULL_BOOK_RETRY)
        now = self.clock.now()
        outcome = self.book.handle(event, now)
        number = 0
        if outcome.fact is not None:
            number = self._numbers[event.store_id] = self._outbox.note(outcome.fact, outcome.room, now)
        self._metrics.count(outcome.recorded)
        if self.book.tracker(event.store_id):
            self._show(event.store_id)
        await self._outbox.kept(number - BEHIND)
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
        self._metrics.show(self.book.counts(store_id))
        wait = max(REFRESH, (time.perf_counter() - started_at) / SHARE)
        # The timer stays on for that long even when nothing is stale now: the next event must not shorten the wait.
        self._timer = asyncio.get_running_loop().call_later(wait, self._refresh)
