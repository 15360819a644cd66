"""How many rejoins rot may lead to: what counts alone show may be a lie, and must not move a whole store."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

NODE_SHARE = 0.1
"""Part of a store's nodes that may rejoin because of rot in one window; at least one may."""
RATE_SHARE = 0.2
"""Part of the global rate of starts, and of its burst, that rot may take."""
SMALL = 4
"""With fewer nodes than this a store has no share: each has fewer than three observers, and all of them count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRate:
    """What deciding allows: see its parameters."""

    window: float = 6.0
    rate: float = 200.0
    burst: int = 400


class RotBudget:
    """The part of the global rate that is left for rot, and the triggers of each store."""

    def __init__(self, starts: StartRate) -> None:
        self._window = starts.window
        self._rate = RATE_SHARE * starts.rate
        self._burst = max(1.0, RATE_SHARE * starts.burst)
        self._left = self._burst
        self._at = 0.0
        self.refused = 0
        """Triggers that were put off."""

    def take(self, taken: deque[float], nodes: int, now: float) -> bool:
        """Whether a node of a store with so many may have a trigger now; ``taken`` are the store's last ones."""
        while taken and taken[0] + self._window <= now:
            taken.popleft()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        is_small = nodes < SMALL
        if self._left < 1.0 or (not is_small and len(taken) >= max(1, int(NODE_SHARE * nodes))):
            self.refused += 1
            return False
        self._left -= 1.0
        if not is_small:
            taken.append(now)
        return True
