"""How long a peer may be silent before it is suspected: as its own silences teach, and those of its store.

What is learned is each *peak*: how long the peer had provably been silent when it was heard again. A peak holds the
peer's rhythm, what gets lost on the way, how many observers there are and how often they report, all in one. Mean and
mean deviation are Jacobson's estimate of round-trip times (SIGCOMM 1988). Rare long silences (bursts of loss) are too
rare to be learned peer by peer: their length is a high quantile of how far all peers of a store overshoot their means,
followed by stochastic approximation (Robbins and Monro 1951).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.presence.table import Store

PRIOR_MEAN, PRIOR_DEVIATION = 2.0, 0.5
"""Seconds assumed of a peer's peaks before it is known."""
PRIOR_PEAKS, MAX_PEAKS = 4, 255
"""The prior weighs as much as this many peaks; and no more than this many are remembered."""
MIN_DEVIATION = 0.05
"""Seconds; even a clockwork's messages take a way."""
TAIL_SHARE = 0.15
"""Of the store's tail in a peer's deviation."""
TAIL_RISE, TAIL_FALL = 0.1, 0.0002
"""Steps of the quantile: up by a part of what is above it (of twice the quantile at most), down by a part of it."""

Peak = tuple[int, float]
"""A row, and for how long it had provably been silent (seconds)."""


class Detector:
    """The rhythm of each row."""

    def __init__(self, parameters: LivenessParameters) -> None:
        self._floor = parameters.suspect_floor
        self._ceiling = parameters.suspect_ceiling
        self._factor = parameters.suspect_deviations
        self._mean = array("f")
        self._deviation = array("f")
        self._peaks = bytearray()

    def add_row(self) -> None:
        """One more row."""
        self._mean.append(PRIOR_MEAN)
        self._deviation.append(PRIOR_DEVIATION)
        self._peaks.append(PRIOR_PEAKS)

    def reset(self, row: int) -> None:
        """Forget what a row has learned."""
        self._mean[row], self._deviation[row], self._peaks[row] = PRIOR_MEAN, PRIOR_DEVIATION, PRIOR_PEAKS

    def learn(self, store: Store, peaks: Iterable[Peak]) -> None:
        """Peers of a store were heard again after they had provably been silent for so long."""
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
            deviations[row] = deviation + ((excess if excess > 0.0 else -excess) - deviation) / count
        store.tail = tail

    def timeout(self, row: int, store: Store) -> float:
        """How long the peer may provably be silent (seconds)."""
        deviation = max(self._deviation[row], MIN_DEVIATION) + TAIL_SHARE * store.tail
        return min(max(self._mean[row] + self._factor * deviation, self._floor), self._ceiling)
