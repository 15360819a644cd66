"""How often nodes should report: as often as wanted, unless too many do."""

from __future__ import annotations

from gossipcontrol.server.core.event import NEVER
from gossipcontrol.server.core.presence.parameter import LivenessParameters

EPOCH = 1.5
"""Report intervals over which reporters are counted, so that each is counted at least once."""


class ReportPacer:
    """Counts the (node, store) that report."""

    def __init__(self, parameters: LivenessParameters) -> None:
        self._interval = parameters.report_interval
        self._ceiling = parameters.report_ceiling
        self._rate = parameters.report_rate
        self.began_at = NEVER
        """When the epoch began: who reports for the first time in it is counted."""
        self._before = self._now = 0
        self._measure()

    def count(self, reported_at: float, now: float) -> None:
        """A report came of a (node, store) whose last one came at ``reported_at``."""
        self._turn(now)
        if reported_at < self.began_at:
            self._now += 1
            self._measure()

    def next_report(self, now: float) -> float:
        """Seconds until a node should report again."""
        self._turn(now)
        return self._wanted

    def _measure(self) -> None:
        """Follow from what was counted."""
        self._wanted = min(max(max(self._before, self._now) / self._rate, self._interval), self._ceiling)

    def _turn(self, now: float) -> None:
        length = EPOCH * self._wanted
        if now < self.began_at + length:
            return
        # After a long pause nothing is known of who reports.
        self._before = self._now if now < self.began_at + 2 * length else 0
        self._now, self.began_at = 0, now
        self._measure()
