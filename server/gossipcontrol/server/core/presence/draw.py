"""Draws peers of a store in a pseudo-random order: each is equally likely to come first, however often it is heard."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from math import gcd

MIX, MASK = 0x9E3779B97F4A7C15, 0xFFFFFFFFFFFFFFFF
"""Spreads the bits of a seed over 64 bits (the fractional part of the golden ratio)."""


class RowPool:
    """Some rows of a table, to draw from: adding, removing and one draw each take constant time."""

    __slots__ = ("_places", "_rows")

    def __init__(self, places: array[int]) -> None:
        self._rows = array("i")
        self._places = places
        """Row -> its place in the pool that it is in. All pools of a table share this column."""

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[int]:
        return iter(self._rows)

    def add(self, row: int) -> None:
        """Add a row that is in no pool."""
        self._places[row] = len(self._rows)
        self._rows.append(row)

    def remove(self, row: int) -> None:
        """Remove a row of this pool; the last one takes its place."""
        place, last = self._places[row], self._rows.pop()
        if last != row:
            self._rows[place] = last
            self._places[last] = place

    def draw(self, seed: int) -> Iterator[int]:
        """Every row once, in an order that the seed (32 bits) decides; the pool must not change meanwhile."""
        count = len(self._rows)
        if count:
            mixed = seed * MIX & MASK
            place, stride = (mixed >> 32) % count, 1 + (mixed & 0xFFFFFFFF) % count
            while gcd(stride, count) > 1:
                stride += 1
            for _ in range(count):
                yield self._rows[place]
                place = (place + stride) % count
