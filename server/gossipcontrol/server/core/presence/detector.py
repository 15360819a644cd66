"""An adaptive failure detector: how long a peer may be silent before it is suspected.

It learns from *peaks*: how long a peer had provably been silent when it was heard again. A peak reflects the peer's
rhythm, message loss, the number of observers and their report interval, all in one number. As in phi-accrual detection
(Hayashibara et al. 2004) the timeout adapts to each peer; mean and mean deviation are Jacobson's round-trip estimator
(SIGCOMM 1988). Long silences (bursts of loss) are too rare to be learned per peer, so each store tracks a high quantile
of how far its peers' peaks exceed their means, by stochastic approximation (Robbins and Monro 1951).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.presence.table import Store

PRIOR_MEAN, PRIOR_DEVIATION = 2.0, 0.5
"""Seconds; assumed of a peer's peaks before any was seen."""
PRIOR_PEAKS, SETTLED_PEAKS, MAX_PEAKS = 2, 8, 255
"""The prior weighs as much as PRIOR_PEAKS peaks; beyond MAX_PEAKS the average forgets exponentially."""
MIN_DEVIATION = 0.05
"""Seconds; delays vary even when a peer's rhythm is perfect."""
TAIL_SHARE = 0.15
"""Share of the store's tail that is added to each peer's deviation."""
TAIL_RISE, TAIL_FALL = 0.1, 0.0002
"""Steps of the quantile estimate: up by a share of the excess (at most of the estimate), down by a share of itself."""

Peak = tuple[int, float]
"""A row, and how long its peer had provably been silent (seconds)."""


class Detector:
    """Learns the rhythm of every row."""

    def __init__(self, parameters: LivenessParameters) -> None:
        self._floor = parameters.suspect_floor
        self._ceiling = parameters.suspect_ceiling
        self._factor = parameters.suspect_deviations
        self._mean = array("f")
        self._deviation = array("f")
        self._peaks = bytearray()

    def add_row(self) -> None:
        """Make room for one more row."""
        self._mean.append(PRIOR_MEAN)
        self._deviation.append(PRIOR_DEVIATION)
        self._peaks.append(PRIOR_PEAKS)

    def reset(self, row: int) -> None:
        """Forget what was learned about a row."""
        self._mean[row], self._deviation[row], self._peaks[row] = PRIOR_MEAN, PRIOR_DEVIATION, PRIOR_PEAKS

    def learn(self, store: Store, peaks: Iterable[Peak]) -> None:
        """Learn from peers of a store that were heard again."""
        means, deviations, counts, tail, ceiling = self._mean, self._deviation, self._peaks, store.tail, self._ceiling
        for row, peak in peaks:
            mean, count = means[row], counts[row]
            excess = (ceiling if peak > ceiling else max(0.0, peak)) - mean
            if excess > tail:
                tail += TAIL_RISE * min(excess - tail, tail)
            else:
                tail -= TAIL_FALL * tail
            if count < MAX_PEAKS:
                counts[row] = count + 1
            means[row] = mean + excess / count
            deviation = deviations[row]
            if excess < 0.0:
                # While little is known the mean is the prior's: that a peer is faster than that is no irregularity.
                excess = 0.0 if count < SETTLED_PEAKS else -excess
            deviations[row] = deviation + (excess - deviation) / count
        store.tail = tail

    def timeout(self, row: int, store: Store) -> float:
        """How long the peer may provably be silent before it is suspected (seconds)."""
        deviation = max(self._deviation[row], MIN_DEVIATION) + TAIL_SHARE * store.tail
        return min(max(self._mean[row] + self._factor * deviation, self._floor), self._ceiling)
