"""Decides which store is snapshotted next, from the sizes of the logs and snapshots of all stores."""

from __future__ import annotations

from collections.abc import Mapping

MIN_LOG_BYTES = 8 << 20
"""A log shorter than this is not worth a snapshot."""
SNAPSHOT_OVERHEAD = 1 << 16
"""Bytes that a snapshot costs beside its content, so that a tiny store does not come first for its tiny snapshot."""


class SnapshotPolicy:
    """Snapshots are due when all logs together are half as long as all snapshots.

    The store that gains most per byte written comes first. Its log is then about half its snapshot at least, so
    snapshots write about twice what logs did, and a restart replays at most half of what it loads, or
    ``MIN_LOG_BYTES``.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._min_log_bytes = min(MIN_LOG_BYTES, max_bytes // 8)
        self._logs: dict[str, int] = {}
        self._snapshots: dict[str, int] = {}
        self._generation = 0
        """The snapshot that is being written; 0: none."""
        self._store_id = ""
        """Its store."""
        self._covered_bytes = 0
        """The log that it covers, which stays in the file until it is written."""
        self.bytes = 0
        """Of all logs."""

    def add(self, store_id: str, size: int) -> None:
        """An entry of a store was appended."""
        self._logs[store_id] = self._logs.get(store_id, 0) + size
        self.bytes += size

    def due(self) -> str | None:
        """The store to snapshot now; None while a snapshot is being written."""
        if self._generation or self.bytes <= max(self._min_log_bytes, sum(self._snapshots.values()) // 2):
            return None
        return max(self._logs, key=lambda one: self._logs[one] / (self._snapshots.get(one, 0) + SNAPSHOT_OVERHEAD))

    def is_full(self) -> bool:
        """Whether logs and snapshots take half of the file; the other half is kept for triggers.

        Counted twice: a page may be half empty, and a snapshot lies beside its predecessor until it is written.
        """
        logs = self.bytes + (self._covered_bytes if self._generation else 0)
        return 2 * (logs + sum(self._snapshots.values())) > self._max_bytes // 2

    def begin(self, store_id: str, generation: int) -> None:
        """The snapshot of a store is being written; later entries are not part of it."""
        self._generation, self._store_id = generation, store_id
        self._covered_bytes = self._logs.pop(store_id, 0)
        self.bytes -= self._covered_bytes

    def end(self, generation: int, size: int) -> None:
        """A snapshot was written, with this size."""
        if generation == self._generation:
            self._snapshots[self._store_id] = size
            self._generation = 0

    def give_up(self, generation: int) -> None:
        """A snapshot could not be written, so its log stays."""
        if generation == self._generation:
            self.add(self._store_id, self._covered_bytes)
            self._generation = 0

    def clear(self) -> None:
        """All stores were snapshotted, including the one whose snapshot is being written."""
        self._logs.clear()
        self._generation = self.bytes = 0

    def resize(self, sizes: Mapping[str, int]) -> None:
        """The snapshots of all stores have these sizes."""
        self._snapshots = dict(sizes)
