"""What is to happen in a simulated world, in order of time."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any


class Timeline:
    """A queue of calls, whose order of planning decides among those of one instant; only ``step`` passes time."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        """Seconds."""
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = itertools.count()

    def plan(self, delay: float, what: Callable[..., None], *details: Any) -> None:
        """Have something happen after so many seconds."""
        heapq.heappush(self._queue, (self.now + delay, next(self._numbers), what, details))

    def next_at(self) -> float | None:
        """When something happens next; None: never."""
        return self._queue[0][0] if self._queue else None

    def step(self) -> None:
        """Go to the next instant at which something happens, and let it happen."""
        self.now, _, what, details = heapq.heappop(self._queue)
        what(*details)
