"""The one place where events enter the core, and effects and findings leave it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

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
from gossipcontrol.server.runtime.outbox import LATE_AFTER, Outbox
from gossipcontrol.server.runtime.retry import RetryRule
from gossipcontrol.server.runtime.ticker import Ticker
from gossipcontrol.server.runtime.turns import current_caller


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
        outbox.start(self._perform, self._arm)

    def submit(self, event: Event) -> Turn:
        """Let an event happen now; its effects are performed once it is kept, and returned already."""
        turn = self.core.handle(event, self.clock.now(), self.outbox.journaling)
        for finding in turn.findings:
            self._carry_out(finding)
        if isinstance(event, RejoinRequested | NetworkChanged):
            self._note_origin(event, turn.effects)
        turn.number = self.outbox.put(turn, self.core.decided_at)
        self._arm()
        return turn

    def _note_origin(self, event: RejoinRequested | NetworkChanged, effects: Sequence[Effect]) -> None:
        """Remember who asked for what is decided, for its log line; the core does not know callers."""
        for effect in effects:
            if type(effect) is AnswerTrigger:
                self._events.note_origin(effect, event.request_id, current_caller())

    async def settle(self, event: Event) -> list[Effect]:
        """Let an event happen now, and wait until it is kept; raises StateFailing when it may be lost."""
        self.outbox.check()
        turn = self.submit(event)
        await self.outbox.kept()
        return turn.effects

    async def close(self) -> None:
        """Stop the timer and every attempt under way."""
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
