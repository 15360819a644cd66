"""Deadlines of rejoins, as data."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from gossipcontrol.server.core.codec import Plain
from gossipcontrol.server.core.rejoin import Rejoin


class Timers:
    """A heap of (deadline, number, rejoin). An entry that is not the rejoin's last is passed over.

    By number, not by deadline: one set anew to the instant it had before must not depend on when somebody looked.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Rejoin]] = []
        self._pushes = 0

    def set(self, rejoin: Rejoin, deadline: float) -> None:
        """Give a rejoin its deadline, in place of any it had."""
        self._pushes += 1
        rejoin.deadline, rejoin.timer = deadline, self._pushes
        heapq.heappush(self._heap, (deadline, self._pushes, rejoin))

    def next_at(self) -> float | None:
        """The earliest deadline, or None."""
        heap = self._heap
        while heap and (heap[0][2].timer != heap[0][1] or heap[0][2].deadline is None):
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
        """Deadlines that stand, in the order in which they fall due, with their numbers."""
        standing = [
            [at, number, rejoin.rejoin_id]
            for at, number, rejoin in sorted(self._heap, key=_order)
            if rejoin.timer == number and rejoin.deadline is not None
        ]
        return {"pushes": self._pushes, "standing": standing}

    def load(self, plain: Plain, get: Callable[[str], Rejoin | None]) -> None:
        """Take over saved deadlines; a sorted list is a heap."""
        known = [(at, number, get(rejoin_id)) for at, number, rejoin_id in plain["standing"]]
        self._heap = [(at, number, rejoin) for at, number, rejoin in known if rejoin is not None]
        self._pushes = plain["pushes"]


def _order(entry: tuple[float, int, Rejoin]) -> tuple[float, int]:
    return entry[:2]
