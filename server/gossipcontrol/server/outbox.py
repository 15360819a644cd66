"""Holds effects back until the log keeps what led to them, and says when it cannot."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from gossipcontrol.server.core.effect import Effect
from gossipcontrol.server.core.engine import Engine
from gossipcontrol.server.core.parameter import Parameters
from gossipcontrol.server.errors import StateFailing
from gossipcontrol.server.log import Logger
from gossipcontrol.server.metrics import Metrics
from gossipcontrol.server.state.entry import Entry
from gossipcontrol.server.state.journal import Journal, Watch
from gossipcontrol.server.state.recovery import take_snapshot

Perform = Callable[[Sequence[Effect], float, bool], None]
"""Takes effects, the instant at which the core wanted them, and whether they had to wait."""


class Outbox:
    """Effects leave in the order of their events. ``on_change`` is told whether events can be kept."""

    def __init__(
        self,
        journal: Journal,
        engine: Engine,
        parameters: Parameters,
        metrics: Metrics,
        log: Logger,
        on_change: Callable[[bool], None],
    ) -> None:
        self._journal = journal
        self._engine = engine
        self._parameters = parameters
        self._metrics = metrics
        self._log = log
        self._on_change = on_change
        self._perform: Perform | None = None
        self._on_recovery: Callable[[], None] = lambda: None
        self._held: deque[tuple[int, Sequence[Effect], float]] = deque()
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._appended = self._kept = 0
        self._failure = ""

    @property
    def accepts(self) -> bool:
        """Whether events can be kept."""
        return not self._failure

    def start(self, perform: Perform, on_recovery: Callable[[], None]) -> None:
        """Begin; the snapshot with which a run begins holds its parameters."""
        self._perform, self._on_recovery = perform, on_recovery
        self._journal.start(Watch(self._committed, self._failed, self._metrics.state_commit.observe))

    def begin(self, now: float) -> None:
        """Keep the state with which this run begins, and its parameters."""
        if self._journal.durable:
            self._appended = self._journal.snapshot(take_snapshot(self._engine, self._parameters), now)

    def put(self, effects: Sequence[Effect], now: float) -> None:
        """Log the facts of the event that the core has just handled, and perform its effects once they are kept."""
        assert self._perform is not None
        if not self._journal.durable:
            self._perform(effects, now, False)
            return
        if facts := self._engine.facts:
            entries = [Entry(now, facts[0], tuple(self._engine.said)), *(Entry(now, fact) for fact in facts[1:])]
            self._appended = self._journal.append(entries)
            if self._journal.wants_snapshot():
                self.begin(now)
        if not effects:
            return
        if self._kept >= self._appended:
            self._perform(effects, now, False)
        else:
            self._held.append((self._appended, effects, now))

    def check(self) -> None:
        """Raise StateFailing while events cannot be kept."""
        if self._failure:
            raise StateFailing(self._failure)

    async def kept(self) -> None:
        """Wait until everything so far is kept; raises StateFailing when that fails."""
        if self._journal.durable and self._kept < self._appended:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append((self._appended, waiter))
            await waiter

    async def close(self, now: float) -> None:
        """Leave a snapshot, so that the next start reads no log, and close the journal."""
        self.begin(now)
        await asyncio.to_thread(self._journal.close)

    def _committed(self, number: int) -> None:
        assert self._perform is not None
        self._kept = number
        recovered, self._failure = bool(self._failure), ""
        # Waiters first: who attached is told so before its first command.
        while self._waiters and self._waiters[0][0] <= number:
            waiter = self._waiters.popleft()[1]
            if not waiter.done():
                waiter.set_result(None)
        while self._held and self._held[0][0] <= number:
            _, effects, at = self._held.popleft()
            self._perform(effects, at, True)
        if recovered:
            self._metrics.state_accepting.set(1)
            self._log.info("state is kept again", events=self._journal.figures().entries)
            self._on_change(True)
            self._on_recovery()

    def _failed(self, why: str) -> None:
        self._metrics.state_failures.inc()
        first, self._failure = not self._failure, why
        if first:
            self._metrics.state_accepting.set(0)
            self._log.error("state cannot be written", why=why, refused="triggers and registrations")
            self._on_change(False)
        while self._waiters:
            waiter = self._waiters.popleft()[1]
            if not waiter.done():
                waiter.set_exception(StateFailing(why))
        if self._journal.wants_snapshot():
            self._appended = self._journal.snapshot(
                take_snapshot(self._engine, self._parameters), self._engine.handled_at
            )
