"""Deadlines of very many rows, as data: a calendar queue, in which to put off is to do nothing."""

from __future__ import annotations

import heapq
import math
from array import array

TICKS_PER_SECOND = 16
"""Ticks per second: a row is looked at no later than a tick after its deadline."""
COARSE_TICKS = 64 * TICKS_PER_SECOND
"""Deadlines further away are kept in coarse ticks, and looked at up to this many ticks early."""
NO_TICK = -1
STALE_SLACK = 1024
"""So many entries may be out of date, and as many again as there are rows."""


class Wheel:
    """Rows by tick. Each row has one deadline; an entry that is not the row's last is passed over."""

    def __init__(self) -> None:
        self._rows: dict[int, list[int]] = {}
        self._ticks: list[int] = []
        """A heap of the keys."""
        self._tick_of = array("q")
        """Row -> the tick of its deadline."""
        self._entries = 0

    def __len__(self) -> int:
        """Number of entries, those out of date included."""
        return self._entries

    def add_row(self) -> None:
        """One more row."""
        self._tick_of.append(NO_TICK)

    def schedule(self, row: int, at: float, now: float) -> None:
        """Give a row its deadline, in place of any it had."""
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

    def at(self, row: int) -> float:
        """The deadline of a row, to the tick; infinite when it has none."""
        tick = self._tick_of[row]
        return math.inf if tick == NO_TICK else tick / TICKS_PER_SECOND

    def cancel(self, row: int) -> None:
        """A row has no deadline any longer."""
        self._tick_of[row] = NO_TICK

    def next_at(self) -> float | None:
        """When the next row is due, or None; nothing may be due then after all."""
        return self._ticks[0] / TICKS_PER_SECOND if self._ticks else None

    def pop(self, now: float) -> list[int]:
        """The rows that are due, earliest first; their deadlines are cleared."""
        due: list[int] = []
        tick_of, limit = self._tick_of, now * TICKS_PER_SECOND
        while self._ticks and self._ticks[0] <= limit:
            tick = heapq.heappop(self._ticks)
            rows = self._rows.pop(tick)
            self._entries -= len(rows)
            for row in rows:
                if tick_of[row] == tick:
                    tick_of[row] = NO_TICK
                    due.append(row)
        return due

    def _rebuild(self) -> None:
        """Drop what is out of date: so often moved, or so many, that it would fill the memory."""
        kept: dict[int, list[int]] = {}
        for tick, rows in self._rows.items():
            if current := list(dict.fromkeys(row for row in rows if self._tick_of[row] == tick)):
                kept[tick] = current
        self._rows, self._ticks = kept, sorted(kept)
        self._entries = sum(map(len, kept.values()))
