"""Whether the service itself hears anybody: if all who reported fall silent at once, it is deaf, and they may be well.

A cut of the service's uplink looks like the death of everybody. Nodes that die one after another do not.
"""

from __future__ import annotations

from collections import OrderedDict

from gossipcontrol.server.core.event import NEVER

AT_ONCE_INTERVALS = 1.5
"""Report intervals within which all must have fallen silent to count as silent at once."""
REMEMBERED_INTERVALS = 4.0
"""Who reported no earlier than so many report intervals before the last report was reporting then."""
MIN_REPORTERS = 2
"""Fewest reporters that make it deafness: with one, its silence and the service's deafness cannot be told apart."""
MIN_SHARE = 0.5
"""Of those that were reporting, the least share that fell silent at once; others may have died just before."""
MAX_REMEMBERED = 65_536
"""Most reporters that are remembered; those that reported longest ago are forgotten first."""


class Hearing:
    """Follows when the service last heard from anybody, and from whom."""

    def __init__(self, patience: float, settle: float) -> None:
        self._patience = patience
        """Seconds without a word from anybody after which the service may be deaf."""
        self.settle = settle
        """Seconds after deafness within which all report again, if they live; above the patience, for a next cut."""
        self._reported_at = OrderedDict[str, float]()
        """Node -> its last report; the newest comes last."""
        self._interval = 0.0
        """Report interval at the last report; what is asked for shrinks while nobody reports."""
        self.last_at = NEVER
        """When the service last heard from anybody."""
        self._judged_at = NEVER
        """The value of ``last_at`` of which it was judged whether the service is deaf."""
        self.deaf_at: float | None = None
        """When the service was last found to be deaf, or first of several times in a row; None when it never was."""
        self.ended_at: float | None = None
        """When it heard somebody again after that; None while it is deaf."""

    @property
    def is_deaf(self) -> bool:
        """Whether the service hears nobody, for a reason of its own."""
        return self.deaf_at is not None and self.ended_at is None

    def deaf_since(self) -> float | None:
        """When the service, which is deaf, last heard from anybody; None while it hears."""
        return self.last_at if self.is_deaf else None

    def hear(self, now: float) -> bool:
        """Record a word from any node; return whether the service was deaf until now."""
        was_deaf = self.is_deaf
        if was_deaf:
            self.ended_at = now
        self.last_at = now
        return was_deaf

    def record_report(self, node_id: str, interval: float, now: float) -> None:
        """Record that a node reported, while nodes are asked to report at this interval."""
        reported_at, self._interval = self._reported_at, interval
        reported_at[node_id] = now
        reported_at.move_to_end(node_id)
        oldest_at = now - REMEMBERED_INTERVALS * interval
        while len(reported_at) > MAX_REMEMBERED or next(iter(reported_at.values())) < oldest_at:
            reported_at.popitem(last=False)

    def forget(self, node_id: str) -> None:
        """A node said that it goes: its silence is announced."""
        self._reported_at.pop(node_id, None)

    def on_service_paused(self, now: float) -> None:
        """The service stood still until now: until now it cannot have heard anybody."""
        self.last_at = max(self.last_at, now)

    def next_at(self) -> float | None:
        """When it is to be judged whether the service is deaf; None when it was, or nobody ever reported."""
        if self._judged_at == self.last_at or len(self._reported_at) < MIN_REPORTERS or self.is_deaf:
            return None
        return self.last_at + self._patience

    def judge(self, now: float) -> bool:
        """Judge whether the service is deaf, once that is due; return whether it was found to be deaf just now.

        If it fell silent again before all had the time to report, that deafness goes on.
        """
        due_at = self.next_at()
        if due_at is None or due_at > now:
            return False
        self._judged_at = self.last_at
        if not self._fell_silent_at_once():
            return False
        if self.ended_at is None or self.last_at >= self.ended_at + self.settle:
            self.deaf_at = now
        self.ended_at = None
        return True

    def _fell_silent_at_once(self) -> bool:
        newest_at = next(reversed(self._reported_at.values()))
        since = newest_at - AT_ONCE_INTERVALS * self._interval
        together = sum(at >= since for at in self._reported_at.values())
        return together >= max(MIN_REPORTERS, MIN_SHARE * len(self._reported_at))
