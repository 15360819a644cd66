"""Failure detectors of other projects, as in their sources, fed with the same reports as the service.

A heartbeat is a report with a later message of the peer. Each detector runs twice, on the instants at which the peer
was heard and on those at which the reports arrived, and the better result counts.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol


class Detector(Protocol):
    """The detector of one peer."""

    def beat(self, at: float) -> None:
        """Record a heartbeat (service time)."""

    def patience(self, threshold: float) -> float:
        """Silence after which the peer is suspected (seconds)."""
        ...


class Fixed:
    """A fixed timeout: the threshold is seconds."""

    def beat(self, at: float) -> None:
        """Learn nothing."""

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
        """Record a heartbeat; intervals above the cap are left out."""
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
