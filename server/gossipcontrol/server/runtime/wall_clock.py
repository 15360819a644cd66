"""Sees that the wall clock of this host is set: nothing that is decided depends on it, but tokens and log lines do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from gossipcontrol.server.observe.log import Logger
from gossipcontrol.system.boot import boottime

LOOK_INTERVAL = 1.0
"""Seconds between two looks."""
STEP = 1.0
"""Seconds by which it must differ from the clock of this boot since the last look; what slews it does far less."""


class WallClock:
    """Compares the wall clock with the clock of this boot, which nobody sets."""

    def __init__(
        self, log: Logger, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = boottime
    ) -> None:
        self.steps = 0
        """How often it was set."""
        self._log = log
        self._wall = wall
        self._monotonic = monotonic
        self._offset = wall() - monotonic()

    async def run(self) -> None:
        """Look, until this is cancelled."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL)
            self.look()

    def look(self) -> None:
        """Say so when it was set since the last look."""
        offset = self._read()
        if offset is None:
            return
        step, self._offset = offset - self._offset, offset
        if abs(step) >= STEP:
            self.steps += 1
            self._log.warning("wall clock set", seconds=round(step, 3))

    def _read(self) -> float | None:
        """The difference of the clocks; None: this process stood still between them."""
        before = self._monotonic()
        wall, after = self._wall(), self._monotonic()
        return None if after - before > STEP / 10 else wall - after
