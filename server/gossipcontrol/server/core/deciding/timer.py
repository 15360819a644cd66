"""Deadlines of rejoins, as data."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence

from gossipcontrol.server.core.codec import LaterList, Plain
from gossipcontrol.server.core.deciding.rejoin import Rejoin

SLACK = 1000
"""Entries beyond twice those that stood at the last clearing that are let be, so that many are cleared at a time."""
CLEARED = 4
"""Entries that are cleared, or kept, with each that is set while a clearing is under way."""
SORTED = 2000
"""Entries that are sorted at a time for a snapshot."""

Entry = tuple[float, int, Rejoin]
"""Deadline, number, rejoin."""


class Timers:
    """A heap of (deadline, number, rejoin). An entry that is not the rejoin's last is dead, and is passed over.

    The dead are cleared out once they may be half of the heap: little by little, for there may be very many. What is
    left of the former heap is a heap still, for its entries are taken from its end.

    By number, not by deadline: one set anew to the instant it had before must not depend on when somebody looked.
    """

    def __init__(self) -> None:
        self._heap: list[Entry] = []
        self._former: list[Entry] = []
        """What is left to be cleared."""
        self._pushes = 0
        self._stood = 0
        """Entries at the last clearing."""

    def __len__(self) -> int:
        return len(self._heap) + len(self._former)

    def set(self, rejoin: Rejoin, deadline: float) -> None:
        """Give a rejoin its deadline, in place of any it had."""
        self._pushes += 1
        rejoin.deadline, rejoin.timer = deadline, self._pushes
        heapq.heappush(self._heap, (deadline, self._pushes, rejoin))
        if self._former:
            self._clear()
        elif len(self._heap) > 2 * self._stood + SLACK:
            self._former, self._heap = self._heap, []

    def _clear(self) -> None:
        """Look at some entries of the former heap: no two are equal, so the order stays the same."""
        for entry in self._former[-CLEARED:]:
            if _stands(entry):
                heapq.heappush(self._heap, entry)
        del self._former[-CLEARED:]
        if not self._former:
            self._stood = len(self._heap)

    def next_at(self) -> float | None:
        """The earliest deadline, or None."""
        heap = self._next_heap()
        return heap[0][0] if heap else None

    def _next_heap(self) -> list[Entry]:
        """The heap with the earliest deadline on top; an empty one if there is none."""
        for heap in (self._heap, self._former):
            while heap and not _stands(heap[0]):
                heapq.heappop(heap)
        if self._former and (not self._heap or self._former[0] < self._heap[0]):
            return self._former
        return self._heap

    def pop(self, now: float) -> Rejoin | None:
        """A rejoin whose deadline has come, earliest first; its deadline is cleared."""
        heap = self._next_heap()
        if not heap or heap[0][0] > now:
            return None
        rejoin = heapq.heappop(heap)[2]
        rejoin.deadline = None
        return rejoin

    def capture(self, stands: Callable[[Entry], bool]) -> Plain:
        """Deadlines that stand, in the order in which they fall due, with their numbers.

        ``stands`` says of an entry whether it stood when the capture began.
        """
        heap = (*self._heap, *self._former)
        return {"pushes": self._pushes, "standing": LaterList(lambda: _in_order(heap, stands), _save_entry)}

    def load(self, plain: Plain, get: Callable[[str], Rejoin | None]) -> None:
        """Take over saved deadlines; a sorted list is a heap."""
        known = [(at, number, get(rejoin_id)) for at, number, rejoin_id in plain["standing"]]
        self._former = []
        self._heap = [(at, number, rejoin) for at, number, rejoin in known if rejoin is not None]
        self._pushes = plain["pushes"]
        self._stood = len(self._heap)


def _in_order(heap: Sequence[Entry], stands: Callable[[Entry], bool]) -> Iterator[Entry]:
    """The entries of a heap that stand, sorted part by part: sorting all holds up every thread for too long."""
    parts = (heap[first : first + SORTED] for first in range(0, len(heap), SORTED))
    yield from heapq.merge(*(sorted(filter(stands, part), key=_order) for part in parts), key=_order)


def _save_entry(entry: Entry) -> Plain:
    at, number, rejoin = entry
    return [at, number, rejoin.rejoin_id]


def _stands(entry: Entry) -> bool:
    _, number, rejoin = entry
    return rejoin.timer == number and rejoin.deadline is not None


def _order(entry: Entry) -> tuple[float, int]:
    return entry[:2]
