"""All pairs of one store's members, and when each is due to meet; about a hundred bytes a pair."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from heapq import heapify, heappop, heappush, heapreplace
from typing import NamedTuple


class Due(NamedTuple):
    """A pair, and when it is due."""

    at: float
    one: str
    other: str


class Pairs:
    """Every two of the members. Each meeting postpones the time at which the pair is due.

    The due time of a pair that has never met is stored negated, so one array holds both facts. A *shelved* pair is
    not due until one of its two nodes is unshelved.
    """

    __slots__ = ("_heap", "_indexes", "_rows", "_shelved", "members", "never_met")

    def __init__(self) -> None:
        self.members: list[str] = []
        self.never_met = 0
        """Pairs that have never met, without the shelved ones."""
        self._indexes: dict[str, int] = {}
        self._rows: list[array[float]] = []
        """Row n: the due times of member n with each of the n members before it."""
        self._heap: list[tuple[float, str, str]] = []
        """One entry per pair that is not shelved; the pair is due at that time or later. Plain tuples are cheapest."""
        self._shelved: dict[tuple[str, str], None] = {}
        """Pairs without a heap entry; a dict, for an empty set takes thrice the room."""

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.members) * (len(self.members) - 1) // 2

    def __contains__(self, node_id: str) -> bool:
        return node_id in self._indexes

    def add(self, node_id: str, first_at: float, until: float) -> None:
        """Add a member; its pairs become due evenly between ``first_at`` and ``until``."""
        count = len(self.members)
        step = (until - first_at) / max(1, count)
        # Each newcomer starts at another member, or all would sync with the first one at once.
        dues = [first_at + step * ((index + count) % count) for index in range(count)]
        self._rows.append(array("d", [-at for at in dues]))
        for at, member in zip(dues, self.members, strict=True):
            heappush(self._heap, (at, node_id, member))
        self._indexes[node_id] = count
        self.members.append(node_id)
        self.never_met += count

    def remove(self, node_ids: Sequence[str]) -> None:
        """Remove members, in this order: the last member takes the index of each."""
        for node_id in node_ids:
            self._remove(node_id)
        self._heap = [due for due in self._heap if due[1] in self._indexes and due[2] in self._indexes]
        heapify(self._heap)

    def _remove(self, node_id: str) -> None:
        """Remove one member, but leave its heap entries."""
        self.unshelve(node_id)
        index, last = self._indexes.pop(node_id), len(self.members) - 1
        self.never_met -= sum(self._due_at(index, other) < 0 for other in range(last + 1) if other != index)
        if index != last:
            moved = self.members[last]
            for other in range(last):
                if other != index:
                    self._set_due(index, other, self._due_at(last, other))
            self.members[index], self._indexes[moved] = moved, index
        self.members.pop()
        self._rows.pop()

    def record_meeting(self, one: str, other: str, due_at: float) -> None:
        """Record that they met; they are not due again before ``due_at``."""
        first, second = self._indexes.get(one), self._indexes.get(other)
        if first is None or second is None or first == second:
            return
        known = self._due_at(first, second)
        if known < 0 and pair_of(one, other) not in self._shelved:
            self.never_met -= 1
        if known < due_at:
            self._set_due(first, second, due_at)

    def has_met(self, one: str, other: str) -> bool:
        """Whether two members have ever met."""
        return self._due_at(self._indexes[one], self._indexes[other]) >= 0

    def pop_due(self, now: float) -> list[Due]:
        """Remove and return the due pairs, the most overdue first; the caller puts back those it does not shelve."""
        due: list[Due] = []
        heap = self._heap
        while heap and heap[0][0] <= now:
            _, one, other = heap[0]
            at = abs(self._due_at(self._indexes[one], self._indexes[other]))
            if at <= now:
                heappop(heap)
                due.append(Due(at, one, other))
            else:
                heapreplace(heap, (at, one, other))
        due.sort()
        return due

    def put_back(self, due: list[Due]) -> None:
        """Return popped pairs to the heap."""
        for entry in due:
            heappush(self._heap, (entry.at, entry.one, entry.other))

    def shelve(self, due: Due) -> None:
        """Set a popped pair aside until ``unshelve``."""
        self._shelved[pair_of(due.one, due.other)] = None
        self.never_met -= not self.has_met(due.one, due.other)

    def unshelve(self, node_id: str) -> None:
        """Return the shelved pairs of a member to the heap."""
        for member in self.members if self._shelved else ():
            if (key := pair_of(node_id, member)) in self._shelved:
                del self._shelved[key]
                at = self._due_at(self._indexes[node_id], self._indexes[member])
                self.never_met += at < 0
                heappush(self._heap, (abs(at), node_id, member))

    def next_at(self) -> float | None:
        """A lower bound of when the next pair is due; None when there is no pair."""
        return self._heap[0][0] if self._heap else None

    def _due_at(self, one: int, other: int) -> float:
        return self._rows[one][other] if one > other else self._rows[other][one]

    def _set_due(self, one: int, other: int, at: float) -> None:
        if one > other:
            self._rows[one][other] = at
        else:
            self._rows[other][one] = at


def pair_of(one: str, other: str) -> tuple[str, str]:
    """Two nodes as a key, ordered."""
    return (one, other) if one < other else (other, one)
