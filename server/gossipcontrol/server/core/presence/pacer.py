"""How often nodes should report: as often as wanted, unless too many do."""

from __future__ import annotations

from gossipcontrol.server.core.event import NEVER
from gossipcontrol.server.core.presence.parameter import LivenessParameters

EPOCH_INTERVALS = 1.5
"""Report intervals over which reporters are counted, so that each is counted at least once."""


class ReportPacer:
    """Counts the (node, store) that report."""

    def __init__(self, parameters: LivenessParameters) -> None:
        self._interval = parameters.report_interval
        self._ceiling = parameters.report_ceiling
        self._rate = parameters.report_rate
        self._epoch_at = NEVER
        """When the epoch began: who reports for the first time in it is counted."""
        self._previous_count = self._current_count = 0
        self._update_interval()

    def count_report(self, reported_at: float, now: float) -> None:
        """A report came of a (node, store) whose last one came at ``reported_at``."""
        self._roll_epoch(now)
        if reported_at < self._epoch_at:
            self._current_count += 1
            self._update_interval()

    def next_report(self, now: float) -> float:
        """Seconds until a node should report again."""
        self._roll_epoch(now)
        return self._asked_interval

    def _update_interval(self) -> None:
        """Follow from what was counted."""
        self._asked_interval = min(
            max(max(self._previous_count, self._current_count) / self._rate, self._interval), self._ceiling
        )

    def _roll_epoch(self, now: float) -> None:
        length = EPOCH_INTERVALS * self._asked_interval
        if now < self._epoch_at + length:
            return
        # After a long pause nothing is known of who reports.
        self._previous_count = self._current_count if now < self._epoch_at + 2 * length else 0
        self._current_count, self._epoch_at = 0, now
        self._update_interval()
