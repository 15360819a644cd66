"""Which calls have arrived, but not begun: gRPC takes one after the other, and then waits for its request."""

from __future__ import annotations

import time
from collections.abc import Callable

STALE = 0.005
"""Seconds after which a call that has not begun counts no longer: it may have been cancelled."""


class Arrivals:
    """Counts calls; ``clock`` counts seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pending = 0
        self._arrived_at = 0.0

    def arrived(self) -> None:
        """A call has arrived."""
        self._pending += 1
        self._arrived_at = self._clock()

    def began(self) -> None:
        """A call begins."""
        if self._pending:
            self._pending -= 1

    def are_pending(self) -> bool:
        """Whether calls have just arrived that have not begun."""
        if self._pending and self._clock() - self._arrived_at > STALE:
            self._pending = 0
        return self._pending > 0
