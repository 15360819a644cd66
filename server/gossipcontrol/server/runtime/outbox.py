"""Holds effects back until the log keeps what led to them, and says when it cannot."""

from __future__ import annotations

import asyncio
import itertools
import math
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from gossipcontrol.server.core.deciding.engine import Engine
from gossipcontrol.server.core.effect import Effect
from gossipcontrol.server.core.knowledge.codec import write_event
from gossipcontrol.server.core.knowledge.event import KnowledgeEvent
from gossipcontrol.server.core.knowledge.store import KnowledgeStore
from gossipcontrol.server.core.parameter import Parameters
from gossipcontrol.server.errors import StateFailing
from gossipcontrol.server.observe.log import Logger
from gossipcontrol.server.observe.metrics import Metrics
from gossipcontrol.server.runtime.clock import ServiceClock
from gossipcontrol.server.state.entry import Entry, KnowledgeEntry
from gossipcontrol.server.state.journal import Journal, JournalListener
from gossipcontrol.server.state.recovery import take_book, take_snapshot

BEHIND = 0.5
"""Seconds after which what is yet to be kept counts as late: a commit takes milliseconds."""

Perform = Callable[[Sequence[Effect], float, bool], None]
"""Takes effects, the instant at which the core wanted them, and whether they had to wait."""


class Outbox:
    """Effects leave in the order of their events. ``on_change`` is told whether events can be kept."""

    def __init__(
        self,
        journal: Journal,
        engine: Engine,
        book: KnowledgeStore,
        parameters: Parameters,
        metrics: Metrics,
        log: Logger,
        clock: ServiceClock,
        on_change: Callable[[bool], None],
    ) -> None:
        self._journal = journal
        self._engine = engine
        self._book = book
        self._parameters = parameters
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._on_change = on_change
        self._perform: Perform | None = None
        self._on_commit: Callable[[], None] = lambda: None
        self._held: deque[tuple[int, Sequence[Effect], float]] = deque()
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        """By number, then in the order in which they came."""
        self._tickets = itertools.count()
        self._appended = self._kept = 0
        self._waiting_since = math.inf
        """Since when something waits to be kept."""
        self._noted_at = 0.0
        """Instant of the last fact of knowledge."""
        self._failure = ""

    @property
    def accepts(self) -> bool:
        """Whether events can be kept."""
        return not self._failure

    @property
    def is_behind(self) -> bool:
        """Whether nothing can be kept, or has been for a while: what is decided meanwhile is not carried out either."""
        return bool(self._failure) or self._clock.now() - self._waiting_since > BEHIND

    def start(self, perform: Perform, on_commit: Callable[[], None]) -> None:
        """Begin; the snapshot with which a run begins holds its parameters."""
        self._perform, self._on_commit = perform, on_commit
        self._journal.start(JournalListener(self._committed, self._failed, self._metrics.state_commit.observe))

    def begin(self, now: float, *, whole: bool = False) -> None:
        """Keep the state with which this run begins, and its parameters; ``whole``: that of knowledge as well."""
        if not self._journal.durable:
            return
        all_stores = whole or self._journal.wants_all()
        knowledge = take_book(self._book, self._book.store_ids(), now) if all_stores else None
        self._appended = self._journal.snapshot(take_snapshot(self._engine, self._parameters), now, knowledge)

    def put(self, effects: Sequence[Effect], now: float) -> None:
        """Log the facts of the event that the core has just handled, and perform its effects once they are kept."""
        assert self._perform is not None
        if not self._journal.durable:
            self._perform(effects, now, False)
            return
        if facts := self._engine.facts:
            entries = [Entry(now, facts[0], tuple(self._engine.said)), *(Entry(now, fact) for fact in facts[1:])]
            self._appended = self._journal.append(entries)
            self._waiting_since = min(self._waiting_since, now)
            self._compact(now)
        if not effects:
            return
        if self._kept >= self._appended:
            self._perform(effects, now, False)
        else:
            self._held.append((self._appended, effects, now))

    def note(self, fact: KnowledgeEvent, room: int, now: float) -> int:
        """Log a fact of knowledge that the book has just taken; returns its number, to be waited for."""
        if not self._journal.durable:
            return 0
        self._noted_at = now
        entry = KnowledgeEntry(now, fact.store_id, type(fact).__name__, write_event(fact, room))
        number = self._appended = self._journal.append([entry])
        self._compact(now)
        if (store_id := self._journal.due_store()) is not None:
            self._appended = self._journal.snapshot_store(take_book(self._book, [store_id], now))
        return number

    def _compact(self, now: float) -> None:
        """Have a snapshot take the place of a log that has become long."""
        if self._journal.wants_all():
            self.begin(now)
        elif self._journal.wants_snapshot():
            self._appended = self._journal.compact(take_snapshot(self._engine, self._parameters), now)

    def check(self) -> None:
        """Raise StateFailing while events cannot be kept."""
        if self._failure:
            raise StateFailing(self._failure)

    def has_room(self) -> bool:
        """Whether further intentions may be logged."""
        return self._journal.has_room()

    async def kept(self, number: int | None = None) -> None:
        """Wait until everything so far, or up to a number, is kept; raises StateFailing when that fails."""
        number = self._appended if number is None else number
        if self._journal.durable and self._kept < number:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            insort(self._waiters, (number, next(self._tickets), waiter))
            await waiter

    async def close(self, now: float) -> None:
        """Leave a snapshot, so that the next start reads no log, and close the journal."""
        self.begin(now)
        await asyncio.to_thread(self._journal.close)

    def _committed(self, number: int) -> None:
        assert self._perform is not None
        self._kept = number
        # What came while it was committed waits for the next commit only.
        self._waiting_since = math.inf if number >= self._appended else self._clock.now()
        recovered, self._failure = bool(self._failure), ""
        # Waiters first: who attached is told so before its first command.
        for waiter in self._take_waiters(number):
            waiter.set_result(None)
        while self._held and self._held[0][0] <= number:
            _, effects, at = self._held.popleft()
            self._perform(effects, at, True)
        if recovered:
            self._metrics.state_accepting.set(1)
            self._log.info("state is kept again", events=self._journal.stats().entries)
            self._on_change(True)
        self._on_commit()

    def _failed(self, why: str) -> None:
        self._metrics.state_failures.inc()
        first, self._failure = not self._failure, why
        if first:
            self._metrics.state_accepting.set(0)
            self._log.error("state cannot be written", why=why, refused="triggers, registrations, intentions")
            self._on_change(False)
        for waiter in self._take_waiters(self._appended):
            waiter.set_exception(StateFailing(why))
        if self._journal.wants_snapshot():
            self.begin(max(self._engine.handled_at, self._noted_at))

    def _take_waiters(self, number: int) -> Iterable[asyncio.Future[None]]:
        """Those that wait for facts up to this number, and still wait."""
        end = bisect_right(self._waiters, number, key=lambda one: one[0])
        waiters = [waiter for _, _, waiter in self._waiters[:end] if not waiter.done()]
        del self._waiters[:end]
        return waiters
