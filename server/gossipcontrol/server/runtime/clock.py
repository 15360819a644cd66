"""Service time: seconds that never go backwards, and that go on while the host sleeps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from gossipcontrol.server.state.journal import ClockReading
from gossipcontrol.system.boot import boottime

LONGEST_AWAY = 30 * 86_400.0
"""Seconds that may pass between two boots: no setting is longer, and a wall clock that jumped says any time."""
JUMP = 1.0
"""Seconds of difference between the wall clock and service time that are worth a line of the log."""


class ServiceClock:
    """The clock of this boot (CLOCK_BOOTTIME), continued from run to run; the wall clock only across boots.

    It is never below ``floor``, the last instant of an earlier run, whose ``reading`` says how its clocks stood. A
    ``cautious`` one tells the next run of the wall clock as it was furthest ahead: that run may be on another host, and
    an hour that did not pass ends what was to wait for an hour.
    """

    def __init__(
        self,
        floor: float = 0.0,
        wall: Callable[[], float] | None = None,
        monotonic: Callable[[], float] = boottime,
        boot_id: str = "",
        reading: ClockReading | None = None,
        *,
        cautious: bool = False,
    ) -> None:
        self._wall = wall or time.time
        self._monotonic = monotonic
        self._boot_id = boot_id
        self._cautious = cautious
        self._least = math.inf
        """The smallest difference between service time and the wall clock so far."""
        self.jumped = 0.0
        """Seconds by which the wall clock differs from what was believed of it across boots; 0 within one."""
        if reading is not None and reading.boot_id and reading.boot_id == boot_id:
            now = monotonic() + reading.boot_offset
            self._least = reading.wall_offset
        else:
            now = self._after_boot(floor, reading)
        self._offset = max(now, floor) - monotonic()

    def now(self) -> float:
        """The service time now, in seconds."""
        return self._monotonic() + self._offset

    def reading(self) -> ClockReading:
        """How the clocks stand now, for the next run."""
        offset = self.now() - self._wall()
        self._least = min(self._least, offset)
        return ClockReading(self._boot_id, self._offset, self._least if self._cautious else offset)

    def _after_boot(self, floor: float, reading: ClockReading | None) -> float:
        told = self._wall() + (reading.wall_offset if reading else 0.0)
        if not floor:
            return told
        believed = min(max(told, floor), floor + LONGEST_AWAY)
        self.jumped = told - believed
        return believed
