"""Holds effects back until the log keeps what led to them, and says when it cannot."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from gossipcontrol.server.core.codec import Plain
from gossipcontrol.server.core.core import Core, Journaling
from gossipcontrol.server.core.effect import Effect
from gossipcontrol.server.core.knowledge.codec import write_event
from gossipcontrol.server.core.slices import Slices
from gossipcontrol.server.core.turn import Fact, KnowledgeFact, Turn
from gossipcontrol.server.errors import NotOwner, StateFailing
from gossipcontrol.server.observe.log import Logger
from gossipcontrol.server.observe.metrics import Metrics
from gossipcontrol.server.runtime.clock import ServiceClock
from gossipcontrol.server.runtime.collector import set_aside
from gossipcontrol.server.runtime.gathering import Gathering
from gossipcontrol.server.runtime.slices import in_slices
from gossipcontrol.server.runtime.turns import SLICE_TIME, Turns, metered
from gossipcontrol.server.state.entry import KnowledgeEntry
from gossipcontrol.server.state.journal import Journal, JournalListener
from gossipcontrol.server.state.recovery import take_book, take_snapshot, take_snapshot_slices

LATE_AFTER = 0.5
"""Seconds after which what is yet to be kept counts as late: a commit takes milliseconds."""
CAPTURE_RETRY = 30.0
"""Seconds until the next snapshot after one that could not be captured."""

Perform = Callable[[Sequence[Effect], float, bool], None]
"""Takes effects, the instant at which the core wanted them, and whether they had to wait."""


class Held(NamedTuple):
    """Effects of one turn of the core that have not left."""

    number: int
    """Of the last fact that must be kept before."""
    effects: deque[Effect]
    at: float
    late: bool
    """Whether they had to wait for a commit."""


class Outbox:
    """Effects leave in the order of their events. ``on_change`` is told whether events can be kept."""

    def __init__(
        self,
        journal: Journal,
        core: Core,
        metrics: Metrics,
        log: Logger,
        clock: ServiceClock,
        on_change: Callable[[bool], None],
        turns: Turns | None = None,
        on_lost: Callable[[str], None] = lambda why: None,
    ) -> None:
        self._journal = journal
        self._core = core
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._on_change = on_change
        self._on_lost = on_lost
        self._loss = ""
        """Why another owner's word holds now: nothing is kept or carried out any more."""
        self.turns = turns or Turns()
        self._capturing: asyncio.Task[None] | None = None
        """A snapshot of deciding that is being captured."""
        self._capture_from = -math.inf
        """No snapshot is captured before, because one has failed."""
        self._perform: Perform | None = None
        self._arm: Callable[[], None] = lambda: None
        self._held: deque[Held] = deque()
        self._is_releasing = False
        self._resume: asyncio.Handle | None = None
        """The next slice of effects that may leave, while some are left."""
        self._waiters: deque[tuple[int, int, asyncio.Future[None]]] = deque()
        """By number, then in the order in which they came."""
        self._tickets = itertools.count()
        self._appended = self._kept = 0
        self._waiting_since = math.inf
        """Since when something waits to be kept."""
        self._logged_at = 0.0
        """Instant of the last fact."""
        self._failure = ""
        self.gathering = Gathering(self._decide_and_commit, self.turns.arrivals.are_pending)
        self._decide: Callable[[], None] = lambda: None
        self._commit: Callable[[], None] | None = None
        """Has the journal commit what was appended, if it is waiting for that."""
        self._is_deciding = self._is_running = False
        """Whether what came together is decided now, and whether that, or its commit, is under way."""
        self._arms_afterwards = False

    @property
    def accepts(self) -> bool:
        """Whether events can be kept."""
        return not self._failure and not self._loss

    @property
    def journaling(self) -> Journaling:
        """Whether what is decided now will be kept soon, and so carried out soon."""
        return self.journaling_at(self._clock.now())

    def journaling_at(self, now: float) -> Journaling:
        """The same, for who has the service time already."""
        if self._failure or self._loss:
            return Journaling.FAILING
        return Journaling.LATE if now - self._waiting_since > LATE_AFTER else Journaling.KEEPING

    def start(self, perform: Perform, arm: Callable[[], None], decide: Callable[[], None]) -> None:
        """Begin; the snapshot with which a run begins holds its parameters.

        ``arm`` looks up the next deadline, ``decide`` decides what waits for it.
        """
        self._perform, self._arm, self._decide = perform, arm, decide
        observe = self._metrics.state_commit.observe
        listener = JournalListener(
            self._committed, self._failed, observe, self._clock.reading, self.lose, self._commit_soon
        )
        self._journal.start(listener)

    def arm(self) -> None:
        """Have the next deadline looked up: now, or once what came together is decided and committed."""
        if self._is_running or self._commit is not None:
            self._arms_afterwards = True
        else:
            self._arm()

    def _commit_soon(self, commit: Callable[[], None]) -> None:
        self._commit = commit
        if not self._is_deciding:
            self.gathering.again()

    def _decide_and_commit(self) -> None:
        """Decide what came together, and have it committed in one transaction."""
        self._is_running = True
        try:
            self._decide_together()
            if self._commit is not None:
                commit, self._commit = self._commit, None
                commit()
        finally:
            self._is_running = False
            if self._arms_afterwards:
                self._arms_afterwards = False
                self._arm()

    def commit_if_alone(self) -> None:
        """Commit now what one call brought, if nothing else has come, has arrived, or was done in this pass.

        It saves two passes of the event loop.
        """
        if not self.turns.used:
            self.gathering.run_alone()

    def _decide_together(self) -> None:
        self._is_deciding = True
        try:
            self._decide()
        finally:
            self._is_deciding = False

    def begin(self, now: float, *, whole: bool = False) -> None:
        """Keep the state with which this run begins, and its parameters; ``whole``: that of knowledge as well."""
        if not self._journal.durable:
            return
        self._give_up_capture()
        all_stores = whole or self._journal.wants_all()
        store = self._core.knowledge
        knowledge = take_book(store, store.store_ids(), now) if all_stores else None
        self._appended = self._journal.snapshot(take_snapshot(self._core), now, knowledge)

    def put(self, turn: Turn, now: float) -> int:
        """Log the facts of a turn, and perform its effects, which the core wanted at ``now``, once they are kept.

        Returns the number of the last fact, to be waited for; 0 if nothing must be kept.
        """
        assert self._perform is not None
        if self._loss:
            return 0
        number = self._append(turn) if self._journal.durable and turn.facts else 0
        if turn.effects:
            late = self._kept < self._appended
            self._held.append(Held(self._appended, deque(turn.effects), now, late))
            if not late:
                self._release()
        return number

    def _release(self) -> None:
        """Perform what is kept, unless that is under way, or the next slice of it is due: one runs in a pass."""
        if not self._is_releasing and self._resume is None:
            self._release_slice()

    def _release_slice(self) -> None:
        """Perform effects in order and for the time of a slice, also those that performing one leads to."""
        self._resume = None
        self._is_releasing, until = True, time.perf_counter() + SLICE_TIME
        try:
            while self._held and self._held[0].number <= self._kept:
                self._release_next()
                if time.perf_counter() >= until:
                    self._resume = asyncio.get_running_loop().call_soon(self._release_slice)
                    return
        finally:
            self._is_releasing = False

    def _stop_releasing(self) -> None:
        if self._resume is not None:
            self._resume.cancel()
            self._resume = None

    def _release_next(self) -> None:
        assert self._perform is not None
        _, effects, at, late = self._held[0]
        effect = effects.popleft()
        if not effects:
            self._held.popleft()
        self._perform([effect], at, late)

    def _append(self, turn: Turn) -> int:
        now = turn.facts[-1].at
        entries = [fact if isinstance(fact, Fact) else _entry(fact) for fact in turn.facts]
        if not self._is_deciding:
            self.gathering.came()
        number = self._appended = self._journal.append(entries, turn.effects)
        if turn.outcome is None:
            self._waiting_since = min(self._waiting_since, now)
        self._logged_at = now
        if self._capture_from == -math.inf or self._clock.now() >= self._capture_from:
            try:
                self._compact(now, knows=turn.outcome is not None)
            except Exception as error:  # noqa: BLE001 - what was decided is logged, and must leave all the same
                self._capture_failed(error)
        return number

    def _compact(self, now: float, *, knows: bool) -> None:
        """Have a snapshot take the place of a log that has become long; ``knows``: that of a store as well."""
        if self._journal.wants_all():
            self.begin(now)
        elif self._journal.wants_snapshot():
            capture = take_snapshot_slices(self._core)
            next(capture)  # it holds what is logged so far, and nothing later
            set_aside()
            task = asyncio.get_running_loop().create_task(self._capture_slices(capture, self._journal.mark(), now))
            self._capturing = task
        if knows and (store_id := self._journal.due_store()) is not None:
            self._appended = self._journal.snapshot_store(take_book(self._core.knowledge, [store_id], now))

    async def _capture_slices(self, capture: Slices[Plain], mark: int, at: float) -> None:
        """Capture a snapshot beside everything else, and have it take the place of the log up to this mark."""
        try:
            with self.turns.call(""):
                plain = await metered(in_slices(capture))
        except Exception as error:  # noqa: BLE001 - else no log would be replaced until the next start
            self._capturing = None
            self._journal.give_up()
            self._capture_failed(error)
            return
        self._capturing = None
        self._appended = self._journal.compact(plain, at, mark)

    def _capture_failed(self, error: Exception) -> None:
        """Say so, and leave the log as it is for a while."""
        self._capture_from = self._clock.now() + CAPTURE_RETRY
        self._metrics.state_failures.inc()
        self._log.error("snapshot failed", why=repr(error), retry_in=CAPTURE_RETRY)

    def _give_up_capture(self) -> None:
        """A snapshot that is being captured would be older than the one to come."""
        if self._capturing is not None:
            self._capturing.cancel()
            self._capturing = None

    def check(self) -> None:
        """Raise StateFailing while events cannot be kept, NotOwner once another replica keeps them."""
        if self._loss:
            raise NotOwner(self._loss)
        if self._failure:
            raise StateFailing(self._failure)

    def has_room(self) -> bool:
        """Whether further intentions may be logged."""
        return self._journal.has_room()

    async def kept(self, number: int | None = None) -> None:
        """Wait until everything so far, or up to a number, is kept; raises StateFailing or NotOwner when that fails."""
        if self._loss:
            raise NotOwner(self._loss)
        number = self._appended if number is None else number
        if self._journal.durable and self._kept < number:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._add_waiter(number, waiter)
            await waiter

    def release_when_kept(self, waiter: asyncio.Future[None]) -> None:
        """As ``kept``, for who waits already."""
        if self._kept < self._appended:
            self._add_waiter(self._appended, waiter)
        else:
            waiter.set_result(None)

    def _add_waiter(self, number: int, waiter: asyncio.Future[None]) -> None:
        one = (number, next(self._tickets), waiter)
        if self._waiters and number < self._waiters[-1][0]:
            insort(self._waiters, one)
        else:
            self._waiters.append(one)

    @property
    def gathers(self) -> bool:
        """Whether what comes now is decided together with others."""
        return self._journal.durable and self.gathering.is_waiting()

    async def close(self, now: float) -> None:
        """Leave a snapshot, so that the next start reads no log, and close the journal."""
        self._stop_releasing()
        if self.gathering.cancel():
            self._decide_and_commit()
        await self._leave_snapshot(now)
        self._give_up_capture()
        await asyncio.to_thread(self._journal.close)

    async def _leave_snapshot(self, now: float) -> None:
        """As ``begin``, but in slices, unless events come meanwhile or the file is lost."""
        if not self._journal.durable or self._journal.shared or self._loss:
            return
        self._give_up_capture()
        before = self._appended
        plain = None if self._journal.wants_all() else await in_slices(take_snapshot_slices(self._core))
        if plain is None or self._appended != before or self._journal.wants_all():
            self.begin(now)  # a snapshot that replaces the log must hold all of it
        else:
            self._appended = self._journal.snapshot(plain, now)

    def _committed(self, number: int) -> None:
        assert self._perform is not None
        if self._loss:
            return
        self._kept = number
        # What came while it was committed waits for the next commit only.
        self._waiting_since = math.inf if number >= self._appended else self._clock.now()
        recovered, self._failure = bool(self._failure), ""
        # Waiters first: who attached is told so before its first command.
        for waiter in self._take_waiters(number):
            waiter.set_result(None)
        self._release()
        if recovered:
            self._metrics.state_accepting.set(1)
            self._log.info("state is kept again", events=self._journal.stats().entries)
            self._on_change(True)
        self.arm()

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
            self.begin(max(self._core.decided_at, self._logged_at))

    def lose(self, why: str) -> None:
        """Another owner has taken over: what was decided and not kept has not happened, and none of it may leave."""
        if self._loss:
            return
        self._loss = why
        self._held.clear()
        self._stop_releasing()
        self._give_up_capture()
        self._metrics.state_accepting.set(0)
        self._log.error("ownership lost", why=why)
        for waiter in self._take_waiters(self._appended):
            waiter.set_exception(NotOwner(why))
        self._on_change(False)
        self._on_lost(why)

    def _take_waiters(self, number: int) -> Iterable[asyncio.Future[None]]:
        """Those that wait for facts up to this number, and still wait."""
        waiters: list[asyncio.Future[None]] = []
        while self._waiters and self._waiters[0][0] <= number:
            _, _, waiter = self._waiters.popleft()
            if not waiter.done():
                waiters.append(waiter)
        return waiters


def _entry(fact: KnowledgeFact) -> KnowledgeEntry:
    event = fact.event
    return KnowledgeEntry(fact.at, event.store_id, type(event).__name__, write_event(event, fact.room))
