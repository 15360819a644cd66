"""Service time: seconds that never go backwards."""

from __future__ import annotations

import time
from collections.abc import Callable


class ServiceClock:
    """The wall clock at the start, then the monotonic clock.

    It is never below ``floor``, the last instant of an earlier run.
    """

    def __init__(
        self,
        floor: float = 0.0,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._offset = max(wall(), floor) - monotonic()

    def now(self) -> float:
        """The service time now, in seconds."""
        return self._monotonic() + self._offset
