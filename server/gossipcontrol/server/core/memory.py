"""One budget of memory in bytes, from which every book draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

NODE = 1450
"""Bytes of a node."""
HOST = 900
"""Bytes of a host."""
STORE = 1500
"""Bytes of a store and its presence."""
MONITOR = 2900
"""Bytes of the monitor of a store's reports."""
SLOT = 2400
"""Bytes of a (node, store): what it reported last, and what of its broadcasts was heard."""
NAME = 480
"""Bytes of a peer in presence, or of a neighbour of a (node, store)."""
CHANGE = 24
"""Bytes of a change of presence that is kept for watchers."""
REJOIN = 1100
"""Bytes of a rejoin, without its triggers."""
TRIGGER = 1000
"""Bytes of a trigger that is kept with a rejoin."""
ANSWER = 700
"""Bytes of a request id or a network event that is remembered, without its decisions."""
DECISION = 500
"""Bytes of a decision that is remembered with one."""
PAIR = 600
"""Bytes of a pair of nodes that should sync."""
OFFER = 700
"""Bytes of a sync that waits for a node's next report."""
SENDER = 400
"""Bytes of a sender of intentions whose last sequence is remembered."""
TRACKER, CHAIN, INTENTION, HASH = 10_000, 3500, 400, 400
"""Bytes of a store of knowledge, of a chain, of an intention and of a hash that floats or is only recognised."""
VECTOR, LANE_BYTES = 220, 5
"""Bytes of a vector that is kept, and its bytes per chain of its store."""
STREAM = 45_000
"""Bytes of a stream or of a call that lasts, as gRPC keeps it."""


class Book(NamedTuple):
    """A book knows how many entries it has; an entry costs at most so many bytes, with ids of the longest length."""

    entries: Callable[[], int]
    cost: int


class MemoryBudget:
    """The sum of all books, and its limit in bytes; 0: none."""

    def __init__(self, limit: int = 0) -> None:
        self.limit = limit
        self._books: dict[str, list[Book]] = {}
        self._core: list[Book] = []
        self._outside: list[Book] = []
        self._most = math.inf
        """The books of the core hold no more than that; infinite where only summing them tells."""

    def add(self, name: str, entries: Callable[[], int], cost: int = 1, *, outside: bool = False) -> None:
        """Have a book with so many entries draw from the budget; books with one name are shown as one.

        One ``outside`` the core changes without an event.
        """
        book = Book(entries, cost)
        self._books.setdefault(name, []).append(book)
        (self._outside if outside else self._core).append(book)

    def by_book(self) -> dict[str, int]:
        """The bytes of each book now."""
        return {name: _sum(books) for name, books in self._books.items()}

    def used(self) -> int:
        """The bytes of all books now."""
        return _sum(self._core) + _sum(self._outside)

    def is_above(self, limit: float) -> bool:
        """Whether more than that is used. The books of the core are summed only where what is known does not tell."""
        outside = _sum(self._outside)
        if self._most + outside <= limit:
            return False
        self._most = _sum(self._core)
        return self._most + outside > limit

    def take(self, wanted: int) -> int:
        """Give room to an event that fills so many bytes; returns by how many it exceeds the limit, if any.

        It may fill twice as much: what is decided is remembered with its request id and with its network event.
        """
        outside, most = _sum(self._outside), self._most
        if most + outside + wanted > self.limit:
            most = _sum(self._core)
        self._most = most + 2 * wanted
        return max(0, int(most) + outside + wanted - self.limit)

    def recount(self) -> None:
        """The books of the core change by more than was asked for: sum them when it matters."""
        self._most = math.inf


def _sum(books: Iterable[Book]) -> int:
    total = 0
    for entries, cost in books:  # for most events, so it is a plain loop
        total += entries() * cost
    return total
