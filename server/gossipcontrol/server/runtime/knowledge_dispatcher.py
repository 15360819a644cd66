"""Submits events of knowledge in parts, waits until they are durable, and refreshes the gauges."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace

from gossipcontrol.server.core.knowledge.event import IntentionsRecorded, KnowledgeEvent, MembersChanged
from gossipcontrol.server.core.knowledge.membership import Undone
from gossipcontrol.server.core.knowledge.store import Outcome
from gossipcontrol.server.core.knowledge.tracker import Recorded
from gossipcontrol.server.errors import Overloaded
from gossipcontrol.server.observe.metrics_knowledge import KnowledgeMetrics
from gossipcontrol.server.runtime.dispatcher import Dispatcher
from gossipcontrol.server.runtime.slices import in_slices
from gossipcontrol.server.runtime.turns import wait_turn

GAUGE_INTERVAL = 0.1
"""Least seconds between the gauges of two stores; Prometheus scrapes every few seconds."""
GAUGE_SHARE = 0.05
"""Largest share of time for gauges: those of a store with thousands of authors take hundreds of milliseconds."""
UNCOMMITTED_LIMIT = 64
"""Most events that wait for a commit before the next is accepted: a few megabytes of full batches."""
NO_ROOM_RETRY = 60.0
"""Seconds after which intentions that found no room may be sent again: a guess, for room comes when peers acknowledge
what they hold, a peer is removed or a store is forgotten, which the service cannot foretell."""
PART_NAMES = 500
"""Most intentions and dependencies of a batch that are handled in one go, in a store of few chains."""
PART_CHAINS = 500
"""Chains that make an intention cost as much again."""
STEP_INTERVAL = 0.02
"""Least seconds between two steps of what is pending, one store after the other."""
STEP_SHARE = 0.2
"""Largest share of time for those steps."""
STEP_RETRY = 1.0
"""Seconds until the next step while nothing can be stored."""


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
        self._refreshing: asyncio.Task[None] | None = None
        self._pending: dict[str, None] = {}
        """Stores in which something is pending, the next first."""
        self._step_timer: asyncio.TimerHandle | None = None
        self._departure_timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Show the gauges of all stores, and go on with what is pending."""
        for store_id in self.store.store_ids():
            self._show(store_id)
            self._go_on(store_id)
        self._await_departures()

    async def submit(self, event: KnowledgeEvent) -> Recorded:
        """Handle an event now, a large batch in parts between which other work goes on; durable once ``kept`` returns.

        Raises Overloaded when some intentions found no room (the others stay), StateFailing when nothing can be stored.
        """
        total = Recorded()
        for number, part in enumerate(self._parts(event)):
            if number:
                await wait_turn()
            recorded = self._submit(part)
            total = Recorded(*(sum(pair) for pair in zip(total, recorded, strict=True)))
            await self._outbox.kept(self._numbers.get(event.store_id, 0) - UNCOMMITTED_LIMIT)
        return total

    async def change_members(self, event: MembersChanged) -> Undone:
        """Change the members of a store; returns what an undo did. Raises as ``submit`` does."""
        self._outbox.check()
        outcome = self._record(event)
        self._go_on(event.store_id)
        self._await_departures()
        if outcome.full:
            raise Overloaded(outcome.full, NO_ROOM_RETRY)
        await self._outbox.kept(self._numbers.get(event.store_id, 0) - UNCOMMITTED_LIMIT)
        return outcome.undone or Undone()

    def _await_departures(self, least: float = 0.0) -> None:
        """Have a step when the next removed member counts no longer."""
        if self._departure_timer is not None:
            self._departure_timer.cancel()
            self._departure_timer = None
        due = self.store.next_departure()
        if due is not None:
            wait = max(least, due - self.clock.now())
            self._departure_timer = asyncio.get_running_loop().call_later(wait, self._depart)

    def _depart(self) -> None:
        """Submit an empty batch to each store in which somebody's time is over."""
        self._departure_timer = None
        for store_id in self.store.departing(self.clock.now()) if self._outbox.accepts else ():
            self._record(IntentionsRecorded(store_id, ()))
            self._go_on(store_id)
        self._await_departures(STEP_RETRY)

    def _parts(self, event: KnowledgeEvent) -> Iterator[KnowledgeEvent]:
        """The event, or its intentions in parts of which the last has the sequence."""
        if not isinstance(event, IntentionsRecorded):
            yield event
            return
        tracker = self.store.tracker(event.store_id)
        most = PART_NAMES // (1 + (len(tracker.graph.chains) if tracker else 0) // PART_CHAINS)
        start = names = 0
        for number, one in enumerate(event.intentions):
            names += 1 + len(one.dependencies)
            if names > most and number > start:
                yield _part(event, start, number)
                start, names = number, 1 + len(one.dependencies)
        yield replace(_part(event, start, None), sender_id=event.sender_id, sequence=event.sequence) if start else event

    def _submit(self, event: KnowledgeEvent) -> Recorded:
        self._outbox.check()
        if isinstance(event, IntentionsRecorded) and not self._outbox.has_room():
            # A change of members is still accepted, because removing a dead peer may make room.
            raise Overloaded("intentions fill their half of the state file", NO_ROOM_RETRY)
        outcome = self._record(event)
        self._go_on(event.store_id)
        if outcome.full:
            raise Overloaded(outcome.full, NO_ROOM_RETRY)
        return outcome.recorded

    def _record(self, event: KnowledgeEvent) -> Outcome:
        turn = self._dispatcher.submit(event)
        outcome = turn.outcome
        assert outcome is not None, "the core answers every event of knowledge"
        if turn.number:
            self._numbers[event.store_id] = turn.number
        self._metrics.count(outcome.recorded)
        if self.store.tracker(event.store_id):
            self._show(event.store_id)
        return outcome

    async def kept(self, store_id: str | None = None) -> None:
        """Wait until all events, or all of a store, are durable; raises StateFailing when they may be lost.

        An earlier answer could be undone by a crash: a stability frontier would fall after peers have pruned by it.
        """
        await self._outbox.kept(None if store_id is None else self._numbers.get(store_id, 0))

    def close(self) -> None:
        """Stop the timers."""
        for timer in (self._timer, self._step_timer, self._departure_timer):
            if timer is not None:
                timer.cancel()
        if self._refreshing is not None:
            self._refreshing.cancel()

    def _go_on(self, store_id: str, wait: float = STEP_INTERVAL) -> None:
        """Have a step of what is pending in a store, if anything is."""
        if self.store.is_pending(store_id):
            self._pending[store_id] = None
            if self._step_timer is None:
                self._step_timer = asyncio.get_running_loop().call_later(wait, self._step)

    def _step(self) -> None:
        """Submit an empty batch: it goes on with what is pending, and the log keeps that it did."""
        self._step_timer = None
        store_id, wait, started_at = next(iter(self._pending)), STEP_INTERVAL, time.perf_counter()
        del self._pending[store_id]
        if self._outbox.accepts and self._outbox.has_room():
            self._record(IntentionsRecorded(store_id, ()))
        else:
            wait = STEP_RETRY
        wait = max(wait, (time.perf_counter() - started_at) / STEP_SHARE)
        for waiting in (store_id, *self._pending):
            self._go_on(waiting, wait)

    def _show(self, store_id: str) -> None:
        self._stale[store_id] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GAUGE_INTERVAL, self._refresh)

    def _refresh(self) -> None:
        self._timer = None
        if self._stale and (self._refreshing is None or self._refreshing.done()):
            self._refreshing = asyncio.get_running_loop().create_task(self._refresh_next())

    def _stop_timer(self) -> None:
        if self._timer is not None:  # None: it ran out during a refresh, and began no second one
            self._timer.cancel()

    async def _refresh_next(self) -> None:
        store_id = next(iter(self._stale))
        del self._stale[store_id]
        loop, started_at = asyncio.get_running_loop(), time.perf_counter()
        # The timer runs even when no gauge is outdated, so that the next event does not shorten the wait.
        self._timer = loop.call_later(GAUGE_INTERVAL, self._refresh)
        self._metrics.show(await in_slices(self.store.count_slices(store_id)))
        self._stop_timer()
        wait = max(GAUGE_INTERVAL, (time.perf_counter() - started_at) / GAUGE_SHARE)
        self._timer = loop.call_later(wait, self._refresh)


def _part(event: IntentionsRecorded, start: int, stop: int | None) -> IntentionsRecorded:
    """Some intentions of a batch, without its sequence."""
    authored = event.authored[start:stop]
    return IntentionsRecorded(event.store_id, event.intentions[start:stop], identity=event.identity, authored=authored)
