"""The one place where events enter the core and effects leave it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from gossipcontrol.server.core.deciding.engine import Engine
from gossipcontrol.server.core.effect import (
    AcceptNode,
    AdviseRestart,
    AnnounceRejoin,
    AnswerTrigger,
    Effect,
    RefuseNode,
    StartRejoin,
)
from gossipcontrol.server.core.event import (
    Event,
    LivenessReported,
    NeighborChanged,
    NetworkChanged,
    NodeAttached,
    NodeDetached,
    RejoinFinished,
    StartDelayed,
    TimePassed,
)
from gossipcontrol.server.drivers.driver import Driver, Result
from gossipcontrol.server.observe.log import Logger
from gossipcontrol.server.observe.metrics import Metrics
from gossipcontrol.server.runtime.clock import ServiceClock
from gossipcontrol.server.runtime.outbox import BEHIND, Outbox
from gossipcontrol.server.runtime.retry import RetryRule
from gossipcontrol.server.runtime.ticker import Ticker
from gossipcontrol.server.wire.reasons import explain_decision

Follower = Callable[[Event, Sequence[Effect], float], None]
"""Takes an event, the effects that the engine had of it, and the instant."""
FOLLOWED = frozenset({LivenessReported, NeighborChanged, NodeAttached, NodeDetached, NetworkChanged})


class Dispatcher:
    """log -> core -> effects. Runs in one event loop.

    The core decides at once; what it wants done or answered is let out in order, once the log keeps what led to it.
    """

    def __init__(
        self,
        engine: Engine,
        clock: ServiceClock,
        metrics: Metrics,
        driver: Driver,
        retry: RetryRule,
        log: Logger,
        outbox: Outbox,
    ) -> None:
        self.engine = engine
        self.clock = clock
        self._metrics = metrics
        self._driver = driver
        self._retry = retry
        self._log = log
        self.outbox = outbox
        outbox.start(self._perform, self._arm)
        self._logs_info = log.is_enabled_for(20)
        self._ticker = Ticker(clock, self._tick)
        self._follow: Follower = lambda event, effects, now: None
        self._attempts: set[asyncio.Task[None]] = set()
        self._performers: dict[type[Any], Callable[[Any, float], None]] = {
            AnswerTrigger: self._answered,
            StartRejoin: self._start,
            AnnounceRejoin: self._announce,
            AdviseRestart: self._advise,
            AcceptNode: self._accepted,
            RefuseNode: self._refused,
        }

    def submit(self, event: Event) -> list[Effect]:
        """Let an event happen now; its effects are performed once it is kept, and returned already.

        While the log is behind, time stands still for the engine: commands are held back, and those whom they are for
        must not be found to have done nothing.
        """
        now = self.clock.now()
        at = min(now, self.engine.handled_at) if self.outbox.is_behind else now
        effects = self.engine.handle(event, at)
        self.outbox.put(effects, at)
        self._arm()
        if type(event) in FOLLOWED:
            self._follow(event, effects, now)
        return effects

    def follow(self, follower: Follower) -> None:
        """Tell of every event that liveness hears of, once the engine has handled it."""
        self._follow = follower

    async def settle(self, event: Event) -> list[Effect]:
        """Let an event happen now, and wait until it is kept; raises StateFailing when it may be lost."""
        self.outbox.check()
        effects = self.submit(event)
        await self.outbox.kept()
        return effects

    def can_ask(self, node_id: str, store_id: str) -> bool:
        """Whether a rejoin that nobody waits for would be kept, and carried out by an agent that has the store."""
        return self.outbox.accepts and self.engine.serves(node_id, store_id)

    def _perform(self, effects: Sequence[Effect], at: float, late: bool) -> None:
        for effect in effects:
            perform = self._performers.get(type(effect))
            if late and type(effect) is StartRejoin:
                if not self.engine.runs(effect):
                    continue  # what waited for the disk is over by now
                if self.clock.now() - at > BEHIND:
                    self.submit(StartDelayed(effect.rejoin_id, effect.attempt))
            if perform is not None:
                perform(effect, at)

    async def close(self) -> None:
        """Stop the timer and every attempt under way."""
        self._ticker.close()
        for task in self._attempts:
            task.cancel()
        await asyncio.gather(*self._attempts, return_exceptions=True)
        await self.outbox.close(self.clock.now())

    def _arm(self) -> None:
        """Sleep until the core's next deadline, or the next commit."""
        self._ticker.arm(None if self.outbox.is_behind else self.engine.next_deadline())

    def _tick(self) -> None:
        self.submit(TimePassed())

    def _answered(self, answer: AnswerTrigger, now: float) -> None:
        self._metrics.count_answer(answer)
        if answer.cause is None or answer.replayed or not self._logs_info:
            return
        for decision in answer.decisions:
            self._log.info(
                "decided",
                cause=answer.cause.name.lower(),
                node=decision.node_id,
                store=decision.store_id,
                decision=decision.kind.name.lower(),
                rejoin=decision.rejoin_id,
                reason=explain_decision(decision, now),
            )

    def _start(self, start: StartRejoin, now: float) -> None:
        del now
        self._metrics.count_start(start)
        self._log.info(
            "rejoin started",
            rejoin=start.rejoin_id,
            node=start.node_id,
            store=start.store_id,
            attempt=start.attempt,
            rung=start.rung.name.lower(),
            causes=",".join(cause.name.lower() for cause in start.causes),
            bootstrap=len(start.bootstrap),
        )
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

    def _announce(self, announced: AnnounceRejoin, now: float) -> None:
        del now
        self._metrics.count_end(announced)
        self._log.info(
            "rejoin " + announced.outcome.name.lower(),
            rejoin=announced.rejoin_id,
            node=announced.node_id,
            store=announced.store_id,
            cause=announced.cause.name.lower(),
            attempts=announced.attempts,
            rung=announced.rung.name.lower(),
            seconds=announced.duration,
            detail=announced.detail,
        )

    def _advise(self, advice: AdviseRestart, now: float) -> None:
        del now
        self._metrics.count_advice()
        self._log.warning(
            "restart advised",
            rejoin=advice.rejoin_id,
            node=advice.node_id,
            store=advice.store_id,
            detail=advice.detail,
        )

    def _accepted(self, accepted: AcceptNode, now: float) -> None:
        del now
        self._log.info("node attached", node=accepted.node_id, session=accepted.session_id, unparked=accepted.unparked)

    def _refused(self, refused: RefuseNode, now: float) -> None:
        del now
        self._log.warning("node refused", reason=refused.reason)
