"""When whoever a standby refuses should come again, so that a fleet does not come at once when it has taken over."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

RATE = 400.0
"""Refused calls a second: to attach an agent costs a new owner 0.6 ms, and some tenths of that more for each store that
it reports at once, so a fleet with ten stores each takes most of a core."""
LONGEST = 5.0
"""Most seconds that one has to wait once there may be an owner: beyond RATE * LONGEST callers, they come faster. Nodes
count as attached for 15 s."""
LEAST = 0.01
"""Seconds below which no delay is worth a word."""


class RefusalPace:
    """Gives every refused caller a turn of its own."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._turn_at = 0.0

    def delay(self, first: float = 0.0) -> float:
        """Seconds until the turn of the next caller; 0.0: it may come when it likes.

        ``first``: seconds before which nobody needs to come, as no owner will be there.
        """
        now = self._clock()
        begins_at = now + first
        self._turn_at = min(max(begins_at, self._turn_at + 1 / RATE), begins_at + LONGEST)
        delay = self._turn_at - now
        if self._turn_at >= begins_at + LONGEST:  # more than have turns: all of the time is theirs
            return first + random.uniform(LEAST, LONGEST)
        return delay if delay >= LEAST else 0.0
