"""Deadlines of rejoins, as data."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence

from gossipcontrol.server.core.codec import LaterList, Plain
from gossipcontrol.server.core.deciding.rejoin import Rejoin

SLACK = 1000
"""Entries beyond twice those that stood at the last clearing that are let be, so that many are cleared at a time."""
SORTED = 2000
"""Entries that are sorted at a time for a snapshot."""

Entry = tuple[float, int, Rejoin]
"""Deadline, number, rejoin."""


class Timers:
    """A heap of (deadline, number, rejoin). An entry that is not the rejoin's last is dead, and is passed over.

    The dead are cleared out once they may be half of the heap.

    By number, not by deadline: one set anew to the instant it had before must not depend on when somebody looked.
    """

    def __init__(self) -> None:
        self._heap: list[Entry] = []
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

    def capture(self, stands: Callable[[Entry], bool]) -> Plain:
        """Deadlines that stand, in the order in which they fall due, with their numbers.

        ``stands`` says of an entry whether it stood when the capture began.
        """
        heap = tuple(self._heap)
        return {"pushes": self._pushes, "standing": LaterList(lambda: _in_order(heap, stands), _save_entry)}

    def load(self, plain: Plain, get: Callable[[str], Rejoin | None]) -> None:
        """Take over saved deadlines; a sorted list is a heap."""
        known = [(at, number, get(rejoin_id)) for at, number, rejoin_id in plain["standing"]]
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
