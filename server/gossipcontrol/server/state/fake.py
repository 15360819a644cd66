"""The fake backend: keeps entries in a list and commits when the test says so."""

from __future__ import annotations

from collections.abc import Sequence

from gossipcontrol.server.core.codec import Plain
from gossipcontrol.server.core.effect import Effect
from gossipcontrol.server.core.turn import Fact
from gossipcontrol.server.state.entry import KnowledgeEntry
from gossipcontrol.server.state.journal import JournalListener, JournalStats, KnowledgeSnapshot, Loaded


class FakeJournal:
    """A durable journal that a test controls."""

    durable = True
    shared = False

    def __init__(self) -> None:
        self.entries: list[Fact | KnowledgeEntry] = []
        self.snapshots: list[Plain] = []
        self.marks: list[int] = []
        """Of snapshots that took the place of the log up to there."""
        self.full = False
        """The answer of ``wants_snapshot``."""
        self.lost = False
        """The answer of ``wants_all``."""
        self.due: str | None = None
        """The answer of ``due_store``."""
        self.knowledge: list[KnowledgeSnapshot] = []
        self.room = True
        """The answer of ``has_room``."""
        self.listener: JournalListener | None = None
        self._number = 0

    def load(self) -> Loaded:
        """Nothing is left of an earlier run."""
        return Loaded()

    def start(self, listener: JournalListener) -> None:
        """Keep the listener."""
        self.listener = listener

    def append(self, entries: Sequence[Fact | KnowledgeEntry], effects: Sequence[Effect] = ()) -> int:
        """Add to the list."""
        self.entries += entries
        self._number += 1
        return self._number

    def snapshot(self, plain: Plain, at: float, knowledge: KnowledgeSnapshot | None = None) -> int:
        """Add to the list."""
        del at
        self.snapshots.append(plain)
        self.knowledge += [knowledge] if knowledge else []
        self.full = self.lost = False
        self._number += 1
        return self._number

    def mark(self) -> int:
        """The number of the last entry; the journal is no longer full."""
        self.full = False
        return self._number

    def give_up(self) -> None:
        """The journal is full as before."""
        self.full = True

    def compact(self, plain: Plain, at: float, mark: int = 0) -> int:
        """Add to the list."""
        self.marks.append(mark)
        return self.snapshot(plain, at)

    def wants_snapshot(self) -> bool:
        """As the test says."""
        return self.full

    def wants_all(self) -> bool:
        """As the test says."""
        return self.lost

    def snapshot_store(self, knowledge: KnowledgeSnapshot) -> int:
        """Add to the list."""
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

    def stats(self) -> JournalStats:
        """The length of the list."""
        return JournalStats(entries=len(self.entries))

    def close(self) -> None:
        """Nothing is open."""

    def commit(self, number: int | None = None) -> None:
        """Report that everything up to this number is durable; None: everything so far."""
        assert self.listener is not None
        self.listener.committed(self._number if number is None else number)

    def fail(self, why: str) -> None:
        """Report that nothing can be written."""
        assert self.listener is not None
        self.listener.failed(why)
