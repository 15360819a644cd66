"""How long the log of each store has become since its snapshot, and which store is due for a new one."""

from __future__ import annotations

from collections.abc import Mapping

LEAST = 8 << 20
"""Logs shorter than this in all are not worth a snapshot."""
OVERHEAD = 1 << 16
"""What a snapshot costs beside its bytes, so that a tiny store does not come first for its tiny snapshot."""


class SnapshotPolicy:
    """Snapshots are due when all logs together are half as long as all snapshots.

    The store that gains most per byte written comes first. Its log is then about half its snapshot at least, so that
    snapshots write about twice what logs did, and a restart replays at most half of what it loads, or ``LEAST`` bytes.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._least = min(LEAST, max_bytes // 8)
        self._logs: dict[str, int] = {}
        self._snapshots: dict[str, int] = {}
        self._move = 0
        """Number of the snapshot that is being written; beside it the store, and the length of its log until then."""
        self._moving, self._moved = "", 0
        self.bytes = 0
        """Of all logs."""

    def add(self, store_id: str, size: int) -> None:
        """A fact of a store was appended."""
        self._logs[store_id] = self._logs.get(store_id, 0) + size
        self.bytes += size

    def due(self) -> str | None:
        """The store to snapshot now; none while one is being written."""
        if self._move or self.bytes <= max(self._least, sum(self._snapshots.values()) // 2):
            return None
        return max(self._logs, key=lambda one: self._logs[one] / (self._snapshots.get(one, 0) + OVERHEAD))

    def is_full(self) -> bool:
        """Whether logs and snapshots take what they may: half of the file, so that triggers find room in any case.

        Counted twice: a page may be half empty, and a snapshot lies beside its predecessor until it is written.
        """
        logs = self.bytes + (self._moved if self._move else 0)
        return 2 * (logs + sum(self._snapshots.values())) > self._max_bytes // 2

    def begin(self, store_id: str, move: int) -> None:
        """A snapshot of a store was taken: what is appended from now on comes after it."""
        self._move, self._moving, self._moved = move, store_id, self._logs.pop(store_id, 0)
        self.bytes -= self._moved

    def end(self, move: int, size: int) -> None:
        """It has been written, and is so long."""
        if move == self._move:
            self._snapshots[self._moving] = size
            self._move = 0

    def give_up(self, move: int) -> None:
        """It could not be written: the log stays."""
        if move == self._move:
            self.add(self._moving, self._moved)
            self._move = 0

    def clear(self) -> None:
        """All stores were snapshotted, the one that is being written as well."""
        self._logs.clear()
        self._move = self.bytes = 0

    def resize(self, sizes: Mapping[str, int]) -> None:
        """The snapshots are so long."""
        self._snapshots = dict(sizes)
