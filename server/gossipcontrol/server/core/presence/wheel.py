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
"""Entries allowed beyond two per row; the stale ones are swept from 7/4 per row on, and some come meanwhile."""
SWEPT = 4
"""Entries that are dropped, or kept, with each row that is scheduled while that goes on."""


class Wheel:
    """Rows by tick. Each row has one deadline; entries that no longer match it are skipped.

    Stale entries are dropped once they may be many, little by little: to look at those of 200,000 rows in one go takes
    0.1 s.
    """

    def __init__(self) -> None:
        self._rows: dict[int, list[int]] = {}
        self._former: dict[int, list[int]] = {}
        """What is left to be swept, by tick."""
        self._ticks: list[int] = []
        """At least the keys of both, as a heap."""
        self._tick_of = array("q")
        """Row -> the tick of its deadline."""
        self._sweep_of = bytearray()
        """Row -> the sweep in which its last entry was made or kept: what the same sweep finds besides is stale."""
        self._sweep = 0
        """Number of the last sweep, modulo 256: only that it differs from the one before counts."""
        self._entries = 0

    def __len__(self) -> int:
        """Number of entries, stale ones included."""
        return self._entries

    def add_row(self) -> None:
        """Make room for one more row."""
        self._tick_of.append(NO_TICK)
        self._sweep_of.append(0)

    def schedule(self, row: int, at: float, now: float) -> None:
        """Set a row's deadline, replacing any earlier one."""
        tick = math.ceil(at * TICKS_PER_SECOND)
        if tick - now * TICKS_PER_SECOND > COARSE_TICKS:
            tick -= tick % COARSE_TICKS
        if self._tick_of[row] == tick:
            return
        self._tick_of[row] = tick
        self._add(row, tick)
        self._entries += 1
        if self._former:
            self._sweep_some()
        elif self._entries >= 7 * len(self._tick_of) // 4 + STALE_SLACK:
            self._former, self._rows = self._rows, {}
            self._sweep = (self._sweep + 1) % 256

    def _add(self, row: int, tick: int) -> None:
        rows = self._rows.get(tick)
        if rows is None:
            rows = self._rows[tick] = []
            if tick not in self._former:
                heapq.heappush(self._ticks, tick)
        rows.append(row)
        self._sweep_of[row] = self._sweep

    def _sweep_some(self) -> None:
        """Keep, of the next entries, those that are still the last of their rows."""
        left = SWEPT
        while left and self._former:
            tick, rows = next(reversed(self._former.items()))
            swept = rows[-left:]
            for row in swept:
                if self._tick_of[row] == tick and self._sweep_of[row] != self._sweep:
                    self._add(row, tick)
                else:
                    self._entries -= 1
            left -= len(swept)
            del rows[-len(swept) :]
            if not rows:
                del self._former[tick]

    def cancel(self, row: int) -> None:
        """Remove a row's deadline."""
        self._tick_of[row] = NO_TICK

    def next_at(self) -> float | None:
        """When the next entry is due; None when there is none. The entry may be stale."""
        while self._ticks and self._place(self._ticks[0]) is None:
            heapq.heappop(self._ticks)
        return self._ticks[0] / TICKS_PER_SECOND if self._ticks else None

    def _place(self, tick: int) -> dict[int, list[int]] | None:
        """Where the next entries of a tick are; None: there are none."""
        if tick in self._former:
            return self._former
        return self._rows if tick in self._rows else None

    def pop(self, now: float, most: int | None = None) -> list[int]:
        """Remove and return the rows that are due, earliest first; at most so many entries, stale ones included."""
        due: list[int] = []
        tick_of, limit = self._tick_of, now * TICKS_PER_SECOND
        left = self._entries if most is None else most
        while left > 0 and self._ticks and self._ticks[0] <= limit:
            tick = self._ticks[0]
            if (place := self._place(tick)) is None:
                heapq.heappop(self._ticks)
                continue
            rows = place[tick]
            if len(rows) <= left:
                del place[tick]
            else:
                place[tick], rows = rows[left:], rows[:left]
            left -= len(rows)
            self._entries -= len(rows)
            for row in rows:
                if tick_of[row] == tick:
                    tick_of[row] = NO_TICK
                    due.append(row)
        return due
