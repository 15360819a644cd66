"""Deadlines of very many rows, as data: a timing wheel (Varghese and Lauck 1987) in which postponing is free."""

from __future__ import annotations

import heapq
import math
from array import array

TICKS_PER_SECOND = 16
"""Ticks per second; a row is popped no later than one tick after its deadline."""
COARSE_TICKS = 64 * TICKS_PER_SECOND
"""Deadlines further away are kept in coarse ticks, and popped up to this many ticks early."""
NO_TICK = -1
STALE_SLACK = 1024
"""Stale entries allowed beyond one per row before the wheel is rebuilt."""


class Wheel:
    """Rows by tick. Each row has one deadline; entries that no longer match it are skipped."""

    def __init__(self) -> None:
        self._rows: dict[int, list[int]] = {}
        self._ticks: list[int] = []
        """The keys of ``_rows``, as a heap."""
        self._tick_of = array("q")
        """Row -> the tick of its deadline."""
        self._entries = 0

    def __len__(self) -> int:
        """Number of entries, stale ones included."""
        return self._entries

    def add_row(self) -> None:
        """Make room for one more row."""
        self._tick_of.append(NO_TICK)

    def schedule(self, row: int, at: float, now: float) -> None:
        """Set a row's deadline, replacing any earlier one."""
        tick = math.ceil(at * TICKS_PER_SECOND)
        if tick - now * TICKS_PER_SECOND > COARSE_TICKS:
            tick -= tick % COARSE_TICKS
        if self._tick_of[row] == tick:
            return
        self._tick_of[row] = tick
        rows = self._rows.get(tick)
        if rows is None:
            rows = self._rows[tick] = []
            heapq.heappush(self._ticks, tick)
        rows.append(row)
        self._entries += 1
        if self._entries > 2 * len(self._tick_of) + STALE_SLACK:
            self._rebuild()

    def cancel(self, row: int) -> None:
        """Remove a row's deadline."""
        self._tick_of[row] = NO_TICK

    def next_at(self) -> float | None:
        """When the next entry is due; None when there is none. The entry may be stale."""
        return self._ticks[0] / TICKS_PER_SECOND if self._ticks else None

    def pop(self, now: float, most: int | None = None) -> list[int]:
        """Remove and return the rows that are due, earliest first; at most so many entries, stale ones included."""
        due: list[int] = []
        tick_of, limit = self._tick_of, now * TICKS_PER_SECOND
        left = self._entries if most is None else most
        while left > 0 and self._ticks and self._ticks[0] <= limit:
            tick = self._ticks[0]
            rows = self._rows[tick]
            if len(rows) <= left:
                heapq.heappop(self._ticks)
                del self._rows[tick]
            else:
                self._rows[tick], rows = rows[left:], rows[:left]
            left -= len(rows)
            self._entries -= len(rows)
            for row in rows:
                if tick_of[row] == tick:
                    tick_of[row] = NO_TICK
                    due.append(row)
        return due

    def _rebuild(self) -> None:
        """Drop stale entries once there are too many."""
        kept: dict[int, list[int]] = {}
        for tick, rows in self._rows.items():
            if current := list(dict.fromkeys(row for row in rows if self._tick_of[row] == tick)):
                kept[tick] = current
        self._rows, self._ticks = kept, sorted(kept)
        self._entries = sum(map(len, kept.values()))
