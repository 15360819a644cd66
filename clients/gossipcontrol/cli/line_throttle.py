"""What is worth a line again in the output for people."""

from __future__ import annotations

import time
from collections.abc import Callable

SUBJECTS = 1000
"""Most subjects remembered; the one told of longest ago goes first."""


class LineThrottle:
    """Something that goes on is news once in so many seconds."""

    def __init__(self, every: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._every = every
        self._clock = clock
        self._told_at: dict[tuple[str, ...], float] = {}

    def allows(self, *subject: str) -> bool:
        """Whether this is worth a line now; if so, it counts as told."""
        now = self._clock()
        if now - self._told_at.get(subject, float("-inf")) < self._every:
            return False
        self._told_at.pop(subject, None)
        self._told_at[subject] = now
        if len(self._told_at) > SUBJECTS:
            del self._told_at[next(iter(self._told_at))]
        return True
