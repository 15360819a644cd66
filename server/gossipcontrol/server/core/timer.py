"""Deadlines of rejoins, as data."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from gossipcontrol.server.core.codec import Plain
from gossipcontrol.server.core.rejoin import Rejoin


class Timers:
    """A heap of (deadline, rejoin). A rejoin whose deadline has changed since is passed over."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Rejoin]] = []
        self._pushes = 0

    def set(self, rejoin: Rejoin, deadline: float) -> None:
        """Give a rejoin its deadline, in place of any it had."""
        rejoin.deadline = deadline
        self._pushes += 1
        heapq.heappush(self._heap, (deadline, self._pushes, rejoin))

    def next_at(self) -> float | None:
        """The earliest deadline, or None."""
        heap = self._heap
        while heap and heap[0][2].deadline != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def pop(self, now: float) -> Rejoin | None:
        """A rejoin whose deadline has come, earliest first; its deadline is cleared."""
        at = self.next_at()
        if at is None or at > now:
            return None
        rejoin = heapq.heappop(self._heap)[2]
        rejoin.deadline = None
        return rejoin

    def save(self) -> Plain:
        """Deadlines that stand, in the order in which they fall due."""
        return [[at, rejoin.rejoin_id] for at, _, rejoin in sorted(self._heap, key=_order) if rejoin.deadline == at]

    def load(self, plain: Plain, get: Callable[[str], Rejoin | None]) -> None:
        """Take over saved deadlines; a sorted list is a heap."""
        known = [(at, get(rejoin_id)) for at, rejoin_id in plain]
        self._heap = [(at, number, rejoin) for number, (at, rejoin) in enumerate(known) if rejoin is not None]
        self._pushes = len(known)


def _order(entry: tuple[float, int, Rejoin]) -> tuple[float, int]:
    return entry[:2]
