"""Failure detectors of others, as their sources have them, fed with what the service is told.

A heartbeat is a report with news of the peer. Each detector is tried on the instants at which the peer was heard and
on those at which the news came, and the better one counts.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol


class Detector(Protocol):
    """One peer's detector."""

    def beat(self, at: float) -> None:
        """A heartbeat came (service time)."""

    def patience(self, threshold: float) -> float:
        """Silence after which the peer is suspected (seconds)."""
        ...


class Fixed:
    """A fixed timeout: the threshold is seconds."""

    def beat(self, at: float) -> None:
        """Nothing is learned."""

    def patience(self, threshold: float) -> float:
        """Silence after which the peer is suspected (seconds)."""
        return threshold


class Chitchat:
    """chitchat's phi (failure_detector.rs): elapsed / mean; window 1000, prior 5 s of weight 5, at most 10 s."""

    WINDOW, PRIOR, WEIGHT, CAP = 1000, 5.0, 5.0, 10.0

    def __init__(self) -> None:
        self._intervals: deque[float] = deque()
        self._sum = 0.0
        self._last: float | None = None

    def beat(self, at: float) -> None:
        """A heartbeat; longer intervals are left out."""
        if self._last is not None and at - self._last <= self.CAP:
            self._intervals.append(at - self._last)
            self._sum += at - self._last
            if len(self._intervals) > self.WINDOW:
                self._sum -= self._intervals.popleft()
        self._last = at

    def patience(self, threshold: float) -> float:
        """Silence after which phi exceeds the threshold (seconds)."""
        mean = (self._sum + self.PRIOR * self.WEIGHT) / (len(self._intervals) + self.WEIGHT)
        return threshold * mean


class Cassandra(Chitchat):
    """Cassandra's phi (FailureDetector.java): factor 0.434, window 1000, first interval 2 s.

    It leaves out intervals above 2 s, which would blind it to slow peers here; as an operator may, it gets 10 s.
    """

    PRIOR, WEIGHT = 2.0, 1.0
    FACTOR = 0.4342944819

    def patience(self, threshold: float) -> float:
        """Silence after which phi exceeds the threshold (seconds)."""
        return super().patience(threshold) / self.FACTOR
