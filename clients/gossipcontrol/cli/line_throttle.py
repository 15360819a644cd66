"""Limits repeated lines in the output for people."""

from __future__ import annotations

import time
from collections.abc import Callable

SUBJECTS = 1000
"""Most subjects remembered; the one printed longest ago is dropped first."""


class LineThrottle:
    """Allows a line about each subject once in so many seconds."""

    def __init__(self, every: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._every = every
        self._clock = clock
        self._printed_at: dict[tuple[str, ...], float] = {}

    def allows(self, *subject: str) -> bool:
        """Whether to print a line about this now; if so, it counts as printed."""
        now = self._clock()
        if now - self._printed_at.get(subject, float("-inf")) < self._every:
            return False
        self._printed_at.pop(subject, None)
        self._printed_at[subject] = now
        if len(self._printed_at) > SUBJECTS:
            del self._printed_at[next(iter(self._printed_at))]
        return True
