"""Keeps facts in a list and commits when it is told to: for tests."""

from __future__ import annotations

from collections.abc import Sequence

from gossipcontrol.server.core.codec import Plain
from gossipcontrol.server.core.turn import Fact
from gossipcontrol.server.state.entry import KnowledgeEntry
from gossipcontrol.server.state.journal import JournalListener, JournalStats, KnowledgeSnapshot, Loaded


class FakeJournal:
    """A durable journal in the hands of a test."""

    durable = True

    def __init__(self) -> None:
        self.entries: list[Fact | KnowledgeEntry] = []
        self.snapshots: list[Plain] = []
        self.full = False
        """Whether it wants a snapshot."""
        self.lost = False
        """Whether it wants the knowledge of every store with it."""
        self.due: str | None = None
        """The store of which it wants a snapshot."""
        self.knowledge: list[KnowledgeSnapshot] = []
        self.room = True
        self.watch: JournalListener | None = None
        self._number = 0

    def load(self) -> Loaded:
        """Nothing was left."""
        return Loaded()

    def start(self, watch: JournalListener) -> None:
        """Remember whom to tell."""
        self.watch = watch

    def append(self, entries: Sequence[Fact | KnowledgeEntry]) -> int:
        """Keep in the list."""
        self.entries += entries
        self._number += 1
        return self._number

    def snapshot(self, plain: Plain, at: float, knowledge: KnowledgeSnapshot | None = None) -> int:
        """Keep it too."""
        del at
        self.snapshots.append(plain)
        self.knowledge += [knowledge] if knowledge else []
        self.full = self.lost = False
        self._number += 1
        return self._number

    def compact(self, plain: Plain, at: float) -> int:
        """Keep it too."""
        return self.snapshot(plain, at)

    def wants_snapshot(self) -> bool:
        """As the test says."""
        return self.full

    def wants_all(self) -> bool:
        """As the test says."""
        return self.lost

    def snapshot_store(self, knowledge: KnowledgeSnapshot) -> int:
        """Keep it too."""
        self.knowledge.append(knowledge)
        self.due = None
        self._number += 1
        return self._number

    def due_store(self) -> str | None:
        """As the test says."""
        return self.due

    def has_room(self) -> bool:
        """As the test says."""
        return self.room

    def figures(self) -> JournalStats:
        """The length of the list."""
        return JournalStats(entries=len(self.entries))

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
