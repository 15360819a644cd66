"""Sleeps to the next deadline of a part of the core."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gossipcontrol.server.clock import ServiceClock


class Ticker:
    """Calls ``tick`` once the deadline has come that it was armed with last. Runs in one event loop."""

    def __init__(self, clock: ServiceClock, tick: Callable[[], None]) -> None:
        self._clock = clock
        self._tick = tick
        self._timer: asyncio.TimerHandle | None = None
        self._at: float | None = None

    def arm(self, deadline: float | None) -> None:
        """Sleep until this service time from now on; None: until it is armed again."""
        if deadline == self._at:
            return
        self.close()
        if deadline is not None:
            self._at = deadline
            wait = max(0.0, deadline - self._clock.now())
            self._timer = asyncio.get_running_loop().call_later(wait, self._due)

    def close(self) -> None:
        """Sleep no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._at = None

    def _due(self) -> None:
        self._timer = self._at = None
        self._tick()
