"""Who did not hear whom, and for how long."""

from __future__ import annotations

from collections.abc import Collection
from itertools import permutations

from gossipcontrol.sim.result import Result, Silence

TOLERATED = 6.0
"""Seconds without a message, of which each node sends one every 2 s and one every 3 s; what is longer is silence."""


class SilenceMeter:
    """Takes each message that a node receives of another one."""

    def __init__(self, node_ids: Collection[str]) -> None:
        self._last = dict.fromkeys(permutations(node_ids, 2), 0.0)
        self._total = dict.fromkeys(node_ids, 0.0)
        self._longest = dict.fromkeys(node_ids, 0.0)
        self._spans: list[tuple[float, float]] = []
        self.messages = 0

    def hear(self, observer: str, author: str, now: float) -> None:
        """A node received a message of another one."""
        self.messages += 1
        self._end(author, self._last[author, observer], now)
        self._last[author, observer] = now

    def finish(self, duration: float, result: Result) -> None:
        """The run is over: add it to a result."""
        for (author, _), last in self._last.items():
            self._end(author, last, duration)
        result.messages = (result.messages or 0) + self.messages
        others = max(1, len(self._total) - 1)
        for node_id, total in self._total.items():
            silence = result.silences.setdefault(node_id, Silence())
            silence.mean += total / others
            silence.longest = max(silence.longest, self._longest[node_id])
        self._add_series(duration, result.unheard)

    def _end(self, author: str, last: float, now: float) -> None:
        if now - last > TOLERATED:
            self._total[author] += now - last - TOLERATED
            self._longest[author] = max(self._longest[author], now - last)
            self._spans.append((last + TOLERATED, now))

    def _add_series(self, duration: float, series: list[float]) -> None:
        changes = [0.0] * (int(duration) + 1)
        series.extend([0.0] * (len(changes) - 1 - len(series)))
        for begins, ends in self._spans:
            changes[min(int(begins), len(changes) - 1)] += 1
            changes[min(int(ends), len(changes) - 1)] -= 1
        silent = 0.0
        for second, change in enumerate(changes[:-1]):
            silent += change
            series[second] += silent / len(self._last)
