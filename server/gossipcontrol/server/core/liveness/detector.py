"""How long a peer may be silent before it is suspected: as its own silences teach.

What is learned is each *peak*: how long the peer had provably been silent when it was heard again. A peak holds the
peer's rhythm, what gets lost on the way, how many observers there are and how often they report, all in one.
The estimate is Jacobson's of round-trip times (SIGCOMM 1988): mean and mean deviation, of equal weight in time.
"""

from __future__ import annotations

from array import array

from gossipcontrol.server.core.liveness.parameter import LivenessParameters

WEIGHT = 1 / 16
"""Of one more peak in the estimates."""
PRIOR_MEAN = 2.0
PRIOR_SPREAD = 2.0
"""What is assumed of a peer that was never heard twice; seconds."""


class Detector:
    """The rhythm of each row."""

    def __init__(self, parameters: LivenessParameters) -> None:
        self._floor = parameters.suspect_floor
        self._ceiling = parameters.suspect_ceiling
        self._factor = parameters.suspect_deviations
        self._mean = array("f")
        self._spread = array("f")

    def grow(self) -> None:
        """One more row."""
        self._mean.append(PRIOR_MEAN)
        self._spread.append(PRIOR_SPREAD)

    def reset(self, row: int) -> None:
        """Forget what a row has learned."""
        self._mean[row], self._spread[row] = PRIOR_MEAN, PRIOR_SPREAD

    def learn(self, row: int, peak: float) -> None:
        """The peer was heard again after it had provably been silent for so long (seconds)."""
        peak = min(max(peak, 0.0), self._ceiling)
        mean, spread = self._mean[row], self._spread[row]
        off = peak - mean
        self._mean[row] = mean + off * WEIGHT
        self._spread[row] = spread + (abs(off) - spread) * WEIGHT

    def patience(self, row: int) -> float:
        """How long the peer may provably be silent (seconds)."""
        patience = self._mean[row] + self._factor * self._spread[row]
        return min(max(patience, self._floor), self._ceiling)
