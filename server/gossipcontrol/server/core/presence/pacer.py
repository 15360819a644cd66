"""Back-pressure on reports: the interval grows once more reports come than the service wants."""

from __future__ import annotations

from gossipcontrol.server.core.event import NEVER
from gossipcontrol.server.core.presence.parameter import LivenessParameters

EPOCH_INTERVALS = 1.5
"""Length of a counting epoch in report intervals, so that every reporter is counted at least once."""


class ReportPacer:
    """Counts the (node, store) pairs that report, or are expected to, and derives the report interval."""

    def __init__(self, parameters: LivenessParameters) -> None:
        self._interval = parameters.report_interval
        self._ceiling = parameters.report_ceiling
        self._rate = parameters.report_rate
        self._epoch_at = NEVER
        """Start of the epoch; the first report of a (node, store) in it is counted."""
        self._reported_at = NEVER
        """When anybody reported last."""
        self._previous_count = self._current_count = 0
        self._expected = 0
        """How many of attached nodes will report: a service that cannot serve them all counts only some."""
        self._behind_until = NEVER
        self._update_interval()

    def count_report(self, reported_at: float, now: float) -> None:
        """Count a report of a (node, store) whose previous one came at ``reported_at``."""
        self._roll_epoch(now)
        self._reported_at = now
        if reported_at < self._epoch_at:
            self._current_count += 1
            self._update_interval()

    def expect(self, change: int) -> None:
        """So many more pairs are registered, or fewer."""
        self._expected += change
        self._update_interval()

    def expect_return(self, count: int) -> None:
        """So many pairs will report, which did to the owner that was replaced.

        The interval would else begin short, and those that are back first would report again and again to an owner that
        the others have yet to reach.
        """
        self._previous_count = max(self._previous_count, count)
        self._update_interval()

    def on_behind(self, now: float) -> None:
        """The service is behind, or was paused: for a while the interval may grow, but not shrink.

        Only the reports that were served are counted, and an overloaded service serves few: it would ask for more.
        """
        self._behind_until = now + 2 * self._ceiling

    def next_report(self, now: float) -> float:
        """Seconds until a node should report again.

        Only reports begin an epoch: while nobody reports, the nodes are still there.
        """
        del now
        return self._asked_interval

    def _update_interval(self) -> None:
        """Derive the interval from the largest of this epoch's count, the previous one's, and what is expected."""
        count = max(self._previous_count, self._current_count, self._expected)
        self._asked_interval = min(max(count / self._rate, self._interval), self._ceiling)

    def _roll_epoch(self, now: float) -> None:
        length = EPOCH_INTERVALS * self._asked_interval
        if now < self._epoch_at + length:
            return
        # After a pause, and while the service is behind, few reports were served: the nodes are still there.
        is_short = now >= self._reported_at + length or now < self._behind_until
        self._previous_count = max(self._current_count, self._previous_count) if is_short else self._current_count
        self._current_count, self._epoch_at = 0, now
        self._update_interval()
