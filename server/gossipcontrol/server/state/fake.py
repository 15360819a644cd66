"""Keeps facts in a list and commits when it is told to: for tests."""

from __future__ import annotations

from collections.abc import Sequence

from gossipcontrol.server.core.codec import Plain
from gossipcontrol.server.state.entry import Entry
from gossipcontrol.server.state.journal import Figures, Loaded, Watch


class FakeJournal:
    """A durable journal in the hands of a test."""

    durable = True

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.snapshots: list[Plain] = []
        self.full = False
        """Whether it wants a snapshot."""
        self.watch: Watch | None = None
        self._number = 0

    def load(self) -> Loaded:
        """Nothing was left."""
        return Loaded()

    def start(self, watch: Watch) -> None:
        """Remember whom to tell."""
        self.watch = watch

    def append(self, entries: Sequence[Entry]) -> int:
        """Keep in the list."""
        self.entries += entries
        self._number += 1
        return self._number

    def snapshot(self, plain: Plain, at: float) -> int:
        """Keep it too."""
        del at
        self.snapshots.append(plain)
        self.full = False
        self._number += 1
        return self._number

    def wants_snapshot(self) -> bool:
        """As the test says."""
        return self.full

    def figures(self) -> Figures:
        """The length of the list."""
        return Figures(entries=len(self.entries))

    def close(self) -> None:
        """Nothing is open."""

    def commit(self) -> None:
        """Say that everything so far is kept."""
        assert self.watch is not None
        self.watch.committed(self._number)

    def fail(self, why: str) -> None:
        """Say that nothing can be kept."""
        assert self.watch is not None
        self.watch.failed(why)
