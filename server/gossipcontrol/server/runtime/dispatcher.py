"""The one place where events enter the core, and effects and findings leave it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from gossipcontrol.server.core.core import Core
from gossipcontrol.server.core.effect import AdviseRestart, AnswerTrigger, Effect, StartRejoin
from gossipcontrol.server.core.event import (
    Event,
    NetworkChanged,
    RejoinFinished,
    RejoinRequested,
    StartDelayed,
    TimePassed,
)
from gossipcontrol.server.core.finding import CoreFinding, PresenceChanged, StartSync
from gossipcontrol.server.core.turn import Turn
from gossipcontrol.server.drivers.driver import Driver, Result
from gossipcontrol.server.observe.events import EventLog
from gossipcontrol.server.observe.log import Logger
from gossipcontrol.server.runtime.clock import ServiceClock
from gossipcontrol.server.runtime.collector import EVENTS, look_at_young
from gossipcontrol.server.runtime.outbox import LATE_AFTER, Outbox
from gossipcontrol.server.runtime.retry import RetryRule
from gossipcontrol.server.runtime.ticker import Ticker
from gossipcontrol.server.runtime.turns import SLICE_TIME, current_call, current_caller

TRIGGERS = (RejoinRequested, NetworkChanged)
"""Events that a call waits for, and that many calls bring at once."""

T = TypeVar("T")


class Waiting:
    """Work that is done together with others', and who waits for it."""

    __slots__ = ("call", "done", "until_kept", "work")

    def __init__(self, work: Callable[[], object], done: asyncio.Future[Any], *, until_kept: bool) -> None:
        self.work = work
        self.call = current_call()
        """To whose account it is charged."""
        self.done = done
        self.until_kept = until_kept
        """Whether it is done once what led to it is kept, instead of at once."""


class Dispatcher:
    """event -> core -> turn. Runs in one event loop.

    The core decides at once; what it wants done or answered leaves in order, once the log keeps what led to it. What it
    found is soft state, and is carried out at once. ``presence_changed`` is told of every store whose presence changed.
    """

    def __init__(
        self,
        core: Core,
        clock: ServiceClock,
        driver: Driver,
        retry: RetryRule,
        events: EventLog,
        log: Logger,
        outbox: Outbox,
        presence_changed: Callable[[str], None] = lambda store_id: None,
    ) -> None:
        self.core = core
        self.clock = clock
        self.outbox = outbox
        self._driver = driver
        self._retry = retry
        self._events = events
        self._log = log
        self._presence_changed = presence_changed
        self._ticker = Ticker(clock, self._tick, outbox.turns)
        self._attempts: set[asyncio.Task[None]] = set()
        self._waiting: deque[Waiting] = deque()
        """What is done together with others'."""
        self._handled = 0
        """Events since new objects were looked at."""
        self._soon: deque[Callable[[], object]] = deque()
        """Work that nobody waits for."""
        self._next_soon: asyncio.Handle | None = None
        outbox.start(self._perform, self._arm, self._work_on)

    def submit(self, event: Event) -> Turn:
        """Let an event happen now; its effects are performed once it is kept, and returned already."""
        turn = self._handle(event, None)
        self.outbox.arm()
        return turn

    def _handle(self, event: Event, caller: str | None) -> Turn:
        """Let an event happen; ``caller`` is whose it is, None: whose call runs now."""
        now = self.clock.now()
        turn = self.core.handle(event, now, self.outbox.journaling_at(now))
        for finding in turn.findings:
            self._carry_out(finding)
        if isinstance(event, TRIGGERS):
            self._note_origin(event, turn.effects, current_caller() if caller is None else caller)
        turn.number = self.outbox.put(turn, self.core.decided_at)
        self._handled += 1
        if self._handled >= EVENTS:
            self._handled = 0
            look_at_young()
        return turn

    def _note_origin(self, event: RejoinRequested | NetworkChanged, effects: Sequence[Effect], caller: str) -> None:
        """Remember who asked for what is decided, for its log line; the core does not know callers."""
        for effect in effects:
            if type(effect) is AnswerTrigger:
                self._events.note_origin(effect, event.request_id, caller)

    def soon(self, work: Callable[[], object]) -> None:
        """Do short work that nobody waits for: now, or in turn in one of the next passes of the event loop.

        As many streams as end at once would otherwise be told to the core in one pass: a thousand took 0.25 s.
        """
        self._soon.append(work)
        if self._next_soon is None:
            self._work_on_soon()

    def _work_on_soon(self) -> None:
        """Do one piece of work that is due soon, and more of it until much was done in this pass."""
        turns = self.outbox.turns
        self._next_soon = asyncio.get_running_loop().call_soon(self._work_on_soon)
        while self._soon:
            began = turns.clock()
            self._soon.popleft()()
            turns.count(turns.clock() - began)
            if turns.used >= SLICE_TIME:
                return
        self._next_soon.cancel()
        self._next_soon = None

    async def settle(self, event: Event) -> list[Effect]:
        """Let an event happen now, and wait until it is kept; raises StateFailing when it may be lost."""
        self.outbox.check()
        is_trigger = isinstance(event, TRIGGERS)
        if not (is_trigger and (self._waiting or self.outbox.gathers)):
            turn = self.submit(event)
            self.outbox.commit_if_alone()
            await self.outbox.kept()
            return turn.effects
        caller, effects = current_caller(), list[Effect]()
        await self._wait_for(lambda: effects.extend(self._handle(event, caller).effects), until_kept=True)
        return effects

    async def together(self, work: Callable[[], T]) -> T:
        """The result of short work that waits for no commit: done now, or with others' while many calls come.

        It runs in the context of the call that waits for it.
        """
        gathering = self.outbox.gathering
        if not (self._waiting or gathering.is_waiting()):
            gathering.came()
            return work()
        found: T = await self._wait_for(partial(copy_context().run, work), until_kept=False)
        return found

    async def _wait_for(self, work: Callable[[], object], *, until_kept: bool) -> Any:
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(Waiting(work, done, until_kept=until_kept))
        self.outbox.gathering.came()
        return await done

    def _work_on(self) -> None:
        """Do what came together, for the time of a slice; the rest follows in the next pass of the event loop."""
        if not self._waiting:
            return
        until = time.perf_counter() + SLICE_TIME
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done.done():  # else its call was cancelled
                self._work(waiting)
            if time.perf_counter() >= until and self._waiting:
                self.outbox.gathering.again()
                break
        self.outbox.arm()

    def _work(self, waiting: Waiting) -> None:
        call = waiting.call
        if call is not None:
            call.begin_step()
        try:
            if waiting.until_kept:
                self.outbox.check()
            found = waiting.work()
        except Exception as error:  # noqa: BLE001 - it is the error of that call, and the others are worked on
            waiting.done.set_exception(error)
        else:
            if waiting.until_kept:
                self.outbox.release_when_kept(waiting.done)
            else:
                waiting.done.set_result(found)
        finally:
            if call is not None:
                call.end_step()

    async def close(self) -> None:
        """Stop the timer and every attempt under way; what is due soon is done."""
        if self._next_soon is not None:
            self._next_soon.cancel()
        while self._soon:
            self._soon.popleft()()
        self._ticker.close()
        for task in self._attempts:
            task.cancel()
        await asyncio.gather(*self._attempts, return_exceptions=True)
        await self.outbox.close(self.clock.now())

    def _arm(self) -> None:
        """Sleep until the core's next deadline; the next commit arms again what waits for it."""
        self._ticker.arm(self.core.next_deadline(self.outbox.journaling))

    def _tick(self) -> None:
        self.submit(TimePassed())

    def _carry_out(self, finding: CoreFinding) -> None:
        self._events.show_finding(finding)
        if isinstance(finding, PresenceChanged):
            self._presence_changed(finding.store_id)
        elif isinstance(finding, StartSync):
            self._driver.sync(finding, self.core.addresses(finding.peer_id))

    def _perform(self, effects: Sequence[Effect], at: float, late: bool) -> None:
        for effect in effects:
            if isinstance(effect, StartRejoin):
                if late and not self._still_runs(effect, at):
                    continue  # what waited for the disk is over by now
                self._start(effect)
            elif isinstance(effect, AdviseRestart) and effect.session_id:
                self._driver.advise(effect)
            self._events.show_effect(effect, at)

    def _still_runs(self, start: StartRejoin, at: float) -> bool:
        """Whether a command that leaves late is wanted still; its proof time begins now."""
        if not self.core.runs(start):
            return False
        if self.clock.now() - at > LATE_AFTER:
            self.submit(StartDelayed(start.rejoin_id, start.attempt))
        return True

    def _start(self, start: StartRejoin) -> None:
        task = asyncio.get_running_loop().create_task(self._attempt(start))
        self._attempts.add(task)
        task.add_done_callback(self._attempts.discard)

    async def _attempt(self, start: StartRejoin) -> None:
        try:
            async with asyncio.timeout(start.timeout):
                result = await self._driver.rejoin(start)
        except TimeoutError:
            result = Result(False, f"no answer within {start.timeout:g} s")
        except Exception as error:  # noqa: BLE001 - whatever a driver raises, its rejoin must go on
            self._log.error("driver failed", rejoin=start.rejoin_id, exc_info=error)
            result = Result(False, f"the driver failed: {error}"[:250])
        retry_in = None if result.ok or result.permanent else self._retry.wait(start.attempt)
        self.submit(RejoinFinished(start.rejoin_id, start.attempt, result.ok, result.error, retry_in))
