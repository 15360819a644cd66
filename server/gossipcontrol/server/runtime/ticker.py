"""Sleeps to the next deadline of a part of the core."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from gossipcontrol.server.runtime.clock import ServiceClock
from gossipcontrol.server.runtime.turns import CALLS_TIME, PUT_OFF, Turns

LONG_TICK = 0.001
"""Seconds from which on a tick is long."""
LONGEST_WAIT = 1.0
"""Most seconds that a timer runs: timers stand still while the host sleeps, and service time does not."""


class Ticker:
    """Calls ``tick`` once the deadline has come that it was armed with last. Runs in one event loop.

    Reports put deadlines off all the time: a timer that is due too early stays, and looks again when it is due. After a
    long tick it sleeps for as long as that took, though more is due: a call needs several passes of the event loop.
    With ``turns`` a tick and a long step of a call do not share a pass, for each may take all of its time.
    """

    def __init__(self, clock: ServiceClock, tick: Callable[[], None], turns: Turns | None = None) -> None:
        self._clock = clock
        self._tick = tick
        self._turns = turns
        self._put_off = 0
        """Passes by which the tick that is due was put off."""
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._rests_until = 0.0
        """Until this service time others have their turn."""

    def arm(self, deadline: float | None) -> None:
        """Sleep until this service time from now on; None: until it is armed again."""
        self._deadline = deadline
        if deadline is None or (self._timer is not None and self._timer_at <= deadline):
            return
        self._sleep(deadline)

    def close(self) -> None:
        """Sleep no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._deadline = None

    def _sleep(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        wait = min(max(0.0, max(deadline, self._rests_until) - self._clock.now()), LONGEST_WAIT)
        self._timer, self._timer_at = asyncio.get_running_loop().call_later(wait, self._due), deadline

    def _due(self) -> None:
        self._timer, deadline = None, self._deadline
        if deadline is None:
            return
        began_at = self._clock.now()
        if max(deadline, self._rests_until) > began_at:
            self._sleep(deadline)
        elif self._turns is not None and self._turns.used >= CALLS_TIME and self._put_off < PUT_OFF:
            self._put_off += 1
            self._sleep(deadline)
        else:
            self._deadline, self._put_off = None, 0
            self._run(began_at)

    def _run(self, began_at: float) -> None:
        began, turns = time.perf_counter(), self._turns
        self._tick()
        if turns is not None:
            turns.count(time.perf_counter() - began)
        self._rest(self._clock.now() - began_at)

    def _rest(self, took: float) -> None:
        """Let others have their turn for as long as a tick took."""
        if took < LONG_TICK:
            return
        self._rests_until = self._clock.now() + min(took, LONGEST_WAIT)
        if self._timer is not None:
            self._sleep(self._timer_at)
