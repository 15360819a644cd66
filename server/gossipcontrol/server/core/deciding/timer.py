"""Deadlines of rejoins, as data."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from gossipcontrol.server.core.codec import Plain
from gossipcontrol.server.core.deciding.rejoin import Rejoin

SLACK = 1000
"""Entries beyond twice those that stood at the last clearing that are let be, so that many are cleared at a time."""


class Timers:
    """A heap of (deadline, number, rejoin). An entry that is not the rejoin's last is dead, and is passed over.

    The dead are cleared out once they may be half of the heap.

    By number, not by deadline: one set anew to the instant it had before must not depend on when somebody looked.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Rejoin]] = []
        self._pushes = 0
        self._stood = 0
        """Entries at the last clearing."""

    def __len__(self) -> int:
        return len(self._heap)

    def set(self, rejoin: Rejoin, deadline: float) -> None:
        """Give a rejoin its deadline, in place of any it had."""
        self._pushes += 1
        rejoin.deadline, rejoin.timer = deadline, self._pushes
        heapq.heappush(self._heap, (deadline, self._pushes, rejoin))
        if len(self._heap) > 2 * self._stood + SLACK:
            self._heap = [entry for entry in self._heap if _stands(entry)]
            heapq.heapify(self._heap)  # no two are equal: so the order is the same
            self._stood = len(self._heap)

    def next_at(self) -> float | None:
        """The earliest deadline, or None."""
        heap = self._heap
        while heap and not _stands(heap[0]):
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
            [at, number, rejoin.rejoin_id] for at, number, rejoin in sorted(filter(_stands, self._heap), key=_order)
        ]
        return {"pushes": self._pushes, "standing": standing}

    def load(self, plain: Plain, get: Callable[[str], Rejoin | None]) -> None:
        """Take over saved deadlines; a sorted list is a heap."""
        known = [(at, number, get(rejoin_id)) for at, number, rejoin_id in plain["standing"]]
        self._heap = [(at, number, rejoin) for at, number, rejoin in known if rejoin is not None]
        self._pushes = plain["pushes"]
        self._stood = len(self._heap)


def _stands(entry: tuple[float, int, Rejoin]) -> bool:
    _, number, rejoin = entry
    return rejoin.timer == number and rejoin.deadline is not None


def _order(entry: tuple[float, int, Rejoin]) -> tuple[float, int]:
    return entry[:2]
